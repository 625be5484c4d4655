#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What tests/integration/guardian-hsm.sh does inside.  Usage: guardian_hsm.py SHIELDVM-GUARDIAN RELEASED FOLDER"""
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid

from guardian import (ADMINS, HOSTS, PROGRAM, RELEASED, STATE, WORK, Client, Guardian, Owned, ask, check, failed, keep,
                      refuses, unb64)
import guardian

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN, TOKENS = f"{WORK}/pin", f"{WORK}/tokens"
KEY = f"pkcs11:token=guardian;object=release?module-path={MODULE}&pin-source=file:{PIN}"
CONF = ".config/softhsm2/softhsm2.conf"  # under HOME, which is the state folder


def write(path, text, mode=0o600):
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="ascii") as f:
        f.write(text)


def init(*options, key=KEY, state=STATE):
    return subprocess.run([PROGRAM, "init", "--state", state, "--release-key", key, *options], capture_output=True,
                          text=True)


class WithKey(Guardian):
    def __init__(self, key=KEY):
        self.log = open(f"{WORK}/log", "ab")
        self.process = subprocess.Popen([PROGRAM, "run", "--state", STATE, "--release-key", key, "--listen",
                                         f"127.0.0.1:{HOSTS}", "--admin-listen", f"127.0.0.1:{ADMINS}"],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)


def logged():
    with open(f"{WORK}/log", encoding="utf-8", errors="replace") as f:
        return f.read()


def wait_for(words, seconds=15):
    """Until WORDS stand in the log more often than now."""
    before, until = logged().count(words), time.monotonic() + seconds
    while time.monotonic() < until:
        if logged().count(words) > before:
            return True
        time.sleep(0.1)
    return False


def sealed(guardian_, other_than=0):
    """The process that has the token, once it is confined."""
    until = time.monotonic() + 15
    while time.monotonic() < until:
        pid = guardian_.child("keys", other_than, 1)
        if pid and guardian_.children().get("guardian-keys", (0, {}))[1].get("Seccomp", "").strip() == "2":
            return pid
        time.sleep(0.1)
    return 0


class Released(Owned):
    """What is released of it, and what is not."""

    def records(self):
        with sqlite3.connect(f"{STATE}/guardian.db", timeout=10) as db:
            return db.execute("SELECT COUNT(*) FROM release_log WHERE vm = ?",
                              (uuid.UUID(self.vm).bytes,)).fetchone()[0]

    def is_refused(self, what):
        """503, nothing of a key, and no lease lent for it: another host may have the VM once the key is back."""
        before, answer = self.records(), self.asks()
        refuses(f"{what}: no release", answer, 503, "guardian.keys")
        check("... and nothing of a key", set(answer[1]) == {"status", "id", "text", "remedy"}, answer)
        check("... and no record of one", self.records() == before, self.records())

    def is_released(self, what):
        before, (status, answer) = self.records(), self.asks()
        check(f"{what}: a release", status == 200 and self.records() == before + 1, answer)
        keep("certificate", unb64(self.certificate))
        keep("key", unb64(answer.get("key", "")))
        keep("copy", b"")
        keep("host.jwk", json.dumps(self.key.jwk(private=True)).encode())
        os.chmod(f"{WORK}/host.jwk", 0o600)
        done = subprocess.run([RELEASED, "open", self.vm, self.request, "host.jwk"], cwd=WORK, capture_output=True)
        check("... which opens", done.returncode == 0 and done.stdout == b"%d\n" % self.records(), done)


def test_init():
    os.umask(0o077)
    write(f"{STATE}/{CONF}", f"directories.tokendir = {TOKENS}\nlog.level = ERROR\n")
    os.mkdir(TOKENS, 0o700)
    subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "guardian", "--pin", "1234", "--so-pin",
                    "5678"], check=True, stdout=subprocess.DEVNULL, env={"SOFTHSM2_CONF": f"{STATE}/{CONF}",
                                                                        "PATH": "/usr/bin:/bin"})
    write(PIN, "4321\n")
    done = init()
    check("a wrong PIN is refused", done.returncode == 2 and "not tried again" in done.stderr, done)
    check("... and makes no key", not os.path.exists(f"{STATE}/release.jwk.pub"))
    write(PIN, "1234\n")
    os.chmod(PIN, 0o644)
    done = init()
    check("a PIN for all is refused", done.returncode == 1 and "others may read" in done.stderr, done)
    os.chmod(PIN, 0o600)
    done = init()
    check("init makes the key in the token", done.returncode == 0 and "in the HSM (made)" in done.stdout, done)
    check("only its public half is a file", os.path.exists(f"{STATE}/release.jwk.pub") and
          not os.path.exists(f"{STATE}/release.jwk") and
          "d" not in json.load(open(f"{STATE}/release.jwk.pub", encoding="ascii")))
    done = init()
    check("init again keeps it", done.returncode == 0 and "made" not in done.stdout, done)
    done = init(key=KEY.replace("object=release", "object=another"))
    check("another key is not made beside it", done.returncode == 3 and "no such P-256 key" in done.stderr, done)
    with open(f"{STATE}/release.jwk.pub", "r+", encoding="ascii") as f:
        ours = f.read()
        f.seek(0)
        json.dump(Client("stranger").jwk(), f)
        f.truncate()
        f.flush()
        done = init()
        check("nor is it taken for another one", done.returncode == 1 and "another" in done.stderr, done)
        f.seek(0)
        f.write(ours)
        f.truncate()
    plain = f"{WORK}/plain"
    subprocess.run([PROGRAM, "init", "--state", plain], check=True, stdout=subprocess.DEVNULL)
    done = init(state=plain)
    check("a second release key is refused", done.returncode != 0 and "in a file" in done.stderr, done)
    for words, code in ((["--release-key", "release.jwk"], 2), (["--release-key", "pkcs11:token=x"], 2),
                        (["--release-key", KEY + "&pin-value=1234"], 2)):
        done = subprocess.run([PROGRAM, "init", "--state", STATE, *words], capture_output=True, text=True)
        check(f"{words} is wrong usage", done.returncode == code and "1234" not in done.stderr, done)


def test_run(host, admin):
    with open(f"{WORK}/admin.pub", "w", encoding="ascii") as f:
        json.dump(admin.jwk(), f)
    check("an admin is added", init("--admin", f"{WORK}/admin.pub").returncode == 0)
    it = WithKey()
    check("it starts", it.ready(host))
    pid = sealed(it)
    check("the key has a process of its own, confined", pid != 0)
    if not pid:
        return
    status = it.children()["guardian-keys"][1]
    check("... without a capability", int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0)
    for name in it.children():
        if name != "guardian-keys":
            with open(f"/proc/{it.children()[name][0]}/maps", encoding="ascii") as f:
                check(f"{name} has not loaded the module", "softhsm" not in f.read())
    # All that a guardian with its key in a file releases and refuses.
    guardian.test_release(admin)
    owned = Released(admin, "hsm")
    owned.is_released("with the token")
    os.kill(pid, signal.SIGKILL)
    again = sealed(it, pid)
    check("another one is started", again != 0)
    owned.is_released("by another process")
    # One that does not answer: whoever asks is told in time, and it is replaced.
    os.kill(again, signal.SIGSTOP)
    owned.is_refused("while the module hangs")
    pid, again = again, sealed(it, again)
    check("who hangs is replaced", again not in (0, pid))
    owned.is_released("... and by that one")
    # While the token is away nothing can be released, but hosts are served; it is looked for again.
    os.rename(TOKENS, TOKENS + ".away")
    os.mkdir(TOKENS)
    os.kill(again, signal.SIGKILL)
    check("without the token it says so", wait_for("no such token"))
    check("... and serves hosts", ask(host, HOSTS, "GET", "/v1/info")[0] == 200)
    owned.is_refused("without the token")
    os.rmdir(TOKENS)
    os.rename(TOKENS + ".away", TOKENS)
    pid = sealed(it, again)
    check("with the token again it has the key", pid != 0)
    owned.is_released("with the token again")
    # A PIN that is refused is not tried until the token locks up.
    write(PIN, "4321\n")
    os.kill(pid, signal.SIGKILL)
    check("a PIN that has changed is refused", wait_for("not tried again"))
    time.sleep(7)
    check("... once", logged().count("not tried again") == 1, logged())
    check("... and hosts are served", ask(host, HOSTS, "GET", "/v1/info")[0] == 200)
    owned.is_refused("without a PIN")
    check("SIGTERM ends it", it.stop() == 0)
    it = WithKey()
    check("from the beginning it is the end", it.process.wait(15) == 2)
    write(PIN, "1234\n")
    it = WithKey()
    check("with the PIN it starts again", it.ready(host) and sealed(it) != 0)
    owned.is_released("with the PIN")
    check("SIGTERM ends that as well", it.stop() == 0)
    check("no process was killed by its filter", "may not make" not in logged())


def main():
    test_init()
    if not failed:
        test_run(Client("host"), Client("admin"))
    if failed and os.path.exists(f"{WORK}/log"):
        print(logged())
    print(f"{guardian.checks} checks, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
