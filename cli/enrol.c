/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm host enrol: this host's TPM and key become known to a guardian, whose admin then
 * approves them.
 *
 * What the admin has to compare is worked out here, from the keys themselves: a guardian, or
 * somebody in between, cannot have another host approved by telling another fingerprint.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attest/conf.h"
#include "attest/enlist.h"
#include "attest/form.h"
#include "attest/hosttpm.h"
#include "base/paths.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/tls.h"
#include "guardian/enrol.h"

struct options {
	const char *guardian, *name, *tcti, *eventlog, *ima;
	int host_key_only;
};

/* The fingerprint, from the keys, and then what attest/enlist.h does.  TPM is NULL without one. */
static int enrol(struct remote *r, struct hosttpm *t, const struct enrolment *e,
		 uint8_t print[static STORE_FINGERPRINT_BYTES], struct fault *f)
{
	struct refusal why = { 0 };
	int rc = enrol_fingerprint(e, print, &why);
	return rc < 0 ? fault_set(f, rc, "%s", why.fault.text) : enlist(r, t, e, print, f);
}

static int enrol_tpm(struct remote *r, const char *tcti, struct enrolment *e,
		     uint8_t print[static STORE_FINGERPRINT_BYTES], struct fault *f)
{
	struct hosttpm *t = NULL;
	struct hosttpm_identity id = { 0 };
	struct hash_part chain[HOSTTPM_CERTS_MAX];
	int rc = hosttpm_open(tcti, &t, f);
	if (rc < 0)
		return rc;
	rc = hosttpm_identity(t, &id, f);
	if (rc >= 0 && id.n_certs == 0)
		rc = fault_set(
			f, -ENOENT,
			"this TPM has no certificate of its maker, so a guardian cannot tell"
			" it from a program: --host-key-only enrols without it, for VMs whose"
			" owners are content with that");
	if (rc >= 0) {
		e->ek_pub = (struct blob){ id.ek_pub.data, id.ek_pub.len };
		e->ak_pub = (struct blob){ id.ak_pub.data, id.ak_pub.len };
		e->ek_cert = (struct blob){ id.certs[0].data, id.certs[0].len };
		for (unsigned i = 1; i < id.n_certs; i++)
			chain[i - 1] = (struct hash_part){ id.certs[i].data, id.certs[i].len };
		e->chain = chain;
		e->n_chain = id.n_certs - 1;
		rc = enrol(r, t, e, print, f);
	}
	hosttpm_identity_done(&id);
	hosttpm_close(t);
	return rc;
}

static int read_options(int argc, char **argv, struct options *o, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "guardian", required_argument, NULL, 'g' },
		{ "name", required_argument, NULL, 'n' },
		{ "tcti", required_argument, NULL, 't' },
		{ "eventlog", required_argument, NULL, 'e' },
		{ "ima", required_argument, NULL, 'i' },
		{ "host-key-only", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		if (c == 'g')
			o->guardian = optarg;
		else if (c == 'n')
			o->name = optarg;
		else if (c == 't')
			o->tcti = optarg;
		else if (c == 'e')
			o->eventlog = optarg;
		else if (c == 'i')
			o->ima = optarg;
		else
			o->host_key_only = 1;
	}
	int rc = options_operands(argc, argv, 0, "", f);
	if (rc >= 0 && !o->guardian)
		return fault_set(f, ERR_USAGE, "host enrol: --guardian is missing (see --help)");
	if (rc >= 0 && o->host_key_only && (o->tcti || o->eventlog || o->ima))
		return fault_set(f, ERR_USAGE, "host enrol: --host-key-only uses no TPM");
	if (rc >= 0 && ((o->eventlog && o->eventlog[0] != '/') || (o->ima && o->ima[0] != '/')))
		return fault_set(f, ERR_USAGE,
				 "host enrol: --eventlog and --ima are kept, and need whole paths");
	return rc;
}

/* The machine's name as far as it can be a host's. */
static void default_name(char out[static STORE_NAME_MAX])
{
	char full[HOST_NAME_MAX + 1] = "";
	size_t n = 0;
	if (gethostname(full, sizeof(full) - 1) < 0)
		full[0] = '\0';
	for (const char *p = full; *p && *p != '.' && n + 1 < STORE_NAME_MAX; p++) {
		char c = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
		out[n++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
	}
	out[n] = '\0';
}

int cmd_host_enrol(int argc, char **argv, struct fault *f)
{
	struct options o = { 0 };
	struct enrolment e = { 0 };
	struct remote r CLEANUP_REMOTE = { 0 };
	uint8_t print[STORE_FINGERPRINT_BYTES];
	char name[STORE_NAME_MAX], uuid[UUID_TEXT_SIZE];
	CLEANUP_BUF struct buf hex = BUF_INIT(2 * STORE_FINGERPRINT_BYTES + 1);
	int rc = read_options(argc, argv, &o, f);
	if (rc != 0)
		return rc;
	default_name(name);
	e.name = o.name ? o.name : name;
	rc = store_name_check(e.name, f);
	if (rc < 0)
		return fault_set(f, ERR_USAGE, "%s", err_text(rc));
	if (geteuid() != 0)
		return fault_set(f, -EPERM,
				 "host enrol: only root can use this host's TPM and key");
	setenv("TSS2_LOG", "all+NONE", 0);
	rc = remote_open(o.guardian, PATH_HOST_KEY, "host enrol", &r, f);
	if (rc >= 0)
		rc = remote_host_id(1, e.id, f);
	if (rc >= 0)
		rc = tls_fingerprint(r.key, e.tls_key);
	if (rc < 0)
		return rc;
	if (o.host_key_only)
		e.host_key = r.key;
	rc = o.host_key_only ? enrol(&r, NULL, &e, print, f) : enrol_tpm(&r, o.tcti, &e, print, f);
	/* For those that attest when nobody is at hand to say it. */
	if (rc >= 0)
		rc = conf_write(
			PATH_ATTEST,
			&(struct conf){ o.host_key_only ? HEALTHCERT_HOSTKEY : HEALTHCERT_TPM,
					o.tcti, o.eventlog, o.ima },
			f);
	if (rc >= 0)
		rc = form_hex_put(&hex, print, sizeof(print));
	const char *text = rc >= 0 ? buf_cstr(&hex) : NULL;
	if (!text)
		return fault_set(f, rc < 0 ? rc : -ENOMEM, "%s", err_text(rc < 0 ? rc : -ENOMEM));
	uuid_format(e.id, uuid);
	printf("Host         %s (%s)\n"
	       "Fingerprint  %s\n",
	       uuid, e.name, text);
	fprintf(stderr,
		"It waits for approval. Have an admin compare the fingerprint and run, with his own"
		" options:\n  shieldvm guardian host approve %s %s\n"
		"Have shieldvm-attestd run on this host, which keeps up the leases of its VMs.\n",
		uuid, text);
	return 0;
}
