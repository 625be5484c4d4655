/* SPDX-License-Identifier: BSD-3-Clause */
/* What of a program's mappings is what (sandbox/maps.h), and which of them go (sandbox/objects.h).
 */
#include "tests/unit/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "crypto/ossl.h"
#include "sandbox/maps.h"
#include "sandbox/objects.h"
#include "tests/unit/sandbox/secret_child.h"

static const char A_CONSTANT[] = "in read-only data";

static struct object_part part[OBJECTS_PARTS_MAX];
static size_t parts;

static int within_parts(const void *p)
{
	for (size_t i = 0; i < parts; i++)
		if ((const uint8_t *)p >= part[i].start && (const uint8_t *)p < part[i].end)
			return 1;
	return 0;
}

/* The tables are found, and what is read every day is not among them. */
static void test_tables_are_told(void **state)
{
	(void)state;
	struct maps maps;
	size_t total = 0, before;
	parts = objects_tables(part);
	assert_int_equal(maps_read(&maps), 0);
	for (size_t i = 0; i < parts; i++) {
		before = maps.n;
		total += (size_t)(part[i].end - part[i].start);
		assert_int_equal(maps_mark(&maps, part[i].start, part[i].end), 0);
		assert_true(maps.n >= before);
	}
	/* Two a piece for libcrypto, libtpms, the C library, and more. */
	assert_in_range(parts, 6, OBJECTS_PARTS_MAX - 1);
	assert_true(total > 1 << 20);
	assert_false(within_parts(A_CONSTANT));
	assert_false(within_parts(OpenSSL_version(OPENSSL_VERSION)));
	assert_false(within_parts(OBJ_nid2sn(NID_sha256)));
	assert_false(within_parts(strerrordesc_np(EPERM)));
	assert_false(within_parts((const void *)getauxval(AT_SYSINFO_EHDR)));
	/* The name of a symbol; the way out of a function. */
	Dl_info info;
	assert_true(dladdr((const void *)(uintptr_t)EVP_DigestInit, &info) != 0);
	assert_true(within_parts(info.dli_sname));
}

static void test_maps_mark(void **state)
{
	(void)state;
	static struct maps maps;
	uint8_t *at = (uint8_t *)0x10000;
	const struct map whole = { at, at + 0x4000, PROT_READ, MAPPED_PRIVATE };
	const struct map code = { at + 0x4000, at + 0x8000, PROT_READ | PROT_EXEC, MAPPED_PRIVATE };
	maps = (struct maps){ .n = 2, .map = { whole, code } };
	assert_int_equal(maps_mark(&maps, at + 0x1000, at + 0x2000), 0);
	assert_int_equal(maps.n, 4);
	assert_ptr_equal(maps.map[0].end, at + 0x1000);
	assert_int_equal(maps.map[0].kind, MAPPED_PRIVATE);
	assert_ptr_equal(maps.map[1].start, at + 0x1000);
	assert_ptr_equal(maps.map[1].end, at + 0x2000);
	assert_int_equal(maps.map[1].kind, MAPPED_TABLES);
	assert_ptr_equal(maps.map[2].start, at + 0x2000);
	assert_int_equal(maps.map[2].kind, MAPPED_PRIVATE);
	assert_ptr_equal(maps.map[3].start, code.start);
	/* Nothing before it, nothing behind it. */
	assert_int_equal(maps_mark(&maps, at, at + 0x1000), 0);
	assert_int_equal(maps_mark(&maps, at + 0x2000, at + 0x4000), 0);
	assert_int_equal(maps.n, 4);
	/* Taken already, code, over an edge, nowhere, nothing. */
	assert_int_equal(maps_mark(&maps, at, at + 0x1000), ERR_STATE);
	assert_int_equal(maps_mark(&maps, at + 0x4000, at + 0x5000), ERR_STATE);
	maps = (struct maps){ .n = 2, .map = { whole, code } };
	assert_int_equal(maps_mark(&maps, at + 0x3000, at + 0x5000), ERR_STATE);
	assert_int_equal(maps_mark(&maps, at + 0x9000, at + 0xa000), ERR_STATE);
	assert_int_equal(maps_mark(&maps, at, at), ERR_STATE);
	for (maps.n = 0; maps.n < MAPS_MAX; maps.n++)
		maps.map[maps.n] = whole;
	assert_int_equal(maps_mark(&maps, at, at + 0x1000), ERR_LIMIT);
	assert_int_equal(maps.n, MAPS_MAX);
}

/* mincore(2) gives ENOMEM for what is not mapped. */
static int tables_have_gone(void)
{
	unsigned char in_core;
	for (size_t i = 0; i < parts; i++)
		for (uint8_t *p = part[i].start; p < part[i].end; p += 4096)
			if (mincore(p, 4096, &in_core) == 0 || errno != ENOMEM)
				return 2;
	return everything_works();
}

static int tables_are_there(void)
{
	unsigned char in_core;
	for (size_t i = 0; i < parts; i++)
		for (uint8_t *p = part[i].start; p < part[i].end; p += 4096)
			if (mincore(p, 4096, &in_core) < 0)
				return 2;
	return 0;
}

static void test_tables_go(void **state)
{
	(void)state;
	/* meson.build says so. */
	assert_true(bound);
	parts = objects_tables(part);
	assert_converted(tables_have_gone);
	bound = 0;
	assert_converted(tables_are_there);
	bound = 1;
}

static void test_maps_parse(void **state)
{
	static const struct {
		const char *line;
		int prot;
		enum map_kind kind;
	} GOOD[] = {
		{ "1000-2000 rw-p 00000000 00:00 0 ", 3, MAPPED_PRIVATE },
		{ "1000-2000 r-xp 00001000 fe:01 12345      /usr/lib/x y", 5, MAPPED_PRIVATE },
		{ "1000-2000 rw-p 00000000 00:00 0     [heap]", 3, MAPPED_PRIVATE },
		{ "1000-2000 rw-p 00000000 00:00 0     [anon:[vdso]]", 3, MAPPED_PRIVATE },
		{ "1000-2000 rw-s 00000000 00:01 9  /memfd:[stack]", 3, MAPPED_SHARED },
		{ "1000-2000 rw-p 00000000 00:00 0  [stack]", 3, MAPPED_STACK },
		{ "1000-2000 r-xp 00000000 00:00 0  [vdso]", 5, MAPPED_VDSO },
		{ "1000-2000 r--p 00000000 00:00 0  [vvar_vclock]", 1, MAPPED_KERNEL },
		{ "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]", 4,
		  MAPPED_KERNEL },
	};
	static const char *const BAD[] = {
		"",
		"1000",
		"1000-",
		"1000-2000",
		"1000-2000 rw",
		"2000-1000 rw-p 0 00:00 0",
		"1000-1000 rw-p 0 00:00 0",
		"1g00-2000 rw-p 0 00:00 0",
		"-2000 rw-p 0 00:00 0",
		"11111111111111111-21111111111111111 rw-p 0 00:00 0",
	};
	struct map m;
	(void)state;
	for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
		assert_int_equal(maps_parse(GOOD[i].line, strlen(GOOD[i].line), &m), 0);
		assert_int_equal(m.prot, GOOD[i].prot);
		assert_int_equal(m.kind, GOOD[i].kind);
		assert_int_equal(map_bytes(&m), 4096);
	}
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		assert_int_equal(maps_parse(BAD[i], strlen(BAD[i]), &m), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_maps_parse),
		cmocka_unit_test(test_maps_mark),
		cmocka_unit_test(test_tables_are_told),
		cmocka_unit_test(test_tables_go),
	};
	int rc = secret_child_init();
	return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
