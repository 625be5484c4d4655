#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Whatever becomes of the libvirtds, a VM that migrates runs on one host and never on both: the two workers agree
# on it.  The wire is so slow here that there is time to harm somebody between their words.  The guest has no
# system: firmware in 64 MiB.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_SECONDS=${BED_SECONDS:-500} ON_SECONDS=90 VIRSH_SECONDS=80
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

uuid=a93ee001-0b1d-4a57-9d0e-3a1f5c2b7d04
state=/var/lib/shieldvm/$uuid
late_ms=1500

# records HOST TEXT: how often its audit log says so.
records() {
	grep -cF "$2" "/proc/${host_pid[$1]}/root/var/log/shieldvm/audit.jsonl" || true
}

# said HOST TEXT TIMES
said() {
	[ "$(records "$1" "$2")" -gt "$3" ]
}

# libvirtd_dies HOST
libvirtd_dies() {
	on "$1" pkill -KILL -x libvirtd
	until_true 20 libvirtd_ended "$1"
}

state_of() {
	on "$1" virsh domstate vm 2>/dev/null || echo none
}

is() {
	[ "$(state_of "$1")" = "$2" ]
}

marked() {
	on "$1" test -e $state/tpm2.state.moved
}

# leaves: the VM is on its way from a to b, slowly.
leaves() {
	proxy_begin 49200 host-b --delay-ms $late_ms --way both
	on a virsh migrate --live --p2p vm "$(far b)" tcp://wire:49200 >/run/bed/moving 2>&1 &
	moving=$!
}

hosts_up
on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
domain_xml vm $uuid | sed -e '/<disk /,/<\/disk>/d' -e 's/>512</>64</' >$shared/plain.xml
check 'a VM is shielded for both hosts' on a shieldvm shield $shared/plain.xml --owner $shared/owner.jwk \
	--host $shared/b.pub -o $shared/vm.xml
check 'it starts on a' on a virsh create $shared/vm.xml

# The destination's libvirtd dies when it has had the VM run there, and before that has come about: the source's
# has it run again.
given="the VM is the other host's, which runs it"
leaves
check 'a gives the VM away' until_true 90 said a "$given" 0
libvirtd_dies b
check 'it is marked as moved on a' marked a
refused 'virsh fails on a' 'error: ' bash -c "tail -f --pid=$moving /dev/null; cat /run/bed/moving; exit 1"
proxy_end
check "b's worker had it run all the same" until_true 10 said b "the VM is this host's" 0
libvirtd_back b
check 'it runs on b' until_true 20 is b running
check '... and is not marked there' bash -c "! nsenter -t ${host_pid[b]} -m test -e $state/tpm2.state.moved"
check 'it is paused on a' until_true 20 is a paused
check "a's libvirtd has tried to run it" grep -q 'migration.moved: the VM runs on the host that it was migrated to' \
	"/proc/${host_pid[a]}/root/var/log/libvirt/libvirtd.log"
refused 'it cannot be run on a' 'migration.moved: the VM runs on the host' on a virsh resume vm
check 'it is on record' said a 'migration.moved' 1
on a virsh destroy vm
check 'it runs on b only' until_true 10 runs_only_on b vm transient
refused 'it does not start on a' 'vtpm.moved: ' on a virsh create $shared/vm.xml

# It moves back; and is to come to b paused: then it is b's when libvirt has ended it on a.
check 'it moves back' on b virsh migrate --live --p2p vm "$(far a)" tcp://host-a
check 'it moves, and stays paused' on a virsh migrate --live --p2p --suspend vm "$(far b)" tcp://host-b
check 'it is paused on b' is b paused
check '... and not marked as moved' until_true 10 bash -c "! nsenter -t ${host_pid[b]} -m test -e $state/tpm2.state.moved"
check 'what is left on a is' marked a
check 'it runs on b later' on b virsh resume vm
check 'it runs on b only' runs_only_on b vm transient
check 'it moves back' on b virsh migrate --live --p2p vm "$(far a)" tcp://host-a

# The link breaks before b has asked: it cannot know whether a runs the VM.
leaves
check 'all of it is on b' until_true 90 said b 'the VM has come from another host' 2
kill -KILL "$proxy_pid"
wait "$proxy_pid" 2>/dev/null || true
refused 'virsh fails on a' 'migration.moved: the connection to the host that the VM came from ended' \
	bash -c "tail -f --pid=$moving /dev/null; cat /run/bed/moving; exit 1"
check 'it runs on a only' until_true 20 runs_only_on a vm transient
check '... and is not marked there' bash -c "! nsenter -t ${host_pid[a]} -m test -e $state/tpm2.state.moved"
check 'what is left on b is' marked b
refused 'it does not start on b' 'vtpm.moved: ' on b virsh create $shared/vm.xml
on a virsh destroy vm
hosts_end
