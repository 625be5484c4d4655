/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The measurement list's parser and its search for a prefix.  What is accepted points into the
 * input, and the PCR that comes of each beginning is found, at that beginning.
 */
#include <stdlib.h>
#include <string.h>

#include "attest/ima.h"
#include "attest/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(ok)                                                                                  \
	do {                                                                                       \
		if (!(ok))                                                                         \
			abort();                                                                   \
	} while (0)

static int within(const void *at, size_t n, const uint8_t *data, size_t size)
{
	const uint8_t *p = at;
	return p >= data && p <= data + size && n <= (size_t)(data + size - p);
}

static void entry(const struct ima_entry *e, const uint8_t *data, size_t size)
{
	CHECK(e->name_bytes > 0 && e->name_bytes < IMA_NAME_MAX);
	CHECK(within(e->name, e->name_bytes + 1, data, size));
	CHECK(e->name[e->name_bytes] == '\0' && strlen(e->name) == e->name_bytes);
	CHECK((e->digest_alg == 0) == e->violation);
	if (!e->violation)
		CHECK(within(e->digest, hash_bytes(e->digest_alg), data, size));
	CHECK((e->last != NULL) == (e->last_bytes > 0));
	CHECK(!e->last || within(e->last, e->last_bytes, data, size));
}

/* The value after each entry, worked out from the input alone, is found there; at most some. */
static void prefixes(struct ima *l, const uint8_t *data, size_t size)
{
	struct reader in = { data, size };
	uint8_t value[HASH_BYTES_MAX] = { 0 }, digest[HASH_BYTES_MAX];
	size_t all = ima_count(l);
	for (size_t i = 0; i < all && i < 16; i++) {
		uint32_t n;
		const uint8_t *sha1, zero[20] = { 0 };
		CHECK(reader_bytes(&in, 4) && (sha1 = reader_bytes(&in, 20)));
		CHECK(reader_u32(&in, &n) == 0 && reader_bytes(&in, n));
		CHECK(reader_u32(&in, &n) == 0);
		const uint8_t *body = reader_bytes(&in, n);
		CHECK(body && hash_data(HASH_SHA256, body, n, digest) == 0);
		if (memcmp(sha1, zero, sizeof(zero)) == 0)
			memset(digest, 0xff, sizeof(digest));
		CHECK(hash_extend(HASH_SHA256, value, digest) == 0);
		size_t matched = 0;
		CHECK(ima_match(l, HASH_SHA256, value, &matched, NULL) == 0);
		CHECK(matched == i + 1 && ima_count(l) == matched && !ima_at(l, matched));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ima *l = NULL;
	const char *id = NULL;
	struct fault f = { 0 };
	struct pcrs pcrs = { .bank = HASH_SHA256, .mask = 0x3ff };
	int rc = ima_parse(data, size, &l, &id, &f);
	if (rc < 0) {
		CHECK(!l && id && finding_meaning(id) && f.rc == rc && f.text[0]);
		return 0;
	}
	CHECK(rc == 0 && l && !id && !f.text[0]);
	for (size_t i = 0; i < ima_count(l); i++)
		entry(ima_at(l, i), data, size);
	CHECK(ima_check_aggregate(l, &pcrs, NULL) < 0); /* nobody finds that digest */
	prefixes(l, data, size);
	ima_free(l);
	return 0;
}
