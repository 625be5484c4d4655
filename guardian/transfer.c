/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "guardian/archive.h"
#include "guardian/setup.h"
#include "guardian/store_db.h"

/* ---- Export --------------------------------------------------------------------------------- */

static int add(const char *folder, enum archive_file file, struct archive *a, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	int rc = setup_path(folder, archive_name(file), path, f);
	if (rc < 0)
		return rc;
	return file == ARCHIVE_DATABASE ? store_sqlite_copy(path, &a->files[file], f)
					: fd_read_file(AT_FDCWD, path, &a->files[file], f);
}

int transfer_export(const struct transfer *t, struct fault *f)
{
	static const enum archive_file ALWAYS[] = { ARCHIVE_CA_KEY, ARCHIVE_CA_CERT, ARCHIVE_LOG,
						    ARCHIVE_MAC };
	char path[SETUP_PATH_MAX];
	CLEANUP_JWK struct jwk *to = NULL;
	CLEANUP_ARCHIVE struct archive a;
	CLEANUP_BUF struct buf sealed = BUF_INIT(2 * (size_t)ARCHIVE_MAX);
	archive_init(&a);
	int rc = jwk_read_file(t->key, 0, &to, f);
	for (size_t i = 0; rc >= 0 && i < sizeof(ALWAYS) / sizeof(ALWAYS[0]); i++)
		rc = add(t->folder, ALWAYS[i], &a, f);
	if (rc >= 0)
		rc = setup_path(t->folder, SETUP_RELEASE, path, f);
	if (rc >= 0)
		rc = add(t->folder, access(path, F_OK) == 0 ? ARCHIVE_RELEASE : ARCHIVE_RELEASE_PUB,
			 &a, f);
	if (rc >= 0 && t->tls)
		rc = add(t->folder, ARCHIVE_TLS, &a, f);
	if (rc >= 0 && t->database)
		rc = add(t->folder, ARCHIVE_DATABASE, &a, f);
	if (rc >= 0)
		rc = archive_seal(&a, to, &sealed, f);
	return rc < 0 ? rc : fd_write_file(AT_FDCWD, t->file, sealed.data, sealed.len, 0600, 0, f);
}

/* ---- Import --------------------------------------------------------------------------------- */

/* Everything that an import may have made in FOLDER. */
static void remove_all(const char *folder)
{
	static const char *const NAMES[] = {
		SETUP_CA "/ca.key", SETUP_CA "/ca.pem", SETUP_CA,      SETUP_LOG,
		SETUP_LOG ".pub",   SETUP_MAC,		SETUP_RELEASE, SETUP_RELEASE_PUB,
		SETUP_TLS,	    SETUP_TLS ".pub",	SETUP_DB,      SETUP_DB "-wal",
		SETUP_DB "-shm",    SETUP_DB "-journal"
	};
	char path[SETUP_PATH_MAX];
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		if (setup_path(folder, NAMES[i], path, NULL) >= 0)
			(void)remove(path);
	(void)rmdir(folder);
}

/* A key pair, with its public half beside it; and its name for whoever compares. */
static int put_key(const char *path, const char *name, const struct buf *b, struct fault *f)
{
	char thumbprint[JWK_THUMBPRINT_SIZE];
	CLEANUP_JWK struct jwk *key = NULL;
	int rc = jwk_parse((const char *)b->data, b->len, &key, f);
	if (rc >= 0)
		rc = jwk_thumbprint(key, thumbprint);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", name);
	int public = strcmp(name, SETUP_RELEASE_PUB) == 0;
	if (jwk_is_private(key) == public)
		return fault_set(f, ERR_FORMAT, "%s is not the half of a key that it should be",
				 name);
	rc = public ? fd_write_file(AT_FDCWD, path, b->data, b->len, 0644, 0, f)
		    : jwk_write_pair(key, path, f);
	if (rc >= 0)
		printf("%s %s\n", name, thumbprint);
	return rc;
}

static int put(const char *folder, enum archive_file file, const struct buf *b, struct fault *f)
{
	char path[SETUP_PATH_MAX];
	const char *name = archive_name(file);
	int rc = setup_path(folder, name, path, f);
	if (rc < 0)
		return rc;
	switch (file) {
	case ARCHIVE_LOG:
	case ARCHIVE_RELEASE:
	case ARCHIVE_RELEASE_PUB:
	case ARCHIVE_TLS:
		return put_key(path, name, b, f);
	case ARCHIVE_CA_CERT:
		return fd_write_file(AT_FDCWD, path, b->data, b->len, 0644, 0, f);
	case ARCHIVE_CA_KEY:
	case ARCHIVE_MAC:
	case ARCHIVE_DATABASE:
	case ARCHIVE_FILES:
		break;
	}
	return fd_write_file(AT_FDCWD, path, b->data, b->len, 0600, 0, f);
}

/* Does a guardian open what was written? */
static int check(const char *folder, const struct archive *a, struct fault *f)
{
	char ca[SETUP_PATH_MAX], mac[SETUP_PATH_MAX];
	uint8_t key[MAC_KEY_BYTES];
	const struct setup_from from = {
		.folder = folder,
		.release = a->files[ARCHIVE_RELEASE_PUB].len ? "pkcs11:" : NULL,
	};
	CLEANUP_HEALTHCA struct healthca *opened = NULL;
	if (a->files[ARCHIVE_DATABASE].len) {
		struct setup s;
		int rc = setup_open(&from, &s, f);
		if (rc < 0)
			return rc;
		rc = store_check(s.g.store, f);
		setup_done(&s);
		return rc;
	}
	int rc = setup_path(folder, SETUP_CA, ca, f);
	if (rc >= 0)
		rc = setup_path(folder, SETUP_MAC, mac, f);
	if (rc >= 0)
		rc = healthca_open(ca, &opened, f);
	if (rc >= 0)
		rc = mac_key_read(mac, key, f);
	wipe(key, sizeof(key));
	return rc;
}

static int fill(const char *folder, const struct archive *a, struct fault *f)
{
	char ca[SETUP_PATH_MAX];
	int rc = setup_path(folder, SETUP_CA, ca, f);
	if (rc >= 0 && mkdir(ca, 0700) < 0)
		rc = fault_set(f, -errno, "%s: %s", ca, err_text(-errno));
	for (int i = 1; rc >= 0 && i < ARCHIVE_FILES; i++)
		if (a->files[i].len)
			rc = put(folder, (enum archive_file)i, &a->files[i], f);
	return rc < 0 ? rc : check(folder, a, f);
}

/* FOLDER gets its name, durably; one that has anything in it keeps it. */
static int name_it(const char *made, const char *folder, struct fault *f)
{
	char parent[SETUP_PATH_MAX];
	if (rename(made, folder) < 0)
		return fault_set(f, errno == ENOTEMPTY ? -EEXIST : -errno,
				 "%s is there already, or cannot be made (%s): nothing was changed",
				 folder, err_text(-errno));
	snprintf(parent, sizeof(parent), "%s", folder);
	*strrchr(parent, '/') = '\0';
	CLEANUP_FD int fd = open(parent[0] ? parent : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return fault_set(f, -errno, "%s: %s", parent, err_text(-errno));
	return 0;
}

int transfer_import(const struct transfer *t, struct fault *f)
{
	char made[SETUP_PATH_MAX];
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_ARCHIVE struct archive a;
	CLEANUP_BUF struct buf sealed = BUF_INIT(2 * (size_t)ARCHIVE_MAX);
	archive_init(&a);
	int n = snprintf(made, sizeof(made), "%s.import", t->folder);
	if (n < 0 || n >= (int)sizeof(made) - 32 || t->folder[n - 8] == '/')
		return fault_set(f, ERR_USAGE, "%s is no name for a new folder", t->folder);
	int rc = jwk_read_file(t->key, 1, &key, f);
	if (rc >= 0)
		rc = fd_read_file(AT_FDCWD, t->file, &sealed, f);
	if (rc >= 0)
		rc = archive_open(sealed.data, sealed.len, key, &a, f);
	if (rc < 0)
		return rc;
	if (mkdir(made, 0700) < 0)
		return fault_set(f, -errno,
				 "%s: %s; remove it if an import was cut off, and try again", made,
				 err_text(-errno));
	rc = fill(made, &a, f);
	if (rc >= 0)
		rc = name_it(made, t->folder, f);
	if (rc < 0)
		remove_all(made);
	return rc;
}
