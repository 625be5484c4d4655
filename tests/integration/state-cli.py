# SPDX-License-Identifier: BSD-3-Clause
"""What state-cli.sh does many times over, and what needs a terminal.

  state-cli.py SHIELDVM FILE AT FRONT RECORD   every bit flip and cut that counts is refused
  state-cli.py terminal SHIELDVM FILE COPY     progress and the question before shredding
"""
import os
import pty
import random
import select
import shutil
import subprocess
import sys
import time


def refused(shieldvm, path, what):
    """1 if FILE is refused with one sentence and no plaintext is left."""
    r = subprocess.run([shieldvm, "state", "open", path, "-o", "clear.py"], capture_output=True, text=True)
    lines = [l for l in r.stderr.splitlines() if l.startswith("shieldvm: ")]
    if r.returncode != 1 or len(lines) != 1 or r.stdout or os.path.exists("clear.py"):
        print(f"{what}: status {r.returncode}: {r.stderr}")
        return 0
    return 1


def flips_and_cuts(shieldvm, path, at, front, record):
    good = open(path, "rb").read()
    rng = random.Random(4)
    edges = [at + front + i * (record + 20) for i in range(5)]
    edges[-1] = len(good)
    near = sorted({p + d for p in edges for d in (-17, -16, -1, 0, 3, 4, 5) if at <= p + d < len(good)})
    places = list(range(at, at + front)) + near + [rng.randrange(at, len(good)) for _ in range(20)]
    bad = 0
    for p in places:
        b = bytearray(good)
        b[p] ^= 1 << rng.randrange(8)
        open("mutated", "wb").write(b)
        bad += not refused(shieldvm, "mutated", f"bit flip at {p - at}")
    cuts = [at, at + 1, at + 16, at + 31, at + 32, at + 147, at + 148, at + front - 1]
    cuts += near + [rng.randrange(at, len(good)) for _ in range(10)]
    for p in sorted(set(cuts)):
        open("mutated", "wb").write(good[:p])
        bad += not refused(shieldvm, "mutated", f"cut at {p - at}")
    print(f"{len(places)} bit flips, {len(set(cuts))} cuts, {bad} not refused")
    return bad


def on_terminal(argv, feed=None, answer=None):
    """ARGV with standard error (and with ANSWER also input) on a terminal; its status and what it showed."""
    ours, theirs = pty.openpty()
    stdin = theirs if answer is not None else subprocess.PIPE
    p = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    if answer is not None:
        os.write(ours, answer)
    for piece in feed or []:
        p.stdin.write(piece)
        p.stdin.flush()
        time.sleep(0.35)
    if p.stdin:
        p.stdin.close()
    shown, end = b"", time.monotonic() + 20
    while time.monotonic() < end:
        if not select.select([ours], [], [], 0.2)[0]:
            if p.poll() is not None:
                break
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(ours)
    return p.wait(timeout=10), shown.decode(errors="replace")


def terminal(shieldvm, path, copy):
    good = open(path, "rb").read()
    third = len(good) // 3
    bad = []

    def check(what, ok, seen):
        if not ok:
            bad.append(what)
            print(f"{what}: {seen!r}")

    status, shown = on_terminal([shieldvm, "state", "verify", "-"],
                                [good[:third], good[third:2 * third], good[2 * third:]])
    check("a slow pipe verifies", status == 0, shown)
    check("with progress and its rate", "iB/s" in shown and "\r" in shown, shown)
    check("which is taken away", shown.endswith("\r\x1b[K"), shown)
    status, shown = on_terminal([shieldvm, "state", "verify", "-"], [good[:third], good[third:-1]])
    check("a failure on a terminal", status == 1, shown)
    check("has its sentence on a line of its own", "\r\x1b[Kshieldvm: " in shown, shown)
    for answer, word, wanted in ((b"no\n", "not shredded", 1), (b"yes\n", "overwritten", 0)):
        shutil.copy(path, copy)
        status, shown = on_terminal([shieldvm, "state", "shred", copy], answer=answer)
        same = open(copy, "rb").read() == good
        check(f"shred answered {answer!r}", status == wanted and word in shown and same == (wanted == 1), shown)
    ours, theirs = pty.openpty()
    r = subprocess.run([shieldvm, "state", "open", path, "-o", "-"], stdout=theirs, stderr=subprocess.PIPE, check=False)
    check("no plaintext to a terminal", r.returncode == 2 and b"is a terminal" in r.stderr, r.stderr)
    check("none at all", not select.select([ours], [], [], 0.2)[0], "")
    # Interrupted: nothing is left, in whatever way the file was made.
    p = subprocess.Popen([shieldvm, "state", "open", "-", "-o", "clear.py"], stdin=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    p.stdin.write(good[:-1])
    p.stdin.flush()
    time.sleep(0.5)
    p.terminate()
    err = p.stderr.read()
    check("interrupted", p.wait(timeout=10) == 3 and b"interrupted" in err, err)
    check("nothing is left", not [n for n in os.listdir(".") if n.startswith("clear.py")], os.listdir("."))
    return len(bad)


if sys.argv[1] == "terminal":
    sys.exit(terminal(*sys.argv[2:]) != 0)
sys.exit(flips_and_cuts(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])) != 0)
