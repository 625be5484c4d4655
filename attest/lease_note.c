/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/lease_note.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/copy.h"
#include "base/clock.h"
#include "base/fd.h"
#include "crypto/strict.h"

#define SUFFIX	   ".json"
#define NAME_SIZE  (UUID_TEXT_SIZE + sizeof(SUFFIX))
#define WHAT	   "a lease note"
#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static void name_of(const uint8_t vm[static UUID_BYTES], char out[static NAME_SIZE])
{
	uuid_format(vm, out);
	memcpy(out + UUID_TEXT_SIZE - 1, SUFFIX, sizeof(SUFFIX));
}

int lease_note_folder(const char *path, struct fault *f)
{
	char parent[256];
	struct stat st;
	const char *slash = strrchr(path, '/');
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	/* As the hook makes it, which may not have run yet. */
	if (parent[0] && mkdir(parent, 0711) == 0 && chmod(parent, 0711) < 0)
		return fault_set(f, -errno, "%s: %s", parent, err_text(-errno));
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	CLEANUP_FD int fd = open(path, OPEN_FLAGS);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return fault_set(f, ERR_STATE,
				 "%s belongs to uid %u with mode %o; it must be root's alone", path,
				 (unsigned int)st.st_uid, (unsigned int)(st.st_mode & 07777));
	return fd_take(&fd);
}

int lease_note_lock(int dir, int *lock, struct fault *f)
{
	int64_t deadline = clock_ms() + LEASE_NOTE_LOCK_MS;
	CLEANUP_FD int fd = openat(dir, ".", OPEN_FLAGS);
	if (fd < 0)
		return fault_set(f, -errno, "the lease notes: %s", err_text(-errno));
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return fault_set(f, -errno, "the lease notes: %s", err_text(-errno));
		if (!clock_wait(deadline))
			return fault_set(f, -ETIMEDOUT, "the lease notes are busy");
	}
	*lock = fd_take(&fd);
	return 0;
}

/* ---- the text ---- */

static int number(const json_t *o, const char *name, int64_t *out)
{
	const json_t *value = json_object_get(o, name);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return ERR_FORMAT;
	*out = json_integer_value(value);
	return 0;
}

static int copy_text(const json_t *o, const char *name, char *out, size_t size)
{
	const char *text = strict_text(o, name);
	size_t n = text ? strlen(text) : 0;
	if (n == 0 || n >= size)
		return ERR_FORMAT;
	memcpy(out, text, n + 1);
	return 0;
}

static int parse(const char *text, size_t n, const uint8_t vm[static UUID_BYTES],
		 struct lease_note *out, struct fault *f)
{
	static const char *const MEMBERS[] = { "v",	  "vm",	      "state", "token",
					       "expires", "guardian", "urls" };
	struct lease_note note = { 0 };
	CLEANUP_JSON json_t *o = NULL;
	int64_t version = 0;
	int rc = strict_json(text, n, WHAT, &o, f);
	if (rc >= 0)
		rc = strict_members(o, WHAT, MEMBERS, 7, f);
	if (rc < 0)
		return rc;
	if (number(o, "v", &version) < 0 || version != 1)
		return fault_set(f, ERR_VERSION, WHAT " of a version that is not known here");
	const char *id = strict_text(o, "vm"), *state = strict_text(o, "state");
	if (!id || uuid_parse(id, note.vm) < 0 || memcmp(note.vm, vm, UUID_BYTES) != 0)
		return fault_set(f, ERR_FORMAT, WHAT " of another VM than its name says");
	if (!state || (strcmp(state, "held") != 0 && strcmp(state, "incoming") != 0) ||
	    number(o, "token", &note.token) < 0 || number(o, "expires", &note.expires) < 0 ||
	    copy_text(o, "guardian", note.guardian.thumbprint, JWK_THUMBPRINT_SIZE) < 0 ||
	    copy_text(o, "urls", note.guardian.urls, PROTECTOR_URLS_SIZE) < 0)
		return fault_set(f, ERR_FORMAT, WHAT " with a member that is none");
	note.incoming = strcmp(state, "incoming") == 0;
	*out = note;
	return 0;
}

int lease_note_read(int dir, const uint8_t vm[static UUID_BYTES], struct lease_note *out,
		    struct fault *f)
{
	char name[NAME_SIZE];
	struct fault why = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(LEASE_NOTE_MAX);
	name_of(vm, name);
	int rc = fd_read_file(dir, name, &text, &why);
	if (rc == -ENOENT)
		return rc;
	if (rc >= 0)
		rc = parse((const char *)text.data, text.len, vm, out, &why);
	return rc < 0 ? fault_set(f, rc, "%s: %s", name, why.text) : 0;
}

int lease_note_write(int dir, const struct lease_note *n, struct fault *f)
{
	char name[NAME_SIZE], vm[UUID_TEXT_SIZE];
	CLEANUP_BUF struct buf text = BUF_INIT(LEASE_NOTE_MAX);
	name_of(n->vm, name);
	uuid_format(n->vm, vm);
	strict_init();
	CLEANUP_JSON json_t *o =
		json_pack("{s:i, s:s, s:s, s:I, s:I, s:s, s:s}", "v", 1, "vm", vm, "state",
			  n->incoming ? "incoming" : "held", "token", (json_int_t)n->token,
			  "expires", (json_int_t)n->expires, "guardian", n->guardian.thumbprint,
			  "urls", n->guardian.urls);
	char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int rc = line ? buf_addf(&text, "%s\n", line) : ERR_FORMAT;
	free(line);
	return rc < 0 ? fault_set(f, rc, "%s: %s", name, err_text(rc))
		      : fd_write_file(dir, name, text.data, text.len, 0600, 1, f);
}

static int same(const struct lease_note *a, const struct lease_note *b)
{
	return memcmp(a->vm, b->vm, UUID_BYTES) == 0 && a->incoming == b->incoming &&
	       a->token == b->token &&
	       strcmp(a->guardian.thumbprint, b->guardian.thumbprint) == 0 &&
	       strcmp(a->guardian.urls, b->guardian.urls) == 0;
}

int lease_note_replace(int dir, const struct lease_note *was, const struct lease_note *n,
		       struct fault *f)
{
	struct lease_note is;
	char name[NAME_SIZE];
	int rc = lease_note_read(dir, was->vm, &is, f);
	if (rc == -ENOENT || (rc >= 0 && !same(&is, was)))
		return fault_set(f, ERR_STATE, "the VM has got another lease meanwhile");
	if (rc < 0 || n)
		return rc < 0 ? rc : lease_note_write(dir, n, f);
	/* First the copy: it counts only beside a note. */
	rc = copy_remove(dir, was->vm, f);
	if (rc < 0)
		return rc;
	name_of(was->vm, name);
	if (unlinkat(dir, name, 0) < 0 || fsync(dir) < 0)
		return fault_set(f, -errno, "%s: %s", name, err_text(-errno));
	return 0;
}

int lease_note_list(int dir, int (*each)(void *arg, const uint8_t vm[static UUID_BYTES]), void *arg,
		    struct fault *f)
{
	CLEANUP_FD int fd = openat(dir, ".", OPEN_FLAGS);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	int rc = 0;
	if (!d)
		return fault_set(f, -errno, "the lease notes: %s", err_text(-errno));
	fd = -1; /* is D's now */
	for (struct dirent *e; rc >= 0 && (e = readdir(d));) {
		char id[UUID_TEXT_SIZE];
		uint8_t vm[UUID_BYTES];
		size_t n = strlen(e->d_name);
		if (n != NAME_SIZE - 2 || strcmp(e->d_name + UUID_TEXT_SIZE - 1, SUFFIX) != 0)
			continue;
		memcpy(id, e->d_name, UUID_TEXT_SIZE - 1);
		id[UUID_TEXT_SIZE - 1] = '\0';
		if (uuid_parse(id, vm) >= 0)
			rc = each(arg, vm);
	}
	closedir(d);
	return rc;
}
