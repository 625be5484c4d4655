#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A guardian that has the right key and lies: guardian_liar.py PORT CA.pem CERT.der FOLDER

It certifies everybody with CERT.der under the CA in CA.pem, enrols other keys than it was sent, and whichever log is
asked for is the one in FOLDER/records and FOLDER/head. Its thumbprint is in FOLDER/pin once it listens.

FOLDER/lies, if there is one, is an object: for a path, how that is answered instead. {"status": N, "answer": ...} is an
answer as it stands; {"run": [...]} what the command says to the request's body; "how" is "cut" (half of it comes),
"hang" (nothing does) or "huge" (32 MiB of it)."""
import base64
import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import time

port, ca, cert, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ticket():
    return {"nonce": b64(os.urandom(32)), "expires": int(time.time()) + 60, "mac": b64(os.urandom(32))}


def log():
    answer = {"records": [], "head": ""}
    if os.path.exists(f"{folder}/records"):
        with open(f"{folder}/records", encoding="ascii") as records, open(f"{folder}/head", encoding="ascii") as head:
            answer = {"records": records.read().split(), "head": head.read().strip()}
    return answer


class Liar(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        n = int(self.headers.get("Content-Length", "0"))
        said = self.rfile.read(n)
        with open(ca, encoding="ascii") as f:
            authority = ssl.PEM_cert_to_DER_cert(f.read())
        with open(cert, "rb") as f:
            health = f.read()
        answers = {
            "/v1/info": {"version": "0", "ca": b64(authority), "generation": 2},
            "/v1/challenge": {**ticket(), "bank": "sha256", "pcrs": list(range(15))},
            "/v1/attest": {"certificate": b64(health), "generation": 2, "not_after": 0, "findings": []},
            "/v1/enrol/begin": {**ticket(), "id_object": "", "encrypted": ""},
            "/v1/enrol/finish": {"status": "pending", "fingerprint": "00" * 32},
            "/v1/log": log(),
            "/v1/owner/log": log(),
        }
        path, lies = self.path.split("?")[0], {}
        if os.path.exists(f"{folder}/lies"):
            with open(f"{folder}/lies", encoding="ascii") as f:
                lies = json.load(f).get(path, {})
        body = json.dumps(lies["answer"] if "answer" in lies else answers.get(path, {})).encode()
        if "run" in lies:
            body = subprocess.run(lies["run"], input=said, check=True, capture_output=True).stdout
        how = lies.get("how")
        if how == "huge":
            body = b"{" + b" " * (32 << 20) + b"}"
        if how == "hang":
            time.sleep(600)
        self.send_response(lies.get("status", 200))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(body) // 2] if how == "cut" else body)
        self.close_connection = how == "cut"

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


key, certificate = f"{folder}/liar.key", f"{folder}/liar.pem"
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                "/CN=x", "-keyout", key, "-out", certificate], check=True, capture_output=True)
point = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True,
                       capture_output=True).stdout[-64:]
jwk = f'{{"crv":"P-256","kty":"EC","x":"{b64(point[:32])}","y":"{b64(point[32:])}"}}'
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Liar)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(f"{folder}/pin", "w", encoding="ascii") as f:
    f.write(b64(hashlib.sha256(jwk.encode()).digest()))
server.serve_forever()
