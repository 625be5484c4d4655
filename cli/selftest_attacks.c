/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is tried.  One row an attack; docs/ATTACKS.md has the same ids, and those of the attacks
 * that are no operator's business and run in tests/integration.
 */
#include "cli/selftest.h"

#define ROOT	 "root of the host"
#define QEMU	 "QEMU of the same VM"
#define OTHERS	 "QEMU of another VM, other local users"
#define RESIDUAL "residual paths"

#define SECRET	 "memfd_secret(2)"
#define LOCK	 "debug lock (PTRACE_O_EXITKILL, one tracer)"
#define KERNEL                                                                                     \
	"a kernel that gives what shieldvm status lists as missing: Linux 6.5 or newer, or "       \
	"secretmem.enable=1"
#define LSM                                                                                        \
	"an LSM policy that keeps root from it (SELinux: class perf_event, bpf), attested; "       \
	"lockdown does not"

const struct attack ATTACKS[] = {
	/* Memory. */
	{ "memory.proc-mem", AS_ROOT, "reads /proc/PID/mem", ROOT, SECRET, KERNEL, .decoy = 1,
	  .run = attack_proc_mem },
	{ "memory.process-vm", AS_ROOT, "process_vm_readv(2)", ROOT, SECRET, KERNEL, .decoy = 1,
	  .run = attack_process_vm },
	{ "memory.map-files", AS_ROOT, "opens and maps /proc/PID/map_files", ROOT, SECRET, KERNEL,
	  .run = attack_map_files },
	{ "memory.gcore", AS_ROOT, "gcore(1)", ROOT, LOCK, KERNEL, .decoy = 1,
	  .run = attack_gcore },
	{ "memory.core-dump", AS_ROOT, "each signal that dumps core, after raising the limit", ROOT,
	  "PR_SET_DUMPABLE 0, blocked signals", "see core(5): no piped or relative core_pattern",
	  .decoy = 1, .fresh = 1, .run = attack_core_dump },
	{ "memory.swap", AS_ROOT, "MADV_PAGEOUT from outside, and swap", ROOT, SECRET, KERNEL,
	  .run = attack_swap },
	{ "memory.merge", AS_ROOT, "KSM and huge pages", ROOT, SECRET, KERNEL, .run = attack_ksm },
	{ "memory.proc-environ", AS_ROOT, "environment, command line, auxiliary vector", ROOT,
	  "an empty environment at exec", "report it", .run = attack_proc_environ },
	{ "memory.proc-files", AS_ROOT, "every other file of /proc/PID and its threads", ROOT,
	  "no secret is in what the kernel tells", "report it", .run = attack_proc_files },

	/* Debuggers and descriptors. */
	{ "debug.attach", AS_ROOT, "PTRACE_ATTACH to every thread, PTRACE_PEEKDATA", ROOT, LOCK,
	  KERNEL, .decoy = 1, .run = attack_ptrace_attach },
	{ "debug.seize", AS_ROOT, "PTRACE_SEIZE of every thread", ROOT, LOCK, KERNEL, .decoy = 1,
	  .run = attack_ptrace_seize },
	{ "debug.inject", AS_ROOT, "sets the registers of a seized thread", ROOT, LOCK, KERNEL,
	  .decoy = 1, .run = attack_ptrace_inject },
	{ "debug.write", AS_ROOT, "writes the worker's code and data through /proc/PID/mem", ROOT,
	  "sealed memfd over the code, memfd_secret(2)", KERNEL, .decoy = 1,
	  .run = attack_write_memory },
	{ "debug.stop", AS_ROOT, "SIGSTOP and SIGCONT, one by one and in storms", ROOT,
	  "blocked signals, debug lock", "report it", .run = attack_stop_games },
	{ "debug.kill", AS_ROOT, "kills one process of the VM after the other", ROOT,
	  "EXITKILL, PR_SET_PDEATHSIG, the lifeline", "report it", .fresh = 1,
	  .run = attack_kill_one },
	{ "fd.pidfd-getfd", AS_ROOT, "takes every descriptor; maps, reads, peeks what is queued",
	  ROOT, "no descriptor of a secret is kept, none is queued", "report it", .decoy = 1,
	  .run = attack_pidfd_getfd },
	{ "fd.proc-fd", AS_ROOT, "opens /proc/PID/fd", ROOT, "what is written is sealed",
	  "report it", .decoy = 1, .run = attack_proc_fd },

	/* Through the kernel. */
	{ "kernel.uprobes", AS_ROOT, "breakpoints in functions that the worker calls", ROOT,
	  "shared sealed mappings: no uprobe goes there", KERNEL, .decoy = 1,
	  .run = attack_uprobes },
	{ "kernel.perf", AS_ROOT, "perf samples with the user's stack", RESIDUAL, "an LSM", LSM,
	  .residual = 1, .decoy = 1, .run = attack_perf_stack },
	{ "kernel.bpf", AS_ROOT, "a BPF program with bpf_probe_read_user()", RESIDUAL, "an LSM",
	  LSM, .residual = 1, .decoy = 1, .run = attack_bpf_read },
	{ "kernel.kcore", AS_ROOT, "opens /proc/kcore and /dev/mem", RESIDUAL,
	  "lockdown=confidentiality", "boot with lockdown=confidentiality", .residual = 1,
	  .run = attack_kcore },
	{ "kernel.modules", AS_ROOT, "may root load a module?", RESIDUAL,
	  "lockdown, modules_disabled", "boot with lockdown=confidentiality and signed modules",
	  .residual = 1, .run = attack_modules },
	{ "kernel.kprobes", AS_ROOT, "may root set kprobes?", RESIDUAL, "lockdown=confidentiality",
	  "boot with lockdown=confidentiality", .residual = 1, .run = attack_kprobes },
	{ "kernel.kexec", AS_ROOT, "may root load a kernel, or a crash kernel?", RESIDUAL,
	  "lockdown, kexec_load_disabled", "boot with lockdown=confidentiality", .residual = 1,
	  .run = attack_kexec },
	{ "guest.memory", AS_ROOT, "reads QEMU's memory", RESIDUAL, "SEV-SNP, TDX",
	  "a processor that encrypts guests' memory", .residual = 1, .run = attack_qemu_memory },
	{ "guest.in-flight", AS_ROOT, "peeks at a reply before the guest has it", RESIDUAL,
	  "parameter encryption by the guest",
	  "let the guest use encrypted sessions (systemd-cryptenroll and tpm2-tools can)",
	  .residual = 1, .run = attack_in_flight },

	/* Around a start. */
	{ "start.environment", AS_ROOT, "LD_*, GCONV_PATH, OPENSSL_* and others for the hook", ROOT,
	  "an empty environment at exec, a static launcher", "report it", .fresh = 1,
	  .run = attack_environment },
	{ "start.openssl-config", AS_ROOT, "a planted openssl.cnf that loads an engine", ROOT,
	  "OPENSSL_INIT_NO_LOAD_CONFIG", "report it", .fresh = 1, .run = attack_openssl_config },
	{ "start.links", AS_QEMU, "plants, links, moves and opens in /run and /var", OTHERS,
	  "folders of root's and of the VM's own uid", "shieldvm host init",
	  .run = attack_planted_links },
	{ "start.forged", AS_QEMU, "starts a worker with an order of its own", OTHERS,
	  "the host key is root's", "report it", .run = attack_forged_order },
	{ "start.control", AS_QEMU, "asks the broker what only root may", OTHERS,
	  "the control socket is root's", "report it", .run = attack_control_socket },
	{ "start.launcher", AS_QEMU, "launches the VM a second time", OTHERS,
	  "one launcher, in its time", "report it", .run = attack_second_launcher },
	{ "start.pid-reuse", AS_ROOT, "gives the launcher's process id to somebody else", OTHERS,
	  "pidfds (SO_PEERPIDFD)", "Linux 6.5 or newer", .fresh = 1, .run = attack_pid_reuse },

	/* While it runs. */
	{ "run.descriptors", AS_ROOT, "silent connections, descriptors with each request", QEMU,
	  "bounded clients; what nobody asked for is closed", "report it",
	  .run = attack_descriptors },
	{ "run.debug", AS_QEMU, "debugs, reads and signals the VM's processes", QEMU,
	  "an own uid, not dumpable", "report it", .run = attack_debug_as_qemu },
	{ "run.blobs", AS_QEMU, "takes the vTPM's state blobs", QEMU, "AES-256-GCM", "report it",
	  .run = attack_state_blobs },
	{ "run.other-vm", AS_QEMU, "reaches for another VM's worker", OTHERS,
	  "one launcher; an own uid per VM", "report it", .run = attack_other_vm },
	{ "run.junk", AS_QEMU, "random requests on the vTPM's channels", QEMU,
	  "framing before libtpms", "report it", .fresh = 1, .run = attack_junk },
};

const size_t N_ATTACKS = sizeof(ATTACKS) / sizeof(ATTACKS[0]);
