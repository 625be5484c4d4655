#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# How running VMs end, and that one's end is nobody else's: a worker, its guard, a broker or QEMU killed;
# and that neither a restart of libvirtd nor a refused command ends one. No guest has to boot for this.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

a=2c0ffee0-52c1-4b6e-8a51-0d5e8e6f0a01
b=2c0ffee0-52c1-4b6e-8a51-0d5e8e6f0b02
shieldvm_ready
libvirtd_start
shield_domain a $a
shield_domain b $b
check 'b starts' virsh start b
b_processes=$(vm_processes $b)

# broker_pid UUID: of the VM's processes the worker's parent.
broker_pid() {
	ps -o ppid= -p "$(worker_pid "$1")" | tr -d ' '
}

qemu_pid() {
	cat "/run/libvirt/qemu/$1.pid"
}

for victim in worker guard broker QEMU; do
	check 'a starts' virsh start a
	check 'a and b have three processes each, of different users' test \
		"$(vm_processes $a | wc -l) $(vm_processes $b | wc -l)" = '3 3' \
		-a "$(stat -c %u "$(state_folder $a)")" != "$(stat -c %u "$(state_folder $b)")"
	qemu=$(qemu_pid a)
	case $victim in
	worker) pid=$(worker_pid $a) ;;
	guard) pid=$(pgrep -x -P "$(worker_pid $a)" shieldvm-guard) ;;
	broker) pid=$(broker_pid $a) ;;
	QEMU) pid=$qemu ;;
	esac
	kill -KILL "$pid"
	check "with a's $victim killed, a ends" until_true 15 domain_state a 'shut off'
	check 'its QEMU too' until_true 10 test ! -d "/proc/$qemu"
	check 'nothing of it is left' until_true 10 no_vm_processes $a
	check 'b runs on' test "$(virsh domstate b)" = running
	check "with b's own processes" test "$(vm_processes $b)" = "$b_processes"
done

check 'a starts after all of that' virsh start a
refused 'a second start of a running VM' 'already active' virsh start a
check 'a runs on' domain_state a running
qemu=$(qemu_pid a)
libvirtd_stop
check 'without libvirtd QEMU runs on' kill -0 "$qemu"
libvirtd_start
check 'libvirtd finds it again' until_true 30 domain_state a running
check 'it is the same QEMU' test "$(qemu_pid a)" = "$qemu"
check 'status shows both workers' test "$(shieldvm status --json | jq -s 'flatten | length')" = 2
check 'a is suspended' virsh suspend a
check 'a is resumed' virsh resume a

# Nobody is there to see the monitor close: the kernel alone ends QEMU, by its lifeline.
worker=$(worker_pid $a)
libvirtd_stop
kill -KILL "$worker"
check 'without libvirtd, too, QEMU ends with its worker' until_true 10 test ! -d "/proc/$qemu"
libvirtd_start
check 'libvirtd sees that a has ended' until_true 30 domain_state a 'shut off'
check 'nothing of it is left' until_true 10 no_vm_processes $a
check 'b is destroyed' virsh destroy b
check 'nothing of it is left either' until_true 10 no_vm_processes $b
check 'no socket is left over' test -z "$(find /run/shieldvm -type s)"
finish
