/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/jwk.h"

/* RFC 7517, appendix A.2; the thumbprint is `jose jwk thp`'s. */
#define X	   "\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\""
#define Y	   "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\""
#define D	   "\"d\":\"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE\""
#define EC	   "\"kty\":\"EC\",\"crv\":\"P-256\","
#define PUBLIC	   "{" EC X "," Y "}"
#define PRIVATE	   "{" EC X "," Y "," D "}"
#define THUMBPRINT "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"

static int parse(const char *text, struct jwk **k, struct fault *f)
{
	return jwk_parse(text, strlen(text), k, f);
}

static void test_parses_and_names_a_key(void **state)
{
	(void)state;
	CLEANUP_JWK struct jwk *pub = NULL, *priv = NULL, *more = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	char thumbprint[JWK_THUMBPRINT_SIZE];
	assert_int_equal(parse(PUBLIC, &pub, NULL), 0);
	assert_int_equal(parse(PRIVATE "\n", &priv, NULL), 0);
	assert_int_equal(
		parse("{" EC Y "," X ",\"kid\":\"k\",\"use\":\"enc\",\"other\":1}", &more, NULL),
		0);
	assert_false(jwk_is_private(pub));
	assert_true(jwk_is_private(priv));
	assert_true(jwk_same(pub, priv));
	assert_true(jwk_same(pub, more));
	assert_int_equal(jwk_thumbprint(priv, thumbprint), 0);
	assert_string_equal(thumbprint, THUMBPRINT);
	assert_int_equal(jwk_public_text(priv, &text), 0);
	assert_string_equal(buf_cstr(&text), "{\"crv\":\"P-256\",\"kty\":\"EC\"," X "," Y "}");
}

static void test_refuses_what_is_no_sound_p256_key(void **state)
{
	(void)state;
	static const char *const WRONG[] = {
		"",
		"{}",
		"[" PUBLIC "]",
		"{\"keys\":[" PUBLIC "]}",
		PUBLIC PUBLIC,
		"{" EC X "}",
		"{" EC X "," Y "," Y "}",
		"{\"kty\":\"EC\",\"crv\":\"P-384\"," X "," Y "}",
		"{\"kty\":\"ec\",\"crv\":\"P-256\"," X "," Y "}",
		"{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
		"{\"kty\":\"oct\",\"k\":\"AQAB\"}",
		/* not on the curve: one bit of y; the point (0, 0); coordinates over p */
		"{" EC X ",\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyI\"}",
		"{" EC "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
		"\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
		"{" EC "\"x\":\"__________________________________________8\"," Y "}",
		/* spelled otherwise: padding, a non-zero unused bit, short, long, a number */
		"{" EC "\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4=\"," Y "}",
		"{" EC "\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D5\"," Y "}",
		"{" EC "\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D\"," Y "}",
		"{" EC "\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4AA\"," Y "}",
		"{" EC "\"x\":7," Y "}",
		/* d: zero, not of this point, over the order, null */
		"{" EC X "," Y ",\"d\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
		"{" EC X "," Y ",\"d\":\"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAI\"}",
		"{" EC X "," Y ",\"d\":\"__________________________________________8\"}",
		"{" EC X "," Y ",\"d\":null}",
	};
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		struct jwk *k = NULL;
		struct fault f = { 0 };
		if (parse(WRONG[i], &k, &f) != ERR_FORMAT)
			fail_msg("taken: %s", WRONG[i]);
		assert_null(k);
		assert_true(f.text[0] != '\0');
	}
}

static void test_new_keys_survive_their_files(void **state)
{
	(void)state;
	char folder[] = "/tmp/shieldvm-jwk-XXXXXX", path[64], pub_path[64];
	CLEANUP_JWK struct jwk *k = NULL, *priv = NULL, *pub = NULL, *other = NULL, *no = NULL;
	struct fault f = { 0 };
	struct stat st;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/key", folder);
	snprintf(pub_path, sizeof(pub_path), "%s/key.pub", folder);

	assert_int_equal(jwk_new(&k, NULL), 0);
	assert_int_equal(jwk_new(&other, NULL), 0);
	assert_false(jwk_same(k, other));
	assert_int_equal(jwk_write_pair(k, path, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(pub_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(jwk_read_file(path, 1, &priv, NULL), 0);
	assert_true(jwk_is_private(priv) && jwk_same(priv, k));
	assert_int_equal(jwk_read_file(pub_path, 0, &pub, NULL), 0);
	assert_true(!jwk_is_private(pub) && jwk_same(pub, k));

	/* The wrong half. */
	assert_int_equal(jwk_read_file(pub_path, 1, &no, &f), ERR_POLICY);
	assert_int_equal(chmod(pub_path, 0600), 0);
	f = (struct fault){ 0 };
	assert_int_equal(jwk_read_file(pub_path, 1, &no, &f), ERR_FORMAT);
	assert_non_null(strstr(f.text, "key.pub: a public key"));
	f = (struct fault){ 0 };
	assert_int_equal(jwk_read_file(path, 0, &no, &f), ERR_FORMAT);
	assert_non_null(strstr(f.text, "a private key"));

	/* Never overwritten, and half a pair is not left. */
	assert_int_equal(jwk_write_pair(other, path, NULL), -EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(jwk_write_pair(other, path, NULL), -EEXIST);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(jwk_read_file(pub_path, 0, &no, NULL), 0);
	assert_true(jwk_same(no, k));
	assert_int_equal(jwk_write_pair(pub, path, NULL), ERR_FORMAT);

	unlink(pub_path);
	rmdir(folder);
}

static void test_refuses_files_that_are_not_private(void **state)
{
	(void)state;
	char folder[] = "/tmp/shieldvm-jwk-XXXXXX", path[64], link_path[64];
	struct jwk *k = NULL;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/key", folder);
	snprintf(link_path, sizeof(link_path), "%s/link", folder);
	assert_int_equal(fd_write_file(AT_FDCWD, path, PRIVATE, strlen(PRIVATE), 0640, 0, NULL), 0);
	static const mode_t OPEN_MODES[] = { 0640, 0604, 0620, 0601, 0666 };
	for (size_t i = 0; i < sizeof(OPEN_MODES) / sizeof(OPEN_MODES[0]); i++) {
		struct fault f = { 0 };
		assert_int_equal(chmod(path, OPEN_MODES[i]), 0);
		assert_int_equal(jwk_read_file(path, 1, &k, &f), ERR_POLICY);
		assert_non_null(strstr(f.text, "chmod 600"));
		assert_null(strstr(f.text, "870MB6"));
	}
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(symlink("key", link_path), 0);
	assert_int_equal(jwk_read_file(link_path, 1, &k, NULL), -ELOOP);
	assert_int_equal(jwk_read_file(folder, 1, &k, NULL), -EINVAL);
	unlink(link_path);
	assert_int_equal(mkfifo(link_path, 0600), 0);
	assert_int_equal(jwk_read_file(link_path, 1, &k, NULL), -EINVAL);
	if (geteuid() == 0) {
		struct fault f = { 0 };
		assert_int_equal(chown(path, 12345, 12345), 0);
		assert_int_equal(jwk_read_file(path, 1, &k, &f), ERR_POLICY);
		assert_non_null(strstr(f.text, "user 12345"));
	}
	assert_null(k);
	unlink(link_path);
	unlink(path);
	assert_int_equal(jwk_read_file(path, 1, &k, NULL), -ENOENT);
	rmdir(folder);
}

static void test_reads_no_more_than_a_key(void **state)
{
	(void)state;
	int ends[2];
	char text[JWK_FILE_MAX + 1];
	struct jwk *k = NULL;
	struct fault f = { 0 };
	memset(text, ' ', sizeof(text));
	memcpy(text, PUBLIC, strlen(PUBLIC));
	for (size_t n = sizeof(text); n >= sizeof(text) - 1; n--) {
		assert_int_equal(pipe(ends), 0);
		assert_int_equal(write(ends[1], text, n), (ssize_t)n);
		close(ends[1]);
		int rc = jwk_read_fd(ends[0], 0, &k, &f);
		assert_int_equal(rc, n > JWK_FILE_MAX ? ERR_LIMIT : 0);
		close(ends[0]);
	}
	assert_non_null(strstr(f.text, "4096 bytes"));
	jwk_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parses_and_names_a_key),
		cmocka_unit_test(test_refuses_what_is_no_sound_p256_key),
		cmocka_unit_test(test_new_keys_survive_their_files),
		cmocka_unit_test(test_refuses_files_that_are_not_private),
		cmocka_unit_test(test_reads_no_more_than_a_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
