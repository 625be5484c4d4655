#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# virsh save and restore of a shielded guest with 2 GiB of memory, filled with random bytes, against its
# unshielded twin, in turns.  Usage: tests/bench/state.sh [--rounds N] [--mib N] [--figures FILE]
# FILE gets the single times, one per line: what, who, round, seconds.
# What it checks on the way is told on standard error.
set -eu -o pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../integration/bed.sh
. "$root/tests/integration/bed.sh"
rounds=5 mib=2048 figures=
arguments=("$@")
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2 ;;
	--mib) mib=$2 ;;
	--figures) figures=$(realpath "$2") ;;
	*)
		echo "usage: tests/bench/state.sh [--rounds N] [--mib N] [--figures FILE]" >&2
		exit 2
		;;
	esac
	shift 2
done
export BED_SECONDS=1800 KEEP=
if [ -n "$figures" ]; then
	KEEP=$(dirname "$figures")
fi
bed_enter "${arguments[@]}"
# shellcheck source-path=SCRIPTDIR source=../integration/state.sh
. "$here/state.sh"

vm=$(state_uuid vm)
times=${figures:-/run/bed/times}
: >"$times"
boot_seconds=200
export VIRSH_SECONDS=300

fill() {
	guest_boots "$(state_uuid "$1")"
	check "$1: its memory is being filled" guest_script "$1" <<-'GUEST'
		touch /run/stay
		mount -o remount,size=100% /tmp
		# Emulated, the kernel's generator is slow: 32 MiB of it, again and again. Nobody compresses here.
		head -c 32768k /dev/urandom >/run/some
		free=$(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo)
		count=$(((free - 160 * 1024) / 32768))
		(
			i=0
			while [ $i -lt $count ]; do
				dd if=/run/some of=/tmp/fill bs=1M seek=$((i * 32)) conv=notrunc
				i=$((i + 1))
			done
			touch /run/filled
		) >/dev/null 2>&1 &
	GUEST
}

is_full() {
	sleep 2
	guest_run "$(state_uuid "$1")" test -e /run/filled
}

# timed WHAT WHO ROUND COMMAND...
timed() {
	local began=$EPOCHREALTIME
	local what=$1 who=$2 round=$3
	shift 3
	check "$what of $who, round $round" "$@"
	awk -v a="$began" -v b="$EPOCHREALTIME" -v p="$what $who $round" \
		'BEGIN { printf "%s %.3f\n", p, b - a }' >>"$times"
}

# worker_kib FIELD: of the worker's /proc/PID/status.
worker_kib() {
	sed -n "s/^$1:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$(worker_pid "$vm")/status"
}

median() {
	awk -v what="$1" -v who="$2" '$1 == what && $2 == who { print $4 }' "$times" | sort -n |
		awk '{ t[NR] = $1 } END { print NR % 2 ? t[(NR + 1) / 2] : (t[NR / 2] + t[NR / 2 + 1]) / 2 }'
}

shieldvm_ready >&2
libvirtd_start
guest_listen
state_megabytes=$mib
for name in vm twin; do
	state_domain "$name" >&2
done
{
	for name in vm twin; do fill "$name"; done
	for name in vm twin; do check "$name: its memory is full" until_true 600 is_full "$name"; done
} >&2
rest=$(worker_kib VmRSS)
most=0 most_restore=0
for ((round = 0; round <= rounds; round++)); do
	# Round 0 warms up. Who goes first takes turns.
	order='vm twin'
	if [ $((round % 2)) = 1 ]; then order='twin vm'; fi
	for name in $order; do
		file=$images/$name.save
		if [ "$name" = vm ]; then
			# The worker ends with the save: it is looked at as long as it is there.
			(while kib=$(worker_kib VmHWM 2>/dev/null) && [ -n "$kib" ]; do
				echo "$kib" >/run/bed/most
				sleep 0.05
			done) &
			watch=$!
		fi
		timed save "$name" "$round" virsh save "$name" "$file"
		if [ "$name" = vm ]; then
			wait $watch || true
			if [ "$(cat /run/bed/most)" -gt "$most" ]; then most=$(cat /run/bed/most); fi
		fi
		sync "$file"
		timed restore "$name" "$round" virsh restore "$file"
		if [ "$name" = vm ] && [ "$(worker_kib VmHWM)" -gt "$most_restore" ]; then
			most_restore=$(worker_kib VmHWM)
		fi
		bytes=$(stat -c %s "$file")
		rm "$file"
	done
done >&2
sed -i '/ 0 [0-9.]*$/d' "$times"
guest_wait "$vm" 'boot .*' 90 || fail 'the guest goes on'

missed=0
# row WHAT PEER OURS RATIO LIMIT
row() {
	local verdict=PASS
	awk -v r="$4" -v m="$5" 'BEGIN { exit !(r <= m) }' || verdict=MISSED missed=1
	printf '%-44s %9s %9s %6s  <= %s %s\n' "$1" "$2" "$3" "$4" "$5" $verdict
}
printf '\n%-44s %9s %9s %6s\n' "s, medians of $rounds; a file of $((bytes >> 20)) MiB" peer shieldvm ratio
for what in save restore; do
	theirs=$(median $what twin) ours=$(median $what vm)
	row "virsh $what, $mib MiB of random memory" "$theirs" "$ours" \
		"$(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.2f", a / b }')" 1.15
done
[ "$most" -ge "$most_restore" ] || most=$most_restore
kept=$(((most - rest + 1023) / 1024))
verdict=PASS
[ $kept -le 64 ] || verdict=MISSED missed=1
printf 'the worker, MiB: %s at rest, at most %s more in a save or restore, <= 64 %s\n' $((rest / 1024)) $kept $verdict
exit $missed
