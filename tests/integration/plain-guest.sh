#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The bed and the guest themselves, without shieldvm: a plain domain with Debian's swtpm. Shows that
# what the shielded tests observe (Secure Boot, the TPM, a volume sealed to PCR 7, refusal with
# Secure Boot off or with another TPM) can be observed here, so that their failure means something.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BUILD=none
bed_enter "$@"

uuid=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d01
libvirtd_start
guest_listen
domain_disks plain
domain_xml plain $uuid "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>" \
	>/run/bed/plain.xml
check 'a plain domain is defined' virsh define /run/bed/plain.xml
check 'it starts' virsh start plain
guest_boots $uuid
check 'Secure Boot is on' test "$secureboot" = on
check "the TPM answers: $tpm" grep -q '^ok manufacturer=IBM ek-rsa=[1-9]' <<<"$tpm"
check 'a volume is made' test "$luks" = 'created 1'

check 'virsh reboot (power button) is accepted' virsh reboot plain
guest_boots $uuid
check 'the volume unlocks after a reboot' test "$luks" = 'unlocked 2'

check 'the guest runs a command' test "$(guest_run $uuid cat /proc/1/comm)" = init

check 'virsh shutdown is accepted' virsh shutdown plain
check 'the guest obeys the power button' until_true 30 domain_state plain 'shut off'

cp /usr/share/OVMF/OVMF_VARS_4M.fd /var/lib/libvirt/qemu/nvram/plain_VARS.fd
check 'it starts with the keys removed from the firmware' virsh start plain
guest_boots $uuid
check 'Secure Boot is off' test "$secureboot" = off
check "the volume stays locked: $luks" grep -qE '^failed tpm2 unseal: .*policy' <<<"$luks"
check 'it is destroyed' virsh destroy plain
finish
