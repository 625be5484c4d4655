#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# virsh migrate --parallel: a shielded VM's memory moves over several channels, all of them sealed, which are
# QEMU's to fill and the workers' to make.  The guest has no system: firmware in 128 MiB, which is what moves.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_SECONDS=${BED_SECONDS:-600} ON_SECONDS=90 VIRSH_SECONDS=80
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

uuid=6b1f5ad2-0b1d-4a57-9d0e-3a1f5c2b7d01
canary=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')

# moves FROM OPTION...: it is on the other host then, running, and only there.
moves() {
	local from=$1 to
	shift
	to=$(other_host "$from")
	check "from $from to $to: $*" on "$from" virsh migrate --live --parallel "$@" vm "$(far "$to")" \
		--migrateuri "tcp://${host_address[$to]}"
	check "it runs on $to, and there only" runs_only_on "$to" vm transient
	check 'no port is left open' no_port_open
}

# stays WORDS COMMAND...: the migration is refused, libvirt says why, and the VM runs on.
stays() {
	local words=$1
	shift
	refused "$words: ${*: -1}" "$words" on a "$@"
	check 'it runs on a only' until_true 10 runs_only_on a vm transient
	check 'no port is left open' no_port_open
}

# connections: how many the workers had between each other, each with two directions; libvirtd's are not theirs.
connections() {
	echo $(($(find $captured -type f -not -name '*:16509*' -printf '.' | wc -c) / 2))
}

hosts_up
on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
domain_xml vm $uuid | sed -e '/<disk /,/<\/disk>/d' -e 's/>512</>128</' \
	-e "s|<os\b|<sysinfo type='smbios'><system><entry name='serial'>$canary</entry></system></sysinfo>&|" \
	-e "s|</os>|<smbios mode='sysinfo'/>&|" >$shared/plain.xml

# The twin has no worker: this is what the wire has to tell of it.
sed -e "s/$uuid/${uuid%01}02/" -e 's/<name>vm</<name>twin</' -e "/<shieldvm/d" $shared/plain.xml >$shared/twin.xml
check 'a VM that is not shielded starts on a' on a virsh create $shared/twin.xml
capture_begin
check 'it moves over several channels' on a virsh migrate --live --p2p --parallel --parallel-connections 2 twin \
	"$(far b)" --migrateuri tcp://10.77.2.1
capture_end
check 'its canary is on the wire' on_the_wire "$canary"
on b virsh destroy twin

check 'a VM is shielded for both hosts' on a shieldvm shield $shared/plain.xml --owner $shared/owner.jwk \
	--host $shared/b.pub -o $shared/vm.xml
check 'it starts on a' on a virsh create $shared/vm.xml
if ! several_channels b; then
	stays 'address resolution failed for fd:' virsh migrate --live --p2p --parallel vm "$(far b)" --migrateuri \
		tcp://10.77.2.1
	hosts_down
	finish
fi
capture_begin
moves a --p2p --parallel-connections 4
moves b
moves a --parallel-connections 2
capture_end
find $captured -name '*:16509*' -delete
refused 'its canary is not on the wire' '^none of the texts' on_the_wire "$canary" pc.ram
check 'what is there looks random' random_on_the_wire
check 'there was a connection for each channel' test "$(connections)" = $((5 + 3 + 3))
moves b --p2p --parallel-connections 16

# --- what is not to be -----------------------------------------------------------------------------

through=(virsh migrate --live --p2p --parallel vm "$(far b)" --migrateuri)
stays 'migration.form: .*tcp://ADDRESS' "${through[@]}" tcp://host-b
stays 'migration.form: .*no more than 16' "${through[@]}" tcp://10.77.2.1 --parallel-connections 17
stays 'migration.form: .*post-copy' "${through[@]}" tcp://10.77.2.1 --postcopy
# The same user's, and not this VM's QEMU.
# shellcheck disable=SC2016 # python's own
stranger='import os, pwd, socket, sys
user = pwd.getpwnam("libvirt-qemu")
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect(f"/run/shieldvm/{sys.argv[1]}/migrate.sock")
sys.exit(1 if s.recv(1) else 0)'
check "who has QEMU's uid and is not QEMU gets no channel" on a python3 -c "$stranger" $uuid

# may_move_again: it can be migrated again, or its QEMU waits for itself and it has to start anew.
may_move_again() {
	until_true 10 migrates_no_more a vm && return
	check "QEMU waits for itself: $(qemu_threads a vm | tr '\n' ' ')" waits_for_itself a vm
	on a virsh destroy vm
	check 'it starts anew' on a virsh create $shared/vm.xml
}

# One of three connections meets harm, in its handshake or later.
for harm in '--cut-at 20000' '--cut-at 20000 --cut-how close' '--flip-at 20000' '--flip-at 10'; do
	for which in 0 1 2; do
		# shellcheck disable=SC2086 # several words
		proxy_begin 49200 10.77.2.1 --channel $which $harm
		stays 'error: ' "${through[@]}" tcp://10.77.1.254:49200
		proxy_end
		may_move_again
	done
done

# abandoned WHAT COMMAND...: while it moves, slowly, the command does harm; the VM stays.
abandoned() {
	local what=$1 slow
	shift
	proxy_begin 49200 10.77.2.1 --rate 300000
	on a "${through[@]}" tcp://10.77.1.254:49200 >/run/bed/slow 2>&1 &
	slow=$!
	check "$what: it is under way" until_true 20 grep -q '^connection 2' /run/bed/proxy.out
	sleep 1
	check "$what" "$@"
	refused '... and libvirt notices' 'error: ' bash -c "tail -f --pid=$slow /dev/null; cat /run/bed/slow; exit 1"
	check 'it runs on a only' until_true 20 runs_only_on a vm transient
	proxy_end
	may_move_again
}
# shellcheck disable=SC2317 # "abandoned" calls it
cut_link() {
	kill -USR1 "$proxy_pid"
}
abandoned 'it is given up' on a virsh domjobabort vm
abandoned 'the worker there is killed' on b pkill -KILL -x shieldvm-worker
abandoned 'QEMU there is killed' on b pkill -KILL -f guest=vm,
abandoned 'the links are cut' cut_link

moves a
on b virsh destroy vm
hosts_end
