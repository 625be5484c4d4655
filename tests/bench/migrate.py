# SPDX-License-Identifier: BSD-3-Clause
"""What tests/bench/migrate does to processes of a host, and what it reads of them.

migrate.py fill PID MIB     random bytes in the guest's memory of that QEMU (MIB of it), but for its first 64
                            and last 64 MiB, where the firmware is; prints how many MiB were filled
migrate.py cpu FILE NAME... until SIGTERM, and then into FILE: seconds of CPU time that all processes used
                            whose command line has one of the texts, and of all of their children
"""
import os
import signal
import sys
import time

PIECE = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


def fill(pid, mib):
    with open(f"/proc/{pid}/maps", encoding="ascii") as f:
        ranges = [line.split()[0].split("-") for line in f if " rw-p " in line]
    ranges = [(int(a, 16), int(b, 16)) for a, b in ranges]
    memory = [(a, b) for a, b in ranges if mib << 20 <= b - a < (mib << 20) + (64 << 20)]
    if len(memory) != 1:
        sys.exit(f"{len(memory)} mappings of about {mib} MiB")
    begin, filled = memory[0][0], 0
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as f:
        for at in range(64 << 20, (mib - 64) << 20, PIECE):
            f.seek(begin + at)
            filled += f.write(os.urandom(PIECE))
    print(filled >> 20)


def processes(names):
    """The CPU ticks of each of them."""
    parents, own, ticks = {}, set(), {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
                words = f.read().rpartition(")")[2].split()
            with open(f"/proc/{pid}/cmdline", encoding="latin-1") as f:
                line = f.read()
        except OSError:
            continue
        parents[pid] = words[1]
        ticks[pid] = int(words[11]) + int(words[12])
        if any(name in line for name in names) and "migrate.py" not in line:
            own.add(pid)
    for pid in ticks:
        line = [pid]
        while line[-1] in parents and line[-1] not in own:
            line.append(parents[line[-1]])
        if line[-1] in own:
            own.update(line)
    return {pid: ticks[pid] for pid in own if pid in ticks}


def cpu(path, names):
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    first = processes(names)
    last = dict(first)
    print("ready", flush=True)
    while not stop:
        time.sleep(0.02)
        # A new one began at nothing; one that is gone is kept as it was last seen.
        last.update(processes(names))
    used = sum(n - first.get(pid, 0) for pid, n in last.items())
    with open(path, "w", encoding="ascii") as f:
        f.write(f"{used / TICK:.2f}\n")


def main():
    match sys.argv[1:]:
        case ["fill", pid, mib]:
            fill(pid, int(mib))
        case ["cpu", path, *names] if names:
            cpu(path, names)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
