/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader of sealed stream files: a flow that opens, with records of SMALL bytes.  Keys, VM and
 * vTPM are those of tests/vectors/crypto, so that the seeds open.
 *
 * The first byte says what the rest is, since no fuzzer finds a tag by itself:
 *
 *  0, raw: a file
 *  1, edits: changes to a valid file.  It opens only if they come to nothing, and what comes
 *      out before is the beginning of what was sealed, in whole records.
 *  2, records: what the records of a file are made of, all authentic.  It opens only if they
 *      are what docs/FORMAT.md allows.
 *  3, header: the JWE header of a dump's key record, all else being right.  It opens only in
 *      the one spelling.
 *
 * Bit 2: a dump, where there is the choice.
 *
 * Bit 3: what a compressed stream holds, in authentic records.  No more comes out than a stream may
 * have; what opens is what libzstd's stream, given all of it at once, makes of it.
 * ZSTD_decompress() is no judge: unlike the stream it refuses compressed blocks of no bytes.
 */
#include <stdio.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "base/fd.h"
#include "crypto/flow.h"
#include "crypto/jwe.h"
#include "crypto/record.h"
#include "crypto/seal.h"
#include "crypto/stream_form.h"

#define SMALL	     16
#define RECORDS_MAX  40
#define FILE_MAX     8192
#define PLAIN_BYTES  (4 * SMALL + 5)
#define RECORD_BYTES (SMALL + STREAM_RECORD_EXTRA)
#define EXTRA_BYTES  (PROTECTOR_TPM_ID_BYTES + 1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char OWNER[] =
	"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"eh2EReed5TQ380ZIstLLb3EivlIRRR_duF15Vfrpx7U\","
	"\"y\":\"aYlfRFelTj2CrR0y-BaxuYrA70nrS9T_SrtyzXmUA68\","
	"\"d\":\"chWmwQry_34qz5yRy25YL6EgeBjs_9HLfY6kl9SQEjs\"}";
static const char EPHEMERAL[] =
	"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"ptoh6V3kByLzHs86hCySvM5w5qfS28SwsZgpe8bafpE\","
	"\"y\":\"rXauthbnKV7nZs54QdnBWZExbten9xhf4Ag0wzZJxNM\","
	"\"d\":\"JQk_43Oq0LRZmZW8E8q01Mpsru-bBwWerNpWhJ8Ma3o\"}";
static const char HEADER[] =
	"{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":{\"crv\":\"P-256\",\"kty\":\"EC\","
	"\"x\":\"ptoh6V3kByLzHs86hCySvM5w5qfS28SwsZgpe8bafpE\","
	"\"y\":\"rXauthbnKV7nZs54QdnBWZExbten9xhf4Ag0wzZJxNM\"},"
	"\"kid\":\"%s\",\"level\":\"shielded\",\"tpm\":\"0f1e2d3c4b5a69788796a5b4c3d2e1f0\","
	"\"typ\":\"shieldvm-dump-key+jwe\",\"vm\":\"00112233-4455-6677-8899-aabbccddeeff\"}";

static const struct stream_facts FACTS = {
	.vm = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
		0xee, 0xff },
	.tpm_id = { 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4, 0xc3,
		    0xd2, 0xe1, 0xf0 },
	.level = LEVEL_SHIELDED,
};

static struct pool *pool;
static struct flow *flow;
static struct stream_keys *keys;
static struct jwk *owner, *ephemeral;
static struct ecdh ecdh;
static int in = -1, to = -1;

/* One stream key, and a front for it of either kind; from 2 on with compression. */
static struct vm_key stream_key;
static struct record_keys record_keys[4];
static uint8_t front[4][STREAM_FRONT_MAX];
static size_t front_bytes[4];
static uint8_t cek[JWE_CEK_BYTES], wrapped[JWE_WRAPPED_BYTES];
static uint8_t plain[PLAIN_BYTES];
static EVP_CIPHER_CTX *ctx;
static ZSTD_DCtx *judge;

#define CHECK(ok)                                                                                  \
	do {                                                                                       \
		if (!(ok))                                                                         \
			abort();                                                                   \
	} while (0)

static void put(struct buf *b, const void *data, size_t n)
{
	CHECK(n == 0 || buf_add(b, data, n) >= 0);
}

/* The stream's header behind the key record in B, and that as the front of KIND. */
static void make_front(struct buf *b, int kind)
{
	struct record_binding binding = { .use = kind & 1 ? KEY_USE_DUMP : KEY_USE_SAVED_STATE,
					  .record_size = SMALL,
					  .compression = (uint8_t)(kind >> 1),
					  .extra_bytes = EXTRA_BYTES };
	uint8_t header[RECORD_HEADER_BYTES];
	memcpy(binding.vm, FACTS.vm, UUID_BYTES);
	memcpy(binding.extra, FACTS.tpm_id, PROTECTOR_TPM_ID_BYTES);
	binding.extra[PROTECTOR_TPM_ID_BYTES] = LEVEL_SHIELDED;
	CHECK(record_header_make(&stream_key, &binding, header, &record_keys[kind]) >= 0);
	put(b, header, sizeof(header));
	memcpy(front[kind], b->data, b->len);
	front_bytes[kind] = b->len;
	b->len -= sizeof(header);
}

static void set_up(void)
{
	CLEANUP_BUF struct buf state = BUF_INIT(FILE_MAX), dump = BUF_INIT(FILE_MAX);
	struct vm_key key;
	struct seal *s = NULL;
	uint8_t extra[EXTRA_BYTES];
	for (uint8_t i = 0; i < KEY_BYTES; i++)
		key.bytes[i] = i;
	memset(&stream_key, 7, sizeof(stream_key));
	memset(cek, 9, sizeof(cek));
	for (size_t i = 0; i < PLAIN_BYTES; i++)
		plain[i] = (uint8_t)i;
	memcpy(extra, FACTS.tpm_id, PROTECTOR_TPM_ID_BYTES);
	extra[PROTECTOR_TPM_ID_BYTES] = LEVEL_SHIELDED;
	ctx = EVP_CIPHER_CTX_new();
	in = memfd_create("in", MFD_CLOEXEC);
	to = memfd_create("to", MFD_CLOEXEC);
	judge = ZSTD_createDCtx();
	CHECK(ctx && judge && in >= 0 && to >= 0);
	CHECK(jwk_parse(OWNER, strlen(OWNER), &owner, NULL) >= 0);
	CHECK(jwk_parse(EPHEMERAL, strlen(EPHEMERAL), &ephemeral, NULL) >= 0);
	CHECK(ecdh_from_jwk(owner, &ecdh) >= 0);
	CHECK(jwe_wrap(owner, ephemeral, cek, wrapped) >= 0);
	CHECK(stream_keys_new(&FACTS, &key, NULL, &ecdh, &keys, NULL) >= 0);
	stream_keys_resize(keys, SMALL, RECORDS_MAX);
	CHECK(pool_new(1, &pool) >= 0 && flow_new(pool, &flow) >= 0);

	CHECK(seal_new(&key, KEY_USE_STATE_KEY, FACTS.vm, extra, sizeof(extra), &s) >= 0);
	CHECK(seal_blob(s, stream_key.bytes, KEY_BYTES, &state) >= 0);
	seal_free(s);
	make_front(&state, 0);
	make_front(&state, 2);
	CHECK(stream_key_wrap(owner, &FACTS, &stream_key, &dump, NULL) >= 0);
	make_front(&dump, 1);
	make_front(&dump, 3);
}

/* An authentic record, whatever it says. */
static void put_record(struct buf *b, int kind, uint32_t prefix, uint32_t number, int nonce_final,
		       const uint8_t *data, size_t n)
{
	uint8_t record[STREAM_RECORD_EXTRA + 64], nonce[12] = { 0 };
	int got = 0;
	CHECK(n <= 64);
	record_put_be32(record, prefix);
	record_put_be32(nonce + 7, number);
	nonce[11] = (uint8_t)nonce_final;
	uint8_t *body = record + 4;
	CHECK(EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), record_keys[kind].aes, nonce, NULL) == 1);
	CHECK(EVP_EncryptUpdate(ctx, NULL, &got, record, 4) == 1);
	CHECK(n == 0 || EVP_EncryptUpdate(ctx, body, &got, data, (int)n) == 1);
	CHECK(EVP_EncryptFinal_ex(ctx, body + n, &got) == 1);
	CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, body + n) == 1);
	put(b, record, n + STREAM_RECORD_EXTRA);
}

/* Open what is in FILE; what came out is in OUT.  The flow's result. */
static int open_file(const struct buf *file, int kind, struct buf *out)
{
	struct fault f = { 0 };
	struct stream_claims claims;
	enum key_use purpose = kind ? KEY_USE_DUMP : KEY_USE_SAVED_STATE;
	size_t need = 0;
	CHECK(ftruncate(in, 0) == 0 && ftruncate(to, 0) == 0);
	CHECK(lseek(in, 0, SEEK_SET) == 0 && lseek(to, 0, SEEK_SET) == 0);
	CHECK(fd_write_full(in, file->data, file->len) == 0);
	CHECK(lseek(in, 0, SEEK_SET) == 0);
	CHECK(flow_open_start(flow, keys, purpose, in, to, NULL) == 0);
	int rc = flow_run(flow, NULL, NULL, &f);
	CHECK((rc < 0) == (f.text[0] != '\0') && (rc < 0) == (f.rc != 0));
	CHECK(lseek(to, 0, SEEK_SET) == 0);
	CHECK(fd_read_all(to, out) == 0);
	CHECK(flow_progress(flow).out_bytes == out->len);
	/* Whole records, unless something was between them and the output. */
	if (rc < 0 && flow_progress(flow).plain_bytes == out->len)
		CHECK(out->len % SMALL == 0);

	/* Whoever has no key says so much of it, too. */
	if (stream_front_need(file->data, file->len, &need, NULL) >= 0)
		CHECK(need <= STREAM_FRONT_MAX);
	int seen = stream_inspect(file->data, file->len, &claims, NULL);
	if (seen >= 0)
		CHECK(claims.front_bytes <= STREAM_FRONT_MAX && claims.front_bytes == need);
	return rc;
}

static void raw(const uint8_t *data, size_t size, int kind)
{
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
	if (size <= FILE_MAX) {
		put(&file, data, size);
		(void)open_file(&file, kind, &out);
	}
}

static void whole_file(struct buf *b, int kind)
{
	put(b, front[kind], front_bytes[kind]);
	for (uint32_t i = 0; i < 4; i++)
		put_record(b, kind, SMALL, i, 0, plain + i * SMALL, SMALL);
	put_record(b, kind, RECORD_FINAL | 5, 4, 1, plain + 4 * SMALL, 5);
}

/* Insert N bytes of SRC at AT in B. */
static void insert(struct buf *b, size_t at, const uint8_t *src, size_t n)
{
	CLEANUP_BUF struct buf tail = BUF_INIT(FILE_MAX), piece = BUF_INIT(FILE_MAX);
	put(&piece, src, n);
	put(&tail, b->data + at, b->len - at);
	b->len = at;
	put(b, piece.data, piece.len);
	put(b, tail.data, tail.len);
}

static void take_out(struct buf *b, size_t at, size_t n)
{
	memmove(b->data + at, b->data + at + n, b->len - at - n);
	b->len -= n;
}

static void edit(struct buf *b, int kind, const uint8_t op[static 4])
{
	size_t at = (size_t)op[1] << 8 | op[2];
	size_t f = front_bytes[kind], from = f + (size_t)(op[1] % 5) * RECORD_BYTES;
	size_t behind = f + (size_t)(op[2] % 6) * RECORD_BYTES;
	if (b->len == 0 || b->len > FILE_MAX / 2)
		return;
	switch (op[0] % 8) {
	case 0: /* alter a byte */
		b->data[at % b->len] ^= op[3];
		break;
	case 1: /* alter one of a record's prefix, or near it */
		if (from + 8 < b->len)
			b->data[from + op[2] % 8] ^= op[3];
		break;
	case 2: /* cut */
		b->len = at % (b->len + 1);
		break;
	case 3: /* repeat a record */
		if (from + RECORD_BYTES <= b->len && behind <= b->len)
			insert(b, behind, b->data + from, RECORD_BYTES);
		break;
	case 4: /* drop one */
		if (from + RECORD_BYTES <= b->len)
			take_out(b, from, RECORD_BYTES);
		break;
	case 5: /* a byte more */
		insert(b, at % (b->len + 1), op + 3, 1);
		break;
	case 6: /* a byte less */
		take_out(b, at % b->len, 1);
		break;
	default: /* the front of the other kind */
		if (b->len >= front_bytes[kind])
			memcpy(b->data, front[!kind],
			       op[3] % (front_bytes[0] < front_bytes[1] ? front_bytes[0]
									: front_bytes[1]));
		break;
	}
}

static void edits(const uint8_t *data, size_t size, int kind)
{
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), was = BUF_INIT(FILE_MAX),
			       out = BUF_INIT(FILE_MAX);
	whole_file(&file, kind);
	whole_file(&was, kind);
	for (size_t i = 0; i + 4 <= size && i < 64; i += 4)
		edit(&file, kind, data + i);
	int same = file.len == was.len && memcmp(file.data, was.data, was.len) == 0;
	int rc = open_file(&file, kind, &out);
	CHECK((rc >= 0) == same);
	CHECK(out.len <= PLAIN_BYTES && (out.len == PLAIN_BYTES) == same);
	CHECK(out.len == 0 || memcmp(out.data, plain, out.len) == 0);
}

/* Each record: flags, size, and with flag 0x10 its first four bytes. */
static void records(const uint8_t *data, size_t size, int kind)
{
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
	int sound = 1, ended = 0;
	uint32_t number = 0;
	put(&file, front[kind], front_bytes[kind]);
	while (size >= 2 && number < 64) {
		uint8_t flags = *data++;
		size_t n = *data++ % (SMALL + 3);
		size -= 2;
		int final = flags >> 7, nonce_final = final ^ (flags >> 6 & 1);
		uint32_t off = flags >> 5 & 1;
		uint32_t prefix = (uint32_t)n | (final ? RECORD_FINAL : 0), said = prefix;
		if (flags & 0x10 && size >= 4) {
			said = record_get_be32(data);
			data += 4;
			size -= 4;
		}
		put_record(&file, kind, said, number + off, nonce_final, plain, n);
		sound &= !ended && nonce_final == final && !off && said == prefix;
		sound &= final ? n <= SMALL && (n > 0 || number == 0) : n == SMALL;
		ended |= final;
		number++;
	}
	sound &= ended && number <= RECORDS_MAX;
	int rc = open_file(&file, kind, &out);
	/* The prefix is authenticated, so that nothing but a sound file opens. */
	CHECK((rc >= 0) == sound);
}

static void header(const uint8_t *data, size_t size)
{
	CLEANUP_BUF struct buf jwe = BUF_INIT(2048), file = BUF_INIT(FILE_MAX),
			       out = BUF_INIT(FILE_MAX);
	uint8_t head[STREAM_HEAD_BYTES];
	struct jwe_content content;
	char canonical[sizeof(HEADER) + JWK_THUMBPRINT_SIZE];
	if (size > 600)
		return;
	CHECK(strict_b64_put(&jwe, data, size) >= 0 && buf_cstr(&jwe));
	CHECK(jwe_encrypt(cek, (const char *)jwe.data, stream_key.bytes, &content) >= 0);
	const struct {
		const uint8_t *p;
		size_t n;
	} PARTS[] = { { wrapped, sizeof(wrapped) },
		      { content.iv, sizeof(content.iv) },
		      { content.ciphertext, sizeof(content.ciphertext) },
		      { content.tag, sizeof(content.tag) } };
	for (size_t i = 0; i < 4; i++) {
		put(&jwe, ".", 1);
		CHECK(strict_b64_put(&jwe, PARTS[i].p, PARTS[i].n) >= 0);
	}
	memcpy(head, front[1], sizeof(head));
	record_put_be32(head + RECORD_AT_SIZE, (uint32_t)jwe.len);
	put(&file, head, sizeof(head));
	put(&file, jwe.data, jwe.len);
	put(&file, front[1] + front_bytes[1] - RECORD_HEADER_BYTES, RECORD_HEADER_BYTES);
	put_record(&file, 1, RECORD_FINAL | 3, 0, 1, plain, 3);

	int n = snprintf(canonical, sizeof(canonical), HEADER, ecdh.thumbprint);
	int same = size == (size_t)n && memcmp(data, canonical, size) == 0;
	CHECK((open_file(&file, 1, &out) >= 0) == same);
}

/* DATA as the frame, whole or in as many records as it takes. */
static void packed(const uint8_t *data, size_t size, int kind)
{
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
	static uint8_t wanted[SMALL * RECORDS_MAX];
	size_t at = 0;
	uint32_t number = 0;
	if (size > sizeof(wanted))
		return;
	put(&file, front[2 + kind], front_bytes[2 + kind]);
	for (; size - at > SMALL; at += SMALL)
		put_record(&file, 2 + kind, SMALL, number++, 0, data + at, SMALL);
	put_record(&file, 2 + kind, RECORD_FINAL | (uint32_t)(size - at), number, 1, data + at,
		   size - at);
	int rc = open_file(&file, kind, &out);
	CHECK(out.len <= sizeof(wanted));
	ZSTD_inBuffer all = { .src = data, .size = size };
	ZSTD_outBuffer made = { .dst = wanted, .size = sizeof(wanted) };
	CHECK(!ZSTD_isError(ZSTD_DCtx_reset(judge, ZSTD_reset_session_only)));
	int whole = ZSTD_decompressStream(judge, &made, &all) == 0 && all.pos == size;
	int same = made.pos == out.len && (out.len == 0 || memcmp(wanted, out.data, out.len) == 0);
	CHECK(rc < 0 || (whole && same));
	CHECK(rc == 0 || out.len == 0 || !whole || made.pos != out.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!flow)
		set_up();
	if (size == 0)
		return 0;
	int kind = data[0] >> 2 & 1;
	if (data[0] & 8) {
		packed(data + 1, size - 1, kind);
		return 0;
	}
	switch (data[0] & 3) {
	case 0:
		raw(data + 1, size - 1, kind);
		break;
	case 1:
		edits(data + 1, size - 1, kind);
		break;
	case 2:
		records(data + 1, size - 1, kind);
		break;
	default:
		header(data + 1, size - 1);
		break;
	}
	return 0;
}
