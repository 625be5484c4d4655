/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/blob.h"

#include <endian.h>
#include <errno.h>

#include "crypto/seal.h"
#include "crypto/statehead.h"

#define TYPES	   3
#define PURPOSE_AT 9 /* docs/FORMAT.md, "Header" */

_Static_assert(BLOB_VERSION_BYTES == sizeof(uint64_t), "blob.h");

struct blob_keys {
	struct seal *seal[TYPES];
	struct seal *versioned; /* the permanent state's; seal[0] only opens what is older */
};

int blob_keys_new(const struct vm_key *key, const uint8_t vm[static UUID_BYTES],
		  const uint8_t *tpm_id, size_t tpm_id_bytes, struct blob_keys **out)
{
	static const enum key_use use[TYPES] = {
		KEY_USE_VTPM_BLOB_PERMANENT,
		KEY_USE_VTPM_BLOB_VOLATILE,
		KEY_USE_VTPM_BLOB_SAVESTATE,
	};
	struct blob_keys *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	int rc =
		seal_new(key, KEY_USE_VTPM_BLOB_VERSIONED, vm, tpm_id, tpm_id_bytes, &k->versioned);
	for (size_t i = 0; i < TYPES && rc >= 0; i++)
		rc = seal_new(key, use[i], vm, tpm_id, tpm_id_bytes, &k->seal[i]);
	if (rc < 0) {
		blob_keys_free(k);
		return rc;
	}
	*out = k;
	return 0;
}

void blob_keys_free(struct blob_keys *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < TYPES; i++)
		seal_free(k->seal[i]);
	seal_free(k->versioned);
	free(k);
}

int blob_seal(struct blob_keys *k, enum vtpm_blob type, uint64_t version, const uint8_t *state,
	      size_t n, struct buf *out)
{
	CLEANUP_BUF struct buf plain = BUF_INIT(SEAL_PLAINTEXT_MAX);
	if (!k)
		return buf_add(out, state, n);
	if (type != VTPM_BLOB_PERMANENT)
		return seal_blob(k->seal[type - 1], state, n, out);
	uint64_t be = htobe64(version);
	int rc = buf_add(&plain, &be, sizeof(be));
	if (rc >= 0)
		rc = buf_add(&plain, state, n);
	return rc < 0 ? rc : seal_blob(k->versioned, plain.data, plain.len, out);
}

static int open_versioned(struct blob_keys *k, const uint8_t *sealed, size_t n, uint64_t *version,
			  struct buf *out, struct fault *f)
{
	CLEANUP_BUF struct buf plain = BUF_INIT(SEAL_PLAINTEXT_MAX);
	uint64_t be;
	int rc = seal_open(k->versioned, sealed, n, &plain, f);
	if (rc < 0)
		return rc;
	if (plain.len < sizeof(be))
		return fault_set(f, ERR_TRUNCATED, "a permanent state without its version");
	memcpy(&be, plain.data, sizeof(be));
	if (be64toh(be) > STATEHEAD_VERSION_MAX)
		return fault_set(f, ERR_LIMIT, "a permanent state with an impossible version");
	rc = buf_add(out, plain.data + sizeof(be), plain.len - sizeof(be));
	if (rc < 0)
		return fault_set(f, rc, "no room for the state: %s", err_text(rc));
	*version = be64toh(be);
	return 0;
}

int blob_open(struct blob_keys *k, enum vtpm_blob type, const uint8_t *sealed, size_t n,
	      uint64_t *version, struct buf *out, struct fault *f)
{
	*version = 0;
	if (!k)
		return buf_add(out, sealed, n);
	/* What the header says here is not authentic yet; a lie does not open. */
	if (type == VTPM_BLOB_PERMANENT && n > PURPOSE_AT &&
	    sealed[PURPOSE_AT] == KEY_USE_VTPM_BLOB_VERSIONED)
		return open_versioned(k, sealed, n, version, out, f);
	return seal_open(k->seal[type - 1], sealed, n, out, f);
}
