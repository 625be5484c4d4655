/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/paths.h"
#include "cli/attest.h"

int guardian_policy_read(const char *path, int must_exist, struct policy **out, const char **name,
			 struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(POLICY_TEXT_MAX);
	struct fault reading = { 0 };
	*name = path ? path : PATH_GUARDIAN_POLICY;
	int rc = fd_read_file(AT_FDCWD, *name, &text, &reading);
	if (rc == -ENOENT && !must_exist) {
		*name = "a new guardian's policy";
		rc = policy_new(out);
		return rc < 0 ? fault_set(f, rc, "%s", err_text(rc)) : 0;
	}
	if (rc < 0)
		return fault_set(f, rc, "%s", reading.text);
	rc = policy_parse((const char *)text.data, text.len, out, f);
	return rc < 0 ? fault_wrap(f, rc, "%s", *name) : 0;
}

/* The guardian's own folder, where there is none yet. */
static int make_folder(struct fault *f)
{
	static const char *const FOLDERS[] = { PATH_ETC, PATH_GUARDIAN };
	for (size_t i = 0; i < 2; i++) {
		if (mkdir(FOLDERS[i], 0755) < 0 && errno != EEXIST)
			return fault_set(f, -errno, "%s: %s", FOLDERS[i], err_text(-errno));
	}
	return 0;
}

int guardian_policy_write(const char *path, const struct policy *p, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(POLICY_TEXT_MAX + 4096);
	int rc = policy_text(p, &text, f);
	if (rc >= 0)
		rc = buf_add(&text, "\n", 1);
	if (rc >= 0 && !path)
		rc = make_folder(f);
	if (rc < 0)
		return fault_set(f, rc, "the policy cannot be written: %s", err_text(rc));
	return fd_write_file(AT_FDCWD, path ? path : PATH_GUARDIAN_POLICY, text.data, text.len,
			     0644, 1, f);
}
