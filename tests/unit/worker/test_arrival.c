/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM comes from another host whole, but its vTPM's state cannot be stored: the disk is full.
 */
#include "tests/unit/worker/carry_pair.h"

#include "base/fd.h"
#include "tests/unit/worker/memory_store.h"

static void test_full_disk(void **state)
{
	(void)state;
	static const uint8_t vm[UUID_BYTES] = { 9 };
	struct store disk = { 0 };
	const struct vtpm_config config = { .store = &disk, .vm = vm };
	struct vtpm *vtpm;
	struct fault f = { 0 };
	struct pair p;
	CLEANUP_BUF struct buf blob = BUF_INIT(VTPM_BLOB_MAX);
	assert_int_equal(vtpm_new(&config, &vtpm, &f), 0);
	vtpm_make(vtpm, &blob);
	disk.saves = disk.exists = 0;
	disk.fail_saves = 1000;
	pair_start(&p, &(struct making){ .vtpm = vtpm });
	prepare_to(&p);
	begin_from(&p);
	cross(&p);
	vtpm_comes(vtpm, &blob);
	say(p.from.qemu, EVENT("completed"));
	say(p.to.qemu, EVENT("completed"));
	fd_close(&p.from.qemus_fd);
	fd_close(&p.to.qemus_fd);
	/* libvirt there hears that it has failed, and that nothing may run. */
	libvirt_gets(&p.to, "\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}");
	say(p.to.libvirt, CONT);
	libvirt_gets(&p.to, "shieldvm: ");
	assert_int_equal(disk.exists, 0);
	pair_end(&p);
	vtpm_free(vtpm);
	buf_done(&disk.state);
}

int main(void)
{
	carry_bed_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
