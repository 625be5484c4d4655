#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Write stream.txt and the stream target's fuzz seeds: the second implementation of docs/FORMAT.md, "Sealed stream files".

Run by hand after make.py, which has the parts it is made of.  Records are big, so the plaintext is chosen such that the
ciphertext is one byte over and over, which takes no room here; what it is, its SHA-256 tells.  Compressed streams are
small instead; their frames are made by hand or by zstd(1).
"""

import hashlib
import os
import re
import struct
import subprocess
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from make import (HOST, MIB, OTHER_KEY, OTHER_VM, OWNER, STRANGER, TPM, VM, VM_KEY, Key, agree, b64, dump, seal, table,
                  unb64, uuid, write)

SIZE = 262144
LEVELS = {1: "encryption-supported", 2: "shielded"}
KEY_A, KEY_B = (hashlib.sha256(b"stream key " + c).digest() for c in (b"a", b"b"))
OTHER_TPM = TPM[:15] + b"\0"
NAMES = {6: "saved-state", 7: "dump"}


def state_key(stream_key=KEY_A, *, key=VM_KEY, vm=VM, tpm=TPM, level=2, **wrong):
    wrong = {"use": 5, "label": "state-key", "record_size": 32, **wrong}
    return seal(stream_key, key=key, vm=vm, context=tpm + bytes([level]), **wrong)


def jwe_header(*, vm=VM, tpm=TPM, level=2, owner=OWNER, ephemeral=None, **changes):
    ephemeral = ephemeral or Key("ephemeral of a dump")
    point = {name: ephemeral.public[name] for name in ("crv", "kty", "x", "y")}
    o = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "epk": point, "kid": owner.thumbprint(), "level": LEVELS[level],
         "tpm": tpm.hex(), "typ": "shieldvm-dump-key+jwe", "vm": uuid(vm)}
    return dict(o, **changes)


def compact(stream_key=KEY_A, header=None, owner=OWNER, cek=None, wrap_cek=None):
    """The JWE; HEADER an object or, to be spelled in another way, bytes."""
    cek = cek or hashlib.sha256(b"cek of a dump").digest()
    text = b64(header if isinstance(header, bytes) else dump(header or jwe_header()))
    iv = hashlib.sha256(b"iv of a dump").digest()[:12]
    sealed = AESGCM(cek).encrypt(iv, stream_key, text.encode())
    wrapped = aes_key_wrap(agree(owner, Key("ephemeral of a dump")), wrap_cek or cek)
    return ".".join((text, b64(wrapped), b64(iv), b64(sealed[:-16]), b64(sealed[-16:]))).encode()


def dump_key(jwe=None, *, vm=VM, magic=b"SHVDWRAP", version=1, purpose=7, wrapping=1, reserved=0, length=None):
    jwe = compact() if jwe is None else jwe
    return magic + bytes([version, purpose, wrapping, reserved]) + struct.pack(">I", len(jwe) if length is None else length) + vm + jwe


class Stream:
    """A stream under STREAM_KEY; every argument after LEVEL makes one that is wrong in that place alone."""

    def __init__(self, use=6, stream_key=KEY_A, *, vm=VM, tpm=TPM, level=2, salt=None, magic=b"SHVDSEAL", version=1,
                 aead=1, reserved=0, record_size=SIZE, label=None, commitment=None):
        salt = salt or hashlib.sha256(b"salt" + stream_key + bytes([use])).digest()
        head = magic + bytes([version, use, aead, reserved]) + struct.pack(">I", record_size)
        name = ("shieldvm/1/" + (label or NAMES.get(use, "none"))).encode()
        info = bytes([len(name)]) + name + vm + head + struct.pack(">H", 17) + tpm + bytes([level])
        okm = HKDF(hashes.SHA256(), 64, salt, info).derive(stream_key)
        self.gcm = AESGCM(okm[:32])
        self.header = head + vm + salt + (commitment or okm[32:])
        self.plain = {}

    def record(self, number, n=SIZE, final=False, *, nonce_number=None, nonce_final=None, prefix=None, aad=None, fill=None):
        fill = bytes([number + 1 if fill is None else fill])
        prefix = struct.pack(">I", (0x80000000 if final else 0) | n) if prefix is None else prefix
        nonce = (number if nonce_number is None else nonce_number).to_bytes(11, "big")
        nonce += bytes([int(final) if nonce_final is None else nonce_final])
        aad = prefix if aad is None else aad
        keystream = self.gcm.encrypt(nonce, bytes(n), aad)[:n]
        plain = bytes(a ^ fill[0] for a in keystream)
        sealed = self.gcm.encrypt(nonce, plain, aad)
        assert sealed[:n] == fill * n
        self.plain[number] = plain
        return prefix + sealed

    def holding(self, *parts):
        """A whole stream with PARTS as the plaintext of its records, whatever their sizes."""
        last = len(parts) - 1
        prefixes = [struct.pack(">I", (i == last) << 31 | len(part)) for i, part in enumerate(parts)]
        return self.header + b"".join(
            prefixes[i] + self.gcm.encrypt(i.to_bytes(11, "big") + bytes([i == last]), part, prefixes[i])
            for i, part in enumerate(parts))

    def records(self, n):
        """All of a stream of N bytes, in a list."""
        sizes = [SIZE] * ((n - 1) // SIZE) + [n - (n - 1) // SIZE * SIZE] if n else [0]
        return [self.record(i, size, i == len(sizes) - 1) for i, size in enumerate(sizes)]

    def released(self, count):
        return b"".join(self.plain[i] for i in range(count))


# Frames of zstd (RFC 8878): the header, here without any optional field, and blocks.


def block(data, last=False, kind=0, size=None):
    """Raw, or as KIND (1 RLE, 2 compressed, 3 reserved) says."""
    return struct.pack("<I", (len(data) if size is None else size) << 3 | kind << 1 | last)[:3] + data


def frame(*blocks, descriptor=0, window=0x40, fields=b"", magic=b"\x28\xb5\x2f\xfd"):
    return magic + bytes([descriptor, window]) + fields + b"".join(blocks or (block(b"", True),))


def zstd(data, *options):
    out = subprocess.run(["zstd", "-q", "--no-check", "--zstd=wlog=18", *options, "-c"], input=data, capture_output=True,
                         check=True).stdout
    assert out[:6] == frame()[:6], out[:6].hex()
    return out


def compressed_cases(case):
    text = b"".join(b"page %d of the memory of a guest, " % (i * i) for i in range(900))
    three = frame(block(b"abc", True))
    skippable = b"\x50\x2a\x4d\x18\0\0\0\0"

    def one(name, err, plain, released=b"", kind=6, compression=1):
        key_record = dump_key() if kind == 7 else state_key()
        case("zstd-" + name, err, key_record + Stream(kind, reserved=compression).holding(plain), released, kind)

    one("empty", "ok", frame())
    one("raw", "ok", three, b"abc")
    one("two-blocks", "ok", frame(block(b"abc"), block(b"de", True)), b"abcde")
    one("rle", "ok", frame(block(b"z", True, 1, 131072)), b"z" * 131072)
    one("rle-many", "ok", frame(*[block(b"z", i == 20, 1, 131072 - i) for i in range(21)]),
        b"".join(b"z" * (131072 - i) for i in range(21)))
    for level in (1, 3, 19):
        one(f"level-{level}", "ok", zstd(text, f"-{level}"), text)
    one("of-a-dump", "ok", zstd(text), text, kind=7)
    one("not-said", "ok", three, three, compression=0)
    one("said-of-none", "ERR_FORMAT", b"plain text")
    for value in (2, 3, 128, 255):
        one(f"compression-{value}", "ERR_VERSION", three, compression=value)
    said, silent = Stream(reserved=1).holding(three), Stream().holding(three)
    case("zstd-relabelled-as-none", "ERR_AUTH", state_key() + said[:11] + b"\0" + said[12:])
    case("none-relabelled-as-zstd", "ERR_AUTH", state_key() + silent[:11] + b"\1" + silent[12:])
    for window in (0, 0x38, 0x3f, 0x41, 0x48, 0x50, 0xa8, 0xff):
        one(f"window-{window:02x}", "ERR_FORMAT", frame(window=window))
    one("content-size", "ERR_FORMAT", frame(block(b"a" * 300, True), descriptor=0x40, fields=struct.pack("<H", 300 - 256)))
    one("single-segment", "ERR_FORMAT", b"\x28\xb5\x2f\xfd\x20\3" + block(b"abc", True))
    one("checksum", "ERR_FORMAT", frame(block(b"", True), b"\x99\xe9\xd8\x51", descriptor=4))
    one("dictionary", "ERR_FORMAT", frame(descriptor=1, fields=b"\1"))
    one("unused-bit", "ERR_FORMAT", frame(descriptor=0x10))
    one("reserved-bit", "ERR_FORMAT", frame(descriptor=8))
    one("another-magic", "ERR_FORMAT", frame(magic=b"\x27\xb5\x2f\xfd"))
    one("skippable-in-front", "ERR_FORMAT", skippable + three)
    one("skippable-alone", "ERR_FORMAT", skippable)
    one("skippable-behind", "ERR_TRAILING", three + skippable)
    one("second-frame", "ERR_TRAILING", three + three)
    one("byte-behind", "ERR_TRAILING", three + b"\0")
    one("reserved-block", "ERR_FORMAT", frame(block(b"", True, 3)))
    one("block-too-large", "ERR_FORMAT", frame(block(b"z", True, 1, 131073)))
    one("nonsense", "ERR_FORMAT", frame(block(b"\xff" * 9, True, 2)))
    one("nothing", "ERR_TRUNCATED", b"")
    one("header-cut", "ERR_TRUNCATED", three[:5])
    one("header-alone", "ERR_TRUNCATED", three[:6])
    one("block-cut", "ERR_TRUNCATED", three[:-1])
    one("no-last-block", "ERR_TRUNCATED", frame(block(b"abc")))
    one("compressed-block-cut", "ERR_TRUNCATED", zstd(text)[:-1])
    case("zstd-short-record", "ERR_FORMAT", state_key() + Stream(reserved=1).holding(three[:7], three[7:]))


def cases():
    out = []

    def case(name, err, data, released=b"", kind=6, vm=VM, tpm=TPM, level=2):
        out.append((name, str(kind), uuid(vm), tpm.hex(), str(level), err, str(len(released)),
                    hashlib.sha256(released).hexdigest() if released else "-", data))

    # What is right.
    for kind, key_record in ((6, state_key()), (7, dump_key())):
        for n in (0, 1, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE, 2 * SIZE + 100):
            s = Stream(kind)
            data = key_record + s.header + b"".join(s.records(n))
            case(f"{NAMES[kind]}-{n}", "ok", data, s.released(len(s.plain)), kind)
    s = Stream(6, level=1)
    case("lower-level", "ok", state_key(level=1) + s.header + s.record(0, 3, True), s.plain[0], level=1)
    s = Stream(7, level=1)
    case("dump-lower-level", "ok", dump_key(compact(header=jwe_header(level=1))) + s.header + s.record(0, 3, True), s.plain[0], 7,
         level=1)

    a = Stream()
    a0, a1, a2 = a.records(2 * SIZE + 100)
    k, h = state_key(), a.header
    good = k + h + a0 + a1 + a2
    one, two = a.released(1), a.released(2)
    b = Stream(stream_key=KEY_B)
    b0, b1, b2 = b.records(2 * SIZE + 100)
    foreign = Stream(stream_key=KEY_B, vm=OTHER_VM)
    f0 = foreign.record(0)
    d = Stream(7)
    d0 = d.record(0, 5, True)
    dk = dump_key()
    small = Stream().record(0, 5, True)

    # The key record.
    case("empty", "ERR_TRUNCATED", b"")
    case("four-bytes", "ERR_TRUNCATED", good[:4])
    case("plain-text", "ERR_FORMAT", b"LibvirtQemudSave")
    case("magic-in-small-letters", "ERR_FORMAT", good[:8].lower() + good[8:])
    case("version-2", "ERR_VERSION", state_key(version=2) + h + a0)
    case("version-2-short", "ERR_VERSION", state_key(version=2)[:9])
    case("head-short-by-1", "ERR_TRUNCATED", good[:31])
    case("head-alone", "ERR_TRUNCATED", good[:32])
    case("key-record-short-by-1", "ERR_TRUNCATED", good[:147])
    case("key-record-alone", "ERR_TRUNCATED", good[:148])
    case("a-dump-is-no-state", "ERR_PURPOSE", dk + d.header + d0)
    case("a-state-is-no-dump", "ERR_PURPOSE", good, kind=7)
    case("no-key-record", "ERR_PURPOSE", good[148:])
    case("a-vtpm-state-first", "ERR_PURPOSE", seal(KEY_A, use=1) + good[148:])
    case("purpose-8-first", "ERR_VERSION", state_key(use=8) + good[148:])
    case("key-aead-2", "ERR_VERSION", state_key(aead=2) + good[148:])
    case("key-reserved-1", "ERR_FORMAT", state_key(reserved=1) + good[148:])
    case("key-record-size-1048576", "ERR_FORMAT", state_key(record_size=MIB) + good[148:])
    case("key-of-31-bytes", "ERR_TRAILING", state_key(KEY_A[:31]) + good[148:])
    case("key-of-33-bytes", "ERR_FORMAT", state_key(KEY_A + b"\0", length=33) + good[148:])
    case("key-under-another-use", "ERR_AUTH", state_key(label="vtpm-state") + good[148:])
    case("another-vm-key", "ERR_AUTH", state_key(key=OTHER_KEY) + good[148:])
    case("key-of-another-vm", "ERR_VM", state_key(vm=OTHER_VM) + good[148:])
    case("key-of-another-vm-relabelled", "ERR_AUTH", (lambda r: r[:16] + VM + r[32:])(state_key(vm=OTHER_VM)) + good[148:])
    case("key-of-another-vtpm", "ERR_AUTH", state_key(tpm=OTHER_TPM) + good[148:])
    case("key-of-another-level", "ERR_AUTH", state_key(level=1) + good[148:])
    case("key-without-level", "ERR_AUTH", seal(KEY_A, use=5, label="state-key", record_size=32) + good[148:])
    case("key-of-another-file", "ERR_AUTH", state_key(KEY_B) + good[148:])
    case("wanted-by-another-vm", "ERR_VM", good, vm=OTHER_VM)
    case("wanted-by-another-vtpm", "ERR_AUTH", good, tpm=OTHER_TPM)
    case("wanted-at-another-level", "ERR_AUTH", good, level=1)
    case("state-head-over-a-dump-key", "ERR_AUTH", k[:32] + dk[32:] + h + a0)
    case("dump-head-over-a-state-key", "ERR_FORMAT", dk[:32] + k[32:] + bytes(600) + d.header, kind=7)
    case("shredded", "ERR_STATE", k[:32] + bytes(116) + good[148:])
    case("shredded-but-one", "ERR_AUTH", k[:32] + bytes(115) + k[147:] + good[148:])
    case("shredded-dump", "ERR_STATE", dk[:32] + bytes(len(dk) - 32) + d.header + d0, kind=7)
    case("shredded-dump-but-one", "ERR_FORMAT", dk[:32] + bytes(len(dk) - 33) + dk[-1:] + d.header + d0, kind=7)

    compressed_cases(case)

    # The stream's header.
    def header(name, err, **wrong):
        s = Stream(**wrong)
        case("stream-" + name, err, k + s.header + s.record(0, 5, True))

    header("other-magic", "ERR_FORMAT", magic=b"SHVDSEAM")
    header("version-2", "ERR_VERSION", version=2)
    header("purpose-7", "ERR_PURPOSE", use=7)
    header("purpose-8", "ERR_VERSION", use=8)
    header("aead-2", "ERR_VERSION", aead=2)
    for size in (0, 5, 65536, SIZE - 1, SIZE + 1, MIB, 0x80000000):
        header(f"record-size-{size}", "ERR_FORMAT", record_size=size)
    header("of-another-vm", "ERR_VM", vm=OTHER_VM)
    header("of-another-vtpm", "ERR_AUTH", tpm=OTHER_TPM)
    header("of-another-level", "ERR_AUTH", level=1)
    header("under-another-label", "ERR_AUTH", label="dump")
    header("under-the-vm-key", "ERR_AUTH", stream_key=VM_KEY)
    header("commitment-zero", "ERR_AUTH", commitment=bytes(32))
    seven = Stream(7)
    case("stream-purpose-relabelled", "ERR_AUTH", k + seven.header[:9] + b"\6" + seven.header[10:] + d0)
    case("stream-of-another-vm-relabelled", "ERR_AUTH", k + foreign.header[:16] + VM + foreign.header[32:] + f0)
    case("stream-salt-of-another", "ERR_AUTH", k + h[:32] + b.header[32:64] + h[64:] + a0)
    case("stream-header-of-another", "ERR_AUTH", k + b.header + a0)
    case("stream-header-short-by-1", "ERR_TRUNCATED", k + h[:95])
    case("stream-header-alone", "ERR_TRUNCATED", k + h)
    case("key-record-twice", "ERR_PURPOSE", k + k + h + a0)
    case("stream-header-twice", "ERR_FORMAT", k + h + h + a0)

    # Records.
    case("swapped", "ERR_AUTH", k + h + a1 + a0 + a2)
    case("repeated", "ERR_AUTH", k + h + a0 + a0 + a1 + a2, one)
    case("first-dropped", "ERR_AUTH", k + h + a1 + a2)
    case("second-dropped", "ERR_AUTH", k + h + a0 + a2, one)
    case("final-dropped", "ERR_TRUNCATED", k + h + a0 + a1, two)
    case("all-dropped", "ERR_TRUNCATED", k + h)
    case("final-first", "ERR_AUTH", k + h + a2)
    case("spliced-first", "ERR_AUTH", k + h + b0 + a1 + a2)
    case("spliced-second", "ERR_AUTH", k + h + a0 + b1 + a2, one)
    case("spliced-final", "ERR_AUTH", k + h + a0 + a1 + b2, two)
    case("spliced-from-another-vm", "ERR_AUTH", k + h + f0 + a1 + a2)
    case("contents-spliced", "ERR_AUTH", k + h + a0[:-16] + b0[-16:] + a1 + a2)
    case("final-twice", "ERR_TRAILING", k + h + a0 + a1 + a2 + a2, two)
    case("two-finals", "ERR_TRAILING", k + h + a0 + a.record(1, SIZE, True) + a2, one)
    case("final-empty", "ERR_FORMAT", k + h + a0 + a1 + a.record(2, 0, True), two)
    case("none-final", "ERR_FORMAT", k + h + a0 + a1 + a.record(2, 100), two)
    case("none-final-but-full", "ERR_TRUNCATED", k + h + a0 + a1 + a.record(2), two + a.plain[2])
    case("record-one-less", "ERR_FORMAT", k + h + a0 + a.record(1, SIZE - 1) + a2, one)
    case("record-one-more", "ERR_FORMAT", k + h + a0 + a.record(1, SIZE + 1) + a2, one)
    case("final-one-more", "ERR_FORMAT", k + h + a.record(0, SIZE + 1, True))
    case("empty-not-final", "ERR_FORMAT", k + h + a.record(0, 0))
    case("length-huge", "ERR_FORMAT", k + h + a.record(0, 5, prefix=b"\xff\xff\xff\xff"))
    case("length-one-more", "ERR_TRUNCATED", k + h + a.record(0, 5, True, prefix=b"\x80\0\0\6"))
    case("length-one-less", "ERR_AUTH", k + h + a.record(0, 5, True, prefix=b"\x80\0\0\4"))
    case("final-not-in-nonce", "ERR_AUTH", k + h + a.record(0, 5, True, nonce_final=0))
    case("final-in-nonce-alone", "ERR_AUTH", k + h + a.record(0, nonce_final=1) + a1)
    case("final-nonce-2", "ERR_AUTH", k + h + a.record(0, 5, True, nonce_final=2))
    case("final-made-ordinary", "ERR_AUTH", k + h + struct.pack(">I", SIZE) + a.record(0, SIZE, True)[4:] + a1)
    case("ordinary-made-final", "ERR_AUTH", k + h + struct.pack(">I", 0x80000000 | SIZE) + a0[4:])
    case("number-from-1", "ERR_AUTH", k + h + a.record(0, 5, True, nonce_number=1))
    case("number-in-32-bits", "ERR_AUTH", k + h + a.record(0, 5, True, nonce_number=1 << 32))
    case("no-associated-data", "ERR_AUTH", k + h + a.record(0, 5, True, aad=b""))
    case("header-as-associated-data", "ERR_AUTH", k + h + a.record(0, 5, True, aad=h))
    a.records(2 * SIZE + 100)
    for name, at, released in (("prefix", 0, b""), ("prefix-1", 1, b""), ("prefix-3", 3, b""), ("prefix-whole", 4, b""),
                               ("byte", 5, b""), ("tag", SIZE + 4, b""), ("tag-1", SIZE + 19, b""),
                               ("boundary", SIZE + 20, one), ("second", SIZE + 21, one),
                               ("second-boundary", 2 * SIZE + 40, two), ("final", 2 * SIZE + 44 + 50, two),
                               ("last-byte", 2 * SIZE + 159, two)):
        case("cut-" + name, "ERR_TRUNCATED", good[:244 + at], released)
    case("one-byte-behind", "ERR_TRAILING", good + b"\0", two)
    case("many-bytes-behind", "ERR_TRAILING", good + bytes(2 * SIZE), two)
    case("a-file-behind", "ERR_TRAILING", good + good, two)
    case("one-byte-behind-empty", "ERR_TRAILING", k + h + Stream().record(0, 0, True) + b"\0")
    case("altered-and-cut", "ERR_AUTH", k + h + a0[:9] + b"\0" + a0[10:] + a1[:7])
    case("altered-and-more", "ERR_AUTH", k + h + small[:6] + b"\0" + small[7:] + b"\0")

    # A dump's key record.
    def refuse(name, err, key_record, **wanted):
        case("dump-" + name, err, key_record + d.header + d0, kind=7, **wanted)

    jwe = compact()
    parts = jwe.split(b".")
    text = dump(jwe_header()).decode()
    case("dump-vtpm-id-from-its-header", "ERR_AUTH", dump_key(compact(header=jwe_header(tpm=OTHER_TPM))) + d.header + d0, kind=7)
    refuse("version-2", "ERR_VERSION", dump_key(version=2))
    for purpose in (0, 6, 8):
        refuse(f"purpose-{purpose}", "ERR_VERSION", dump_key(purpose=purpose))
    refuse("wrapping-0", "ERR_VERSION", dump_key(wrapping=0))
    refuse("wrapping-2", "ERR_VERSION", dump_key(wrapping=2))
    refuse("reserved-1", "ERR_FORMAT", dump_key(reserved=1))
    for length in (0, 1025, 0xffffffff):
        refuse(f"length-{length}", "ERR_FORMAT", dump_key(length=length))
    refuse("length-one-more", "ERR_FORMAT", dump_key(length=len(jwe) + 1))
    refuse("length-one-less", "ERR_FORMAT", dump_key(length=len(jwe) - 1))
    case("dump-head-alone", "ERR_TRUNCATED", dk[:32], kind=7)
    case("dump-key-short-by-1", "ERR_TRUNCATED", dk[:-1], kind=7)
    case("dump-key-alone", "ERR_TRUNCATED", dk, kind=7)
    refuse("json-serialisation", "ERR_FORMAT", dump_key(dump(dict(zip(("protected", "encrypted_key", "iv", "ciphertext", "tag"),
                                                                      (p.decode() for p in parts))))))
    refuse("four-parts", "ERR_FORMAT", dump_key(b".".join(parts[:4])))
    refuse("six-parts", "ERR_FORMAT", dump_key(jwe + b"."))
    refuse("padded", "ERR_FORMAT", dump_key(jwe + b"=="))
    refuse("newline-behind", "ERR_FORMAT", dump_key(jwe + b"\n"))
    refuse("standard-base64", "ERR_FORMAT", dump_key(jwe.replace(b"-", b"+").replace(b"_", b"/")))
    refuse("unused-bits-set", "ERR_FORMAT", dump_key(jwe[:-1] + bytes([jwe[-1] + 1])))
    refuse("key-of-16-bytes", "ERR_FORMAT", dump_key(compact(KEY_A[:16])))
    refuse("members-in-another-order", "ERR_FORMAT", dump_key(compact(header=dump(dict(reversed(jwe_header().items()))))))
    refuse("white-space", "ERR_FORMAT", dump_key(compact(header=text.replace(":", ": ", 1).encode())))
    refuse("escape", "ERR_FORMAT", dump_key(compact(header=text.replace("shielded", "\\u0073hielded").encode())))
    refuse("member-twice", "ERR_FORMAT", dump_key(compact(header=text.replace("{", '{"alg":"ECDH-ES+A256KW",', 1).encode())))
    refuse("member-more", "ERR_FORMAT", dump_key(compact(header=dict(jwe_header(), zip="DEF"))))
    for member in ("alg", "enc", "epk", "kid", "level", "tpm", "typ", "vm"):
        refuse(f"without-{member}", "ERR_FORMAT", dump_key(compact(header={n: v for n, v in jwe_header().items() if n != member})))
        refuse(f"{member}-a-number", "ERR_FORMAT", dump_key(compact(header=dict(jwe_header(), **{member: 1}))))
    refuse("not-json", "ERR_FORMAT", dump_key(compact(header=b"text")))
    refuse("alg-dir", "ERR_VERSION", dump_key(compact(header=jwe_header(alg="dir"))))
    refuse("alg-ecdh-es", "ERR_VERSION", dump_key(compact(header=jwe_header(alg="ECDH-ES"))))
    refuse("enc-a128gcm", "ERR_VERSION", dump_key(compact(header=jwe_header(enc="A128GCM"))))
    refuse("typ-of-a-protector", "ERR_FORMAT", dump_key(compact(header=jwe_header(typ="shieldvm-key+jwe"))))
    refuse("level-unknown", "ERR_FORMAT", dump_key(compact(header=dict(jwe_header(), level="none"))))
    refuse("tpm-in-capitals", "ERR_FORMAT", dump_key(compact(header=dict(jwe_header(), tpm=TPM.hex().upper()))))
    refuse("vm-in-capitals", "ERR_FORMAT", dump_key(compact(header=dict(jwe_header(), vm=uuid(VM).upper()))))
    refuse("vm-not-the-heads", "ERR_AUTH", dump_key(compact(header=jwe_header(vm=OTHER_VM))))
    refuse("head-not-the-vms", "ERR_AUTH", dump_key(vm=OTHER_VM))
    refuse("of-another-vm", "ERR_VM", dump_key(compact(header=jwe_header(vm=OTHER_VM)), vm=OTHER_VM))
    refuse("of-another-level", "ERR_AUTH", dump_key(compact(header=jwe_header(level=1))))
    refuse("for-somebody-else", "ERR_RECIPIENT", dump_key(compact(header=jwe_header(owner=STRANGER), owner=STRANGER)))
    refuse("for-somebody-else-who-is-not-named", "ERR_AUTH", dump_key(compact(owner=STRANGER)))
    refuse("for-the-owner-who-is-not-named", "ERR_RECIPIENT", dump_key(compact(header=jwe_header(owner=HOST))))
    refuse("kid-short", "ERR_FORMAT", dump_key(compact(header=jwe_header(kid=OWNER.thumbprint()[:42]))))
    point = jwe_header()["epk"]
    refuse("epk-of-another", "ERR_AUTH", dump_key(compact(header=jwe_header(ephemeral=Key("another")))))
    refuse("epk-p384", "ERR_FORMAT", dump_key(compact(header=jwe_header(ephemeral=Key("p384", ec.SECP384R1())))))
    refuse("epk-off-curve", "ERR_FORMAT", dump_key(compact(header=jwe_header(epk=dict(point, y=point["x"])))))
    refuse("epk-at-infinity", "ERR_FORMAT", dump_key(compact(header=jwe_header(epk=dict(point, x=b64(bytes(32)), y=b64(bytes(32)))))))
    refuse("epk-private", "ERR_FORMAT", dump_key(compact(header=jwe_header(epk=dict(point, d=b64(bytes(31) + b"\1"))))))
    refuse("another-content-key", "ERR_AUTH", dump_key(compact(wrap_cek=hashlib.sha256(b"another").digest())))
    for i, name in ((1, "encrypted-key"), (2, "iv"), (3, "ciphertext"), (4, "tag")):
        broken = bytearray(unb64(parts[i].decode()))
        broken[0] ^= 1
        refuse(f"altered-{name}", "ERR_AUTH", dump_key(b".".join(parts[:i] + [b64(bytes(broken)).encode()] + parts[i + 1:])))
    refuse("key-of-another-file", "ERR_AUTH", dump_key(compact(KEY_B)))
    case("dump-with-a-states-stream", "ERR_PURPOSE", dk + h + a0, kind=7)
    return out


def packed(data):
    """Hexadecimal, runs of a byte as BYTE*COUNT, parts joined by commas."""
    parts, at = [], 0
    for run in re.finditer(rb"(.)\1{63,}", data, re.S):
        if run.start() > at:
            parts.append(data[at:run.start()].hex())
        parts.append(f"{run.group(1).hex()}*{len(run.group())}")
        at = run.end()
    if at < len(data):
        parts.append(data[at:].hex())
    return ",".join(parts) or "-"


def seeds():
    """(name, input of tests/fuzz/crypto/fuzz_stream.c), with records of 16 bytes."""
    for kind, key_record in ((6, state_key()), (7, dump_key())):
        s = Stream(kind, record_size=16)
        data = key_record + s.header + s.record(0, 16) + s.record(1, 16) + s.record(2, 3, True)
        mode = 4 if kind == 7 else 0
        for name, n in (("whole", len(data)), ("front", -59), ("head", 32), ("key-record", len(key_record)), ("cut", -1)):
            yield f"raw-{NAMES[kind]}-{name}", bytes([mode]) + data[:n]
        yield f"raw-{NAMES[kind]}-more", bytes([mode]) + data + b"\0"
        yield f"raw-{NAMES[kind]}-shredded", bytes([mode]) + data[:32] + bytes(len(key_record) - 32) + data[len(key_record):]
        for op in range(8):
            yield f"edits-{NAMES[kind]}-{op}", bytes([mode + 1, op, 1, 0, 1])
        yield f"edits-{NAMES[kind]}-none", bytes([mode + 1, 0, 1, 0, 1, 0, 1, 0, 1])
        for name, records in (("sound", "0010 0010 8003"), ("empty", "8000"), ("final-empty", "0010 8000"), ("short", "0009 8001"),
                              ("nonce", "c001"), ("off", "a001"), ("prefix", "90018000ffff"), ("two-finals", "8001 8001"),
                              ("forty", "0010 " * 39 + "8010"), ("forty-one", "0010 " * 40 + "8010")):
            yield f"records-{NAMES[kind]}-{name}", bytes([mode + 2]) + bytes.fromhex(records)
        three, many = frame(block(b"abc", True)), frame(block(b"abc"), block(b"z", False, 1, 630), block(b"", True))
        real = zstd(b"".join(b"page %d, " % i for i in range(40)))
        for name, data in (("empty", frame()), ("raw", three), ("many", many), ("too-many", many[:-3] + block(b"z" * 8, True)),
                           ("real", real), ("cut", real[:-1]), ("behind", real + b"\0"), ("second", three + three),
                           ("window", frame(window=0x48)), ("bomb", frame(*[block(b"z", i == 9, 1, 131072) for i in range(10)])),
                           ("nonsense", frame(block(b"\xff" * 40, True, 2))), ("none", b"")):
            yield f"packed-{NAMES[kind]}-{name}", bytes([mode + 8]) + data
    text = dump(jwe_header())
    yield "header-sound", b"\3" + text
    yield "header-spaced", b"\3" + text.replace(b":", b": ", 1)
    yield "header-twice", b"\3" + text.replace(b"{", b'{"alg":"ECDH-ES+A256KW",', 1)
    yield "header-vm", b"\3" + dump(jwe_header(vm=OTHER_VM))
    yield "header-level", b"\3" + dump(jwe_header(level=1))
    yield "header-kid", b"\3" + dump(jwe_header(owner=HOST))
    yield "header-alg", b"\3" + dump(jwe_header(alg="dir"))
    yield "header-epk", b"\3" + dump(jwe_header(ephemeral=Key("another")))


def main():
    os.chdir(os.path.dirname(os.path.abspath(sys.argv[0])))
    rows = [("key", "owner", dump(OWNER.jwk()).decode()) + ("-",) * 6]
    rows += [row[:-1] + (packed(row[-1]),) for row in cases()]
    table("stream.txt", "Made by make_stream.py.  VM key: 00 01 .. 1f.  The owner's key opens dumps.\n"
          "name, kind (6 saved state, 7 dump), VM, vTPM, level wanted, result, bytes of plaintext that may be used,\n"
          "their SHA-256, file (hexadecimal; BYTE*COUNT; parts are joined by commas)", rows)
    for name, data in seeds():
        write(f"../../fuzz/crypto/stream.corpus/{name}", data)


if __name__ == "__main__":
    main()
