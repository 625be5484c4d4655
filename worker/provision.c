/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/provision.h"

#include <endian.h>
#include <errno.h>

/* TPM 2.0 Library part 2 */
#define TAG_NO_SESSIONS	   0x8001
#define TAG_SESSIONS	   0x8002
#define CC_EVICT_CONTROL   0x120
#define CC_NV_DEFINE_SPACE 0x12a
#define CC_PCR_ALLOCATE	   0x12b
#define CC_CREATE_PRIMARY  0x131
#define CC_NV_WRITE	   0x137
#define CC_NV_WRITE_LOCK   0x138
#define CC_STARTUP	   0x144
#define RH_OWNER	   0x40000001U
#define RH_ENDORSEMENT	   0x4000000bU
#define RH_PLATFORM	   0x4000000cU
#define RS_PW		   0x40000009U
#define ALG_SHA1	   0x04
#define ALG_SHA256	   0x0b
#define ALG_SHA384	   0x0c
#define ALG_SHA512	   0x0d

/* PPWRITE, WRITEDEFINE, PPREAD, OWNERREAD, AUTHREAD, NO_DA, PLATFORMCREATE: as swtpm_setup. */
#define CERT_NV_ATTRIBUTES 0x42072001U
#define NV_CHUNK_BYTES	   1024 /* MAX_NV_BUFFER_SIZE */

/* TPMT_PUBLIC of a P-384 EK without unique: TCG EK Credential Profile, template H-3; after type and
 * nameAlg the attributes fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, adminWithPolicy,
 * restricted, decrypt, and the digest of PolicyB. */
static const uint8_t
	ecc_template[] = {
		0x00, 0x23, 0x00, 0x0c, 0x00, 0x03, 0x00, 0xf2, 0x00, 0x30, 0xb2, 0x6e,
		0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd,
		0x3a, 0x1a, 0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c,
		0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
		0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12, /* PolicyB, SHA-384 */
		0x00, 0x06, 0x01, 0x00, 0x00, 0x43,			    /* AES-256-CFB */
		0x00, 0x10, 0x00, 0x04, 0x00, 0x10, /* no scheme, NIST P-384, no KDF */
	};

/* The same for RSA 2048: template L-1 (no userWithAuth; PolicyA, SHA-256). */
static const uint8_t rsa_template[] = {
	0x00, 0x01, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0x00, 0x20, 0x83, 0x71,
	0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5,
	0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1,
	0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa, 0x00, 0x06, 0x00, 0x80, 0x00, 0x43, /* AES-128-CFB */
	0x00, 0x10, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, /* no scheme, 2048, 65537 */
};

static const struct ek_kind {
	const char *name;
	enum ek_type type; /* of struct ek_public */
	const uint8_t *template;
	size_t template_bytes;
	size_t asked_unique;		/* bytes of zeros as unique in the template */
	unsigned int parts, part_bytes; /* of unique in the key: modulus, or x and y */
	uint32_t handle, cert_index;
} kinds[] = {
	{ "RSA 2048 EK", EK_RSA_2048, rsa_template, sizeof(rsa_template), 256, 1, 256, 0x81010001,
	  0x01c00002 },
	{ "P-384 EK", EK_ECC_P384, ecc_template, sizeof(ecc_template), 0, 2, 48, 0x81010016,
	  0x01c00016 },
};

/* A command being built, and its reply.  What is built here has a size known beforehand. */
struct talk {
	struct vtpm *t;
	struct buf cmd;
	uint8_t reply[VTPM_BUFFER_MAX];
	size_t n;
};

static void put(struct talk *k, const void *p, size_t n)
{
	if (buf_add(&k->cmd, p, n) < 0)
		abort();
}

static void put16(struct talk *k, unsigned int v)
{
	uint16_t be = htobe16((uint16_t)v);
	put(k, &be, sizeof(be));
}

static void put32(struct talk *k, uint32_t v)
{
	v = htobe32(v);
	put(k, &v, sizeof(v));
}

static void put_zeros(struct talk *k, size_t n)
{
	static const uint8_t zeros[256];
	put(k, zeros, n);
}

static void begin(struct talk *k, unsigned int tag, uint32_t cc)
{
	buf_clear(&k->cmd);
	put16(k, tag);
	put32(k, 0); /* paramSize: run() knows it */
	put32(k, cc);
}

/* The authorisation of one handle by its empty password. */
static void put_auth(struct talk *k)
{
	put32(k, 9);
	put32(k, RS_PW);
	put16(k, 0);
	put(k, "", 1);
	put16(k, 0);
}

static uint32_t be32_at(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

/* Run what was built; WHAT is for the sentence. */
static int run(struct talk *k, const char *what, const char *of, struct fault *f)
{
	uint32_t size = htobe32((uint32_t)k->cmd.len);
	memcpy(k->cmd.data + 2, &size, sizeof(size));
	vtpm_command(k->t, k->cmd.data, k->cmd.len, k->reply, &k->n);
	uint32_t rc = be32_at(k->reply + 6);
	if (rc)
		return fault_set(f, -EIO,
				 "provisioning the vTPM: %s%s%s failed with TPM error 0x%x", what,
				 of ? " of the " : "", of ? of : "", rc);
	return 0;
}

/* The reply to CreatePrimary: handle, parameterSize, outPublic = the template with a unique. */
static int parse_key(const struct talk *k, const struct ek_kind *kind, uint32_t *handle,
		     struct ek_public *ek)
{
	size_t part = 2 + (size_t)kind->part_bytes;
	size_t public_bytes = kind->template_bytes + kind->parts * part;
	const uint8_t *p = k->reply + VTPM_HEADER_BYTES;
	uint16_t size;

	if (k->n < VTPM_HEADER_BYTES + 4 + 4 + 2 + public_bytes)
		return ERR_TRUNCATED;
	*handle = be32_at(p);
	p += 8;
	memcpy(&size, p, sizeof(size));
	p += 2;
	if (be16toh(size) != public_bytes || memcmp(p, kind->template, kind->template_bytes) != 0)
		return ERR_FORMAT;
	p += kind->template_bytes;
	for (unsigned int i = 0; i < kind->parts; i++, p += part) {
		memcpy(&size, p, sizeof(size));
		if (be16toh(size) != kind->part_bytes)
			return ERR_FORMAT;
	}
	p -= kind->parts * part;
	*ek = (struct ek_public){ .type = kind->type };
	if (kind->type == EK_RSA_2048) {
		memcpy(ek->rsa_modulus, p + 2, sizeof(ek->rsa_modulus));
	} else {
		memcpy(ek->ecc_x, p + 2, sizeof(ek->ecc_x));
		memcpy(ek->ecc_y, p + part + 2, sizeof(ek->ecc_y));
	}
	return 0;
}

/* Make the key and make it persistent. */
static int make_key(struct talk *k, const struct ek_kind *kind, struct ek_public *ek,
		    struct fault *f)
{
	uint32_t handle;
	size_t unique = kind->asked_unique ? 2 + kind->asked_unique : 4;

	begin(k, TAG_SESSIONS, CC_CREATE_PRIMARY);
	put32(k, RH_ENDORSEMENT);
	put_auth(k);
	put16(k, 4); /* inSensitive: no auth, no data */
	put32(k, 0);
	put16(k, (unsigned int)(kind->template_bytes + unique));
	put(k, kind->template, kind->template_bytes);
	if (kind->asked_unique) {
		put16(k, (unsigned int)kind->asked_unique);
		put_zeros(k, kind->asked_unique);
	} else {
		put32(k, 0); /* empty x and y */
	}
	put16(k, 0); /* outsideInfo */
	put32(k, 0); /* creationPCR */
	int rc = run(k, "creation", kind->name, f);
	if (rc < 0)
		return rc;
	rc = parse_key(k, kind, &handle, ek);
	if (rc < 0)
		return fault_set(f, rc, "the %s is not what its template asks for", kind->name);

	begin(k, TAG_SESSIONS, CC_EVICT_CONTROL);
	put32(k, RH_OWNER);
	put32(k, handle);
	put_auth(k);
	put32(k, kind->handle);
	return run(k, "EvictControl", kind->name, f);
}

/* Put the certificate into NV, for good. */
static int write_cert(struct talk *k, const struct ek_kind *kind, const struct buf *der,
		      struct fault *f)
{
	begin(k, TAG_SESSIONS, CC_NV_DEFINE_SPACE);
	put32(k, RH_PLATFORM);
	put_auth(k);
	put16(k, 0); /* auth value */
	put16(k, 14);
	put32(k, kind->cert_index);
	put16(k, ALG_SHA256);
	put32(k, CERT_NV_ATTRIBUTES);
	put16(k, 0); /* policy */
	put16(k, (unsigned int)der->len);
	int rc = run(k, "NV_DefineSpace for the certificate", kind->name, f);

	for (size_t at = 0; rc == 0 && at < der->len; at += NV_CHUNK_BYTES) {
		size_t n = der->len - at < NV_CHUNK_BYTES ? der->len - at : NV_CHUNK_BYTES;
		begin(k, TAG_SESSIONS, CC_NV_WRITE);
		put32(k, RH_PLATFORM);
		put32(k, kind->cert_index);
		put_auth(k);
		put16(k, (unsigned int)n);
		put(k, der->data + at, n);
		put16(k, (unsigned int)at);
		rc = run(k, "NV_Write for the certificate", kind->name, f);
	}
	if (rc < 0)
		return rc;
	begin(k, TAG_SESSIONS, CC_NV_WRITE_LOCK);
	put32(k, RH_PLATFORM);
	put32(k, kind->cert_index);
	put_auth(k);
	return run(k, "NV_WriteLock for the certificate", kind->name, f);
}

/* SHA-256 alone is active, as swtpm_setup leaves it: what firmware and guests use, and every
 * further bank makes each measurement dearer.  Firmware can allocate others. */
static int allocate_banks(struct talk *k, struct fault *f)
{
	static const struct {
		unsigned int alg;
		uint8_t select[4];
	} banks[] = {
		{ ALG_SHA256, { 3, 0xff, 0xff, 0xff } },
		{ ALG_SHA1, { 3, 0, 0, 0 } },
		{ ALG_SHA384, { 3, 0, 0, 0 } },
		{ ALG_SHA512, { 3, 0, 0, 0 } },
	};
	begin(k, TAG_SESSIONS, CC_PCR_ALLOCATE);
	put32(k, RH_PLATFORM);
	put_auth(k);
	put32(k, sizeof(banks) / sizeof(banks[0]));
	for (size_t i = 0; i < sizeof(banks) / sizeof(banks[0]); i++) {
		put16(k, banks[i].alg);
		put(k, banks[i].select, sizeof(banks[i].select));
	}
	int rc = run(k, "PCR_Allocate", NULL, f);
	/* header, parameterSize, then allocationSuccess */
	if (rc == 0 && (k->n < VTPM_HEADER_BYTES + 5 || k->reply[VTPM_HEADER_BYTES + 4] != 1))
		rc = fault_set(f, -EIO, "provisioning the vTPM: its PCR banks cannot be allocated");
	return rc;
}

static int provision(struct talk *k, provision_sign sign, void *arg, struct fault *f)
{
	begin(k, TAG_NO_SESSIONS, CC_STARTUP);
	put16(k, 0); /* TPM_SU_CLEAR */
	int rc = run(k, "Startup", NULL, f);

	for (size_t i = 0; rc == 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		CLEANUP_BUF struct buf der = BUF_INIT(EKCA_CERT_MAX);
		struct ek_public ek;
		rc = make_key(k, &kinds[i], &ek, f);
		if (rc < 0)
			return rc;
		rc = sign(arg, &ek, &der, f);
		if (rc == 0 && der.len == 0)
			rc = fault_set(f, ERR_FORMAT, "it is empty");
		if (rc < 0)
			return fault_wrap(f, rc, "no certificate for the %s", kinds[i].name);
		rc = write_cert(k, &kinds[i], &der, f);
	}
	return rc < 0 ? rc : allocate_banks(k, f);
}

int provision_eks(struct vtpm *t, provision_sign sign, void *arg, struct fault *f)
{
	struct talk *k = calloc(1, sizeof(*k));
	if (!k)
		return fault_set(f, -ENOMEM, "no memory to provision the vTPM");
	k->t = t;
	k->cmd = BUF_INIT(VTPM_BUFFER_MAX);
	vtpm_hold(t);
	int rc = vtpm_init(t, f);
	if (rc == 0 && !vtpm_was_made(t))
		rc = fault_set(f, ERR_STATE, "the vTPM to be provisioned has a state already");
	if (rc == 0)
		rc = provision(k, sign, arg, f);
	vtpm_stop(t);
	if (rc == 0)
		rc = vtpm_commit(t, 0, f);
	else
		vtpm_forget(t);
	buf_done(&k->cmd);
	wipe_free(k, sizeof(*k));
	return rc;
}
