/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Proves the system call tables: the BPF that the kernel would get is run here over (system call,
 * arguments), for every row, for every row with one condition broken, and for every system call
 * number without a row; then the calls that matter most are made for real in children under the
 * filter.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "sandbox/filter.h"
#include "sandbox/phases.h"

#define PROGRAM_MAX  4096
#define SYSCALL_LAST 1024

struct program {
	struct sock_filter insns[PROGRAM_MAX];
	size_t n;
};

static void load_program(const struct filter *filter, struct program *p)
{
	struct fault f = { 0 };
	int fd = memfd_create("bpf", MFD_CLOEXEC);
	assert_true(fd >= 0);
	if (filter_export(filter, fd, &f) < 0)
		fail_msg("%s", f.text);
	ssize_t got = pread(fd, p->insns, sizeof(p->insns), 0);
	close(fd);
	assert_true(got > 0 && (size_t)got < sizeof(p->insns));
	assert_int_equal((size_t)got % sizeof(p->insns[0]), 0);
	p->n = (size_t)got / sizeof(p->insns[0]);
}

/* Classic BPF as far as seccomp(2) takes it. */
static uint32_t run_program(const struct program *p, const struct seccomp_data *data)
{
	uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = { 0 };
	for (size_t pc = 0; pc < p->n; pc++) {
		const struct sock_filter *i = &p->insns[pc];
		uint32_t operand = BPF_SRC(i->code) == BPF_X ? x : i->k;
		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(i->k % 4 == 0 && i->k + 4 <= sizeof(*data));
			memcpy(&a, (const char *)data + i->k, 4);
			break;
		case BPF_LD | BPF_MEM:
			a = mem[i->k];
			break;
		case BPF_ST:
			mem[i->k] = a;
			break;
		case BPF_ALU | BPF_AND | BPF_K:
		case BPF_ALU | BPF_AND | BPF_X:
			a &= operand;
			break;
		case BPF_MISC | BPF_TAX:
			x = a;
			break;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
		case BPF_JMP | BPF_JEQ | BPF_X:
			pc += a == operand ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			pc += a > operand ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= operand ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			pc += a & operand ? i->jt : i->jf;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			fail_msg("instruction %zu has code %#x, which this simulation lacks", pc,
				 i->code);
		}
	}
	fail_msg("the program ran past its end");
	return 0;
}

static uint32_t verdict(const struct program *p, uint32_t arch, int nr, const uint64_t args[6])
{
	struct seccomp_data data = { .nr = nr, .arch = arch };
	for (int i = 0; i < 6; i++)
		data.args[i] = args[i];
	return run_program(p, &data);
}

/* Row R of FILTER and of those it includes; NULL behind the last. */
static const struct filter_row *row_at(const struct filter *filter, size_t r)
{
	for (; filter; filter = filter->also) {
		if (r < filter->n_rows)
			return &filter->rows[r];
		r -= filter->n_rows;
	}
	return NULL;
}

/* What the table says, read directly. */
static uint32_t table_says(const struct filter *filter, int nr, const uint64_t args[6])
{
	for (size_t i = 0; i < filter->n_rows; i++) {
		const struct filter_row *row = &filter->rows[i];
		int all = row->syscall == nr;
		for (size_t c = 0; all && c < FILTER_CONDITIONS_MAX && row->conditions[c].op; c++) {
			const struct filter_condition *cond = &row->conditions[c];
			uint64_t v = args[cond->arg];
			all = cond->op == SCMP_CMP_EQ ? v == cond->a : (v & cond->a) == cond->b;
		}
		if (all)
			return row->error ? SECCOMP_RET_ERRNO | (uint32_t)row->error
					  : SECCOMP_RET_ALLOW;
	}
	return filter->also ? table_says(filter->also, nr, args) : SECCOMP_RET_KILL_PROCESS;
}

static void assert_as_table(const struct filter *filter, const struct program *p, int nr,
			    const uint64_t args[6])
{
	uint32_t want = table_says(filter, nr, args);
	uint32_t got = verdict(p, AUDIT_ARCH_X86_64, nr, args);
	if (got != want)
		fail_msg("%s: system call %d (%#lx %#lx %#lx %#lx): %#x instead of %#x",
			 filter->name, nr, args[0], args[1], args[2], args[3], got, want);
}

/* Arguments that meet ROW, everything a row says nothing about being FILL. */
static void meet(const struct filter_row *row, uint64_t fill, uint64_t args[6])
{
	for (int i = 0; i < 6; i++)
		args[i] = fill;
	for (size_t c = 0; c < FILTER_CONDITIONS_MAX && row->conditions[c].op; c++) {
		const struct filter_condition *cond = &row->conditions[c];
		if (cond->op == SCMP_CMP_EQ)
			args[cond->arg] = cond->a;
		else
			args[cond->arg] = (args[cond->arg] & ~cond->a) | cond->b;
	}
}

static void simulate(const struct filter *filter)
{
	static const uint64_t FILLS[] = { 0, 1, UINT64_MAX, 0x7fffffff };
	struct program p;
	load_program(filter, &p);
	const struct filter_row *row;
	for (size_t r = 0; (row = row_at(filter, r)); r++) {
		for (size_t i = 0; i < sizeof(FILLS) / sizeof(FILLS[0]); i++) {
			uint64_t args[6];
			meet(row, FILLS[i], args);
			assert_int_not_equal(table_says(filter, row->syscall, args),
					     SECCOMP_RET_KILL_PROCESS);
			assert_as_table(filter, &p, row->syscall, args);
			/* Another architecture and x32 number their calls otherwise. */
			assert_int_equal(verdict(&p, AUDIT_ARCH_I386, row->syscall, args),
					 SECCOMP_RET_KILL_PROCESS);
			assert_int_equal(
				verdict(&p, AUDIT_ARCH_X86_64, row->syscall | 0x40000000, args),
				SECCOMP_RET_KILL_PROCESS);
			for (size_t c = 0; c < FILTER_CONDITIONS_MAX && row->conditions[c].op;
			     c++) {
				unsigned int arg = row->conditions[c].arg;
				uint64_t good = args[arg];
				/* Every single bit of every argument that a condition looks at. */
				for (int bit = 0; bit < 64; bit++) {
					args[arg] = good ^ (1ULL << bit);
					assert_as_table(filter, &p, row->syscall, args);
				}
				args[arg] = good;
			}
		}
	}
	for (int nr = 0; nr <= SYSCALL_LAST; nr++) {
		const uint64_t zero[6] = { 0 };
		const uint64_t ones[6] = { ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL };
		assert_as_table(filter, &p, nr, zero);
		assert_as_table(filter, &p, nr, ones);
	}
}

static void test_simulated_worker(void **state)
{
	(void)state;
	simulate(&filter_worker);
}

static void test_simulated_guard(void **state)
{
	(void)state;
	simulate(&filter_guard);
}

static void test_simulated_swtpm(void **state)
{
	(void)state;
	simulate(&filter_swtpm);
}

static void test_simulated_broker(void **state)
{
	(void)state;
	simulate(&filter_broker);
}

static void test_simulated_guardian(void **state)
{
	(void)state;
	simulate(&filter_front);
	simulate(&filter_keeper);
	simulate(&filter_keeper_postgres);
	simulate(&filter_keys);
	simulate(&filter_verifier);
}

/* shieldvm-swtpm has swtpm's manners, and a broker takes its listeners' names away.  Worker and
 * guard let each other go on, and cannot even tell the other which signal to take. */
static int is_exception(const struct filter *filter, const struct filter_row *row)
{
	const struct filter_condition *c = row->conditions;
	/* SQLite opens its database's log and removes it; Landlock says where. */
	if (filter == &filter_keeper)
		return row->syscall == SCMP_SYS(openat) || row->syscall == SCMP_SYS(unlink);
	/* libpq connects anew, and reads its password and certificates for that; nothing is made.
	 */
	if (filter == &filter_keeper_postgres) {
		if (row->syscall == SCMP_SYS(openat))
			return c[0].op == SCMP_CMP_MASKED_EQ && c[0].arg == 2 && c[0].b == 0 &&
			       (~c[0].a & (O_ACCMODE | O_CREAT | O_TRUNC)) == 0;
		if (row->syscall == SCMP_SYS(socket))
			return c[0].op == SCMP_CMP_EQ && c[0].arg == 0 &&
			       (c[0].a == AF_UNIX || c[0].a == AF_INET || c[0].a == AF_INET6) &&
			       c[1].op == SCMP_CMP_MASKED_EQ && c[1].arg == 1 && c[1].a == 0xf &&
			       c[1].b == SOCK_STREAM && c[2].op == SCMP_CMP_EQ && c[2].arg == 2 &&
			       c[2].a == 0;
		return row->syscall == SCMP_SYS(connect) && c[0].op == SCMP_CMP_EQ && c[0].arg == 2;
	}
	/* An HSM's module has its own files and connections; it makes no file. */
	if (filter == &filter_keys) {
		if (row->error)
			return 1;
		if (row->syscall == SCMP_SYS(openat))
			return c[0].op == SCMP_CMP_MASKED_EQ && c[0].arg == 2 && c[0].b == 0 &&
			       (~c[0].a & (O_CREAT | O_TRUNC)) == 0;
		if (row->syscall == SCMP_SYS(socket))
			return c[0].op == SCMP_CMP_EQ && c[0].arg == 0 &&
			       (c[0].a == AF_UNIX || c[0].a == AF_INET || c[0].a == AF_INET6) &&
			       c[1].op == SCMP_CMP_MASKED_EQ && c[1].arg == 1 && c[1].a == 0xf &&
			       c[1].b == SOCK_STREAM;
		return row->syscall == SCMP_SYS(connect) && c[0].op == SCMP_CMP_EQ && c[0].arg == 2;
	}
	/* How many bytes are there. */
	if (filter == &filter_front)
		return row->syscall == SCMP_SYS(ioctl) && c[0].op == SCMP_CMP_EQ && c[0].arg == 1 &&
		       c[0].a == FIONREAD;
	if (row->syscall == SCMP_SYS(unlink))
		return filter == &filter_swtpm || filter == &filter_broker;
	if (row->syscall == SCMP_SYS(socketpair)) /* without a name, to hand one end to QEMU */
		return filter != &filter_broker && filter != &filter_guard;
	/* To a listener of its own, in an empty network and without files: a name that the kernel
	 * gave, which has this length. */
	if (filter == &filter_worker && row->syscall == SCMP_SYS(socket))
		return c[0].op == SCMP_CMP_EQ && c[0].a == AF_UNIX && c[1].op == SCMP_CMP_EQ &&
		       c[1].a == (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (filter == &filter_worker && row->syscall == SCMP_SYS(connect))
		return c[0].op == SCMP_CMP_EQ && c[0].arg == 2 && c[0].a == 8;
	/* For its worker, at the address that libvirt names: TCP, or a name in its root, which is
	 * the VM's folder for that; and a bounded queue. */
	if (row->syscall == SCMP_SYS(connect))
		return filter == &filter_broker && c[0].op == SCMP_CMP_EQ && c[0].arg == 2 &&
		       (c[0].a == sizeof(struct sockaddr_in) ||
			c[0].a == sizeof(struct sockaddr_in6) ||
			c[0].a == sizeof(struct sockaddr_un));
	if (row->syscall == SCMP_SYS(socket))
		return filter == &filter_broker && c[0].op == SCMP_CMP_EQ &&
		       (c[0].a == AF_INET || c[0].a == AF_INET6 || c[0].a == AF_UNIX) &&
		       c[1].op == SCMP_CMP_EQ &&
		       c[1].a == (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK) &&
		       c[2].op == SCMP_CMP_EQ && c[2].a == (c[0].a == AF_UNIX ? 0 : IPPROTO_TCP);
	if (row->syscall == SCMP_SYS(bind))
		return filter == &filter_broker && c[0].op == SCMP_CMP_EQ && c[0].arg == 2 &&
		       (c[0].a == sizeof(struct sockaddr_in) ||
			c[0].a == sizeof(struct sockaddr_in6) ||
			c[0].a == sizeof(struct sockaddr_un));
	if (row->syscall == SCMP_SYS(listen))
		return filter == &filter_broker && c[0].op == SCMP_CMP_EQ && c[0].a <= 64;
	return row->syscall == SCMP_SYS(ptrace) &&
	       (filter == &filter_worker || filter == &filter_guard) && c[0].op == SCMP_CMP_EQ &&
	       c[0].arg == 0 && c[0].a == PTRACE_CONT && c[1].op == SCMP_CMP_EQ && c[1].arg == 3 &&
	       c[1].a == 0;
}

/* No table may ever hold these, whatever its other rows say. */
static void test_never(void **state)
{
	static const int NEVER[] = {
		SCMP_SYS(execve),
		SCMP_SYS(execveat),
		SCMP_SYS(fork),
		SCMP_SYS(vfork),
		SCMP_SYS(clone),
		SCMP_SYS(clone3),
		SCMP_SYS(ptrace),
		SCMP_SYS(process_vm_readv),
		SCMP_SYS(process_vm_writev),
		SCMP_SYS(open),
		SCMP_SYS(openat),
		SCMP_SYS(openat2),
		SCMP_SYS(creat),
		SCMP_SYS(socket),
		SCMP_SYS(socketpair),
		SCMP_SYS(connect),
		SCMP_SYS(bind),
		SCMP_SYS(listen),
		SCMP_SYS(mount),
		SCMP_SYS(setns),
		SCMP_SYS(unshare),
		SCMP_SYS(pivot_root),
		SCMP_SYS(chroot),
		SCMP_SYS(setuid),
		SCMP_SYS(setresuid),
		SCMP_SYS(setgid),
		SCMP_SYS(capset),
		SCMP_SYS(prctl),
		SCMP_SYS(seccomp),
		SCMP_SYS(bpf),
		SCMP_SYS(kill),
		SCMP_SYS(tkill),
		SCMP_SYS(rt_sigqueueinfo),
		SCMP_SYS(memfd_create),
		SCMP_SYS(userfaultfd),
		SCMP_SYS(io_uring_setup),
		SCMP_SYS(perf_event_open),
		SCMP_SYS(keyctl),
		SCMP_SYS(add_key),
		SCMP_SYS(ioctl),
		SCMP_SYS(pidfd_getfd),
		SCMP_SYS(init_module),
		SCMP_SYS(kexec_load),
		SCMP_SYS(unlink),
		SCMP_SYS(unlinkat),
		SCMP_SYS(chmod),
		SCMP_SYS(fchmodat),
		SCMP_SYS(link),
		SCMP_SYS(linkat),
		SCMP_SYS(symlink),
		SCMP_SYS(symlinkat),
		SCMP_SYS(mknod),
		SCMP_SYS(mknodat),
		SCMP_SYS(mkdir),
		SCMP_SYS(mkdirat),
		SCMP_SYS(rename),
		SCMP_SYS(renameat),
		SCMP_SYS(chdir),
		SCMP_SYS(fchdir),
		SCMP_SYS(pkey_mprotect),
	};
	static const struct filter *const FILTERS[] = { &filter_worker,	  &filter_broker,
							&filter_guard,	  &filter_swtpm,
							&filter_front,	  &filter_keeper,
							&filter_verifier, &filter_keeper_postgres,
							&filter_keys };
	(void)state;
	const struct filter_row *row;
	for (size_t f = 0; f < sizeof(FILTERS) / sizeof(FILTERS[0]); f++)
		for (size_t i = 0; i < sizeof(NEVER) / sizeof(NEVER[0]); i++)
			for (size_t r = 0; (row = row_at(FILTERS[f], r)); r++) {
				if (!is_exception(FILTERS[f], row))
					assert_int_not_equal(row->syscall, NEVER[i]);
			}
}

/* Every row says why, and no row is there twice. */
static void test_rows_are_sane(void **state)
{
	static const struct filter *const FILTERS[] = { &filter_worker,	  &filter_broker,
							&filter_guard,	  &filter_swtpm,
							&filter_front,	  &filter_keeper,
							&filter_verifier, &filter_keeper_postgres,
							&filter_keys };
	(void)state;
	for (size_t f = 0; f < sizeof(FILTERS) / sizeof(FILTERS[0]); f++) {
		const struct filter_row *row;
		for (size_t r = 0; (row = row_at(FILTERS[f], r)); r++) {
			assert_true(row->syscall >= 0);
			assert_true(row->reason && strlen(row->reason) > 3);
			for (size_t o = 0; o < r; o++) {
				const struct filter_row *other = row_at(FILTERS[f], o);
				if (other->syscall != row->syscall)
					continue;
				assert_true(row->conditions[0].op && other->conditions[0].op);
				assert_memory_not_equal(row->conditions, other->conditions,
							sizeof(row->conditions));
			}
		}
	}
}

struct live {
	const char *what;
	long nr;
	long args[6];
	int lives;
};

/* Make the call for real in a child under FILTER; its wait status. */
static int try_call(const struct filter *filter, const struct live *c)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct fault f = { 0 };
		alarm(20);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || filter_load(filter, &f) < 0)
			_exit(99);
		syscall(c->nr, c->args[0], c->args[1], c->args[2], c->args[3], c->args[4],
			c->args[5]);
		syscall(SYS_exit_group, 0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void try_calls(const struct filter *filter, const struct live *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int status = try_call(filter, &calls[i]);
		int lived = WIFEXITED(status) && WEXITSTATUS(status) == 0;
		int killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
		if (!lived && !killed)
			fail_msg("%s: %s: wait status %#x", filter->name, calls[i].what, status);
		if (lived != calls[i].lives)
			fail_msg("%s: %s %s", filter->name, calls[i].what,
				 lived ? "lives" : "is killed");
	}
}

#define RWX	     (PROT_READ | PROT_WRITE | PROT_EXEC)
#define PRIVATE_ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define PAIR	     (SOCK_STREAM | SOCK_CLOEXEC)

static void test_live(void **state)
{
	(void)state;
	const struct live both[] = {
		{ "openat", SYS_openat, { AT_FDCWD, (long)"/dev/null", O_RDONLY }, 0 },
		{ "open", SYS_open, { (long)"/dev/null", O_RDONLY }, 0 },
		{ "socket", SYS_socket, { AF_UNIX, SOCK_STREAM, 0 }, 0 },
		{ "execve", SYS_execve, { (long)"/bin/true", 0, 0 }, 0 },
		{ "ptrace", SYS_ptrace, { 0, 0, 0, 0 }, 0 },
		{ "fork", SYS_fork, { 0 }, 0 },
		{ "clone", SYS_clone, { SIGCHLD }, 0 },
		{ "kill", SYS_kill, { 1, 0 }, 0 },
		{ "prctl", SYS_prctl, { PR_GET_DUMPABLE }, 0 },
		{ "mmap executable", SYS_mmap, { 0, 4096, RWX, PRIVATE_ANON, -1, 0 }, 0 },
		{ "mmap of a file", SYS_mmap, { 0, 4096, PROT_READ, MAP_PRIVATE, 0, 0 }, 0 },
		{ "getpid", SYS_getpid, { 0 }, 1 },
		{ "write", SYS_write, { -1, 0, 0 }, 1 },
		{ "no such call", 511, { 0 }, 0 },
		{ "ptrace seize", SYS_ptrace, { PTRACE_SEIZE, 1 }, 0 },
		{ "ptrace peek", SYS_ptrace, { PTRACE_PEEKDATA, 1 }, 0 },
		{ "ptrace cont with a signal", SYS_ptrace, { PTRACE_CONT, 1, 0, SIGKILL }, 0 },
	};
	const struct live guard[] = {
		{ "ptrace cont", SYS_ptrace, { PTRACE_CONT, -1, 0, 0 }, 1 },
		{ "ptrace cont with a signal", SYS_ptrace, { PTRACE_CONT, -1, 0, SIGTERM }, 0 },
		{ "ptrace detach", SYS_ptrace, { PTRACE_DETACH, -1, 0, 0 }, 0 },
		{ "wait4", SYS_wait4, { -1, 0, __WALL, 0 }, 1 },
		{ "read", SYS_read, { -1, 0, 0 }, 0 },
		{ "recvmsg", SYS_recvmsg, { -1, 0, 0 }, 0 },
		{ "openat", SYS_openat, { AT_FDCWD, (long)"/dev/null", O_RDONLY }, 0 },
		{ "mmap", SYS_mmap, { 0, 4096, PROT_READ | PROT_WRITE, PRIVATE_ANON, -1, 0 }, 0 },
		{ "kill", SYS_kill, { 1, 0 }, 0 },
		{ "write", SYS_write, { -1, 0, 0 }, 1 },
	};
	const struct live worker[] = {
		{ "ptrace cont", SYS_ptrace, { PTRACE_CONT, -1, 0, 0 }, 1 },
		{ "wait4", SYS_wait4, { -1, 0, WNOHANG | __WALL, 0 }, 1 },
		{ "wait4 that waits", SYS_wait4, { -1, 0, __WALL, 0 }, 0 },
		{ "mmap", SYS_mmap, { 0, 4096, PROT_READ | PROT_WRITE, PRIVATE_ANON, -1, 0 }, 1 },
		{ "read", SYS_read, { -1, 0, 0 }, 1 },
		{ "pipe2", SYS_pipe2, { 0, O_CLOEXEC }, 1 },
		{ "pipe2 that a program could inherit", SYS_pipe2, { 0, 0 }, 0 },
		{ "socketpair", SYS_socketpair, { AF_UNIX, PAIR, 0, 0 }, 1 },
		{ "socketpair that a program could inherit",
		  SYS_socketpair,
		  { AF_UNIX, SOCK_STREAM, 0, 0 },
		  0 },
		{ "socketpair of packets",
		  SYS_socketpair,
		  { AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0 },
		  0 },
		{ "socketpair elsewhere", SYS_socketpair, { AF_TIPC, PAIR, 0, 0 }, 0 },
		{ "socket", SYS_socket, { AF_UNIX, PAIR, 0 }, 0 },
		{ "setsockopt SO_SNDBUF", SYS_setsockopt, { -1, SOL_SOCKET, SO_SNDBUF }, 1 },
		{ "setsockopt SO_PASSCRED", SYS_setsockopt, { -1, SOL_SOCKET, SO_PASSCRED }, 0 },
		{ "setsockopt elsewhere", SYS_setsockopt, { -1, IPPROTO_TCP, SO_SNDBUF }, 0 },
		{ "fcntl F_SETPIPE_SZ", SYS_fcntl, { -1, F_SETPIPE_SZ, 4096 }, 1 },
		{ "fcntl F_DUPFD_CLOEXEC", SYS_fcntl, { -1, F_DUPFD_CLOEXEC, 3 }, 1 },
		{ "fcntl F_DUPFD", SYS_fcntl, { -1, F_DUPFD, 3 }, 0 },
		{ "mprotect executable", SYS_mprotect, { 0, 4096, RWX }, 0 },
		{ "mprotect", SYS_mprotect, { 0, 4096, PROT_READ }, 1 },
		{ "renameat2 over", SYS_renameat2, { -1, (long)"a", -1, (long)"b", 0 }, 0 },
		{ "renameat2 swap", SYS_renameat2, { -1, (long)"a", -1, (long)"b", 2 }, 1 },
		{ "accept4", SYS_accept4, { -1, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK }, 1 },
		{ "accept4 blocking", SYS_accept4, { -1, 0, 0, SOCK_CLOEXEC }, 0 },
		{ "pidfd_send_signal", SYS_pidfd_send_signal, { -1, SIGKILL, 0, 0 }, 0 },
		{ "fcntl F_SETOWN", SYS_fcntl, { -1, F_SETOWN, 1 }, 0 },
		{ "fcntl O_ASYNC", SYS_fcntl, { -1, F_SETFL, O_ASYNC }, 0 },
		{ "fcntl O_NONBLOCK", SYS_fcntl, { -1, F_SETFL, O_NONBLOCK }, 1 },
		{ "tgkill SIGKILL", SYS_tgkill, { 1, 1, SIGKILL }, 0 },
		{ "sendto", SYS_sendto, { -1, 0, 0, 0, 0, 0 }, 1 },
		{ "sendto with an address", SYS_sendto, { -1, 0, 0, 0, 1, 110 }, 0 },
		{ "getrandom", SYS_getrandom, { 0, 0, 0 }, 1 },
	};
	const struct live broker[] = {
		{ "accept4", SYS_accept4, { -1, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK }, 1 },
		{ "pidfd_send_signal KILL", SYS_pidfd_send_signal, { -1, SIGKILL, 0, 0 }, 1 },
		{ "pidfd_send_signal STOP", SYS_pidfd_send_signal, { -1, SIGSTOP, 0, 0 }, 0 },
		{ "mmap", SYS_mmap, { 0, 4096, PROT_READ | PROT_WRITE, PRIVATE_ANON, -1, 0 }, 0 },
		{ "mprotect", SYS_mprotect, { 0, 4096, PROT_READ }, 0 },
		{ "tgkill SIGABRT", SYS_tgkill, { 1, 1, SIGABRT }, 0 },
		{ "renameat2 swap", SYS_renameat2, { -1, (long)"a", -1, (long)"b", 2 }, 0 },
		{ "pwrite64", SYS_pwrite64, { -1, 0, 0, 0 }, 1 },
		{ "ftruncate", SYS_ftruncate, { -1, 0, 0, 0 }, 0 },
		{ "flock", SYS_flock, { -1, LOCK_EX | LOCK_NB }, 1 },
		{ "flock that waits", SYS_flock, { -1, LOCK_EX }, 0 },
		{ "fcntl", SYS_fcntl, { -1, F_SETFL, 0 }, 0 },
		{ "connect to a name", SYS_connect, { -1, 0, sizeof(struct sockaddr_un) }, 1 },
		{ "connect to a short name", SYS_connect, { -1, 0, 12 }, 0 },
		{ "bind to a name", SYS_bind, { -1, 0, sizeof(struct sockaddr_un) }, 1 },
		{ "bind to a short name", SYS_bind, { -1, 0, 12 }, 0 },
		{ "bind to any name", SYS_bind, { -1, 0, sizeof(sa_family_t) }, 0 },
		{ "lstat", SYS_newfstatat, { -1, 0, 0, AT_SYMLINK_NOFOLLOW }, 1 },
		{ "stat", SYS_newfstatat, { -1, 0, 0, 0 }, 0 },
		{ "unlink", SYS_unlink, { 0 }, 1 },
		{ "unlinkat", SYS_unlinkat, { -1, 0, 0 }, 0 },
	};
	try_calls(&filter_worker, both, sizeof(both) / sizeof(both[0]));
	try_calls(&filter_broker, both, sizeof(both) / sizeof(both[0]));
	try_calls(&filter_worker, worker, sizeof(worker) / sizeof(worker[0]));
	try_calls(&filter_guard, guard, sizeof(guard) / sizeof(guard[0]));
	try_calls(&filter_broker, broker, sizeof(broker) / sizeof(broker[0]));
}

/* What programs do all the time must not be what the filter forbids: a log line, a fault. */
static void test_logging_lives(void **state)
{
	static const struct filter *const FILTERS[] = { &filter_worker,	  &filter_broker,
							&filter_guard,	  &filter_swtpm,
							&filter_front,	  &filter_keeper,
							&filter_verifier, &filter_keeper_postgres,
							&filter_keys };
	(void)state;
	for (size_t i = 0; i < sizeof(FILTERS) / sizeof(FILTERS[0]); i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct fault f = { 0 };
			alarm(20);
			log_open(open("/dev/null", O_WRONLY), "test", LOG_LEVEL_INFO);
			if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
			    filter_load(FILTERS[i], &f) < 0)
				_exit(99);
			log_info("%s", err_text(fault_set(&f, -EACCES, "a %d", 1)));
			_exit(0);
		}
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simulated_worker),   cmocka_unit_test(test_simulated_broker),
		cmocka_unit_test(test_simulated_guardian), cmocka_unit_test(test_simulated_guard),
		cmocka_unit_test(test_simulated_swtpm),	   cmocka_unit_test(test_never),
		cmocka_unit_test(test_rows_are_sane),	   cmocka_unit_test(test_live),
		cmocka_unit_test(test_logging_lives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
