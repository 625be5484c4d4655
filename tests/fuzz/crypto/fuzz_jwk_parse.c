/* SPDX-License-Identifier: BSD-3-Clause */
/* jwk_parse() on arbitrary bytes; a key that is taken survives its own text. */
#include "crypto/jwk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_JWK struct jwk *k = NULL, *again = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	char thumbprint[JWK_THUMBPRINT_SIZE];
	struct fault f = { 0 };
	int rc = jwk_parse((const char *)data, size, &k, &f);
	if ((rc < 0) != (k == NULL) || (rc < 0) != (f.text[0] != '\0'))
		abort();
	if (rc < 0)
		return 0;
	if (jwk_thumbprint(k, thumbprint) < 0 || strlen(thumbprint) != JWK_THUMBPRINT_SIZE - 1 ||
	    jwk_public_text(k, &text) < 0 ||
	    jwk_parse((const char *)text.data, text.len, &again, NULL) < 0 || !jwk_same(k, again) ||
	    jwk_is_private(again))
		abort();
	return 0;
}
