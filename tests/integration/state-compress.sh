#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Saves and a dump of a guest whose owner allows state.compression: the files are sealed like any other, are
# much smaller than without, and the guest goes on; what was saved either way restores under either choice.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=state.sh
. "$(dirname "$0")/state.sh"

vm=$(state_uuid vm)
packed=$images/vm.packed
plain=$images/vm.save
out=/run/bed/out

# says FILE COMPRESSION: it is sealed, holds nothing in clear, and says how it was compressed.
says() {
	artefact vm "$1"
	check "$1 says so" test "$(shieldvm state inspect "$1" --json | jq -r .stream.compression)" = "$2"
	shieldvm state verify "$1" --json >$out.json || fail "$1 is authentic and complete"
	check "and was made so" test "$(jq -r .compression $out.json)" = "$2"
}

shieldvm_ready
libvirtd_start
guest_listen
touch -d '1 second ago' /run/bed/stamp
state_domain vm encryption-supported --allow memory.dump --allow state.compression
state_plant vm
state_is_whole vm

check 'virsh dump --memory-only' virsh dump vm "$images/vm.core" --memory-only
artefact vm "$images/vm.core" memory
check 'the owner opens it' shieldvm state open "$images/vm.core" --key "$owner_key" -o $out
check 'it is a core file' grep -q 'Type:.*CORE' <(readelf -h $out)
check "it holds the guest's memory" test "$(canaries_in vm $out)" -ge 3
check 'and is many times as large' test "$(stat -c %s $out)" -gt $((2 * $(stat -c %s "$images/vm.core")))
rm $out "$images/vm.core"

check 'virsh save' virsh save vm "$packed"
check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
says "$packed" zstd
check "what is sealed is much less than what it is of ($(jq -c '[.packed_bytes, .plain_bytes]' $out.json))" \
	jq -e '.packed_bytes * 2 < .plain_bytes' $out.json
check 'the owner opens it' shieldvm state open "$packed" --key "$owner_key" -o $out
check "it is QEMU's stream" grep -qa '^QEVM' <(head -c 4 $out)
check 'all of it' test "$(stat -c %s $out)" = "$(jq .plain_bytes $out.json)"
check "it holds the guest's memory" test "$(canaries_in vm $out)" -ge 3
rm $out

size=$(stat -c %s "$packed")
cp "$packed" "$images/vm.bad"
printf X | dd of="$images/vm.bad" bs=1 seek=$((size / 2)) conv=notrunc status=none
refused 'altered, it does not restore' 'shieldvm: state.auth: ' virsh restore "$images/vm.bad"
head -c $((size - 1)) "$packed" >"$images/vm.bad"
refused 'cut off, it does not restore' 'shieldvm: state.auth: ' virsh restore "$images/vm.bad"
rm "$images/vm.bad"

# Another protector, under which nothing more is compressed, is no obstacle to what was; and back.
virsh save-image-dumpxml "$packed" --security-info >/run/bed/allowed.xml
check 'the owner forbids it' shieldvm key rewrap /run/bed/allowed.xml --owner "$owner_key" \
	--forbid state.compression -o /run/bed/forbidden.xml
check 'virsh restore under that' virsh restore "$packed" --xml /run/bed/forbidden.xml
state_goes_on vm
check 'virsh save' virsh save vm "$plain"
check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
says "$plain" none
check "it is much larger ($(stat -c %s "$plain"), $size)" test "$(stat -c %s "$plain")" -gt $((size * 3 / 2))
check 'virsh restore as before' virsh restore "$plain" --xml /run/bed/allowed.xml
state_goes_on vm

# A state that was moved once may be moved again, by the same worker.
check 'virsh dump' virsh dump vm "$images/vm.dump"
check 'virsh dump --live' virsh dump vm "$images/vm.live" --live
check 'virsh managedsave' virsh managedsave vm
check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
says /var/lib/libvirt/qemu/save/vm.save zstd
for file in vm.dump vm.live; do
	artefact vm "$images/$file"
	check "$file is authentic" shieldvm state verify "$images/$file" --key "$owner_key" --protector /run/bed/vm.xml
done
check 'virsh start' virsh start vm
state_goes_on vm

leaves_no_canary vm
check 'vm is destroyed' virsh destroy vm
check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
check 'the audit log is whole' shieldvm audit verify
finish
