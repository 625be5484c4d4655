/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/worker/fixture.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

static int setup(void **state)
{
	static struct fixture x;
	fixture_open(&x, 0xa1, 0xb2, 1);
	fixture_connect(&x);
	*state = &x;
	return 0;
}

static int teardown(void **state)
{
	fixture_done(*state);
	return 0;
}

/* QEMU 7.2 with tpm-crb: the order and the bytes are its own (reference, section 1). */
static void qemu_starts(struct fixture *x)
{
	fixture_attach(x);
	/* Before INIT: QEMU tells a TPM 2 from the tag of this failure. */
	uint8_t reply[VTPM_BUFFER_MAX];
	size_t n;
	assert_int_equal(tpm_talk(x, "8001 0000000a 00000181", reply, &n), 0x101);
	assert_int_equal(n, 10);
	assert_memory_equal(reply, "\x80\x01", 2);
	ctrl_talk(x, "00000001", "00000000 00017fff");
	ctrl_talk(x, "0000000e", "00000000");
	ctrl_talk(x, "00000011 00000000", "00000000 00001000 00000af8 00001000");
	ctrl_talk(x, "0000000e", "00000000");
	ctrl_talk(x, "00000011 00000f80", "00000000 00000f80 00000af8 00001000");
}

static void qemu_inits(struct fixture *x)
{
	ctrl_talk(x, "00000002 00000000", "00000000");
	ctrl_talk(x, "00000004", "00000000 00 000000");
	ctrl_talk(x, "00000005 00000000", "00000000");
}

static void test_qemu_start_and_reset(void **state)
{
	struct fixture *x = *state;
	qemu_starts(x);
	qemu_inits(x);
	assert_int_equal(tpm_talk(x, TPM_STARTUP_CLEAR, NULL, NULL), 0);
	assert_int_equal(tpm_talk(x, TPM_PCR16_EXTEND, NULL, NULL), 0);
	for (int i = 0; i < 2; i++) {
		ctrl_talk(x, "0000000e", "00000000");
		ctrl_talk(x, "00000011 00000000", "00000000 00000f80 00000af8 00001000");
		ctrl_talk(x, "0000000e", "00000000");
		ctrl_talk(x, "00000011 00000f80", "00000000 00000f80 00000af8 00001000");
		ctrl_talk(x, "00000002 00000000", "00000000");
	}
	assert_int_equal(tpm_talk(x, TPM_STARTUP_CLEAR, NULL, NULL), 0);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
	ctrl_talk(x, "00000003", "00000000");
	fixture_join(x);
	assert_int_equal(x->end, CTRL_SHUTDOWN_ASKED);
	assert_false(vtpm_running(x->vtpm));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_qemu_start_and_reset, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
