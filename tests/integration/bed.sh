# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034 # results are left in variables for the caller
# Functions for tests on a private host. A test sources this file, calls bed_enter "$@" first, and
# from there on runs inside the bed (see ./bed). Every wait has a limit; the first failed check ends
# the test with exit 1 and the logs of the host.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_root=$(cd "$here/../.." && pwd)
guest_image=$source_root/build/guest/guest.img
guest_port=7007
guest_reports=${GUEST_REPORTS:-/run/bed/guest}
images=/var/lib/libvirt/images
checks=0
checked=/run/bed/check # what the last check said
# A busy machine under TCG needs patience; a hang is found all the same.
boot_seconds=${BOOT_SECONDS:-120}
# What every wait is multiplied by: they end what hangs, and a machine may be slow, or busy.
patience=3

# bed_enter ARGUMENT...: outside, reruns this script inside a bed and exits with its status.
# Environment: BUILD is the meson build folder ("none": nothing installed), KEEP a folder for files
# that outlive the bed, BED_SECONDS the limit. Where no bed can be made the test is skipped (77),
# or fails if MUST_WORK=1.
bed_enter() {
	local keep=() script
	if [ "${BED_INSIDE:-}" = 1 ]; then
		return
	fi
	script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
	if ! why=$(bed_possible); then
		if [ "${MUST_WORK:-}" = 1 ]; then
			printf 'not ok - a bed can be made: %s\n' "$why"
			exit 1
		fi
		printf 'skipped: %s\n' "$why"
		exit 77
	fi
	if [ -n "${KEEP:-}" ]; then
		keep=(-k "$KEEP")
	fi
	exec "$here/bed" -b "${BUILD:-$source_root/build}" -t $((${BED_SECONDS:-900} * patience)) "${keep[@]}" \
		"$script" "$@"
}

# bed_possible: whether this machine lets us make one; if not, prints why.
bed_possible() {
	local tool
	PATH=$PATH:/usr/sbin:/sbin
	if [ "$(id -u)" != 0 ]; then
		echo 'not root, so no mount and network namespaces'
		return 1
	fi
	for tool in libvirtd virsh qemu-system-x86_64 busybox unshare ip; do
		if ! command -v "$tool" >/dev/null; then
			echo "$tool is not installed; script/build installs it"
			return 1
		fi
	done
	if ! unshare --mount --net --uts --ipc --pid --fork true 2>/dev/null; then
		echo 'this machine lets nobody make namespaces'
		return 1
	fi
	if ! "$source_root/tests/guest/build" 2>&1; then
		echo 'the test guest cannot be built'
		return 1
	fi
}

# --- checks ---------------------------------------------------------------------------------------

pass() {
	checks=$((checks + 1))
	printf 'ok %s - %s\n' "$checks" "$1"
}

# fail WHAT: ends the test. What the host knows about it goes to standard error.
fail() {
	printf 'not ok %s - %s\n' "$((checks + 1))" "$1"
	bed_evidence >&2
	exit 1
}

# check WHAT COMMAND...: WHAT holds if the command succeeds.
check() {
	local what=$1
	shift
	if "$@" >"$checked" 2>&1; then
		pass "$what"
	else
		sed 's/^/# /' "$checked"
		fail "$what"
	fi
}

# refused WHAT REGEX COMMAND...: WHAT holds if the command fails and its output matches REGEX.
refused() {
	local what=$1 regex=$2
	shift 2
	if "$@" >"$checked" 2>&1; then
		sed 's/^/# /' "$checked"
		fail "$what (it was not refused)"
	fi
	if ! grep -qE -- "$regex" "$checked"; then
		sed 's/^/# /' "$checked"
		fail "$what (the message does not match /$regex/)"
	fi
	pass "$what"
}

# finish: the end of every test; without any check it has shown nothing.
finish() {
	[ "$checks" -gt 0 ] || fail 'the test checks something'
	printf '1..%s\n' "$checks"
	exit 0
}

bed_evidence() {
	local file
	# QEMU's own log begins with its many arguments.
	for file in /var/log/libvirt/libvirtd.log /var/log/libvirt/qemu/*.log \
		/var/log/swtpm/libvirt/qemu/*.log /var/log/shieldvm/*.log \
		"$guest_reports"/*/log; do
		[ -s "$file" ] || continue
		printf '# --- the end of %s\n' "$file"
		grep -vE '^(-|LC_ALL=|PATH=|HOME=|XDG_|LOGNAME=|USER=|QEMU_AUDIO|/usr/bin/)|^$' "$file" |
			tail -n "${EVIDENCE_LINES:-15}" | cut -c 1-1000 | sed 's/^/# /'
	done
}

# until_true SECONDS COMMAND...: repeats the command until it succeeds; fails after the time.
until_true() {
	local end=$((SECONDS + $1 * patience))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# --- libvirtd -------------------------------------------------------------------------------------

# libvirtd_start: a monolithic libvirtd of the bed's own. QEMU runs as libvirt's own user, as on a
# real host; no AppArmor (the machine's profiles know nothing of the bed), no cgroups, no networks.
# A libvirtd.conf that is there already stays, and libvirtd gets the options in $libvirtd_options.
libvirtd_start() {
	mkdir -p /etc/libvirt/hooks /etc/libvirt/qemu/networks /etc/libvirt/storage /etc/libvirt/nwfilter
	if [ ! -e /etc/libvirt/libvirtd.conf ]; then
		cat >/etc/libvirt/libvirtd.conf <<-CONF
			host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
			auth_unix_ro = "none"
			auth_unix_rw = "none"
			log_level = 3
			log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
		CONF
	fi
	if [ ! -e /etc/libvirt/qemu.conf ]; then
		cat >/etc/libvirt/qemu.conf <<-'CONF'
			security_driver = "none"
			cgroup_controllers = [ ]
			stdio_handler = "file"
			dynamic_ownership = 1
		CONF
		printf 'uri_default = "qemu:///system"\n' >/etc/libvirt/libvirt.conf
	fi
	# shellcheck disable=SC2086 # several words
	libvirtd ${libvirtd_options:-} --config /etc/libvirt/libvirtd.conf </dev/null >/run/bed/libvirtd.out 2>&1 &
	libvirtd_pid=$!
	until_true 60 virsh -q version || fail 'libvirtd answers within 60 seconds'
}

libvirtd_stop() {
	kill -TERM "$libvirtd_pid"
	until_true 30 bash -c "! kill -0 $libvirtd_pid" || kill -KILL "$libvirtd_pid"
	wait "$libvirtd_pid" || true
}

# virsh: bounded in time; everything goes to the bed's libvirtd.
virsh() {
	timeout -k 5 $((${VIRSH_SECONDS:-150} * patience)) virsh -c qemu:///system -q "$@"
}

domain_state() {
	[ "$(virsh domstate "$1")" = "$2" ]
}

# --- the guest ------------------------------------------------------------------------------------

# guest_listen: accepts guests' reports. Per VM a folder named by its UUID: "log" has each line with
# its time, "command" is a FIFO to the guest's newest connection.
guest_listen() {
	mkdir -p "$guest_reports"
	busybox nc -ll -p "$guest_port" -e "$here/guest-listener" \
		</dev/null >/run/bed/listener.out 2>&1 &
	until_true 10 bash -c ": </dev/tcp/127.0.0.1/$guest_port" ||
		fail "something listens for the guests: $(cat /run/bed/listener.out)"
}

guest_log() {
	printf '%s/%s/log' "$guest_reports" "${1,,}"
}

# guest_wait UUID REGEX [SECONDS]: waits for a report line that matches the whole REGEX and comes
# after the one found by the last call for this VM; leaves it in $line. Returns 1 after the time.
declare -A guest_seen=()
guest_wait() {
	local uuid=${1,,} regex=$2 end=$((SECONDS + ${3:-$boot_seconds} * patience)) found
	while :; do
		found=$(tail -n "+$((${guest_seen[$uuid]:-0} + 1))" "$(guest_log "$uuid")" 2>/dev/null |
			cut -d ' ' -f 2- | grep -nxE -m 1 -- "$regex" || true)
		if [ -n "$found" ]; then
			guest_seen[$uuid]=$((${guest_seen[$uuid]:-0} + ${found%%:*}))
			line=${found#*:}
			return 0
		fi
		if [ "$SECONDS" -ge "$end" ]; then
			line=
			return 1
		fi
		sleep 0.1
	done
}

# guest_boots UUID: waits for a whole report; leaves its lines in $secureboot, $tpm and $luks.
guest_boots() {
	guest_wait "$1" 'boot .*' || fail "the guest $1 boots within $boot_seconds seconds"
	guest_wait "$1" 'secureboot .*' 30 || fail 'the guest reports Secure Boot'
	secureboot=${line#secureboot }
	guest_wait "$1" 'tpm .*' 60 || fail 'the guest reports its TPM'
	tpm=${line#tpm }
	guest_wait "$1" 'luks .*' 60 || fail 'the guest reports its volume'
	luks=${line#luks }
	guest_wait "$1" 'ready .*' 30 || fail 'the guest is ready'
}

# guest_send UUID COMMAND LINE: to the guest's agent, without waiting.
guest_send() {
	local uuid=${1,,}
	shift
	printf '%s\n' "$*" | timeout 30 tee "$guest_reports/$uuid/command" >/dev/null
}

# guest_run UUID COMMAND LINE: runs it in the guest; prints its output; returns its status.
guest_run() {
	local uuid=${1,,} from
	shift
	from=$(wc -l <"$(guest_log "$uuid")")
	guest_seen[$uuid]=$from
	guest_send "$uuid" run "$@"
	guest_wait "$uuid" 'done [0-9]+' 90 || fail "the guest answers: $*"
	tail -n "+$((from + 1))" "$(guest_log "$uuid")" | cut -d ' ' -f 2- | sed -n 's/^| //p'
	return "${line#done }"
}

# --- domains --------------------------------------------------------------------------------------

# domain_disks NAME: the guest's boot disk and a blank data disk.
domain_disks() {
	cp --sparse=always --reflink=auto "$guest_image" "$images/$1.img"
	truncate -s 64M "$images/$1-data.img"
}

# domain_xml NAME UUID [TPM]: a plain domain with the devices a server has. TPM is the content of
# <devices>' tpm element, by default none.
domain_xml() {
	cat <<-XML
		<domain type='${DOMAIN_TYPE:-qemu}'>
		  <name>$1</name>
		  <uuid>$2</uuid>
		  <memory unit='MiB'>512</memory>
		  <vcpu>1</vcpu>
		  <os>
		    <type arch='x86_64' machine='q35'>hvm</type>
		    <loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.secboot.fd</loader>
		    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd'/>
		    <boot dev='hd'/>
		  </os>
		  <features><acpi/><apic/><smm state='on'/></features>
		  <clock offset='utc'/>
		  <on_poweroff>destroy</on_poweroff>
		  <on_reboot>restart</on_reboot>
		  <on_crash>destroy</on_crash>
		  <devices>
		    <emulator>/usr/bin/qemu-system-x86_64</emulator>
		    <disk type='file' device='disk'>
		      <driver name='qemu' type='raw'/>
		      <source file='$images/$1.img'/>
		      <target dev='vda' bus='virtio'/>
		    </disk>
		    <disk type='file' device='disk'>
		      <driver name='qemu' type='raw'/>
		      <source file='$images/$1-data.img'/>
		      <target dev='vdb' bus='virtio'/>
		    </disk>
		    <interface type='user'><model type='virtio'/></interface>
		    ${3:-}
		    <video><model type='none'/></video>
		    <memballoon model='none'/>
		  </devices>
		</domain>
	XML
}

# --- shieldvm -------------------------------------------------------------------------------------

owner_key=/run/bed/owner.jwk

# shieldvm_ready: an owner's key, and this host set up before libvirtd starts and finds the hook.
shieldvm_ready() {
	check 'the host is set up' shieldvm host init
	check 'an owner key is made' shieldvm key new "$owner_key"
}

# shield_domain NAME UUID [LEVEL]: disks, and a shielded domain from a plain one; defined.
shield_domain() {
	domain_disks "$1"
	domain_xml "$1" "$2" >"/run/bed/$1.plain.xml"
	check "$1 is shielded at level ${3:-shielded}" shieldvm shield "/run/bed/$1.plain.xml" \
		--owner "$owner_key" --level "${3:-shielded}" -o "/run/bed/$1.xml"
	check "$1 is defined" virsh define "/run/bed/$1.xml"
}

state_folder() {
	printf '/var/lib/shieldvm/%s' "${1,,}"
}

state_file() {
	printf '%s/tpm2.state' "$(state_folder "$1")"
}

# vm_processes UUID: the ids of the VM's own processes, which run as the owner of its folder.
vm_processes() {
	pgrep -u "$(stat -c %u "$(state_folder "$1")")"
}

# worker_pid UUID: of the VM's processes the one whose parent is the broker.
worker_pid() {
	local uid all
	uid=$(stat -c %u "$(state_folder "$1")")
	all=$(vm_processes "$1" | paste -s -d ,)
	[ -n "$all" ] && pgrep -x -u "$uid" -P "$all" shieldvm-worker
}

no_vm_processes() {
	! vm_processes "$1"
}
