#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Looks at files of saved state, and makes damaged ones.

sealed.py entropy FILE   whether everything behind libvirt's header looks random, in every 4 KiB
sealed.py map FILE       offset of the key record, the stream header, each record, and the end
sealed.py whole FILE     whether its last record is there, is the final one, and ends the file
sealed.py overlay BASE   domain XML from standard input to output, its disks qcow2 files named
                         BASE.TARGET
sealed.py damage FILE AGAIN OTHER SEED DIR
                         into DIR what must not restore, made from FILE, another save of its VM
                         and a save of another VM
sealed.py hurry MONITOR  sends what may not go through while a VM's state comes in
"""
import json
import mmap
import pathlib
import random
import socket
import struct
import sys
import zlib
from xml.etree import ElementTree

BLOCK = 4096
LIBVIRT = b"LibvirtQemudSave"
LIBVIRT_PART = b"LibvirtQemudPart"
LIBVIRT_HEADER = 92
STATE_KEY = 148
STREAM_HEADER = 96


def state_at(data):
    """Where the state begins: behind libvirt's header and XML, if there are any."""
    if data[:16] not in (LIBVIRT, LIBVIRT_PART):
        return 0
    return LIBVIRT_HEADER + struct.unpack_from("<I", data, 20)[0]


def entropy(data):
    low = []
    start = state_at(data)
    for at in range(start, len(data), BLOCK):
        block = data[at : at + BLOCK]
        # zlib gives up on random bytes: eleven more than there were.
        if len(block) >= 256 and len(zlib.compress(block, 1)) < len(block):
            low.append(at)
        if len(low) == 100:
            break
    if start == len(data):
        sys.exit("there is no state in the file")
    if low:
        sys.exit(f"low entropy in {len(low)} blocks at least, the first at byte {low[0]}")


def boundaries(data):
    """Offsets: key record, stream header, every record, and the end of the last."""
    at = state_at(data)
    if data[at : at + 8] == b"SHVDSEAL":
        key = STATE_KEY
    elif data[at : at + 8] == b"SHVDWRAP":
        key = 32 + struct.unpack_from(">I", data, at + 12)[0]
    else:
        sys.exit("not a sealed stream file, or not the beginning of one")
    found = [at, at + key]
    at += key + STREAM_HEADER
    while at + 4 <= len(data):
        found.append(at)
        (prefix,) = struct.unpack_from(">I", data, at)
        at += 4 + (prefix & 0x7FFFFFFF) + 16
        if prefix & 0x80000000:
            break
    found.append(at)
    return found


def damage(file, again, other, seed, folder):
    """Files that must not restore, from FILE, another save of its VM, and one of another VM."""
    rng = random.Random(seed)
    whole, again, other = (pathlib.Path(name).read_bytes() for name in (file, again, other))
    at = boundaries(whole)
    key, header, records, end = at[0], at[1], at[2:-1], at[-1]
    record = [whole[a:b] for a, b in zip(at[2:-1], at[3:])]

    def put(name, data):
        pathlib.Path(folder, name).write_bytes(data)

    def flip(name, place):
        bad = bytearray(whole)
        bad[place] ^= 1 << rng.randrange(8)
        put(f"flip-{name}-{place - key}", bad)

    def cut(name, place):
        put(f"cut-{name}-{place - key}", whole[:place])

    def splice(name, changed):
        put(name, whole[: at[2]] + b"".join(changed))

    some = sorted(rng.sample(range(1, len(records) - 1), 3))
    for name, place in [
        ("key-magic", key + rng.randrange(8)),
        ("key-vm", key + 16 + rng.randrange(16)),
        ("key-salt", key + 32 + rng.randrange(32)),
        ("key-record", key + 96 + rng.randrange(header - key - 96)),
        ("header-size", header + 12 + rng.randrange(4)),
        ("header-salt", header + 32 + rng.randrange(32)),
        ("header-commitment", header + 64 + rng.randrange(32)),
        ("final-mark", records[-1]),
        ("final-tag", end - 1 - rng.randrange(16)),
    ]:
        flip(name, place)
    for i in some:
        flip("prefix", records[i] + rng.randrange(4))
        flip("tag", records[i + 1] - 1 - rng.randrange(16))
    for _ in range(5):
        flip("anywhere", rng.randrange(key, end))

    for place in (key, key + rng.randrange(1, header - key), header, records[0], records[-1]):
        cut("front" if place <= records[0] else "before-final", place)
    cut("boundary", records[some[0]])
    cut("prefix", records[some[1]] + 2)
    cut("byte", end - 1)
    for _ in range(2):
        cut("anywhere", rng.randrange(records[0], end))

    i = some[0]
    splice("swapped", record[: i - 1] + [record[i], record[i - 1]] + record[i + 1 :])
    splice("repeated", record[: i + 1] + record[i:])
    splice("dropped", record[:i] + record[i + 1 :])
    splice("trailing-byte", record + [b"\0"])
    splice("trailing-file", record + [whole[key:]])
    splice("final-twice", record + record[-1:])

    for name, source in (("again", again), ("other", other)):
        there = boundaries(source)
        theirs = source[there[2 + i] : there[3 + i]]
        splice(f"record-of-{name}", record[:i] + [theirs] + record[i + 1 :])
        put(f"tail-of-{name}", whole[: records[i]] + source[there[2 + i] :])
        put(f"records-of-{name}", whole[: at[2]] + source[there[2] :])
        put(f"header-of-{name}", whole[:header] + source[there[1] : there[2]] + whole[at[2] :])
        put(f"key-of-{name}", whole[:key] + source[there[0] : there[1]] + whole[header:])
    put("file-of-other", whole[:key] + other[boundaries(other)[0] :])


def hurry(path):
    """Monitor commands while the state is on its way: none may do anything."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(20)
        monitor.connect(path)
        lines = monitor.makefile("rw", newline="\r\n")
        json.loads(lines.readline())
        for command, arguments, wanted in [
            ("qmp_capabilities", {}, None),
            ("query-status", {}, None),
            ("cont", {}, "shieldvm: state.unverified: "),
            ("migrate-incoming", {"uri": "tcp:127.0.0.1:4444"}, "shieldvm: "),
            ("migrate-incoming", {"uri": "fd:99"}, "shieldvm: "),
            ("migrate", {"uri": "fd:nobody"}, "shieldvm: "),
        ]:
            lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\r\n")
            lines.flush()
            answer = json.loads(lines.readline())
            while "event" in answer:
                answer = json.loads(lines.readline())
            print(command, answer)
            error = answer.get("error", {}).get("desc")
            if (wanted is None) != (error is None) or wanted and not error.startswith(wanted):
                sys.exit(f"{command}: {answer}")


def overlay(base):
    tree = ElementTree.parse(sys.stdin)
    for disk in tree.iter("disk"):
        for chain in disk.findall("backingStore"):
            disk.remove(chain)
        disk.find("driver").set("type", "qcow2")
        disk.find("source").attrib.clear()
        disk.find("source").set("file", f"{base}.{disk.find('target').get('dev')}")
    tree.write(sys.stdout, encoding="unicode")


def main():
    if len(sys.argv) == 7 and sys.argv[1] == "damage":
        damage(*sys.argv[2:])
        return
    if len(sys.argv) == 3 and sys.argv[1] == "hurry":
        hurry(sys.argv[2])
        return
    if len(sys.argv) != 3 or sys.argv[1] not in ("entropy", "map", "whole", "overlay"):
        sys.exit(__doc__)
    if sys.argv[1] == "overlay":
        overlay(sys.argv[2])
        return
    with open(sys.argv[2], "rb") as f:
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        if sys.argv[1] == "entropy":
            entropy(data)
        elif sys.argv[1] == "whole":
            found = boundaries(data)
            if found[-1] != len(data) or not data[found[-2]] & 0x80:
                sys.exit("it is not whole")
        else:
            print(*boundaries(data), sep="\n")


if __name__ == "__main__":
    main()
