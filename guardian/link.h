/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guardian's processes say to each other: messages over SOCK_STREAM socket pairs, each
 * with a fixed header in host byte order (same machine, same build) and a size that the receiver
 * bounds before it takes any of it.
 *
 *  ask:    front -> keeper: a struct link_ask, the path, the body; answered by LINK_ANSWER under
 *          the same id: a struct link_answer and a JSON text.
 *  judge:  keeper -> verifier: a struct link_judge, the AK, the policy, the request's body;
 *          answered by LINK_VERDICT under the same id: a struct link_verdict and its findings.
 *  parent: the parent hands keeper and front the ends of their links (SCM_RIGHTS, one byte), and
 *          the keeper asks it to end a verifier that takes too long.
 *
 * A peer's message that is malformed or too large is answered by nothing: the link is closed.
 *
 * May be used by: guardian/'s processes, in every phase (poll(2), read(2), write(2)).
 */
#ifndef SHIELDVM_GUARDIAN_LINK_H
#define SHIELDVM_GUARDIAN_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "attest/evidence.h"
#include "attest/finding.h"
#include "guardian/store.h"

#define LINK_MAGIC     0x53485647U /* "SHVG" */
#define LINK_PATH_MAX  256	   /* characters of a request's path and query */
#define LINK_BODY_MAX  (EVIDENCE_TEXT_MAX + 4096)
#define LINK_ASK_MAX   (LINK_BODY_MAX + 1024)
#define LINK_REPLY_MAX (8 * 1024 * 1024)
#define LINK_JUDGE_MAX (LINK_BODY_MAX + STORE_POLICY_MAX + 8192)
#define LINK_ID_BYTES  64 /* characters of a finding's id, with the NUL */
#define LINK_WRITE_MS  5000

enum link_op { LINK_ASK = 1, LINK_ANSWER, LINK_JUDGE, LINK_VERDICT };

struct link_head {
	uint32_t magic;
	uint32_t op;
	uint64_t id; /* the asker's choice */
	uint64_t n;  /* bytes that follow */
};

enum link_listener { LINK_HOSTS, LINK_ADMINS };
enum link_method { LINK_GET, LINK_POST };
struct link_ask {
	uint32_t listener, method;
	uint8_t peer[STORE_FINGERPRINT_BYTES];
	uint32_t n_path;
	uint32_t n_body;
};

struct link_answer {
	uint32_t status; /* of HTTP */
};

struct link_judge {
	struct challenge challenge;
	uint8_t host[UUID_BYTES];
	uint32_t n_ak, n_policy, n_body;
};

/* Findings as they travel: an id is text, since the verifier's word is looked at like a peer's. */
struct link_finding {
	char id[LINK_ID_BYTES];
	uint32_t verdict;
	char evidence[FINDING_TEXT_MAX];
};
struct link_verdict {
	uint32_t healthy;
	uint8_t x[32], y[32];
	uint8_t worker[ATTEST_WORKER_KEY_BYTES];
	uint32_t reset_count, restart_count;
	uint32_t n_findings;
};
#define LINK_VERDICT_MAX (sizeof(struct link_verdict) + FINDINGS_MAX * sizeof(struct link_finding))

/* 0 if H is the header of an OP with at most MAX bytes; ERR_FORMAT, ERR_LIMIT. */
int link_check(const struct link_head *h, enum link_op op, size_t max) MUST_CHECK;

/*
 * Read a message of kind OP into an empty B, whose maximum bounds it, and its id.  0, ERR_STATE at
 * end of file before it, ERR_TRUNCATED in it, -ETIMEDOUT when DEADLINE_MS (base/clock.h; 0: none)
 * has passed, ERR_FORMAT, ERR_LIMIT, -errno.  After a failure the link is of no more use.
 */
int link_read(int fd, enum link_op op, int64_t deadline_ms, uint64_t *id, struct buf *b) MUST_CHECK;

/* A part of what is sent. */
struct link_part {
	const void *data;
	size_t n;
};
/* Write one message of N parts, within LINK_WRITE_MS.  0, -ETIMEDOUT, ERR_LIMIT, -errno. */
int link_write(int fd, enum link_op op, uint64_t id, const struct link_part *parts,
	       size_t n_parts) MUST_CHECK;

/* Take the fixed part of N bytes at the front of the message M from *AT on, moving *AT.
 * ERR_TRUNCATED. */
int link_take(const struct buf *m, size_t *at, void *out, size_t n) MUST_CHECK;

/* The same, a piece that stays in M. */
int link_piece(const struct buf *m, size_t *at, size_t n, const uint8_t **out) MUST_CHECK;

/* FINDINGS of a verdict, and back: ERR_FORMAT for an id, a verdict or a text that is none. */
void link_finding_put(const struct finding *in, struct link_finding *out);
int link_finding_get(const struct link_finding *in, struct findings *out) MUST_CHECK;

#endif
