# SPDX-License-Identifier: BSD-3-Clause
"""neighbours.py A B: as the uid of VM A's worker, outside of every filter and namespace of its own,
everything that one process can do to another, to each process of VM B. What is refused there is
also tried on a process of the same uid that does not protect itself, where it must work: so a
refusal is the protection's, not the attempt's.
"""
import ctypes
import errno
import glob
import os
import socket
import struct
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
REFUSED = {errno.EPERM, errno.EACCES, errno.ESRCH}
NR = {"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
      "move_pages": 279, "sched_setscheduler": 144, "sched_setaffinity": 203, "setpriority": 141,
      "ioprio_set": 251, "prlimit64": 302, "get_robust_list": 274, "pidfd_open": 434,
      "pidfd_send_signal": 424, "pidfd_getfd": 438, "setns": 308, "process_madvise": 440,
      "perf_event_open": 298, "rt_sigqueueinfo": 129, "kill": 62, "tgkill": 234}
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206
SIGCONT = 18


def call(name, *args):
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    got = libc.syscall(ctypes.c_long(NR[name]), *args)
    if got < 0:
        raise OSError(ctypes.get_errno(), name)
    return got


def vm(pid, name):
    """A byte at the beginning of its memory; the address is root's to know."""
    byte = ctypes.create_string_buffer(1)
    here = (ctypes.c_ulong * 2)(ctypes.addressof(byte), 1)
    there = (ctypes.c_ulong * 2)(ADDRESS[pid], 1)
    return call(name, pid, here, 1, there, 1, 0)


def trace(pid, request):
    call("ptrace", request, pid, 0, 0)
    if request == PTRACE_ATTACH:
        os.waitpid(pid, 0x40000000)
        call("ptrace", PTRACE_DETACH, pid, 0, 0)


def by_pidfd(name, *args):
    def attempt(pid):
        fd = call("pidfd_open", pid, 0)
        try:
            return call(name, fd, *args)
        finally:
            os.close(fd)
    return attempt


def reads(what):
    def attempt(pid):
        path = f"/proc/{pid}/{what}"
        if what == "mem":
            with open(path, "rb", 0) as f:
                f.seek(ADDRESS[pid])
                f.read(1)
        elif what in ("fd", "map_files", "fdinfo"):
            os.listdir(path)
        elif what.startswith("ns/") or what in ("root", "cwd", "exe"):
            os.readlink(path)
        else:
            with open(path, "rb") as f:
                f.read(1)
    return attempt


def perf(pid):
    os.close(call("perf_event_open", struct.pack("=IIQQQQQ", 1, 64, 1, 0, 0, 0, 3 << 5).ljust(64, b"\0"),
                  pid, -1, -1, 0))


def rlimit(pid):
    call("prlimit64", pid, 7, struct.pack("=QQ", 64, 64), 0)


def joins(pid):
    os.close(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY))


# What, how, and whether it works on a process of one's own that does not protect itself.
ON_PROCESS = [
    ("signal", lambda pid: call("kill", pid, 0), 1),
    ("signal to a thread", lambda pid: call("tgkill", pid, pid, SIGCONT), 1),
    ("queued signal", lambda pid: call("rt_sigqueueinfo", pid, SIGCONT, struct.pack("=iii", SIGCONT, 0, -1).ljust(
        128, b"\0")), 1),
    ("signal by pidfd", by_pidfd("pidfd_send_signal", SIGCONT, 0, 0), 1),
    ("its descriptors by pidfd", by_pidfd("pidfd_getfd", 0, 0), 1),
    ("ptrace attach", lambda pid: trace(pid, PTRACE_ATTACH), 1),
    ("ptrace seize", lambda pid: trace(pid, PTRACE_SEIZE), 1),
    ("process_vm_readv", lambda pid: vm(pid, "process_vm_readv"), 1),
    ("process_vm_writev", lambda pid: vm(pid, "process_vm_writev"), 1),
    ("kcmp", lambda pid: call("kcmp", os.getpid(), pid, 2, 0, 0), 1),
    ("move its pages", lambda pid: call("move_pages", pid, 0, 0, 0, 0, 0), 1),
    ("its robust list", lambda pid: call("get_robust_list", pid, ctypes.byref(ctypes.c_long()),
                                         ctypes.byref(ctypes.c_long())), 1),
    ("its limits", rlimit, 1),
    ("its scheduler", lambda pid: call("sched_setscheduler", pid, 3, struct.pack("=i", 0)), 1),
    ("its processors", lambda pid: call("sched_setaffinity", pid, 8, struct.pack("=Q", 1)), 1),
    ("its priority", lambda pid: call("setpriority", 0, pid, 19), 1),
    ("its disk priority", lambda pid: call("ioprio_set", 1, pid, 3 << 13), 1),
    ("perf", perf, 1),
    ("its namespaces", joins, 1),
] + [(f"/proc/PID/{what}", reads(what), 1) for what in (
    "mem", "maps", "smaps", "smaps_rollup", "pagemap", "numa_maps", "environ", "auxv", "fd", "fdinfo",
    "map_files", "io", "root", "cwd", "exe", "ns/net", "ns/mnt", "ns/pid", "ns/user", "personality")]
# Root's alone.
ON_PROCESS += [("/proc/PID/stack", reads("stack"), 0)]


def connects(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(path)


def opens(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags))


def on_files(b):
    run, state = f"/run/shieldvm/{b}", f"/var/lib/shieldvm/{b}"
    return [
        ("connect to its launch socket", lambda: connects(f"{run}/launch.sock")),
        ("connect to its control socket", lambda: connects(f"{run}/control.sock")),
        ("its lock", lambda: opens(f"{run}/lock", os.O_RDWR)),
        ("a file in its run folder", lambda: opens(f"{run}/x", os.O_RDWR | os.O_CREAT)),
        ("remove its socket", lambda: os.unlink(f"{run}/launch.sock")),
        ("its folder", lambda: os.listdir(state)),
        ("its state", lambda: opens(f"{state}/tpm2.state")),
        ("write its state", lambda: opens(f"{state}/tpm2.state", os.O_WRONLY)),
        ("remove its state", lambda: os.unlink(f"{state}/tpm2.state")),
        ("move its folder", lambda: os.rename(state, state + ".x")),
        ("its registry", lambda: opens(f"/var/lib/shieldvm/registry/{b}.json")),
        ("its log", lambda: opens(f"/var/log/shieldvm/{b}.log")),
        ("the audit log", lambda: opens("/var/log/shieldvm/audit.jsonl", os.O_WRONLY | os.O_APPEND)),
        ("the host's key", lambda: opens("/etc/shieldvm/host.jwk")),
    ]


ADDRESS = {}


def stack_of(pid):
    for line in open(f"/proc/{pid}/maps"):
        if "[stack]" in line:
            return int(line.split()[0].split("-")[1], 16) - 4096
    return 0


def attempt(function, *args):
    try:
        function(*args)
        return 0
    except OSError as e:
        return e.errno


def processes(uid):
    found = []
    for path in glob.glob("/proc/[0-9]*/status"):
        try:
            text = open(path).read()
        except OSError:
            continue
        if f"\nUid:\t{uid}\t" in text:
            found.append(int(path.split("/")[2]))
    return sorted(found)


def main():
    a, b = (os.stat(f"/var/lib/shieldvm/{name}").st_uid for name in sys.argv[1:])
    theirs = processes(b)
    if len(theirs) < 2:
        sys.exit(f"VM B has {len(theirs)} processes")
    plain = subprocess.Popen(["/usr/bin/sleep", "600"], user=a, group=a, extra_groups=[])
    # As it is when this uid executes a program: it can be traced. (exec has happened: Popen waits.)
    for pid in [plain.pid, *theirs]:
        ADDRESS[pid] = stack_of(pid)
    os.setgroups([])
    os.setresgid(a, a, a)
    os.setresuid(a, a, a)
    libc.prctl(4, 1, 0, 0, 0)
    bad = tried = 0
    for what, function, works in ON_PROCESS:
        control = attempt(function, plain.pid)
        if works and control:
            print(f"NOT OK {what}: does not even work on an unprotected process: {os.strerror(control)}")
            bad += 1
        for pid in theirs:
            got = attempt(function, pid)
            tried += 1
            if got not in REFUSED:
                print(f"NOT OK {what}, process {pid}: {os.strerror(got) if got else 'it works'}")
                bad += 1
        print(f"ok     {what}: {errno.errorcode.get(got)}")
    for what, function in on_files(sys.argv[2]):
        got = attempt(function)
        tried += 1
        if got not in REFUSED:
            print(f"NOT OK {what}: {os.strerror(got) if got else 'it works'}")
            bad += 1
        print(f"ok     {what}: {errno.errorcode.get(got)}")
    plain.kill()
    print(f"# {tried} attempts by uid {a} on VM B's processes {theirs} and files")
    sys.exit(bad > 0)


main()
