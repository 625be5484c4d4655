#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes the logs of a host that never was, written from the specifications, and what its TPM would have got:

  attest_log.py FOLDER [CHANGE...]

writes FOLDER/eventlog, FOLDER/ima, and FOLDER/extend with one "PCR:sha256=DIGEST" a line, for tpm2_pcrextend. A CHANGE
makes another host of it: secure-boot-off, firmware-debug, other-loader, cmdline=TEXT, no-ima, late-authority; or it
spoils the log alone: drop, append, reorder, empty."""
import hashlib
import struct
import sys

NO_ACTION, SEPARATOR, CRTM_VERSION, IPL = 3, 4, 8, 0xD
VARIABLE, BOOT, APPLICATION, ACTION, BLOB, AUTHORITY = (0x80000000 + n for n in (1, 2, 3, 7, 8, 0xE0))
GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
SECURITY = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
TYPE_SHA256 = bytes.fromhex("2616c4c14c509240aca941f936934328")
OWNER = bytes.fromhex("bd9afa775903324dbd6028f4e78f784b")
CMDLINE = "/vmlinuz root=/dev/vda2 lockdown=confidentiality intel_iommu=on nohibernate systemd.swap=0"


def sha256(data):
    return hashlib.sha256(data).digest()


def variable(guid, name, data):
    return guid + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def database(digests):
    body = b"".join(OWNER + d for d in digests)
    return TYPE_SHA256 + struct.pack("<III", 28 + len(body), 0, 48) + body


class Host:
    def __init__(self):
        self.events = []

    def measure(self, pcr, kind, data, hashed=None):
        self.events.append((pcr, kind, sha256(data if hashed is None else hashed), data))

    def boot(self, changes):
        cmdline = next((c[8:] for c in changes if c.startswith("cmdline=")), CMDLINE)
        dbx = [sha256(b"revoked 1"), sha256(b"revoked 2")]
        self.measure(0, CRTM_VERSION, "1.0".encode("utf-16-le") + b"\0\0")
        self.measure(0, BLOB, struct.pack("<QQ", 0xFFC00000, 0x400000), b"the firmware")
        self.measure(7, VARIABLE, variable(GLOBAL, "SecureBoot", b"\0" if "secure-boot-off" in changes else b"\1"))
        for guid, name, data in ((GLOBAL, "PK", b"platform key"), (GLOBAL, "KEK", b"exchange key"),
                                 (SECURITY, "db", b"allowed"), (SECURITY, "dbx", database(dbx))):
            self.measure(7, VARIABLE, variable(guid, name, data))
        if "firmware-debug" in changes:
            self.measure(7, ACTION, b"UEFI Debug Mode")
        self.measure(1, BOOT, variable(GLOBAL, "BootOrder", b"\0\0"))
        self.measure(4, ACTION, b"Calling EFI Application from Boot Option")
        for pcr in range(8):
            self.measure(pcr, SEPARATOR, bytes(4))
        authority = b"another" if "late-authority" in changes else b"the vendor's"
        self.measure(7, AUTHORITY, variable(SECURITY, "db", OWNER + authority))
        loader = b"another loader" if "other-loader" in changes else b"the loader"
        self.measure(4, APPLICATION, struct.pack("<QQQQ", 0x1000, 0x2000, 0, 0), loader)
        self.measure(14, IPL, b"MokList\0", b"the machine owner's keys")
        for text in ("set root=hd0,gpt2", "linux " + cmdline):
            self.measure(8, IPL, b"grub_cmd: " + text.encode() + b"\0", text.encode())
        self.measure(8, IPL, b"kernel_cmdline: " + cmdline.encode() + b"\0", cmdline.encode())
        self.measure(9, IPL, b"/vmlinuz\0", b"the kernel")
        for text in ("Exit Boot Services Invocation", "Exit Boot Services Returned with Success"):
            self.measure(5, ACTION, text.encode())

    def replay(self):
        values = [bytes(32)] * 24
        for pcr, _, digest, _ in self.events:
            values[pcr] = sha256(values[pcr] + digest)
        return values

    def log(self):
        header = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, 0xB, 32, 0)
        out = struct.pack("<II20sI", 0, NO_ACTION, bytes(20), len(header)) + header
        for pcr, kind, digest, data in self.events:
            out += struct.pack("<IIIH", pcr, kind, 1, 0xB) + digest + struct.pack("<I", len(data)) + data
        return out


def field(data):
    return struct.pack("<I", len(data)) + data


def ima(values):
    """The list and what it extends."""
    aggregate = sha256(b"".join(values[:10]))
    out, extends = b"", []
    for name, digest in (("boot_aggregate", aggregate), ("/usr/bin/init", sha256(b"init"))):
        data = field(b"sha256:\0" + digest) + field(name.encode() + b"\0")
        out += struct.pack("<I", 10) + hashlib.sha1(data).digest() + field(b"ima-ng") + field(data)
        extends.append(sha256(data))
    return out, extends


def main(folder, changes):
    host = Host()
    host.boot(changes)
    measurements, extends = ima(host.replay())
    lines = [(pcr, digest) for pcr, _, digest, _ in host.events]
    if "no-ima" in changes:
        measurements = b""
    else:
        lines += [(10, digest) for digest in extends]
    if "drop" in changes:
        del host.events[1]
    if "append" in changes:
        host.measure(7, AUTHORITY, b"more")
    if "reorder" in changes:
        host.events[0], host.events[1] = host.events[1], host.events[0]
    log = b"" if "empty" in changes else host.log()
    for name, data in (("eventlog", log), ("ima", measurements),
                       ("extend", "".join(f"{pcr}:sha256={digest.hex()}\n" for pcr, digest in lines).encode())):
        with open(f"{folder}/{name}", "wb") as f:
            f.write(data)


main(sys.argv[1], sys.argv[2:])
