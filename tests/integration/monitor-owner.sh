#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# At level encryption-supported what the VM's owner allows works, under a real libvirtd and QEMU, and
# nothing else does: b's owner allows all that can be tried on this host, c's nothing.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=monitor-lib.sh
. "$here/monitor-lib.sh"

# says FILE TEXT: the file has the text in it.
says() {
	grep -aqF -- "$2" "$1"
}

# typed COMMAND...: in the background for a while, on a terminal, of which /run/bed/typed has what was
# shown.
typed() {
	timeout -k 1 200 script -qfec "$*" /run/bed/typed </dev/null >/dev/null 2>&1 &
	typing=$!
}

shieldvm_ready
libvirtd_start
device_files
allowed=(input.send-key input.nmi console.serial console.console console.graphics console.screenshot
	agent.channel channel.other disk.media)
allow=()
for rule in "${allowed[@]}"; do
	allow+=(--allow "$rule")
done
CHANGE="s|<video><model type='none'/></video>|<serial type='pty'/>$(cat /run/bed/agent.xml)\
<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'/><video><model type='vga'/></video>\
<disk type='file' device='cdrom'><target dev='sdz' bus='sata'/></disk>|" \
	grown_shielded b $b --level encryption-supported "${allow[@]}"
check 'b starts' virsh start b

# --- console, screen, keys ------------------------------------------------------------------------

check 'its serial line is a pty' bash -c 'virsh -c qemu:///system ttyconsole b | grep /dev/pts/'
typed virsh -c qemu:///system console b --force
check 'virsh console is connected' until_true 60 says /run/bed/typed "Connected to domain 'b'"
check 'b is reset' virsh reset b
check 'and what its firmware says is shown' until_true "$boot_seconds" says /run/bed/typed BdsDxe
kill $typing
check 'domdisplay tells where the screen is' bash -c 'virsh -c qemu:///system domdisplay b | grep vnc://'
check 'so does vncdisplay' bash -c 'virsh -c qemu:///system vncdisplay b | grep 127.0.0.1:'
cat >/run/bed/graphics.py <<'PY'
# The screen by open_graphics: a VNC server greets.
import libvirt, os, select, sys
vm = libvirt.open("qemu:///system").lookupByName("b")
fd = vm.openGraphicsFD(0, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
select.select([fd], [], [], 10)
greeting = os.read(fd, 12)
sys.exit(greeting[:4] != b"RFB ")
PY
check 'open_graphics gives a connection on which a VNC server greets' timeout 60 python3 /run/bed/graphics.py
check 'a screenshot is taken' virsh screenshot b /run/bed/screen.ppm
check 'and is a picture' bash -c 'head -c 4 /run/bed/screen.ppm | grep -a -e P6 -e PNG'
check 'keys reach it' virsh send-key b KEY_LEFTCTRL KEY_LEFTALT KEY_DELETE
check 'so does an NMI' virsh inject-nmi b

# --- agent, channels, media, devices --------------------------------------------------------------

# No guest answers: what libvirt says is about that, and not about a rule.
while read -r words; do
	# shellcheck disable=SC2086 # the words are the arguments
	fails b $b 'guest agent is not connected' virsh $words
done <<-'TABLE'
	qemu-agent-command b {"execute":"guest-ping"}
	guestinfo b
	domfsfreeze b
	set-user-password b root x
	shutdown b --mode agent
TABLE
check 'the agent socket is there' bash -c 'find /var/lib/libvirt/qemu -name org.qemu.guest_agent.0 -type s | grep .'
check 'a channel is attached' virsh attach-device b /run/bed/channel.xml
check 'it takes a connection' timeout 10 python3 -c '
import socket
s = socket.socket(socket.AF_UNIX)
s.connect("/var/lib/libvirt/qemu/c")'
check 'the channel is detached' virsh detach-device b /run/bed/channel.xml
check 'a console line is attached' virsh attach-device b /run/bed/console.xml
check 'a medium is put in' virsh change-media b sdz "$images/medium.iso" --insert --live
check 'it is there' bash -c 'virsh -c qemu:///system domblklist b | grep medium.iso'
check 'it is taken out' virsh change-media b sdz --eject --force --live
check 'a drive comes with one' virsh attach-device b /run/bed/cd.xml

# --- what nobody can allow, and what this owner does not ------------------------------------------

while read -r rule words; do
	# shellcheck disable=SC2086
	barred b $b "$rule" virsh $words
done <<-TABLE
	channel.spice attach-device b /run/bed/vdagent.xml
	console.parallel attach-device b /run/bed/parallel.xml
	memory.shared attach-device b /run/bed/memory.xml
	memory.shmem attach-device b /run/bed/shmem.xml
	boot.rom attach-device b /run/bed/rom.xml
	memory.dump dump b /run/bed/b.dump --memory-only
	debug.hmp qemu-monitor-command b --hmp info registers
	state.snapshot qemu-monitor-command b --hmp savevm s
TABLE
barred b $b channel.spice raw b '{"execute":"device_add","arguments":{"driver":"virtserialport","name":"com.redhat.spice.0"}}'
check 'b is destroyed' virsh destroy b

CHANGE="s|<video>|<disk type='file' device='cdrom'><target dev='sdz' bus='sata'/></disk>&|" \
	grown_shielded c $c --level encryption-supported
check 'c starts' virsh start c
while read -r rule words; do
	# shellcheck disable=SC2086
	barred c $c "$rule" virsh $words
done <<-TABLE
	input.send-key send-key c KEY_A
	input.nmi inject-nmi c
	console.screenshot screenshot c /run/bed/screen.ppm
	console.serial attach-device c /run/bed/serial.xml
	console.console attach-device c /run/bed/console.xml
	agent.channel attach-device c /run/bed/agent.xml
	channel.other attach-device c /run/bed/channel.xml
	device.redirdev attach-device c /run/bed/redirdev.xml
	disk.media change-media c sdz $images/medium.iso --insert --live
	disk.media attach-device c /run/bed/cd.xml
TABLE
check 'c is destroyed' virsh destroy c
check 'the audit log is whole' shieldvm audit verify
finish
