# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables are for the caller, or bed.sh's
# Functions that the monitor-*.sh tests share.  To be sourced after bed.sh and bed_enter.

a=3d1f6a52-7c0b-4e0a-9d3e-5a1f0c2b7e01
b=3d1f6a52-7c0b-4e0a-9d3e-5a1f0c2b7e02
c=3d1f6a52-7c0b-4e0a-9d3e-5a1f0c2b7e03
audit_log=/var/log/shieldvm/audit.jsonl
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

# grown_shielded NAME UUID [SHIELD'S OPTION...]: such a domain, shielded and defined; sed's commands
# in $CHANGE change the plain XML first.
grown_shielded() {
	local name=$1 uuid=$2
	shift 2
	grown_domain "$name" "$uuid" | sed "${CHANGE:-}" >"/run/bed/$name.plain.xml"
	check "$name is shielded" shieldvm shield "/run/bed/$name.plain.xml" --owner "$owner_key" \
		"$@" -o "/run/bed/$name.xml"
	check "$name is defined" virsh define "/run/bed/$name.xml"
}

# xml NAME CONTENT: a device in a file for attach-device.
xml() {
	printf '%s\n' "$2" >"/run/bed/$1.xml"
}

# device_files: one file for each way in that is a device.
device_files() {
	local to="<source mode='connect' host='localhost' service='9'/>"
	xml serial "<serial type='pty'><target port='1'/></serial>"
	xml console "<console type='pty'><target type='virtio' port='1'/></console>"
	xml parallel "<parallel type='file'><source path='/tmp/p'/></parallel>"
	xml agent "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
	xml channel "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/c'/><target type='virtio' name='org.example.0'/></channel>"
	xml vdagent "<channel type='qemu-vdagent'><source><clipboard copypaste='yes'/></source><target type='virtio' name='com.redhat.spice.0'/></channel>"
	xml redirdev "<redirdev bus='usb' type='tcp'>$to</redirdev>"
	xml egd "<rng model='virtio'><backend model='egd' type='tcp'>$to</backend></rng>"
	xml shmem "<shmem name='s0'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"
	xml memory "<memory model='dimm' access='shared'><target><size unit='MiB'>128</size><node>0</node></target></memory>"
	xml rom "<interface type='user'><mac address='52:54:00:00:00:66'/><model type='virtio'/><rom file='/etc/hostname'/></interface>"
	xml vsock "<vsock model='virtio'><cid auto='no' address='7'/></vsock>"
	xml hostdev "<hostdev mode='subsystem' type='pci' managed='no'><source><address domain='0' bus='0' slot='2' function='0'/></source></hostdev>"
	xml usb "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1d6b'/><product id='0x0001'/></source></hostdev>"
	xml smartcard "<smartcard mode='passthrough' type='tcp'>$to</smartcard>"
	xml folder "<filesystem type='mount'><source dir='/etc'/><target dir='t'/></filesystem>"
	xml virtiofs "<filesystem type='mount'><driver type='virtiofs'/><source dir='/etc'/><target dir='t'/></filesystem>"
	xml graphics "<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'/>"
	xml evdev "<input type='evdev'><source dev='/dev/null'/></input>"
	xml sound "<sound model='ich9'/>"
	xml watchdog "<watchdog model='i6300esb' action='inject-nmi'/>"
	printf 'some medium\n' >"$images/medium.iso"
	truncate -s 1M "$images/medium.iso"
	xml cd "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='$images/medium.iso'/><target dev='sdc' bus='scsi'/><readonly/></disk>"
}

# raw NAME ARGUMENT...: one command through qemu-monitor-command; fails if it is answered with an
# error, which virsh itself does not take for one.
raw() {
	local answer
	answer=$(virsh qemu-monitor-command "$@")
	printf '%s\n' "$answer"
	! grep -q '"error"' <<<"$answer"
}

# refusals UUID [RULE]: how many are on record.
refusals() {
	grep -F "\"vm\":\"$1\"" $audit_log 2>/dev/null |
		grep -cF "\"event\":\"refused\"${2:+,\"rule\":\"$2\"}" || true
}

# barred NAME UUID RULE COMMAND...: the command fails, its message names the rule, the rule is on
# record once more and nothing else is, and the VM is what it was: running, unless $STATE says.
barred() {
	local name=$1 uuid=$2 rule=$3 before all
	shift 3
	before=$(refusals "$uuid" "$rule")
	all=$(refusals "$uuid")
	refused "$rule: ${*//\"/}" "(shieldvm: |shieldvm-hook: .*)$rule: " "$@"
	check 'it is on record once' test "$(refusals "$uuid" "$rule") $(refusals "$uuid")" = \
		"$((before + 1)) $((all + 1))"
	check "the VM is ${STATE:-running}" domain_state "$name" "${STATE:-running}"
}

# fails NAME UUID REGEX COMMAND...: libvirt refuses the command by itself: the message matches REGEX
# (and is libvirt's), nobody was asked and nothing is on record, and the VM runs.
fails() {
	local name=$1 uuid=$2 regex=$3 all
	shift 3
	all=$(refusals "$uuid")
	refused "libvirt itself: ${*//\"/}" "$regex" "$@"
	check 'nobody was asked' test "$(refusals "$uuid")" = "$all"
	check 'the VM runs on' domain_state "$name" running
}
