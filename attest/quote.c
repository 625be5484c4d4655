/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a TPM has signed.  Nothing of a statement is looked at before its signature has been
 * verified, and nothing counts before its magic: only a statement that a TPM made begins with it,
 * and a restricted key signs no other data that does.
 */
#include "attest/quote.h"

#include <string.h>

#include "attest/tpm_form.h"

/* One kind of statement; the ids have no other spelling than these. */
struct kind {
	const char *what;
	TPMI_ST_ATTEST type;
	const char *format, *signature, *magic, *type_id, *nonce, *trailing;
};

static const struct kind QUOTE = {
	"quote",       TPM2_ST_ATTEST_QUOTE, "quote.format", "quote.signature",
	"quote.magic", "quote.type",	     "quote.nonce",  "quote.trailing",
};
static const struct kind CREATION = {
	"creation certificate", TPM2_ST_ATTEST_CREATION, "creation.format", "creation.signature",
	"creation.magic",	"creation.type",	 "creation.nonce",  "creation.trailing",
};

/* A statement, and what is still to be looked at. */
struct statement {
	TPMS_ATTEST attest;
	size_t trailing; /* bytes behind it */
};

static int verify_ecdsa(const struct rawkey *ak, const TPMS_SIGNATURE_ECC *sig, struct blob attest)
{
	uint8_t r[RAWKEY_P256_BYTES], s[RAWKEY_P256_BYTES];
	if (sig->hash != TPM2_ALG_SHA256 ||
	    tpm_pad(sig->signatureR.buffer, sig->signatureR.size, r, sizeof(r)) < 0 ||
	    tpm_pad(sig->signatureS.buffer, sig->signatureS.size, s, sizeof(s)) < 0)
		return ERR_AUTH;
	return rawkey_verify_ecdsa(ak, r, s, attest.data, attest.n);
}

static int verify_rsassa(const struct rawkey *ak, const TPMS_SIGNATURE_RSA *sig, struct blob attest)
{
	if (sig->hash != TPM2_ALG_SHA256 || sig->sig.size != RAWKEY_RSA_BYTES)
		return ERR_AUTH;
	return rawkey_verify_rsassa(ak, sig->sig.buffer, attest.data, attest.n);
}

/* ATTEST is signed by AK: in the one scheme that this AK has. */
static int verify_signature(const struct kind *k, const struct rawkey *ak, struct blob attest,
			    struct blob signature, const char **id, struct fault *f)
{
	TPMT_SIGNATURE sig = { 0 };
	size_t at = 0;
	*id = k->format;
	if (attest.n > TPM_ATTEST_MAX || signature.n > TPM_SIGNATURE_MAX)
		return fault_set(f, ERR_LIMIT, "the %s or its signature is too long", k->what);
	if (Tss2_MU_TPMT_SIGNATURE_Unmarshal(signature.data, signature.n, &at, &sig) !=
		    TSS2_RC_SUCCESS ||
	    at != signature.n)
		return fault_set(f, ERR_FORMAT, "the %s's signature is not a TPMT_SIGNATURE",
				 k->what);
	*id = k->signature;
	int rc = ERR_AUTH;
	if (ak->type == RAWKEY_P256 && sig.sigAlg == TPM2_ALG_ECDSA)
		rc = verify_ecdsa(ak, &sig.signature.ecdsa, attest);
	else if (ak->type == RAWKEY_RSA_2048 && sig.sigAlg == TPM2_ALG_RSASSA)
		rc = verify_rsassa(ak, &sig.signature.rsassa, attest);
	if (rc < 0)
		return fault_set(f, ERR_AUTH, "the %s is not signed by the host's attestation key",
				 k->what);
	return 0;
}

/* The signature by AK, before anything of the statement is looked at. */
static int check_signature(const struct kind *k, struct blob ak, struct blob attest,
			   struct blob signature, const char **id, struct fault *f)
{
	struct rawkey key;
	int rc = tpm_read_ak(ak, &key, id, f);
	return rc < 0 ? rc : verify_signature(k, &key, attest, signature, id, f);
}

/* Magic, type and extraData: what is judged before what is particular to a kind. */
static int open_statement(const struct kind *k, struct blob attest,
			  const uint8_t extra[static QUOTE_EXTRA_BYTES], struct statement *out,
			  const char **id, struct fault *f)
{
	size_t at = 0;
	UINT32 magic;
	UINT16 type;
	*id = k->format;
	if (Tss2_MU_UINT32_Unmarshal(attest.data, attest.n, &at, &magic) ||
	    Tss2_MU_UINT16_Unmarshal(attest.data, attest.n, &at, &type))
		return fault_set(f, ERR_FORMAT, "the %s is not a TPMS_ATTEST", k->what);
	*id = k->magic;
	if (magic != TPM2_GENERATED_VALUE)
		return fault_set(f, ERR_AUTH,
				 "the %s begins with 0x%08x: no TPM has made it, but somebody who "
				 "had it signed",
				 k->what, magic);
	*id = k->type_id;
	if (type != k->type)
		return fault_set(f, ERR_PURPOSE, "the statement of type 0x%04x is no %s", type,
				 k->what);
	at = 0;
	*id = k->format;
	memset(out, 0, sizeof(*out));
	if (Tss2_MU_TPMS_ATTEST_Unmarshal(attest.data, attest.n, &at, &out->attest))
		return fault_set(f, ERR_FORMAT, "the %s is not a TPMS_ATTEST", k->what);
	out->trailing = attest.n - at;
	*id = k->nonce;
	if (out->attest.extraData.size != QUOTE_EXTRA_BYTES ||
	    memcmp(out->attest.extraData.buffer, extra, QUOTE_EXTRA_BYTES) != 0)
		return fault_set(f, ERR_AUTH,
				 "the %s was not made for this challenge, or not for this worker, "
				 "host and key",
				 k->what);
	return 0;
}

static int check_trailing(const struct kind *k, const struct statement *s, const char **id,
			  struct fault *f)
{
	*id = k->trailing;
	if (s->trailing)
		return fault_set(f, ERR_TRAILING, "%zu bytes stand behind the %s", s->trailing,
				 k->what);
	return 0;
}

static void take_clock(const TPMS_ATTEST *a, struct quote_clock *clock)
{
	*clock = (struct quote_clock){
		.reset_count = a->clockInfo.resetCount,
		.restart_count = a->clockInfo.restartCount,
		.clock_ms = a->clockInfo.clock,
		.safe = a->clockInfo.safe == TPM2_YES,
		.firmware = a->firmwareVersion,
	};
}

/* One bank, and exactly the demanded PCRs: not others, not the same number of others. */
static int same_selection(const TPML_PCR_SELECTION *got, const struct pcrs *pcrs)
{
	TPML_PCR_SELECTION want;
	if (tpm_selection(pcrs->bank, pcrs->mask, &want) < 0 || got->count != 1)
		return 0;
	const TPMS_PCR_SELECTION *a = &got->pcrSelections[0], *b = &want.pcrSelections[0];
	return a->hash == b->hash && a->sizeofSelect == b->sizeofSelect &&
	       memcmp(a->pcrSelect, b->pcrSelect, b->sizeofSelect) == 0;
}

int quote_judge(struct blob attest, const uint8_t extra[static QUOTE_EXTRA_BYTES],
		const struct pcrs *pcrs, struct quote_clock *clock, const char **id,
		struct fault *f)
{
	struct statement s;
	uint8_t digest[32];
	int rc = open_statement(&QUOTE, attest, extra, &s, id, f);
	if (rc < 0)
		return rc;
	const TPMS_QUOTE_INFO *info = &s.attest.attested.quote;
	*id = "quote.selection";
	if (!same_selection(&info->pcrSelect, pcrs))
		return fault_set(f, ERR_POLICY,
				 "the quote is not of exactly the PCRs 0x%06x of the %s bank",
				 pcrs->mask, hash_name(pcrs->bank) ? hash_name(pcrs->bank) : "?");
	rc = check_trailing(&QUOTE, &s, id, f);
	if (rc < 0)
		return rc;
	*id = "quote.digest";
	rc = tpm_pcr_digest(pcrs, pcrs->mask, digest);
	if (rc < 0)
		return fault_set(f, rc, "the PCRs' values cannot be hashed: %s", err_text(rc));
	if (info->pcrDigest.size != sizeof(digest) ||
	    memcmp(info->pcrDigest.buffer, digest, sizeof(digest)) != 0)
		return fault_set(f, ERR_AUTH, "the quote is of other PCR values than those sent");
	take_clock(&s.attest, clock);
	return 0;
}

int quote_verify(struct blob ak, struct blob attest, struct blob signature,
		 const uint8_t extra[static QUOTE_EXTRA_BYTES], const struct pcrs *pcrs,
		 struct quote_clock *clock, const char **id, struct fault *f)
{
	int rc = check_signature(&QUOTE, ak, attest, signature, id, f);
	return rc < 0 ? rc : quote_judge(attest, extra, pcrs, clock, id, f);
}

/* 1 if NAME is the handle of the NULL hierarchy. */
static int is_null_hierarchy(const TPM2B_NAME *name)
{
	static const uint8_t HANDLE[] = { TPM2_RH_NULL >> 24, TPM2_RH_NULL >> 16 & 0xff,
					  TPM2_RH_NULL >> 8 & 0xff, TPM2_RH_NULL & 0xff };
	return name->size == sizeof(HANDLE) && memcmp(name->name, HANDLE, sizeof(HANDLE)) == 0;
}

/* The digest of no PCRs: to be empty (Part 2, TPMS_CREATION_DATA), but the TPMs of the reference
 * code give the hash of nothing. */
static int is_of_no_pcrs(const TPM2B_DIGEST *digest)
{
	uint8_t of_nothing[32];
	return digest->size == 0 || (digest->size == sizeof(of_nothing) &&
				     hash_data(HASH_SHA256, "", 0, of_nothing) == 0 &&
				     memcmp(digest->buffer, of_nothing, sizeof(of_nothing)) == 0);
}

int creation_data_judge(struct blob data, const char **id, struct fault *f)
{
	TPMS_CREATION_DATA d = { 0 };
	size_t at = 0;
	*id = "creation.data";
	if (Tss2_MU_TPMS_CREATION_DATA_Unmarshal(data.data, data.n, &at, &d))
		return fault_set(f, ERR_FORMAT, "the creation data are no TPMS_CREATION_DATA");
	if (at != data.n)
		return fault_set(f, ERR_TRAILING, "%zu bytes stand behind the creation data",
				 data.n - at);
	/* As the key is made; the locality is the caller's, and says nothing of the key. */
	if (d.pcrSelect.count || !is_of_no_pcrs(&d.pcrDigest) || d.outsideInfo.size)
		return fault_set(f, ERR_POLICY,
				 "the creation data have PCRs or data of others: the key was not "
				 "made as a PCR-bound key is");
	*id = "creation.hierarchy";
	/* Of a primary, the parent's name and qualified name are the hierarchy's handle, and no
	 * algorithm made them. */
	if (d.parentNameAlg != TPM2_ALG_NULL || !is_null_hierarchy(&d.parentName) ||
	    !is_null_hierarchy(&d.parentQualifiedName))
		return fault_set(f, ERR_POLICY,
				 "the PCR-bound key is not a primary of the NULL hierarchy: it "
				 "would outlive the TPM's next reset");
	return 0;
}

/* DATA is what the signed HASH is of. */
static int check_creation_data(struct blob data, const TPM2B_DIGEST *hash, const char **id,
			       struct fault *f)
{
	uint8_t digest[32];
	*id = "creation.data";
	if (data.n > TPM_CREATION_MAX)
		return fault_set(f, ERR_LIMIT, "the creation data have %zu bytes, over %d", data.n,
				 TPM_CREATION_MAX);
	/* By the key's own name algorithm, which tpm_name() has seen to be SHA-256. */
	int rc = hash_data(HASH_SHA256, data.data, data.n, digest);
	if (rc < 0)
		return fault_set(f, rc, "libcrypto cannot hash: %s", err_text(rc));
	if (hash->size != sizeof(digest) || memcmp(hash->buffer, digest, sizeof(digest)) != 0)
		return fault_set(f, ERR_AUTH,
				 "the creation data are not those of the creation certificate");
	return creation_data_judge(data, id, f);
}

int creation_judge(struct blob attest, const uint8_t nonce[static QUOTE_EXTRA_BYTES],
		   struct blob bk, struct blob data, struct quote_clock *clock, const char **id,
		   struct fault *f)
{
	struct statement s;
	uint8_t name[TPM_NAME_BYTES];
	int rc = open_statement(&CREATION, attest, nonce, &s, id, f);
	if (rc < 0)
		return rc;
	*id = "creation.name";
	rc = tpm_name(bk, name, f);
	if (rc < 0)
		return rc;
	const TPM2B_NAME *got = &s.attest.attested.creation.objectName;
	if (got->size != sizeof(name) || memcmp(got->name, name, sizeof(name)) != 0)
		return fault_set(f, ERR_AUTH,
				 "the creation certificate is of another key than the one sent");
	rc = check_trailing(&CREATION, &s, id, f);
	if (rc >= 0)
		rc = check_creation_data(data, &s.attest.attested.creation.creationHash, id, f);
	if (rc < 0)
		return rc;
	take_clock(&s.attest, clock);
	return 0;
}

int creation_verify(struct blob ak, struct blob attest, struct blob signature,
		    const uint8_t nonce[static QUOTE_EXTRA_BYTES], struct blob bk, struct blob data,
		    struct quote_clock *clock, const char **id, struct fault *f)
{
	int rc = check_signature(&CREATION, ak, attest, signature, id, f);
	return rc < 0 ? rc : creation_judge(attest, nonce, bk, data, clock, id, f);
}

int quote_extra(const uint8_t nonce[static 32], const uint8_t bk_name[static TPM_NAME_BYTES],
		const uint8_t worker[static 65], const uint8_t host[static 16],
		uint8_t extra[static QUOTE_EXTRA_BYTES])
{
	/* Every part has a fixed size, so that no two inputs give the same bytes. */
	struct hash_part parts[] = {
		{ "q1", 2 },	{ nonce, 32 }, { bk_name, TPM_NAME_BYTES },
		{ worker, 65 }, { host, 16 },
	};
	return hash_parts(HASH_SHA256, parts, sizeof(parts) / sizeof(parts[0]), extra);
}
