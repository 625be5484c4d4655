#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Write logs.txt, lists.txt and the seeds of the fuzz targets: a second implementation of TCG's crypto-agile event log
and of the kernel's measurement list, and of their replay.

It shares nothing with attest/ and uses hashlib only.  Run by hand, from any folder; the output is in the tree.  Before it
writes anything it replays the logs in real/ (tests/integration/attest-logs.sh records such) to the PCRs that were read
beside them, so that what it takes for the format is what firmware and kernel write.
"""

import hashlib
import os
import re
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = os.path.join(HERE, "../../fuzz/attest")
ALGORITHMS = {"sha1": (0x04, 20), "sha256": (0x0B, 32), "sha384": (0x0C, 48), "sha512": (0x0D, 64), "sm3_256": (0x12, 32)}
NAMES = {number: name for name, (number, _) in ALGORITHMS.items()}

NO_ACTION, SEPARATOR, ACTION, EVENT_TAG, S_CRTM_VERSION, IPL = 3, 4, 5, 6, 8, 13
DRIVER_CONFIG, BOOT_APPLICATION, EFI_ACTION = 0x80000001, 0x80000003, 0x80000007
HCRTM, AUTHORITY = 0x80000010, 0x800000E0

GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
DATABASE = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
CERT_SHA256 = bytes.fromhex("2616c4c14c509240aca941f936934328")
CERT_X509 = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")


def digest(bank, data):
    # Of what nobody here can work out there are only bytes of that length.
    if bank == "sm3_256":
        return hashlib.sha256(b"sm3" + data).digest()
    return hashlib.new(bank, data).digest()


def extend(bank, value, with_digest):
    return digest(bank, value + with_digest)


# Event logs.


class Event:
    def __init__(self, pcr, kind, data, *, measured=None, digests=None, size=None, count=None, ids=None):
        self.pcr, self.kind, self.data = pcr, kind, data
        self.measured = data if measured is None else measured
        self.digests = digests or {}
        self.size, self.count, self.ids = size, count, ids

    def of(self, bank):
        if bank in self.digests:
            return self.digests[bank]
        if self.kind == NO_ACTION:
            return bytes(ALGORITHMS[bank][1])
        return digest(bank, self.measured)

    def bytes(self, banks):
        out = struct.pack("<III", self.pcr, self.kind, len(banks) if self.count is None else self.count)
        for i, bank in enumerate(banks):
            number = self.ids[i] if self.ids else ALGORITHMS[bank][0]
            out += struct.pack("<H", number) + self.of(bank)
        return out + struct.pack("<I", len(self.data) if self.size is None else self.size) + self.data


def header(banks, *, signature=b"Spec ID Event03\0", kind=NO_ACTION, algorithms=None, vendor=b"", size=None, count=None):
    rows = algorithms or [ALGORITHMS[bank] for bank in banks]
    data = signature + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(rows) if count is None else count)
    data += b"".join(struct.pack("<HH", *row) for row in rows) + bytes([len(vendor)]) + vendor
    return struct.pack("<II20sI", 0, kind, bytes(20), len(data) if size is None else size) + data


def log(banks, events, **kwargs):
    return header(banks, **kwargs) + b"".join(e.bytes(banks) for e in events)


def replay(bank, events, first=0):
    values = [bytes(ALGORITHMS[bank][1]) for _ in range(17)]
    values[0] = values[0][:-1] + bytes([first])
    for e in events:
        if e.kind != NO_ACTION and e.pcr < 17:
            values[e.pcr] = extend(bank, values[e.pcr], e.of(bank))
    return values


def variable(guid, name, data):
    return guid + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def signatures(kind, entries):
    size = len(entries[0])
    return kind + struct.pack("<III", 28 + size * len(entries), 0, size) + b"".join(entries)


def image(path):
    return struct.pack("<QQQQ", 0x1BACE018, 20226064, 0, len(path)) + path


OWNER = bytes(range(16))
DB = signatures(CERT_X509, [OWNER + b"a certificate that nobody looks into"])
DBX = signatures(CERT_SHA256, [OWNER + digest("sha256", bytes([i])) for i in range(3)])


def separators(pcrs=range(8), value=bytes(4)):
    return [Event(pcr, SEPARATOR, value) for pcr in pcrs]


def machine(secure_boot=1):
    return [
        Event(0, S_CRTM_VERSION, "1.0\0".encode("utf-16-le")),
        Event(7, DRIVER_CONFIG, variable(GLOBAL, "SecureBoot", bytes([secure_boot]))),
        Event(7, DRIVER_CONFIG, variable(GLOBAL, "PK", DB)),
        Event(7, DRIVER_CONFIG, variable(GLOBAL, "KEK", DB)),
        Event(7, DRIVER_CONFIG, variable(DATABASE, "db", DB)),
        Event(7, DRIVER_CONFIG, variable(DATABASE, "dbx", DBX)),
        Event(4, EFI_ACTION, b"Calling EFI Application from Boot Option"),
        *separators(),
        Event(7, AUTHORITY, variable(DATABASE, "db", OWNER + b"a certificate that nobody looks into")),
        Event(4, BOOT_APPLICATION, image(b"path"), measured=b"Authenticode"),
        Event(8, IPL, b"grub_cmd: linux /vmlinuz", measured=b"linux /vmlinuz"),
        Event(9, EVENT_TAG, b"Linux initrd", measured=b"the initrd"),
        Event(5, EFI_ACTION, b"Exit Boot Services Invocation"),
    ]


def locality(number, pcr=0, tail=b""):
    return Event(pcr, NO_ACTION, b"StartupLocality\0" + bytes([number]) + tail)


def at_separator(events, pcr):
    return next(i for i, e in enumerate(events) if e.kind == SEPARATOR and e.pcr == pcr)


def with_separator(pcr, *instead):
    events = machine()
    i = at_separator(events, pcr)
    return events[:i] + list(instead) + events[i + 1:]


def log_cases():
    """(name, bank, what comes out, log, the machine's PCRs)"""
    one, two, three = ["sha256"], ["sha1", "sha256"], ["sha1", "sha384", "sha256", "sm3_256"]
    good = machine()
    pcrs = replay("sha256", good)

    yield "one-bank", "sha256", "ok", log(one, good), pcrs
    yield "two-banks", "sha256", "ok", log(two, good), pcrs
    yield "banks-in-any-order", "sha384", "ok", log(three, good, vendor=b"vendor"), replay("sha384", good)
    yield "sha512", "sha512", "ok", log(["sha512"], good), replay("sha512", good)
    ones = separators(value=b"\xff" * 4)
    yield "separators-of-ones", "sha256", "ok", log(one, ones), replay("sha256", ones)
    more = good[:3] + [Event(0, NO_ACTION, b"SP800-155 Event\0....")] + good[3:]
    yield "no-action-is-not-extended", "sha256", "ok", log(one, more), pcrs
    for number in (0, 3, 4):
        yield (f"locality-{number}", "sha256", "ok", log(one, [locality(number)] + good),
               replay("sha256", good, number))
    measured = [Event(0, HCRTM, b"HCRTM")] + good
    yield "hcrtm", "sha256", "ok", log(one, measured), replay("sha256", measured, 4)
    yield "hcrtm-locality", "sha256", "ok", log(one, [locality(4)] + measured), replay("sha256", measured, 4)
    debug = good + [Event(16, IPL, b"debug"), Event(23, IPL, b"application")]
    yield "pcr-16-and-23", "sha256", "ok", log(one, debug), replay("sha256", debug)

    # Well-formed, but not what the machine measured.
    yield "dropped", "sha256", "replay", log(one, good[:-1]), pcrs
    yield "dropped-first", "sha256", "replay", log(one, good[1:]), pcrs
    yield "reordered", "sha256", "replay", log(one, good[:2] + [good[3], good[2]] + good[4:]), pcrs
    yield "appended", "sha256", "replay", log(one, good + [Event(4, EFI_ACTION, b"more")]), pcrs
    yield "repeated", "sha256", "replay", log(one, good + good[-1:]), pcrs
    yield "another-digest", "sha256", "replay", log(one, machine(0)), pcrs
    yield "another-pcr", "sha256", "replay", log(one, good[:-1] + [Event(6, EFI_ACTION, good[-1].data)]), pcrs
    yield "locality-made-up", "sha256", "replay", log(one, [locality(3)] + good), pcrs
    yield "locality-left-out", "sha256", "replay", log(one, good), replay("sha256", good, 3)
    hidden = good[:-1] + [Event(5, NO_ACTION, good[-1].data)]
    yield "hidden-as-no-action", "sha256", "replay", log(one, hidden), pcrs
    yield "only-separators", "sha256", "replay", log(one, separators()), pcrs

    # Refused before any replay, each for its own reason.
    def bad(name, wanted, data, bank="sha256"):
        return name, bank, wanted, data, None

    yield bad("empty-log", "log.separator", log(one, []))
    yield bad("no-separator", "log.separator", log(one, with_separator(3)))
    yield bad("second-separator", "log.separator", log(one, good + separators([7])))
    yield bad("second-separator-of-ones", "log.separator", log(one, good + separators([0], b"\xff" * 4)))
    yield bad("second-separator-as-action", "log.separator", log(one, good + [Event(7, EFI_ACTION, bytes(4))]))
    yield bad("separator-as-config", "log.separator",
              log(one, with_separator(7, Event(7, DRIVER_CONFIG, b"any", measured=bytes(4)))))
    yield bad("separator-retagged-and-another", "log.separator",
              log(one, with_separator(7, Event(7, EFI_ACTION, b"any", measured=bytes(4))) + separators([7])))
    yield bad("separator-as-no-action", "log.event",
              log(one, with_separator(7, Event(7, NO_ACTION, bytes(4), digests={"sha256": digest("sha256", bytes(4))}))))
    yield bad("separator-of-other-digest", "log.separator",
              log(one, with_separator(7, Event(7, SEPARATOR, bytes(4), measured=b"other"))))
    yield bad("separator-of-other-data", "log.separator",
              log(one, with_separator(7, Event(7, SEPARATOR, b"\xff" * 4, measured=bytes(4)))))
    yield bad("firmware-error", "log.firmware-error",
              log(one, with_separator(2, Event(2, SEPARATOR, b"it broke", measured=b"\1\0\0\0"))))
    for name, size in (("3-gib", 3 << 30), ("4-gib", (1 << 32) - 1), ("over", 256 * 1024 + 1)):
        yield bad(f"size-{name}", "log.size", log(one, good + [Event(8, IPL, b"", size=size)]))
    yield bad("header-size-3-gib", "log.size", log(one, good, size=3 << 30))
    yield bad("size-one-too-many", "log.truncated", log(one, good[:-1] + [Event(8, IPL, b"x", size=2)]))
    yield bad("size-one-too-few", "log.truncated", log(one, good + [Event(8, IPL, b"x", size=0)]))
    yield bad("trailing", "log.truncated", log(one, good) + b"\0")
    yield bad("unknown-algorithm", "log.algorithm", log(one, good, algorithms=[(0x0B, 32), (0x99, 32)]))
    yield bad("algorithm-of-other-size", "log.algorithm", log(one, good, algorithms=[(0x0B, 20)]))
    yield bad("algorithm-twice", "log.algorithm", log(["sha256", "sha256"], good))
    yield bad("no-algorithm", "log.algorithm", log([], []))
    yield bad("algorithms-without-number", "log.algorithm", log(one, good, count=0x40000000))
    yield bad("other-bank-only", "log.bank", log(["sha384"], good))
    yield bad("sha1-only", "log.bank", log(["sha1"], good))
    yield bad("sha1-asked-for", "log.bank", log(two, good), "sha1")
    yield bad("digest-missing", "log.digests", log(two, good[:3] + [Event(7, EFI_ACTION, b"", count=1)]))
    yield bad("digests-too-many", "log.digests", log(two, good[:3] + [Event(7, EFI_ACTION, b"", count=3)]))
    yield bad("digests-4-billion", "log.digests", log(two, good[:3] + [Event(7, EFI_ACTION, b"", count=(1 << 32) - 1)]))
    yield bad("digest-of-unnamed-algorithm", "log.digests",
              log(two, good[:3] + [Event(7, EFI_ACTION, b"", ids=[0x04, 0x0C])]))
    yield bad("digest-twice", "log.digests", log(one + ["sha384"], good[:3] + [Event(7, EFI_ACTION, b"", ids=[0x0B, 0x0B])]))
    yield bad("pcr-24", "log.pcr", log(one, good + [Event(24, IPL, b"x")]))
    yield bad("pcr-4-billion", "log.pcr", log(one, good + [Event((1 << 32) - 1, IPL, b"x")]))
    yield bad("unknown-type", "log.type", log(one, good + [Event(8, 0x80000FFF, b"x")]))
    yield bad("type-0", "log.type", log(one, good + [Event(8, 0, b"x")]))
    yield bad("no-action-with-digest", "log.event",
              log(one, good[:2] + [Event(0, NO_ACTION, b"x", digests={"sha256": b"\1" + bytes(31)})] + good[2:]))
    yield bad("locality-2", "log.locality", log(one, [locality(2)] + good))
    yield bad("locality-long", "log.locality", log(one, [locality(3, tail=b"\0")] + good))
    yield bad("locality-of-pcr-1", "log.locality", log(one, [locality(3, pcr=1)] + good))
    yield bad("locality-late", "log.locality", log(one, good + [locality(3)]))
    yield bad("locality-twice", "log.locality", log(one, [locality(3), locality(3)] + good))
    yield bad("hcrtm-late", "log.locality", log(one, good + [Event(0, HCRTM, b"HCRTM")]))
    yield bad("hcrtm-at-locality-3", "log.locality", log(one, [locality(3)] + measured))
    yield bad("second-header", "log.header", log(one, good + [Event(0, NO_ACTION, b"Spec ID Event03\0")]))
    yield bad("header-of-tcg-1.2", "log.header", log(one, good, signature=b"Spec ID Event02\0"))
    yield bad("header-of-another-type", "log.header", log(one, good, kind=S_CRTM_VERSION))
    yield bad("no-bytes", "log.truncated", b"")
    legacy = struct.pack("<II20sI", 0, S_CRTM_VERSION, digest("sha1", b"1.0"), 3) + b"1.0"
    yield bad("legacy-log", "log.header", legacy * 4)


# Measurement lists.


def field(data):
    return struct.pack("<I", len(data)) + data


def entry(template, data, *, pcr=10, sha1=None):
    return (struct.pack("<I", pcr) + (digest("sha1", data) if sha1 is None else sha1) + field(template.encode()) +
            field(data)), (data if sha1 != bytes(20) else None)


def fields(name, content, alg="sha256", *more, zeros=None):
    value = digest(alg, content) if zeros is None else bytes(zeros)
    return field(alg.encode() + b":\0" + value) + field(name.encode() + b"\0") + b"".join(field(m) for m in more)


def aggregate(bank, values):
    return b"".join(values[:8 if bank == "sha1" else 10])


def list_replay(bank, entries):
    value = bytes(ALGORITHMS[bank][1])
    for _, data in entries:
        value = extend(bank, value, b"\xff" * len(value) if data is None else digest(bank, data))
    return value


def padded_replay(bank, entries):
    """What a kernel extends that has not got the bank's hash function: SHA-1 digests with zeros behind."""
    value = bytes(ALGORITHMS[bank][1])
    for _, data in entries:
        value = extend(bank, value, b"\xff" * len(value) if data is None else digest("sha1", data).ljust(len(value), b"\0"))
    return value


def list_cases():
    """(name, bank, what comes out, list, PCR 10, entries that count, PCRs 0 to 9, what the aggregate gives)"""
    pcrs = {bank: [digest(bank, bytes([i])) for i in range(10)] for bank in ("sha1", "sha256", "sha384")}

    def start(bank="sha256"):
        return entry("ima-ng", fields("boot_aggregate", aggregate(bank, pcrs[bank]), bank))

    signed = entry("ima-sig", fields("/usr/bin/signed", b"signed", "sha256", b"\3\2signature"))
    unsigned = entry("ima-sig", fields("/usr/lib/a library.so", b"unsigned", "sha256", b""))
    buffer = entry("ima-buf", fields("kexec-cmdline", b"ro quiet", "sha256", b"ro quiet"))
    before_62 = entry("ima-sig", fields("/var/log/syslog", b"", "sha256", b"", zeros=20), sha1=bytes(20))
    since_62 = entry("ima-ng", fields("/var/log/syslog", b"", "sha256", zeros=32), sha1=bytes(20))
    good = [start(), signed, unsigned, buffer, before_62, since_62]

    def text(entries):
        return b"".join(raw for raw, _ in entries)

    for bank in ("sha1", "sha256", "sha384"):
        entries = [start(bank)] + good[1:]
        for n in (1, 3, 5, 6):
            yield (f"{bank}-first-{n}", bank, "ok", text(entries), list_replay(bank, entries[:n]), n, pcrs[bank], "ok")
    other = [digest("sha256", b"another boot")] + pcrs["sha256"][1:]
    value = list_replay("sha256", good)
    yield "another-boot", "sha256", "ok", text(good), value, 6, other, "not-authentic"
    yield "aggregate-of-another-bank", "sha384", "ok", text(good), list_replay("sha384", good), 6, pcrs["sha384"], "unknown"
    rest = good[1:]
    yield "no-aggregate", "sha256", "ok", text(rest), list_replay("sha256", rest), 5, pcrs["sha256"], "not-authentic"

    def differs(name, entries):
        return name, "sha256", "replay", text(entries), value, 0, None, None

    yield differs("dropped", good[:-1])
    yield differs("dropped-first", good[1:])
    yield differs("reordered", [good[0], good[2], good[1]] + good[3:])
    yield differs("inserted", [good[0], good[0]] + good[1:])
    yield differs("empty", [])
    yield "reset-value", "sha256", "replay", text(good), bytes(32), 0, None, None

    def bad(name, wanted, data):
        return name, "sha256", wanted, data, None, 0, None, None

    yield bad("pcr-11", "ima.pcr", entry("ima-ng", fields("f", b"f"), pcr=11)[0])
    yield bad("template-ima", "ima.template", entry("ima", digest("sha1", b"f") + field(b"f"))[0])
    yield bad("template-modsig", "ima.template", entry("ima-modsig", fields("f", b"f", "sha256", b"", b"", b""))[0])
    yield bad("template-ngv2", "ima.template", entry("ima-ngv2", field(b"ima:sha256:\0" + bytes(32)) + field(b"f\0"))[0])
    yield bad("template-name-3-gib", "ima.template", struct.pack("<I20sI", 10, bytes(20), 3 << 30) + bytes(40))
    yield bad("data-3-gib", "ima.truncated", text(good) + struct.pack("<I20s", 10, bytes(20)) + field(b"ima-ng") +
              struct.pack("<I", 3 << 30))
    yield bad("cut", "ima.truncated", text(good)[:-1])
    yield bad("trailing", "ima.pcr", text(good) + bytes(4))
    yield bad("md5", "ima.algorithm", entry("ima-ng", field(b"md5:\0" + bytes(16)) + field(b"f\0"))[0])
    yield bad("field-3-gib", "ima.format", entry("ima-ng", struct.pack("<I", 3 << 30) + fields("f", b"f")[4:])[0])
    yield bad("name-without-end", "ima.format", entry("ima-ng", fields("f", b"f")[:-5] + field(b"f"))[0])
    yield bad("name-with-two-ends", "ima.format", entry("ima-ng", fields("f\0g", b"f"))[0])
    yield bad("field-too-many", "ima.format", entry("ima-ng", fields("f", b"f", "sha256", b"x"))[0])
    yield bad("digest-of-other-data", "ima.digest", entry("ima-ng", fields("f", b"f"), sha1=digest("sha1", b"f"))[0])
    yield bad("violation-with-digest", "ima.format", entry("ima-ng", fields("f", b"f"), sha1=bytes(20))[0])


# What was recorded from a real machine.


def read_pcrs(path):
    """tpm2_pcrread's output: bank -> values"""
    out, bank = {}, None
    with open(path, encoding="ascii") as f:
        for line in f:
            if m := re.fullmatch(r"\s*(sha\d+):\s*", line):
                bank = out[m.group(1)] = {}
            elif m := re.fullmatch(r"\s*(\d+)\s*: 0x([0-9A-F]+)\s*", line):
                bank[int(m.group(1))] = bytes.fromhex(m.group(2))
    return out


def check_real(name):
    with open(os.path.join(HERE, "real", name + ".eventlog"), "rb") as f:
        data = f.read()
    with open(os.path.join(HERE, "real", name + ".ima"), "rb") as f:
        entries_data = f.read()
    pcrs = read_pcrs(os.path.join(HERE, "real", name + ".pcrs"))
    size, = struct.unpack_from("<I", data, 28)
    at, events, logged = 32 + size, [], set()
    while at < len(data):
        pcr, kind, count = struct.unpack_from("<III", data, at)
        at += 12
        digests = {}
        for _ in range(count):
            number, = struct.unpack_from("<H", data, at)
            n = ALGORITHMS[NAMES[number]][1]
            digests[NAMES[number]] = data[at + 2:at + 2 + n]
            at += 2 + n
        n, = struct.unpack_from("<I", data, at)
        events.append(Event(pcr, kind, data[at + 4:at + 4 + n], digests=digests))
        logged |= set(digests)
        at += 4 + n
    entries, at = [], 0
    while at < len(entries_data):
        n, = struct.unpack_from("<I", entries_data, at + 24)
        m, = struct.unpack_from("<I", entries_data, at + 28 + n)
        body = entries_data[at + 32 + n:at + 32 + n + m]
        entries.append((b"", body if any(entries_data[at + 4:at + 24]) else None))
        at += 32 + n + m
    banks = [bank for bank in pcrs if pcrs[bank]]
    assert banks and set(banks) == logged, (banks, logged)
    for bank in banks:
        values = replay(bank, events)
        prefixes = [list_replay(bank, entries[:n + 1]) for n in range(len(entries))]
        padded = [padded_replay(bank, entries[:n + 1]) for n in range(len(entries))]
        for i in range(17):
            assert i == 10 or values[i] == pcrs[bank][i], (name, bank, i)
        assert pcrs[bank][10] in (prefixes if bank == "sha256" else padded), (name, bank, 10)
    return data, entries_data, events


def seed(target, name, data):
    folder = os.path.join(SEEDS, target + ".corpus")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def main():
    real = {name: check_real(name) for name in ("ovmf", "ovmf-two-banks")}
    head = "# Made by make.py: do not edit.\n"
    logs, lists = [head], [head]
    for name, bank, wanted, data, pcrs in log_cases():
        logs.append(f"case {name}\nbank {bank}\nresult {wanted}\n" + (f"log {data.hex()}\n" if data else "") +
                    "".join(f"pcr {i} {v.hex()}\n" for i, v in enumerate(pcrs or [])) + "end\n")
        seed("eventlog", name, data)
    for name, bank, wanted, data, value, entries, pcrs, given in list_cases():
        lists.append(f"case {name}\nbank {bank}\nresult {wanted}\n" + (f"log {data.hex()}\n" if data else "") +
                     "".join(f"pcr {i} {v.hex()}\n" for i, v in enumerate(pcrs or [])) +
                     (f"pcr 10 {value.hex()}\n" if value else "") + f"entries {entries}\n" +
                     (f"aggregate {given}\n" if given else "") + "end\n")
        seed("ima", name, data)
    for name, (data, entries, _) in real.items():
        seed("eventlog", "real-" + name, data)
        seed("ima", "real-" + name, entries)
    # One seed for each kind of event data: what to decode it as, and it.
    decoders = {DRIVER_CONFIG: 0, 0x80000002: 0, AUTHORITY: 0, BOOT_APPLICATION: 2, 0x80000004: 2}
    for i, e in enumerate(real["ovmf"][2]):
        if e.kind in decoders:
            seed("efi", f"real-{i}", bytes([decoders[e.kind]]) + e.data)
    for name, data in (("x509", DB), ("sha256", DBX), ("both", DB + DBX), ("empty", b""), ("cut", DBX[:-1])):
        seed("efi", f"signatures-{name}", b"\1" + data)
    for name, lines in (("logs.txt", logs), ("lists.txt", lists)):
        with open(os.path.join(HERE, name), "w", encoding="ascii") as f:
            f.write("\n".join(lines))


main()
