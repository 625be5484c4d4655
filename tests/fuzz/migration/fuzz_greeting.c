/* SPDX-License-Identifier: BSD-3-Clause */
/* The parsers of a channel's identity, hello, answer and words; the first byte says which.  What is
 * taken has one encoding: it is written again as it was. */
#include "crypto/channel.h"
#include "migration/hello.h"
#include "migration/word.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A direction's words, of the side that the first byte says: never more than three. */
static void talk(const uint8_t *p, size_t n)
{
	enum word last = WORD_NONE, next;
	struct fault f = { 0 };
	size_t i = 1;
	while (i < n && word_parse(p + i, 1, &next, &f) == 0 && word_fits(p[0] & 1, last, next)) {
		last = next;
		i++;
	}
	if (i > 4 || (i == 4 && !word_ends(p[0] & 1, last)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct channel_id id;
	struct hello hello;
	struct answer answer;
	struct fault f = { 0 };
	uint8_t again[ANSWER_BYTES_MAX];
	size_t n;
	int rc;
	if (size == 0)
		return 0;
	const uint8_t *p = data + 1;
	size--;
	switch (data[0] % 4) {
	case 3:
		if (size)
			talk(p, size);
		return 0;
	case 0:
		rc = channel_id_parse(p, size, &id, &f);
		if (rc == 0)
			channel_id_encode(&id, again);
		n = CHANNEL_ID_BYTES;
		break;
	case 1:
		rc = hello_parse(p, size, &hello, &f);
		if (rc == 0)
			hello_encode(&hello, again);
		n = HELLO_BYTES;
		break;
	default:
		rc = answer_parse(p, size, &answer, &f);
		n = rc == 0 ? answer_encode(&answer, again) : 0;
	}
	if (rc == 0 ? n != size || memcmp(again, p, n) != 0 : f.rc != rc || !f.text[0])
		abort();
	return 0;
}
