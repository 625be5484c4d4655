/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/shield.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/paths.h"
#include "libvirt/dom.h"

#define STRIP_MAX 4096 /* elements taken out of one domain */

/* Firmware with Secure Boot, and variables with enrolled keys, as distributions install them. */
static const struct firmware {
	const char *code, *vars;
} FIRMWARE[] = {
	{ "/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd" },
	{ "/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd" },
	{ "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
	  "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd" },
};

/* What every step works on. */
struct edit {
	xmlNode *domain;
	struct protector_facts *facts;
	shield_change_fn *fn;
	void *arg;
	struct fault *f;
};

static void PRINTF_LIKE(2, 3) changed(const struct edit *e, const char *fmt, ...)
{
	char text[FAULT_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	e->fn(text, e->arg);
}

static int no_memory(const struct edit *e)
{
	return fault_set(e->f, -ENOMEM, "not enough memory to change the domain");
}

/* dom_text(), cut to SIZE - 1 bytes.  Without memory it is "", which then fails like a missing one.
 */
static void text_of(const xmlNode *node, char *text, size_t size)
{
	CLEANUP_FREE char *whole = dom_text(node);
	snprintf(text, size, "%s", whole ? whole : "");
}

static void attribute_of(const xmlNode *node, const char *name, char *text, size_t size)
{
	xmlChar *value = node ? xmlGetProp(node, (const xmlChar *)name) : NULL;
	snprintf(text, size, "%s", value ? (const char *)value : "");
	xmlFree(value);
}

/* PARENT's only child NAME: the first is made if missing, further ones are taken out. */
static xmlNode *only_child(xmlNode *parent, const char *name)
{
	xmlNode *first = dom_ensure_child(parent, name);
	for (xmlNode *node = first ? first->next : NULL, *next; node; node = next) {
		next = node->next;
		if (node->type == XML_ELEMENT_NODE && !node->ns &&
		    strcmp((const char *)node->name, name) == 0) {
			/* dom_remove() frees only NODE and what is before it. */
			dom_remove(node);
		}
	}
	return first;
}

static int set_uuid(const struct edit *e)
{
	char text[UUID_TEXT_SIZE + 1], canonical[UUID_TEXT_SIZE];
	xmlNode *node = dom_child(e->domain, "uuid");
	text_of(node, text, sizeof(text));
	if (node) {
		if (uuid_parse(text, e->facts->vm) < 0)
			return fault_set(e->f, ERR_FORMAT, "<uuid> at line %ld: not a UUID",
					 xmlGetLineNo(node));
	} else {
		uint8_t *u = e->facts->vm;
		if (getrandom(u, UUID_BYTES, 0) != UUID_BYTES)
			return fault_set(e->f, -errno, "cannot make a UUID: %s", err_text(-errno));
		u[6] = (uint8_t)((u[6] & 0x0f) | 0x40); /* RFC 9562: version 4, variant 10 */
		u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
	}
	uuid_format(e->facts->vm, canonical);
	xmlNode *made = only_child(e->domain, "uuid");
	if (!made)
		return no_memory(e);
	if (node && strcmp(text, canonical) == 0)
		return 0;
	xmlNodeSetContent(made, (const xmlChar *)canonical);
	changed(e, "uuid: %s", canonical);
	return 0;
}

static int set_machine(const struct edit *e)
{
	xmlNode *type = dom_child(dom_child(e->domain, "os"), "type");
	char text[64], machine[64], arch[32], kind[32];
	text_of(type, text, sizeof(text));
	attribute_of(type, "machine", machine, sizeof(machine));
	attribute_of(type, "arch", arch, sizeof(arch));
	attribute_of(e->domain, "type", kind, sizeof(kind));
	if (!type || strcmp(text, "hvm") != 0 || (arch[0] && strcmp(arch, "x86_64") != 0) ||
	    (strcmp(kind, "kvm") != 0 && strcmp(kind, "qemu") != 0))
		return fault_set(
			e->f, ERR_POLICY,
			"domain.type: only x86_64 guests of type kvm or qemu can be shielded");
	if (machine[0] == '\0') {
		if (dom_set(type, "machine", "q35") < 0)
			return no_memory(e);
		changed(e, "machine: q35");
		return 0;
	}
	if (strcmp(machine, "q35") == 0 || strncmp(machine, "pc-q35-", 7) == 0)
		return 0;
	return fault_set(
		e->f, ERR_POLICY,
		"domain.machine: <type> at line %ld: the machine %s has no SMM, which Secure"
		" Boot needs; install the guest on machine='q35' (its disks then have other"
		" addresses, so this is not changed for you)",
		xmlGetLineNo(type), machine);
}

static int set_emulator(const struct edit *e, xmlNode *devices)
{
	char text[256];
	xmlNode *node = only_child(devices, "emulator");
	if (!node)
		return no_memory(e);
	text_of(node, text, sizeof(text));
	if (strcmp(text, PATH_LAUNCH) == 0)
		return 0;
	xmlNodeSetContent(node, (const xmlChar *)PATH_LAUNCH);
	changed(e, "emulator: " PATH_LAUNCH "%s%s%s", text[0] ? " (was " : "", text,
		text[0] ? ")" : "");
	return 0;
}

static int set_tpm(const struct edit *e, xmlNode *devices)
{
	char uuid[UUID_TEXT_SIZE], path[sizeof(PATH_RUN) + UUID_TEXT_SIZE + sizeof("//vtpm.sock")];
	uuid_format(e->facts->vm, uuid);
	snprintf(path, sizeof(path), PATH_RUN "/%s/vtpm.sock", uuid);

	int had_tpm = dom_child(devices, "tpm") != NULL;
	xmlNode *tpm = only_child(devices, "tpm");
	if (!tpm)
		return no_memory(e);
	int is_tis = dom_is(tpm, "model", "tpm-tis");
	for (xmlNode *child; (child = tpm->children);) {
		xmlUnlinkNode(child);
		xmlFreeNode(child);
	}
	xmlNode *backend = dom_add_child(tpm, "backend");
	xmlNode *source = backend ? dom_add_child(backend, "source") : NULL;
	if (!source || dom_set(tpm, "model", is_tis ? "tpm-tis" : "tpm-crb") < 0 ||
	    dom_set(backend, "type", "external") < 0 || dom_set(source, "type", "unix") < 0 ||
	    dom_set(source, "mode", "connect") < 0 || dom_set(source, "path", path) < 0)
		return no_memory(e);
	changed(e, "tpm: %s, the VM's own worker%s", is_tis ? "tpm-tis" : "tpm-crb",
		had_tpm ? " (a new TPM: what the former one held is not carried over)" : "");
	return 0;
}

static int is_distribution_file(const char *path)
{
	static const char *const FOLDERS[] = { "/usr/share/OVMF/", "/usr/share/edk2/",
					       "/usr/share/edk2-ovmf/", "/usr/share/qemu/" };
	if (strstr(path, ".."))
		return 0;
	for (size_t i = 0; i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
		if (strncmp(path, FOLDERS[i], strlen(FOLDERS[i])) == 0)
			return 1;
	}
	return 0;
}

static int has_secure_boot(const char *path)
{
	return is_distribution_file(path) && (strstr(path, "secboot") || strstr(path, ".ms.") ||
					      strstr(path, "snakeoil") || strstr(path, "secure"));
}

/* Code and variables have to come from builds of the same size. */
static int is_4m(const char *path)
{
	return strstr(path, "_4M") != NULL;
}

static const struct firmware *find_firmware(const char *for_loader)
{
	for (size_t i = 0; i < sizeof(FIRMWARE) / sizeof(FIRMWARE[0]); i++) {
		if (for_loader && is_4m(for_loader) != is_4m(FIRMWARE[i].code))
			continue;
		if (access(FIRMWARE[i].vars, R_OK) == 0 &&
		    (for_loader || access(FIRMWARE[i].code, R_OK) == 0))
			return &FIRMWARE[i];
	}
	return NULL;
}

static int set_nvram(const struct edit *e, xmlNode *os, const char *loader_path)
{
	char template[256], type[32];
	xmlNode *nvram = only_child(os, "nvram");
	attribute_of(nvram, "template", template, sizeof(template));
	attribute_of(nvram, "type", type, sizeof(type));
	if (!nvram)
		return no_memory(e);
	if (type[0] && strcmp(type, "file") != 0)
		return fault_set(e->f, ERR_POLICY,
				 "boot.nvram: <nvram> at line %ld: the firmware's variables have to"
				 " be a local file",
				 xmlGetLineNo(nvram));
	if (is_distribution_file(template) && is_4m(template) == is_4m(loader_path))
		return 0;
	const struct firmware *firmware = find_firmware(loader_path);
	if (!firmware)
		return fault_set(
			e->f, -ENOENT,
			"no Secure Boot variables for %s are installed; install the package"
			" ovmf, or name a template in <nvram>",
			loader_path);
	if (dom_set(nvram, "template", firmware->vars) < 0)
		return no_memory(e);
	changed(e, "nvram: from the template %s", firmware->vars);
	return 0;
}

static int set_firmware(const struct edit *e)
{
	char path[256];
	xmlNode *os = dom_child(e->domain, "os"); /* set_machine() has seen it */
	int automatic = xmlUnsetProp(os, (const xmlChar *)"firmware") == 0;
	for (xmlNode *node; (node = dom_child(os, "firmware"));) {
		dom_remove(node);
		automatic = 1;
	}
	if (automatic)
		changed(e, "firmware: named outright instead of chosen by libvirt");

	xmlNode *loader = only_child(os, "loader");
	if (!loader)
		return no_memory(e);
	text_of(loader, path, sizeof(path));
	int usable = has_secure_boot(path);
	if (!usable) {
		const struct firmware *firmware = find_firmware(NULL);
		if (!firmware)
			return fault_set(e->f, -ENOENT,
					 "no Secure Boot firmware is installed; install the package"
					 " ovmf");
		snprintf(path, sizeof(path), "%s", firmware->code);
		xmlNodeSetContent(loader, (const xmlChar *)path);
		xmlUnsetProp(loader, (const xmlChar *)"format");
		xmlUnsetProp(loader, (const xmlChar *)"stateless");
	}
	if (!usable || !dom_is(loader, "secure", "yes") || !dom_is(loader, "type", "pflash") ||
	    !dom_is(loader, "readonly", "yes")) {
		if (dom_set(loader, "readonly", "yes") < 0 ||
		    dom_set(loader, "secure", "yes") < 0 || dom_set(loader, "type", "pflash") < 0)
			return no_memory(e);
		changed(e, "loader: %s, with Secure Boot enforced", path);
	}
	return set_nvram(e, os, path);
}

static int set_smm(const struct edit *e)
{
	int had_features = dom_child(e->domain, "features") != NULL;
	xmlNode *features = only_child(e->domain, "features");
	if (!features || (!had_features && !dom_add_child(features, "acpi")))
		return no_memory(e);
	int was_on = dom_is(dom_child(features, "smm"), "state", "on");
	xmlNode *smm = only_child(features, "smm");
	if (!smm || dom_set(smm, "state", "on") < 0)
		return no_memory(e);
	if (!was_on)
		changed(e, "smm: on, so that the guest cannot change its Secure Boot keys");
	return 0;
}

struct strip_list {
	size_t n;
	struct {
		xmlNode *node;
		const struct domain_rule *rule;
	} rows[STRIP_MAX];
};

static int collect(const struct domain_finding *finding, void *arg)
{
	struct strip_list *list = arg;
	if (!VERDICT_REFUSES(finding->verdict) || finding->rule->remedy != REMEDY_STRIP)
		return 0;
	for (size_t i = 0; i < list->n; i++) {
		if (list->rows[i].node == finding->node)
			return 0;
	}
	if (list->n == STRIP_MAX)
		return ERR_LIMIT;
	list->rows[list->n].node = finding->node;
	list->rows[list->n++].rule = finding->rule;
	return 0;
}

/* A qxl card does not start without SPICE; virtio is what libvirt's tools choose otherwise. */
static int replace_qxl(const struct edit *e, xmlNode *devices)
{
	for (xmlNode *video = devices->children; video; video = video->next) {
		if (video->type != XML_ELEMENT_NODE ||
		    strcmp((const char *)video->name, "video") != 0)
			continue;
		xmlNode *model = dom_child(video, "model");
		if (!dom_is(model, "type", "qxl"))
			continue;
		for (xmlAttr *attribute; (attribute = model->properties);)
			xmlRemoveProp(attribute);
		if (dom_set(model, "type", "virtio") < 0)
			return no_memory(e);
		changed(e, "video: virtio instead of qxl, which needs SPICE");
	}
	return 0;
}

static int strip_devices(struct domain *d, const struct edit *e, xmlNode *devices)
{
	CLEANUP_FREE struct strip_list *list = calloc(1, sizeof(*list));
	if (!list)
		return no_memory(e);
	int rc = domain_check_each(d, e->facts, collect, list, e->f);
	if (rc < 0)
		return fault_set(e->f, rc, "more than %d devices would have to be taken out",
				 STRIP_MAX);
	for (size_t i = 0; i < list->n; i++)
		changed(e, "removed: <%s> at line %ld (%s)", (const char *)list->rows[i].node->name,
			xmlGetLineNo(list->rows[i].node), list->rows[i].rule->id);
	/* All are out before the first is freed: one may be inside another. */
	for (size_t i = 0; i < list->n; i++)
		dom_unlink(list->rows[i].node);
	for (size_t i = 0; i < list->n; i++)
		xmlFreeNode(list->rows[i].node);
	return dom_child(devices, "graphics") ? 0 : replace_qxl(e, devices);
}

int shield_domain(struct domain *d, struct protector_facts *facts, int strip, shield_change_fn *fn,
		  void *arg, struct fault *f)
{
	struct edit e = { .domain = xmlDocGetRootElement(domain_doc(d)),
			  .facts = facts,
			  .fn = fn,
			  .arg = arg,
			  .f = f };
	if (domain_shield_text(d))
		return fault_set(
			f, ERR_STATE,
			"the domain is shielded already; shieldvm key rewrap changes who may"
			" run it");
	int rc = set_machine(&e);
	if (rc >= 0)
		rc = set_uuid(&e);
	xmlNode *devices = rc >= 0 ? only_child(e.domain, "devices") : NULL;
	if (rc >= 0 && !devices)
		rc = no_memory(&e);
	if (rc >= 0)
		rc = set_emulator(&e, devices);
	if (rc >= 0)
		rc = set_firmware(&e);
	if (rc >= 0)
		rc = set_smm(&e);
	if (rc >= 0)
		rc = set_tpm(&e, devices);
	if (rc >= 0 && strip)
		rc = strip_devices(d, &e, devices);
	return rc;
}
