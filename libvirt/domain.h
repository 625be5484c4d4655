/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A libvirt domain's XML as shieldvm sees it: its name, its UUID, its shield element, and what the
 * policy says about it.
 *
 * The XML comes from libvirt (hook) or from a person (shieldvm) and is not trusted: at most
 * DOMAIN_XML_MAX bytes, no DTD, no entities beyond XML's own five, no network, no file.
 *
 * May be used by: libvirt/ (hook), cli/.  Not by the launcher, which never sees XML.
 */
#ifndef SHIELDVM_LIBVIRT_DOMAIN_H
#define SHIELDVM_LIBVIRT_DOMAIN_H

#include <stddef.h>

#include "base/buf.h"
#include "base/uuid.h"
#include "policy/domain_rules.h"

#define DOMAIN_XML_MAX (4 * 1024 * 1024)

struct domain;

/*
 * Parse N bytes of XML, a whole document whose root is <domain>.  Its <metadata> may hold one
 * <shield xmlns="urn:shieldvm:shield:1"> with one <protector> in it; a second one, one in another
 * place, or anything else in it is refused.  ERR_FORMAT, ERR_LIMIT, -ENOMEM with a sentence; *OUT
 * is then untouched.
 */
int domain_parse(const char *xml, size_t n, struct domain **out, struct fault *f) MUST_CHECK;
void domain_free(struct domain *d);
static inline void cleanup_domain(struct domain **d)
{
	domain_free(*d);
}
#define CLEANUP_DOMAIN CLEANUP(cleanup_domain)

/*
 * The protector's text without surrounding white space (a compact JWS, at most PROTECTOR_TEXT_MAX
 * bytes, not yet verified), or NULL if the domain is not shielded.  Belongs to D.
 */
const char *domain_shield_text(const struct domain *d);

/* The line of the protector's element; 0 if the domain is not shielded. */
long domain_shield_line(const struct domain *d);

/* The domain's <uuid>.  ERR_FORMAT if there is none or it is not one. */
int domain_uuid(const struct domain *d, uint8_t uuid[static UUID_BYTES]) MUST_CHECK;

/* The domain's <name>, or "" if there is none.  Belongs to D. */
const char *domain_name(const struct domain *d);

/*
 * Check D against the policy for FACTS (of a verified protector).  0, or ERR_POLICY with the first
 * refusal's sentence, "id: <element> at line N: reason; what to do".
 */
int domain_check(const struct domain *d, const struct protector_facts *facts,
		 struct fault *f) MUST_CHECK;

/* The same, with every finding (refusals and notices) handed to FN; see domain_rules_check(). */
int domain_check_each(const struct domain *d, const struct protector_facts *facts,
		      domain_finding_fn *fn, void *arg, struct fault *f) MUST_CHECK;

/* The document, for libvirt/shield.c, which changes it.  Belongs to D. */
xmlDoc *domain_doc(struct domain *d);

/* Put TEXT in as the protector, in place of the present one or in a new shield element.  -ENOMEM.
 */
int domain_set_shield(struct domain *d, const char *text) MUST_CHECK;

/* Append D as XML text, without an XML declaration (as libvirt writes it). -ENOMEM, ERR_LIMIT. */
int domain_text(const struct domain *d, struct buf *out) MUST_CHECK;

#endif
