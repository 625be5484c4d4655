/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/ticket.h"
#include "base/fd.h"
#include "crypto/sign.h"

static const uint8_t VM[UUID_BYTES] = { 1, 2, 3 };
static char folder[] = "/tmp/ticket-XXXXXX";
static int dir;

static void put(const char *text, int expected)
{
	struct fault f = { 0 };
	assert_int_equal(ticket_put(dir, VM, text, strlen(text), &f), expected);
	assert_int_equal(expected < 0, f.text[0] != '\0');
}

static void is(const char *expected)
{
	struct fault f = { 0 };
	CLEANUP_BUF struct buf out = BUF_INIT(SIGN_TEXT_MAX);
	int rc = ticket_read(dir, VM, &out, &f);
	if (!expected) {
		assert_int_equal(rc, -ENOENT);
		assert_string_equal(f.text, "");
		return;
	}
	assert_int_equal(rc, 0);
	assert_string_equal(buf_cstr(&out), expected);
}

static void is_kept_until_removed(void **state)
{
	struct fault f = { 0 };
	struct stat st;
	char path[64];
	(void)state;
	is(NULL);
	assert_int_equal(ticket_remove(dir, VM, &f), 0);
	put("eyJh.eyJi-_.c2ln", 0);
	is("eyJh.eyJi-_.c2ln");
	snprintf(path, sizeof(path), "%s/01020300-0000-0000-0000-000000000000.ticket", folder);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	put("a.b.c\n", 0);
	is("a.b.c");
	assert_int_equal(ticket_remove(dir, VM, &f), 0);
	is(NULL);
}

static void refuses_what_is_no_jws(void **state)
{
	static const char *const BAD[] = { "",	   "\n",	"a.b",	  "a.b.c.d", ".b.c", "a..c",
					   "a.b.", "a.b.c\n\n", "a.b.c=", "a.b. c",  "{}" };
	(void)state;
	put("a.b.c", 0);
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		put(BAD[i], ERR_FORMAT);
		is("a.b.c");
	}
	struct fault f = { 0 };
	char *large = malloc(SIGN_TEXT_MAX + 1);
	assert_non_null(large);
	memset(large, 'a', SIGN_TEXT_MAX + 1);
	assert_int_equal(ticket_put(dir, VM, large, SIGN_TEXT_MAX + 1, &f), ERR_LIMIT);
	free(large);
	is("a.b.c");
	assert_int_equal(ticket_remove(dir, VM, &f), 0);
}

static void refuses_a_file_that_is_none(void **state)
{
	struct fault f = { 0 };
	CLEANUP_BUF struct buf out = BUF_INIT(SIGN_TEXT_MAX);
	static const char NAME[] = "01020300-0000-0000-0000-000000000000.ticket";
	(void)state;
	assert_int_equal(fd_write_file(dir, NAME, "no ticket", 9, 0600, 0, &f), 0);
	assert_int_equal(ticket_read(dir, VM, &out, &f), ERR_FORMAT);
	assert_non_null(strstr(f.text, NAME));
	assert_int_equal(ticket_remove(dir, VM, &f), 0);
}

/* What a ticket that KEY signs, which says SAID, lets the VM start from. */
static uint64_t version_in(const struct jwk *key, const char *typ, const char *said,
			   const struct jwk *owner)
{
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX);
	assert_int_equal(sign_make(key, typ, said, strlen(said), &text, NULL), 0);
	return ticket_version(&text, owner, VM);
}

#define SAID(vm, version) "{\"v\":1,\"vm\":\"" vm "\",\"version\":" version ",\"restores\":2}"
#define VM_ID		  "01020300-0000-0000-0000-000000000000"

static void says_what_it_is_for(void **state)
{
	CLEANUP_JWK struct jwk *owner = NULL;
	CLEANUP_JWK struct jwk *other = NULL;
	CLEANUP_BUF struct buf none = BUF_INIT(SIGN_TEXT_MAX);
	static const char GOOD[] = SAID(VM_ID, "17");
	static const char *const BAD[] = {
		SAID("01020301-0000-0000-0000-000000000000", "17"),
		SAID("x", "17"),
		SAID(VM_ID, "0"),
		SAID(VM_ID, "-17"),
		SAID(VM_ID, "17.0"),
		SAID(VM_ID, "\"17\""),
		SAID(VM_ID, "null"),
		"{\"version\":17}",
		"[17]",
		"17",
	};
	(void)state;
	assert_int_equal(jwk_new(&owner, NULL), 0);
	assert_int_equal(jwk_new(&other, NULL), 0);
	assert_true(version_in(owner, TICKET_TYP, GOOD, owner) == 17);
	assert_true(version_in(other, TICKET_TYP, GOOD, owner) == 0);
	assert_true(version_in(owner, "shieldvm-takeback+jws", GOOD, owner) == 0);
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		assert_true(version_in(owner, TICKET_TYP, BAD[i], owner) == 0);
	assert_true(ticket_version(&none, owner, VM) == 0);
	assert_int_equal(buf_add(&none, "a.b.c", 5), 0);
	assert_true(ticket_version(&none, owner, VM) == 0);
}

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
	(void)state;
	close(dir);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_kept_until_removed),
		cmocka_unit_test(refuses_what_is_no_jws),
		cmocka_unit_test(refuses_a_file_that_is_none),
		cmocka_unit_test(says_what_it_is_for),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
