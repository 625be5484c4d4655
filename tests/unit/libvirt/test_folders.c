/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The folders are found by compiled-in paths, so each case runs in a mount namespace of its own
 * with empty /run, /var/lib and /var/log.  Needs root.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "libvirt/folders.h"

#define UUID "5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d02"

static const uint8_t vm[UUID_BYTES] = { 0x5e, 0x7f, 0x3c, 0x1a, 0x0b, 0x1d, 0x4a, 0x57,
					0x9d, 0x0e, 0x3a, 0x1f, 0x5c, 0x2b, 0x7d, 0x02 };
static const uint8_t other[UUID_BYTES] = { 0x77 };

static int private_host(void **state)
{
	(void)state;
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	static const char *const EMPTY[] = { "/run", "/var/lib", "/var/log" };
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(mount("t", EMPTY[i], "tmpfs", 0, "mode=755"), 0);
	umask(077);
	return 0;
}

static mode_t mode_of(const char *path, uid_t *uid)
{
	struct stat st;
	assert_int_equal(lstat(path, &st), 0);
	*uid = st.st_uid;
	return st.st_mode & 07777;
}

static void test_first_start(void **state)
{
	(void)state;
	struct fault f = { 0 };
	struct folders o, second;
	uid_t uid;
	if (folders_open(vm, &o, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(o.uid, WORKER_UID_BASE);
	assert_int_equal(mode_of(PATH_STATE "/" UUID, &uid), 0700);
	assert_int_equal(uid, o.uid);
	assert_int_equal(mode_of(PATH_STATE, &uid), 0711);
	assert_int_equal(mode_of(PATH_REGISTRY, &uid), 0700);
	assert_int_equal(uid, 0);
	assert_int_equal(mode_of(PATH_RUN "/" UUID, &uid), 0711);
	assert_int_equal(uid, 0);
	/* Another VM gets another uid. */
	assert_int_equal(folders_open(other, &second, &f), 0);
	assert_int_equal(second.uid, WORKER_UID_BASE + 1);
	folders_done(&second);
	folders_done(&o);
	/* And this one keeps its own. */
	assert_int_equal(folders_open(vm, &o, &f), 0);
	assert_int_equal(o.uid, WORKER_UID_BASE);
	folders_done(&o);
}

static void test_lowest_free_uid(void **state)
{
	(void)state;
	struct fault f = { 0 };
	struct folders o;
	assert_int_equal(mkdir(PATH_STATE, 0711), 0);
	for (unsigned int i = 0; i < 5; i++) {
		char path[64];
		snprintf(path, sizeof(path), PATH_STATE "/vm%u", i);
		assert_int_equal(mkdir(path, 0700), 0);
		uid_t uid = WORKER_UID_BASE + (i < 3 ? i : i + 1);
		assert_int_equal(chown(path, uid, uid), 0);
	}
	assert_int_equal(folders_open(vm, &o, &f), 0);
	assert_int_equal(o.uid, WORKER_UID_BASE + 3);
	folders_done(&o);
}

static void test_busy(void **state)
{
	(void)state;
	struct fault f = { 0 };
	struct folders o, second;
	assert_int_equal(folders_open(vm, &o, &f), 0);
	int64_t start = clock_ms();
	assert_int_equal(folders_open(vm, &second, &f), ERR_STATE);
	assert_non_null(strstr(f.text, "another worker"));
	assert_true(clock_ms() - start < FOLDERS_BUSY_MS + 2000);
	f = (struct fault){ 0 };
	assert_int_equal(folders_clear_run(vm, &f), ERR_STATE);
	folders_done(&o);
	/* With what is left of its migrations. */
	int fd;
	assert_int_equal(mkdir(PATH_RUN "/" UUID "/" FOLDER_MIGRATION, 0700), 0);
	fd = open(PATH_RUN "/" UUID "/" FOLDER_MIGRATION "/left", O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(symlink("/run/elsewhere", PATH_RUN "/" UUID "/" FOLDER_MIGRATION "/link"),
			 0);
	assert_int_equal(mkdir("/run/elsewhere", 0700), 0);
	assert_int_equal(folders_clear_run(vm, &f), 0);
	assert_int_equal(rmdir("/run/elsewhere"), 0);
	assert_int_equal(access(PATH_RUN "/" UUID, F_OK), -1);
	assert_int_equal(folders_clear_run(vm, &f), 0);
}

static void expect_refused(int rc, const char *word)
{
	struct fault f = { 0 };
	struct folders o = { -7, -7, -7, 7 };
	int got = folders_open(vm, &o, &f);
	if (got != rc || !strstr(f.text, word))
		fail_msg("%d (%s) instead of %d", got, f.text, rc);
	assert_int_equal(o.lock, -7);
}

static void test_planted_links(void **state)
{
	(void)state;
	assert_int_equal(mkdir("/run/elsewhere", 0700), 0);
	assert_int_equal(mkdir(PATH_RUN, 0711), 0);
	assert_int_equal(symlink("/run/elsewhere", PATH_RUN "/" UUID), 0);
	expect_refused(-ENOTDIR, UUID);
	assert_int_equal(unlink(PATH_RUN "/" UUID), 0);
	assert_int_equal(mkdir(PATH_RUN "/" UUID, 0711), 0);
	assert_int_equal(symlink("/run/elsewhere/file", PATH_RUN "/" UUID "/lock"), 0);
	expect_refused(-ELOOP, "lock");
	assert_int_equal(access("/run/elsewhere/file", F_OK), -1);
	assert_int_equal(unlink(PATH_RUN "/" UUID "/lock"), 0);

	assert_int_equal(mkdir(PATH_STATE, 0711), 0);
	assert_int_equal(symlink("/run/elsewhere", PATH_STATE "/" UUID), 0);
	expect_refused(-ENOTDIR, UUID);
	assert_int_equal(unlink(PATH_STATE "/" UUID), 0);
	assert_int_equal(rmdir(PATH_REGISTRY), 0);
	assert_int_equal(symlink("/run/elsewhere", PATH_REGISTRY), 0);
	expect_refused(-ENOTDIR, PATH_REGISTRY);
}

static void test_foreign_owners(void **state)
{
	(void)state;
	assert_int_equal(mkdir(PATH_RUN, 0711), 0);
	assert_int_equal(mkdir(PATH_RUN "/" UUID, 0711), 0);
	assert_int_equal(chown(PATH_RUN "/" UUID, 1000, 1000), 0);
	expect_refused(ERR_STATE, UUID);
	assert_int_equal(chown(PATH_RUN "/" UUID, 0, 0), 0);
	assert_int_equal(chmod(PATH_RUN "/" UUID, 0777), 0);
	expect_refused(ERR_STATE, UUID);
	assert_int_equal(chmod(PATH_RUN "/" UUID, 0711), 0);

	/* State of root's, of a person's, and open to others. */
	assert_int_equal(mkdir(PATH_STATE, 0711), 0);
	assert_int_equal(mkdir(PATH_STATE "/" UUID, 0700), 0);
	expect_refused(ERR_STATE, "VM's own");
	assert_int_equal(chown(PATH_STATE "/" UUID, 1000, 1000), 0);
	expect_refused(ERR_STATE, "VM's own");
	assert_int_equal(chown(PATH_STATE "/" UUID, WORKER_UID_BASE, WORKER_UID_BASE), 0);
	assert_int_equal(chmod(PATH_STATE "/" UUID, 0750), 0);
	expect_refused(ERR_STATE, "VM's own");
}

static void test_interrupted_creation(void **state)
{
	(void)state;
	struct fault f = { 0 };
	struct folders o;
	assert_int_equal(mkdir(PATH_STATE, 0711), 0);
	assert_int_equal(mkdir(PATH_STATE "/.new." UUID, 0700), 0);
	assert_int_equal(folders_open(vm, &o, &f), 0);
	assert_int_equal(access(PATH_STATE "/.new." UUID, F_OK), -1);
	folders_done(&o);
}

static void put(int dir, const char *name)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, name, strlen(name)), strlen(name));
	close(fd);
}

static int there(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_set_aside(void **state)
{
	(void)state;
	struct fault f = { 0 };
	assert_int_equal(mkdir("/run/s", 0700), 0);
	int dir = open("/run/s", O_RDONLY | O_DIRECTORY);
	put(dir, "tpm2.state");
	put(dir, "tpm2.state.next");
	assert_int_equal(folders_set_aside(dir, "ab", &f), 0);
	assert_true(there(dir, "tpm2.state.ab") && there(dir, "tpm2.state.next.ab"));
	assert_false(there(dir, "tpm2.state") || there(dir, "tpm2.state.next"));
	/* Again after an interruption: nothing left to do. */
	assert_int_equal(folders_set_aside(dir, "ab", &f), 0);
	/* The same, but the VM ran in between, and has a new spare: it must not be stuck. */
	put(dir, "tpm2.state.next");
	assert_int_equal(folders_set_aside(dir, "ab", &f), 0);
	assert_false(there(dir, "tpm2.state.next"));
	/* No state is ever overwritten. */
	put(dir, "tpm2.state");
	assert_int_equal(folders_set_aside(dir, "ab", &f), -EEXIST);
	assert_true(there(dir, "tpm2.state"));
	close(dir);
}

/* Twenty hook calls at once for as many VMs: as many uids, and nobody waits for long. */
static void test_concurrent(void **state)
{
	(void)state;
	enum { N = 20 };
	pid_t pids[N];
	for (int i = 0; i < N; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			struct fault f = { 0 };
			struct folders o;
			uint8_t id[UUID_BYTES] = { (uint8_t)(i + 1) };
			_exit(folders_open(id, &o, &f) < 0 ? 1 : 0);
		}
	}
	for (int i = 0; i < N; i++) {
		int status;
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	uint32_t seen = 0;
	for (int i = 0; i < N; i++) {
		char path[96], text[UUID_TEXT_SIZE];
		uint8_t id[UUID_BYTES] = { (uint8_t)(i + 1) };
		uid_t uid;
		uuid_format(id, text);
		snprintf(path, sizeof(path), PATH_STATE "/%s", text);
		mode_of(path, &uid);
		assert_true(uid - WORKER_UID_BASE < N);
		seen |= 1U << (uid - WORKER_UID_BASE);
	}
	assert_int_equal(seen, (1U << N) - 1);
}

/* A note that a VM is to come counts once, for that VM, and not for long. */
static void test_expected(void **state)
{
	(void)state;
	static const char NOTE[] = PATH_RUN "/" UUID ".coming";
	struct fault f = { 0 };
	uid_t uid;
	assert_int_equal(folders_is_expected(vm, &f), 0);
	assert_int_equal(folders_expect(vm, &f), 0);
	assert_int_equal(mode_of(NOTE, &uid), 0600);
	assert_int_equal(folders_is_expected(other, &f), 0);
	assert_int_equal(folders_is_expected(vm, &f), 1);
	assert_int_equal(folders_is_expected(vm, &f), 0);
	/* Again, after one that nobody asked for. */
	assert_int_equal(folders_expect(vm, &f), 0);
	assert_int_equal(folders_expect(vm, &f), 0);
	struct timespec then[2] = { { 0 } };
	then[1].tv_sec = then[0].tv_sec = time(NULL) - FOLDERS_EXPECT_S - 2;
	assert_int_equal(utimensat(AT_FDCWD, NOTE, then, 0), 0);
	assert_int_equal(folders_is_expected(vm, &f), 0);
	assert_int_equal(access(NOTE, F_OK), -1);
	/* Not root's: nobody else can put one there, and it does not count. */
	assert_int_equal(folders_expect(vm, &f), 0);
	assert_int_equal(chown(NOTE, 7, 7), 0);
	assert_int_equal(folders_is_expected(vm, &f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_first_start, private_host),
		cmocka_unit_test_setup(test_lowest_free_uid, private_host),
		cmocka_unit_test_setup(test_busy, private_host),
		cmocka_unit_test_setup(test_planted_links, private_host),
		cmocka_unit_test_setup(test_foreign_owners, private_host),
		cmocka_unit_test_setup(test_interrupted_creation, private_host),
		cmocka_unit_test_setup(test_set_aside, private_host),
		cmocka_unit_test_setup(test_expected, private_host),
		cmocka_unit_test_setup(test_concurrent, private_host),
	};
	if (geteuid() != 0) {
		fprintf(stderr, "test_folders: needs root for a mount namespace\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
