/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker with everything on, against swtpm with its own seccomp, and against itself without
 * secret memory (a kernel that has none: a filter says ENOSYS).
 *
 * This program is hook, launcher and QEMU to the worker: it starts it, takes the vTPM and uses it.
 * What libvirt and the hook's checks cost is not in it.  The three are measured in turns.
 *
 * Usage: worker DOMAIN.xml SWTPM FOLDER [--rounds N], inside a bed where DOMAIN's vTPM exists.  The
 * exit status is 1 if a target is missed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/paths.h"
#include "crypto/protector.h"
#include "libvirt/control.h"
#include "libvirt/domain.h"
#include "libvirt/folders.h"
#include "libvirt/spawner.h"
#include "tests/bench/measure.h"

#define COMMANDS     2000
#define WRITES	     40
#define XML_MAX	     (1 << 20)
#define MEMFD_SECRET 447

/* What one run of a worker gave; comes from the child that played its host. */
struct run {
	double start, start_cpu, random_us, random_cpu, write_us, write_cpu;
	double pss_kb, rss_kb, kernel_kb;
	uint32_t held;
};

static const struct domain_subject {
	const char *name;
	int secret;
} WORKERS[2] = { { "worker", 1 }, { "without secret memory", 0 } };

static char *protector_text;
static uint8_t vm[UUID_BYTES];

static _Noreturn void refuse(const char *what, const struct fault *f)
{
	fprintf(stderr, "bench worker: %s: %s\n", what, f->text);
	exit(3);
}

/* ---- One run --------------------------------------------------------------------------------- */

static void take_vtpm(struct subject *s, int *lifeline)
{
	struct launch_request request = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION };
	struct launch_reply reply;
	struct sockaddr_un address = { .sun_family = AF_UNIX }, any = { .sun_family = AF_UNIX };
	char uuid[UUID_TEXT_SIZE];
	int fds[FD_PASS_MAX], monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t n_fds;
	uuid_format(vm, uuid);
	memcpy(request.vm, vm, UUID_BYTES);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/launch.sock", PATH_RUN, uuid);
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (bind(monitor, (struct sockaddr *)&any, sizeof(sa_family_t)) < 0 ||
	    listen(monitor, 1) < 0 ||
	    connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    fd_send(sock, &request, sizeof(request), &monitor, 1) < 0)
		die("launch");
	ssize_t got = fd_recv(sock, &reply, sizeof(reply), fds, &n_fds);
	if (got != sizeof(reply) || reply.rc != 0 || n_fds != LAUNCH_FDS)
		die("no vTPM");
	s->ctrl = fds[LAUNCH_FD_CTRL];
	*lifeline = fds[LAUNCH_FD_LIFELINE];
	close(fds[LAUNCH_FD_MONITOR]);
	close(monitor);
	close(sock);
}

static void attach_data(struct subject *s)
{
	int pair[2];
	uint8_t reply[4];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
	    fd_send(s->ctrl, "\0\0\0\x10", 4, &pair[1], 1) < 0 ||
	    fd_read_full(s->ctrl, reply, 4) < 0 || memcmp(reply, "\0\0\0\0", 4) != 0)
		die("SET_DATAFD");
	close(pair[1]);
	s->data = pair[0];
}

static double cpu_us(pid_t pid)
{
	clockid_t clock;
	if (clock_getcpuclockid(pid, &clock) != 0)
		die("CPU clock");
	return now_us(clock);
}

static void measure_commands(struct subject *s, struct run *r)
{
	struct samples random = { 0 }, written = { 0 };
	double cpu = cpu_us(s->pid);
	for (int i = 0; i < COMMANDS; i++)
		add(&random, tpm(s, GET_RANDOM, GET_RANDOM_BYTES));
	r->random_cpu = (cpu_us(s->pid) - cpu) / COMMANDS;
	cpu = cpu_us(s->pid);
	for (int i = 0; i < WRITES; i++) {
		nv_write[33]++;
		add(&written, tpm(s, nv_write, NV_WRITE_BYTES));
	}
	r->write_cpu = (cpu_us(s->pid) - cpu) / WRITES;
	r->random_us = median(&random);
	r->write_us = median(&written);
	free(random.v);
	free(written.v);
}

/* The memfd with its code, which is the worker's alone, whether mapped or not. */
static double text_kb(pid_t pid)
{
	char path[64], line[512];
	double kb = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long start, end;
		if (strstr(line, "/memfd:shieldvm-text") &&
		    sscanf(line, "%lx-%lx", &start, &end) == 2)
			kb += (double)(end - start) / 1024;
	}
	if (f)
		(void)fclose(f);
	return kb;
}

static double text_pss_kb(pid_t pid)
{
	char path[64], line[512];
	double kb = 0, v;
	int in_text = 0;
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strchr("0123456789abcdef", line[0]))
			in_text = strstr(line, "/memfd:shieldvm-text") != NULL;
		else if (in_text && sscanf(line, "Pss: %lf", &v) == 1)
			kb += v;
	}
	if (f)
		(void)fclose(f);
	return kb;
}

static void run_worker(int secret, int commands, struct run *r)
{
	struct fault f = { 0 };
	struct control_reply reply;
	struct subject s = { .name = "worker", .program = PATH_WORKER };
	CLEANUP_FOLDERS struct folders folders = { -1, -1, -1, 0 };
	struct spawner_outcome outcome;
	int lifeline;
	if (!secret) {
		scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
		if (!filter || seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0) < 0 ||
		    seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), MEMFD_SECRET, 0) < 0 ||
		    seccomp_load(filter) < 0)
			die("seccomp");
		seccomp_release(filter);
	}
	if (folders_open(vm, &folders, &f) < 0)
		refuse("folders", &f);
	const struct spawner_order order = { .vm = vm,
					     .name = "bench",
					     .protector = protector_text,
					     .protector_bytes = strlen(protector_text),
					     .worker_uid = folders.uid,
					     .lock = folders.lock };
	double start = now_us(CLOCK_MONOTONIC);
	if (spawner_run(&order, &outcome, &f) < 0)
		refuse("the worker", &f);
	if (control_ask(vm, CONTROL_ARM, &reply, &f) < 0)
		refuse("arm", &f);
	take_vtpm(&s, &lifeline);
	init(&s);
	r->start = now_us(CLOCK_MONOTONIC) - start;
	if (control_ask(vm, CONTROL_STATUS, &reply, &f) < 0)
		refuse("status", &f);
	s.pid = reply.worker_pid;
	r->held = reply.worker.held;
	r->start_cpu = cpu_us(reply.worker_pid) + cpu_us(reply.broker_pid);
	if (commands) {
		attach_data(&s);
		tpm(&s, STARTUP, STARTUP_BYTES);
		if (commands > 1)
			tpm(&s, NV_DEFINE, NV_DEFINE_BYTES);
		tpm(&s, nv_write, NV_WRITE_BYTES);
		measure_commands(&s, r);
		r->pss_kb = smaps_kb(s.pid, "Pss:");
		r->rss_kb = smaps_kb(s.pid, "Rss:");
		r->kernel_kb = r->pss_kb - text_pss_kb(s.pid) + text_kb(s.pid);
		close(s.data);
	}
	close(s.ctrl);
	close(lifeline);
	if (control_stop(vm, &f) < 0)
		refuse("stop", &f);
	folders_done(&folders);
	if (folders_clear_run(vm, &f) < 0)
		refuse("release", &f);
}

/* In a child of its own, for the filter's sake. */
static struct run measure_worker(int secret, int commands)
{
	struct run r = { 0 };
	int ends[2], status;
	if (pipe(ends) < 0)
		die("pipe");
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		run_worker(secret, commands, &r);
		_exit(write(ends[1], &r, sizeof(r)) == (ssize_t)sizeof(r) ? 0 : 3);
	}
	close(ends[1]);
	if (read(ends[0], &r, sizeof(r)) != (ssize_t)sizeof(r) || waitpid(pid, &status, 0) != pid ||
	    status != 0)
		die("a run of the worker");
	close(ends[0]);
	/* The broker and worker of this run were not our children: they have ended all the same. */
	const uint32_t want = UINT32_C(1)
			      << (secret ? PROTECTION_SECRET_MEMORY : PROTECTION_LOCKED_MEMORY);
	if (!(r.held & want)) {
		fprintf(stderr, "bench worker: this host gives no %s\n",
			protection_name(secret ? PROTECTION_SECRET_MEMORY
					       : PROTECTION_LOCKED_MEMORY));
		exit(3);
	}
	return r;
}

static double measure_swtpm(struct subject *s, double *cpu)
{
	double start = now_us(CLOCK_MONOTONIC);
	launch(s);
	init(s);
	double took = now_us(CLOCK_MONOTONIC) - start;
	*cpu = cpu_us(s->pid);
	end(s);
	return took;
}

/* ---- All ------------------------------------------------------------------------------------- */

static void read_domain(const char *path)
{
	struct fault f = { 0 };
	CLEANUP_BUF struct buf xml = BUF_INIT(XML_MAX);
	CLEANUP_PROTECTOR struct protector *protector = NULL;
	struct domain *domain = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t chunk[4096];
	ssize_t n;
	while (fd >= 0 && (n = read(fd, chunk, sizeof(chunk))) > 0)
		if (buf_add(&xml, chunk, (size_t)n) < 0)
			die(path);
	if (fd < 0 || domain_parse((const char *)xml.data, xml.len, &domain, &f) < 0 ||
	    !domain_shield_text(domain))
		refuse(path, &f);
	protector_text = strdup(domain_shield_text(domain));
	if (!protector_text ||
	    protector_parse(protector_text, strlen(protector_text), &protector, &f) < 0)
		refuse("protector", &f);
	memcpy(vm, protector_facts(protector)->vm, UUID_BYTES);
	domain_free(domain);
	close(fd);
}

int main(int argc, char **argv)
{
	static const char HEX[] =
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
	struct subject swtpm = { .name = "swtpm" };
	struct samples theirs = { 0 }, theirs_cpu = { 0 }, start_cpu[2] = { { 0 } },
		       start[2] = { { 0 } }, random[2] = { { 0 } }, random_cpu[2] = { { 0 } },
		       written[2] = { { 0 } }, write_cpu[2] = { { 0 } }, pss[2] = { { 0 } },
		       rss[2] = { { 0 } }, kernel[2] = { { 0 } };
	int rounds = 20;
	if (argc == 6 && strcmp(argv[4], "--rounds") == 0)
		rounds = (int)strtol(argv[5], NULL, 10);
	if ((argc != 4 && argc != 6) || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: worker DOMAIN.xml SWTPM FOLDER [--rounds N]\n");
		return 2;
	}
	read_domain(argv[1]);
	swtpm.program = argv[2];
	snprintf(swtpm.folder, sizeof(swtpm.folder), "%s/swtpm", argv[3]);
	snprintf(swtpm.key, sizeof(swtpm.key), "%s/key", argv[3]);
	if (mkdir(swtpm.folder, 0700) < 0 ||
	    fd_write_file(AT_FDCWD, swtpm.key, HEX, sizeof(HEX) - 1, 0600, 0, NULL) < 0)
		die(argv[3]);
	signal(SIGPIPE, SIG_IGN);
	double cpu;
	(void)measure_swtpm(&swtpm, &cpu);
	(void)measure_worker(1, 2);
	for (int r = 0; r < rounds; r++) {
		add(&theirs, measure_swtpm(&swtpm, &cpu));
		add(&theirs_cpu, cpu);
		for (int k = 0; k < 2; k++) {
			int i = (r + k) % 2;
			struct run run = measure_worker(WORKERS[i].secret, 0);
			add(&start[i], run.start);
			add(&start_cpu[i], run.start_cpu);
		}
		for (int k = 0; k < 2; k++) {
			int i = (r + k) % 2;
			struct run run = measure_worker(WORKERS[i].secret, 1);
			add(&random[i], run.random_us);
			add(&random_cpu[i], run.random_cpu);
			add(&written[i], run.write_us);
			add(&write_cpu[i], run.write_cpu);
			add(&pss[i], run.pss_kb);
			add(&rss[i], run.rss_kb);
			add(&kernel[i], run.kernel_kb);
		}
	}
	double swtpm_us = median(&theirs);
	printf("%-34s %10s %10s %7s  %s\n", "", "swtpm", "worker", "ratio", "target");
	row("exec to INIT, a state, us", "", swtpm_us, median(&start[0]), 2.5 * swtpm_us,
	    "ratio <= 2.5");
	row("the same, CPU us", "", median(&theirs_cpu), median(&start_cpu[0]), 0, "-");
	printf("\n%-34s %10s %10s %7s  %s\n", "", "locked", "secret", "ratio", "target");
	row("exec to INIT, a state, us", "", median(&start[1]), median(&start[0]), 0, "-");
	row("the same, CPU us", "", median(&start_cpu[1]), median(&start_cpu[0]), 0, "-");
	row("GetRandom(32), latency us", "", median(&random[1]), median(&random[0]),
	    1.1 * median(&random[1]), "ratio <= 1.1");
	row("GetRandom(32), CPU us", "", median(&random_cpu[1]), median(&random_cpu[0]),
	    1.1 * median(&random_cpu[1]), "ratio <= 1.1");
	row("NV_Write 32 bytes, latency us", "", median(&written[1]), median(&written[0]),
	    1.1 * median(&written[1]), "ratio <= 1.1");
	row("NV_Write 32 bytes, CPU us", "", median(&write_cpu[1]), median(&write_cpu[0]),
	    1.1 * median(&write_cpu[1]), "ratio <= 1.1");
	row("PSS, KB", "", median(&pss[1]), median(&pss[0]), 8192, "<= 8192");
	row("RSS, KB", "", median(&rss[1]), median(&rss[0]), 0, "-");
	row("with all its sealed text, KB", "", median(&kernel[1]), median(&kernel[0]), 0, "-");
	remove_files(swtpm.folder);
	(void)rmdir(swtpm.folder);
	(void)unlink(swtpm.key);
	return missed;
}
