/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/paths.h"
#include "cli/apparmor.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/ekca.h"

#define HOST_PUB PATH_HOST_KEY ".pub"

/*
 * PATH is a folder of root's with MODE; made with its parents (0755) if missing.  MODE 0: whatever
 * it is.
 */
static int make_folder(const char *path, mode_t mode, struct fault *f)
{
	char part[PATH_MAX];
	struct stat st;
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return fault_set(f, -errno, "%s: %s", part, err_text(-errno));
	}
	if (mkdir(path, mode ? mode : 0755) < 0 && errno != EEXIST)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	CLEANUP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	if (!mode)
		return 0;
	if (st.st_uid != 0)
		return fault_set(f, ERR_STATE, "%s: belongs to uid %u instead of root", path,
				 (unsigned int)st.st_uid);
	/* mkdir(2) obeys the umask, and an earlier run may have been with another. */
	if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	return 0;
}

static int write_public(const struct jwk *k, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	int rc = jwk_public_text(k, &text);
	if (rc >= 0)
		rc = buf_addf(&text, "\n");
	return rc < 0 ? rc : fd_write_file(AT_FDCWD, HOST_PUB, text.data, text.len, 0644, 0, f);
}

/* 1 if the key was made, 0 if there was one, and its public half fits. */
static int init_key(struct fault *f)
{
	CLEANUP_JWK struct jwk *k = NULL, *pub = NULL;
	struct stat st;
	if (lstat(PATH_HOST_KEY, &st) < 0) {
		if (errno != ENOENT)
			return fault_set(f, -errno, PATH_HOST_KEY ": %s", err_text(-errno));
		int rc = jwk_new(&k, f);
		if (rc >= 0)
			rc = jwk_write_pair(k, PATH_HOST_KEY, f);
		return rc < 0 ? rc : 1;
	}
	int rc = jwk_read_file(PATH_HOST_KEY, 1, &k, f);
	if (rc < 0)
		return rc;
	if (lstat(HOST_PUB, &st) < 0 && errno == ENOENT)
		return write_public(k, f);
	rc = jwk_read_file(HOST_PUB, 0, &pub, f);
	if (rc >= 0 && !jwk_same(k, pub))
		return fault_set(f, ERR_STATE,
				 HOST_PUB " is not the public half of " PATH_HOST_KEY
					  "; remove it and run this again");
	return rc;
}

/* 1 if the link was made, 0 if it was there. */
static int init_hook(struct fault *f)
{
	char folder[PATH_MAX], target[PATH_MAX];
	snprintf(folder, sizeof(folder), "%s", PATH_HOOK_LINK);
	*strrchr(folder, '/') = '\0';
	int rc = make_folder(folder, 0, f);
	if (rc < 0)
		return rc;
	if (symlink(PATH_HOOK, PATH_HOOK_LINK) == 0)
		return 1;
	if (errno != EEXIST)
		return fault_set(f, -errno, PATH_HOOK_LINK ": %s", err_text(-errno));
	ssize_t n = readlink(PATH_HOOK_LINK, target, sizeof(target) - 1);
	if (n >= 0)
		target[n] = '\0';
	return n >= 0 && strcmp(target, PATH_HOOK) == 0
		       ? 0
		       : fault_set(f, -EEXIST,
				   PATH_HOOK_LINK " is something else than a link to " PATH_HOOK
						  "; it was left as it is: move it away");
}

static void say_missing_programs(void)
{
	static const char *const PROGRAMS[] = { PATH_HOOK, PATH_LAUNCH, PATH_WORKER, PATH_QEMU };
	for (size_t i = 0; i < sizeof(PROGRAMS) / sizeof(PROGRAMS[0]); i++) {
		if (access(PROGRAMS[i], X_OK) < 0)
			fprintf(stderr, "Missing: %s (%s); no shielded VM can start without it.\n",
				PROGRAMS[i], err_text(-errno));
	}
}

static const char *made_or_kept(int made)
{
	return made ? "made" : "kept";
}

int cmd_host_init(int argc, char **argv, struct fault *f)
{
	static const struct {
		const char *path;
		mode_t mode;
		const char *what;
	} FOLDERS[] = {
		{ PATH_ETC, 0755, NULL },
		{ PATH_STATE, 0711, "sealed vTPM state, one folder a VM" },
		{ PATH_REGISTRY, 0700, "which vTPM each VM had, so that a lost one is noticed" },
		{ PATH_RUN, 0711, "sockets of running workers" },
		{ PATH_LOG, 0750, "the workers' logs" },
	};
	char thumbprint[JWK_THUMBPRINT_SIZE];
	CLEANUP_JWK struct jwk *k = NULL;
	struct stat st;

	int rc = options_none(argc, argv, 0, "", f);
	if (rc != 0)
		return rc;
	if (geteuid() != 0)
		return fault_set(f, -EPERM, "host init: only root can prepare this host");
	for (size_t i = 0; i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
		rc = make_folder(FOLDERS[i].path, FOLDERS[i].mode, f);
		if (rc < 0)
			return rc;
	}
	int made_key = init_key(f);
	if (made_key < 0)
		return made_key;
	int had_ca = stat(PATH_EK_CA "/ca.pem", &st) == 0;
	rc = ekca_init(PATH_EK_CA, f);
	if (rc < 0)
		return fault_wrap(f, rc, PATH_EK_CA);
	int made_hook = init_hook(f);
	if (made_hook < 0)
		return made_hook;
	int made_rules = apparmor_init(f);
	if (made_rules < 0 && made_rules != -ENOENT)
		return made_rules;
	rc = jwk_read_file(PATH_HOST_KEY, 1, &k, f);
	if (rc >= 0)
		rc = jwk_thumbprint(k, thumbprint);
	if (rc < 0)
		return rc;

	printf("Host key  %s (%s)\n"
	       "          %s\n"
	       "          Opens the keys of the VMs whose owners let them run here. Without it, "
	       "stolen"
	       " disks\n          and backups of this host show nothing of those VMs.\n",
	       PATH_HOST_KEY, made_or_kept(made_key), thumbprint);
	printf("EK CA     %s (%s)\n"
	       "          Certifies the endorsement keys of new vTPMs, so that guests can prove "
	       "they"
	       " have one.\n",
	       PATH_EK_CA, made_or_kept(!had_ca));
	for (size_t i = 0; i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
		if (FOLDERS[i].what)
			printf("Folder    %s: %s\n", FOLDERS[i].path, FOLDERS[i].what);
	}
	printf("Hook      %s (%s)\n"
	       "          Starts a worker before libvirt starts a shielded VM.\n",
	       PATH_HOOK_LINK, made_or_kept(made_hook));
	if (made_hook)
		puts("          Restart libvirtd (or virtqemud) once now: it looks for hooks only "
		     "when"
		     " it starts.\n          Running VMs are not affected.");
	if (made_rules >= 0)
		printf("AppArmor  %s (%s)\n"
		       "          Lets libvirt's profiles for QEMU start the launcher.\n",
		       PATH_APPARMOR, made_rules ? "rules added" : "kept");
	say_missing_programs();
	return 0;
}

int cmd_host_show(int argc, char **argv, struct fault *f)
{
	CLEANUP_JWK struct jwk *k = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	int rc = options_none(argc, argv, 0, "", f);
	if (rc != 0)
		return rc;
	if (access(HOST_PUB, F_OK) < 0 && errno == ENOENT)
		return fault_set(f, -ENOENT,
				 "this machine has no host key: run shieldvm host init first");
	rc = jwk_read_file(HOST_PUB, 0, &k, f);
	if (rc >= 0)
		rc = jwk_public_text(k, &text);
	if (rc < 0)
		return rc;
	const char *json = buf_cstr(&text);
	return !json || puts(json) < 0 ? -ENOMEM : 0;
}
