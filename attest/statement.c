/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/statement.h"

#include "crypto/strict.h"

int statement_enrol(const uint8_t host[static UUID_BYTES], const char *name,
		    const uint8_t nonce[static STATEMENT_NONCE_BYTES], struct buf *out)
{
	char id[UUID_TEXT_SIZE];
	uuid_format(host, id);
	int rc = buf_addf(out, "{\"v\":1,\"host\":\"%s\",\"name\":\"%s\",\"nonce\":\"", id, name);
	if (rc >= 0)
		rc = strict_b64_put(out, nonce, STATEMENT_NONCE_BYTES);
	return rc < 0 ? rc : buf_addf(out, "\"}");
}

int statement_attest(const uint8_t host[static UUID_BYTES],
		     const uint8_t nonce[static STATEMENT_NONCE_BYTES],
		     const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], struct buf *out)
{
	char id[UUID_TEXT_SIZE];
	uuid_format(host, id);
	int rc = buf_addf(out, "{\"v\":1,\"host\":\"%s\",\"nonce\":\"", id);
	if (rc >= 0)
		rc = strict_b64_put(out, nonce, STATEMENT_NONCE_BYTES);
	if (rc >= 0)
		rc = buf_addf(out, "\",\"worker\":\"");
	if (rc >= 0)
		rc = strict_b64_put(out, worker, ATTEST_WORKER_KEY_BYTES);
	return rc < 0 ? rc : buf_addf(out, "\"}");
}
