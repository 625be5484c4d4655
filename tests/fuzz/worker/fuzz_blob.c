/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State blobs from a peer: type, flags, then the blob.  What is taken must be what this VM's key
 * (all zeros here, as the corpus's authentic blob) has sealed; nothing is stored before an INIT.
 */
#include <stdlib.h>

#include "tests/unit/worker/memory_store.h"
#include "worker/vtpm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct vm_key key;
static const uint8_t vm[UUID_BYTES];
static struct store disk;
static struct vtpm *tpm;

/* The blob does open with the key of its type. */
static int authentic(unsigned int type, const uint8_t *blob, size_t n)
{
	static const enum key_use use[] = { KEY_USE_VTPM_BLOB_PERMANENT, KEY_USE_VTPM_BLOB_VOLATILE,
					    KEY_USE_VTPM_BLOB_SAVESTATE };
	CLEANUP_BUF struct buf plain = BUF_INIT(SEAL_PLAINTEXT_MAX);
	struct seal *s;
	if (type < 1 || type > 3 || seal_new(&key, use[type - 1], vm, NULL, 0, &s) < 0)
		return 0;
	int rc = seal_open(s, blob, n, &plain, NULL);
	seal_free(s);
	if (rc >= 0 || type != VTPM_BLOB_PERMANENT ||
	    seal_new(&key, KEY_USE_VTPM_BLOB_VERSIONED, vm, NULL, 0, &s) < 0)
		return rc >= 0;
	rc = seal_open(s, blob, n, &plain, NULL);
	seal_free(s);
	return rc >= 0 && plain.len >= BLOB_VERSION_BYTES && plain.data[0] < 0x80;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fault f = { 0 };
	if (!tpm) {
		struct vtpm_config config = { .store = &disk, .key = &key, .vm = vm };
		if (vtpm_new(&config, &tpm, NULL) < 0)
			abort();
	}
	if (size < 2)
		return 0;
	int rc = vtpm_set_blob(tpm, data[0], data[1] & 2, data + 2, size - 2, &f);
	if (rc == 0 && size > 2 && !authentic(data[0], data + 2, size - 2))
		abort();
	if ((rc < 0) != (f.text[0] != 0) || disk.exists || vtpm_running(tpm))
		abort();
	return 0;
}
