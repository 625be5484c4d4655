/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/worker/fixture.h"

#include <stdio.h>

#include "worker/provision.h"

/* What stands for a certificate: some bytes that tell which key they are for. */
static size_t cert_bytes[2] = { 900, EKCA_CERT_MAX };
static struct ek_public seen[2];
static int signs, sign_fails_at;

static void make_cert(enum ek_type type, uint8_t *out)
{
	for (size_t i = 0; i < cert_bytes[type]; i++)
		out[i] = (uint8_t)(i * 7 + (size_t)type * 3 + (i >> 8));
}

static int sign(void *arg, const struct ek_public *ek, struct buf *der, struct fault *f)
{
	uint8_t cert[EKCA_CERT_MAX];
	assert_ptr_equal(arg, &signs);
	if (++signs == sign_fails_at)
		return fault_set(f, ERR_POLICY, "the CA says no");
	seen[ek->type] = *ek;
	make_cert(ek->type, cert);
	return buf_add(der, cert, cert_bytes[ek->type]);
}

static int setup(void **state)
{
	static struct fixture x;
	fixture_open(&x, 0x11, 0x22, 1);
	signs = sign_fails_at = 0;
	*state = &x;
	return 0;
}

static int teardown(void **state)
{
	fixture_done(*state);
	return 0;
}

static uint32_t command(struct fixture *x, const char *hex, uint8_t reply[static VTPM_BUFFER_MAX])
{
	uint8_t cmd[VTPM_BUFFER_MAX];
	size_t n = hex_bytes(hex, cmd, sizeof(cmd)), reply_n;
	vtpm_command(x->vtpm, cmd, n, reply, &reply_n);
	return (uint32_t)reply[6] << 24 | (uint32_t)reply[7] << 16 | (uint32_t)reply[8] << 8 |
	       reply[9];
}

/* Read a certificate back, without any authorisation but the index's empty one. */
static void check_cert(struct fixture *x, uint32_t index, enum ek_type type)
{
	uint8_t want[EKCA_CERT_MAX], reply[VTPM_BUFFER_MAX];
	char hex[256];
	make_cert(type, want);
	for (size_t at = 0; at < cert_bytes[type]; at += 1024) {
		size_t n = cert_bytes[type] - at < 1024 ? cert_bytes[type] - at : 1024;
		snprintf(hex, sizeof(hex),
			 "8002 00000023 0000014e %08x %08x 00000009 40000009 0000 00 0000 %04zx "
			 "%04zx",
			 index, index, n, at);
		assert_int_equal(command(x, hex, reply), 0);
		assert_memory_equal(reply + 16, want + at, n);
	}
	/* attributes: as swtpm_setup's 0x42072001, now also WRITTEN and WRITELOCKED */
	snprintf(hex, sizeof(hex), "8001 0000000e 00000169 %08x", index);
	assert_int_equal(command(x, hex, reply), 0);
	assert_memory_equal(reply + 18, "\x62\x07\x28\x01", 4);
	/* not even the platform overwrites it */
	snprintf(hex, sizeof(hex),
		 "8002 00000024 00000137 4000000c %08x 00000009 40000009 0000 00 0000 0001 00 0000",
		 index);
	assert_int_equal(command(x, hex, reply), 0x148);
}

static void test_provisioned(void **state)
{
	struct fixture *x = *state;
	struct fault f = { 0 };
	uint8_t reply[VTPM_BUFFER_MAX];

	if (provision_eks(x->vtpm, sign, &signs, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(signs, 2);
	assert_false(vtpm_running(x->vtpm));
	assert_true(store_exists(x->store));

	/* As another process finds it. */
	fixture_close(x);
	fixture_reopen(x, 1);
	assert_int_equal(vtpm_init(x->vtpm, &f), 0);
	assert_false(vtpm_was_made(x->vtpm));
	assert_int_equal(command(x, TPM_STARTUP_CLEAR, reply), 0);
	assert_int_equal(command(x, "8001 0000000e 00000173 81010001", reply), 0);
	assert_memory_equal(reply + 12, "\x00\x01\x00\x0b\x00\x03\x00\xb2", 8);
	assert_non_null(memmem(reply, sizeof(reply), seen[EK_RSA_2048].rsa_modulus, 256));
	assert_int_equal(command(x, "8001 0000000e 00000173 81010016", reply), 0);
	assert_memory_equal(reply + 12, "\x00\x23\x00\x0c\x00\x03\x00\xf2", 8);
	assert_non_null(memmem(reply, sizeof(reply), seen[EK_ECC_P384].ecc_x, 48));
	assert_non_null(memmem(reply, sizeof(reply), seen[EK_ECC_P384].ecc_y, 48));
	check_cert(x, 0x01c00002, EK_RSA_2048);
	check_cert(x, 0x01c00016, EK_ECC_P384);
	/* PCR banks: SHA-256 alone */
	assert_int_equal(command(x, "8001 00000016 0000017a 00000005 00000000 00000040", reply), 0);
	assert_memory_equal(reply + 15,
			    "\0\0\0\x04"
			    "\0\x04\x03\0\0\0"
			    "\0\x0b\x03\xff\xff\xff"
			    "\0\x0c\x03\0\0\0"
			    "\0\x0d\x03\0\0\0",
			    28);
	vtpm_stop(x->vtpm);

	/* A vTPM that has a state keeps it. */
	assert_int_equal(provision_eks(x->vtpm, sign, &signs, &f), ERR_STATE);
	assert_int_equal(signs, 2);
	assert_int_equal(vtpm_init(x->vtpm, NULL), 0);
	assert_int_equal(command(x, TPM_STARTUP_CLEAR, reply), 0);
	check_cert(x, 0x01c00016, EK_ECC_P384);
}

static void test_failure_leaves_nothing(void **state)
{
	struct fixture *x = *state;
	for (sign_fails_at = 1; sign_fails_at <= 2; sign_fails_at++) {
		struct fault f = { 0 };
		signs = 0;
		assert_int_equal(provision_eks(x->vtpm, sign, &signs, &f), ERR_POLICY);
		assert_non_null(strstr(f.text, "the CA says no"));
		assert_false(vtpm_running(x->vtpm));
		assert_false(store_exists(x->store));
	}
	sign_fails_at = 0;
	cert_bytes[0] = 0;
	struct fault f = { 0 };
	assert_int_equal(provision_eks(x->vtpm, sign, &signs, &f), ERR_FORMAT);
	assert_false(store_exists(x->store));
	cert_bytes[0] = 900;
	/* And it can be done again. */
	sign_fails_at = 0;
	assert_int_equal(provision_eks(x->vtpm, sign, &signs, &f), 0);
	assert_true(store_exists(x->store));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_provisioned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure_leaves_nothing, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
