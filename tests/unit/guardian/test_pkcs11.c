/* SPDX-License-Identifier: BSD-3-Clause */
/* A key in a token of SoftHSM: the same secrets as libcrypto's, and what is refused. */
#include "guardian/pkcs11.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "crypto/hpke.h"
#include "crypto/init.h"
#include "crypto/jwk.h"
#include "guardian/confine.h"
#include "guardian/keys.h"
#include "sandbox/phases.h"
#include "tests/unit/guardian/softhsm_bed.h"

static struct jwk *known; /* is in the token as "known" */

#define GOOD(call)                                                                                 \
	do {                                                                                       \
		struct fault f = { 0 };                                                            \
		int rc_ = (call);                                                                  \
		if (rc_ < 0)                                                                       \
			fail_msg("%s: %d %s", #call, rc_, f.text);                                 \
	} while (0)
#define REFUSED(want, words, call)                                                                 \
	do {                                                                                       \
		struct fault f = { 0 };                                                            \
		int rc_ = (call);                                                                  \
		if (rc_ != (want) || !strstr(f.text, words))                                       \
			fail_msg("%s: %d \"%s\"", #call, rc_, f.text);                             \
	} while (0)

static int make(void **state)
{
	(void)state;
	softhsm_bed_make();
	if (jwk_new(&known, NULL) < 0)
		return -1;
	softhsm_bed_import(known, "known", "01");
	return 0;
}

static int done(void **state)
{
	(void)state;
	jwk_free(known);
	softhsm_bed_remove();
	return 0;
}

static void same_secret(const struct ecdh *a, const struct ecdh *b)
{
	uint8_t z[2][JWK_COORDINATE_BYTES] = { { 0 } };
	CLEANUP_JWK struct jwk *peer = NULL;
	GOOD(jwk_new(&peer, &f));
	assert_int_equal(a->derive(a->arg, jwk_x(peer), jwk_y(peer), z[0]), 0);
	assert_int_equal(b->derive(b->arg, jwk_x(peer), jwk_y(peer), z[1]), 0);
	assert_memory_equal(z[0], z[1], sizeof(z[0]));
}

static void test_same_as_libcrypto(void **state)
{
	(void)state;
	static const uint8_t WORDS[] = "what is sealed";
	struct ecdh file, hsm;
	CLEANUP_PKCS11 struct pkcs11 *p = NULL;
	CLEANUP_JWK struct jwk *public = NULL;
	GOOD(ecdh_from_jwk(known, &file));
	GOOD(pkcs11_open(softhsm_bed_uri("known", "1234\n", 0600), &p, &f));
	GOOD(pkcs11_public(p, &public, &f));
	assert_true(jwk_same(public, known));
	GOOD(pkcs11_ecdh(p, public, &hsm, &f));
	assert_string_equal(hsm.thumbprint, file.thumbprint);
	for (int i = 0; i < 20; i++)
		same_secret(&file, &hsm);
	/* The KEM that releases go through. */
	uint8_t point[RAWKEY_P256_POINT] = { 4 };
	memcpy(point + 1, jwk_x(known), 32);
	memcpy(point + 33, jwk_y(known), 32);
	CLEANUP_BUF struct buf sealed = BUF_INIT(4096), opened = BUF_INIT(4096);
	const struct hpke_text info = { "info", 4 }, aad = { "aad", 3 };
	GOOD(hpke_seal(point, info, aad, (struct hpke_text){ WORDS, sizeof(WORDS) }, &sealed, &f));
	GOOD(hpke_open(&hsm, point, info, aad, (struct hpke_text){ sealed.data, sealed.len },
		       &opened, &f));
	assert_int_equal(opened.len, sizeof(WORDS));
	assert_memory_equal(opened.data, WORDS, sizeof(WORDS));
	/* A VM's key, whose protector has an entry for it. */
	const struct protector_facts facts = { .level = LEVEL_SHIELDED,
					       .vm = { 1 },
					       .tpm_id = { 3 } };
	struct vm_key key, got;
	const struct jwk *recipient = known;
	CLEANUP_JWK struct jwk *owner = NULL;
	CLEANUP_PROTECTOR struct protector *protector = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
	GOOD(jwk_new(&owner, &f));
	GOOD(key_new(&key));
	GOOD(protector_make(&facts, &key, owner, &recipient, 1, NULL, &text, &f));
	GOOD(protector_parse((const char *)text.data, text.len, &protector, &f));
	GOOD(protector_unwrap(protector, &hsm, &got, &f));
	assert_memory_equal(got.bytes, key.bytes, KEY_BYTES);
	/* Not on the curve: the token refuses it, and nothing comes out. */
	uint8_t z[JWK_COORDINATE_BYTES] = { 7 }, was[JWK_COORDINATE_BYTES] = { 7 };
	static const uint8_t ONES[JWK_COORDINATE_BYTES] = { 1, 1, 1 };
	assert_int_equal(hsm.derive(hsm.arg, ONES, ONES, z), -EIO);
	assert_memory_equal(z, was, sizeof(z));
	same_secret(&file, &hsm);
}

static void test_made_in_the_token(void **state)
{
	(void)state;
	struct ecdh one, two;
	CLEANUP_JWK struct jwk *public = NULL, *again = NULL;
	struct pkcs11 *p = NULL;
	struct fault why = { 0 };
	const char *uri = softhsm_bed_uri("made", "1234", 0600);
	REFUSED(-ENOENT, "no such P-256 key", pkcs11_open(uri, &p, &f));
	assert_int_equal(pkcs11_make(uri, &p, &why), 1);
	GOOD(pkcs11_public(p, &public, &f));
	GOOD(pkcs11_ecdh(p, public, &one, &f));
	REFUSED(ERR_AUTH, "another one", pkcs11_ecdh(p, known, &two, &f));
	pkcs11_close(p);
	assert_int_equal(pkcs11_make(uri, &p, &why), 0);
	GOOD(pkcs11_public(p, &again, &f));
	assert_true(jwk_same(public, again));
	GOOD(pkcs11_ecdh(p, again, &two, &f));
	pkcs11_close(p);
	/* It cannot be taken out. */
	assert_int_equal(system("pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so --login "
				"--pin 1234 --token-label test -O --type privkey --label made "
				"2>/dev/null | grep -q 'Access:.*sensitive.*never extractable'"),
			 0);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *uri, *words;
		int rc;
	} URIS[] = {
		{ "pkcs11:token=test;object=known", "module-path", ERR_USAGE },
		{ "pkcs11:token=test;object=known?module-path=/x.so", "pin-source", ERR_USAGE },
		{ "pkcs11:token=test;object=known?module-path=x.so&pin-source=file:/x",
		  "module-path", ERR_USAGE },
		{ "pkcs11:token=test;object=known?module-path=/x.so&pin-source=|/bin/x",
		  "pin-source", ERR_USAGE },
		{ "pkcs11:object=known?module-path=/x.so&pin-source=file:/x", "token=", ERR_USAGE },
		{ "pkcs11:token=test?module-path=/x.so&pin-source=file:/x", "object=", ERR_USAGE },
		{ "pkcs11:token=test;object=known?module-path=/x.so&pin-value=1234", "argument",
		  ERR_USAGE },
		{ "pkcs11:token=test;object=%zz", "RFC 7512", ERR_USAGE },
		{ "pkcs11:token=test;nonsense=1?module-path=/x.so&pin-source=file:/x", "RFC 7512",
		  ERR_USAGE },
		{ "pkcs11:token=test;object=known?module-path=/nonexistent.so&pin-source=file:/x",
		  "does not load", -ENODEV },
		{ "pkcs11:token=test;object=known?module-path=/etc/passwd&pin-source=file:/x",
		  "does not load", -ENODEV },
	};
	struct pkcs11 *p = NULL;
	for (size_t i = 0; i < sizeof(URIS) / sizeof(URIS[0]); i++) {
		struct fault why = { 0 };
		int rc = pkcs11_open(URIS[i].uri, &p, &why);
		if (rc != URIS[i].rc || !strstr(why.text, URIS[i].words) ||
		    strstr(why.text, "1234"))
			fail_msg("%s: %d \"%s\"", URIS[i].uri, rc, why.text);
	}
	REFUSED(ERR_USAGE, "not tried again",
		pkcs11_open(softhsm_bed_uri("known", "4321", 0600), &p, &f));
	REFUSED(ERR_POLICY, "others may read",
		pkcs11_open(softhsm_bed_uri("known", "1234", 0644), &p, &f));
	REFUSED(-ENOENT, "no such", pkcs11_open(softhsm_bed_uri("none", "1234", 0600), &p, &f));
	CLEANUP_JWK struct jwk *other = NULL;
	GOOD(jwk_new(&other, &f));
	softhsm_bed_import(other, "twice", "02");
	softhsm_bed_import(known, "twice", "03");
	REFUSED(ERR_LIMIT, "add id=", pkcs11_open(softhsm_bed_uri("twice", "1234", 0600), &p, &f));
	softhsm_bed_away(1);
	REFUSED(-ENODEV, "no such token",
		pkcs11_open(softhsm_bed_uri("known", "1234", 0600), &p, &f));
	softhsm_bed_away(0);
	assert_null(p);
}

#ifndef SANITIZED /* whose runtime makes system calls that no sealed process may */
/* A process with the key, confined as the program has it; its end is *LINK. */
static pid_t start_keys(const char *uri, int *link)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		struct fault f = { 0 };
		struct pkcs11 *p = NULL;
		struct ecdh ecdh;
		close(pair[1]);
		int rc = pkcs11_open(uri, &p, &f);
		if (rc >= 0)
			rc = pkcs11_ecdh(p, known, &ecdh, &f);
		if (rc >= 0)
			rc = confine_module(&filter_keys, parent, &f);
		if (rc >= 0)
			rc = keys_run(&ecdh, pair[0], &f);
		pkcs11_close(p);
		_exit(rc < 0 ? 3 : 0);
	}
	close(pair[0]);
	*link = pair[1];
	return pid;
}

static int end_of(pid_t pid)
{
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_process(void **state)
{
	(void)state;
	struct keys k = { .link = -1 };
	struct ecdh file, there;
	uint8_t z[JWK_COORDINATE_BYTES] = { 0 };
	GOOD(ecdh_from_jwk(known, &file));
	GOOD(keys_ecdh(&k, known, &there));
	assert_int_equal(there.derive(there.arg, jwk_x(known), jwk_y(known), z), -ENODEV);
	assert_false(k.lost);
	const char *uri = softhsm_bed_uri("known", "1234", 0600);
	pid_t pid = start_keys(uri, &k.link);
	for (int i = 0; i < 5; i++)
		same_secret(&file, &there);
	fd_close(&k.link);
	assert_int_equal(end_of(pid), 0);

	/* The token goes away, or the module fails otherwise: nothing comes out, and it is not
	 * asked again. */
	pid = start_keys(uri, &k.link);
	same_secret(&file, &there);
	softhsm_bed_away(1);
	int rc = there.derive(there.arg, jwk_x(known), jwk_y(known), z);
	softhsm_bed_away(0);
	assert_int_equal(rc, -EIO);
	assert_true(k.lost && k.link == -1);
	assert_int_equal(WEXITSTATUS(end_of(pid)), 3);
	assert_int_equal(there.derive(there.arg, jwk_x(known), jwk_y(known), z), -ENODEV);

	/* It crashes. */
	k.lost = 0;
	pid = start_keys(uri, &k.link);
	same_secret(&file, &there);
	kill(pid, SIGSEGV);
	assert_true(WIFSIGNALED(end_of(pid)));
	assert_int_equal(there.derive(there.arg, jwk_x(known), jwk_y(known), z), -EIO);
	assert_true(k.lost && k.link == -1);

	/* It hangs. */
	k.lost = 0;
	pid = start_keys(uri, &k.link);
	same_secret(&file, &there);
	kill(pid, SIGSTOP);
	assert_int_equal(there.derive(there.arg, jwk_x(known), jwk_y(known), z), -ETIMEDOUT);
	assert_true(k.lost && k.link == -1);
	kill(pid, SIGKILL);
	(void)end_of(pid);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_libcrypto),
		cmocka_unit_test(test_made_in_the_token),
		cmocka_unit_test(test_refused),
#ifndef SANITIZED
		cmocka_unit_test(test_process),
#endif
	};
	return crypto_init() < 0 ? 1 : cmocka_run_group_tests(tests, make, done);
}
