/* SPDX-License-Identifier: BSD-3-Clause */
/* The only user of p11-kit, which reads URIs and loads modules. */
#include "guardian/pkcs11.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

#include "base/fd.h"
#include "base/wipe.h"
#include "crypto/jwk.h"
#include "crypto/mac.h"

#define SLOTS_MAX   64
#define POINT_BYTES (1 + 2 * JWK_COORDINATE_BYTES)

/* CKA_EC_PARAMS of P-256: its object identifier, in DER. */
static uint8_t P256[] = { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };

struct pkcs11 {
	P11KitUri *uri;
	CK_FUNCTION_LIST *module;
	int initialized;
	CK_SESSION_HANDLE session; /* CK_INVALID_HANDLE: none */
	CK_OBJECT_HANDLE key;
};

int pkcs11_is_uri(const char *text)
{
	return strncmp(text, "pkcs11:", 7) == 0;
}

/* What CALL of the module has said. */
static int says(CK_RV rv, const char *call, struct fault *f)
{
	if (rv == CKR_OK)
		return 0;
	return fault_set(f, -EIO, "the HSM's module refuses %s: %s (%#lx)", call,
			 p11_kit_strerror(rv), rv);
}

void pkcs11_close(struct pkcs11 *p)
{
	if (!p)
		return;
	if (p->session != CK_INVALID_HANDLE)
		p->module->C_CloseSession(p->session);
	if (p->initialized)
		p11_kit_module_finalize(p->module);
	if (p->module)
		p11_kit_module_release(p->module);
	p11_kit_uri_free(p->uri);
	free(p);
}

static int read_uri(struct pkcs11 *p, const char *text, struct fault *f)
{
	p->uri = p11_kit_uri_new();
	if (!p->uri)
		return fault_set(f, -ENOMEM, "no memory for the HSM");
	int rc = p11_kit_uri_parse(text, P11_KIT_URI_FOR_OBJECT_ON_TOKEN_AND_MODULE, p->uri);
	/* The text is not repeated: there may be a PIN in it. */
	if (rc != P11_KIT_URI_OK || p11_kit_uri_any_unrecognized(p->uri))
		return fault_set(f, ERR_USAGE, "the HSM's key is not given as RFC 7512 has it: %s",
				 rc != P11_KIT_URI_OK ? p11_kit_uri_message(rc)
						      : "an attribute is unknown");
	if (p11_kit_uri_get_pin_value(p->uri))
		return fault_set(f, ERR_USAGE,
				 "the HSM's PIN is in an argument, which others can read: put it "
				 "into a file of mode 0600 and name that, ?pin-source=file:/...");
	const char *module = p11_kit_uri_get_module_path(p->uri);
	const char *pin = p11_kit_uri_get_pin_source(p->uri);
	if (!module || module[0] != '/')
		return fault_set(f, ERR_USAGE, "the HSM's key lacks ?module-path=/...");
	if (!pin || strncmp(pin, "file:/", 6) != 0)
		return fault_set(f, ERR_USAGE, "the HSM's key lacks ?pin-source=file:/...");
	if (!p11_kit_uri_get_token_info(p->uri)->label[0])
		return fault_set(f, ERR_USAGE, "the HSM's key lacks pkcs11:token=...");
	if (!p11_kit_uri_get_attribute(p->uri, CKA_LABEL) &&
	    !p11_kit_uri_get_attribute(p->uri, CKA_ID))
		return fault_set(f, ERR_USAGE, "the HSM's key lacks object=... and id=...");
	return 0;
}

static int load(struct pkcs11 *p, struct fault *f)
{
	const char *path = p11_kit_uri_get_module_path(p->uri);
	p->module = p11_kit_module_load(path, P11_KIT_MODULE_CRITICAL);
	CK_RV rv = p->module ? p11_kit_module_initialize(p->module) : CKR_GENERAL_ERROR;
	p->initialized = rv == CKR_OK;
	return rv == CKR_OK ? 0
			    : fault_set(f, -ENODEV, "%s does not load, or does not start", path);
}

/* The one slot whose token the URI names. */
static int find_slot(struct pkcs11 *p, CK_SLOT_ID *out, struct fault *f)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	unsigned long n = SLOTS_MAX, found = 0;
	CK_TOKEN_INFO token;
	int rc = says(p->module->C_GetSlotList(CK_TRUE, slots, &n), "C_GetSlotList", f);
	if (rc < 0)
		return rc;
	for (unsigned long i = 0; i < n; i++) {
		if (p->module->C_GetTokenInfo(slots[i], &token) == CKR_OK &&
		    p11_kit_uri_match_token_info(p->uri, &token)) {
			*out = slots[i];
			found++;
		}
	}
	if (found == 0)
		return fault_set(f, -ENODEV, "the HSM has no such token");
	return found == 1 ? 0
			  : fault_set(f, ERR_LIMIT, "several tokens have this name: add serial=");
}

/* The PIN, without the line's end. */
static int read_pin(const char *path, struct buf *pin, struct fault *f)
{
	struct stat st;
	int rc = fd_read_file(AT_FDCWD, path, pin, f);
	if (rc >= 0 && stat(path, &st) < 0)
		rc = fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	if (rc < 0)
		return rc;
	if (st.st_mode & 077)
		return fault_set(f, ERR_POLICY, "%s: a PIN that others may read: chmod 600 it",
				 path);
	while (pin->len && (pin->data[pin->len - 1] == '\n' || pin->data[pin->len - 1] == '\r'))
		pin->len--;
	return 0;
}

static int login(struct pkcs11 *p, struct fault *f)
{
	const char *path = p11_kit_uri_get_pin_source(p->uri) + strlen("file:");
	CLEANUP_BUF struct buf pin = BUF_INIT(PKCS11_PIN_MAX);
	int rc = read_pin(path, &pin, f);
	if (rc < 0)
		return rc;
	CK_RV rv = p->module->C_Login(p->session, CKU_USER, pin.data, pin.len);
	wipe(pin.data, pin.len);
	if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LOCKED || rv == CKR_PIN_EXPIRED ||
	    rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE)
		return fault_set(f, ERR_USAGE,
				 "the HSM refuses the PIN in %s (%s): it is not tried again", path,
				 p11_kit_strerror(rv));
	return says(rv, "C_Login", f);
}

/* The one object of CLASS with the URI's label and id. */
static int find(struct pkcs11 *p, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *out, struct fault *f)
{
	CK_KEY_TYPE type = CKK_EC;
	CK_ATTRIBUTE wanted[4] = { { CKA_CLASS, &class, sizeof(class) },
				   { CKA_KEY_TYPE, &type, sizeof(type) } };
	static const CK_ATTRIBUTE_TYPE NAMES[] = { CKA_LABEL, CKA_ID };
	CK_OBJECT_HANDLE found[2];
	unsigned long n = 2, n_found = 0;
	for (size_t i = 0; i < 2; i++) {
		const CK_ATTRIBUTE *a = p11_kit_uri_get_attribute(p->uri, NAMES[i]);
		if (a)
			wanted[n++] = *a;
	}
	int rc = says(p->module->C_FindObjectsInit(p->session, wanted, n), "C_FindObjectsInit", f);
	if (rc < 0)
		return rc;
	rc = says(p->module->C_FindObjects(p->session, found, 2, &n_found), "C_FindObjects", f);
	if (p->module->C_FindObjectsFinal(p->session) != CKR_OK && rc >= 0)
		rc = fault_set(f, -EIO, "the HSM's module does not end its search");
	if (rc < 0)
		return rc;
	if (n_found == 0)
		return fault_set(f, -ENOENT, "the HSM's token has no such P-256 key");
	if (n_found > 1)
		return fault_set(f, ERR_LIMIT, "several keys of the token have this name: add id=");
	*out = found[0];
	return 0;
}

static int start(const char *text, struct pkcs11 **out, int writing, struct fault *f)
{
	CK_SLOT_ID slot = 0;
	CLEANUP_PKCS11 struct pkcs11 *p = calloc(1, sizeof(*p));
	if (!p)
		return fault_set(f, -ENOMEM, "no memory for the HSM");
	p->session = CK_INVALID_HANDLE;
	int rc = read_uri(p, text, f);
	if (rc >= 0)
		rc = load(p, f);
	if (rc >= 0)
		rc = find_slot(p, &slot, f);
	if (rc >= 0)
		rc = says(p->module->C_OpenSession(
				  slot, CKF_SERIAL_SESSION | (writing ? CKF_RW_SESSION : 0), NULL,
				  NULL, &p->session),
			  "C_OpenSession", f);
	if (rc >= 0)
		rc = login(p, f);
	if (rc < 0)
		return rc;
	*out = p;
	p = NULL;
	return 0;
}

int pkcs11_open(const char *uri, struct pkcs11 **out, struct fault *f)
{
	CLEANUP_PKCS11 struct pkcs11 *p = NULL;
	int rc = start(uri, &p, 0, f);
	if (rc >= 0)
		rc = find(p, CKO_PRIVATE_KEY, &p->key, f);
	if (rc < 0)
		return rc;
	*out = p;
	p = NULL;
	return 0;
}

static int generate(struct pkcs11 *p, struct fault *f)
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_MECHANISM mechanism = { CKM_EC_KEY_PAIR_GEN, NULL, 0 };
	CK_OBJECT_HANDLE public;
	uint8_t id[16];
	CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(p->uri, CKA_LABEL);
	CK_ATTRIBUTE *given = p11_kit_uri_get_attribute(p->uri, CKA_ID);
	CK_ATTRIBUTE own = { CKA_ID, id, sizeof(id) }, none = { CKA_LABEL, NULL, 0 };
	if (mac_random(id, sizeof(id)) < 0)
		return fault_set(f, ERR_CRYPTO, "no random bytes");
	const CK_ATTRIBUTE names[] = { label ? *label : none, given ? *given : own };
	CK_ATTRIBUTE pub[] = { { CKA_TOKEN, &yes, sizeof(yes) },
			       { CKA_EC_PARAMS, P256, sizeof(P256) },
			       { CKA_DERIVE, &yes, sizeof(yes) },
			       names[0],
			       names[1] };
	CK_ATTRIBUTE priv[] = { { CKA_TOKEN, &yes, sizeof(yes) },
				{ CKA_PRIVATE, &yes, sizeof(yes) },
				{ CKA_SENSITIVE, &yes, sizeof(yes) },
				{ CKA_EXTRACTABLE, &no, sizeof(no) },
				{ CKA_DERIVE, &yes, sizeof(yes) },
				{ CKA_SIGN, &no, sizeof(no) },
				names[0],
				names[1] };
	return says(p->module->C_GenerateKeyPair(p->session, &mechanism, pub,
						 sizeof(pub) / sizeof(pub[0]), priv,
						 sizeof(priv) / sizeof(priv[0]), &public, &p->key),
		    "C_GenerateKeyPair", f);
}

int pkcs11_make(const char *uri, struct pkcs11 **out, struct fault *f)
{
	struct fault none = { 0 };
	CLEANUP_PKCS11 struct pkcs11 *p = NULL;
	int made = 0, rc = start(uri, &p, 1, f);
	if (rc >= 0)
		rc = find(p, CKO_PRIVATE_KEY, &p->key, &none);
	if (rc == -ENOENT) {
		made = 1;
		rc = generate(p, f);
	} else if (rc < 0) {
		rc = fault_set(f, rc, "%s", none.text);
	}
	if (rc < 0)
		return rc;
	*out = p;
	p = NULL;
	return made;
}

int pkcs11_public(struct pkcs11 *p, struct jwk **out, struct fault *f)
{
	/* An OCTET STRING with the point, or, from modules that never read the standard, the
	 * point. */
	uint8_t der[2 + POINT_BYTES], *point = der;
	CK_ATTRIBUTE want = { CKA_EC_POINT, der, sizeof(der) };
	CK_OBJECT_HANDLE key;
	int rc = find(p, CKO_PUBLIC_KEY, &key, f);
	if (rc >= 0)
		rc = says(p->module->C_GetAttributeValue(p->session, key, &want, 1),
			  "C_GetAttributeValue", f);
	if (rc < 0)
		return rc;
	if (want.ulValueLen == sizeof(der) && der[0] == 0x04 && der[1] == POINT_BYTES)
		point = der + 2;
	else if (want.ulValueLen != POINT_BYTES)
		point = NULL;
	if (!point || point[0] != 0x04 ||
	    jwk_from_point(point + 1, point + 1 + JWK_COORDINATE_BYTES, out) < 0)
		return fault_set(f, ERR_FORMAT, "the HSM's key is not one of P-256");
	return 0;
}

static int derive(void *arg, const uint8_t x[static JWK_COORDINATE_BYTES],
		  const uint8_t y[static JWK_COORDINATE_BYTES],
		  uint8_t z[static JWK_COORDINATE_BYTES])
{
	struct pkcs11 *p = arg;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	unsigned long size = JWK_COORDINATE_BYTES;
	uint8_t point[POINT_BYTES] = { 0x04 }, got[JWK_COORDINATE_BYTES];
	memcpy(point + 1, x, JWK_COORDINATE_BYTES);
	memcpy(point + 1 + JWK_COORDINATE_BYTES, y, JWK_COORDINATE_BYTES);
	struct ck_ecdh1_derive_params params = { CKD_NULL, 0, NULL, sizeof(point), point };
	CK_MECHANISM mechanism = { CKM_ECDH1_DERIVE, &params, sizeof(params) };
	/* What is derived is read once and forgotten; the key itself never is. */
	CK_ATTRIBUTE secret[] = {
		{ CKA_CLASS, &class, sizeof(class) },	{ CKA_KEY_TYPE, &type, sizeof(type) },
		{ CKA_TOKEN, &no, sizeof(no) },		{ CKA_SENSITIVE, &no, sizeof(no) },
		{ CKA_EXTRACTABLE, &yes, sizeof(yes) }, { CKA_VALUE_LEN, &size, sizeof(size) }
	};
	CK_ATTRIBUTE value = { CKA_VALUE, got, sizeof(got) };
	CK_OBJECT_HANDLE object;
	if (p->module->C_DeriveKey(p->session, &mechanism, p->key, secret,
				   sizeof(secret) / sizeof(secret[0]), &object) != CKR_OK)
		return -EIO;
	CK_RV rv = p->module->C_GetAttributeValue(p->session, object, &value, 1);
	CK_RV gone = p->module->C_DestroyObject(p->session, object);
	int good = rv == CKR_OK && gone == CKR_OK && value.ulValueLen == sizeof(got);
	if (good)
		memcpy(z, got, sizeof(got));
	wipe(got, sizeof(got));
	return good ? 0 : -EIO;
}

int pkcs11_ecdh(struct pkcs11 *p, const struct jwk *key, struct ecdh *out, struct fault *f)
{
	uint8_t ours[JWK_COORDINATE_BYTES] = { 0 }, its[JWK_COORDINATE_BYTES] = { 0 };
	CLEANUP_JWK struct jwk *fresh = NULL;
	struct ecdh mine;
	int rc = jwk_new(&fresh, f);
	if (rc >= 0)
		rc = ecdh_from_jwk(fresh, &mine);
	if (rc >= 0)
		rc = mine.derive(mine.arg, jwk_x(key), jwk_y(key), ours);
	if (rc >= 0)
		rc = jwk_thumbprint(key, out->thumbprint);
	if (rc < 0)
		return fault_set(f, rc, "the HSM's key cannot be tried: %s", err_text(rc));
	rc = derive(p, jwk_x(fresh), jwk_y(fresh), its);
	if (rc < 0)
		rc = fault_set(f, rc, "the HSM does not derive with this key (CKM_ECDH1_DERIVE)");
	else if (!mac_same(ours, its, sizeof(ours)))
		rc = fault_set(f, ERR_AUTH,
			       "the HSM's key is another one than release.jwk.pub says");
	wipe(ours, sizeof(ours));
	wipe(its, sizeof(its));
	if (rc < 0)
		return rc;
	out->derive = derive;
	out->arg = p;
	return 0;
}
