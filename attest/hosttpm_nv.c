/* SPDX-License-Identifier: BSD-3-Clause */
/* The certificates that the TPM's maker has left in its NV memory. */
#include <errno.h>

#include "attest/hosttpm_form.h"
#include "crypto/ekcert.h"

/* TCG EK Credential Profile, "EK Certificate Chain": read in the order of their indices, they may
 * go on from one to the next. */
#define CHAIN_FIRST	0x01c00100
#define CHAIN_LAST	0x01c001ff

#define CHAIN_BYTES_MAX (HOSTTPM_CERTS_MAX * HOSTTPM_CERT_BYTES)

/* What every TPM reads at once (PC Client Platform TPM Profile, TPM_PT_NV_BUFFER_MAX). */
#define NV_CHUNK	512

int hosttpm_nv_next(struct hosttpm *t, TPM2_HANDLE from, TPM2_HANDLE *found, struct fault *f)
{
	CLEANUP_ESYS TPMS_CAPABILITY_DATA *data = NULL;
	TPMI_YES_NO more;
	TSS2_RC answer = Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
					    TPM2_CAP_HANDLES, from, 1, &more, &data);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "listing its NV indices");
	*found = 0;
	if (data->capability == TPM2_CAP_HANDLES && data->data.handles.count > 0 &&
	    data->data.handles.handle[0] >= from)
		*found = data->data.handles.handle[0];
	return 0;
}

/* Append the SIZE bytes of NV index TR, with AUTH's empty password. */
static int read_bytes(struct hosttpm *t, ESYS_TR tr, ESYS_TR auth, UINT16 size, struct buf *out,
		      struct fault *f)
{
	for (UINT16 at = 0; at < size;) {
		CLEANUP_ESYS TPM2B_MAX_NV_BUFFER *chunk = NULL;
		UINT16 n = (UINT16)(size - at < NV_CHUNK ? size - at : NV_CHUNK);
		TSS2_RC answer = Esys_NV_Read(t->esys, auth, tr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					      ESYS_TR_NONE, n, at, &chunk);
		if (answer != TSS2_RC_SUCCESS)
			return hosttpm_failed(f, answer, "reading a certificate");
		if (chunk->size != n)
			return fault_set(f, ERR_STATE, "the TPM gave another size than asked for");
		int rc = buf_add(out, chunk->buffer, n);
		if (rc < 0)
			return fault_set(f, rc, "the TPM's certificates are too long: %s",
					 err_text(rc));
		at = (UINT16)(at + n);
	}
	return 0;
}

static int read_index(struct hosttpm *t, ESYS_TR tr, struct buf *out, struct fault *f)
{
	CLEANUP_ESYS TPM2B_NV_PUBLIC *nv = NULL;
	TSS2_RC answer = Esys_NV_ReadPublic(t->esys, tr, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
					    &nv, NULL);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "describing an NV index");
	TPMA_NV attributes = nv->nvPublic.attributes;
	if (!(attributes & TPMA_NV_WRITTEN))
		return 0;
	return read_bytes(t, tr, attributes & TPMA_NV_AUTHREAD ? tr : ESYS_TR_RH_OWNER,
			  nv->nvPublic.dataSize, out, f);
}

static int nv_read(struct hosttpm *t, TPM2_HANDLE index, struct buf *out, struct fault *f)
{
	ESYS_TR tr = ESYS_TR_NONE;
	TSS2_RC answer = Esys_TR_FromTPMPublic(t->esys, index, ESYS_TR_NONE, ESYS_TR_NONE,
					       ESYS_TR_NONE, &tr);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "opening an NV index");
	int rc = read_index(t, tr, out, f);
	/* ESAPI's own record of the index; the TPM holds nothing. */
	Esys_TR_Close(t->esys, &tr);
	return rc;
}

static int add_cert(struct hosttpm_identity *id, const uint8_t *der, size_t n, struct fault *f)
{
	if (id->n_certs == HOSTTPM_CERTS_MAX || n > HOSTTPM_CERT_BYTES)
		return fault_set(f, ERR_LIMIT,
				 "the TPM has more than %d certificates, or one of over %d bytes",
				 HOSTTPM_CERTS_MAX, HOSTTPM_CERT_BYTES);
	id->certs[id->n_certs] = BUF_INIT(HOSTTPM_CERT_BYTES);
	int rc = buf_add(&id->certs[id->n_certs], der, n);
	if (rc < 0)
		return fault_set(f, rc, "no room for a certificate: %s", err_text(rc));
	id->n_certs++;
	return 0;
}

/* The EK's own certificate; what stands behind it is padding. */
static int add_ek_cert(struct hosttpm *t, struct hosttpm_identity *out, struct fault *f)
{
	CLEANUP_BUF struct buf nv = BUF_INIT(2 * HOSTTPM_CERT_BYTES);
	size_t n;
	int rc = nv_read(t, t->ek_cert, &nv, f);
	if (rc < 0)
		return rc;
	if (ekcert_next(nv.data, nv.len, &n) < 0)
		return fault_set(f, ERR_FORMAT,
				 "what the TPM has at NV index 0x%08x is no certificate",
				 t->ek_cert);
	return add_cert(out, nv.data, n, f);
}

static int add_chain(struct hosttpm *t, struct hosttpm_identity *out, struct fault *f)
{
	CLEANUP_BUF struct buf nv = BUF_INIT(CHAIN_BYTES_MAX);
	for (TPM2_HANDLE from = CHAIN_FIRST, found; from <= CHAIN_LAST; from = found + 1) {
		int rc = hosttpm_nv_next(t, from, &found, f);
		if (rc < 0)
			return rc;
		if (!found || found > CHAIN_LAST)
			break;
		rc = nv_read(t, found, &nv, f);
		if (rc < 0)
			return rc;
	}
	size_t n;
	for (size_t at = 0; at < nv.len && ekcert_next(nv.data + at, nv.len - at, &n) == 0;
	     at += n) {
		int rc = add_cert(out, nv.data + at, n, f);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int hosttpm_certs(struct hosttpm *t, struct hosttpm_identity *out, struct fault *f)
{
	int rc = hosttpm_choose_ek(t, f);
	if (rc < 0 || !t->ek_cert)
		return rc;
	rc = add_ek_cert(t, out, f);
	return rc < 0 ? rc : add_chain(t, out, f);
}
