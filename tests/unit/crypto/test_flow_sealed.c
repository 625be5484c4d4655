/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flows in a sealed process: under a filter for all threads that lets pass what crypto/flow.h says,
 * and kills for everything else.  Not under the sanitizers, whose runtimes do more.
 */
#include "tests/unit/crypto/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/flow.h"
#include "crypto/init.h"

#define BYTES ((FLOW_RECORDS + 3) * (size_t)STREAM_RECORD_BYTES + 7)

/* lseek is this test's own. */
static int seal_process(void)
{
	static const int ALLOWED[] = {
		SCMP_SYS(read),	  SCMP_SYS(write),	   SCMP_SYS(poll),	 SCMP_SYS(ppoll),
		SCMP_SYS(futex),  SCMP_SYS(getrandom),	   SCMP_SYS(brk),	 SCMP_SYS(mmap),
		SCMP_SYS(munmap), SCMP_SYS(mprotect),	   SCMP_SYS(mremap),	 SCMP_SYS(madvise),
		SCMP_SYS(getpid), SCMP_SYS(clock_gettime), SCMP_SYS(exit_group), SCMP_SYS(lseek),
	};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc = filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) : -1;
	for (size_t i = 0; i < sizeof(ALLOWED) / sizeof(ALLOWED[0]) && rc == 0; i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, ALLOWED[i], 0);
	if (rc == 0)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	return rc;
}

struct set_up {
	struct pool *pool;
	struct flow *flow;
	struct stream_keys *keys;
	int plain, sealed[2], again, broken, full, packed;
};

static int file(const void *data, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	return fd >= 0 && fd_write_full(fd, data, n) == 0 && lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
}

/* Everything a worker does with flows.  The number of the step that went wrong, or 0. */
static int work(struct set_up *u)
{
	struct flow *w = u->flow;
	if (flow_seal_start(w, u->keys, KEY_USE_SAVED_STATE, u->plain, u->sealed[1], NULL) < 0)
		return 1;
	/* Through a pipe that nobody reads: it stops, and is ended. */
	for (int i = 0; i < 20; i++) {
		struct pollfd slots[FLOW_SLOTS];
		flow_slots(w, slots);
		poll(slots, FLOW_SLOTS, 5);
		flow_serve(w, slots);
	}
	if (flow_state(w) != FLOW_RUNNING)
		return 2;
	flow_abort(w);
	if (flow_open_start(w, u->keys, KEY_USE_SAVED_STATE, u->again, u->full, NULL) < 0 ||
	    flow_run(w, NULL, NULL, NULL) != -ENOSPC)
		return 3;
	if (flow_open_start(w, u->keys, KEY_USE_SAVED_STATE, u->broken, -1, NULL) < 0 ||
	    flow_run(w, NULL, NULL, NULL) != ERR_AUTH)
		return 4;
	if (flow_seal_start(w, u->keys, KEY_USE_DUMP, u->plain, u->full, NULL) < 0 ||
	    flow_run(w, NULL, NULL, NULL) != -ENOSPC)
		return 5;
	stream_keys_compress(u->keys, STREAM_ZSTD);
	lseek(u->plain, 0, SEEK_SET);
	if (flow_seal_start(w, u->keys, KEY_USE_SAVED_STATE, u->plain, u->packed, NULL) < 0 ||
	    flow_run(w, NULL, NULL, NULL) < 0)
		return 6;
	lseek(u->packed, 0, SEEK_SET);
	if (flow_open_start(w, u->keys, KEY_USE_SAVED_STATE, u->packed, -1, NULL) < 0 ||
	    flow_run(w, NULL, NULL, NULL) < 0 || flow_progress(w).out_bytes != BYTES)
		return 7;
	return 0;
}

static int prepare(struct set_up *u)
{
	static uint8_t plain[BYTES];
	CLEANUP_BUF struct buf b = BUF_INIT(FILE_MAX);
	CLEANUP_KEY struct vm_key key = counting_key(0);
	if (crypto_init() < 0 || pool_new(2, &u->pool) < 0 || flow_new(u->pool, &u->flow) < 0 ||
	    stream_keys_new(&FACTS, &key, owner, NULL, &u->keys, NULL) < 0)
		return -1;
	pattern(plain, BYTES);
	if (file_make(u->keys, KEY_USE_SAVED_STATE, plain, BYTES, &b) < 0)
		return -1;
	u->plain = file(plain, BYTES);
	u->again = file(b.data, b.len);
	b.data[b.len / 2] ^= 1;
	u->broken = file(b.data, b.len);
	u->packed = file("", 0);
	u->full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	if (pipe2(u->sealed, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	return u->plain < 0 || u->again < 0 || u->broken < 0 || u->full < 0 || u->packed < 0 ? -1
											     : 0;
}

static int in_child(int forbidden)
{
	pid_t child = fork();
	if (child == 0) {
		struct set_up u = { 0 };
		prctl(PR_SET_DUMPABLE, 0);
		if (prepare(&u) < 0)
			_exit(100);
		if (seal_process() < 0)
			_exit(101);
		if (forbidden)
			close(u.full);
		_exit(work(&u));
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void test_flows_need_no_more(void **state)
{
	(void)state;
	int status = in_child(0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("status %#x", (unsigned)status);
}

static void test_the_filter_is_there(void **state)
{
	(void)state;
	int status = in_child(1);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows_need_no_more),
		cmocka_unit_test(test_the_filter_is_there),
	};
	return cmocka_run_group_tests(tests, make_owner, free_owner);
}
