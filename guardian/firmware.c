/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/firmware.h"

#include <string.h>

/* EFI_GLOBAL_VARIABLE (UEFI, "Globally Defined Variables"), as it is in memory. */
static const uint8_t GLOBAL_GUID[16] = { 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
					 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c };

static uint64_t little(const uint8_t *p, size_t bytes)
{
	uint64_t v = 0;
	for (size_t i = bytes; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

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

/* UEFI_VARIABLE_DATA (TCG PC Client Platform Firmware Profile): GUID, characters of the name, bytes
 * of data, the name in UTF-16 without a NUL, the data. */
int firmware_variable(const struct measured *m, const struct event *e, struct variable *v)
{
	enum { HEADER = 32 };
	if (!firmware_is(m, e, e->data, e->data_bytes))
		return ERR_AUTH;
	if (e->data_bytes < HEADER)
		return ERR_FORMAT;
	uint64_t chars = little(e->data + 16, 8), bytes = little(e->data + 24, 8);
	if (chars == 0 || chars >= FIRMWARE_NAME_MAX || bytes > e->data_bytes ||
	    HEADER + 2 * chars + bytes != e->data_bytes)
		return ERR_FORMAT;
	v->guid = e->data;
	for (size_t i = 0; i < chars; i++) {
		char c = (char)e->data[HEADER + 2 * i];
		int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c >= '0' && c <= '9') || c == '-' || c == '_';
		if (!plain || e->data[HEADER + 2 * i + 1])
			return ERR_FORMAT;
		v->name[i] = c;
	}
	v->name[chars] = '\0';
	v->data = e->data + HEADER + 2 * chars;
	v->n = bytes;
	return 0;
}

int firmware_is_global(const struct variable *v, const char *name)
{
	return memcmp(v->guid, GLOBAL_GUID, sizeof(GLOBAL_GUID)) == 0 && strcmp(v->name, name) == 0;
}

/* Shim's word that it verifies nothing: a variable in PCR 7, or in PCR 14 its one byte under its
 * name.  The name is not measured there: who hides it changes what a baseline holds of PCR 14. */
static int shim_is_off(const struct measured *m, const struct event *e)
{
	static const char NAME[] = "MokSBState";
	static const uint8_t ON[1] = { 1 };
	struct variable v;
	if (e->pcr == 7)
		return firmware_variable(m, e, &v) >= 0 && strcmp(v.name, NAME) == 0 &&
		       v.n == 1 && v.data[0] == 1;
	return e->pcr == 14 && e->data_bytes >= strlen(NAME) &&
	       memcmp(e->data, NAME, strlen(NAME)) == 0 && firmware_is(m, e, ON, sizeof(ON));
}

void firmware_secure_boot(const struct measured *m, struct secure_boot *out)
{
	int behind = 0;
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < eventlog_count(m->log); i++) {
		const struct event *e = eventlog_event(m->log, i);
		struct variable v;
		if (e->type == EV_NO_ACTION)
			continue;
		if (shim_is_off(m, e))
			out->mok_off = e->pcr;
		if (e->pcr != 7)
			continue;
		behind |= firmware_is_separator(m, e);
		/* Behind the separator anybody may have extended it. */
		if (behind || firmware_variable(m, e, &v) < 0 ||
		    !firmware_is_global(&v, "SecureBoot"))
			continue;
		out->found++;
		out->on = v.n == 1 && v.data[0] == 1;
	}
}

/* EFI_SIGNATURE_LISTs (UEFI, "EFI_SIGNATURE_DATA"). */
int firmware_signatures(const struct variable *v,
			int (*each)(const uint8_t digest[static 32], void *arg), void *arg)
{
	enum { HEADER = 28, OWNER = 16 };
	const uint8_t *p = v->data;
	size_t left = v->n;
	while (left > 0) {
		if (left < HEADER)
			return ERR_FORMAT;
		uint64_t list = little(p + 16, 4), header = little(p + 20, 4);
		uint64_t size = little(p + 24, 4);
		if (list > left || size <= OWNER || list < HEADER + header + size ||
		    (list - HEADER - header) % size)
			return ERR_FORMAT;
		for (uint64_t at = HEADER + header; at < list; at += size) {
			const struct hash_part parts[] = { { p, 16 },
							   { p + at + OWNER, size - OWNER } };
			uint8_t digest[32];
			int rc = hash_parts(HASH_SHA256, parts, 2, digest);
			if (rc >= 0)
				rc = each(digest, arg);
			if (rc < 0)
				return rc;
		}
		p += list;
		left -= list;
	}
	return 0;
}
