#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The audit log's disk is full while a shielded VM runs, under a real libvirtd and QEMU: what is
# refused stays refused and says that it is not on record, what is allowed works, nothing that was
# recorded is lost, and with room again the next record tells how many refusals are missing.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=monitor-lib.sh
. "$here/monitor-lib.sh"

shot() {
	virsh screenshot a /run/bed/screen.ppm
}
full='console.screenshot: .*the audit log could not be written: No space left on device'
ballast() {
	dd if=/dev/zero of=/var/log/shieldvm/ballast bs=1k status=none 2>/dev/null || true
}

shieldvm_ready
mount -t tmpfs -o size=128k,mode=750 full /var/log/shieldvm
libvirtd_start
grown_shielded a $a
grown_shielded c $c
check 'a starts' virsh start a
barred a $a console.screenshot shot

cp $audit_log /run/bed/before
ballast
# The log's last page may have room for a few.
for _ in {1..20}; do
	! shot >/run/bed/said 2>&1 || fail 'a screenshot is refused on a disk that fills'
	! grep -qE "$full" /run/bed/said || break
done
kept=$(refusals $a)
refused 'a full disk: refused, and the message says both' "$full" shot
refused 'and again' "$full" virsh screenshot a /run/bed/screen.ppm
refused 'input too' 'input.nmi: .*the audit log could not be written' virsh inject-nmi a
refused 'and no other VM starts' 'audit' virsh start c
check 'none of it is on record' test "$(refusals $a)" = "$kept"
check 'no picture was taken' test ! -s /run/bed/screen.ppm
check 'the VM runs on' domain_state a running
check 'what is allowed works' virsh suspend a
check '... all of it' virsh resume a
check 'a disk is attached' virsh attach-disk a "$images/a-hot.qcow2" vdx --driver qemu --subdriver qcow2 --live
check 'nothing that was recorded is lost' test "$(head -c "$(stat -c %s /run/bed/before)" $audit_log | sha256sum)" = \
	"$(sha256sum </run/bed/before)"

rm /var/log/shieldvm/ballast
all=$(refusals $a)
refused 'with room again it is refused as ever' 'console.screenshot: ' shot
check '... without another word' bash -c '! grep audit /run/bed/check'
check 'one record of it, and one of what is missing before it' test "$(refusals $a)" = $((all + 2))
check 'which says how many' bash -c \
	"tail -n 2 $audit_log | head -n 1 | grep '\"rule\":\"audit.unrecorded\".*\"request\":\"4 refusals'"
barred a $a console.screenshot shot
barred a $a input.nmi virsh inject-nmi a
check 'the audit log is whole' shieldvm audit verify
check 'show tells what is missing' bash -c 'shieldvm audit show | grep audit.unrecorded'

ballast
check 'on a full disk a VM ends' virsh destroy a
check 'nothing of it is left' until_true 10 no_vm_processes $a
rm /var/log/shieldvm/ballast
check 'with room it starts' virsh start a
check 'a is destroyed' virsh destroy a
check 'the audit log is whole' shieldvm audit verify
umount /var/log/shieldvm || umount -l /var/log/shieldvm
finish
