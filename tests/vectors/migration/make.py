#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Write channel.txt and the greeting target's fuzz seeds: the second implementation of docs/FORMAT.md, "Migration channels".

Run by hand.  A row: what it is, what comes of it, the bytes, and for some what must come out.
"""

import hashlib
import os
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "crypto"))
from make import OWNER, TPM, VM, VM_KEY, dump, table, write  # noqa: E402

ATTEMPT = hashlib.sha256(b"attempt").digest()[:16]
POLICY = hashlib.sha256(b"policy").digest()
LABELS = {8: b"shieldvm/1/channel", 9: b"shieldvm/1/channel-records"}


def derive(key, use, vm, context):
    label = LABELS[use]
    return HKDF(hashes.SHA256(), 32, None, bytes([len(label)]) + label + vm + context).derive(key)


def identity(*, magic=b"SHVDCHAN", version=1, direction=1, kind=1, number=0, vm=VM, attempt=ATTEMPT):
    return magic + bytes([version, direction, kind]) + struct.pack(">H", number) + vm + attempt


def hello(*, magic=b"SHVDHELO", version=2, level=2, reserved=0, features=0, tpm=TPM, policy=POLICY):
    return magic + bytes([version, level]) + struct.pack(">HI", reserved, features) + tpm + policy


def answer(rule=b"", sentence=b"", *, magic=b"SHVDANSW", version=1, verdict=None, rule_bytes=None, sentence_bytes=None):
    verdict = (1 if rule or sentence else 0) if verdict is None else verdict
    return (magic + bytes([version, verdict, len(rule) if rule_bytes is None else rule_bytes]) + rule
            + struct.pack(">H", len(sentence) if sentence_bytes is None else sentence_bytes) + sentence)


def policy(level, rules, vm=VM, tpm=TPM):
    def short(b):
        return bytes([len(b)]) + b
    return hashlib.sha256(short(b"shieldvm/1/policy") + vm + bytes([level]) + tpm + OWNER.thumbprint().encode()
                          + struct.pack(">H", len(rules)) + b"".join(short(r) for r in sorted(rules))).digest()


def common(make, row, what, n_front):
    """What all three parsers do alike: magic, version, size."""
    good = make()
    version = good[8]
    row(what, "ERR_FORMAT", make(magic=good[:7] + b"X"))
    row(what, "ERR_VERSION", make(version=0))
    row(what, "ERR_VERSION", make(version=version - 1))
    row(what, "ERR_VERSION", make(version=version + 1))
    row(what, "ERR_VERSION", make(version=version + 1)[:9])
    row(what, "ERR_TRAILING", good + b"\0")
    for n in (0, 1, 8, 9, n_front, len(good) - 1):
        row(what, "ERR_TRUNCATED", good[:n])
    row(what, "ERR_FORMAT", b"\0" + good)


END, ASK, YOURS, MINE, RUNS, NEVER = range(1, 7)
# What a whole direction may say; byte 0 is 1 for the source's.
TALKS = {1: [[END, YOURS], [END, MINE]], 0: [[END], [END, ASK, RUNS], [END, ASK, NEVER]]}


def talk(source, words):
    """What comes of a direction of these words and the final record."""
    for i, word in enumerate(words):
        if not END <= word <= NEVER:
            return "ERR_VERSION"
        if not any(t[:i + 1] == words[:i + 1] for t in TALKS[source]):
            return "ERR_FORMAT"
    return "ok" if words in TALKS[source] else "ERR_TRUNCATED"


def talks():
    """Every one of up to three known words, and some with others."""
    known = range(END, NEVER + 1)
    every = [[]] + [[a] for a in known] + [[a, b] for a in known for b in known]
    every += [[END, b, c] for b in known for c in known]
    every += [[END, ASK, RUNS, d] for d in known] + [[END, YOURS, b, c] for b in (RUNS, NEVER) for c in (MINE, YOURS)]
    return every + [[0], [7], [255], [END, 0], [END, 7], [END, 0x82], [END, ASK, 0]]


def rows():
    out = []

    def row(what, result, data, wanted=b""):
        out.append((what, result, data.hex() or "-", wanted.hex() or "-"))

    for changes in ({}, {"kind": 2}, {"number": 1}, {"number": 256}, {"number": 1023}, {"kind": 2, "number": 1023},
                    {"attempt": bytes(15) + b"\1"}, {"vm": bytes(16)}):
        data = identity(**changes)
        row("identity", "ok", data, derive(VM_KEY, 8, data[13:29], data))
    common(identity, row, "identity", 44)
    for changes in ({"direction": 0}, {"direction": 2}, {"kind": 0}, {"kind": 3}, {"number": 1024}, {"number": 65535},
                    {"attempt": bytes(16)}):
        row("identity", "ERR_FORMAT", identity(**changes))

    for changes in ({}, {"level": 1}, {"features": 1}, {"features": 7}, {"tpm": bytes(16)}, {"policy": bytes(32)}):
        row("hello", "ok", hello(**changes))
    common(hello, row, "hello", 63)
    for changes in ({"level": 0}, {"level": 3}, {"reserved": 1}, {"reserved": 256}):
        row("hello", "ERR_FORMAT", hello(**changes))
    for features in (8, 0x80000000, 0xffffffff):
        row("hello", "ERR_VERSION", hello(features=features))

    row("answer", "ok", answer())
    row("answer", "ok", answer(b"r", b"s"))
    row("answer", "ok", answer(b"migration.level", b"No, ~ \"not\" here."))
    row("answer", "ok", answer(b"a" * 63, b"b" * 511))
    common(answer, row, "answer", 12)
    row("answer", "ERR_VERSION", answer(b"r", b"s", verdict=2))
    row("answer", "ERR_FORMAT", answer(b"r", b"s", verdict=0))
    row("answer", "ERR_FORMAT", answer(verdict=1))
    row("answer", "ERR_FORMAT", answer(b"r", b"", verdict=1))
    row("answer", "ERR_FORMAT", answer(b"", b"s", verdict=1))
    row("answer", "ERR_FORMAT", answer(b"a" * 64, b"b"))
    row("answer", "ERR_FORMAT", answer(b"a", b"b" * 512))
    for bad in (b"A", b"_", b" ", b"\0", b"\xff"):
        row("answer", "ERR_FORMAT", answer(b"a" + bad, b"s"))
    for bad in (b"\n", b"\0", b"\x7f", b"\x80", b"\x1b[31m"):
        row("answer", "ERR_FORMAT", answer(b"a", b"s" + bad))
    row("answer", "ERR_TRUNCATED", answer(b"rule", b"sentence", rule_bytes=255))
    row("answer", "ERR_TRUNCATED", answer(b"r", b"sentence", sentence_bytes=9))
    row("answer", "ERR_TRAILING", answer(b"r", b"sentence", sentence_bytes=7))

    row("policy", "ok", b"\2" + dump(OWNER.public), policy(2, []))
    row("policy", "ok", b"\1" + dump(OWNER.public), policy(1, [b"memory.dump", b"a.rule"]))

    for epoch, number, final, plain in ((0, 0, 0, b"x"), (1, 0, 0, b"xyz"), (1 << 40, 4194303, 1, b"")):
        secret = hashlib.sha256(b"a direction's secret").digest()
        prefix = struct.pack(">I", final << 31 | len(plain))
        nonce = number.to_bytes(11, "big") + bytes([final])
        key = derive(secret, 9, VM, struct.pack(">Q", epoch))
        row("record", "ok", struct.pack(">QI", epoch, number) + plain, prefix + AESGCM(key).encrypt(nonce, plain, prefix))
    for number, word in ((0, END), (5, YOURS)):
        secret = hashlib.sha256(b"a direction's secret").digest()
        prefix = struct.pack(">I", 1 << 30 | 1)
        sealed = AESGCM(derive(secret, 9, VM, bytes(8))).encrypt(number.to_bytes(11, "big") + b"\0", bytes([word]), prefix)
        row("word", "ok", struct.pack(">QI", 0, number) + bytes([word]), prefix + sealed)
    for source in (1, 0):
        for words in talks():
            row("talk", talk(source, words), bytes([source] + words))
    return out


def main():
    os.chdir(HERE)
    all_rows = rows()
    table("channel.txt", "What  result  bytes  what comes out.  Written by make.py.", all_rows)
    for i, (what, _, data, _) in enumerate(all_rows):
        selector = {"identity": 0, "hello": 1, "answer": 2, "talk": 3}.get(what)
        if selector is not None and i % (16 if what == "talk" else 4) == 0:
            write(f"../../fuzz/migration/greeting.corpus/{what}-{i}", bytes([selector]) + bytes.fromhex(data.replace("-", "")))


main()
