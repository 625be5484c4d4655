#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest at level "shielded" through its life: first start, reboot, reset, destroy and start, a
# killed worker. Its volume, sealed to PCR 7, unlocks each time; with Secure Boot off it does not.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=0a6b5c5e-8d2f-4c43-9e0a-6a1c7f3e1b01
shieldvm_ready
libvirtd_start
guest_listen
shield_domain vm $uuid

check 'it starts' virsh start vm
guest_boots $uuid
check 'Secure Boot is on' test "$secureboot" = on
check "the TPM has both endorsement certificates: $tpm" \
	grep -qE '^ok manufacturer=[^ ]+ ek-rsa=[1-9][0-9]+ ek-ecc=[1-9][0-9]+ ' <<<"$tpm"
check 'a volume is made, its key sealed to PCR 7' test "$luks" = 'created 1'

# Who runs, as whom.
worker=$(worker_pid $uuid)
check 'the worker runs' test -n "$worker"
check 'as a user of its own' test "$(stat -c %u "/proc/$worker")" = "$(stat -c %u "$(state_folder $uuid)")"
check 'who is neither root' test "$(stat -c %u "/proc/$worker")" != 0
check "nor QEMU's user" test "$(stat -c %u "/proc/$worker")" != "$(id -u libvirt-qemu)"
check 'without capabilities' test \
	"$(sed -n 's/^Cap.*:\t//p' "/proc/$worker/status" | sort -u)" = 0000000000000000
check 'under a seccomp filter, with no new privileges' test \
	"$(sed -n -e 's/^NoNewPrivs:\t//p' -e 's/^Seccomp:\t//p' "/proc/$worker/status" | paste -s)" = $'1\t2'
check 'the state file is its alone' test "$(stat -c %a:%u "$(state_file $uuid)")" = \
	"600:$(stat -c %u "$(state_folder $uuid)")"
refused "QEMU's user cannot read it" 'denied' \
	setpriv --reuid libvirt-qemu --regid kvm --clear-groups cat "$(state_file $uuid)"
qemu=$(cat /run/libvirt/qemu/vm.pid)
check 'QEMU runs as libvirt-qemu' test "$(stat -c %U "/proc/$qemu")" = libvirt-qemu
check "QEMU's program is the real one" test "$(readlink "/proc/$qemu/exe")" = \
	"$(readlink -f /usr/bin/qemu-system-x86_64)"

check 'virsh reboot (power button) is accepted' virsh reboot vm
guest_boots $uuid
check 'the volume unlocks after a reboot' test "$luks" = 'unlocked 2'
check 'virsh reset is accepted' virsh reset vm
guest_boots $uuid
check 'the volume unlocks after a reset' test "$luks" = 'unlocked 3'

check 'it is destroyed' virsh destroy vm
check 'nothing of it is left' until_true 10 no_vm_processes $uuid
check 'it starts again' virsh start vm
guest_boots $uuid
check 'the volume unlocks after destroy and start' test "$luks" = 'unlocked 4'
# A TPM that loses its power without a shutdown counts that as an attack; this one is shut down.
check 'nothing has raised the dictionary-attack counter' grep -qE 'LOCKOUT_COUNTER: *0x0$' \
	<(guest_run $uuid tpm2 getcap properties-variable)

# What the guest has written to its TPM outlives a worker that is killed at once.
check 'the guest defines an NV index' \
	guest_run $uuid tpm2 nvdefine -Q -C o -s 8 -a 'ownerread\|ownerwrite' 0x1500001
check 'the guest writes to it' \
	guest_run $uuid "printf 8letters >/tmp/nv; tpm2 nvwrite -Q -C o -i /tmp/nv 0x1500001"
kill -KILL "$(worker_pid $uuid)"
check 'with its worker killed the VM ends' until_true 15 domain_state vm 'shut off'
check 'and nothing of it is left' until_true 10 no_vm_processes $uuid

check 'it starts again' virsh start vm
guest_boots $uuid
check 'the volume unlocks after that' test "$luks" = 'unlocked 5'
check 'the NV index holds what was written' test \
	"$(guest_run $uuid "tpm2 nvread -C o -s 8 0x1500001 2>/dev/null")" = 8letters

check 'it is destroyed' virsh destroy vm
check 'nothing of it is left' until_true 10 no_vm_processes $uuid
cp /usr/share/OVMF/OVMF_VARS_4M.fd /var/lib/libvirt/qemu/nvram/vm_VARS.fd
check 'it starts with the keys removed from the firmware' virsh start vm
guest_boots $uuid
check 'Secure Boot is off' test "$secureboot" = off
check "the volume stays locked: $luks" grep -qE '^failed tpm2 unseal: .*policy' <<<"$luks"
check 'virsh shutdown is accepted' virsh shutdown vm
check 'the guest obeys the power button' until_true 30 domain_state vm 'shut off'
check 'nothing of it is left' until_true 10 no_vm_processes $uuid
finish
