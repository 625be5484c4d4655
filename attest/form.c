/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/form.h"

#include <stdio.h>
#include <string.h>

int form_hex_put(struct buf *out, const uint8_t *data, size_t n)
{
	static const char DIGITS[] = "0123456789abcdef";
	int rc = buf_reserve(out, 2 * n);
	for (size_t i = 0; rc >= 0 && i < n; i++) {
		out->data[out->len++] = (uint8_t)DIGITS[data[i] >> 4];
		out->data[out->len++] = (uint8_t)DIGITS[data[i] & 0xf];
	}
	return rc;
}

int form_hex(const char *text, size_t bytes, uint8_t *out)
{
	static const char DIGITS[] = "0123456789abcdef";
	if (!text || strlen(text) != 2 * bytes)
		return ERR_FORMAT;
	for (size_t i = 0; i < 2 * bytes; i++) {
		const char *at = strchr(DIGITS, text[i]);
		if (!at)
			return ERR_FORMAT;
		uint8_t nibble = (uint8_t)(at - DIGITS);
		out[i / 2] = i % 2 ? (uint8_t)(out[i / 2] | nibble) : (uint8_t)(nibble << 4);
	}
	return 0;
}

int form_bank(const char *name, uint16_t *bank)
{
	static const uint16_t BANKS[] = { HASH_SHA256, HASH_SHA384, HASH_SHA512 };
	for (size_t i = 0; name && i < sizeof(BANKS) / sizeof(BANKS[0]); i++) {
		if (strcmp(name, hash_name(BANKS[i])) == 0) {
			*bank = BANKS[i];
			return 0;
		}
	}
	return ERR_VERSION;
}

int form_pcrs_put(struct buf *out, const struct pcrs *p)
{
	const char *comma = "";
	int rc = buf_addf(out, "{");
	for (unsigned i = 0; rc >= 0 && i < PCR_COUNT; i++) {
		if (!(p->mask & (1U << i)))
			continue;
		rc = buf_addf(out, "%s\"%u\":\"", comma, i);
		if (rc >= 0)
			rc = form_hex_put(out, p->value[i], hash_bytes(p->bank));
		if (rc >= 0)
			rc = buf_addf(out, "\"");
		comma = ",";
	}
	return rc < 0 ? rc : buf_addf(out, "}");
}

/* The PCR that NAME is, in its one spelling; PCR_COUNT if it is none. */
static unsigned pcr_named(const char *name)
{
	char canonical[4];
	for (unsigned i = 0; i < PCR_COUNT; i++) {
		snprintf(canonical, sizeof(canonical), "%u", i);
		if (strcmp(canonical, name) == 0)
			return i;
	}
	return PCR_COUNT;
}

int form_pcrs(const json_t *o, uint16_t bank, struct pcrs *out)
{
	struct pcrs p = { .bank = bank };
	if (!json_is_object(o) || json_object_size(o) == 0)
		return ERR_FORMAT;
	/* json_object_iter() takes no const object, and changes none. */
	json_t *object = (json_t *)(uintptr_t)o;
	for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
		unsigned i = pcr_named(json_object_iter_key(at));
		if (i == PCR_COUNT || form_hex(json_string_value(json_object_iter_value(at)),
					       hash_bytes(bank), p.value[i]) < 0)
			return ERR_FORMAT;
		p.mask |= 1U << i;
	}
	*out = p;
	return 0;
}
