#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The monitor firewall over a real libvirtd and QEMU: what an administrator must not reach is refused
# under its rule's id, once on record, and the VM runs on; what an operator does every day works, with
# libvirtd killed and started again in between. Nothing here waits for the guest.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

a=3d1f6a52-7c0b-4e0a-9d3e-5a1f0c2b7e01
b=3d1f6a52-7c0b-4e0a-9d3e-5a1f0c2b7e02
export VIRSH_SECONDS=60

# grown_domain NAME UUID: a plain domain with room for hotplug.
grown_domain() {
	local ports="<controller type='pci' index='0' model='pcie-root'/>"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		ports+="<controller type='pci' model='pcie-root-port'/>"
	done
	domain_disks "$1"
	qemu-img create -q -f qcow2 "$images/$1-hot.qcow2" 16M
	domain_xml "$1" "$2" | sed \
		-e "s|<vcpu>1</vcpu>|<vcpu current='1'>2</vcpu>|" \
		-e "s|<memory unit='MiB'>512</memory>|<maxMemory slots='4' unit='MiB'>2048</maxMemory>&|" \
		-e "s|<features>|<cpu><numa><cell id='0' cpus='0-1' memory='512' unit='MiB'/></numa></cpu>&|" \
		-e "s|<memballoon model='none'/>|<memballoon model='virtio'/>$ports<controller type='virtio-serial'/><controller type='scsi' model='virtio-scsi'/>|"
}

# xml NAME CONTENT: a device in a file for attach-device.
xml() {
	printf '%s\n' "$2" >"/run/bed/$1.xml"
}

# raw NAME JSON: one command through qemu-monitor-command; fails if it is answered with an error.
raw() {
	local answer
	answer=$(virsh qemu-monitor-command "$1" "$2")
	printf '%s\n' "$answer"
	! grep -q '"error"' <<<"$answer"
}

refusals() {
	shieldvm audit show --vm "$1" --json |
		jq -c --arg rule "$2" 'select(.event == "refused" and .rule == $rule)' | wc -l
}

# barred NAME UUID RULE COMMAND...: the command fails, its message names the rule, the rule is on
# record once more, and the VM runs.
barred() {
	local name=$1 uuid=$2 rule=$3 before
	shift 3
	before=$(refusals "$uuid" "$rule")
	refused "$rule: ${*//\"/}" "shieldvm: $rule: " "$@"
	check 'it is on record once' test "$(refusals "$uuid" "$rule")" = $((before + 1))
	check 'the VM runs on' domain_state "$name" running
}

shieldvm_ready
libvirtd_start
grown_domain a $a >/run/bed/a.plain.xml
check 'a is shielded' shieldvm shield /run/bed/a.plain.xml --owner "$owner_key" -o /run/bed/a.xml
check 'a is defined' virsh define /run/bed/a.xml
check 'a starts' virsh start a
check "QEMU's socket has no name any more" test ! -e /run/shieldvm/$a/qemu.sock

# --- ways in at level shielded --------------------------------------------------------------------

xml serial "<serial type='pty'><target port='1'/></serial>"
xml console "<console type='pty'><target type='virtio' port='1'/></console>"
xml agent "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
xml redirdev "<redirdev bus='usb' type='tcp'><source mode='connect' host='localhost' service='9'/></redirdev>"
xml egd "<rng model='virtio'><backend model='egd' type='tcp'><source mode='connect' host='localhost' service='9'/></backend></rng>"
xml shmem "<shmem name='s0'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"
xml memory "<memory model='dimm' access='shared'><target><size unit='MiB'>128</size><node>0</node></target></memory>"
xml rom "<interface type='user'><mac address='52:54:00:00:00:66'/><model type='virtio'/><rom file='/etc/hostname'/></interface>"

barred a $a console.screenshot virsh screenshot a /run/bed/screen.ppm
barred a $a input.send-key virsh send-key a KEY_LEFTCTRL KEY_LEFTALT KEY_DELETE
barred a $a input.nmi virsh inject-nmi a
barred a $a state.save virsh save a /run/bed/a.save
barred a $a state.save virsh managedsave a
barred a $a state.save virsh dump a /run/bed/a.dump
barred a $a state.save virsh dump a /run/bed/a.dump --live
barred a $a memory.dump virsh dump a /run/bed/a.dump --memory-only
barred a $a debug.hmp virsh qemu-monitor-command a --hmp info registers
barred a $a debug.hmp raw a '{"execute":"human-monitor-command","arguments":{"command-line":"x /4x 0"}}'
barred a $a console.serial virsh attach-device a /run/bed/serial.xml
barred a $a console.console virsh attach-device a /run/bed/console.xml
barred a $a channel.other virsh attach-device a /run/bed/agent.xml
barred a $a device.redirdev virsh attach-device a /run/bed/redirdev.xml
barred a $a device.rng virsh attach-device a /run/bed/egd.xml
barred a $a memory.shared virsh attach-device a /run/bed/memory.xml
barred a $a boot.rom virsh attach-device a /run/bed/rom.xml

# By hand, and what libvirt asks for only where the machine has the device.
while read -r rule json; do
	barred a $a "$rule" raw a "$json"
done <<-'TABLE'
	memory.peek {"execute":"memsave","arguments":{"val":0,"size":4096,"filename":"/tmp/m"}}
	memory.peek {"execute":"pmemsave","arguments":{"val":0,"size":4096,"filename":"/tmp/m"}}
	memory.peek {"execute":"blockdev-add","arguments":{"driver":"file","filename":"/proc/self/mem","node-name":"m"}}
	memory.shared {"execute":"object-add","arguments":{"qom-type":"memory-backend-file","id":"f","size":4096,"mem-path":"/tmp/f","share":true}}
	memory.shmem {"execute":"device_add","arguments":{"driver":"ivshmem-plain","memdev":"s"}}
	migration.unsealed {"execute":"migrate","arguments":{"uri":"tcp:127.0.0.1:4444"}}
	state.save {"execute":"migrate","arguments":{"uri":"exec:cat >/tmp/state"}}
	state.snapshot {"execute":"snapshot-save","arguments":{"job-id":"j","tag":"t","vmstate":"d","devices":[]}}
	console.graphics {"execute":"add_client","arguments":{"protocol":"vnc","fdname":"x"}}
	console.graphics {"execute":"set_password","arguments":{"protocol":"vnc","password":"x"}}
	input.send-key {"execute":"input-send-event","arguments":{"events":[]}}
	input.send-key {"exec-oob":"send-key","arguments":{"keys":[{"type":"qcode","data":"a"}]}}
	agent.channel {"execute":"device_add","arguments":{"driver":"virtserialport","name":"org.qemu.guest_agent.0"}}
	channel.vsock {"execute":"device_add","arguments":{"driver":"vhost-vsock-pci","guest-cid":7}}
	device.hostdev {"execute":"device_add","arguments":{"driver":"vfio-pci","host":"0000:00:02.0"}}
	device.filesystem {"execute":"device_add","arguments":{"driver":"vhost-user-fs-pci","tag":"t","chardev":"c"}}
	device.vhost-user {"execute":"netdev_add","arguments":{"type":"vhost-user","id":"n","chardev":"c"}}
	console.input {"execute":"object-add","arguments":{"qom-type":"input-linux","id":"i","evdev":"/dev/input/event0"}}
	qemu.object {"execute":"object-add","arguments":{"qom-type":"filter-dump","id":"d","netdev":"hostnet0","file":"/tmp/d"}}
	qom.set {"execute":"qom-set","arguments":{"path":"/machine","property":"dump-guest-core","value":true}}
	qom.secret {"execute":"qom-get","arguments":{"path":"/objects/masterKey0","property":"data"}}
	crash.watchdog {"execute":"set-action","arguments":{"watchdog":"inject-nmi"}}
	monitor.unknown {"execute":"quit"}
	monitor.unknown {"execute":"chardev-change","arguments":{"id":"charmonitor","backend":{"type":"null","data":{}}}}
	monitor.unknown {"execute":"transaction","arguments":{"actions":[{"type":"blockdev-snapshot-internal-sync","data":{"device":"d","name":"n"}}]}}
	monitor.form {"execute":"query-status","more":1}
TABLE
check 'nothing of it has left a file' test -z "$(find /tmp /run/bed -newer /run/bed/a.xml \
	\( -name '*.save' -o -name '*.dump' -o -name m -o -name state \) -size +0 -print -quit)"
check 'an allowed command answers by hand' raw a '{"execute":"query-status"}'

# --- what an operator does ------------------------------------------------------------------------

xml disk "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$images/a-hot.qcow2'/><target dev='vdx' bus='virtio'/></disk>"
xml nic "<interface type='user'><mac address='52:54:00:00:00:77'/><model type='virtio'/></interface>"
xml rng "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
xml dimm "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>"
xml keyboard "<input type='keyboard' bus='usb'/>"
xml cdrom "<disk type='file' device='cdrom'><target dev='sdz' bus='scsi'/></disk>"

while read -r words; do
	# shellcheck disable=SC2086 # the words are the arguments
	check "virsh $words" virsh $words
done <<-TABLE
	suspend a
	resume a
	reset a
	reboot a
	shutdown a
	setmem a 400M --live
	setvcpus a 2 --live
	dominfo a
	domstats a
	dommemstat a
	dommemstat a --period 1 --live
	domblkstat a vda
	domblkinfo a vda
	domblklist a
	domiflist a
	vcpuinfo a
	domjobinfo a
	blkdeviotune a vda --total-iops-sec 1000 --live
	attach-device a /run/bed/disk.xml
	domblkthreshold a vdx 4096
	blockresize a vdx 24M
	snapshot-create-as a s --disk-only --no-metadata --diskspec vda,snapshot=no --diskspec vdb,snapshot=no
	blockcommit a vdx --active --pivot --wait --timeout 30
	blockcopy a vdx $images/a-copy.qcow2 --wait --transient-job --pivot --timeout 30
	detach-disk a vdx
	attach-device a /run/bed/nic.xml
	domif-setlink a 52:54:00:00:00:77 down
	domif-setlink a 52:54:00:00:00:77 up
	attach-device a /run/bed/rng.xml
	attach-device a /run/bed/dimm.xml
	attach-device a /run/bed/keyboard.xml
	iothreadadd a 5
	iothreadset a 5 --poll-max-ns 1000
	iothreaddel a 5
	domdirtyrate-calc a
	qemu-monitor-command a {\"execute\":\"query-version\"} --pretty
TABLE
# The listener takes its time to be one: what makes an event is repeated until one has come.
event_comes() {
	virsh suspend a && virsh resume a && grep -q 'Suspended' /run/bed/events
}
check 'events are listened to' bash -c "timeout 60 virsh -c qemu:///system -q event a --all --loop --timeout 50 >/run/bed/events 2>&1 &"
check 'an event has come' until_true 40 event_comes
refused 'suspending to memory needs the agent' 'agent is not configured' virsh dompmsuspend a mem

# --- libvirtd goes and comes back -----------------------------------------------------------------

qemu=$(cat /run/libvirt/qemu/a.pid)
load() {
	while :; do
		timeout 10 virsh -c qemu:///system -q domstats a || true
		timeout 10 virsh -c qemu:///system -q qemu-monitor-command a '{"execute":"query-named-block-nodes"}' || true
	done >/dev/null 2>&1
}
load &
load1=$!
load &
load2=$!
for signal in KILL TERM KILL; do
	sleep 1
	kill -$signal "$libvirtd_pid"
	wait "$libvirtd_pid" || true
	rm -f /run/libvirtd.pid
	libvirtd_start
	check "after SIG$signal to libvirtd the VM runs" until_true 20 domain_state a running
	check 'and answers' virsh domblkstat a vda
done
kill "$load1" "$load2"
check 'it is the same QEMU' test "$(cat /run/libvirt/qemu/a.pid)" = "$qemu"
barred a $a console.screenshot virsh screenshot a /run/bed/screen.ppm

check 'the worker ends' kill -KILL "$(worker_pid $a)"
check 'and the VM with it' until_true 15 domain_state a 'shut off'
check 'it starts again' virsh start a
check 'it is destroyed' virsh destroy a
check 'nothing of it is left' until_true 10 no_vm_processes $a

# --- what the owner allows at encryption-supported ------------------------------------------------

grown_domain b $b >/run/bed/b.plain.xml
check 'b is shielded at encryption-supported' shieldvm shield /run/bed/b.plain.xml \
	--owner "$owner_key" --level encryption-supported --allow input.send-key \
	--allow channel.other -o /run/bed/b.xml
check 'b is defined' virsh define /run/bed/b.xml
check 'b starts' virsh start b
xml channel "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/c'/><target type='virtio' name='org.example.0'/></channel>"
check 'keys, which its owner allows, reach it' virsh send-key b KEY_A
check 'so does a channel' virsh attach-device b /run/bed/channel.xml
barred b $b input.nmi virsh inject-nmi b
barred b $b agent.channel raw b '{"execute":"device_add","arguments":{"driver":"virtserialport","name":"org.qemu.guest_agent.0"}}'
barred b $b memory.dump virsh dump b /run/bed/b.dump --memory-only
barred b $b debug.hmp virsh qemu-monitor-command b --hmp info registers
check 'b is destroyed' virsh destroy b
check 'the audit log is whole' shieldvm audit verify
finish
