#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A shielded VM moves from one host to the other and back, sealed: nothing of it can be read on the wire,
# what it leaves behind does not start by accident, and who may not have it does not get it.  The guest
# has no system: firmware in 128 MiB, which is what moves.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_SECONDS=${BED_SECONDS:-600} ON_SECONDS=90 VIRSH_SECONDS=80
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

uuid=405705ed-0b1d-4a57-9d0e-3a1f5c2b7d01
canary=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')
state=/var/lib/shieldvm/$uuid

# shield_for HOST...: the VM, shielded for host a and those, is $shared/shielded.xml.
shield_for() {
	local keys=() host
	for host; do
		on "$host" shieldvm host show >"$shared/$host.pub"
		keys+=(--host "$shared/$host.pub")
	done
	on a shieldvm shield $shared/plain.xml --owner $shared/owner.jwk "${keys[@]}" -o $shared/shielded.xml
}

# moves FROM OPTION...: migrates the VM from there to the other host.
moves() {
	local from=$1 to
	shift
	to=$(other_host "$from")
	check "from $from to $to: ${*:-direct}" on "$from" virsh migrate --live "$@" shielded "$(far "$to")" \
		"tcp://host-$to"
	check "it runs on $to, and on $to only" runs_only_on "$to" shielded transient
	check 'its worker has its key, and no other has' only_worker_on "$to"
	check "the vTPM's state is on $to" on "$to" test -s $state/tpm2.state
	check "... and not marked as moved" on "$to" test ! -e $state/tpm2.state.moved
	check "what is left on $from is" on "$from" test -e $state/tpm2.state.moved
	check 'no port is left open' no_port_open
}

only_worker_on() {
	until_true 10 no_process_on "$(other_host "$1")" shieldvm-worker && on "$1" pgrep -x shieldvm-worker >/dev/null
}

# stays RULE-OR-WORDS COMMAND...: the migration is refused, libvirt says why, and the VM runs on.
stays() {
	local words=$1
	shift
	refused "$words" "$words" on a "$@"
	check 'it runs on a only' until_true 10 runs_only_on a shielded transient
	check 'no port is left open' no_port_open
}

hosts_up
on a shieldvm key new $shared/owner.jwk >/dev/null
domain_xml shielded $uuid | sed -e '/<disk /,/<\/disk>/d' -e 's/>512</>128</' \
	-e "s|<os\b|<sysinfo type='smbios'><system><entry name='serial'>$canary</entry></system></sysinfo>&|" \
	-e "s|</os>|<smbios mode='sysinfo'/>&|" >$shared/plain.xml
check 'a VM is shielded for both hosts' shield_for b
check 'it starts on a' on a virsh create $shared/shielded.xml

capture_begin
moves a --p2p
moves b --p2p
moves a
capture_end
# libvirtd sends the definition in clear; what counts is the rest.
find $captured -name '*:16509*' -delete
refused 'its canary is not on the wire' '^none of the texts' on_the_wire "$canary"
refused "nor are QEMU's words" '^none of the texts' on_the_wire pc.ram
check 'what is on the wire looks random' random_on_the_wire
moves b --p2p

on a virsh destroy shielded
check 'it starts where it is' on a virsh create $shared/shielded.xml
refused '... and not where it was' 'vtpm.moved: ' on b virsh create $shared/shielded.xml

through=(virsh migrate --live --p2p)
! several_channels b || stays 'migration.form: .*tcp://ADDRESS' "${through[@]}" --parallel shielded "$(far b)" tcp://host-b
stays "migration.form: libvirt's tunnel goes one way.*migrate without --tunnelled" "${through[@]}" --tunnelled \
	shielded "$(far b)"
check 'b has it on record' on b grep -q '"rule":"migration.form".*"request":"migrate-incoming"' /var/log/shieldvm/audit.jsonl
# What one needs no tunnel for: a port of a's that somebody (ssh -L) carries to b, past a firewall that
# lets nobody else through.
nsenter -t "${host_pid[a]}" -m -n -- python3 "$here/proxy.py" forward 49200 host-b:49200 </dev/null \
	>/run/bed/forward.out 2>&1 &
forward=$!
check 'a port of a leads to b' until_true 20 grep -q '^ready' /run/bed/forward.out
check 'it moves through that' on a "${through[@]}" shielded "$(far b)" tcp://localhost:49200
check 'it runs on b only' runs_only_on b shielded transient
check 'its memory came that way' grep -q '^connection 0 from' /run/bed/forward.out
kill -TERM $forward
moves b --p2p
for harm in '--cut-at 300000' '--cut-at 300000 --cut-how close' '--flip-at 300000' '--flip-at 10'; do
	# shellcheck disable=SC2086 # several words
	proxy_begin 49200 host-b $harm
	stays 'error: ' "${through[@]}" shielded "$(far b)" tcp://wire:49200
	proxy_end
done

# abandoned WHAT COMMAND...: while it moves, slowly, the command does harm; the VM stays.
abandoned() {
	local what=$1 slow
	shift
	proxy_begin 49200 host-b --rate 1000000
	on a "${through[@]}" shielded "$(far b)" tcp://wire:49200 >/run/bed/slow 2>&1 &
	slow=$!
	check "$what: it is under way" until_true 20 grep -q '^connection' /run/bed/proxy.out
	sleep 1
	check "$what" "$@"
	refused '... and libvirt notices' 'error: ' bash -c "tail -f --pid=$slow /dev/null; cat /run/bed/slow; exit 1"
	check 'it runs on a only' until_true 20 runs_only_on a shielded transient
	check 'there is one worker' until_true 10 only_worker_on a
	proxy_end
}
abandoned 'it is given up' on a virsh domjobabort shielded
abandoned 'the worker there is killed' on b pkill -KILL -x shieldvm-worker
abandoned 'QEMU there is killed' on b pkill -KILL -f guest=shielded,
cut_link() {
	kill -USR1 "$proxy_pid"
}
abandoned 'the link is cut' cut_link

moves a --p2p
on b virsh destroy shielded

# --- who may not have it --------------------------------------------------------------------------

sed -i "s/$uuid/${uuid%01}02/; s|<name>shielded|<name>own|" $shared/plain.xml
check 'another VM is shielded for a alone' shield_for
check 'it starts on a' on a virsh create $shared/shielded.xml
refused 'it may not move to b' 'protector.recipient: ' on a "${through[@]}" own "$(far b)" tcp://host-b
check 'it runs on a only' runs_only_on a own transient
on a virsh destroy own

hosts_end
