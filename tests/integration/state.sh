# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # results are left in variables; what bed.sh sets
# Functions for the tests of saved state (sourced after bed.sh): guests that hold known canaries in
# every place a state has, in pairs of a shielded VM and its unshielded twin, and the checks of files.
#
# A canary is 64 characters that the guest works out by itself from a seed, so that none is ever on
# a command line, in a test's own log, or sent to the guest.

state_uuid() {
	case $1 in
	vm) echo 57a7e000-0b1d-4a57-9d0e-3a1f5c2b7d01 ;;
	twin) echo 57a7e000-0b1d-4a57-9d0e-3a1f5c2b7d02 ;;
	esac
}
state_seed=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
state_kinds='ram tmpfs disk nv sealed'
domains=${DOMAINS:-vm twin}
vm=$(state_uuid vm)

# canary NAME KIND
canary() {
	printf '%s' "$2 $(state_uuid "$1") $state_seed" | sha256sum | cut -c 1-64
}

# state_domain NAME [LEVEL] [SHIELD-OPTION...]: "vm" is shielded, "twin" is not; defined, started.
state_domain() {
	local name=$1 level=${2:-shielded}
	shift $(($# > 1 ? 2 : 1))
	local tpm="<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
	domain_disks "$name"
	[ "$name" = twin ] || tpm=
	domain_xml "$name" "$(state_uuid "$name")" "$tpm" |
		sed "s|<memory unit='MiB'>512<|<memory unit='MiB'>${state_megabytes:-256}<|" >"/run/bed/$name.xml"
	if [ "$name" != twin ]; then
		mv "/run/bed/$name.xml" "/run/bed/$name.plain.xml"
		check "$name is shielded" shieldvm shield "/run/bed/$name.plain.xml" \
			--owner "$owner_key" --level "$level" "$@" -o "/run/bed/$name.xml"
	fi
	check "$name is defined" virsh define "/run/bed/$name.xml"
	check "$name starts" virsh start "$name"
}

# guest_script NAME: runs standard input as a shell script in the guest.
guest_script() {
	guest_run "$(state_uuid "$1")" "echo $(base64 -w 0) | base64 -d >/run/script; sh /run/script"
}

# state_plant NAME: canaries in a process, a tmpfs, the page cache of the encrypted volume, an NV index
# and a sealed object; a value in a PCR.
state_plant() {
	local uuid
	uuid=$(state_uuid "$1")
	guest_boots "$uuid"
	check "$1: its volume is open" test "$luks" = 'created 1'
	check "$1: canaries in memory" guest_script "$1" <<-GUEST
		set -e
		touch /run/stay
		echo 'c() { printf "%s" "\$1 $uuid $state_seed" | sha256sum | cut -c 1-64; }' >/run/lib
		. /run/lib
		cd /run
		c tmpfs >canary
		c disk | dd of=/dev/mapper/data bs=512 seek=2048 conv=sync,fsync
		cat /proc/sys/kernel/random/boot_id >boot
		count() {
			# As long as it is open its pages stay.
			exec 8</dev/mapper/data
			dd bs=512 skip=2048 count=1 <&8
			secret=\$(c ram)
			n=0
			while :; do
				n=\$((n + 1))
				echo \$n >count.new
				mv count.new count
				[ ! -e ask ] || { echo "\$secret" >answer; rm ask; }
				sleep 0.2
			done
		}
		count >/dev/null 2>&1 &
		echo \$! >pid
	GUEST
	# A machine that stands still for 200 ms looks to the guest's driver like a TPM that does not answer (ETIME): what
	# failed without an answer of the TPM is done again, and what the TPM refused is not.
	check "$1: canaries in the TPM" guest_script "$1" <<-'GUEST'
		. /run/lib
		cd /run
		cat >plant <<'PLANT'
			. /run/lib
			tpm2 nvdefine -Q -C o -s 64 -a 'ownerread|ownerwrite' 0x1500010
			c nv | tr -d '\n' | tpm2 nvwrite -Q -C o -i - 0x1500010
			tpm2 createprimary -Q -C o -G ecc -c primary
			c sealed | tr -d '\n' | tpm2 create -Q -C primary -i - -u pub -r priv
			tpm2 load -Q -C primary -u pub -r priv -c object
			tpm2 pcrextend 16:sha256=$(c pcr)
			tpm2 pcrread sha256:16 >pcr
		PLANT
		for try in 1 2 3; do
			sh -ex plant >plant.out 2>&1 && exit
			echo "attempt $try:"
			cat plant.out
			dmesg | grep -i tpm | tail -n 5
			! grep -q 'tpm:' plant.out || exit 1
			tpm2 nvundefine -Q -C o 0x1500010
		done
		exit 1
	GUEST
}

# state_begin [LEVEL [SHIELD-OPTION...]]: the host, and on it the VM at that level and its twin (or what
# DOMAINS names) with their canaries; their names are in $domains.
state_begin() {
	local name
	[ "$domains" = twin ] || shieldvm_ready
	libvirtd_start
	guest_listen
	touch -d '1 second ago' /run/bed/stamp
	for name in $domains; do
		state_domain "$name" "$@"
	done
	for name in $domains; do
		state_plant "$name"
	done
}

# state_goes_on NAME: the guest is where it was when its state was saved; waits for its new connection.
state_goes_on() {
	local uuid
	uuid=$(state_uuid "$1")
	guest_wait "$uuid" 'boot .*' 60 || fail "$1: the guest is back within 60 seconds"
	guest_wait "$uuid" 'ready .*' 20 || fail "$1: the guest is ready again"
	state_is_whole "$1"
}

# state_is_whole NAME: the same for a guest that has its connection.  Leaves in $clock the guest's
# uptime, its time, and its hardware clock's.
state_is_whole() {
	local said word
	said=$(guest_script "$1" <<-'GUEST'
		. /run/lib
		cd /run
		is() { if [ "$2" = "$3" ]; then echo "$1 ok"; else echo "$1: $2, not $3"; fi; }
		volume() { dd if=/dev/mapper/data bs=512 skip=2048 count=1 | head -n 1; }
		n=$(cat count)
		touch ask
		is boot "$(cat /proc/sys/kernel/random/boot_id)" "$(cat boot)"
		is disk-cached "$(volume)" "$(c disk)"
		echo 3 >/proc/sys/vm/drop_caches
		is disk "$(volume)" "$(c disk)"
		is tmpfs "$(cat canary)" "$(c tmpfs)"
		is nv "$(tpm2 nvread -C o -s 64 0x1500010)" "$(c nv)"
		is sealed "$(tpm2 unseal -c object)" "$(c sealed)"
		is pcr "$(tpm2 pcrread sha256:16)" "$(cat pcr)"
		for i in 1 2 3 4 5 6 7 8 9; do [ -e answer ] || sleep 0.3; done
		is ram "$(cat answer)" "$(c ram)"
		rm answer
		[ "$(cat count)" -gt "$n" ] && kill -0 "$(cat pid)" && echo counter ok
		echo clock $(cut -d . -f 1 /proc/uptime) $(date +%s) $(cat /sys/class/rtc/rtc0/since_epoch)
	GUEST
	) || fail "$1: the guest answers for itself"
	for word in boot disk-cached disk tmpfs nv sealed pcr ram counter; do
		grep -qx "$word ok" <<<"$said" || fail "$1: $word is as it was: $said"
	done
	clock=$(sed -n 's/^clock //p' <<<"$said")
	pass "$1: processes, files, volume, TPM go on"
}

# canaries_in NAME FILE: how many of NAME's canaries FILE holds.
canaries_in() {
	local kind n=0
	for kind in $state_kinds; do
		! LC_ALL=C grep -qaF -e "$(canary "$1" "$kind")" "$2" || n=$((n + 1))
	done
	echo "$n"
}

# artefact NAME FILE [KIND]: a file of libvirt's with the state of NAME. The shielded VM's holds nothing
# in clear; the twin's does, and the same checks see it. KIND "compressed": libvirt has compressed it,
# and the twin's canaries are not to be found by looking; "memory": it has no TPM in it.
artefact() {
	local name=$1 file=$2 found least=4
	[ "${3:-}" != memory ] || least=3
	[ -s "$file" ] || fail "$name: there is a file $file"
	found=$(canaries_in "$name" "$file")
	if [ "$name" = twin ] && [ "${3:-}" = compressed ]; then
		return
	elif [ "$name" = twin ]; then
		check "the twin's ${file##*/} holds its canaries ($found)" test "$found" -ge $least
		refused "and has low entropy" 'low entropy' python3 "$here/sealed.py" entropy "$file"
	else
		check "$name: ${file##*/} holds no canary" test "$found" = 0
		check "$name: and has no low entropy behind libvirt's header" \
			python3 "$here/sealed.py" entropy "$file"
	fi
}

# leaves_no_canary NAME...: of what was written anywhere since /run/bed/stamp, but the test's own
# folder, no file holds a canary of the VM's; the twin's canaries are found, which shows that it looks.
leaves_no_canary() {
	local name kind
	find /var/lib/libvirt /var/lib/shieldvm /var/lib/swtpm* /var/log /var/cache /var/tmp /run /tmp \
		/etc/libvirt /etc/shieldvm /dev/shm -xdev -type f -newer /run/bed/stamp \
		-not -path '/run/bed/*' -print0 >/run/bed/written 2>/dev/null || true
	for name; do
		for kind in $state_kinds; do
			canary "$name" "$kind"
		done >"/run/bed/canaries.$name"
		xargs -0 env LC_ALL=C grep -laF -f "/run/bed/canaries.$name" \
			</run/bed/written >"/run/bed/found.$name" || true
		if [ "$name" = twin ]; then
			check "the twin's canaries are in files" test -s "/run/bed/found.$name"
		else
			check "$name: no file anywhere holds a canary: $(paste -s "/run/bed/found.$name")" \
				test ! -s "/run/bed/found.$name"
		fi
	done
}
