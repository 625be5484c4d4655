#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Write sealed.txt, protector.txt and the fuzz seeds: a second implementation of docs/FORMAT.md.

It shares no code with crypto/: python3-cryptography (>= 43, for deterministic ECDSA) and this file only.
Run by hand, from this folder, when the format gains something; the output is in the tree.  All keys are
fixed and worthless.
"""

import base64
import copy
import hashlib
import json
import os
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

VM_KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
VM = bytes.fromhex("00112233445566778899aabbccddeeff")
OTHER_VM = bytes.fromhex("00112233445566778899aabbccddeefe")
TPM = bytes.fromhex("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
LABELS = {1: "vtpm-state", 2: "vtpm-blob-permanent", 3: "vtpm-blob-volatile", 4: "vtpm-blob-savestate",
          10: "vtpm-blob-versioned"}
MIB = 1 << 20


def pattern(n):
    return bytes((i * 167 + n) & 255 for i in range(n))


# Sealed objects.


def seal(plain, *, key=VM_KEY, use=1, vm=VM, context=TPM, salt=None, magic=b"SHVDSEAL", version=1, aead=1,
         reserved=0, record_size=MIB, final=True, nonce_final=None, number=0, length=None, aad=None, prefix=None,
         label=None, commitment=None):
    """One object; every argument after SALT makes one that is wrong in that place alone."""
    salt = salt or hashlib.sha256(b"salt" + plain + bytes([use]) + vm).digest()
    head = magic + bytes([version, use, aead, reserved]) + struct.pack(">I", record_size)
    name = ("shieldvm/1/" + (label or LABELS.get(use, "none"))).encode()
    info = bytes([len(name)]) + name + vm + head + struct.pack(">H", len(context)) + context
    okm = HKDF(hashes.SHA256(), 64, salt, info).derive(key)
    header = head + vm + salt + (commitment or okm[32:])
    if prefix is None:
        prefix = struct.pack(">I", (0x80000000 if final else 0) | (len(plain) if length is None else length))
    nonce = number.to_bytes(11, "big") + bytes([int(final) if nonce_final is None else nonce_final])
    return header + prefix + AESGCM(okm[:32]).encrypt(nonce, plain, prefix if aad is None else aad)


def sealed_cases():
    text = pattern(20)
    good = seal(text)
    ok, bad = [], []

    def take(name, data, n, use=1, context=TPM):
        ok.append((name, use, VM, context, "ok", n, data))

    def refuse(name, err, data, use=1, vm=VM, context=TPM):
        bad.append((name, use, vm, context, err, 0, data))

    for n in (0, 1, 16, 20, 4095):
        take(f"{n}-bytes", seal(pattern(n)), n)
    take("no-context", seal(text, context=b""), 20, context=b"")
    take("long-context", seal(text, context=pattern(256)), 20, context=pattern(256))
    for use in (2, 3, 4, 10):
        take(f"purpose-{use}", seal(text, use=use), 20, use=use)

    take("state-with-head", seal(text, context=TPM + b"SHVDSTAT" + struct.pack(">QQ", 1, 5)), 20,
         context=TPM + b"SHVDSTAT" + struct.pack(">QQ", 1, 5))

    refuse("empty", "ERR_TRUNCATED", b"")
    refuse("half-magic", "ERR_TRUNCATED", good[:4])
    refuse("other-magic", "ERR_FORMAT", seal(text, magic=b"SHVDSEAM"))
    refuse("plain-text", "ERR_FORMAT", b"<domain type='kvm'>")
    refuse("version-0", "ERR_VERSION", seal(text, version=0))
    refuse("version-2", "ERR_VERSION", seal(text, version=2))
    refuse("version-2-short", "ERR_VERSION", seal(text, version=2)[:9])
    refuse("purpose-0", "ERR_VERSION", seal(text, use=0, label="vtpm-state"))
    refuse("purpose-8", "ERR_VERSION", seal(text, use=8, label="vtpm-state"))
    refuse("purpose-9", "ERR_VERSION", seal(text, use=9, label="vtpm-state"))
    refuse("purpose-11", "ERR_VERSION", seal(text, use=11, label="vtpm-state"))
    refuse("purpose-255", "ERR_VERSION", seal(text, use=255, label="vtpm-state"))
    refuse("aead-0", "ERR_VERSION", seal(text, aead=0))
    refuse("aead-2", "ERR_VERSION", seal(text, aead=2))
    refuse("reserved-1", "ERR_FORMAT", seal(text, reserved=1))
    for size in (0, 4096, MIB - 1, MIB + 1, 0x80000000):
        refuse(f"record-size-{size}", "ERR_FORMAT", seal(text, record_size=size))
    refuse("header-short-by-1", "ERR_TRUNCATED", good[:95])
    refuse("header-only", "ERR_TRUNCATED", good[:96])
    refuse("length-short-by-1", "ERR_TRUNCATED", good[:99])
    refuse("no-ciphertext", "ERR_TRUNCATED", good[:100])
    refuse("no-tag", "ERR_TRUNCATED", good[:-16])
    refuse("tag-short-by-1", "ERR_TRUNCATED", good[:-1])
    refuse("one-byte-behind", "ERR_TRAILING", good + b"\0")
    refuse("twice", "ERR_TRAILING", good + good)
    refuse("record-twice", "ERR_TRAILING", good + good[96:])
    refuse("other-purpose", "ERR_PURPOSE", seal(text, use=2))
    refuse("other-purpose-relabelled", "ERR_PURPOSE", good[:9] + b"\2" + good[10:])
    refuse("purpose-relabelled-to-fit", "ERR_AUTH", (lambda b: b[:9] + b"\1" + b[10:])(seal(text, use=2)))
    refuse("blob-without-version", "ERR_PURPOSE", seal(text, use=2), use=10)
    refuse("blob-without-version-relabelled", "ERR_AUTH",
           (lambda b: b[:9] + b"\x0a" + b[10:])(seal(text, use=2)), use=10)
    # The state file's head is bound as context behind the vTPM's id.
    head = lambda version, form=1: b"SHVDSTAT" + struct.pack(">QQ", form, version)
    refuse("state-head-of-another-version", "ERR_AUTH", seal(text, context=TPM + head(6)), context=TPM + head(5))
    refuse("state-head-absent", "ERR_AUTH", seal(text), context=TPM + head(5))
    refuse("state-head-unasked", "ERR_AUTH", seal(text, context=TPM + head(5)))
    refuse("label-of-another-use", "ERR_AUTH", seal(text, label="vtpm-blob-permanent"))
    refuse("other-vm", "ERR_VM", seal(text, vm=OTHER_VM))
    refuse("vm-relabelled-to-fit", "ERR_AUTH", (lambda b: b[:16] + VM + b[32:])(seal(text, vm=OTHER_VM)))
    refuse("other-key", "ERR_AUTH", seal(text, key=OTHER_KEY))
    refuse("other-context", "ERR_AUTH", seal(text, context=TPM[:15]))
    refuse("context-absent", "ERR_AUTH", seal(text, context=b""))
    refuse("context-unasked", "ERR_AUTH", good, context=b"")
    refuse("commitment-zero", "ERR_AUTH", seal(text, commitment=bytes(32)))
    refuse("commitment-of-another-key", "ERR_AUTH",
           good[:64] + seal(text, key=OTHER_KEY)[64:96] + good[96:])
    refuse("contents-of-another-key", "ERR_AUTH", good[:96] + seal(text, key=OTHER_KEY)[96:])
    other = seal(text, salt=bytes(32))
    refuse("spliced-salt", "ERR_AUTH", good[:32] + other[32:64] + good[64:])
    refuse("spliced-record", "ERR_AUTH", good[:96] + other[96:])
    refuse("not-final", "ERR_FORMAT", seal(text, final=False))
    refuse("not-final-nonce", "ERR_AUTH", seal(text, nonce_final=0))
    refuse("final-nonce-2", "ERR_AUTH", seal(text, nonce_final=2))
    refuse("record-number-1", "ERR_AUTH", seal(text, number=1))
    refuse("no-associated-data", "ERR_AUTH", seal(text, aad=b""))
    refuse("header-as-associated-data", "ERR_AUTH", seal(text, aad=good[:96]))
    refuse("length-over-record-size", "ERR_FORMAT", seal(text, length=MIB + 1))
    refuse("length-huge", "ERR_FORMAT", seal(text, length=0x7fffffff))
    refuse("length-one-more", "ERR_TRUNCATED", seal(text, length=21))
    refuse("length-one-less", "ERR_TRAILING", seal(text, length=19))
    refuse("length-one-less-cut", "ERR_AUTH", seal(text, length=19)[:-1])
    refuse("length-little-endian", "ERR_FORMAT", seal(text, prefix=struct.pack("<I", 0x80000014)))
    return ok + bad


# Protectors.


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def dump(o):
    return json.dumps(o, separators=(",", ":")).encode()


class Key:
    def __init__(self, name, curve=ec.SECP256R1()):
        self.d = int.from_bytes(hashlib.sha256(b"shieldvm test key " + name.encode()).digest(), "big") >> 1
        self.private = ec.derive_private_key(self.d, curve)
        self.n = (curve.key_size + 7) // 8
        p = self.private.public_key().public_numbers()
        self.public = {"kty": "EC", "crv": {256: "P-256", 384: "P-384"}[curve.key_size],
                       "x": b64(p.x.to_bytes(self.n, "big")), "y": b64(p.y.to_bytes(self.n, "big"))}

    def jwk(self):
        return dict(self.public, d=b64(self.d.to_bytes(self.n, "big")))

    def thumbprint(self):
        o = self.public
        text = '{"crv":"%s","kty":"EC","x":"%s","y":"%s"}' % (o["crv"], o["x"], o["y"])
        return b64(hashlib.sha256(text.encode()).digest())


OWNER, HOST, STRANGER = Key("owner"), Key("host"), Key("stranger")
GUARDIAN, GUARDIAN_B = Key("guardian"), Key("guardian b")
CEK = hashlib.sha256(b"cek").digest()


def agree(recipient, ephemeral, alg="ECDH-ES+A256KW"):
    z = ephemeral.private.exchange(ec.ECDH(), recipient.private.public_key())
    info = struct.pack(">I", len(alg)) + alg.encode() + bytes(8) + struct.pack(">I", 256)
    return ConcatKDFHash(hashes.SHA256(), 32, info).derive(z)


def recipient(key, cek=CEK):
    ephemeral = Key("ephemeral for " + key.thumbprint())
    return {"header": {"alg": "ECDH-ES+A256KW", "kid": key.thumbprint(), "jwk": dict(key.public),
                       "epk": dict(ephemeral.public)},
            "encrypted_key": b64(aes_key_wrap(agree(key, ephemeral), cek))}


def uuid(b):
    h = b.hex()
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:]))


def jwe(header=None, vm_key=VM_KEY, recipients=None):
    header = header or {"enc": "A256GCM", "typ": "shieldvm-key+jwe", "vm": uuid(VM), "owner": OWNER.thumbprint()}
    text = b64(header if isinstance(header, bytes) else dump(header))
    iv = hashlib.sha256(b"iv").digest()[:12]
    sealed = AESGCM(CEK).encrypt(iv, vm_key, text.encode())
    return {"protected": text, "recipients": recipients or [recipient(OWNER), recipient(HOST)], "iv": b64(iv),
            "ciphertext": b64(sealed[:-16]), "tag": b64(sealed[-16:])}


def url(node, key="tls"):
    return f"https://{node}.example:8443#{Key(key).thumbprint()}"


def guardian(key, *urls):
    return {"kid": key.thumbprint(), "urls": list(urls)}


def guarded(**changes):
    """A payload of version 2."""
    o = {"v": 2, "guardians": [guardian(GUARDIAN, url("guardian"), url("other")), guardian(GUARDIAN_B, url("b", "b"))],
         "assurance": "tpm", "offline": 0, "edition": 7,
         "key": jwe(recipients=[recipient(k) for k in (OWNER, HOST, GUARDIAN, GUARDIAN_B)])}
    o.update(changes)
    return payload(**o)


def payload(**changes):
    o = {"v": 1, "vm": uuid(VM), "level": "shielded", "allow": [], "tpm": TPM.hex(), "owner": dict(OWNER.public),
         "key": jwe()}
    o.update(changes)
    return {k: v for k, v in o.items() if v is not None}


def jws(o, header=None, signer=OWNER, signature=None):
    header = header or {"alg": "ES256", "typ": "shieldvm-protector+jws", "kid": OWNER.thumbprint()}
    text = ".".join(b64(p if isinstance(p, bytes) else dump(p)) for p in (header, o))
    if signature is None:
        der = signer.private.sign(text.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        signature = b"".join(v.to_bytes(32, "big") for v in utils.decode_dss_signature(der))
    return text + "." + b64(signature)


def changed(o, path, value):
    """A copy of O with the member at PATH set to VALUE, or removed if VALUE is None."""
    o = copy.deepcopy(o)
    at = o
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return o


def flip(text):
    data = bytearray(unb64(text))
    data[0] ^= 1
    return b64(bytes(data))


def protector_cases():
    cases = []
    good = payload()
    text = jws(good)
    head = {"alg": "ES256", "typ": "shieldvm-protector+jws", "kid": OWNER.thumbprint()}
    inner = {"enc": "A256GCM", "typ": "shieldvm-key+jwe", "vm": uuid(VM), "owner": OWNER.thumbprint()}
    first = ("key", "recipients", 0)

    def case(name, err, data):
        cases.append((name, err, data))

    def wrong(name, err, path, value):
        case(name, err, jws(changed(good, path, value)))

    def json_of(text):
        return jws(text.encode())

    # What is right, to its last freedom: order of members, white space within the JSON, escapes.
    case("two-recipients", "ok", text)
    case("lower-level", "ok", jws(payload(level="encryption-supported", allow=["console.serial", "agent.exec"])))
    case("members-in-another-order", "ok", jws(dict(reversed(good.items()))))
    case("white-space-in-json", "ok", jws(json.dumps(good, indent=1).encode(), json.dumps(head, indent=1).encode()))
    case("escapes-in-json", "ok", json_of(dump(good).decode().replace("shielded", "\\u0073hielded")))
    case("owner-alone", "ok", jws(payload(key=jwe(recipients=[recipient(OWNER)]))))

    # The outside.
    case("empty", "ERR_FORMAT", "")
    case("one-dot", "ERR_FORMAT", text.replace(".", "", 1))
    case("three-dots", "ERR_FORMAT", text + ".")
    case("newline-behind", "ERR_FORMAT", text + "\n")
    case("space-before", "ERR_FORMAT", " " + text)
    case("json-serialisation", "ERR_FORMAT", dump(dict(zip(("protected", "payload", "signature"), text.split(".")))).decode())
    case("padded-header", "ERR_FORMAT", b64(dump(head)) + "=." + text.split(".", 1)[1])
    case("standard-base64", "ERR_FORMAT", text.replace("-", "+").replace("_", "/"))
    case("unused-bits-set", "ERR_FORMAT", text[:-1] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[text[-1]])
    case("signature-short", "ERR_FORMAT", jws(good, signature=bytes(63)))
    case("signature-der", "ERR_FORMAT",
         jws(good, signature=OWNER.private.sign(b"", ec.ECDSA(hashes.SHA256(), deterministic_signing=True))))
    case("signature-empty", "ERR_FORMAT", text.rsplit(".", 1)[0] + ".")
    case("signature-zero", "ERR_AUTH", jws(good, signature=bytes(64)))
    case("signature-of-another", "ERR_AUTH", jws(good, signer=HOST))
    case("signature-of-another-named", "ERR_AUTH", jws(good, dict(head, kid=HOST.thumbprint()), HOST))
    case("payload-exchanged", "ERR_AUTH",
         ".".join((text.split(".")[0], b64(dump(payload(level="encryption-supported"))), text.split(".")[2])))
    for alg in ("none", "HS256", "ES384", "es256", "EdDSA"):
        case("alg-" + alg, "ERR_VERSION", jws(good, dict(head, alg=alg)))
    case("typ-jwt", "ERR_FORMAT", jws(good, dict(head, typ="JWT")))
    case("typ-absent", "ERR_FORMAT", jws(good, {k: v for k, v in head.items() if k != "typ"}))
    case("header-crit", "ERR_FORMAT", jws(good, dict(head, crit=["b64"], b64=False)))
    case("header-jwk", "ERR_FORMAT", jws(good, dict(head, jwk=OWNER.public)))
    case("header-alg-twice", "ERR_FORMAT", jws(good, dump(head)[:-1] + b',"alg":"none"}'))
    case("kid-of-another", "ERR_AUTH", jws(good, dict(head, kid=HOST.thumbprint())))
    case("kid-short", "ERR_FORMAT", jws(good, dict(head, kid=OWNER.thumbprint()[:-1])))
    case("kid-number", "ERR_FORMAT", jws(good, dict(head, kid=7)))

    # The payload.
    wrong("v-2", "ERR_FORMAT", ("v",), 2)
    wrong("v-3", "ERR_VERSION", ("v",), 3)
    wrong("v-0", "ERR_VERSION", ("v",), 0)
    wrong("v-text", "ERR_FORMAT", ("v",), "1")
    wrong("v-real", "ERR_FORMAT", ("v",), 1.0)
    for name in good:
        wrong(name + "-absent", "ERR_FORMAT", (name,), None)
    wrong("unknown-member", "ERR_FORMAT", ("policy",), {})
    case("level-twice", "ERR_FORMAT", json_of(dump(good).decode()[:-1] + ',"level":"encryption-supported"}'))
    case("payload-array", "ERR_FORMAT", json_of("[" + dump(good).decode() + "]"))
    case("payload-and-more", "ERR_FORMAT", json_of(dump(good).decode() + "{}"))
    case("payload-nul", "ERR_FORMAT", json_of(dump(good).decode().replace("shielded", "shielded\\u0000")))
    case("payload-not-utf8", "ERR_FORMAT", jws(dump(good).replace(b"shielded", b"shielde\xff")))
    case("payload-deep", "ERR_FORMAT", json_of('{"v":' + "[" * 5000 + "]" * 5000 + "}"))
    wrong("vm-upper-case", "ERR_FORMAT", ("vm",), uuid(VM).upper())
    wrong("vm-short", "ERR_FORMAT", ("vm",), uuid(VM)[:-1])
    wrong("vm-another", "ERR_AUTH", ("vm",), uuid(OTHER_VM))
    wrong("level-unknown", "ERR_FORMAT", ("level",), "shielded ")
    wrong("level-null", "ERR_FORMAT", ("level",), 2)
    wrong("allow-at-shielded", "ERR_FORMAT", ("allow",), ["console.serial"])
    wrong("allow-more-at-shielded", "ERR_FORMAT", ("allow",), ["state.compression", "console.serial"])
    case("allow-compression", "ok", jws(payload(allow=["state.compression"])))
    for name, err, allow in (("twice", "ERR_FORMAT", ["a.b", "a.b"]), ("upper-case", "ERR_FORMAT", ["A.b"]),
                             ("empty-rule", "ERR_FORMAT", [""]), ("number", "ERR_FORMAT", [1]),
                             ("object", "ERR_FORMAT", {}), ("long-rule", "ERR_FORMAT", ["a" * 64]),
                             ("65-rules", "ERR_LIMIT", ["a.%d" % i for i in range(65)])):
        case("allow-" + name, err, jws(payload(level="encryption-supported", allow=allow)))
    wrong("tpm-short", "ERR_FORMAT", ("tpm",), TPM.hex()[:-2])
    wrong("tpm-upper-case", "ERR_FORMAT", ("tpm",), TPM.hex().upper())
    wrong("tpm-not-hex", "ERR_FORMAT", ("tpm",), TPM.hex()[:-1] + "g")
    wrong("owner-private", "ERR_FORMAT", ("owner",), OWNER.jwk())
    wrong("owner-another", "ERR_AUTH", ("owner",), HOST.public)
    wrong("owner-p384", "ERR_FORMAT", ("owner",), Key("p384", ec.SECP384R1()).public)
    wrong("owner-off-curve", "ERR_FORMAT", ("owner", "y"), flip(OWNER.public["y"]))
    wrong("owner-unknown-member", "ERR_FORMAT", ("owner", "use"), "sig")

    # The wrapped key.
    wrong("jwe-aad", "ERR_FORMAT", ("key", "aad"), "AA")
    wrong("jwe-unprotected", "ERR_FORMAT", ("key", "unprotected"), {"zip": "DEF"})
    for name in good["key"]:
        wrong(f"jwe-{name}-absent", "ERR_FORMAT", ("key", name), None)
        wrong(f"jwe-{name}-number", "ERR_FORMAT", ("key", name), 1)
    for enc in ("A128GCM", "A256CBC-HS512", "a256gcm"):
        case("enc-" + enc, "ERR_VERSION", jws(payload(key=jwe(dict(inner, enc=enc)))))
    case("jwe-typ", "ERR_FORMAT", jws(payload(key=jwe(dict(inner, typ="JOSE")))))
    case("jwe-zip", "ERR_FORMAT", jws(payload(key=jwe(dict(inner, zip="DEF")))))
    case("jwe-alg-protected", "ERR_FORMAT", jws(payload(key=jwe(dict(inner, alg="dir")))))
    case("jwe-enc-twice", "ERR_FORMAT", jws(payload(key=jwe(dump(inner)[:-1] + b',"enc":"A256GCM"}'))))
    case("jwe-of-another-vm", "ERR_AUTH", jws(payload(key=jwe(dict(inner, vm=uuid(OTHER_VM))))))
    case("jwe-of-another-owner", "ERR_AUTH", jws(payload(key=jwe(dict(inner, owner=HOST.thumbprint())))))
    case("jwe-stolen-by-another-owner", "ERR_AUTH",
         jws(payload(owner=dict(HOST.public)), dict(head, kid=HOST.thumbprint()), HOST))
    wrong("iv-16", "ERR_FORMAT", ("key", "iv"), b64(bytes(16)))
    wrong("tag-12", "ERR_FORMAT", ("key", "tag"), b64(bytes(12)))
    wrong("key-31", "ERR_FORMAT", ("key", "ciphertext"), b64(bytes(31)))
    wrong("key-33", "ERR_FORMAT", ("key", "ciphertext"), b64(bytes(33)))

    # Its recipients.
    for alg in ("ECDH-ES", "ECDH-ES+A128KW", "RSA-OAEP", "dir", "PBES2-HS256+A128KW"):
        wrong("alg-" + alg, "ERR_VERSION", first + ("header", "alg"), alg)
    wrong("recipient-extra", "ERR_FORMAT", first + ("note",), "x")
    wrong("recipient-apu", "ERR_FORMAT", first + ("header", "apu"), "QQ")
    wrong("recipient-enc", "ERR_FORMAT", first + ("header", "enc"), "A256GCM")
    wrong("recipient-null", "ERR_FORMAT", first, 0)
    for name in ("header", "encrypted_key"):
        wrong(f"recipient-{name}-absent", "ERR_FORMAT", first + (name,), None)
    for name in ("alg", "kid", "jwk", "epk"):
        wrong(f"recipient-{name}-absent", "ERR_FORMAT", first + ("header", name), None)
    wrong("recipient-jwk-of-another", "ERR_FORMAT", first + ("header", "jwk"), dict(HOST.public))
    wrong("recipient-jwk-private", "ERR_FORMAT", first + ("header", "jwk"), OWNER.jwk())
    wrong("recipient-jwk-off-curve", "ERR_FORMAT", first + ("header", "jwk", "y"), flip(OWNER.public["y"]))
    wrong("recipient-kid-of-another", "ERR_FORMAT", first + ("header", "kid"), STRANGER.thumbprint())
    wrong("recipient-kid-short", "ERR_FORMAT", first + ("header", "kid"), "QQ")
    wrong("encrypted-key-32", "ERR_FORMAT", first + ("encrypted_key",), b64(bytes(32)))
    wrong("encrypted-key-48", "ERR_FORMAT", first + ("encrypted_key",), b64(bytes(48)))
    wrong("epk-off-curve", "ERR_FORMAT", first + ("header", "epk", "y"),
          flip(good["key"]["recipients"][0]["header"]["epk"]["y"]))
    wrong("epk-infinity", "ERR_FORMAT", first + ("header", "epk"),
          {"kty": "EC", "crv": "P-256", "x": b64(bytes(32)), "y": b64(bytes(32))})
    wrong("epk-p384", "ERR_FORMAT", first + ("header", "epk"), Key("p384", ec.SECP384R1()).public)
    wrong("epk-private", "ERR_FORMAT", first + ("header", "epk"), STRANGER.jwk())
    wrong("recipients-none", "ERR_FORMAT", ("key", "recipients"), [])
    wrong("recipient-twice", "ERR_FORMAT", ("key", "recipients"), [recipient(OWNER), recipient(OWNER)])
    wrong("recipients-without-owner", "ERR_FORMAT", ("key", "recipients"), [recipient(HOST)])
    wrong("recipients-65", "ERR_LIMIT", ("key", "recipients"), [recipient(OWNER)] * 65)

    # Signed by the owner and well-formed, but the wrapped key does not open for the host.
    entry = ("key", "recipients", 1)
    wrong("open-not-a-recipient", "open:ERR_RECIPIENT", ("key", "recipients"), [recipient(OWNER), recipient(STRANGER)])
    wrong("open-encrypted-key", "open:ERR_AUTH", entry + ("encrypted_key",),
          flip(good["key"]["recipients"][1]["encrypted_key"]))
    wrong("open-cek-of-another", "open:ERR_AUTH", entry, recipient(HOST, bytes(32)))
    wrong("open-epk-of-another", "open:ERR_AUTH", entry + ("header", "epk"), dict(STRANGER.public))
    wrong("open-entry-of-another", "open:ERR_AUTH", entry,
          dict(recipient(STRANGER), header=dict(recipient(STRANGER)["header"], kid=HOST.thumbprint(),
                                              jwk=dict(HOST.public))))
    wrong("open-iv", "open:ERR_AUTH", ("key", "iv"), flip(good["key"]["iv"]))
    wrong("open-ciphertext", "open:ERR_AUTH", ("key", "ciphertext"), flip(good["key"]["ciphertext"]))
    wrong("open-tag", "open:ERR_AUTH", ("key", "tag"), flip(good["key"]["tag"]))
    relabelled = changed(jwe(dict(inner, vm=uuid(OTHER_VM))), ("protected",), jwe()["protected"])
    wrong("open-vm-relabelled", "open:ERR_AUTH", ("key",), relabelled)
    relabelled = changed(jwe(dict(inner, owner=HOST.thumbprint())), ("protected",), jwe()["protected"])
    wrong("open-owner-relabelled", "open:ERR_AUTH", ("key",), relabelled)
    return cases + guarded_cases()


def guarded_cases():
    cases = []
    good = guarded()
    head = {"alg": "ES256", "typ": "shieldvm-protector+jws", "kid": OWNER.thumbprint()}
    usurper = dict(head, kid=STRANGER.thumbprint())
    signature = unb64(jws(good).split(".")[2])
    recipients = good["key"]["recipients"]
    guardians = good["guardians"]

    def case(name, err, data):
        cases.append(("guarded-" + name, err, data))

    def wrong(name, err, path, value):
        case(name, err, jws(changed(good, path, value)))

    def altered(name, o, signed_too=False):
        """Not what the owner signed: under his signature, and signed by somebody else."""
        case(name, "ERR_AUTH", jws(o, signature=signature))
        if signed_too:
            case(name + "-signed", "ERR_AUTH", jws(o, signer=STRANGER))
            case(name + "-signed-named", "ERR_AUTH", jws(o, usurper, STRANGER))
            case(name + "-signed-owner", "ERR_AUTH", jws(dict(o, owner=dict(STRANGER.public)), usurper, STRANGER))

    # What is right.
    case("two", "ok", jws(good))
    case("one", "ok", jws(guarded(guardians=guardians[:1], assurance="hostkey", offline=100, edition=2 ** 53)))
    case("in-another-order", "ok", jws(dict(reversed(guarded(guardians=guardians[::-1]).items()))))
    case("alone", "open:ERR_RECIPIENT",
         jws(guarded(guardians=guardians[:1], key=jwe(recipients=[recipient(OWNER), recipient(GUARDIAN)]))))

    # Not the owner's.
    path = ("key", "recipients")
    altered("recipient-stripped", changed(good, path, recipients[:1] + recipients[2:]), True)
    altered("recipient-added", changed(good, path, recipients + [recipient(STRANGER)]), True)
    altered("recipients-reordered", changed(good, path, recipients[::-1]), True)
    altered("vm-another", guarded(vm=uuid(OTHER_VM)), True)
    altered("assurance-lowered", guarded(assurance="hostkey"), True)
    altered("offline-raised", guarded(offline=1))
    altered("edition-raised", guarded(edition=8))
    altered("guardian-stripped", guarded(guardians=guardians[:1]))
    altered("guardian-added", guarded(guardians=guardians + [guardian(HOST, url("more"))]))
    altered("guardians-reordered", guarded(guardians=guardians[::-1]))
    altered("url-altered", changed(good, ("guardians", 0, "urls", 0), url("guardiam")))
    altered("pin-altered", changed(good, ("guardians", 0, "urls", 0), url("guardian", "b")))
    altered("urls-reordered", changed(good, ("guardians", 0, "urls"), guardians[0]["urls"][::-1]))
    altered("said-to-be-1", payload(key=good["key"]), True)
    case("never-signed", "ERR_AUTH", jws(good, signature=unb64(jws(payload(key=good["key"])).split(".")[2])))
    # Somebody else's altogether, his own entry and name in it; but the content key he does not have.
    header = {"enc": "A256GCM", "typ": "shieldvm-key+jwe", "vm": uuid(VM), "owner": STRANGER.thumbprint()}
    relabelled = changed(good["key"], ("protected",), b64(dump(header)))
    relabelled["recipients"].append(recipient(STRANGER))
    case("usurped", "open:ERR_AUTH", jws(guarded(owner=dict(STRANGER.public), key=relabelled), usurper, STRANGER))

    # The owner's, but not in the one form.
    wrong("v-1", "ERR_FORMAT", ("v",), 1)
    wrong("v-3", "ERR_VERSION", ("v",), 3)
    for name in good:
        wrong(name + "-absent", "ERR_FORMAT", (name,), None)
    wrong("unknown-member", "ERR_FORMAT", ("policy",), {})
    for name, err, value in (("none", "ERR_FORMAT", []), ("object", "ERR_FORMAT", guardians[0]),
                             ("number", "ERR_FORMAT", [1]), ("twice", "ERR_FORMAT", [guardians[0], guardians[0]]),
                             ("9", "ERR_LIMIT", guardians[:1] * 9), ("owner", "ERR_FORMAT", [guardian(OWNER, url("a"))]),
                             ("stranger", "ERR_FORMAT", [guardian(STRANGER, url("a"))]),
                             ("unknown-member", "ERR_FORMAT", [dict(guardians[0], name="a")])):
        wrong("guardians-" + name, err, ("guardians",), value)
    for name in ("kid", "urls"):
        wrong(f"guardian-{name}-absent", "ERR_FORMAT", ("guardians", 0, name), None)
        wrong(f"guardian-{name}-number", "ERR_FORMAT", ("guardians", 0, name), 1)
    wrong("guardian-kid-short", "ERR_FORMAT", ("guardians", 0, "kid"), GUARDIAN.thumbprint()[:-1])
    pin = Key("tls").thumbprint()
    for name, err, value in (
            ("none", "ERR_FORMAT", []), ("text", "ERR_FORMAT", url("a")), ("number", "ERR_FORMAT", [1]),
            ("9", "ERR_LIMIT", [url(f"n{i}") for i in range(9)]), ("twice", "ERR_FORMAT", [url("a"), url("a")]),
            ("two-in-one", "ERR_FORMAT", [url("a") + "," + url("b")]), ("empty", "ERR_FORMAT", [""]),
            ("http", "ERR_FORMAT", ["http://a:1#" + pin]), ("upper-case", "ERR_FORMAT", ["HTTPS://a:1#" + pin]),
            ("no-address", "ERR_FORMAT", ["https://#" + pin]), ("no-pin", "ERR_FORMAT", ["https://a:1"]),
            ("pin-short", "ERR_FORMAT", ["https://a:1#" + pin[:-1]]), ("pin-long", "ERR_FORMAT", ["https://a:1#" + pin + "A"]),
            ("pin-unused-bits", "ERR_FORMAT", ["https://a:1#" + pin[:-1] + "9"]),
            ("pin-standard-base64", "ERR_FORMAT", ["https://a:1#+" + pin[1:]]),
            ("two-pins", "ERR_FORMAT", [url("a") + "#" + pin]), ("space", "ERR_FORMAT", ["https://a :1#" + pin]),
            ("path", "ERR_FORMAT", ["https://a:1/#" + pin]), ("user", "ERR_FORMAT", ["https://b@a:1#" + pin]),
            ("newline", "ERR_FORMAT", [url("a") + "\n"]), ("not-ascii", "ERR_FORMAT", ["https://\u00e4:1#" + pin]),
            ("long", "ERR_FORMAT", ["https://" + "a" * 313 + "#" + pin])):
        wrong("urls-" + name, err, ("guardians", 0, "urls"), value)
    for name, value in (("none", "none"), ("upper-case", "TPM"), ("empty", ""), ("number", 1)):
        wrong("assurance-" + name, "ERR_FORMAT", ("assurance",), value)
    for name, err, value in (("negative", "ERR_FORMAT", -1), ("101", "ERR_LIMIT", 101), ("real", "ERR_FORMAT", 1.0),
                             ("text", "ERR_FORMAT", "1"), ("true", "ERR_FORMAT", True), ("huge", "ERR_LIMIT", 2 ** 32)):
        wrong("offline-" + name, err, ("offline",), value)
    for name, err, value in (("negative", "ERR_FORMAT", -1), ("0", "ERR_FORMAT", 0), ("real", "ERR_FORMAT", 7.0),
                             ("text", "ERR_FORMAT", "7"), ("true", "ERR_FORMAT", True), ("huge", "ERR_LIMIT", 2 ** 53 + 1)):
        wrong("edition-" + name, err, ("edition",), value)
    return cases


# Output.


def write(path, data):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def table(path, comment, rows):
    lines = ["# " + line for line in comment.splitlines()] + ["\t".join(row) for row in rows] + [f"# {len(rows)} cases"]
    write(path, "\n".join(lines).encode() + b"\n")


def main():
    os.chdir(os.path.dirname(os.path.abspath(sys.argv[0])))
    sealed, protectors = sealed_cases(), protector_cases()
    table("sealed.txt", "Made by make.py.  Key: 00 01 .. 1f.  Plaintext of n bytes: byte i is i * 167 + n.\n"
          "name, purpose wanted, VM wanted, context, result, plaintext bytes, object",
          [(name, str(use), uuid(vm), context.hex() or "-", err, str(n), data.hex() or "-")
           for name, use, vm, context, err, n, data in sealed])
    rows = [("key", "owner", dump(OWNER.jwk()).decode()), ("key", "host", dump(HOST.jwk()).decode()),
            ("key", "guardian", dump(GUARDIAN.jwk()).decode())]
    rows += [(name, err, json.dumps(text)) for name, err, text in protectors]
    table("protector.txt", "Made by make.py.  VM key: 00 01 .. 1f.  The host's key unwraps what is \"ok\",\n"
          "the guardian's too if it is guarded.\n"
          "name, result (\"open:\" if it parses but does not unwrap), protector as a JSON string", rows)

    # A seed for each path through the parsers, small ones only.
    fuzz = "../../fuzz/crypto/"
    for name, use, vm, context, err, n, data in sealed:
        if err == "ok" and n < 100 and use == 1 and context in (TPM, b"") or name in ("one-byte-behind", "other-vm"):
            write(f"{fuzz}seal_open.corpus/{name}", data)
        # The target puts a genuine header before what follows 0xff.
        if name in ("20-bytes", "not-final", "length-huge", "one-byte-behind", "no-tag", "0-bytes"):
            write(f"{fuzz}seal_open.corpus/record-{name}", b"\xff" + data[96:])
    for name, err, text in protectors:
        if err == "ok" or name in ("alg-none", "v-2", "vm-another", "epk-off-curve", "open-tag",
                                  "guarded-said-to-be-1"):
            write(f"{fuzz}protector_parse.corpus/{name}", text.encode())
        # The target signs what begins with "{".
        if name in ("two-recipients", "lower-level", "owner-alone", "open-tag", "recipient-twice", "alg-dir",
                    "guarded-two", "guarded-one", "guarded-alone", "guarded-guardians-twice", "guarded-urls-two-in-one",
                    "guarded-urls-9", "guarded-guardians-stranger", "guarded-offline-huge", "guarded-edition-huge", "guarded-v-1"):
            write(f"{fuzz}protector_parse.corpus/payload-{name}", unb64(text.split(".")[1]))
    for name, key in (("owner", dump(OWNER.jwk())), ("host-public", dump(HOST.public)),
                      ("p384", dump(Key("p384", ec.SECP384R1()).public)), ("twice", b'{"kty":"EC","kty":"EC"}')):
        write(f"{fuzz}jwk_parse.corpus/{name}", key)


if __name__ == "__main__":
    main()
