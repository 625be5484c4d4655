/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hosts in the guardian's database: one row each, whose EK, AK and key are no other row's.
 *
 * Errors as in guardian/store.h.  May be used by: guardian/.
 */
#ifndef SHIELDVM_GUARDIAN_STORE_HOST_H
#define SHIELDVM_GUARDIAN_STORE_HOST_H

#include "guardian/store.h"

/* Enrolments that nobody has approved: of each mode, so that whoever has keys and no TPMs keeps out
 * no host that has one. */
#define STORE_PENDING_MAX     1024
#define STORE_PENDING_SECONDS (7 * 86400) /* until they are forgotten */
#define STORE_EK_ID_BYTES     32
#define STORE_EK_CERT_MAX     4096
#define STORE_AK_PUB_MAX      1024
#define STORE_HOST_KEY_MAX    1024

enum store_host_mode {
	STORE_MODE_TPM,	    /* ek_id, ek_cert, ak_pub */
	STORE_MODE_HOSTKEY, /* host_key; the weaker assurance */
};
enum store_host_state {
	STORE_PENDING,	 /* waits for an admin's word */
	STORE_APPROVED,	 /* may attest */
	STORE_REVOKED,	 /* may not, for good or until it is replaced */
	STORE_REPLACING, /* the next enrolment under this id takes the row over */
};
const char *store_host_mode_name(enum store_host_mode mode);
const char *store_host_state_name(enum store_host_state state);

struct store_host {
	uint8_t id[UUID_BYTES];
	char name[STORE_NAME_MAX];
	enum store_host_mode mode;
	enum store_host_state state;
	uint8_t ek_id[STORE_EK_ID_BYTES]; /* SHA-256 of the key alone: see enrol.h */
	struct buf ek_cert;		  /* DER */
	struct buf ak_pub;		  /* TPMT_PUBLIC */
	struct buf host_key;		  /* public JWK, the one line of jwk_public_text() */
	uint8_t tls_key[STORE_FINGERPRINT_BYTES]; /* of its client certificate: crypto/tls.h */
	int64_t enrolled, decided; /* when it was enrolled; when by whom the state last changed */
	char decided_by[STORE_NAME_MAX]; /* empty: nobody yet */
	/* What the TPM's clock said in the last certificate; -1: none yet. */
	int64_t reset_count, restart_count;
};
/* An empty one; the buffers have their maxima. */
void store_host_init(struct store_host *h);
void store_host_done(struct store_host *h);
#define CLEANUP_STORE_HOST CLEANUP(store_host_done)

/*
 * What an admin compares and approves: SHA-256 over mode, EK, AK, host key and the
 * key of its client certificate.  The same row
 * with another key has another one.  ERR_CRYPTO.
 */
int store_host_fingerprint(const struct store_host *h,
			   uint8_t out[static STORE_FINGERPRINT_BYTES]) MUST_CHECK;

/*
 * Add H as pending, or take over the row with its id that is STORE_REPLACING.  -EEXIST with a
 * sentence saying what is taken: the id, the name, the EK, the AK, the key
 * or that of its client certificate; ERR_LIMIT over
 * STORE_PENDING_MAX.  State, decisions and counts of H are not looked at.
 */
int store_host_add(struct store *s, const struct store_host *h, struct fault *f) MUST_CHECK;

/* The host with ID, into an initialised OUT.  -ENOENT. */
int store_host_get(struct store *s, const uint8_t id[static UUID_BYTES], struct store_host *out,
		   struct fault *f) MUST_CHECK;

/* Call FN for up to LIMIT hosts in the order of names, from the one behind AFTER on ("": the
 * first); a value < 0 ends it and is returned. */
typedef int store_host_each_fn(const struct store_host *h, void *arg);
int store_host_each(struct store *s, const char *after, int64_t limit, store_host_each_fn *fn,
		    void *arg, struct fault *f) MUST_CHECK;

/* Forget hosts that were enrolled by UNTIL and that nobody has approved.  One that has had leases
 * before it was replaced stays. */
int store_host_prune(struct store *s, int64_t until, struct fault *f) MUST_CHECK;

/* Change the state from FROM to TO by an admin's word.  ERR_STATE if it is not FROM. */
int store_host_decide(struct store *s, const uint8_t id[static UUID_BYTES],
		      enum store_host_state from, enum store_host_state to, int64_t now,
		      const char *by, struct fault *f) MUST_CHECK;

/* What the TPM's clock says now.  ERR_STATE if it went back: a TPM that was cleared, or another. */
int store_host_counts(struct store *s, const uint8_t id[static UUID_BYTES], uint32_t reset_count,
		      uint32_t restart_count, struct fault *f) MUST_CHECK;

#endif
