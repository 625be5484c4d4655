/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who runs a VM that has come, and whose source is still there: never both, whatever libvirt, QEMU
 * and the link do.
 */
#include "tests/unit/worker/carry_pair.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "tests/unit/worker/memory_store.h"

#define MOVED "\"desc\":\"shieldvm: migration.moved: "
#define LEFT  MOVED "the VM runs on the host that it was migrated to"
#define GIVEN MOVED "the VM was given to the host that it was migrated to"
#define KEPT  MOVED "the host that the VM came from has kept it"
#define CUT   MOVED "the connection to the host that the VM came from ended"

static const uint8_t vm[UUID_BYTES] = { 7 };

/* Two hosts, and a VM that has all moved.  A process has one vTPM at most: it is one host's. */
struct two {
	struct pair p;
	struct store disk;
	struct vtpm *vtpm;
	struct buf blob;
};
static int on; /* the source has the vTPM, or (1) the destination */

/* RETRY, or 0: it has run the command, whatever came of that. */
static int answers(struct vtpm *t)
{
	static const uint8_t STARTUP[] = "\x80\x01\0\0\0\x0c\0\0\x01\x44\0";
	uint8_t reply[VTPM_BUFFER_MAX];
	size_t n;
	vtpm_command(t, STARTUP, sizeof(STARTUP), reply, &n);
	return (reply[8] << 8 | reply[9]) == VTPM_RC_RETRY ? VTPM_RC_RETRY : 0;
}

/* Up to where both libvirts know that it is there.  How long each waits for the other's word: 0
 * for as long as it does. */
static void arrive_waiting(struct two *t, int from_ms, int to_ms)
{
	struct fault f = { 0 };
	memset(t, 0, sizeof(*t));
	const struct vtpm_config config = { .store = &t->disk, .vm = vm };
	assert_int_equal(vtpm_new(&config, &t->vtpm, &f), 0);
	struct pair *p = &t->p;
	t->blob = BUF_INIT(VTPM_BLOB_MAX);
	vtpm_make(t->vtpm, &t->blob);
	t->disk.saves = 0;
	pair_start(p, &(struct making){ .vtpm = on ? t->vtpm : NULL,
					.from_vtpm = on ? NULL : t->vtpm,
					.from_word_ms = from_ms,
					.word_ms = to_ms });
	if (!on) {
		assert_int_equal(vtpm_init(t->vtpm, &f), 0);
		assert_int_equal(answers(t->vtpm), 0);
	}
	prepare_to(p);
	begin_from(p);
	cross(p);
	if (on)
		vtpm_comes(t->vtpm, &t->blob);
	say(p->from.qemu, EVENT("completed"));
	say(p->to.qemu, EVENT("completed"));
	not_yet(&p->to, p->to.from_libvirt, "completed");
	if (on)
		assert_int_equal(t->disk.saves, 0);
	fd_close(&p->from.qemus_fd);
	fd_close(&p->to.qemus_fd);
	libvirt_gets(&p->from, "\"completed\"}}\r\n");
	libvirt_gets(&p->to, "\"completed\"}}\r\n");
	/* It is stored there, and the source's until that gives it away. */
	if (on) {
		assert_int_equal(t->disk.saves, 1);
		assert_int_equal(t->disk.mark_first, 1);
	}
	assert_int_equal(t->disk.moved, on);
	assert_int_equal(answers(t->vtpm), VTPM_RC_RETRY);
}

static void arrive(struct two *t)
{
	arrive_waiting(t, 0, 0);
}

static void leave(struct two *t)
{
	pair_end(&t->p);
	vtpm_free(t->vtpm);
	buf_done(&t->disk.state);
	buf_done(&t->blob);
}

static void passes(struct bed *b, const char *line, const char *name)
{
	say(b->libvirt, line);
	qemu_gets(b, name);
	qemu_answers(b, OK);
	libvirt_gets(b, OK);
}

static void refused(struct bed *b, const char *line, const char *words)
{
	say(b->libvirt, line);
	libvirt_gets(b, words);
	assert_null(strstr(b->from_qemu, "execute"));
}

/* Whose the VM is, by the one vTPM: 0 the source's, 1 the destination's. */
static int owner(const struct two *t)
{
	return t->disk.moved ? !on : on;
}

/* The source has answered; the destination has heard it. */
static void answer_comes(struct two *t, int is_heard)
{
	int64_t due = clock_ms() + WAIT_MS;
	while ((is_heard || !on) && owner(t) == 0) {
		assert_true(clock_left_ms(due) > 0);
		step(&t->p.from);
		if (is_heard)
			step(&t->p.to);
	}
	for (int i = 0; is_heard && i < 25; i++)
		step(&t->p.to);
	if (is_heard || !on)
		assert_int_equal(owner(t), 1);
}

/* It runs there, and nothing has it run here any more. */
static void test_runs_there(void **state)
{
	(void)state;
	static struct two t;
	arrive(&t);
	/* The source's libvirt and the destination's at once: the question is there first. */
	passes(&t.p.to, CONT, "\"cont\"");
	assert_int_equal(owner(&t), 1);
	assert_int_equal(answers(t.vtpm), on ? 0 : VTPM_RC_RETRY);
	refused(&t.p.from, CONT, LEFT);
	refused(&t.p.from, "{\"execute\":\"system_wakeup\"}\n", LEFT);
	passes(&t.p.to, "{\"execute\":\"stop\"}\n", "\"stop\"");
	passes(&t.p.to, CONT, "\"cont\"");
	/* What is left there does not leave again either. */
	int file = temporary();
	hand_over(&t.p.from, "migrate", file);
	libvirt_gets(&t.p.from, OK);
	refused(&t.p.from, MIGRATE, LEFT);
	close(file);
	carry_farewell(t.p.from.carry);
	assert_int_equal(owner(&t), 1);
	leave(&t);
	assert_non_null(strstr(t.p.broker[0].records, "the VM is the other host's, which runs it\n"
						      "the VM runs on the host"));
}

/* libvirt runs it here first. */
static void test_stays_here(void **state)
{
	(void)state;
	static struct two t;
	arrive(&t);
	passes(&t.p.from, CONT, "\"cont\"");
	assert_int_equal(owner(&t), 0);
	assert_int_equal(answers(t.vtpm), on ? VTPM_RC_RETRY : 0);
	refused(&t.p.to, CONT, KEPT);
	/* Nor does its state leave from there. */
	int file = temporary();
	hand_over(&t.p.to, "migrate", file);
	libvirt_gets(&t.p.to, OK);
	refused(&t.p.to, MIGRATE, KEPT);
	close(file);
	carry_farewell(t.p.to.carry);
	carry_farewell(t.p.from.carry);
	assert_int_equal(owner(&t), 0);
	leave(&t);
}

/* The same at the same time: one of them is refused. */
static void test_both_at_once(void **state)
{
	(void)state;
	for (int first = 0; first < 2; first++) {
		static struct two t;
		arrive(&t);
		say((first ? &t.p.to : &t.p.from)->libvirt, CONT);
		say((first ? &t.p.from : &t.p.to)->libvirt, CONT);
		for (int64_t due = clock_ms() + WAIT_MS;
		     !strstr(t.p.from.from_qemu, "cont") && !strstr(t.p.to.from_qemu, "cont");) {
			assert_true(clock_left_ms(due) > 0);
			step(first ? &t.p.to : &t.p.from);
			step(first ? &t.p.from : &t.p.to);
		}
		int ran = strstr(t.p.to.from_qemu, "cont") != NULL;
		struct bed *there = ran ? &t.p.to : &t.p.from;
		qemu_gets(there, "\"cont\"");
		qemu_answers(there, OK);
		libvirt_gets(there, OK);
		libvirt_gets(there->other, MOVED);
		assert_null(strstr(there->other->from_qemu, "cont"));
		assert_int_equal(owner(&t), ran);
		leave(&t);
	}
}

/* QEMU cannot run it there: it is given back. */
static void test_qemu_refuses(void **state)
{
	(void)state;
	static struct two t;
	arrive(&t);
	say(t.p.to.libvirt, CONT);
	qemu_gets(&t.p.to, "\"cont\"");
	assert_int_equal(owner(&t), 1);
	/* Meanwhile the source cannot know, and waits for the word. */
	say(t.p.from.libvirt, CONT);
	not_yet(&t.p.from, t.p.from.from_qemu, "cont");
	qemu_answers(&t.p.to, "\"error\": {\"class\": \"GenericError\", \"desc\": \"a lock\"}");
	libvirt_gets(&t.p.to, "a lock");
	qemu_gets(&t.p.from, "\"cont\"");
	qemu_answers(&t.p.from, OK);
	libvirt_gets(&t.p.from, OK);
	assert_int_equal(owner(&t), 0);
	assert_int_equal(answers(t.vtpm), on ? VTPM_RC_RETRY : 0);
	refused(&t.p.to, CONT, KEPT);
	leave(&t);
	assert_non_null(strstr(t.p.broker[0].records, "the VM is back: it never ran"));
	assert_non_null(strstr(t.p.broker[1].records, "the VM never ran here, and is given back"));
}

/* The link ends before the question, on either side. */
static void test_cut_before(void **state)
{
	(void)state;
	static struct two t;
	arrive(&t);
	assert_int_equal(shutdown(t.p.tcp, SHUT_RDWR), 0);
	not_yet(&t.p.to, t.p.to.from_libvirt, "return");
	refused(&t.p.to, CONT, CUT);
	passes(&t.p.from, CONT, "\"cont\"");
	assert_int_equal(answers(t.vtpm), on ? VTPM_RC_RETRY : 0);
	refused(&t.p.to, CONT, CUT);
	assert_int_equal(owner(&t), 0);
	leave(&t);
}

/* ... with the question in front of it: it is not given to nobody. */
static void test_cut_behind_question(void **state)
{
	(void)state;
	static struct two t;
	struct live_news news = { 0 };
	arrive(&t);
	t.p.to.other = NULL;
	say(t.p.to.libvirt, CONT);
	/* The source's thread has heard it, and its worker has not. */
	for (int64_t due = clock_ms() + WAIT_MS; news.heard != WORD_ASK;) {
		assert_true(clock_left_ms(due) > 0);
		step(&t.p.to);
		live_look(t.p.from.live, &news);
	}
	assert_int_equal(shutdown(t.p.tcp, SHUT_RDWR), 0);
	for (int64_t due = clock_ms() + WAIT_MS; !news.parted;) {
		assert_true(clock_left_ms(due) > 0);
		live_look(t.p.from.live, &news);
	}
	t.p.to.other = &t.p.from;
	libvirt_gets(&t.p.to, CUT);
	passes(&t.p.from, CONT, "\"cont\"");
	assert_int_equal(owner(&t), 0);
	leave(&t);
}

/* ... and between the answer and the last word: nobody knows, and it does not run here. */
static void test_cut_after(void **state)
{
	(void)state;
	static struct two t;
	arrive(&t);
	say(t.p.to.libvirt, CONT);
	step(&t.p.to);
	answer_comes(&t, 1);
	qemu_gets(&t.p.to, "\"cont\"");
	assert_int_equal(shutdown(t.p.tcp, SHUT_RDWR), 0);
	not_yet(&t.p.from, t.p.from.from_libvirt, "return");
	refused(&t.p.from, CONT, GIVEN);
	qemu_answers(&t.p.to, OK);
	libvirt_gets(&t.p.to, OK);
	assert_int_equal(owner(&t), 1);
	leave(&t);
}

/* The destination says nothing: "cont" waits for a while only. */
static void test_no_last_word(void **state)
{
	(void)state;
	static struct two t;
	arrive_waiting(&t, 700, 0);
	say(t.p.to.libvirt, CONT);
	qemu_gets(&t.p.to, "\"cont\"");
	int64_t began = clock_ms();
	refused(&t.p.from, CONT, GIVEN);
	assert_true(clock_ms() - began >= 600 && clock_ms() - began < 5000);
	leave(&t);
}

/* The source says nothing, and then does after all. */
static void test_no_answer(void **state)
{
	(void)state;
	static struct two t;
	arrive_waiting(&t, 0, 700);
	t.p.to.other = NULL;
	int64_t began = clock_ms();
	refused(&t.p.to, CONT, MOVED "the host that the VM came from has it still");
	assert_true(clock_ms() - began >= 600 && clock_ms() - began < 5000);
	assert_int_equal(owner(&t), 0);
	answer_comes(&t, 1);
	/* libvirt tries again; or it does not, and QEMU ends. */
	carry_farewell(t.p.to.carry);
	passes(&t.p.from, CONT, "\"cont\"");
	leave(&t);
	arrive_waiting(&t, 0, 700);
	t.p.to.other = NULL;
	refused(&t.p.to, CONT, MOVED "the host that the VM came from has it still");
	t.p.to.other = &t.p.from;
	passes(&t.p.to, CONT, "\"cont\"");
	refused(&t.p.from, CONT, LEFT);
	assert_int_equal(owner(&t), 1);
	leave(&t);
}

/* QEMU has ended on the source, as libvirt wanted it, and then the VM is run, or leaves. */
static void test_confirmed(void **state)
{
	(void)state;
	for (int saved = 0; saved < 2; saved++) {
		static struct two t;
		arrive(&t);
		int file = temporary();
		hand_over(&t.p.to, "migrate", file);
		libvirt_gets(&t.p.to, OK);
		/* Not before: it could run on the source again. */
		refused(&t.p.to, MIGRATE, MOVED "the host that the VM came from has it still");
		carry_farewell(t.p.from.carry);
		answer_comes(&t, 1);
		if (saved) {
			say(t.p.to.libvirt, MIGRATE);
			qemu_gets(&t.p.to, "getfd");
		} else {
			passes(&t.p.to, CONT, "\"cont\"");
		}
		assert_int_equal(owner(&t), 1);
		assert_int_equal(answers(t.vtpm), on ? 0 : VTPM_RC_RETRY);
		close(file);
		leave(&t);
	}
}

/* QEMU has ended on the destination: before it was asked for, and after. */
static void test_ended_there(void **state)
{
	(void)state;
	for (int asked = 0; asked < 3; asked++) {
		static struct two t;
		arrive(&t);
		if (asked) {
			say(t.p.to.libvirt, CONT);
			step(&t.p.to);
		}
		if (asked == 2) /* it may have run */
			qemu_gets(&t.p.to, "\"cont\"");
		carry_farewell(t.p.to.carry);
		if (asked == 2) {
			refused(&t.p.from, CONT, LEFT);
		} else {
			passes(&t.p.from, CONT, "\"cont\"");
			assert_int_equal(answers(t.vtpm), on ? VTPM_RC_RETRY : 0);
		}
		assert_int_equal(owner(&t), asked == 2);
		leave(&t);
	}
}

/* What cannot be put on record, or be marked, is not given away. */
static void test_not_given(void **state)
{
	(void)state;
	static struct two t;
	arrive(&t);
	t.disk.fail_moves = 1;
	if (on) { /* ... and what cannot be taken is given back */
		say(t.p.to.libvirt, CONT);
		libvirt_gets(&t.p.to, MOVED);
		assert_null(strstr(t.p.to.from_qemu, "cont"));
	} else {
		refused(&t.p.to, CONT, KEPT);
	}
	passes(&t.p.from, CONT, "\"cont\"");
	assert_int_equal(owner(&t), 0);
	leave(&t);
}

static int at_source(void **state)
{
	(void)state;
	on = 0;
	return 0;
}

static int at_destination(void **state)
{
	(void)state;
	on = 1;
	return 0;
}

#define both(test)                                                                                 \
	cmocka_unit_test_setup(test, at_source), cmocka_unit_test_setup(test, at_destination)

int main(void)
{
	carry_bed_init();
	const struct CMUnitTest tests[] = {
		both(test_runs_there),		both(test_stays_here),	 both(test_both_at_once),
		both(test_qemu_refuses),	both(test_cut_before),	 both(test_cut_after),
		both(test_cut_behind_question), both(test_no_last_word), both(test_no_answer),
		both(test_confirmed),		both(test_ended_there),	 both(test_not_given),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
