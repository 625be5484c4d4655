#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Drives a worker or broker that was taken over after sealing (tests/compromised) through
compromised_table.py, one process per attempt unless it survives, and says what came of each.

compromised.py worker|broker UUID OTHER   runs the table; OTHER is a VM that runs meanwhile
compromised.py link UUID                  what a taken-over worker may ask of its broker
compromised.py order UUID                 what a taken-over broker may tell its worker
compromised.py table FILE [check]         writes the tables into FILE, or says whether they are there
"""
import array, ctypes, errno, fcntl, glob, json, mmap, os, re, select, signal, socket, stat
import struct, subprocess, sys, time

import compromised_table as tables

PR_SET_CHILD_SUBREAPER = 36
BLOB = 4096
FORMAT = f"=QQ6Qq{BLOB}s"
SIZE = struct.calcsize(FORMAT)
KNOW, CALL, CALL_32, JUMP, POKE = 1, 2, 3, 4, 5
X32 = 0x40000000
OUT_AT = 3072
STATUS = {tables.DIES: [signal.SIGSYS], tables.CRASHES: [signal.SIGSEGV, signal.SIGKILL]}

CONSTANTS = {
    "AT_FDCWD": -100, "AT_SYMLINK_NOFOLLOW": 0x100, "AT_EMPTY_PATH": 0x1000, "RENAME_NOREPLACE": 1,
    "RENAME_EXCHANGE": 2, "RENAME_WHITEOUT": 4, "MAP_FIXED": 16, "MREMAP_MAYMOVE": 1,
    "MREMAP_FIXED": 2, "MADV_DODUMP": 17, "MADV_MERGEABLE": 12, "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWNS": 0x20000, "CLONE_NEWNET": 0x40000000, "PTRACE_TRACEME": 0, "PTRACE_ATTACH": 16,
    "PTRACE_SEIZE": 0x4206, "SECCOMP_SET_MODE_FILTER": 1, "F_SETOWN_EX": 15, "F_NOTIFY": 1026,
    "F_SETLEASE": 1024, "F_SETPIPE_SZ": 1031, "F_DUPFD": 0, "O_ASYNC": 0x2000, "O_CLOEXEC": 0x80000,
    "FIONREAD": 0x541B, "TIOCSTI": 0x5412, "TIOCLINUX": 0x541C, "SO_PEERPIDFD": 77,
    "SO_PEERCRED": 17, "SO_PEERSEC": 31, "SO_PASSCRED": 16, "LOCK_EX": 2,
    "PR_SET_DUMPABLE": 4, "PR_SET_PTRACER": 0x59616D61, "PR_SET_MM": 35, "PR_SET_NO_NEW_PRIVS": 38,
    "PR_SET_SECCOMP": 22, "PR_SET_PDEATHSIG": 1, "PR_CAP_AMBIENT": 47, "PR_SET_SECUREBITS": 28,
    "PR_SET_MDWE": 65,
}


def die(text):
    sys.exit(text)


# ---- System calls by name ------------------------------------------------------------------------

# Newer than some distributions' headers.
NEWER = {"map_shadow_stack": 453, "statmount": 457, "listmount": 458, "lsm_get_self_attr": 459,
         "lsm_set_self_attr": 460, "mseal": 462}


def numbers(header):
    found = {}
    for path in glob.glob(f"/usr/include/**/asm/{header}", recursive=True):
        for name, number in re.findall(r"#define __NR_(\w+)\s+\(?(?:__X32_SYSCALL_BIT \+ )?(\d+)",
                                       open(path).read()):
            found[name] = int(number)
    if not found:
        die(f"{header} is missing: the kernel's headers are not installed")
    return found


CALLS = {"": {**NEWER, **numbers("unistd_64.h")}, "i386_": numbers("unistd_32.h"),
         "x32_": numbers("unistd_x32.h")}


class Ended(Exception):
    """The process has ended, with this wait status of its broker's, or of itself."""


def subreap():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid):
    found = []
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            found += [int(p) for p in open(task).read().split()]
        except OSError:
            pass
    return found


def comm(pid):
    try:
        return open(f"/proc/{pid}/comm").read().strip()
    except OSError:
        return ""


def hook(operation, xml):
    with open(xml) as f:
        p = subprocess.run(["/usr/sbin/shieldvm-hook", "any", operation, "begin", "-"], stdin=f,
                           capture_output=True, text=True, timeout=60)
    if p.returncode:
        die(f"hook {operation}: {p.stderr or p.stdout}")


class Process:
    """A VM's two processes, one of which does what it is told."""

    def __init__(self, role, uuid, xml):
        self.role, self.uuid = role, uuid
        hook("prepare", xml)
        brokers = [p for p in children("self") if comm(p) in ("compromised", "shieldvm-worker")]
        if len(brokers) != 1:
            die(f"{len(brokers)} brokers instead of one")
        self.broker = brokers[0]
        self.worker = children(self.broker)[0]
        self.pid = self.worker if role == "worker" else self.broker
        if role == "worker":
            hook("start", xml)
            from attack import Vm
            self.vm = Vm(uuid)
            self.sock = self.vm.ctrl
        else:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.sock.connect(f"/run/shieldvm/{uuid}/control.sock")
        self.sock.settimeout(20)
        self.names = {}
        self.blob_at = 0
        _, self.blob_at, known, _, _ = self.step(KNOW, 0)
        names = ("LINK", "LIFELINE", "CTRL") if role == "worker" else (
            "LINK", "LIFELINE", "CTRL", "LAUNCH", "CONTROL", "MONITOR")
        self.names = dict(zip(names, known))

    def step(self, kind, number, args=(), blob=b"", give=None):
        args = [a & (1 << 64) - 1 for a in args] + [0] * (6 - len(args))
        message = struct.pack(FORMAT, kind, number & (1 << 64) - 1, *args, 0, blob)
        try:
            self.sock.sendall(message)
            if give is not None:
                time.sleep(0.02)  # it waits in recvmsg(2)
                self.sock.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                            array.array("i", [give]))])
            got = b""
            while len(got) < SIZE:
                more = self.sock.recv(SIZE - len(got))
                if not more:
                    raise ConnectionResetError
                got += more
        except (ConnectionResetError, BrokenPipeError):
            raise Ended(self.reap()) from None
        kind, number, *rest = struct.unpack(FORMAT, got)
        return kind, number, rest[:6], rest[6], rest[7]

    def reap(self):
        """The wait status that tells how it ended: the broker's exit code tells of the worker."""
        self.sock.close()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            pid, status = os.waitpid(self.broker, os.WNOHANG)
            if pid:
                break
            time.sleep(0.002)
        else:
            die("the broker does not end")
        # Orphans of the broker's are ours now.
        while children("self"):
            if time.monotonic() > end:
                die("the worker does not end after its broker")
            os.waitpid(-1, os.WNOHANG)
            time.sleep(0.002)
        if self.role == "worker" and os.WIFEXITED(status):
            return os.WEXITSTATUS(status) - 128
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -1

    def end(self):
        """Nobody tells it anything any more."""
        if self.role == "worker":
            os.close(self.vm.lifeline)
            self.sock.close()
        else:
            os.kill(self.broker, signal.SIGKILL)
        return self.reap()

    def give(self, fd):
        """Hand FD over as QEMU could; its number there."""
        at = self.blob_at
        blob = struct.pack("=QIIQQQQQ", 0, 0, 0, at + 64, 1, at + 80, 32, 0) + bytes(8) + struct.pack(
            "=QQ", at + 128, 1) + bytes(64)
        *_, result, blob = self.step(CALL, CALLS[""]["recvmsg"], [self.names["CTRL"], at, 0], blob,
                                     give=fd)
        if result != 1:
            die(f"the worker received nothing: {result}")
        return struct.unpack_from("=i", blob, 80 + 16)[0]


# ---- The table's language ------------------------------------------------------------------------

class Names(dict):
    """What a row's text may name."""

    def __init__(self, process, other):
        super().__init__()
        self.p, self.other = process, other
        self.blob, self.result = b"", None
        at = process.blob_at
        self.update(CONSTANTS, **process.names)
        self.update(BLOB=at, OUT=at + OUT_AT, PAGE=lambda a: a & -4096, MSG=self.msg, UNIX=self.unix,
                    INT=lambda _: struct.unpack_from("=i", self.last, OUT_AT)[0],
                    JUMP=lambda: self.do(JUMP, 0), POKE=lambda: self.do(POKE, 0),
                    call=lambda number, *a: self.do(CALL, number, a),
                    OTHER_PID=other["worker_pid"], OTHER_UID=other["worker_uid"],
                    OTHER_BROKER=other["broker_pid"], WORKER_PID=process.worker)

    def __missing__(self, name):
        for prefix, kind, bit in (("i386_", CALL_32, 0), ("x32_", CALL, X32), ("", CALL, 0)):
            call = name[len(prefix):]
            if name.startswith(prefix) and call in CALLS[prefix]:
                return lambda *a: self.do(kind, CALLS[prefix][call] | bit, a)
        if name.startswith("GIVEN_"):
            fd, own = getattr(self, name.lower())()
            self[name] = self.p.give(fd)
            if own:
                os.close(fd)
            return self[name]
        if name in ("STATE", "AUDIT", "ANCHOR"):
            return self.descriptor({"STATE": f"/var/lib/shieldvm/{self.p.uuid}",
                                    "AUDIT": "/var/log/shieldvm/audit.jsonl",
                                    "ANCHOR": "/var/lib/shieldvm/registry/audit.head"}[name])
        if name == "TEXT":
            for line in open(f"/proc/{self.p.pid}/maps"):
                if " r-xp " in line or " r-xs " in line:
                    return int(line.split("-")[0], 16)
        for module in (socket, os, signal, fcntl, mmap):
            if hasattr(module, name):
                return int(getattr(module, name))
        raise NameError(name)

    def descriptor(self, path):
        for fd in os.listdir(f"/proc/{self.p.pid}/fd"):
            if os.readlink(f"/proc/{self.p.pid}/fd/{fd}").endswith(path):
                return int(fd)
        die(f"the {self.p.role} has no {path}")

    # What QEMU can hand over: a descriptor, and whether it is closed here then.
    def given_root(self):
        return os.open("/", os.O_RDONLY | os.O_DIRECTORY), True

    def given_stream(self):
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).detach(), True

    def given_dgram(self):
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(), True

    def given_pidfd(self):
        return os.pidfd_open(self.other["worker_pid"]), True

    # Everything that has an address goes into the blob.
    def place(self, data):
        at = (len(self.blob) + 15) & -16
        self.blob = self.blob.ljust(at, b"\0") + data
        if len(self.blob) > OUT_AT:
            die("the row does not fit")
        return self.p.blob_at + at

    def unix(self, path):
        return self.place(struct.pack("=H108s", 1, path.replace("OTHER", self.other["uuid"]).encode()))

    def msg(self, data, fds=(), creds=None, to=0):
        control = b""
        if fds:
            body = struct.pack(f"={len(fds)}i", *fds)
            control = struct.pack("=Qii", 16 + len(body), 1, 1) + body.ljust((len(body) + 7) & -8, b"\0")
        if creds:
            control += struct.pack("=QiiiIIxxxx", 28, 1, 2, *creds)
        data = data if isinstance(data, bytes) else data.encode()
        iov = self.place(struct.pack("=QQ", self.place(data), len(data)))
        at = self.place(control) if control else 0
        return self.place(struct.pack("=QIIQQQQQ", to, 110 if to else 0, 0, iov, 1, at, len(control), 0))

    def do(self, kind, number, args=()):
        args = [a if isinstance(a, int) else
                self.place((a if isinstance(a, bytes) else
                            a.replace("OTHER", self.other["uuid"]).encode()) + b"\0") for a in args]
        *_, result, self.last = self.p.step(kind, number, args, self.blob)
        self.blob = b""
        return result


def run(names, text):
    """The result of the last call of TEXT; raises Ended."""
    for statement in text.split("; "):
        target, _, call = statement.rpartition(" = ")
        call = re.sub(r"\b0(?=[0-7])", "0o", call)  # octal as in C
        result = eval(call, {"__builtins__": {}}, names)
        if target:
            names[target] = result
    return result


def expected(result, want):
    """Whether RESULT, of a process that lives, is among WANT."""
    words = re.findall(r"\w+", want)
    name = errno.errorcode.get(-result, "") if result < 0 else str(result)
    return name in words


# ---- The tests -----------------------------------------------------------------------------------

def status_of(uuid):
    rows = json.loads(subprocess.run(["shieldvm", "status", "--json"], capture_output=True, text=True,
                                     check=True, timeout=30).stdout)
    return next(r for r in rows if r["uuid"] == uuid)


def run_table(role, uuid, other):
    xml = f"/run/bed/{uuid}.xml"
    rows = [(area, *row) for area, rows in getattr(tables, role.upper()).items() for row in rows]
    p, bad, deaths = None, 0, 0
    missing = other[f"{role}_protections"]["missing"]
    # Services of the host that are everybody's.
    services = []
    for name in "/run/bed/dgram", "\0service".ljust(108, "\0"):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(name)
        services.append(s)
    os.chmod("/run/bed/dgram", 0o777)
    for area, what, text, want, *needs in rows:
        if needs and needs[0] in missing:
            print(f"ok     {area + ': ' + what:60} not tried: this host gives no {needs[0]}")
            continue
        if p is None:
            p = Process(role, uuid, xml)
            names = Names(p, other)
        try:
            result = run(names, text)
            got = errno.errorcode.get(-result, str(result)) if result < 0 else str(result)
            good = expected(result, want)
        except Ended as e:
            p, deaths = None, deaths + 1
            sig = e.args[0]
            got = f"killed ({signal.Signals(sig).name})" if sig > 0 else "ended"
            good = sig in STATUS.get(want, ())
        print(f"{'ok' if good else 'NOT OK':6} {area + ': ' + what:60} {got:18} {text}")
        if not good:
            print(f"       should be: {want}")
            bad += 1
    if p:
        p.end()
    for s in services:
        s.close()
    os.unlink("/run/bed/dgram")
    print(f"# {len(rows)} attempts, {deaths} of them ended the {role}; {bad} came out otherwise than "
          "they should")
    if bad:
        die("the table does not hold")


# ---- Over the link -------------------------------------------------------------------------------

REPORT_MAGIC = 0x53485241
MONITOR, HOOK, CONTROL = 2, 0, 4  # enum audit_channel
REFUSED, START, STOP, REPAIRED = 0, 3, 4, 9  # enum audit_event
DONE, NO = 0, 1


def report(event=REFUSED, channel=MONITOR, verdict=NO, magic=REPORT_MAGIC, rule=b"made.up",
           request=b"", reason=b"", pid=-1, uid=-1, number=7):
    """worker/report.h struct broker_audit"""
    return struct.pack("=IIIIIiq64s512s512s", magic, number, event, channel, verdict, pid, uid, rule,
                       request, reason)


DOOR_MAGIC = 0x53485244
LISTEN, CONNECT, SHUT = 1, 2, 3  # enum door_kind


def door(kind, name, number=7):
    """worker/door.h struct door_request, of AF_UNIX"""
    return struct.pack("=IIIII16s40s", DOOR_MAGIC, number, kind, socket.AF_UNIX, 0, b"", name)


# What a taken-over worker sends its broker: what, the message, how many descriptors with it, how
# many of them in a row, and what comes of it: an answer with this error, or the end of both.
TAKEN, FORM, END = "recorded", "refused", "both end"
TO_BROKER = [
    ("a record of its own", report(), 0, 1, TAKEN),
    ("a record that a line of JSON could be made of",
     report(reason=b'x"}\n{"seq":1,"event":"start","vm":"\0'[:40]), 0, 1, TAKEN),
    ("the hook's records", report(START, HOOK, DONE), 0, 1, FORM),
    ("the broker's own records", report(STOP, CONTROL, DONE), 0, 1, FORM),
    ("the log's own records", report(REPAIRED), 0, 1, FORM),
    ("... the last kind", report(10), 0, 1, FORM),
    ("an event that there is not", report(0xFFFFFFFF), 0, 1, FORM),
    ("a verdict that there is not", report(verdict=2), 0, 1, FORM),
    ("a text that does not end", report(request=b"x" * 512), 0, 1, FORM),
    ("another conversation's magic", report(magic=0x53485644), 0, 1, FORM),
    ("its level once more", struct.pack("=I", 1), 0, 1, FORM),
    ("... with something behind it", struct.pack("=IIII", 1, 0xFFFFFFFF, 9, 9), 0, 1, FORM),
    ("a byte", b"x", 0, 1, FORM),
    ("all but a byte", report()[:-1], 0, 1, FORM),
    ("four descriptors with a record", report(), 4, 1, TAKEN),
    ("a thousand reports that make no sense", b"xx", 4, 1000, FORM),
    ("a connection to a socket that is not in its folder", door(CONNECT, b"m"), 0, 1, FORM),
    ("... to one outside of it", door(CONNECT, b"../../../libvirt/libvirt-sock"), 0, 1, FORM),
    ("... by a whole path", door(CONNECT, b"/run/libvirt/libvirt-sock"), 0, 1, FORM),
    ("... by a name that does not end", door(CONNECT, b"m" * 40), 0, 1, FORM),
    ("a listener, for a VM that does not come", door(LISTEN, b"m"), 0, 1, FORM),
    ("that a name goes away that is no listener's", door(SHUT, b"m"), 0, 1, FORM),
    ("a byte too many", report() + b"x", 0, 1, END),
    ("more descriptors than anything has", report(), 8, 1, END),
    ("nothing", b"", 0, 1, END),
]


def fds_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def receive(p, names, flags=0x40):
    """One message from the link; None where there is none."""
    control = names.place(bytes(64))
    data = names.place(bytes(64))
    iov = names.place(struct.pack("=QQ", data, 64))
    msg = names.place(struct.pack("=QIIQQQQQ", 0, 0, 0, iov, 1, control, 64, 0))
    n = names.do(CALL, CALLS[""]["recvmsg"], (p.names["LINK"], msg, flags))
    return names.last[data - p.blob_at:][:n] if n > 0 else None


def answer_of(p, names):
    """The broker's, to the last report."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        got = receive(p, names)
        if got and len(got) == 12 and struct.unpack("=I", got[:4])[0] in (REPORT_MAGIC, DOOR_MAGIC):
            return struct.unpack("=IIi", got)[2]
        time.sleep(0.002)
    return None


def attack_link(uuid):
    """A taken-over worker tells its broker what it may not."""
    xml = f"/run/bed/{uuid}.xml"
    p = None
    for what, message, n_fds, times, want in TO_BROKER:
        if p is None:
            p = Process("worker", uuid, xml)
            names = Names(p, {"worker_pid": 0, "worker_uid": 0, "broker_pid": 0, "uuid": ""})
        held = fds_of(p.broker)
        try:
            for _ in range(times):
                sent = run_send(p, names, message, n_fds)
                if sent < 0 and want != END:
                    die(f"{what}: not even sent: {errno.errorcode[-sent]}")
                rc = answer_of(p, names) if want != END else None
            got = TAKEN if rc == 0 else FORM if rc is not None else "nothing"
            if want == END:
                got = ended(p)
            elif fds_of(p.broker) != held:
                got = f"{held} descriptors, then {fds_of(p.broker)}"
            elif status_of(uuid)["level"] != "shielded":
                got = "another level"
        except Ended:
            got, p = END, None
        print(f"{'ok' if got == want else 'NOT OK':6} {what:60} {got}")
        if got != want:
            die(f"{what}: {got} instead of: {want}")
        if want == END:
            p = None
    if p:
        p.end()


def run_send(p, names, message, n_fds):
    fds = [p.names["LINK"], names["STATE"], p.names["CTRL"], p.names["LIFELINE"]] * 3
    msg = names.msg(message, fds[:n_fds])
    return names.do(CALL, CALLS[""]["sendmsg"], (p.names["LINK"], msg, 0x4000))


def ended(p):
    """The broker has closed the link, and ends with its worker when that is gone."""
    status = p.end()
    return END if status == -128 else f"ended by {status}"


def order(kind=1, incoming=0, n=0, fds=(0, 0, 0)):
    """worker/broker.h struct broker_order"""
    return struct.pack("=IIIiii", kind, incoming, n, *fds)


# What a taken-over broker sends its worker. Whatever it is: the worker goes on or ends in order.
TO_WORKER = [
    ("a byte", b"x", 0),
    ("an order that there is not", order(0), 0),
    ("... with descriptors", order(0xFFFFFFFF), 4),
    ("a launch without the monitor", order(), 0),
    ("a launch with something else as the monitor", order(), 1),
    ("a start from state without any", order(incoming=1, n=3), 1),
    ("a start from very much state", order(incoming=1, n=0xFFFFFFFF), 4),
    ("... without a descriptor", order(incoming=1, n=0xFFFFFFFF), 0),
    ("... that is its own", order(incoming=1, n=3, fds=(-1, 1 << 30, -(1 << 31))), 4),
    ("an answer to nothing", struct.pack("=IIi", REPORT_MAGIC, 1, 0), 0),
    ("a very long order", order() * 40, 0),
    ("more descriptors than anything has", order(), 8),
    ("nothing", b"", 0),
]


def attack_order(uuid):
    """A taken-over broker tells its worker what it may not."""
    xml = f"/run/bed/{uuid}.xml"
    state = f"/var/lib/shieldvm/{uuid}/tpm2.state"
    before = open(state, "rb").read()
    for what, message, n_fds in TO_WORKER:
        p = Process("broker", uuid, xml)
        names = Names(p, {"worker_pid": 0, "worker_uid": 0, "broker_pid": 0, "uuid": ""})
        while receive(p, names):  # what the worker has said when it was ready
            pass
        fds = [names["AUDIT"], p.names["LINK"], p.names["CTRL"], p.names["MONITOR"]] * 3
        names.do(CALL, CALLS[""]["sendmsg"], (p.names["LINK"], names.msg(message, fds[:n_fds]), 0x4000))
        for _ in range(30):  # what it does not understand ends it, in order, a moment later
            time.sleep(0.1)
            fields = open(f"/proc/{p.worker}/stat").read().rsplit(")", 1)[1].split()
            if fields[0] == "Z":
                break
        back = receive(p, names)
        code = int(fields[49])
        got = "goes on" if fields[0] != "Z" else "ends in order" if code & 0x7F == 0 else f"ends: {code:#x}"
        print(f"{'ok' if code & 0x7F == 0 else 'NOT OK':6} {what:60} {got}")
        if back:
            die(f"{what}: the worker has told {back!r}")
        if code & 0x7F:
            die(f"{what}: the worker was killed")
        p.end()
        if open(state, "rb").read() != before:
            die(f"{what}: the vTPM's state has changed")


# ---- The documentation ---------------------------------------------------------------------------

BEGIN, AFTER = "<!-- tests/integration/compromised.py table -->\n", "<!-- end of the tables -->\n"


def markdown():
    cell = lambda text: text.replace("|", "\\|")
    for who, areas in (("worker", tables.WORKER), ("broker", tables.BROKER)):
        yield f"\n### System calls of a {who}\n\n| tried | call | result |\n|---|---|---|\n"
        for area, rows in areas.items():
            yield f"| **{area}** | | |\n"
            for what, text, want, *needs in rows:
                why = f" (by: {needs[0]})" if needs else ""
                yield f"| {what} | `{cell(text)}` | {want}{why} |\n"
    yield "\n### What a worker tells its broker\n\n| told | result |\n|---|---|\n"
    for what, _, _, _, want in TO_BROKER:
        yield f"| {what} | {want} |\n"
    yield ("\n### What a broker tells its worker\n\nThe worker goes on or ends in order, and its state is "
           "as it was, after each of these:\n\n")
    for what, _, _ in TO_WORKER:
        yield f"- {what}\n"
    yield "\n"


def table(path, check=None):
    old = open(path, encoding="utf-8").read()
    if old.count(BEGIN) != 1 or old.count(AFTER) != 1:
        die(f"{path} has no place for the tables")
    head, rest = old.split(BEGIN)
    new = head + BEGIN + "".join(markdown()) + AFTER + rest.split(AFTER)[1]
    if check and new != old:
        die(f"{path} is not what the test tries; run: tests/integration/compromised.py table {path}")
    if not check:
        open(path, "w", encoding="utf-8").write(new)


def main():
    if sys.argv[1:2] == ["table"]:
        return table(*sys.argv[2:])
    subreap()
    role, uuid, *more = sys.argv[1:]
    if role in ("worker", "broker"):
        run_table(role, uuid, status_of(more[0]))
    else:
        globals()["attack_" + role](uuid)


if __name__ == "__main__":
    main()
