/* SPDX-License-Identifier: BSD-3-Clause */
/* Attacks through the kernel: probes, samples, BPF, and what loads code into it. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/selftest.h"
#include "cli/selftest_sweep.h"

#define PAGE	  4096UL
#define SAMPLE_MS 250

/* Make the process do something. */
static void poke(const struct victim *v)
{
	uint8_t nv[TPM_NV_BYTES];
	if (v->is_decoy)
		usleep(10000);
	else
		(void)!tpm_nv_read(v->data, nv);
}

static int perf_open(struct perf_event_attr *attr, pid_t tid)
{
	attr->size = sizeof(*attr);
	return (int)syscall(SYS_perf_event_open, attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* A number out of a file of one line, or -1. */
static long number_in(const char *path)
{
	char text[64] = "";
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	return strtol(text, NULL, 0);
}

/* ---- Uprobes -------------------------------------------------------------------------------- */

/* Where CODE's first bytes are in the mapping M of PID: the offset in its file, or -1. */
static int64_t find_code(pid_t pid, const struct map *m, uint64_t file_offset, const void *code,
			 size_t n)
{
	char path[64];
	int64_t at = -1;
	size_t size = (size_t)(m->end - m->start);
	uint8_t *text = malloc(size);
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (text && fd >= 0 && pread(fd, text, size, (off_t)m->start) == (ssize_t)size) {
		const uint8_t *found = memmem(text, size, code, n);
		if (found)
			at = (found - text) + (int64_t)file_offset;
	}
	free(text);
	return at;
}

/* The offset in its file at which the mapping that starts at START begins. */
static uint64_t offset_of(pid_t pid, uint64_t start)
{
	char path[64], line[512];
	unsigned long long from, offset = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%llx-%*x %*s %llx", &from, &offset) == 2 && from == start)
			break;
	if (maps)
		fclose(maps);
	return offset;
}

/* A breakpoint at OFFSET of the file that is mapped at M, for TID; its hits while it is poked. */
static int64_t count_hits(const struct victim *v, pid_t tid, const struct map *m, uint64_t offset,
			  int type)
{
	char path[96];
	uint64_t hits = 0;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", (int)v->worker,
		 (unsigned long long)m->start, (unsigned long long)m->end);
	struct perf_event_attr attr = { .type = (uint32_t)type,
					.config1 = (uint64_t)(uintptr_t)path,
					.config2 = offset };
	CLEANUP_FD int fd = perf_open(&attr, tid);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < 4; i++)
		poke(v);
	return read(fd, &hits, sizeof(hits)) == sizeof(hits) ? (int64_t)hits : -errno;
}

/*
 * Breakpoints that the kernel puts into a file's pages: in functions that a worker calls all the
 * time, wherever their code is mapped.
 */
ATTACK(uprobes)
{
	static const char *const FUNCTIONS[] = { "poll", "recv", "send", "recvmsg", "sendmsg" };
	struct map_list maps = { 0 };
	pid_t tids[THREADS_MAX];
	size_t tried = 0, found = 0, n = threads_of(v->worker, tids);
	int64_t why = 0;
	long type = number_in("/sys/bus/event_source/devices/uprobe/type");
	if (type < 0) {
		find_impossible(out, "this kernel has no uprobes");
		return;
	}
	maps_read(v->worker, &maps);
	for (size_t m = 0; m < maps.n; m++) {
		for (size_t i = 0; i < sizeof(FUNCTIONS) / sizeof(FUNCTIONS[0]); i++) {
			const void *code = dlsym(RTLD_DEFAULT, FUNCTIONS[i]);
			if (!code || !(maps.of[m].flags & CAN_EXECUTE) || maps.of[m].name[0] != '/')
				continue;
			int64_t at = find_code(v->worker, &maps.of[m],
					       offset_of(v->worker, maps.of[m].start), code, 24);
			found += at >= 0;
			for (size_t t = 0; at >= 0 && t < n; t++, tried++) {
				int64_t hits = count_hits(v, tids[t], &maps.of[m], (uint64_t)at,
							  (int)type);
				if (hits > 0)
					find_open(out, "a breakpoint in %s() was hit %lld times",
						  FUNCTIONS[i], (long long)hits);
				why = hits < 0 ? hits : why;
			}
		}
	}
	map_list_done(&maps);
	if (found)
		find_closed(out, "%zu functions, %zu breakpoints, none was hit (%s)", found, tried,
			    err_text((int)why));
	else
		find_closed(out, "the code cannot be found");
}

/* ---- perf ----------------------------------------------------------------------------------- */

#define RING_PAGES 256UL

struct sampler {
	int fd;
	uint8_t *ring;
};

static int sampler_open(struct sampler *s, pid_t tid, uint64_t event, uint64_t period)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.config = event,
					.sample_period = period,
					.sample_type =
						PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER,
					.sample_regs_user = 0xff, /* the first eight */
					.sample_stack_user = 32768 };
	s->fd = perf_open(&attr, tid);
	if (s->fd < 0)
		return -errno;
	s->ring = mmap(NULL, (1 + RING_PAGES) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	return s->ring == MAP_FAILED ? -errno : 0;
}

static void sampler_close(struct sampler *s)
{
	if (s->ring && s->ring != MAP_FAILED)
		munmap(s->ring, (1 + RING_PAGES) * PAGE);
	fd_close(&s->fd);
}

/* Look through the ring again and again while the process works. */
static size_t sample(struct sampler *s, const struct victim *v, struct finding *out)
{
	struct perf_event_mmap_page *page = (void *)s->ring;
	int64_t deadline = clock_ms() + SAMPLE_MS;
	size_t bytes = 0;
	while (clock_left_ms(deadline) > 0 && out->outcome == OUTCOME_CLOSED) {
		for (int i = 0; i < 4; i++)
			poke(v);
		uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
		bytes += (size_t)(head - page->data_tail);
		find_canary(v, s->ring + PAGE, RING_PAGES * PAGE,
			    "a thread's stack, in perf's samples", out);
		__atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
	}
	return bytes;
}

ATTACK(perf_stack)
{
	static const struct {
		uint64_t event, period;
	} HOW[] = { { PERF_COUNT_SW_CPU_CLOCK, 20000 }, { PERF_COUNT_SW_CONTEXT_SWITCHES, 1 } };
	pid_t tids[THREADS_MAX];
	size_t n = threads_of(v->worker, tids), opened = 0, bytes = 0;
	int why = 0;
	for (size_t h = 0; h < sizeof(HOW) / sizeof(HOW[0]); h++) {
		for (size_t t = 0; t < n && out->outcome == OUTCOME_CLOSED; t++) {
			struct sampler s = { .fd = -1 };
			int rc = sampler_open(&s, tids[t], HOW[h].event, HOW[h].period);
			why = rc < 0 ? rc : why;
			if (rc >= 0) {
				bytes += sample(&s, v, out);
				opened++;
			}
			sampler_close(&s);
		}
	}
	/* What is on a stack at that moment is luck; that it can be read is not. */
	if (bytes)
		find_open(out, "%zu kB of its threads' stacks could be read", bytes / 1024);
	else if (opened)
		find_closed(out, "no stack in any sample");
	else
		find_closed(out, "perf_event_open: %s", err_text(why));
}

/* ---- BPF ------------------------------------------------------------------------------------ */

#define WINDOW_PAGES 64
struct window { /* the map's one value; its layout is in the program below */
	uint64_t address, done;
	uint8_t pad[PAGE - 16];
	uint8_t bytes[WINDOW_PAGES * PAGE];
};

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

#define INSN(c, d, s, o, i)                                                                        \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define CALL(f) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)

/*
 * At each switch away from a process of UID: copy the window's pages out of it, once.  Returns the
 * program's length.
 */
static uint32_t bpf_program(struct bpf_insn *p, int map, uid_t uid)
{
	uint32_t n = 0, exits[4], n_exits = 0;
	p[n++] = CALL(BPF_FUNC_get_current_uid_gid);
	exits[n_exits++] = n;
	p[n++] = INSN(BPF_JMP32 | BPF_JNE | BPF_K, 0, 0, 0, (int)uid);
	p[n++] = INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0);
	p[n++] = INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map);
	p[n++] = INSN(0, 0, 0, 0, 0);
	p[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
	p[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4);
	p[n++] = CALL(BPF_FUNC_map_lookup_elem);
	exits[n_exits++] = n;
	p[n++] = INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 0, 0);
	p[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 0, 0, 0);
	p[n++] = INSN(BPF_LDX | BPF_MEM | BPF_DW, 7, 6, 8, 0);
	exits[n_exits++] = n;
	p[n++] = INSN(BPF_JMP | BPF_JNE | BPF_K, 7, 0, 0, 0);
	p[n++] = INSN(BPF_LDX | BPF_MEM | BPF_DW, 8, 6, 0, 0);
	for (int i = 0; i < WINDOW_PAGES; i++) {
		p[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0);
		p[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, (i + 1) * (int)PAGE);
		p[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (int)PAGE);
		p[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 8, 0, 0);
		p[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, i * (int)PAGE);
		p[n++] = CALL(BPF_FUNC_probe_read_user);
	}
	p[n++] = INSN(BPF_ST | BPF_MEM | BPF_DW, 6, 0, 8, 1);
	for (uint32_t i = 0; i < n_exits; i++)
		p[exits[i]].off = (short)(n - exits[i] - 1);
	p[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	p[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return n;
}

struct spy {
	int map, program, link;
	struct window *window;
};

static void spy_done(struct spy *s)
{
	fd_close(&s->link);
	fd_close(&s->program);
	fd_close(&s->map);
	free(s->window);
}

static int spy_open(struct spy *s, uid_t uid)
{
	static struct bpf_insn program[32 + 6 * WINDOW_PAGES];
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_ARRAY,
			       .key_size = 4,
			       .value_size = sizeof(struct window),
			       .max_entries = 1 };
	s->window = calloc(1, sizeof(*s->window));
	s->map = s->window ? bpf(BPF_MAP_CREATE, &map) : -1;
	if (s->map < 0)
		return -errno;
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
				.insns = (uint64_t)(uintptr_t)program,
				.insn_cnt = bpf_program(program, s->map, uid),
				.license = (uint64_t)(uintptr_t) "Dual BSD/GPL" };
	s->program = bpf(BPF_PROG_LOAD, &load);
	if (s->program < 0)
		return -errno;
	union bpf_attr attach = { 0 };
	attach.raw_tracepoint.name = (uint64_t)(uintptr_t) "sched_switch";
	attach.raw_tracepoint.prog_fd = (uint32_t)s->program;
	s->link = bpf(BPF_RAW_TRACEPOINT_OPEN, &attach);
	return s->link < 0 ? -errno : 0;
}

/* Point the window at ADDRESS and wait until the program has looked through it. */
static int spy_look(struct spy *s, const struct victim *v, uint64_t address)
{
	uint32_t key = 0;
	union bpf_attr a = { .map_fd = (uint32_t)s->map, .key = (uint64_t)(uintptr_t)&key };
	a.value = (uint64_t)(uintptr_t)s->window;
	s->window->address = address;
	s->window->done = 0;
	if (bpf(BPF_MAP_UPDATE_ELEM, &a) < 0)
		return 0;
	for (int i = 0; i < 3; i++) {
		poke(v);
		if (bpf(BPF_MAP_LOOKUP_ELEM, &a) == 0 && s->window->done)
			return 1;
	}
	return 0;
}

ATTACK(bpf_read)
{
	struct spy s CLEANUP(spy_done) = { -1, -1, -1, NULL };
	struct map_list maps = { 0 };
	size_t windows = 0;
	int rc = spy_open(&s, v->uid);
	if (rc < 0) {
		find_closed(out, "bpf: %s", err_text(rc));
		return;
	}
	maps_read(v->worker, &maps);
	for (size_t m = 0; m < maps.n; m++) {
		const struct map *map = &maps.of[m];
		if (!(map->flags & CAN_WRITE) || map->end - map->start > 64UL << 20)
			continue;
		for (uint64_t at = map->start; at < map->end && out->outcome == OUTCOME_CLOSED;
		     at += WINDOW_PAGES * PAGE) {
			windows += (size_t)spy_look(&s, v, at);
			find_canary(v, s.window->bytes, sizeof(s.window->bytes),
				    "what a BPF program read", out);
		}
	}
	map_list_done(&maps);
	find_closed(out, "%zu windows of %lu kB read, no canary", windows,
		    WINDOW_PAGES * PAGE / 1024);
}

/* ---- What loads code into the kernel, or shows its memory ----------------------------------- */

/* The lockdown mode in brackets, or "none". */
static const char *lockdown(char mode[static 32])
{
	char text[128] = "";
	CLEANUP_FD int fd = open("/sys/kernel/security/lockdown", O_RDONLY | O_CLOEXEC);
	char *open_bracket = NULL;
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		open_bracket = strchr(text, '[');
	snprintf(mode, 32, "none");
	if (open_bracket && strchr(open_bracket, ']')) {
		*strchr(open_bracket, ']') = '\0';
		snprintf(mode, 32, "%s", open_bracket + 1);
	}
	return mode;
}

ATTACK(kcore)
{
	char mode[32];
	static const char *const PATHS[] = { "/proc/kcore", "/dev/mem" };
	(void)v;
	for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
		CLEANUP_FD int fd = open(PATHS[i], O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			find_open(out, "%s can be opened; what it shows was not looked through",
				  PATHS[i]);
	}
	find_closed(out, "neither can be opened; lockdown: %s", lockdown(mode));
}

ATTACK(modules)
{
	char mode[32];
	(void)v;
	if (access("/proc/modules", F_OK) < 0)
		find_closed(out, "this kernel loads no modules");
	else if (number_in("/proc/sys/kernel/modules_disabled") == 1)
		find_closed(out, "kernel.modules_disabled is 1");
	else if (strcmp(lockdown(mode), "none") != 0)
		find_closed(out, "only signed ones; lockdown: %s", mode);
	else
		find_open(out, "root may load modules");
}

ATTACK(kprobes)
{
	char mode[32];
	(void)v;
	if (number_in("/sys/bus/event_source/devices/kprobe/type") < 0)
		find_closed(out, "this kernel has no kprobes");
	else if (strcmp(lockdown(mode), "confidentiality") == 0)
		find_closed(out, "lockdown: %s", mode);
	else
		find_open(out, "root may set kprobes; lockdown: %s", mode);
}

ATTACK(kexec)
{
	char mode[32];
	(void)v;
	long disabled = number_in("/proc/sys/kernel/kexec_load_disabled");
	if (disabled < 0)
		find_closed(out, "this kernel has no kexec");
	else if (disabled == 1 && number_in("/sys/kernel/kexec_crash_loaded") != 1)
		find_closed(out, "kernel.kexec_load_disabled is 1, and no crash kernel is loaded");
	else if (strcmp(lockdown(mode), "none") != 0)
		find_closed(out, "only signed kernels; lockdown: %s", mode);
	else
		find_open(out, "root may load another kernel, or have this one's memory dumped");
}
