/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define CTRL_FD 20
#define DATA_FD 21

_Noreturn void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(3);
}

double now_us(clockid_t clock)
{
	struct timespec t;
	if (clock_gettime(clock, &t) < 0)
		die("clock");
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

void add(struct samples *s, double v)
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

double median(struct samples *s)
{
	qsort(s->v, s->n, sizeof(*s->v), compare);
	return s->n % 2 ? s->v[s->n / 2] : (s->v[s->n / 2 - 1] + s->v[s->n / 2]) / 2;
}

/* ---- A daemon -------------------------------------------------------------------------------- */

void launch(struct subject *s)
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
		fprintf(stderr, "bench: %s did not do as it was told\n", s->program);
		exit(3);
	}
}

void init(struct subject *s)
{
	ctrl_command(s, "\0\0\0\2\0\0\0\0", 8);
}

void end(struct subject *s)
{
	int status;
	ctrl_command(s, "\0\0\0\3", 4);
	close(s->ctrl);
	close(s->data);
	if (waitpid(s->pid, &status, 0) != s->pid || status != 0)
		die("a daemon's end");
}

double tpm(struct subject *s, const uint8_t *command, size_t n)
{
	uint8_t reply[4096];
	double start = now_us(CLOCK_MONOTONIC);
	ssize_t got = -1;
	if (write(s->data, command, n) == (ssize_t)n)
		got = read(s->data, reply, sizeof(reply));
	double took = now_us(CLOCK_MONOTONIC) - start;
	if (got < 10 || memcmp(reply + 6, "\0\0\0\0", 4) != 0) {
		fprintf(stderr, "bench: %s refused a TPM command (%02x%02x)\n", s->program,
			reply[8], reply[9]);
		exit(3);
	}
	return took;
}

void remove_files(const char *folder)
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

double smaps_kb(pid_t pid, const char *what)
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

const uint8_t STARTUP[] = "\x80\x01\0\0\0\x0c\0\0\x01\x44\0\0";
const uint8_t GET_RANDOM[] = "\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x20";
/* PCR 16, SHA-256, 32 zero bytes */
const uint8_t PCR_EXTEND[65] = "\x80\x02\0\0\0\x41\0\0\x01\x82\0\0\0\x10\0\0\0\x09\x40\0\0\x09"
			       "\0\0\0\0\0\0\0\0\x01\0\x0b";
/* index 0x01500001: 32 bytes, OWNERREAD, OWNERWRITE, NO_DA */
const uint8_t NV_DEFINE[] = "\x80\x02\0\0\0\x2d\0\0\x01\x2a\x40\0\0\x01\0\0\0\x09\x40\0\0\x09"
			    "\0\0\0\0\0\0\0\0\x0e\x01\x50\0\x01\0\x0b\x02\x02\0\x02\0\0\0\x20";
uint8_t nv_write[67] = "\x80\x02\0\0\0\x43\0\0\x01\x37\x40\0\0\x01\x01\x50\0\x01\0\0\0\x09"
		       "\x40\0\0\x09\0\0\0\0\0\0\x20";

int missed;

void row(const char *what, const char *unit, double theirs, double ours, double target,
	 const char *target_text)
{
	int miss = target > 0 && ours > target;
	missed |= miss;
	printf("%-34s %10.1f %10.1f %7.2f  %-26s %s\n", what, theirs, ours, ours / theirs,
	       target_text, target > 0 ? miss ? "MISS" : "PASS" : unit);
}
