/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this host attests (docs/FORMAT.md, "attest.json"): what it was enrolled with, for those that
 * attest later with nobody at hand to say it.
 *
 * May be used by: attest/ programs, cli/.
 */
#ifndef SHIELDVM_ATTEST_CONF_H
#define SHIELDVM_ATTEST_CONF_H

#include "base/err.h"
#include "crypto/healthcert.h"

#define CONF_TEXT_MAX  16384 /* of the file */
#define CONF_VALUE_MAX 4096  /* of one of its texts */

/* The texts are malloc()ed where conf_done() is called; NULL: the default (/dev/tpmrm0, the
 * kernel's logs). */
struct conf {
	enum healthcert_assurance mode;
	const char *tcti, *eventlog, *ima; /* the logs' with whole paths */
};
void conf_done(struct conf *c);
#define CLEANUP_CONF CLEANUP(conf_done)

/*
 * Read PATH; where there is none, OUT is a host with a TPM and all defaults.  ERR_POLICY if the
 * file belongs to neither root nor the caller or others may write it, since a TCTI names a library
 * that is then loaded; ERR_FORMAT, ERR_LIMIT, -errno, each with a sentence.  OUT is untouched on
 * failure.
 */
int conf_read(const char *path, struct conf *out, struct fault *f) MUST_CHECK;

/* Write it there, durably (0644).  ERR_LIMIT, -errno. */
int conf_write(const char *path, const struct conf *c, struct fault *f) MUST_CHECK;

#endif
