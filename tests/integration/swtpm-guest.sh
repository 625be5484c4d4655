#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shieldvm-swtpm in the place of swtpm: libvirt's own emulator backend and Debian's swtpm_setup drive
# it, and a plain guest finds the TPM and unlocks its volume after destroy and start.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d02
ln -s /usr/bin/shieldvm-swtpm /usr/local/bin/swtpm
export PATH=/usr/local/bin:$PATH
check 'swtpm is ours' test "$(readlink -f "$(command -v swtpm)")" = /usr/bin/shieldvm-swtpm
libvirtd_start
guest_listen
domain_disks plain
domain_xml plain $uuid "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>" \
	>/run/bed/plain.xml
check 'a plain domain is defined' virsh define /run/bed/plain.xml
check 'it starts' virsh start plain
check 'its TPM is our program' test \
	"$(readlink "/proc/$(pgrep -x swtpm)/exe")" = /usr/bin/shieldvm-swtpm
guest_boots $uuid
check "the TPM answers: $tpm" grep -qE '^ok manufacturer=[^ ]+ ek-rsa=[1-9]' <<<"$tpm"
check 'a volume is made' test "$luks" = 'created 1'
check 'it is destroyed' virsh destroy plain
check 'it starts again' virsh start plain
guest_boots $uuid
check 'the volume unlocks' test "$luks" = 'unlocked 2'
check 'virsh reset is accepted' virsh reset plain
guest_boots $uuid
check 'the volume unlocks after a reset' test "$luks" = 'unlocked 3'
check 'it is destroyed' virsh destroy plain
check 'the TPM ends with it' until_true 10 bash -c '! pgrep -x swtpm'
finish
