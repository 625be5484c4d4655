#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What an operator does every day with a VM at level shielded works, under a real libvirtd and QEMU:
# virsh's verbs, hotplug, events, libvirtd killed and started again under load.  What virt-manager
# and virt-install do: monitor-tools.sh.  Nothing here waits for the guest.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=monitor-lib.sh
. "$here/monitor-lib.sh"

shieldvm_ready
libvirtd_start
grown_shielded a $a
check 'a starts' virsh start a

xml disk "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$images/a-hot.qcow2'/><target dev='vdx' bus='virtio'/></disk>"
xml nic "<interface type='user'><mac address='52:54:00:00:00:77'/><model type='virtio'/></interface>"
xml rng "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
xml dimm "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>"
xml keyboard "<input type='keyboard' bus='usb'/>"

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
	domblkerror a
	domblkinfo a vda
	domblklist a
	domiflist a
	vcpuinfo a
	vcpucount a
	vcpupin a 0 0
	emulatorpin a
	numatune a
	iothreadinfo a
	perf a
	domcontrol a
	dominfo a
	domstate a --reason
	dumpxml a
	dumpxml a --security-info
	dumpxml a --migratable
	domxml-to-native qemu-argv --domain a
	metadata a urn:shieldvm:shield:1
	desc a --title --live title
	domname $a
	domuuid a
	domid a
	domlaunchsecinfo a
	nodecpustats
	domjobinfo a
	guest-agent-timeout a --timeout 3
	set-lifecycle-action a reboot destroy --live
	set-lifecycle-action a reboot restart --live
	blkdeviotune a vda --total-iops-sec 1000 --live
	attach-device a /run/bed/disk.xml
	domblkthreshold a vdx 4096
	blockresize a vdx 24M
	snapshot-create-as a s --disk-only --no-metadata --diskspec vda,snapshot=no --diskspec vdb,snapshot=no
	blockcommit a vdx --active --pivot --wait --timeout 30
	blockcopy a vdx $images/a-copy.qcow2 --wait --transient-job --pivot --timeout 30
	blockpull a vdx --wait --timeout 30
	blockjob a vdx --info
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
	backup-begin a
	autostart a
	autostart a --disable
	qemu-monitor-command a {\"execute\":\"query-version\"} --pretty
TABLE
# The listener takes its time to be one: what makes an event is repeated until one has come.
event_comes() {
	virsh suspend a && virsh resume a && grep -q 'Suspended' /run/bed/events
}
check 'events are listened to' bash -c "timeout 60 virsh -c qemu:///system -q event a --all --loop --timeout 50 >/run/bed/events 2>&1 &"
check 'an event has come' until_true 40 event_comes

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
check 'the audit log is whole' shieldvm audit verify
finish
