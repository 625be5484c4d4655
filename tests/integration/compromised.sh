#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A worker and a broker that were taken over the moment they were sealed (tests/compromised): every
# way out of compromised_table.py, tried for real, while another VM's worker runs.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=c0345011-0b1d-4a57-9d0e-3a1f5c2b7d01
other=c0345011-0b1d-4a57-9d0e-3a1f5c2b7d02
work=/run/bed
export PYTHONDONTWRITEBYTECODE=1

hook() { timeout 60 /usr/sbin/shieldvm-hook any "$1" begin - <"$2" 2>&1 | timeout 60 cat; }
# taken_over WHO: from now on the hook starts a worker of which WHO is the attacker's
taken_over() {
	cp "$BED_BUILD/tests/compromised/compromised-$1" /usr/sbin/shieldvm-worker.new
	mv /usr/sbin/shieldvm-worker.new /usr/sbin/shieldvm-worker
}
attempts() {
	timeout 400 /usr/bin/python3 "$here/compromised.py" "$@" >$work/attempts 2>&1 || {
		grep -v '^ok ' $work/attempts
		return 1
	}
}
# What nobody may have changed: the other VM's files, and those of the host that an attempt named.
sum() { sha256sum /var/lib/shieldvm/$other/* /var/lib/shieldvm/registry/$other.json /etc/passwd /etc/group; }

cp /usr/sbin/shieldvm-worker $work/genuine
shieldvm_ready
for id in $uuid $other; do
	domain_xml "vm-$id" $id >$work/plain.xml
	check 'a domain is shielded' shieldvm shield $work/plain.xml --owner $owner_key -o $work/$id.xml
	check 'it starts' hook prepare $work/$id.xml
done
check 'one of them ends' hook release $work/$uuid.xml
sum >$work/before
ls -l /proc/"$(worker_pid $other)"/fd | wc -l >$work/fds

taken_over worker
check 'a taken-over worker gets from its broker nothing but records in its own name' attempts link $uuid
sed 's/^/# /' $work/attempts
check 'the audit log is whole' shieldvm audit verify
taken_over broker
check 'a taken-over broker does not upset its worker' attempts order $uuid
sed 's/^/# /' $work/attempts
for who in worker broker; do
	taken_over $who
	if [ $who = broker ]; then
		check 'the audit log is whole' shieldvm audit verify
	fi
	check "a taken-over $who gets nowhere" attempts $who $uuid $other
	sed 's/^/# /' $work/attempts
	check 'nothing of the other VM or the host has changed' diff <(sum) $work/before
	check 'the other VM runs' shieldvm status $other
	check '... with what it held' test "$(ls -l /proc/"$(worker_pid $other)"/fd | wc -l)" = "$(cat $work/fds)"
done
check 'the audit log is whole' shieldvm audit verify
check '... but for what the broker appended, which is on record' bash -c \
	"shieldvm audit verify | grep -q 'on record as audit.torn'"
finish
