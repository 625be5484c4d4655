/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The release log's readers.  An input that begins with 'r' or 'h' is the payload of a record or a
 * head, which is signed here; another one is lines of a log.
 */
#include "guardian/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct jwk *key;

/* Sign the payload as KIND says and read it; only the one encoding is accepted. */
static void read_payload(char kind, const uint8_t *payload, size_t n)
{
	struct ledger_head c = { 0 }, before = { 0 };
	struct ledger_record r = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX);
	struct fault f = { 0 };
	int head = kind == 'h';
	if (sign_make(key, head ? LEDGER_HEAD_TYP : LEDGER_TYP, payload, n, &text, NULL) < 0)
		return;
	int rc = head ? ledger_head_open(key, (char *)text.data, text.len, &c, &f)
		      : ledger_next(&c, key, (char *)text.data, text.len, &r, &f);
	if (rc < 0 && (memcmp(&c, &before, sizeof(c)) != 0 || !f.text[0]))
		abort();
	if (rc == 0 && (n < 8 || memcmp(payload, "{\"v\":1,", 7) != 0 || payload[n - 1] != '}'))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ledger_head head = { .seq = 1 };
	if (!key && jwk_new(&key, NULL) < 0)
		abort();
	if (size > 0 && (data[0] == 'r' || data[0] == 'h'))
		read_payload((char)data[0], data + 1, size - 1);
	else if (ledger_verify(key, (const char *)data, size, &head, NULL, NULL, NULL, NULL) == 0)
		abort(); /* nobody has signed that */
	return 0;
}
