#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Two workers of two VMs: with the uid of one, and nothing else that holds it back, nobody sees,
# signals, reads or connects to the other. (What it can do from within its walls: compromised.sh.)
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

a=de16b0a5-0b1d-4a57-9d0e-3a1f5c2b7d01
b=de16b0a5-0b1d-4a57-9d0e-3a1f5c2b7d02
work=/run/bed
hook() { timeout 60 /usr/sbin/shieldvm-hook any "$1" begin - <"$2" 2>&1 | timeout 60 cat; }
tries() {
	timeout 60 /usr/bin/python3 "$here/neighbours.py" "$@" >$work/tries 2>&1 || {
		grep -v '^ok ' $work/tries
		return 1
	}
}

shieldvm_ready
for id in $a $b; do
	domain_xml "vm-$id" $id >$work/plain.xml
	check 'a domain is shielded' shieldvm shield $work/plain.xml --owner $owner_key -o $work/$id.xml
	check 'it starts' hook prepare $work/$id.xml
	check 'libvirt announces it' hook start $work/$id.xml
done
check 'they have two uids' test "$(stat -c %u /var/lib/shieldvm/$a)" != "$(stat -c %u /var/lib/shieldvm/$b)"
check 'nothing that the uid of one tries on the other works' tries $a $b
sed 's/^/# /' $work/tries
check '... nor the other way round' tries $b $a
# Root's STOP and CONT, one process at a time: each goes on with the call that it was in.
# Those who tried have the same users, and may not be gone yet.
for pid in $(pgrep -x -u "$(stat -c %u "$(state_folder $a)"),$(stat -c %u "$(state_folder $b)")" 'shieldvm-.*'); do
	kill -STOP "$pid"
	sleep 0.1
	kill -CONT "$pid"
	sleep 0.1
done
check 'both run' bash -c "shieldvm status $a && shieldvm status $b"
# The audit log is another writer's for a moment: the broker's last record waits for it.
flock /var/lib/shieldvm/registry/audit.head sleep 2 &
sleep 0.2
kill -TERM "$(ps -o ppid= -p "$(worker_pid $a)" | tr -d ' ')"
check 'one ends meanwhile' until_true 10 no_vm_processes $a
check '... and that is on record' bash -c "shieldvm audit show | grep -q stop"
for id in $a $b; do check 'release' hook release $work/$id.xml; done
finish
