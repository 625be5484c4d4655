/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm-attestd: keeps guardians informed of this host's health and of the VMs that they have
 * leased to it (docs/man/shieldvm-attestd.8).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "attest/tend.h"
#include "base/log.h"
#include "base/paths.h"
#include "crypto/init.h"

static const char HELP[] =
	"usage: shieldvm-attestd [--once]\n"
	"\n"
	"Tells guardians how far the vTPMs of the VMs have got that they have released keys for,\n"
	"when such a VM has stopped or has come from another host, and proves this host's health\n"
	"again and again.  Runs until SIGTERM; no VM ends or waits because of it.\n"
	"\n"
	"  --once  look at everything once, and end\n"
	"Exit status: 0 done, 2 wrong arguments, 3 environment; --once: 3 as well if something "
	"could\n"
	"not be told.\n";

/* Nothing of the caller's environment, no core, no debugger of the same user's. */
static int set_up(struct fault *f)
{
	const struct rlimit no_core = { 1, 1 }; /* as sandbox/phases.c has it */
	if (clearenv() != 0 || setenv("TSS2_LOG", "all+NONE", 1) < 0 || chdir("/") < 0)
		return fault_set(f, -errno, "the environment cannot be left: %s", err_text(-errno));
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
		return fault_set(f, -errno, "core dumps cannot be turned off: %s",
				 err_text(-errno));
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	int rc = crypto_init();
	return rc < 0 ? fault_set(f, rc, "libcrypto cannot be started: %s", err_text(rc)) : 0;
}

static int serve(struct tend *t, const sigset_t *ends)
{
	const struct timespec pause = { TEND_ROUND_MS / 1000, TEND_ROUND_MS % 1000 * 1000000 };
	int signal = -1;
	log_info("started");
	while (signal < 0) {
		(void)tend_round(t);
		signal = sigtimedwait(ends, NULL, &pause);
	}
	log_info("ends: signal %d", signal);
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	static const struct option OPTIONS[] = { { "help", no_argument, NULL, 'h' },
						 { "once", no_argument, NULL, 'o' },
						 { 0 } };
	struct fault f = { 0 };
	struct tend *t = NULL;
	sigset_t ends;
	int once = 0;
	for (int c; (c = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
		if (c == 'h')
			return fputs(HELP, stdout) < 0 ? EXIT_ENVIRONMENT : EXIT_DONE;
		if (c != 'o')
			return EXIT_USAGE;
		once = 1;
	}
	if (optind != argc) {
		fprintf(stderr, "shieldvm-attestd: there is no operand (see --help)\n");
		return EXIT_USAGE;
	}
	log_open(STDERR_FILENO, "shieldvm-attestd", LOG_LEVEL_INFO);
	int rc = geteuid() == 0 ? set_up(&f) : fault_set(&f, -EPERM, "only root can do this");
	/* Blocked before there is a thread. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	if (rc >= 0)
		rc = tend_new(&t, &f);
	if (rc < 0) {
		log_error("%s", f.text);
		return (int)err_exit_code(rc);
	}
	int status = !once ? serve(t, &ends) : tend_round(t) ? EXIT_ENVIRONMENT : EXIT_DONE;
	tend_free(t);
	return status;
}
