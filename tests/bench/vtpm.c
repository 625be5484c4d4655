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
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define COMMANDS    500 /* of one kind, in a round */
#define WRITES	    20	/* NV_Write, in a round */
#define ROUNDS_MAX  200
#define SAMPLES_MAX (ROUNDS_MAX * COMMANDS)
#define CTRL_FD	    20
#define DATA_FD	    21

struct samples {
	double *v;
	size_t n;
};

struct subject {
	const char *name, *program;
	char folder[256], key[256];
	pid_t pid;
	int ctrl, data;
	struct samples cpu[2], latency[2]; /* GetRandom, PCR_Extend */
	struct samples write, write_cpu, start_fresh, start_existing;
	double pss_kb, pss_alone_kb, rss_kb;
};

static struct samples floor_write;

static void die(const char *what)
{
	fprintf(stderr, "bench vtpm: %s: %s\n", what, strerror(errno));
	exit(3);
}

static double now_us(clockid_t clock)
{
	struct timespec t;
	if (clock_gettime(clock, &t) < 0)
		die("clock");
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void add(struct samples *s, double v)
{
	if (!s->v)
		s->v = calloc(SAMPLES_MAX, sizeof(*s->v));
	if (!s->v)
		die("memory");
	if (s->n < SAMPLES_MAX)
		s->v[s->n++] = v;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(struct samples *s)
{
	qsort(s->v, s->n, sizeof(*s->v), compare);
	return s->n % 2 ? s->v[s->n / 2] : (s->v[s->n / 2 - 1] + s->v[s->n / 2]) / 2;
}

/* ---- A daemon -------------------------------------------------------------------------------- */

static void launch(struct subject *s)
{
	char dir[300], key[300];
	int ctrl[2], data[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ctrl) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, data) < 0)
		die("socketpair");
	snprintf(dir, sizeof(dir), "dir=%s", s->folder);
	snprintf(key, sizeof(key), "file=%s,mode=aes-256-cbc", s->key);
	s->pid = vfork();
	if (s->pid == 0) {
		dup2(ctrl[1], CTRL_FD);
		dup2(data[1], DATA_FD);
		execl(s->program, s->program, "socket", "--tpm2", "--tpmstate", dir, "--key", key,
		      "--ctrl", "type=unixio,clientfd=20", "--server", "type=tcp,fd=21", "--log",
		      "file=-", (char *)NULL);
		_exit(127);
	}
	close(ctrl[1]);
	close(data[1]);
	s->ctrl = ctrl[0];
	s->data = data[0];
}

static void ctrl_command(struct subject *s, const char *request, size_t n)
{
	uint8_t reply[4];
	if (fd_write_full(s->ctrl, request, n) < 0 || fd_read_full(s->ctrl, reply, 4) < 0 ||
	    memcmp(reply, "\0\0\0\0", 4) != 0) {
		fprintf(stderr, "bench vtpm: %s did not do as it was told\n", s->program);
		exit(3);
	}
}

static void init(struct subject *s)
{
	ctrl_command(s, "\0\0\0\2\0\0\0\0", 8);
}

static void end(struct subject *s)
{
	int status;
	ctrl_command(s, "\0\0\0\3", 4);
	close(s->ctrl);
	close(s->data);
	if (waitpid(s->pid, &status, 0) != s->pid || status != 0)
		die("a daemon's end");
}

/* Send a TPM command and check that it succeeded; returns the microseconds it took. */
static double tpm(struct subject *s, const uint8_t *command, size_t n)
{
	uint8_t reply[4096];
	double start = now_us(CLOCK_MONOTONIC);
	ssize_t got = -1;
	if (write(s->data, command, n) == (ssize_t)n)
		got = read(s->data, reply, sizeof(reply));
	double took = now_us(CLOCK_MONOTONIC) - start;
	if (got < 10 || memcmp(reply + 6, "\0\0\0\0", 4) != 0) {
		fprintf(stderr, "bench vtpm: %s refused a TPM command (%02x%02x)\n", s->program,
			reply[8], reply[9]);
		exit(3);
	}
	return took;
}

static void remove_files(const char *folder)
{
	static const char *const NAMES[] = { ".lock",
					     "tpm2-00.permall",
					     "tpm2-00.permall.next",
					     "tpm2-00.permall.new",
					     "tpm2-00.permall.spare",
					     "tpm2-00.volatilestate.new",
					     "tpm2-00.volatilestate.spare",
					     "floor",
					     "floor.new" };
	char path[400];
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, NAMES[i]);
		(void)unlink(path);
	}
}

static double smaps_kb(pid_t pid, const char *what)
{
	char path[64], line[256];
	double kb = -1;
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && kb < 0 && fgets(line, sizeof(line), f))
		if (strncmp(line, what, strlen(what)) == 0)
			kb = strtod(line + strlen(what), NULL);
	if (f)
		(void)fclose(f);
	return kb;
}

/* ---- What is measured ------------------------------------------------------------------------ */

static const uint8_t STARTUP[] = "\x80\x01\0\0\0\x0c\0\0\x01\x44\0\0";
static const uint8_t GET_RANDOM[] = "\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x20";
/* PCR 16, SHA-256, 32 zero bytes */
static const uint8_t PCR_EXTEND[65] =
	"\x80\x02\0\0\0\x41\0\0\x01\x82\0\0\0\x10\0\0\0\x09\x40\0\0\x09"
	"\0\0\0\0\0\0\0\0\x01\0\x0b";
/* index 0x01500001: 32 bytes, OWNERREAD, OWNERWRITE, NO_DA */
static const uint8_t NV_DEFINE[] =
	"\x80\x02\0\0\0\x2d\0\0\x01\x2a\x40\0\0\x01\0\0\0\x09\x40\0\0\x09"
	"\0\0\0\0\0\0\0\0\x0e\x01\x50\0\x01\0\x0b\x02\x02\0\x02\0\0\0\x20";
static uint8_t nv_write[67] = "\x80\x02\0\0\0\x43\0\0\x01\x37\x40\0\0\x01\x01\x50\0\x01\0\0\0\x09"
			      "\x40\0\0\x09\0\0\0\0\0\0\x20";

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
	add(&s->write, tpm(s, nv_write, sizeof(nv_write)));
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
		tpm(s, nv_write, sizeof(nv_write));
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
	tpm(s, nv_write, sizeof(nv_write));
	*pss_kb = smaps_kb(s->pid, "Pss:");
	s->rss_kb = smaps_kb(s->pid, "Rss:");
	end(s);
}

static int missed;

static void row(const char *what, const char *unit, double theirs, double ours, double target,
		const char *target_text)
{
	int miss = target > 0 && ours > target;
	missed |= miss;
	printf("%-34s %10.1f %10.1f %7.2f  %-26s %s\n", what, theirs, ours, ours / theirs,
	       target_text, target > 0 ? miss ? "MISS" : "PASS" : unit);
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
