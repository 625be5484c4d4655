#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# virt-install, virt-xml and the calls that virt-manager makes of libvirt's API (virtManager/object/
# domain.py, lib/statsmanager.py of 4.1), with a VM at level shielded under a real libvirtd and QEMU:
# they work, and what reaches into the guest is refused with an error that the caller can show.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=monitor-lib.sh
. "$here/monitor-lib.sh"

connect='--connect qemu:///system'

shieldvm_ready
libvirtd_start
device_files
domain_disks a

# --- virt-install ---------------------------------------------------------------------------------

# shellcheck disable=SC2086 # the words are the arguments
check 'virt-install writes a domain' bash -c "timeout 120 virt-install $connect --virt-type qemu \
	--name a --uuid $a --memory 512 --vcpus 1,maxvcpus=2 --machine q35 --boot uefi --import \
	--osinfo detect=off,require=off --disk $images/a.img,format=raw,bus=virtio \
	--disk device=cdrom,bus=sata --controller type=virtio-serial --network user,model=virtio --graphics vnc --print-xml \
	>/run/bed/a.plain.xml"
refused 'as it is, with screen and console, it is not for level shielded' 'console\.' \
	shieldvm shield /run/bed/a.plain.xml --owner "$owner_key" -o /run/bed/a.xml
check 'stripped of these it is' shieldvm shield /run/bed/a.plain.xml --owner "$owner_key" \
	--strip -o /run/bed/a.xml
check 'a is defined' virsh define /run/bed/a.xml
check 'a starts' virsh start a
check 'a runs' domain_state a running

# --- virt-xml -------------------------------------------------------------------------------------

# shellcheck disable=SC2086
vx() {
	timeout 60 virt-xml $connect a "$@"
}
truncate -s 16M "$images/more.img"
check 'virt-xml attaches a disk' vx --update --add-device \
	--disk "$images/more.img,target.dev=vdx,target.bus=virtio,format=raw"
check 'and takes it out of the definition' vx --remove-device --disk target.dev=vdx
check 'changes the memory of the next start' vx --edit --memory 640
check 'and the description' vx --edit --metadata description=text
before=$(refusals $a)
# virt-xml tells libvirt's error; its own exit status is that of the definition.
vx --update --add-device --serial pty >/run/bed/said 2>&1 || true
check "the serial line that it attaches is refused, and it says so" grep -q 'console.serial: ' /run/bed/said
check '... on record once' test "$(refusals $a)" = $((before + 1))
check 'a runs on' domain_state a running
check 'a is defined as it was' virsh define /run/bed/a.xml
before=$(refusals $a)
vx --update --add-device --channel unix,target.type=virtio,target.name=org.qemu.guest_agent.0 \
	>/run/bed/said 2>&1 || true
check 'so is the agent' grep -q 'agent.channel: ' /run/bed/said
check '... on record once' test "$(refusals $a)" = $((before + 1))
check 'a is defined as it was' virsh define /run/bed/a.xml

# --- virt-manager ---------------------------------------------------------------------------------

cat >/run/bed/manager.py <<'PY'
# The calls, in the order in which the program comes to them for a VM that it shows.
import libvirt, sys, threading, time

libvirt.virEventRegisterDefaultImpl()
libvirt.registerErrorHandler(lambda *a: None, None)
c = libvirt.open("qemu:///system")
d = c.lookupByName("a")
n = 0

def works(what, fn):
    global n
    try:
        fn()
    except libvirt.libvirtError as e:
        sys.exit(f"{what}: {e}")
    n += 1

def fails(what, text, fn):
    global n
    try:
        fn()
    except libvirt.libvirtError as e:
        if text not in str(e):
            sys.exit(f"{what}: {e}: not {text}")
        n += 1
        return
    sys.exit(f"{what} was not refused")

events = []
def loop():
    while True:
        libvirt.virEventRunDefaultImpl()
threading.Thread(target=loop, daemon=True).start()
for name in ("LIFECYCLE", "REBOOT", "RTC_CHANGE", "WATCHDOG", "IO_ERROR", "GRAPHICS", "BLOCK_JOB",
             "DISK_CHANGE", "TRAY_CHANGE", "PMWAKEUP", "PMSUSPEND", "BALLOON_CHANGE",
             "PMSUSPEND_DISK", "DEVICE_REMOVED", "BLOCK_JOB_2", "TUNABLE", "AGENT_LIFECYCLE",
             "DEVICE_ADDED", "JOB_COMPLETED", "DEVICE_REMOVAL_FAILED", "METADATA_CHANGE",
             "BLOCK_THRESHOLD", "MEMORY_FAILURE", "MEMORY_DEVICE_SIZE_CHANGE"):
    number = getattr(libvirt, "VIR_DOMAIN_EVENT_ID_" + name)
    works("event " + name, lambda: c.domainEventRegisterAny(
        d, number, lambda *a: events.append(a), None))

works("listAllDomains", lambda: c.listAllDomains())
works("getAllDomainStats", lambda: c.getAllDomainStats())
for flags in (0, libvirt.VIR_DOMAIN_XML_SECURE, libvirt.VIR_DOMAIN_XML_INACTIVE,
              libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE,
              libvirt.VIR_DOMAIN_XML_MIGRATABLE, libvirt.VIR_DOMAIN_XML_UPDATE_CPU):
    works(f"XMLDesc {flags}", lambda: d.XMLDesc(flags))
for call in ("info", "state", "ID", "name", "UUIDString", "isActive", "isPersistent", "isUpdated",
             "autostart", "hasCurrentSnapshot", "hasManagedSaveImage", "snapshotNum",
             "listAllSnapshots", "listAllCheckpoints", "maxMemory", "maxVcpus", "vcpus",
             "vcpusFlags", "vcpuPinInfo", "emulatorPinInfo", "memoryStats", "jobInfo", "jobStats",
             "diskErrors", "controlInfo", "numaParameters", "perfEvents", "OSType",
             "securityLabelList", "ioThreadInfo", "launchSecurityInfo", "messages"):
    works(call, lambda: getattr(d, call)(*([0] if call in ("state", "vcpusFlags") else [])))
works("blockStats", lambda: d.blockStats("vda"))
works("blockStatsFlags", lambda: d.blockStatsFlags("vda"))
works("blockInfo", lambda: d.blockInfo("vda"))
works("blockIoTune", lambda: d.blockIoTune("vda"))
works("blockJobInfo", lambda: d.blockJobInfo("vda"))
works("setMemoryStatsPeriod", lambda: d.setMemoryStatsPeriod(5, libvirt.VIR_DOMAIN_AFFECT_LIVE))
works("setMetadata", lambda: d.setMetadata(
    libvirt.VIR_DOMAIN_METADATA_TITLE, "title", None, None, libvirt.VIR_DOMAIN_AFFECT_LIVE))
works("metadata", lambda: d.metadata(
    libvirt.VIR_DOMAIN_METADATA_ELEMENT, "urn:shieldvm:shield:1"))
works("setVcpusFlags", lambda: d.setVcpusFlags(2, libvirt.VIR_DOMAIN_AFFECT_LIVE))
works("setMemoryFlags", lambda: d.setMemoryFlags(400 * 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE))
works("suspend", d.suspend)
works("resume", d.resume)
works("coreDump", lambda: d.coreDump("/run/bed/a.dump"))
works("getDomainCapabilities", lambda: c.getDomainCapabilities(
    "/usr/bin/shieldvm-launch", "x86_64", "q35", "qemu"))

agent = "agent is not configured"
stream = c.newStream
fails("screenshot", "console.screenshot: ", lambda: d.screenshot(stream(), 0))
fails("openConsole", "cannot find", lambda: d.openConsole(None, stream()))
fails("openChannel", "cannot find", lambda: d.openChannel(None, stream()))
fails("openGraphicsFD", "No graphics", lambda: d.openGraphicsFD(0))
fails("sendKey", "input.send-key: ", lambda: d.sendKey(0, 50, [30], 1))
fails("injectNMI", "input.nmi: ", lambda: d.injectNMI())
fails("coreDumpWithFormat", "memory.dump: ", lambda: d.coreDumpWithFormat(
    "/run/bed/a.core", libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_RAW, libvirt.VIR_DUMP_MEMORY_ONLY))
fails("guestInfo", agent, lambda: d.guestInfo())
fails("getTime", agent, lambda: d.getTime())
fails("hostname", agent, lambda: d.hostname(libvirt.VIR_DOMAIN_GET_HOSTNAME_AGENT))
fails("fsInfo", agent, lambda: d.fsInfo())
fails("interfaceAddresses", agent, lambda: d.interfaceAddresses(
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT))
fails("setUserPassword", agent, lambda: d.setUserPassword("root", "x"))
end = time.time() + 20
while time.time() < end and not any(len(e) > 3 and e[2] == libvirt.VIR_DOMAIN_EVENT_SUSPENDED
                                    for e in events):
    time.sleep(0.1)
if not any(len(e) > 3 and e[2] == libvirt.VIR_DOMAIN_EVENT_SUSPENDED for e in events):
    sys.exit("no event came")
print(n, "calls")
PY
before=$(refusals $a)
check 'the calls of virt-manager' bash -c 'timeout 120 python3 /run/bed/manager.py >/run/bed/calls'
check 'all of them' bash -c '[ "$(cut -d " " -f 1 /run/bed/calls)" -ge 80 ]'
check 'the four refusals among them are on record once each' test "$(refusals $a)" = $((before + 4))
check 'a runs on' domain_state a running
check 'a is destroyed' virsh destroy a

# --- virt-clone -----------------------------------------------------------------------------------

check 'a is defined as it was' virsh define /run/bed/a.xml
# shellcheck disable=SC2086
check 'virt-clone makes a copy' timeout 120 virt-clone $connect --original a --name copy --auto-clone
refused 'which does not start: its protector was made for another VM' 'protector.vm: ' virsh start copy
check 'the audit log is whole' shieldvm audit verify
finish
