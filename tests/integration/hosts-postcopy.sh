#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A shielded VM moves from one host to the other in post-copy: it runs there before all of it is there, and
# on one host only.  When the link breaks meanwhile it waits, and goes on over another one.  The guest has no
# system: firmware in 128 MiB, whose clock ticks.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_USERFAULTFD=1 BED_SECONDS=${BED_SECONDS:-600} ON_SECONDS=90 VIRSH_SECONDS=80
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

uuid=405705ed-0b1d-4a57-9d0e-3a1f5c2b7d05
canary=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')
state=/var/lib/shieldvm/$uuid

# lives HOST: its guest's memory changes.
lives() {
	on "$1" python3 -c 'import re, subprocess, sys, time
pid = subprocess.check_output(["pgrep", "-f", "guest=shielded,"], text=True).split()[0]
sizes = [(int(b, 16) - int(a, 16), int(a, 16)) for a, b in
         re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", open(f"/proc/{pid}/maps").read(), re.M)]
size, at = max(s for s in sizes if s[0] <= 128 << 20)
def look():
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(at)
        return hash(memory.read(size))
first = look()
for _ in range(10):
    time.sleep(1)
    if look() != first:
        sys.exit(0)
sys.exit("not a byte changes")'
}

on_record() {
	on "$1" grep -F "$uuid" /var/log/shieldvm/audit.jsonl | grep -qF "$2"
}

# begins FROM [URI [OPTION...]]: it begins to move, slowly; the migration's process is $moving.
begins() {
	local from=$1 to
	to=$(other_host "$from")
	on "$from" virsh migrate --live --p2p --postcopy --bandwidth 1 "${@:3}" shielded "$(far "$to")" \
		"${2:-tcp://${host_address[$to]}}" >/run/bed/moving 2>&1 &
	moving=$!
	check 'it is under way' until_true 20 under_way "$from"
}

under_way() {
	on "$1" virsh domjobinfo shielded | grep -q '^Memory processed: *[1-9]'
}

# moves FROM: in post-copy, to its end.
moves() {
	local from=$1 to
	to=$(other_host "$from")
	# So slowly that it runs there before all of it has come.
	begins "$from" '' --postcopy-bandwidth 8
	check "from $from to $to in post-copy" on "$from" virsh migrate-postcopy shielded
	wait "$moving" || fail "it ends well: $(cat /run/bed/moving)"
	check "it runs on $to, and on $to only" runs_only_on "$to" shielded transient
	check 'its guest goes on' lives "$to"
	check 'it ran before all of it was there' on_record "$to" "all of the VM's memory has come"
	check "the vTPM's state is there" on "$to" test -s $state/tpm2.state
	check '... and not marked as moved' on "$to" test ! -e $state/tpm2.state.moved
	check "what is left on $from is" on "$from" test -e $state/tpm2.state.moved
	check 'no port is left open' no_port_open
}

# broken HOST WORDS: its libvirt says that post-copy has failed.
broken() {
	on "$1" virsh domstate --reason shielded | grep -q "$2"
}

hosts_up
on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
domain_xml shielded $uuid | sed -e '/<disk /,/<\/disk>/d' -e 's/>512</>128</' \
	-e "s|<os\b|<sysinfo type='smbios'><system><entry name='serial'>$canary</entry></system></sysinfo>&|" \
	-e "s|</os>|<smbios mode='sysinfo'/>&|" >$shared/plain.xml
check 'a VM is shielded for both hosts' on a shieldvm shield $shared/plain.xml --owner $shared/owner.jwk \
	--host $shared/b.pub -o $shared/shielded.xml
check 'it starts on a' on a virsh create $shared/shielded.xml
check 'its guest lives' lives a

if [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" != 1 ]; then
	refused 'post-copy cannot be had here, and libvirt says so' '[Pp]ost-?copy' \
		on a virsh migrate --live --p2p --postcopy shielded "$(far b)" "tcp://${host_address[b]}"
	[ "${MUST_WORK:-}" != 1 ] || fail 'the machine lets unprivileged processes use userfaultfd(2)'
	hosts_down
	finish
	exit
fi

capture_begin
moves a
moves b
capture_end
find $captured -name '*:16509*' -delete
refused 'its canary is not on the wire' '^none of the texts' on_the_wire "$canary"
refused "nor are QEMU's words" '^none of the texts' on_the_wire pc.ram
check 'what is on the wire looks random' random_on_the_wire

# --- the link breaks ------------------------------------------------------------------------------

proxy_begin 49200 host-b
begins a "tcp://${wire_address[a]}:49200" --postcopy-bandwidth 1
check 'post-copy begins' on a virsh migrate-postcopy shielded
check 'it runs on b' until_true 20 runs_on b shielded
# QEMU's main thread may itself wait for memory that is not there; without a link it would do so for ever.
sleep 3
kill -USR1 "$proxy_pid"
refused 'the link breaks, and libvirt notices' 'error: ' \
	bash -c "tail -f --pid=$moving /dev/null; cat /run/bed/moving; exit 1"
proxy_end
check 'it waits on a' until_true 20 broken a 'paused (post-copy failed)'
check '... and on b' until_true 20 broken b 'post-copy failed'
check "the vTPM's state is b's" on a test -e $state/tpm2.state.moved
check '... where it is not marked' on b test ! -e $state/tpm2.state.moved
refused 'it cannot run on a' 'error: ' on a virsh resume shielded
refused 'nor be given up' 'error: ' on a virsh domjobabort shielded
check 'it waits on' broken a 'paused (post-copy failed)'
again=(virsh migrate --live --p2p --postcopy --postcopy-resume shielded)
from=b to=a # for what follows
if goes_on_there b; then
	check 'it goes on over another link' on a "${again[@]}" "$(far b)" "tcp://${host_address[b]}"
	check 'it runs on b, and on b only' until_true 20 runs_only_on b shielded transient
	check 'its guest goes on' lives b
	check 'no port is left open' no_port_open
else
	refused 'it is to go on over another link, and libvirt on b does not survive that' 'client socket is closed' \
		on a "${again[@]}" "$(far b)" "tcp://${host_address[b]}"
	check '... as is known' until_true 20 libvirtd_ended b
	libvirtd_back b
	check 'it waits on a' until_true 20 broken a 'paused (post-copy failed)'
	check '... and on b' until_true 20 broken b 'post-copy failed'
	refused 'it still cannot run on a' 'error: ' on a virsh resume shielded
	check "the vTPM's state is b's still" on a test -e $state/tpm2.state.moved
	check 'no port is left open' no_port_open
	for host in a b; do
		on $host virsh destroy shielded
	done
	refused 'it cannot start on a' 'vtpm.moved: ' on a virsh create $shared/shielded.xml
	check 'it starts on b, where its vTPM is' until_true 20 on b virsh create $shared/shielded.xml
	check 'its guest lives' lives b
fi

# --- somebody breaks it off -----------------------------------------------------------------------

if goes_on_there a; then
	begins b "tcp://${host_address[a]}" --postcopy-bandwidth 1
	check 'post-copy begins' on b virsh migrate-postcopy shielded
	check 'it runs on a' until_true 20 runs_on a shielded
	sleep 3
	check 'it is broken off' on b virsh domjobabort --postcopy shielded
	refused '... and libvirt notices' 'error: ' \
		bash -c "tail -f --pid=$moving /dev/null; cat /run/bed/moving; exit 1"
	check 'it waits on b' until_true 20 broken b 'paused (post-copy failed)'
	check '... and on a' until_true 20 broken a 'post-copy failed'
	check 'it goes on' on b "${again[@]}" "$(far a)" "tcp://${host_address[a]}"
	check 'it runs on a, and on a only' until_true 20 runs_only_on a shielded transient
	check 'its guest goes on' lives a
	from=a to=b
fi

# --- the host that it runs on fails ---------------------------------------------------------------

begins $from "tcp://${host_address[$to]}" --postcopy-bandwidth 1
check 'post-copy begins' on $from virsh migrate-postcopy shielded
check "it runs on $to" until_true 20 runs_on $to shielded
sleep 3
on $to pkill -KILL -f guest=shielded,
refused 'QEMU there is killed, and libvirt notices' 'error: ' \
	bash -c "tail -f --pid=$moving /dev/null; cat /run/bed/moving; exit 1"
refused "what is left of it on $from cannot run" 'error: ' on $from virsh resume shielded
on $from virsh destroy shielded
refused '... nor start' 'vtpm.moved: ' on $from virsh create $shared/shielded.xml
check "it starts on $to, where its vTPM is" until_true 20 on $to virsh create $shared/shielded.xml
on $to virsh destroy shielded

hosts_end
