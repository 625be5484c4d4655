#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What libvirt really makes of domains, feature by feature (argv/*.xml): each is shielded and started
# by a real libvirtd. The launcher lets its arguments pass; where QEMU itself cannot go on (no server
# to connect to, no screen) it says so. Elements that no owner put there are refused by the hook under
# their rule. Nothing here waits for a guest. With KEEP=FOLDER the vectors are left there.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

work=/run/bed/argv
export VIRSH_SECONDS=60 EVIDENCE_LINES=5

# make_images LANE: what its features name.
make_images() {
	mkdir -m 711 "$images/$1"
	cd "$images/$1"
	truncate -s 1M raw.img raw2.img
	truncate -s 1440k floppy.img
	truncate -s 130M nvdimm
	mkdir -m 755 folder
	qemu-img create -q -f qcow2 a.qcow2 1M
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 overlay.qcow2
	for format in vdi vmdk vpc; do qemu-img create -q -f "$format" "a.$format" 1M; done
	printf secret >/run/bed/passphrase
	for format in luks qcow2; do
		local options=key-secret=s,iter-time=10
		[ "$format" = luks ] || options=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
		# It measures the processor, and gives up where that takes less than a tick of the kernel's clock.
		until_true 30 qemu-img create -q -f "$format" --object secret,id=s,file=/run/bed/passphrase \
			-o "$options" "luks.${format/luks/img}" 1M || fail "no LUKS volume in $format"
	done
	cd /
}

make_network() {
	ip link add br0 type bridge
	# An address that is not the loopback: getaddrinfo(3) then answers for 127.0.0.1 too.
	ip address add 192.0.2.1/24 dev br0
	ip link set br0 up
	ip route add 224.0.0.0/4 dev br0
}

# secret UUID USAGE-XML: a secret of libvirt's.
secret() {
	printf "<secret ephemeral='no' private='yes'><uuid>%s</uuid>%s</secret>" "$1" "$2" >$work/secret.xml
	virsh secret-define $work/secret.xml && virsh secret-set-value "$1" --plain --file /run/bed/passphrase
}

# passes NAME DOMAIN: the launcher let libvirt's vector pass, and `shieldvm lint` agrees.
passes() {
	local log="/var/log/libvirt/qemu/$2.log"
	if grep 'shieldvm-launch: ' "$log"; then
		return 1
	fi
	sed -n '/^LC_ALL=C /,/[^\\]$/p' "$log" >"$work/$1.command"
	shieldvm lint --argv "$work/$1.command"
}

# feature NAME DOMAIN HOW WHAT LIBVIRT ALLOWED: one line of the plan; tells in $outcome how it ended.
feature() {
	local name=$1 domain=$2 how=$3 what=$4 libvirt=$5 allowed=$6 options=() rule
	if [ "$allowed" != - ]; then
		options=(--level encryption-supported)
		for rule in $allowed; do options+=(--allow "$rule"); done
	fi
	if [ "$how" != refused ]; then
		check "$name: lint sees nothing in its way" \
			shieldvm lint "${options[@]}" "$work/$name.plain.xml"
	fi
	check "$name: is shielded" shieldvm shield "$work/$name.plain.xml" \
		--owner "$owner_key" "${options[@]}" -o "$work/$name.xml"
	outcome=$how
	if [ "$how" = refused ]; then
		check "$name: something is put in" "$here/argv.py" add "$name" "$work/$name.xml" "$work/$name.bad.xml"
		[ "$libvirt" != - ] || libvirt="shieldvm-hook: $what: "
		refused "$name: is refused under $what" "$libvirt" virsh create --paused "$work/$name.bad.xml"
	elif [ "$how" = qemu ]; then
		refused "$name: QEMU itself ends ($what)" "qemu-system-x86_64: .*($what)|QEMU.*($what)" \
			virsh create --paused "$work/$name.xml"
		check "$name: its arguments pass" passes "$name" "$domain"
	else
		check "$name: runs" virsh create --paused "$work/$name.xml"
		check "$name: its arguments pass" passes "$name" "$domain"
		virsh dumpxml --migratable "$domain" >"$work/$name.incoming.xml"
		check "$name: may come in from elsewhere" \
			/usr/sbin/shieldvm-hook any migrate begin - <"$work/$name.incoming.xml"
		check "$name: ends" virsh destroy "$domain"
	fi
}

# lane N: the features of one lane. Much of a start is waiting, so there are three.
lane() {
	local row
	checked=$work/checked.$1
	while IFS=$'\t' read -r -a row; do
		[ "${row[0]}" = "$1" ] || continue
		feature "${row[@]:1}" </dev/null
		printf '%s\n' "$outcome" >>"$work/outcomes.$1"
	done <$work/plan
}

shieldvm_ready
mkdir $work
for n in 1 2 3; do make_images $n; done
make_network
libvirtd_start
secret 0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f '' >/dev/null
secret 0a81f5b2-8403-7b23-c8d6-21ccc2f80d70 "<usage type='ceph'><name>u</name></usage>" >/dev/null
# A frequency that is not the host's own needs a processor that scales it.
tsc=$(virsh capabilities | sed -n "s/.*<counter name='tsc' frequency='\([0-9]*\)'.*/\1/p")
check 'the features are read' "$here/argv.py" plan $work "${tsc:-2000000000}"

lanes=()
for n in 1 2 3; do
	lane $n >$work/lane.$n 2>&1 &
	lanes+=($!)
done
failed=
for n in 1 2 3; do
	wait "${lanes[$((n - 1))]}" || failed=$n
	cat $work/lane.$n
	checks=$((checks + $(grep -c '^ok' $work/lane.$n)))
done
[ -z "$failed" ] || exit 1
if [ -n "${BED_KEEP:-}" ]; then
	"$here/argv.py" vectors $work "$BED_KEEP"
fi
count() { cat $work/outcomes.* | grep -cx "$1"; }
printf '# %s ran, %s were let through to QEMU, which could not go on, %s were refused by the hook\n' \
	"$(count runs)" "$(count qemu)" "$(count refused)"
check 'every feature came to its end' test "$(cat $work/outcomes.* | wc -l)" = "$(wc -l <$work/plan)"
check 'enough of them ran' test "$(count runs)" -ge 90
finish
