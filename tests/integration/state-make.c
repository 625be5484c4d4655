/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes sealed files as a worker does, for state-cli.sh: from standard input to standard output.
 *   state-make saved-state XML JWK   under the VM key, unwrapped from XML's protector with JWK
 *   state-make dump XML              to the owner that XML's protector names
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/flow.h"
#include "crypto/protector.h"
#include "libvirt/domain.h"

static int make(int argc, char **argv, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(DOMAIN_XML_MAX);
	struct domain *d = NULL;
	struct protector *p = NULL;
	struct jwk *jwk = NULL;
	struct ecdh ecdh;
	struct vm_key key = { 0 };
	struct stream_keys *keys = NULL;
	struct pool *pool = NULL;
	struct flow *flow = NULL;
	int is_dump = argc == 3 && strcmp(argv[1], "dump") == 0;
	if (!is_dump && (argc != 4 || strcmp(argv[1], "saved-state") != 0))
		return fault_set(f, ERR_USAGE, "usage: state-make saved-state XML JWK | dump XML");

	int rc = fd_read_file(AT_FDCWD, argv[2], &text, f);
	if (rc >= 0)
		rc = domain_parse((const char *)text.data, text.len, &d, f);
	if (rc >= 0)
		rc = protector_parse(domain_shield_text(d), strlen(domain_shield_text(d)), &p, f);
	if (rc >= 0 && !is_dump)
		rc = jwk_read_file(argv[3], 1, &jwk, f);
	if (rc >= 0 && !is_dump)
		rc = ecdh_from_jwk(jwk, &ecdh);
	if (rc >= 0 && !is_dump)
		rc = protector_unwrap(p, &ecdh, &key, f);
	if (rc < 0)
		return rc;
	struct stream_facts facts = { .level = protector_facts(p)->level };
	memcpy(facts.vm, protector_facts(p)->vm, sizeof(facts.vm));
	memcpy(facts.tpm_id, protector_facts(p)->tpm_id, sizeof(facts.tpm_id));
	rc = stream_keys_new(&facts, is_dump ? NULL : &key, is_dump ? protector_owner(p) : NULL,
			     NULL, &keys, f);
	if (rc >= 0)
		rc = pool_new(0, &pool);
	if (rc >= 0)
		rc = flow_new(pool, &flow);
	if (rc >= 0)
		rc = flow_seal_start(flow, keys, is_dump ? KEY_USE_DUMP : KEY_USE_SAVED_STATE,
				     STDIN_FILENO, STDOUT_FILENO, f);
	if (rc >= 0)
		rc = flow_run(flow, NULL, NULL, f);
	flow_free(flow);
	pool_free(pool);
	stream_keys_free(keys);
	key_done(&key);
	jwk_free(jwk);
	protector_free(p);
	domain_free(d);
	return rc;
}

int main(int argc, char **argv)
{
	struct fault f = { 0 };
	int rc = make(argc, argv, &f);
	if (rc < 0)
		fprintf(stderr, "state-make: %s\n", f.text[0] ? f.text : err_text(rc));
	return rc < 0;
}
