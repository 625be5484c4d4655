/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Audit records of the sealed worker: it can write none itself, so it asks the broker over the link
 * and waits until the record is durable.
 *
 * What is refused or done is refused or done after report_send() has returned: if it fails, the
 * operation must not happen (a refusal stays one).
 *
 * Used by: the worker's control thread; the shapes also by worker/broker.c.
 */
#ifndef SHIELDVM_WORKER_REPORT_H
#define SHIELDVM_WORKER_REPORT_H

#include "policy/audit_line.h"

#define REPORT_MAGIC   0x53485241U /* "SHRA" */
#define REPORT_WAIT_MS 8000	   /* more than AUDIT_LOCK_MS */

/* Worker to broker.  Texts are cut to their size and end with a NUL. */
struct broker_audit {
	uint32_t magic, number;
	uint32_t event, channel, verdict; /* policy/audit_line.h */
	int32_t pid;			  /* the peer's, -1: not known */
	int64_t uid;			  /* likewise */
	char rule[AUDIT_RULE_MAX], request[AUDIT_REQUEST_MAX], reason[AUDIT_REASON_MAX];
};

/* Broker to worker. */
struct broker_audited {
	uint32_t magic, number;
	int32_t rc; /* of audit_append() */
};

/* A message with its texts, made printable; REQUEST must not hold a secret.  NULL is "". */
void report_init(struct broker_audit *m, enum audit_event event, enum audit_channel channel,
		 enum audit_verdict verdict, const char *rule, const char *request,
		 const char *reason);

/* Have M recorded over LINK.  0 when it is durable; what audit_append() said, -ETIMEDOUT, -EPIPE.
 * sendmsg(2), recvmsg(2), poll(2), clock_gettime(2). */
int report_send(int link, struct broker_audit *m) MUST_CHECK;

/* The broker's side: M, of N bytes, as a record without VM, name and level.  A worker speaks for
 * the monitor and the vTPM and for nobody else.  ERR_FORMAT. */
int report_take(const struct broker_audit *m, size_t n, struct audit_record *out) MUST_CHECK;

/* 1 if the N bytes at M, received on the link, are an answer: one that came too late, to be
 * dropped.
 */
int report_is_answer(const void *m, size_t n);

#endif
