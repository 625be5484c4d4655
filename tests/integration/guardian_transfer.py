#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A guardian's export and import, by its program.  Usage: guardian_transfer.py SHIELDVM-GUARDIAN"""
import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1]
failed, checks = [], 0


def check(what, good, seen=""):
    global checks
    checks += 1
    if not good:
        failed.append(what)
        print(f"not ok - {what}: {seen}", flush=True)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_pair(path):
    """A JWK by openssl, private in PATH and public in PATH.pub."""
    pem = subprocess.run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout"], check=True,
                         capture_output=True).stdout
    der = subprocess.run(["openssl", "ec", "-outform", "DER"], input=pem, check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "ec", "-pubout", "-outform", "DER"], input=pem, check=True,
                            capture_output=True).stdout[-64:]
    words = {"kty": "EC", "crv": "P-256", "x": b64(public[:32]), "y": b64(public[32:])}
    for name, jwk, mode in ((path + ".pub", words, 0o644), (path, dict(words, d=b64(der[7:39])), 0o600)):
        with open(os.open(name, os.O_WRONLY | os.O_CREAT, mode), "w", encoding="ascii") as f:
            json.dump(jwk, f)


def run(*words):
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60)


def content(folder):
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, folder)] = (f.read(), os.stat(path).st_mode & 0o777)
    return found


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def rows(folder, table):
    with sqlite3.connect(f"{folder}/guardian.db") as db:
        return db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()


def test_keys(work, state):
    """A second guardian over the same database."""
    done = run("export", f"{work}/keys", "--to", f"{work}/owner.pub", "--state", state)
    check("export", done.returncode == 0 and not done.stdout, done)
    check("it is its owner's alone", os.stat(f"{work}/keys").st_mode & 0o777 == 0o600)
    data = read(f"{work}/keys")
    for name, (secret, _) in content(state).items():
        if name in ("mac.key", "ca/ca.key", "log.jwk", "release.jwk"):
            check(f"{name} is not readable in it", secret not in data and secret[20:60] not in data)
    before = data
    done = run("export", f"{work}/keys", "--to", f"{work}/owner.pub", "--state", state)
    check("a file that is there stays", done.returncode != 0 and read(f"{work}/keys") == before, done)
    done = run("import", f"{work}/keys", "--key", f"{work}/owner", "--state", f"{work}/two")
    check("import", done.returncode == 0 and "log.jwk " in done.stdout and "release.jwk " in done.stdout, done)
    mine, theirs = content(state), content(f"{work}/two")
    check("the files of keys, no others", set(theirs) == {"ca/ca.key", "ca/ca.pem", "log.jwk", "log.jwk.pub",
                                                           "release.jwk", "release.jwk.pub", "mac.key"}, theirs.keys())
    check("... as they were", all(theirs[n] == mine[n] for n in theirs))
    check("the folder is its owner's alone", os.stat(f"{work}/two").st_mode & 0o777 == 0o700)
    for name in ("log.jwk", "release.jwk"):
        print_ = re.search(rf"^{re.escape(name)} (\S+)$", done.stdout, re.M)
        x = json.loads(theirs[name][0])
        text = f'{{"crv":"P-256","kty":"EC","x":"{x["x"]}","y":"{x["y"]}"}}'
        digest = subprocess.run(["openssl", "dgst", "-sha256", "-binary"], input=text.encode(), check=True,
                                capture_output=True).stdout
        check(f"{name}'s name is told", print_ and print_[1] == b64(digest), done.stdout)
    done = run("init", "--state", f"{work}/two")
    check("init makes the rest", done.returncode == 0 and "log.jwk (kept)" in done.stdout and
          "tls.jwk (made)" in done.stdout and "guardian.db (made)" in done.stdout, done)


def test_machine(work, state):
    """Another machine goes on with everything."""
    done = run("export", f"{work}/all", "--to", f"{work}/owner.pub", "--state", state, "--tls", "--database")
    check("export of everything", done.returncode == 0, done)
    os.mkdir(f"{work}/three", 0o700)
    done = run("import", f"{work}/all", "--key", f"{work}/owner", "--state", f"{work}/three")
    check("import into an empty folder", done.returncode == 0, done)
    for table in ("policies", "admins", "release_log"):
        check(f"{table} are the same", rows(state, table) == rows(f"{work}/three", table))
    check("the TLS key is the same", read(f"{state}/tls.jwk") == read(f"{work}/three/tls.jwk"))
    done = run("init", "--state", f"{work}/three")
    check("nothing is missing", done.returncode == 0 and "made" not in done.stdout, done)


def test_refused(work, state):
    """Altered, cut, another's: nothing is made."""
    data = read(f"{work}/all")

    def refused(what, bad, key="owner", code=1, words=""):
        write(f"{work}/bad", bad)
        done = run("import", f"{work}/bad", "--key", f"{work}/{key}", "--state", f"{work}/four")
        check(f"{what} is refused", done.returncode == code and words in done.stderr and not done.stdout, done)
        check(f"... and nothing is made ({what})", not os.path.exists(f"{work}/four") and
              not os.path.exists(f"{work}/four.import"))

    for at in (0, 20, 130, 400, len(data) // 2, len(data) - 1):
        refused(f"a byte altered at {at}", data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
    for n in (0, 50, 113, 200, len(data) - 1):
        refused(f"{n} bytes of it", data[:n])
    refused("something behind it", data + b"\0")
    refused("another version", data[:15] + b"\2" + data[16:], words="version 2")
    refused("another's", data, key="other", words="another key")
    refused("without the private key", data, key="owner.pub")
    before = content(state)
    done = run("import", f"{work}/all", "--key", f"{work}/owner", "--state", state)
    check("a guardian that is there is kept", done.returncode != 0 and "is there already" in done.stderr and
          content(state) == before and not os.path.exists(state + ".import"), done)
    write(f"{work}/file", b"")
    done = run("import", f"{work}/all", "--key", f"{work}/owner", "--state", f"{work}/file")
    check("a file is kept", done.returncode != 0 and os.path.isfile(f"{work}/file"), done)
    for words in (["export", f"{work}/x"], ["export", "--to", f"{work}/owner.pub"], ["import", f"{work}/all"],
                  ["import", f"{work}/all", "--key", f"{work}/owner", "--tls"],
                  ["export", f"{work}/x", f"{work}/y", "--to", f"{work}/owner.pub"],
                  ["run", "--to", "x"], ["export", f"{work}/x", "--to", f"{work}/owner.pub", "--listen", "x"]):
        done = run(*words)
        check(f"{words} is wrong usage", done.returncode == 2 and done.stderr.count("\n") == 1, done)
    check("no wrong usage makes a file", not os.path.exists(f"{work}/x"))


def main():
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as work:
        state = f"{work}/one"
        for name in ("owner", "other", "admin"):
            key_pair(f"{work}/{name}")
        done = run("init", "--state", state, "--admin", f"{work}/admin.pub", "--admin-name", "anna")
        check("a guardian", done.returncode == 0, done)
        test_keys(work, state)
        test_machine(work, state)
        test_refused(work, state)
    print(f"{checks} checks, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
