#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Host a has this machine's libvirt, QEMU and build of shieldvm, host b those of the tree that OTHER_TREE names:
# script/compat makes it, and runs this.  A shielded VM migrates from each to the other in each form, wherever
# libvirt itself does so: its unshielded twin makes the same way before it, so that libvirt's refusals are told
# from ours.  The guest has no system: firmware in 128 MiB.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_USERFAULTFD=1 BED_SECONDS=${BED_SECONDS:-900} ON_SECONDS=90 VIRSH_SECONDS=80
[ -e "${OTHER_TREE:-}/srv/stage" ] || {
	echo 'skipped: OTHER_TREE names no tree with another build of shieldvm; script/compat makes one'
	exit 77
}
export OTHER_TREE
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

declare -A uuid=([vm]=c03f0001-0b1d-4a57-9d0e-3a1f5c2b7d01 [twin]=c03f0002-0b1d-4a57-9d0e-3a1f5c2b7d02)
declare -A canary=() system=()
disk_port=49310

# makes NAME: the domain, with a disk as NAME-disk.
makes() {
	canary[$1]=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')
	domain_xml "$1" "${uuid[$1]}" | sed -e '/<disk /,/<\/disk>/d' -e 's/>512</>128</' \
		-e "s|machine='q35'|machine='$machine'|" \
		-e "s|<os\b|<sysinfo type='smbios'><system><entry name='serial'>${canary[$1]}</entry></system></sysinfo>&|" \
		-e "s|</os>|<smbios mode='sysinfo'/>&|" >"$shared/$1.xml"
	sed "s|<video>|<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$images/$1.img'/>\
<target dev='vda' bus='virtio'/></disk>&|" "$shared/$1.xml" >"$shared/$1-disk.xml"
}

# begins HOST [-disk]: both VMs start there, as if they had never been anywhere.
begins() {
	local host name
	for host in $hosts; do
		for name in twin vm; do
			on "$host" virsh destroy $name >/dev/null 2>&1 || true
		done
		until_true 10 no_process_on "$host" shieldvm-worker || fail "no worker is left on $host"
		on "$host" rm -rf "/var/lib/shieldvm/${uuid[vm]}" "/var/lib/shieldvm/registry/${uuid[vm]}.json"
		on "$host" bash -c "cd $images && rm -f twin.img vm.img && truncate -s 8M twin.img vm.img"
	done
	on "$1" bash -c "yes '${canary[vm]}' | head -c 65536 | dd of=$images/vm.img bs=1M seek=3 conv=notrunc status=none"
	for name in twin vm; do
		check "$name${2:-} starts on $1 (${system[$1]})" on "$1" virsh create "$shared/$name${2:-}.xml"
	done
}

under_way() {
	on "$1" virsh domjobinfo "$2" | grep -q '^Memory processed: *[1-9]'
}

# waits HOST NAME WORDS: its libvirt says that post-copy has failed.
waits() {
	on "$1" virsh domstate --reason "$2" | grep -q "$3"
}

# again FROM NAME: in post-copy the link breaks, and it is to go on over another one; virsh's status.
again() {
	local from=$1 name=$2 to moving options
	to=$(other_host "$from")
	options=(--live --p2p --postcopy "$name" "$(far "$to")")
	proxy_begin 49200 "host-$to"
	on "$from" virsh migrate --bandwidth 1 --postcopy-bandwidth 1 "${options[@]}" \
		"tcp://${wire_address[$from]}:49200" >/run/bed/moving 2>&1 &
	moving=$!
	if ! until_true 20 under_way "$from" "$name" || ! on "$from" virsh migrate-postcopy "$name" ||
		! until_true 20 runs_on "$to" "$name"; then
		fail "$name is in post-copy: $(cat /run/bed/moving)"
	fi
	# As in hosts-postcopy.
	sleep 3
	kill -USR1 "$proxy_pid"
	! wait $moving || fail "the link breaks, and libvirt notices: $name"
	proxy_end
	if ! until_true 20 waits "$from" "$name" 'paused (post-copy failed)' ||
		! until_true 20 waits "$to" "$name" 'post-copy failed'; then
		fail "$name waits on both"
	fi
	on "$from" virsh migrate --postcopy-resume "${options[@]}" "tcp://${host_address[$to]}"
}

# goes FROM NAME FORM: virsh's status; what it says is printed.
goes() {
	local from=$1 name=$2 to address options=(--p2p) moving
	to=$(other_host "$from")
	address=tcp://${host_address[$to]}
	case $3 in
	again)
		again "$from" "$name"
		return
		;;
	direct) options=() ;;
	parallel) options+=(--parallel --parallel-connections 2) ;;
	disks) options+=(--copy-storage-all --disks-uri "$address:$disk_port") ;;
	post-copy) options+=(--postcopy --bandwidth 1) ;;
	esac
	options+=("$name" "$(far "$to")" "$address")
	if [ "$3" != post-copy ]; then
		on "$from" virsh migrate --live "${options[@]}"
		return
	fi
	on "$from" virsh migrate --live "${options[@]}" >/run/bed/moving 2>&1 &
	moving=$!
	until_true 20 under_way "$from" "$name" && on "$from" virsh migrate-postcopy "$name" || true
	wait $moving || {
		cat /run/bed/moving
		return 1
	}
}

only_worker_on() {
	until_true 10 no_process_on "$(other_host "$1")" shieldvm-worker && on "$1" pgrep -x shieldvm-worker >/dev/null
}

tell() {
	printf '# from %s: %s\n' "$1" "$2"
}

# trip FROM FORM: 0 if the VMs are on the other host then, else they are where they were.
trip() {
	local from=$1 form=$2 to way state=/var/lib/shieldvm/${uuid[vm]} said
	to=$(other_host "$from")
	way="${system[$from]} to ${system[$to]}, $form"
	if ! goes "$from" twin "$form" >/run/bed/twin 2>&1; then
		said=$(tail -n 1 /run/bed/twin)
		check "an unshielded VM stays: $said" until_true 10 runs_only_on "$from" twin transient
		refused "so does a shielded one, of libvirt's own accord" '^error: ' goes "$from" vm "$form"
		refused '... and not of ours' 'shieldvm: ' cat "$checked"
		check "it runs on $from" until_true 10 runs_only_on "$from" vm transient
		tell "$way" "libvirt refuses, an unshielded VM too: $said"
		return 1
	fi
	check "from $way: an unshielded VM moves" runs_only_on "$to" twin transient
	if ! goes "$from" vm "$form" >/run/bed/said 2>&1; then
		said=$(grep -m 1 'error: ' /run/bed/said)
		tell "$way" "refused: $said"
		# What docs/COMPATIBILITY.md says that it does not do.
		[[ "$from $form: $said" =~ $known ]] || {
			sed 's/^/# /' /run/bed/said
			fail "from $way: a shielded VM moves, as the other did"
		}
		check "from $way: a shielded VM stays, as is known" until_true 20 runs_only_on "$from" vm transient
		return 1
	fi
	check "from $way: a shielded VM moves" runs_only_on "$to" vm transient
	check 'its worker there has its key, and no other has' only_worker_on "$to"
	check "the vTPM's state is there" on "$to" test -s "$state/tpm2.state"
	check '... and not marked as moved' on "$to" test ! -e "$state/tpm2.state.moved"
	check 'what is left where it was is' on "$from" test -e "$state/tpm2.state.moved"
	if [ "$form" = disks ]; then
		check 'its disk is there' on "$to" grep -qaF "${canary[vm]}" "$images/vm.img"
	fi
	check 'no port is left open' until_true 10 test "$(ports a) $(ports b)" = '16509 16509'
	tell "$way" moves
}

host_tree[b]=$OTHER_TREE
hosts_up
for host in $hosts; do
	# shellcheck disable=SC2016 # that shell's own
	system[$host]=$(on "$host" bash -c '. /etc/os-release; echo "$NAME $VERSION_ID"')
	on "$host" virsh version | sed "s|^|# $host, ${system[$host]}: |"
done
check 'they are of two releases' test "${system[a]}" != "${system[b]}"
check '... and so are their QEMUs' test "$(on a qemu-system-x86_64 --version)" != "$(on b qemu-system-x86_64 --version)"
check '... and the programs of shieldvm, which are two builds' bash -c \
	"! cmp -s /usr/sbin/shieldvm-worker /proc/${host_pid[b]}/root/usr/sbin/shieldvm-worker"
machine=$(on a qemu-system-x86_64 -machine help | sed -n 's/^q35 .*alias of \(pc-q35-[0-9.]*\).*/\1/p')
check "b's QEMU knows a's newest machine, $machine" on b bash -c \
	"qemu-system-x86_64 -machine help | grep -q '^$machine '"

# HOST FORM: WORDS that may be refused though libvirt would do it.
known='^a parallel: .*migrate-incoming.: address resolution failed for fd:shieldvm-state'

on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
for name in vm twin; do
	makes $name
done
for kind in '' -disk; do
	mv "$shared/vm$kind.xml" $shared/plain.xml
	check "a VM is shielded for both hosts${kind:+, with a disk}" on a shieldvm shield $shared/plain.xml \
		--owner $shared/owner.jwk --host $shared/b.pub -o "$shared/vm$kind.xml"
done

capture_begin
for first in a b; do
	begins $first
	if trip $first p2p; then
		trip "$(other_host $first)" p2p || true
	fi
done
capture_end
find $captured -name '*:16509*' -delete
check "the unshielded VM's canary is on the wire" on_the_wire "${canary[twin]}"
refused "the shielded VM's is not" '^none of the texts' on_the_wire "${canary[vm]}"

for form in direct parallel post-copy again disks; do
	if [[ $form =~ ^(post-copy|again)$ ]] && [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" != 1 ]; then
		[ "${MUST_WORK:-}" != 1 ] || fail 'the machine lets unprivileged processes use userfaultfd(2)'
		echo "# $form: cannot be had on this machine"
		continue
	fi
	kind=
	[ $form != disks ] || kind=-disk
	for first in a b; do
		begins $first $kind
		other=$(other_host $first)
		if [ $form = again ] && ! goes_on_there "$other"; then
			refused "libvirt on $other does not survive it, with an unshielded VM" 'client socket is closed' \
				goes $first twin $form
			check '... as is known' until_true 20 libvirtd_ended "$other"
			libvirtd_back "$other"
			tell "${system[$first]} to ${system[$other]}, $form" 'libvirtd there ends, with an unshielded VM too'
		elif trip $first $form; then
			if [[ ! $form =~ ^(again|disks)$ ]]; then
				trip "$(other_host $first)" $form || true
			fi
		fi
	done
done

for host in $hosts; do
	for name in twin vm; do
		on "$host" virsh destroy $name >/dev/null 2>&1 || true
	done
	check "nothing of it is left on $host" until_true 10 no_process_on "$host" shieldvm-worker
	check '... and nothing that libvirt asked for was refused' on "$host" bash -c \
		"! grep '\"verdict\":\"refused\"' /var/log/shieldvm/audit.jsonl"
	check "the audit log of $host is whole" on "$host" shieldvm audit verify
done
hosts_down
finish
