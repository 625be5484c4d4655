/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker's question for a guardian's key; a child plays hook, host and guardian. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/jwk.h"
#include "worker/keyask.h"

static const uint8_t VM[UUID_BYTES] = { 1, 2, 3 };
static const uint8_t CERTIFICATE[] = "a certificate";
/* The VM's, and another one of the same owner's for the same VM: with another key. */
static struct buf text[2];
static struct protector *protector;
static struct vm_key vm_key;
static struct content_key content[2];
static uint64_t here = 1234; /* version of the state */

enum lie {
	NONE,
	/* These are none. */
	TICKET,
	TICKET_FOR_FILE,
	TICKET_FOR_NOTHING,
	COMES,
	/* These are. */
	OTHER_VM,
	OTHER_PROTECTOR,
	OTHER_REQUEST,
	OTHER_CERTIFICATE,
	OTHER_TICKET,
	NO_TICKET,
	OWN_TICKET,
	OLDER,
	OLDER_TICKET,
	OTHER_WORKER,
	OTHER_KEY,
	OTHER_CONTENT,
	OTHER_MAGIC,
	OTHER_VERSION,
	NO_CERTIFICATE,
	LONG_CERTIFICATE,
	ALTERED,
	SHORT,
	GONE,
	LIES,
};

static _Noreturn void give_up(void)
{
	_exit(1);
}

/* What host and guardian do: seal to the worker, inside to the host, and take the host's off. */
static void seal(const uint8_t *worker, const struct keyrelease_about *about,
		 const struct content_key *key, int64_t spent, uint8_t *inner_out)
{
	CLEANUP_JWK struct jwk *host = NULL;
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	const struct keyrelease r = { .key = *key, .token = 5, .expires = 6, .spent = spent };
	uint8_t point[JWK_POINT_BYTES];
	struct ecdh ecdh;
	if (jwk_new(&host, NULL) < 0 || ecdh_from_jwk(host, &ecdh) < 0)
		give_up();
	jwk_point(host, point);
	if (keyrelease_seal(point, worker, about, &r, &sealed, NULL) < 0 ||
	    keyrelease_unwrap(&ecdh, point, about, sealed.data, sealed.len, &inner, NULL) < 0)
		give_up();
	memcpy(inner_out, inner.data, inner.len);
}

static _Noreturn void play_hook(int sock, enum lie lie)
{
	struct spawn_reply ask;
	struct spawn_key answer = { .magic = SPAWN_MAGIC,
				    .version = SPAWN_VERSION,
				    .request = { 9 },
				    .certificate_bytes = sizeof(CERTIFICATE) };
	CLEANUP_JWK struct jwk *other = NULL;
	if (recv(sock, &ask, sizeof(ask), 0) != sizeof(ask) || ask.magic != SPAWN_MAGIC ||
	    ask.kind != SPAWN_ASK_KEY || ask.ask.state_version != here || lie == GONE)
		give_up();
	struct keyrelease_about about = { .certificate = CERTIFICATE,
					  .certificate_bytes = sizeof(CERTIFICATE),
					  .protector = (const char *)text[0].data,
					  .protector_chars = text[0].len,
					  .request = { 9 } };
	memcpy(about.vm, VM, UUID_BYTES);
	memcpy(answer.certificate, CERTIFICATE, sizeof(CERTIFICATE));
	int newer = lie == OLDER || lie == OLDER_TICKET || lie == TICKET_FOR_FILE || lie == COMES;
	if (lie == TICKET || lie == OTHER_TICKET || lie == NO_TICKET || lie == OLDER_TICKET)
		answer.restore = about.restore = 3;
	if (lie == TICKET_FOR_FILE)
		answer.restore = about.restore = 1234;
	if (lie == TICKET_FOR_NOTHING)
		answer.restore = about.restore = KEYRELEASE_FROM_NOTHING;
	if (lie == OTHER_VM)
		about.vm[15] ^= 1;
	if (lie == OTHER_PROTECTOR) {
		about.protector = (const char *)text[1].data;
		about.protector_chars = text[1].len;
	}
	if (lie == OTHER_WORKER) {
		if (jwk_new(&other, NULL) < 0)
			give_up();
		jwk_point(other, ask.ask.worker);
	}
	/* Anybody can seal to the worker: somebody's own key, or what is right elsewhere. */
	static const struct content_key OWN = { { 42 } };
	seal(ask.ask.worker, &about,
	     lie == OTHER_KEY	    ? &OWN
	     : lie == OTHER_CONTENT ? &content[1]
				    : &content[0],
	     newer ? 1235 : 7, answer.inner);
	if (lie == OTHER_TICKET || lie == OWN_TICKET)
		answer.restore = 2;
	if (lie == NO_TICKET)
		answer.restore = 0;
	answer.magic ^= lie == OTHER_MAGIC;
	answer.version ^= lie == OTHER_VERSION;
	answer.request[0] ^= lie == OTHER_REQUEST;
	answer.certificate[3] ^= lie == OTHER_CERTIFICATE;
	answer.inner[100] ^= lie == ALTERED;
	if (lie == NO_CERTIFICATE)
		answer.certificate_bytes = 0;
	if (lie == LONG_CERTIFICATE)
		answer.certificate_bytes = SPAWN_HEALTH_MAX + 1;
	/* With descriptors, which the worker must not keep. */
	const int fds[] = { sock, sock };
	if (fd_send(sock, &answer, sizeof(answer) - (lie == SHORT), fds, 2) < 0)
		give_up();
	_exit(0);
}

static int ask(enum lie lie, struct keyask *out, struct fault *f)
{
	struct order order = { .lock = -1, .protector = BUF_INIT(PROTECTOR_TEXT_MAX) };
	int ends[2], status;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(buf_add(&order.protector, text[0].data, text[0].len), 0);
	memcpy(order.vm, VM, UUID_BYTES);
	order.sock = ends[0];
	order.comes = lie == COMES;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fd_close(&ends[0]);
		play_hook(ends[1], lie);
	}
	fd_close(&ends[1]);
	int before = dup(0);
	int rc = keyask(&order, protector, here, out, f);
	int after = dup(0);
	assert_int_equal(after, before + 1);
	fd_close(&before);
	fd_close(&after);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), lie == GONE);
	order_done(&order);
	return rc;
}

static void test_key(void **state)
{
	struct keyask r = { 0 };
	(void)state;
	assert_int_equal(ask(NONE, &r, NULL), 0);
	assert_memory_equal(r.key.bytes, vm_key.bytes, KEY_BYTES);
	assert_true(r.token == 5 && r.spent == 7);
	assert_true(r.oldest == 1234 && r.ticket == 0);
}

static void test_older(void **state)
{
	struct keyask r = { 0 };
	(void)state;
	assert_int_equal(ask(TICKET, &r, NULL), 0);
	assert_true(r.spent == 7 && r.oldest == 1234 && r.ticket == 3);
	assert_int_equal(ask(TICKET_FOR_FILE, &r, NULL), 0);
	assert_true(r.spent == 1235 && r.oldest == 1235 && r.ticket == 1234);
	assert_int_equal(ask(COMES, &r, NULL), 0);
	assert_true(r.spent == 1235 && r.oldest == 1235 && r.ticket == 0);
}

/* Without state, or with one from before versions, as with any that is older. */
static void test_nothing_is_older(void **state)
{
	struct keyask r = { .token = 77 };
	struct fault f = { 0 };
	(void)state;
	here = 0;
	assert_int_equal(ask(NONE, &r, &f), ERR_POLICY);
	assert_non_null(strstr(f.text, "vtpm.older: "));
	assert_int_equal(ask(TICKET, &r, &f), ERR_POLICY);
	assert_true(r.token == 77 && r.key.bytes[0] == 0);
	assert_int_equal(ask(TICKET_FOR_NOTHING, &r, NULL), 0);
	assert_true(r.spent == 7 && r.oldest == 7 && r.ticket == 0);
	here = 6;
	r.token = 77;
	assert_int_equal(ask(TICKET_FOR_NOTHING, &r, &f), ERR_POLICY);
	assert_int_equal(r.token, 77);
	here = 1234;
}

/* What is put in the place of the state after the key was asked for. */
static void test_replaced_meanwhile(void **state)
{
	(void)state;
	assert_true(keyask_takes(9, 9, 9) && keyask_takes(9, 9, 10) && !keyask_takes(9, 9, 8));
	assert_true(!keyask_takes(9, 9, 0) && keyask_takes(0, 0, 0) && keyask_takes(0, 0, 5));
	/* By a ticket for version 3, and for none. */
	assert_true(keyask_takes(3, 9, 3) && keyask_takes(3, 9, 9));
	assert_true(!keyask_takes(3, 9, 4) && !keyask_takes(3, 9, 8) && !keyask_takes(3, 9, 2));
	assert_true(keyask_takes(0, 9, 0) && keyask_takes(0, 9, 9) && !keyask_takes(0, 9, 8));
}

static void test_lies(void **state)
{
	static const struct {
		int rc;
		const char *text;
	} want[LIES] = {
		[OTHER_VM] = { ERR_POLICY, "guardian.key: " },
		[OTHER_PROTECTOR] = { ERR_POLICY, "guardian.key: " },
		[OTHER_REQUEST] = { ERR_POLICY, "guardian.key: " },
		[OTHER_CERTIFICATE] = { ERR_POLICY, "guardian.key: " },
		[OTHER_TICKET] = { ERR_POLICY, "guardian.key: " },
		[NO_TICKET] = { ERR_POLICY, "guardian.key: " },
		[OWN_TICKET] = { ERR_POLICY, "guardian.key: " },
		[OTHER_WORKER] = { ERR_POLICY, "guardian.key: " },
		[OTHER_KEY] = { ERR_POLICY, "is not the key of its VM" },
		[OTHER_CONTENT] = { ERR_POLICY, "is not the key of its VM" },
		[ALTERED] = { ERR_POLICY, "guardian.key: " },
		[OLDER] = { ERR_POLICY, "vtpm.older: " },
		[OLDER_TICKET] = { ERR_POLICY, "vtpm.older: " },
		[OTHER_MAGIC] = { ERR_FORMAT, "malformed" },
		[OTHER_VERSION] = { ERR_FORMAT, "malformed" },
		[NO_CERTIFICATE] = { ERR_FORMAT, "malformed" },
		[LONG_CERTIFICATE] = { ERR_FORMAT, "malformed" },
		[SHORT] = { ERR_FORMAT, "malformed" },
		[GONE] = { ERR_STATE, "hook has gone" },
	};
	(void)state;
	for (enum lie lie = COMES + 1; lie < LIES; lie++) {
		struct keyask r = { .token = 77 };
		struct fault f = { 0 };
		assert_int_equal(ask(lie, &r, &f), want[lie].rc);
		assert_non_null(strstr(f.text, want[lie].text));
		assert_true(r.token == 77 && r.key.bytes[0] == 0);
	}
}

static int make(void **state)
{
	(void)state;
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	CLEANUP_JWK struct jwk *owner = NULL;
	CLEANUP_JWK struct jwk *host = NULL;
	const struct jwk *hosts[1];
	struct ecdh ecdh;
	memcpy(facts.vm, VM, UUID_BYTES);
	if (jwk_new(&owner, NULL) < 0 || jwk_new(&host, NULL) < 0 ||
	    ecdh_from_jwk(owner, &ecdh) < 0)
		return -1;
	hosts[0] = host;
	for (int i = 1; i >= 0; i--) {
		protector_free(protector);
		protector = NULL;
		text[i] = BUF_INIT(PROTECTOR_TEXT_MAX);
		if (key_new(&vm_key) < 0 ||
		    protector_make(&facts, &vm_key, owner, hosts, 1, NULL, &text[i], NULL) < 0 ||
		    protector_parse((const char *)text[i].data, text[i].len, &protector, NULL) <
			    0 ||
		    protector_unwrap_content_key(protector, &ecdh, &content[i], NULL) < 0)
			return -1;
	}
	return 0;
}

static int done(void **state)
{
	(void)state;
	protector_free(protector);
	buf_done(&text[0]);
	buf_done(&text[1]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_older),
		cmocka_unit_test(test_nothing_is_older),
		cmocka_unit_test(test_replaced_meanwhile),
		cmocka_unit_test(test_lies),
	};
	return cmocka_run_group_tests(tests, make, done);
}
