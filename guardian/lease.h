/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Leases: one live instance per VM, and no start from state that is older than what the VM has
 * shown.
 *
 * A VM's lease has one holder.  It changes hands by a start where nobody holds it, by a migration
 * (the holder hands it over), or after it was given up; when a holder is gone for good, its lease
 * is taken back once it has expired, by the owner's or an admin's word and never by itself: a host
 * that cannot be reached may well go on running the VM.  Each change has a new fencing token, and
 * who shows an older one is told so.  The holder itself may start again, which fences its older
 * instance.
 *
 * The guardian remembers the highest version of the vTPM's state that a holder reported.  Starting
 * from less takes a ticket by the owner, good once; the versions up to that highest one stay spent,
 * so that the two pasts of such a VM never meet under one number.
 *
 * A VM is known by its UUID and its owner's key.  What is decided here about a VM's key or lease is
 * in its release log, in the same transaction.
 *
 * May be used by: guardian/.
 */
#ifndef SHIELDVM_GUARDIAN_LEASE_H
#define SHIELDVM_GUARDIAN_LEASE_H

#include "attest/evidence.h"
#include "guardian/guardian.h"

#define LEASE_SECONDS	   900
#define LEASE_RESTORE_TYP  "shieldvm-restore+jws"
#define LEASE_TAKEBACK_TYP "shieldvm-takeback+jws"

/* Which instance of which VM is to run where.  All of it belongs to the caller. */
struct lease_ask {
	uint8_t vm[UUID_BYTES];
	uint8_t host[UUID_BYTES];	 /* as the transport knows it */
	const struct jwk *owner;	 /* of the VM's protector, which was verified */
	enum healthcert_assurance least; /* what the protector is content with */
	const uint8_t *certificate;	 /* the host's health certificate */
	size_t certificate_bytes;
	uint8_t worker[ATTEST_WORKER_KEY_BYTES];
	int64_t version;    /* of the vTPM state to start from; 0: none yet */
	const char *ticket; /* the owner's, for older state; NULL without */
	size_t ticket_chars;
	uint8_t request[LEDGER_REQUEST_BYTES];
};

struct lease_grant {
	int64_t token, expires;
	int64_t spent;		  /* the instance's state versions must be higher */
	struct healthcert health; /* what the certificate says: the keys to encrypt to */
};

/*
 * The host of ASK may run the VM and have its key.  The key may leave after this has returned 0,
 * and not before.  Refuses as certificate.*, host.*, vm.version, ticket.invalid,
 * lease.held, guardian.*.
 */
int lease_start(const struct guardian *g, const struct lease_ask *ask, int64_t now,
		struct lease_grant *out, struct refusal *why) MUST_CHECK;

/* The holder FROM hands the lease to the host of ASK, whose version is the one that FROM ended
 * with. As lease_start(); lease.lost, lease.none. */
int lease_handover(const struct guardian *g, const uint8_t from[static UUID_BYTES], int64_t token,
		   const struct lease_ask *ask, int64_t now, struct lease_grant *out,
		   struct refusal *why) MUST_CHECK;

/*
 * The holder tells its state's version, and is to do so every few minutes: its lease is renewed,
 * unless it is no longer approved.  *EXPIRES is when the lease does.  Refuses as lease.lost,
 * vm.version (lower than one reported before).
 */
int lease_report(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		 const uint8_t vm[static UUID_BYTES], int64_t token, int64_t version, int64_t now,
		 int64_t *expires, struct refusal *why) MUST_CHECK;

/* The VM has stopped, with this version.  As lease_report(). */
int lease_stop(const struct guardian *g, const uint8_t host[static UUID_BYTES],
	       const uint8_t vm[static UUID_BYTES], int64_t token, int64_t version, int64_t now,
	       struct refusal *why) MUST_CHECK;

/*
 * Take the expired lease of VM back: by the word of the admin whose certificate BY is, who names
 * the OWNER's thumbprint; or of the owner, whose STATEMENT is a JWS of kind LEASE_TAKEBACK_TYP over
 * lease_takeback_text().  Refuses as lease.running, lease.none; admin.*; ticket.invalid.
 */
int lease_takeback(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		   const uint8_t vm[static UUID_BYTES], const char *owner, int64_t now,
		   struct refusal *why) MUST_CHECK;
int lease_takeback_by_owner(const struct guardian *g, const struct jwk *owner,
			    const uint8_t vm[static UUID_BYTES], const char *statement, size_t n,
			    int64_t now, struct refusal *why) MUST_CHECK;

/* Append what an owner signs: that the lease with TOKEN is taken back; that the VM may start from
 * state VERSION, as its restore number RESTORES (from 0).  Errors of buf_reserve(). */
int lease_takeback_text(const uint8_t vm[static UUID_BYTES], int64_t token,
			struct buf *out) MUST_CHECK;
int lease_restore_text(const uint8_t vm[static UUID_BYTES], int64_t version, int64_t restores,
		       struct buf *out) MUST_CHECK;

#endif
