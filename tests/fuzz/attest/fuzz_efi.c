/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What measured events' data say.  The first byte is the decoder: 0 a variable, and its value as a
 * signature database; 1 a signature database; 2 an image.
 */
#include <stdlib.h>
#include <string.h>

#include "attest/efi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(ok)                                                                                  \
	do {                                                                                       \
		if (!(ok))                                                                         \
			abort();                                                                   \
	} while (0)

static int within(const uint8_t *p, size_t n, const uint8_t *data, size_t size)
{
	return p >= data && p <= data + size && n <= (size_t)(data + size - p);
}

static void signatures(const uint8_t *data, size_t size)
{
	struct efi_signatures it;
	struct efi_signature s;
	uint8_t last[EFI_SHA256_BYTES] = { 0 };
	int rc, have = 0;
	efi_signatures_start(&it, data, size);
	while ((rc = efi_signatures_next(&it, &s, NULL)) > 0) {
		CHECK(within(s.owner, EFI_GUID_BYTES + s.data_bytes, data, size));
		CHECK(s.data == s.owner + EFI_GUID_BYTES && s.data_bytes > 0);
		if (s.type == EFI_SIGNATURE_SHA256) {
			CHECK(s.data_bytes == EFI_SHA256_BYTES);
			memcpy(last, s.data, EFI_SHA256_BYTES);
			have = 1;
		}
	}
	int found = efi_signatures_have(data, size, last, NULL);
	CHECK(rc < 0 ? found == rc : found == have);
}

static void variable(const uint8_t *data, size_t size)
{
	struct efi_variable v;
	struct fault f = { 0 };
	int rc = efi_variable_parse(data, size, &v, &f);
	CHECK((rc < 0) == (f.text[0] != '\0'));
	if (rc < 0)
		return;
	CHECK(within(v.data, v.data_bytes, data, size) && v.data + v.data_bytes == data + size);
	CHECK(strlen(v.name) * 2 + 32 + v.data_bytes == size);
	int flag = efi_variable_flag(&v, NULL);
	CHECK(flag == ERR_FORMAT || (v.data_bytes == 1 && v.data[0] == flag));
	signatures(v.data, v.data_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct efi_image image;
	if (size == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		variable(data + 1, size - 1);
		break;
	case 1:
		signatures(data + 1, size - 1);
		break;
	default:
		if (efi_image_parse(data + 1, size - 1, &image, NULL) >= 0)
			CHECK(image.path_bytes + 32 == size - 1 &&
			      image.path + image.path_bytes == data + size);
		break;
	}
	return 0;
}
