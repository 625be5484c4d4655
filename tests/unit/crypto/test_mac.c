/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/mac.h"

/* Python's hmac over b"what do ya want for nothing?" with the key 00 01 .. 1f. */
static const uint8_t KNOWN[MAC_BYTES] = {
	0x09, 0x98, 0x05, 0xf4, 0xac, 0x31, 0x07, 0x86, 0x96, 0x85, 0x65,
	0xc0, 0x98, 0xdb, 0x51, 0x5c, 0xc5, 0x08, 0x62, 0xb4, 0x20, 0xae,
	0x31, 0xe2, 0x02, 0x38, 0x31, 0x23, 0x44, 0xbe, 0xd3, 0x6a,
};

static void test_known_answer(void **state)
{
	(void)state;
	uint8_t key[MAC_KEY_BYTES], out[MAC_BYTES];
	for (uint8_t i = 0; i < sizeof(key); i++)
		key[i] = i;
	const struct hash_part whole = { "what do ya want for nothing?", 28 };
	const struct hash_part parts[] = { { "what do ya ", 11 },
					   { "", 0 },
					   { "want for nothing?", 17 } };
	assert_int_equal(mac_parts(key, &whole, 1, out), 0);
	assert_memory_equal(out, KNOWN, sizeof(out));
	assert_int_equal(mac_parts(key, parts, 3, out), 0);
	assert_true(mac_same(out, KNOWN, sizeof(out)));
	out[31] ^= 1;
	assert_false(mac_same(out, KNOWN, sizeof(out)));
	assert_true(mac_same(out, KNOWN, 31));
	key[0] ^= 1;
	assert_int_equal(mac_parts(key, &whole, 1, out), 0);
	assert_memory_not_equal(out, KNOWN, sizeof(out));
}

static void test_random_bytes_differ(void **state)
{
	(void)state;
	uint8_t a[32] = { 0 }, b[32] = { 0 };
	assert_int_equal(mac_random(a, sizeof(a)), 0);
	assert_int_equal(mac_random(b, sizeof(b)), 0);
	assert_memory_not_equal(a, b, sizeof(a));
}

static void test_key_files(void **state)
{
	(void)state;
	char folder[] = "/tmp/shieldvm-mac-XXXXXX", path[64];
	uint8_t key[MAC_KEY_BYTES] = { 0 }, again[MAC_KEY_BYTES], kept[MAC_KEY_BYTES] = { 7 };
	struct stat st;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/key", folder);
	assert_int_equal(mac_key_read(path, key, NULL), -ENOENT);
	assert_int_equal(mac_key_make(path, NULL), 0);
	assert_int_equal(mac_key_make(path, NULL), -EEXIST);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, MAC_KEY_BYTES);
	assert_int_equal(mac_key_read(path, key, NULL), 0);
	assert_int_equal(mac_key_read(path, again, NULL), 0);
	assert_memory_equal(key, again, sizeof(key));
	assert_int_equal(chmod(path, 0640), 0);
	memcpy(again, kept, sizeof(kept));
	assert_int_equal(mac_key_read(path, again, NULL), ERR_POLICY);
	assert_memory_equal(again, kept, sizeof(kept));
	assert_int_equal(chmod(path, 0600), 0);
	for (size_t n = MAC_KEY_BYTES - 1; n <= MAC_KEY_BYTES + 2; n++) {
		static const uint8_t BYTES[MAC_KEY_BYTES + 2];
		assert_int_equal(fd_write_file(AT_FDCWD, path, BYTES, n, 0600, 1, NULL), 0);
		assert_int_equal(mac_key_read(path, again, NULL),
				 n == MAC_KEY_BYTES ? 0 : ERR_FORMAT);
	}
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_int_equal(mac_key_read(path, again, NULL), -ELOOP);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answer),
		cmocka_unit_test(test_random_bytes_differ),
		cmocka_unit_test(test_key_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
