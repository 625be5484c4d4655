/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/keyrelease.h"

#include <endian.h>

#include "crypto/hash.h"

#define VERSION 1

/* Each layer has its own info, so that neither can be taken for the other. */
static const char HOST_INFO[] = "shieldvm key release to host 1";
static const char WORKER_INFO[] = "shieldvm key release to worker 1";
static const char COPY_INFO[] = "shieldvm key release to keep 1";
#define INFO(text) ((struct hpke_text){ text, sizeof(text) - 1 })

/* SHA-256 over the request, in which what varies in size has its size before it; and what only some
 * have is at its end. */
static int bind(const struct keyrelease_about *about, uint8_t out[static 32])
{
	uint64_t certificate = htobe64(about->certificate_bytes);
	uint64_t protector = htobe64(about->protector_chars);
	uint64_t restore = htobe64(about->restore);
	const struct hash_part parts[] = {
		{ &certificate, sizeof(certificate) },
		{ about->certificate, about->certificate_bytes },
		{ &protector, sizeof(protector) },
		{ about->protector, about->protector_chars },
		{ about->vm, sizeof(about->vm) },
		{ about->request, sizeof(about->request) },
		{ &restore, sizeof(restore) },
	};
	size_t n = sizeof(parts) / sizeof(parts[0]);
	return hash_parts(HASH_SHA256, parts, about->restore ? n : n - 1, out);
}

static void put_number(uint8_t *at, int64_t number)
{
	uint64_t be = htobe64((uint64_t)number);
	memcpy(at, &be, sizeof(be));
}

static int64_t get_number(const uint8_t *at)
{
	uint64_t be;
	memcpy(&be, at, sizeof(be));
	return (int64_t)be64toh(be);
}

/* R for the KEY that INFO names, in one layer; AAD is what bind() made. */
static int seal_plain(const uint8_t key[static RAWKEY_P256_POINT], struct hpke_text info,
		      struct hpke_text aad, const struct keyrelease *r, struct buf *out,
		      struct fault *f)
{
	uint8_t plain[KEYRELEASE_PLAIN_BYTES] = { VERSION };
	if (r->token < 0 || r->expires < 0 || r->spent < 0)
		return fault_set(f, ERR_FORMAT, "a key release with an impossible number");
	memcpy(plain + 1, r->key.bytes, KEY_BYTES);
	put_number(plain + 1 + KEY_BYTES, r->token);
	put_number(plain + 1 + KEY_BYTES + 8, r->expires);
	put_number(plain + 1 + KEY_BYTES + 16, r->spent);
	int rc = hpke_seal(key, info, aad, (struct hpke_text){ plain, sizeof(plain) }, out, f);
	wipe(plain, sizeof(plain));
	return rc;
}

/* The same, bound to ABOUT. */
static int seal_one(const uint8_t key[static RAWKEY_P256_POINT], struct hpke_text info,
		    const struct keyrelease_about *about, const struct keyrelease *r,
		    struct buf *out, struct fault *f)
{
	uint8_t bound[32];
	int rc = bind(about, bound);
	if (rc < 0)
		return fault_set(f, rc, "the key release: %s", err_text(rc));
	return seal_plain(key, info, (struct hpke_text){ bound, sizeof(bound) }, r, out, f);
}

int keyrelease_seal(const uint8_t host[static RAWKEY_P256_POINT],
		    const uint8_t worker[static RAWKEY_P256_POINT],
		    const struct keyrelease_about *about, const struct keyrelease *r,
		    struct buf *out, struct fault *f)
{
	uint8_t bound[32];
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	int rc = bind(about, bound);
	if (rc < 0)
		return fault_set(f, rc, "the key release: %s", err_text(rc));
	const struct hpke_text aad = { bound, sizeof(bound) };
	rc = seal_plain(worker, INFO(WORKER_INFO), aad, r, &inner, f);
	if (rc < 0)
		return rc;
	return hpke_seal(host, INFO(HOST_INFO), aad, (struct hpke_text){ inner.data, inner.len },
			 out, f);
}

int keyrelease_seal_copy(const uint8_t host[static RAWKEY_P256_POINT],
			 const struct keyrelease_about *about, const struct keyrelease *r,
			 struct buf *out, struct fault *f)
{
	struct keyrelease_about later = *about;
	later.restore = 0;
	return seal_one(host, INFO(COPY_INFO), &later, r, out, f);
}

int keyrelease_seal_inner(const uint8_t worker[static RAWKEY_P256_POINT],
			  const struct keyrelease_about *about, const struct keyrelease *r,
			  struct buf *out, struct fault *f)
{
	return seal_one(worker, INFO(WORKER_INFO), about, r, out, f);
}

static int check_size(size_t n, size_t want, struct fault *f)
{
	if (n == want)
		return 0;
	return fault_set(f, n < want ? ERR_TRUNCATED : ERR_TRAILING,
			 "a key release has %zu bytes here, not %zu", want, n);
}

/* Open one layer. */
static int take_off(const struct ecdh *ecdh, const uint8_t key[static RAWKEY_P256_POINT],
		    struct hpke_text info, const struct keyrelease_about *about,
		    struct hpke_text sealed, struct buf *out, struct fault *f)
{
	uint8_t bound[32];
	int rc = bind(about, bound);
	if (rc < 0)
		return fault_set(f, rc, "the key release: %s", err_text(rc));
	return hpke_open(ecdh, key, info, (struct hpke_text){ bound, sizeof(bound) }, sealed, out,
			 f);
}

int keyrelease_unwrap(const struct ecdh *ecdh, const uint8_t host[static RAWKEY_P256_POINT],
		      const struct keyrelease_about *about, const uint8_t *sealed, size_t n,
		      struct buf *inner, struct fault *f)
{
	int rc = check_size(n, KEYRELEASE_BYTES, f);
	if (rc < 0)
		return rc;
	return take_off(ecdh, host, INFO(HOST_INFO), about, (struct hpke_text){ sealed, n }, inner,
			f);
}

/* Open the one layer that INFO names, which holds a release. */
static int open_plain(const struct ecdh *ecdh, const uint8_t key[static RAWKEY_P256_POINT],
		      struct hpke_text info, const struct keyrelease_about *about,
		      const uint8_t *sealed, size_t n, struct keyrelease *out, struct fault *f)
{
	CLEANUP_BUF struct buf plain = BUF_INIT(KEYRELEASE_PLAIN_BYTES);
	int rc = check_size(n, KEYRELEASE_INNER_BYTES, f);
	if (rc < 0)
		return rc;
	rc = take_off(ecdh, key, info, about, (struct hpke_text){ sealed, n }, &plain, f);
	if (rc < 0)
		return rc;
	const uint8_t *numbers = plain.data + 1 + KEY_BYTES;
	int64_t token = get_number(numbers), expires = get_number(numbers + 8);
	int64_t spent = get_number(numbers + 16);
	if (plain.data[0] != VERSION)
		return fault_set(f, ERR_VERSION,
				 "a key release of version %u, this program knows %d",
				 plain.data[0], VERSION);
	if (token < 0 || expires < 0 || spent < 0)
		return fault_set(f, ERR_FORMAT, "a key release with an impossible number");
	memcpy(out->key.bytes, plain.data + 1, KEY_BYTES);
	out->token = token;
	out->expires = expires;
	out->spent = spent;
	return 0;
}

int keyrelease_open(const struct ecdh *ecdh, const uint8_t worker[static RAWKEY_P256_POINT],
		    const struct keyrelease_about *about, const uint8_t *inner, size_t n,
		    struct keyrelease *out, struct fault *f)
{
	return open_plain(ecdh, worker, INFO(WORKER_INFO), about, inner, n, out, f);
}

int keyrelease_open_copy(const struct ecdh *ecdh, const uint8_t host[static RAWKEY_P256_POINT],
			 const struct keyrelease_about *about, const uint8_t *sealed, size_t n,
			 struct keyrelease *out, struct fault *f)
{
	return open_plain(ecdh, host, INFO(COPY_INFO), about, sealed, n, out, f);
}
