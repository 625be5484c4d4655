/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/domain.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <stdio.h>
#include <string.h>

#include "libvirt/dom.h"

struct domain {
	xmlDoc *doc;
	xmlNode *protector; /* in doc; NULL if not shielded */
	char *text;	    /* of protector, without white space around it; NULL if not shielded */
	char *name;
};

void domain_free(struct domain *d)
{
	if (!d)
		return;
	xmlFreeDoc(d->doc);
	free(d->text);
	free(d->name);
	free(d);
}

xmlDoc *domain_doc(struct domain *d)
{
	return d->doc;
}

const char *domain_shield_text(const struct domain *d)
{
	return d->text;
}

long domain_shield_line(const struct domain *d)
{
	return d->protector ? xmlGetLineNo(d->protector) : 0;
}

const char *domain_name(const struct domain *d)
{
	return d->name;
}

int domain_uuid(const struct domain *d, uint8_t uuid[static UUID_BYTES])
{
	const xmlNode *node = dom_child(xmlDocGetRootElement(d->doc), "uuid");
	CLEANUP_FREE char *text = dom_text(node);
	if (!text)
		return -ENOMEM;
	return node ? uuid_parse(text, uuid) : ERR_FORMAT;
}

static int is_shield_namespace(const xmlNode *node)
{
	return node->type == XML_ELEMENT_NODE && node->ns && node->ns->href &&
	       strcmp((const char *)node->ns->href, SHIELD_NAMESPACE) == 0;
}

static int is_blank(const xmlNode *node)
{
	return node->type == XML_COMMENT_NODE || xmlIsBlankNode(node);
}

/* NODE's successor in document order, its children first if DEEPER. */
static xmlNode *next_in_document(xmlNode *node, int deeper)
{
	if (deeper && node->type == XML_ELEMENT_NODE && node->children)
		return node->children;
	while (node && !node->next)
		node = node->parent;
	return node ? node->next : NULL;
}

/* Take in SHIELD, whose one child has to be <protector>, with nothing but text in it. */
static int read_shield(struct domain *d, xmlNode *shield, struct fault *f)
{
	xmlNode *metadata = shield->parent;
	long line = xmlGetLineNo(shield);
	if (strcmp((const char *)shield->name, "shield") != 0)
		return fault_set(f, ERR_FORMAT, "<%.64s> at line %ld: not an element of the shield",
				 (const char *)shield->name, line);
	if (strcmp((const char *)metadata->name, "metadata") != 0 || metadata->ns ||
	    metadata->parent != xmlDocGetRootElement(d->doc))
		return fault_set(f, ERR_FORMAT,
				 "<shield> at line %ld: it belongs into the domain's <metadata>",
				 line);
	if (d->protector)
		return fault_set(f, ERR_FORMAT, "<shield> at line %ld: there is a second one",
				 line);
	for (xmlNode *child = shield->children; child; child = child->next) {
		if (is_blank(child))
			continue;
		if (d->protector || !is_shield_namespace(child) ||
		    strcmp((const char *)child->name, "protector") != 0)
			return fault_set(f, ERR_FORMAT,
					 "<shield> at line %ld: only one <protector> may be in it",
					 line);
		d->protector = child;
	}
	if (!d->protector)
		return fault_set(f, ERR_FORMAT, "<shield> at line %ld: no <protector> in it", line);
	if (shield->properties || d->protector->properties)
		return fault_set(f, ERR_FORMAT, "<shield> at line %ld: it has no attributes", line);
	for (xmlNode *child = d->protector->children; child; child = child->next) {
		if (child->type != XML_TEXT_NODE && child->type != XML_CDATA_SECTION_NODE)
			return fault_set(f, ERR_FORMAT,
					 "<protector> at line %ld: only text may be in it",
					 xmlGetLineNo(d->protector));
	}
	d->text = dom_text(d->protector);
	if (!d->text)
		return fault_set(f, -ENOMEM, "not enough memory to read the domain");
	if (strlen(d->text) > PROTECTOR_TEXT_MAX)
		return fault_set(f, ERR_LIMIT,
				 "<protector> at line %ld: longer than the %d bytes it may have",
				 xmlGetLineNo(d->protector), PROTECTOR_TEXT_MAX);
	return 0;
}

static int read_facts(struct domain *d, struct fault *f)
{
	xmlNode *root = xmlDocGetRootElement(d->doc);
	if (!root || strcmp((const char *)root->name, "domain") != 0 || root->ns)
		return fault_set(f, ERR_FORMAT, "not a libvirt domain: its root element is <%.64s>",
				 root ? (const char *)root->name : "");
	d->name = dom_text(dom_child(root, "name"));
	if (!d->name)
		return fault_set(f, -ENOMEM, "not enough memory to read the domain");
	int in_shield = 0;
	for (xmlNode *node = root; node; node = next_in_document(node, !in_shield)) {
		in_shield = is_shield_namespace(node);
		int rc = in_shield ? read_shield(d, node, f) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* A document type declaration is the way to entities and to other files: parsing ends at it. */
static void refuse_dtd(void *arg, const xmlChar *name, const xmlChar *id, const xmlChar *uri)
{
	xmlParserCtxt *ctx = arg;
	(void)name;
	(void)id;
	(void)uri;
	*(int *)ctx->_private = 1;
	xmlStopParser(ctx);
}

static int parse_fault(const xmlParserCtxt *ctx, int has_dtd, struct fault *f)
{
	if (has_dtd)
		return fault_set(f, ERR_FORMAT,
				 "a document type declaration (<!DOCTYPE>) is not accepted");
	if (ctx->lastError.code == XML_ERR_NO_MEMORY)
		return fault_set(f, -ENOMEM, "not enough memory to read the XML");
	const char *message = ctx->lastError.message ? ctx->lastError.message : "cannot be read\n";
	return fault_set(f, ERR_FORMAT, "not well-formed XML: line %d: %.*s", ctx->lastError.line,
			 (int)strcspn(message, "\n"), message);
}

int domain_parse(const char *xml, size_t n, struct domain **out, struct fault *f)
{
	if (n > DOMAIN_XML_MAX)
		return fault_set(f, ERR_LIMIT, "the XML is longer than the %d bytes it may have",
				 DOMAIN_XML_MAX);
	if (n == 0)
		return fault_set(f, ERR_FORMAT, "the XML is empty");
	CLEANUP_DOMAIN struct domain *d = calloc(1, sizeof(*d));
	xmlParserCtxt *ctx = xmlNewParserCtxt();
	if (!d || !ctx) {
		xmlFreeParserCtxt(ctx);
		return fault_set(f, -ENOMEM, "not enough memory to read the XML");
	}
	int has_dtd = 0, rc = 0;
	ctx->_private = &has_dtd;
	ctx->sax->internalSubset = refuse_dtd;
	d->doc = xmlCtxtReadMemory(ctx, xml, (int)n, NULL, NULL,
				   XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
					   XML_PARSE_BIG_LINES);
	if (!d->doc || has_dtd)
		rc = parse_fault(ctx, has_dtd, f);
	xmlFreeParserCtxt(ctx);
	if (rc >= 0)
		rc = read_facts(d, f);
	if (rc < 0)
		return rc;
	*out = d;
	d = NULL;
	return 0;
}

static int stop_at_refusal(const struct domain_finding *finding, void *arg)
{
	if (!VERDICT_REFUSES(finding->verdict))
		return 0;
	char text[FAULT_TEXT_MAX];
	domain_finding_text(finding, text, sizeof(text));
	return fault_set(arg, ERR_POLICY, "%s", text);
}

int domain_check(const struct domain *d, const struct protector_facts *facts, struct fault *f)
{
	/* A fault of its own: the callback has to leave a sentence even if the caller wants none.
	 */
	struct fault first = { 0 };
	int rc = domain_rules_check(d->doc, facts, stop_at_refusal, &first, &first);
	return rc < 0 ? fault_set(f, rc, "%s", first.text) : 0;
}

int domain_check_each(const struct domain *d, const struct protector_facts *facts,
		      domain_finding_fn *fn, void *arg, struct fault *f)
{
	return domain_rules_check(d->doc, facts, fn, arg, f);
}

int domain_set_shield(struct domain *d, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	if (!d->protector) {
		xmlNode *metadata = dom_ensure_child(xmlDocGetRootElement(d->doc), "metadata");
		xmlNode *shield = metadata ? dom_add_child(metadata, "shield") : NULL;
		xmlNs *ns =
			shield ? xmlNewNs(shield, (const xmlChar *)SHIELD_NAMESPACE, NULL) : NULL;
		if (ns)
			xmlSetNs(shield, ns);
		d->protector = ns ? dom_add_child(shield, "protector") : NULL;
		if (!d->protector) {
			free(copy);
			return -ENOMEM;
		}
		xmlSetNs(d->protector, ns);
	}
	/* A compact JWS has no character that XML would escape. */
	xmlNodeSetContent(d->protector, (const xmlChar *)copy);
	free(d->text);
	d->text = copy;
	return 0;
}

int domain_text(const struct domain *d, struct buf *out)
{
	xmlBuffer *text = xmlBufferCreate();
	int rc = text ? 0 : -ENOMEM;
	for (xmlNode *node = d->doc->children; rc >= 0 && node; node = node->next) {
		if (xmlNodeDump(text, d->doc, node, 0, 0) < 0 ||
		    xmlBufferCat(text, (const xmlChar *)"\n"))
			rc = -ENOMEM;
	}
	if (rc >= 0)
		rc = buf_add(out, xmlBufferContent(text), (size_t)xmlBufferLength(text));
	xmlBufferFree(text);
	return rc;
}
