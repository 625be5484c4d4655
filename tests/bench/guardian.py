# SPDX-License-Identifier: BSD-3-Clause
"""What tests/bench/guardian does inside.

A real guardian (program, confined processes, SQLite on a disk) and tests/fleet's simulated hosts, on the same cores:
what the hosts compute is taken from what the guardian could do.  The figure that does not depend on that is the
guardian's own processor time.

Peers, in the same run and in turns: `openssl s_server` for the transport (certificates of both sides, one request per
connection, the same client for both); tpm2_checkquote for the evidence, which an operator's own script would run per
quote, and which looks into no log and has no policy; libcrypto's bare ECDSA verification, of which an attestation needs
at least five: the client's certificate, its handshake, the quote, the creation certificate, and its own certificate."""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "../fleet"))
import nodes  # noqa: E402

PORT = 8787
THREADS = 16
MINUTE = 60
MEMORY_MAX_MIB = 512


class Load:
    """tests/fleet/load.c."""

    def __init__(self, build, work, o):
        self.process = subprocess.Popen(
            [f"{build}/tests/fleet/guardian_load", work, str(o.hosts), str(o.events), str(o.ima)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ready = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the load program has ended")
        return json.loads(line)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.answer()


class Watch(threading.Thread):
    """The guardian's highest memory while it is watched."""

    def __init__(self, guardian):
        super().__init__(daemon=True)
        self.guardian, self.peak, self.over = guardian, {}, threading.Event()

    def run(self):
        while not self.over.wait(0.25):
            for name, value in self.guardian.memory().items():
                self.peak[name] = max(value, self.peak.get(name, 0))

    def done(self):
        self.over.set()
        self.join()
        return sum(self.peak.values()) / 1024


class Table:
    def __init__(self):
        self.rows, self.missed = [], 0

    def row(self, what, value, unit, target="", good=None):
        self.rows.append({"what": what, "value": value, "unit": unit, "target": target, "good": good})
        self.missed += good is False
        text = f"{value:12.1f}" if isinstance(value, float) else f"{value:12}"
        print(f"{what:<58}{text} {unit:<10} {target:<24}{'' if good is None else 'PASS' if good else 'FAIL'}".rstrip(),
              flush=True)


def measured(guardian, load, *words):
    """What came of a command, with the guardian's processor time and the machine's."""
    before, watch = guardian.cpu(), Watch(guardian)
    watch.start()
    out = load.ask(*words)
    out["mib"] = watch.done()
    out["cpu"] = {name: value - before.get(name, 0) for name, value in guardian.cpu().items()}
    return out


def per(out):
    """Milliseconds of the guardian's processor time for one."""
    return sum(out["cpu"].values()) * 1000 / out["done"]


def speed(words, pattern):
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return float(re.search(pattern, said).group(1))


def peer_server(work):
    """openssl s_server as the guardian serves: TLS 1.3, P-256, a client certificate demanded."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    "/CN=peer", "-keyout", f"{work}/peer.key", "-out", f"{work}/peer.crt"], check=True,
                   capture_output=True)
    server = subprocess.Popen(["openssl", "s_server", "-quiet", "-accept", "127.0.0.1:9000", "-key", f"{work}/peer.key",
                               "-cert", f"{work}/peer.crt", "-tls1_3", "-Verify", "1", "-www", "-num_tickets", "0"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    return server


def compare(t, load, work, seconds):
    """Connections a second, in turns, and how much of an attestation a checkquote takes."""
    server, ours, theirs, checks = peer_server(work), [], [], []
    try:
        for _ in range(3):
            theirs.append(load.ask("handshakes", 9000, "/", 4, seconds / 3)["rate"])
            ours.append(load.ask("handshakes", PORT, "/v1/info", 4, seconds / 3)["rate"])
    finally:
        server.terminate()
        server.wait()
    a, b = statistics.median(ours), statistics.median(theirs)
    t.row("mutual TLS connections, one request each: s_server", b, "/s")
    t.row("the same, guardian", a, "/s")
    t.row("  ratio, s_server / guardian", b / a, "", "<= 2.0", b / a <= 2)
    load.ask("quote", work)
    with open(f"{work}/quote.extra", encoding="ascii") as f:
        extra = f.read()
    for _ in range(20):
        began = time.monotonic()
        subprocess.run(["tpm2_checkquote", "-u", f"{work}/ak.pem", "-m", f"{work}/quote.msg", "-s",
                        f"{work}/quote.sig", "-g", "sha256", "-q", extra], check=True, capture_output=True)
        checks.append((time.monotonic() - began) * 1000)
    verify = speed(["openssl", "speed", "-mr", "-seconds", "2", "ecdsap256"], r"\+F4:\d+:\d+:[\d.]+:([\d.]+)")
    return statistics.median(checks), verify if verify > 1 else 1 / verify


def rates(t, guardian, load, o):
    load_ms, verify = compare(t, load, o.work, o.seconds)
    one = measured(guardian, load, "attest", o.hosts, THREADS)
    rate = one["done"] / one["seconds"]
    t.row("verified attestations, each over a connection of its own", rate, "/s")
    t.row("  failed", one["failed"], one["why"], "0", one["failed"] == 0)
    t.row("  latency, median", one["p50_ms"], "ms")
    t.row("  latency, 95 in 100", one["p95_ms"], "ms")
    t.row("  latency, 99 in 100", one["p99_ms"], "ms")
    t.row("  guardian's processor time for one", per(one), "ms")
    for name in nodes.CHILDREN:
        t.row(f"    of that {name}", one["cpu"].get(name, 0) * 1000 / one["done"], "ms")
    t.row("  so two cores of its own would do at most", 2000 / per(one), "/s")
    t.row("  tpm2_checkquote of one quote alone, by its program", load_ms, "ms")
    t.row("  ratio, guardian's processor time / checkquote", per(one) / load_ms, "")
    t.row("  libcrypto's bare ECDSA P-256 verifications, one core", verify, "/s")
    t.row("  ratio, guardian's time / five bare verifications", per(one) * verify / 5000, "")
    t.row(f"{o.hosts} hosts attest anew within", one["seconds"], "s", f"<= {MINUTE}",
          one["seconds"] <= MINUTE and one["failed"] == 0)
    t.row("guardian's memory meanwhile (PSS, highest)", one["mib"], "MiB")
    out = measured(guardian, load, "release", o.hosts, THREADS)
    t.row("released keys, each of another VM, over a connection each", out["done"] / out["seconds"], "/s")
    t.row("  failed", out["failed"], out["why"], "0", out["failed"] == 0)
    t.row("  latency, median", out["p50_ms"], "ms")
    t.row("  latency, 99 in 100", out["p99_ms"], "ms")
    t.row("  guardian's processor time for one", per(out), "ms")
    return one


def settle(load, idle, loris, wait):
    """Until the crowd is there: how long that took."""
    began = time.monotonic()
    while time.monotonic() < began + wait:
        s = load.ask("crowd?")
        if s["idle"] >= idle and s["loris"] >= loris:
            break
        time.sleep(0.2)
    return time.monotonic() - began


def crowded(t, guardian, load, o, alone):
    """Honest hosts among connections that want nothing, twice: what stays the second time is a leak."""
    peaks = []
    before = sum(guardian.memory().values()) / 1024
    for turn in range(2):
        load.ask("crowd", o.idle, o.loris)
        took = settle(load, o.idle, o.loris * 9 // 10, 90)
        at_start = load.ask("crowd?")
        out = measured(guardian, load, "attest", o.hosts, THREADS)
        after = load.ask("crowd?")
        load.ask("crowd", 0, 0)
        peaks.append(out["mib"])
        if turn:
            continue
        least = min(at_start["idle"], after["idle"]), min(at_start["loris"], after["loris"])
        t.row(f"{o.idle} idle connections: open all the while, at least", least[0], "",
              f">= {o.idle * 9 // 10}", least[0] >= o.idle * 9 // 10)
        t.row(f"{o.loris} slow-loris connections: open, at least", least[1], "", f">= {o.loris * 8 // 10}",
              least[1] >= o.loris * 8 // 10)
        t.row("  all there after", took, "s")
        t.row("  ended by the guardian and made anew meanwhile", after["ended"], "")
        t.row("  honest hosts that failed", out["failed"], out["why"], "0", out["failed"] == 0)
        t.row("  attestations among them", out["done"] / out["seconds"], "/s")
        t.row("  latency, 99 in 100", out["p99_ms"], "ms")
        t.row("  guardian's processor time for one, crowd and all", per(out), "ms")
        t.row(f"  {o.hosts} hosts attest anew within", out["seconds"], "s", f"<= {MINUTE}", out["seconds"] <= MINUTE)
    t.row("guardian's memory before (PSS)", before, "MiB")
    t.row("  highest with the crowd", peaks[0], "MiB", f"<= {MEMORY_MAX_MIB}", peaks[0] <= MEMORY_MAX_MIB)
    t.row("  highest with a second crowd", peaks[1], "MiB", "<= 1.1 of the first", peaks[1] <= 1.1 * peaks[0])
    t.row("  of that for a connection", (peaks[0] - alone["mib"]) * 1024 / (o.idle + o.loris), "KiB")
    t.row("  when they have gone", sum(guardian.memory().values()) / 1024, "MiB")


def main():
    p = argparse.ArgumentParser(prog="script/bench guardian")
    p.add_argument("build", help=argparse.SUPPRESS)
    p.add_argument("work", help=argparse.SUPPRESS)
    p.add_argument("--hosts", type=int, default=1000)
    p.add_argument("--seconds", type=int, default=6, help="for each side of the comparison of connections")
    p.add_argument("--idle", type=int, default=5000)
    p.add_argument("--loris", type=int, default=500)
    p.add_argument("--events", type=int, default=150, help="in the event log, besides those that every boot has")
    p.add_argument("--ima", type=int, default=500, help="entries of IMA's list")
    p.add_argument("--json", help="write the rows to this file")
    o = p.parse_args()
    key = f"{o.work}/admin.jwk"
    subprocess.run([f"{o.build}/cli/shieldvm", "key", "new", key], check=True, stdout=subprocess.DEVNULL)
    load = Load(o.build, o.work, o)
    guardian = nodes.Guardian(f"{o.build}/guardian/shieldvm-guardian", f"{o.work}/state", PORT, f"{o.work}/makers.pem",
                              f"{o.work}/guardian.log")
    pin = guardian.init(f"{key}.pub")
    guardian.start()
    try:
        if not guardian.ready():
            raise SystemExit("the guardian does not start")
        t = Table()
        print(f"event log {load.ready['log']} bytes, IMA's list {load.ready['ima']} bytes; load "
              f"{os.getloadavg()[0]:.2f}\n")
        load.ask("guardian", PORT, pin, key, f"{o.work}/state/release.jwk.pub")
        out = load.ask("enrol", 8)
        t.row("hosts enrolled (credential activation) and approved", out["done"] / out["seconds"], "/s")
        t.row("  failed", out["failed"], out["why"], "0", out["failed"] == 0)
        alone = rates(t, guardian, load, o)
        crowded(t, guardian, load, o, alone)
        restarts = guardian_log_errors(guardian.log)
        t.row("guardian's processes that ended", len(restarts), "", "0", not restarts)
        for line in restarts[:5]:
            print(f"# {line}")
    finally:
        guardian.stop()
        load.process.stdin.close()
        load.process.wait()
    if o.json:
        with open(o.json, "w", encoding="ascii") as f:
            json.dump(t.rows, f, indent=1)
    raise SystemExit(1 if t.missed else 0)


def guardian_log_errors(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return [line.rstrip() for line in f if "has ended" in line or "was ended" in line or "takes too long" in line]


main()
