#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# VMs whose keys a guardian has: two hosts with software TPMs, a guardian on the wire between them, and libvirt.  A
# healthy host starts the VM and hands it to the other; a tampered, a revoked and a second host do not get it; a state
# that was set back starts only with its owner's ticket; without any guardian a VM that runs goes on.
# The guest has no system: firmware in 128 MiB.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=guardian-lib.sh
. "$(dirname "$0")/guardian-lib.sh"
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_SECONDS=${BED_SECONDS:-900} ON_SECONDS=120 VIRSH_SECONDS=110
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"
# shellcheck source-path=SCRIPTDIR source=hosts-guardian-lib.sh
. "$here/hosts-guardian-lib.sh"

uuid=405705ed-0b1d-4a57-9d0e-3a1f5c2b7d21
state=/var/lib/shieldvm/$uuid
lease=/var/lib/shieldvm/leases/$uuid.json

# starts HOST; refuses HOST REGEX: the VM.
starts() {
	check "it starts on $1${2:+: $2}" on "$1" virsh create $shared/shielded.xml
}
refuses() {
	refused "$1 does not get it: $2" "$2" on "$1" virsh create $shared/shielded.xml
	check '... and nothing of it is left there' until_true 10 no_process_on "$1" 'guest=shielded,'
}
stops() {
	check "it stops on $1" on "$1" virsh destroy shielded
	check "the guardian is told" until_true 30 on "$1" test ! -e $lease
}
# logged EVENT N: the VM's release log has that event so often, and is whole.
logged() {
	check "the release log has $1, $2 in all" has_logged "$1" "$2"
}
has_logged() {
	vm_log | tee /dev/stderr | grep -cw "$1" | grep -x "$2"
}

hosts_up
guardian_up
for host in a b; do
	host_enrolled "$host"
done
policy_from a
guarded_vm shielded $uuid $shared/shielded.xml
for host in a b; do
	attestd_up "$host"
done

# --- a start, and who else wants it ---------------------------------------------------------------

starts a
logged release 1
check 'its owner reads the same log' owner_log "$work/owner.jwk"
refused 'nobody else does' 'owner\.unknown' owner_log "$work/admin.jwk"
check 'a has it on record' on a grep -q '"event":"key-use","rule":"guardian.release"' /var/log/shieldvm/audit.jsonl
check 'a has its lease' on a grep -q '"state":"held"' $lease
check '... and lists it' on a eval "shieldvm host leases --json | jq -e '.[0].vm == \"$uuid\" and .[0].state == \"held\"'"
refuses b 'lease\.held: '
check 'b has it on record' on b grep -q '"event":"refused","rule":"lease.held"' /var/log/shieldvm/audit.jsonl

thumbprint=$(shieldvm key show "$work/owner.jwk.pub" 2>&1 >/dev/null | grep -oE '[A-Za-z0-9_-]{43}')
refused 'an admin cannot take the lease back while it is good' 'lease\.running' admin lease takeback $uuid "$thumbprint"
shieldvm key ticket --owner "$work/owner.jwk" --takeback 1 $uuid >"$work/takeback"
refused 'nor can its owner' 'lease\.running' admin lease takeback-for-owner $uuid "$work/owner.jwk.pub" "$work/takeback"

# --- to the other host and back -------------------------------------------------------------------

moves() {
	local from=$1 to
	to=$(other_host "$from")
	check "it moves from $from to $to" on "$from" virsh migrate --live --p2p shielded "$(far "$to")" "tcp://host-$to"
	check "it runs on $to, and on $to only" runs_only_on "$to" shielded transient
	check "$to takes its lease over" until_true 30 on "$to" grep -q '"state":"held"' $lease
	check "$from forgets it" until_true 30 on "$from" test ! -e $lease
}
moves a
logged handover 1
moves b
logged handover 2
moves a
stops b
logged stop 1
refuses a 'vtpm\.moved: '

# --- a host that was tampered with ----------------------------------------------------------------

boot b other-loader
refuses b 'baseline\.match'
check 'b has it on record, with what was found' on b grep -q '"rule":"host.unhealthy".*"reason":"[^"]*baseline\.match' \
	/var/log/shieldvm/audit.jsonl
boot b
check 'a copy of the state is put by' on b cp -a $state $shared/older
starts b 'in order again'
check "the guest's firmware changes its vTPM" until_true 60 on b bash -c "! cmp -s $state/tpm2.state $shared/older/tpm2.state"

# --- a state that is set back while the guardian is asked -----------------------------------------

stops b
mapfile -t guardian_parts < <(pgrep -P "$guardian_pid")
kill -STOP "${guardian_parts[@]}"
on b virsh create $shared/shielded.xml >"$work/started" 2>&1 &
starting=$!
started_so() {
	local status=0
	wait "$starting" || status=$?
	cat "$work/started"
	return "$status"
}
check 'the key is asked for' until_true 20 on b pgrep -x shieldvm-ask
check 'meanwhile the state is set back' on b cp -a $shared/older/. $state/
kill -CONT "${guardian_parts[@]}"
refused 'what took its place is not taken' 'vtpm\.older: .* replaced by an older one' started_so
check '... and nothing of it is left there' until_true 10 no_process_on b 'guest=shielded,'
check '... nor its lease' until_true 30 on b test ! -e $lease

# --- a state that was set back --------------------------------------------------------------------

on b cp -a $shared/older/. $state/
refuses b 'vm\.version: '

# --- a host that is revoked -----------------------------------------------------------------------

ticket_for b $uuid 0
starts b "with its owner's ticket"
logged restore 1

# --- an older saved state -------------------------------------------------------------------------

# restores_not TITLE VERSION: from what was saved, whose vTPM's state has that version.
restores_not() {
	on b truncate -s 0 /var/log/shieldvm/$uuid.log
	check "$1" on b bash -c "! virsh restore $shared/saved"
	check '... as its vTPM is older' on b grep "vtpm\.older: .* of version $2, " /var/log/shieldvm/$uuid.log
	check '... and nothing of it is left there' until_true 10 no_process_on b 'guest=shielded,'
	check '... nor its lease' until_true 30 on b test ! -e $lease
}
check 'it is saved' on b virsh save shielded $shared/saved
check 'the guardian is told' until_true 30 on b test ! -e $lease
saved=$(state_version b $uuid)
check 'what was saved last is restored' on b virsh restore $shared/saved
stops b
restores_not 'what is older by then is not' "$saved"
ticket_for b $uuid 1 $((saved - 1))
restores_not "nor with the owner's ticket for another version" "$saved"
logged restore 2
ticket_for b $uuid 2 "$saved"
latest=$(state_version b $uuid)
check "with the owner's ticket it is" on b virsh restore $shared/saved
logged restore 3
check '... and runs' runs_on b shielded
check '... under versions higher than all before' test "$(state_version b $uuid)" -gt "$latest"
stops b
restores_not 'but once' "$saved"

starts b 'as before'
admin host revoke "$(host_id b)" >/dev/null
check 'a VM that runs on a revoked host goes on' runs_on b shielded
stops b
refuses b 'host\.revoked'

# --- a protector that its owner has replaced ------------------------------------------------------

guarded_vm other "${uuid%21}22" $shared/other.xml
check 'hosts without a TPM would do for its owner' on a shieldvm key rewrap $shared/other.xml --owner "$work/owner.jwk" \
	--assurance hostkey -o $shared/weak.xml
check '... and would not' on a shieldvm key rewrap $shared/weak.xml --owner "$work/owner.jwk" --assurance tpm \
	-o $shared/other.xml
check 'another VM starts on a' on a virsh create $shared/other.xml
on a virsh destroy other
refused 'by the protector of before it does not' 'protector\.older: ' on a virsh create $shared/weak.xml
check 'a has it on record' on a grep -q '"event":"refused","rule":"protector.older"' /var/log/shieldvm/audit.jsonl

# --- without a guardian ---------------------------------------------------------------------------

check 'by the newest it does' on a virsh create $shared/other.xml
guardian_down
sleep 3
check 'without a guardian it goes on' on a eval '[ "$(virsh domstate other)" = running ]'
on a virsh destroy other
refused 'without a guardian it does not start' 'guardian\.unreachable: ' on a virsh create $shared/other.xml
guardian_back
check 'with the guardian it does' on a virsh create $shared/other.xml
on a virsh destroy other

for host in a b; do
	check "$host's daemon ends when it is told" attestd_down "$host"
done
stop_all
guardian_down
hosts_end
