#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What libvirt really writes of a shielded VM, as shieldvm state sees it: saved, saved and compressed,
# managed, dumped. The guest need not have booted for that.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d41
out=/run/bed/out
host=/etc/shieldvm/host.jwk
mkdir -m 777 $out
says() { # REGEX COMMAND...
	local regex=$1
	shift
	"$@" >$out/said 2>&1 || return 1
	cat $out/said
	grep -qE -- "$regex" $out/said
}
# opens FILE KEY [OPTION...]: to something that only QEMU writes
opens() {
	rm -f $out/clear
	shieldvm state open "$1" --key "$2" -o $out/clear "${@:3}" &&
		[ "$(head -c 4 $out/clear)" = QEVM ] && grep -q 'pc.ram' $out/clear
}

shieldvm_ready
libvirtd_start
shield_domain vm $uuid

check 'it starts' virsh start vm
check 'virsh save' virsh save vm $out/save
check 'inspect tells the VM' says "domain +vm \($uuid\)" shieldvm state inspect $out/save
check '... from the sealed part too' grep -qE "^  VM +$uuid" $out/said
check '... that it ran, and that libvirt finished' bash -c "grep -qE 'was +running' $out/said && grep -qE 'finished +yes' $out/said"
check 'verify' says 'authentic and complete' shieldvm state verify $out/save
check 'verify with the owner' says 'authentic and complete' shieldvm state verify $out/save --key $owner_key
check 'its plaintext is a QEMU state, for the host' opens $out/save $host
check '... for the owner' opens $out/save $owner_key
check '... which the sealed file does not show' bash -c "! grep -qa pc.ram $out/save"
check 'the XML in front can be edited' bash -c \
	"virsh save-image-dumpxml $out/save | sed 's|<domain |&xmlns:x=\"urn:x\" |; s|<metadata>|&<x:note xmlns:x=\"urn:x\">longer</x:note>|' >$out/edited.xml
	virsh save-image-define $out/save $out/edited.xml"
check '... and it verifies still' says 'authentic and complete' shieldvm state verify $out/save
check '... and is restored' virsh restore $out/save

check 'a full dump is a stream alone' virsh dump vm $out/full --live --bypass-cache
refused 'which has no protector' 'protector XML' shieldvm state verify $out/full
check 'with one it verifies' says 'authentic and complete' shieldvm state verify $out/full --protector /run/bed/vm.xml
check '... and opens' opens $out/full $owner_key --protector /run/bed/vm.xml

check 'managedsave' virsh managedsave vm
check 'verify' says 'authentic and complete' shieldvm state verify /var/lib/libvirt/qemu/save/vm.save
cp /var/lib/libvirt/qemu/save/vm.save $out/copy
check 'shred' says 'nobody can open' shieldvm state shred /var/lib/libvirt/qemu/save/vm.save --yes
refused 'verify tells' 'shredded' shieldvm state verify /var/lib/libvirt/qemu/save/vm.save
refused 'libvirt does not start from it, and says why' 'shredded' virsh start vm
check 'the VM is off' domain_state vm 'shut off'
check 'the copy is as good as the save was' says 'authentic and complete' shieldvm state verify $out/copy
check '... and restores' virsh restore $out/copy
check 'destroy' virsh destroy vm
check 'without the managed save' virsh managedsave-remove vm

# Compressed by libvirt, in each way that there is a program for.
# libvirt 9.0 knows no zstd; state-cli.sh has that. The dump is not a live one: what is packed slower than the guest
# writes its memory never comes to an end.
for program in gzip xz lzop; do
	command -v $program >/dev/null || continue
	libvirtd_stop
	sed -i '/_image_format/d' /etc/libvirt/qemu.conf
	printf 'save_image_format = "%s"\ndump_image_format = "%s"\n' $program $program >>/etc/libvirt/qemu.conf
	libvirtd_start
	check "$program: it starts" virsh start vm
	check "$program: virsh dump" virsh dump vm $out/packed.dump
	check "$program: virsh save" virsh save vm $out/packed
	check "$program: inspect tells" says "compressed +by libvirt, with $program" shieldvm state inspect $out/packed
	refused "$program: verify says what to do" "compressed it with $program" shieldvm state verify $out/packed
	command=$(sed -nE 's/.*on the way: (.*)$/\1/p' "$checked")
	check "$program: that works" bash -c "cd $out && ${command//FILE/packed}"
	refused "$program: and for a dump" "compressed it with $program" shieldvm state verify $out/packed.dump
	command=$(sed -nE 's/.*on the way: (.*)$/\1/p' "$checked")
	check "$program: too" bash -c "cd $out && ${command//FILE/packed.dump} --protector /run/bed/vm.xml"
	check "$program: virsh restore" virsh restore $out/packed
	check "$program: destroy" virsh destroy vm
done
finish
