#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every verb of virsh 9.0 with which an administrator reaches into a guest, against a VM at level
# shielded under a real libvirtd and QEMU: it fails, the VM runs on, and where a process of shieldvm's
# was asked at all, the message names the rule and the refusal is on record, once.  The same devices
# at a start: monitor-start.sh.  Nothing here waits for the guest.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=monitor-lib.sh
. "$here/monitor-lib.sh"

# terminal COMMAND...: on a terminal of its own, with nothing to read.
# shellcheck disable=SC2317 # reached through fails
terminal() {
	timeout -k 5 30 script -qec "$*" /run/bed/typed </dev/null
}

cat >/run/bed/api.py <<'PY'
# One call of libvirt's API that virsh has no verb for.
import libvirt, sys
vm = libvirt.open("qemu:///system").lookupByName(sys.argv[1])
what = sys.argv[2]
if what == "graphics":
    vm.openGraphicsFD(0, int(sys.argv[3]))
elif what == "peek":
    vm.memoryPeek(0, 16, getattr(libvirt, "VIR_MEMORY_" + sys.argv[3]))
elif what == "console":
    vm.openConsole(None, vm.connect().newStream(), int(sys.argv[3]))
elif what == "channel":
    vm.openChannel(None, vm.connect().newStream(), int(sys.argv[3]))
PY

shieldvm_ready
libvirtd_start
device_files
CHANGE="s|<video>|<disk type='file' device='cdrom'><target dev='sdz' bus='sata'/></disk>&|" \
	grown_shielded a $a
check 'a starts' virsh start a
check "QEMU's socket has no name any more" test ! -e /run/shieldvm/$a/qemu.sock

# --- verbs that libvirt makes commands of ---------------------------------------------------------

# rule, file of a device for attach-device
while read -r rule device; do
	barred a $a "$rule" virsh attach-device a "/run/bed/$device.xml"
done <<-'TABLE'
	console.serial serial
	console.console console
	console.parallel parallel
	agent.channel agent
	channel.other channel
	channel.spice vdagent
	device.redirdev redirdev
	device.rng egd
	memory.shmem shmem
	memory.shared memory
	boot.rom rom
	crash.watchdog watchdog
	disk.media cd
TABLE

printf 'ssh-rsa AAAA x\n' >/run/bed/key
# rule, arguments of virsh
while read -r rule words; do
	# shellcheck disable=SC2086 # the words are the arguments
	barred a $a "$rule" virsh $words
done <<-TABLE
	console.screenshot screenshot a /run/bed/screen.ppm
	input.send-key send-key a KEY_LEFTCTRL KEY_LEFTALT KEY_DELETE
	input.nmi inject-nmi a
	disk.media change-media a sdz $images/medium.iso --insert --live
	memory.dump dump a /run/bed/a.dump --memory-only
	memory.dump dump a /run/bed/a.dump --memory-only --live
	memory.dump dump a /run/bed/a.dump --memory-only --format kdump-zlib
	debug.hmp qemu-monitor-command a --hmp info registers
	debug.hmp qemu-monitor-command a --hmp query-status
	state.snapshot qemu-monitor-command a --hmp savevm s
	state.snapshot qemu-monitor-command a --hmp loadvm s
	state.snapshot qemu-monitor-command a --hmp delvm s
TABLE
barred a $a memory.peek python3 /run/bed/api.py a peek PHYSICAL
barred a $a memory.peek python3 /run/bed/api.py a peek VIRTUAL

# --- commands by hand, and what libvirt asks for only where the machine has the device ------------

while read -r rule json; do
	barred a $a "$rule" raw a "$json"
done <<-'TABLE'
	memory.peek {"execute":"memsave","arguments":{"val":0,"size":4096,"filename":"/tmp/m"}}
	memory.peek {"execute":"pmemsave","arguments":{"val":0,"size":4096,"filename":"/tmp/m"}}
	memory.peek {"execute":"blockdev-add","arguments":{"driver":"file","filename":"/proc/self/mem","node-name":"m"}}
	memory.shared {"execute":"object-add","arguments":{"qom-type":"memory-backend-file","id":"f","size":4096,"mem-path":"/tmp/f","share":true}}
	memory.shared {"execute":"object-add","arguments":{"qom-type":"memory-backend-memfd","id":"f","size":4096}}
	memory.peek {"execute":"blockdev-add","arguments":{"driver":"file","filename":"/dev/fd/9","node-name":"f"}}
	memory.shmem {"execute":"device_add","arguments":{"driver":"ivshmem-plain","memdev":"s"}}
	migration.form {"execute":"migrate","arguments":{"uri":"tcp:127.0.0.1:4444"}}
	migration.form {"execute":"migrate","arguments":{"uri":"unix:/tmp/state"}}
	migration.unsealed {"execute":"migrate-incoming","arguments":{"uri":"tcp:127.0.0.1:4444"}}
	state.save {"execute":"migrate","arguments":{"uri":"exec:cat >/tmp/state"}}
	state.save {"execute":"migrate","arguments":{"uri":"file:/tmp/state"}}
	state.save {"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"mapped-ram","state":true}]}}
	migration.unsealed {"execute":"migrate","arguments":{"uri":"fd:migrate"}}
	migration.unsealed {"execute":"migrate-incoming","arguments":{"uri":"fd:5"}}
	state.snapshot {"execute":"snapshot-save","arguments":{"job-id":"j","tag":"t","vmstate":"d","devices":[]}}
	state.snapshot {"execute":"snapshot-load","arguments":{"job-id":"j","tag":"t","vmstate":"d","devices":[]}}
	state.snapshot {"execute":"snapshot-delete","arguments":{"job-id":"j","tag":"t","devices":[]}}
	state.snapshot {"execute":"human-monitor-command","arguments":{"command-line":"savevm s"}}
	debug.hmp {"execute":"human-monitor-command","arguments":{"command-line":"x /4x 0"}}
	console.graphics {"execute":"add_client","arguments":{"protocol":"vnc","fdname":"x"}}
	console.graphics {"execute":"set_password","arguments":{"protocol":"vnc","password":"x"}}
	input.send-key {"execute":"input-send-event","arguments":{"events":[]}}
	input.send-key {"exec-oob":"send-key","arguments":{"keys":[{"type":"qcode","data":"a"}]}}
	agent.channel {"execute":"device_add","arguments":{"driver":"virtserialport","name":"org.qemu.guest_agent.0"}}
	channel.other {"execute":"device_add","arguments":{"driver":"virtserialport","name":"org.example.0"}}
	channel.other {"execute":"chardev-add","arguments":{"id":"charchannel9","backend":{"type":"file","data":{"out":"/tmp/m"}}}}
	channel.vsock {"execute":"device_add","arguments":{"driver":"vhost-vsock-pci","guest-cid":7}}
	device.hostdev {"execute":"device_add","arguments":{"driver":"vfio-pci","host":"0000:00:02.0"}}
	device.hostdev {"execute":"device_add","arguments":{"driver":"usb-host","vendorid":1}}
	device.smartcard {"execute":"device_add","arguments":{"driver":"usb-ccid"}}
	device.filesystem {"execute":"device_add","arguments":{"driver":"vhost-user-fs-pci","tag":"t","chardev":"c"}}
	device.filesystem {"execute":"device_add","arguments":{"driver":"virtio-9p-pci","fsdev":"f"}}
	device.vhost-user {"execute":"netdev_add","arguments":{"type":"vhost-user","id":"n","chardev":"c"}}
	console.input {"execute":"object-add","arguments":{"qom-type":"input-linux","id":"i","evdev":"/dev/input/event0"}}
	boot.launch-secret {"execute":"sev-inject-launch-secret","arguments":{"packet-header":"x","secret":"x"}}
	disk.media {"execute":"blockdev-insert-medium","arguments":{"id":"sata0-0-25","node-name":"n"}}
	qemu.object {"execute":"object-add","arguments":{"qom-type":"filter-dump","id":"d","netdev":"hostnet0","file":"/tmp/d"}}
	qom.set {"execute":"qom-set","arguments":{"path":"/machine","property":"dump-guest-core","value":true}}
	qom.secret {"execute":"qom-get","arguments":{"path":"/objects/masterKey0","property":"data"}}
	crash.watchdog {"execute":"set-action","arguments":{"watchdog":"inject-nmi"}}
	monitor.unknown {"execute":"quit"}
	monitor.unknown {"execute":"chardev-change","arguments":{"id":"charmonitor","backend":{"type":"null","data":{}}}}
	monitor.unknown {"execute":"transaction","arguments":{"actions":[{"type":"blockdev-snapshot-internal-sync","data":{"device":"d","name":"n"}}]}}
	monitor.form {"execute":"query-status","more":1}
	monitor.form {"execute":"query-status","execute":"pmemsave"}
TABLE
status='{"execute":"query-status"}'
peek='{"execute":"pmemsave","arguments":{"val":0,"size":4096,"filename":"/tmp/m"}}'
barred a $a debug.hmp virsh qemu-monitor-command a --hmp "info status
x /4x 0"
# Several at once, of which the first is allowed.
barred a $a monitor.form raw a "$status$peek"
barred a $a monitor.form raw a "$status
$peek"
barred a $a monitor.form raw a "$status" "$peek"
# A descriptor that comes along changes nothing.
barred a $a console.graphics raw a --pass-fds 9 --cmd \
	'{"execute":"add_client","arguments":{"protocol":"vnc","fdname":"x"}}' 9</dev/null
barred a $a memory.peek raw a --pass-fds 9 --cmd "$peek" 9</dev/null
check 'an allowed command answers by hand' raw a "$status"

# --- verbs that libvirt refuses by itself ---------------------------------------------------------

# There is no agent, no console and no screen, for they could not be had: monitor-start.sh.
while read -r words; do
	# shellcheck disable=SC2086
	fails a $a 'guest agent is not configured' virsh $words
done <<-'TABLE'
	qemu-agent-command a {"execute":"guest-exec"}
	set-user-password a root x
	get-user-sshkeys a root
	set-user-sshkeys a root /run/bed/key
	domfsfreeze a
	domfsthaw a
	domfsinfo a
	domfstrim a
	guestinfo a
	domtime a
	domtime a --now
	domhostname a --source agent
	domifaddr a --source agent
	guestvcpus a
	setvcpus a 2 --guest
	shutdown a --mode agent
	reboot a --mode agent
	dompmsuspend a mem
	dompmsuspend a disk
	snapshot-create-as a s --disk-only --quiesce
TABLE
# libvirt's message, arguments of virsh
while IFS='|' read -r regex words; do
	# shellcheck disable=SC2086
	fails a $a "$regex" virsh $words
done <<-'TABLE'
	No graphical display|domdisplay a
	Failed to get VNC port|vncdisplay a
	internal snapshot.*unsupported|snapshot-create a
	internal snapshot.*unsupported|snapshot-create-as a s
	no domain snapshot|snapshot-revert a s
	no domain snapshot|snapshot-delete a s
	not have managed save|managedsave-edit a
	not have managed save|managedsave-define a /run/bed/a.xml
	not supported by the connection|send-process-signal a 1 kill
	unsupported flags|shutdown a --mode initctl
	only supported in SEV|domsetlaunchsecstate a --secrethdr /run/bed/key --secret /run/bed/key
	passthrough|attach-device a /run/bed/hostdev.xml
	usb|attach-device a /run/bed/usb.xml
	smartcard|attach-device a /run/bed/smartcard.xml
	only virtiofs|attach-device a /run/bed/folder.xml
	shared memory|attach-device a /run/bed/virtiofs.xml
	not supported|attach-device a /run/bed/graphics.xml
	not supported|attach-device a /run/bed/sound.xml
	cannot be hot plugged|attach-device a /run/bed/evdev.xml
TABLE
if [ -e /dev/vhost-vsock ]; then
	barred a $a channel.vsock virsh attach-device a /run/bed/vsock.xml
else
	fails a $a 'vsock' virsh attach-device a /run/bed/vsock.xml
fi
check 'there is no console to be told' bash -c '! virsh -c qemu:///system ttyconsole a'
fails a $a 'cannot find' terminal virsh -c qemu:///system console a
fails a $a 'cannot find' terminal virsh -c qemu:///system console a --force
fails a $a 'No graphics backend' python3 /run/bed/api.py a graphics 0
fails a $a 'No graphics backend' python3 /run/bed/api.py a graphics 1
fails a $a 'cannot find' python3 /run/bed/api.py a console 0
fails a $a 'cannot find' python3 /run/bed/api.py a channel 1

check 'nothing of it has left a file' test -z "$(find /tmp /run/bed -newer /run/bed/a.xml \
	\( -name '*.save' -o -name '*.dump' -o -name m -o -name state \) -size +0 -print -quit)"
check 'a is destroyed' virsh destroy a
check 'the audit log is whole' shieldvm audit verify
finish
