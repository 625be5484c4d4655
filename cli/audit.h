/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What `shieldvm audit`'s commands share: their options, and which records they are about.
 */
#ifndef SHIELDVM_CLI_AUDIT_H
#define SHIELDVM_CLI_AUDIT_H

#include "policy/audit_read.h"

struct audit_options {
	const char *log, *head, *anchor, *host_key; /* paths; NULL: not given */
	int json, has_vm;
	uint8_t vm[UUID_BYTES];
	int64_t since_ms; /* 0: all */
};

/*
 * Parse the options named in TAKES, a string of their letters: v(m), s(ince), j(son), l(og), e
 * (head), a(nchor), k (host-key).  ERR_USAGE, OPTIONS_HELP.
 */
int audit_options(int argc, char **argv, const char *takes, struct audit_options *out,
		  struct fault *f) MUST_CHECK;

/* Read O's log, FN getting only the records O asks for; lines that are none are told on stderr. */
int audit_select(const struct audit_options *o, audit_each_fn *fn, void *arg,
		 struct fault *f) MUST_CHECK;

#endif
