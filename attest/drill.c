/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/drill.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/wipe.h"
#include "crypto/hpke.h"

#define SECRET_BYTES 32

/* Its own, so that nothing sealed here is ever taken for a real release. */
static const struct hpke_text INFO = { "shieldvm release drill", 22 };

/* Open SEALED, and compare. */
static int open_secret(struct hosttpm *t, const struct evidence *e, const uint8_t *point,
		       const struct buf *sealed, const uint8_t secret[static SECRET_BYTES],
		       struct fault *why)
{
	/* What hosttpm_ecdh() needs of it; both go on belonging to E. */
	struct hosttpm_proof bound = { .bk_pub = e->bk_pub, .pcrs = e->pcrs };
	struct hosttpm_half half = { t, &bound, why };
	struct ecdh ecdh = hosttpm_ecdh_of(&half);
	CLEANUP_BUF struct buf got = BUF_INIT(SECRET_BYTES);
	int rc = hpke_open(&ecdh, point, INFO, (struct hpke_text){ e->nonce, sizeof(e->nonce) },
			   (struct hpke_text){ sealed->data, sealed->len }, &got, why);
	if (rc >= 0 && (got.len != SECRET_BYTES || memcmp(got.data, secret, SECRET_BYTES) != 0))
		rc = fault_set(why, ERR_AUTH, "the TPM opened something else");
	return rc;
}

int drill_release(struct hosttpm *t, const struct evidence *e, const uint8_t x[static 32],
		  const uint8_t y[static 32], struct findings *out, struct fault *f)
{
	uint8_t point[RAWKEY_P256_POINT] = { 4 }, secret[SECRET_BYTES];
	CLEANUP_BUF struct buf sealed = BUF_INIT(HPKE_OVERHEAD_BYTES + SECRET_BYTES);
	struct fault why = { 0 };
	memcpy(point + 1, x, 32);
	memcpy(point + 33, y, 32);
	if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret))
		return fault_set(f, -EIO, "the kernel gives no random numbers");
	int rc = hpke_seal(point, INFO, (struct hpke_text){ e->nonce, sizeof(e->nonce) },
			   (struct hpke_text){ secret, sizeof(secret) }, &sealed, f);
	if (rc >= 0) {
		int opened = open_secret(t, e, point, &sealed, secret, &why);
		if (opened < 0)
			finding_fail(out, "key.release", opened, &why);
		else
			finding_add(out, "key.release", FINDING_OK,
				    "what was sealed to the key, the TPM opened");
	}
	wipe(secret, sizeof(secret));
	return rc;
}
