/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm attest: to a guardian (cli/certify.c), or all of it within one process, host and
 * guardian, so that a host's operator sees beforehand what a guardian would say.  What stands for
 * the guardian there sees of the host only what a guardian would be sent.
 */
#include "cli/attest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "attest/conf.h"
#include "attest/drill.h"
#include "base/fd.h"
#include "base/paths.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/outfile.h"
#include "crypto/credential.h"
#include "crypto/ekcert.h"
#include "guardian/capture.h"

struct options {
	const char *tcti, *policy, *ek_ca, *eventlog, *ima, *capture;
	const char *guardian, *certificate;
	int dry_run, json, host_key_only;
};

static int random_bytes(void *out, size_t n, struct fault *f)
{
	ssize_t got = getrandom(out, n, 0);
	return got == (ssize_t)n ? 0 : fault_set(f, -EIO, "the kernel gives no random numbers");
}

static struct blob of_buf(const struct buf *b)
{
	return (struct blob){ b->data, b->len };
}

/* The certificate against the makers that are trusted; its finding. */
static int judge_chain(const struct hosttpm_identity *id, const struct credential_ek *ek,
		       const char *ek_ca, struct findings *out, struct fault *f)
{
	if (!ek_ca) {
		finding_add(out, "ek.chain", FINDING_UNKNOWN,
			    "no TPM maker is trusted here: --ek-ca names the certificates");
		return 0;
	}
	if (id->n_certs == 0) {
		finding_add(out, "ek.absent", FINDING_FAILED, "the TPM has no certificate");
		return 0;
	}
	CLEANUP_EKCERT_ROOTS struct ekcert_roots *roots = NULL;
	CLEANUP_BUF struct buf pem = BUF_INIT(EKCERT_ROOTS_PEM_MAX);
	const char *name;
	int rc = cli_read(ek_ca, "a file of certificates", &pem, &name, f);
	if (rc < 0)
		return rc;
	rc = ekcert_roots_parse((const char *)pem.data, pem.len, &roots, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", name);
	struct hash_part certs[HOSTTPM_CERTS_MAX];
	for (unsigned i = 0; i < id->n_certs; i++)
		certs[i] = (struct hash_part){ id->certs[i].data, id->certs[i].len };
	struct fault why = { 0 };
	rc = ekcert_verify(roots, &certs[0], &certs[1], id->n_certs - 1, time(NULL), &ek->key,
			   &why);
	if (rc < 0)
		finding_fail(out,
			     rc == ERR_FORMAT	   ? "ek.certificate"
			     : rc == ERR_PURPOSE   ? "ek.usage"
			     : rc == ERR_RECIPIENT ? "ek.key"
						   : "ek.chain",
			     rc, &why);
	else
		finding_add(out, "ek.chain", FINDING_OK,
			    "its certificate leads to a trusted maker");
	return 0;
}

/* Is the AK in the TPM that has this EK?  TPM2_MakeCredential here, TPM2_ActivateCredential
 * there. */
static int judge_activation(struct hosttpm *t, const struct hosttpm_identity *id,
			    const struct credential_ek *ek, struct findings *out, struct fault *f)
{
	uint8_t name[TPM_NAME_BYTES], secret[CREDENTIAL_SECRET_BYTES], got[32] = { 0 };
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	CLEANUP_BUF struct buf encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	struct fault why = { 0 };
	int rc = tpm_name(of_buf(&id->ak_pub), name, &why);
	if (rc < 0) {
		finding_fail(out, "ak.format", rc, &why);
		return 0;
	}
	rc = random_bytes(secret, sizeof(secret), f);
	if (rc >= 0)
		rc = credential_make(ek, name, sizeof(name), secret, &object, &encrypted, f);
	if (rc < 0)
		return rc;
	rc = hosttpm_activate(t, of_buf(&object), of_buf(&encrypted), got, &why);
	if (rc >= 0 && memcmp(got, secret, sizeof(secret)) != 0)
		rc = fault_set(&why, ERR_AUTH, "the TPM opened another credential");
	if (rc < 0)
		finding_fail(out, rc == -EBUSY ? "activation.lockout" : "activation.credential", rc,
			     &why);
	else
		finding_add(out, "activation.credential", FINDING_OK,
			    "attestation key and endorsement key are in one TPM");
	return 0;
}

/* What an enrolment would say. */
static int judge_identity(struct hosttpm *t, const struct hosttpm_identity *id, const char *ek_ca,
			  struct findings *out, struct fault *f)
{
	struct credential_ek ek;
	struct fault why = { 0 };
	const char *finding = "ek.format";
	int rc = ek_check(of_buf(&id->ek_pub), &ek, &finding, &why);
	if (rc < 0) {
		finding_fail(out, finding, rc, &why);
		return 0;
	}
	rc = judge_chain(id, &ek, ek_ca, out, f);
	return rc < 0 ? rc : judge_activation(t, id, &ek, out, f);
}

static int write_capture(const char *path, struct blob ak, const struct evidence *e,
			 struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(CAPTURE_TEXT_MAX);
	struct outfile o CLEANUP_OUTFILE = { .fd = -1 };
	int rc = capture_text(ak, e, &text, f);
	if (rc >= 0)
		rc = outfile_begin(&o, path, 1, f);
	if (rc >= 0) {
		rc = fd_write_full(o.fd, text.data, text.len);
		if (rc < 0)
			fault_set(f, rc, "%s: %s", path, err_text(rc));
	}
	return rc < 0 ? rc : outfile_commit(&o, f);
}

static void append(struct findings *to, const struct findings *from)
{
	for (unsigned i = 0; i < from->n; i++)
		finding_add(to, from->at[i].id, from->at[i].verdict, "%s", from->at[i].evidence);
}

/* Challenge, evidence, appraisal; and what a guardian would then do. */
static int attest(struct hosttpm *t, struct blob ak, const struct options *o,
		  const struct policy *policy, struct findings *out, struct fault *f)
{
	static const uint8_t NO_WORKER[ATTEST_WORKER_KEY_BYTES];
	struct appraisal_of of = { .challenge = { .bank = HASH_SHA256, .mask = CHALLENGE_MASK },
				   .ak = ak,
				   .policy = policy };
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct fault ignored = { 0 };
	int rc = random_bytes(of.challenge.nonce, sizeof(of.challenge.nonce), f);
	if (rc >= 0)
		rc = random_bytes(of.host, sizeof(of.host), f);
	if (rc >= 0)
		rc = evidence_gather(t, &of.challenge, of.host, NO_WORKER, o->eventlog, o->ima, &e,
				     f);
	if (rc >= 0 && o->capture)
		rc = write_capture(o->capture, ak, &e, f);
	if (rc < 0)
		return rc;
	struct appraisal *a = calloc(1, sizeof(*a));
	if (!a)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	/* What it returns is in the findings as well. */
	rc = appraise(&of, &e, a, &ignored);
	if (rc < 0 && findings_good(&a->findings))
		rc = fault_set(f, rc, "%s", ignored.text[0] ? ignored.text : err_text(rc));
	else
		rc = 0;
	int healthy = findings_good(&a->findings);
	append(out, &a->findings);
	if (rc >= 0 && healthy)
		rc = drill_release(t, &e, a->bk_x, a->bk_y, out, f);
	free(a);
	return rc;
}

/* A dry run, or a guardian: each with options of its own. */
static int check_options(const struct options *o, struct fault *f)
{
	if (!o->dry_run == !o->guardian)
		return fault_set(f, ERR_USAGE,
				 "attest: either --dry-run or --guardian is needed (see --help)");
	if (o->guardian && (o->policy || o->ek_ca || o->capture))
		return fault_set(f, ERR_USAGE,
				 "attest: --policy, --ek-ca and --capture are for --dry-run: a"
				 " guardian has its own");
	if (o->dry_run && (o->certificate || o->host_key_only))
		return fault_set(f, ERR_USAGE, "attest: -o and --host-key-only are for --guardian");
	if (o->host_key_only && (o->tcti || o->eventlog || o->ima))
		return fault_set(f, ERR_USAGE, "attest: --host-key-only uses no TPM and no logs");
	return 0;
}

static int read_options(int argc, char **argv, struct options *o, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "dry-run", no_argument, NULL, 'd' },
		{ "guardian", required_argument, NULL, 'g' },
		{ "host-key-only", no_argument, NULL, 'H' },
		{ "json", no_argument, NULL, 'j' },
		{ "tcti", required_argument, NULL, 't' },
		{ "policy", required_argument, NULL, 'p' },
		{ "ek-ca", required_argument, NULL, 'k' },
		{ "eventlog", required_argument, NULL, 'e' },
		{ "ima", required_argument, NULL, 'i' },
		{ "capture", required_argument, NULL, 'c' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		const char **text = c == 't'   ? &o->tcti
				    : c == 'g' ? &o->guardian
				    : c == 'p' ? &o->policy
				    : c == 'k' ? &o->ek_ca
				    : c == 'e' ? &o->eventlog
				    : c == 'i' ? &o->ima
				    : c == 'c' ? &o->capture
				    : c == 'o' ? &o->certificate
					       : NULL;
		if (text)
			*text = optarg;
		o->dry_run |= c == 'd';
		o->host_key_only |= c == 'H';
		o->json |= c == 'j';
	}
	int rc = options_operands(argc, argv, 0, "", f);
	return rc < 0 ? rc : check_options(o, f);
}

static int attest_all(const struct options *o, const struct policy *policy, struct findings *out,
		      struct fault *f)
{
	struct hosttpm *t = NULL;
	struct hosttpm_identity id = { 0 };
	int rc = hosttpm_open(o->tcti, &t, f);
	if (rc < 0)
		return rc;
	rc = hosttpm_identity(t, &id, f);
	if (rc >= 0)
		rc = judge_identity(t, &id, o->ek_ca, out, f);
	if (rc >= 0)
		rc = attest(t, of_buf(&id.ak_pub), o, policy, out, f);
	hosttpm_identity_done(&id);
	hosttpm_close(t);
	return rc;
}

int cmd_attest(int argc, char **argv, struct fault *f)
{
	struct options o = { 0 };
	struct policy *policy = NULL;
	const char *name;
	int rc = read_options(argc, argv, &o, f);
	if (rc != 0)
		return rc;
	/* The TSS2 libraries log to standard error what they return as well. */
	setenv("TSS2_LOG", "all+NONE", 0);
	if (o.guardian) {
		struct attest_remote remote = { o.guardian,    o.tcti,		o.eventlog, o.ima,
						o.certificate, o.host_key_only, o.json };
		return attest_remotely(&remote, f);
	}
	struct findings *findings = calloc(1, sizeof(*findings));
	if (!findings)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	CLEANUP_CONF struct conf conf = { 0 };
	rc = conf_read(PATH_ATTEST, &conf, f);
	o.tcti = o.tcti ? o.tcti : conf.tcti;
	o.eventlog = o.eventlog ? o.eventlog : conf.eventlog;
	o.ima = o.ima ? o.ima : conf.ima;
	if (rc >= 0)
		rc = guardian_policy_read(o.policy, o.policy != NULL, &policy, &name, f);
	if (rc >= 0)
		rc = attest_all(&o, policy, findings, f);
	if (rc >= 0)
		rc = attest_report(findings, &(struct attest_by){ .policy = name }, o.json, f);
	policy_free(policy);
	free(findings);
	return rc;
}
