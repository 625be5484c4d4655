/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * protector_parse() and, if that succeeds, protector_unwrap() on arbitrary bytes.  An input that
 * begins with "{" is a payload, which is signed here first: no fuzzer finds a signature by itself.
 * Keys are those of tests/vectors/crypto, so that the seeds open.
 */
#include <jose/jws.h>

#include "crypto/protector.h"
#include "crypto/strict.h"

#define OWNER                                                                                      \
	"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"eh2EReed5TQ380ZIstLLb3EivlIRRR_duF15Vfrpx7U\"," \
	"\"y\":\"aYlfRFelTj2CrR0y-BaxuYrA70nrS9T_SrtyzXmUA68\",\"d\":\"chWmwQry_"                  \
	"34qz5yRy25YL6EgeBjs_9HLfY6kl9SQEjs\"}"
#define HOST                                                                                       \
	"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"zchAI575w0n-JbOVe8fxI6fU_J57Eo8t4mBEznUpLb4\"," \
	"\"y\":\"fHFEPnlMuYpf3S6B3dzYNPEFpqtzNQKIwmZfT8JqaUc\",\"d\":\"SR0d3zHaAELQBpD4vziinJl5_"  \
	"XRtL7tSekdeZutQ5Ww\"}"

#define URL_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-[]_/#,"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct jwk *owner, *host;
static struct ecdh ecdh;
static json_t *owner_json;
static char kid[JWK_THUMBPRINT_SIZE];

static void set_up(void)
{
	if (jwk_parse(OWNER, strlen(OWNER), &owner, NULL) < 0 ||
	    jwk_parse(HOST, strlen(HOST), &host, NULL) < 0 || ecdh_from_jwk(host, &ecdh) < 0 ||
	    jwk_thumbprint(owner, kid) < 0)
		abort();
	owner_json = json_loads(OWNER, 0, NULL);
}

/* PAYLOAD as a compact JWS of the owner's. */
static void sign(const uint8_t *payload, size_t n, struct buf *out)
{
	CLEANUP_BUF struct buf b64 = BUF_INIT(2 * PROTECTOR_TEXT_MAX);
	if (strict_b64_put(&b64, payload, n) < 0)
		abort();
	CLEANUP_JSON json_t *jws = json_pack("{s:s%}", "payload", b64.data, b64.len);
	CLEANUP_JSON json_t *sig = json_pack("{s:{s:s,s:s,s:s}}", "protected", "alg", "ES256",
					     "typ", "shieldvm-protector+jws", "kid", kid);
	if (!jose_jws_sig(NULL, jws, sig, owner_json) ||
	    buf_addf(out, "%s.%s.%s", strict_text(jws, "protected"), buf_cstr(&b64),
		     strict_text(jws, "signature")) < 0)
		abort();
}

/* Each is a recipient with addresses; without one, there is nobody to demand anything. */
static void check_guardians(const struct protector *p)
{
	const struct protector_facts *facts = protector_facts(p);
	size_t n = protector_n_guardians(p);
	if (n > PROTECTOR_GUARDIANS_MAX || facts->offline > PROTECTOR_OFFLINE_MAX ||
	    (n > 0 ? facts->edition < 1 || facts->edition > PROTECTOR_EDITION_MAX
		   : facts->edition != 0) ||
	    (n == 0 && (facts->offline != 0 || facts->least != HEALTHCERT_TPM)))
		abort();
	for (size_t i = 0; i < n; i++) {
		const struct protector_guardian *g = protector_guardian(p, i);
		size_t k = 0, len = strnlen(g->urls, PROTECTOR_URLS_SIZE);
		while (k < protector_n_recipients(p) &&
		       strcmp(protector_recipient(p, k), g->thumbprint) != 0)
			k++;
		if (k == protector_n_recipients(p) ||
		    jwk_same(protector_recipient_key(p, k), protector_owner(p)) ||
		    len == PROTECTOR_URLS_SIZE || strspn(g->urls, URL_CHARACTERS) != len ||
		    strncmp(g->urls, "https://", 8) != 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_PROTECTOR struct protector *p = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(3 * PROTECTOR_TEXT_MAX);
	CLEANUP_KEY struct vm_key key = { { 0 } };
	struct fault f = { 0 };
	if (!owner)
		set_up();
	if (size > PROTECTOR_TEXT_MAX + 1)
		return 0;
	if (size > 0 && data[0] == '{') {
		sign(data, size, &text);
		data = text.data;
		size = text.len;
	}
	int rc = protector_parse((const char *)data, size, &p, &f);
	if ((rc < 0) != (p == NULL) || (rc < 0) != (f.text[0] != '\0'))
		abort();
	if (rc < 0)
		return 0;
	const struct protector_facts *facts = protector_facts(p);
	if (protector_n_recipients(p) == 0 || facts->n_allow > PROTECTOR_ALLOW_MAX)
		abort();
	if (facts->level == LEVEL_SHIELDED && facts->n_allow > 0 &&
	    (facts->n_allow > 1 || strcmp(facts->allow[0], "state.compression") != 0))
		abort();
	check_guardians(p);
	rc = protector_unwrap(p, &ecdh, &key, &f);
	if ((rc < 0) != (f.text[0] != '\0'))
		abort();
	return 0;
}
