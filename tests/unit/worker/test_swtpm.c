/* SPDX-License-Identifier: BSD-3-Clause */
/* shieldvm-swtpm's command line, keys and the UUID of a folder. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/swtpm_key.h"
#include "worker/swtpm_state.h"

#define ARGS_MAX 32

static struct swtpm_options o;
static struct fault f;

/* Parse LINE, words separated by blanks, after the program's name. */
static int parse(const char *line)
{
	char copy[1024], *rest = copy, *argv[ARGS_MAX] = { (char[]){ "shieldvm-swtpm" } };
	int argc = 1;
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word; (word = strsep(&rest, " "));)
		if (*word)
			argv[argc++] = word;
	swtpm_options_done(&o);
	memset(&f, 0, sizeof(f));
	int rc = swtpm_options_parse(argc, argv, NULL, NULL, &o, &f);
	assert_true((rc < 0) == (f.text[0] != 0));
	return rc;
}

#define BASE "socket --tpm2 --tpmstate dir=/d "

static void assert_wrong(const char *line, const char *words)
{
	assert_int_equal(parse(line), ERR_USAGE);
	if (!strstr(f.text, words))
		fail_msg("%s: '%s' does not say '%s'", line, f.text, words);
}

static void test_whole_line(void **state)
{
	(void)state;
	/* As libvirt 9.0 starts it. */
	assert_int_equal(parse("socket --ctrl type=unixio,path=/run/s.sock,mode=0600 --tpmstate "
			       "dir=/var/d,mode=0600 --log file=/var/l --terminate --tpm2 --daemon "
			       "--pid file=/run/p --key pwdfd=25,mode=aes-256-cbc --migration-key "
			       "pwdfd=26,mode=aes-256-cbc"),
			 0);
	assert_int_equal(o.action, SWTPM_RUN);
	assert_true(o.tpm2 && o.terminate && o.daemonize && !o.init);
	assert_int_equal(o.ctrl.type, SOCKET_UNIX);
	assert_string_equal(o.ctrl.path, "/run/s.sock");
	assert_int_equal(o.ctrl.mode, 0600);
	assert_string_equal(o.state_folder, "/var/d");
	assert_int_equal(o.key.fd, 25);
	assert_true(o.key.is_passphrase && swtpm_key_given(&o.key));
	assert_int_equal(o.blob_key.fd, 26);
	assert_int_equal(o.server.type, SOCKET_NONE);
	assert_int_equal(o.seccomp, SECCOMP_KILL);
	/* As swtpm_setup does. */
	assert_int_equal(parse("socket --flags not-need-init,startup-clear --tpmstate "
			       "backend-uri=dir:///d --pid file=/p --tpm2 --log file=/l --server "
			       "type=tcp,fd=7 --ctrl type=unixio,clientfd=5"),
			 0);
	assert_true(o.init);
	assert_int_equal(o.startup, STARTUP_CLEAR);
	assert_string_equal(o.state_folder, "/d");
	assert_int_equal(o.server.fd, 7);
	assert_int_equal(o.ctrl.client, 5);
}

static void test_parts(void **state)
{
	(void)state;
	assert_int_equal(parse(BASE "--server port=1,bindaddr=::1,ifname=lo,disconnect "
				    "--seccomp action=log --locality reject-locality-4 -t -d "
				    "--log fd=3,level=5,prefix=x,truncate --pid fd=4 -r tss "
				    "--key file=k,format=binary,mode=aes-cbc,remove"),
			 0);
	assert_true(o.server.type == SOCKET_TCP && o.server.port == 1 && o.server.disconnect);
	assert_string_equal(o.server.address, "::1");
	assert_int_equal(o.seccomp, SECCOMP_LOG);
	assert_true(o.reject_locality_4 && o.terminate && o.daemonize && o.log_truncate);
	assert_true(o.log_fd == 3 && o.log_level == 5 && o.pid_fd == 4);
	assert_true(o.key.format == KEY_BINARY && o.key.bytes == 16 && o.key.remove);
	assert_string_equal(o.user, "tss");
	assert_int_equal(parse(BASE "-p 2321 --key fd=3,remove=false"), 0);
	assert_true(o.server.port == 2321 && !o.key.remove && o.key.bytes == 0 && !o.terminate);
	assert_int_equal(parse(BASE "--fd=9"), 0);
	assert_true(o.server.fd == 9 && o.terminate);
	assert_int_equal(parse("socket --print-capabilities --log file=/x"), 0);
	assert_int_equal(o.action, SWTPM_CAPABILITIES);
	assert_int_equal(parse("--version"), 0);
	assert_int_equal(parse("socket --tpm2 --print-states --tpmstate dir=x"), 0);
	assert_int_equal(o.action, SWTPM_STATES);
}

static void test_wrong_lines(void **state)
{
	static const char *const LINES[][2] = {
		{ "", "give the interface" },
		{ "chardev --tpm2", "not to be had" },
		{ "cuse", "not to be had" },
		{ "sockets", "no interface" },
		{ "--tpm2", "give the interface" },
		{ "socket", "TPM 2.0 only" },
		{ "socket --tpmstate dir=/d -p 1", "no TPM 1.2" },
		{ "socket --tpm2 -p 1", "--tpmstate dir=" },
		{ BASE, "a way in" },
		{ BASE "--bogus", "no option" },
		{ BASE "-p 1 extra", "no option" },
		{ BASE "--tpm2=1 -p 1", "no option" },
		{ BASE "--ctrl", "lacks its value" },
		{ BASE "-p", "lacks its value" },
		{ BASE "-p x", "not a value" },
		{ BASE "-p 65536", "not a value" },
		{ BASE "-p -1", "not a value" },
		{ BASE "-p 1 -p 2", "given twice" },
		{ BASE "-p 1 -f 2", "beside another" },
		{ BASE "--ctrl path=/x", "needs type=" },
		{ BASE "--ctrl type=pipe", "not a value" },
		{ BASE "--ctrl type=unixio", "exactly one of path=" },
		{ BASE "--ctrl type=unixio,path=/x,fd=3", "exactly one of path=" },
		{ BASE "--ctrl type=unixio,path=/x,port=3", "for type=tcp" },
		{ BASE "--ctrl type=tcp,path=/x", "exactly one of port=" },
		{ BASE "--ctrl type=tcp,port=3,path=/x", "path= is for" },
		{ BASE "--ctrl type=tcp,port=70000", "no TCP port" },
		{ BASE "--ctrl type=unixio,path=/x,disconnect", "has no disconnect" },
		{ BASE "--server type=unixio,clientfd=3", "has no clientfd" },
		{ BASE "--ctrl type=unixio,path=/x,mode=888", "not a value" },
		{ BASE "--ctrl type=unixio,path=/x,bogus=1", "does not know 'bogus'" },
		{ BASE "--ctrl type=unixio,path=", "not a value" },
		{ BASE "--ctrl type=unixio,path", "lacks its value" },
		{ BASE "-p 1 --key format=hex", "exactly one of file=" },
		{ BASE "-p 1 --key file=a,pwdfile=b", "exactly one of file=" },
		{ BASE "-p 1 --key file=a,mode=rot13", "not a value" },
		{ BASE "-p 1 --key file=a,remove=maybe", "not a value" },
		{ BASE "-p 1 --flags startup-deactivated", "TPM 1.2" },
		{ BASE "-p 1 --flags startup-clear,startup-state", "one of the startup" },
		{ BASE "-p 1 --flags startup-clear=1", "not a value" },
		{ BASE "-p 1 --locality allow-set-locality", "not to be had" },
		{ BASE "-p 1 --log level=3", "exactly one of" },
		{ BASE "-p 1 --pid file=a,fd=3", "exactly one of" },
		{ BASE "-p 1 --seccomp action=maybe", "not a value" },
		{ "socket --tpm2 -p 1 --tpmstate backend-uri=file:///x", "dir://FOLDER" },
		{ "socket --tpm2 -p 1 --tpmstate backend-uri=dir://", "dir://FOLDER" },
		{ "socket --tpm2 -p 1 --tpmstate dir=/a,backend-uri=dir:///b", "exactly one" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(LINES) / sizeof(LINES[0]); i++)
		assert_wrong(LINES[i][0], LINES[i][1]);
}

static void test_environment(void **state)
{
	char *argv[] = { (char[]){ "x" }, (char[]){ "socket" }, (char[]){ "--tpm2" } };
	(void)state;
	swtpm_options_done(&o);
	assert_int_equal(swtpm_options_parse(3, argv, "/d", "2321", &o, NULL), 0);
	assert_string_equal(o.state_folder, "/d");
	assert_int_equal(o.server.port, 2321);
	swtpm_options_done(&o);
	memset(&f, 0, sizeof(f));
	assert_int_equal(swtpm_options_parse(3, argv, "/d", "x", &o, &f), ERR_USAGE);
	assert_non_null(strstr(f.text, "TPM_PORT"));
}

static void test_long_argument(void **state)
{
	char *argv[] = { (char[]){ "x" }, (char[]){ "socket" }, (char[]){ "--ctrl" }, NULL };
	(void)state;
	argv[3] = malloc(SWTPM_ARG_MAX + 1);
	assert_non_null(argv[3]);
	memset(argv[3], 'a', SWTPM_ARG_MAX);
	argv[3][SWTPM_ARG_MAX] = 0;
	swtpm_options_done(&o);
	assert_int_equal(swtpm_options_parse(4, argv, NULL, NULL, &o, NULL), ERR_LIMIT);
	free(argv[3]);
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static int key_of(const char *text, enum swtpm_key_format format, int wanted)
{
	uint8_t out[KEY_BYTES];
	return swtpm_key_parse((const uint8_t *)text, strlen(text), format, wanted, out);
}

#define HEX16 "000102030405060708090a0b0c0d0e0F"

static void test_key_texts(void **state)
{
	static const uint8_t want[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	uint8_t out[KEY_BYTES];
	(void)state;
	assert_int_equal(swtpm_key_parse((const uint8_t *)"0x" HEX16 "\n", 35, KEY_HEX, 0, out),
			 16);
	assert_memory_equal(out, want, 16);
	assert_int_equal(key_of(HEX16 HEX16, KEY_HEX, 32), 32);
	assert_int_equal(key_of("0123456789abcdef", KEY_BINARY, 16), 16);
	assert_int_equal(key_of(HEX16, KEY_HEX, 32), ERR_FORMAT);
	assert_int_equal(key_of(HEX16 "0", KEY_HEX, 0), ERR_FORMAT);
	assert_int_equal(key_of(HEX16 "00", KEY_HEX, 0), ERR_FORMAT);
	assert_int_equal(key_of("g" HEX16, KEY_HEX, 0), ERR_FORMAT);
	assert_int_equal(key_of("", KEY_HEX, 0), ERR_FORMAT);
	assert_int_equal(key_of("", KEY_BINARY, 0), ERR_FORMAT);
	assert_int_equal(key_of("0x", KEY_HEX, 0), ERR_FORMAT);
	assert_int_equal(key_of("0123456789abcdef\n", KEY_BINARY, 0), ERR_FORMAT);
}

static int read_key(const char *text, int is_passphrase, int remove, struct vm_key *key)
{
	static const uint8_t vm[UUID_BYTES] = { 1 };
	char path[] = "/tmp/test-swtpm-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
	close(fd);
	struct swtpm_key k = {
		.file = path, .fd = -1, .is_passphrase = is_passphrase, .remove = remove
	};
	memset(&f, 0, sizeof(f));
	int rc = swtpm_key_read("--key", &k, vm, key, &f);
	assert_int_equal(access(path, F_OK), remove && rc == 0 ? -1 : 0);
	(void)unlink(path);
	return rc;
}

static void test_key_files(void **state)
{
	struct vm_key a, b;
	(void)state;
	assert_int_equal(read_key(HEX16 "\n", 0, 1, &a), 0);
	assert_int_equal(read_key("0x" HEX16, 0, 0, &b), 0);
	assert_memory_equal(a.bytes, b.bytes, KEY_BYTES);
	assert_int_equal(read_key(HEX16, 1, 0, &b), 0);
	assert_memory_not_equal(a.bytes, b.bytes, KEY_BYTES);
	assert_int_equal(read_key(HEX16 "\n", 1, 0, &a), 0);
	assert_memory_equal(a.bytes, b.bytes, KEY_BYTES);
	assert_int_equal(read_key("\n", 1, 0, &a), ERR_FORMAT);
	assert_int_equal(read_key("secret!", 0, 0, &a), ERR_FORMAT);
	assert_null(strstr(f.text, "secret!"));
	struct swtpm_key absent = { .file = (char[]){ "/nonexistent" }, .fd = -1 };
	assert_int_equal(swtpm_key_read("--key", &absent, b.bytes, &a, &f), -ENOENT);
	struct swtpm_key closed = { .fd = 999 };
	assert_int_equal(swtpm_key_read("--key", &closed, b.bytes, &a, &f), -EBADF);
}

static void test_uuid_of_folder(void **state)
{
#define UUID_A "6b1d2d0a-0f7a-4d21-8b7d-0000000000aa"
#define UUID_B "6b1d2d0a-0f7a-4d21-8b7d-0000000000bb"
	static const uint8_t none[UUID_BYTES];
	uint8_t a[UUID_BYTES], b[UUID_BYTES], vm[UUID_BYTES];
	(void)state;
	assert_int_equal(uuid_parse(UUID_A, a), 0);
	assert_int_equal(uuid_parse(UUID_B, b), 0);
	swtpm_state_vm("/var/lib/libvirt/swtpm/" UUID_A "/tpm2", vm);
	assert_memory_equal(vm, a, UUID_BYTES);
	swtpm_state_vm("/x/" UUID_A "/y/" UUID_B, vm);
	assert_memory_equal(vm, b, UUID_BYTES);
	swtpm_state_vm("/x/" UUID_A "0/tpm2", vm);
	assert_memory_equal(vm, none, UUID_BYTES);
	swtpm_state_vm("", vm);
	assert_memory_equal(vm, none, UUID_BYTES);
	swtpm_state_vm(UUID_A, vm);
	assert_memory_equal(vm, a, UUID_BYTES);
	swtpm_state_vm("/", vm);
	assert_memory_equal(vm, none, UUID_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_line),    cmocka_unit_test(test_parts),
		cmocka_unit_test(test_wrong_lines),   cmocka_unit_test(test_environment),
		cmocka_unit_test(test_long_argument), cmocka_unit_test(test_key_texts),
		cmocka_unit_test(test_key_files),     cmocka_unit_test(test_uuid_of_folder),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	swtpm_options_done(&o);
	return rc;
}
