/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>

#include "attest/efi.h"
#include "base/buf.h"

#define GLOBAL	 "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"
#define DATABASE "\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f"
#define SHA256	 "\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28"
#define X509	 "\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72"
#define OTHER	 "\x12\xa5\x6c\x82\x10\xcf\xc9\x4a\xb1\x87\xbe\x01\x49\x66\x31\xbd"

static void put(struct buf *b, const void *data, size_t n)
{
	assert_int_equal(buf_add(b, data, n), 0);
}

static void put_number(struct buf *b, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)(value >> 8 * i);
		put(b, &byte, 1);
	}
}

static void put_variable(struct buf *b, const char *guid, const char *name, const void *data,
			 size_t n)
{
	put(b, guid, 16);
	put_number(b, strlen(name), 8);
	put_number(b, n, 8);
	for (; *name; name++)
		put_number(b, (uint8_t)*name, 2);
	put(b, data, n);
}

static void test_variables_are_known_by_guid_and_name(void **state)
{
	(void)state;
	static const struct {
		const char *guid, *name;
		enum efi_variable_id which;
	} ROWS[] = {
		{ GLOBAL, "SecureBoot", EFI_SECURE_BOOT },
		{ GLOBAL, "PK", EFI_PK },
		{ GLOBAL, "KEK", EFI_KEK },
		{ DATABASE, "db", EFI_DB },
		{ DATABASE, "dbx", EFI_DBX },
		{ DATABASE, "dbt", EFI_DBT },
		{ GLOBAL, "SetupMode", EFI_SETUP_MODE },
		{ GLOBAL, "AuditMode", EFI_AUDIT_MODE },
		{ GLOBAL, "DeployedMode", EFI_DEPLOYED_MODE },
		{ DATABASE, "SecureBoot", EFI_VARIABLE_OTHER },
		{ DATABASE, "PK", EFI_VARIABLE_OTHER },
		{ GLOBAL, "db", EFI_VARIABLE_OTHER },
		{ OTHER, "dbx", EFI_VARIABLE_OTHER },
		{ GLOBAL, "secureboot", EFI_VARIABLE_OTHER },
		{ GLOBAL, "SecureBoot2", EFI_VARIABLE_OTHER },
		{ GLOBAL, "SecureBoo", EFI_VARIABLE_OTHER },
		{ GLOBAL, "", EFI_VARIABLE_OTHER },
	};
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(4096);
		struct efi_variable v;
		put_variable(&b, ROWS[i].guid, ROWS[i].name, "value", 5);
		assert_int_equal(efi_variable_parse(b.data, b.len, &v, NULL), 0);
		assert_int_equal(v.which, ROWS[i].which);
		assert_string_equal(v.name, ROWS[i].name);
		assert_memory_equal(v.guid, ROWS[i].guid, 16);
		assert_int_equal(v.data_bytes, 5);
		assert_memory_equal(v.data, "value", 5);
	}
}

static void test_bad_variables(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(4096), longest = BUF_INIT(4096);
	struct efi_variable v;
	struct fault f = { 0 };
	char name[EFI_NAME_MAX + 1] = { 0 };
	put_variable(&b, GLOBAL, "SecureBoot", "\1", 1);
	for (size_t n = 0; n < b.len; n++) {
		CLEANUP_BUF struct buf part = BUF_INIT(4096);
		put(&part, b.data, n);
		assert_int_equal(efi_variable_parse(part.data, n, &v, NULL), ERR_FORMAT);
	}
	put(&b, "x", 1);
	assert_int_equal(efi_variable_parse(b.data, b.len, &v, &f), ERR_FORMAT);
	assert_int_equal(f.rc, ERR_FORMAT);
	b.len--;
	/* The second character: high byte, control, DEL, NUL. */
	static const char BAD[][2] = { { 'e', 1 }, { 0x1f, 0 }, { 0x7f, 0 }, { 0, 0 } };
	for (size_t i = 0; i < 4; i++) {
		memcpy(b.data + 34, BAD[i], 2);
		assert_int_equal(efi_variable_parse(b.data, b.len, &v, NULL), ERR_FORMAT);
	}
	memcpy(b.data + 34, "e\0", 2);
	assert_int_equal(efi_variable_parse(b.data, b.len, &v, NULL), 0);
	/* Sizes that would wrap. */
	memset(b.data + 24, 0xff, 8);
	assert_int_equal(efi_variable_parse(b.data, b.len, &v, NULL), ERR_FORMAT);
	memset(b.data + 16, 0xff, 8);
	assert_int_equal(efi_variable_parse(b.data, b.len, &v, NULL), ERR_LIMIT);

	memset(name, 'n', EFI_NAME_MAX - 1);
	put_variable(&longest, OTHER, name, NULL, 0);
	assert_int_equal(efi_variable_parse(longest.data, longest.len, &v, NULL), 0);
	assert_string_equal(v.name, name);
	name[EFI_NAME_MAX - 1] = 'n';
	longest.len = 0;
	put_variable(&longest, OTHER, name, NULL, 0);
	assert_int_equal(efi_variable_parse(longest.data, longest.len, &v, NULL), ERR_LIMIT);
}

static void test_flags(void **state)
{
	(void)state;
	static const struct {
		const char *data;
		size_t n;
		int value;
	} ROWS[] = { { "\0", 1, 0 },	      { "\1", 1, 1 },
		     { "\2", 1, ERR_FORMAT }, { "\1\0", 2, ERR_FORMAT },
		     { "", 0, ERR_FORMAT },   { "\xff", 1, ERR_FORMAT } };
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(4096);
		struct efi_variable v;
		put_variable(&b, GLOBAL, "SecureBoot", ROWS[i].data, ROWS[i].n);
		assert_int_equal(efi_variable_parse(b.data, b.len, &v, NULL), 0);
		assert_int_equal(efi_variable_flag(&v, NULL), ROWS[i].value);
	}
}

static void put_signatures(struct buf *b, const char *type, size_t header, size_t bytes,
			   const void *data, size_t n)
{
	put(b, type, 16);
	put_number(b, 28 + header + n, 4);
	put_number(b, header, 4);
	put_number(b, bytes, 4);
	for (size_t i = 0; i < header; i++)
		put(b, "h", 1);
	put(b, data, n);
}

/* Two digests (of 'a's and 'b's), an empty list, a certificate, something with a header. */
static void put_database(struct buf *b)
{
	char two[2 * 48];
	memset(two, 'o', sizeof(two));
	memset(two + 16, 'a', 32);
	memset(two + 64, 'b', 32);
	put_signatures(b, SHA256, 0, 48, two, 96);
	put_signatures(b, SHA256, 0, 48, NULL, 0);
	put_signatures(b, X509, 0, 27, "0123456789abcdefcertificate", 27);
	put_signatures(b, OTHER, 3, 17, "0123456789abcdefx", 17);
}

static int count(const uint8_t *data, size_t n)
{
	struct efi_signatures it;
	struct efi_signature s;
	int rc, seen = 0;
	efi_signatures_start(&it, data, n);
	while ((rc = efi_signatures_next(&it, &s, NULL)) > 0)
		seen++;
	if (rc < 0)
		assert_int_equal(efi_signatures_next(&it, &s, NULL), rc);
	return rc < 0 ? rc : seen;
}

static void test_signatures(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	struct efi_signatures it;
	struct efi_signature s;
	put_database(&b);
	efi_signatures_start(&it, b.data, b.len);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(efi_signatures_next(&it, &s, NULL), 1);
		assert_int_equal(s.type, EFI_SIGNATURE_SHA256);
		assert_int_equal(s.data_bytes, 32);
		assert_int_equal(s.data[0], 'a' + i);
		assert_int_equal(s.owner[15], 'o');
	}
	assert_int_equal(efi_signatures_next(&it, &s, NULL), 1);
	assert_int_equal(s.type, EFI_SIGNATURE_X509);
	assert_int_equal(s.data_bytes, 11);
	assert_memory_equal(s.data, "certificate", 11);
	assert_int_equal(efi_signatures_next(&it, &s, NULL), 1);
	assert_int_equal(s.type, EFI_SIGNATURE_OTHER);
	assert_memory_equal(s.data, "x", 1);
	assert_int_equal(efi_signatures_next(&it, &s, NULL), 0);
	assert_int_equal(efi_signatures_next(&it, &s, NULL), 0);
	assert_int_equal(count(NULL, 0), 0);
}

static void test_superset(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	uint8_t digest[32];
	put_database(&b);
	for (char c = 'a'; c <= 'c'; c++) {
		memset(digest, c, 32);
		assert_int_equal(efi_signatures_have(b.data, b.len, digest, NULL), c < 'c');
	}
	memset(digest, 'a', 32);
	digest[31] = 'b';
	assert_int_equal(efi_signatures_have(b.data, b.len, digest, NULL), 0);
	assert_int_equal(efi_signatures_have(NULL, 0, digest, NULL), 0);
	/* A digest that is there does not make up for what is not well-formed. */
	memset(digest, 'a', 32);
	assert_int_equal(efi_signatures_have(b.data, b.len - 1, digest, NULL), ERR_FORMAT);
	/* The digest as a certificate's bytes is none. */
	CLEANUP_BUF struct buf other = BUF_INIT(4096);
	char one[48];
	memset(one, 'a', sizeof(one));
	put_signatures(&other, OTHER, 0, 48, one, 48);
	put_signatures(&other, X509, 0, 48, one, 48);
	assert_int_equal(efi_signatures_have(other.data, other.len, digest, NULL), 0);
}

static void test_bad_signatures(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	static const size_t ENDS[] = { 0, 124, 152, 207, 255 };
	size_t end = 0;
	put_database(&b);
	assert_int_equal(b.len, 255);
	for (size_t n = 0; n <= b.len; n++) {
		CLEANUP_BUF struct buf part = BUF_INIT(4096);
		put(&part, b.data, n);
		if (n == ENDS[end]) {
			end++;
			assert_true(count(part.data, n) >= 0);
		} else {
			assert_int_equal(count(part.data, n), ERR_FORMAT);
		}
	}
	assert_int_equal(end, 5);
	static const struct {
		const char *type;
		size_t header, bytes, n;
		int rc;
	} ROWS[] = {
		{ SHA256, 0, 48, 48, 1 },
		{ SHA256, 0, 48, 49, ERR_FORMAT },
		{ SHA256, 0, 49, 49, ERR_FORMAT },
		{ SHA256, 0, 47, 47, ERR_FORMAT },
		{ SHA256, 1, 48, 48, ERR_FORMAT },
		{ X509, 1, 48, 48, ERR_FORMAT },
		{ X509, 0, 0, 0, ERR_FORMAT },
		{ X509, 0, 16, 16, ERR_FORMAT },
		{ X509, 0, 17, 17, 1 },
		{ OTHER, 0, 17, 34, 2 },
		{ OTHER, 5, 17, 34, 2 },
		{ OTHER, 0, 0xffffffff, 34, ERR_FORMAT },
	};
	uint8_t data[64] = { 0 };
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		CLEANUP_BUF struct buf list = BUF_INIT(4096);
		put_signatures(&list, ROWS[i].type, ROWS[i].header, ROWS[i].bytes, data, ROWS[i].n);
		assert_int_equal(count(list.data, list.len), ROWS[i].rc);
	}
	/* One and a half: nothing of such a list is shown. */
	CLEANUP_BUF struct buf half = BUF_INIT(4096);
	struct efi_signatures it;
	struct efi_signature s;
	put_signatures(&half, OTHER, 0, 40, data, 60);
	efi_signatures_start(&it, half.data, half.len);
	assert_int_equal(efi_signatures_next(&it, &s, NULL), ERR_FORMAT);
	/* A list's size that is less than its header, or its header's more than the list. */
	static const uint32_t SIZES[] = { 0, 27, 0xffffffff };
	for (size_t i = 0; i < 3; i++) {
		CLEANUP_BUF struct buf list = BUF_INIT(4096);
		put_signatures(&list, X509, 0, 17, data, 17);
		memcpy(list.data + 16, &SIZES[i], 4);
		assert_int_equal(count(list.data, list.len), ERR_FORMAT);
	}
	CLEANUP_BUF struct buf list = BUF_INIT(4096);
	put_signatures(&list, OTHER, 0, 17, data, 17);
	memset(list.data + 20, 0xff, 4);
	assert_int_equal(count(list.data, list.len), ERR_FORMAT);
}

static void test_images(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	struct efi_image image;
	put_number(&b, 0x1bace018, 8);
	put_number(&b, 0x100000001, 8);
	put_number(&b, 3, 8);
	put_number(&b, 4, 8);
	put(&b, "path", 4);
	assert_int_equal(efi_image_parse(b.data, b.len, &image, NULL), 0);
	assert_int_equal(image.location, 0x1bace018);
	assert_int_equal(image.bytes, 0x100000001);
	assert_int_equal(image.link_address, 3);
	assert_int_equal(image.path_bytes, 4);
	assert_memory_equal(image.path, "path", 4);
	for (size_t n = 0; n < b.len; n++) {
		CLEANUP_BUF struct buf part = BUF_INIT(4096);
		put(&part, b.data, n);
		assert_int_equal(efi_image_parse(part.data, n, &image, NULL), ERR_FORMAT);
	}
	put(&b, "x", 1);
	assert_int_equal(efi_image_parse(b.data, b.len, &image, NULL), ERR_FORMAT);
	memset(b.data + 24, 0xff, 8);
	assert_int_equal(efi_image_parse(b.data, b.len, &image, NULL), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_variables_are_known_by_guid_and_name),
		cmocka_unit_test(test_bad_variables),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_superset),
		cmocka_unit_test(test_bad_signatures),
		cmocka_unit_test(test_images),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
