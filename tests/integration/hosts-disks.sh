#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A shielded VM moves from one host to the other with its disks, which are copied over the network,
# sealed: nothing of them can be read there, nobody else reads or writes them where they come in, and a
# copy that fails leaves everything where it was.  The guest has no system.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_SECONDS=${BED_SECONDS:-600} ON_SECONDS=90 VIRSH_SECONDS=80
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

uuid=405705ed-0b1d-4a57-9d0e-3a1f5c2b7d03
canary=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')
disk=$images/shielded.img
overlay=$images/shielded-data.img
base=$images/base.img
disk_port=49310

# disks_on HOST: the VM's disks: one with canaries, and one with canaries on top of a base.
disks_on() {
	# shellcheck disable=SC2016 # that shell's own
	on "$1" bash -c 'truncate -s 24M "$1" &&
		dd if=/dev/urandom of="$1" bs=1M count=10 seek=8 conv=notrunc status=none && for at in 0 5 11 23; do
		yes "$4" | head -c 65536 | dd of="$1" bs=1M seek="$at" conv=notrunc status=none; done
		truncate -s 16M "$3" && qemu-img create -q -f qcow2 -b "$3" -F raw "$2" &&
		qemu-io -c "write -q -s $1 3M 2M" "$2"' disks "$disk" "$overlay" "$base" "$canary"
}

# room_on HOST: files of the same size, without content.
room_on() {
	# shellcheck disable=SC2016 # that shell's own
	on "$1" bash -c 'rm -f "$1" "$2" && truncate -s 24M "$1" && truncate -s 16M "$3" &&
		qemu-img create -q -f qcow2 -b "$3" -F raw "$2"' room "$disk" "$overlay" "$base"
}

# content HOST: of both disks.
content() {
	on "$1" bash -c "sha256sum <$disk; qemu-img convert -U -O raw $overlay /tmp/content; sha256sum </tmp/content"
}

same_content() {
	[ "$(content "$1")" = "$2" ]
}

# copies FROM OPTION...: migrates the VM from there to the other host, its disks too.
copies() {
	local to
	to=$(other_host "$1")
	copies_to "$@" "tcp://${host_address[$to]}" --disks-uri "tcp://${host_address[$to]}:$disk_port"
}

# copies_to FROM OPTION...: with the addresses among the options, or those that libvirt chooses.
copies_to() {
	local from=$1 to was
	shift
	to=$(other_host "$from")
	was=$(content "$from")
	check "room for its disks on $to" room_on "$to"
	check "from $from to $to: $*" on "$from" virsh migrate --live --p2p shielded "$(far "$to")" "$@"
	check "it runs on $to, and on $to only" runs_only_on "$to" shielded transient
	check "its disks are on $to" same_content "$to" "$was"
	check 'no port is left open' no_port_open
}

# stays WORDS COMMAND...: the migration fails, libvirt says why, and the VM and its disks stay.
stays() {
	local words=$1
	shift
	refused "$words" "$words" on a "$@"
	check 'it runs on a only' until_true 10 runs_only_on a shielded transient
	check 'its disks are as they were' same_content a "$was"
	check 'no port is left open' no_port_open
}

hosts_up
on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
domain_xml shielded $uuid | sed -e 's/>512</>128</' -e "0,/type='raw'/! s/type='raw'/type='qcow2'/" >$shared/plain.xml
check 'a VM is shielded for both hosts' on a shieldvm shield $shared/plain.xml --owner $shared/owner.jwk \
	--host $shared/b.pub -o $shared/shielded.xml
sed -e "s/$uuid/${uuid%03}04/" $shared/plain.xml >$shared/twin.xml

# --- a VM that is not shielded: what somebody on the wire sees of it --------------------------------

check 'disks with canaries' disks_on a
check 'its twin without a shield starts on a' on a virsh create $shared/twin.xml
capture_begin
copies a --copy-storage-all
capture_end
check 'its canary is on the wire' on_the_wire "$canary"
check "... and QEMU's words for disks" on_the_wire NBDMAGIC
on b virsh destroy shielded

# --- shielded -------------------------------------------------------------------------------------

check 'disks with canaries' disks_on a
check 'it starts on a' on a virsh create $shared/shielded.xml
capture_begin
copies a --copy-storage-all
copies b --copy-storage-inc
copies_to a --copy-storage-all "tcp://[${host_address6[b]}]" --disks-uri "tcp://[${host_address6[b]}]:$disk_port"
capture_end
check 'its disks went by IPv6, too' on a grep -qF '"a connection to fd77:2::1 port '$disk_port' for a migration' \
	/var/log/shieldvm/audit.jsonl
find $captured -name '*:16509*' -delete
refused 'its canary is not on the wire' '^none of the texts' on_the_wire "$canary" NBDMAGIC IHAVEOPT drive-virtio
check 'what is on the wire looks random' random_on_the_wire
check 'it came with its disks, and goes without' on b virsh migrate --live --p2p --unsafe shielded "$(far a)" tcp://host-a
check 'it runs on a only' runs_only_on a shielded transient
copies a --copy-storage-all

# What a host tells others to connect to, if nobody says anything else; a name, if that is not set.
on a bash -c 'echo "migration_host = \"10.77.1.1\"" >>/etc/libvirt/qemu.conf && pkill -x libvirtd'
until_true 20 no_process_on a '^libvirtd '
on a rm -f /run/libvirtd.pid
host_libvirtd a
copies_to b --copy-storage-all

# --- what goes wrong --------------------------------------------------------------------------------

was=$(content a)
through=(virsh migrate --live --p2p --copy-storage-all shielded "$(far b)")
room_on b
stays 'migration.form: .*tcp://ADDRESS.*migration_host' "${through[@]}" tcp://host-b
stays 'migration.form: .*tcp://ADDRESS' "${through[@]}"
stays "migration.form: .*unix:///run/shieldvm/$uuid/migration/NAME" "${through[@]}" tcp://10.77.2.1 --disks-uri unix:///run/nbd

# Over the wire's proxies: the memory as it is, the disks with harm.
# libvirt 9.0 does not take back a port that it was given for a copy that fails.
around=("${through[@]}" "tcp://${wire_address[a]}:49200" --disks-port)
proxy_begin 49200 host-b
memory_proxy=$proxy_pid
for harm in '--cut-at 1500000' '--cut-at 1500000 --cut-how close' '--flip-at 2000000' '--flip-at 10'; do
	# shellcheck disable=SC2086 # several words
	disk_port=$((disk_port + 1))
	proxy_begin $disk_port host-b $harm
	stays 'error: ' "${around[@]}" $disk_port
	check "harm was done: $harm" grep -Eq 'cut|flip' /run/bed/proxy.out
	proxy_end
done

# Another QEMU's client, on the wire: to the port where the disks come in, while they do.
wrong_peer() {
	local fd
	exec {fd}<>"/dev/tcp/${host_address[b]}/$disk_port"
	# QEMU's server is the first to speak.
	! timeout 3 head -c 8 <&"$fd" | grep -aq NBDMAGIC &&
		! timeout 8 qemu-io -f raw -c 'write 0 1M' \
			"nbd://${host_address[b]}:$disk_port/drive-virtio-disk0" >/run/bed/wrong 2>&1
}

disk_port=$((disk_port + 1))
proxy_begin $disk_port host-b --rate 700000
on a "${around[@]}" $disk_port >/run/bed/slow 2>&1 &
slow=$!
check 'it is under way' until_true 20 grep -q '^connection' /run/bed/proxy.out
silent=()
for _ in {1..40}; do
	exec {fd}<>/dev/tcp/${host_address[b]}/$disk_port && silent+=("$fd")
done
check 'a client without the key is not served' wrong_peer
check 'it is under way still' test -d /proc/$slow
check 'the migration goes on' wait $slow
check 'it runs on b only' runs_only_on b shielded transient
check 'its disks are on b' same_content b "$was"
check "a's are as they were" same_content a "$was"
check 'no port is left open' no_port_open
for fd in "${silent[@]}"; do
	exec {fd}>&-
done
proxy_end
proxy_pid=$memory_proxy
proxy_end

on b virsh destroy shielded
check 'who was connected to is on record' on a grep -q '"a connection to 10.77.1.254 port '$disk_port' for a migration' \
	/var/log/shieldvm/audit.jsonl
hosts_end
