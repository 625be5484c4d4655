/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/protector_form.h"

/* The entry for ECDH's key, or NULL with a sentence. */
static const struct protector_entry *find_entry(const struct protector *p, const struct ecdh *ecdh,
						struct fault *f)
{
	const struct protector_entry *e = NULL;
	for (size_t i = 0; i < p->n_entries && !e; i++) {
		if (strcmp(p->entries[i].thumbprint, ecdh->thumbprint) == 0)
			e = &p->entries[i];
	}
	if (!e && p->n_guardians > 0)
		fault_set(f, ERR_RECIPIENT,
			  "the key %s is not among the protector's %zu recipients: a guardian "
			  "(%.*s) has to release the VM key to this host, or its owner can add the "
			  "host with `shieldvm key rewrap --add-host`",
			  ecdh->thumbprint, p->n_entries, (int)strcspn(p->guardians[0].urls, "#"),
			  p->guardians[0].urls);
	else if (!e)
		fault_set(f, ERR_RECIPIENT,
			  "the key %s is not among the protector's %zu recipients: its owner "
			  "can add it with `shieldvm key rewrap --add-host`",
			  ecdh->thumbprint, p->n_entries);
	return e;
}

int protector_open(const struct protector *p, const struct content_key *k, struct vm_key *key,
		   struct fault *f)
{
	int rc = jwe_decrypt(k->bytes, p->jwe_protected, &p->content, key->bytes);
	return rc < 0 ? fault_set(
				f, rc,
				"the protector's VM key does not authenticate: it is encrypted "
				"with another content key, or for another VM or owner, or altered")
		      : 0;
}

/* Both keys of which ECDH's entry is the way to. */
static int unwrap(const struct protector *p, const struct ecdh *ecdh, struct content_key *k,
		  struct vm_key *key, struct fault *f)
{
	const struct protector_entry *e = find_entry(p, ecdh, f);
	if (!e)
		return ERR_RECIPIENT;
	int rc = jwe_unwrap(ecdh, "the VM key", e->epk_x, e->epk_y, e->wrapped, k->bytes, f);
	return rc < 0 ? rc : protector_open(p, k, key, f);
}

int protector_unwrap_content_key(const struct protector *p, const struct ecdh *ecdh,
				 struct content_key *out, struct fault *f)
{
	CLEANUP_KEY struct vm_key key = { { 0 } };
	struct content_key k = { { 0 } };
	int rc = unwrap(p, ecdh, &k, &key, f);
	if (rc >= 0)
		*out = k;
	wipe(&k, sizeof(k));
	return rc;
}

int protector_unwrap(const struct protector *p, const struct ecdh *ecdh, struct vm_key *key,
		     struct fault *f)
{
	struct content_key k = { { 0 } };
	int rc = unwrap(p, ecdh, &k, key, f);
	wipe(&k, sizeof(k));
	return rc;
}
