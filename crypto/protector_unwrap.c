/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/protector_form.h"

int protector_unwrap(const struct protector *p, const struct ecdh *ecdh, struct vm_key *key,
		     struct fault *f)
{
	const struct protector_entry *e = NULL;
	for (size_t i = 0; i < p->n_entries && !e; i++) {
		if (strcmp(p->entries[i].thumbprint, ecdh->thumbprint) == 0)
			e = &p->entries[i];
	}
	if (!e && p->n_guardians > 0)
		return fault_set(
			f, ERR_RECIPIENT,
			"the key %s is not among the protector's %zu recipients: a guardian "
			"(%.*s) has to release the VM key to this host, or its owner can add the "
			"host with `shieldvm key rewrap --add-host`",
			ecdh->thumbprint, p->n_entries, (int)strcspn(p->guardians[0].urls, "#"),
			p->guardians[0].urls);
	if (!e)
		return fault_set(
			f, ERR_RECIPIENT,
			"the key %s is not among the protector's %zu recipients: its owner "
			"can add it with `shieldvm key rewrap --add-host`",
			ecdh->thumbprint, p->n_entries);
	return jwe_open(ecdh, "the VM key", e->epk_x, e->epk_y, e->wrapped, p->jwe_protected,
			&p->content, key->bytes, f);
}
