#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk that is full while a shielded VM is saved: virsh says so, the VM goes on as it was, and what
# is left of the file is nothing that restores. With room the next save works.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d42
small=/run/bed/small
mkdir -p $small
mount -t tmpfs -o size=1m,mode=777 none $small

shieldvm_ready
libvirtd_start
shield_domain vm $uuid
check 'it starts' virsh start vm
for size in 1m 64k 2m; do
	mount -o remount,size=$size $small
	refused "$size: no room for a save" 'shieldvm|space|error' virsh save vm $small/save
	check "$size: the VM goes on" domain_state vm running
	check "$size: and libvirt waits for nothing" bash -c '! virsh domjobinfo vm | grep -q Unbounded'
	check "$size: nothing is left that verifies" bash -c "! shieldvm state verify $small/save"
	rm -f $small/save
	check "$size: the worker took no harm" virsh qemu-monitor-command vm '{"execute":"query-status"}'
done
mount -o remount,size=1g $small
check 'with room it works' virsh save vm $small/save
check '... and verifies' shieldvm state verify $small/save
check '... and restores' virsh restore $small/save
check 'the VM runs' domain_state vm running
finish
