/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hosts that are simulated, and the VMs they start, at a guardian that is not: every request goes
 * through the host's own client (attest/client.h) over real TLS, and carries evidence that a
 * guardian has to look into as always.  What a guardian refuses, or does not answer, is returned;
 * what may not happen at all fails the program.
 *
 * One thread at a time per host.
 */
#ifndef SHIELDVM_TESTS_FLEET_FLEET_H
#define SHIELDVM_TESTS_FLEET_FLEET_H

#include "attest/client.h"
#include "crypto/keyrelease.h"
#include "tests/fleet/tpm.h"

struct simhost {
	uint8_t id[UUID_BYTES];
	char text[UUID_TEXT_SIZE], name[16];
	struct simtpm tpm;
	struct jwk *tls;
	struct client *client;	/* NULL: not connected */
	struct buf certificate; /* the last one; empty: none yet */
	EVP_PKEY *worker;	/* that it is for */
};

struct simvm {
	uint8_t id[UUID_BYTES];
	char text[UUID_TEXT_SIZE];
	struct vm_key key;
	struct buf protector;
};

/* Why something was not done; the id is empty where nobody refused. */
struct said {
	char id[CLIENT_ID_MAX];
	struct fault fault;
};

struct simgrant {
	int64_t token, expires, spent;
};

/* What all hosts have measured: EVENTS more than a boot has at least, and IMA_ENTRIES. */
void fleet_boot(struct host *boot, unsigned events, unsigned ima_entries);

/* Host number I. */
void simhost_make(struct simhost *h, unsigned i, const struct maker *m, const struct host *boot);
void simhost_done(struct simhost *h);
/* Its connections are made when they are needed, each at most once at a time. */
void simhost_connect(struct simhost *h, const struct client_urls *urls, int deadline_ms);
void simhost_leave(struct simhost *h);

/* A VM whose key the guardian with the public key RELEASE may give out. */
void simvm_make(struct simvm *v, unsigned i, const struct jwk *owner, const struct jwk *release);
void simvm_done(struct simvm *v);

/* Enrol: 0 and the fingerprint that an admin has to approve. */
int simhost_enrol(struct simhost *h, char print[static 65], struct said *why) MUST_CHECK;
/* Challenge, evidence for a new worker, certificate. */
int simhost_attest(struct simhost *h, const struct host *boot, struct said *why) MUST_CHECK;
/* The key of V for that worker.  It has to open, to be V's, and to say what the answer said: else
 * ERR_AUTH. */
int simhost_release(struct simhost *h, const struct simvm *v, int64_t version,
		    const uint8_t request[static KEYRELEASE_REQUEST_BYTES], struct simgrant *out,
		    struct said *why) MUST_CHECK;
int simhost_stop(struct simhost *h, const struct simvm *v, int64_t token, int64_t version,
		 struct said *why) MUST_CHECK;

/* An admin's words over C, a client with the admin's key: a policy that BOOT alone passes, and a
 * host's approval. */
int fleet_policy(struct client *c, const struct host *boot, struct said *why) MUST_CHECK;
int fleet_approve(struct client *c, const struct simhost *h, const char *print,
		  struct said *why) MUST_CHECK;

#endif
