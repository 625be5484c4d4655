# SPDX-License-Identifier: BSD-3-Clause
"""What tests/soak/guardian does inside.

Guardian nodes with the same keys over one PostgreSQL, and hosts (tests/fleet) that start and stop VMs there, half of
them asking the one node first, half the other.  Meanwhile, at random instants, one of a node's processes or of
PostgreSQL's gets SIGKILL, and what does not come back by itself is started again after a moment, as systemd would."""
import argparse
import base64
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../fleet")]
import guardian_judge as judges  # noqa: E402
import nodes  # noqa: E402

PORT = 8787
THREADS, HOSTS, VMS = 16, 40, 12
PAUSE_MS, DEADLINE_MS = 400, 10000
VICTIMS = ("front", "keeper", "verifier", "parent", "postgres", "backend")


class Starts:
    """tests/fleet/starts.c."""

    def __init__(self, build, work, starts, seed):
        self.file = f"{work}/observations"
        self.process = subprocess.Popen(
            [f"{build}/tests/fleet/guardian_starts", work, str(HOSTS), str(VMS), str(THREADS), str(starts), str(seed),
             str(PAUSE_MS), str(DEADLINE_MS)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the hosts' program has ended")
        return json.loads(line)

    def say(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def observed(self):
        out = {"starts": [], "stops": []}
        with open(self.file, encoding="utf-8") as f:
            for line in f:
                if line.endswith("\n"):
                    o = json.loads(line)
                    out["starts" if o["what"] == "start" else "stops"].append(o)
        return out


class Faults(threading.Thread):
    """A blow after the other, until it is told to end; all is up again then."""

    def __init__(self, rng, nodes_, postgres, victims):
        super().__init__(daemon=True)
        self.rng, self.nodes, self.postgres, self.victims = rng, nodes_, postgres, victims
        self.over, self.count, self.failed = threading.Event(), collections.Counter(), []

    def strike(self):
        victim, node = self.rng.choice(self.victims), self.rng.choice(self.nodes)
        # Without the database nobody starts: that is asked half as often.
        if victim in ("postgres", "backend") and self.rng.random() < 0.5:
            victim = self.rng.choice(self.victims)
        if victim == "postgres":
            self.postgres.kill()
            hit = True
        elif victim == "backend":
            hit = self.postgres.kill_backend(self.rng.choice)
        else:
            hit = node.kill(victim)
        self.count[victim] += hit
        self.over.wait(self.rng.uniform(0, 0.5))
        self.mend()

    def mend(self):
        if self.postgres.process.poll() is not None and not self.postgres.start():
            self.failed.append("PostgreSQL does not come back")
        for node in self.nodes:
            if not node.alive():
                node.start()

    def run(self):
        while not self.over.wait(self.rng.uniform(0, 0.8)):
            self.strike()
        self.mend()

    def end(self):
        self.over.set()
        self.join()


def payload(record):
    text = record.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


class Bed:
    def __init__(self, o, bin_folder):
        self.o, self.build, self.work = o, o.build, o.work
        self.shieldvm, program = f"{o.build}/cli/shieldvm", f"{o.build}/guardian/shieldvm-guardian"
        self.admin = f"{o.work}/admin.jwk"
        subprocess.run([self.shieldvm, "key", "new", self.admin], check=True, stdout=subprocess.DEVNULL)
        self.postgres = nodes.Postgres(bin_folder, f"{o.work}/pg")
        if not self.postgres.start():
            raise SystemExit("PostgreSQL does not start")
        self.nodes = [nodes.Guardian(program, f"{o.work}/state{i}", PORT + 10 * i, f"{o.work}/makers.pem",
                                     f"{o.work}/node{i}.log", ["--db", self.postgres.url]) for i in range(o.nodes)]
        self.pin = self.nodes[0].init(f"{self.admin}.pub", "--db", self.postgres.url)
        for node in self.nodes[1:]:
            shutil.copytree(self.nodes[0].state, node.state)

    def start(self):
        for node in self.nodes:
            node.start()
        if not all(node.ready() for node in self.nodes):
            raise SystemExit("a guardian does not start")

    def urls(self, admins=0):
        return ",".join(f"https://127.0.0.1:{node.port + admins}#{self.pin}" for node in self.nodes)

    def log(self, vm):
        """The VM's verified log, or a sentence."""
        done = subprocess.run([self.shieldvm, "guardian", "log", "--guardian", self.urls(1), "--admin", self.admin,
                               "--log-key", f"{self.nodes[0].state}/log.jwk.pub", "--vm", vm, "--json"],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"VM {vm}: its log: {done.stderr.strip()}"
        return [payload(line) for line in done.stdout.splitlines()]

    def row(self, vm):
        text = self.postgres.sql("SELECT encode(holder, 'hex'), token FROM shieldvm_guardian.vms WHERE encode(vm, "
                                 f"'hex') = '{vm.replace('-', '')}'")
        if not text:
            return {"holder": None, "token": 0}
        holder, token = text.split("|")
        return {"holder": str(uuid.UUID(holder)) if holder else None, "token": int(token)}

    def stop(self):
        for node in self.nodes:
            node.stop()
        self.postgres.stop()


def watch(starts, found):
    """Judge while it goes on what does not need the logs; ends with the hosts' program."""
    while starts.process.poll() is None:
        time.sleep(2)
        wrong = list(judges.beliefs(starts.observed()))
        if wrong:
            found += wrong
            starts.process.kill()
            starts.process.wait()


def tell(observed, logs, faults, seconds):
    count = collections.Counter()
    for o in observed["starts"]:
        what = "elsewhere than asked first" if o["elsewhere"] else "at the node asked first"
        count[f"started, {what}" if o["rc"] >= 0 else f"refused: {o['id']}" if o["id"] else
              "failed: no guardian answered"] += 1
    released = {(vm, r["request"]) for vm, log in logs.items() for r in log if r["event"] == "release"}
    lost = [(o["vm"], request) for o in observed["starts"]
            for request in (o["requests"] if o["rc"] < 0 and not o["id"] else o["requests"][:-1])]
    print(f"# {len(observed['starts'])} starts in {seconds:.0f} s; killed: " +
          ", ".join(f"{name} {n}" for name, n in sorted(faults.items())))
    for name, n in sorted(count.items()):
        print(f"# {n:5} {name}")
    print(f"# {len(lost):5} releases whose answer was lost, {len(released & set(lost))} of them given, and on record")
    spans = [(o["began"], o["ended"], o["vm"], o["host"]) for o in observed["starts"]]
    rivals = sum(any(a[2] == b[2] and a[3] != b[3] and a[0] < b[1] and b[0] < a[1] for b in spans) for a in spans)
    print(f"# {rivals:5} starts while another host started the same VM")
    print(f"# {sum(map(len, logs.values())):5} records in {len(logs)} logs, each chained and signed")


def main():
    p = argparse.ArgumentParser(prog="script/soak guardian")
    for name in ("build", "work", "bin"):
        p.add_argument(name, help=argparse.SUPPRESS)
    p.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    p.add_argument("--starts", type=int, default=500)
    p.add_argument("--nodes", type=int, default=2)
    p.add_argument("--victims", default=",".join(VICTIMS), help="names, separated by commas: " + ", ".join(VICTIMS))
    o = p.parse_args()
    victims = o.victims.split(",")
    if not set(victims) <= set(VICTIMS):
        p.error(f"victims are {', '.join(VICTIMS)}")
    missed = judges.selftest()
    if missed:
        raise SystemExit(f"not ok - the judges do not see: {missed}")
    print(f"# seed {o.seed}; the judges refuse {len(judges.doctored())} doctored runs", flush=True)
    bed = Bed(o, o.bin)
    starts = Starts(o.build, o.work, o.starts, o.seed)
    bed.start()
    starts.say(bed.urls(), bed.urls(1), bed.admin, f"{bed.nodes[0].state}/release.jwk.pub")
    names = starts.answer()
    faults, wrong, began = Faults(random.Random(o.seed), bed.nodes, bed.postgres, victims), [], time.monotonic()
    faults.start()
    starts.say("go")
    watch(starts, wrong)
    seconds = time.monotonic() - began
    faults.end()
    if starts.process.returncode != 0 and not wrong:
        wrong.append(f"the hosts' program ended with {starts.process.returncode}")
    if not all(node.ready() for node in bed.nodes):
        wrong.append("a guardian does not come back")
    observed = starts.observed()
    logs = {vm: bed.log(vm) for vm in names["vms"]}
    wrong += [log for log in logs.values() if isinstance(log, str)] + faults.failed
    logs = {vm: log for vm, log in logs.items() if not isinstance(log, str)}
    wrong += judges.judge(observed, logs, {vm: bed.row(vm) for vm in logs}, DEADLINE_MS, o.starts)
    tell(observed, logs, faults.count, seconds)
    bed.stop()
    for text in wrong[:20]:
        print(f"not ok - {text}")
    print(f"# repeat with: script/soak guardian --seed {o.seed} --starts {o.starts}"
          f"{f' --nodes {o.nodes}' if o.nodes != 2 else ''}"
          f"{f' --victims {o.victims}' if o.victims != ','.join(VICTIMS) else ''}")
    print("not ok" if wrong else "ok")
    raise SystemExit(1 if wrong else 0)


main()
