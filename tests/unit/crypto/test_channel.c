/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/crypto/channels.h"

#include <stdio.h>

#include "crypto/record.h"

static void send_bytes(struct channel *c, const void *src, size_t n)
{
	uint8_t *at;
	assert_true(channel_send(c, &at) >= n);
	memcpy(at, src, n);
	assert_int_equal(channel_send_done(c, n), 0);
}

static void expect(struct channel *c, const void *wanted, size_t n)
{
	const uint8_t *at;
	assert_int_equal(channel_recv(c, &at), n);
	assert_memory_equal(at, wanted, n);
	channel_recv_done(c, n);
}

static void expect_failed(struct channel *c, int rc)
{
	const uint8_t *at;
	uint8_t *room;
	assert_int_equal(channel_recv(c, &at), 0);
	assert_int_equal(channel_state(c), CHANNEL_FAILED);
	assert_int_equal(channel_fault(c)->rc, rc);
	assert_true(channel_fault(c)->text[0]);
	assert_int_equal(channel_in(c, &room), 0);
	assert_int_equal(channel_send(c, &room), 0);
	assert_int_equal(channel_recv_ended(c), 0);
}

static void test_opens_whatever_the_chunks(void **state)
{
	(void)state;
	static const size_t CHUNKS[] = { 1, 3, 100, SIZE_MAX };
	for (size_t i = 0; i < 4; i++) {
		struct pair p;
		struct channel_id id = id_of(i & 1 ? CHANNEL_DISK : CHANNEL_MEMORY, (uint16_t)i);
		pair_new(&p, keys, keys, &id);
		assert_null(channel_id(p.b));
		settle(&p, CHUNKS[i]);
		assert_int_equal(channel_state(p.a), CHANNEL_OPEN);
		assert_int_equal(channel_state(p.b), CHANNEL_OPEN);
		assert_memory_equal(channel_id(p.b)->attempt, id.attempt, sizeof(id.attempt));
		assert_int_equal(channel_id(p.b)->number, id.number);
		assert_int_equal(channel_id(p.b)->kind, id.kind);
		assert_true(p.a_tape.len < 1024 && p.b_tape.len < 1024);
		send_bytes(p.a, "from a", 6);
		send_bytes(p.b, "from bb", 7);
		settle(&p, CHUNKS[i]);
		expect(p.a, "from bb", 7);
		expect(p.b, "from a", 6);
		pair_done(&p);
	}
}

/* The server has no more to say to a stranger than to somebody with a wrong key. */
static void test_who_is_refused(void **state)
{
	(void)state;
	static const uint8_t OTHER_VM[UUID_BYTES] = { 9 };
	const struct vm_key other_key = { { 9 } };
	struct channel_keys *other_keys = NULL, *other_vms = NULL;
	struct channel_id id = id_of(CHANNEL_MEMORY, 0), foreign = id;
	memcpy(foreign.vm, OTHER_VM, sizeof(OTHER_VM));
	assert_int_equal(channel_keys_new(&other_key, VM, &other_keys, NULL), 0);
	assert_int_equal(channel_keys_new(&KEY, OTHER_VM, &other_vms, NULL), 0);
	struct pair p[2];
	pair_new(&p[0], other_keys, keys, &id);
	pair_new(&p[1], other_vms, keys, &foreign);
	for (int i = 0; i < 2; i++) {
		settle(&p[i], SIZE_MAX);
		expect_failed(p[i].b, ERR_AUTH);
		expect_failed(p[i].a, ERR_AUTH);
		assert_null(channel_id(p[i].b));
	}
	assert_int_equal(p[0].b_tape.len, p[1].b_tape.len);
	assert_memory_equal(p[0].b_tape.data, p[1].b_tape.data, p[0].b_tape.len);
	assert_non_null(strstr(channel_fault(p[1].b)->text, "09000000-"));
	for (int i = 0; i < 2; i++)
		pair_done(&p[i]);
	struct channel *c = NULL;
	assert_int_equal(channel_source(keys, &foreign, &c), ERR_USAGE);
	channel_keys_free(other_keys);
	channel_keys_free(other_vms);
}

/* Every part of the identity changes the PSK. */
static void test_psk_binds_the_identity(void **state)
{
	(void)state;
	struct channel_id ids[5];
	uint8_t psk[5][KEY_BYTES];
	for (int i = 0; i < 5; i++)
		ids[i] = id_of(CHANNEL_MEMORY, 0);
	ids[1].kind = CHANNEL_DISK;
	ids[2].number = 256;
	ids[3].attempt[15] ^= 1;
	ids[4].vm[15] ^= 1;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(channel_psk(&KEY, &ids[i], psk[i]), 0);
		for (int j = 0; j < i; j++)
			assert_memory_not_equal(psk[i], psk[j], KEY_BYTES);
	}
}

/* A TLS end that is none of ours: KIND says what it is. */
enum rogue { NO_PSK, CERTIFICATE, TLS12, OTHER_SUITE, PSK_WITHOUT_DHE, OTHER_GROUP, ROGUES };

static SSL_SESSION *rogue_session(SSL *ssl)
{
	static const uint8_t SUITE_ID[] = { 0x13, 0x01 };
	uint8_t psk[KEY_BYTES] = { 0 };
	SSL_SESSION *s = SSL_SESSION_new();
	assert_int_equal(SSL_SESSION_set1_master_key(s, psk, sizeof(psk)), 1);
	assert_int_equal(SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, SUITE_ID)), 1);
	assert_int_equal(SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION), 1);
	return s;
}

static int rogue_use_psk(SSL *ssl, const EVP_MD *md, const uint8_t **identity, size_t *n,
			 SSL_SESSION **out)
{
	static uint8_t bytes[CHANNEL_ID_BYTES];
	struct channel_id id = id_of(CHANNEL_MEMORY, 0);
	(void)md;
	channel_id_encode(&id, bytes);
	*identity = bytes;
	*n = sizeof(bytes);
	*out = rogue_session(ssl);
	return 1;
}

static SSL_CTX *rogue_context(enum rogue kind, int is_server)
{
	SSL_CTX *c = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
	assert_non_null(c);
	if (kind == TLS12)
		SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
	if (kind == OTHER_SUITE) {
		SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256");
		SSL_CTX_set_psk_use_session_callback(c, rogue_use_psk);
	}
	if (kind == PSK_WITHOUT_DHE)
		SSL_CTX_set_options(c, SSL_OP_ALLOW_NO_DHE_KEX);
	if (kind == OTHER_GROUP)
		SSL_CTX_set1_groups_list(c, "P-256");
	if (kind == CERTIFICATE || is_server) {
		EVP_PKEY *key = EVP_EC_gen("P-256");
		X509 *x = X509_new();
		X509_gmtime_adj(X509_getm_notBefore(x), 0);
		X509_gmtime_adj(X509_getm_notAfter(x), 1000);
		X509_set_pubkey(x, key);
		assert_true(X509_sign(x, key, EVP_sha256()) > 0);
		assert_int_equal(SSL_CTX_use_certificate(c, x), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(c, key), 1);
		X509_free(x);
		EVP_PKEY_free(key);
	}
	return c;
}

static void test_rogue_tls(void **state)
{
	(void)state;
	for (int i = 0; i < 2 * ROGUES; i++) {
		int is_server = i & 1;
		enum rogue kind = (enum rogue)(i / 2);
		SSL_CTX *ctx = rogue_context(kind, is_server);
		SSL *ssl = SSL_new(ctx);
		BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
		SSL_set_bio(ssl, in, out);
		if (is_server)
			SSL_set_accept_state(ssl);
		else
			SSL_set_connect_state(ssl);
		struct channel *c = NULL;
		struct channel_id id = id_of(CHANNEL_MEMORY, 0);
		assert_int_equal(is_server ? channel_source(keys, &id, &c)
					   : channel_destination(keys, &c),
				 0);
		for (int turn = 0; turn < 4; turn++) {
			const uint8_t *src;
			uint8_t *dst;
			size_t n = channel_out(c, &src);
			if (n) {
				BIO_write(in, src, (int)n);
				channel_out_done(c, n);
			}
			(void)SSL_do_handshake(ssl);
			size_t room = channel_in(c, &dst);
			int got = room ? BIO_read(out, dst, (int)room) : 0;
			if (got > 0)
				channel_in_done(c, (size_t)got);
		}
		assert_int_equal(channel_state(c), CHANNEL_FAILED);
		int rc = channel_fault(c)->rc;
		assert_true(rc == ERR_AUTH || rc == ERR_VERSION || rc == ERR_FORMAT);
		assert_null(channel_id(c));
		channel_free(c);
		SSL_free(ssl);
		SSL_CTX_free(ctx);
	}
	ERR_clear_error();
}

static void test_junk(void **state)
{
	(void)state;
	static const char *const JUNK[] = { "GET / HTTP/1.1\r\n\r\n", "QEVM\0\0\0\3",
					    "\x16\x03\x03", "\x16\x03\x01\xff\xff",
					    "\x15\x03\x03\0\2\2\x28" };
	uint8_t many[2 * CHANNEL_HANDSHAKE_MAX] = { 0x16, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc, 3, 3 };
	for (int i = 0; i < 5; i++) {
		struct channel *c = NULL;
		assert_int_equal(channel_destination(keys, &c), 0);
		put_in(c, (const uint8_t *)JUNK[i], strlen(JUNK[i]) + 1);
		channel_in_end(c);
		assert_int_equal(channel_state(c), CHANNEL_FAILED);
		channel_free(c);
	}
	struct channel *c = NULL;
	assert_int_equal(channel_destination(keys, &c), 0);
	put_in(c, many, sizeof(many));
	assert_int_equal(channel_state(c), CHANNEL_FAILED);
	channel_free(c);
	assert_int_equal(channel_destination(keys, &c), 0);
	channel_in_end(c);
	assert_int_equal(channel_fault(c)->rc, ERR_TRUNCATED);
	channel_free(c);
}

static void test_half_closes(void **state)
{
	(void)state;
	for (int first = 0; first < 2; first++) {
		struct pair p;
		struct channel_id id = id_of(CHANNEL_MEMORY, 0);
		pair_open(&p, &id);
		struct channel *x = first ? p.a : p.b, *y = first ? p.b : p.a;
		uint8_t *room;
		send_bytes(x, "last", 4);
		settle(&p, SIZE_MAX);
		assert_int_equal(channel_send_end(x), 0);
		settle(&p, SIZE_MAX);
		channel_in_end(y);
		assert_int_equal(channel_recv_ended(y), 0);
		expect(y, "last", 4);
		const uint8_t *at;
		assert_int_equal(channel_recv(y, &at), 0);
		assert_int_equal(channel_recv_ended(y), 1);
		assert_int_equal(channel_state(y), CHANNEL_OPEN);
		assert_int_equal(channel_send(x, &room), 0);
		assert_int_equal(channel_send_end(x), ERR_STATE);
		/* The other direction goes on. */
		send_bytes(y, "more", 4);
		settle(&p, SIZE_MAX);
		expect(x, "more", 4);
		assert_int_equal(channel_send_end(y), 0);
		settle(&p, SIZE_MAX);
		assert_int_equal(channel_recv(x, &at), 0);
		assert_int_equal(channel_recv_ended(x), 1);
		pair_done(&p);
	}
}

/* One record of N bytes and an end, as they go over the wire. */
static size_t make_tape(struct pair *p, struct channel *from, size_t n, uint8_t *tape)
{
	static uint8_t plain[CHANNEL_RECORD_BYTES];
	const uint8_t *src;
	size_t len = 0;
	(void)p;
	for (int end = 0; end < 2; end++) {
		if (end)
			assert_int_equal(channel_send_end(from), 0);
		else
			send_bytes(from, plain, n);
		size_t out = channel_out(from, &src);
		memcpy(tape + len, src, out);
		channel_out_done(from, out);
		len += out;
	}
	return len;
}

static int take_all(struct channel *c)
{
	const uint8_t *at;
	size_t n;
	while ((n = channel_recv(c, &at)))
		channel_recv_done(c, n);
	return channel_recv_ended(c);
}

static void test_every_cut_and_flip(void **state)
{
	(void)state;
	uint8_t tape[128];
	size_t len = 24 + 20;
	struct channel_id id = id_of(CHANNEL_MEMORY, 1);
	for (size_t i = 0; i < 2 * len; i++) {
		struct pair p;
		int cut = i < len;
		size_t at = i % len;
		pair_open(&p, &id);
		assert_int_equal(make_tape(&p, p.a, 4, tape), len);
		if (!cut)
			tape[at] ^= (uint8_t)(1U << (at % 8));
		put_in(p.b, tape, cut ? at : len);
		(void)take_all(p.b);
		channel_in_end(p.b);
		assert_int_equal(take_all(p.b), 0);
		assert_int_equal(channel_state(p.b), CHANNEL_FAILED);
		if (cut)
			assert_int_equal(channel_fault(p.b)->rc, ERR_TRUNCATED);
		pair_done(&p);
	}
}

#define WORD 0x40000000U

/* A word is told from a byte of QEMU's, whatever stands in clear. */
static void test_words(void **state)
{
	(void)state;
	for (int number = 0; number < 2; number++) {
		struct channel_id id = id_of(CHANNEL_MEMORY, (uint16_t)number);
		struct pair p;
		const uint8_t *at;
		pair_open(&p, &id);
		send_bytes(p.a, (const uint8_t *)"q", 1);
		settle(&p, SIZE_MAX);
		assert_int_equal(channel_recv(p.b, &at), 1);
		assert_false(channel_recv_is_word(p.b));
		channel_recv_done(p.b, 1);
		assert_int_equal(channel_send_word(p.a, 'q'), number ? ERR_USAGE : 0);
		if (!number) {
			assert_int_equal(channel_send_word(p.a, 'r'), ERR_STATE);
			settle(&p, SIZE_MAX);
			assert_int_equal(channel_recv(p.b, &at), 1);
			assert_int_equal(*at, 'q');
			assert_true(channel_recv_is_word(p.b));
			channel_recv_done(p.b, 1);
			assert_false(channel_recv_is_word(p.b));
		}
		assert_int_equal(channel_send_end(p.a), 0);
		assert_int_equal(channel_send_word(p.a, 'q'), number ? ERR_USAGE : ERR_STATE);
		settle(&p, SIZE_MAX);
		assert_int_equal(channel_recv(p.b, &at), 0);
		assert_true(channel_recv_ended(p.b));
		pair_done(&p);
	}
	/* The mark is authentic. */
	for (int was_word = 0; was_word < 2; was_word++) {
		struct channel_id id = id_of(CHANNEL_MEMORY, 0);
		struct pair p;
		uint8_t tape[64];
		const uint8_t *src;
		pair_open(&p, &id);
		if (was_word)
			assert_int_equal(channel_send_word(p.a, 'q'), 0);
		else
			send_bytes(p.a, (const uint8_t *)"q", 1);
		size_t n = channel_out(p.a, &src);
		memcpy(tape, src, n);
		tape[0] ^= WORD >> 24;
		put_in(p.b, tape, n);
		expect_failed(p.b, ERR_AUTH);
		pair_done(&p);
	}
}

static void test_record_rules(void **state)
{
	(void)state;
	struct channel_id id = id_of(CHANNEL_MEMORY, 1);
	static const struct {
		uint32_t word;
		int rc;
	} WORDS[] = { { 0, ERR_FORMAT },
		      { RECORD_FINAL | 1, ERR_FORMAT },
		      { CHANNEL_RECORD_BYTES + 1, ERR_FORMAT },
		      { 0x7fffffff, ERR_FORMAT },
		      { WORD | 1, ERR_FORMAT }, /* not on this channel; else: not so */
		      { WORD, ERR_FORMAT },
		      { WORD | 2, ERR_FORMAT },
		      { WORD | RECORD_FINAL | 1, ERR_FORMAT },
		      { WORD | RECORD_FINAL, ERR_FORMAT } };
	uint8_t tape[128];
	for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
		struct pair p;
		id.number = i < 5;
		pair_open(&p, &id);
		record_put_be32(tape, WORDS[i].word);
		put_in(p.b, tape, 4);
		expect_failed(p.b, WORDS[i].rc);
		pair_done(&p);
	}
	id.number = 1;
	for (int i = 0; i < 5; i++) {
		struct pair p, q;
		pair_open(&p, &id);
		pair_open(&q, &id);
		size_t n = make_tape(&p, p.a, 4, tape);
		switch (i) {
		case 0: /* behind the end */
			put_in(p.b, tape, n);
			put_in(p.b, tape, 1);
			(void)take_all(p.b);
			expect_failed(p.b, ERR_TRAILING);
			break;
		case 1: /* back to who sent it */
			put_in(p.a, tape, n);
			expect_failed(p.a, ERR_AUTH);
			break;
		case 2: /* another channel with the same PSK */
			put_in(q.b, tape, n);
			expect_failed(q.b, ERR_AUTH);
			break;
		case 3: /* twice */
			put_in(p.b, tape, 24);
			put_in(p.b, tape, 24);
			(void)take_all(p.b);
			expect_failed(p.b, ERR_AUTH);
			break;
		default: /* dropped */
			put_in(p.b, tape + 24, n - 24);
			expect_failed(p.b, ERR_AUTH);
			break;
		}
		pair_done(&p);
		pair_done(&q);
	}
}

/* Any byte of the handshake flipped, or all of it played again: nobody opens who should not. */
static void test_handshake_flips_and_replays(void **state)
{
	(void)state;
	struct channel_id id = id_of(CHANNEL_MEMORY, 0);
	struct pair good;
	pair_open(&good, &id);
	size_t a_len = good.a_tape.len, b_len = good.b_tape.len;
	for (size_t i = 0; i < a_len + b_len; i++) {
		struct pair p;
		size_t a_at = 0, b_at = 0;
		pair_new(&p, keys, keys, &id);
		for (int turn = 0; turn < 4; turn++) {
			const uint8_t *src;
			uint8_t bytes[2048];
			struct channel *from = turn & 1 ? p.b : p.a, *to = turn & 1 ? p.a : p.b;
			size_t *at = turn & 1 ? &b_at : &a_at, n = channel_out(from, &src);
			size_t flip = turn & 1 ? i - a_len : i;
			if (n == 0)
				continue;
			memcpy(bytes, src, n);
			if (flip >= *at && flip < *at + n)
				bytes[flip - *at] ^= (uint8_t)(1U << (i % 8));
			*at += n;
			channel_out_done(from, n);
			put_in(to, bytes, n);
		}
		channel_in_end(p.a);
		channel_in_end(p.b);
		const uint8_t *at;
		(void)channel_recv(p.b, &at);
		(void)channel_recv(p.a, &at);
		/* The end whose input was altered is not open. */
		assert_int_equal(channel_state(i < a_len ? p.b : p.a), CHANNEL_FAILED);
		pair_done(&p);
	}
	struct channel *again[2] = { NULL };
	assert_int_equal(channel_source(keys, &id, &again[0]), 0);
	assert_int_equal(channel_destination(keys, &again[1]), 0);
	put_in(again[0], good.b_tape.data, b_len);
	put_in(again[1], good.a_tape.data, a_len);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(channel_state(again[i]), CHANNEL_FAILED);
		assert_int_equal(channel_fault(again[i])->rc, ERR_AUTH);
		channel_free(again[i]);
	}
	/* The source's own words, back to it. */
	assert_int_equal(channel_source(keys, &id, &again[0]), 0);
	put_in(again[0], good.a_tape.data, a_len);
	assert_int_equal(channel_state(again[0]), CHANNEL_FAILED);
	channel_free(again[0]);
	pair_done(&good);
}

static void send_taped(struct pair *p, uint8_t tape[static 24])
{
	const uint8_t *src;
	send_bytes(p->a, "same", 4);
	assert_int_equal(channel_out(p->a, &src), 24);
	memcpy(tape, src, 24);
	channel_out_done(p->a, 24);
}

/* The key changes where it has to, without a number or a byte missing. */
static void test_epochs(void **state)
{
	(void)state;
	static const uint64_t STARTS[] = { CHANNEL_EPOCH_RECORDS, (uint64_t)1 << 54 };
	struct channel_id id = id_of(CHANNEL_MEMORY, 1);
	struct pair p;
	pair_open(&p, &id);
	for (int i = 0; i < 2; i++) {
		uint8_t first[24], last[24], next[24], again[24];
		assert_int_equal(channel_skip(p.a, 0), 0);
		send_taped(&p, first);
		assert_int_equal(channel_skip(p.a, STARTS[i]), 0);
		send_taped(&p, again);
		assert_int_equal(channel_skip(p.a, STARTS[i] - 1), 0);
		assert_int_equal(channel_skip(p.b, STARTS[i] - 1), 0);
		send_taped(&p, last);
		send_taped(&p, next);
		put_in(p.b, last, 24);
		put_in(p.b, next, 24);
		expect(p.b, "same", 4);
		expect(p.b, "same", 4);
		assert_memory_equal(next, again, 24);
		assert_memory_not_equal(next, first, 24);
		assert_memory_not_equal(next, last, 24);
	}
	pair_done(&p);
}

/* Random sizes both ways at once, in random chunks. */
static void test_round_trips(void **state)
{
	(void)state;
	struct pair p;
	struct channel_id id = id_of(CHANNEL_DISK, 3);
	static uint8_t plain[CHANNEL_RECORD_BYTES];
	uint64_t sent[2] = { 0 }, got[2] = { 0 };
	uint32_t seed = 12345;
	pair_open(&p, &id);
	struct channel *end[2] = { p.a, p.b };
	for (int i = 0; i < 4000; i++) {
		seed = seed * 1664525 + 1013904223;
		int from = (int)(seed >> 31);
		const uint8_t *at;
		uint8_t *room;
		size_t n = seed % 7 == 0   ? CHANNEL_RECORD_BYTES
			   : seed % 7 == 1 ? 1
					   : (seed >> 8) % 5000 + 1;
		if (i < 3900 && channel_send(end[from], &room)) {
			for (size_t k = 0; k < n; k++)
				room[k] = (uint8_t)((sent[from] + k) * 31 >> 3);
			assert_int_equal(channel_send_done(end[from], n), 0);
			sent[from] += n;
		}
		carry(p.a, p.b, i < 3900 ? (seed >> 4) % 300000 : SIZE_MAX, NULL);
		carry(p.b, p.a, i < 3900 ? (seed >> 9) % 300000 : SIZE_MAX, NULL);
		for (int to = 0; to < 2; to++) {
			size_t have = channel_recv(end[to], &at), part = (seed >> 5) % 200000;
			if (have > part && i < 3900)
				have = part;
			for (size_t k = 0; k < have; k++)
				plain[k] = (uint8_t)((got[!to] + k) * 31 >> 3);
			if (have)
				assert_memory_equal(at, plain, have);
			channel_recv_done(end[to], have);
			got[!to] += have;
		}
	}
	assert_int_equal(sent[0], got[0]);
	assert_int_equal(sent[1], got[1]);
	assert_true(sent[0] > 10 * CHANNEL_RECORD_BYTES && sent[1] > 10 * CHANNEL_RECORD_BYTES);
	pair_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens_whatever_the_chunks),
		cmocka_unit_test(test_who_is_refused),
		cmocka_unit_test(test_psk_binds_the_identity),
		cmocka_unit_test(test_rogue_tls),
		cmocka_unit_test(test_junk),
		cmocka_unit_test(test_half_closes),
		cmocka_unit_test(test_every_cut_and_flip),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_record_rules),
		cmocka_unit_test(test_handshake_flips_and_replays),
		cmocka_unit_test(test_epochs),
		cmocka_unit_test(test_round_trips),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
