#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# virsh restore of files that are not what a worker wrote for this VM, and saves that fail: refused with the
# reason, the VM not resumed, its TPM and the file as they were, once on record; and afterwards the
# file as it was written restores. No guest has to boot for this: the VM is saved as its firmware starts.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

a=57a7ebad-0b1d-4a57-9d0e-3a1f5c2b7d01
b=57a7ebad-0b1d-4a57-9d0e-3a1f5c2b7d02
export VIRSH_SECONDS=60
seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
printf '# seed %s\n' "$seed"

small_domain() {
	domain_disks "$1"
	domain_xml "$1" "$2" | sed "s|<memory unit='MiB'>512<|<memory unit='MiB'>96<|" >"/run/bed/$1.plain.xml"
	check "$1 is shielded at ${3:-shielded}" shieldvm shield "/run/bed/$1.plain.xml" \
		--owner "$owner_key" --level "${3:-shielded}" -o "/run/bed/$1.xml"
	check "$1 is defined" virsh define "/run/bed/$1.xml"
}

# on_record EVENT RULE: how many such records there are of a.
on_record() {
	shieldvm audit show --vm "$a" --json |
		jq -c --arg event "$1" --arg rule "$2" 'select(.event == $event and .rule == $rule and .channel == "monitor")' | wc -l
}

tpm_sum() {
	find "$(state_folder $a)" "/var/lib/shieldvm/registry/$a.json" -type f -print0 | sort -z | xargs -0 sha256sum
}

# same_tpm SUM: what tpm_sum said earlier.
same_tpm() {
	diff <(echo "$1") <(tpm_sum) >/run/bed/check || { sed 's/^/# /' /run/bed/check; fail 'its TPM is as it was'; }
}

# not_restored FILE REGEX [OPTION...]: virsh restore of the file fails for this reason.
not_restored() {
	local file=$1 regex=$2 sum tpm before
	shift 2
	sum=$(sha256sum <"$file")
	tpm=$(tpm_sum)
	before=$(on_record refused state.auth)
	refused "${file##*/}" "shieldvm: state.auth: .*($regex)" virsh restore "$file" "$@"
	domain_state a 'shut off' || fail 'the VM is shut off'
	until_true 10 no_vm_processes $a || fail 'nothing of it is left'
	[ "$(sha256sum <"$file")" = "$sum" ] || fail 'the file is as it was'
	same_tpm "$tpm"
	[ "$(on_record refused state.auth)" = $((before + 1)) ] || fail 'it is on record once'
}

save() {
	check "$1 starts" virsh start "$1" --paused
	check "$1 is saved" virsh save "$1" "$2"
}

# raw JSON: one command to a's monitor; fails if it is answered with an error.
raw() {
	local answer
	answer=$(virsh qemu-monitor-command a "$1")
	printf '%s\n' "$answer"
	! grep -q '"error"' <<<"$answer"
}

shieldvm_ready
libvirtd_start
small_domain a $a
small_domain b $b
saved=/var/lib/libvirt/images/saved
mkdir -m 711 $saved
# Two saves of a and one of b, each of a TPM that exists already.
check 'a starts' virsh start a --paused
check 'a is destroyed' virsh destroy a
save a $saved/a
save a $saved/a-again
save b $saved/b
check 'the file has many records' test "$(python3 "$here/sealed.py" map $saved/a | wc -l)" -ge 8

# --- files that are not what was written ----------------------------------------------------------
mkdir -m 711 $saved/bad
python3 "$here/sealed.py" damage $saved/a $saved/a-again $saved/b "$seed" $saved/bad
n=0
for file in "$saved"/bad/*; do
	not_restored "$file" .
	rm "$file"
	n=$((n + 1))
done
check "all $n were refused" test "$n" -ge 35

# --- another level, by the owner's order ----------------------------------------------------------
# No command gives a VM another level and leaves it its key and its TPM, so that nothing but the level
# differs. The file brings its own domain, of its own level; libvirt is told to take the new one.
virsh dumpxml a --inactive >/run/bed/shielded.xml
other_level() {
	"$BED_BUILD/tests/integration/state-make" level /run/bed/shielded.xml "$owner_key" \
		encryption-supported >/run/bed/level.xml
}
check 'the owner signs another level' other_level
not_restored $saved/a 'for another vTPM or level' --xml /run/bed/level.xml
check 'it is defined' virsh define /run/bed/level.xml
save a $saved/a-level
not_restored $saved/a-level 'for another vTPM or level' --xml /run/bed/shielded.xml
check 'at its own level it restores' virsh restore $saved/a-level --paused
check 'it is destroyed' virsh destroy a
check 'nothing of it is left' until_true 10 no_vm_processes $a
check 'it is defined as before' virsh define /run/bed/shielded.xml

# --- the file as it was written -------------------------------------------------------------------
for file in a a-again; do
	check "$file restores" virsh restore $saved/$file --paused
	check 'it is paused' domain_state a paused
	check 'it is destroyed' virsh destroy a
	check 'nothing of it is left' until_true 10 no_vm_processes $a
done

# --- a monitor client that does not wait for the state --------------------------------------------
# A file that stops in its middle, and a libvirtd that is killed while it waits: its place is free.
mkfifo $saved/slow
restores=$(on_record restore '')
half=$(($(stat -c %s $saved/a) / 2))
(exec >$saved/slow; head -c $half $saved/a; sleep 60) &
feeder=$!
(virsh restore $saved/slow >/run/bed/slow 2>&1 || true) &
monitor() { find /var/lib/libvirt/qemu/domain-*-a -name monitor.sock 2>/dev/null; }
waits() { [ -S "$(monitor)" ] && [ "$(on_record restore '')" -gt "$restores" ]; }
check 'a restore waits in the middle of its file' until_true 20 waits
sleep 2
tpm=$(tpm_sum)
kill -KILL "$libvirtd_pid"
wait "$libvirtd_pid" 2>/dev/null || true
check 'what is sent by hand meanwhile is refused' /usr/bin/python3 "$here/sealed.py" hurry \
	"$(monitor)"
check "and is on record" test "$(on_record refused state.unverified)" = 1
kill $feeder
rm -f /run/libvirtd.pid
libvirtd_start
check 'with libvirtd back the VM is off' until_true 30 domain_state a 'shut off'
check 'nothing of it is left' until_true 10 no_vm_processes $a
check 'its TPM is as it was' test "$(tpm_sum)" = "$tpm"

# --- what is not a file of libvirt's --------------------------------------------------------------
check 'a starts' virsh start a
while read -r rule json; do
	refused "$rule: $json" "shieldvm: $rule: " raw "$json"
done <<-'TABLE'
	migration.unsealed {"execute":"migrate","arguments":{"uri":"fd:nobody"}}
	migration.form {"execute":"migrate","arguments":{"uri":"tcp:127.0.0.1:4444"}}
	state.save {"execute":"migrate","arguments":{"uri":"exec:cat >/tmp/state"}}
	migration.unsealed {"execute":"migrate-incoming","arguments":{"uri":"fd:3"}}
	migration.unsealed {"execute":"migrate-incoming","arguments":{"uri":"tcp:127.0.0.1:4444"}}
	migration.unsealed {"execute":"migrate-incoming","arguments":{"uri":"exec:cat /tmp/state"}}
	memory.dump {"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"file:/tmp/dump"}}
	memory.dump {"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"fd:nobody"}}
TABLE
check 'a runs on' domain_state a running

# --- a full disk ----------------------------------------------------------------------------------
mkdir $saved/small
mount -t tmpfs -o size=2M small $saved/small
refused 'a save to a disk that is full' . virsh save a $saved/small/a
check 'a runs on' until_true 10 domain_state a running
check 'no file is left' test ! -s $saved/small/a
refused 'a dump to it' . virsh dump a $saved/small/a
check 'a runs on' until_true 10 domain_state a running
rm -f $saved/small/a
check 'with room it is saved' virsh save a $saved/room
check 'and restored' virsh restore $saved/room
check 'it runs' domain_state a running
check 'it is destroyed' virsh destroy a
check 'nothing of it is left' until_true 10 no_vm_processes $a

# --- another TPM, by the owner's order ------------------------------------------------------------
virsh dumpxml a --inactive >/run/bed/defined.xml
check 'the owner orders a new TPM' shieldvm key rewrap /run/bed/defined.xml --owner "$owner_key" \
	--new-tpm -o /run/bed/new.xml
refused 'the state of the old one does not come with the new one' 'shieldvm: state.auth: .*key' \
	virsh restore $saved/a --xml /run/bed/new.xml
check 'it is defined' virsh define /run/bed/new.xml
check 'a starts with it' virsh start a --paused
check 'it is destroyed' virsh destroy a
check 'nothing of it is left' until_true 10 no_vm_processes $a
refused 'nor with the old protector' 'replaced' virsh restore $saved/a
check 'a is off' domain_state a 'shut off'
check 'nothing of it is left' until_true 10 no_vm_processes $a
check 'the audit log is whole' shieldvm audit verify
finish
