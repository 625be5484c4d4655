#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What tests/integration/guardian-postgres.sh does inside.
Usage: guardian_postgres.py SHIELDVM-GUARDIAN RELEASED FOLDER FOLDER-OF-POSTGRESQL"""
import errno
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import uuid

from guardian import PROGRAM, WORK, Client, Owned, ask, b64, check, failed, refuses
import guardian

BIN = sys.argv[4]
SERVER = os.path.join(WORK, "pg")
TCP = 5433
LOCAL = f"postgresql://guardian@/postgres?host={SERVER}&port={TCP}"
REMOTE = f"postgresql://node@db.test:{TCP}/postgres?hostaddr=127.0.0.1"


class Server:
    """A PostgreSQL that trusts who comes by its Unix socket, and asks others for TLS and a password."""

    def __init__(self):
        self.user = pwd.getpwnam("postgres")
        os.mkdir(SERVER)
        os.chown(SERVER, self.user.pw_uid, self.user.pw_gid)
        # The tables and the write-ahead log can be given disks of their own that get full.
        for name, size in (("wal", "32m"), ("tables", "4m")):
            os.mkdir(f"{SERVER}/{name}")
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,uid={self.user.pw_uid},size={size}", "tmpfs",
                            f"{SERVER}/{name}"], check=True)
        self.as_postgres("initdb", "-D", f"{SERVER}/data", "-X", f"{SERVER}/wal/log", "--wal-segsize=1", "-A",
                         "trust", "-U", "guardian", "--no-sync", "--encoding=UTF8", "--locale=C").wait()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=db.test", "-addext", "subjectAltName=DNS:db.test", "-keyout", f"{SERVER}/server.key",
                        "-out", f"{SERVER}/server.crt"], check=True, stderr=subprocess.DEVNULL)
        os.chown(f"{SERVER}/server.key", self.user.pw_uid, self.user.pw_gid)
        with open(f"{SERVER}/data/pg_hba.conf", "w", encoding="ascii") as f:
            f.write("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        self.process = None

    def as_postgres(self, name, *words):
        with open(f"{WORK}/pg.log", "ab") as log:
            return subprocess.Popen([f"{BIN}/{name}", *words], cwd=SERVER, user=self.user.pw_uid,
                                    group=self.user.pw_gid, extra_groups=[], stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})

    def start(self):
        for _ in range(100):
            # Right after a kill it may find its former self's memory in use.
            if not self.process or self.process.poll() is not None:
                self.process = self.as_postgres(
                    "postgres", "-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", f"port={TCP}", "-c",
                    f"unix_socket_directories={SERVER}", "-c", "min_wal_size=2MB",
                    "-c", "wal_keep_size=1GB", "-c", "ssl=on", "-c", f"ssl_cert_file={SERVER}/server.crt",
                    "-c", f"ssl_key_file={SERVER}/server.key")
            if self.sql("SELECT 1") == "1":
                return
            time.sleep(0.1)
        check("the database starts", False, open(f"{WORK}/pg.log", encoding="utf-8").read()[-500:])

    def stop(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(30)

    @staticmethod
    def sql(text):
        done = subprocess.run([f"{BIN}/psql", "-XAtq", "-h", SERVER, "-p", str(TCP), "-U", "guardian", "-c", text,
                               "postgres"], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else done.stderr


class Node:
    """One guardian, with a state folder and ports of its own."""

    def __init__(self, name, url, port):
        self.name, self.url, self.port, self.state = name, url, port, f"{WORK}/{name}"
        self.process = None

    def init(self, *options):
        return subprocess.run([PROGRAM, "init", "--state", self.state, "--db", self.url, *options],
                              capture_output=True, text=True)

    def start(self, client):
        with open(f"{WORK}/log", "ab") as log:
            self.process = subprocess.Popen([PROGRAM, "run", "--state", self.state, "--db", self.url, "--listen",
                                             f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.port + 1}"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 10
        while time.monotonic() < until and self.process.poll() is None:
            if ask(client, self.port, "GET", "/v1/info")[0] == 200:
                return True
            time.sleep(0.1)
        return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def keeper(self):
        """Process id and status of the keeper."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/status", encoding="ascii") as f:
                    lines = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
            except (OSError, ValueError):
                continue
            if lines["PPid"].strip() == str(self.process.pid) and lines["Name"] == "guardian-keepe":
                return int(pid), lines
        return 0, {}


def challenge(client, node, host):
    return ask(client, node.port, "POST", "/v1/challenge", {"id": host})


def answer(client, node, host, t):
    worker = b64(b"\4" + bytes(64))
    said = f'{{"v":1,"host":"{host}","nonce":"{t.get("nonce")}","worker":"{worker}"}}'
    return ask(client, node.port, "POST", "/v1/attest",
               {"id": host, "nonce": t.get("nonce"), "expires": t.get("expires"), "mac": t.get("mac"),
                "worker": worker, "statement": client.jws("shieldvm-attest+jws", said)})


def attests(what, client, one, other, host):
    """A challenge of ONE's, answered at OTHER."""
    status, t = challenge(client, one, host)
    check(f"{what}: a challenge", status == 200, t)
    status, t = answer(client, other, host, t)
    check(f"{what}: a certificate", status == 200 and t.get("certificate"), t)


def refused_addresses(folder):
    """What a confined process could not use again is refused before it is used once."""
    local = f"host={SERVER}"
    for url, code, words in (
            (f"postgresql://guardian@db.test/postgres", 2, "hostaddr=NUMBER"),
            (f"postgresql://guardian@127.0.0.1,db.test/postgres", 2, "hostaddr=NUMBER"),
            (f"postgresql:///postgres?{local}", 2, "must name its user"),
            (f"postgresql://guardian@/?{local}", 2, "must name its database"),
            (f"postgresql://guardian@/postgres?{local}&passfile=/etc/passfile", 2, "put it there"),
            (f"postgresql://guardian@/postgres?{local}&passfile={folder}/../x", 2, "put it there"),
            (f"postgresql://guardian@/postgres?{local}&sslrootcert=system", 2, "put it there"),
            (f"postgresql://guardian@/postgres?{local}&service=x", 2, "leave it out"),
            (f"postgresql://guardian@/postgres?{local}&requirepeer=postgres", 2, "leave it out"),
            (f"postgresql://guardian@127.0.0.1:x/postgres", 2, "no port"),
            (f"postgresql://guardian:secret@/postgres?{local}", 1, "passfile="),
            (f"/var/lib/guardian.db", 2, "--db is for postgresql://")):
        for command in ("init", "run"):
            done = subprocess.run([PROGRAM, command, "--state", folder, "--db", url], capture_output=True, text=True,
                                  timeout=20)
            check(f"{command} refuses {url}", done.returncode == code and words in done.stderr and
                  "secret" not in done.stderr, done)


def test_setup(server, one, two, admin, owner):
    with open(f"{WORK}/admin.pub", "w", encoding="ascii") as f:
        json.dump(admin.jwk(), f)
    with open(os.open(f"{WORK}/owner", os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
        json.dump(owner.jwk(private=True), f)
    with open(f"{WORK}/owner.pub", "w", encoding="ascii") as f:
        json.dump(owner.jwk(), f)
    first = one.init("--admin", f"{WORK}/admin.pub", "--admin-name", "anna")
    check("init makes the tables", first.returncode == 0 and f"{LOCAL} (made)" in first.stdout, first)
    again = one.init()
    check("init again keeps them", again.returncode == 0 and "made" not in again.stdout, again)
    check("no file of SQLite's is made", not os.path.exists(f"{one.state}/guardian.db"))
    stranger = Node("stranger", LOCAL, 0).init()
    check("other keys are refused", stranger.returncode == 1 and "other keys" in stranger.stderr, stranger)
    # The second one has the first one's keys, and a TLS key of its own.
    subprocess.run([PROGRAM, "export", f"{WORK}/keys", "--to", f"{WORK}/owner.pub", "--state", one.state], check=True)
    subprocess.run([PROGRAM, "import", f"{WORK}/keys", "--key", f"{WORK}/owner", "--state", two.state], check=True,
                   stdout=subprocess.DEVNULL)
    server.sql("CREATE ROLE node LOGIN PASSWORD 'horse' IN ROLE guardian")
    server.sql("ALTER ROLE node SUPERUSER")
    done = two.init()
    check("without the password it does not come in", done.returncode == 3 and "cannot reach" in done.stderr, done)
    with open(os.open(f"{two.state}/.pgpass", os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
        f.write("*:*:*:node:horse\n")
    done = two.init()
    check("nor to a server that it cannot verify", done.returncode == 3 and "cannot reach" in done.stderr, done)
    os.mkdir(f"{two.state}/.postgresql", 0o700)
    shutil.copy(f"{SERVER}/server.crt", f"{two.state}/.postgresql/root.crt")
    # A certificate of its own is read as well; this server does not ask for it.
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=node",
                    "-keyout", f"{two.state}/.postgresql/postgresql.key", "-out",
                    f"{two.state}/.postgresql/postgresql.crt"], check=True, stderr=subprocess.DEVNULL)
    done = two.init()
    check("with both it does", done.returncode == 0, done)


def test_hosts(one, two, admin, key, host):
    """Begun at one, finished at the other."""
    words = {"id": host, "name": "keyed", "host_key": key.jwk()}
    status, t = ask(key, one.port, "POST", "/v1/enrol/begin", words)
    check("an enrolment begins at one", status == 200, t)
    said = f'{{"v":1,"host":"{host}","name":"keyed","nonce":"{t.get("nonce")}"}}'
    words.update({n: t.get(n) for n in ("nonce", "expires", "mac")},
                 statement=key.jws("shieldvm-enrol+jws", said))
    status, pending = ask(key, two.port, "POST", "/v1/enrol/finish", words)
    check("... and ends at the other", status == 200 and pending.get("status") == "pending", pending)
    status, t = ask(admin, one.port + 1, "POST", "/v1/hosts/approve",
                    {"id": host, "fingerprint": pending.get("fingerprint")})
    check("an admin approves at the first", status == 200, t)
    attests("one's challenge at the other", key, one, two, host)
    attests("and the other way", key, two, one, host)
    status, t = challenge(key, one, host)
    first, second = answer(key, two, host, t), answer(key, one, host, t)
    check("a challenge is answered once", first[0] == 200, first)
    refuses("... and at no other guardian again", second, 409, "challenge.used")


def test_confined(one, two):
    for node in (one, two):
        pid, status = node.keeper()
        check(f"{node.name}: the keeper is confined", pid and status["Seccomp"].strip() == "2" and
              int(status["CapEff"], 16) == 0 and status["NoNewPrivs"].strip() == "1", status)


def leases(server):
    """All that there is of VMs, leases and their log."""
    return [server.sql(f"SELECT * FROM shieldvm_guardian.{table} ORDER BY 1, 2") for table in
            ("vms", "incoming", "release_log")]


def nothing_goes(what, owned, nodes):
    """OWNED's lease has token 1, and is awaited as well."""
    for node in nodes:
        for said, answer_ in (("a start", owned.asks(node.port)), ("a release ahead", owned.asks(node.port, True)),
                              ("a report", owned.tells("report", 1, 9, node.port)),
                              ("a take", owned.tells("take", 1, 9, node.port)),
                              ("a stop", owned.tells("stop", 1, 9, node.port))):
            refuses(f"{what}, {node.name}: no {said[2:]}", answer_, 503, "guardian.store")
            check("... and nothing else is said", set(answer_[1]) == {"status", "id", "text", "remedy"} and
                  "postgresql:" not in str(answer_), answer_)


def test_lost(server, one, two, key, host, owned):
    """A database that ends, and comes back: nothing is certified, and nobody is started again."""
    keepers, there = [n.keeper()[0] for n in (one, two)], leases(server)
    before = server.sql("SELECT COUNT(*) FROM shieldvm_guardian.certificates")
    for how in (signal.SIGINT, signal.SIGKILL):
        _, t = challenge(key, one, host)
        server.stop(how)
        refuses("without a database, one", answer(key, one, host, t), 503, "guardian.store")
        refuses("... and the other", answer(key, two, host, t), 503, "guardian.store")
        refuses("... and no challenge", challenge(key, one, host), 503, "guardian.store")
        nothing_goes("without a database", owned, (one, two))
        server.start()
        check("no lease has changed", leases(server) == there, leases(server))
        check("nothing was certified", server.sql("SELECT COUNT(*) FROM shieldvm_guardian.certificates") == before)
        # Who was not asked meanwhile does not notice.
        attests("with the database again", key, one, two, host)
        attests("... and the other way", key, two, one, host)
        before = server.sql("SELECT COUNT(*) FROM shieldvm_guardian.certificates")
    check("nobody was started again", keepers == [n.keeper()[0] for n in (one, two)])


def test_read_only(server, one, two, key, host, owned):
    there = leases(server)
    before = server.sql("SELECT COUNT(*) FROM shieldvm_guardian.certificates")
    _, t = challenge(key, one, host)
    server.sql("ALTER DATABASE postgres SET default_transaction_read_only = on")
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'shieldvm-guardian'")
    for node in (one, two):
        refused = answer(key, node, host, t)
        refuses(f"{node.name}: a database that can only be read", refused, 503, "guardian.store")
    nothing_goes("a database that can only be read", owned, (one, two))
    check("no lease has changed", leases(server) == there, leases(server))
    check("nothing was certified", server.sql("SELECT COUNT(*) FROM shieldvm_guardian.certificates") == before)
    server.sql("SET default_transaction_read_only = off; ALTER DATABASE postgres RESET ALL")
    subprocess.run([f"{BIN}/psql", "-XAtq", "-h", SERVER, "-p", str(TCP), "-U", "guardian", "-c",
                    "ALTER DATABASE postgres RESET default_transaction_read_only", "postgres"],
                   env={"PGOPTIONS": "-c default_transaction_read_only=off"}, capture_output=True)
    attests("and writable again", key, one, two, host)
    check("... a report", owned.tells("report", 1, 9, two.port)[0] == 200)
    check("... and a stop", owned.tells("stop", 1, 9, one.port)[0] == 200)
    check("... are done", leases(server) != there and leases(server)[2].count("\n") == there[2].count("\n") + 1)


def fill(disk):
    """Leaves no page of DISK free."""
    name = f"{SERVER}/{disk}/filler"
    with open(name, "wb", buffering=0) as f:
        try:
            while f.write(bytes(1 << 12)):
                pass
        except OSError as e:
            check(f"the disk of the {disk} is full", e.errno == errno.ENOSPC, e)
    return name


def records(server, owned):
    return int(server.sql("SELECT COUNT(*) FROM shieldvm_guardian.release_log WHERE vm = "
                          f"'\\x{uuid.UUID(owned.vm).hex}'"))


def fill_log(server):
    """Leaves some KiB of the write-ahead log, and no room for more of it."""
    name, segment = fill("wal"), 1 << 20
    for _ in range(100):
        at = int(server.sql("SELECT pg_current_wal_insert_lsn() - '0/0'"))
        ahead = int(server.sql(f"SELECT COUNT(*) FROM pg_ls_waldir() WHERE name > pg_walfile_name('0/0'::pg_lsn + {at})"))
        left = ahead * segment + segment - at % segment
        if left < 24 << 10:
            break
        server.sql(f"SELECT pg_logical_emit_message(false, 'x', repeat('x', {min(left - (16 << 10), 200 << 10)}))")
    return name


def no_room(what, answer_):
    """Whether the VM's row or the record finds no room first is PostgreSQL's."""
    status, t = answer_
    check(f"{what}: no key", status == 503 and t.get("id") in ("guardian.store", "guardian.log") and
          set(t) == {"status", "id", "text", "remedy"} and "postgresql:" not in str(t), answer_)


def released_until_full(owned, node):
    """How many keys were given before there was no room to write one down."""
    for n in range(60):
        status, t = owned.asks(node.port)
        if status != 200:
            no_room("a disk that is full", (status, t))
            return n
    check("the disk gets full", False)
    return 0


def test_full(server, one, two, owned, other):
    """First no room for the tables, then none for the write-ahead log, for which PostgreSQL ends."""
    server.sql(f"CREATE TABLESPACE small LOCATION '{SERVER}/tables'")
    for table in server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'shieldvm_guardian'").split():
        server.sql(f"ALTER TABLE shieldvm_guardian.{table} SET TABLESPACE small")
    for index in server.sql("SELECT indexname FROM pg_indexes WHERE schemaname = 'shieldvm_guardian'").split():
        server.sql(f"ALTER INDEX shieldvm_guardian.{index} SET TABLESPACE small")
    before, filler = records(server, owned), fill("tables")
    given = released_until_full(owned, one)
    there = leases(server)
    check("each key that was given is on record", records(server, owned) == before + given, (before, given))
    no_room("the other has no room either", owned.asks(two.port))
    check("no lease has changed", leases(server) == there, leases(server))
    os.unlink(filler)
    check("with room again, one", owned.asks(one.port)[0] == 200)
    check("... and the other", owned.asks(two.port)[0] == 200)

    before, filler = records(server, other), fill_log(server)
    given = released_until_full(other, two)
    no_room("the other has no log either", other.asks(one.port))
    os.unlink(filler)
    server.start()
    # Of the last, PostgreSQL may have come to the end and not to say so.
    lost = records(server, other) - before - given
    check("each key that was given is on record still", given > 0 and lost in (0, 1), (before, given, lost))
    check("with a log again, one", other.asks(one.port)[0] == 200)
    check("... and the other", other.asks(two.port)[0] == 200)
    check("... on record", records(server, other) == before + given + lost + 2)


def main():
    admin, key, host = Client("admin"), Client("keyed"), str(uuid.uuid4())
    server = Server()
    server.start()
    one, two = Node("one", LOCAL, 8787), Node("two", REMOTE, 8887)
    test_setup(server, one, two, admin, Client("owner"))
    refused_addresses(one.state)
    if not failed:
        for node in (one, two):
            check(f"{node.name} starts", node.start(key))
        test_confined(one, two)
    if not failed:
        test_hosts(one, two, admin, key, host)
        owned = Owned(admin, "owned", one.state)
        status, start = owned.asks()
        check("a start", status == 200 and start["token"] == 1, start)
        status, comes = owned.asks(two.port, True)
        check("... and a release ahead, at the other", status == 200 and comes["token"] == 1, comes)
        there = leases(server)
        check("... are there", [t.count(uuid.UUID(owned.vm).hex) for t in there] == [1, 1, 2], there)
        test_lost(server, one, two, key, host, owned)
        test_read_only(server, one, two, key, host, owned)
        test_full(server, one, two, Owned(admin, "full", one.state), Owned(admin, "other", one.state))
        for node in (one, two):
            check(f"SIGTERM ends {node.name}", node.stop() == 0)
        with open(f"{WORK}/log", encoding="utf-8") as f:
            told = [line for line in f if " refused; the last: guardian." in line]
        check("a log says why, once a minute", 2 <= len(told) <= 8 and
              all("the last: guardian.store: postgresql://" in line for line in told), told)
        check("no process was killed by its filter", b"may not make" not in open(f"{WORK}/log", "rb").read())
    server.stop()
    if failed and os.path.exists(f"{WORK}/log"):
        with open(f"{WORK}/log", encoding="utf-8", errors="replace") as f:
            print(f.read())
    print(f"{guardian.checks} checks, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
