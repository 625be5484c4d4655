/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small edits of a libxml2 tree that keep its indentation, so that a person can compare a domain
 * before and after.
 *
 * May be used by: libvirt/domain.c, libvirt/shield.c.
 */
#ifndef SHIELDVM_LIBVIRT_DOM_H
#define SHIELDVM_LIBVIRT_DOM_H

#include <libxml/tree.h>

/* PARENT's (may be NULL) first child element NAME without a namespace, or NULL. */
xmlNode *dom_child(const xmlNode *parent, const char *name);

/* The text of NODE (may be NULL: "") without white space around it, for the caller to free. -ENOMEM
 * is NULL. */
char *dom_text(const xmlNode *node);

/* Append a new, empty element NAME to PARENT, on a line of its own.  NULL on -ENOMEM. */
xmlNode *dom_add_child(xmlNode *parent, const char *name);

/* dom_child(), or dom_add_child() if there is none. */
xmlNode *dom_ensure_child(xmlNode *parent, const char *name);

/* Take NODE out of its tree, with the white space before it.  The caller frees it. */
void dom_unlink(xmlNode *node);

/* dom_unlink() and free NODE. */
void dom_remove(xmlNode *node);

/* Set attribute NAME.  0 or -ENOMEM. */
int dom_set(xmlNode *node, const char *name, const char *value);

/* 1 if attribute NAME is there and equals VALUE. */
int dom_is(const xmlNode *node, const char *name, const char *value);

#endif
