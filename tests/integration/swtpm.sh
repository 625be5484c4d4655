#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# libvirt's own emulated TPM (<backend type='emulator'>) with shieldvm-swtpm in a folder first on
# libvirtd's PATH under the name swtpm: libvirt's swtpm_setup makes its keys, QEMU uses it, and the
# guest's volume unlocks after destroy and start, and after save, restore and reset. No part of shieldvm but this.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_SECONDS=${BED_SECONDS:-600}
bed_enter "$@"

uuid=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d02
program=/usr/bin/shieldvm-swtpm
state=/var/lib/libvirt/swtpm/$uuid/tpm2
check 'shieldvm-swtpm is installed' test -x "$program"
mkdir -p /run/bed/path
ln -s "$program" /run/bed/path/swtpm
export PATH=/run/bed/path:$PATH
libvirtd_start
guest_listen
domain_disks drop-in
domain_xml drop-in $uuid "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>" \
	>/run/bed/drop-in.xml
check 'a plain domain is defined' virsh define /run/bed/drop-in.xml
check 'it starts' virsh start drop-in
serves() {
	local pid
	for pid in $(pgrep -f "swtpm socket.*$uuid"); do
		[ "$(readlink -f "/proc/$pid/exe")" = "$program" ] && return
	done
	return 1
}
check 'its TPM is shieldvm-swtpm' serves
check 'swtpm_setup made keys and certificates' grep -q 'Successfully authored TPM state' \
	/var/log/swtpm/libvirt/qemu/drop-in-swtpm.log
check 'the state is sealed' grep -q ^SHVDSTAT "$state/tpm2-00.permall"
guest_boots $uuid
check "the TPM answers: $tpm" grep -q '^ok manufacturer=IBM ek-rsa=[1-9]' <<<"$tpm"
check 'a volume is made' test "$luks" = 'created 1'
check 'it is destroyed' virsh destroy drop-in
no_tpm() { ! serves; }
check 'its TPM ends with it' until_true 10 no_tpm
check 'it starts again' virsh start drop-in
guest_boots $uuid
check 'the volume unlocks after destroy and start' test "$luks" = 'unlocked 2'
check 'it is saved' virsh save drop-in /run/bed/drop-in.save
check 'and restored' virsh restore /run/bed/drop-in.save
# A restored guest has lost its connection to the listener: it has to boot to report.
check 'virsh reset is accepted' virsh reset drop-in
guest_boots $uuid
check 'the volume unlocks after save, restore and reset' test "$luks" = 'unlocked 3'
check 'it is destroyed' virsh destroy drop-in

check 'its TPM ends' until_true 10 no_tpm
printf X | dd of="$state/tpm2-00.permall" bs=1 seek=500 conv=notrunc status=none
refused 'with an altered state it does not start, and says why' 'left as it is' virsh start drop-in
finish
