#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Domains out of tests/integration/argv, and vectors out of command lines that libvirt printed.

argv.py plan OUT TSC            one plain domain per feature in OUT, and OUT/plan: a line each of
                                LANE NAME DOMAIN runs|qemu|refused REGEX-OR-RULE LIBVIRT-REGEX ALLOWED...
                                ("-" for nothing), separated by tabs; TSC: the frequency of the host's, in Hz
argv.py add NAME SHIELDED OUT   feature NAME put into a domain that is shielded already
argv.py vectors FOLDER OUT      FOLDER's command lines (*.command) as vectors in OUT (*.args), a
                                newline after each argument
"""
import os
import re
import shlex
import sys
import uuid
import xml.etree.ElementTree as ET

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "argv")
LANES = 3  # features that are tried side by side, each lane with images of its own
IMAGES = "/var/lib/libvirt/images/"
MERGED = ("devices", "os", "features")  # what is in them is added one by one
SINGLE = ("emulator", "video", "memballoon", "loader", "nvram", "smm", "acpi", "apic", "tpm")
ET.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")
ET.register_namespace("shield", "urn:shieldvm:shield:1")


def features():
    for name in sorted(os.listdir(FOLDER)):
        if name != "base.xml":
            yield from ET.parse(os.path.join(FOLDER, name)).getroot()


def replace(parent, child, alone):
    if alone:
        for old in parent.findall(child.tag):
            parent.remove(old)
    parent.append(child)


def put_in(domain, feature):
    for part in feature:
        into = domain.find(part.tag)
        if part.tag not in MERGED or into is None:
            replace(domain, part, True)
            continue
        for tag in SINGLE:
            if part.find(tag) is not None:
                for old in into.findall(tag):
                    into.remove(old)
        into.extend(list(part))
    return domain


def plan(out, tsc):
    with open(os.path.join(out, "plan"), "w", encoding="utf-8") as lines:
        for number, feature in enumerate(features()):
            lane = str(number % LANES + 1)
            name = feature.get("name")
            domain = ET.parse(os.path.join(FOLDER, "base.xml")).getroot()
            vm = str(uuid.uuid5(uuid.NAMESPACE_URL, "urn:shieldvm:test:" + name))
            domain.find("name").text = name
            ET.SubElement(domain, "uuid").text = vm
            if feature.get("refused"):
                how, what = "refused", feature.get("refused")
            else:
                how, what = ("qemu", feature.get("qemu")) if feature.get("qemu") else ("runs", "-")
                put_in(domain, feature)
            text = ET.tostring(domain, encoding="unicode")
            with open(os.path.join(out, name + ".plain.xml"), "w", encoding="utf-8") as f:
                f.write(text.replace(IMAGES, IMAGES + lane + "/").replace("HOST-TSC", tsc))
            row = [lane, name, domain.find("name").text, how, what, feature.get("libvirt", "-"), feature.get("allow", "-")]
            lines.write("\t".join(row) + "\n")


def add(name, shielded, out):
    feature = next(f for f in features() if f.get("name") == name)
    ET.ElementTree(put_in(ET.parse(shielded).getroot(), feature)).write(out)


def vectors(folder, out):
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".command"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            words = shlex.split(f.read().replace("\\\n", " "))
        while re.match("[A-Z_]+=", words[0]):
            words.pop(0)
        with open(os.path.join(out, name.removesuffix("command") + "args"), "wb") as f:
            f.write(b"".join(word.encode() + b"\n" for word in words))


{"plan": plan, "add": add, "vectors": vectors}[sys.argv[1]](*sys.argv[2:])
