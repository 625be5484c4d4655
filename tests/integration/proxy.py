#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A TCP proxy that does harm to the connections through it.

proxy.py forward PORT|PATH HOST:PORT|PATH [OPTION...]
    a PATH is that of a socket, which everybody may connect to and which stays, as ssh -L leaves it;
    one that is there already is taken away
    --cut-at BYTES     end a connection when so many bytes went through it one way
    --cut-how reset|close|silent
                       by a reset (the default), an orderly end, or by saying nothing any more
    --flip-at BYTE     flip one bit of that byte (counted from 0)
    --delay-ms MS      hand on everything so much later
    --rate BYTES       bytes per second through each connection, each way
    --way up|down|both the way that is harmed: "up" (the default) is away from who connected
    --channel N        only the Nth connection is harmed (counted from 0)
    --record FILE      keep what goes up the Nth connection in FILE.N
  SIGUSR1 cuts all connections that there are.  Prints "ready" when it listens, a line for each
  connection that comes, and one for each harm.

proxy.py replay FILE HOST:PORT [--wait SECONDS]
    sends what was recorded as a client of its own; prints how many bytes came back, and how the other
    side ended the connection: "closed", "reset", or "open" if it has not
"""
import argparse
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time

CHUNK = 1 << 16
LATE_MAX = 256  # chunks that may be on their way, late
CONNECTIONS_MAX = 256


def say(*words):
    print(*words, flush=True)


def address(text):
    if text.startswith("/"):
        return text
    host, _, port = text.rpartition(":")
    return host, int(port)


def listen(place):
    if not place.startswith("/"):
        return socket.create_server(("", int(place)), backlog=64)
    try:
        os.unlink(place)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    os.chmod(place, 0o666)
    listener.listen(64)
    return listener


def connect(to):
    if isinstance(to, tuple):
        far = socket.create_connection(to, timeout=20)
    else:
        far = socket.socket(socket.AF_UNIX)
        far.settimeout(20)
        far.connect(to)
    far.settimeout(None)
    return far


def reset(connection):
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    connection.close()


class Pair:
    """A connection of both sides' and what is done to it."""

    def __init__(self, number, near, far, options):
        self.number, self.near, self.far, self.options = number, near, far, options
        self.harmed = options.channel in (None, number)
        self.dead = threading.Event()
        self.lock = threading.Lock()
        self.left = 2

    def begin(self):
        for way, source, target in (("up", self.near, self.far), ("down", self.far, self.near)):
            threading.Thread(target=self.pump, args=(way, source, target), daemon=True).start()

    def cut(self, how):
        with self.lock:
            if self.dead.is_set() or self.left == 0:
                return
            self.dead.set()
            say("cut", self.number, how)
            for end in (self.near, self.far):
                if how == "reset":
                    reset(end)
                elif how == "close":
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass

    def pump(self, way, source, target):
        options = self.options
        harm = self.harmed and options.way in (way, "both")
        record = options.record and way == "up" and open(f"{options.record}.{self.number}", "wb")
        late = harm and options.delay_ms and Late(target, options.delay_ms / 1000)
        send = late.send if late else target.sendall
        done, begin = 0, time.monotonic()
        try:
            while chunk := source.recv(CHUNK):
                if self.dead.is_set():
                    return
                if record:
                    record.write(chunk)
                    record.flush()
                if harm:
                    chunk = self.harm(chunk, done)
                    if options.cut_at is not None and done + len(chunk) >= options.cut_at:
                        send(chunk[: options.cut_at - done])
                        self.cut(options.cut_how)
                        return
                send(chunk)
                done += len(chunk)
                if harm and options.rate:
                    time.sleep(max(0, begin + done / options.rate - time.monotonic()))
            if late:
                late.end()
            target.shutdown(socket.SHUT_WR)
        except OSError as e:
            # One side broke it off: so it is for the other.
            if not self.dead.is_set():
                say("broken", self.number, way, e.strerror)
                reset(target)
        finally:
            self.ended()

    def harm(self, chunk, done):
        at = self.options.flip_at
        if at is None or not done <= at < done + len(chunk):
            return chunk
        say("flipped", self.number, at)
        bad = bytearray(chunk)
        bad[at - done] ^= 1
        return bytes(bad)

    def ended(self):
        with self.lock:
            self.left -= 1
            if self.left == 0 and not (self.dead.is_set() and self.options.cut_how == "silent"):
                self.near.close()
                self.far.close()


class Late:
    """Hands on what it is given, later."""

    def __init__(self, target, seconds):
        self.target, self.seconds = target, seconds
        self.waiting = queue.Queue(LATE_MAX)
        self.error = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def send(self, chunk):
        if self.error:
            raise self.error
        self.waiting.put((time.monotonic() + self.seconds, chunk))

    def end(self):
        self.waiting.put((0, None))
        self.thread.join()

    def run(self):
        while True:
            due, chunk = self.waiting.get()
            if chunk is None:
                return
            if self.error:
                continue
            time.sleep(max(0, due - time.monotonic()))
            try:
                self.target.sendall(chunk)
            except OSError as e:
                self.error = e


def forward(options):
    pairs = []

    def cut_all(*_):
        for pair in pairs:
            pair.cut(options.cut_how)

    with listen(options.at) as listener:
        # The handler runs between two instructions of this thread, which holds none of the locks.
        signal.signal(signal.SIGUSR1, cut_all)
        say("ready")
        number = 0
        while True:
            near, peer = listener.accept()
            pairs[:] = [p for p in pairs if p.left and not p.dead.is_set() or p.options.cut_how == "silent"]
            try:
                if len(pairs) >= CONNECTIONS_MAX:
                    raise OSError(0, "too many connections")
                far = connect(options.to)
            except OSError as e:
                say("refused", number, e.strerror)
                reset(near)
                continue
            for end in (near, far):
                if end.family != socket.AF_UNIX:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            say("connection", number, "from", peer[0] if peer else "here")
            pair = Pair(number, near, far, options)
            pairs.append(pair)
            pair.begin()
            number += 1


def replay(options):
    with socket.create_connection(options.to, timeout=options.wait) as there:
        there.settimeout(options.wait)
        came = 0
        how = "open"
        try:
            with open(options.file, "rb") as f:
                threading.Thread(target=push, args=(there, f.read()), daemon=True).start()
            while chunk := there.recv(CHUNK):
                came += len(chunk)
            how = "closed"
        except TimeoutError:
            pass
        except OSError:
            how = "reset"
        say(came, how)


def push(there, data):
    try:
        there.sendall(data)
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("forward")
    one.add_argument("at")
    one.add_argument("to", type=address)
    one.add_argument("--cut-at", type=int)
    one.add_argument("--cut-how", choices=("reset", "close", "silent"), default="reset")
    one.add_argument("--flip-at", type=int)
    one.add_argument("--delay-ms", type=int, default=0)
    one.add_argument("--rate", type=int, default=0)
    one.add_argument("--way", choices=("up", "down", "both"), default="up")
    one.add_argument("--channel", type=int)
    one.add_argument("--record")
    one = commands.add_parser("replay")
    one.add_argument("file")
    one.add_argument("to", type=address)
    one.add_argument("--wait", type=float, default=10)
    options = parser.parse_args()
    if options.command == "forward":
        forward(options)
    else:
        replay(options)


if __name__ == "__main__":
    sys.exit(main())
