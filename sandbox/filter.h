/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System call filters as data: one row per system call and form of arguments that is allowed, or
 * that fails in order, each with the reason.  Everything else kills the process.  Only user of
 * libseccomp.
 *
 * May be used by: sandbox/ and the tests that prove the tables.
 */
#ifndef SHIELDVM_SANDBOX_FILTER_H
#define SHIELDVM_SANDBOX_FILTER_H

#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define FILTER_CONDITIONS_MAX 3

/* One argument (0 to 5) as the kernel sees it, all 64 bits of it. */
struct filter_condition {
	unsigned int arg;
	enum scmp_compare op; /* 0: no more conditions */
	uint64_t a, b;	      /* EQ: the value; MASKED_EQ: mask and value */
};

/* It holds if all conditions do; several rows for one system call are alternatives. */
struct filter_row {
	int syscall; /* SCMP_SYS() */
	struct filter_condition conditions[FILTER_CONDITIONS_MAX];
	const char *reason;
	const char *rare; /* when it is used, if no test comes this way; else NULL */
	int error;	  /* 0: it happens; else it fails with this errno */
};

/*
 * How the tables write a row and its conditions.  RARE: no test of ours comes this way, but for the
 * reason that is given; a row without that and without a use is an error (tests/policy/observe).
 */
#define ALLOW(call, why)                                                                           \
	{                                                                                          \
		SCMP_SYS(call), { { 0 } }, why                                                     \
	}
#define ALLOW_IF(call, why, ...)                                                                   \
	{                                                                                          \
		SCMP_SYS(call), { __VA_ARGS__ }, why                                               \
	}
#define RARE(call, why, when)                                                                      \
	{                                                                                          \
		SCMP_SYS(call), { { 0 } }, why, when                                               \
	}
#define RARE_IF(call, why, when, ...)                                                              \
	{                                                                                          \
		SCMP_SYS(call), { __VA_ARGS__ }, why, when                                         \
	}
#define REFUSE_IF(call, errno_value, why, ...)                                                     \
	{                                                                                          \
		SCMP_SYS(call), { __VA_ARGS__ }, why, NULL, errno_value                            \
	}
#define IS(n, value)                                                                               \
	{                                                                                          \
		n, SCMP_CMP_EQ, (uint64_t)(value), 0                                               \
	}
#define HAS(n, mask, value)                                                                        \
	{                                                                                          \
		n, SCMP_CMP_MASKED_EQ, (uint64_t)(mask), (uint64_t)(value)                         \
	}

struct filter {
	const char *name;
	const struct filter_row *rows;
	size_t n_rows;
	const struct filter *also; /* whose rows it has besides its own, or NULL */
};

/* Load FILTER into every thread of this process.  no_new_privs must be set.  -errno, -EINVAL. */
int filter_load(const struct filter *filter, struct fault *f) MUST_CHECK;

/* The same, but what is not listed is noted in the kernel's audit log and happens. */
int filter_load_logging(const struct filter *filter, struct fault *f) MUST_CHECK;

/* Write FILTER as BPF (struct sock_filter[]) to FD, as the kernel would get it. */
int filter_export(const struct filter *filter, int fd, struct fault *f) MUST_CHECK;

#endif
