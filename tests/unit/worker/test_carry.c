/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State over the monitor into files and out of them: saves, restores, dumps.
 */
#include "tests/unit/worker/carry_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* A save up to the point where QEMU writes. */
static void begin_save(struct bed *b, int file)
{
	hand_over(b, "migrate", file);
	libvirt_gets(b, OK);
	assert_null(strstr(b->from_qemu, "execute"));
	say(b->libvirt, MIGRATE);
	qemu_gets(b, "\"arguments\":{\"fdname\":\"shieldvm-state\"}}\n");
	assert_true(b->qemus_fd >= 0);
	qemu_answers(b, OK);
	qemu_gets(b, "{\"execute\":\"migrate\"");
	qemu_gets(b, "\"uri\":\"fd:shieldvm-state\"");
	assert_null(strstr(b->from_libvirt, "return"));
	qemu_answers(b, OK);
	libvirt_gets(b, OK ", \"id\": \"m\"}");
}

/* QEMU writes N bytes of its state. */
static void qemu_writes(struct bed *b, size_t n)
{
	assert_int_equal(fcntl(b->qemus_fd, F_SETFL, O_NONBLOCK), 0);
	for (size_t at = 0; at < n;) {
		ssize_t put = write(b->qemus_fd, state_bytes + at, n - at);
		at += put > 0 ? (size_t)put : 0;
		step(b);
	}
}

/* A whole saved state in a file. */
static int saved(void)
{
	struct bed b;
	int file = temporary();
	start(&b);
	begin_save(&b, file);
	qemu_writes(&b, STATE_BYTES);
	fd_close(&b.qemus_fd);
	say(b.qemu, EVENT("completed"));
	libvirt_gets(&b, "\"status\": \"completed\"}}\r\n");
	end(&b);
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	return file;
}

static void test_save(void **state)
{
	(void)state;
	struct bed b;
	struct stat st;
	int pipes[2], file = temporary();
	start(&b);
	begin_save(&b, file);
	say(b.qemu, EVENT("active"));
	libvirt_gets(&b, "\"active\"}}\r\n");
	qemu_writes(&b, STATE_BYTES);
	/* QEMU is done, and has not said so yet. */
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"completed\", \"ram\": {\"total\": 5}}");
	libvirt_gets(&b, "{\"status\": \"active\", \"ram\": {\"total\": 5}}");
	/* Done, says QEMU, but its pipe is not at its end yet, and has none that is QEMU's to make.
	 */
	(void)shutdown(b.qemus_fd, SHUT_RDWR);
	say(b.qemu, EVENT("completed"));
	not_yet(&b, b.from_libvirt, "completed");
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"completed\", \"ram\": {\"total\": 5}}");
	libvirt_gets(&b, "{\"status\": \"active\", \"ram\": {\"total\": 5}}");
	fd_close(&b.qemus_fd);
	libvirt_gets(&b, "\"status\": \"completed\"}}\r\n");
	/* By then everything is in the file, and it is not what QEMU wrote. */
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(st.st_size, STREAM_STATE_KEY_BYTES + STREAM_HEADER_BYTES + STATE_BYTES +
					     (STATE_RECORDS + 1) * STREAM_RECORD_EXTRA);
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"completed\"}");
	libvirt_gets(&b, "\"completed\"");
	/* And again, to a pipe. */
	assert_int_equal(pipe(pipes), 0);
	begin_save(&b, pipes[1]);
	close(pipes[1]);
	fd_close(&b.qemus_fd);
	say(b.qemu, EVENT("completed"));
	libvirt_gets(&b, "\"completed\"}}\r\n");
	char text[1024];
	assert_int_equal(read(pipes[0], text, sizeof(text)),
			 STREAM_STATE_KEY_BYTES + STREAM_HEADER_BYTES + STREAM_RECORD_EXTRA);
	assert_int_equal(read(pipes[0], text, sizeof(text)), 0);
	close(pipes[0]);
	close(file);
	end(&b);
}

/* The ends of a save that are no end. */
static void test_save_fails(void **state)
{
	(void)state;
	struct bed b;
	int pipes[2];
	start(&b);
	/* Whoever reads has gone: QEMU meets a closed pipe, and libvirt hears our reason. */
	assert_int_equal(pipe(pipes), 0);
	begin_save(&b, pipes[1]);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(fcntl(b.qemus_fd, F_SETFL, O_NONBLOCK), 0);
	int64_t deadline = clock_ms() + WAIT_MS;
	while (write(b.qemus_fd, state_bytes, 65536) > 0 || errno == EAGAIN) {
		assert_true(clock_left_ms(deadline) > 0);
		step(&b);
	}
	assert_int_equal(errno, EPIPE);
	say(b.qemu, EVENT("failed"));
	libvirt_gets(&b, "\"failed\"}}\r\n");
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"failed\", \"error-desc\": \"x\"}");
	libvirt_gets(&b, "\"error-desc\":\"shieldvm: ");

	/* QEMU's own failure keeps QEMU's words. */
	assert_int_equal(pipe(pipes), 0);
	begin_save(&b, pipes[1]);
	close(pipes[1]);
	say(b.qemu, EVENT("failed"));
	libvirt_gets(&b, "\"failed\"}}\r\n");
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"failed\", \"error-desc\": \"x\"}");
	libvirt_gets(&b, "\"error-desc\": \"x\"");
	close(pipes[0]);

	/* It fails when QEMU is done. */
	assert_int_equal(pipe(pipes), 0);
	begin_save(&b, pipes[1]);
	close(pipes[1]);
	fd_close(&b.qemus_fd);
	close(pipes[0]);
	say(b.qemu, EVENT("completed"));
	libvirt_gets(&b, "\"status\":\"failed\"");
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"completed\"}");
	libvirt_gets(&b, "{\"status\":\"failed\",\"error-desc\":\"shieldvm: ");
	end(&b);
}

/* QEMU had all of it in its pipe when the transfer failed, and never meets a closed one. */
static void test_save_fails_unseen(void **state)
{
	(void)state;
	struct bed b;
	int pipes[2];
	start(&b);
	assert_int_equal(pipe(pipes), 0);
	begin_save(&b, pipes[1]);
	close(pipes[1]);
	assert_int_equal(write(b.qemus_fd, state_bytes, 1000), 1000);
	close(pipes[0]);
	not_yet(&b, b.from_libvirt, "MIGRATION");
	fd_close(&b.qemus_fd);
	/* Another one has to wait until QEMU has said how this one ended: its word would be taken
	 * for that one's end. */
	assert_int_equal(pipe(pipes), 0);
	hand_over(&b, "migrate", pipes[1]);
	close(pipes[1]);
	libvirt_gets(&b, OK);
	say(b.libvirt, MIGRATE);
	libvirt_gets(&b, "on its way already");
	say(b.qemu, EVENT("completed"));
	libvirt_gets(&b, "\"status\":\"failed\"");
	not_yet(&b, b.from_libvirt, "completed");
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"completed\"}");
	libvirt_gets(&b, "{\"status\":\"failed\",\"error-desc\":\"shieldvm: ");

	/* What QEMU says before it was asked is about nothing. */
	say(b.libvirt, MIGRATE);
	qemu_gets(&b, "shieldvm-state");
	say(b.qemu, EVENT("completed"));
	not_yet(&b, b.from_libvirt, "completed");
	qemu_answers(&b, OK);
	qemu_gets(&b, "{\"execute\":\"migrate\"");
	qemu_answers(&b, OK);
	libvirt_gets(&b, OK);
	fd_close(&b.qemus_fd);
	/* Its pipe has ended, and that is no end. */
	not_yet(&b, b.from_libvirt, "MIGRATION");
	say(b.qemu, EVENT("cancelled"));
	libvirt_gets(&b, "\"cancelled\"}}\r\n");
	char text[4096];
	assert_int_equal(read(pipes[0], text, sizeof(text)),
			 STREAM_STATE_KEY_BYTES + STREAM_HEADER_BYTES);
	close(pipes[0]);
	end(&b);
}

/* A QEMU that ends without a word has not written all of it. */
static void test_save_without_end(void **state)
{
	(void)state;
	struct bed b;
	struct stat st;
	int file = temporary();
	start(&b);
	begin_save(&b, file);
	qemu_writes(&b, 2 * STREAM_RECORD_BYTES + 1000);
	fd_close(&b.qemus_fd);
	for (int i = 0; i < 30; i++)
		step(&b);
	end(&b);
	/* Whole records and no final one. */
	assert_int_equal(fstat(file, &st), 0);
	assert_true(st.st_size <= STREAM_STATE_KEY_BYTES + STREAM_HEADER_BYTES +
					  2 * (STREAM_RECORD_BYTES + STREAM_RECORD_EXTRA));
	close(file);
}

static void launch(struct bed *b, int file)
{
	const int32_t number = 23;
	int fds[1] = { file };
	carry_launched(b->carry, 1, fds, &number, 1);
	say(b->libvirt, CONT);
	libvirt_gets(b, "shieldvm: state.unverified: ");
}

/* The header is fine: QEMU gets its pipe, and the command. */
static void begin_restore(struct bed *b, int file)
{
	launch(b, file);
	say(b->libvirt, INCOMING);
	qemu_takes_over(b);
}

/* 1 if QEMU is asked for something, 0 if libvirt has its answer. */
static int goes_on(struct bed *b)
{
	int64_t deadline = clock_ms() + WAIT_MS;
	while (!strstr(b->from_qemu, "getfd") && !strstr(b->from_libvirt, "\"id\": \"i\"")) {
		assert_true(clock_left_ms(deadline) > 0);
		step(b);
	}
	return strstr(b->from_qemu, "getfd") != NULL;
}

/* QEMU reads what there is, up to the end or as long as something comes. */
static size_t qemu_reads(struct bed *b, uint8_t *out, size_t size)
{
	size_t n = 0;
	int quiet = 0;
	assert_int_equal(fcntl(b->qemus_fd, F_SETFL, O_NONBLOCK), 0);
	while (quiet < 30) {
		ssize_t got = read(b->qemus_fd, out + n, size - n);
		if (got == 0)
			return n;
		quiet = got > 0 ? 0 : quiet + 1;
		n += got > 0 ? (size_t)got : 0;
		step(b);
	}
	return n;
}

static void test_restore(void **state)
{
	(void)state;
	struct bed b;
	static uint8_t have[STATE_BYTES + 1];
	int file = saved();
	start(&b);
	begin_restore(&b, file);
	/* State goes one way. */
	assert_int_equal(send(b.qemus_fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(qemu_reads(&b, have, sizeof(have)), STATE_BYTES);
	assert_memory_equal(have, state_bytes, STATE_BYTES);
	/* Authentic to the end, but QEMU has not taken it in. */
	say(b.libvirt, CONT);
	libvirt_gets(&b, "shieldvm: state.unverified: ");
	say(b.libvirt, "{\"execute\":\"system_wakeup\"}\n");
	libvirt_gets(&b, "shieldvm: state.unverified: ");
	say(b.qemu, EVENT("completed"));
	libvirt_gets(&b, "\"completed\"}}\r\n");
	say(b.libvirt, CONT);
	qemu_gets(&b, "\"cont\"");
	qemu_answers(&b, OK);
	libvirt_gets(&b, OK);
	/* The file was for once. */
	say(b.libvirt, INCOMING);
	libvirt_gets(&b, "shieldvm: migration.unsealed: ");
	end(&b);
}

/* All of it was authentic, and QEMU cannot use it. */
static void test_restore_unusable(void **state)
{
	(void)state;
	struct bed b;
	static uint8_t have[STATE_BYTES + 1];
	int file = saved();
	start(&b);
	begin_restore(&b, file);
	assert_int_equal(qemu_reads(&b, have, sizeof(have)), STATE_BYTES);
	not_yet(&b, b.from_libvirt, "MIGRATION");
	say(b.qemu, EVENT("failed"));
	libvirt_gets(&b, "\"failed\"}}\r\n");
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"failed\", \"error-desc\": \"x\"}");
	libvirt_gets(&b, "\"error-desc\": \"x\"");
	say(b.libvirt, CONT);
	libvirt_gets(&b, "shieldvm: state.unverified: ");
	end(&b);
}

/* A copy of FILE with the byte at AT changed, cut to SIZE if that is not 0. */
static int damaged(int file, off_t at, off_t size)
{
	struct stat st;
	uint8_t byte;
	int copy = temporary();
	assert_int_equal(fstat(file, &st), 0);
	off_t from = 0;
	assert_int_equal(lseek(copy, 0, SEEK_SET), 0);
	while (from < st.st_size)
		assert_true(copy_file_range(file, &from, copy, NULL, (size_t)(st.st_size - from),
					    0) > 0);
	if (at >= 0) {
		assert_int_equal(pread(copy, &byte, 1, at), 1);
		byte ^= 4;
		assert_int_equal(pwrite(copy, &byte, 1, at), 1);
	}
	if (size)
		assert_int_equal(ftruncate(copy, size), 0);
	assert_int_equal(lseek(copy, 0, SEEK_SET), 0);
	return copy;
}

static void test_restore_forged(void **state)
{
	(void)state;
	enum { FRONT = STREAM_STATE_KEY_BYTES + STREAM_HEADER_BYTES };
	enum { RECORD = STREAM_RECORD_BYTES + STREAM_RECORD_EXTRA };
	static const struct {
		off_t at, size;
		int early; /* before QEMU hears of it; else it may be so */
	} WRONG[] = {
		{ 0, 0, 1 },
		{ 60, 0, 1 },
		{ FRONT - 1, 0, 1 },
		{ -1, 10, 1 },
		{ -1, FRONT - 1, 1 },
		{ FRONT, 0, 0 },
		{ FRONT + 5000, 0, 0 },
		{ FRONT + STATE_RECORDS * RECORD + 900, 0, 0 },
		{ -1, FRONT, 0 },
		{ -1, FRONT + STATE_RECORDS * RECORD, 0 },
		{ -1, FRONT + STATE_RECORDS * RECORD + 500, 0 },
	};
	static uint8_t have[STATE_BYTES + 1];
	int file = saved(), late = 0;
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		struct bed b;
		int copy = damaged(file, WRONG[i].at, WRONG[i].size);
		start(&b);
		launch(&b, copy);
		say(b.libvirt, INCOMING);
		if (WRONG[i].early || !goes_on(&b)) {
			libvirt_gets(&b, "\"desc\":\"shieldvm: state.auth: ");
			assert_null(strstr(b.from_qemu, "execute"));
		} else {
			qemu_takes_over(&b);
			assert_true(qemu_reads(&b, have, sizeof(have)) < STATE_BYTES);
			libvirt_gets(&b,
				     "\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}");
			say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
			qemu_gets(&b, "query-migrate");
			qemu_answers(&b, "\"return\": {\"status\": \"active\"}");
			libvirt_gets(&b, "\"error-desc\":\"shieldvm: state.auth: ");
			/* That was the last word, whatever QEMU says, at once or ever. */
			say(b.qemu, EVENT("active"));
			say(b.qemu, EVENT("completed"));
			not_yet(&b, b.from_libvirt, "MIGRATION");
			late++;
		}
		say(b.libvirt, CONT);
		libvirt_gets(&b, "shieldvm: state.unverified: ");
		end(&b);
	}
	assert_true(late >= 3);
	close(file);
}

static void test_refused(void **state)
{
	(void)state;
	struct bed b;
	int pair[2];
	start(&b);
	say(b.libvirt, MIGRATE);
	libvirt_gets(&b, "shieldvm: migration.unsealed: ");
	say(b.libvirt, INCOMING);
	libvirt_gets(&b, "shieldvm: migration.unsealed: ");
	/* A connection of another name is QEMU's to have, and no way out. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	hand_over(&b, "migrat", pair[0]);
	qemu_gets(&b, "\"fdname\":\"migrat\"");
	qemu_answers(&b, OK);
	libvirt_gets(&b, OK);
	say(b.libvirt, MIGRATE);
	libvirt_gets(&b, "shieldvm: migration.unsealed: ");
	close(pair[0]);
	close(pair[1]);
	/* A pipe into libvirt's tunnel to another host. */
	int pipes[2];
	/* What is not plainly "off" counts as on. */
	static const char *const PAUSE[] = { "true", "null", "false" };
	assert_int_equal(pipe(pipes), 0);
	hand_over(&b, "migrate", pipes[1]);
	libvirt_gets(&b, OK);
	for (int i = 0; i < 3; i++) {
		char line[256];
		snprintf(line, sizeof(line),
			 "{\"execute\":\"migrate-set-capabilities\",\"arguments\":"
			 "{\"capabilities\":[{\"capability\":\"pause-before-switchover\","
			 "\"state\":%s}]}}\n",
			 PAUSE[i]);
		say(b.libvirt, line);
		qemu_gets(&b, "pause-before-switchover");
		qemu_answers(&b, OK);
		libvirt_gets(&b, OK);
		say(b.libvirt, MIGRATE);
		if (i == 2)
			break;
		libvirt_gets(&b, "shieldvm: migration.form: ");
		say(b.libvirt, "{\"execute\":\"blockdev-mirror\",\"arguments\":{}}\n");
		libvirt_gets(&b, "shieldvm: migration.form: a disk");
	}
	qemu_gets(&b, "shieldvm-state");
	qemu_answers(&b, "\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}");
	libvirt_gets(&b, "\"desc\": \"no\"");
	close(pipes[0]);
	close(pipes[1]);
	/* A descriptor that is given back, and more of them than anybody needs. */
	int file = temporary();
	hand_over(&b, "migrate", file);
	libvirt_gets(&b, OK);
	say(b.libvirt, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"migrate\"}}\n");
	libvirt_gets(&b, OK);
	say(b.libvirt, MIGRATE);
	libvirt_gets(&b, "shieldvm: migration.unsealed: ");
	for (int i = 0; i <= CARRY_HELD_MAX; i++) {
		char name[8];
		snprintf(name, sizeof(name), "n%d", i);
		hand_over(&b, name, file);
		libvirt_gets(&b, i < CARRY_HELD_MAX ? OK : "too many files");
	}
	close(file);
	/* A dump, at this level. */
	say(b.libvirt, "{\"execute\":\"dump-guest-memory\",\"arguments\":{\"paging\":false,"
		       "\"protocol\":\"fd:n0\",\"detach\":true}}\n");
	libvirt_gets(&b, "shieldvm: memory.dump: ");
	assert_null(strstr(b.from_qemu, "execute"));
	end(&b);
}

/* libvirt gives up a save when QEMU is done and the file is not. */
static void test_cancelled(void **state)
{
	(void)state;
	struct bed b;
	int pipes[2];
	start(&b);
	assert_int_equal(pipe(pipes), 0);
	begin_save(&b, pipes[1]);
	close(pipes[1]);
	/* More than the pipe to libvirt's reader holds, and nobody reads. */
	qemu_writes(&b, 8 * STREAM_RECORD_BYTES);
	fd_close(&b.qemus_fd);
	say(b.qemu, EVENT("completed"));
	not_yet(&b, b.from_libvirt, "completed");
	say(b.libvirt, "{\"execute\":\"migrate_cancel\"}\n");
	qemu_gets(&b, "migrate_cancel");
	qemu_answers(&b, OK);
	libvirt_gets(&b, "\"status\":\"failed\"");
	say(b.libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(&b, "query-migrate");
	qemu_answers(&b, "\"return\": {\"status\": \"completed\"}");
	libvirt_gets(&b, "shieldvm: it was cancelled");
	close(pipes[0]);
	end(&b);
}

/* What libvirt handed over goes with its connection. */
static void test_forgotten(void **state)
{
	(void)state;
	struct bed b;
	int pipes[2];
	start(&b);
	assert_int_equal(pipe(pipes), 0);
	hand_over(&b, "migrate", pipes[1]);
	libvirt_gets(&b, OK);
	close(pipes[1]);
	struct pollfd p = { .fd = pipes[0], .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 0);
	shutdown(b.libvirt, SHUT_RDWR);
	for (int i = 0; i < 20; i++)
		turn(&b);
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_true(p.revents & POLLHUP);
	close(pipes[0]);
	end(&b);
}

/* What has QEMU write past the worker is not there for libvirt, nor what it would ask for by
 * itself. */
static void test_hidden_capability(void **state)
{
	(void)state;
	struct bed b;
	start(&b);
	say(b.libvirt, "{\"execute\":\"query-migrate-capabilities\",\"id\":\"c\"}\n");
	qemu_gets(&b, "query-migrate-capabilities");
	qemu_answers(&b, "\"return\": [{\"state\": false, \"capability\": \"xbzrle\"}, "
			 "{\"state\": false, \"capability\": \"mapped-ram\"}, "
			 "{\"state\": false, \"capability\": \"postcopy-preempt\"}, "
			 "{\"state\": true, \"capability\": \"events\"}]");
	libvirt_gets(&b, "{\"return\": [{\"state\":false,\"capability\":\"xbzrle\"},"
			 "{\"state\":true,\"capability\":\"events\"}], \"id\": \"c\"}");
	end(&b);
}

static void test_dump(void **state)
{
	(void)state;
	struct bed b;
	uint8_t front[STREAM_FRONT_MAX];
	struct stream_claims claims;
	struct fault f = { 0 };
	int file = temporary();
	start_as(&b, LEVEL_ENCRYPTION_SUPPORTED, "memory.dump");
	hand_over(&b, "dump", file);
	libvirt_gets(&b, OK);
	say(b.libvirt, "{\"execute\":\"dump-guest-memory\",\"arguments\":{\"paging\":false,"
		       "\"protocol\":\"fd:dump\",\"format\":\"kdump-zlib\",\"detach\":true}}\n");
	libvirt_gets(&b, "shieldvm: memory.dump-form: ");
	say(b.libvirt, "{\"execute\":\"dump-guest-memory\",\"arguments\":{\"paging\":false,"
		       "\"protocol\":\"fd:dump\"}}\n");
	libvirt_gets(&b, "shieldvm: memory.dump-form: ");
	say(b.libvirt, "{\"execute\":\"dump-guest-memory\",\"arguments\":{\"paging\":false,"
		       "\"protocol\":\"fd:dump\",\"detach\":true}}\n");
	qemu_gets(&b, "\"fdname\":\"shieldvm-state\"}}\n");
	qemu_answers(&b, OK);
	qemu_gets(&b, "\"protocol\":\"fd:shieldvm-state\"");
	qemu_answers(&b, OK);
	libvirt_gets(&b, OK);
	qemu_writes(&b, STATE_BYTES);
	say(b.qemu, "{\"event\": \"DUMP_COMPLETED\", \"data\": {\"result\": {\"total\": 1, "
		    "\"status\": \"completed\", \"completed\": 1}}}\r\n");
	not_yet(&b, b.from_libvirt, "DUMP_COMPLETED");
	fd_close(&b.qemus_fd);
	libvirt_gets(&b, "DUMP_COMPLETED");
	ssize_t n = pread(file, front, sizeof(front), 0);
	assert_int_equal(n, sizeof(front));
	assert_int_equal(stream_inspect(front, (size_t)n, &claims, &f), 0);
	assert_int_equal(claims.purpose, KEY_USE_DUMP);
	close(file);
	end(&b);
}

int main(void)
{
	carry_bed_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_save),
		cmocka_unit_test(test_save_fails),
		cmocka_unit_test(test_save_fails_unseen),
		cmocka_unit_test(test_save_without_end),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_restore_unusable),
		cmocka_unit_test(test_restore_forged),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_hidden_capability),
		cmocka_unit_test(test_dump),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
