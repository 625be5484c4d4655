/* SPDX-License-Identifier: BSD-3-Clause */
/* What a host keeps about leases: notes, sealed copies, and how it attests. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/conf.h"
#include "attest/copy.h"
#include "attest/lease_note.h"
#include "base/fd.h"
#include "tests/unit/test.h"

#define ID	  "2f6e8c3a-9d5b-4c1e-8a7f-0b1c2d3e4f50"
#define PROTECTOR "the text of a protector"

static char root[] = "/tmp/notes.XXXXXX";
static char folder[64];
static int dir;
static struct lease_note note;
static struct fault f;

static void good(int rc)
{
	if (rc < 0)
		fail_msg("%d: %s", rc, f.text);
}

/* RC, and a sentence. */
static void refused(int want, int rc)
{
	assert_int_equal(rc, want);
	assert_string_not_equal(f.text, "");
	memset(&f, 0, sizeof(f));
}

static void put(const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	good(fd_write_full(fd, text, strlen(text)));
	close(fd);
}

static char *get(const char *name)
{
	static struct buf text;
	buf_done(&text);
	text = BUF_INIT(65536);
	good(fd_read_file(dir, name, &text, &f));
	return buf_cstr(&text);
}

/* The text NAME with FROM replaced by TO. */
static void change(const char *name, const char *from, const char *to)
{
	char text[16384];
	const char *was = get(name), *where = strstr(was, from);
	assert_non_null(where);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(where - was), was, to, where + strlen(from));
	put(name, text);
}

static int same(const struct lease_note *a, const struct lease_note *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static int count(void *arg, const uint8_t vm[static UUID_BYTES])
{
	assert_memory_equal(vm, note.vm, UUID_BYTES);
	++*(int *)arg;
	return 0;
}

static void test_note(void **state)
{
	static const struct {
		const char *from, *to;
		int rc;
	} WRONG[] = {
		{ "\"v\":1", "\"v\":2", ERR_VERSION },
		{ "\"v\":1", "\"v\":\"1\"", ERR_VERSION },
		{ "\"held\"", "\"had\"", ERR_FORMAT },
		{ "\"token\":5", "\"token\":-5", ERR_FORMAT },
		{ "\"token\":5", "\"token\":5.0", ERR_FORMAT },
		{ "\"token\":5", "\"token\":5,\"token\":5", ERR_FORMAT },
		{ "\"token\":5", "\"token\":5,\"more\":5", ERR_FORMAT },
		{ "\"expires\":900", "\"expires\":null", ERR_FORMAT },
		{ "\"urls\":\"https://a:1#x\"", "\"urls\":\"\"", ERR_FORMAT },
		{ ID, "2f6e8c3a-9d5b-4c1e-8a7f-0b1c2d3e4f51", ERR_FORMAT },
		{ "}", "", ERR_FORMAT },
		{ "}", "} x", ERR_FORMAT },
	};
	struct lease_note got = { 0 }, other = note;
	int n = 0, lock = -1;
	(void)state;
	assert_int_equal(lease_note_read(dir, note.vm, &got, &f), -ENOENT);
	assert_string_equal(f.text, "");
	good(lease_note_write(dir, &note, &f));
	good(lease_note_read(dir, note.vm, &got, &f));
	assert_true(same(&got, &note));
	put("no-note.json", "{}");
	put("../" ID ".json", "{}");
	put(ID ".jsonx", "{}");
	good(lease_note_list(dir, count, &n, &f));
	assert_int_equal(n, 1);
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		good(lease_note_write(dir, &note, &f));
		change(ID ".json", WRONG[i].from, WRONG[i].to);
		if (lease_note_read(dir, note.vm, &got, &f) != WRONG[i].rc || !f.text[0])
			fail_msg("row %zu: %s", i, f.text);
		memset(&f, 0, sizeof(f));
		refused(WRONG[i].rc, lease_note_replace(dir, &note, NULL, &f));
	}
	/* In the place of what one knows, and of nothing else. */
	good(lease_note_write(dir, &note, &f));
	other.token = 6;
	refused(ERR_STATE, lease_note_replace(dir, &other, NULL, &f));
	good(lease_note_read(dir, note.vm, &got, &f));
	other = note;
	other.incoming = 1;
	refused(ERR_STATE, lease_note_replace(dir, &other, &note, &f));
	other = note;
	other.expires = 901;
	good(lease_note_replace(dir, &note, &other, &f));
	good(lease_note_read(dir, note.vm, &got, &f));
	assert_true(same(&got, &other));
	put(ID ".copy", "x");
	put(ID ".copy.aside", "x");
	good(lease_note_replace(dir, &note, NULL, &f));
	assert_int_equal(lease_note_read(dir, note.vm, &got, &f), -ENOENT);
	assert_int_equal(faccessat(dir, ID ".copy", F_OK, 0), -1);
	assert_int_equal(faccessat(dir, ID ".copy.aside", F_OK, 0), -1);
	refused(ERR_STATE, lease_note_replace(dir, &note, NULL, &f));
	/* One at a time. */
	good(lease_note_lock(dir, &lock, &f));
	int second = -1;
	refused(-ETIMEDOUT, lease_note_lock(dir, &second, &f));
	close(lock);
	good(lease_note_lock(dir, &second, &f));
	close(second);
	unlinkat(dir, "no-note.json", 0);
	unlinkat(dir, "../" ID ".json", 0);
	unlinkat(dir, ID ".jsonx", 0);
}

static void test_folder(void **state)
{
	struct stat st;
	char path[96];
	(void)state;
	snprintf(path, sizeof(path), "%s/new/leases", root);
	int fd = lease_note_folder(path, &f);
	good(fd);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	close(fd);
	assert_int_equal(chmod(path, 0750), 0);
	refused(ERR_STATE, lease_note_folder(path, &f));
	rmdir(path);
	assert_int_equal(symlink(folder, path), 0);
	assert_true(lease_note_folder(path, &f) < 0);
	memset(&f, 0, sizeof(f));
	unlink(path);
	snprintf(path, sizeof(path), "%s/new", root);
	rmdir(path);
}

static void make_copy(struct copy *c)
{
	copy_init(c);
	memcpy(c->vm, note.vm, sizeof(c->vm));
	c->left = 2;
	good(sign_sha256(PROTECTOR, strlen(PROTECTOR), c->protector));
	memset(c->request, 1, sizeof(c->request));
	memset(c->point, 4, sizeof(c->point));
	memset(c->sealed, 5, sizeof(c->sealed));
	c->bound.pcrs.bank = HASH_SHA256;
	c->bound.pcrs.mask = 0x4001;
	memset(c->bound.pcrs.value[0], 6, 32);
	memset(c->bound.pcrs.value[14], 7, 32);
	good(buf_add(&c->bound.bk_pub, "a public area", 13));
	good(buf_add(&c->certificate, "a certificate", 13));
}

static int spend(const char *protector, struct copy *out)
{
	return copy_spend(dir, note.vm, protector, strlen(protector), out, &f);
}

static void test_copy(void **state)
{
	struct copy c, got;
	(void)state;
	make_copy(&c);
	copy_init(&got);
	refused(-ENOENT, spend(PROTECTOR, &got));
	good(copy_write(dir, &c, &f));
	refused(ERR_POLICY, spend("another text of one", &got));
	assert_non_null(strstr(get(ID ".copy"), "\"left\":2"));
	good(spend(PROTECTOR, &got));
	assert_int_equal(got.left, 1);
	assert_memory_equal(got.sealed, c.sealed, sizeof(c.sealed));
	assert_memory_equal(got.request, c.request, sizeof(c.request));
	assert_memory_equal(got.point, c.point, sizeof(c.point));
	assert_int_equal(got.bound.pcrs.mask, c.bound.pcrs.mask);
	assert_memory_equal(got.bound.pcrs.value[14], c.bound.pcrs.value[14], 32);
	assert_int_equal(got.bound.bk_pub.len, 13);
	assert_memory_equal(got.certificate.data, "a certificate", 13);
	assert_non_null(strstr(get(ID ".copy"), "\"left\":1"));
	/* Aside there is none, and back there is the same. */
	assert_int_equal(copy_aside(dir, note.vm, 1, &f), 1);
	refused(-ENOENT, spend(PROTECTOR, &got));
	assert_int_equal(copy_aside(dir, note.vm, 1, &f), 0);
	assert_int_equal(copy_aside(dir, note.vm, 0, &f), 1);
	good(spend(PROTECTOR, &got));
	assert_int_equal(got.left, 0);
	refused(ERR_LIMIT, spend(PROTECTOR, &got));
	/* What came meanwhile is newer than what was put aside. */
	good(copy_aside(dir, note.vm, 1, &f));
	good(copy_write(dir, &c, &f));
	assert_int_equal(copy_aside(dir, note.vm, 0, &f), 0);
	assert_non_null(strstr(get(ID ".copy"), "\"left\":2"));
	change(ID ".copy", "\"left\":2", "\"left\":101");
	refused(ERR_FORMAT, spend(PROTECTOR, &got));
	good(copy_write(dir, &c, &f));
	change(ID ".copy", "\"pcrs\":16385", "\"pcrs\":16387");
	refused(ERR_FORMAT, spend(PROTECTOR, &got));
	good(copy_remove(dir, note.vm, &f));
	good(copy_remove(dir, note.vm, &f));
	copy_done(&c);
	copy_done(&got);
}

/* The count is lower on disk before anybody can use what the copy holds. */
static void test_copy_is_spent_first(void **state)
{
	struct copy c, got;
	(void)state;
	make_copy(&c);
	copy_init(&got);
	good(copy_write(dir, &c, &f));
	/* The new count cannot be written: nothing is handed out. */
	pid_t child = fork();
	if (child == 0) {
		const struct rlimit none = { 1, 1 };
		signal(SIGXFSZ, SIG_IGN);
		int rc = setrlimit(RLIMIT_FSIZE, &none) == 0 ? spend(PROTECTOR, &got) : 0;
		_exit(rc == -EFBIG && got.certificate.len == 0 ? 0 : 1);
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_non_null(strstr(get(ID ".copy"), "\"left\":2"));
	/* Whoever dies right behind it has spent it. */
	child = fork();
	if (child == 0)
		_exit(spend(PROTECTOR, &got) < 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_non_null(strstr(get(ID ".copy"), "\"left\":1"));
	good(copy_remove(dir, note.vm, &f));
	copy_done(&c);
	copy_done(&got);
}

static void test_conf(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} WRONG[] = {
		{ "{\"v\":2,\"mode\":\"tpm\",\"tcti\":null,\"eventlog\":null,\"ima\":null}",
		  ERR_VERSION },
		{ "{\"v\":1,\"mode\":\"TPM\",\"tcti\":null,\"eventlog\":null,\"ima\":null}",
		  ERR_FORMAT },
		{ "{\"v\":1,\"mode\":1,\"tcti\":null,\"eventlog\":null,\"ima\":null}", ERR_FORMAT },
		{ "{\"v\":1,\"mode\":\"tpm\",\"tcti\":\"\",\"eventlog\":null,\"ima\":null}",
		  ERR_FORMAT },
		{ "{\"v\":1,\"mode\":\"tpm\",\"tcti\":3,\"eventlog\":null,\"ima\":null}",
		  ERR_FORMAT },
		{ "{\"v\":1,\"mode\":\"tpm\",\"tcti\":null,\"eventlog\":\"log\",\"ima\":null}",
		  ERR_FORMAT },
		{ "{\"v\":1,\"mode\":\"tpm\",\"tcti\":null,\"eventlog\":null}", ERR_FORMAT },
		{ "{\"v\":1,\"mode\":\"tpm\",\"tcti\":null,\"eventlog\":null,\"ima\":null,"
		  "\"x\":1}",
		  ERR_FORMAT },
		{ "", ERR_FORMAT },
	};
	char path[96];
	struct conf c = { 0 }, was = { HEALTHCERT_HOSTKEY, "swtpm:path=/x", "/a b", NULL };
	(void)state;
	snprintf(path, sizeof(path), "%s/attest.json", folder);
	good(conf_read(path, &c, &f));
	assert_int_equal(c.mode, HEALTHCERT_TPM);
	assert_null(c.tcti);
	good(conf_write(path, &was, &f));
	good(conf_read(path, &c, &f));
	assert_int_equal(c.mode, HEALTHCERT_HOSTKEY);
	assert_string_equal(c.tcti, was.tcti);
	assert_string_equal(c.eventlog, was.eventlog);
	assert_null(c.ima);
	conf_done(&c);
	assert_int_equal(fchmodat(dir, "attest.json", 0664, 0), 0);
	refused(ERR_POLICY, conf_read(path, &c, &f));
	unlink(path);
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		put("attest.json", WRONG[i].text);
		if (conf_read(path, &c, &f) != WRONG[i].rc || !f.text[0])
			fail_msg("row %zu: %s", i, f.text);
		memset(&f, 0, sizeof(f));
		assert_null(c.tcti);
	}
	unlink(path);
}

static int make(void **state)
{
	(void)state;
	umask(022);
	assert_non_null(mkdtemp(root));
	snprintf(folder, sizeof(folder), "%s/leases", root);
	dir = lease_note_folder(folder, &f);
	good(dir);
	note = (struct lease_note){ .token = 5, .expires = 900 };
	memset(note.guardian.thumbprint, 'x', JWK_THUMBPRINT_SIZE - 1);
	strcpy(note.guardian.urls, "https://a:1#x");
	return uuid_parse(ID, note.vm);
}

static int clean(void **state)
{
	(void)state;
	DIR *d = fdopendir(dir);
	for (struct dirent *e; (e = readdir(d));)
		unlinkat(dir, e->d_name, 0);
	closedir(d);
	rmdir(folder);
	return rmdir(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_note), cmocka_unit_test(test_folder),
		cmocka_unit_test(test_copy), cmocka_unit_test(test_copy_is_spent_first),
		cmocka_unit_test(test_conf),
	};
	return cmocka_run_group_tests(tests, make, clean);
}
