/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/nvram.h"

#include <errno.h>

#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>

#include "base/log.h"

/* libtpms' callbacks have no context argument. */
static struct nvram *the_nvram;
static const atomic_uint *the_locality;

void held_forget(struct held *h)
{
	buf_clear(&h->state);
	h->set = 0;
}

int held_set(struct held *h, const uint8_t *data, size_t n)
{
	held_forget(h);
	int rc = buf_add(&h->state, data, n);
	if (rc == 0)
		h->set = 1;
	return rc;
}

/* ---- what libtpms calls ---- */

static TPM_RESULT cb_nvram_init(void)
{
	return TPM_SUCCESS;
}

/* Give libtpms a copy that it frees. */
static TPM_RESULT give(const struct buf *b, unsigned char **data, uint32_t *length)
{
	unsigned char *copy = malloc(b->len);
	if (!copy)
		return TPM_SIZE;
	memcpy(copy, b->data, b->len);
	*data = copy;
	*length = (uint32_t)b->len;
	return TPM_SUCCESS;
}

static TPM_RESULT load(const struct held *h, struct store *s, unsigned char **data,
		       uint32_t *length)
{
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
	struct fault f = { 0 };

	if (h->set)
		return h->state.len ? give(&h->state, data, length) : TPM_RETRY;
	if (!s)
		return TPM_RETRY;
	int rc = store_load(s, &b, &f);
	/* TPM_RETRY is "absent", upon which libtpms manufactures: nothing else may say it. */
	if (rc == -ENOENT || (rc >= 0 && b.len == 0 && s == the_nvram->volatile_store))
		return TPM_RETRY;
	if (rc >= 0 && b.len == 0)
		rc = fault_set(&f, ERR_TRUNCATED, "the stored state is empty");
	if (rc < 0) {
		log_error("vTPM state not loaded: %s", f.text[0] ? f.text : err_text(rc));
		the_nvram->failed = 1;
		return TPM_FAIL;
	}
	return give(&b, data, length);
}

static TPM_RESULT cb_loaddata(unsigned char **data, uint32_t *length, uint32_t tpm_number,
			      const char *name)
{
	struct nvram *n = the_nvram;
	TPM_RESULT res = TPM_RETRY;
	(void)tpm_number;

	if (strcmp(name, TPM_PERMANENT_ALL_NAME) == 0) {
		res = load(&n->permanent, n->permanent_store, data, length);
		if (res == TPM_RETRY)
			n->made = 1;
	} else if (strcmp(name, TPM_VOLATILESTATE_NAME) == 0) {
		res = load(&n->volatile_now, n->volatile_store, data, length);
		if (res == TPM_SUCCESS)
			n->resumed = 1;
	}
	return res;
}

static TPM_RESULT cb_storedata(const unsigned char *data, uint32_t length, uint32_t tpm_number,
			       const char *name)
{
	struct nvram *n = the_nvram;
	struct fault f = { 0 };
	int rc;
	(void)tpm_number;

	if (strcmp(name, TPM_PERMANENT_ALL_NAME) != 0)
		return TPM_FAIL;
	if (n->holding) {
		n->dirty = 1;
		rc = held_set(&n->permanent, data, length);
	} else if (n->ending) {
		rc = store_save_same(n->permanent_store, data, length, &f);
	} else {
		rc = store_save(n->permanent_store, data, length, &f);
	}
	if (rc < 0) {
		log_error("vTPM state not stored: %s", f.text[0] ? f.text : err_text(rc));
		n->failed = 1;
		return TPM_FAIL;
	}
	return TPM_SUCCESS;
}

static TPM_RESULT cb_deletename(uint32_t tpm_number, const char *name, TPM_BOOL must_exist)
{
	(void)tpm_number;
	(void)name;
	(void)must_exist;
	return TPM_SUCCESS;
}

static TPM_RESULT cb_io_init(void)
{
	return TPM_SUCCESS;
}

static TPM_RESULT cb_getlocality(TPM_MODIFIER_INDICATOR *locality, uint32_t tpm_number)
{
	(void)tpm_number;
	*locality = atomic_load(the_locality);
	return TPM_SUCCESS;
}

static TPM_RESULT cb_getphysicalpresence(TPM_BOOL *present, uint32_t tpm_number)
{
	(void)tpm_number;
	*present = FALSE;
	return TPM_SUCCESS;
}

int nvram_register(struct nvram *n, const atomic_uint *locality)
{
	static struct libtpms_callbacks callbacks = {
		.sizeOfStruct = sizeof(callbacks),
		.tpm_nvram_init = cb_nvram_init,
		.tpm_nvram_loaddata = cb_loaddata,
		.tpm_nvram_storedata = cb_storedata,
		.tpm_nvram_deletename = cb_deletename,
		.tpm_io_init = cb_io_init,
		.tpm_io_getlocality = cb_getlocality,
		.tpm_io_getphysicalpresence = cb_getphysicalpresence,
	};
	n->permanent.state = BUF_INIT(SEAL_PLAINTEXT_MAX);
	n->volatile_now.state = BUF_INIT(SEAL_PLAINTEXT_MAX);
	the_nvram = n;
	the_locality = locality;
	if (TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) != TPM_SUCCESS ||
	    TPMLIB_RegisterCallbacks(&callbacks) != TPM_SUCCESS)
		return ERR_STATE;
	return 0;
}

void nvram_done(struct nvram *n)
{
	buf_done(&n->permanent.state);
	buf_done(&n->volatile_now.state);
}

void nvram_begin(struct nvram *n)
{
	n->holding = 1;
	n->failed = n->made = n->resumed = 0;
}

void nvram_drop(struct nvram *n)
{
	n->holding = n->dirty = 0;
	held_forget(&n->permanent);
}

int nvram_commit(struct nvram *n, struct fault *f)
{
	int rc = 0;
	if (n->permanent.set && n->dirty)
		rc = store_save(n->permanent_store, n->permanent.state.data, n->permanent.state.len,
				f);
	nvram_drop(n);
	return rc;
}

int nvram_consume_volatile(struct nvram *n, struct fault *f)
{
	held_forget(&n->volatile_now);
	if (!n->volatile_store || !store_exists(n->volatile_store))
		return 0;
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
	int rc = store_load(n->volatile_store, &b, f);
	if (rc >= 0 && b.len)
		rc = store_save(n->volatile_store, NULL, 0, f);
	return rc;
}
