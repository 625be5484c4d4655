/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/hosttpm.h"

#include <errno.h>
#include <string.h>

#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include "attest/hosttpm_form.h"

#define DEFAULT_TCTI "device:/dev/tpmrm0"

/* Something else measures meanwhile (IMA does, all the time): tries until it did not. */
#define TRIES	     8

/* The TPM's own answers, whether they come from it or through a resource manager. */
static int from_tpm(TSS2_RC answer)
{
	TSS2_RC layer = answer & TSS2_RC_LAYER_MASK;
	return layer == TSS2_TPM_RC_LAYER || layer == TSS2_RESMGR_TPM_RC_LAYER;
}

int hosttpm_is(TSS2_RC answer, TSS2_RC code)
{
	/* Format one: the number, without the handle, session or parameter that it is about. */
	return from_tpm(answer) && (answer & (TPM2_RC_FMT1 | 0x3f)) == code &&
	       (answer & TPM2_RC_FMT1);
}

int hosttpm_failed(struct fault *f, TSS2_RC answer, const char *what)
{
	int rc = ERR_STATE;
	if (from_tpm(answer) && (answer & 0xfff) == TPM2_RC_LOCKOUT)
		return fault_set(f, -EBUSY,
				 "the TPM is locked after too many wrong authorisations and will "
				 "not go on with %s (0x%08x)",
				 what, answer);
	if (!from_tpm(answer))
		rc = -EIO;
	else if (hosttpm_is(answer, TPM2_RC_POLICY_FAIL))
		rc = ERR_POLICY;
	else if (hosttpm_is(answer, TPM2_RC_AUTH_FAIL) || hosttpm_is(answer, TPM2_RC_BAD_AUTH))
		rc = ERR_AUTH;
	return fault_set(f, rc, "the TPM failed at %s (0x%08x)", what, answer);
}

void hosttpm_flush(struct loaded *l)
{
	if (!l->t)
		return;
	/* A TPM that is gone has flushed it. */
	(void)Esys_FlushContext(l->t->esys, l->tr);
	l->t = NULL;
}

void hosttpm_creation_done(struct creation *c)
{
	Esys_Free(c->data);
	Esys_Free(c->hash);
	Esys_Free(c->ticket);
}

/* It answers, and is of the 2.0 family. */
static int check_family(struct hosttpm *t, struct fault *f)
{
	CLEANUP_ESYS TPMS_CAPABILITY_DATA *data = NULL;
	TPMI_YES_NO more;
	TSS2_RC answer = Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
					    TPM2_CAP_TPM_PROPERTIES, TPM2_PT_FAMILY_INDICATOR, 1,
					    &more, &data);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "saying what it is");
	const TPML_TAGGED_TPM_PROPERTY *p = &data->data.tpmProperties;
	if (data->capability != TPM2_CAP_TPM_PROPERTIES || p->count < 1 ||
	    p->tpmProperty[0].property != TPM2_PT_FAMILY_INDICATOR ||
	    p->tpmProperty[0].value != 0x322e3000) /* "2.0" */
		return fault_set(f, ERR_STATE, "the TPM is not of the 2.0 family");
	return 0;
}

/* Why there is no way to the TPM.  Of a device the TSS only says that it failed to open it. */
static int unreachable(const char *name, TSS2_RC answer, struct fault *f)
{
	static const char DEVICE[] = "device:";
	if (strncmp(name, DEVICE, sizeof(DEVICE) - 1) == 0)
		return fault_set(f, -ENODEV,
				 "there is no TPM 2.0 at %s: enable it in the firmware's settings, "
				 "or name another one",
				 name);
	return fault_set(f, -ENODEV,
			 "the TPM at %s cannot be reached (%s): see that it runs and that its name "
			 "is right",
			 name, Tss2_RC_Decode(answer));
}

int hosttpm_open(const char *tcti, struct hosttpm **out, struct fault *f)
{
	struct hosttpm *t = calloc(1, sizeof(*t));
	if (!t)
		return fault_set(f, -ENOMEM, "no memory for the TPM's context");
	const char *name = tcti ? tcti : DEFAULT_TCTI;
	int rc = 0;
	TSS2_RC answer = Tss2_TctiLdr_Initialize(name, &t->tcti);
	if (answer != TSS2_RC_SUCCESS)
		rc = unreachable(name, answer, f);
	else if (Esys_Initialize(&t->esys, t->tcti, NULL) != TSS2_RC_SUCCESS)
		rc = fault_set(f, ERR_STATE, "the TPM at %s cannot be used", name);
	else
		rc = check_family(t, f);
	if (rc < 0) {
		hosttpm_close(t);
		return rc;
	}
	*out = t;
	return 0;
}

void hosttpm_close(struct hosttpm *t)
{
	if (!t)
		return;
	if (t->esys)
		Esys_Finalize(&t->esys);
	if (t->tcti)
		Tss2_TctiLdr_Finalize(&t->tcti);
	free(t);
}

void hosttpm_identity_done(struct hosttpm_identity *id)
{
	if (!id)
		return;
	buf_done(&id->ek_pub);
	buf_done(&id->ak_pub);
	for (unsigned i = 0; i < id->n_certs; i++)
		buf_done(&id->certs[i]);
	id->n_certs = 0;
}

int hosttpm_identity(struct hosttpm *t, struct hosttpm_identity *out, struct fault *f)
{
	CLEANUP_LOADED struct loaded ek = { 0 }, ak = { 0 };
	struct hosttpm_identity id = { .ek_pub = BUF_INIT(TPM_PUBLIC_MAX),
				       .ak_pub = BUF_INIT(TPM_PUBLIC_MAX) };
	int rc = hosttpm_certs(t, &id, f);
	if (rc >= 0)
		rc = hosttpm_load_ek(t, &ek, &id.ek_pub, f);
	if (rc >= 0)
		rc = hosttpm_load_ak(t, &ak, &id.ak_pub, f);
	if (rc < 0) {
		hosttpm_identity_done(&id);
		return rc;
	}
	*out = id;
	return 0;
}

static int activate(struct hosttpm *t, const TPM2B_ID_OBJECT *object,
		    const TPM2B_ENCRYPTED_SECRET *secret, uint8_t out[static 32], struct fault *f)
{
	CLEANUP_LOADED struct loaded ek = { 0 }, ak = { 0 }, session = { 0 };
	int rc = hosttpm_load_ek(t, &ek, NULL, f);
	if (rc >= 0)
		rc = hosttpm_load_ak(t, &ak, NULL, f);
	if (rc >= 0)
		rc = hosttpm_ek_session(t, &session, f);
	if (rc < 0)
		return rc;
	CLEANUP_ESYS TPM2B_DIGEST *got = NULL;
	TSS2_RC answer = Esys_ActivateCredential(t->esys, ak.tr, ek.tr, ESYS_TR_PASSWORD,
						 session.t ? session.tr : ESYS_TR_PASSWORD,
						 ESYS_TR_NONE, object, secret, &got);
	/* Whatever is wrong with it, it was not made for this EK and this AK. */
	if (from_tpm(answer) && (answer & TPM2_RC_FMT1))
		return fault_set(f, ERR_AUTH,
				 "the TPM refuses the credential (0x%08x): it was made for another "
				 "endorsement key or attestation key",
				 answer);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "opening the credential");
	if (got->size != 32)
		rc = fault_set(f, ERR_FORMAT, "the credential is not of 32 bytes");
	else
		memcpy(out, got->buffer, 32);
	wipe(got, sizeof(*got));
	return rc;
}

int hosttpm_activate(struct hosttpm *t, struct blob id_object, struct blob secret,
		     uint8_t out[static 32], struct fault *f)
{
	TPM2B_ID_OBJECT object = { 0 };
	TPM2B_ENCRYPTED_SECRET encrypted = { 0 };
	size_t at = 0, secret_at = 0;
	if (Tss2_MU_TPM2B_ID_OBJECT_Unmarshal(id_object.data, id_object.n, &at, &object) ||
	    at != id_object.n ||
	    Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal(secret.data, secret.n, &secret_at,
						     &encrypted) ||
	    secret_at != secret.n)
		return fault_set(f, ERR_FORMAT,
				 "the credential is no TPM2B_ID_OBJECT with its secret");
	return activate(t, &object, &encrypted, out, f);
}

void hosttpm_proof_done(struct hosttpm_proof *p)
{
	if (!p)
		return;
	buf_done(&p->bk_pub);
	buf_done(&p->creation);
	buf_done(&p->creation_data);
	buf_done(&p->creation_signature);
	buf_done(&p->quote);
	buf_done(&p->quote_signature);
}

/* Take the values that one TPM2_PCR_Read gave, and out of *LEFT what was read. */
static int take_values(struct pcrs *pcrs, uint32_t *left, const TPML_PCR_SELECTION *got,
		       const TPML_DIGEST *values, struct fault *f)
{
	uint32_t mask = 0;
	if (got->count == 1 && got->pcrSelections[0].hash == pcrs->bank &&
	    got->pcrSelections[0].sizeofSelect == PCR_COUNT / 8)
		for (unsigned i = 0; i < PCR_COUNT / 8; i++)
			mask |= (uint32_t)got->pcrSelections[0].pcrSelect[i] << (8 * i);
	if (!mask || mask & ~*left || (unsigned)__builtin_popcount(mask) != values->count)
		return fault_set(f, ERR_STATE,
				 "the TPM does not give the PCRs 0x%06x of the %s bank: activate "
				 "the bank in the firmware's settings",
				 *left, hash_name(pcrs->bank));
	for (unsigned i = 0, n = 0; i < PCR_COUNT; i++) {
		if (!(mask >> i & 1))
			continue;
		const TPM2B_DIGEST *value = &values->digests[n++];
		if (value->size != hash_bytes(pcrs->bank))
			return fault_set(f, ERR_STATE, "the TPM gave a PCR of %u bytes",
					 value->size);
		memcpy(pcrs->value[i], value->buffer, value->size);
	}
	*left &= ~mask;
	return 0;
}

/* Read PCRS->mask once; 1 if the TPM measured something between the calls that it takes, since it
 * gives eight PCRs at most at a time. */
static int read_once(struct hosttpm *t, struct pcrs *pcrs, struct fault *f)
{
	UINT32 first = 0;
	int known = 0;
	for (uint32_t left = pcrs->mask; left;) {
		CLEANUP_ESYS TPML_PCR_SELECTION *got = NULL;
		CLEANUP_ESYS TPML_DIGEST *values = NULL;
		TPML_PCR_SELECTION want;
		UINT32 counter;
		int rc = tpm_selection(pcrs->bank, left, &want);
		if (rc < 0)
			return fault_set(f, rc, "the PCRs 0x%x cannot be selected", left);
		TSS2_RC answer = Esys_PCR_Read(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
					       &want, &counter, &got, &values);
		if (answer != TSS2_RC_SUCCESS)
			return hosttpm_failed(f, answer, "reading its PCRs");
		if (known && counter != first)
			return 1;
		first = counter;
		known = 1;
		rc = take_values(pcrs, &left, got, values, f);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_pcrs(struct hosttpm *t, struct pcrs *pcrs, struct fault *f)
{
	int rc = 1;
	for (int i = 0; rc == 1 && i < TRIES; i++)
		rc = read_once(t, pcrs, f);
	return rc == 1 ? fault_set(f, ERR_STATE, "the TPM's PCRs do not stand still") : rc;
}

/* Append a statement and its signature. */
static int put_statement(const TPM2B_ATTEST *attest, const TPMT_SIGNATURE *signature,
			 struct buf *out, struct buf *out_signature, struct fault *f)
{
	uint8_t bytes[TPM_SIGNATURE_MAX];
	size_t at = 0;
	if (Tss2_MU_TPMT_SIGNATURE_Marshal(signature, bytes, sizeof(bytes), &at))
		return fault_set(f, ERR_STATE, "the TPM's signature cannot be marshalled");
	int rc = buf_add(out, attest->attestationData, attest->size);
	if (rc >= 0)
		rc = buf_add(out_signature, bytes, at);
	return rc < 0 ? fault_set(f, rc, "no room for the TPM's statement: %s", err_text(rc)) : 0;
}

/* Append what a key was made of, as its creationHash is of it. */
static int put_creation(const TPM2B_CREATION_DATA *data, struct buf *out, struct fault *f)
{
	uint8_t bytes[TPM_CREATION_MAX];
	size_t at = 0;
	if (Tss2_MU_TPMS_CREATION_DATA_Marshal(&data->creationData, bytes, sizeof(bytes), &at))
		return fault_set(f, ERR_STATE, "the TPM's creation data cannot be marshalled");
	int rc = buf_add(out, bytes, at);
	return rc < 0 ? fault_set(f, rc, "no room for the creation data: %s", err_text(rc)) : 0;
}

/* The PCR-bound key for P->pcrs, and its creation certificate. */
static int certify_bk(struct hosttpm *t, ESYS_TR ak, const uint8_t nonce[static 32],
		      struct hosttpm_proof *p, struct fault *f)
{
	CLEANUP_LOADED struct loaded bk = { 0 };
	CLEANUP_CREATION struct creation made = { 0 };
	CLEANUP_ESYS TPM2B_ATTEST *attest = NULL;
	CLEANUP_ESYS TPMT_SIGNATURE *signature = NULL;
	TPMT_SIG_SCHEME own = { .scheme = TPM2_ALG_NULL };
	TPM2B_DATA data = { .size = 32 };
	uint8_t policy[32];
	int rc = tpm_pcr_policy(&p->pcrs, p->pcrs.mask & ~PCR_RUNNING_MASK, policy);
	if (rc < 0)
		return fault_set(f, rc, "no key can be bound to the PCRs 0x%x: %s", p->pcrs.mask,
				 err_text(rc));
	rc = hosttpm_load_bk(t, policy, &bk, &p->bk_pub, &made, f);
	if (rc >= 0)
		rc = put_creation(made.data, &p->creation_data, f);
	if (rc < 0)
		return rc;
	memcpy(data.buffer, nonce, 32);
	TSS2_RC answer = Esys_CertifyCreation(t->esys, ak, bk.tr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					      ESYS_TR_NONE, &data, made.hash, &own, made.ticket,
					      &attest, &signature);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "certifying the PCR-bound key");
	return put_statement(attest, signature, &p->creation, &p->creation_signature, f);
}

/* 1 if ATTEST quotes PCRS' values. */
static int quotes(const TPM2B_ATTEST *attest, const struct pcrs *pcrs)
{
	TPMS_ATTEST a = { 0 };
	uint8_t digest[32];
	size_t at = 0;
	return Tss2_MU_TPMS_ATTEST_Unmarshal(attest->attestationData, attest->size, &at, &a) ==
		       TSS2_RC_SUCCESS &&
	       a.type == TPM2_ST_ATTEST_QUOTE && tpm_pcr_digest(pcrs, pcrs->mask, digest) == 0 &&
	       a.attested.quote.pcrDigest.size == sizeof(digest) &&
	       memcmp(a.attested.quote.pcrDigest.buffer, digest, sizeof(digest)) == 0;
}

/* Quote P->pcrs; 1 if the TPM quotes other values than were read. */
static int quote(struct hosttpm *t, ESYS_TR ak, const uint8_t extra[static QUOTE_EXTRA_BYTES],
		 struct hosttpm_proof *p, struct fault *f)
{
	CLEANUP_ESYS TPM2B_ATTEST *attest = NULL;
	CLEANUP_ESYS TPMT_SIGNATURE *signature = NULL;
	TPMT_SIG_SCHEME own = { .scheme = TPM2_ALG_NULL };
	TPM2B_DATA data = { .size = QUOTE_EXTRA_BYTES };
	TPML_PCR_SELECTION selection;
	int rc = tpm_selection(p->pcrs.bank, p->pcrs.mask, &selection);
	if (rc < 0)
		return fault_set(f, rc, "the PCRs 0x%x cannot be selected", p->pcrs.mask);
	memcpy(data.buffer, extra, QUOTE_EXTRA_BYTES);
	TSS2_RC answer = Esys_Quote(t->esys, ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
				    &data, &own, &selection, &attest, &signature);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "quoting its PCRs");
	if (!quotes(attest, &p->pcrs))
		return 1;
	return put_statement(attest, signature, &p->quote, &p->quote_signature, f);
}

/* One try at all of it; 1 if the PCRs changed meanwhile. */
static int prove_once(struct hosttpm *t, ESYS_TR ak, const uint8_t nonce[static 32],
		      const uint8_t worker[static 65], const uint8_t host[static 16],
		      struct hosttpm_proof *p, struct fault *f)
{
	uint8_t name[TPM_NAME_BYTES], extra[QUOTE_EXTRA_BYTES];
	int rc = read_pcrs(t, &p->pcrs, f);
	if (rc >= 0)
		rc = certify_bk(t, ak, nonce, p, f);
	if (rc >= 0)
		rc = tpm_name((struct blob){ p->bk_pub.data, p->bk_pub.len }, name, f);
	if (rc < 0)
		return rc;
	rc = quote_extra(nonce, name, worker, host, extra);
	if (rc < 0)
		return fault_set(f, rc, "libcrypto cannot hash: %s", err_text(rc));
	return quote(t, ak, extra, p, f);
}

int hosttpm_prove(struct hosttpm *t, uint16_t bank, uint32_t mask, const uint8_t nonce[static 32],
		  const uint8_t worker[static 65], const uint8_t host[static 16],
		  struct hosttpm_proof *out, struct fault *f)
{
	CLEANUP_LOADED struct loaded ak = { 0 };
	TPML_PCR_SELECTION selection;
	int rc = tpm_selection(bank, mask, &selection);
	if (rc < 0)
		return fault_set(f, rc, "the PCRs 0x%x of bank 0x%04x cannot be quoted", mask,
				 bank);
	rc = hosttpm_load_ak(t, &ak, NULL, f);
	if (rc < 0)
		return rc;
	rc = 1;
	for (int i = 0; rc == 1 && i < TRIES; i++) {
		struct hosttpm_proof p = {
			.bk_pub = BUF_INIT(TPM_PUBLIC_MAX),
			.creation = BUF_INIT(TPM_ATTEST_MAX),
			.creation_data = BUF_INIT(TPM_CREATION_MAX),
			.creation_signature = BUF_INIT(TPM_SIGNATURE_MAX),
			.quote = BUF_INIT(TPM_ATTEST_MAX),
			.quote_signature = BUF_INIT(TPM_SIGNATURE_MAX),
			.pcrs = { .bank = bank, .mask = mask },
		};
		rc = prove_once(t, ak.tr, nonce, worker, host, &p, f);
		if (rc == 0)
			*out = p;
		else
			hosttpm_proof_done(&p);
	}
	if (rc == 1)
		return fault_set(f, ERR_STATE,
				 "the TPM's PCRs changed during each of %d quotes: try again",
				 TRIES);
	return rc;
}

/* TPM2_ECDH_ZGen under TPM2_PolicyPCR; TPM2_RC_PCR_CHANGED if the TPM measured in between. */
static TSS2_RC derive(struct hosttpm *t, ESYS_TR bk, ESYS_TR session,
		      const TPML_PCR_SELECTION *selection, const TPM2B_ECC_POINT *point,
		      TPM2B_ECC_POINT **z)
{
	TPM2B_DIGEST of_the_tpm = { 0 };
	TSS2_RC answer = Esys_PolicyPCR(t->esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
					&of_the_tpm, selection);
	if (answer == TSS2_RC_SUCCESS)
		answer = Esys_ECDH_ZGen(t->esys, bk, session, ESYS_TR_NONE, ESYS_TR_NONE, point, z);
	return answer;
}

/* Load the key of BOUND again; ERR_STATE if the template gives another one now. */
static int reload_bk(struct hosttpm *t, const struct hosttpm_proof *bound, struct loaded *out,
		     struct fault *f)
{
	CLEANUP_BUF struct buf pub = BUF_INIT(TPM_PUBLIC_MAX);
	uint8_t policy[32];
	int rc = tpm_pcr_policy(&bound->pcrs, bound->pcrs.mask & ~PCR_RUNNING_MASK, policy);
	if (rc < 0)
		return fault_set(f, rc, "no key is bound to the PCRs 0x%x", bound->pcrs.mask);
	rc = hosttpm_load_bk(t, policy, out, &pub, NULL, f);
	if (rc < 0)
		return rc;
	if (pub.len != bound->bk_pub.len || memcmp(pub.data, bound->bk_pub.data, pub.len) != 0)
		return fault_set(f, ERR_STATE,
				 "the TPM was reset since the host attested: attest again");
	return 0;
}

int hosttpm_ecdh(struct hosttpm *t, const struct hosttpm_proof *bound, const uint8_t x[static 32],
		 const uint8_t y[static 32], uint8_t z[static 32], struct fault *f)
{
	CLEANUP_LOADED struct loaded bk = { 0 };
	TPM2B_ECC_POINT point = { .point = { .x.size = 32, .y.size = 32 } };
	TPML_PCR_SELECTION selection;
	TSS2_RC answer = TPM2_RC_PCR_CHANGED;
	int rc = tpm_selection(bound->pcrs.bank, bound->pcrs.mask & ~PCR_RUNNING_MASK, &selection);
	if (rc < 0)
		return fault_set(f, rc, "no key is bound to the PCRs 0x%x", bound->pcrs.mask);
	rc = reload_bk(t, bound, &bk, f);
	if (rc < 0)
		return rc;
	memcpy(point.point.x.buffer, x, 32);
	memcpy(point.point.y.buffer, y, 32);
	CLEANUP_ESYS TPM2B_ECC_POINT *got = NULL;
	for (int i = 0; i < TRIES && from_tpm(answer) && (answer & 0xfff) == TPM2_RC_PCR_CHANGED;
	     i++) {
		CLEANUP_LOADED struct loaded session = { 0 };
		rc = hosttpm_policy_session(t, &session, f);
		if (rc < 0)
			return rc;
		answer = derive(t, bk.tr, session.tr, &selection, &point, &got);
	}
	if (hosttpm_is(answer, TPM2_RC_POLICY_FAIL))
		return fault_set(f, ERR_POLICY,
				 "the TPM's PCRs are no longer those the host attested with: "
				 "attest again");
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "deriving the shared secret");
	rc = tpm_pad(got->point.x.buffer, got->point.x.size, z, 32);
	wipe(got, sizeof(*got));
	return rc < 0 ? fault_set(f, rc, "the TPM's shared secret is too long") : 0;
}

static int derive_half(void *arg, const uint8_t x[static 32], const uint8_t y[static 32],
		       uint8_t z[static 32])
{
	struct hosttpm_half *half = arg;
	return hosttpm_ecdh(half->t, half->bound, x, y, z, half->f);
}

struct ecdh hosttpm_ecdh_of(struct hosttpm_half *half)
{
	return (struct ecdh){ .derive = derive_half, .arg = half };
}
