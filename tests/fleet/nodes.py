# SPDX-License-Identifier: BSD-3-Clause
"""Guardians, and the PostgreSQL that they share, as processes of this one: started, looked at, killed."""
import os
import pwd
import re
import signal
import subprocess
import time

CHILDREN = ("front", "keeper", "verifier")


def fields(path):
    """Of /proc/PID/status or smaps_rollup: name to text; nothing of a process that has gone."""
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return dict(line.rstrip("\n").split(":", 1) for line in f if ":" in line)
    except OSError:
        return {}


def kb(path, name):
    text = fields(path).get(name, "0 kB").split()
    return int(text[0]) if text else 0


class Guardian:
    """A node; its hosts' listener is at PORT of 127.0.0.1, its admins' at the next one."""

    def __init__(self, program, state, port, makers, log, extra=()):
        self.program, self.state, self.port, self.makers, self.log = program, state, port, makers, log
        self.extra = list(extra)
        self.process = None

    def init(self, admin, *extra):
        """Make the state; returns the pin that it told."""
        done = subprocess.run([self.program, "init", "--state", self.state, "--admin", admin, *extra],
                              capture_output=True, text=True, check=False)
        told = re.search(r"For hosts: +\S+#(\S+)", done.stdout)
        if done.returncode != 0 or not told:
            raise SystemExit(f"the guardian's init: {done.stdout}{done.stderr}")
        return told.group(1)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "run", "--state", self.state, "--listen", f"127.0.0.1:{self.port}", "--admin-listen",
                 f"127.0.0.1:{self.port + 1}", "--ek-ca", self.makers, *self.extra],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def pids(self):
        """Of parent and children, by name."""
        found = {"parent": self.process.pid}
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
                children = f.read().split()
        except OSError:
            return found
        for pid in children:
            name = fields(f"/proc/{pid}/status").get("Name", "").strip()
            for child in CHILDREN:
                if name == f"guardian-{child[:5]}":
                    found[child] = int(pid)
        return found

    def ready(self, wait=20):
        """1 once all its processes are there, confined and listening."""
        until = time.monotonic() + wait
        while time.monotonic() < until and self.alive():
            pids = self.pids()
            if len(pids) == 4 and all(fields(f"/proc/{pids[c]}/status").get("Seccomp", "").strip() == "2"
                                      for c in CHILDREN):
                return True
            time.sleep(0.02)
        return False

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def memory(self):
        """Proportional set size in KiB by process."""
        return {name: kb(f"/proc/{pid}/smaps_rollup", "Pss") for name, pid in self.pids().items()}

    def cpu(self):
        """Seconds of processor time by process, user and system."""
        ticks = os.sysconf("SC_CLK_TCK")
        out = {}
        for name, pid in self.pids().items():
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                    at = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            out[name] = (int(at[11]) + int(at[12])) / ticks
        return out

    def kill(self, which):
        """SIGKILL to one of its processes; 1 if there was one."""
        pid = self.pids().get(which)
        if not pid or not self.alive():
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        if which == "parent":
            self.process.wait()
        return True

    def stop(self):
        if not self.alive():
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Postgres:
    """A server of its own in FOLDER, reached by its Unix socket; durable, as it is killed.  Each commit takes a few
    milliseconds before it is durable, as on a disk, so that some are lost amid it."""

    def __init__(self, bin_folder, folder):
        self.bin, self.folder = bin_folder, folder
        self.user = pwd.getpwnam("postgres")
        self.process = None
        os.mkdir(folder)
        os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        if self.run("initdb", "-D", "data", "-A", "trust", "-U", "guardian", "--no-sync", "--encoding=UTF8",
                    "--locale=C").wait() != 0:
            raise SystemExit("initdb fails")

    url = property(lambda self: f"postgresql://guardian@/postgres?host={self.folder}")

    def run(self, name, *words):
        with open(f"{self.folder}.log", "ab") as log:
            return subprocess.Popen([f"{self.bin}/{name}", *words], cwd=self.folder, user=self.user.pw_uid,
                                    group=self.user.pw_gid, extra_groups=[], stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})

    def start(self, wait=30):
        until = time.monotonic() + wait
        while time.monotonic() < until:
            # Right after a kill it may find its former self's memory in use.
            if not self.process or self.process.poll() is not None:
                self.process = self.run("postgres", "-D", "data", "-c", "listen_addresses=", "-c",
                                        f"unix_socket_directories={self.folder}", "-c", "commit_delay=3000", "-c",
                                        "commit_siblings=0")
            if self.sql("SELECT 1") == "1":
                return True
            time.sleep(0.1)
        return False

    def sql(self, text):
        done = subprocess.run([f"{self.bin}/psql", "-XAtq", "-h", self.folder, "-U", "guardian", "-c", text, "postgres"],
                              capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else done.stderr

    def kill(self):
        self.process.kill()
        self.process.wait()

    def kill_backend(self, choose):
        """One guardian's session; 1 if there was one."""
        pids = self.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'shieldvm-guardian' ORDER BY 1")
        pids = pids.split() if re.fullmatch(r"[\d\s]+", pids) else []
        if not pids:
            return False
        try:
            os.kill(int(choose(pids)), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
