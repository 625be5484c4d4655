/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "libvirt/registry.h"

#define UUID  "5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d02"
#define OLD   "00112233445566778899aabbccddeeff"
#define OWNER "0123456789-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcde"
#define THIEF "1123456789-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcde"
#define NOW   "0123456789abcdef0123456789abcdef"

static uint8_t vm[UUID_BYTES];

struct folder {
	char path[64];
	int fd;
};

static int make_folder(void **state)
{
	struct folder *d = calloc(1, sizeof(*d));
	snprintf(d->path, sizeof(d->path), "/tmp/test_registry.XXXXXX");
	assert_non_null(mkdtemp(d->path));
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(d->fd >= 0);
	assert_int_equal(uuid_parse(UUID, vm), 0);
	*state = d;
	return 0;
}

static int remove_folder(void **state)
{
	struct folder *d = *state;
	unlinkat(d->fd, UUID ".json", 0);
	unlinkat(d->fd, "elsewhere", 0);
	close(d->fd);
	rmdir(d->path);
	free(d);
	return 0;
}

static void test_round_trip(void **state)
{
	struct folder *d = *state;
	struct fault f = { 0 };
	struct registry r, in = { .owner = OWNER, .made = 1, .n_past = 2 };
	memset(in.tpm, 1, sizeof(in.tpm));
	memset(in.past[0], 2, sizeof(in.past[0]));
	memset(in.past[1], 0xfe, sizeof(in.past[1]));
	assert_int_equal(registry_read(d->fd, vm, &r, &f), -ENOENT);
	assert_int_equal(registry_write(d->fd, vm, &in, &f), 0);
	assert_int_equal(registry_read(d->fd, vm, &r, &f), 0);
	assert_memory_equal(&r, &in, sizeof(in));
	struct stat st;
	assert_int_equal(fstatat(d->fd, UUID ".json", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* A second write replaces. */
	in.made = 0;
	assert_int_equal(registry_write(d->fd, vm, &in, &f), 0);
	assert_int_equal(registry_read(d->fd, vm, &r, &f), 0);
	assert_int_equal(r.made, 0);
}

static void test_full_registry_fits(void **state)
{
	struct folder *d = *state;
	struct fault f = { 0 };
	struct registry r, in = { .owner = OWNER, .n_past = REGISTRY_PAST_MAX };
	memset(in.tpm, 0xff, sizeof(in.tpm));
	for (size_t i = 0; i < in.n_past; i++)
		in.past[i][3] = (uint8_t)i;
	assert_int_equal(registry_write(d->fd, vm, &in, &f), 0);
	assert_int_equal(registry_read(d->fd, vm, &r, &f), 0);
	assert_memory_equal(&r, &in, sizeof(in));
}

/* The temporary file of a hook call that was killed, and whose number comes again. */
static void test_left_over_is_in_nobodys_way(void **state)
{
	struct folder *d = *state;
	struct fault f = { 0 };
	struct registry in = { .owner = OWNER };
	char name[64];
	snprintf(name, sizeof(name), UUID ".json.tmp.%ld", (long)getpid());
	int fd = openat(d->fd, name, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(registry_write(d->fd, vm, &in, &f), 0);
	assert_int_equal(faccessat(d->fd, name, F_OK, 0), -1);
}

static void test_link_is_refused(void **state)
{
	struct folder *d = *state;
	struct fault f = { 0 };
	struct registry r;
	assert_int_equal(symlinkat("elsewhere", d->fd, UUID ".json"), 0);
	assert_int_equal(registry_read(d->fd, vm, &r, &f), -ELOOP);
	assert_non_null(strstr(f.text, "registry"));
}

static const struct {
	const char *text;
	int rc;
} CASES[] = {
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[]}",
	  0 },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":false,\"past\":[\"" OLD "\"]}\n",
	  0 },
	{ "", ERR_FORMAT },
	{ "[]", ERR_FORMAT },
	{ "{}", ERR_FORMAT },
	{ "null", ERR_FORMAT },
	{ "{\"v\":2,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[]}",
	  ERR_VERSION },
	{ "{\"v\":1.0,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[]}",
	  ERR_FORMAT },
	/* one too many, one missing, one twice */
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[],\"x\":1}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW "\",\"made\":true}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"made\":false,\"past\":[]}",
	  ERR_FORMAT },
	/* another VM, another spelling */
	{ "{\"v\":1,\"vm\":\"5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d03\",\"owner\":\"" OWNER
	  "\",\"tpm\":\"" NOW "\",\"made\":true,\"past\":[]}",
	  ERR_VM },
	{ "{\"v\":1,\"vm\":\"5E7F3C1A-0b1d-4a57-9d0e-3a1f5c2b7d02\",\"owner\":\"" OWNER
	  "\",\"tpm\":\"" NOW "\",\"made\":true,\"past\":[]}",
	  ERR_VM },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER
	  "\",\"tpm\":\"0123456789ABCDEF0123456789abcdef\",\"made\":true,"
	  "\"past\":[]}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"tpm\":\"" NOW "\",\"made\":true,\"past\":[]}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"x\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[]}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "=\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[]}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER
	  "\",\"tpm\":\"0123\",\"made\":true,\"past\":[]}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER
	  "\",\"tpm\":7,\"made\":true,\"past\":[]}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":1,\"past\":[]}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":{}}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[1]}",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[\"" NOW "\"]}",
	  ERR_FORMAT },
	/* cut off, and something behind it */
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[]",
	  ERR_FORMAT },
	{ "{\"v\":1,\"vm\":\"" UUID "\",\"owner\":\"" OWNER "\",\"tpm\":\"" NOW
	  "\",\"made\":true,\"past\":[]}{}",
	  ERR_FORMAT },
};

static void test_parse(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct fault f = { 0 };
		struct registry r, before;
		memset(&r, 0x5a, sizeof(r));
		before = r;
		int rc = registry_parse(CASES[i].text, strlen(CASES[i].text), vm, &r, &f);
		if (rc != CASES[i].rc)
			fail_msg("%s: %d instead of %d", CASES[i].text, rc, CASES[i].rc);
		if (rc < 0) {
			assert_int_not_equal(f.text[0], 0);
			assert_memory_equal(&r, &before, sizeof(r));
		}
	}
}

static void test_too_large(void **state)
{
	(void)state;
	struct fault f = { 0 };
	struct registry r;
	char *text = malloc(REGISTRY_FILE_MAX + 1);
	assert_non_null(text);
	memset(text, ' ', REGISTRY_FILE_MAX + 1);
	memcpy(text, CASES[0].text, strlen(CASES[0].text));
	assert_int_equal(registry_parse(text, REGISTRY_FILE_MAX, vm, &r, &f), 0);
	assert_int_equal(registry_parse(text, REGISTRY_FILE_MAX + 1, vm, &r, &f), ERR_LIMIT);
	free(text);
}

/* A VM's life: first start, cut short, made, replaced, and the old protector put back. */
static void test_admit(void **state)
{
	(void)state;
	const uint8_t a[REGISTRY_TPM_BYTES] = { 1 }, b[REGISTRY_TPM_BYTES] = { 2 },
		      c[REGISTRY_TPM_BYTES] = { 3 };
	struct fault f = { 0 };
	struct registry r, next;
	enum registry_birth birth;
	assert_int_equal(registry_admit(NULL, OWNER, a, &r, &birth, &f), 0);
	assert_int_equal(birth, REGISTRY_NEW);
	assert_int_equal(r.made, 0);
	assert_int_equal(registry_admit(&r, OWNER, a, &next, &birth, &f), 0);
	assert_int_equal(birth, REGISTRY_NEW);
	r.made = 1;
	assert_int_equal(registry_admit(&r, OWNER, a, &next, &birth, &f), 0);
	assert_int_equal(birth, REGISTRY_KNOWN);
	assert_memory_equal(&next, &r, sizeof(r));

	assert_int_equal(registry_admit(&r, OWNER, b, &next, &birth, &f), 0);
	assert_int_equal(birth, REGISTRY_REPLACES);
	assert_int_equal(next.made, 0);
	assert_int_equal(next.n_past, 1);
	assert_memory_equal(next.past[0], a, sizeof(a));
	assert_memory_equal(next.tpm, b, sizeof(b));
	r = next;
	assert_int_equal(registry_admit(&r, OWNER, a, &next, &birth, &f), ERR_STATE);
	assert_non_null(strstr(f.text, "replaced"));
	assert_int_equal(registry_admit(&r, OWNER, c, &next, &birth, &f), 0);
	assert_int_equal(next.n_past, 2);

	r.n_past = REGISTRY_PAST_MAX;
	assert_int_equal(registry_admit(&r, OWNER, c, &next, &birth, &f), ERR_LIMIT);
}

/* Whoever can edit the domain can sign a protector, with a key of their own. */
static void test_another_owner_orders_nothing(void **state)
{
	(void)state;
	const uint8_t a[REGISTRY_TPM_BYTES] = { 1 }, b[REGISTRY_TPM_BYTES] = { 2 };
	struct fault f = { 0 };
	struct registry r, next;
	enum registry_birth birth;
	assert_int_equal(registry_admit(NULL, OWNER, a, &r, &birth, &f), 0);
	assert_string_equal(r.owner, OWNER);
	/* Nothing is lost yet, and the first one may have been the wrong key. */
	assert_int_equal(registry_admit(&r, THIEF, b, &next, &birth, &f), 0);
	assert_int_equal(birth, REGISTRY_NEW);
	assert_string_equal(next.owner, THIEF);
	assert_int_equal(next.n_past, 0);

	r.made = 1;
	assert_int_equal(registry_admit(&r, THIEF, b, &next, &birth, &f), ERR_AUTH);
	assert_non_null(strstr(f.text, THIEF));
	assert_non_null(strstr(f.text, OWNER));
	assert_int_equal(registry_admit(&r, THIEF, a, &next, &birth, &f), ERR_AUTH);
	r.made = 0;
	r.n_past = 1;
	assert_int_equal(registry_admit(&r, THIEF, b, &next, &birth, &f), ERR_AUTH);
	assert_int_equal(registry_admit(&r, OWNER, b, &next, &birth, &f), 0);
	assert_string_equal(next.owner, OWNER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_full_registry_fits, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(test_left_over_is_in_nobodys_way, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(test_link_is_refused, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_parse, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_too_large, make_folder, remove_folder),
		cmocka_unit_test(test_admit),
		cmocka_unit_test(test_another_owner_orders_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
