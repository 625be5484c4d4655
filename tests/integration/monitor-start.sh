#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What cannot be had by starting anew either: a shielded domain with a console, screen, channel or
# device of the host's put into its definition, with arguments for QEMU, another level, or without
# its shield, under a real libvirtd and QEMU.  The start is refused, the message names the rule, and
# that is on record, once; another VM of the host runs on.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=monitor-lib.sh
. "$here/monitor-lib.sh"

# no_start RULE WHAT: c, as now defined, is refused; a runs on.
no_start() {
	pass "now: $2"
	STATE='shut off' barred c $c "$1" virsh start c
	check 'a runs on' domain_state a running
}

# defined SED'S COMMAND...: c with that change is defined.
defined() {
	sed "$@" /run/bed/c.xml >/run/bed/changed.xml
	! cmp -s /run/bed/changed.xml /run/bed/c.xml || fail "sed $* changes c"
	check 'c is defined with it' virsh define /run/bed/changed.xml
}

shieldvm_ready
libvirtd_start
device_files
grown_shielded a $a
check 'a starts' virsh start a
grown_shielded c $c

# --- devices --------------------------------------------------------------------------------------

xml pstore "<pstore backend='acpi-erst'><path>/tmp/p</path><size unit='KiB'>64</size></pstore>"
xml tcp "<serial type='tcp'><source mode='bind' host='0.0.0.0' service='9'/><target port='0'/></serial>"
xml spice "<graphics type='spice' port='-1'/>"
while read -r rule device; do
	defined "s|</devices>|$(cat "/run/bed/$device.xml")&|"
	no_start "$rule" "$device"
done <<-'TABLE'
	console.serial serial
	console.serial tcp
	console.console console
	console.parallel parallel
	console.graphics graphics
	console.graphics spice
	console.input evdev
	console.sound sound
	agent.channel agent
	channel.other channel
	channel.spice vdagent
	channel.vsock vsock
	device.filesystem folder
	device.redirdev redirdev
	device.smartcard smartcard
	device.hostdev hostdev
	device.hostdev usb
	device.rng egd
	memory.shmem shmem
	memory.shared memory
	boot.rom rom
	crash.watchdog watchdog
TABLE
# virtiofs needs shared memory, or libvirt does not come to asking.
defined -e "s|</devices>|$(cat /run/bed/virtiofs.xml)&|" \
	-e "s|<cpu>|<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>&|"
no_start device.filesystem 'virtiofs'

# The same by virsh, for the next start of a VM that runs.
while read -r rule device; do
	check 'c is as it was' virsh define /run/bed/c.xml
	check "$device is attached for the next start" virsh attach-device c "/run/bed/$device.xml" --config
	no_start "$rule" "attach-device --config $device"
done <<-'TABLE'
	console.serial serial
	console.console console
	agent.channel agent
	device.hostdev hostdev
	memory.shmem shmem
TABLE
check "a's own definition gets one while a runs" virsh attach-device a /run/bed/serial.xml --config
check 'a is destroyed' virsh destroy a
STATE='shut off' barred a $a console.serial virsh start a
check 'a is defined as it was' virsh define /run/bed/a.xml
check 'and starts' virsh start a

# --- past libvirt's own checks --------------------------------------------------------------------

while read -r rule content; do
	defined -e "s|<domain |&xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' |" \
		-e "s|</domain>|$content&|"
	no_start "$rule" "$content"
done <<-'TABLE'
	qemu.commandline <qemu:commandline><qemu:arg value='-gdb'/><qemu:arg value='tcp::1234'/></qemu:commandline>
	qemu.commandline <qemu:commandline><qemu:arg value='-s'/></qemu:commandline>
	qemu.commandline <qemu:commandline><qemu:arg value='-qmp'/><qemu:arg value='unix:/tmp/q,server=on,wait=off'/></qemu:commandline>
	qemu.commandline <qemu:commandline><qemu:arg value='-monitor'/><qemu:arg value='tcp::1235,server=on,wait=off'/></qemu:commandline>
	qemu.commandline <qemu:commandline><qemu:arg value='-plugin'/><qemu:arg value='/tmp/p.so'/></qemu:commandline>
	qemu.commandline <qemu:commandline><qemu:env name='LD_PRELOAD' value='/tmp/p.so'/></qemu:commandline>
	qemu.override <qemu:override><qemu:device alias='virtio-disk0'><qemu:frontend><qemu:property name='serial' type='string' value='x'/></qemu:frontend></qemu:device></qemu:override>
	qemu.override <qemu:capabilities><qemu:del capability='blockdev'/></qemu:capabilities>
TABLE

# --- another level, no shield ---------------------------------------------------------------------

# The protector is a compact JWS: header.payload.signature.
cat >/run/bed/lower.py <<'PY'
# The level in a shield element, lowered, with the signature as it was.
import base64, re, sys
text = sys.stdin.read()
def lower(m):
    payload = base64.urlsafe_b64decode(m.group(2) + "=" * (-len(m.group(2)) % 4))
    other = payload.replace(b'"level":"shielded"', b'"level":"encryption-supported"')
    assert other != payload
    return m.group(1) + base64.urlsafe_b64encode(other).decode().rstrip("=") + "."
print(re.sub(r"(protector>\s*[\w-]+\.)([\w-]+)\.", lower, text))
PY
cat >/run/bed/editor <<'SH'
#!/bin/bash
python3 /run/bed/lower.py <"$1" >"$1.new" && mv "$1.new" "$1"
SH
chmod +x /run/bed/editor
check 'c is as it was' virsh define /run/bed/c.xml
check 'c starts' virsh start c
check 'c is destroyed' virsh destroy c
state=$(sha256sum "$(state_file $c)")
check 'virsh edit lowers its level' env EDITOR=/run/bed/editor timeout 60 virsh -c qemu:///system -q edit c
no_start protector.signature 'the level lowered'
other=$(sed -n 's|.*<protector>\(.*\)</protector>.*|\1|p' /run/bed/a.xml)
defined "s|<protector>.*</protector>|<protector>$other</protector>|"
no_start protector.vm "another VM's protector"
check 'virsh metadata takes its shield out' virsh metadata c urn:shieldvm:shield:1 --config --remove
all=$(refusals $c)
refused 'without its shield it does not start' . virsh start c
check 'the launcher has said why' bash -c 'tail -n 20 /var/log/libvirt/qemu/c.log | grep shieldvm-launch:'
check 'nobody of the VM was there to record it' test "$(refusals $c)" = "$all"
defined -e '/<shield/,/<\/shield>/d' -e 's|<emulator>.*<|<emulator>/usr/bin/qemu-system-x86_64<|'
refused 'nor by the plain QEMU: no vTPM is there' . virsh start c
defined -e '/<shield/,/<\/shield>/d' -e 's|<emulator>.*<|<emulator>/usr/bin/qemu-system-x86_64<|' \
	-e '/<tpm /,/<\/tpm>/d'
check 'it starts as a domain without its TPM' virsh start c
check '... which has none of its processes' no_vm_processes $c
check '... and is destroyed' virsh destroy c
check "the vTPM's state was not touched" test "$(sha256sum "$(state_file $c)")" = "$state"
check 'c is as it was' virsh define /run/bed/c.xml
check 'and starts with its vTPM' virsh start c
check 'c is destroyed' virsh destroy c
check 'a is destroyed' virsh destroy a
check 'the audit log is whole' shieldvm audit verify
finish
