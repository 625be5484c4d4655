/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/dom.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INDENT_MAX 64 /* columns; deeper elements are no further in */

xmlNode *dom_child(const xmlNode *parent, const char *name)
{
	for (xmlNode *node = parent ? parent->children : NULL; node; node = node->next) {
		if (node->type == XML_ELEMENT_NODE && !node->ns &&
		    strcmp((const char *)node->name, name) == 0)
			return node;
	}
	return NULL;
}

char *dom_text(const xmlNode *node)
{
	xmlChar *content = node ? xmlNodeGetContent(node) : xmlStrdup((const xmlChar *)"");
	if (!content)
		return NULL;
	const char *start = (const char *)content;
	while (isspace((unsigned char)*start))
		start++;
	size_t n = strlen(start);
	while (n > 0 && isspace((unsigned char)start[n - 1]))
		n--;
	char *text = strndup(start, n);
	xmlFree(content);
	return text;
}

/* White space that begins a line for a child at DEPTH, two columns a level as libvirt writes it. */
static xmlNode *new_line(int depth)
{
	char text[1 + INDENT_MAX];
	int columns = depth * 2 < INDENT_MAX ? depth * 2 : INDENT_MAX;
	text[0] = '\n';
	memset(text + 1, ' ', (size_t)columns);
	return xmlNewTextLen((const xmlChar *)text, 1 + columns);
}

static int is_space(const xmlNode *node)
{
	return node && node->type == XML_TEXT_NODE && xmlIsBlankNode(node);
}

xmlNode *dom_add_child(xmlNode *parent, const char *name)
{
	int depth = 0;
	for (const xmlNode *node = parent; node && node->type == XML_ELEMENT_NODE;
	     node = node->parent)
		depth++;
	xmlNode *child = xmlNewDocNode(parent->doc, NULL, (const xmlChar *)name, NULL);
	xmlNode *before = new_line(depth), *after = new_line(depth - 1);
	if (!child || !before || !after) {
		xmlFreeNode(child);
		xmlFreeNode(before);
		xmlFreeNode(after);
		return NULL;
	}
	if (is_space(parent->last)) {
		xmlNode *old = parent->last;
		xmlUnlinkNode(old);
		xmlFreeNode(old);
	}
	/* xmlAddChild() may merge a text node into its neighbour and free it: add BEFORE first. */
	xmlAddChild(parent, before);
	xmlAddChild(parent, child);
	xmlAddChild(parent, after);
	return child;
}

xmlNode *dom_ensure_child(xmlNode *parent, const char *name)
{
	xmlNode *child = dom_child(parent, name);
	return child ? child : dom_add_child(parent, name);
}

void dom_unlink(xmlNode *node)
{
	xmlNode *before = node->prev;
	if (is_space(before)) {
		xmlUnlinkNode(before);
		xmlFreeNode(before);
	}
	xmlUnlinkNode(node);
}

void dom_remove(xmlNode *node)
{
	dom_unlink(node);
	xmlFreeNode(node);
}

int dom_set(xmlNode *node, const char *name, const char *value)
{
	return xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value) ? 0 : -ENOMEM;
}

int dom_is(const xmlNode *node, const char *name, const char *value)
{
	const xmlAttr *attribute = xmlHasProp(node, (const xmlChar *)name);
	if (!attribute || !attribute->children || !attribute->children->content)
		return attribute && !attribute->children && value[0] == '\0';
	return strcmp((const char *)attribute->children->content, value) == 0;
}
