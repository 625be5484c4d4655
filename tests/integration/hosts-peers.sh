#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Who comes to the port where a VM is to come in, and is not its source: ten thousand strangers, a handshake
# that was recorded, the worker of another VM, a version that was altered on the way.  None gets in, none
# costs more than it should, and the true migration, let through in the midst of the crowd, arrives.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_SECONDS=${BED_SECONDS:-400} ON_SECONDS=200 VIRSH_SECONDS=180
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

uuid=9ee75e11-0b1d-4a57-9d0e-3a1f5c2b7d0
recorded=$shared/recorded.0
strangers=${STRANGERS:-10000}
direct=(virsh migrate --live --p2p)

# vm NUMBER NAME: a VM with firmware alone, shielded for both hosts, starts on a.
vm() {
	domain_xml "$2" "$uuid$1" | sed -e '/<disk /,/<\/disk>/d' -e 's/>512</>64</' >$shared/plain.xml
	on a shieldvm shield $shared/plain.xml --owner $shared/owner.jwk --host $shared/b.pub -o "$shared/$2.xml"
	on a virsh create "$shared/$2.xml"
}

# From here on nothing of host a's comes to the port; what it sends meanwhile it sends again, once a second.
hold_back() {
	on a bash -c 'cd /proc/sys/net/ipv4; echo 120 >tcp_syn_retries; ! [ -e tcp_syn_linear_timeouts ] ||
		echo 120 >tcp_syn_linear_timeouts'
	ip rule add dev to-a ipproto tcp dport 49200 blackhole
}

let_through() {
	ip rule del dev to-a ipproto tcp dport 49200 blackhole
}

listens() {
	on b ss -Htln 'sport = :49200' | grep -q .
}

# replayed FILE: sent to the port, it is ended; what comes back is less than a handshake and an answer.
replayed() {
	local came how
	read -r came how <<<"$(python3 "$here/proxy.py" replay "$1" host-b:49200 --wait 15)"
	echo "$came bytes came back, and it was $how"
	[ "$how" != open ] && [ "$came" -lt 500 ]
}

# altered FILE AT BYTE: a copy with another byte there is $shared/altered.
altered() {
	cp "$1" $shared/altered
	printf '%b' "\\x$3" | dd of=$shared/altered bs=1 seek="$2" conv=notrunc status=none
}

# figure PID: what watch has to say of it, in $before $most $descriptors $descriptors_most $cpu.
figure() {
	read -r _ _ before _ most _ descriptors _ descriptors_most _ cpu <<<"$(grep "^$1 " /run/bed/watch)"
}

hosts_up
on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
check 'a VM starts on a' vm 1 shielded
check '... and another one' vm 2 other

proxy_begin 49200 host-b --record $shared/recorded
check 'it moves to b, and its handshake is recorded' on a "${direct[@]}" shielded "$(far b)" tcp://wire:49200
proxy_end
check 'it moves back' on b "${direct[@]}" shielded "$(far a)" tcp://host-a:49200
identity=$(grep -obUaF -m 1 SHVDCHAN "$recorded" | head -n 1 | cut -d : -f 1)
check 'the record has the identity' test "$identity" -gt 0

hold_back
on a "${direct[@]}" shielded "$(far b)" tcp://host-b:49200 >/run/bed/true 2>&1 &
true_one=$!
check 'it is to come to b' until_true 30 listens
worker=$(on b worker_pid ${uuid}1)
broker=$(on b ps -o ppid= -p "$worker" | tr -d ' ')
lines=$(on b bash -c 'cat /var/log/shieldvm/audit.jsonl /var/log/libvirt/qemu/*.log | wc -l')
on b python3 "$here/strangers.py" watch "$worker" "$broker" >/run/bed/watch 2>&1 &
until_true 10 grep -q ready /run/bed/watch || fail "somebody watches: $(cat /run/bed/watch)"

check 'what was recorded gets nobody in' replayed "$recorded"
altered "$recorded" $((identity + 8)) 02
check '... nor with another version of ours' replayed $shared/altered
altered "$recorded" 2 02
check "... nor of TLS's" replayed $shared/altered
altered "$recorded" $((identity + 29)) 00
check '... nor as another attempt' replayed $shared/altered
proxy_begin 49300 host-b:49200
refused "another VM's worker is refused" 'migration.peer: ' on a "${direct[@]}" other "$(far b)" tcp://wire:49300
proxy_end
check 'that VM runs on a only' runs_only_on a other transient
check 'the port is still there' listens

began=$SECONDS
python3 "$here/strangers.py" crowd host-b:49200 "$recorded" "/proc/${host_pid[b]}/net" \
	--count "$strangers" >/run/bed/crowd 2>&1 &
crowd=$!
check "$strangers strangers come and go" until_true 100 grep -q '^enough' /run/bed/crowd
check 'the true one still waits' kill -0 "$true_one"
let_through
since=$EPOCHREALTIME
status=0
wait "$true_one" || status=$?
check "in the midst of them it arrives: $(cat /run/bed/true)" test $status = 0
printf '# let through, it took %s s\n' "$(awk -v a="$since" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')"
check 'it runs on b only' runs_only_on b shielded transient
status=0
wait "$crowd" || status=$?
sed 's/^/# /' /run/bed/crowd
check 'nobody of them was left waiting' test $status = 0
on b pkill -TERM -f 'strangers.py watch'
until_true 10 grep -q "^$broker before" /run/bed/watch || fail "the watch ends: $(cat /run/bed/watch)"
figure "$worker"
printf '# worker: PSS %s kB, at most %s; descriptors %s, at most %s; CPU %s ms\n' \
	"$before" "$most" "$descriptors" "$descriptors_most" "$cpu"
check 'the worker takes no more memory than two dozen handshakes' test $((most - before)) -le 4096
check '... and no more descriptors' test $((descriptors_most - descriptors)) -le 28
figure "$broker"
printf '# broker: PSS %s kB, at most %s; descriptors %s, at most %s; CPU %s ms\n' \
	"$before" "$most" "$descriptors" "$descriptors_most" "$cpu"
check 'the broker has nothing to do with them' test $((most - before)) -le 1024
check '... and no more descriptors' test $((descriptors_most - descriptors)) -le 2
printf '# %s s in all\n' $((SECONDS - began))
written=$(($(on b bash -c 'cat /var/log/shieldvm/audit.jsonl /var/log/libvirt/qemu/*.log | wc -l') - lines))
check "nobody filled a log ($written lines)" test $written -le 200

proxy_begin 49200 host-a --flip-at $((identity + 8))
refused 'a version altered on the way ends it' 'error: ' on b "${direct[@]}" shielded "$(far a)" tcp://wire:49200
check 'that was done' grep -q '^flipped 0' /run/bed/proxy.out
proxy_end
check 'it runs on b only' until_true 10 runs_only_on b shielded transient

on b virsh destroy shielded
on a virsh destroy other
hosts_end
