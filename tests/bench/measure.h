/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What benchmarks of vTPM daemons share: samples and their median, a daemon with swtpm's command
 * line, TPM commands, rows of a table with targets.  What does not work ends the program with 3.
 */
#ifndef SHIELDVM_TESTS_BENCH_MEASURE_H
#define SHIELDVM_TESTS_BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define ROUNDS_MAX  200
#define SAMPLES_MAX (ROUNDS_MAX * 500)

struct samples {
	double *v;
	size_t n;
};

/* A daemon, and what was measured of it. */
struct subject {
	const char *name, *program;
	char folder[256], key[256];
	pid_t pid;
	int ctrl, data;
	struct samples cpu[2], latency[2]; /* GetRandom, PCR_Extend */
	struct samples write, write_cpu, start_fresh, start_existing;
	double pss_kb, pss_alone_kb, rss_kb;
};

_Noreturn void die(const char *what);
double now_us(clockid_t clock);
void add(struct samples *s, double v);
double median(struct samples *s);

/* Start it as swtpm is started, with S's folder and key; CMD_INIT; CMD_SHUTDOWN and its end. */
void launch(struct subject *s);
void init(struct subject *s);
void end(struct subject *s);

/* Send a TPM command and check that it succeeded; returns the microseconds it took. */
double tpm(struct subject *s, const uint8_t *command, size_t n);

/* The line that begins with WHAT in PID's smaps_rollup; -1: there is none. */
double smaps_kb(pid_t pid, const char *what);

/* The files in FOLDER that such daemons make. */
void remove_files(const char *folder);

#define STARTUP_BYTES	 12
#define GET_RANDOM_BYTES 12
#define PCR_EXTEND_BYTES 65
#define NV_DEFINE_BYTES	 45
#define NV_WRITE_BYTES	 67
extern const uint8_t STARTUP[], GET_RANDOM[], PCR_EXTEND[], NV_DEFINE[];
extern uint8_t nv_write[]; /* byte 33 is of what is written */

/* Print a row; TARGET > 0: OURS may not be above it. */
extern int missed;
void row(const char *what, const char *unit, double theirs, double ours, double target,
	 const char *target_text);

#endif
