/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/paths.h"
#include "crypto/init.h"
#include "guardian/confine.h"
#include "guardian/front.h"
#include "guardian/keeper.h"
#include "guardian/pkcs11.h"
#include "guardian/setup.h"
#include "guardian/verifier.h"
#include "sandbox/phases.h"

#define STEADY_MS 60000 /* a front that lived for so long has not ended in a row */

enum { FRONT, KEEPER, VERIFIER, KEYS, CHILDREN };
static const char *const NAMES[CHILDREN] = { "front", "keeper", "verifier", "keys" };

struct parent {
	const struct supervise *s;
	pid_t self, pids[CHILDREN]; /* 0: none */
	int64_t started_ms[CHILDREN];
	int keeper;  /* its end of the keeper's words */
	int signals; /* signalfd(2) */
	int fronts_in_a_row;
	uint32_t verifiers, keys; /* started */
	int keys_refused;	  /* a PIN, maybe: not to be tried again */
	int leaving;
};

/* ---- Children ------------------------------------------------------------------------------- */

/* As root, with everything of the parent's but FDS closed, which become 3, 4 ... in order. */
static int be_child(int which, int *fds, int n, struct fault *f)
{
	char name[32];
	sigset_t none;
	for (int i = 0; i < n; i++) {
		/* Above all that they are moved to. */
		fds[i] = fcntl(fds[i], F_DUPFD, 64);
		if (fds[i] < 0)
			return fault_set(f, -errno, "descriptors: %s", err_text(-errno));
	}
	for (int i = 0; i < n; i++) {
		if (dup2(fds[i], 3 + i) < 0)
			return fault_set(f, -errno, "descriptors: %s", err_text(-errno));
		fds[i] = 3 + i;
	}
	int rc = fd_close_from(3 + n);
	if (rc < 0)
		return fault_set(f, rc, "descriptors: %s", err_text(rc));
	sigemptyset(&none);
	signal(SIGINT, SIG_IGN); /* a terminal's is the parent's */
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(name, sizeof(name), "guardian-%.5s", NAMES[which]);
	prctl(PR_SET_NAME, name, 0, 0, 0);
	/* The first line has the C library read what it needs for the time. */
	log_open(STDERR_FILENO, NAMES[which], LOG_LEVEL_INFO);
	log_info("starts");
	rc = crypto_init();
	return rc < 0 ? fault_set(f, rc, "the crypto library does not start") : 0;
}

static int be_verifier(const struct parent *p, int link, struct fault *f)
{
	int fds[] = { link };
	int rc = be_child(VERIFIER, fds, 1, f);
	if (rc >= 0)
		rc = confine_closed(GUARDIAN_UID_VERIFIER, &filter_verifier, p->self, f);
	return rc < 0 ? rc : verifier_run(fds[0], f);
}

static int be_keeper(const struct parent *p, int words, struct fault *f)
{
	struct setup setup;
	int fds[] = { words };
	int rc = be_child(KEEPER, fds, 1, f);
	if (rc >= 0)
		rc = setup_open(&p->s->from, &setup, f);
	if (rc < 0)
		return rc;
	CLEANUP_FD int folder = open(p->s->from.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		rc = fault_set(f, -errno, "%s: %s", p->s->from.folder, err_text(-errno));
	if (rc >= 0)
		rc = p->s->from.db ? confine_folder(folder, &setup.ports, &filter_keeper_postgres,
						    p->self, f)
				   : confine_folder(folder, NULL, &filter_keeper, p->self, f);
	if (rc >= 0)
		rc = keeper_run(&setup.g, &setup.keys, fds[0], f);
	setup_done(&setup);
	return rc;
}

/* The HSM's module is loaded, and the PIN told, before the process is confined. */
static int be_keys(const struct parent *p, int link, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	int fds[] = { link };
	struct ecdh ecdh;
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_PKCS11 struct pkcs11 *hsm = NULL;
	int rc = be_child(KEYS, fds, 1, f);
	if (rc >= 0)
		rc = setup_path(p->s->from.folder, SETUP_RELEASE_PUB, path, f);
	if (rc >= 0)
		rc = jwk_read_file(path, 0, &key, f);
	if (rc >= 0)
		rc = pkcs11_open(p->s->from.release, &hsm, f);
	if (rc >= 0)
		rc = pkcs11_ecdh(hsm, key, &ecdh, f);
	if (rc >= 0)
		rc = confine_module(&filter_keys, p->self, f);
	return rc < 0 ? rc : keys_run(&ecdh, fds[0], f);
}

static void cleanup_tls(struct tls_server **t)
{
	tls_server_free(*t);
}

static int be_front(const struct parent *p, int link, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	int fds[] = { p->s->listeners[0], p->s->listeners[1], link };
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP(cleanup_tls) struct tls_server *tls = NULL;
	struct front *front = NULL;
	int rc = be_child(FRONT, fds, 3, f);
	if (rc >= 0)
		rc = setup_path(p->s->from.folder, SETUP_TLS, path, f);
	if (rc >= 0)
		rc = jwk_read_file(path, 1, &key, f);
	if (rc >= 0)
		rc = tls_server_new(key, &tls, f);
	const struct front_fds all = { { fds[0], fds[1] }, fds[2] };
	if (rc >= 0)
		rc = front_new(tls, &all, &front, f);
	if (rc >= 0)
		rc = confine_closed(GUARDIAN_UID_FRONT, &filter_front, p->self, f);
	return rc < 0 ? rc : front_run(front, f);
}

/* Start WHICH with one end of PAIR; the parent keeps, or hands on, the other. */
static int start(struct parent *p, int which, int type, int *other, struct fault *f)
{
	static int (*const BE[CHILDREN])(const struct parent *, int,
					 struct fault *) = { be_front, be_keeper, be_verifier,
							     be_keys };
	int pair[2];
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
		return fault_set(f, -errno, "socketpair: %s", err_text(-errno));
	pid_t pid = fork();
	if (pid == 0) {
		/* Who: a new child, with all that the parent has, until it is confined. */
		struct fault why = { 0 };
		int rc = BE[which](p, pair[0], &why);
		if (rc < 0)
			log_error("%s", why.text);
		_exit(rc < 0 ? (int)err_exit_code(rc) : EXIT_DONE);
	}
	int rc = pid < 0 ? -errno : 0;
	close(pair[0]);
	if (rc < 0) {
		close(pair[1]);
		return fault_set(f, rc, "fork: %s", err_text(rc));
	}
	p->pids[which] = pid;
	p->started_ms[which] = clock_ms();
	*other = pair[1];
	return 0;
}

/* Start a front, verifier or keys, and give the keeper the other end of its link. */
static int start_linked(struct parent *p, int which, struct fault *f)
{
	CLEANUP_FD int other = -1;
	p->verifiers += which == VERIFIER;
	p->keys += which == KEYS;
	const struct keeper_note note = { which == FRONT  ? KEEPER_FRONT
					  : which == KEYS ? KEEPER_KEYS
							  : KEEPER_VERIFIER,
					  which == KEYS ? p->keys : p->verifiers };
	int rc = start(p, which, which == KEYS ? SOCK_SEQPACKET : SOCK_STREAM, &other, f);
	if (rc >= 0 && fd_set_nonblock(other, 1) < 0)
		rc = fault_set(f, ERR_STATE, "a link cannot be set up");
	if (rc >= 0)
		rc = fd_send(p->keeper, &note, sizeof(note), &other, 1);
	return rc < 0 ? fault_set(f, rc, "the keeper takes no link: %s", err_text(rc)) : 0;
}

/* ---- Watching ------------------------------------------------------------------------------- */

static void note_end(struct parent *p, int which, int status)
{
	int64_t lived = clock_ms() - p->started_ms[which];
	p->pids[which] = 0;
	if (p->leaving)
		return;
	if (WIFSIGNALED(status))
		log_error("the %s was ended by signal %d (%s)", NAMES[which], WTERMSIG(status),
			  WTERMSIG(status) == SIGSYS ? "a system call that it may not make"
						     : "see signal(7)");
	else
		log_error("the %s has ended with status %d", NAMES[which], WEXITSTATUS(status));
	if (which == KEYS && WIFEXITED(status))
		p->keys_refused = WEXITSTATUS(status) != EXIT_ENVIRONMENT;
	if (which == FRONT)
		p->fronts_in_a_row = lived < STEADY_MS ? p->fronts_in_a_row + 1 : 1;
}

static void reap(struct parent *p)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < CHILDREN; i++)
			if (p->pids[i] == pid)
				note_end(p, i, status);
}

/* Signals, until there is none: 1 if one of them asks for the end. */
static int take_signals(struct parent *p)
{
	struct signalfd_siginfo info;
	int end = 0;
	while (read(p->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		end |= info.ssi_signo != SIGCHLD;
	return end;
}

/* The keeper says that the verifier, or who has the release key, is of no more use. */
static void take_word(struct parent *p)
{
	struct keeper_note note;
	ssize_t n = recv(p->keeper, &note, sizeof(note), MSG_DONTWAIT);
	int which = note.word == KEEPER_KEYS ? KEYS : VERIFIER;
	if (n == (ssize_t)sizeof(note) && note.number == (which == KEYS ? p->keys : p->verifiers) &&
	    p->pids[which])
		kill(p->pids[which], SIGKILL);
}

/* Start what is missing, not more often than once in a while; returns when to look again. */
static int restart(struct parent *p, int64_t *again_ms, struct fault *f)
{
	static const int LINKED[] = { VERIFIER, KEYS, FRONT };
	*again_ms = INT64_MAX;
	if (p->fronts_in_a_row >= SUPERVISE_FRONTS)
		return fault_set(f, ERR_STATE, "one front after the other has ended");
	/* What was wrong from the beginning is for whoever started us. */
	if (p->keys_refused && p->keys == 1)
		return fault_set(f, ERR_USAGE, "the release key in the HSM is refused");
	for (int i = 0; i < 3; i++) {
		int which = LINKED[i];
		int64_t at = p->started_ms[which] +
			     (which == KEYS ? SUPERVISE_KEYS_MS : SUPERVISE_PAUSE_MS);
		if (p->pids[which] || (which == KEYS && (!p->s->from.release || p->keys_refused)))
			continue;
		if (p->started_ms[which] && clock_left_ms(at) > 0) {
			*again_ms = at < *again_ms ? at : *again_ms;
			continue;
		}
		int rc = start_linked(p, which, f);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int watch(struct parent *p, struct fault *f)
{
	for (;;) {
		int64_t again = INT64_MAX;
		int rc = restart(p, &again, f);
		if (rc < 0)
			return rc;
		struct pollfd fds[] = { { .fd = p->signals, .events = POLLIN },
					{ .fd = p->keeper, .events = POLLIN } };
		if (poll(fds, 2, again == INT64_MAX ? -1 : clock_left_ms(again)) < 0 &&
		    errno != EINTR)
			return fault_set(f, -errno, "poll: %s", err_text(-errno));
		if (take_signals(p))
			return 0;
		reap(p);
		if (!p->pids[KEEPER])
			return fault_set(f, ERR_STATE,
					 "the keeper has ended: what it said before tells why");
		if (fds[1].revents & POLLIN)
			take_word(p);
	}
}

/* The front first, so that nothing new comes; the keeper may finish its decision. */
static void end_all(struct parent *p)
{
	int64_t until = clock_ms() + SUPERVISE_END_MS;
	p->leaving = 1;
	if (p->pids[FRONT])
		kill(p->pids[FRONT], SIGKILL);
	fd_close(&p->keeper);
	while (p->pids[KEEPER] && clock_wait(until))
		reap(p);
	for (int i = 0; i < CHILDREN; i++) {
		if (p->pids[i] && kill(p->pids[i], SIGKILL) == 0)
			(void)waitpid(p->pids[i], NULL, 0);
	}
}

int supervise_run(const struct supervise *s, struct fault *f)
{
	sigset_t set;
	struct parent p = { .s = s, .self = getpid(), .keeper = -1 };
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return fault_set(f, -errno, "signals: %s", err_text(-errno));
	CLEANUP_FD int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		return fault_set(f, -errno, "signals: %s", err_text(-errno));
	p.signals = signals;
	int rc = start(&p, KEEPER, SOCK_SEQPACKET, &p.keeper, f);
	if (rc >= 0)
		rc = watch(&p, f);
	end_all(&p);
	return rc;
}
