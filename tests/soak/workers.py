# SPDX-License-Identifier: BSD-3-Clause
"""workers.py N ROUNDS OWNER-KEY: inside a bed, N shielded VMs without a guest. Each round starts all
of them by the hook, gives each vTPM a command, measures, and ends them in turn in four ways."""
import collections
import concurrent.futures
import glob
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))
import attack  # noqa: E402

AT_ONCE = 4
ENDS = ["SIGTERM to the broker", "QEMU ends", "SIGKILL to the worker", "SIGKILL to the broker"]
NAMESPACES = ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"]
# Kernel objects that a leak would leave behind even where no process shows them. Others use this
# machine's kernel too: what counts is whether every second of many workers left one.
SLABS = ["net_namespace", "pid_namespace", "user_namespace", "uts_namespace", "mnt_cache"]
SLABS_FROM = 64
RUN = pathlib.Path("/run/shieldvm")
STATE = pathlib.Path("/var/lib/shieldvm")


def name_of(i):
    return f"30030030-0b1d-4a57-9d0e-{i:012x}"


def xml_of(i):
    return f"/run/bed/many/{i}.xml"


def hook(operation, i):
    with open(xml_of(i)) as f:
        p = subprocess.run(["/usr/sbin/shieldvm-hook", "any", operation, "begin", "-"], stdin=f,
                           capture_output=True, text=True, timeout=120)
    if p.returncode:
        sys.exit(f"hook {operation} of VM {i}: {p.stderr or p.stdout}")


def make(i, plain, key):
    text = plain.replace("NAME", f"many{i}").replace("0" * 8 + "-0000-0000-0000-" + "0" * 12, name_of(i))
    source = f"/run/bed/many/{i}.plain"
    pathlib.Path(source).write_text(text)
    subprocess.run(["shieldvm", "shield", source, "--owner", key, "-o", xml_of(i)], check=True,
                   capture_output=True, timeout=60)


def say(text):
    print(textwrap.fill(text, 110, initial_indent="  ", subsequent_indent="  "))


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def workers():
    """Every process of shieldvm-worker, by its uid, oldest first: broker, worker, guard."""
    found = collections.defaultdict(list)
    for path in glob.glob("/proc/[0-9]*/comm"):
        if read(path).strip() in ("shieldvm-worker", "shieldvm-guard"):
            folder = os.path.dirname(path)
            found[uid_of(folder)].append(int(os.path.basename(folder)))
    return {uid: sorted(pids) for uid, pids in found.items()}


def uid_of(folder):
    m = re.search(r"^Uid:\s+(\d+)", read(f"{folder}/status"), re.M)
    return int(m[1]) if m else -1


def slab(name):
    m = re.search(rf"^{name}\s+(\d+)", read("/proc/slabinfo"), re.M)
    return int(m[1]) if m else 0


def count():
    """What there is on this host that a worker could leave behind."""
    c = {"processes": len(glob.glob("/proc/[0-9]*")), "run folders": len(list(RUN.glob("*"))),
         "uids of workers": len(workers()),
         "Unix sockets": read("/proc/net/unix").count("\n"),
         "mounts": read("/proc/self/mountinfo").count("\n"),
         "keys": read("/proc/keys").count("\n"),
         "descriptors of this test": len(os.listdir("/proc/self/fd"))}
    for kind in NAMESPACES:
        seen = set()
        for path in glob.glob(f"/proc/[0-9]*/ns/{kind}"):
            try:
                seen.add(os.readlink(path))
            except OSError:
                pass
        c[f"{kind} namespaces"] = len(seen)
    return c


def memory(pids):
    """PSS of PIDS in kB, and of what is the kernel's about them: page tables and stacks."""
    pss = tables = threads = 0
    for pid in pids:
        m = re.search(r"^Pss:\s+(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.M)
        pss += int(m[1]) if m else 0
        status = read(f"/proc/{pid}/status")
        m = re.search(r"^VmPTE:\s+(\d+)", status, re.M)
        tables += int(m[1]) if m else 0
        m = re.search(r"^Threads:\s+(\d+)", status, re.M)
        threads += int(m[1]) if m else 0
    return pss, tables, threads


def available():
    return int(re.search(r"^MemAvailable:\s+(\d+)", read("/proc/meminfo"), re.M)[1])


def start(i):
    hook("prepare", i)
    hook("start", i)
    return time.monotonic()


def settle(what, seconds, good):
    end = time.monotonic() + seconds
    while not good():
        if time.monotonic() > end:
            return f"{what} after {seconds} s"
        time.sleep(0.2)
    return None


def end_all(vms, n):
    """Each VM in one of four ways, and what libvirt does behind each of them: release."""
    for i, vm in enumerate(vms):
        how = ENDS[i % len(ENDS)]
        if how == "SIGTERM to the broker":
            os.kill(vm.broker, signal.SIGTERM)
        elif how == "SIGKILL to the worker":
            os.kill(vm.worker, signal.SIGKILL)
        elif how == "SIGKILL to the broker":
            os.kill(vm.broker, signal.SIGKILL)
        else:
            os.close(vm.lifeline)
    late = settle("workers still run", 120, lambda: not workers())
    if late:
        sys.exit(f"{late}: {workers()}")
    for i, vm in enumerate(vms):
        vm.ctrl.close()
        vm.monitor.close()
        for fd in (vm.qmp, vm.pidfd) + ((vm.lifeline,) if ENDS[i % len(ENDS)] != "QEMU ends" else ()):
            os.close(fd)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda i: hook("release", i), range(n)))


def one_round(n, number, before):
    free = available()
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(start, range(n)))
    up = time.monotonic() - begin
    vms = []
    for i in range(n):
        vm = attack.Vm(name_of(i))
        vm.start()
        data = vm.data()
        attack.command(data, attack.STARTUP)
        if attack.command(data, attack.GET_RANDOM):
            sys.exit(f"VM {i}'s vTPM does not answer")
        data.close()
        vms.append(vm)
    running = workers()
    now = count()
    used = free - available()
    uids = {os.stat(STATE / name_of(i)).st_uid for i in range(n)}
    if len(uids) != n or uids != set(running):
        sys.exit(f"{n} VMs have {len(uids)} uids, and processes of {len(running)}")
    roles = [memory([pids[role] for pids in running.values() if len(pids) > role]) for role in range(3)]
    print(f"round {number}: {n} VMs started in {up:.1f} s ({AT_ONCE} at a time), each with its vTPM in use")
    for role, (pss, tables, threads) in zip(("broker", "worker", "guard"), roles):
        if threads:
            print(f"  {role:8} PSS {pss / n:7.0f} kB, page tables {tables / n:5.0f} kB, {threads / n:.0f} threads")
    print(f"  together PSS {sum(r[0] for r in roles) / n / 1024:7.2f} MB a VM; "
          f"this machine has {used / n / 1024:.2f} MB less for each, the kernel's part with it")
    say(", ".join(f"{now[k] - before[k]:+} {k}" for k in now if now[k] != before[k]))
    end_all(vms, n)
    return uids


def main():
    n, rounds, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    os.mkdir("/run/bed/many")
    plain = pathlib.Path("/run/bed/plain.xml").read_text()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda i: make(i, plain, key), range(n)))
    before, slabs, uids = count(), {s: slab(s) for s in SLABS}, None
    for number in range(1, rounds + 1):
        mine = one_round(n, number, before)
        if uids not in (None, mine):
            sys.exit("the VMs have other uids than in the round before")
        uids = mine
        left = lambda: {k: v - before[k] for k, v in count().items() if v != before[k]}
        if settle("", 30, lambda: not left()):
            sys.exit(f"left behind: {left()}")
        more = lambda: {s: slab(s) - slabs[s] for s in SLABS if slab(s) - slabs[s] >= n // 2}
        if n >= SLABS_FROM and settle("", 60, lambda: not more()):
            sys.exit(f"kernel objects left behind: {more()}")
        say(f"ended, a quarter each: {', '.join(ENDS)}; nothing is left of: {', '.join(before)}"
            + ("; nor of the kernel's " + ", ".join(s for s in SLABS if slabs[s]) if n >= SLABS_FROM else ""))


if __name__ == "__main__":
    main()
