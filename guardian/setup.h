/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guardian's state folder: the CA of health certificates, the keys of log, release, challenges
 * and TLS, the database.  Each is made once and then kept.
 *
 * May be used by: guardian/main.c, and its keeper before it is confined.
 */
#ifndef SHIELDVM_GUARDIAN_SETUP_H
#define SHIELDVM_GUARDIAN_SETUP_H

#include "guardian/guardian.h"
#include "guardian/store_url.h"

#define SETUP_PATH_MAX 4096

/* Files in the folder. */
#define SETUP_CA       "ca"
#define SETUP_LOG      "log.jwk"
#define SETUP_RELEASE  "release.jwk"
#define SETUP_MAC      "mac.key"
#define SETUP_TLS      "tls.jwk"
#define SETUP_DB       "guardian.db"

/* Write FOLDER/NAME; ERR_USAGE if FOLDER is not absolute or too long. */
int setup_path(const char *folder, const char *name, char out[static SETUP_PATH_MAX],
	       struct fault *f) MUST_CHECK;

/* Where a guardian's things are.  All strings are the caller's. */
struct setup_from {
	const char *folder;
	const char *db;	   /* postgresql://...; NULL: the file in FOLDER */
	const char *ek_ca; /* makers of TPMs (PEM); NULL: none */
};

/*
 * Make what is missing; the folder too, for its owner only.  ADMIN_KEY (a public JWK's path)
 * becomes the admin ADMIN_NAME, unless it is one already; NULL: nobody does.  Tells on standard
 * output what was made and what was there.  ERR_POLICY if others may look into the folder; the
 * errors of what makes each.  What was made before a failure stays, and is kept the next time.
 */
int setup_init(const struct setup_from *from, const char *admin_key, const char *admin_name,
	       int64_t now, struct fault *f) MUST_CHECK;

/*
 * Open all but the TLS key into OUT, which then stays where it is.  ERR_AUTH if the database was
 * begun with another log key than the folder's.
 */
struct setup {
	struct guardian g;
	struct healthca *ca;
	struct jwk *log_key, *release_key;
	struct ecdh release;
	struct ekcert_roots *roots;
	struct store_ports ports; /* that a database is reached by */
};
int setup_open(const struct setup_from *from, struct setup *out, struct fault *f) MUST_CHECK;
void setup_done(struct setup *s);

#endif
