/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Certificates, leases and the release log in the guardian's database.
 *
 * Errors as in guardian/store.h.  May be used by: guardian/.
 */
#ifndef SHIELDVM_GUARDIAN_STORE_VM_H
#define SHIELDVM_GUARDIAN_STORE_VM_H

#include "guardian/store.h"

#define STORE_SERIAL_BYTES  20
#define STORE_HASH_BYTES    32
#define STORE_OWNER_SIZE    44	 /* a JWK thumbprint with its NUL */
#define STORE_STATEMENT_MAX 8192 /* characters of a log record */

/* What was certified of a host. */
struct store_certificate {
	uint8_t serial[STORE_SERIAL_BYTES];
	uint8_t host[UUID_BYTES];
	uint8_t bk_hash[STORE_HASH_BYTES];     /* of the PCR-bound key's point */
	uint8_t worker_hash[STORE_HASH_BYTES]; /* of the worker's ephemeral key */
	int64_t generation;		       /* of the policy it was judged by */
	uint32_t reset_count, restart_count;
	int64_t not_after;
};

/* -EEXIST for a serial number that was used. */
int store_certificate_add(struct store *s, const struct store_certificate *c,
			  struct fault *f) MUST_CHECK;
/* -ENOENT: not issued by a guardian of this database, or pruned. */
int store_certificate_get(struct store *s, const uint8_t serial[static STORE_SERIAL_BYTES],
			  struct store_certificate *out, struct fault *f) MUST_CHECK;

/*
 * A VM that a key was released for, and its lease.  It is known by its UUID and its owner's key: a
 * UUID alone is nobody's, and whoever came first with one would keep its owner out.  TOKEN is the
 * fencing token: it grows whenever the lease changes hands, and who shows an older one is no longer
 * the holder.
 */
struct store_vm {
	uint8_t vm[UUID_BYTES];
	char owner[STORE_OWNER_SIZE]; /* thumbprint; does not change */
	int held;		      /* by HOLDER, until it gives it up or it is taken back */
	uint8_t holder[UUID_BYTES];
	int64_t token;	  /* 0: never leased */
	int64_t expires;  /* may be taken back from then on */
	int64_t version;  /* highest vTPM state version reported */
	int64_t restores; /* restore tickets used */
	int64_t took;	  /* the token that HOLDER named when it took the lease over; -1: it has it
			     by a start */
	int64_t edition;  /* highest of the protectors that its key was released by; 0: of none that
			     has one */
};

/* -ENOENT. */
int store_vm_get(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
		 struct store_vm *out, struct fault *f) MUST_CHECK;
/* The one whose lease HOLDER has with TOKEN, which no other VM with this UUID has.  -ENOENT. */
int store_vm_held(struct store *s, const uint8_t vm[static UUID_BYTES],
		  const uint8_t holder[static UUID_BYTES], int64_t token, struct store_vm *out,
		  struct fault *f) MUST_CHECK;
/* The one that HOLDER took over by naming TOKEN, and has had without a break since.  -ENOENT. */
int store_vm_took(struct store *s, const uint8_t vm[static UUID_BYTES],
		  const uint8_t holder[static UUID_BYTES], int64_t token, struct store_vm *out,
		  struct fault *f) MUST_CHECK;
/* The highest token of all VMs with this UUID, whosoever they are: the next is one more. */
int store_vm_token(struct store *s, const uint8_t vm[static UUID_BYTES], int64_t *token,
		   struct fault *f) MUST_CHECK;
/* Add V, or change it.  -EEXIST if another owner's VM has its token; ERR_STATE if token, version,
 * restores or edition would fall. */
int store_vm_put(struct store *s, const struct store_vm *v, struct fault *f) MUST_CHECK;

/*
 * That HOST awaits VM by a migration and may take the lease with TOKEN over (0: nobody has one),
 * until it expires.  A host awaits one VM with a UUID: another note takes the place of its first.
 */
struct store_incoming {
	uint8_t vm[UUID_BYTES];
	uint8_t host[UUID_BYTES];
	char owner[STORE_OWNER_SIZE];
	int64_t token, expires;
};
int store_incoming_put(struct store *s, const struct store_incoming *i, struct fault *f) MUST_CHECK;
/* -ENOENT; it may have expired. */
int store_incoming_get(struct store *s, const uint8_t vm[static UUID_BYTES],
		       const uint8_t host[static UUID_BYTES], struct store_incoming *out,
		       struct fault *f) MUST_CHECK;
/* Drop HOST's note, or all that there are about OWNER's VM; there may be none. */
int store_incoming_drop(struct store *s, const uint8_t vm[static UUID_BYTES],
			const uint8_t host[static UUID_BYTES], struct fault *f) MUST_CHECK;
int store_incoming_void(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
			struct fault *f) MUST_CHECK;

/*
 * The release log: per VM and owner (a thumbprint; "" in the guardian's own), numbered from 1
 * without gaps, never changed (the database itself refuses it).  A record's statement is signed and
 * names the hash of the one before it (guardian/ledger.h).
 */
struct store_log_head {
	int64_t seq; /* 0: no record yet */
	uint8_t hash[STORE_HASH_BYTES];
};
int store_log_head(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
		   struct store_log_head *out, struct fault *f) MUST_CHECK;
/* ERR_STATE if HEAD's seq is not the next; ERR_LIMIT over STORE_STATEMENT_MAX. */
int store_log_append(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
		     const struct store_log_head *head, const char *statement, size_t n,
		     struct fault *f) MUST_CHECK;
/* Call FN for up to LIMIT records from FROM on; a value < 0 ends it and is returned. */
typedef int store_log_each_fn(int64_t seq, const char *statement, size_t n, void *arg);
int store_log_each(struct store *s, const uint8_t vm[static UUID_BYTES], const char *owner,
		   int64_t from, int64_t limit, store_log_each_fn *fn, void *arg,
		   struct fault *f) MUST_CHECK;
/* Up to LIMIT owners of whose VMs with this UUID there are records, in the order of thumbprints;
 * *N is how many. */
int store_log_owners(struct store *s, const uint8_t vm[static UUID_BYTES], size_t limit,
		     char (*out)[STORE_OWNER_SIZE], size_t *n, struct fault *f) MUST_CHECK;

#endif
