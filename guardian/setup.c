/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/tls.h"
#include "guardian/pkcs11.h"
#include "guardian/policy.h"

#define BY_INIT "init" /* who the release log names */

int setup_path(const char *folder, const char *name, char out[static SETUP_PATH_MAX],
	       struct fault *f)
{
	int n = snprintf(out, SETUP_PATH_MAX, "%s/%s", folder, name);
	if (folder[0] != '/' || n < 0 || n >= SETUP_PATH_MAX)
		return fault_set(f, ERR_USAGE,
				 "%s: the state folder's path is not absolute, or too "
				 "long",
				 folder);
	return 0;
}

static int make_folder(const char *folder, struct fault *f)
{
	struct stat st;
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return fault_set(f, -errno, "%s: %s", folder, err_text(-errno));
	if (lstat(folder, &st) < 0)
		return fault_set(f, -errno, "%s: %s", folder, err_text(-errno));
	if (!S_ISDIR(st.st_mode))
		return fault_set(f, -ENOTDIR, "%s is not a folder", folder);
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return fault_set(f, ERR_POLICY,
				 "%s is not its owner's alone: make it so (chmod 700), or take "
				 "another one",
				 folder);
	return 0;
}

static void tell(const char *path, int made)
{
	printf("%s (%s)\n", path, made ? "made" : "kept");
}

static int make_jwk(const char *folder, const char *name, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	CLEANUP_JWK struct jwk *key = NULL;
	int rc = setup_path(folder, name, path, f);
	if (rc < 0)
		return rc;
	if (access(path, F_OK) == 0) {
		tell(path, 0);
		return jwk_read_file(path, 1, &key, f);
	}
	rc = jwk_new(&key, f);
	if (rc >= 0)
		rc = jwk_write_pair(key, path, f);
	if (rc >= 0)
		tell(path, 1);
	return rc;
}

/* The release key in the HSM, and its public half in the folder. */
static int make_in_hsm(const char *folder, const char *uri, struct fault *f)
{
	char path[SETUP_PATH_MAX], file[SETUP_PATH_MAX];
	CLEANUP_JWK struct jwk *key = NULL, *known = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	CLEANUP_PKCS11 struct pkcs11 *hsm = NULL;
	struct ecdh ecdh;
	int made = 0, rc = setup_path(folder, SETUP_RELEASE_PUB, path, f);
	if (rc >= 0)
		rc = setup_path(folder, SETUP_RELEASE, file, f);
	if (rc < 0)
		return rc;
	if (access(file, F_OK) == 0)
		return fault_set(f, -EEXIST,
				 "%s: this guardian has a release key in a file, which protectors "
				 "may name: take another folder for one in an HSM",
				 file);
	int there = access(path, F_OK) == 0;
	/* What is known by its public half is not made anew. */
	made = rc = there ? pkcs11_open(uri, &hsm, f) : pkcs11_make(uri, &hsm, f);
	if (rc >= 0)
		rc = pkcs11_public(hsm, &key, f);
	if (rc >= 0)
		rc = pkcs11_ecdh(hsm, key, &ecdh, f);
	if (rc >= 0 && there)
		rc = jwk_read_file(path, 0, &known, f);
	if (rc >= 0 && known && !jwk_same(key, known))
		rc = fault_set(f, ERR_POLICY, "%s is of another key than the one in the HSM", path);
	if (rc >= 0 && !there)
		rc = jwk_public_text(key, &text);
	if (rc >= 0 && !there)
		rc = buf_add(&text, "\n", 1);
	if (rc >= 0 && !there)
		rc = fd_write_file(AT_FDCWD, path, text.data, text.len, 0644, 0, f);
	if (rc < 0)
		return fault_set(f, rc, "the release key in the HSM: %s", err_text(rc));
	printf("release key in the HSM (%s)\n", made ? "made" : "kept");
	tell(path, !there);
	return 0;
}

static int make_mac(const char *folder, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	uint8_t key[MAC_KEY_BYTES];
	int rc = setup_path(folder, SETUP_MAC, path, f);
	if (rc < 0)
		return rc;
	int there = access(path, F_OK) == 0;
	rc = there ? mac_key_read(path, key, f) : mac_key_make(path, f);
	wipe(key, sizeof(key));
	if (rc >= 0)
		tell(path, !there);
	return rc;
}

static int make_ca(const char *folder, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	int rc = setup_path(folder, SETUP_CA, path, f);
	if (rc < 0)
		return rc;
	int there = access(path, F_OK) == 0;
	rc = healthca_init(path, f);
	if (rc >= 0)
		tell(path, !there);
	return rc;
}

/* Where the database is, into PATH if it is a file. */
static int place_db(const struct setup_from *from, char path[static SETUP_PATH_MAX],
		    struct store_ports *ports, const char **where, struct fault *f)
{
	*where = from->db ? from->db : path;
	return from->db ? store_url_confined(from->db, from->folder, ports, f)
			: setup_path(from->folder, SETUP_DB, path, f);
}

static int make_db(const struct setup_from *from, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	const char *where;
	struct store_ports ports;
	struct fault why = { 0 };
	int rc = place_db(from, path, &ports, &where, f);
	if (rc < 0)
		return rc;
	int there = !from->db && access(path, F_OK) == 0;
	rc = there ? 0 : store_create(where, &why);
	/* Another guardian's, maybe: setup_open() looks. */
	if (from->db && rc == -EEXIST) {
		there = 1;
		rc = 0;
	}
	if (rc < 0)
		return fault_set(f, rc, "%s", why.text);
	tell(where, there == 0);
	return 0;
}

void setup_done(struct setup *s)
{
	store_close(s->g.store);
	fd_close(&s->keys.link);
	healthca_free(s->ca);
	jwk_free(s->log_key);
	jwk_free(s->release_key);
	ekcert_roots_free(s->roots);
	wipe(s->g.mac_key, sizeof(s->g.mac_key));
}

static int read_roots(const char *path, struct ekcert_roots **out, struct fault *f)
{
	CLEANUP_BUF struct buf pem = BUF_INIT(EKCERT_ROOTS_PEM_MAX);
	int rc = fd_read_file(AT_FDCWD, path, &pem, f);
	if (rc < 0)
		return rc;
	rc = ekcert_roots_parse((const char *)pem.data, pem.len, out, f);
	return rc < 0 ? fault_wrap(f, rc, "%s", path) : 0;
}

static int is_ours(__attribute__((unused)) int64_t seq, const char *statement, size_t n, void *arg)
{
	struct ledger_head head = { 0 };
	struct ledger_record first;
	struct fault none = { 0 };
	return ledger_next(&head, arg, statement, n, &first, &none);
}

/* Has the release log of the guardian itself begun with our key, if it has begun? */
static int check_log(struct setup *s, const char *where, struct fault *f)
{
	static const uint8_t GUARDIAN[UUID_BYTES];
	struct fault why = { 0 };
	int rc = store_log_each(s->g.store, GUARDIAN, "", 1, 1, is_ours, s->log_key, &why);
	if (rc == ERR_AUTH)
		return fault_set(f, rc,
				 "%s is a guardian's with other keys: bring that one's here "
				 "(shieldvm-guardian export, import), or take another database",
				 where);
	return rc < 0 ? fault_set(f, rc, "%s: %s", where, why.text[0] ? why.text : err_text(rc))
		      : 0;
}

int setup_open(const struct setup_from *from, struct setup *out, struct fault *f)
{
	const char *folder = from->folder, *where;
	char ca[SETUP_PATH_MAX], log[SETUP_PATH_MAX], mac[SETUP_PATH_MAX], db[SETUP_PATH_MAX],
		release[SETUP_PATH_MAX];
	CLEANUP(setup_done) struct setup s = { .keys = { .link = -1 } };
	int rc = setup_path(folder, SETUP_CA, ca, f);
	if (rc >= 0)
		rc = setup_path(folder, SETUP_LOG, log, f);
	if (rc >= 0)
		rc = setup_path(folder, from->release ? SETUP_RELEASE_PUB : SETUP_RELEASE, release,
				f);
	if (rc >= 0)
		rc = setup_path(folder, SETUP_MAC, mac, f);
	if (rc >= 0)
		rc = place_db(from, db, &s.ports, &where, f);
	if (rc >= 0)
		rc = healthca_open(ca, &s.ca, f);
	if (rc >= 0)
		rc = jwk_read_file(log, 1, &s.log_key, f);
	if (rc >= 0)
		rc = jwk_read_file(release, !from->release, &s.release_key, f);
	if (rc >= 0 && (from->release ? keys_ecdh(&s.keys, s.release_key, &s.release)
				      : ecdh_from_jwk(s.release_key, &s.release)) < 0)
		rc = fault_set(f, ERR_CRYPTO, "%s: not a key that can be agreed with", release);
	if (rc >= 0)
		rc = mac_key_read(mac, s.g.mac_key, f);
	if (rc >= 0 && from->ek_ca)
		rc = read_roots(from->ek_ca, &s.roots, f);
	if (rc >= 0)
		rc = store_open(where, &s.g.store, f);
	if (rc >= 0)
		rc = check_log(&s, where, f);
	if (rc < 0)
		return rc;
	s.g.ca = s.ca;
	s.g.log_key = s.log_key;
	s.g.ek_roots = s.roots;
	*out = s;
	out->g.release = &out->release;
	if (from->release)
		out->release.arg = &out->keys;
	s = (struct setup){ .keys = { .link = -1 } };
	return 0;
}

static void cleanup_policy(struct policy **p)
{
	policy_free(*p);
}

/* In the open transaction: the policy of a new guardian, unless there is one.  1 if it was added.
 */
static int add_policy(struct setup *s, int64_t now, struct fault *f)
{
	struct ledger_record r = { .event = LEDGER_POLICY, .time = now, .by = BY_INIT };
	CLEANUP(cleanup_policy) struct policy *p = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(STORE_POLICY_MAX);
	struct fault none = { 0 };
	uint8_t hash[STORE_HASH_BYTES];
	int rc = store_policy_latest(s->g.store, &r.generation, &text, &none);
	if (rc != -ENOENT)
		return rc < 0 ? fault_set(f, rc, "%s", none.text) : 0;
	rc = policy_new(&p);
	if (rc >= 0)
		rc = policy_text(p, &text, f);
	if (rc >= 0)
		rc = hash_data(HASH_SHA256, text.data, text.len, hash);
	if (rc >= 0)
		ledger_set_hash(&r, hash);
	if (rc >= 0)
		rc = store_policy_add(s->g.store, (const char *)text.data, text.len, now, BY_INIT,
				      &r.generation, f);
	if (rc >= 0)
		rc = ledger_append(s->g.store, s->log_key, &r, f);
	return rc < 0 ? fault_set(f, rc, "the first policy: %s", err_text(rc)) : 1;
}

/* ... and the admin A, unless its key is one's already. */
static int add_admin(struct setup *s, const struct store_admin *a, struct fault *f)
{
	struct ledger_record r = { .event = LEDGER_ADMIN, .time = a->added, .by = BY_INIT };
	struct store_admin known;
	struct fault none = { 0 };
	int rc = store_admin_find(s->g.store, a->fingerprint, &known, &none);
	if (rc != -ENOENT)
		return rc < 0 ? fault_set(f, rc, "%s", none.text) : 0;
	ledger_set_admin(&r, a);
	rc = store_admin_add(s->g.store, a, f);
	if (rc >= 0)
		rc = ledger_append(s->g.store, s->log_key, &r, f);
	return rc < 0 ? fault_set(f, rc, "the admin %s: %s", a->name, err_text(rc)) : 1;
}

static int fill(struct setup *s, const struct store_admin *admin, int64_t now, struct fault *f)
{
	int added = 0;
	STORE_DECISION(store, s->g.store);
	int rc = store_begin(store, f);
	int policy = rc < 0 ? rc : add_policy(s, now, f);
	if (policy >= 0 && admin)
		added = add_admin(s, admin, f);
	rc = policy < 0 ? policy : added < 0 ? added : store_commit(store, f);
	if (rc < 0)
		return rc;
	printf("policy (%s)\n", policy ? "made: no host passes until it has a baseline" : "kept");
	if (admin)
		printf("admin %s (%s)\n", admin->name, added ? "added" : "kept");
	return 0;
}

static int read_admin(const char *path, const char *name, int64_t now, struct store_admin *out,
		      struct fault *f)
{
	CLEANUP_JWK struct jwk *key = NULL;
	*out = (struct store_admin){ .added = now };
	int rc = store_name_check(name, f);
	if (rc >= 0)
		rc = jwk_read_file(path, 0, &key, f);
	if (rc >= 0)
		rc = tls_fingerprint(key, out->fingerprint);
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", path, err_text(rc));
	memcpy(out->name, name, strlen(name) + 1);
	return 0;
}

int setup_init(const struct setup_from *from, const char *admin_key, const char *admin_name,
	       int64_t now, struct fault *f)
{
	const char *folder = from->folder;
	struct store_admin admin;
	CLEANUP(setup_done) struct setup s = { .keys = { .link = -1 } };
	int rc = admin_key ? read_admin(admin_key, admin_name, now, &admin, f) : 0;
	if (rc >= 0)
		rc = make_folder(folder, f);
	if (rc >= 0)
		rc = make_ca(folder, f);
	if (rc >= 0)
		rc = make_jwk(folder, SETUP_LOG, f);
	if (rc >= 0)
		rc = from->release ? make_in_hsm(folder, from->release, f)
				   : make_jwk(folder, SETUP_RELEASE, f);
	if (rc >= 0)
		rc = make_jwk(folder, SETUP_TLS, f);
	if (rc >= 0)
		rc = make_mac(folder, f);
	if (rc >= 0)
		rc = make_db(from, f);
	if (rc >= 0)
		rc = setup_open(from, &s, f);
	if (rc >= 0)
		rc = fill(&s, admin_key ? &admin : NULL, now, f);
	/* Somebody else may have begun the same database meanwhile. */
	return rc < 0 ? rc : check_log(&s, from->db ? from->db : folder, f);
}
