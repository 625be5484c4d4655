#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# virsh dump of a guest with canaries: what holds the whole VM leaves sealed; a memory-only dump leaves only
# if the owner allows it, sealed to the owner's key and nobody else's, and becomes a core file there.
# Next to it an unshielded twin, whose dumps hold its canaries.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=state.sh
. "$(dirname "$0")/state.sh"

out=$images

state_begin encryption-supported --allow memory.dump

for name in $domains; do
	check "virsh dump $name" virsh dump "$name" "$out/$name.dump"
	artefact "$name" "$out/$name.dump"
	check "virsh dump $name --live" virsh dump "$name" "$out/$name.live" --live
	artefact "$name" "$out/$name.live"
	check "virsh dump $name --memory-only" virsh dump "$name" "$out/$name.core" --memory-only
	artefact "$name" "$out/$name.core" memory
	check "$name runs on" domain_state "$name" running
	state_is_whole "$name"
done
# shellcheck disable=SC2086 # the names are words
leaves_no_canary $domains
check "the twin's dump is a core file" readelf -h "$out/twin.core"

if [ "$domains" != twin ]; then
	refused 'a dump in a form that the worker cannot seal' 'shieldvm: memory.dump-form: ' \
		virsh dump vm "$out/kdump" --memory-only --format kdump-zlib
	check 'it runs on' domain_state vm running
	check 'the dumps are on record' test "$(shieldvm audit show --vm "$vm" --json | grep -c '"event":"save"')" = 3

	core=/run/bed/core
	refused "the host's key does not open it" . shieldvm state open "$out/vm.core" \
		--key /etc/shieldvm/host.jwk -o $core
	check 'another key is made' shieldvm key new /run/bed/other.jwk
	refused 'nor does another key' . shieldvm state open "$out/vm.core" --key /run/bed/other.jwk -o $core
	check 'nothing of it was written' test ! -s $core
	check "the owner's does" shieldvm state open "$out/vm.core" --key "$owner_key" -o $core
	check 'it is a core file' grep -q 'Type:.*CORE' <(readelf -h $core)
	check 'for file(1) too' grep -q 'ELF 64-bit LSB core file' <(file $core)
	check 'gdb reads it' grep -q 'rip ' <(gdb -q -batch -nx -ex 'info registers rip' -c $core 2>&1)
	check "it holds the guest's memory" test "$(canaries_in vm $core)" -ge 3
	refused 'damaged, it does not open' . bash -c "
		cp '$out/vm.core' /run/bed/bad && printf X | dd of=/run/bed/bad bs=1 seek=2000000 conv=notrunc status=none &&
		shieldvm state open /run/bed/bad --key '$owner_key' -o /run/bed/bad.core"
	refused 'a dump is no saved state' . virsh restore "$out/vm.core"
	check 'vm is destroyed' virsh destroy vm

	check 'without the rule' shieldvm shield /run/bed/vm.plain.xml --owner "$owner_key" \
		--level encryption-supported -o /run/bed/default.xml
	check 'it is defined' virsh define /run/bed/default.xml
	check 'it starts' virsh start vm
	refused 'a memory-only dump is refused by default' 'shieldvm: memory.dump: ' \
		virsh dump vm "$out/refused" --memory-only
	check 'it runs on' domain_state vm running
	check 'nothing has left' test ! -s "$out/refused"
	check 'vm is destroyed' virsh destroy vm
	check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
	check 'the audit log is whole' shieldvm audit verify
fi
finish
