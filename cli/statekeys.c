/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/statekeys.h"

#include <errno.h>
#include <string.h>

#include "base/paths.h"
#include "cli/cli.h"

/* The protector of D, which NAME tells; it must be D's own. */
static int domain_protector(const struct domain *d, const char *name, struct protector **out,
			    struct fault *f)
{
	uint8_t uuid[UUID_BYTES];
	CLEANUP_PROTECTOR struct protector *p = NULL;
	const char *text = domain_shield_text(d);
	if (!text)
		return fault_set(f, ERR_STATE,
				 "%s: the domain in it has no protector; give the VM's shielded "
				 "domain with --protector XML",
				 name);
	int rc = protector_parse(text, strlen(text), &p, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s: its protector", name);
	rc = domain_uuid(d, uuid);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0 || memcmp(uuid, protector_facts(p)->vm, UUID_BYTES) != 0)
		return fault_set(f, ERR_VM,
				 "%s: the protector in its domain was made for the VM with another "
				 "UUID",
				 name);
	*out = p;
	p = NULL;
	return 0;
}

static int find_protector(const struct statefile *s, const char *path, struct protector **out,
			  struct fault *f)
{
	CLEANUP_DOMAIN struct domain *d = NULL;
	if (path) {
		int rc = cli_read_domain(path, &d, f);
		return rc < 0 ? rc : domain_protector(d, path, out, f);
	}
	if (!s->has_image)
		return fault_set(f, ERR_USAGE,
				 "%s: has no domain in front, as libvirt's saved files have; give "
				 "the VM's shielded domain with --protector XML",
				 s->name);
	if (!s->domain)
		return fault_set(f, s->domain_fault.rc, "%s", s->domain_fault.text);
	return domain_protector(s->domain, s->name, out, f);
}

struct protector *statekeys_claimed(const struct statefile *s, struct fault *f)
{
	struct protector *p = NULL;
	return find_protector(s, NULL, &p, f) < 0 ? NULL : p;
}

static int read_key(const char *path, int is_dump, struct jwk **out, struct fault *f)
{
	if (!path && is_dump)
		return fault_set(f, ERR_USAGE,
				 "a dump opens with its owner's private key alone: give it with "
				 "--key FILE");
	int rc = jwk_read_file(path ? path : PATH_HOST_KEY, 1, out, f);
	if (rc < 0 && !path)
		return fault_wrap(f, rc, "no --key was given, and this host's own cannot be used");
	return rc;
}

int statekeys_open(struct statekeys *k, const struct statefile *s, const char *key,
		   const char *protector, struct fault *f)
{
	CLEANUP_KEY struct vm_key vm_key = { 0 };
	int is_dump = s->claims.purpose == KEY_USE_DUMP;
	struct stream_facts facts;
	*k = (struct statekeys){ 0 };

	int rc = read_key(key, is_dump, &k->jwk, f);
	if (rc >= 0)
		rc = ecdh_from_jwk(k->jwk, &k->ecdh);
	if (rc >= 0 && (!is_dump || protector))
		rc = find_protector(s, protector, &k->protector, f);
	if (rc >= 0 && k->protector) {
		const struct protector_facts *p = protector_facts(k->protector);
		facts.level = p->level;
		memcpy(facts.vm, p->vm, sizeof(facts.vm));
		memcpy(facts.tpm_id, p->tpm_id, sizeof(facts.tpm_id));
	}
	if (rc >= 0 && !is_dump) {
		rc = protector_unwrap(k->protector, &k->ecdh, &vm_key, f);
		if (rc < 0)
			(void)fault_wrap(f, rc, "%s with %s", protector ? protector : s->name,
					 key ? key : PATH_HOST_KEY);
	}
	if (rc >= 0)
		rc = stream_keys_new(k->protector ? &facts : NULL, is_dump ? NULL : &vm_key, NULL,
				     &k->ecdh, &k->keys, f);
	if (rc < 0)
		statekeys_done(k);
	return rc;
}

void statekeys_done(struct statekeys *k)
{
	stream_keys_free(k->keys);
	protector_free(k->protector);
	jwk_free(k->jwk);
	*k = (struct statekeys){ 0 };
}
