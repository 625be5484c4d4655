/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/blob.h"

#include <errno.h>

#include "crypto/seal.h"

#define TYPES 3

struct blob_keys {
	struct seal *seal[TYPES];
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
	for (size_t i = 0; i < TYPES; i++) {
		int rc = seal_new(key, use[i], vm, tpm_id, tpm_id_bytes, &k->seal[i]);
		if (rc < 0) {
			blob_keys_free(k);
			return rc;
		}
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
	free(k);
}

int blob_seal(struct blob_keys *k, enum vtpm_blob type, const uint8_t *state, size_t n,
	      struct buf *out)
{
	if (!k)
		return buf_add(out, state, n);
	return seal_blob(k->seal[type - 1], state, n, out);
}

int blob_open(struct blob_keys *k, enum vtpm_blob type, const uint8_t *sealed, size_t n,
	      struct buf *out, struct fault *f)
{
	if (!k)
		return buf_add(out, sealed, n);
	return seal_open(k->seal[type - 1], sealed, n, out, f);
}
