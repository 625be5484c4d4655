/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guardian/store_bed.h"

#include <errno.h>

#include "guardian/ledger.h"

static const uint8_t VM[UUID_BYTES] = { 0xde, 0xad };
static const uint8_t OTHER[UUID_BYTES] = { 0xbe, 0xef };
static const char OWNER[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		  STRANGER[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE";
static struct jwk *key, *foreign;
static struct store *store;

#define LINES_MAX 8
static char *line[LINES_MAX]; /* records of VM, each with its newline; owned */
static int n_lines;
static struct ledger_head head;

static int keep(int64_t seq, const char *statement, size_t n, void *arg)
{
	(void)arg;
	assert_int_equal(seq, n_lines + 1);
	assert_true(asprintf(&line[n_lines++], "%.*s\n", (int)n, statement) > 0);
	return 0;
}

static void append_of(const uint8_t vm[static UUID_BYTES], const char *owner,
		      enum ledger_event event, int64_t token)
{
	struct ledger_record r = { .time = NOW + token, .event = event, .token = token };
	memcpy(r.vm, vm, UUID_BYTES);
	memcpy(r.owner, owner, STORE_OWNER_SIZE);
	r.host[0] = 7;
	GOOD_TX(store, ledger_append(store, key, &r, &f));
}

static void append(const uint8_t vm[static UUID_BYTES], enum ledger_event event, int64_t token)
{
	append_of(vm, OWNER, event, token);
}

static void get_head(const uint8_t vm[static UUID_BYTES], struct ledger_head *out)
{
	CLEANUP_BUF struct buf text = BUF_INIT(4096);
	GOOD(ledger_head_sign(store, key, vm, OWNER, NOW + 9, &text, &f));
	GOOD(ledger_head_open(key, buf_cstr(&text), text.len, out, &f));
}

static int make(void **state)
{
	if (bed_make(state) < 0 || jwk_new(&key, NULL) < 0 || jwk_new(&foreign, NULL) < 0)
		return -1;
	store = bed_open();
	append(VM, LEDGER_RELEASE, 1);
	append(OTHER, LEDGER_RELEASE, 1);
	append_of(VM, STRANGER, LEDGER_RELEASE, 1);
	append(VM, LEDGER_HANDOVER, 2);
	append(VM, LEDGER_STOP, 2);
	append(VM, LEDGER_RELEASE, 3);
	n_lines = 0;
	GOOD(store_log_each(store, VM, OWNER, 1, LINES_MAX, keep, NULL, &f));
	get_head(VM, &head);
	return 0;
}

static int done(void **state)
{
	for (int i = 0; i < n_lines; i++)
		free(line[i]);
	store_close(store);
	jwk_free(key);
	jwk_free(foreign);
	return bed_remove(state);
}

static int count(const struct ledger_record *r, void *arg)
{
	assert_memory_equal(r->vm, VM, UUID_BYTES);
	return ++*(int *)arg == 99 ? -ECANCELED : 0;
}

/* Verify the records that ORDER names by their digits, against H and KNOWN. */
static int verify(const char *order, const struct ledger_head *h, const struct ledger_head *known,
		  struct fault *f)
{
	CLEANUP_BUF struct buf all = BUF_INIT(65536);
	for (; *order; order++)
		assert_int_equal(buf_addf(&all, "%s", line[*order - '1']), 0);
	return ledger_verify(key, (const char *)all.data, all.len, h, known, NULL, NULL, f);
}

static void test_a_whole_log_is_verified(void **state)
{
	(void)state;
	int seen = 0;
	struct ledger_head known = { 0 }, none;
	struct ledger_record r;
	assert_int_equal(n_lines, 4);
	assert_int_equal(head.seq, 4);
	assert_int_equal(head.time, NOW + 9);
	GOOD(verify("1234", &head, NULL, &f));
	GOOD(verify("1234", &head, &head, &f));
	memcpy(known.vm, VM, UUID_BYTES);
	memcpy(known.owner, OWNER, sizeof(OWNER));
	GOOD(verify("1234", &head, &known, &f));
	GOOD(ledger_next(&known, key, line[0], strlen(line[0]) - 1, &r, &f));
	GOOD(ledger_next(&known, key, line[1], strlen(line[1]) - 1, &r, &f));
	assert_int_equal(r.event, LEDGER_HANDOVER);
	assert_int_equal(r.token, 2);
	assert_int_equal(r.time, NOW + 2);
	assert_int_equal(r.host[0], 7);
	GOOD(verify("1234", &head, &known, &f));
	CLEANUP_BUF struct buf all = BUF_INIT(65536);
	for (int i = 0; i < n_lines; i++)
		GOOD(buf_addf(&all, "%s", line[i]));
	GOOD(ledger_verify(key, buf_cstr(&all), all.len, &head, NULL, count, &seen, &f));
	assert_int_equal(seen, 4);
	seen = 97;
	assert_int_equal(
		ledger_verify(key, buf_cstr(&all), all.len, &head, NULL, count, &seen, NULL),
		-ECANCELED);
	/* A VM that nothing was done with. */
	uint8_t third[UUID_BYTES] = { 3 };
	get_head(third, &none);
	assert_int_equal(none.seq, 0);
	GOOD(ledger_verify(key, "", 0, &none, NULL, NULL, NULL, &f));
}

static void test_every_change_is_seen(void **state)
{
	(void)state;
	static const struct {
		const char *order, *says;
	} WRONG[] = {
		{ "123", "the end was cut off" },
		{ "", "the end was cut off" },
		{ "134", "line 2: record 3 where 2 must be" },
		{ "234", "line 1: record 2 where 1 must be" },
		{ "1324", "line 2: record 3 where 2 must be" },
		{ "12334", "line 4: record 3 where 4 must be" },
		{ "12341", "line 5: record 1 where 5 must be" },
	};
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++)
		REFUSED(ERR_AUTH, WRONG[i].says, verify(WRONG[i].order, &head, NULL, &f));

	/* A record more than the head knows of. */
	struct ledger_head before = head, known = head;
	append(VM, LEDGER_STOP, 3);
	GOOD(store_log_each(store, VM, OWNER, 5, 1, keep, NULL, &f));
	REFUSED(ERR_AUTH, "records are behind it", verify("12345", &before, NULL, &f));
	get_head(VM, &head);
	GOOD(verify("12345", &head, &before, &f));

	/* A guardian that was set back, or rewritten. */
	REFUSED(ERR_AUTH, "its database was set back", verify("1234", &before, &head, &f));
	known.hash[0] ^= 1;
	REFUSED(ERR_AUTH, "line 4: last time record 4 was another",
		verify("12345", &head, &known, &f));
	known = head;
	known.vm[0] ^= 1;
	REFUSED(ERR_AUTH, "another VM's", verify("12345", &head, &known, &f));
	known = head;
	memcpy(known.owner, STRANGER, sizeof(STRANGER));
	REFUSED(ERR_AUTH, "another owner's", verify("12345", &head, &known, &f));

	/* Every character of a record counts. */
	size_t n = strlen(line[1]) - 1;
	for (size_t i = 0; i < n; i += 7) {
		struct ledger_head c = { 0 };
		struct ledger_record r;
		memcpy(c.vm, VM, UUID_BYTES);
		memcpy(c.owner, OWNER, sizeof(OWNER));
		GOOD(ledger_next(&c, key, line[0], strlen(line[0]) - 1, &r, &f));
		struct ledger_head unmoved = c;
		line[1][i] = line[1][i] == 'A' ? 'B' : 'A';
		assert_true(ledger_next(&c, key, line[1], n, &r, NULL) < 0);
		assert_memory_equal(&c, &unmoved, sizeof(c));
		assert_true(verify("12345", &head, NULL, NULL) < 0);
		free(line[1]);
		n_lines = 1;
		GOOD(store_log_each(store, VM, OWNER, 2, 1, keep, NULL, &f));
		n_lines = 5;
	}
	line[4][strlen(line[4]) - 1] = 0;
	REFUSED(ERR_AUTH, "line 5: the file ends inside a record",
		verify("12345", &head, NULL, &f));
}

/* PAYLOAD, as statement of kind TYP by K, is refused as the first record. */
static void refused_payload(const struct jwk *k, const char *typ, const char *payload, int rc,
			    const char *says)
{
	struct ledger_head c = { 0 };
	struct ledger_record r;
	CLEANUP_BUF struct buf text = BUF_INIT(8192);
	memcpy(c.vm, VM, UUID_BYTES);
	GOOD(sign_make(k, typ, payload, strlen(payload), &text, &f));
	REFUSED(rc, says, ledger_next(&c, key, buf_cstr(&text), text.len, &r, &f));
}

#define BEGIN	 "{\"v\":1,\"vm\":\"dead0000-0000-0000-0000-000000000000\",\"seq\":1,\"time\":5,"
#define NO_OWNER "\"host\":\"00000000-0000-0000-0000-000000000000\","
#define LONG_OWNER                                                                                 \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define HOST "\"host\":\"00000000-0000-0000-0000-000000000000\",\"owner\":\"\","
#define NUMBERS                                                                                    \
	"\"token\":1,\"version\":0,\"generation\":0,\"hostkey\":false,"                            \
	"\"certificate\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"request\":\"AAAAAAAAAAAAAAAAAAAAAA\","
#define END    "\"prev\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"
#define RECORD BEGIN "\"event\":\"stop\"," HOST "\"by\":\"\",\"object\":\"\"," NUMBERS END

static void test_records_have_one_form(void **state)
{
	(void)state;
	static const struct {
		const char *payload;
		int rc;
		const char *says;
	} WRONG[] = {
		{ "x", ERR_FORMAT, "not valid JSON" },
		{ "{}", ERR_FORMAT, "no version" },
		{ "{\"v\":2}", ERR_VERSION, "version 2" },
		{ BEGIN "\"event\":\"stop\"," HOST NUMBERS END, ERR_FORMAT, "lacks a member" },
		{ BEGIN "\"event\":\"stop\"," NO_OWNER "\"by\":\"\",\"object\":\"\"," NUMBERS END,
		  ERR_FORMAT, "lacks a member" },
		{ BEGIN "\"event\":\"stop\"," NO_OWNER
			"\"owner\":\"short\",\"by\":\"\",\"object\":\"\"," NUMBERS END,
		  ERR_FORMAT, "lacks a member" },
		{ BEGIN "\"event\":\"stop\"," NO_OWNER "\"owner\":\"" LONG_OWNER
			"\",\"by\":\"\",\"object\":\"\"," NUMBERS END,
		  ERR_FORMAT, "lacks a member" },
		{ BEGIN "\"event\":\"stopped\"," HOST "\"by\":\"\",\"object\":\"\"," NUMBERS END,
		  ERR_FORMAT, "lacks a member" },
		{ BEGIN "\"event\":\"stop\"," HOST "\"by\":\"A b\",\"object\":\"\"," NUMBERS END,
		  ERR_FORMAT, "lacks a member" },
		{ BEGIN "\"event\":\"stop\"," HOST
			"\"by\":\"\",\"object\":\"\",\"x\":1," NUMBERS END,
		  ERR_FORMAT, "one valid encoding" },
		{ RECORD " ", ERR_FORMAT, "one valid encoding" },
		{ RECORD "x", ERR_FORMAT, "not valid JSON" },
		{ BEGIN HOST "\"event\":\"stop\",\"by\":\"\",\"object\":\"\"," NUMBERS END,
		  ERR_FORMAT, "one valid encoding" },
		{ BEGIN "\"event\":\"stop\",\"event\":\"stop\"," HOST
			"\"by\":\"\",\"object\":\"\"," NUMBERS END,
		  ERR_FORMAT, "twice" },
	};
	struct ledger_head c = { 0 }, h;
	struct ledger_record r;
	CLEANUP_BUF struct buf text = BUF_INIT(8192);
	memcpy(c.vm, VM, UUID_BYTES);
	GOOD(sign_make(key, LEDGER_TYP, RECORD, strlen(RECORD), &text, &f));
	GOOD(ledger_next(&c, key, buf_cstr(&text), text.len, &r, &f));
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++)
		refused_payload(key, LEDGER_TYP, WRONG[i].payload, WRONG[i].rc, WRONG[i].says);
	/* Another's, or a head in a record's place. */
	refused_payload(foreign, LEDGER_TYP, RECORD, ERR_AUTH, "another key");
	refused_payload(key, LEDGER_HEAD_TYP, RECORD, ERR_AUTH, "another kind");
	assert_int_equal(ledger_head_open(key, buf_cstr(&text), text.len, &h, NULL), ERR_AUTH);
	/* A record of another VM. */
	memcpy(c.vm, OTHER, UUID_BYTES);
	c.seq = 0;
	REFUSED(ERR_AUTH, "another VM", ledger_next(&c, key, buf_cstr(&text), text.len, &r, &f));
	/* ... and of another owner's. */
	memcpy(c.vm, VM, UUID_BYTES);
	memcpy(c.owner, STRANGER, sizeof(STRANGER));
	REFUSED(ERR_AUTH, "another owner", ledger_next(&c, key, buf_cstr(&text), text.len, &r, &f));
	/* Another record before it. */
	c.owner[0] = 0;
	c.hash[5] ^= 1;
	REFUSED(ERR_AUTH, "does not belong behind",
		ledger_next(&c, key, buf_cstr(&text), text.len, &r, &f));
}

#define HEAD(middle, hash)                                                                         \
	"{\"v\":1,\"vm\":\"dead0000-0000-0000-0000-000000000000\"," middle                         \
	",\"time\":5,\"hash\":\"" hash "}"
#define OWNED "\"owner\":\"\",\"seq\":"

static void test_heads_have_one_form(void **state)
{
	(void)state;
	static const char *const WRONG[] = {
		"{\"v\":1}",
		HEAD(OWNED "1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"x\":1"),
		HEAD(OWNED "-1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""),
		HEAD(OWNED "1", "AAAA\""),
		HEAD("\"seq\":1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""),
		HEAD("\"owner\":\"short\",\"seq\":1",
		     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""),
		HEAD("\"owner\":\"" LONG_OWNER "\",\"seq\":1",
		     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""),
	};
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		struct ledger_head h = { .seq = 77 };
		CLEANUP_BUF struct buf text = BUF_INIT(8192);
		GOOD(sign_make(key, LEDGER_HEAD_TYP, WRONG[i], strlen(WRONG[i]), &text, &f));
		assert_int_equal(ledger_head_open(key, buf_cstr(&text), text.len, &h, NULL),
				 ERR_FORMAT);
		assert_int_equal(h.seq, 77);
	}
	CLEANUP_BUF struct buf text = BUF_INIT(8192);
	struct ledger_head h;
	static const char GOOD_ONE[] =
		HEAD(OWNED "1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"");
	GOOD(sign_make(key, LEDGER_HEAD_TYP, GOOD_ONE, strlen(GOOD_ONE), &text, &f));
	GOOD(ledger_head_open(key, buf_cstr(&text), text.len, &h, &f));
	buf_clear(&text);
	REFUSED(ERR_FORMAT, "of whom", ledger_head_sign(store, key, VM, "short", NOW, &text, &f));
	GOOD(ledger_head_sign(store, foreign, VM, OWNER, NOW, &text, &f));
	REFUSED(ERR_AUTH, "another key", ledger_head_open(key, buf_cstr(&text), text.len, &h, &f));
}

static void test_what_cannot_be_logged_is_not_done(void **state)
{
	(void)state;
	struct store_log_head now;
	struct ledger_record r = { .event = LEDGER_EVENTS };
	memcpy(r.vm, VM, UUID_BYTES);
	CLEANUP_BUF struct buf text = BUF_INIT(1024);
	CLEANUP_JWK struct jwk *public = NULL;
	GOOD(jwk_public_text(key, &text));
	GOOD(jwk_parse(buf_cstr(&text), text.len, &public, &f));
	REFUSED_TX(store, ERR_FORMAT, "impossible", ledger_append(store, key, &r, &f));
	r.event = LEDGER_STOP;
	strcpy(r.by, "a\"b");
	REFUSED_TX(store, ERR_FORMAT, "impossible", ledger_append(store, key, &r, &f));
	strcpy(r.by, "anna");
	strcpy(r.owner, "short");
	REFUSED_TX(store, ERR_FORMAT, "impossible", ledger_append(store, key, &r, &f));
	memset(r.owner, 'A', sizeof(r.owner) - 1);
	r.token = -1;
	REFUSED_TX(store, ERR_FORMAT, "impossible", ledger_append(store, key, &r, &f));
	r.token = 0;
	REFUSED_TX(store, ERR_FORMAT, "", ledger_append(store, public, &r, &f));
	REFUSED(ERR_STATE, "needs a transaction", ledger_append(store, key, &r, &f));
	GOOD(store_log_head(store, VM, OWNER, &now, &f));
	assert_int_equal(now.seq, 4);
	for (int i = 0; i < LEDGER_EVENTS; i++) {
		r.event = (enum ledger_event)i;
		memset(r.vm, 0, sizeof(r.vm));
		r.version = r.generation = r.time = r.token = INT64_MAX;
		memset(r.by, 'x', sizeof(r.by) - 1);
		GOOD_TX(store, ledger_append(store, key, &r, &f));
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_whole_log_is_verified),
		TEST(test_every_change_is_seen),
		TEST(test_records_have_one_form),
		TEST(test_heads_have_one_form),
		TEST(test_what_cannot_be_logged_is_not_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
