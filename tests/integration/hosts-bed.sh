#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The bed with two hosts itself: a guest without a shield and without a system migrates from one to the
# other and back in each form that operators use; what its memory holds is seen on the wire; a proxy on
# the wire cuts one off; afterwards nothing is left.  So that the tests of shielded guests mean something
# when they see nothing.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_USERFAULTFD=1 BED_SECONDS=${BED_SECONDS:-300} ON_SECONDS=60 VIRSH_SECONDS=50
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

canary=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')
absent=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')

# guest_program: as small as a kernel can be.  Eighteen times a second it counts, and writes the count into
# 112 pages: more than ends within the downtime at 1 MiB/s.
#   xor bx,bx; tick: sti; hlt; inc bx; mov ax,0x1000; next: mov es,ax; mov [es:0],bx; add ax,0x100;
#   cmp ax,0x8000; jb next; jmp tick
guest_program() {
	python3 -c 'import sys
code = bytes.fromhex("31dbfbf443b800108ec026891e00000500013d008072f1ebe9")
sys.stdout.buffer.write(bytes(0x1f1) + b"\1" + bytes(14) + code.ljust(512, b"\0") + bytes(4096))'
}

# count HOST: what the guest has counted to.
count() {
	on "$1" virsh qemu-monitor-command vm --hmp 'xp /1dh 0x10000' | awk 'NR == 1 { print $2 + 0 }'
}

counts() {
	local n
	n=$(count "$1")
	until_true 10 counted_past "$1" "$n"
}

counted_past() {
	[ "$(count "$1")" -gt "$2" ]
}

# plain_xml NAME: 64 MiB and a BIOS, which puts the canary from its tables into the guest's memory.
plain_xml() {
	cat <<-XML
		<domain type='qemu'>
		  <name>$1</name>
		  <memory unit='MiB'>64</memory>
		  <vcpu>1</vcpu>
		  <sysinfo type='smbios'><oemStrings><entry>$canary</entry></oemStrings></sysinfo>
		  <os><type arch='x86_64' machine='pc'>hvm</type><kernel>$shared/program</kernel>
		    <smbios mode='sysinfo'/></os>
		  <features><acpi/></features>
		  <on_reboot>restart</on_reboot>
		  <devices>
		    <emulator>/usr/bin/qemu-system-x86_64</emulator>
		    <video><model type='none'/></video>
		    <memballoon model='none'/>
		    <controller type='usb' model='none'/>
		  </devices>
		</domain>
	XML
}

# moves FROM OPTION...: migrates the VM from there; it runs on the other side only, and nobody has a port
# open that was not open before.
moves() {
	local from=$1 to uri=()
	shift
	to=$(other_host "$from")
	# Libvirt's own tunnel takes no address of QEMU's.
	[[ " $* " = *' --tunnelled '* ]] || uri=("tcp://host-$to")
	check "from $from to $to: ${*:-direct}" on "$from" virsh migrate --live "$@" vm "$(far "$to")" "${uri[@]}"
	check "it runs on $to, and on $to only" runs_only_on "$to" vm transient
	check 'its guest goes on' counts "$to"
	check 'no port is left open' no_port_open
}

# there_and_back OPTION...
there_and_back() {
	moves a "$@"
	moves b "$@"
}

# looked_at WHAT COMMAND...: with the wire looked at while the command runs, the canary is seen.
looked_at() {
	local what=$1
	shift
	capture_begin
	"$@"
	capture_end
	check "$what: the canary in its memory is on the wire" on_the_wire "$canary"
	refused "$what: another canary is not" '^none of the texts' on_the_wire "$absent"
	check "$what: QEMU's own words are" on_the_wire pc.ram
}

before=$(pgrep -c .)
hosts_up
check 'they have two names' test "$(on a hostname) $(on b hostname)" = 'host-a host-b'
check 'each libvirtd reaches the other' test \
	"$(on a virsh -c "$(far b)" hostname) $(on b virsh -c "$(far a)" hostname)" = 'host-b host-a'
check 'their libvirtd are two hosts' test "$(on a grep host_uuid /etc/libvirt/libvirtd.conf)" != \
	"$(on b grep host_uuid /etc/libvirt/libvirtd.conf)"
check 'their host keys are two' test "$(on a sha256sum /etc/shieldvm/host.jwk)" != \
	"$(on b sha256sum /etc/shieldvm/host.jwk)"
check 'they share one folder' bash -c "echo here >$shared/file && grep -q here $shared/file"
check '... with each other' on b grep -q here $shared/file
refused 'and no other' 'No such file' on b ls /srv/hosts/host-a

guest_program >$shared/program
plain_xml vm >$shared/vm.xml
check 'a VM starts on a' on a virsh create $shared/vm.xml
check 'it runs on a only' runs_only_on a vm transient
check 'its guest counts' until_true 20 counted_past a 2

looked_at 'peer to peer' there_and_back --p2p
refused 'peer to peer: not all of it looks random' 'low entropy' random_on_the_wire
looked_at direct moves a
looked_at tunnelled moves b --p2p --tunnelled
looked_at parallel there_and_back --p2p --parallel --parallel-connections 2
if [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 1 ]; then
	looked_at 'post-copy' there_and_back --p2p --postcopy --postcopy-after-precopy --bandwidth 1
else
	refused 'post-copy cannot be had here, and libvirt says so' '[Pp]ost-?copy' \
		on a virsh migrate --live --p2p --postcopy vm "$(far b)" tcp://host-b
	[ "${MUST_WORK:-}" != 1 ] || fail 'the machine lets unprivileged processes use userfaultfd(2)'
fi

# --- the proxy ------------------------------------------------------------------------------------

through=(virsh migrate --live --p2p vm "$(far b)" tcp://wire:49200)
proxy_begin 49200 host-b --record /run/bed/recorded
check 'through the proxy' on a "${through[@]}"
check 'it runs on b only' runs_only_on b vm transient
check 'the proxy saw it' grep -q '^connection 0 from 10.77.1.1' /run/bed/proxy.out
check '... and has what went through it' grep -qaF "$canary" /run/bed/recorded.0
proxy_end
moves b --p2p

for harm in '--cut-at 300000' '--cut-at 300000 --cut-how close' '--flip-at 3'; do
	# shellcheck disable=SC2086 # several words
	proxy_begin 49200 host-b $harm
	refused "with $harm it fails" 'error: ' on a "${through[@]}"
	check 'the proxy did it' grep -qE '^(cut|flipped) 0' /run/bed/proxy.out
	check 'it runs on a only' until_true 10 runs_only_on a vm transient
	proxy_end
done
proxy_begin 49200 host-b --rate 2000000
on a "${through[@]}" >/run/bed/slow 2>&1 &
slow=$!
check 'slowed down, it is under way' until_true 20 grep -q '^connection' /run/bed/proxy.out
until_true 20 bash -c "[ \"\$(ss -Htn state established '( sport = :49200 )' | wc -l)\" -gt 0 ]"
kill -USR1 "$proxy_pid"
check 'a signal cuts it' until_true 20 grep -q '^cut 0 reset' /run/bed/proxy.out
refused '... and libvirt notices' 'error: ' bash -c "tail -f --pid=$slow /dev/null; cat /run/bed/slow; exit 1"
check 'it runs on a only' until_true 10 runs_only_on a vm transient
proxy_end
proxy_begin 49200 host-b --delay-ms 20 --way both
check 'with 20 ms of delay it moves' on a "${through[@]}"
check 'it runs on b only' runs_only_on b vm transient
proxy_end
on b virsh destroy vm

# --- nothing is left ------------------------------------------------------------------------------

check 'no QEMU is left' test "$(pgrep -c qemu-system)" = 0
hosts_down
no_more_processes() {
	[ "$(pgrep -c .)" -le "$before" ]
}
check 'no process of theirs is left' until_true 10 no_more_processes
check 'nor a network namespace' test "$(lsns -n -t net | wc -l)" = 1
check 'nor an interface' test "$(ip -br link | wc -l)" = 1
finish
