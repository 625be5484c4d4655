/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/jwk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/jwk_form.h"

#define N		 JWK_COORDINATE_BYTES
#define COORDINATE_CHARS 43 /* base64url of N bytes */

struct jwk {
	uint8_t x[N], y[N];
	uint8_t d[N]; /* zero in a public key */
	int is_private;
};

static struct jwk *jwk_alloc(void)
{
	return calloc(1, sizeof(struct jwk));
}

void jwk_free(struct jwk *k)
{
	wipe_free(k, sizeof(*k));
}

int jwk_is_private(const struct jwk *k)
{
	return k->is_private;
}

const uint8_t *jwk_x(const struct jwk *k)
{
	return k->x;
}

const uint8_t *jwk_y(const struct jwk *k)
{
	return k->y;
}

void jwk_point(const struct jwk *k, uint8_t point[static JWK_POINT_BYTES])
{
	point[0] = POINT_CONVERSION_UNCOMPRESSED;
	memcpy(point + 1, k->x, N);
	memcpy(point + 1 + N, k->y, N);
}

int jwk_same(const struct jwk *a, const struct jwk *b)
{
	return memcmp(a->x, b->x, N) == 0 && memcmp(a->y, b->y, N) == 0;
}

EVP_PKEY *jwk_to_pkey(const struct jwk *k, int private_too)
{
	uint8_t point[JWK_POINT_BYTES], native_d[N];
	char group[] = "P-256";
	EVP_PKEY *pkey = NULL;
	int ok = 0;

	jwk_point(k, point);
	CLEANUP(cleanup_bn) BIGNUM *d = BN_bin2bn(k->d, N, NULL);
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (d && ctx && BN_bn2nativepad(d, native_d, N) == N) {
		int with_d = private_too && k->is_private;
		OSSL_PARAM params[] = {
			OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
			OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point,
							  sizeof(point)),
			with_d ? OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, native_d, N)
			       : OSSL_PARAM_construct_end(),
			OSSL_PARAM_construct_end(),
		};
		ok = EVP_PKEY_fromdata_init(ctx) == 1 &&
		     EVP_PKEY_fromdata(ctx, &pkey, with_d ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY,
				       params) == 1;
	}
	wipe(native_d, N);
	if (ok)
		return pkey;
	EVP_PKEY_free(pkey);
	return NULL;
}

/* The point is on the curve, and d is in range and matches it. */
static int is_sound(const struct jwk *k)
{
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = jwk_to_pkey(k, 1);
	if (!pkey)
		return 0;
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	if (!ctx || EVP_PKEY_public_check(ctx) != 1)
		return 0;
	return !k->is_private ||
	       (EVP_PKEY_private_check(ctx) == 1 && EVP_PKEY_pairwise_check(ctx) == 1);
}

static int take_bn(const EVP_PKEY *pkey, const char *name, uint8_t out[static N])
{
	CLEANUP(cleanup_bn) BIGNUM *bn = NULL;
	return EVP_PKEY_get_bn_param(pkey, name, &bn) == 1 && BN_bn2binpad(bn, out, N) == N;
}

int jwk_new(struct jwk **out, struct fault *f)
{
	CLEANUP_JWK struct jwk *k = jwk_alloc();
	if (!k)
		return fault_set(f, -ENOMEM, "no memory for a new key");
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = EVP_EC_gen("P-256");
	if (!pkey || !take_bn(pkey, OSSL_PKEY_PARAM_EC_PUB_X, k->x) ||
	    !take_bn(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, k->y) ||
	    !take_bn(pkey, OSSL_PKEY_PARAM_PRIV_KEY, k->d))
		return fault_set(f, ERR_CRYPTO, "libcrypto could not make a P-256 key");
	k->is_private = 1;
	*out = k;
	k = NULL;
	return 0;
}

int jwk_from_point(const uint8_t x[static N], const uint8_t y[static N], struct jwk **out)
{
	CLEANUP_JWK struct jwk *k = jwk_alloc();
	if (!k)
		return -ENOMEM;
	memcpy(k->x, x, N);
	memcpy(k->y, y, N);
	if (!is_sound(k)) {
		ERR_clear_error();
		return ERR_FORMAT;
	}
	*out = k;
	k = NULL;
	return 0;
}

static int take_coordinate(const json_t *o, const char *name, uint8_t out[static N],
			   struct fault *f)
{
	const char *text = strict_text(o, name);
	if (!text || strict_b64(text, strlen(text), out, N) < 0)
		return fault_set(f, ERR_FORMAT,
				 "the key's \"%s\" is not %d bytes in base64url (%d characters)",
				 name, N, COORDINATE_CHARS);
	return 0;
}

int jwk_from_json(const json_t *o, struct jwk **out, struct fault *f)
{
	const char *kty = strict_text(o, "kty"), *crv = strict_text(o, "crv");
	if (!kty || strcmp(kty, "EC") != 0 || !crv || strcmp(crv, "P-256") != 0)
		return fault_set(f, ERR_FORMAT,
				 "not a P-256 key: \"kty\" must be \"EC\", \"crv\" \"P-256\"");
	CLEANUP_JWK struct jwk *k = jwk_alloc();
	if (!k)
		return fault_set(f, -ENOMEM, "no memory for a key");
	int rc = take_coordinate(o, "x", k->x, f);
	if (rc >= 0)
		rc = take_coordinate(o, "y", k->y, f);
	if (rc >= 0 && json_object_get(o, "d")) {
		k->is_private = 1;
		rc = take_coordinate(o, "d", k->d, f);
	}
	if (rc < 0)
		return rc;
	if (!is_sound(k)) {
		ERR_clear_error();
		return fault_set(f, ERR_FORMAT, "the key's point is not on P-256%s",
				 k->is_private ? ", or its \"d\" does not belong to it" : "");
	}
	*out = k;
	k = NULL;
	return 0;
}

int jwk_parse(const char *text, size_t n, struct jwk **out, struct fault *f)
{
	if (n > JWK_FILE_MAX)
		return fault_set(f, ERR_FORMAT, "larger than the %d bytes a key may have",
				 JWK_FILE_MAX);
	CLEANUP_JSON json_t *j = NULL;
	int rc = strict_json(text, n, "the key", &j, f);
	return rc < 0 ? rc : jwk_from_json(j, out, f);
}

/* A private key is worth what its file's permissions are. */
static int check_owner(int fd, struct fault *f)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return fault_set(f, -errno, "%s", err_text(-errno));
	if (!S_ISREG(st.st_mode))
		return 0;
	if (st.st_mode & 077)
		return fault_set(f, ERR_POLICY,
				 "a private key that others may use (mode %04o): chmod 600 it, and "
				 "make a new key if anybody could have read it",
				 (unsigned int)st.st_mode & 07777);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return fault_set(f, ERR_POLICY,
				 "a private key that belongs to user %u, neither root nor you",
				 (unsigned int)st.st_uid);
	return 0;
}

int jwk_read_fd(int fd, int private_wanted, struct jwk **out, struct fault *f)
{
	CLEANUP_BUF struct buf b = BUF_INIT(JWK_FILE_MAX);
	int rc = fd_read_all(fd, &b);
	if (rc == ERR_LIMIT)
		return fault_set(f, rc, "larger than the %d bytes a key may have", JWK_FILE_MAX);
	if (rc < 0)
		return fault_set(f, rc, "%s", err_text(rc));
	CLEANUP_JWK struct jwk *k = NULL;
	rc = jwk_parse((const char *)b.data, b.len, &k, f);
	if (rc < 0)
		return rc;
	if (private_wanted && !k->is_private)
		return fault_set(f, ERR_FORMAT, "a public key, where the private one is needed");
	if (!private_wanted && k->is_private)
		return fault_set(f, ERR_FORMAT,
				 "a private key, where the public one (FILE.pub) is wanted; do not "
				 "give a private key away");
	*out = k;
	k = NULL;
	return 0;
}

int jwk_read_file(const char *path, int private_wanted, struct jwk **out, struct fault *f)
{
	struct stat st;
	/* O_NONBLOCK: a fifo must not make us wait for its writer. */
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	if (!S_ISREG(st.st_mode))
		return fault_set(f, -EINVAL, "%s: not a regular file", path);
	int rc = private_wanted ? check_owner(fd, f) : 0;
	if (rc >= 0)
		rc = jwk_read_fd(fd, private_wanted, out, f);
	return rc < 0 ? fault_wrap(f, rc, "%s", path) : 0;
}

/* base64url of N bytes and a NUL. */
static int coordinate_text(const uint8_t bytes[static N], char out[static COORDINATE_CHARS + 1])
{
	CLEANUP_BUF struct buf b = BUF_INIT(COORDINATE_CHARS);
	int rc = strict_b64_put(&b, bytes, N);
	if (rc < 0)
		return rc;
	memcpy(out, b.data, COORDINATE_CHARS);
	out[COORDINATE_CHARS] = '\0';
	return 0;
}

/* The members in the order that RFC 7638 hashes them, "d" last. */
static int put_text(const struct jwk *k, int private_too, struct buf *out)
{
	char x[COORDINATE_CHARS + 1], y[COORDINATE_CHARS + 1], d[COORDINATE_CHARS + 1];
	int rc = coordinate_text(k->x, x);
	if (rc >= 0)
		rc = coordinate_text(k->y, y);
	if (rc < 0)
		return rc;
	rc = buf_addf(out, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"", x, y);
	if (rc >= 0 && private_too) {
		rc = coordinate_text(k->d, d);
		if (rc >= 0)
			rc = buf_addf(out, ",\"d\":\"%s\"", d);
		wipe(d, sizeof(d));
	}
	return rc < 0 ? rc : buf_add(out, "}", 1);
}

int jwk_public_text(const struct jwk *k, struct buf *out)
{
	return put_text(k, 0, out);
}

json_t *jwk_to_json(const struct jwk *k, int private_too)
{
	CLEANUP_BUF struct buf b = BUF_INIT(JWK_FILE_MAX);
	strict_init();
	if (put_text(k, private_too && k->is_private, &b) < 0)
		return NULL;
	return json_loadb((const char *)b.data, b.len, 0, NULL);
}

int jwk_thumbprint(const struct jwk *k, char out[static JWK_THUMBPRINT_SIZE])
{
	CLEANUP_BUF struct buf b = BUF_INIT(JWK_FILE_MAX);
	uint8_t digest[32];
	size_t n = 0;
	int rc = put_text(k, 0, &b);
	if (rc < 0)
		return rc;
	if (EVP_Q_digest(NULL, "SHA256", NULL, b.data, b.len, digest, &n) != 1 ||
	    n != sizeof(digest))
		return ERR_CRYPTO;
	return coordinate_text(digest, out);
}

int jwk_write_pair(const struct jwk *k, const char *path, struct fault *f)
{
	char pub_path[PATH_MAX];
	CLEANUP_BUF struct buf pub = BUF_INIT(JWK_FILE_MAX), priv = BUF_INIT(JWK_FILE_MAX);
	int n = snprintf(pub_path, sizeof(pub_path), "%s.pub", path);
	if (n < 0 || (size_t)n >= sizeof(pub_path))
		return fault_set(f, -ENAMETOOLONG, "%s: %s", path, err_text(-ENAMETOOLONG));
	if (!k->is_private)
		return fault_set(f, ERR_FORMAT, "%s: there is no private key to write", path);

	int rc = put_text(k, 0, &pub);
	if (rc >= 0)
		rc = buf_add(&pub, "\n", 1);
	if (rc >= 0)
		rc = put_text(k, 1, &priv);
	if (rc >= 0)
		rc = buf_add(&priv, "\n", 1);
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", path, err_text(rc));

	rc = fd_write_file(AT_FDCWD, path, priv.data, priv.len, 0600, 0, f);
	if (rc < 0)
		return rc;
	rc = fd_write_file(AT_FDCWD, pub_path, pub.data, pub.len, 0644, 0, f);
	/* Half a pair would stand in the way of the next attempt. */
	if (rc < 0)
		unlink(path);
	return rc;
}
