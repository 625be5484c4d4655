#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Write tpm.txt: known answers for the TPM's key derivation, TPM2_MakeCredential and HPKE.

It shares no code with crypto/: python3-cryptography for curves and ciphers, hashlib and hmac for all
derivation, written after TPM 2.0 Library Part 1 ("KDFa()", "KDFe for ECDH", "Credential Protection") and RFC 9180.
The script first reproduces published values, and stops if it cannot: RFC 9180 appendix A.3.1 (AES-128-GCM), and the
record of the CFRG's test-vectors.json for AES-256-GCM, the suite that is used, for which the RFC prints none.
Run by hand, from this folder; the output is in the tree.  All keys are fixed and worthless.
"""

import base64
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:
    from cryptography.hazmat.primitives.ciphers.modes import CFB

HASHES = {0x0B: "sha256", 0x0C: "sha384"}
HEX = bytes.fromhex


def pattern(label, n):
    return hashlib.shake_128(label.encode()).digest(n)


# The TPM's.


def kdfa(alg, key, label, u, v, bits):
    out, i = b"", 0
    while 8 * len(out) < bits:
        i += 1
        text = struct.pack(">I", i) + label + b"\0" + u + v + struct.pack(">I", bits)
        out += hmac.new(key, text, HASHES[alg]).digest()
    return out[: bits // 8]


def kdfe(alg, z, label, u, v, bits):
    out, i = b"", 0
    while 8 * len(out) < bits:
        i += 1
        out += hashlib.new(HASHES[alg], struct.pack(">I", i) + z + label + b"\0" + u + v).digest()
    return out[: bits // 8]


def tpm2b(data):
    return struct.pack(">H", len(data)) + data


def id_object(alg, aes_bits, seed, name, secret):
    digest_bits = 8 * hashlib.new(HASHES[alg]).digest_size
    key = kdfa(alg, seed, b"STORAGE", name, b"", aes_bits)
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    identity = encryptor.update(tpm2b(secret)) + encryptor.finalize()
    mac_key = kdfa(alg, seed, b"INTEGRITY", b"", b"", digest_bits)
    return tpm2b(tpm2b(hmac.new(mac_key, identity + name, HASHES[alg]).digest()) + identity)


# HPKE.


def extract(suite, salt, label, ikm):
    return hmac.new(salt, b"HPKE-v1" + suite + label + ikm, "sha256").digest()


def expand(suite, prk, label, info, n):
    text = struct.pack(">H", n) + b"HPKE-v1" + suite + label + info
    out, last, i = b"", b"", 0
    while len(out) < n:
        i += 1
        last = hmac.new(prk, last + text + bytes([i]), "sha256").digest()
        out += last
    return out[:n]


def private(scalar):
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def exchange(key, other):
    return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), other))


def kem(dh, enc, recipient):
    suite = b"KEM\x00\x10"
    return expand(suite, extract(suite, b"", b"eae_prk", dh), b"shared_secret", enc + recipient, 32)


def schedule(secret, info, aead=2):
    suite = b"HPKE\x00\x10\x00\x01" + struct.pack(">H", aead)
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    prk = extract(suite, secret, b"secret", b"")
    return expand(suite, prk, b"key", context, 16 * aead), expand(suite, prk, b"base_nonce", context, 12)


def seal(ephemeral, recipient, info, aad, plain):
    enc = point(ephemeral)
    key, nonce = schedule(kem(exchange(ephemeral, recipient), enc, recipient), info)
    return enc + AESGCM(key).encrypt(nonce, plain, aad)


# Published: RFC 9180 A.3.1, and the CFRG's record of this suite.
INFO = HEX("4f6465206f6e2061204772656369616e2055726e")
AAD = HEX("436f756e742d30")
PLAIN = HEX("4265617574792069732074727574682c20747275746820626561757479")
PUBLISHED = [
    dict(aead=1, skr="f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
         enc="04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403c"
             "e65c9bfcb9382657222d18c4",
         secret="c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8",
         key="868c066ef58aae6dc589b6cfdd18f97e", nonce="4e0bc5018beba4bf004cca59",
         ct="5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434"),
    dict(aead=2, skr="317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2",
         enc="04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f03e0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c"
             "39ff5370d331a4f1f7d5a4e0",
         secret="48893fecd82f7c3456af6a42d8f56325d21e08c10fa81299986aaff54cde7b49",
         key="ee16802a936d5f544771131900ee6973d0551de9e852ece2ef34bf0d5f9e1d1d", nonce="9bc50980832a7b4b58c40161",
         ct="58c61a45059d0c5704560e9d88b564a8b63f1364b8d1fcb3c4c6ddc1d291742465e902cd216f8908da49f8f96f"),
]


def jwk(key):
    def b64(n):
        return base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode()
    numbers = key.private_numbers()
    x, y = numbers.public_numbers.x, numbers.public_numbers.y
    return f'{{"kty":"EC","crv":"P-256","x":"{b64(x)}","y":"{b64(y)}","d":"{b64(numbers.private_value)}"}}'


lines = []


def put(kind, *fields):
    lines.append(" ".join([kind] + [f if isinstance(f, str) else f.hex() or "-" for f in fields]))


for p in PUBLISHED:
    recipient = private(HEX(p["skr"]))
    enc, secret = HEX(p["enc"]), HEX(p["secret"])
    dh = exchange(recipient, enc)
    assert kem(dh, enc, point(recipient)) == secret
    assert schedule(secret, INFO, p["aead"]) == (HEX(p["key"]), HEX(p["nonce"]))
    assert AESGCM(HEX(p["key"])).encrypt(HEX(p["nonce"]), PLAIN, AAD) == HEX(p["ct"])
    put("kem", dh, enc, point(recipient), secret)
    if p["aead"] == 2:
        put("schedule", secret, INFO, HEX(p["key"]), HEX(p["nonce"]))
        put("hpke", jwk(recipient), point(recipient), INFO, AAD, PLAIN, enc + HEX(p["ct"]))

recipient, ephemeral = private(pattern("recipient", 32)), private(pattern("ephemeral", 32))
other = private(pattern("other", 32))
to = point(recipient)
for info, aad, plain in [(b"", b"", b""), (b"info", b"", b"x"), (b"", b"aad", b""), (b"i" * 300, b"a" * 300, b"p" * 1000)]:
    put("hpke", jwk(recipient), to, info, aad, plain, seal(ephemeral, to, info, aad, plain))
sealed = seal(ephemeral, to, b"info", b"aad", b"plain")


def bad(rc, key=recipient, point_of=to, info=b"info", aad=b"aad", text=sealed):
    put("hpke-bad", jwk(key), point_of, info, aad, text, rc)


bad("ERR_AUTH", info=b"inf")
bad("ERR_AUTH", aad=b"aa")
bad("ERR_AUTH", key=other, point_of=point(other))
bad("ERR_AUTH", point_of=point(other))
bad("ERR_AUTH", text=sealed[:-1] + bytes([sealed[-1] ^ 1]))
bad("ERR_AUTH", text=sealed[:65] + bytes([sealed[65] ^ 1]) + sealed[66:])
bad("ERR_AUTH", text=sealed + b"\0")
bad("ERR_AUTH", text=sealed[:-1])
bad("ERR_AUTH", text=point(other) + sealed[65:])
bad("ERR_TRUNCATED", text=sealed[:80])
bad("ERR_TRUNCATED", text=b"")
bad("ERR_FORMAT", text=b"\x02" + sealed[1:])
bad("ERR_FORMAT", text=sealed[:64] + bytes([sealed[64] ^ 1]) + sealed[65:])
bad("ERR_FORMAT", text=b"\x04" + bytes(64) + sealed[65:])

for alg, bits, coord in [(0x0B, 128, 32), (0x0C, 256, 48)]:
    size = hashlib.new(HASHES[alg]).digest_size
    name = struct.pack(">H", 0x0B) + pattern("name", 32)
    u, v = pattern("u", coord), pattern("v", coord)
    number = struct.pack(">H", alg)
    put("kdfa", number, pattern("key", size), b"STORAGE", name, b"", kdfa(alg, pattern("key", size), b"STORAGE", name, b"", bits))
    put("kdfa", number, pattern("key", 7), b"LABEL", u, v, kdfa(alg, pattern("key", 7), b"LABEL", u, v, 8 * 100))
    put("kdfe", number, pattern("z", coord), b"IDENTITY", u, v, kdfe(alg, pattern("z", coord), b"IDENTITY", u, v, 8 * size))
    put("kdfe", number, pattern("z", coord), b"DUP", u, b"", kdfe(alg, pattern("z", coord), b"DUP", u, b"", 8 * 100))
    put("id-object", number, struct.pack(">H", bits), pattern("seed", size), name, pattern("secret", 32),
        id_object(alg, bits, pattern("seed", size), name, pattern("secret", 32)))

with open("tpm.txt", "w", encoding="ascii") as out:
    out.write("# Written by make_tpm.py\n" + "\n".join(lines) + "\n")
