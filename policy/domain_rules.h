/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules for a domain's XML, as one table: one row per condition, with its verdict at each
 * level, the reason shown to whoever is refused, and what they can do.
 *
 * A row is an XPath expression over libvirt's domain XML.  A row that *forbids* selects the
 * offending elements; a row that *requires* is an expression that must be true, and tells which
 * element is named when it is not.  Expressions may use $launch (the emulator), $vtpm (the TPM's
 * socket) and $uuid (the VM's in the protector, or the domain's own when there is none yet), and
 * the prefixes q: (libvirt's qemu namespace) and s: (the shield).
 *
 * May be used by: the hook, `shieldvm`; before anything is started for the VM.
 */
#ifndef SHIELDVM_POLICY_DOMAIN_RULES_H
#define SHIELDVM_POLICY_DOMAIN_RULES_H

#include <libxml/tree.h>
#include <stddef.h>

#include "crypto/protector.h"
#include "policy/verdict.h"

#define SHIELD_NAMESPACE "urn:shieldvm:shield:1"
#define QEMU_NAMESPACE	 "http://libvirt.org/schemas/domain/qemu/1.0"

enum rule_kind { RULE_FORBIDS, RULE_REQUIRES };

/* Who puts right what a row refuses in a plain domain. */
enum remedy {
	REMEDY_HAND,   /* somebody who knows the guest */
	REMEDY_SHIELD, /* `shieldvm shield` */
	REMEDY_STRIP,  /* its --strip, which takes the element out; the guest boots without it */
};

struct domain_rule {
	const char *id; /* "group.name", stable; several rows may share one */
	enum rule_kind kind;
	enum verdict at_supported, at_shielded;
	enum remedy remedy;
	const char *xpath; /* RULE_FORBIDS: the elements; RULE_REQUIRES: what must be true */
	const char *place; /* RULE_REQUIRES: XPath of the element to name; else NULL */
	const char *reason;
	const char *todo;
};

/* The table; *N rows. */
const struct domain_rule *domain_rules(size_t *n);

/* 1 if ID is the id of a row that an owner may allow. */
int domain_rule_allowable(const char *id);

/* One row met by one element. */
struct domain_finding {
	const struct domain_rule *rule;
	enum verdict verdict; /* NOTICE, REFUSE, or OWNER: refused, and the owner may allow it */
	xmlNode *node;	      /* the element; NULL if one is missing */
	xmlNode *near;	      /* the element, or the innermost one that it should be in */
};

/* Called once per finding, in the table's order; a value < 0 stops the check and is returned. */
typedef int domain_finding_fn(const struct domain_finding *finding, void *arg);

/*
 * Check DOC against every row at FACTS' level with FACTS' allowed rules.  DOC is not changed.  0
 * (whatever was found), the callback's value, or -ENOMEM / ERR_LIMIT if an expression could not be
 * evaluated.
 */
int domain_rules_check(xmlDoc *doc, const struct protector_facts *facts, domain_finding_fn *fn,
		       void *arg, struct fault *f) MUST_CHECK;

#define DOMAIN_ELEMENT_MAX 65 /* bytes of an element's name as it is told, with the NUL */

/* The name of the element that is there, or missing. */
void domain_finding_element(const struct domain_finding *finding, char *name, size_t size);

/* The sentence for FINDING: "id: <element> at line N: reason; what to do". */
void domain_finding_text(const struct domain_finding *finding, char *text, size_t size);

#endif
