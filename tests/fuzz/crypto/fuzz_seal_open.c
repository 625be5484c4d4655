/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * seal_open() on arbitrary bytes.  Key, VM and context are those of tests/vectors/crypto, so that
 * the seeds open.  An input that begins with 0xff is what follows a genuine header: no fuzzer finds
 * a commitment by itself.
 */
#include "crypto/seal.h"

#define HEADER_BYTES 96

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct seal *sealer;
static uint8_t header[HEADER_BYTES];

static void set_up(void)
{
	static const uint8_t VM[UUID_BYTES] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
						0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
	static const uint8_t TPM[] = { 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78,
				       0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0 };
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_OVERHEAD_BYTES);
	struct vm_key key;
	for (uint8_t i = 0; i < KEY_BYTES; i++)
		key.bytes[i] = i;
	if (seal_new(&key, KEY_USE_VTPM_STATE, VM, TPM, sizeof(TPM), &sealer) < 0 ||
	    seal_blob(sealer, NULL, 0, &b) < 0)
		abort();
	memcpy(header, b.data, HEADER_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_BUF struct buf with_header = BUF_INIT(SEAL_FILE_MAX), out = BUF_INIT(SEAL_FILE_MAX);
	struct fault f = { 0 };
	if (!sealer)
		set_up();
	if (size > 0 && size < SEAL_PLAINTEXT_MAX && data[0] == 0xff) {
		if (buf_add(&with_header, header, HEADER_BYTES) < 0 ||
		    buf_add(&with_header, data + 1, size - 1) < 0)
			abort();
		data = with_header.data;
		size = with_header.len;
	}
	int rc = seal_open(sealer, data, size, &out, &f);
	if (rc < 0 && (out.len != 0 || f.rc != rc || !f.text[0]))
		abort();
	if (rc == 0 && out.len + SEAL_OVERHEAD_BYTES != size)
		abort();
	return 0;
}
