/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <byteswap.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/image.h"

#define XML "<domain><name>vm</name></domain>"

/* A header as libvirt 9.0 writes it; SWAP as a machine of the other byte order does. */
static void make(uint8_t out[IMAGE_HEADER_BYTES], const char *magic, const uint32_t fields[5],
		 int swap)
{
	memset(out, 0, IMAGE_HEADER_BYTES);
	memcpy(out, magic, IMAGE_MAGIC_BYTES);
	for (size_t i = 0; i < 5; i++) {
		uint32_t value = swap ? bswap_32(fields[i]) : fields[i];
		memcpy(out + IMAGE_MAGIC_BYTES + 4 * i, &value, 4);
	}
}

static int parse(const char *magic, uint32_t version, uint32_t data_len, uint32_t running,
		 uint32_t format, uint32_t cookie, struct image *i, struct fault *f)
{
	const uint32_t fields[5] = { version, data_len, running, format, cookie };
	uint8_t header[IMAGE_HEADER_BYTES];
	*f = (struct fault){ 0 };
	make(header, magic, fields, 0);
	return image_header(header, sizeof(header), i, f);
}

static void test_a_header_is_read_in_both_byte_orders(void **state)
{
	(void)state;
	static const uint32_t FIELDS[5] = { 2, 70000, 1, IMAGE_ZSTD, 4000 };
	for (int swap = 0; swap < 2; swap++) {
		uint8_t header[IMAGE_HEADER_BYTES + 9];
		struct image i;
		struct fault f = { 0 };
		make(header, "LibvirtQemudSave", FIELDS, swap);
		assert_int_equal(image_header(header, sizeof(header), &i, &f), 0);
		assert_int_equal(i.complete, 1);
		assert_int_equal(i.was_running, 1);
		assert_int_equal(i.swapped, swap);
		assert_int_equal(i.format, IMAGE_ZSTD);
		assert_string_equal(image_format_name(i.format), "zstd");
		assert_int_equal(i.data_bytes, 70000);
		assert_int_equal(i.xml_room, 4000);
	}
}

static void test_what_libvirt_has_not_finished_is_told(void **state)
{
	(void)state;
	struct image i;
	struct fault f;
	assert_int_equal(parse("LibvirtQemudPart", 2, 1, 0, 0, 0, &i, &f), 0);
	assert_int_equal(i.complete, 0);
	assert_int_equal(i.was_running, 0);
	assert_int_equal(i.xml_room, 1);
	assert_string_equal(image_format_name(i.format), "raw");
}

static void test_bad_fields_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *magic;
		uint32_t fields[5];
		int rc;
		const char *sentence;
	} BAD[] = {
		{ "LibvirtQemudSavf", { 2, 1, 0, 0, 0 }, ERR_FORMAT, "not a file that libvirt" },
		{ "libvirtQemudSave", { 2, 1, 0, 0, 0 }, ERR_FORMAT, "not a file that libvirt" },
		{ "LibvirtQemudSave", { 0, 1, 0, 0, 0 }, ERR_VERSION, "version 0" },
		{ "LibvirtQemudSave", { 1, 1, 0, 0, 0 }, ERR_VERSION, "version 1" },
		{ "LibvirtQemudSave", { 3, 1, 0, 0, 0 }, ERR_VERSION, "version 3" },
		{ "LibvirtQemudSave", { 0x03000000, 1, 0, 0, 0 }, ERR_VERSION, "version" },
		{ "LibvirtQemudSave", { 2, 0, 0, 0, 0 }, ERR_FORMAT, "no domain XML" },
		{ "LibvirtQemudSave", { 2, IMAGE_DATA_MAX + 1, 0, 0, 0 }, ERR_LIMIT, "16777217" },
		{ "LibvirtQemudSave", { 2, UINT32_MAX, 0, 0, 0 }, ERR_LIMIT, "4294967295" },
		{ "LibvirtQemudSave", { 2, 1, 0, 7, 0 }, ERR_VERSION, "unknown way (7)" },
		{ "LibvirtQemudSave", { 2, 1, 0, UINT32_MAX, 0 }, ERR_VERSION, "unknown way" },
		{ "LibvirtQemudSave", { 2, 100, 0, 0, 101 }, ERR_FORMAT, "cookie at 101" },
		{ "LibvirtQemudSave", { 2, 100, 0, 0, UINT32_MAX }, ERR_FORMAT, "cookie" },
	};
	for (size_t k = 0; k < sizeof(BAD) / sizeof(BAD[0]); k++) {
		struct image i = { .data_bytes = 77 };
		struct fault f;
		const uint32_t *v = BAD[k].fields;
		assert_int_equal(parse(BAD[k].magic, v[0], v[1], v[2], v[3], v[4], &i, &f),
				 BAD[k].rc);
		assert_non_null(strstr(f.text, BAD[k].sentence));
		assert_int_equal(i.data_bytes, 77);
	}
}

static void test_the_largest_values_are_taken(void **state)
{
	(void)state;
	struct image i;
	struct fault f;
	assert_int_equal(parse("LibvirtQemudSave", 2, IMAGE_DATA_MAX, UINT32_MAX, IMAGE_SPARSE,
			       IMAGE_DATA_MAX, &i, &f),
			 0);
	assert_int_equal(i.was_running, 1);
	assert_int_equal(i.xml_room, IMAGE_DATA_MAX);
	assert_string_equal(image_format_name(i.format), "sparse");
}

/* From memory of exactly that size, so that a sanitizer sees a byte too many. */
static void test_a_header_cut_anywhere_is_refused(void **state)
{
	(void)state;
	static const uint32_t FIELDS[5] = { 2, 100, 0, 0, 0 };
	uint8_t whole[IMAGE_HEADER_BYTES];
	make(whole, "LibvirtQemudSave", FIELDS, 0);
	for (size_t n = 0; n <= sizeof(whole); n++) {
		struct image i;
		struct fault f = { 0 };
		uint8_t *cut = malloc(n + !n);
		assert_non_null(cut);
		memcpy(cut, whole, n);
		int rc = image_header(cut, n, &i, &f);
		assert_int_equal(rc, n < IMAGE_MAGIC_BYTES    ? ERR_FORMAT
				     : n < IMAGE_HEADER_BYTES ? ERR_TRUNCATED
							      : 0);
		assert_int_equal(rc == 0, f.text[0] == '\0');
		free(cut);
	}
}

static void test_the_xml_ends_at_its_nul_and_never_in_the_cookie(void **state)
{
	(void)state;
	static const char DATA[] = XML "\0<cookie/>\0\0\0";
	struct image i = { .data_bytes = sizeof(DATA), .xml_room = sizeof(XML) };
	struct fault f = { 0 };
	size_t bytes = 99;
	const uint8_t *data = (const uint8_t *)DATA;
	assert_int_equal(image_xml(&i, data, sizeof(DATA), &bytes, &f), 0);
	assert_int_equal(bytes, strlen(XML));

	bytes = 99;
	i.xml_room = sizeof(XML) - 1;
	assert_int_equal(image_xml(&i, data, sizeof(DATA), &bytes, &f), ERR_FORMAT);
	assert_non_null(strstr(f.text, "has no end"));
	i.xml_room = sizeof(XML);
	f.text[0] = '\0';
	assert_int_equal(image_xml(&i, data, sizeof(DATA) - 1, &bytes, &f), ERR_TRUNCATED);
	assert_non_null(strstr(f.text, "cut off"));
	assert_int_equal(image_xml(&i, data, 0, &bytes, NULL), ERR_TRUNCATED);
	assert_int_equal(bytes, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_header_is_read_in_both_byte_orders),
		cmocka_unit_test(test_what_libvirt_has_not_finished_is_told),
		cmocka_unit_test(test_bad_fields_are_refused),
		cmocka_unit_test(test_the_largest_values_are_taken),
		cmocka_unit_test(test_a_header_cut_anywhere_is_refused),
		cmocka_unit_test(test_the_xml_ends_at_its_nul_and_never_in_the_cookie),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
