/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm attest --guardian: what attest/health.h does, and its result for a person.
 */
#include <errno.h>
#include <fcntl.h>

#include "attest/health.h"
#include "base/fd.h"
#include "base/paths.h"
#include "cli/attest.h"

static int write_certificate(const char *path, const struct buf *der, struct fault *f)
{
	return fd_write_file(AT_FDCWD, path, der->data, der->len, 0644, 1, f);
}

/* What was found, in a refusal (CERT is NULL) or with a certificate. */
static int report(const struct attest_remote *o, const struct remote *r,
		  const struct client_refusal *why, const struct healthcert *cert, struct fault *f)
{
	struct attest_by by = { .guardian = client_address(r->client),
				.refused = cert ? NULL : why->id,
				.certificate = cert };
	return attest_report(&why->findings, &by, o->json, f);
}

static int certify(struct remote *r, struct hosttpm *t, const struct attest_remote *o,
		   const struct conf *how, struct client_refusal *why, struct fault *f)
{
	struct fault said = { 0 };
	CLEANUP_HEALTH struct health h;
	health_init(&h);
	int rc = health_attest(r, t, how, HEALTH_NO_WORKER, &h, why, &said);
	if (rc == ERR_POLICY && why->id[0]) {
		rc = report(o, r, why, NULL, f);
		return fault_set(f, rc < 0 && rc != ERR_POLICY ? rc : ERR_POLICY, "%s", said.text);
	}
	if (rc < 0)
		return fault_set(f, rc, "%s", said.text);
	if (o->certificate)
		rc = write_certificate(o->certificate, &h.certificate, f);
	return rc < 0 ? rc : report(o, r, why, &h.says, f);
}

/* What the host was enrolled with, where the options say nothing else. */
static int settle(const struct attest_remote *o, struct conf *c, struct fault *f)
{
	const struct {
		const char *given;
		const char **value;
	} ALL[] = { { o->tcti, &c->tcti }, { o->eventlog, &c->eventlog }, { o->ima, &c->ima } };
	int rc = conf_read(PATH_ATTEST, c, f);
	for (size_t i = 0; rc >= 0 && i < 3; i++) {
		if (!ALL[i].given)
			continue;
		c->mode = HEALTHCERT_TPM;
		free((void *)*ALL[i].value);
		*ALL[i].value = strdup(ALL[i].given);
		if (!*ALL[i].value)
			rc = fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	}
	if (o->host_key_only)
		c->mode = HEALTHCERT_HOSTKEY;
	return rc;
}

int attest_remotely(const struct attest_remote *o, struct fault *f)
{
	CLEANUP_CONF struct conf c = { 0 };
	struct remote r CLEANUP_REMOTE = { 0 };
	struct hosttpm *t = NULL;
	struct client_refusal *why = calloc(1, sizeof(*why));
	if (!why)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	int rc = settle(o, &c, f);
	if (rc >= 0)
		rc = remote_open(o->guardian, PATH_HOST_KEY, "attest", &r, f);
	if (rc >= 0 && c.mode == HEALTHCERT_TPM)
		rc = hosttpm_open(c.tcti, &t, f);
	if (rc >= 0)
		rc = certify(&r, t, o, &c, why, f);
	hosttpm_close(t);
	free(why);
	return rc;
}
