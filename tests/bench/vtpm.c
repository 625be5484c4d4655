/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm-swtpm against swtpm, in one run and on one CPU: what a command costs, what durable state
 * costs against the disk's own floor, start-up, memory.
 *
 * The two are measured in turns, so that whatever else the machine does hits both.  CPU time is the
 * daemon's own (user and system, all threads, from its CPU clock); latency is what the client sees.
 * Both get a 256-bit key; clients use a socketpair, so no network is measured.
 *
 * Usage: vtpm SHIELDVM-SWTPM SWTPM FOLDER LIBRARIES [--rounds N]; LIBRARIES is a folder with copies
 * of what both are linked with.  The exit status is 1 if a target is missed.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/bench/measure.h"

#define COMMANDS 500 /* of one kind, in a round */
#define WRITES	 20  /* NV_Write, in a round */

static struct samples floor_write;

/* ---- What is measured ------------------------------------------------------------------------ */

static void measure_commands(struct subject *s, clockid_t clock)
{
	static const struct {
		const uint8_t *bytes;
		size_t n;
	} KINDS[2] = { { GET_RANDOM, 12 }, { PCR_EXTEND, 65 } };
	for (int kind = 0; kind < 2; kind++) {
		double cpu = now_us(clock);
		for (int i = 0; i < COMMANDS; i++)
			add(&s->latency[kind], tpm(s, KINDS[kind].bytes, KINDS[kind].n));
		add(&s->cpu[kind], (now_us(clock) - cpu) / COMMANDS);
	}
}

static void measure_write(struct subject *s, clockid_t clock)
{
	double cpu = now_us(clock);
	nv_write[33]++;
	add(&s->write, tpm(s, nv_write, NV_WRITE_BYTES));
	add(&s->write_cpu, now_us(clock) - cpu);
}

/* What the disk takes for the usual way to replace a file durably. */
static void measure_floor(const char *folder, size_t bytes)
{
	static uint8_t content[65536];
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	content[0]++;
	double start = now_us(CLOCK_MONOTONIC);
	int fd = openat(dir, "floor.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || fd_write_full(fd, content, bytes) < 0 || fsync(fd) < 0 || close(fd) < 0 ||
	    renameat(dir, "floor.new", dir, "floor") < 0 || fsync(dir) < 0)
		die("floor");
	add(&floor_write, now_us(CLOCK_MONOTONIC) - start);
	close(dir);
}

static void measure_start(struct subject *s, struct samples *to)
{
	double start = now_us(CLOCK_MONOTONIC);
	launch(s);
	init(s);
	add(to, now_us(CLOCK_MONOTONIC) - start);
	end(s);
}

static void measure_running(struct subject *subjects, int rounds, const char *floor_folder)
{
	clockid_t clocks[2];
	char path[400];
	struct stat st;
	for (int i = 0; i < 2; i++) {
		struct subject *s = &subjects[i];
		launch(s);
		init(s);
		tpm(s, STARTUP, 12);
		tpm(s, NV_DEFINE, 45);
		tpm(s, nv_write, NV_WRITE_BYTES);
		if (clock_getcpuclockid(s->pid, &clocks[i]) != 0)
			die("CPU clock");
	}
	snprintf(path, sizeof(path), "%s/tpm2-00.permall", subjects[1].folder);
	if (stat(path, &st) < 0)
		die(path);
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < 2; i++)
			measure_commands(&subjects[(r + i) % 2], clocks[(r + i) % 2]);
		for (int w = 0; w < WRITES; w++) {
			for (int i = 0; i < 2; i++)
				measure_write(&subjects[(r + i) % 2], clocks[(r + i) % 2]);
			measure_floor(floor_folder, (size_t)st.st_size);
		}
	}
	for (int i = 0; i < 2; i++)
		end(&subjects[i]);
}

/* Memory: one at a time, so that neither shares its libraries with the other. */
static void measure_memory(struct subject *s, double *pss_kb)
{
	launch(s);
	init(s);
	tpm(s, STARTUP, 12);
	tpm(s, GET_RANDOM, 12);
	tpm(s, nv_write, NV_WRITE_BYTES);
	*pss_kb = smaps_kb(s->pid, "Pss:");
	s->rss_kb = smaps_kb(s->pid, "Rss:");
	end(s);
}

static void report(struct subject *a, struct subject *b)
{
	char text[64];
	double floor_us = median(&floor_write), a_write = median(&a->write);
	printf("%-34s %10s %10s %7s  %s\n", "", a->name, b->name, "ratio", "target");
	row("GetRandom(32), CPU us", "", median(&a->cpu[0]), median(&b->cpu[0]),
	    1.1 * median(&a->cpu[0]), "ratio <= 1.1");
	row("GetRandom(32), latency us", "", median(&a->latency[0]), median(&b->latency[0]),
	    1.1 * median(&a->latency[0]), "ratio <= 1.1");
	row("PCR_Extend SHA-256, CPU us", "", median(&a->cpu[1]), median(&b->cpu[1]),
	    1.1 * median(&a->cpu[1]), "ratio <= 1.1");
	row("PCR_Extend SHA-256, latency us", "", median(&a->latency[1]), median(&b->latency[1]),
	    1.1 * median(&a->latency[1]), "ratio <= 1.1");
	snprintf(text, sizeof(text), "<= %.0f (1.25 floor + swtpm)", 1.25 * floor_us + a_write);
	row("NV_Write 32 bytes, latency us", "", a_write, median(&b->write),
	    1.25 * floor_us + a_write, text);
	row("NV_Write 32 bytes, CPU us", "", median(&a->write_cpu), median(&b->write_cpu), 0, "-");
	printf("%-34s %10s %10.1f          write + fsync + rename + fsync of the same size\n",
	       "the disk's floor, latency us", "", floor_us);
	row("exec to INIT, no state, us", "", median(&a->start_fresh), median(&b->start_fresh),
	    1.5 * median(&a->start_fresh), "ratio <= 1.5");
	row("exec to INIT, a state, us", "", median(&a->start_existing), median(&b->start_existing),
	    1.5 * median(&a->start_existing), "ratio <= 1.5");
	row("PSS on this machine now, KB", "", a->pss_kb, b->pss_kb, 4096, "<= 4096");
	row("PSS, libraries its own, KB", "", a->pss_alone_kb, b->pss_alone_kb, 4096, "<= 4096");
	row("RSS, KB", "", a->rss_kb, b->rss_kb, 0, "-");
}

static void set_up(struct subject *s, const char *folder, const char *key)
{
	snprintf(s->folder, sizeof(s->folder), "%s/%s", folder, s->name);
	snprintf(s->key, sizeof(s->key), "%s", key);
	if (mkdir(s->folder, 0700) < 0)
		die(s->folder);
}

int main(int argc, char **argv)
{
	static struct subject subjects[2];
	static const char HEX[] =
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
	int rounds = 20;
	if (argc == 7 && strcmp(argv[5], "--rounds") == 0)
		rounds = (int)strtol(argv[6], NULL, 10);
	if ((argc != 5 && argc != 7) || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: vtpm SHIELDVM-SWTPM SWTPM FOLDER LIBRARIES [--rounds N]\n");
		return 2;
	}
	subjects[0] = (struct subject){ .name = "swtpm", .program = argv[2] };
	subjects[1] = (struct subject){ .name = "shieldvm", .program = argv[1] };
	char folder[200], key[256], floor_folder[256];
	snprintf(folder, sizeof(folder), "%s/bench-vtpm-XXXXXX", argv[3]);
	if (!mkdtemp(folder))
		die(folder);
	snprintf(key, sizeof(key), "%s/key", folder);
	snprintf(floor_folder, sizeof(floor_folder), "%s/floor", folder);
	if (fd_write_file(AT_FDCWD, key, HEX, sizeof(HEX) - 1, 0600, 0, NULL) < 0 ||
	    mkdir(floor_folder, 0700) < 0)
		die(key);
	set_up(&subjects[0], folder, key);
	set_up(&subjects[1], folder, key);

	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0) /* and with it the daemons */
		die("sched_setaffinity");
	signal(SIGPIPE, SIG_IGN);
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < 2; i++) {
			struct subject *s = &subjects[(r + i) % 2];
			remove_files(s->folder);
			measure_start(s, &s->start_fresh);
			measure_start(s, &s->start_existing);
		}
	}
	measure_running(subjects, rounds, floor_folder);
	for (int i = 0; i < 2; i++)
		measure_memory(&subjects[i], &subjects[i].pss_kb);
	/* Copies of the libraries that no other process on the machine has mapped. */
	if (setenv("LD_LIBRARY_PATH", argv[4], 1) < 0)
		die("setenv");
	for (int i = 0; i < 2; i++)
		measure_memory(&subjects[i], &subjects[i].pss_alone_kb);
	report(&subjects[0], &subjects[1]);
	for (int i = 0; i < 2; i++) {
		remove_files(subjects[i].folder);
		(void)rmdir(subjects[i].folder);
	}
	remove_files(floor_folder);
	(void)rmdir(floor_folder);
	(void)unlink(key);
	(void)rmdir(folder);
	return missed;
}
