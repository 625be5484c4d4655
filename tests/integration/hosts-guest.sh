#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest with a system, a volume whose key its vTPM has sealed, and canaries wherever it can keep one migrates
# from one host to the other and back, in each form: it counts over its network card meanwhile and no number is
# lost, it goes on with all that it had, and none of that is seen on the wire.  Next to it an unshielded twin,
# of which it is seen: the checks can fail.  One boot of each.
set -eu -o pipefail
# The hosts' guests report to one place.
export GUEST_REPORTS=/srv/shared/guest
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_USERFAULTFD=1 BED_SECONDS=${BED_SECONDS:-900} ON_SECONDS=90 VIRSH_SECONDS=80
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"
# shellcheck source-path=SCRIPTDIR source=state.sh
. "$here/state.sh"

images=$shared/images # both hosts have the disks
ticks_port=7008
own_ports="$guest_port $own_ports"
tick_ms=50
calm=40 # so many ticks come before anything is done

# hears HOST: the guests' reports and their ticks come to whichever host they are on; and libvirt there tells
# when they begin and end to run.
hears() {
	on "$1" guest_listen
	on "$1" bash -c "stdbuf -oL virsh -c qemu:///system event --event lifecycle --loop --timestamp \
		</dev/null >$shared/events.$1 2>&1 &"
	# The twin has the next port.
	for name in vm twin; do
		on "$1" bash -c "python3 '$here/ticks.py' listen $(tick_port $name) $shared/ticks.$name.$1 \
			</dev/null >/run/bed/ticks.$name 2>&1 &"
		until_true 10 test -e "$shared/ticks.$name.$1" || fail "host $1 hears the ticks"
	done
}

tick_port() {
	[ "$1" = vm ] && echo $ticks_port || echo $((ticks_port + 1))
}

# starts NAME: on host a, with disks that both hosts have.
starts() {
	local name=$1 tpm="<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
	domain_disks "$name"
	[ "$name" = twin ] || tpm=
	domain_xml "$name" "$(state_uuid "$name")" "$tpm" | sed 's/>512</>256</' >"$shared/$name.xml"
	if [ "$name" = vm ]; then
		mv $shared/vm.xml $shared/plain.xml
		check 'a VM is shielded for both hosts' on a shieldvm shield $shared/plain.xml \
			--owner $shared/owner.jwk --host $shared/b.pub -o $shared/vm.xml
	fi
	check "$name starts on a" on a virsh create "$shared/$name.xml"
}

# counts NAME: its guest begins to.
counts() {
	check "$1: it counts over its network card" guest_script "$1" <<-GUEST
		tick 10.0.2.2 $(tick_port "$1") $tick_ms >/dev/null 2>&1 &
	GUEST
	check "$1: its numbers come" until_true 10 counted_past "$1" a 20
}

# in_two_parts NAME: its agent obeys a command of which the rest comes after it has said that it still waits.
in_two_parts() {
	local uuid command
	uuid=$(state_uuid "$1")
	command=$GUEST_REPORTS/$uuid/command
	printf 'pi' | timeout 30 tee "$command" >/dev/null
	guest_seen[$uuid]=$(wc -l <"$(guest_log "$uuid")")
	guest_wait "$uuid" tick 10 && guest_wait "$uuid" tick 10 || return 1
	printf 'ng\n' | timeout 30 tee "$command" >/dev/null
	guest_wait "$uuid" pong 10
}

last_tick() {
	python3 "$here/ticks.py" last "$shared/ticks.$1.a" "$shared/ticks.$1.b"
}

counted_past() {
	[ "$(python3 "$here/ticks.py" last "$shared/ticks.$1.$2")" -gt "$3" ]
}

# event HOST NAME WHAT: when it last happened there, in milliseconds.
event() {
	local when
	when=$(grep "'$2': $3" "$shared/events.$1" | tail -n 1 | sed 's/: event .*//')
	[ -n "$when" ] && date -d "$when" +%s%3N
}

# downtime FROM NAME: from its guest's stop there to its going on on the other host.
downtime() {
	local stop go
	stop=$(event "$1" "$2" Suspended) && go=$(event "$(other_host "$1")" "$2" Resumed) || return 1
	[ "$go" -ge "$stop" ] && echo $((go - stop))
}

# unlocks: the vTPM unseals the key of the VM's volume, which is the key.
unlocks() {
	guest_script vm <<-'GUEST'
		set -e
		mkdir -p /run/again
		cd /run/again
		cryptsetup token export --token-id 0 /dev/vdb >token
		for word in pub priv; do
			sed -n "s/.*\"$word\":\"\([^\"]*\)\".*/\1/p" token | base64 -d >$word
		done
		tpm2 createprimary -Q -C o -G ecc -c srk -a \
			'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt'
		tpm2 load -Q -C srk -u pub -r priv -c sealed
		tpm2 unseal -Q -c sealed -p pcr:sha256:7 -o key
		cryptsetup open --test-passphrase --key-file key /dev/vdb
		rm -r /run/again
	GUEST
}

under_way() {
	on "$1" virsh domjobinfo "$2" | grep -q '^Memory processed: *[1-9]'
}

# migrates FROM NAME OPTION...; in post-copy it is there before most of its memory is.
migrates() {
	local from=$1 name=$2 to moving
	shift 2
	to=$(other_host "$from")
	on "$from" virsh migrate --live --unsafe "$@" "$name" "$(far "$to")" "tcp://${host_address[$to]}" &
	moving=$!
	if [[ " $* " = *' --postcopy '* ]]; then
		until_true 20 under_way "$from" "$name"
		on "$from" virsh migrate-postcopy "$name"
	fi
	wait $moving
}

# moves NAME FROM OPTION...
moves() {
	# In a QEMU that has just begun the code of the guest is translated anew; in post-copy the guest waits for
	# its memory, too.
	local name=$1 from=$2 slack=1000 to first down
	shift 2
	to=$(other_host "$from")
	[[ " $* " != *' --postcopy '* ]] || slack=3000
	first=$(($(last_tick "$name") + 1))
	until_true 10 counted_past "$name" "$from" $((first + calm)) || fail "$name: it counts on $from"
	check "$name: from $from to $to: ${*:-direct}" migrates "$from" "$name" "$@"
	check "it runs on $to, and on $to only" runs_only_on "$to" "$name" transient
	check 'it counts on' until_true 20 counted_past "$name" "$to" $((first + calm))
	until_true 10 downtime "$from" "$name" || fail 'libvirt tells when it stopped, and when it went on'
	down=$(downtime "$from" "$name")
	until_true 20 counted_past "$name" "$to" "$(($(last_tick "$name") + 2000 / tick_ms))" ||
		fail "$name: it counts on $to"
	check "no number is lost, and none late but for the downtime ($down ms)" python3 "$here/ticks.py" judge \
		$first $calm "$down" $slack "$shared/ticks.$name.$from" "$shared/ticks.$name.$to"
	sed 's/^/# /' "$checked"
	state_goes_on "$name"
	[ "$name" = twin ] || check 'its vTPM unseals the key of its volume' unlocks
}

hosts_up
mkdir -p $images
on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
for host in $hosts; do
	hears "$host"
done
for name in vm twin; do
	starts $name
done
for name in vm twin; do
	state_plant $name
	counts $name
done
check 'a command may come in two parts' in_two_parts vm

capture_begin
moves twin a
capture_end
on b virsh destroy twin
for kind in $state_kinds; do
	canary twin "$kind"
done >/run/bed/canaries.twin
mapfile -t canaries </run/bed/canaries.twin
check "the twin's canaries are on the wire" on_the_wire "${canaries[@]}"
for word in pc.ram tpm-emulator; do
	check "... and QEMU's word $word" on_the_wire $word
done
refused 'not all of it looks random' 'low entropy' random_on_the_wire

capture_begin
moves vm a
moves vm b --p2p
if [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 1 ]; then
	moves vm a --p2p --postcopy --bandwidth 20 --postcopy-bandwidth 64
	check 'it ran before all of it was there' on b grep -qF "all of the VM's memory has come" /var/log/shieldvm/audit.jsonl
else
	[ "${MUST_WORK:-}" != 1 ] || fail 'the machine lets unprivileged processes use userfaultfd(2)'
	moves vm a
fi
moves vm b --p2p --parallel --parallel-connections 4
capture_end
find $captured -name '*:16509*' -delete
for kind in $state_kinds; do
	canary vm "$kind"
done >/run/bed/canaries.vm
mapfile -t canaries </run/bed/canaries.vm
refused 'no canary of its is on the wire' '^none of the texts' on_the_wire "${canaries[@]}"
refused "nor are QEMU's words" '^none of the texts' on_the_wire pc.ram tpm-emulator
check 'what is on the wire looks random' random_on_the_wire

on a virsh destroy vm
hosts_end
