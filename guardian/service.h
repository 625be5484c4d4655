/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guardian's interface (docs/FORMAT.md, "Guardian's interface"): a request, as text, becomes a
 * decision (enrol.h, certify.h, release.h, lease.h, admin.h), and its outcome the text of a reply.
 *
 * Who asks is the fingerprint of his client certificate's key.  On the hosts' listener a host's id
 * is answered for only to the certificate that it was enrolled with; on the admins', admin.h knows
 * admins by it.  Bodies are read strictly.  A reply is always JSON; one that refuses has the id, a
 * sentence and, of an attestation, the findings.  What failed in the guardian itself (its database,
 * log, keys) is for its own log: it would tell hosts where these are.
 *
 * May be used by: guardian/ (its keeper), tests.
 */
#ifndef SHIELDVM_GUARDIAN_SERVICE_H
#define SHIELDVM_GUARDIAN_SERVICE_H

#include "guardian/certify.h"
#include "guardian/link.h"
#include "guardian/route.h"

#define SERVICE_LOG_RECORDS 256 /* of the release log in a reply */
#define SERVICE_HOSTS	    256 /* in a reply */

struct service_ask {
	enum link_listener listener;
	enum link_method method;
	uint8_t peer[STORE_FINGERPRINT_BYTES];
	const char *path; /* with its query; ends with a NUL */
	const char *body; /* N_BODY bytes */
	size_t n_body;
};

struct service_reply {
	unsigned status;  /* of HTTP: 200, or what refuses */
	struct buf body;  /* JSON; empty only when memory is out */
	struct fault own; /* of the guardian itself, not in BODY; no text if there is none */
};
void service_reply_init(struct service_reply *r);
void service_reply_done(struct service_reply *r);
#define CLEANUP_SERVICE_REPLY CLEANUP(service_reply_done)

/*
 * Answer Q at NOW (seconds since 1970) in an initialised OUT; or SERVICE_JUDGE: the evidence in Q's
 * body has to be judged for the case C (initialised) first, and service_judged() answers.
 */
enum service_next { SERVICE_DONE, SERVICE_JUDGE };
enum service_next service_ask(const struct guardian *g, const struct service_ask *q, int64_t now,
			      struct certify_case *c, struct service_reply *out) MUST_CHECK;

/* Certify as the verifier's VERDICT on C allows, or refuse with FINDINGS. */
void service_judged(const struct guardian *g, const struct certify_case *c,
		    const struct certify_verdict *verdict, const struct findings *findings,
		    int64_t now, struct service_reply *out);

/* Answer with a refusal that is not a decision's: ID of guardian/refusal.c, RC, and a sentence. */
void service_refuse(struct service_reply *out, const char *id, int rc, const char *text);

#endif
