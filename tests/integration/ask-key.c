/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plays the owner, and then hook and worker, for tests of shieldvm-ask:
 *
 *  ask-key make VM OWNER.jwk LEAST OFFLINE [GUARDIAN.pub URLS]...
 *      prints a protector for a new key, for these guardians.
 *  ask-key ask SHIELDVM-ASK PROTECTOR OWNER.jwk VERSION COMES
 *      has the key asked for, opens it as the worker would and compares it with what the owner
 *      unwraps.  Prints one line, with "key ok" or the rule and the sentence; the status is 0 or 1.
 *  ask-key ca FOLDER
 *      makes a guardian's CA.
 *  ask-key certify FOLDER HOST-ID HOST.pub [x]
 *      answers a host that has no TPM, whose /v1/attest is the standard input, as a guardian would:
 *      for the worker that it names, or with x for another one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/ask.h"
#include "base/clock.h"
#include "base/fd.h"
#include "crypto/keyrelease.h"
#include "crypto/sign.h"
#include "crypto/strict.h"

#define LONGER_MS 5000 /* than ASK_TIMEOUT_MS: nothing has come by then */

static _Noreturn void end(int rc, const struct fault *f)
{
	printf("ask-key: %s\n", f->text[0] ? f->text : err_text(rc));
	exit(2);
}

static void good(int rc, const struct fault *f)
{
	if (rc < 0)
		end(rc, f);
}

static int make(int n, char **arg)
{
	struct fault f = { 0 };
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	struct protector_guards guards = { 0 };
	struct jwk *owner = NULL, *keys[PROTECTOR_GUARDIANS_MAX];
	CLEANUP_KEY struct vm_key key = { { 0 } };
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
	good(uuid_parse(arg[0], facts.vm), &f);
	good(jwk_read_file(arg[1], 1, &owner, &f), &f);
	facts.least = strcmp(arg[2], "tpm") == 0 ? HEALTHCERT_TPM : HEALTHCERT_HOSTKEY;
	facts.offline = (uint32_t)strtoul(arg[3], NULL, 10);
	facts.edition = 1;
	memset(facts.tpm_id, 7, sizeof(facts.tpm_id));
	for (int i = 4; i + 1 < n && guards.n < PROTECTOR_GUARDIANS_MAX; i += 2) {
		good(jwk_read_file(arg[i], 0, &keys[guards.n], &f), &f);
		guards.keys[guards.n] = keys[guards.n];
		guards.urls[guards.n++] = arg[i + 1];
	}
	good(key_new(&key), &f);
	good(protector_make(&facts, &key, owner, NULL, 0, &guards, &text, &f), &f);
	printf("%.*s", (int)text.len, (const char *)text.data);
	jwk_free(owner);
	while (guards.n)
		jwk_free(keys[--guards.n]);
	return 0;
}

/* What the worker does with its ephemeral key. */
static void open_key(const struct ask_request *q, const struct ask_reply *reply,
		     const struct jwk *mine, const char *text, const struct jwk *owner)
{
	struct fault f = { 0 };
	struct ecdh ecdh, owners;
	struct keyrelease r = { 0 };
	struct vm_key key, got;
	CLEANUP_PROTECTOR struct protector *p = NULL;
	struct keyrelease_about about = { .certificate = reply->key.certificate,
					  .certificate_bytes = reply->key.certificate_bytes,
					  .protector = text,
					  .protector_chars = q->protector_bytes,
					  .restore = reply->key.restore };
	memcpy(about.vm, q->vm, sizeof(about.vm));
	memcpy(about.request, reply->key.request, sizeof(about.request));
	good(ecdh_from_jwk(mine, &ecdh), &f);
	good(keyrelease_open(&ecdh, q->worker, &about, reply->key.inner, sizeof(reply->key.inner),
			     &r, &f),
	     &f);
	good(protector_parse(text, q->protector_bytes, &p, &f), &f);
	good(ecdh_from_jwk(owner, &owners), &f);
	good(protector_unwrap(p, &owners, &key, &f), &f);
	int same = protector_open(p, &r.key, &got, &f) >= 0 && memcmp(&key, &got, sizeof(key)) == 0;
	printf("%s token %lld expires %lld spent %lld ticket %llu left %u by %s\n",
	       same ? "key ok" : "another key", (long long)r.token, (long long)r.expires,
	       (long long)r.spent, (unsigned long long)reply->key.restore, reply->offline_left,
	       reply->guardian[0] ? reply->guardian : "-");
}

static void point_of(const struct jwk *k, uint8_t out[static SPAWN_POINT_BYTES])
{
	struct fault f = { 0 };
	CLEANUP_JSON json_t *o = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	good(jwk_public_text(k, &text), &f);
	good(strict_json((const char *)text.data, text.len, "a key", &o, &f), &f);
	out[0] = 4;
	good(strict_b64(strict_text(o, "x"), 43, out + 1, 32), &f);
	good(strict_b64(strict_text(o, "y"), 43, out + 33, 32), &f);
}

static int ask(char **arg)
{
	struct fault f = { 0 };
	struct ask_request q = { .magic = ASK_MAGIC, .version = ASK_VERSION };
	struct ask_reply reply = { 0 };
	struct jwk *owner = NULL, *mine = NULL;
	struct timeval patience = { (ASK_TIMEOUT_MS + LONGER_MS) / 1000, 0 };
	int pair[2], fds[FD_PASS_MAX];
	size_t n_fds;
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
	CLEANUP_BUF struct buf message = BUF_INIT(SPAWN_MESSAGE_MAX);
	CLEANUP_PROTECTOR struct protector *p = NULL;
	good(fd_read_file(AT_FDCWD, arg[1], &text, &f), &f);
	good(protector_parse((const char *)text.data, text.len, &p, &f), &f);
	good(jwk_read_file(arg[2], 1, &owner, &f), &f);
	good(jwk_new(&mine, &f), &f);
	point_of(mine, q.worker);
	memcpy(q.vm, protector_facts(p)->vm, sizeof(q.vm));
	q.state_version = strtoull(arg[3], NULL, 10);
	q.comes = (uint32_t)strtoul(arg[4], NULL, 10);
	q.protector_bytes = (uint32_t)text.len;
	good(buf_add(&message, &q, sizeof(q)), &f);
	good(buf_add(&message, text.data, text.len), &f);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
	    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		end(-errno, &f);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		char *const argv[] = { (char[]){ "shieldvm-ask" }, NULL };
		if (dup2(pair[1], ASK_FD) == ASK_FD)
			execv(arg[0], argv);
		_exit(127);
	}
	close(pair[1]);
	good(child < 0 ? -errno : fd_send(pair[0], message.data, message.len, NULL, 0), &f);
	ssize_t n = fd_recv(pair[0], &reply, sizeof(reply), fds, &n_fds);
	if (n != sizeof(reply) || n_fds || reply.magic != ASK_MAGIC || reply.version != ASK_VERSION)
		end(n < 0 ? (int)n : ERR_FORMAT, &f);
	waitpid(child, NULL, 0);
	if (reply.rc < 0)
		printf("%s: %s\n", reply.rule, reply.text);
	else
		open_key(&q, &reply, mine, (const char *)text.data, owner);
	jwk_free(mine);
	jwk_free(owner);
	return reply.rc < 0;
}

static int certify(int n, char **arg)
{
	struct fault f = { 0 };
	struct healthca *ca = NULL;
	struct healthcert c = { .assurance = HEALTHCERT_HOSTKEY, .generation = 1 };
	uint8_t worker[SPAWN_POINT_BYTES], point[SPAWN_POINT_BYTES];
	struct jwk *host = NULL;
	CLEANUP_JSON json_t *body = NULL;
	CLEANUP_BUF struct buf in = BUF_INIT(1024 * 1024), der = BUF_INIT(HEALTHCERT_MAX);
	CLEANUP_BUF struct buf text = BUF_INIT(4 * HEALTHCERT_MAX);
	good(healthca_open(arg[0], &ca, &f), &f);
	good(uuid_parse(arg[1], c.host), &f);
	good(jwk_read_file(arg[2], 0, &host, &f), &f);
	good(fd_read_all(STDIN_FILENO, &in), &f);
	good(strict_json((const char *)in.data, in.len, "the request", &body, &f), &f);
	const char *w = strict_text(body, "worker");
	good(w ? strict_b64(w, strlen(w), worker, sizeof(worker)) : ERR_FORMAT, &f);
	worker[7] ^= n > 3;
	good(sign_sha256(worker, sizeof(worker), c.worker_hash), &f);
	point_of(host, point);
	memcpy(c.x, point + 1, 32);
	memcpy(c.y, point + 33, 32);
	c.not_before = time(NULL);
	c.not_after = c.not_before + HEALTHCERT_LIFETIME;
	good(healthcert_issue(ca, &c, &der, &f), &f);
	good(strict_b64_put(&text, der.data, der.len), &f);
	printf("{\"certificate\":\"%s\",\"generation\":1,\"not_after\":0,\"findings\":[]}",
	       buf_cstr(&text));
	healthca_free(ca);
	jwk_free(host);
	return 0;
}

static int make_ca(const char *folder)
{
	struct fault f = { 0 };
	good(healthca_init(folder, &f), &f);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "ca") == 0)
		return make_ca(argv[2]);
	if (argc >= 5 && strcmp(argv[1], "certify") == 0)
		return certify(argc - 2, argv + 2);
	if (argc >= 6 && strcmp(argv[1], "make") == 0)
		return make(argc - 2, argv + 2);
	if (argc == 7 && strcmp(argv[1], "ask") == 0)
		return ask(argv + 2);
	return 2;
}
