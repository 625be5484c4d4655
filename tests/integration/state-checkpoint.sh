#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Checkpoints (external snapshots with memory) of a running and of a paused guest with canaries, and the way
# back to one: memory, volume and TPM are those of the checkpoint. Next to it an unshielded twin.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=state.sh
. "$(dirname "$0")/state.sh"

state_kinds+=' tmpfs-later disk-later nv-later'

# checkpoint NAME CHECKPOINT [OPTION...]
checkpoint() {
	local name=$1 point=$2
	shift 2
	check "$name: checkpoint $point ${*:-(paused meanwhile)}" virsh snapshot-create-as "$name" "$point" \
		--memspec "file=$images/$name.$point.mem,snapshot=external" \
		--diskspec "vda,file=$images/$name.$point.vda,snapshot=external" \
		--diskspec "vdb,file=$images/$name.$point.vdb,snapshot=external" "$@"
	check "$name: runs on" domain_state "$name" running
	artefact "$name" "$images/$name.$point.mem"
}

# revert NAME CHECKPOINT BASE-VDA BASE-VDB FORMAT: what docs/STATE.md says for libvirt before 9.9, whose
# snapshot-revert knows no external snapshots. The bases are the disks the guest wrote to up to the
# checkpoint; they stay as they are, under new overlays, so that one can come back once more.
reverted=0
revert() {
	local name=$1 point=$2 new
	reverted=$((reverted + 1))
	new=$images/$name.$point.$reverted
	check "$name: ends" virsh destroy "$name"
	[ "$name" = twin ] || check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
	check "$name: new overlays" bash -c "
		qemu-img create -q -f qcow2 -b '$3' -F '$5' '$new.vda' &&
		qemu-img create -q -f qcow2 -b '$4' -F '$5' '$new.vdb'"
	virsh save-image-dumpxml "$images/$name.$point.mem" >/run/bed/before.xml
	python3 "$here/sealed.py" overlay "$new" </run/bed/before.xml >/run/bed/revert.xml
	check "$name: virsh restore of checkpoint $point" \
		virsh restore "$images/$name.$point.mem" --xml /run/bed/revert.xml
}

# later NAME: the guest replaces what the checkpoint holds.
later() {
	check "$1: its memory, volume and TPM change" guest_script "$1" <<-'GUEST'
		set -e
		. /run/lib
		cd /run
		c tmpfs-later >canary
		c disk-later | dd of=/dev/mapper/data bs=512 seek=2048 conv=sync,fsync
		c nv-later | tr -d '\n' | tpm2 nvwrite -Q -C o -i - 0x1500010
		tpm2 pcrextend 16:sha256=$(c pcr-later)
		tpm2 pcrread sha256:16 >pcr
		sed -i 's/c() {/& case $1 in tmpfs|disk|nv) set -- $1-later;; esac;/' lib
	GUEST
	state_is_whole "$1"
}

state_begin

for name in $domains; do
	checkpoint "$name" one --live
	refused "$name: snapshot-revert of this libvirt does not go back to it" 'external' virsh snapshot-revert "$name" one
	state_is_whole "$name"
	later "$name"
	checkpoint "$name" two
	state_is_whole "$name"

	revert "$name" one "$images/$name.img" "$images/$name-data.img" raw
	state_goes_on "$name"
	revert "$name" two "$images/$name.one.vda" "$images/$name.one.vdb" qcow2
	state_goes_on "$name"
	revert "$name" one "$images/$name.img" "$images/$name-data.img" raw
	state_goes_on "$name"
done

# shellcheck disable=SC2086 # the names are words
leaves_no_canary $domains
for name in $domains; do
	check "$name is destroyed" virsh destroy "$name"
done
[ "$domains" = twin ] || check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
finish
