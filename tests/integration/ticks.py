#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The other end of the test guest's counter (tests/guest/tick.c), on the hosts that it runs on.

ticks.py listen PORT FILE        every datagram that comes: a line with the time, and what is in it
ticks.py last FILE...            prints the highest number that has come
ticks.py judge FIRST CALM DOWNTIME SLACK FROM TO
    of the numbers from FIRST on: each has come, once; those in the file FROM first, and from some number on
    those in TO.  The first CALM of them came while nothing was done to the guest: nowhere is more time (SLACK
    milliseconds) between two numbers than there, but for DOWNTIME where TO begins.  Prints what it has seen.
"""
import socket
import sys
import time


def listen(port, path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, open(path, "a") as out:
        s.bind(("127.0.0.1", port))
        while True:
            text = s.recv(256).decode()
            print(f"{time.clock_gettime(time.CLOCK_MONOTONIC):.6f} {text}", file=out, flush=True)


def ticks(path, first):
    with open(path) as lines:
        found = [line.split() for line in lines if line.endswith("\n")]
    return [(float(came), int(n)) for came, n, _ in found if int(n) >= first]


def last(paths):
    print(max([n for path in paths for _, n in ticks(path, 1)], default=0))


def judge(first, calm, downtime, slack, source, target):
    there, here = ticks(source, first), ticks(target, first)
    if len(there) < calm or not here:
        sys.exit(f"{len(there)} came where it was, {len(here)} where it is")
    numbers = [n for _, n in there + here]
    missing = sorted(set(range(first, max(numbers) + 1)) - set(numbers))
    if missing:
        sys.exit(f"{len(missing)} never came: {missing[:10]}")
    if numbers != sorted(set(numbers)):
        sys.exit("some came twice, or not in turn, or where it was after they came where it is")
    came = [1000 * t for t, _ in there + here]
    gaps = [b - a for a, b in zip(came, came[1:])]
    between = gaps.pop(len(there) - 1)
    usual = max(gaps[: calm - 1])
    print(
        f"{len(there)} there, {len(here)} here, none lost; {between:.0f} ms between, of them downtime {downtime}; "
        f"elsewhere at most {max(gaps):.0f} ms, before at most {usual:.0f}"
    )
    if max(gaps) > usual + slack or between > downtime + usual + slack:
        sys.exit("that is too long")


def main():
    arguments = sys.argv[2:]
    match sys.argv[1:2], len(arguments):
        case ["listen"], 2:
            listen(int(arguments[0]), arguments[1])
        case ["last"], n if n > 0:
            last(arguments)
        case ["judge"], 6:
            judge(*(int(a) for a in arguments[:4]), *arguments[4:])
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
