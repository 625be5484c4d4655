# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables are for the caller, or bed.sh's
# Two hosts on one machine, and the wire between them.  To be sourced after bed.sh and bed_enter:
#
#   host-a  10.77.1.1 ──veth── wire ──veth── 10.77.2.1  host-b
#           fd77:1::1                        fd77:2::1
#
# Their names are the IPv4 addresses'.
# The bed itself is the wire: it forwards packets, so that one can look at them, and has addresses and
# the name "wire", so that a proxy there can do them harm.  A host has network, mounts, processes, IPC
# and name of its own; /etc/libvirt, /etc/shieldvm, /run, /tmp, /var/lib/libvirt, /var/lib/shieldvm,
# /var/log and /var/cache of libvirt's and shieldvm's are its own too; programs and users are the bed's.
# Its libvirtd has a host_uuid of its own and listens on TCP without asking who comes.  $shared is one
# folder for both hosts and the wire.  Whatever ends the bed ends the hosts; the kernel sees to it.
# A host whose host_tree is set before it comes up has the programs of another system (see bed).

hosts='a b'
shared=/srv/shared
declare -A host_pid=() host_unshare=() host_tree=()
declare -A host_address=([a]=10.77.1.1 [b]=10.77.2.1)
declare -A host_address6=([a]=fd77:1::1 [b]=fd77:2::1)
declare -A wire_address6=([a]=fd77:1::fe [b]=fd77:2::fe)
declare -A wire_address=([a]=10.77.1.254 [b]=10.77.2.254)
own_ports=16509 # at which somebody on each host listens all the time, in their order
captured=/run/bed/captured
capture_pid=
proxy_pid=

# on HOST COMMAND...: runs a program or one of bed.sh's functions on the host.  Nobody there may run
# longer than $ON_SECONDS.
on() {
	local host=$1
	shift
	# shellcheck disable=SC2016 # that shell's own
	timeout --foreground -k 5 $((${ON_SECONDS:-150} * patience)) nsenter -t "${host_pid[$host]}" -m -u -i -n -p -- \
		bash -c 'set -eu -o pipefail; . "$1"; shift; "$@"' "on-$host" "$here/bed.sh" "$@"
}

other_host() {
	[ "$1" = a ] && echo b || echo a
}

# far HOST: the libvirt URI by which the other host reaches this one.
far() {
	printf 'qemu+tcp://host-%s/system' "$1"
}

# host_up HOST: makes the host, without a libvirtd, and connects it to the wire.
host_up() {
	local host=$1 first
	setpriv --pdeathsig KILL unshare --mount --net --uts --ipc --pid --fork --kill-child \
		"$here/bed" --host "host-$host" "${host_tree[$host]:-}" </dev/null >"/run/bed/host-$host.out" 2>&1 &
	host_unshare[$host]=$!
	until_true 10 pgrep -P "${host_unshare[$host]}" || fail "host $host has a first process: $(cat "/run/bed/host-$host.out")"
	first=$(pgrep -P "${host_unshare[$host]}")
	host_pid[$host]=$first
	until_true 20 nsenter -t "$first" -m -p -- test -e /run/bed/ready ||
		fail "host $host comes up: $(cat "/run/bed/host-$host.out")"
	# The other end is made where it belongs: no interface is ever the machine's.
	ip link add "to-$host" type veth peer name eth0 netns "$first"
	ip address add "${wire_address[$host]}/24" dev "to-$host"
	ip address add "${wire_address6[$host]}/64" dev "to-$host" nodad
	ip link set "to-$host" up
	nsenter -t "$first" -n -- bash -c "ip address add ${host_address[$host]}/24 dev eth0 &&
		ip address add ${host_address6[$host]}/64 dev eth0 nodad && ip link set eth0 up &&
		ip route add default via ${wire_address[$host]} && ip route add default via ${wire_address6[$host]}"
}

# host_down HOST: like pulling the plug.
host_down() {
	kill -KILL "${host_unshare[$1]}"
	wait "${host_unshare[$1]}" 2>/dev/null || true
	unset "host_pid[$1]" "host_unshare[$1]"
	until_true 10 bash -c "! ip link show to-$1" || fail "host $1 is gone"
}

# host_libvirtd HOST: starts its libvirtd.
host_libvirtd() {
	on "$1" bash -c "mkdir -p /etc/libvirt && cat >/etc/libvirt/libvirtd.conf" <<-CONF
		host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
		listen_tls = 0
		listen_tcp = 1
		auth_tcp = "none"
		auth_unix_ro = "none"
		auth_unix_rw = "none"
		log_level = 3
		log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
	CONF
	libvirtd_options=--listen on "$1" libvirtd_start
}

# libvirtd_ended HOST; libvirtd_back HOST: starts one again.
libvirtd_ended() {
	no_process_on "$1" '^libvirtd '
}

libvirtd_back() {
	on "$1" rm -f /run/libvirtd.pid
	libvirtd_options=--listen on "$1" libvirtd_start
}

# hosts_up [HOST...]: the wire, and these hosts (both) with their libvirtd and, if BUILD is not "none",
# shieldvm with a host key of their own.
hosts_up() {
	local host
	mkdir -p /srv/hosts $shared /var/lib/libvirt/hosts /var/lib/libvirt/shared
	mount --bind /var/lib/libvirt/hosts /srv/hosts
	mount --bind /var/lib/libvirt/shared $shared
	echo 1 >/proc/sys/net/ipv4/ip_forward
	echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
	{
		echo "${host_address[a]} host-a"
		echo "${host_address[b]} host-b"
		echo "${wire_address[a]} wire"
	} >>/etc/hosts
	# shellcheck disable=SC2086 # their names
	[ $# -gt 0 ] || set -- $hosts
	for host; do
		host_up "$host"
		[ "${BUILD:-}" = none ] || on "$host" shieldvm host init >/dev/null
		host_libvirtd "$host"
	done
}

hosts_down() {
	local host
	for host in "${!host_pid[@]}"; do
		host_down "$host"
	done
}

# hosts_end: no VM runs any more; nothing of any is left on a host, and what is on record is whole.
hosts_end() {
	local host
	for host in $hosts; do
		check "nothing of it is left on $host" until_true 10 no_process_on "$host" 'shieldvm-.*'
		check '... nor a socket' on "$host" bash -c '! find /run/shieldvm -type s | grep .'
		check '... nor a port' until_true 10 only_own_ports "$host"
		check "the audit log of $host is whole" on "$host" shieldvm audit verify
	done
	hosts_down
	finish
}

# vms_evidence: what libvirt says of its VMs, and of what it does to them.
vms_evidence() {
	local vm
	for vm in $(virsh list --name); do
		printf '# --- %s: ' "$vm"
		{
			virsh domstate --reason "$vm"
			virsh domjobinfo "$vm"
		} 2>&1 | tr -s ' \n' ' ' | cut -c 1-1000
		echo
	done
}

# bed.sh's, with what each host knows.
fail() {
	local host
	printf 'not ok %s - %s\n' "$((checks + 1))" "$1"
	for host in "${!host_pid[@]}"; do
		printf '# === host-%s\n' "$host" >&2
		# It may be what libvirt does not answer for.
		ON_SECONDS=20 on "$host" bash -c ". '$here/hosts.sh'; vms_evidence" >&2 || true
		on "$host" bed_evidence >&2 || true
	done
	exit 1
}

# --- where a VM is --------------------------------------------------------------------------------

runs_on() {
	on "$1" virsh list --name --state-running | grep -qx "$2"
}

# runs_only_on HOST VM [KIND]: it runs there, and on the other host not a process is left of it; nor
# is, if KIND is "transient", its definition.
runs_only_on() {
	local away
	away=$(other_host "$1")
	[ "$(on "$1" virsh domstate "$2")" = running ] || return 1
	! on "$away" virsh list --name | grep -qx "$2" || return 1
	[ "${3:-}" != transient ] || ! on "$away" virsh list --all --name | grep -qx "$2" || return 1
	on "$1" pgrep -f "guest=$2," >/dev/null || return 1
	until_true 5 no_process_on "$away" "guest=$2,"
}

no_process_on() {
	! on "$1" pgrep -f "$2" >/dev/null
}

# several_channels HOST: whether several channels of a shielded VM's can come in there (--parallel).  From
# 8.2 on QEMU takes no descriptor in the place of an address to listen at.
several_channels() {
	local version
	version=$(on "$1" qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9]*\.[0-9]*\).*/\1/p')
	[ "$(printf '%s\n' 8.2 "$version" | sort -V | head -n 1)" != 8.2 ]
}

# goes_on_there HOST: whether its libvirtd survives being asked to take up a post-copy again whose link broke.
# 11.3's does not, whatever the VM: a null pointer, in qemuProcessIncomingDefNew().
goes_on_there() {
	[[ $(on "$1" libvirtd --version) != *' 11.3.'* ]]
}

# qemu_threads HOST VM: of its QEMU, the names and system calls of those threads that migrate it to another host.
qemu_threads() {
	local pid task name
	pid=$(pgrep --ns "${host_pid[$1]}" --nslist uts -f "guest=$2,") || return 0
	for task in "/proc/$pid/task"/*; do
		name=$(cat "$task/comm" 2>/dev/null) || continue
		[[ $name != live_migration && $name != multifdsend* ]] ||
			printf '%s %s\n' "$name" "$(cut -d ' ' -f 1 "$task/syscall" 2>/dev/null)"
	done
}

migrates_no_more() {
	[ -z "$(qemu_threads "$1" "$2")" ]
}

# waits_for_itself HOST VM: its QEMU (7.2) lets the guest run, and never migrates it again.  One of the threads of its
# parallel channels has failed; the migration's waits, in futex(2), for another to say that it has come as far, and
# that has ended without (multifd_send_sync_main()).  With a worker or without, whenever a channel breaks.
waits_for_itself() {
	for _ in 1 2 3 4 5; do
		[ "$(qemu_threads "$1" "$2")" = 'live_migration 202' ] || return 1
		sleep 1
	done
}

# ports HOST: the TCP ports that somebody listens at, one a line.
ports() {
	on "$1" ss -Htln | awk '{ sub(/.*:/, "", $4); print $4 }' | sort -un
}

only_own_ports() {
	[ "$(ports "$1" | xargs)" = "$own_ports" ]
}

# no_port_open: nothing of a migration is left at which somebody listens.
no_port_open() {
	until_true 10 only_own_ports a && until_true 10 only_own_ports b
}

# --- the wire -------------------------------------------------------------------------------------

# capture_begin: from here on every packet between the hosts is kept in $captured.
capture_begin() {
	rm -rf $captured $captured.pcap
	python3 "$here/wire.py" capture to-a $captured.pcap </dev/null >/run/bed/capture.out 2>&1 &
	capture_pid=$!
	until_true 20 test -s $captured.pcap || fail "the wire is looked at: $(cat /run/bed/capture.out)"
}

# capture_end: no packet was missed; leaves each TCP connection's two directions in files of their own,
# $captured/FROM:PORT-TO:PORT.
capture_end() {
	local status=0
	kill -TERM "$capture_pid"
	wait "$capture_pid" || status=$?
	capture_pid=
	[ $status = 0 ] || fail "no packet is missed: $(cat /run/bed/capture.out)"
	mkdir -p $captured
	python3 "$here/wire.py" streams $captured.pcap $captured >/run/bed/streams ||
		fail "the packets make whole streams: $(cat /run/bed/streams)"
}

# captured_bytes: of QEMU's and the workers' connections, that is all but libvirtd's.
captured_bytes() {
	find $captured -type f -not -name '*:16509*' -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'
}

# on_the_wire TEXT...: whether one of the texts (in a row of bytes) went over the wire, in whichever connection.
on_the_wire() {
	local text
	for text; do
		printf '%s\n' "$text"
	done >/run/bed/canaries
	python3 "$here/wire.py" search /run/bed/canaries $captured
}

# random_on_the_wire: whether all that the larger connections carry, but for libvirtd's, looks random.
random_on_the_wire() {
	local files=()
	mapfile -d '' files < <(find $captured -type f -size +64k -not -name '*:16509*' -print0)
	[ ${#files[@]} -gt 0 ] || return 1
	python3 "$here/wire.py" random "${files[@]}"
}

# proxy_begin PORT HOST[:PORT] [OPTION...]: a proxy at the wire's PORT, which does harm (see proxy.py);
# its process is $proxy_pid, what it has to say in /run/bed/proxy.out.
proxy_begin() {
	local port=$1 to=$2
	shift 2
	[[ $to = *:* ]] || to=$to:$port
	python3 "$here/proxy.py" forward "$port" "$to" "$@" </dev/null >/run/bed/proxy.out 2>&1 &
	proxy_pid=$!
	until_true 20 grep -q '^ready' /run/bed/proxy.out || fail "a proxy is there: $(cat /run/bed/proxy.out)"
}

proxy_end() {
	kill -TERM "$proxy_pid"
	wait "$proxy_pid" || true
	proxy_pid=
}
