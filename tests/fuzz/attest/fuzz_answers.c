/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guardian that lies answers, as HTTP bodies of arbitrary bytes.  The input: the letter that
 * says what was asked, then the body:
 *   r  /v1/release    c  /v1/challenge    i  /v1/info, of which the CA is taken
 *   a  /v1/attest     l  /v1/lease/take, whose answer has all members of a report's
 * Each body comes with the statuses 200, 403 and 503.  What must be accepted, and what not, is said
 * here once more, over jansson.
 *
 * The release's reader is obtain.c's own matter, and is taken from there as it is.
 */
#include "attest/obtain.c"

#include "tests/fuzz/attest/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CA_MAX 8192

static struct protector *guarded[2]; /* whose owner permits no copy, and some */

static void set_up(void)
{
	CLEANUP_JWK struct jwk *owner = NULL, *recipient = NULL;
	struct vm_key key;
	must(jwk_new(&owner, NULL) >= 0 && jwk_new(&recipient, NULL) >= 0 && key_new(&key) >= 0);
	for (unsigned i = 0; i < 2; i++) {
		CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
		char thumbprint[JWK_THUMBPRINT_SIZE], url[128];
		struct protector_facts facts = { .level = LEVEL_SHIELDED,
						 .tpm_id = { 3 },
						 .edition = 1,
						 .least = HEALTHCERT_TPM,
						 .offline = 3 * i };
		must(jwk_thumbprint(recipient, thumbprint) >= 0);
		snprintf(url, sizeof(url), "https://g:1#%s", thumbprint);
		const struct protector_guards one = { 1, { recipient }, { url } };
		must(protector_make(&facts, &key, owner, NULL, 0, &one, &text, NULL) >= 0);
		must(protector_parse((const char *)text.data, text.len, &guarded[i], NULL) >= 0);
	}
}

static int is_number(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);
	return json_is_integer(v) && json_integer_value(v) >= 0;
}

/* OUT is what the member NAME says. */
static int says_bytes(const json_t *o, const char *name, const uint8_t *out, size_t n)
{
	CLEANUP_JSON json_t *again = remote_bytes(n ? out : (const uint8_t *)"", n);
	return again && json_equal(again, json_object_get(o, name));
}

static int says_number(const json_t *o, const char *name, int64_t out)
{
	return json_integer_value(json_object_get(o, name)) == out;
}

/* ---- refusals ---- */

static const char *const VERDICTS[] = { "ok", "failed", "unknown" };

static int finding_is_good(const json_t *at)
{
	const char *id = json_string_value(json_object_get(at, "id"));
	const char *verdict = json_string_value(json_object_get(at, "verdict"));
	int known = 0;
	for (size_t i = 0; verdict && i < 3; i++)
		known |= strcmp(verdict, VERDICTS[i]) == 0;
	return id && finding_meaning(id) && known && json_is_string(json_object_get(at, "text"));
}

static int findings_are_good(const json_t *list)
{
	if (!json_is_array(list) || json_array_size(list) > FINDINGS_MAX)
		return 0;
	for (size_t i = 0; i < json_array_size(list); i++)
		if (!finding_is_good(json_array_get(list, i)))
			return 0;
	return 1;
}

/* They are those of LIST, in order. */
static void check_findings(const json_t *list, const struct findings *got)
{
	must(got->n == json_array_size(list));
	for (unsigned i = 0; i < got->n; i++) {
		const struct finding *at = &got->at[i];
		const json_t *o = json_array_get(list, i);
		const char *text = json_string_value(json_object_get(o, "text"));
		must(strcmp(at->id, json_string_value(json_object_get(o, "id"))) == 0);
		must(at->verdict <= FINDING_UNKNOWN);
		must(strcmp(VERDICTS[at->verdict],
			    json_string_value(json_object_get(o, "verdict"))) == 0);
		size_t n = strnlen(text, FINDING_TEXT_MAX - 1);
		must(strlen(at->evidence) == n);
		for (size_t k = 0; k < n; k++) {
			int shown = text[k] >= ' ' && text[k] <= '~';
			must(at->evidence[k] == (shown ? text[k] : '?'));
		}
	}
}

static int refusal_is_good(const json_t *o)
{
	const char *status = json_string_value(json_object_get(o, "status"));
	const char *id = json_string_value(json_object_get(o, "id"));
	const json_t *list = json_object_get(o, "findings");
	return status && strcmp(status, "refused") == 0 && id && strlen(id) < CLIENT_ID_MAX &&
	       json_is_string(json_object_get(o, "text")) && (!list || findings_are_good(list));
}

static void one_refusal(const struct buf *body, long status, const json_t *o)
{
	static struct client_refusal why;
	struct fault f = { 0 };
	json_t *out = NULL;
	memset(&why, 0, sizeof(why));
	int rc = client_answer("https://g:1", status, body, &out, &why, &f);
	refused(rc, &f);
	must(!out && !why.unable && memchr(why.id, '\0', sizeof(why.id)));
	must(rc == (o && refusal_is_good(o) ? ERR_POLICY : ERR_FORMAT));
	if (rc != ERR_POLICY)
		return;
	must(strcmp(why.id, json_string_value(json_object_get(o, "id"))) == 0);
	check_findings(json_object_get(o, "findings"), &why.findings);
	/* Who does not want to know why is told the same. */
	memset(&f, 0, sizeof(f));
	must(client_answer("https://g:1", status, body, &out, NULL, &f) == ERR_POLICY && !out);
}

/* ---- answers ---- */

static void one_release(const json_t *o)
{
	int well = is_b64(o, "key", KEYRELEASE_BYTES, KEYRELEASE_BYTES) && is_number(o, "token") &&
		   is_number(o, "expires") && is_number(o, "spent");
	int copied = json_object_get(o, "copy") != NULL;
	for (unsigned i = 0; i < 4; i++) {
		struct ask_request request = { .comes = i / 2 };
		struct obtain what = { .request = &request };
		struct asking a = { .o = &what, .p = guarded[i % 2] };
		CLEANUP_RELEASED struct released r;
		struct fault f = { 0 };
		released_init(&r);
		int want = !well				       ? ERR_FORMAT
			   : !copied				       ? 0
			   : i % 2 == 0 || request.comes	       ? ERR_POLICY
			   : is_b64(o, "copy", COPY_BYTES, COPY_BYTES) ? 0
								       : ERR_FORMAT;
		int rc = read_release(&a, o, &r, &f);
		must(rc == want);
		must(r.sealed.len <= KEYRELEASE_BYTES && r.copy.len <= COPY_BYTES);
		if (rc < 0) {
			refused(rc, &f);
			continue;
		}
		must(!f.text[0] && says_bytes(o, "key", r.sealed.data, r.sealed.len));
		must(says_number(o, "token", r.token) && says_number(o, "expires", r.expires));
		must(copied ? says_bytes(o, "copy", r.copy.data, r.copy.len) : r.copy.len == 0);
	}
}

/* A list of PCRs, ascending; 0 if it is none. */
static uint32_t mask_of(const json_t *list)
{
	uint32_t mask = 0;
	json_int_t last = -1;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *at = json_array_get(list, i);
		if (!json_is_integer(at) || json_integer_value(at) <= last ||
		    json_integer_value(at) >= PCR_COUNT)
			return 0;
		last = json_integer_value(at);
		mask |= 1U << last;
	}
	return mask;
}

static void one_challenge(const json_t *o)
{
	struct challenge c = { .bank = 0 };
	struct fault f = { 0 };
	const char *bank = json_string_value(json_object_get(o, "bank"));
	uint32_t mask = mask_of(json_object_get(o, "pcrs"));
	int good = is_b64(o, "nonce", 32, 32) && bank && strcmp(bank, "sha256") == 0 && mask &&
		   json_is_string(json_object_get(o, "mac")) &&
		   json_is_integer(json_object_get(o, "expires"));
	int rc = health_challenge(o, &c, &f);
	must((rc >= 0) == good);
	if (rc < 0) {
		refused(rc, &f);
		return;
	}
	must(c.bank == HASH_SHA256 && c.mask == mask && says_bytes(o, "nonce", c.nonce, 32));
}

static void one_info(const json_t *o)
{
	CLEANUP_BUF struct buf der = BUF_INIT(CA_MAX);
	CLEANUP_HEALTHCA struct healthca *ca = NULL;
	struct fault f = { 0 }, not = { 0 };
	int rc = remote_take_buf(o, "ca", &der, &f);
	must((rc >= 0) == is_b64(o, "ca", 0, CA_MAX));
	if (rc < 0) {
		refused(rc, &f);
		return;
	}
	must(says_bytes(o, "ca", der.data, der.len));
	rc = healthca_read_der(der.data, der.len, &ca, &not );
	must((rc >= 0) == (ca != NULL));
	if (rc < 0)
		refused(rc, &not );
}

static void one_attest(const json_t *o)
{
	static struct findings got;
	struct fault f = { 0 };
	CLEANUP_BUF struct buf certificate = BUF_INIT(HEALTHCERT_MAX);
	int rc = remote_take_buf(o, "certificate", &certificate, &f);
	must((rc >= 0) == is_b64(o, "certificate", 0, HEALTHCERT_MAX));
	if (rc < 0)
		refused(rc, &f);
	memset(&f, 0, sizeof(f));
	rc = client_findings(json_object_get(o, "findings"), &got, &f);
	must((rc >= 0) == findings_are_good(json_object_get(o, "findings")));
	if (rc < 0)
		refused(rc, &f);
	else
		check_findings(json_object_get(o, "findings"), &got);
}

static void one_lease(const json_t *o)
{
	static const char *const NAMES[] = { "token", "expires" };
	for (size_t i = 0; i < 2; i++) {
		int64_t n = -7;
		struct fault f = { 0 };
		int rc = remote_take_number(o, NAMES[i], &n, &f);
		must((rc >= 0) == is_number(o, NAMES[i]));
		if (rc < 0)
			refused(rc, &f);
		must(rc < 0 ? n == -7 : says_number(o, NAMES[i], n));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_BUF struct buf body = BUF_INIT(CLIENT_ANSWER_MAX);
	CLEANUP_JSON json_t *o = NULL, *out = NULL;
	struct fault f = { 0 };
	if (!guarded[1])
		set_up();
	if (size == 0)
		return 0;
	must(buf_add(&body, data + 1, size - 1) >= 0);
	o = strictly(body.data, body.len);
	one_refusal(&body, 403, o);
	one_refusal(&body, 503, o);
	int rc = client_answer("https://g:1", 200, &body, &out, NULL, &f);
	must(rc == (o ? 0 : ERR_FORMAT) && (rc >= 0) == (out != NULL));
	if (rc < 0) {
		refused(rc, &f);
		return 0;
	}
	must(json_equal(o, out));
	if (data[0] == 'r')
		one_release(out);
	else if (data[0] == 'c')
		one_challenge(out);
	else if (data[0] == 'i')
		one_info(out);
	else if (data[0] == 'a')
		one_attest(out);
	else if (data[0] == 'l')
		one_lease(out);
	return 0;
}
