#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Real logs: those of OVMF with Secure Boot, systemd's stub and the guest's kernel replay to the PCRs of the
# software TPM that they measured into, in both of its banks; so do they after a start with other firmware
# settings, and never to the PCRs of another boot. The kernel's list may have grown since the PCRs were read.
#
# With KEEP=DIR what was recorded stays there as DIR/attest.eventlog, .ima and .pcrs.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export REPLAY=${REPLAY:-${BUILD:-$source_root/build}/tests/vectors/attest/attest-replay}
export BUILD=none
bed_enter "$@"

uuid=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d02
logs=/run/bed/logs
mkdir -p "$logs"

# record NAME: the guest's PCRs, then one more module, then its logs.
record() {
	local kernel=/sys/kernel/security
	guest_run $uuid "mount -t securityfs securityfs $kernel" >/dev/null || return 1
	guest_run $uuid 'tpm2 pcrread' >"$logs/$1.pcrs" || return 1
	guest_run $uuid 'rmmod button; cp /modules/button.ko /tmp/again.ko; insmod /tmp/again.ko' || return 1
	guest_run $uuid "base64 $kernel/tpm0/binary_bios_measurements" | base64 -d >"$logs/$1.eventlog" || return 1
	guest_run $uuid "base64 $kernel/ima/binary_runtime_measurements" | base64 -d >"$logs/$1.ima" || return 1
}

# entries NAME: how many the kernel's list has.
entries() {
	grep -aoE 'ima-(ng|sig|buf)' "$logs/$1.ima" | wc -l
}

# replay LOG LIST PCRS
replay() {
	"$REPLAY" "$logs/$1.eventlog" "$logs/$2.ima" "$logs/$3.pcrs"
}

libvirtd_start
guest_listen
domain_disks logs
domain_xml logs $uuid "<tpm model='tpm-crb'><backend type='emulator' version='2.0'>
	<active_pcr_banks><sha256/><sha384/></active_pcr_banks></backend></tpm>" >/run/bed/logs.xml
check 'a domain with a TPM of two banks is defined' virsh define /run/bed/logs.xml
check 'it starts' virsh start logs
guest_boots $uuid
check 'Secure Boot is on' test "$secureboot" = on
check 'its PCRs and logs are read' record first
if [ -n "${KEEP:-}" ]; then
	cp "$logs/first.eventlog" "$KEEP/attest.eventlog"
	cp "$logs/first.ima" "$KEEP/attest.ima"
	cp "$logs/first.pcrs" "$KEEP/attest.pcrs"
fi
check 'the logs replay to the PCRs' replay first first first
result=$(replay first first first)
check 'in both banks' test "$(grep -cE '^sha(256|384): [0-9]+ events' <<<"$result")" = 2
check "the boot aggregate is the PCRs'" grep -q 'boot aggregate good' <<<"$result"
grown=$(entries first)
check "the list has grown since, to $grown entries" grep -q ", $((grown - 1)) entries," <<<"$result"
# A machine without Secure Boot: other values, which its own logs give and the first one's do not.
check 'it is destroyed' virsh destroy logs
cp /usr/share/OVMF/OVMF_VARS_4M.fd /var/lib/libvirt/qemu/nvram/logs_VARS.fd
check 'it starts with the keys removed from the firmware' virsh start logs
guest_boots $uuid
check 'Secure Boot is off' test "$secureboot" = off
check 'its PCRs and logs are read' record second
refused 'Secure Boot off shows, in a log that replays' '^SecureBoot: ' replay second second second
refused 'the event log of the first start is not of these PCRs' 'PCR [0-9]+ is not what' replay first second second
refused 'nor is that of this start of the first PCRs' 'PCR [0-9]+ is not what' replay second second first

# What is altered in between is found: the first digest of the first event, and SecureBoot's value.
altered() {
	cp "$logs/first.eventlog" "$logs/altered.eventlog"
	printf '\377\376' | dd of="$logs/altered.eventlog" bs=1 seek="$1" conv=notrunc 2>/dev/null
}
altered $((32 + 37 + 12 + 2))
refused 'an altered digest' 'PCR 0 is not what' replay altered first first
altered "$(grep -aboP 'B\x00o\x00o\x00t\x00\x01' "$logs/first.eventlog" | head -n 1 | cut -d : -f 1)"
refused 'an altered variable' '^variable: ' replay altered first first
head -c -1 "$logs/first.eventlog" >"$logs/altered.eventlog"
refused 'a cut event log' '^log.truncated: ' replay altered first first
tail -c +70 "$logs/first.ima" >"$logs/altered.ima"
refused 'a cut measurement list' '^ima' replay first altered first
finish
