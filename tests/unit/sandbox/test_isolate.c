/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a process can still do after it has isolated itself, tried in forked children.  Needs root.
 * On a host that lacks something the case for it fails: what the tests run on has to have it all.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/isolate.h"
#include "base/landlock.h"
#include "sandbox/phases.h"

#define TEST_UID 1879113001U

/* A number tells which check failed: descriptor 2 still leads somewhere. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #cond, strerror(errno));   \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int folder = -1;	 /* of TEST_UID, with a file "old" */
static pid_t outsider;	 /* a process of TEST_UID's that knows nothing of all this */
static char outside[64]; /* a socket that everybody may connect to */

static void assert_exits_0(int (*fn)(void))
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(20);
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* isolate_begin() and a child; its exit code.  The child has its own view of the numbers. */
static int in_new_pids(int (*fn)(struct isolation *i))
{
	struct isolation i;
	int status;
	isolate_begin(TEST_UID, &i);
	pid_t pid = fork();
	if (pid == 0) {
		alarm(20);
		_exit(fn(&i));
	}
	isolate_done(&i);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int enter(struct isolation *i, enum isolate_who who)
{
	struct fault f = { 0 };
	isolate_kernel(i, who);
	isolate_files(i, who, folder);
	int rc = phases_enter(TEST_UID, i, &f);
	if (rc < 0)
		fprintf(stderr, "%s\n", f.text);
	return rc;
}

static int all_held(const struct isolation *i, enum protections_of of)
{
	for (enum protection p = PROTECTION_MDWE; p < PROTECTIONS_N; p++) {
		if (!protections_miss(&i->held, of, p))
			continue;
		fprintf(stderr, "%s: %s\n", protection_name(p), err_text(i->why[p]));
		return 0;
	}
	return 1;
}

/* ---- The worker ----------------------------------------------------------------------------- */

static int worker(struct isolation *i)
{
	struct stat st;
	int null = open("/dev/null", O_RDWR);
	CHECK(getpid() == 1 && getppid() == 0);
	CHECK(enter(i, ISOLATE_WORKER) == 0);
	CHECK(all_held(i, PROTECTIONS_OF_WORKER));
	CHECK(i->held.landlock_abi > 0);

	/* Who it is, and that nobody else exists. */
	CHECK(getuid() == TEST_UID && getgid() == TEST_UID && getgroups(0, NULL) == 0);
	CHECK(setuid(0) < 0 && errno == EINVAL && setuid(TEST_UID + 1) < 0 && errno == EINVAL);
	CHECK(kill(outsider, 0) < 0 && errno == ESRCH);

	/* No file: neither a name nor, but for the state's, a folder that it holds. */
	CHECK(stat("/proc", &st) < 0 && errno == ENOENT);
	CHECK(stat("/etc", &st) < 0 && errno == ENOENT);
	CHECK(open("/", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
	CHECK(mkdir("/x", 0700) < 0);
	CHECK(stat("/..", &st) == 0 && st.st_ino > 0 && stat("/../proc", &st) < 0);
	CHECK(write(null, "", 1) == 1);
	CHECK(mount("x", "/", "tmpfs", 0, NULL) < 0 && umount2("/", MNT_DETACH) < 0);
	CHECK(unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWNET) < 0);

	/* Nothing that is written becomes code. */
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0) == MAP_FAILED);
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0);

	/* No network. */
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(9),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(udp >= 0 && connect(udp, (struct sockaddr *)&to, sizeof(to)) < 0 &&
	      errno == ENETUNREACH);
	CHECK(tcp >= 0 && connect(tcp, (struct sockaddr *)&to, sizeof(to)) < 0 && errno == EACCES);
	CHECK(bind(tcp, (struct sockaddr *)&to, sizeof(to)) < 0 && errno == EACCES);
	return 0;
}

static int worker_child(void)
{
	return in_new_pids(worker);
}

static void test_worker(void **state)
{
	(void)state;
	assert_exits_0(worker_child);
}

/* Under its folder it opens, makes, renames and removes, then renames only; and nothing else ever.
 */
static int state_files(struct isolation *i)
{
	struct stat st;
	CHECK(enter(i, ISOLATE_WORKER) == 0);
	int old = openat(folder, "old", O_RDWR);
	int new = openat(folder, "new", O_RDWR | O_CREAT | O_EXCL, 0600);
	CHECK(old >= 0 && new >= 0);
	CHECK(write(new, "abc", 3) == 3 && ftruncate(new, 1) == 0 && ftruncate(old, 7) == 0);
	CHECK(renameat2(folder, "old", folder, "new", 2 /* RENAME_EXCHANGE */) == 0);
	CHECK(fstatat(folder, "old", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == 1);
	CHECK(openat(folder, ".", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
	CHECK(openat(folder, "..", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
	CHECK(openat(folder, "../other", O_RDONLY) < 0 && errno == EACCES);
	CHECK(mkdirat(folder, "d", 0700) < 0 && errno == EACCES);
	CHECK(symlinkat("/etc", folder, "l") < 0 && errno == EACCES);
	CHECK(mknodat(folder, "p", S_IFIFO | 0600, 0) < 0 && errno == EACCES);
	CHECK(linkat(folder, "old", folder, "../stolen", 0) < 0);

	CHECK(isolate_narrow(i, folder) == 0);
	CHECK(openat(folder, "old", O_RDONLY) < 0 && errno == EACCES);
	CHECK(openat(folder, "old", O_WRONLY) < 0 && errno == EACCES);
	CHECK(renameat2(folder, "old", folder, "new", 2) == 0);
	CHECK(write(new, "abc", 3) == 3 && ftruncate(new, 2) == 0);
	CHECK(unlinkat(folder, "new", 0) == 0);
	return 0;
}

static int state_child(void)
{
	return in_new_pids(state_files);
}

static void test_state(void **state)
{
	(void)state;
	assert_exits_0(state_child);
}

/* ---- The broker ----------------------------------------------------------------------------- */

static int abstract_listener(struct sockaddr_un *a, socklen_t *n)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*n = sizeof(*a);
	socklen_t family = sizeof(a->sun_family);
	if (bind(fd, (struct sockaddr *)a, family) < 0 || listen(fd, 1) < 0 ||
	    getsockname(fd, (struct sockaddr *)a, n) < 0)
		return -1;
	return fd;
}

/* Its root is the folder: there it makes sockets, connects to them and takes them away. */
static int broker_folder(struct isolation *i)
{
	struct sockaddr_un in = { .sun_family = AF_UNIX, .sun_path = "in" };
	struct sockaddr_un up = { .sun_family = AF_UNIX, .sun_path = "../in" };
	struct sockaddr_un out = { .sun_family = AF_UNIX };
	struct sockaddr_un proc = { .sun_family = AF_UNIX, .sun_path = "proc" };
	struct stat here, up_there, old;
	struct fault f = { 0 };
	int a = socket(AF_UNIX, SOCK_STREAM, 0), b = socket(AF_UNIX, SOCK_STREAM, 0);
	int c = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(a, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(a, 1) == 0);
	CHECK(fstatat(folder, "in", &here, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(here.st_mode));
	CHECK(connect(b, (struct sockaddr *)&up, sizeof(up)) == 0);
	snprintf(out.sun_path, sizeof(out.sun_path), "%s", outside);
	CHECK(connect(c, (struct sockaddr *)&out, sizeof(out)) < 0 && errno == ENOENT);
	CHECK(unlink("in") == 0 && stat("in", &here) < 0 && errno == ENOENT);
	CHECK(stat("/..", &up_there) == 0 && stat("/old", &old) == 0);
	CHECK(up_there.st_ino == i->root_ino);
	/* Nothing else there is its. */
	CHECK(open("old", O_RDONLY) < 0 && errno == EACCES);
	CHECK(open("old", O_WRONLY) < 0 && errno == EACCES);
	CHECK(open("x", O_WRONLY | O_CREAT, 0600) < 0 && errno == EACCES);
	CHECK(mkdir("x", 0700) < 0 && errno == EACCES);
	CHECK(symlink("/etc", "x") < 0 && errno == EACCES);
	CHECK(mknod("x", S_IFIFO | 0600, 0) < 0 && errno == EACCES);
	CHECK(mknod("x", S_IFREG | 0600, 0) < 0 && errno == EACCES);
	CHECK(rename("old", "x") < 0 && errno == EACCES);
	CHECK(mount("x", "/", "tmpfs", 0, NULL) < 0 && umount2("/", MNT_DETACH) < 0);
	/* Another folder than the one that it was given would be found; a name in it is none. */
	CHECK(isolate_check(i, &f) == 0);
	CHECK(bind(c, (struct sockaddr *)&proc, sizeof(proc)) == 0);
	CHECK(isolate_check(i, &f) == 0);
	CHECK(unlink("proc") == 0);
	struct isolation other = *i;
	other.root_ino++;
	CHECK(isolate_check(&other, &f) == ERR_STATE);
	other = *i;
	other.root_ino = 0; /* it has no empty one */
	CHECK(isolate_check(&other, &f) == ERR_STATE);
	return 0;
}

static int broker_child(void)
{
	struct isolation i;
	struct stat st;
	struct sockaddr_un name;
	socklen_t n;
	int status, link[2];
	CHECK(abstract_listener(&name, &n) >= 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, link) == 0);
	isolate_begin(TEST_UID, &i);
	pid_t child = fork();
	if (child == 0) {
		if (enter(&i, ISOLATE_WORKER) < 0)
			_exit(1);
		(void)!write(link[1], "r", 1);
		for (;;)
			pause();
	}
	char c;
	CHECK(read(link[0], &c, 1) == 1);
	CHECK(enter(&i, ISOLATE_BROKER) == 0);
	CHECK(all_held(&i, PROTECTIONS_OF_BROKER));
	/* Users and pids are the host's: it tells who connects. */
	CHECK(getpid() > 1 && setuid(0) < 0 && errno == EPERM);
	CHECK(stat("/etc", &st) < 0 && errno == ENOENT);
	CHECK(open("/", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(s, (struct sockaddr *)&name, n) < 0 && errno == EPERM);
	/* It listens for a migration that comes in, and connects where disks go out. */
	struct sockaddr_in any = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t any_size = sizeof(any);
	int in = socket(AF_INET, SOCK_STREAM, 0), out = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(in, (struct sockaddr *)&any, sizeof(any)) == 0 && listen(in, 1) == 0);
	CHECK(getsockname(in, (struct sockaddr *)&any, &any_size) == 0);
	CHECK(connect(out, (struct sockaddr *)&any, sizeof(any)) == 0);
	CHECK(broker_folder(&i) == 0);
	/* It reaches its worker and nobody else, be it of the same user. */
	CHECK(kill(outsider, SIGKILL) < 0 && errno == EPERM);
	CHECK(ptrace(PTRACE_SEIZE, outsider, 0, 0) < 0);
	CHECK(kill(child, SIGKILL) == 0);
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	return 0;
}

static void test_broker(void **state)
{
	(void)state;
	assert_exits_0(broker_child);
}

/* ---- What is missing is said, and what is said holds ---------------------------------------- */

/* A process that may do nothing of it goes on, with a reason for each. */
static int powerless_child(void)
{
	struct isolation i;
	CHECK(setresgid(TEST_UID, TEST_UID, TEST_UID) == 0);
	CHECK(setresuid(TEST_UID, TEST_UID, TEST_UID) == 0);
	isolate_begin(TEST_UID, &i);
	isolate_kernel(&i, ISOLATE_WORKER);
	isolate_files(&i, ISOLATE_WORKER, -1);
	for (enum protection p = PROTECTION_NS_MOUNT; p < PROTECTION_NS_USER; p++)
		CHECK(!protections_have(&i.held, p) && i.why[p] == -EPERM);
	/* These two need no privilege. */
	CHECK(protections_have(&i.held, PROTECTION_LANDLOCK_FILES));
	CHECK(protections_have(&i.held, PROTECTION_MDWE));
	struct fault f = { 0 };
	CHECK(isolate_check(&i, &f) == 0);
	return 0;
}

static void test_powerless(void **state)
{
	(void)state;
	assert_exits_0(powerless_child);
}

/* Whatever is claimed without being there is found. */
static int lie_child(void)
{
	static const enum protection CLAIMS[] = {
		PROTECTION_NS_MOUNT, PROTECTION_NS_UTS, PROTECTION_NS_USER,
		PROTECTION_NS_PID,   PROTECTION_MDWE,	PROTECTION_LANDLOCK_FILES,
	};
	for (size_t c = 0; c < sizeof(CLAIMS) / sizeof(CLAIMS[0]); c++) {
		struct isolation i = { .user_ns = -1 };
		struct fault f = { 0 };
		protections_set(&i.held, CLAIMS[c]);
		CHECK(setresuid(TEST_UID, TEST_UID, 0) == 0);
		int rc = isolate_check(&i, &f);
		CHECK(setresuid(0, 0, 0) == 0);
		if (rc != ERR_STATE || !strstr(f.text, protection_name(CLAIMS[c]))) {
			fprintf(stderr, "%s is believed\n", protection_name(CLAIMS[c]));
			return 1;
		}
	}
	return 0;
}

/* ... and ends the phase. */
static int lie_entered_child(void)
{
	struct isolation i = { .uid = TEST_UID, .user_ns = -1 };
	struct fault f = { 0 };
	const struct sealed *sealed;
	protections_set(&i.held, PROTECTION_MDWE);
	CHECK(phases_enter(TEST_UID, &i, &f) == ERR_STATE);
	CHECK(phases_seal(&filter_broker, &sealed, &f) == ERR_STATE);
	return 0;
}

static void test_lies(void **state)
{
	(void)state;
	assert_exits_0(lie_child);
	assert_exits_0(lie_entered_child);
}

/* Every kernel's Landlock takes what is made for it; made up ABIs would be refused with EINVAL. */
static int abi_child(void)
{
	int abi = landlock_abi();
	CHECK(abi >= 1);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	for (int a = 1; a <= abi; a++)
		CHECK(landlock_deny(a, LANDLOCK_SIGNALS, -1, LANDLOCK_RENAME) == 0);
	CHECK(open("/dev/null", O_RDONLY) < 0 && errno == EACCES);
	return 0;
}

static void test_abis(void **state)
{
	(void)state;
	assert_exits_0(abi_child);
}

static char path[] = "/tmp/test_isolate.XXXXXX";

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(path) || chmod(path, 0755) < 0)
		return -1;
	int top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(openat(top, "other", O_WRONLY | O_CREAT, 0666));
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	snprintf(outside, sizeof(outside), "%s/socket", path);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", outside);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(listener, 4) < 0 ||
	    chmod(outside, 0777) < 0)
		return -1;
	if (mkdirat(top, "vm", 0700) < 0 || fchownat(top, "vm", TEST_UID, TEST_UID, 0) < 0)
		return -1;
	folder = openat(top, "vm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(openat(folder, "old", O_WRONLY | O_CREAT, 0600));
	if (fchownat(folder, "old", TEST_UID, TEST_UID, 0) < 0)
		return -1;
	close(top);
	outsider = fork();
	if (outsider == 0) {
		alarm(120);
		if (setresuid(TEST_UID, TEST_UID, TEST_UID) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	return outsider > 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const NAMES[] = { "vm/old", "vm/new", "other", "socket" };
	char name[sizeof(path) + 16];
	(void)state;
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		snprintf(name, sizeof(name), "%s/%s", path, NAMES[i]);
		(void)unlink(name);
	}
	snprintf(name, sizeof(name), "%s/vm", path);
	rmdir(name);
	int alive = kill(outsider, SIGKILL) == 0 && waitpid(outsider, NULL, 0) == outsider;
	return rmdir(path) == 0 && alive ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker), cmocka_unit_test(test_state),
		cmocka_unit_test(test_broker), cmocka_unit_test(test_powerless),
		cmocka_unit_test(test_lies),   cmocka_unit_test(test_abis),
	};
	if (geteuid() != 0) {
		fprintf(stderr, "test_isolate: namespaces need root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
