/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sealed streams against `openssl speed -evp aes-256-gcm`, in one run and in turns: what a record
 * costs on one CPU, and what a flow does on one CPU and on two.
 *
 * One CPU is measured in CPU time, user and system, as `openssl speed` does it; more than one by
 * the clock.  Flows read a file in memory and write to /dev/null.  Compressed ones are held against
 * `zstd -1` with the same window, on libcrypto's code over and over: its copies are farther apart
 * than the window, and it shrinks about as memory does.
 *
 * Usage: stream [--rounds N] [--sizes].  --sizes: only the rate of records of several sizes.  The
 * exit status is 1 if a target is missed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/flow.h"
#include "crypto/ossl.h"
#include "crypto/stream_form.h"

#define ROUNDS_MAX 100
#define TURN_S	   0.5
#define FILE_BYTES (192UL * 1024 * 1024) /* of plaintext, for a flow */

struct samples {
	double v[ROUNDS_MAX];
	size_t n;
};

static struct stream_keys *keys;

static void die(const char *what)
{
	fprintf(stderr, "bench stream: %s: %s\n", what, strerror(errno));
	exit(3);
}

static double now_s(clockid_t clock)
{
	struct timespec t;
	if (clock_gettime(clock, &t) < 0)
		die("clock");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(struct samples *s)
{
	qsort(s->v, s->n, sizeof(s->v[0]), compare);
	return s->n % 2 ? s->v[s->n / 2] : (s->v[s->n / 2 - 1] + s->v[s->n / 2]) / 2;
}

static void add(struct samples *s, double v)
{
	if (s->n < ROUNDS_MAX)
		s->v[s->n++] = v;
}

/* The first N of the CPUs that were there at the start. */
static void use_cpus(int n)
{
	static cpu_set_t all;
	cpu_set_t some;
	if (CPU_COUNT(&all) == 0 && sched_getaffinity(0, sizeof(all), &all) < 0)
		die("sched_getaffinity");
	CPU_ZERO(&some);
	for (size_t cpu = CPU_SETSIZE; cpu-- > 0 && n > 0;) {
		if (CPU_ISSET(cpu, &all)) {
			CPU_SET(cpu, &some);
			n--;
		}
	}
	if (sched_setaffinity(0, sizeof(some), &some) < 0)
		die("sched_setaffinity");
}

/* MB/s of `openssl speed`. */
static double openssl_rate(size_t bytes, int decrypt)
{
	char line[256], last[256] = "";
	snprintf(line, sizeof(line),
		 "openssl speed -seconds 1 -bytes %zu %s-evp aes-256-gcm 2>/dev/null", bytes,
		 decrypt ? "-decrypt " : "");
	FILE *p = popen(line, "re");
	if (!p)
		die("openssl");
	while (fgets(line, sizeof(line), p))
		snprintf(last, sizeof(last), "%s", line);
	double rate = 0;
	if (pclose(p) != 0 || sscanf(last, "AES-256-GCM %lfk", &rate) != 1)
		die("openssl speed");
	return rate / 1000;
}

/* MB/s of one record after the other. */
static double record_rate(size_t bytes, int open)
{
	uint8_t front[STREAM_FRONT_MAX];
	size_t n = 0, ring = 16, stride = (bytes + 128) / 64 * 64;
	struct stream *s = NULL;
	struct stream_lane *l = NULL;
	uint8_t *memory = aligned_alloc(64, ring * stride + 64);
	if (!memory || stream_seal(keys, KEY_USE_SAVED_STATE, front, &n, &s, NULL) < 0 ||
	    stream_lane_new(&l) < 0)
		die("a stream");
	/* To be opened again and again, a record needs to be sealed again: that time is taken off.
	 */
	uint64_t number = 0, done = 0;
	double busy = 0;
	memset(memory, 1, ring * stride + 64);
	while (busy < TURN_S) {
		double began = now_s(CLOCK_THREAD_CPUTIME_ID);
		for (size_t i = 0; i < ring; i++) {
			if (stream_record_seal(s, l, number + i, 0, memory + i * stride + 60,
					       bytes) < 0)
				die("seal");
		}
		double middle = now_s(CLOCK_THREAD_CPUTIME_ID);
		for (size_t i = 0; i < ring && open; i++) {
			if (stream_record_open(s, l, number + i, memory + i * stride + 60,
					       bytes + STREAM_RECORD_EXTRA) < 0)
				die("open");
		}
		double ended = now_s(CLOCK_THREAD_CPUTIME_ID);
		busy += open ? ended - middle : middle - began;
		number += ring;
		done += ring * bytes;
	}
	stream_lane_free(l);
	stream_free(s);
	free(memory);
	return (double)done / busy / 1e6;
}

static double cpu_s(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static double packed; /* what the last flow's content was compressed to, of 1 */

struct flow_cost {
	double wall, cpu; /* MB/s by the clock, and for each second of CPU */
};

/* One flow of FILE_BYTES from IN to OUT on CPUS. */
static struct flow_cost flow_rate(int cpus, int open, int in, int out)
{
	struct pool *pool = NULL;
	struct flow *w = NULL;
	struct fault f = { 0 };
	use_cpus(cpus);
	if (pool_new((unsigned)cpus, &pool) < 0 || flow_new(pool, &w) < 0)
		die("a flow");
	double began = now_s(CLOCK_MONOTONIC), cpu = cpu_s();
	int rc = open ? flow_open_start(w, keys, KEY_USE_SAVED_STATE, in, out, &f)
		      : flow_seal_start(w, keys, KEY_USE_SAVED_STATE, in, out, &f);
	if (rc < 0 || flow_run(w, NULL, NULL, &f) < 0) {
		fprintf(stderr, "bench stream: %s\n", f.text);
		exit(3);
	}
	double bytes =
		(double)(open ? flow_progress(w).out_bytes : flow_progress(w).in_bytes) / 1e6;
	packed = (double)flow_progress(w).plain_bytes / 1e6 / bytes;
	struct flow_cost cost = { bytes / (now_s(CLOCK_MONOTONIC) - began),
				  bytes / (cpu_s() - cpu) };
	flow_free(w);
	pool_free(pool);
	use_cpus(CPU_SETSIZE);
	return cost;
}

/* A file of that many bytes that is really there: reading a hole costs less than reading RAM. */
static int memory_file(size_t bytes)
{
	static uint8_t chunk[1024 * 1024];
	int fd = memfd_create("bench", MFD_CLOEXEC);
	if (fd < 0)
		die("memfd");
	memset(chunk, 7, sizeof(chunk));
	for (size_t n = 0; n < bytes; n += sizeof(chunk)) {
		if (fd_write_full(fd, chunk, sizeof(chunk)) < 0)
			die("memfd");
	}
	return fd;
}

static void rewind_fd(int fd)
{
	if (lseek(fd, 0, SEEK_SET) < 0)
		die("lseek");
}

/* The same, of libcrypto's code. */
static int code_file(size_t bytes)
{
	Dl_info library;
	int fd = memfd_create("code", MFD_CLOEXEC);
	CLEANUP_BUF struct buf code = BUF_INIT(64UL * 1024 * 1024);
	if (fd < 0 || !dladdr((const void *)(uintptr_t)&RAND_bytes, &library) ||
	    fd_read_file(AT_FDCWD, library.dli_fname, &code, NULL) < 0 || code.len == 0)
		die("libcrypto's file");
	for (size_t n = 0; n < bytes; n += code.len) {
		if (fd_write_full(fd, code.data, code.len) < 0)
			die("memfd");
	}
	return fd;
}

/* MB for each second of CPU that zstd(1) takes with the file IN, to OUT. */
static double zstd_rate(const char *options, int in, int out, size_t bytes)
{
	char line[256];
	struct rusage before, after;
	snprintf(line, sizeof(line),
		 "zstd -q --single-thread %s -c </proc/%d/fd/%d >/proc/%d/fd/%d", options,
		 (int)getpid(), in, (int)getpid(), out);
	getrusage(RUSAGE_CHILDREN, &before);
	if (system(line) != 0)
		die("zstd");
	getrusage(RUSAGE_CHILDREN, &after);
	return (double)bytes / 1e6 /
	       ((double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) +
		(double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1e6 +
		(double)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
		(double)(after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6);
}

static int missed;

static void row(const char *what, double ours, double peer, double target)
{
	double ratio = ours / peer;
	printf("%-44s %9.0f %9.0f %6.2f", what, peer, ours, ratio);
	if (target > 0) {
		printf("  >= %.2f %s", target, ratio >= target ? "PASS" : "MISSED");
		missed |= ratio < target;
	}
	printf("\n");
}

/* Compression inside the stream, against zstd(1) and nothing sealed. */
static void compressed(int rounds, int null)
{
	struct samples peer[2] = { 0 }, ours[2] = { 0 };
	int code = code_file(FILE_BYTES), sealed = memory_file(0), frame = memory_file(0);
	size_t bytes = (size_t)lseek(code, 0, SEEK_END);
	stream_keys_compress(keys, STREAM_ZSTD);
	rewind_fd(code);
	flow_rate(1, 0, code, sealed);
	zstd_rate("-1 --zstd=wlog=18 --no-check", code, frame, bytes);
	for (int r = 0; r < rounds; r++) {
		for (int open = 0; open < 2; open++) {
			int in = open ? sealed : code;
			use_cpus(1);
			add(&peer[open], zstd_rate(open ? "-d" : "-1 --zstd=wlog=18 --no-check",
						   open ? frame : code, null, bytes));
			rewind_fd(in);
			add(&ours[open], flow_rate(1, open, in, null).cpu);
		}
	}
	row("compress and seal a file, one CPU : zstd -1", median(&ours[0]), median(&peer[0]), 0);
	row("open and unpack a file, one CPU : zstd -d", median(&ours[1]), median(&peer[1]), 0);
	printf("compressed to %.2f of its size\n", packed);
	close(code);
	close(sealed);
	close(frame);
}

static void by_size(int rounds)
{
	static const size_t SIZES[] = { 16384, 65536, 131072, 262144, 524288, 1048576 };
	printf("%-10s %12s %9s %9s  MB/s on one CPU\n", "bytes", "openssl", "seal", "open");
	for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
		struct samples peer = { 0 }, seal = { 0 }, open = { 0 };
		stream_keys_resize(keys, (uint32_t)SIZES[i], UINT32_MAX);
		use_cpus(1);
		for (int r = 0; r < rounds; r++) {
			add(&peer, openssl_rate(SIZES[i], 0));
			add(&seal, record_rate(SIZES[i], 0));
			add(&open, record_rate(SIZES[i], 1));
		}
		use_cpus(CPU_SETSIZE);
		printf("%-10zu %12.0f %9.0f %9.0f\n", SIZES[i], median(&peer), median(&seal),
		       median(&open));
	}
}

int main(int argc, char **argv)
{
	int rounds = 7, sizes = 0;
	struct stream_facts facts = { .level = LEVEL_SHIELDED };
	struct vm_key key = { { 1 } };
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
			rounds = atoi(argv[++i]);
		else if (strcmp(argv[i], "--sizes") == 0)
			sizes = 1;
		else
			rounds = 0;
	}
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: stream [--rounds N] [--sizes]\n");
		return 2;
	}
	use_cpus(CPU_SETSIZE);
	if (stream_keys_new(&facts, &key, NULL, NULL, &keys, NULL) < 0)
		die("keys");
	if (sizes) {
		by_size(rounds);
		return 0;
	}

	struct samples peer[2] = { 0 }, record[2] = { 0 }, one[2] = { 0 }, one_cpu[2] = { 0 },
		       two[2] = { 0 };
	int plain = memory_file(FILE_BYTES), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int sealed = memory_file(0);
	rewind_fd(plain);
	flow_rate(1, 0, plain, sealed);
	for (int r = 0; r < rounds; r++) {
		for (int open = 0; open < 2; open++) {
			int in = open ? sealed : plain;
			use_cpus(1);
			add(&peer[open], openssl_rate(STREAM_RECORD_BYTES, open));
			add(&record[open], record_rate(STREAM_RECORD_BYTES, open));
			rewind_fd(in);
			struct flow_cost c = flow_rate(1, open, in, null);
			add(&one[open], c.wall);
			add(&one_cpu[open], c.cpu);
			rewind_fd(in);
			add(&two[open], flow_rate(2, open, in, null).wall);
		}
	}
	printf("%-44s %9s %9s %6s\n", "MB/s, medians", "peer", "shieldvm", "ratio");
	for (int open = 0; open < 2; open++) {
		const char *verb = open ? "open" : "seal";
		char what[64];
		snprintf(what, sizeof(what), "%s records, one CPU : openssl speed", verb);
		row(what, median(&record[open]), median(&peer[open]), 0.9);
		snprintf(what, sizeof(what), "%s a file, one CPU : openssl speed", verb);
		row(what, median(&one_cpu[open]), median(&peer[open]), 0);
		snprintf(what, sizeof(what), "%s a file, two CPUs : one", verb);
		row(what, median(&two[open]), median(&one[open]), 1.7);
	}
	compressed(rounds, null);
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	double mib = (double)(FLOW_RECORDS * (STREAM_RECORD_BYTES + 4096)) / 1048576;
	printf("memory for records in flight, MiB: %.1f, <= 64 %s; this process at most %.1f MiB\n",
	       mib, mib <= 64 ? "PASS" : "MISSED", (double)usage.ru_maxrss / 1024);
	return missed;
}
