/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes what no command makes, for the tests of saved state; to standard output.
 *   state-make saved-state XML JWK   standard input sealed as a worker does, under the VM key,
 *                                    unwrapped from XML's protector with JWK
 *   state-make dump XML              the same, to the owner that XML's protector names
 *   state-make level XML JWK LEVEL   XML with a protector of its owner JWK for LEVEL: same key,
 *                                    same vTPM, same hosts
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/flow.h"
#include "crypto/protector.h"
#include "libvirt/domain.h"

#define HOSTS_MAX 4

/* A shielded VM, and its key if a private one was given that opens it. */
struct vm {
	struct domain *d;
	struct protector *p;
	struct jwk *jwk;
	struct vm_key key;
};

static void vm_done(struct vm *v)
{
	key_done(&v->key);
	jwk_free(v->jwk);
	protector_free(v->p);
	domain_free(v->d);
}

static int vm_read(struct vm *v, const char *xml, const char *jwk, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(DOMAIN_XML_MAX);
	struct ecdh ecdh;
	int rc = fd_read_file(AT_FDCWD, xml, &text, f);
	if (rc >= 0)
		rc = domain_parse((const char *)text.data, text.len, &v->d, f);
	if (rc >= 0)
		rc = protector_parse(domain_shield_text(v->d), strlen(domain_shield_text(v->d)),
				     &v->p, f);
	if (rc < 0 || !jwk)
		return rc;
	rc = jwk_read_file(jwk, 1, &v->jwk, f);
	if (rc >= 0)
		rc = ecdh_from_jwk(v->jwk, &ecdh);
	return rc < 0 ? rc : protector_unwrap(v->p, &ecdh, &v->key, f);
}

static int make_state(const struct vm *v, enum key_use use, struct fault *f)
{
	struct stream_facts facts = { .level = protector_facts(v->p)->level };
	struct stream_keys *keys = NULL;
	struct pool *pool = NULL;
	struct flow *flow = NULL;
	int is_dump = use == KEY_USE_DUMP;
	memcpy(facts.vm, protector_facts(v->p)->vm, sizeof(facts.vm));
	memcpy(facts.tpm_id, protector_facts(v->p)->tpm_id, sizeof(facts.tpm_id));
	int rc = stream_keys_new(&facts, is_dump ? NULL : &v->key,
				 is_dump ? protector_owner(v->p) : NULL, NULL, &keys, f);
	if (rc >= 0 && protector_allows(protector_facts(v->p), PROTECTOR_COMPRESSION))
		stream_keys_compress(keys, STREAM_ZSTD);
	if (rc >= 0)
		rc = pool_new(0, &pool);
	if (rc >= 0)
		rc = flow_new(pool, &flow);
	if (rc >= 0)
		rc = flow_seal_start(flow, keys, use, STDIN_FILENO, STDOUT_FILENO, f);
	if (rc >= 0)
		rc = flow_run(flow, NULL, NULL, f);
	flow_free(flow);
	pool_free(pool);
	stream_keys_free(keys);
	return rc;
}

static int make_level(struct vm *v, const char *level, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX + 1);
	CLEANUP_BUF struct buf xml = BUF_INIT(2 * DOMAIN_XML_MAX);
	struct protector_facts facts = *protector_facts(v->p);
	const struct jwk *hosts[HOSTS_MAX];
	size_t n = protector_n_recipients(v->p);
	if (n > HOSTS_MAX)
		return fault_set(f, ERR_LIMIT, "more than %d recipients", HOSTS_MAX);
	for (size_t i = 0; i < n; i++)
		hosts[i] = protector_recipient_key(v->p, i);
	int rc = level_parse(level, &facts.level);
	if (rc >= 0)
		rc = protector_make(&facts, &v->key, v->jwk, hosts, n, NULL, &text, f);
	if (rc >= 0)
		rc = buf_cstr(&text) ? domain_set_shield(v->d, buf_cstr(&text)) : -ENOMEM;
	if (rc >= 0)
		rc = domain_text(v->d, &xml);
	return rc < 0 ? rc : fd_write_full(STDOUT_FILENO, xml.data, xml.len);
}

static int make(int argc, char **argv, struct vm *v, struct fault *f)
{
	const char *what = argc > 2 ? argv[1] : "";
	int rc = argc > 2 ? vm_read(v, argv[2], argc > 3 ? argv[3] : NULL, f) : 0;
	if (rc < 0)
		return rc;
	if (strcmp(what, "saved-state") == 0 && argc == 4)
		return make_state(v, KEY_USE_SAVED_STATE, f);
	if (strcmp(what, "dump") == 0 && argc == 3)
		return make_state(v, KEY_USE_DUMP, f);
	if (strcmp(what, "level") == 0 && argc == 5)
		return make_level(v, argv[4], f);
	return fault_set(f, ERR_USAGE,
			 "usage: state-make saved-state XML JWK | dump XML | level XML JWK LEVEL");
}

int main(int argc, char **argv)
{
	struct fault f = { 0 };
	struct vm v = { 0 };
	int rc = make(argc, argv, &v, &f);
	if (rc < 0)
		fprintf(stderr, "state-make: %s\n", f.text[0] ? f.text : err_text(rc));
	vm_done(&v);
	return rc < 0;
}
