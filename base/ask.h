/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the hook has a guardian asked for a VM's key: message shapes only, no code.
 *
 * The hook starts shieldvm-ask (attest/ask.c) with one end of an AF_UNIX SOCK_SEQPACKET pair as
 * descriptor ASK_FD, sends one ask_request with the protector's text behind it, and gets one
 * ask_reply.  A process of its own, so that neither HTTP nor TPM code is in the hook, which libvirt
 * runs for every domain; and so that it can be ended when it takes too long.  Host byte order, as
 * in base/spawn.h.
 *
 * When the reply comes, the VM's lease is noted durably (attest/lease_note.h).
 */
#ifndef SHIELDVM_BASE_ASK_H
#define SHIELDVM_BASE_ASK_H

#include "base/spawn.h"

#define ASK_MAGIC	0x53485641U /* "SHVA" */
#define ASK_VERSION	2
#define ASK_FD		3
#define ASK_TIMEOUT_MS	120000 /* for all of it: TPM, and every guardian that is tried */
#define ASK_RULE_MAX	64     /* with the NUL */
#define ASK_ADDRESS_MAX 400    /* of the guardian that answered, without its pin; with the NUL */

struct ask_request {
	uint32_t magic, version;
	uint8_t vm[UUID_BYTES];
	uint8_t worker[SPAWN_POINT_BYTES];
	uint64_t state_version;
	uint32_t comes; /* 1: the VM is to come from another host, which has its lease */
	uint32_t protector_bytes;
	/* protector_bytes of text follow, verified by the hook */
};

struct ask_reply {
	uint32_t magic, version;
	int32_t rc;		   /* 0, or the error */
	char rule[ASK_RULE_MAX];   /* of a refusal, for the audit log: the guardian's id for it,
				    * "guardian.unreachable", "guardian.host" (this host is not set
				    * up) */
	char text[FAULT_TEXT_MAX]; /* and its sentence */

	char guardian[ASK_ADDRESS_MAX]; /* who released it; "" in an offline start */
	uint32_t offline_left;		/* starts left from the sealed copy, after this one */
	struct spawn_key key;
};

#endif
