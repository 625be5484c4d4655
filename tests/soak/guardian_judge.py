# SPDX-License-Identifier: BSD-3-Clause
"""What has to hold after starts of VMs at guardians that were killed, whatever was killed when.

OBSERVED is what the hosts saw (tests/fleet/starts.c), LOGS each VM's release log as `shieldvm guardian log` fetched
and verified it (chain, signatures, head), ROWS what the database says of each VM's lease.  Each judge gives sentences;
selftest() shows each of them something that did not happen, and has to be told."""
import copy

# What a start may be refused for when a guardian or the database is gone, or another host has the VM.  The last: the
# VM ran and stopped elsewhere after its state's version was read.
REFUSALS = {"lease.held", "guardian.busy", "guardian.store", "guardian.log", "guardian.verifier", "vm.version"}
UNCERTAIN = {"guardian.store"}  # said also when the database was lost amid a commit: nobody knows
REQUESTS = 3  # of a start: challenge, evidence, release; each again elsewhere within the time


def reasons(observed, deadline_ms):
    """Each start has succeeded, or failed for a reason, in time."""
    for o in observed["starts"]:
        if o["ended"] - o["began"] > REQUESTS * deadline_ms + 1000:
            yield f"start {o['n']} took {o['ended'] - o['began']} ms"
        if o["rc"] >= 0:
            continue
        if not o["why"]:
            yield f"start {o['n']} failed without a reason"
        if o["id"] and o["id"] not in REFUSALS:
            yield f"start {o['n']} was refused as {o['id']}: {o['why']}"
        if not o["id"] and o["rc"] >= -4095 and o["rc"] < 0:
            continue  # -errno: nobody answered
        if not o["id"]:
            yield f"start {o['n']} failed with {o['rc']}: {o['why']}"


def beliefs(observed):
    """No two hosts think at once that they hold a VM: from a release's answer to the stop, or the lease's end."""
    ends = {(o["vm"], o["host"], o["token"]): o["began"] for o in observed["stops"]}
    held = {}
    for o in observed["starts"]:
        if o["rc"] >= 0:
            end = ends.get((o["vm"], o["host"], o["token"]), float("inf"))
            held.setdefault(o["vm"], []).append((o["ended"], end, o["host"], o["token"], o["n"]))
    for vm, spans in held.items():
        spans.sort()
        for a, b in zip(spans, spans[1:]):
            if b[0] < a[1]:
                yield f"VM {vm}: host {b[2]} has lease {b[3]} (start {b[4]}) while host {a[2]} has lease {a[3]}"
            if b[3] <= a[3]:
                yield f"VM {vm}: lease {b[3]} was given after lease {a[3]} (start {b[4]})"


def records(observed, logs):
    """What a host got stands in the log, once and as it was; and no request twice."""
    found = {}
    for vm, log in logs.items():
        for r in log:
            if r["event"] == "release":
                key = vm, r["request"]
                if key in found:
                    yield f"VM {vm}: request {r['request']} was released twice"
                found[key] = r
    for o in observed["starts"]:
        last = found.get((o["vm"], o["requests"][-1])) if o["requests"] else None
        if o["rc"] >= 0 and not last:
            yield f"start {o['n']}: its key was released, and the log does not say so"
        if o["rc"] >= 0 and last and last["token"] != o["token"]:
            yield f"start {o['n']}: the log has lease {last['token']} and not {o['token']}, which was told"
        if o["id"] and o["id"] not in UNCERTAIN and last:
            yield f"start {o['n']}: it was refused as {o['id']}, and the log has its release"
        for request in o["requests"]:
            r = found.get((o["vm"], request))
            if r and r["host"] != o["host"]:
                yield f"start {o['n']}: the log has its release to another host"
    asked = {(o["vm"], request) for o in observed["starts"] for request in o["requests"]}
    for vm, request in found.keys() - asked:
        yield f"VM {vm}: the log has request {request}, which nobody made"


def leases(logs, rows):
    """The log, from its beginning, is a life of one lease: given when free or to its holder, under the next token; and
    the database's row is where it ends, so that no release, answered or not, lacks its record."""
    for vm, row in rows.items():
        holder, token = None, 0
        for r in logs.get(vm, []):
            if r["event"] == "release":
                if holder not in (None, r["host"]):
                    yield f"VM {vm}: record {r['seq']} gives the lease to {r['host']} while {holder} has it"
                if r["token"] != token + 1:
                    yield f"VM {vm}: record {r['seq']} gives lease {r['token']} after {token}"
                holder, token = r["host"], r["token"]
            elif r["event"] == "stop":
                if (holder, token) != (r["host"], r["token"]):
                    yield f"VM {vm}: record {r['seq']} stops what {r['host']} has not"
                holder = None
            else:
                yield f"VM {vm}: record {r['seq']} is of {r['event']}"
        if (row["holder"], row["token"]) != (holder, token):
            yield f"VM {vm}: the database has lease {row['token']} of {row['holder']}, the log {token} of {holder}"


def stops(observed, logs):
    """A stop that is known to be done stands in the log, and none was refused for another reason than a fault's."""
    told = {(vm, r["host"], r["token"]) for vm, log in logs.items() for r in log if r["event"] == "stop"}
    for o in observed["stops"]:
        if o["known"] and (o["vm"], o["host"], o["token"]) not in told:
            yield f"VM {o['vm']}: host {o['host']} has stopped it, and the log does not say so"
        if not o["known"] and o["id"] and o["id"] not in REFUSALS:
            yield f"VM {o['vm']}: host {o['host']} could not stop it: {o['id']}: {o['why']}"


def enough(observed, wanted):
    """It has shown something: all starts were made, and more than half of them succeeded or met a live lease."""
    n = len(observed["starts"])
    if n != wanted:
        yield f"{n} starts were made and not {wanted}"
    good = sum(o["rc"] >= 0 for o in observed["starts"])
    held = sum(o["id"] == "lease.held" for o in observed["starts"])
    if good * 4 < n or (good + held) * 2 < n:
        yield f"only {good} of {n} starts succeeded, and {held} met a live lease"


def judge(observed, logs, rows, deadline_ms, wanted):
    return [*reasons(observed, deadline_ms), *beliefs(observed), *records(observed, logs), *leases(logs, rows),
            *stops(observed, logs), *enough(observed, wanted)]


# ---- Seen red ---------------------------------------------------------------------------------------------------


def example():
    """Two hosts, one VM: start, stop, start, a start that is refused, a release whose answer was lost."""
    def start(n, host, at, **more):
        return dict({"what": "start", "n": n, "host": host, "vm": "v", "began": at, "ended": at + 10, "rc": 0, "id": "",
                     "why": "", "requests": [f"r{n}"], "token": 0}, **more)

    def record(seq, event, host, token, request=""):
        return {"seq": seq, "event": event, "host": host, "token": token, "request": request}
    observed = {
        "starts": [start(0, "a", 0, token=1), start(1, "b", 20, rc=-9000, id="lease.held", why="it runs"),
                   start(2, "b", 100, token=2), start(3, "a", 300, rc=-103, why="cut off", requests=["r", "r3"])],
        "stops": [{"what": "stop", "host": "a", "vm": "v", "token": 1, "began": 50, "ended": 60, "rc": 0, "id": "",
                   "known": True, "why": ""},
                  {"what": "stop", "host": "b", "vm": "v", "token": 2, "began": 200, "ended": 250, "rc": -9000,
                   "id": "lease.lost", "known": True, "why": "lost"}]}
    logs = {"v": [record(1, "release", "a", 1, "r0"), record(2, "stop", "a", 1), record(3, "release", "b", 2, "r2"),
                  record(4, "stop", "b", 2), record(5, "release", "a", 3, "r3")]}
    rows = {"v": {"holder": "a", "token": 3}}
    return observed, logs, rows


def doctored():
    """What did not happen: a name, and a change to the example."""
    return {
        "a start without a reason": lambda o, l, r: o["starts"][3].update(why=""),
        "a start refused for what is no fault's doing": lambda o, l, r: o["starts"][1].update(id="certificate.invalid"),
        "a start that a guardian answered nonsense to": lambda o, l, r: o["starts"][3].update(rc=-9000),
        "a start that took too long": lambda o, l, r: o["starts"][1].update(ended=99999),
        "two hosts with live leases": lambda o, l, r: o["stops"][0].update(began=150),
        "a live lease that nobody gave up": lambda o, l, r: o["stops"].pop(0),
        "tokens that do not grow": lambda o, l, r: (o["starts"][2].update(token=1), l["v"][2].update(token=1)),
        "a release without its record": lambda o, l, r: (l["v"].pop(4), r["v"].update(holder=None, token=2),
                                                         o["starts"][3].update(rc=0, token=3)),
        "a lost answer's release without its record": lambda o, l, r: l["v"].pop(4),
        "a record of another host": lambda o, l, r: l["v"][2].update(host="a"),
        "a record of another lease": lambda o, l, r: o["starts"][2].update(token=7),
        "a request released twice": lambda o, l, r: l["v"][4].update(request="r2"),
        "a refused start's record": lambda o, l, r: l["v"][4].update(request="r1"),
        "a record that nobody asked for": lambda o, l, r: l["v"][4].update(request="x"),
        "a lease given while another has it": lambda o, l, r: l["v"].pop(1),
        "a token left out": lambda o, l, r: (l["v"][4].update(token=4), r["v"].update(token=4)),
        "a database set back": lambda o, l, r: r["v"].update(holder="b", token=2),
        "a stop without its record": lambda o, l, r: l["v"][1].update(event="release", host="a", token=2),
        "a stop by another": lambda o, l, r: l["v"][3].update(host="a"),
        "a stop that was refused": lambda o, l, r: o["stops"][1].update(known=False, id="request.format"),
        "a lease that was lost while its host had it": lambda o, l, r: (l["v"].pop(), l["v"].pop(),
                                                                        r["v"].update(holder="b", token=2)),
        "starts that were not made": lambda o, l, r: o["starts"].pop(1),
        "starts that nearly all fail": lambda o, l, r: [s.update(rc=-111, why="gone") for s in o["starts"]],
    }


def selftest():
    """Names of what was not told, and of an example that is not taken."""
    missed = [f"the example: {text}" for text in judge(*example(), 1000, 4)]
    for name, change in doctored().items():
        case = copy.deepcopy(example())
        change(*case)
        if not judge(*case, 1000, 4):
            missed.append(name)
    return missed
