/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/registry.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"

#define REGISTRY_VERSION 1
#define NAME_SIZE	 (UUID_TEXT_SIZE + 5) /* UUID.json */

static void cleanup_json(json_t **j)
{
	json_decref(*j);
}
#define CLEANUP_JSON CLEANUP(cleanup_json)

void registry_tpm_text(const uint8_t tpm[static REGISTRY_TPM_BYTES],
		       char text[static 2 * REGISTRY_TPM_BYTES + 1])
{
	for (size_t i = 0; i < REGISTRY_TPM_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", tpm[i]);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int tpm_parse(const json_t *value, uint8_t tpm[static REGISTRY_TPM_BYTES])
{
	const char *text = json_string_value(value);
	if (!text || json_string_length(value) != (size_t)2 * REGISTRY_TPM_BYTES)
		return ERR_FORMAT;
	for (size_t i = 0; i < REGISTRY_TPM_BYTES; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return ERR_FORMAT;
		tpm[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

/* A thumbprint: base64url of 32 bytes. */
static int owner_parse(const json_t *value, char owner[static JWK_THUMBPRINT_SIZE])
{
	static const char CHARS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-_";
	const char *text = json_string_value(value);
	if (!text || json_string_length(value) != JWK_THUMBPRINT_SIZE - 1 ||
	    strspn(text, CHARS) != JWK_THUMBPRINT_SIZE - 1)
		return ERR_FORMAT;
	memcpy(owner, text, JWK_THUMBPRINT_SIZE);
	return 0;
}

static int past_parse(const json_t *past, struct registry *r, struct fault *f)
{
	if (!json_is_array(past))
		return fault_set(f, ERR_FORMAT, "\"past\" is not a list");
	r->n_past = json_array_size(past);
	if (r->n_past > REGISTRY_PAST_MAX)
		return fault_set(f, ERR_LIMIT, "more than %d replaced TPMs", REGISTRY_PAST_MAX);
	for (size_t i = 0; i < r->n_past; i++) {
		if (tpm_parse(json_array_get(past, i), r->past[i]) < 0)
			return fault_set(f, ERR_FORMAT, "\"past\" holds what is no TPM's id");
		if (memcmp(r->past[i], r->tpm, REGISTRY_TPM_BYTES) == 0)
			return fault_set(f, ERR_FORMAT, "the present TPM is also a replaced one");
	}
	return 0;
}

int registry_parse(const char *text, size_t n, const uint8_t vm[static UUID_BYTES],
		   struct registry *out, struct fault *f)
{
	struct registry r = { 0 };
	char uuid[UUID_TEXT_SIZE];
	if (n > REGISTRY_FILE_MAX)
		return fault_set(f, ERR_LIMIT, "larger than %d bytes", REGISTRY_FILE_MAX);
	json_t *root CLEANUP_JSON = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(root))
		return fault_set(f, ERR_FORMAT, "not a JSON object");
	const json_t *version = json_object_get(root, "v");
	if (!json_is_integer(version))
		return fault_set(f, ERR_FORMAT, "no version \"v\"");
	if (json_integer_value(version) != REGISTRY_VERSION)
		return fault_set(f, ERR_VERSION, "version %lld is not known here",
				 (long long)json_integer_value(version));
	const char *vm_text = json_string_value(json_object_get(root, "vm"));
	const json_t *made = json_object_get(root, "made");
	if (json_object_size(root) != 6 || !vm_text || !json_is_boolean(made) ||
	    owner_parse(json_object_get(root, "owner"), r.owner) < 0 ||
	    tpm_parse(json_object_get(root, "tpm"), r.tpm) < 0)
		return fault_set(f, ERR_FORMAT,
				 "not exactly \"v\", \"vm\", \"owner\", \"tpm\", \"made\" and "
				 "\"past\" in their form");
	uuid_format(vm, uuid);
	if (strcmp(vm_text, uuid) != 0)
		return fault_set(f, ERR_VM, "another VM's");
	r.made = json_is_true(made);
	int rc = past_parse(json_object_get(root, "past"), &r, f);
	if (rc < 0)
		return rc;
	*out = r;
	return 0;
}

static void file_name(const uint8_t vm[static UUID_BYTES], char name[static NAME_SIZE])
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	snprintf(name, NAME_SIZE, "%s.json", uuid);
}

int registry_read(int dir_fd, const uint8_t vm[static UUID_BYTES], struct registry *out,
		  struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(REGISTRY_FILE_MAX);
	char name[NAME_SIZE];
	struct fault reading = { 0 };
	file_name(vm, name);
	int rc = fd_read_file(dir_fd, name, &text, &reading);
	if (rc == -ENOENT)
		return rc;
	if (rc < 0)
		return fault_set(f, rc, "the registry's %s", reading.text);
	rc = registry_parse((const char *)text.data, text.len, vm, out, f);
	if (rc < 0)
		return fault_wrap(f, rc, "the registry's %s is refused, and with it the VM's start",
				  name);
	return 0;
}

int registry_write(int dir_fd, const uint8_t vm[static UUID_BYTES], const struct registry *r,
		   struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(REGISTRY_FILE_MAX);
	char name[NAME_SIZE], uuid[UUID_TEXT_SIZE], tpm[2 * REGISTRY_TPM_BYTES + 1];
	file_name(vm, name);
	uuid_format(vm, uuid);
	registry_tpm_text(r->tpm, tpm);
	int rc = buf_addf(
		&text,
		"{\"v\":%d,\"vm\":\"%s\",\"owner\":\"%s\",\"tpm\":\"%s\",\"made\":%s,\"past\":[",
		REGISTRY_VERSION, uuid, r->owner, tpm, r->made ? "true" : "false");
	for (size_t i = 0; rc >= 0 && i < r->n_past; i++) {
		registry_tpm_text(r->past[i], tpm);
		rc = buf_addf(&text, "%s\"%s\"", i ? "," : "", tpm);
	}
	if (rc >= 0)
		rc = buf_addf(&text, "]}\n");
	if (rc < 0)
		return fault_set(f, rc, "the registry's %s: %s", name, err_text(rc));
	rc = fd_write_file(dir_fd, name, text.data, text.len, 0600, 1, f);
	return rc < 0 ? fault_wrap(f, rc, "the registry cannot be written") : 0;
}

int registry_admit(const struct registry *old, const char *owner,
		   const uint8_t tpm[static REGISTRY_TPM_BYTES], struct registry *next,
		   enum registry_birth *birth, struct fault *f)
{
	int same_owner = old && strcmp(old->owner, owner) == 0;
	if (old && !same_owner && (old->made || old->n_past > 0))
		return fault_set(
			f, ERR_AUTH,
			"the protector is signed by %s, but this VM's TPM was made for the "
			"owner %s, whose key has to sign",
			owner, old->owner);
	/* Another owner may begin where no TPM was ever made. */
	if (!same_owner) {
		memset(next, 0, sizeof(*next));
		snprintf(next->owner, sizeof(next->owner), "%s", owner);
		memcpy(next->tpm, tpm, REGISTRY_TPM_BYTES);
		*birth = REGISTRY_NEW;
		return 0;
	}
	if (memcmp(old->tpm, tpm, REGISTRY_TPM_BYTES) == 0) {
		*next = *old;
		*birth = old->made ? REGISTRY_KNOWN : REGISTRY_NEW;
		return 0;
	}
	for (size_t i = 0; i < old->n_past; i++) {
		if (memcmp(old->past[i], tpm, REGISTRY_TPM_BYTES) == 0)
			return fault_set(f, ERR_STATE,
					 "the protector names a TPM that its owner has replaced "
					 "since; use the newest protector");
	}
	if (old->n_past == REGISTRY_PAST_MAX)
		return fault_set(f, ERR_LIMIT, "the VM has had %d TPMs on this host already",
				 REGISTRY_PAST_MAX);
	*next = *old;
	memcpy(next->past[next->n_past++], old->tpm, REGISTRY_TPM_BYTES);
	memcpy(next->tpm, tpm, REGISTRY_TPM_BYTES);
	next->made = 0;
	*birth = REGISTRY_REPLACES;
	return 0;
}
