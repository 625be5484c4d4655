# SPDX-License-Identifier: BSD-3-Clause
"""A QEMU that was taken over: it launches like any other, and then does what it likes.

attack.py UUID WHAT [ARGUMENT...]; exit 0 if shieldvm stood it, else a sentence on standard error.
Runs as root, which the launch socket also takes, so that it can look at the worker from outside.
"""
import array, base64, ctypes, json, os, random, re, select, socket, struct, subprocess, sys, time, uuid

(GET_CAPABILITY, INIT, SHUTDOWN, GET_EST, SET_LOCALITY, HASH_START, HASH_DATA, HASH_END, CANCEL,
 STORE_VOLATILE, RESET_EST, GET_BLOB, SET_BLOB, STOP, GET_CONFIG, SET_DATAFD, SET_BUFFERSIZE,
 GET_INFO, LOCK_STORAGE) = range(1, 20)
STARTUP = bytes.fromhex("80010000000c000001440000")
GET_RANDOM = bytes.fromhex("80010000000c0000017b0010")
CREATE_PRIMARY_RSA = bytes.fromhex(
    "80020000004300000131400000010000000940000009000000000000040000000000"
    "1a0001000b00030072000000060080004300100800000000000000000000000000")[:67]


def die(text):
    sys.exit(text)


class Vm:
    """The taken-over QEMU, and root's view of the VM's two processes."""

    def __init__(self, name, incoming=0):
        self.name = name
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(10)
        s.connect(f"/run/shieldvm/{name}/launch.sock")
        # The monitor's listener, which libvirtd would have made.
        self.monitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.monitor.bind("")
        self.monitor.listen(1)
        s.sendmsg([struct.pack("=II", 0x53485644, 7) + uuid.UUID(name).bytes +
                   struct.pack("=II", incoming, 0) + bytes(12)],
                  [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                    array.array("i", [self.monitor.fileno()]))])
        data, ancillary, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(64))
        if struct.unpack_from("=i", data, 8)[0] or not ancillary:
            die(data[12:].split(b"\0")[0].decode())
        fds = array.array("i")
        fds.frombytes(ancillary[0][2])
        self.ctrl = socket.socket(fileno=fds[0])
        self.ctrl.settimeout(20)
        self.lifeline = fds[1]
        self.qmp = fds[2]
        uid = os.stat(f"/var/lib/shieldvm/{name}").st_uid
        pids = [int(p) for p in subprocess.run(["pgrep", "-u", str(uid)], capture_output=True,
                                               text=True).stdout.split()
                if open(f"/proc/{p}/comm").read() != "shieldvm-guard\n"]
        parent = {p: int(open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[1]) for p in pids}
        self.worker = next(p for p in pids if parent[p] in pids)
        self.broker = parent[self.worker]
        self.pidfd = os.pidfd_open(self.worker)

    def alive(self):
        return not select.select([self.pidfd], [], [], 0)[0]

    def fds(self):
        return len(os.listdir(f"/proc/{self.worker}/fd"))

    def rss_kb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.worker}/status").read())[1])

    def ask(self, cmd, body=b"", fds=(), reply=65536):
        """One request, and what comes back at once."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.ctrl.sendmsg([struct.pack(">I", cmd)], ancillary)
        self.ctrl.sendall(body)
        got = self.ctrl.recv(reply)
        if not got:
            die(f"the control channel was closed after request {cmd} of {len(body)} bytes")
        return got

    def data(self):
        """A data channel, served by the worker."""
        ours, theirs = socket.socketpair()
        if self.ask(SET_DATAFD, fds=[theirs.fileno()]) != b"\0\0\0\0":
            die("SET_DATAFD was refused")
        theirs.close()
        ours.settimeout(30)
        return ours

    def start(self):
        if self.ask(INIT, b"\0\0\0\0") != b"\0\0\0\0":
            die("INIT was refused")


def command(data, bytes_):
    data.sendall(bytes_)
    reply = data.recv(4096)
    while len(reply) < struct.unpack(">I", reply[2:6])[0]:
        reply += data.recv(4096)
    return struct.unpack(">I", reply[6:10])[0]


def get_blob(vm, kind):
    vm.ctrl.sendall(struct.pack(">IIII", GET_BLOB, 0, kind, 0))
    got = b""
    while len(got) < 16 or len(got) < 16 + struct.unpack(">I", got[12:16])[0]:
        got += vm.ctrl.recv(1 << 20)
    return got[16:]


def random_body(rng, cmd):
    small = struct.pack(">I", rng.choice([0, 1, 2, 3, 4, 5, 1024, 3072, 4096, 4097, 2**31, 2**32 - 1]))
    if cmd == HASH_DATA:
        n = rng.choice([0, 1, 7, 1024, 70000, 300000])
        return struct.pack(">I", n) + os.urandom(n)
    if cmd == SET_BLOB:
        n = rng.choice([0, 1, 95, 96, 116, 9000, 500000])
        return small + struct.pack(">II", rng.choice([0, 1, 2, 3, 4]), n) + os.urandom(n)
    if cmd == GET_BLOB:
        return small + struct.pack(">I", rng.choice([0, 1, 2, 3, 9])) + small
    if cmd == GET_INFO:
        return os.urandom(8) + small + small
    if cmd in (SET_LOCALITY, RESET_EST):
        return bytes([rng.choice([0, 1, 3, 4, 5, 255])])
    return small if cmd in (INIT, SET_BUFFERSIZE, LOCK_STORAGE) else b""


def drain(vm, seconds):
    """Whatever is left of a long reply."""
    while select.select([vm.ctrl], [], [], seconds)[0]:
        if not vm.ctrl.recv(1 << 20):
            die("the control channel was closed")


def attack_control(vm, rounds):
    """Every control request in any order, each with descriptors nobody asked for."""
    rng = random.Random(1)
    vm.start()
    data = vm.data()
    command(data, STARTUP)
    extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
    fds, rss = None, 0
    for i in range(int(rounds)):
        if i == 200:
            fds, rss = vm.fds(), vm.rss_kb()
        cmd = rng.choice([c for c in range(1, 20) if c != SHUTDOWN])
        if cmd == SET_DATAFD and rng.random() < 0.5:
            data.close()
            while select.select([vm.ctrl], [], [], 0.01)[0]:
                pass
            ours, theirs = socket.socketpair()
            if vm.ask(SET_DATAFD, fds=[theirs.fileno()] + extra[:2]) == b"\0\0\0\0":
                data = ours
                data.settimeout(30)
            theirs.close()
        else:
            vm.ask(cmd, random_body(rng, cmd), rng.sample(extra, rng.randint(0, 4)))
            if cmd in (GET_BLOB, GET_INFO):
                drain(vm, 0.001)
        if not vm.alive():
            die(f"the worker ended after request {i}, {cmd}")
    drain(vm, 0.05)
    if vm.fds() > fds + 1:
        die(f"the worker had {fds} descriptors and has {vm.fds()}")
    if vm.rss_kb() > rss + 2048:
        die(f"the worker had {rss} kB and has {vm.rss_kb()} kB")
    vm.ask(STOP)
    vm.start()
    print(f"# {rounds} requests: {vm.fds()} descriptors, {rss} kB, then {vm.rss_kb()} kB")


def attack_reconnect(vm, rounds):
    """Data channels by the thousand, each with a command and cut off within the next."""
    vm.start()
    before = rss = 0
    for i in range(int(rounds)):
        if i == 50:
            before, rss = vm.fds(), vm.rss_kb()
        ours, theirs = socket.socketpair()
        while vm.ask(SET_DATAFD, fds=[theirs.fileno()]) != b"\0\0\0\0":
            time.sleep(0.0005)
        theirs.close()
        ours.settimeout(30)
        command(ours, GET_RANDOM if i else STARTUP)
        ours.send(GET_RANDOM[:i % 12])
        ours.close()
    time.sleep(0.1)
    if vm.fds() > before + 1 or vm.rss_kb() > rss + 1024:
        die(f"{before} descriptors and {rss} kB became {vm.fds()} and {vm.rss_kb()} kB")


def attack_commands(vm, count):
    """Very many commands: nothing grows."""
    vm.start()
    data = vm.data()
    command(data, STARTUP)
    batch, rss = 50, 0
    for i in range(int(count) // batch):
        if i == 20:
            rss = vm.rss_kb()
        data.sendall(GET_RANDOM * batch)
        got = 0
        while got < 28 * batch:
            n = len(data.recv(65536))
            if n == 0:
                die("the data channel was closed")
            got += n
    if vm.rss_kb() > rss + 512:
        die(f"{rss} kB became {vm.rss_kb()} kB")


def attack_deaf(vm):
    """A client that sends and sends and never reads: the control channel answers all the same."""
    vm.start()
    data = vm.data()
    data.setblocking(False)
    try:
        while True:
            data.send(GET_RANDOM * 100)
    except BlockingIOError:
        pass
    begin = time.monotonic()
    for cmd in (GET_CONFIG, CANCEL, GET_EST, STORE_VOLATILE, STOP):
        vm.ask(cmd)
    vm.start()
    if time.monotonic() - begin > 5:
        die("the control channel was slow")


def attack_storm(vm, seconds):
    """STOP, INIT and CANCEL while keys are made."""
    vm.start()
    data = vm.data()
    data.setblocking(False)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        try:
            data.send(STARTUP + CREATE_PRIMARY_RSA + GET_RANDOM)
        except BlockingIOError:
            pass
        vm.ask(CANCEL)
        vm.ask(STOP)
        vm.ask(INIT, b"\0\0\0\0")
        try:
            data.recv(1 << 16)
        except BlockingIOError:
            pass
        if not vm.alive():
            die("the worker ended")


def attack_rewind(vm):
    """An older state of this very vTPM, which a taken-over QEMU has kept, put back."""
    vm.start()
    old = get_blob(vm, 1)
    vm.ask(STOP)
    answer = vm.ask(SET_BLOB, struct.pack(">III", 2, 1, len(old)) + old)
    if answer == b"\0\0\0\0":
        die("the vTPM took an older state at a start that is none from saved state")


def attack_incoming(vm):
    """At a start from saved state: it takes a state, and serves nobody before that is vouched for."""
    before = open(f"/var/lib/shieldvm/{vm.name}/tpm2.state", "rb").read()
    vm.start()
    old = get_blob(vm, 1)
    vm.ask(STOP)
    if vm.ask(SET_BLOB, struct.pack(">III", 2, 1, len(old)) + old) != b"\0\0\0\0":
        die("the vTPM did not take its own state")
    vm.ask(INIT, b"\0\0\0\0")
    data = vm.data()
    if command(data, STARTUP) != 0x101:
        die("the vTPM serves a start whose state has not come in")
    vm.ask(STOP)
    if open(f"/var/lib/shieldvm/{vm.name}/tpm2.state", "rb").read() != before:
        die("the vTPM has stored what nobody vouched for")


def has_secret_memory():
    """Whether the kernel has any (memfd_secret(2))."""
    fd = ctypes.CDLL(None).syscall(447, 0)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def check_secret(pid):
    """All that the worker can write is secret, all else sealed, and root reaches neither."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "r+b", 0) as mem:
        for line in maps:
            span, mode, _, _, _, *name = line.split(None, 5)
            name = name[0].strip() if name else ""
            if mode.startswith("---") or name in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
                continue
            secret = name.startswith("/secretmem") and mode == "rw-s"
            sealed = name.startswith("/memfd:shieldvm-text") and mode in ("r--s", "r-xs")
            if not secret and not sealed:
                die(f"the worker has ordinary memory: {line}")
            start = int(span.split("-")[0], 16)
            for what, act in (("written", lambda: mem.write(b"\xcc")), ("read", lambda: mem.read(1))):
                if sealed and what == "read":
                    continue
                mem.seek(start)
                try:
                    act()
                except OSError:
                    continue
                die(f"root has {what} it through /proc/PID/mem: {line}")


def attack_memory(vm, *files):
    """No key of the host's in the memory of worker or broker, in any spelling."""
    needles = {}
    for path in files:
        d = base64.urlsafe_b64decode(json.load(open(path))["d"] + "=")
        text = base64.urlsafe_b64encode(d).rstrip(b"=")
        for what, bytes_ in (("big-endian", d), ("little-endian", d[::-1]), ("base64url", text),
                             ("hex", d.hex().encode())):
            for part, at in (("", 0), (" (its first half)", 0), (" (its second half)", 1)):
                n = len(bytes_) // 2 if part else len(bytes_)
                needles[f"{path}, {what}{part}"] = bytes_[at * n:at * n + n]
    needles["the VM's UUID"] = uuid.UUID(vm.name).bytes
    vm.start()
    data = vm.data()
    command(data, STARTUP)
    found = []
    secret = has_secret_memory()
    if secret:
        check_secret(vm.worker)
    for who, pid in (("worker", vm.worker), ("broker", vm.broker)):
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for line in maps:
                span, mode, rest = line.split(None, 2)
                if "r" not in mode or "[v" in rest:
                    continue
                lo, hi = (int(x, 16) for x in span.split("-"))
                mem.seek(lo)
                try:
                    block = mem.read(hi - lo)
                except OSError:
                    continue
                found += [f"{who}: {what} in {rest.strip()}" for what, needle in needles.items()
                          if needle in block]
    # What has to be there shows that the rest was looked for.
    if secret and any(f.startswith("worker") for f in found):
        die("\n".join(found))
    for who in ("broker",) if secret else ("worker", "broker"):
        if not any(f.startswith(f"{who}: the VM's") for f in found):
            die(f"the memory of the {who} could not be searched")
    found = [f for f in found if "the VM's" not in f]
    if found:
        die("\n".join(found))


def attack_hold(vm):
    """Has the vTPM, and keeps it until it is told otherwise."""
    print("held", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    globals()["attack_" + sys.argv[2]](Vm(sys.argv[1], int(sys.argv[2] == "incoming")), *sys.argv[3:])
