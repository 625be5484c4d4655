#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Who comes to a listening port and has no business there.

strangers.py crowd HOST:PORT RECORDED TABLES [--count N] [--flight N] [--seed N]
    So many connections, FLIGHT at a time (by default as many as wait at the other side's: more
    would only wait for their own kernel), until nobody listens any more; RECORDED is what a true source
    once sent, TABLES the other side's /proc/PID/net.  Prints "enough" when COUNT of them were ended by
    the other side (or are port scans, which end themselves), and at the end, for each kind of stranger:
    how many, the longest time the other side took to end one, the most bytes that it answered; fails if
    it left one of them open.  Whose last word of TCP's handshake found the queue full believes that he
    is connected, and nobody there knows of him: he is counted apart.

strangers.py watch PID...
    what the processes have at most, looked at until SIGTERM: lines "PID before KIB most KIB descriptors N
    most N cpu MS", KIB as PSS, CPU since the first look.
"""
import argparse
import errno
import os
import random
import select
import signal
import socket
import ssl
import struct
import sys
import time

# Of a hundred strangers.  Silence in a handshake costs the other side half a second each.
KINDS = {
    "scan": 40,  # connects and goes
    "noise": 28,  # random bytes
    "client": 15,  # TLS of the world: certificates, no PSK
    "silent": 14,  # says nothing
    "replay": 2,  # what a true source once sent
    "half": 1,  # ... the beginning of it, and then nothing
}
SLOW = 4  # a byte of it a second, each, always
PATIENCE = 15  # seconds; longer than a handshake may take
ENOUGH = 120  # seconds for everything


class Stranger:
    def __init__(self, kind, crowd):
        self.kind, self.connected, self.answer, self.sent = kind, None, 0, 0
        self.data = crowd.words(kind)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.since = time.monotonic()
        self.socket.connect_ex(crowd.to)

    def speak(self):
        """Sends what there is to send; whether it is through."""
        if self.kind == "scan":
            if random.getrandbits(1):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return True
        end = len(self.data) if self.kind != "slow" else int(time.monotonic() - self.connected) + 1
        if self.sent < min(end, len(self.data)):
            try:
                self.sent += self.socket.send(self.data[self.sent : end])
            except BlockingIOError:
                pass
        return False


class Crowd:
    def __init__(self, options):
        self.to = options.to
        self.flight = options.flight
        self.count = options.count
        with open(options.recorded, "rb") as f:
            self.recorded = f.read(1 << 16)
        self.here = {}
        self.poll = select.epoll()
        self.gone = False
        self.ended = 0
        self.tables = options.tables
        self.outside = 0
        self.lines = {k: [0, 0.0, 0, 0] for k in [*KINDS, "slow"]}  # ended, longest, answer, still open
        self.deck = []
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def words(self, kind):
        match kind:
            case "noise":
                # Also what begins like TLS.
                start = b"" if random.getrandbits(2) else b"\x16\x03\x01"
                return start + random.randbytes(random.randint(1, 6000))
            case "client":
                there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
                client = self.tls.wrap_bio(there, here, server_hostname="host-b")
                try:
                    client.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                return here.read()
            case "replay":
                return self.recorded
            case "half":
                return self.recorded[: random.randint(1, 200)]
            case "slow":
                return self.recorded[:200]
        return b""

    def next_kind(self):
        if sum(s.kind == "slow" for s in self.here.values()) < SLOW:
            return "slow"
        if not self.deck:
            self.deck = [k for k, n in KINDS.items() for _ in range(n)]
            random.shuffle(self.deck)
        return self.deck.pop()

    def more(self):
        while not self.gone and len(self.here) < self.flight:
            s = Stranger(self.next_kind(), self)
            self.here[s.socket.fileno()] = s
            self.poll.register(s.socket, select.EPOLLIN | select.EPOLLOUT)

    def is_there(self, s):
        """Whether the other side's kernel has the connection, too: established, at least."""
        try:
            port = s.socket.getsockname()[1]
            ends = []
            for name in "tcp", "tcp6":
                with open(f"{self.tables}/{name}", encoding="ascii") as f:
                    ends += [line.split()[1:4] for line in f][1:]
        except OSError:
            return True
        return any(
            here.endswith(f":{self.to[1]:04X}") and far.endswith(f":{port:04X}") and state != "03"
            for here, far, state in ends
        )

    def end(self, s, how):
        if how == "open" and not self.is_there(s):
            how = "outside"
        line = self.lines[s.kind]
        if how == "refused":
            self.gone = True
        elif how == "open":
            line[3] += 1
        elif how == "outside":
            self.outside += 1
        elif s.connected is not None:
            line[0] += 1
            line[1] = max(line[1], time.monotonic() - s.connected)
            line[2] = max(line[2], s.answer)
            self.ended += 1
        del self.here[s.socket.fileno()]
        s.socket.close()

    def happened(self, s, events):
        try:
            if events & select.EPOLLOUT:
                e = s.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if e:
                    raise OSError(e, os.strerror(e))
                s.connected = s.connected or time.monotonic()
                if s.speak():
                    self.end(s, "scan")
                    return
                if s.sent == len(s.data) or s.kind == "slow":
                    self.poll.modify(s.socket, select.EPOLLIN)
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                said = s.socket.recv(1 << 16)
                s.answer += len(said)
                if not said:
                    self.end(s, "closed")
        except BlockingIOError:
            pass
        except OSError as e:
            self.end(s, "refused" if e.errno == errno.ECONNREFUSED else "reset")

    def run(self):
        began, enough = time.monotonic(), 0.0
        while (self.here or not self.gone) and time.monotonic() - began < ENOUGH:
            self.more()
            for fd, events in self.poll.poll(0.1):
                if fd in self.here:
                    self.happened(self.here[fd], events)
            now = time.monotonic()
            for s in list(self.here.values()):
                if s.kind == "slow" and s.connected:
                    try:
                        s.speak()
                    except OSError:
                        self.end(s, "reset")
                        continue
                if s.connected and now - s.connected > PATIENCE:
                    self.end(s, "open")
            if not enough and self.ended >= self.count:
                enough = now - began
                print("enough", flush=True)
        print(f"{self.count} in {enough:.1f} s, {self.ended} in all, {self.flight} at a time")
        for kind, (ended, longest, answer, still) in self.lines.items():
            print(f"{kind:8} {ended:6} ended, {longest:5.2f} s at most, answered by {answer} bytes at most")
            if still:
                print(f"{kind:8} {still:6} left open for {PATIENCE} s")
        print(f"{self.outside} were never let into the queue, and did not notice")
        sys.exit(0 if self.gone and enough and not any(line[3] for line in self.lines.values()) else 1)


def look(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        pss = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        ticks = sum(int(n) for n in f.read().rpartition(")")[2].split()[11:13])
    return pss, len(os.listdir(f"/proc/{pid}/fd")), ticks * 1000 // os.sysconf("SC_CLK_TCK")


def watch(pids):
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    first = {pid: look(pid) for pid in pids}
    most = dict(first)
    print("ready", flush=True)
    while not stop:
        for pid in pids:
            most[pid] = tuple(map(max, most[pid], look(pid)))
        time.sleep(0.1)
    for pid in pids:
        (kib, fds, ms), (most_kib, most_fds, most_ms) = first[pid], most[pid]
        print(f"{pid} before {kib} most {most_kib} descriptors {fds} most {most_fds} cpu {most_ms - ms}")


def address(text):
    host, _, port = text.rpartition(":")
    return socket.gethostbyname(host), int(port)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("crowd")
    one.add_argument("to", type=address)
    one.add_argument("recorded")
    one.add_argument("tables")
    one.add_argument("--count", type=int, default=10000)
    one.add_argument("--flight", type=int, default=64)
    one.add_argument("--seed", type=int, default=1)
    one = commands.add_parser("watch")
    one.add_argument("pids", nargs="+")
    options = parser.parse_args()
    if options.command == "watch":
        watch(options.pids)
    else:
        random.seed(options.seed)
        Crowd(options).run()


if __name__ == "__main__":
    main()
