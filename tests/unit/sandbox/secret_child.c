/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/sandbox/secret_child.h"

#include "tests/unit/test.h"

#include <fcntl.h>
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"
#include "crypto/ossl.h"
#include "sandbox/secret.h"

struct protections held;
int bound;
void *(*volatile take)(size_t) = malloc;

static int to_parent, from_parent;
static int (*rest)(void);

void tell(const void *p, size_t n)
{
	if (write(to_parent, p, n) != (ssize_t)n)
		_exit(90);
}

void wait_for_parent(void)
{
	char c;
	if (read(from_parent, &c, 1) != 1)
		_exit(91);
}

struct child child_start(void (*fn)(void))
{
	struct child c;
	int up[2], down[2];
	char path[64];
	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	assert_int_equal(pipe2(down, O_CLOEXEC), 0);
	c.pid = fork();
	assert_true(c.pid >= 0);
	if (c.pid == 0) {
		close(up[0]);
		close(down[1]);
		to_parent = up[1];
		from_parent = down[0];
		alarm(60);
		fn();
		_exit(92);
	}
	close(up[1]);
	close(down[0]);
	c.in = up[0];
	c.out = down[1];
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)c.pid);
	c.mem = open(path, O_RDWR | O_CLOEXEC);
	assert_true(c.mem >= 0);
	return c;
}

void child_hears(struct child *c, void *p, size_t n)
{
	size_t have = 0;
	while (have < n) {
		ssize_t got = read(c->in, (char *)p + have, n - have);
		if (got <= 0)
			fail_msg("the child has ended");
		have += (size_t)got;
	}
}

int child_end(struct child *c)
{
	int status;
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	close(c->in);
	close(c->out);
	close(c->mem);
	return status;
}

void assert_exits(int status, int code)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
		fail_msg("the child's wait status is %#x", status);
}

static int run_rest(void *arg)
{
	(void)arg;
	return rest();
}

void converted(int (*fn)(void))
{
	rest = fn;
	secret_run(run_rest, NULL, bound, &held);
}

static void convert_and_go_on(void)
{
	converted(rest);
}

void assert_converted(int (*fn)(void))
{
	rest = fn;
	struct child c = child_start(convert_and_go_on);
	assert_exits(child_end(&c), 0);
}

uint32_t tpm(const char *hex)
{
	static unsigned char *reply;
	static uint32_t room;
	unsigned char command[256];
	uint32_t n = 0, used = 0;
	unsigned int byte;
	for (; *hex; hex += 2, n++) {
		if (sscanf(hex, "%2x", &byte) != 1)
			return 1;
		command[n] = (unsigned char)byte;
	}
	if (TPMLIB_Process(&reply, &used, &room, command, n) != TPM_SUCCESS || used < 10)
		return 2;
	return (uint32_t)reply[6] << 24 | (uint32_t)reply[7] << 16 | (uint32_t)reply[8] << 8 |
	       reply[9];
}

static TPM_RESULT no_name(void)
{
	return TPM_SUCCESS;
}

static TPM_RESULT load_nothing(unsigned char **data, uint32_t *n, uint32_t number, const char *name)
{
	(void)data, (void)n, (void)number, (void)name;
	return TPM_RETRY;
}

static TPM_RESULT store_nothing(const unsigned char *data, uint32_t n, uint32_t number,
				const char *name)
{
	(void)data, (void)n, (void)number, (void)name;
	return TPM_SUCCESS;
}

static TPM_RESULT delete_nothing(uint32_t number, const char *name, TPM_BOOL must)
{
	(void)number, (void)name, (void)must;
	return TPM_SUCCESS;
}

int tpm_start(void)
{
	struct libtpms_callbacks callbacks = {
		.sizeOfStruct = sizeof(callbacks),
		.tpm_nvram_init = no_name,
		.tpm_nvram_loaddata = load_nothing,
		.tpm_nvram_storedata = store_nothing,
		.tpm_nvram_deletename = delete_nothing,
	};
	/* As worker/vtpm.c: its messages go nowhere. */
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return 0;
	TPMLIB_SetDebugFD(ends[0]);
	return TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) == TPM_SUCCESS &&
	       TPMLIB_RegisterCallbacks(&callbacks) == TPM_SUCCESS &&
	       TPMLIB_MainInit() == TPM_SUCCESS && tpm(STARTUP) == 0 && tpm(GET_RANDOM) == 0;
}

static void hash_in_thread(void *arg)
{
	uint8_t digest[32], *bytes = calloc(1, 100000);
	int ok = bytes && EVP_Digest(bytes, 100000, digest, NULL, EVP_sha256(), NULL) == 1;
	free(bytes);
	*(int *)arg = ok && digest[0] == 0xe2 && digest[31] == 0x72 ? 1 : 2 + ok;
}

int everything_works(void)
{
	struct thread *threads[4];
	int said[4] = { 0 };
	if (!protections_have(&held, PROTECTION_SECRET_MEMORY) || secret_missing()[0])
		return 1;
	for (int i = 0; i < 4; i++)
		if (thread_start(THREAD_STACK, hash_in_thread, &said[i], &threads[i]) < 0)
			return 2;
	for (int i = 0; i < 4; i++)
		thread_join(threads[i]);
	for (int i = 0; i < 4; i++)
		if (said[i] == 0)
			return 3;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	if (!key)
		return 4;
	EVP_PKEY_free(key);
	if (!tpm_start())
		return 5;
	char *text = NULL;
	if (asprintf(&text, "%s %d %f", "text", 1, 2.5) < 0 || strcmp(text, "text 1 2.500000") != 0)
		return 6;
	free(text);
	/* Not one mapping more than there was. */
	struct rlimit data;
	if (getrlimit(RLIMIT_DATA, &data) < 0 || data.rlim_max != 0)
		return 7;
	return 0;
}

int secret_child_init(void)
{
	if (geteuid() != 0) {
		fprintf(stderr, "attacking as root, and giving root up, needs root\n");
		return 77;
	}
	bound = getenv("LD_BIND_NOW") != NULL;
	return 0;
}
