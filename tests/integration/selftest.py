# SPDX-License-Identifier: BSD-3-Clause
"""Judges what `shieldvm selftest --json` says, for selftest.sh.

selftest.py outcomes|complete|closed|residual JSON; status STATUS JSON; documented JSON ATTACKS.md;
without-secret-memory COMMAND...: runs it under a filter for which memfd_secret(2) does not exist.
"""
import collections, ctypes, json, os, re, struct, sys

# Open on any kernel of today: what no user space can close.  The others hang on the kernel.
ALWAYS_OPEN = {"guest.memory", "guest.in-flight"}
MAY_BE_OPEN = ALWAYS_OPEN | {"kernel.perf", "kernel.bpf", "kernel.kcore", "kernel.modules",
                             "kernel.kprobes", "kernel.kexec"}


def die(text):
    sys.exit(text)


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def by_id(report):
    rows = {a["id"]: a for a in report["attacks"]}
    if len(rows) != len(report["attacks"]) or len(rows) < 38:
        die(f"{len(report['attacks'])} attacks, {len(rows)} different ones")
    return rows


def outcomes(path):
    for a in load(path)["attacks"]:
        print(f"{a['outcome']:18} {a['id']:22} {a['detail']}")


def status(said, path):
    report = load(path)
    if (int(said) == 0) != report["holds"] or int(said) not in (0, 1):
        die(f"exit status {said}, and holds is {report['holds']}")


def complete(path):
    report = load(path)
    count = collections.Counter(a["outcome"] for a in by_id(report).values())
    if {k: v for k, v in report["summary"].items() if v} != dict(count):
        die(f"the summary {report['summary']} is not {dict(count)}")
    if not report["protections"]["held"]:
        die("no protection is held")
    for a in report["attacks"]:
        for key in ("id", "as", "does", "claim", "feature", "remedy", "outcome", "detail"):
            if not a[key]:
                die(f"{a['id']} has no {key}")


def closed(path):
    wrong = [f"{i}: {a['outcome']}: {a['detail']}" for i, a in by_id(load(path)).items()
             if i not in MAY_BE_OPEN and a["outcome"] != "closed"]
    if wrong:
        die("\n".join(wrong))


def residual(path):
    rows = by_id(load(path))
    wrong = [i for i in ALWAYS_OPEN if rows[i]["outcome"] != "open-expected"]
    wrong += [i for i in MAY_BE_OPEN if rows[i]["outcome"] == "OPEN"]
    if wrong:
        die(f"not reported as open: {wrong}")


def documented(path, doc):
    with open(doc, encoding="utf-8") as f:
        lines = set(re.findall(r"^\| `([a-z]+\.[a-z-]+)` \|.*selftest", f.read(), re.M))
    ids = set(by_id(load(path)))
    if lines != ids:
        die(f"only in {doc}: {lines - ids}; missing there: {ids - lines}")


def without_secret_memory(*command):
    """A seccomp filter that answers memfd_secret(2), 447 everywhere, with ENOSYS."""
    def insn(code, jt, jf, k):
        return struct.pack("HBBI", code, jt, jf, k)
    program = b"".join([insn(0x20, 0, 0, 0), insn(0x15, 0, 1, 447), insn(0x06, 0, 0, 0x00050026),
                        insn(0x06, 0, 0, 0x7fff0000)])
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(22, 2, fprog, 0, 0) != 0:
        die("the filter cannot be loaded: " + os.strerror(ctypes.get_errno()))
    os.execvp(command[0], command)


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
