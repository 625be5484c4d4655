/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/archive.h"

#include <endian.h>
#include <string.h>

#include "crypto/hpke.h"
#include "crypto/jwk.h"
#include "crypto/mac.h"
#include "guardian/setup.h"

#define MAGIC	    "SHVEXPRT"
#define INFO	    "shieldvm/1/guardian-export"
#define PIECE_BYTES (512U * 1024)
#define FILE_MAX    (64U * 1024)

struct __attribute__((packed)) head {
	char magic[8];
	uint64_t version;
	uint8_t id[32]; /* random: of this file */
	uint8_t to[RAWKEY_P256_POINT];
};
/* What each piece is bound to. */
struct __attribute__((packed)) place {
	struct head head;
	uint32_t number, last;
};
struct __attribute__((packed)) entry {
	uint32_t file;
	uint64_t size;
};
_Static_assert(sizeof(struct head) == 113 && sizeof(struct entry) == 12, "as FORMAT.md has them");

static const struct {
	const char *name;
	size_t max;
	int needed;
} FILES[ARCHIVE_FILES] = {
	[ARCHIVE_CA_KEY] = { SETUP_CA "/ca.key", FILE_MAX, 1 },
	[ARCHIVE_CA_CERT] = { SETUP_CA "/ca.pem", FILE_MAX, 1 },
	[ARCHIVE_LOG] = { SETUP_LOG, FILE_MAX, 1 },
	[ARCHIVE_MAC] = { SETUP_MAC, FILE_MAX, 1 },
	[ARCHIVE_RELEASE] = { SETUP_RELEASE, FILE_MAX, 0 },
	[ARCHIVE_RELEASE_PUB] = { SETUP_RELEASE_PUB, FILE_MAX, 0 },
	[ARCHIVE_TLS] = { SETUP_TLS, FILE_MAX, 0 },
	[ARCHIVE_DATABASE] = { SETUP_DB, ARCHIVE_DATABASE_MAX, 0 },
};

void archive_init(struct archive *a)
{
	for (int i = 0; i < ARCHIVE_FILES; i++)
		a->files[i] = BUF_INIT(FILES[i].max);
}

void archive_done(struct archive *a)
{
	for (int i = 0; i < ARCHIVE_FILES; i++)
		buf_done(&a->files[i]);
}

const char *archive_name(enum archive_file file)
{
	return FILES[file].name;
}

/* One release key, and everything that each guardian has. */
static int is_whole(const struct archive *a)
{
	for (int i = 1; i < ARCHIVE_FILES; i++)
		if (FILES[i].needed && !a->files[i].len)
			return 0;
	return !a->files[ARCHIVE_RELEASE].len != !a->files[ARCHIVE_RELEASE_PUB].len;
}

static void set_point(const struct jwk *k, uint8_t point[static RAWKEY_P256_POINT])
{
	point[0] = 4;
	memcpy(point + 1, jwk_x(k), JWK_COORDINATE_BYTES);
	memcpy(point + 1 + JWK_COORDINATE_BYTES, jwk_y(k), JWK_COORDINATE_BYTES);
}

static int pack(const struct archive *a, struct buf *out)
{
	int rc = is_whole(a) ? 0 : ERR_STATE;
	for (uint32_t i = 1; rc >= 0 && i < ARCHIVE_FILES; i++) {
		const struct buf *b = &a->files[i];
		const struct entry e = { htobe32(i), htobe64(b->len) };
		if (!b->len)
			continue;
		rc = buf_add(out, &e, sizeof(e));
		if (rc >= 0)
			rc = buf_add(out, b->data, b->len);
	}
	return rc;
}

int archive_seal(const struct archive *a, const struct jwk *to, struct buf *out, struct fault *f)
{
	static const struct hpke_text info = { INFO, sizeof(INFO) - 1 };
	struct place p = { .head = { .magic = MAGIC, .version = htobe64(ARCHIVE_VERSION) } };
	CLEANUP_BUF struct buf plain = BUF_INIT(ARCHIVE_MAX);
	set_point(to, p.head.to);
	int rc = mac_random(p.head.id, sizeof(p.head.id));
	if (rc >= 0)
		rc = pack(a, &plain);
	if (rc >= 0)
		rc = buf_add(out, &p.head, sizeof(p.head));
	for (size_t at = 0, n; rc >= 0 && at < plain.len; at += n) {
		n = plain.len - at < PIECE_BYTES ? plain.len - at : PIECE_BYTES;
		p.last = htobe32(at + n == plain.len);
		const uint32_t size = htobe32((uint32_t)(n + HPKE_OVERHEAD_BYTES));
		const struct hpke_text aad = { &p, sizeof(p) }, text = { plain.data + at, n };
		rc = buf_add(out, &size, sizeof(size));
		if (rc >= 0)
			rc = hpke_seal(p.head.to, info, aad, text, out, f);
		p.number = htobe32(be32toh(p.number) + 1);
	}
	return rc < 0 ? fault_set(f, rc, "the export cannot be sealed: %s", err_text(rc)) : 0;
}

/* The pieces behind P's head, from *TEXT on. */
static int open_pieces(struct place *p, const uint8_t *text, size_t n, const struct ecdh *ecdh,
		       struct buf *plain, struct fault *f)
{
	static const struct hpke_text info = { INFO, sizeof(INFO) - 1 };
	for (;;) {
		uint32_t size;
		if (n < sizeof(size))
			return ERR_TRUNCATED;
		memcpy(&size, text, sizeof(size));
		size = be32toh(size);
		text += sizeof(size);
		n -= sizeof(size);
		if (size <= HPKE_OVERHEAD_BYTES || size > PIECE_BYTES + HPKE_OVERHEAD_BYTES)
			return ERR_FORMAT;
		if (size > n)
			return ERR_TRUNCATED;
		/* Only the last one may be shorter, and nothing is behind it. */
		int last = size == n;
		if (!last && size != PIECE_BYTES + HPKE_OVERHEAD_BYTES)
			return ERR_FORMAT;
		p->last = htobe32((uint32_t)last);
		const struct hpke_text aad = { p, sizeof(*p) }, sealed = { text, size };
		int rc = hpke_open(ecdh, p->head.to, info, aad, sealed, plain, f);
		if (rc < 0 || last)
			return rc;
		p->number = htobe32(be32toh(p->number) + 1);
		text += size;
		n -= size;
	}
}

int archive_open(const uint8_t *text, size_t n, const struct jwk *key, struct archive *out,
		 struct fault *f)
{
	struct place p = { 0 };
	uint8_t mine[RAWKEY_P256_POINT];
	struct ecdh ecdh;
	CLEANUP_BUF struct buf plain = BUF_INIT(ARCHIVE_MAX);
	if (n < sizeof(p.head) || memcmp(text, MAGIC, sizeof(p.head.magic)) != 0)
		return fault_set(f, ERR_FORMAT, "this is no export of a guardian");
	memcpy(&p.head, text, sizeof(p.head));
	if (be64toh(p.head.version) != ARCHIVE_VERSION)
		return fault_set(f, ERR_VERSION,
				 "the export has version %llu, this program knows %d: update it",
				 (unsigned long long)be64toh(p.head.version), ARCHIVE_VERSION);
	set_point(key, mine);
	if (memcmp(p.head.to, mine, sizeof(mine)) != 0)
		return fault_set(f, ERR_RECIPIENT, "the export is sealed to another key");
	int rc = ecdh_from_jwk(key, &ecdh);
	if (rc >= 0)
		rc = open_pieces(&p, text + sizeof(p.head), n - sizeof(p.head), &ecdh, &plain,
				 NULL);
	if (rc < 0)
		return fault_set(f, rc, "the export was altered, or is not whole: %s",
				 err_text(rc));
	return archive_parse(plain.data, plain.len, out, f);
}

static int parse(const uint8_t *data, size_t n, struct archive *a)
{
	uint32_t before = 0;
	while (n) {
		struct entry e;
		if (n < sizeof(e))
			return ERR_TRUNCATED;
		memcpy(&e, data, sizeof(e));
		data += sizeof(e);
		n -= sizeof(e);
		uint32_t file = be32toh(e.file);
		uint64_t size = be64toh(e.size);
		if (file <= before || file >= ARCHIVE_FILES || size == 0)
			return ERR_FORMAT;
		if (size > FILES[file].max)
			return ERR_LIMIT;
		if (size > n)
			return ERR_TRUNCATED;
		int rc = buf_add(&a->files[file], data, (size_t)size);
		if (rc < 0)
			return rc;
		data += size;
		n -= (size_t)size;
		before = file;
	}
	return is_whole(a) ? 0 : ERR_FORMAT;
}

int archive_parse(const uint8_t *data, size_t n, struct archive *out, struct fault *f)
{
	CLEANUP_ARCHIVE struct archive a;
	archive_init(&a);
	int rc = parse(data, n, &a);
	if (rc < 0)
		return fault_set(f, rc, "what the export holds is not a guardian: %s",
				 err_text(rc));
	archive_done(out);
	*out = a;
	archive_init(&a);
	return 0;
}
