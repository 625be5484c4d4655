/* SPDX-License-Identifier: BSD-3-Clause */
/* Attacks on a worker that runs: its signals, its descriptors, and a QEMU that was taken over. */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "cli/selftest.h"
#include "libvirt/control.h"

#define PATIENCE_MS 3000
#define CLAIMS	    300
#define ATTACHED    64
#define JUNK_ROUNDS 600
#define BLOB_MAX    (1024 * 1024)

/* Control requests that QEMU may make; SHUTDOWN ends the VM, which is its good right. */
enum {
	CMD_SHUTDOWN = 3,
	CMD_HASH_DATA = 7,
	CMD_GET_STATEBLOB = 12,
	CMD_SET_STATEBLOB = 13,
	CMD_GET_CONFIG = 15,
	CMD_LAST = 19
};

static size_t open_descriptors(pid_t pid)
{
	char path[64];
	size_t n = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* Connections that say nothing, and descriptors with every request. */
ATTACK(descriptors)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int held[CLAIMS], pairs[FD_PASS_MAX], refused = 0;
	size_t before = open_descriptors(v->worker);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/launch.sock", PATH_RUN,
		 v->uuid);
	for (size_t i = 0; i < CLAIMS; i++) {
		held[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		refused += connect(held[i], (struct sockaddr *)&address, sizeof(address)) < 0;
	}
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		pairs[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < ATTACHED; i++) {
		uint32_t request = htobe32(CMD_GET_CONFIG);
		uint8_t reply[64];
		struct pollfd p = { .fd = v->ctrl, .events = POLLIN };
		if (fd_send(v->ctrl, &request, sizeof(request), pairs, FD_PASS_MAX) < 0 ||
		    poll(&p, 1, PATIENCE_MS) <= 0 ||
		    recv(v->ctrl, reply, sizeof(reply), MSG_DONTWAIT) <= 0) {
			find_open(out, "the control channel is closed after %zu requests", i);
			break;
		}
	}
	if (!victim_answers(v, PATIENCE_MS))
		find_open(out, "the VM does not answer any more");
	size_t after = open_descriptors(v->worker);
	if (after > before + 1)
		find_open(out, "the worker had %zu descriptors and has %zu", before, after);
	for (size_t i = 0; i < CLAIMS; i++)
		fd_close(&held[i]);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&pairs[i]);
	find_closed(out, "%d connections (%d refused), %d descriptors: it answers, none stays",
		    CLAIMS, refused, ATTACHED * FD_PASS_MAX);
}

/* ---- Signals -------------------------------------------------------------------------------- */

/* After something was done to it: the VM answers, or all of it has ended. */
static int is_clear(const struct victim *v)
{
	return victim_has_ended(v, 0) || victim_answers(v, PATIENCE_MS) ||
	       victim_has_ended(v, PATIENCE_MS);
}

static void signal_all(const struct victim *v, int sig)
{
	for (size_t i = 0; i < v->n_pids; i++)
		kill(v->pids[i], sig);
}

ATTACK(stop_games)
{
	for (size_t i = 0; i < v->n_pids; i++) {
		kill(v->pids[i], SIGSTOP);
		usleep(20000);
		if (v->pids[i] != v->broker && ptrace(PTRACE_SEIZE, v->pids[i], 0, 0) == 0) {
			find_open(out, "process %d can be traced while it is stopped",
				  (int)v->pids[i]);
			(void)ptrace(PTRACE_INTERRUPT, v->pids[i], 0, 0);
			waitpid(v->pids[i], NULL, __WALL);
			(void)ptrace(PTRACE_DETACH, v->pids[i], 0, 0);
		}
		kill(v->pids[i], SIGCONT);
		if (!is_clear(v))
			find_open(out, "after SIGSTOP and SIGCONT to process %d nothing goes on",
				  (int)v->pids[i]);
	}
	for (int i = 0; i < 50; i++) {
		signal_all(v, SIGSTOP);
		if (i % 2)
			usleep(500);
		signal_all(v, SIGCONT);
	}
	if (!is_clear(v)) {
		kill(v->worker, SIGKILL);
		if (!victim_has_ended(v, PATIENCE_MS))
			find_open(out, "after a storm of SIGSTOP it neither goes on nor ends");
		find_closed(out, "after a storm of SIGSTOP it stands still until SIGKILL");
	}
	find_closed(out, "stopped one by one and all together, it goes on");
}

/* Whichever process of the VM is killed, all of it ends, and QEMU with it. */
ATTACK(kill_one)
{
	size_t n = v->n_pids;
	struct fault f = { 0 };
	for (size_t i = 0; i < n; i++) {
		if (v->worker == 0 && victim_start(v, &f) < 0) {
			find_open(out, "it does not start again: %s", f.text);
			return;
		}
		if (i >= v->n_pids)
			break;
		CLEANUP_FD int qemu = pidfd_open(v->qemu, 0);
		struct pollfd p = { .fd = qemu, .events = POLLIN };
		pid_t killed = v->pids[i];
		kill(killed, SIGKILL);
		if (!victim_has_ended(v, PATIENCE_MS))
			find_open(out, "process %zu of %zu was killed, and others go on", i + 1, n);
		if (qemu < 0 || poll(&p, 1, PATIENCE_MS) <= 0)
			find_open(out, "process %zu of %zu was killed, and QEMU goes on", i + 1, n);
		victim_stop(v);
	}
	find_closed(out, "each of %zu processes killed once: all end, and QEMU", n);
}

/* ---- QEMU, taken over ----------------------------------------------------------------------- */

/* What QEMU may not see: all but what the guest itself reads from its vTPM. */
static struct victim without_guests_own(const struct victim *v)
{
	struct victim copy = *v;
	copy.canaries.n = 0;
	for (size_t i = 0; i < v->canaries.n; i++)
		if (strcmp(v->canaries.of[i].name, "the NV index") != 0)
			copy.canaries.of[copy.canaries.n++] = v->canaries.of[i];
	return copy;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Everything that has come, looked through; how much. */
static size_t take_replies(const struct victim *v, int fd, int patience_ms, struct finding *out)
{
	static uint8_t reply[BLOB_MAX];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t n = 0;
	while (n < sizeof(reply) && poll(&p, 1, n ? 1 : patience_ms) > 0) {
		ssize_t got = recv(fd, reply + n, sizeof(reply) - n, MSG_DONTWAIT);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	find_canary(v, reply, n, "a reply to QEMU", out);
	return n;
}

/* Random requests, of lengths that fit and that do not, on both channels. */
ATTACK(junk)
{
	struct victim secret = without_guests_own(v);
	uint64_t seed = 0x5348454c44ULL;
	uint8_t bytes[256];
	size_t replies = 0;
	int rounds = 0;
	for (; rounds < JUNK_ROUNDS; rounds++) {
		for (size_t i = 0; i < sizeof(bytes); i += 8) {
			uint64_t r = next_random(&seed);
			memcpy(bytes + i, &r, 8);
		}
		uint32_t cmd = bytes[0] % (CMD_LAST + 3), be = htobe32(cmd);
		size_t n = bytes[1] % 24;
		if (cmd == CMD_SHUTDOWN)
			continue;
		if (cmd == CMD_HASH_DATA || cmd == CMD_SET_STATEBLOB) {
			/* Their length is theirs to say: what is not sent is waited for. */
			n = cmd == CMD_HASH_DATA ? 4 + 32 : 12 + 32;
			uint32_t size = htobe32(32);
			memcpy(bytes + 4 + n - 36, &size, 4);
		}
		memcpy(bytes, &be, 4);
		if (send(v->ctrl, bytes, 4 + n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		replies += take_replies(&secret, v->ctrl, 20, out);
		/* A command in form, and its body in none. */
		uint32_t size = htobe32(10 + (uint32_t)n), code = htobe32(0x11f + bytes[2]);
		bytes[0] = 0x80;
		bytes[1] = 1 + bytes[3] % 2;
		memcpy(bytes + 2, &size, 4);
		memcpy(bytes + 6, &code, 4);
		(void)send(v->data, bytes, 10 + n, MSG_NOSIGNAL | MSG_DONTWAIT);
		replies += take_replies(&secret, v->data, 5, out);
	}
	find_closed(out, "%d requests on both channels, %zu kB of replies, no canary", rounds,
		    replies / 1024);
}

/* State blobs are QEMU's to carry, and sealed. */
ATTACK(state_blobs)
{
	size_t bytes = 0;
	for (uint32_t type = 1; type <= 3; type++) {
		uint32_t request[] = { htobe32(CMD_GET_STATEBLOB), 0, htobe32(type), 0 };
		if (send(v->ctrl, request, sizeof(request), MSG_NOSIGNAL) < 0)
			break;
		bytes += take_replies(v, v->ctrl, PATIENCE_MS, out);
	}
	if (bytes < 1024)
		find_impossible(out, "the vTPM gives no state blobs");
	find_closed(out, "%zu kB of state blobs, no canary", bytes / 1024);
}

/* Another VM's worker, reached as its own QEMU's user. */
ATTACK(other_vm)
{
	struct control_reply reply;
	struct fault claim = { 0 }, ignored = { 0 };
	int fds[3];
	if (!v->other) {
		find_impossible(out, "there is no other VM");
		return;
	}
	CLEANUP_FD int monitor = monitor_listener();
	if (launch_claim(v->other->facts.vm, monitor, fds, &claim) == 0)
		find_open(out, "a QEMU gets another VM's vTPM");
	if (control_ask(v->other->facts.vm, CONTROL_STATUS, &reply, &ignored) == 0)
		find_open(out, "a QEMU gets an answer of another VM's broker");
	for (size_t i = 0; i < v->other->n_pids; i++)
		if (kill(v->other->pids[i], 0) == 0)
			find_open(out, "a QEMU may signal another VM's worker");
	find_closed(out, "%.150s", claim.text);
}
