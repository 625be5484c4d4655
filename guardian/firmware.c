/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/firmware.h"

#include <string.h>

int firmware_is(const struct measured *m, const struct event *e, const void *data, size_t n)
{
	uint8_t digest[HASH_BYTES_MAX];
	return hash_data(m->pcrs->bank, data, n, digest) >= 0 &&
	       memcmp(digest, e->digest, hash_bytes(m->pcrs->bank)) == 0;
}

int firmware_is_separator(const struct measured *m, const struct event *e)
{
	static const uint8_t ZERO[4] = { 0 }, ONES[4] = { 0xff, 0xff, 0xff, 0xff };
	return firmware_is(m, e, ZERO, sizeof(ZERO)) || firmware_is(m, e, ONES, sizeof(ONES));
}

unsigned firmware_said(const struct measured *m, unsigned pcr, const char *sentence)
{
	unsigned n = 0;
	for (size_t i = 0; i < eventlog_count(m->log); i++) {
		const struct event *e = eventlog_event(m->log, i);
		n += e->pcr == pcr && e->type != EV_NO_ACTION &&
		     firmware_is(m, e, sentence, strlen(sentence));
	}
	return n;
}

int firmware_variable(const struct measured *m, const struct event *e, struct efi_variable *v)
{
	struct fault ignored = { 0 };
	if (!firmware_is(m, e, e->data, e->data_bytes))
		return ERR_AUTH;
	return efi_variable_parse(e->data, e->data_bytes, v, &ignored);
}

/* Shim's word that it verifies nothing: a variable in PCR 7, or in PCR 14 its one byte under its
 * name.  The name is not measured there: who hides it changes what a baseline holds of PCR 14. */
static int shim_is_off(const struct measured *m, const struct event *e)
{
	static const char NAME[] = "MokSBState";
	static const uint8_t ON[1] = { 1 };
	struct efi_variable v;
	if (e->pcr == 7)
		return firmware_variable(m, e, &v) >= 0 && strcmp(v.name, NAME) == 0 &&
		       v.data_bytes == 1 && v.data[0] == 1;
	return e->pcr == 14 && e->data_bytes >= strlen(NAME) &&
	       memcmp(e->data, NAME, strlen(NAME)) == 0 && firmware_is(m, e, ON, sizeof(ON));
}

void firmware_secure_boot(const struct measured *m, struct secure_boot *out)
{
	int behind = 0;
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < eventlog_count(m->log); i++) {
		const struct event *e = eventlog_event(m->log, i);
		struct efi_variable v;
		if (e->type == EV_NO_ACTION)
			continue;
		if (shim_is_off(m, e))
			out->mok_off = e->pcr;
		if (e->pcr != 7)
			continue;
		behind |= firmware_is_separator(m, e);
		/* Behind the separator anybody may have extended it. */
		if (behind || firmware_variable(m, e, &v) < 0 || v.which != EFI_SECURE_BOOT)
			continue;
		out->found++;
		out->on = v.data_bytes == 1 && v.data[0] == 1;
	}
}

int firmware_signatures(const struct efi_variable *v,
			int (*each)(const uint8_t digest[static 32], void *arg), void *arg)
{
	struct efi_signatures it;
	struct efi_signature s;
	struct fault ignored = { 0 };
	int rc;
	efi_signatures_start(&it, v->data, v->data_bytes);
	while ((rc = efi_signatures_next(&it, &s, &ignored)) > 0) {
		const uint8_t type = (uint8_t)s.type;
		const struct hash_part parts[] = { { &type, 1 }, { s.data, s.data_bytes } };
		uint8_t digest[32];
		rc = hash_parts(HASH_SHA256, parts, 2, digest);
		if (rc >= 0)
			rc = each(digest, arg);
		if (rc < 0)
			break;
	}
	return rc;
}
