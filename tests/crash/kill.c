/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vTPM's process killed at every step of its state store.
 *
 * A child is what a worker is inside: the real vTPM over the real store, answering TPM commands
 * from a socket. The parent writes counters with NV_Write and notes which replies it gets.  At one
 * of the store's system calls, chosen by the seed, the child is killed (at the call's entry or
 * exit), or the call fails, instead of happening or although it happened.  Then a new process opens
 * the state and reads the counter: it must be the last acknowledged one, or the next, which was in
 * flight. The folder is used on and on, so that each trial starts from what the last one left; now
 * and then it is made anew, so that the first start is cut short too.
 *
 * Usage: kill [--points N] [--seed S] [-v]
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/crash/disk.h"
#include "tests/crash/tracer.h"
#include "worker/vtpm.h"

#define NAME	   "vtpm"
#define WRITES	   4	/* per trial */
#define FRESH_ODDS 6	/* one trial in this many starts from an empty folder */
#define STOPS_MAX  1000 /* per trial; far more than there are */
#define CALLS	   512	/* highest system call number counted, plus one */
#define NV_INDEX   0x01500001U

enum fault_kind { FAULT_KILL, FAULT_INSTEAD, FAULT_AFTER };

struct trial {
	enum fault_kind fault;
	int at;	   /* which of the store's stops, from 1; 0 = let it live */
	int stops; /* seen */
	int hit;
	int dir;
	int sock[2];
	struct seal *seal;
	uint64_t first; /* counter of the first write */
	int define;	/* the index may be missing */
	uint64_t killed[CALLS][2];
};

/* ---- TPM commands (TPM 2.0 Library, part 3) -------------------------------------------------- */

struct command {
	uint8_t bytes[128];
	size_t n;
};

static void put(struct command *c, uint64_t value, size_t bytes)
{
	while (bytes--)
		c->bytes[c->n++] = (uint8_t)(value >> 8 * bytes);
}

static struct command begin(uint16_t tag, uint32_t code)
{
	struct command c = { .n = 0 };
	put(&c, tag, 2);
	put(&c, 0, 4);
	put(&c, code, 4);
	return c;
}

static void empty_password(struct command *c)
{
	put(c, 9, 4);
	put(c, 0x40000009, 4);
	put(c, 0, 5);
}

static struct command end(struct command c)
{
	uint32_t size = htobe32((uint32_t)c.n);
	memcpy(c.bytes + 2, &size, sizeof(size));
	return c;
}

static struct command startup(void)
{
	struct command c = begin(0x8001, 0x144);
	put(&c, 0, 2);
	return end(c);
}

static struct command nv_define(void)
{
	struct command c = begin(0x8002, 0x12a);
	put(&c, 0x40000001, 4); /* owner */
	empty_password(&c);
	put(&c, 0, 2);	/* authValue */
	put(&c, 14, 2); /* nvPublic: index, SHA-256, attributes, no policy, size */
	put(&c, NV_INDEX, 4);
	put(&c, 0x000b, 2);
	put(&c, 0x02020002, 4); /* OWNERREAD, OWNERWRITE, NO_DA */
	put(&c, 0, 2);
	put(&c, 8, 2);
	return end(c);
}

static struct command nv_write(uint64_t counter)
{
	struct command c = begin(0x8002, 0x137);
	put(&c, 0x40000001, 4);
	put(&c, NV_INDEX, 4);
	empty_password(&c);
	put(&c, 8, 2);
	put(&c, counter, 8);
	put(&c, 0, 2);
	return end(c);
}

static struct command nv_read(void)
{
	struct command c = begin(0x8002, 0x14e);
	put(&c, 0x40000001, 4);
	put(&c, NV_INDEX, 4);
	empty_password(&c);
	put(&c, 8, 2);
	put(&c, 0, 2);
	return end(c);
}

static uint32_t reply_code(const uint8_t *reply)
{
	uint32_t rc;
	memcpy(&rc, reply + 6, sizeof(rc));
	return be32toh(rc);
}

/* ---- The child ------------------------------------------------------------------------------- */

#define EXIT_NO_STATE 40 /* the state does not open */
#define EXIT_NO_INIT  41
#define EXIT_BROKEN   42

static struct vtpm *start(const struct trial *t, enum store_birth birth)
{
	static const uint8_t vm[UUID_BYTES] = { 1 };
	struct fault f = { 0 };
	struct store *s;
	struct vtpm_config config = { .vm = vm };
	struct vtpm *v;
	if (store_open(t->dir, NAME, t->seal, birth, &s, &f) < 0) {
		if (!t->at || t->fault == FAULT_KILL)
			fprintf(stderr, "kill: %s\n", f.text);
		_exit(EXIT_NO_STATE);
	}
	config.store = s;
	if (vtpm_new(&config, &v, &f) < 0 || vtpm_init(v, &f) < 0) {
		if (!t->at || t->fault == FAULT_KILL)
			fprintf(stderr, "kill: %s\n", f.text);
		_exit(EXIT_NO_INIT);
	}
	return v;
}

/* Answer the commands that wait in the socket, until there are no more. */
static void serve(void *arg)
{
	const struct trial *t = arg;
	uint8_t reply[VTPM_BUFFER_MAX];
	struct command c;
	size_t n;
	if (t->fault != FAULT_KILL) { /* libtpms has a lot to say about calls that fail */
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null < 0 || dup2(null, STDERR_FILENO) < 0)
			_exit(EXIT_BROKEN);
	}
	struct vtpm *v = start(t, t->define ? STORE_MAY_BE_NEW : STORE_MUST_EXIST);
	while (fd_read_full(t->sock[1], &c, sizeof(c)) == 0) {
		vtpm_command(v, c.bytes, c.n, reply, &n);
		if (send(t->sock[1], reply, VTPM_HEADER_BYTES, MSG_NOSIGNAL) < 0)
			_exit(EXIT_BROKEN);
	}
	vtpm_stop(v);
}

static enum trace_action watch(void *arg, const struct trace_stop *stop)
{
	struct trial *t = arg;
	int in_folder = stop->call != __NR_openat && stop->call != __NR_newfstatat &&
			stop->call != __NR_pread64;
	if (!trace_is_store_call(stop->call) ||
	    (!in_folder && (int)stop->args[0] != t->dir && stop->call != __NR_pread64))
		return TRACE_GO;
	if (t->fault != FAULT_KILL && stop->entry != (t->fault == FAULT_INSTEAD))
		return TRACE_GO;
	if (++t->stops != t->at)
		return TRACE_GO;
	t->hit = 1;
	t->killed[stop->call % CALLS][stop->entry]++;
	return t->fault == FAULT_KILL ? TRACE_KILL : TRACE_FAIL;
}

/* What a new process finds: the counter, 0 = no index or nothing written, -1 = does not work. */
static int64_t look(struct trial *t, int have_ack)
{
	int answer[2], status;
	int64_t counter = -1;
	if (pipe2(answer, O_CLOEXEC) < 0)
		return -1;
	t->at = 0;
	pid_t pid = fork();
	if (pid == 0) {
		uint8_t reply[VTPM_BUFFER_MAX];
		size_t n;
		struct vtpm *v = start(t, have_ack ? STORE_MUST_EXIST : STORE_MAY_BE_NEW);
		struct command c = startup();
		vtpm_command(v, c.bytes, c.n, reply, &n);
		if (reply_code(reply))
			_exit(EXIT_BROKEN);
		c = nv_read();
		vtpm_command(v, c.bytes, c.n, reply, &n);
		uint32_t code = reply_code(reply);
		if (code == 0 && n >= 24) {
			memcpy(&counter, reply + 16, sizeof(counter));
			counter = (int64_t)be64toh((uint64_t)counter);
		} else if (code == 0x28b || code == 0x14a) { /* no such handle, uninitialized */
			counter = 0;
		}
		vtpm_stop(v);
		_exit(write(answer[1], &counter, sizeof(counter)) == sizeof(counter) ? 0
										     : EXIT_BROKEN);
	}
	close(answer[1]);
	if (fd_read_full(answer[0], &counter, sizeof(counter)) < 0)
		counter = -1;
	close(answer[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return -1;
	return counter;
}

/* ---- The parent ------------------------------------------------------------------------------ */

static int empty_folder(int dir)
{
	static const char *const NAMES[] = { NAME, NAME ".next", NAME ".new", NAME ".spare",
					     NAME ".probe" };
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		if (unlinkat(dir, NAMES[i], 0) < 0 && errno != ENOENT)
			return -errno;
	return 0;
}

struct outcome {
	uint64_t acked; /* counter, 0 = none */
	int known;	/* 1: some reply said that the vTPM works, so its state is on disk */
	int status;
};

/* One child's life: the commands go in, the replies that came before its end are counted. */
static int run(struct trial *t, struct outcome *o)
{
	struct command commands[WRITES + 2] = { startup() };
	size_t n = 1;
	uint8_t reply[VTPM_HEADER_BYTES];
	if (t->define)
		commands[n++] = nv_define();
	size_t writes_from = n;
	for (uint64_t i = 0; i < WRITES; i++)
		commands[n++] = nv_write(t->first + i);
	t->stops = t->hit = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, t->sock) < 0 ||
	    fd_write_full(t->sock[0], commands, n * sizeof(commands[0])) < 0 ||
	    shutdown(t->sock[0], SHUT_WR) < 0)
		return -errno;
	o->status = trace_run(serve, t, watch, t);
	close(t->sock[1]);
	for (size_t i = 0; fd_read_full(t->sock[0], reply, sizeof(reply)) == 0; i++) {
		if (reply_code(reply) != 0)
			continue;
		o->known = 1;
		if (i >= writes_from)
			o->acked = t->first + i - writes_from;
	}
	close(t->sock[0]);
	return 0;
}

struct campaign {
	uint64_t seed, points;
	int verbose;
	uint64_t trials, kills, failures, fresh, writes, in_flight, bad;
	uint64_t acked;
	int known;
};

static void report(const struct campaign *c, const struct trial *t)
{
	printf("seed %llu: %llu points (%llu kills, %llu failed calls) in %llu trials, %llu of "
	       "them "
	       "first starts\n",
	       (unsigned long long)c->seed, (unsigned long long)(c->kills + c->failures),
	       (unsigned long long)c->kills, (unsigned long long)c->failures,
	       (unsigned long long)c->trials, (unsigned long long)c->fresh);
	printf("  %-12s %8s %8s\n", "call", "at entry", "at exit");
	for (long call = 0; call < CALLS; call++)
		if (t->killed[call][0] || t->killed[call][1])
			printf("  %-12s %8llu %8llu\n", trace_call_name(call),
			       (unsigned long long)t->killed[call][1],
			       (unsigned long long)t->killed[call][0]);
	printf("  %llu writes acknowledged; the one in flight was found %llu times, the last "
	       "acknowledged one otherwise\n"
	       "  lost, unreadable or other states: %llu\n",
	       (unsigned long long)c->writes, (unsigned long long)c->in_flight,
	       (unsigned long long)c->bad);
}

static void trial(struct campaign *c, struct trial *t, uint64_t *random, int typical[2][2])
{
	struct outcome o = { 0 };
	int fresh = disk_random(random) % FRESH_ODDS == 0;
	if (fresh) {
		if (empty_folder(t->dir) < 0)
			abort();
		c->acked = 0;
		c->known = 0;
		c->fresh++;
	}
	uint64_t kind = disk_random(random) % 10;
	t->fault = kind == 0 ? FAULT_INSTEAD : kind == 1 ? FAULT_AFTER : FAULT_KILL;
	int *most = &typical[fresh][t->fault != FAULT_KILL];
	t->at = 1 + (int)(disk_random(random) % (uint64_t)*most);
	t->first = c->acked + 2; /* one may be in flight from the last trial: not this one's */
	t->define = c->acked == 0;
	int at = t->at;
	if (run(t, &o) < 0)
		abort();
	c->trials++;
	if (t->hit && t->fault == FAULT_KILL)
		c->kills++;
	else if (t->hit)
		c->failures++;
	else
		*most = t->stops + 1;
	uint64_t before = c->acked;
	if (o.acked) {
		c->acked = o.acked;
		c->writes += o.acked - t->first + 1;
	}
	c->known |= o.known;
	int64_t found = look(t, c->known);
	uint64_t next = o.acked ? o.acked + 1 : t->first;
	int in_flight = found == (int64_t)next && next < t->first + WRITES && t->hit;
	int as_before = found == (int64_t)c->acked;
	int killed = WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGKILL;
	int ended_well = t->hit ? killed || t->fault != FAULT_KILL : o.status == 0;
	if ((!in_flight && !as_before) || !ended_well) {
		c->bad++;
		printf("trial %llu: stop %d, fault %d, status %#x: found %lld, acknowledged %llu "
		       "(before the trial %llu), next %llu\n",
		       (unsigned long long)c->trials, at, (int)t->fault, (unsigned int)o.status,
		       (long long)found, (unsigned long long)c->acked, (unsigned long long)before,
		       (unsigned long long)next);
	}
	if (in_flight) {
		c->in_flight++;
		c->acked = (uint64_t)found; /* seen, so it must stay */
	}
	if (found >= 0)
		c->known = 1; /* looking made one if there was none */
}

int main(int argc, char **argv)
{
	struct campaign c = { .seed = 1, .points = 300 };
	static struct trial t;
	const struct vm_key key = { .bytes = { 1 } };
	const uint8_t vm[UUID_BYTES] = { 2 };
	char folder[] = "/tmp/crash-kill-XXXXXX";
	/* Stops in an undisturbed trial (with a state or without; all, or entries only): learned.
	 */
	int typical[2][2] = { { STOPS_MAX, STOPS_MAX }, { STOPS_MAX, STOPS_MAX } };
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--points") == 0 && i + 1 < argc)
			c.points = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			c.seed = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "-v") == 0)
			c.verbose = 1;
		else
			return fprintf(stderr, "usage: kill [--points N] [--seed S] [-v]\n"), 2;
	}
	uint64_t random = c.seed;
	if (!mkdtemp(folder) || seal_new(&key, KEY_USE_VTPM_STATE, vm, NULL, 0, &t.seal) < 0)
		return 1;
	t.dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (c.kills + c.failures < c.points && c.trials < c.points * 4 && c.bad < 10) {
		trial(&c, &t, &random, typical);
		if (c.verbose && c.trials % 250 == 0)
			fprintf(stderr, "%llu of %llu points\n",
				(unsigned long long)(c.kills + c.failures),
				(unsigned long long)c.points);
	}
	report(&c, &t);
	int missing = 0;
	const long must[] = { __NR_pwrite64, __NR_fdatasync, __NR_renameat2, __NR_fsync };
	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++)
		missing |= !t.killed[must[i]][0] || !t.killed[must[i]][1];
	missing |= c.writes == 0 || c.in_flight == 0;
	if (missing || c.kills + c.failures < c.points)
		printf("not every step was met: too few points\n");
	if (empty_folder(t.dir) == 0)
		(void)rmdir(folder);
	seal_free(t.seal);
	return c.bad || missing || c.kills + c.failures < c.points;
}
