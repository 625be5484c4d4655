#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Looks at the wire between two hosts of a test.

wire.py capture INTERFACE PCAP   every packet, until SIGTERM; fails if one was missed
wire.py streams PCAP DIR         each direction of each TCP connection as a file of its own; fails if a
                                 byte is missing
wire.py search TEXTS DIR         prints which of the lines of the file TEXTS are in which stream; fails
                                 if none is
wire.py random FILE...           fails if something in one of the streams does not look random; not
                                 counting its first bytes, where a handshake may be
"""
import mmap
import pathlib
import signal
import socket
import struct
import sys

import sealed

ETH_P_IP = 0x0800
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
PCAP_MAGIC, LINKTYPE_ETHERNET = 0xA1B2C3D4, 1
LARGEST_PACKET = 1 << 17
HANDSHAKE = 4096
RECEIVE_BUFFER = 256 << 20


class Ended(Exception):
    pass


def end(*_):
    raise Ended


def capture(interface, path):
    signal.signal(signal.SIGTERM, end)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        wire.bind((interface, 3))
        with open(path, "wb") as out:
            out.write(struct.pack("=IHHiIII", PCAP_MAGIC, 2, 4, 0, 0, LARGEST_PACKET, LINKTYPE_ETHERNET))
            out.flush()
            try:
                while True:
                    keep(wire.recv(LARGEST_PACKET), out)
            except Ended:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            wire.setblocking(False)
            try:
                while True:
                    keep(wire.recv(LARGEST_PACKET), out)
            except BlockingIOError:
                pass
        seen, missed = struct.unpack("=II", wire.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        print(f"{seen} packets, {missed} missed")
        if missed or not seen:
            sys.exit(1)


def keep(packet, out):
    # No time: nobody asks for it.
    out.write(struct.pack("=IIII", 0, 0, len(packet), len(packet)) + packet)


def packets(path):
    with open(path, "rb") as f:
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    at = 24
    while at < len(data):
        size = struct.unpack_from("=I", data, at + 8)[0]
        yield memoryview(data)[at + 16 : at + 16 + size]
        at += 16 + size


class Direction:
    """One way of a connection.  What comes again is written again, to the same place."""

    def __init__(self, path):
        self.file = open(path, "w+b", buffering=1 << 16)
        self.first = None
        self.parts = []

    def put(self, sequence, flags, payload):
        if flags & 2:
            sequence += 1
        if self.first is None:
            self.first = sequence
            self.next = 0
        # Sequence numbers wrap at 4 GiB: the nearest place to the one expected.
        at = self.next + ((sequence - self.first - self.next + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
        if at < 0 or not payload:
            return
        if at != self.next:
            self.parts.append((at, at + len(payload)))
        self.file.seek(at)
        self.file.write(payload)
        if at == self.next:
            self.next += len(payload)
        while any(a <= self.next < b for a, b in self.parts):
            self.next = max(b for a, b in self.parts if a <= self.next)
            self.parts = [(a, b) for a, b in self.parts if b > self.next]

    def missing(self):
        return [f"{self.next} to {a}" for a, _ in self.parts if a > self.next]


def streams(path, folder):
    known = {}
    bad = False
    generation = {}
    for packet in packets(path):
        if len(packet) < 54 or struct.unpack_from(">H", packet, 12)[0] != ETH_P_IP or packet[23] != 6:
            continue
        header = (packet[14] & 15) * 4
        total = struct.unpack_from(">H", packet, 16)[0] or len(packet) - 14
        tcp = packet[14 + header : 14 + total]
        source, target, sequence = struct.unpack_from(">HHI", tcp)
        flags = tcp[13]
        name = "-".join(
            f"{socket.inet_ntoa(bytes(packet[a : a + 4]))}:{port}"
            for a, port in ((26, source), (30, target))
        )
        if name in known and flags & 2 and known[name].first not in (None, sequence + 1):
            # The same ports again, for another connection.
            generation[name] = generation.get(name, 0) + 1
            bad |= report(known.pop(name))
        if name not in known:
            number = generation.get(name, 0)
            known[name] = Direction(pathlib.Path(folder, f"{name}.{number}" if number else name))
        known[name].put(sequence, flags, tcp[(tcp[12] >> 4) * 4 :])
    for direction in known.values():
        bad |= report(direction)
    if bad or not known:
        sys.exit(1)


def report(direction):
    size = direction.file.seek(0, 2)
    direction.file.close()
    print(f"{size:12} {direction.file.name}")
    for hole in direction.missing():
        print(f"  bytes {hole} are missing")
    return bool(direction.missing())


def contents(path):
    with open(path, "rb") as f:
        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)


def search(texts, folder):
    found = False
    wanted = pathlib.Path(texts).read_bytes().splitlines()
    if not all(wanted):
        sys.exit("an empty text is everywhere")
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.stat().st_size == 0:
            continue
        data = contents(path)
        for text in wanted:
            at = data.find(text)
            if at >= 0:
                print(f"{text.decode()}: {path.name}, byte {at}")
                found = True
    if not found:
        sys.exit("none of the texts is in any stream")


def looks_random(path):
    try:
        sealed.entropy(contents(path)[HANDSHAKE:])
    except SystemExit as e:
        sys.exit(f"{path}: {e}")


def main():
    arguments = sys.argv[2:]
    match sys.argv[1:2], len(arguments):
        case ["capture"], 2:
            capture(*arguments)
        case ["streams"], 2:
            streams(*arguments)
        case ["search"], 2:
            search(*arguments)
        case ["random"], n if n > 0:
            for path in arguments:
                looks_random(path)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
