#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What tests/integration/guardian.sh does inside.  Usage: guardian.py SHIELDVM-GUARDIAN RELEASED FOLDER"""
import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import uuid

PROGRAM, RELEASED, WORK = sys.argv[1:4]
STATE = os.path.join(WORK, "state")
HOSTS, ADMINS = 8787, 8788
failed, checks = [], 0


def check(what, good, seen=""):
    global checks
    checks += 1
    if not good:
        failed.append(what)
        print(f"not ok - {what}: {seen}", flush=True)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Client:
    """A client certificate, made by openssl."""

    def __init__(self, name, *options, curve="prime256v1", digest="-sha256"):
        self.key, self.cert = f"{WORK}/{name}.key", f"{WORK}/{name}.crt"
        new = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", self.key]
        if curve == "rsa":
            new = ["openssl", "genpkey", "-algorithm", "RSA", "-out", self.key]
        subprocess.run(new, check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["openssl", "req", "-x509", "-new", "-key", self.key, "-subj", f"/CN={name}", "-days", "30",
                        digest, "-out", self.cert, *options], check=True, stderr=subprocess.DEVNULL)
        spki = subprocess.run(["openssl", "pkey", "-in", self.key, "-pubout", "-outform", "DER"], check=True,
                              capture_output=True).stdout
        self.print, self.spki = hashlib.sha256(spki).digest(), spki

    def jwk(self, private=False):
        point = self.spki[-64:]
        words = {"kty": "EC", "crv": "P-256", "x": b64(point[:32]), "y": b64(point[32:])}
        if private:
            der = subprocess.run(["openssl", "ec", "-in", self.key, "-outform", "DER"], check=True,
                                 capture_output=True).stdout
            words["d"] = b64(der[7:39])
        return words

    def jws(self, typ, payload):
        """PAYLOAD signed as docs/FORMAT.md has statements: ES256, by name of the key's thumbprint."""
        j = self.jwk()
        name = f'{{"crv":"P-256","kty":"EC","x":"{j["x"]}","y":"{j["y"]}"}}'
        kid = b64(hashlib.sha256(name.encode()).digest())
        signed = b64(f'{{"alg":"ES256","kid":"{kid}","typ":"{typ}"}}'.encode()) + "." + b64(payload.encode())
        der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=signed.encode(), check=True,
                             capture_output=True).stdout
        r_end = 4 + der[3]
        r, s = der[4:r_end], der[r_end + 2:]
        return signed + "." + b64(b"".join(n.lstrip(b"\0").rjust(32, b"\0") for n in (r, s)))


def context(client, version=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    if version:
        c.minimum_version = c.maximum_version = version
    if client:
        c.load_cert_chain(client.cert, client.key)
    return c


def ask(client, port, method, path, body=None, headers=None, timeout=20):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context(client), timeout=timeout)
    text = json.dumps(body) if isinstance(body, (dict, list)) else body
    extra = dict(headers or {})
    if text is not None:
        extra.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, text, extra)
        reply = connection.getresponse()
        data = reply.read()
        return reply.status, json.loads(data) if data else {}
    except (OSError, ssl.SSLError, http.client.HTTPException) as e:
        return 0, {"id": type(e).__name__}
    finally:
        connection.close()


def refuses(what, answer, status, name):
    check(what, answer[0] == status and answer[1].get("id") == name and answer[1].get("status") == "refused" and
          answer[1].get("text"), answer)


def connects(client, version=None):
    """1 if the guardian answers over such a connection."""
    try:
        with socket.create_connection(("127.0.0.1", HOSTS), 10) as raw:
            with context(client, version).wrap_socket(raw) as s:
                s.sendall(b"GET /v1/info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return s.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def speak(client, data, wait=15):
    """What comes back for DATA."""
    got = b""
    try:
        with socket.create_connection(("127.0.0.1", HOSTS), wait) as raw:
            with context(client).wrap_socket(raw) as s:
                s.sendall(data)
                while piece := s.recv(65536):
                    got += piece
    except OSError:
        pass
    return got


class Guardian:
    def __init__(self, *before):
        self.log = open(f"{WORK}/log", "ab")
        self.process = subprocess.Popen([*before, PROGRAM, "run", "--state", STATE, "--listen", f"127.0.0.1:{HOSTS}",
                                         "--admin-listen", f"127.0.0.1:{ADMINS}"], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)

    def children(self):
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/status", encoding="ascii") as f:
                    lines = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
            except (OSError, ValueError):
                continue
            if lines.get("PPid", "").strip() == str(self.process.pid):
                found[lines["Name"]] = (int(pid), lines)
        return found

    def child(self, name, other_than=0, wait=5):
        until = time.monotonic() + wait
        while time.monotonic() < until:
            pid = self.children().get(f"guardian-{name}"[:14], (0,))[0]
            if pid and pid != other_than:
                return pid
            time.sleep(0.05)
        return 0

    def ready(self, client):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if ask(client, HOSTS, "GET", "/v1/info")[0] == 200:
                return True
            time.sleep(0.1)
        return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return -1


def init(*options):
    return subprocess.run([PROGRAM, "init", "--state", STATE, *options], capture_output=True, text=True)


def enrolled(name, client, tpm=True):
    """A host whose row is put into the database: approved, with a TPM that nobody has."""
    host = uuid.uuid4()
    with sqlite3.connect(f"{STATE}/guardian.db", timeout=10) as db:
        db.execute("INSERT INTO hosts (id, name, mode, state, ek_id, ek_cert, ak_pub, tls_key, enrolled) "
                   "VALUES (?, ?, 'tpm', 'pending', ?, ?, ?, ?, 1)",
                   (host.bytes, name, os.urandom(32), b"c", os.urandom(16), client.print))
        db.execute("UPDATE hosts SET state = 'approved', decided = 1, decided_by = 'test' WHERE id = ?", (host.bytes,))
    db.close()
    return host


def attest(client, host, padding=0, timeout=60):
    status, t = ask(client, HOSTS, "POST", "/v1/challenge", {"id": str(host)})
    if status != 200:
        return status, t
    return ask(client, HOSTS, "POST", "/v1/attest",
               {"id": str(host), "nonce": t["nonce"], "expires": t["expires"], "mac": t["mac"],
                "evidence": {"eventlog": "A" * padding}}, timeout=timeout)


def certificates():
    with sqlite3.connect(f"{STATE}/guardian.db", timeout=10) as db:
        return db.execute("SELECT COUNT(*) FROM certificates").fetchone()[0]


def test_init(admin):
    with open(f"{WORK}/admin.pub", "w", encoding="ascii") as f:
        json.dump(admin.jwk(), f)
    first = init("--admin", f"{WORK}/admin.pub", "--admin-name", "anna")
    again = init("--admin", f"{WORK}/admin.pub", "--admin-name", "anna")
    check("init makes everything", first.returncode == 0 and "(made)" in first.stdout, first)
    check("init again makes nothing", again.returncode == 0 and "made" not in again.stdout, again)
    check("it says the same", first.stdout.split("\n\n")[1] == again.stdout.split("\n\n")[1])
    check("the state is its owner's alone", os.stat(STATE).st_mode & 0o77 == 0)
    for name in ("log.jwk", "release.jwk", "tls.jwk", "mac.key", "guardian.db", "ca/ca.key"):
        check(f"{name} is its owner's alone", os.stat(f"{STATE}/{name}").st_mode & 0o77 == 0)
    os.chmod(STATE, 0o755)
    open_folder = init()
    check("a folder for all is refused", open_folder.returncode == 1 and "alone" in open_folder.stderr, open_folder)
    os.chmod(STATE, 0o700)
    for words in ([], ["walk"], ["run", "--listen", "here"], ["run", "--admin", "x"], ["init", "--state", "x"]):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True)
        check(f"{words} is wrong usage", done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout, done)
    done = subprocess.run([PROGRAM, "init", "--listen", "[::1]:1"], capture_output=True, text=True)
    check("an option of the other command is told", "--listen is for run only" in done.stderr, done)
    done = subprocess.run([PROGRAM, "run", "--state", f"{WORK}/none"], capture_output=True, text=True)
    check("without init there is nothing to run", done.returncode == 3 and "shieldvm-guardian init" in done.stderr and
          done.stderr.count("\n") == 1, done)
    check("--help", subprocess.run([PROGRAM, "--help"], capture_output=True).returncode == 0)


def test_processes(guardian):
    children = guardian.children()
    check("three processes", len(children) == 3, children.keys())
    for name, (pid, status) in children.items():
        check(f"{name} has no capability", int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0)
        check(f"{name} is filtered", status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1")
        if "keepe" in name:
            continue
        check(f"{name} is nobody", int(status["Uid"].split()[0]) > 65536, status["Uid"])
        check(f"{name} sees no file", os.listdir(f"/proc/{pid}/root/") == [])
        check(f"{name} has no network", os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"))


def test_tls(host):
    check("TLS 1.3 with a certificate", connects(host))
    check("TLS 1.2 is refused", not connects(host, ssl.TLSVersion.TLSv1_2))
    check("no certificate is refused", not connects(None))
    check("P-384 is refused", not connects(Client("p384", curve="secp384r1", digest="-sha384")))
    check("RSA is refused", not connects(Client("rsa", curve="rsa")))
    check("SHA-512 is refused", not connects(Client("sha512", digest="-sha512")))
    big = Client("big", "-addext", "nsComment=" + "x" * 6000)
    check("a large one is refused", not connects(big))
    # Signed by another's key.
    other, signed = Client("other"), Client("signed")
    request = subprocess.run(["openssl", "req", "-new", "-key", signed.key, "-subj", "/CN=signed"], check=True,
                             capture_output=True).stdout
    subprocess.run(["openssl", "x509", "-req", "-CA", other.cert, "-CAkey", other.key, "-set_serial", "1", "-out",
                    signed.cert], input=request, check=True, stderr=subprocess.DEVNULL)
    check("one that another signed is refused", not connects(signed))
    with open(signed.cert, "ab") as f, open(other.cert, "rb") as chain:
        f.write(chain.read())
    check("a chain is refused", not connects(signed))


def test_requests(host, admin):
    refuses("an admin's path on the hosts' port", ask(admin, HOSTS, "GET", "/v1/hosts"), 404, "request.path")
    refuses("a host's path on the admins' port", ask(admin, ADMINS, "GET", "/v1/info"), 404, "request.path")
    refuses("a host is no admin", ask(host, ADMINS, "GET", "/v1/hosts"), 403, "admin.unknown")
    refuses("... also before its words are read", ask(host, ADMINS, "POST", "/v1/policy", "x"), 403, "admin.unknown")
    refuses("another method", ask(host, HOSTS, "GET", "/v1/challenge"), 405, "request.method")
    refuses("junk", ask(host, HOSTS, "POST", "/v1/challenge", "{}{}"), 400, "request.format")
    refuses("an unknown member", ask(host, HOSTS, "POST", "/v1/challenge", {"id": str(uuid.uuid4()), "x": 1}), 400,
            "request.format")
    refuses("an unknown host", ask(host, HOSTS, "POST", "/v1/challenge", {"id": str(uuid.uuid4())}), 403,
            "host.unknown")
    refuses("too large", ask(host, HOSTS, "POST", "/v1/challenge", "x" * 5000), 413, "request.size")
    refuses("large without a challenge", ask(host, HOSTS, "POST", "/v1/attest", "x" * 300000), 413, "request.size")
    good = b"GET /v1/info HTTP/1.1\r\nHost: x\r\n"
    for what, text in {
        "HTTP/1.0": b"GET /v1/info HTTP/1.0\r\nHost: x\r\n\r\n",
        "no Host": b"GET /v1/info HTTP/1.1\r\n\r\n",
        "chunks": b"POST /v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "two lengths": b"POST /v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "a folded header": good + b" y: z\r\n\r\n",
        "a bare line feed": b"GET /v1/info HTTP/1.1\nHost: x\n\r\n\r\n",
        "a large head": good + b"X: " + b"y" * 20000 + b"\r\n\r\n",
        "two at a time": good.replace(b"GET /v1/info", b"POST /v1/challenge") +
                         b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}{}",
    }.items():
        answer = speak(host, text)
        check(f"{what} is refused", answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1, answer[:80])
    both = speak(host, good + b"\r\n")
    check("one answer to one request", both.startswith(b"HTTP/1.1 200"), both[:80])
    connection = http.client.HTTPSConnection("127.0.0.1", HOSTS, context=context(host), timeout=10)
    for _ in range(3):
        connection.request("GET", "/v1/info")
        reply = connection.getresponse()
        check("a connection serves more than once", reply.status == 200 and b"generation" in reply.read())
    connection.close()
    curl = subprocess.run(["curl", "-sk", "--max-time", "20", "--cert", host.cert, "--key", host.key, "-H",
                           "Expect: 100-continue", "-H", "Content-Type: application/json", "-d", "{}",
                           f"https://127.0.0.1:{HOSTS}/v1/challenge"], capture_output=True)
    check("curl's way of sending", b"request.format" in curl.stdout, curl)


def test_decisions(host, other, admin):
    mine, theirs = enrolled("mine", host), enrolled("theirs", other)
    status, hosts = ask(admin, ADMINS, "GET", "/v1/hosts")
    check("the admin sees both", status == 200 and {h["name"] for h in hosts["hosts"]} == {"mine", "theirs"}, hosts)
    refuses("a host asks for another", ask(host, HOSTS, "POST", "/v1/challenge", {"id": str(theirs)}), 403,
            "host.certificate")
    for padding in (0, 5000000):
        answer = attest(host, mine, padding)
        refuses(f"malformed evidence ({padding})", answer, 403, "host.unhealthy")
        check("... with what was found", answer[1].get("findings") and
              answer[1]["findings"][0]["verdict"] == "failed", answer)
    status, t = ask(host, HOSTS, "POST", "/v1/challenge", {"id": str(mine)})
    words = {"id": str(mine), "nonce": t["nonce"], "expires": t["expires"], "mac": t["mac"], "evidence": {}}
    refuses("another host's challenge", ask(other, HOSTS, "POST", "/v1/attest", dict(words, id=str(theirs))), 409,
            "challenge.foreign")
    refuses("the first answer", ask(host, HOSTS, "POST", "/v1/attest", words), 403, "host.unhealthy")
    refuses("the second", ask(host, HOSTS, "POST", "/v1/attest", words), 409, "challenge.used")
    check("a host is revoked", ask(admin, ADMINS, "POST", "/v1/hosts/revoke", {"id": str(theirs)})[0] == 200)
    refuses("... and attests no more", attest(other, theirs), 403, "host.revoked")
    status, policy = ask(admin, ADMINS, "GET", "/v1/policy")
    check("the policy", status == 200 and policy["generation"] == 1, policy)
    status, added = ask(admin, ADMINS, "POST", "/v1/policy", {"policy": policy["policy"], "at_once": True})
    check("the next one", status == 200 and added == {"generation": 2}, added)
    status, log = ask(admin, ADMINS, "GET", "/v1/log?vm=00000000-0000-0000-0000-000000000000")
    check("all of it stands in the log", status == 200 and len(log["records"]) == 4, log)
    return mine


def keyed(admin, name):
    """A host without a TPM, from its enrolment to its approval."""
    key, host = Client(name), str(uuid.uuid4())
    words = {"id": host, "name": name, "host_key": key.jwk()}
    status, t = ask(key, HOSTS, "POST", "/v1/enrol/begin", words)
    check("an enrolment begins", status == 200, t)
    said = f'{{"v":1,"host":"{host}","name":"{name}","nonce":"{t.get("nonce")}"}}'
    words.update({n: t.get(n) for n in ("nonce", "expires", "mac")},
                 statement=key.jws("shieldvm-enrol+jws", said))
    status, pending = ask(key, HOSTS, "POST", "/v1/enrol/finish", words)
    check("... and ends", status == 200 and pending["status"] == "pending", pending)
    status, t = ask(admin, ADMINS, "POST", "/v1/hosts/approve", {"id": host, "fingerprint": pending.get("fingerprint")})
    check("an admin approves", status == 200, t)
    return key, host


def certified(key, host, worker):
    """Such a host's health certificate."""
    status, t = ask(key, HOSTS, "POST", "/v1/challenge", {"id": host})
    said = f'{{"v":1,"host":"{host}","nonce":"{t.get("nonce")}","worker":"{worker}"}}'
    answer = ask(key, HOSTS, "POST", "/v1/attest",
                 {"id": host, "nonce": t.get("nonce"), "expires": t.get("expires"), "mac": t.get("mac"),
                  "worker": worker, "statement": key.jws("shieldvm-attest+jws", said)})
    check("the host is certified", answer[0] == 200 and answer[1].get("certificate"), answer)
    return answer[1].get("certificate", "")


def test_certificate(admin):
    key, host = keyed(admin, "keyed")
    certified(key, host, b64(b"\4" + bytes(64)))
    check("a certificate is noted once", certificates() == 1)


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def keep(name, data):
    with open(f"{WORK}/{name}", "wb") as f:
        f.write(data)


class Owned:
    """A VM whose owner names the guardian with STATE, and the one host that asks for its key."""

    def __init__(self, admin, name, state=STATE):
        self.vm, self.number = str(uuid.uuid4()), 0
        for old in ("worker.jwk", "worker.jwk.pub"):
            if os.path.exists(f"{WORK}/{old}"):
                os.unlink(f"{WORK}/{old}")
        subprocess.run([RELEASED, "make", self.vm, f"{state}/release.jwk.pub", "0"], cwd=WORK, check=True)
        with open(f"{WORK}/worker.jwk.pub", encoding="ascii") as f:
            point = json.load(f)
        with open(f"{WORK}/protector", encoding="ascii") as f:
            self.protector = f.read()
        self.worker = b64(b"\4" + unb64(point["x"]) + unb64(point["y"]))
        self.key, self.host = keyed(admin, name)
        self.certificate = certified(self.key, self.host, self.worker)

    def asks(self, port=HOSTS, incoming=False):
        self.number += 1
        self.request = b64(self.number.to_bytes(16, "big"))
        return ask(self.key, port, "POST", "/v1/release",
                   {"id": self.host, "vm": self.vm, "request": self.request, "worker": self.worker, "version": 0,
                    "incoming": incoming, "certificate": self.certificate, "protector": self.protector})

    def tells(self, path, token, version, port=HOSTS):
        return ask(self.key, port, "POST", f"/v1/lease/{path}",
                   {"id": self.host, "vm": self.vm, "token": token, "version": version})


def test_release(admin):
    """A VM's key, from its protector to a worker, and its lease from host to host, by the processes that run."""
    vm, hosts, number = str(uuid.uuid4()), [], [0]
    made = subprocess.run([RELEASED, "make", vm, f"{STATE}/release.jwk.pub", "2"], cwd=WORK, capture_output=True)
    check("a protector is made", made.returncode == 0, made)
    with open(f"{WORK}/worker.jwk.pub", encoding="ascii") as f:
        point = json.load(f)
    worker = b64(b"\4" + unb64(point["x"]) + unb64(point["y"]))
    with open(f"{WORK}/protector", encoding="ascii") as f:
        protector = f.read()
    for name in ("source", "destination"):
        key, host = keyed(admin, name)
        hosts.append((key, host, certified(key, host, worker)))

    def wants(which, incoming=False, **other):
        key, host, certificate = hosts[which]
        number[0] += 1
        words = {"id": host, "vm": vm, "request": b64(number[0].to_bytes(16, "big")), "worker": worker, "version": 0,
                 "incoming": incoming, "certificate": certificate, "protector": protector}
        words.update(other)
        return words, ask(key, HOSTS, "POST", "/v1/release", words)

    def tells(which, path, token, version):
        key, host, _ = hosts[which]
        return ask(key, HOSTS, "POST", f"/v1/lease/{path}", {"id": host, "vm": vm, "token": token, "version": version})

    def opens(which, words, answer, copy):
        key, _, certificate = hosts[which]
        check("a copy only where it belongs", ("copy" in answer) == copy, answer)
        keep("certificate", unb64(certificate))
        keep("key", unb64(answer.get("key", "")))
        keep("copy", unb64(answer.get("copy", "")))
        sec1 = subprocess.run(["openssl", "ec", "-in", key.key, "-outform", "DER"], check=True, capture_output=True)
        keep("host.jwk", json.dumps(dict(key.jwk(), d=b64(sec1.stdout[7:39]))).encode())
        os.chmod(f"{WORK}/host.jwk", 0o600)
        return subprocess.run([RELEASED, "open", vm, words["request"], "host.jwk"], cwd=WORK, capture_output=True)

    def nothing(what, answer, status, name, token):
        refuses(what, answer, status, name)
        check("... and no key", "key" not in answer[1] and "copy" not in answer[1], answer)
        with sqlite3.connect(f"{STATE}/guardian.db", timeout=10) as db:
            row = db.execute("SELECT holder, token FROM vms WHERE vm = ?", (uuid.UUID(vm).bytes,)).fetchone()
        check("... and no other lease", (row[1] if row and row[0] else 0) == token, row)

    nothing("another worker", wants(0, worker=b64(b"\4" + bytes(64)))[1], 403, "certificate.worker", 0)
    nothing("taking what nobody awaits", tells(1, "take", 0, 0), 409, "lease.none", 0)
    words, (status, start) = wants(0)
    check("a start", status == 200 and start["token"] == 1, start)
    done = opens(0, words, start, True)
    check("its worker has the VM's key", done.returncode == 0 and done.stdout == b"1\n", done)
    check("... and nobody else", opens(1, words, start, True).returncode == 1)
    nothing("the same request", ask(hosts[0][0], HOSTS, "POST", "/v1/release", words), 409, "request.used", 1)
    nothing("a start elsewhere", wants(1)[1], 409, "lease.held", 1)
    check("a report", tells(0, "report", 1, 5)[0] == 200)
    words, (status, comes) = wants(1, True)
    check("it is to come elsewhere", status == 200 and comes["token"] == 1 and comes["expires"] == 0 and
          comes["spent"] == 5, comes)
    done = opens(1, words, comes, False)
    check("the worker there has the key", done.returncode == 0 and done.stdout == b"1\n", done)
    nothing("taking with a stale token", tells(1, "take", 7, 6), 409, "lease.lost", 1)
    nothing("the source takes", tells(0, "take", 1, 6), 409, "lease.none", 1)
    db = sqlite3.connect(f"{STATE}/guardian.db", isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    answer = tells(1, "take", 1, 6)
    db.execute("ROLLBACK")
    db.close()
    nothing("taking while the database is held", answer, 503, "guardian.store", 1)
    check("the source goes on", tells(0, "report", 1, 6)[0] == 200)
    status, taken = tells(1, "take", 1, 6)
    check("the lease is taken", status == 200 and taken["token"] == 2, taken)
    status, again = tells(1, "take", 1, 6)
    check("... and again, had the answer been lost", status == 200 and again["token"] == 2, again)
    nothing("the source reports", tells(0, "report", 1, 7), 409, "lease.lost", 2)
    check("the destination reports", tells(1, "report", 2, 7)[0] == 200)
    check("back again", wants(0, True)[1][0] == 200)
    check("the source is revoked", ask(admin, ADMINS, "POST", "/v1/hosts/revoke", {"id": hosts[0][1]})[0] == 200)
    nothing("a revoked host takes", tells(0, "take", 2, 7), 403, "host.revoked", 2)
    nothing("a revoked host starts", wants(0)[1], 403, "host.revoked", 2)
    check("the VM stops", tells(1, "stop", 2, 8)[0] == 200)
    nothing("older state", wants(1, version=7)[1], 403, "vm.version", 0)
    status, log = ask(admin, ADMINS, "GET", f"/v1/log?vm={vm}")
    events = [json.loads(unb64(r.split(".")[1]))["event"] for r in log["records"]]
    check("the log has it all", events == ["release", "incoming", "handover", "incoming", "stop"], events)


def test_verifier(guardian, host, mine):
    before = guardian.child("verifier")
    answers = []
    os.kill(before, signal.SIGSTOP)
    asking = threading.Thread(target=lambda: answers.append(attest(host, mine)))
    asking.start()
    time.sleep(1)
    check("others are served meanwhile", ask(host, HOSTS, "GET", "/v1/info")[0] == 200)
    os.kill(before, signal.SIGKILL)
    asking.join(20)
    refuses("a verifier that was killed", answers[0] if answers else (0, {}), 503, "guardian.verifier")
    check("another one is started", guardian.child("verifier", before) != 0)
    refuses("... and judges", attest(host, mine), 403, "host.unhealthy")
    front = guardian.child("front")
    check("there is a front", front != 0)
    if not front:
        return
    os.kill(front, signal.SIGKILL)
    check("another front is started", guardian.child("front", front) != 0)
    check("... and serves", guardian.ready(host))
    refuses("... with the keeper", attest(host, mine), 403, "host.unhealthy")
    check("nothing was certified", certificates() == 0)


def announce(client, port, path, size, n):
    """N connections that say that a body of SIZE bytes comes, and send none of it."""
    head = (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {size}\r\n\r\n").encode()
    opened, tls = [], context(client)
    for _ in range(n):
        try:
            s = tls.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
            s.sendall(head)
            opened.append(s)
        except OSError:
            pass
    return opened


def test_announced(host, other, admin, mine, theirs):
    """What strangers announce keeps neither hosts nor admins from speaking."""
    stranger, nobody = Client("stranger"), {"id": str(uuid.uuid4())}
    opened = announce(stranger, HOSTS, "/v1/enrol/begin", 256 * 1024, 260)
    refuses("a challenge beside 260 announced enrolments", ask(host, HOSTS, "POST", "/v1/challenge", nobody), 403,
            "host.unknown")
    refuses("evidence beside them", attest(host, mine, 50000), 403, "host.unhealthy")
    refuses("an admin's word beside them", ask(admin, ADMINS, "POST", "/v1/hosts/revoke", nobody), 403, "host.unknown")
    refuses("... and his policy", ask(admin, ADMINS, "POST", "/v1/policy", {"policy": "x" * 5000, "at_once": False}),
            400, "request.format")
    opened += announce(stranger, ADMINS, "/v1/policy", 4 * 1024 * 1024, 16)
    refuses("an admin's word beside announced policies", ask(admin, ADMINS, "POST", "/v1/hosts/revoke", nobody), 403,
            "host.unknown")
    for s in opened:
        s.close()
    # An enrolled host has one large body at a time.
    opened = []
    for _ in range(20):
        ask(other, HOSTS, "POST", "/v1/challenge", {"id": str(theirs)})
        opened += announce(other, HOSTS, "/v1/attest", 14 * 1024 * 1024, 1)
    refuses("evidence beside another host's 20", attest(host, mine, 300000), 403, "host.unhealthy")
    for s in opened:
        s.close()


def test_queue(guardian, host, other, mine, theirs):
    """One host's evidence does not fill the verifier's queue."""
    stopped, answers, seen = guardian.child("verifier"), [], []
    os.kill(stopped, signal.SIGSTOP)
    asking = [threading.Thread(target=lambda: answers.append(attest(other, theirs))) for _ in range(9)]
    for t in asking:
        t.start()
    time.sleep(2)
    mine_asks = threading.Thread(target=lambda: seen.append(attest(host, mine)))
    mine_asks.start()
    time.sleep(1)
    os.kill(stopped, signal.SIGCONT)
    for t in asking + [mine_asks]:
        t.join(30)
    refuses("evidence beside another host's nine", seen[0] if seen else (0, {}), 403, "host.unhealthy")
    judged = [a for a in answers if a[1].get("id") == "host.unhealthy"]
    busy = [a for a in answers if a[1].get("id") == "guardian.busy"]
    check("one of the nine is judged", len(judged) == 1 and len(busy) == 8, answers)


def test_many(guardian, clients, hosts):
    """Many hosts that come at once wait for the verifier; how much of it is bounded."""
    for what, padding, most in (("small", 1000, len(hosts)), ("large", 12000000, len(hosts) - 1)):
        stopped, answers = guardian.child("verifier"), []
        os.kill(stopped, signal.SIGSTOP)
        asking = [threading.Thread(target=lambda c=c, h=h, n=n: answers.append(attest(c, h, n)))
                  for c, h, n in zip(clients, hosts, [1000] + [padding] * len(hosts))]
        for t in asking:
            t.start()
            # The first is the verifier's; the others wait.
            time.sleep(0.5 if t is asking[0] else 0)
        until = time.monotonic() + 20
        while len(answers) < len(hosts) - most and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(1)
        os.kill(stopped, signal.SIGCONT)
        for t in asking:
            t.join(60)
        got = [a[1].get("id") for a in answers]
        check(f"{most} of {len(hosts)} hosts' {what} evidence is judged", got.count("host.unhealthy") == most and
              got.count("guardian.busy") == len(hosts) - most, got)


def test_store(host, mine):
    db = sqlite3.connect(f"{STATE}/guardian.db", isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    refuses("a database that is held", attest(host, mine), 503, "guardian.store")
    db.execute("ROLLBACK")
    db.close()
    refuses("... and free again", attest(host, mine), 403, "host.unhealthy")
    # Without a buffer, whose rest would fail again when the file is closed.
    with open(f"{WORK}/filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 65536)
        except OSError:
            pass
    # What SQLite has room for in its files may still be written.
    answer = (0, {})
    for _ in range(80):
        answer = attest(host, mine)
        if answer[0] != 403:
            break
    refuses("a disk that is full", answer, 503, "guardian.store")
    os.unlink(f"{WORK}/filler")
    check("nothing was certified then", certificates() == 0)


def test_slow(host):
    """500 connections that never come to an end, of three kinds."""
    slow, stop = [], threading.Event()
    for i in range(500):
        raw = socket.create_connection(("127.0.0.1", HOSTS), 10)
        if i % 3 == 1:
            raw.sendall(b"\x16\x03\x01")
        elif i % 3 == 2:
            raw = context(host).wrap_socket(raw)
            raw.sendall(b"GET /v1/info HTTP/1.1\r\n")
        slow.append(raw)
    began = time.monotonic()

    def trickle():
        while not stop.wait(0.5):
            for i, s in enumerate(slow):
                try:
                    s.send(b"X: y\r\n" if i % 3 == 2 else b"\x00" if i % 3 == 1 else b"")
                except OSError:
                    pass

    trickling = threading.Thread(target=trickle)
    trickling.start()
    for _ in range(5):
        t = time.monotonic()
        status = ask(host, HOSTS, "GET", "/v1/info")[0]
        took = time.monotonic() - t
        check("a request beside 500 slow ones", status == 200 and took < 2, (status, took))
        time.sleep(0.3)
    time.sleep(max(0, 14 - (time.monotonic() - began)))
    stop.set()
    trickling.join()
    ended, kinds = 0, []
    for i, s in enumerate(slow):
        s.settimeout(0.01)
        try:
            while s.recv(4096):
                pass  # an alert
            ended += 1
        except (TimeoutError, ssl.SSLWantReadError) as e:
            kinds.append((i % 3, str(e)))
        except OSError:
            ended += 1
        s.close()
    check("the slow ones are ended", ended == len(slow), kinds[:5])
    # More than may be unfinished: the oldest go.
    many = [socket.create_connection(("127.0.0.1", HOSTS), 10) for _ in range(1100)]
    status = ask(host, HOSTS, "GET", "/v1/info")[0]
    check("a request behind 1100 that say nothing", status == 200, status)
    many[0].settimeout(5)
    try:
        check("the oldest of them is ended", many[0].recv(1) == b"")
    except OSError as e:
        check("the oldest of them is ended", isinstance(e, ConnectionError), e)
    many[-1].settimeout(0.2)
    try:
        check("the newest is not", many[-1].recv(1) != b"")
    except TimeoutError:
        check("the newest is not", True)
    for s in many:
        s.close()


def main():
    admin, host, other = Client("admin"), Client("host"), Client("otherhost")
    test_init(admin)
    guardian = Guardian()
    check("it starts", guardian.ready(host))
    if not failed:
        test_processes(guardian)
        test_tls(host)
        test_requests(host, admin)
        mine = test_decisions(host, other, admin)
        test_verifier(guardian, host, mine)
        busy = Client("busyhost")
        theirs = enrolled("busy", busy)
        test_announced(host, busy, admin, mine, theirs)
        test_queue(guardian, host, busy, mine, theirs)
        many = [Client(f"host{i}") for i in range(13)]
        test_many(guardian, many, [enrolled(f"many{i}", c) for i, c in enumerate(many)])
        test_store(host, mine)
        test_slow(host)
        test_certificate(admin)
        test_release(admin)
        check("no process was killed by its filter", b"may not make" not in open(f"{WORK}/log", "rb").read())
    ended = guardian.stop()
    check("SIGTERM ends it", ended == 0, ended)
    check("nothing is left", not any("guardian-" in open(f"/proc/{p}/comm", encoding="ascii").read()
                                     for p in os.listdir("/proc") if p.isdigit()))
    # Few connections, and a stranger has all that hosts may have.
    guardian = Guardian("prlimit", "--nofile=160")
    check("it starts with few descriptors", guardian.ready(host))
    opened = announce(other, HOSTS, "/v1/challenge", 100, 140)
    refuses("an admin beside them", ask(admin, ADMINS, "POST", "/v1/hosts/revoke", {"id": str(uuid.uuid4())}), 403,
            "host.unknown")
    for s in opened:
        s.close()
    check("and serves again", guardian.ready(host))
    guardian.stop()
    # A keeper that ends is the end.
    guardian = Guardian()
    check("it starts again", guardian.ready(host))
    os.kill(guardian.child("keeper"), signal.SIGKILL)
    check("without a keeper it ends", guardian.process.wait(15) == 1)
    # The parent's death is theirs.
    guardian = Guardian()
    check("and again", guardian.ready(host))
    guardian.process.kill()
    guardian.process.wait()
    time.sleep(1)
    check("no orphan", not any("guardian-" in open(f"/proc/{p}/comm", encoding="ascii").read()
                               for p in os.listdir("/proc") if p.isdigit()))
    if failed:
        with open(f"{WORK}/log", encoding="utf-8", errors="replace") as f:
            print(f.read())
    print(f"{checks} checks, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
