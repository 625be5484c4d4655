/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/apparmor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/paths.h"

/* The worker is unconfined: libvirtd's profile starts programs of /usr/sbin that way (PUx). */
static const char RULES[] =
	"# shieldvm: its launcher, which becomes QEMU, and the socket where that gets its TPM\n"
	"  " PATH_LAUNCH " rmix,\n"
	"  " PATH_RUN "/*/launch.sock rw,\n"
	"  unix (send, receive) type=stream addr=none peer=(label=unconfined),\n"
	"  unix (send, receive) type=seqpacket addr=none peer=(label=unconfined),\n";

/* What an earlier version did not add. */
static const char RULES_MIGRATE[] =
	"# shieldvm: the socket where QEMU migrates over several channels\n"
	"  " PATH_RUN "/*/migrate.sock rw,\n";

static int has(const struct buf *text, const char *what)
{
	return memmem(text->data, text->len, what, strlen(what)) != NULL;
}

int apparmor_init(struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(APPARMOR_LOCAL_MAX);
	struct stat st;
	if (lstat(PATH_APPARMOR, &st) < 0)
		return errno == ENOENT
			       ? -ENOENT
			       : fault_set(f, -errno, PATH_APPARMOR ": %s", err_text(-errno));
	int rc = fd_read_file(AT_FDCWD, PATH_APPARMOR, &text, f);
	if (rc < 0)
		return rc;
	int has_rules = has(&text, PATH_LAUNCH " "), has_migrate = has(&text, "/migrate.sock ");
	if (has_rules && has_migrate)
		return 0;
	if (text.len > 0 && text.data[text.len - 1] != '\n')
		rc = buf_add(&text, "\n", 1);
	if (rc >= 0 && !has_rules)
		rc = buf_add(&text, RULES, sizeof(RULES) - 1);
	if (rc >= 0 && !has_migrate)
		rc = buf_add(&text, RULES_MIGRATE, sizeof(RULES_MIGRATE) - 1);
	if (rc < 0)
		return fault_set(f, rc, PATH_APPARMOR ": %s", err_text(rc));
	rc = fd_write_file(AT_FDCWD, PATH_APPARMOR, text.data, text.len, st.st_mode & 0777, 1, f);
	return rc < 0 ? rc : 1;
}
