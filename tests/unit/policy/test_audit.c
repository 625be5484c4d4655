/* SPDX-License-Identifier: BSD-3-Clause */
/* The audit log: chain, anchor, signature, cut-off writes, rotation, many writers, tampering. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

#include "base/fd.h"
#include "policy/audit_read.h"

#define FILE_BYTES_MAX (4 * 1024 * 1024)
#define WRITERS	       10
#define EACH	       100

struct bed {
	char root[64], log[96], head[96], signd[96];
	int log_dir, anchor_dir;
	struct audit *a;
	struct jwk *key;
};

static void bed_paths(struct bed *b)
{
	char path[96];
	snprintf(b->log, sizeof(b->log), "%s/log/audit.jsonl", b->root);
	snprintf(b->head, sizeof(b->head), "%s/anchor/audit.head", b->root);
	snprintf(b->signd, sizeof(b->signd), "%s/anchor/audit.signed", b->root);
	snprintf(path, sizeof(path), "%s/log", b->root);
	assert_int_equal(mkdir(path, 0700), 0);
	b->log_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/anchor", b->root);
	assert_int_equal(mkdir(path, 0700), 0);
	b->anchor_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(b->log_dir >= 0 && b->anchor_dir >= 0);
}

static int setup(void **state)
{
	struct fault f = { 0 };
	struct bed *b = calloc(1, sizeof(*b));
	snprintf(b->root, sizeof(b->root), "/tmp/shieldvm-audit-XXXXXX");
	assert_non_null(mkdtemp(b->root));
	bed_paths(b);
	assert_int_equal(jwk_new(&b->key, &f), 0);
	assert_int_equal(audit_open(b->log_dir, b->anchor_dir, &b->a, &f), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	char command[128];
	audit_free(b->a);
	jwk_free(b->key);
	close(b->log_dir);
	close(b->anchor_dir);
	snprintf(command, sizeof(command), "rm -rf %s", b->root);
	assert_int_equal(system(command), 0);
	free(b);
	return 0;
}

static int append(struct audit *a, const char *request)
{
	struct fault f = { 0 };
	struct audit_record r = AUDIT_RECORD(AUDIT_REFUSED, AUDIT_BY_HOOK, AUDIT_NO);
	r.has_vm = 1;
	r.vm[0] = 7;
	AUDIT_TEXT(r.rule, "console.serial");
	AUDIT_TEXT(r.request, request);
	return audit_append(a, &r, &f);
}

static void slurp(const char *path, struct buf *out)
{
	struct fault f = { 0 };
	*out = BUF_INIT(FILE_BYTES_MAX);
	assert_int_equal(fd_read_file(AT_FDCWD, path, out, &f), 0);
}

static void spill(const char *path, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, bytes, n), 0);
	close(fd);
}

/* Verify with what is at hand; the sentence goes to F. */
static int verify(const struct bed *b, int with_head, int with_signature, struct audit_summary *s,
		  struct fault *f)
{
	struct audit_head head;
	struct audit_signed signd;
	*f = (struct fault){ 0 };
	CLEANUP_BUF struct buf bytes = BUF_INIT(0);
	if (with_head) {
		slurp(b->head, &bytes);
		int rc = audit_head_parse((const char *)bytes.data, bytes.len, &head);
		if (rc < 0)
			return rc;
		buf_done(&bytes);
	}
	if (with_signature) {
		slurp(b->signd, &bytes);
		int rc = audit_signed_parse(b->key, (const char *)bytes.data, bytes.len, &signd, f);
		if (rc < 0)
			return rc;
	}
	const struct audit_evidence e = { b->log, with_head ? &head : NULL,
					  with_signature ? &signd : NULL };
	return audit_verify(&e, s, f);
}

static void is_good(const struct bed *b, uint64_t records, uint64_t repairs)
{
	struct audit_summary s = { 0 };
	struct fault f;
	int rc = verify(b, 1, 0, &s, &f);
	if (rc < 0)
		print_error("%s\n", f.text);
	assert_int_equal(rc, 0);
	assert_int_equal(s.records, records);
	assert_int_equal(s.repairs, repairs);
}

/* The log is refused, with REGION of the sentence. */
static void is_bad(const struct bed *b, const char *region)
{
	struct audit_summary s;
	struct fault f;
	assert_int_equal(verify(b, 1, 0, &s, &f), ERR_AUTH);
	if (!strstr(f.text, region))
		fail_msg("'%s' is not in '%s'", region, f.text);
}

static void test_line(void **state)
{
	struct audit_record r = AUDIT_RECORD(AUDIT_KEY_USE, AUDIT_BY_VTPM, AUDIT_DONE), back;
	CLEANUP_BUF struct buf line = BUF_INIT(AUDIT_LINE_MAX);
	char big[3000];
	(void)state;
	memset(big, '"', sizeof(big));
	big[sizeof(big) - 1] = 0;
	AUDIT_TEXT(r.name, "\xc3\xa4\n\x7f\"\\ x");
	assert_string_equal(r.name, "????\"\\ x");
	AUDIT_TEXT(r.request, big);
	AUDIT_TEXT(r.reason, big);
	AUDIT_TEXT(r.unit, big);
	AUDIT_TEXT(r.rule, big);
	AUDIT_TEXT(r.level, big);
	r.seq = INT64_MAX;
	r.time_ms = 1795317518123;
	r.pid = INT32_MAX;
	r.uid = UINT32_MAX;
	r.has_vm = 1;
	assert_int_equal(audit_line_put(&r, &line), 0);
	assert_int_equal(audit_line_read((char *)line.data, line.len, &back), 0);
	assert_memory_equal(&r, &back, sizeof(r));
	/* Every other spelling is refused: a byte more, fewer, or another one. */
	for (size_t i = 0; i < line.len; i++)
		assert_int_equal(audit_line_read((char *)line.data, i, &back), ERR_FORMAT);
	const char *spaced = "{\"v\":1, \"seq\":1}\n";
	assert_int_equal(audit_line_read(spaced, strlen(spaced), &back), ERR_FORMAT);
}

static void test_times(void **state)
{
	int64_t t, again;
	char text[AUDIT_TIME_SIZE];
	(void)state;
	assert_int_equal(audit_time_parse("2026-11-22T03:18:38.123Z", &t), 0);
	audit_time_text(t, text);
	assert_string_equal(text, "2026-11-22T03:18:38.123Z");
	assert_int_equal(audit_time_parse("2026-11-22T03:18:38Z", &again), 0);
	assert_int_equal(again, t - 123);
	assert_int_equal(audit_time_parse("2026-11-22", &again), 0);
	static const char *const BAD[] = { "",
					   "x",
					   "2026",
					   "2026-13-01",
					   "2026-11-22T03:18:38",
					   "2026-11-22T03:18:38.1Z",
					   "2026-11-22T03:18:38.123",
					   "2026-11-22T03:18:38.123Zx",
					   "2026-11-22x" };
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		assert_int_equal(audit_time_parse(BAD[i], &again), ERR_FORMAT);
}

static void test_chain(void **state)
{
	struct bed *b = *state;
	struct fault f = { 0 };
	struct audit *other = NULL;
	is_good(b, 0, 0);
	assert_int_equal(append(b->a, "one"), 0);
	assert_int_equal(append(b->a, "two"), 0);
	assert_int_equal(audit_open(b->log_dir, b->anchor_dir, &other, &f), 0);
	assert_int_equal(append(other, "three"), 0);
	assert_int_equal(append(b->a, "four"), 0);
	audit_free(other);
	is_good(b, 4, 0);
}

/* Every byte of a small log changed, removed or added; cut at every byte. */
static void test_every_byte(void **state)
{
	struct bed *b = *state;
	struct audit_summary s;
	struct fault f;
	CLEANUP_BUF struct buf log;
	for (int i = 0; i < 3; i++)
		assert_int_equal(append(b->a, "x"), 0);
	assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), 0);
	slurp(b->log, &log);
	char *bytes = malloc(log.len + 1);
	assert_non_null(bytes);
	for (size_t i = 0; i < log.len; i++) {
		memcpy(bytes, log.data, log.len);
		bytes[i] = (char)(bytes[i] ^ 1);
		spill(b->log, bytes, log.len);
		assert_int_equal(verify(b, 1, 0, &s, &f), ERR_AUTH);
		assert_non_null(strstr(f.text, "audit.jsonl"));
		assert_int_equal(verify(b, 0, 1, &s, &f), ERR_AUTH);
		/* Nobody appends to it either, if it is the last record; and none is ever signed.
		 */
		memcpy(bytes, log.data, log.len);
		memmove(bytes + i, bytes + i + 1, log.len - i - 1);
		spill(b->log, bytes, log.len - 1);
		assert_int_equal(verify(b, 1, 0, &s, &f), ERR_AUTH);
		assert_int_equal(verify(b, 0, 1, &s, &f), ERR_AUTH);
		memcpy(bytes, log.data, i);
		bytes[i] = 'x';
		memcpy(bytes + i + 1, log.data + i, log.len - i);
		spill(b->log, bytes, log.len + 1);
		assert_int_equal(verify(b, 1, 0, &s, &f), ERR_AUTH);
		assert_int_equal(verify(b, 0, 1, &s, &f), ERR_AUTH);
		spill(b->log, log.data, i);
		assert_int_equal(verify(b, 1, 0, &s, &f), ERR_AUTH);
		assert_int_equal(verify(b, 0, 1, &s, &f), ERR_AUTH);
		assert_int_equal(append(b->a, "more"), ERR_AUTH);
	}
	spill(b->log, log.data, log.len);
	free(bytes);
	is_good(b, 3, 0);
	assert_int_equal(verify(b, 1, 1, &s, &f), 0);
}

static void test_what_and_where(void **state)
{
	struct bed *b = *state;
	struct fault f = { 0 };
	CLEANUP_BUF struct buf log, old;
	for (int i = 0; i < 2; i++)
		assert_int_equal(append(b->a, "aaa"), 0);
	slurp(b->log, &old);
	for (int i = 0; i < 2; i++)
		assert_int_equal(append(b->a, "bbb"), 0);
	assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), 0);
	slurp(b->log, &log);
	const char *text = (const char *)log.data, *line[5] = { text };
	for (int i = 0; i < 4; i++)
		line[i + 1] = strchr(line[i], '\n') + 1;
	char *bytes = malloc(2 * log.len + 2);
	size_t second = (size_t)(line[2] - line[1]);

	memcpy(bytes, text, log.len); /* edited in the middle */
	*(strstr(bytes + (line[1] - text), "aaa")) = 'b';
	spill(b->log, bytes, log.len);
	is_bad(b, "line 3 (byte ");
	is_bad(b, "record 2 was edited");
	memcpy(bytes, text, log.len); /* edited at the end */
	*(strstr(bytes + (line[3] - text), "bbb")) = 'c';
	spill(b->log, bytes, log.len);
	is_bad(b, "the last record (4) is not the one");
	assert_int_equal(append(b->a, "more"), ERR_AUTH);
	memcpy(bytes, text, (size_t)(line[1] - text)); /* dropped */
	memcpy(bytes + (line[1] - text), line[2], log.len - (size_t)(line[2] - text));
	spill(b->log, bytes, log.len - second);
	is_bad(b, "line 2 (byte ");
	is_bad(b, "record 3 where 2 must be");
	memcpy(bytes, line[0], (size_t)(line[1] - line[0])); /* reordered */
	size_t n = (size_t)(line[1] - line[0]);
	memcpy(bytes + n, line[2], (size_t)(line[3] - line[2]));
	n += (size_t)(line[3] - line[2]);
	memcpy(bytes + n, line[1], second);
	n += second;
	memcpy(bytes + n, line[3], (size_t)(line[4] - line[3]));
	spill(b->log, bytes, log.len);
	is_bad(b, "record 3 where 2 must be");
	memcpy(bytes, text, log.len); /* appended by hand */
	memcpy(bytes + log.len, line[3], (size_t)(line[4] - line[3]));
	spill(b->log, bytes, log.len + (size_t)(line[4] - line[3]));
	is_bad(b, "bytes behind the last acknowledged record (4): appended by hand");
	spill(b->log, old.data, old.len); /* an older copy */
	is_bad(b, "ends with record 2, and the anchor knows 4");
	assert_int_equal(append(b->a, "more"), ERR_AUTH);
	/* ... of log and anchor: the signature knows, and is not replaced. */
	struct audit_head head = { .turn = 90, .seq = 2, .gen = 1, .size = old.len };
	n = (size_t)(line[1] - line[0]);
	assert_int_equal(sign_sha256(old.data + n, old.len - n, head.hash), 0);
	int fd = open(b->head, O_RDWR);
	assert_int_equal(audit_head_write(fd, &head), 0);
	close(fd);
	struct audit_summary s;
	is_good(b, 2, 0);
	assert_int_equal(verify(b, 1, 1, &s, &f), ERR_AUTH);
	assert_non_null(strstr(f.text, "and the host has signed 4"));
	f = (struct fault){ 0 };
	assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), ERR_AUTH);
	assert_non_null(strstr(f.text, "older copy"));
	free(bytes);
}

static void test_signature(void **state)
{
	struct bed *b = *state;
	struct fault f = { 0 };
	struct audit_signed signd;
	struct jwk *other;
	CLEANUP_BUF struct buf text;
	assert_int_equal(jwk_new(&other, &f), 0);
	assert_int_equal(append(b->a, "x"), 0);
	assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), 0);
	assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), 0);
	assert_int_equal(append(b->a, "x"), 0);
	assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), 0);
	slurp(b->signd, &text);
	assert_int_equal(audit_signed_parse(b->key, (char *)text.data, text.len, &signd, &f), 0);
	assert_int_equal(signd.seq, 2);
	assert_int_equal(audit_signed_parse(other, (char *)text.data, text.len, &signd, &f),
			 ERR_AUTH);
	for (size_t i = 0; i + 1 < text.len; i++) {
		text.data[i] ^= 1;
		assert_true(audit_signed_parse(b->key, (char *)text.data, text.len, &signd, NULL) <
			    0);
		text.data[i] ^= 1;
	}
	assert_int_equal(audit_sign(b->a, b->anchor_dir, other, &f), ERR_AUTH);
	jwk_free(other);
}

/* A write that was cut off, at every byte, also twice; and whole, but not acknowledged. */
static void test_torn(void **state)
{
	struct bed *b = *state;
	struct fault f = { 0 };
	CLEANUP_BUF struct buf before, head, after;
	assert_int_equal(append(b->a, "kept"), 0);
	assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), 0);
	slurp(b->log, &before);
	slurp(b->head, &head);
	assert_int_equal(append(b->a, "lost"), 0);
	slurp(b->log, &after);
	for (size_t i = before.len + 1; i <= after.len; i++) {
		spill(b->log, after.data, i);
		spill(b->head, head.data, head.len);
		is_bad(b, "bytes behind the last acknowledged record (1)");
		assert_int_equal(append(b->a, "next"), 0);
		is_good(b, 3, 1);
		assert_int_equal(append(b->a, "and on"), 0);
		is_good(b, 4, 1);
		assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), 0);
		/* For the next turn the signature has to be as old as the anchor. */
		assert_int_equal(unlink(b->signd), 0);
	}
	/* The repair is cut off too. */
	CLEANUP_BUF struct buf twice;
	spill(b->log, after.data, after.len - 9);
	spill(b->head, head.data, head.len);
	assert_int_equal(append(b->a, "next"), 0);
	slurp(b->log, &twice);
	for (size_t i = after.len - 9; i <= twice.len; i++) {
		spill(b->log, twice.data, i);
		spill(b->head, head.data, head.len);
		assert_int_equal(append(b->a, "at last"), 0);
		is_good(b, 3, 1);
	}
	/* What no cut-off write can have left is not papered over. */
	char *much = calloc(1, AUDIT_TORN_MAX + 1);
	int fd = open(b->log, O_WRONLY | O_APPEND);
	assert_int_equal(fd_write_full(fd, much, AUDIT_TORN_MAX + 1), 0);
	close(fd);
	free(much);
	assert_int_equal(append(b->a, "x"), ERR_AUTH);
}

/* The anchor's write was cut off at any byte: the slot before it counts. */
static void test_torn_anchor(void **state)
{
	struct bed *b = *state;
	CLEANUP_BUF struct buf old, new;
	struct audit_head h;
	assert_int_equal(append(b->a, "one"), 0);
	slurp(b->head, &old);
	assert_int_equal(append(b->a, "two"), 0);
	slurp(b->head, &new);
	assert_int_equal(audit_head_parse((char *)old.data, old.len, &h), 0);
	size_t slot = (h.turn + 1) % 2 * AUDIT_SLOT_BYTES;
	for (size_t i = 0; i <= AUDIT_SLOT_BYTES; i++) {
		char bytes[AUDIT_HEAD_BYTES];
		memcpy(bytes, old.data, sizeof(bytes));
		memcpy(bytes + slot, new.data + slot, i);
		assert_int_equal(audit_head_parse(bytes, sizeof(bytes), &h), 0);
		assert_true(h.seq == 1 || (h.seq == 2 && i > 200));
	}
	assert_int_equal(h.seq, 2);
	/* None is valid: damaged, and not a first use. */
	spill(b->head, "x", 1);
	assert_int_equal(append(b->a, "x"), ERR_AUTH);
	struct audit *again = NULL;
	struct fault f = { 0 };
	assert_int_equal(audit_open(b->log_dir, b->anchor_dir, &again, &f), ERR_AUTH);
	assert_int_equal(unlink(b->head), 0);
	assert_int_equal(audit_open(b->log_dir, b->anchor_dir, &again, &f), ERR_AUTH);
	/* The log is lost and the anchor is not. */
	spill(b->head, new.data, new.len);
	assert_int_equal(unlink(b->log), 0);
	assert_int_equal(audit_open(b->log_dir, b->anchor_dir, &again, &f), 0);
	assert_int_equal(append(again, "x"), ERR_AUTH);
	audit_free(again);
}

static void test_rotation(void **state)
{
	struct bed *b = *state;
	struct fault f = { 0 };
	struct audit_summary s;
	struct audit *writer = NULL; /* keeps its descriptor across rotations, as a broker does */
	assert_int_equal(audit_open(b->log_dir, b->anchor_dir, &writer, &f), 0);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(append(writer, "some words to fill the file with"), 0);
		assert_int_equal(audit_rotate(b->a, b->log_dir, 3000, &f), 0);
		assert_int_equal(audit_sign(b->a, b->anchor_dir, b->key, &f), 0);
	}
	audit_free(writer);
	assert_int_equal(verify(b, 1, 1, &s, &f), 0);
	assert_true(s.files >= 3);
	assert_int_equal(s.records, 30 + s.files - 1);
	/* A file of the middle is missing, and one is one too many. */
	char name[128], away[128];
	snprintf(name, sizeof(name), "%s.2", b->log);
	snprintf(away, sizeof(away), "%s.away", b->log);
	assert_int_equal(rename(name, away), 0);
	is_bad(b, "audit.jsonl.2: is missing");
	assert_int_equal(rename(away, name), 0);
	snprintf(name, sizeof(name), "%s.%d", b->log, (int)s.files);
	spill(name, "", 0);
	is_bad(b, "is one too many");
}

/* A rotation that was cut short at each of its steps is finished by the next hook call. */
static void test_rotation_cut_short(void **state)
{
	struct bed *b = *state;
	struct fault f = { 0 };
	struct audit_head h;
	char copy[128];
	CLEANUP_BUF struct buf log;
	for (int i = 0; i < 4; i++)
		assert_int_equal(append(b->a, "x"), 0);
	slurp(b->log, &log);
	snprintf(copy, sizeof(copy), "%s.1", b->log);
	int fd = open(b->head, O_RDWR);
	assert_int_equal(audit_head_read(fd, &h), 0);
	spill(copy, log.data, log.len); /* copied, the anchor does not know */
	assert_int_equal(append(b->a, "x"), 0);
	assert_int_equal(unlink(copy), 0);
	is_good(b, 5, 0);
	buf_done(&log);
	slurp(b->log, &log);
	spill(copy, log.data, log.len);
	assert_int_equal(audit_head_read(fd, &h), 0);
	h.drop = h.size;
	h.size = 0;
	h.gen = 2;
	assert_int_equal(audit_head_write(fd, &h), 0);
	close(fd);
	is_good(b, 5, 0); /* the anchor knows, and the file still has it all */
	assert_int_equal(append(b->a, "x"), ERR_STATE);
	assert_int_equal(audit_rotate(b->a, b->log_dir, 1 << 20, &f), 0);
	assert_int_equal(append(b->a, "x"), 0);
	is_good(b, 6, 0);
}

static void test_many_writers(void **state)
{
	struct bed *b = *state;
	for (int i = 0; i < WRITERS; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct audit *a;
			if (audit_open(b->log_dir, b->anchor_dir, &a, NULL) < 0)
				_exit(1);
			/* A writer that never pauses could keep the others out. */
			for (int k = 0; k < EACH; k++, usleep(3000))
				if (append(a, "concurrent") < 0)
					_exit(2);
			_exit(0);
		}
		assert_true(pid > 0);
	}
	for (int i = 0; i < WRITERS; i++) {
		int status = -1;
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	is_good(b, WRITERS * EACH, 0);
}

/* On a small file system: refused, nothing is lost, and it goes on when there is room. */
static void test_full_disk(void **state)
{
	struct bed *b = *state, full = { 0 };
	struct audit_summary s;
	struct fault f = { 0 };
	int rc = 0, n = 0;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		if (getenv("MUST_WORK"))
			fail_msg("no private mount namespace");
		skip();
	}
	snprintf(full.root, sizeof(full.root), "%s/full", b->root);
	assert_int_equal(mkdir(full.root, 0700), 0);
	assert_int_equal(mount("full", full.root, "tmpfs", 0, "size=64k"), 0);
	bed_paths(&full);
	assert_int_equal(audit_open(full.log_dir, full.anchor_dir, &full.a, &f), 0);
	char ballast[128];
	snprintf(ballast, sizeof(ballast), "%s/ballast", full.root);
	char *zeros = calloc(1, 32768);
	spill(ballast, zeros, 32768);
	free(zeros);
	while ((rc = append(full.a, "until it is full")) == 0)
		n++;
	assert_int_equal(rc, -ENOSPC);
	assert_true(n > 10);
	for (int i = 0; i < 5; i++)
		assert_int_equal(append(full.a, "no room"), -ENOSPC);
	assert_int_equal(unlink(ballast), 0);
	assert_int_equal(append(full.a, "room again"), 0);
	assert_int_equal(verify(&full, 1, 0, &s, &f), 0);
	assert_true(s.records == (uint64_t)n + 1 + s.repairs);
	audit_free(full.a);
	close(full.log_dir);
	close(full.anchor_dir);
	assert_int_equal(umount2(full.root, MNT_DETACH), 0);
}

int main(void)
{
#define WITH_BED(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line),   cmocka_unit_test(test_times),
		WITH_BED(test_chain),	       WITH_BED(test_every_byte),
		WITH_BED(test_what_and_where), WITH_BED(test_signature),
		WITH_BED(test_torn),	       WITH_BED(test_torn_anchor),
		WITH_BED(test_rotation),       WITH_BED(test_rotation_cut_short),
		WITH_BED(test_many_writers),   WITH_BED(test_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
