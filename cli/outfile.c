/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* The folder that PATH is in. */
static int folder_of(const char *path, char folder[static PATH_MAX])
{
	char copy[PATH_MAX];
	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	const char *name = dirname(copy);
	memcpy(folder, name, strlen(name) + 1);
	return 0;
}

static int sync_folder(const char *path)
{
	char folder[PATH_MAX];
	int rc = folder_of(path, folder);
	if (rc < 0)
		return rc;
	CLEANUP_FD int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int temporary_name(const struct outfile *o, char name[static PATH_MAX])
{
	return snprintf(name, PATH_MAX, "%s.tmp.%ld", o->path, (long)getpid()) >= PATH_MAX
		       ? -ENAMETOOLONG
		       : 0;
}

static int make(struct outfile *o)
{
	char folder[PATH_MAX];
	int rc = folder_of(o->path, folder);
	if (rc < 0)
		return rc;
	o->fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (o->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return -errno;
	rc = temporary_name(o, o->temporary);
	if (rc < 0)
		return rc;
	o->fd = open(o->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	rc = o->fd < 0 ? -errno : 0;
	if (rc < 0)
		o->temporary[0] = '\0';
	return rc;
}

int outfile_begin(struct outfile *o, const char *path, int replace, struct fault *f)
{
	struct stat st;
	*o = (struct outfile){ .path = path, .fd = -1, .replace = replace };
	int exists = lstat(path, &st) == 0;
	if (exists && !S_ISREG(st.st_mode))
		return fault_set(f, -EINVAL, "%s: not a regular file", path);
	if (exists && !replace)
		return fault_set(f, -EEXIST,
				 "%s exists and is not overwritten (--force would do it)", path);
	int rc = make(o);
	return rc < 0 ? fault_set(f, rc, "%s: %s", path, err_text(rc)) : 0;
}

/* Give the nameless file a name; NAME must not exist. */
static int link_in(const struct outfile *o, const char *name)
{
	char from[64];
	snprintf(from, sizeof(from), "/proc/self/fd/%d", o->fd);
	return linkat(AT_FDCWD, from, AT_FDCWD, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int name_it(struct outfile *o)
{
	int rc = 0;
	if (!o->replace && !o->temporary[0])
		return link_in(o, o->path);
	/* link(2) does not replace, rename(2) does: outfile_done() takes the other name away. */
	if (!o->replace)
		return link(o->temporary, o->path) < 0 ? -errno : 0;
	if (!o->temporary[0]) {
		char name[PATH_MAX];
		rc = temporary_name(o, name);
		if (rc >= 0)
			rc = link_in(o, name);
		if (rc >= 0)
			memcpy(o->temporary, name, sizeof(name));
	}
	if (rc >= 0 && rename(o->temporary, o->path) < 0)
		rc = -errno;
	if (rc >= 0)
		o->temporary[0] = '\0';
	return rc;
}

int outfile_commit(struct outfile *o, struct fault *f)
{
	int rc = fsync(o->fd) < 0 ? -errno : 0;
	if (rc >= 0)
		rc = name_it(o);
	if (rc >= 0)
		rc = sync_folder(o->path);
	if (rc == -EEXIST)
		return fault_set(f, rc, "%s exists by now and is not overwritten", o->path);
	return rc < 0 ? fault_set(f, rc, "%s: %s", o->path, err_text(rc)) : 0;
}

void outfile_done(struct outfile *o)
{
	if (o->temporary[0])
		unlink(o->temporary);
	o->temporary[0] = '\0';
	fd_close(&o->fd);
}
