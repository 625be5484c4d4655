/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `shieldvm selftest`: a throw-away VM's worker on this very kernel, attacked in every way that
 * SECURITY.md names.
 *
 * Theory of operation.  selftest.c runs, in a mount and a PID namespace of its own in which tmpfs
 * lies over all of shieldvm's folders, the same code as the hook (libvirt/spawner.h) for a VM that
 * it shields itself, so it knows the secrets: the VM key, the vTPM's seeds and what it writes into
 * an NV index.  A stand-in for QEMU launches it.  Each attack is a row of selftest_attacks.c and
 * runs in a process of its own, as root or as QEMU's user, for a limited time; it looks for the
 * secrets ("canaries") in whatever it can read.  Where that makes sense the same attack runs
 * against a decoy first, an unprotected process that holds the same canaries: an attack that finds
 * nothing there proves nothing about the worker.
 *
 * Everything ends with the PID namespace, and nothing of it was ever on a disk.
 */
#ifndef SHIELDVM_CLI_SELFTEST_H
#define SHIELDVM_CLI_SELFTEST_H

#include "cli/selftest_tpm.h"
#include "cli/selftest_vm.h"

#define SELFTEST_TEXT_MAX  224
#define SELFTEST_ATTACK_MS 25000 /* no attack takes longer; it is ended and counts as open */

enum outcome {
	OUTCOME_CLOSED,
	OUTCOME_RESIDUAL,   /* open, and SECURITY.md says so */
	OUTCOME_OPEN,	    /* open, and SECURITY.md says that it is closed */
	OUTCOME_IMPOSSIBLE, /* it could not be tried here */
};

struct finding {
	enum outcome outcome;
	char text[SELFTEST_TEXT_MAX];
};

/* Say what an attack found.  An open way is not closed again by what is tried after it. */
void find_open(struct finding *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
void find_closed(struct finding *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
void find_impossible(struct finding *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* If a canary is in the N bytes at MEM: find_open() with its name and WHERE, and 1. */
int find_canary(const struct victim *v, const void *mem, size_t n, const char *where,
		struct finding *out);

enum attacker { AS_ROOT, AS_QEMU };

struct attack {
	const char *id;
	enum attacker as;
	const char *does;    /* what is tried */
	const char *claim;   /* the row of SECURITY.md that says it is closed, or open */
	const char *feature; /* what closes it */
	const char *remedy;  /* what to do about it where it is open */
	int residual;	     /* 1: SECURITY.md names it as a way that stays open */
	int decoy;	     /* 1: must succeed against an unprotected process first */
	int fresh; /* 1: leaves the VM in a state in which no other attack should find it */
	void (*run)(struct victim *v, struct finding *out);
};

extern const struct attack ATTACKS[];
extern const size_t N_ATTACKS;

#define ATTACK(name) void attack_##name(struct victim *v, struct finding *out)

/* selftest_memory.c: reading memory. */
ATTACK(proc_mem);
ATTACK(process_vm);
ATTACK(map_files);
ATTACK(gcore);
ATTACK(core_dump);
ATTACK(proc_environ);
ATTACK(proc_files);
ATTACK(swap);
ATTACK(ksm);
ATTACK(qemu_memory);

/* selftest_debug.c: debuggers, and descriptors that can be duplicated. */
ATTACK(ptrace_attach);
ATTACK(ptrace_seize);
ATTACK(ptrace_inject);
ATTACK(write_memory);
ATTACK(pidfd_getfd);
ATTACK(proc_fd);
ATTACK(in_flight);
ATTACK(debug_as_qemu);

/* selftest_kernel.c: through the kernel. */
ATTACK(uprobes);
ATTACK(perf_stack);
ATTACK(bpf_read);
ATTACK(kcore);
ATTACK(modules);
ATTACK(kprobes);
ATTACK(kexec);

/* selftest_host.c: around the worker's start. */
ATTACK(environment);
ATTACK(openssl_config);
ATTACK(planted_links);
ATTACK(forged_order);
ATTACK(control_socket);
ATTACK(second_launcher);
ATTACK(pid_reuse);

/* selftest_peers.c: while it runs. */
ATTACK(descriptors);
ATTACK(stop_games);
ATTACK(kill_one);
ATTACK(junk);
ATTACK(state_blobs);
ATTACK(other_vm);

#endif
