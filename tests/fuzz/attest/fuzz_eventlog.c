/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event log's parser and replay, in each bank.  What is accepted has one separator in each of
 * PCRs 0 to 7, points into the input, ends where the input does, and replays as a plain loop does.
 */
#include <stdlib.h>
#include <string.h>

#include "attest/efi.h"
#include "attest/eventlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(ok)                                                                                  \
	do {                                                                                       \
		if (!(ok))                                                                         \
			abort();                                                                   \
	} while (0)

static int within(const uint8_t *p, size_t n, const uint8_t *data, size_t size)
{
	return p >= data && p <= data + size && n <= (size_t)(data + size - p);
}

/* Event data is decoded however it is tagged. */
static void decode(const struct event *e)
{
	struct efi_variable v;
	struct efi_image image;
	if (efi_variable_parse(e->data, e->data_bytes, &v, NULL) >= 0)
		CHECK(within(v.data, v.data_bytes, e->data, e->data_bytes));
	if (efi_image_parse(e->data, e->data_bytes, &image, NULL) >= 0)
		CHECK(within(image.path, image.path_bytes, e->data, e->data_bytes));
}

static void accepted(const struct eventlog *l, uint16_t bank, const uint8_t *data, size_t size)
{
	struct pcrs got, again = { .bank = bank };
	unsigned separators[8] = { 0 };
	const struct event *e = NULL;
	CHECK(eventlog_replay(l, &got) == 0 && got.mask == 0x1ffff && got.bank == bank);
	/* Its start is at one of three localities. */
	memset(again.value, 0, sizeof(again.value));
	for (size_t i = 0; i < eventlog_count(l); i++) {
		e = eventlog_event(l, i);
		CHECK(e->pcr < PCR_COUNT);
		CHECK(within(e->digest, hash_bytes(bank), data, size));
		CHECK(within(e->data, e->data_bytes, data, size));
		if (e->type == EV_SEPARATOR && e->pcr < 8) {
			separators[e->pcr]++;
			CHECK(eventlog_data_measured(l, i) && !eventlog_by_firmware(l, i));
		}
		if (e->pcr < 8 && e->type != EV_NO_ACTION && e->type != EV_SEPARATOR)
			CHECK(eventlog_by_firmware(l, i) == !separators[e->pcr]);
		if (e->type != EV_NO_ACTION)
			CHECK(hash_extend(bank, again.value[e->pcr], e->digest) == 0);
		else
			CHECK(!eventlog_data_measured(l, i) && !eventlog_by_firmware(l, i));
		decode(e);
	}
	for (int i = 0; i < 8; i++)
		CHECK(separators[i] == 1);
	for (int i = 1; i < 17; i++)
		CHECK(memcmp(again.value[i], got.value[i], HASH_BYTES_MAX) == 0);
	CHECK(e && e->data + e->data_bytes == data + size);
	CHECK(!eventlog_event(l, eventlog_count(l)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t BANKS[] = { HASH_SHA256, HASH_SHA384, HASH_SHA512 };
	for (size_t i = 0; i < 3; i++) {
		struct eventlog *l = NULL;
		const char *id = NULL;
		struct fault f = { 0 };
		int rc = eventlog_parse(data, size, BANKS[i], &l, &id, &f);
		if (rc < 0) {
			CHECK(!l && id && finding_meaning(id) && f.rc == rc && f.text[0]);
			continue;
		}
		CHECK(rc == 0 && l && !id && !f.text[0]);
		accepted(l, BANKS[i], data, size);
		eventlog_free(l);
	}
	return 0;
}
