/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plays shieldvm-worker and shieldvm-ask for test_spawner.c: which of them, its name says; what it
 * does, the protector: "WORKER ASK".
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ask.h"

static char message[SPAWN_MESSAGE_MAX + 1];
static char part[2][64]; /* of the protector's text */
static const char *play;

static _Noreturn void end(int status)
{
	_exit(status);
}

static _Noreturn void hang(void)
{
	for (;;)
		pause();
}

static void say(const void *data, size_t n)
{
	if (send(3, data, n, MSG_NOSIGNAL) != (ssize_t)n)
		end(9);
}

/* Nothing of the one that started this but descriptors 0 to 3, and the environment that is due. */
static int is_alone(void)
{
	struct rlimit limit;
	char **e = environ;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || getsid(0) != getpid())
		return 0;
	for (int fd = 4; fd < (int)limit.rlim_cur && fd < 4096; fd++)
		if (dup2(fd, fd) == fd)
			return 0;
	return e[0] && strcmp(e[0], SPAWN_ENVIRONMENT) == 0 && !e[1];
}

/* ---- shieldvm-ask ---------------------------------------------------------------------------- */

static void fill(char *text, size_t n, char with)
{
	memset(text, with, n);
}

static int play_ask(size_t got)
{
	struct ask_request request;
	struct ask_reply r = {
		.magic = ASK_MAGIC,
		.version = ASK_VERSION,
		.guardian = "guardian.test:8443",
		.key = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION, .certificate_bytes = 3 }
	};
	size_t n = sizeof(r);
	memcpy(&request, message, sizeof(request));
	if (got < sizeof(request) || request.magic != ASK_MAGIC || request.version != ASK_VERSION ||
	    request.protector_bytes != got - sizeof(request) || !is_alone())
		end(8);
	/* What was asked comes back, for the test to see. */
	r.key.inner[0] = request.worker[1];
	r.key.inner[1] = (uint8_t)request.state_version;
	r.key.inner[2] = (uint8_t)request.comes;
	r.key.inner[3] = request.vm[0];
	if (strcmp(play, "hangs") == 0)
		hang();
	if (strcmp(play, "dies") == 0)
		end(0);
	if (strcmp(play, "short") == 0)
		n--;
	if (strcmp(play, "magic") == 0)
		r.magic++;
	if (strcmp(play, "version") == 0)
		r.version++;
	if (strcmp(play, "key-magic") == 0)
		r.key.magic++;
	if (strcmp(play, "key-version") == 0)
		r.key.version++;
	if (strcmp(play, "no-certificate") == 0)
		r.key.certificate_bytes = 0;
	if (strcmp(play, "long-certificate") == 0)
		r.key.certificate_bytes = SPAWN_HEALTH_MAX + 1;
	if (strcmp(play, "odd") == 0)
		r.rc = 1;
	if (strcmp(play, "offline") == 0) {
		r.guardian[0] = '\0';
		r.offline_left = 4;
	}
	if (strcmp(play, "both") == 0)
		r.offline_left = 4;
	if (strcmp(play, "no-end") == 0)
		fill(r.guardian, sizeof(r.guardian), '\n');
	if (strcmp(play, "refuses") == 0) {
		r.rc = ERR_POLICY;
		strcpy(r.rule, "lease.held");
		strcpy(r.text, "vtpm.state: it runs elsewhere");
	}
	if (strcmp(play, "unreachable") == 0) {
		r.rc = -ECONNREFUSED;
		strcpy(r.rule, "guardian.unreachable");
		strcpy(r.text, "nobody there");
	}
	if (strcmp(play, "screams") == 0) {
		r.rc = ERR_POLICY;
		fill(r.rule, sizeof(r.rule), 'A');
		fill(r.text, sizeof(r.text), '\x1b');
	}
	if (strcmp(play, "long-rule") == 0) {
		r.rc = ERR_POLICY;
		fill(r.rule, sizeof(r.rule), 'a');
	}
	if (strcmp(play, "long") == 0) {
		memcpy(message, &r, sizeof(r));
		say(message, sizeof(r) + 1);
		hang();
	}
	say(&r, n);
	/* Whoever has the answer does not wait for this one's end. */
	hang();
}

/* ---- shieldvm-worker ------------------------------------------------------------------------- */

static void ask_key(int lock)
{
	struct spawn_reply ask = { .magic = SPAWN_MAGIC,
				   .version = SPAWN_VERSION,
				   .kind = SPAWN_ASK_KEY };
	struct spawn_key key;
	memset(ask.ask.worker, 7, sizeof(ask.ask.worker));
	ask.ask.state_version = 77;
	say(&ask, sizeof(ask));
	if (recv(3, &key, sizeof(key), 0) != sizeof(key) || key.magic != SPAWN_MAGIC)
		hang();
	/* Where the test sees what came. */
	if (write(lock, key.inner, 4) != 4)
		end(7);
}

static int play_worker(size_t got, int lock)
{
	struct spawn_reply ready = { .magic = SPAWN_MAGIC,
				     .version = SPAWN_VERSION,
				     .kind = SPAWN_READY };
	if (got < sizeof(struct spawn_request) || lock < 0)
		end(8);
	if (strcmp(play, "asks") == 0 || strcmp(play, "asks-twice") == 0)
		ask_key(lock);
	if (strcmp(play, "asks-twice") == 0)
		ask_key(lock);
	if (strcmp(play, "asks") == 0)
		usleep(100 * 1000);
	if (strcmp(play, "refuses") == 0) {
		ready.kind = SPAWN_REFUSED;
		ready.rc = ERR_RECIPIENT;
		strcpy(ready.text, "not for this host");
	}
	say(&ready, sizeof(ready));
	return 0;
}

int main(int argc, char **argv)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = message, .iov_len = SPAWN_MESSAGE_MAX };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.space,
			    .msg_controllen = sizeof(control.space) };
	int lock = -1;
	int is_worker = argc == 1 && strcmp(argv[0], "shieldvm-worker") == 0;
	ssize_t got = recvmsg(3, &m, 0);
	size_t head = is_worker ? sizeof(struct spawn_request) : sizeof(struct ask_request);
	if (got < (ssize_t)head)
		end(8);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c)
		memcpy(&lock, CMSG_DATA(c), sizeof(lock));
	if (sscanf(message + head, "%63s %63s", part[0], part[1]) != 2)
		end(8);
	play = part[is_worker ? 0 : 1];
	return is_worker ? play_worker((size_t)got, lock) : play_ask((size_t)got);
}
