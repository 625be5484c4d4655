# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables are for the caller, or those of what it sourced before
# A guardian for the hosts of hosts.sh (sourced after guardian-lib.sh, bed.sh and hosts.sh): it runs on the wire, as do
# the hosts' software TPMs, which the hosts reach by sockets in $shared.

work=$shared/guardian
guardian_at=10.77.1.254:8787
admins_at=127.0.0.1:8788
guardian_pid=
export XDG_STATE_HOME=$work/kept # where `shieldvm guardian log` keeps heads

# guardian_up: makes it, with an admin, and starts it.
guardian_up() {
	mkdir -p "$work"
	cd "$work"
	make_maker
	check "an admin's key is made" shieldvm key new admin.jwk
	check "an owner's key is made" shieldvm key new owner.jwk
	check 'the guardian is set up' shieldvm-guardian init --state "$work/state" --admin admin.jwk.pub
	pin=$(shieldvm key show state/tls.jwk.pub 2>&1 >/dev/null | grep -oE '[A-Za-z0-9_-]{43}')
	for_hosts=https://$guardian_at#$pin
	for_admins=https://$admins_at#$pin
	: >makers.pem
	for host in $hosts; do
		mkdir -p "$host/tpm"
		check "a TPM is made for $host" swtpm_setup --tpm2 --tpmstate "$work/$host/tpm" --create-ek-cert --ecc \
			--config setup.conf --overwrite
		boot "$host"
	done
	cat ca/*cert.pem >makers.pem
	guardian_back
}

guardian_back() {
	shieldvm-guardian run --state "$work/state" --listen "$guardian_at" --admin-listen "$admins_at" \
		--ek-ca "$work/makers.pem" >>"$work/guardian.out" 2>&1 &
	guardian_pid=$!
	until_true 20 bash -c "exec 3<>/dev/tcp/${guardian_at/://}" || fail "the guardian serves: $(cat "$work/guardian.out")"
}

guardian_down() {
	kill -TERM "$guardian_pid"
	wait "$guardian_pid" || true
}

admin() {
	shieldvm guardian "$@" --guardian "$for_admins" --admin "$work/admin.jwk"
}

host_id() {
	on "$1" cat /etc/shieldvm/host.id
}

# host_enrolled HOST: and approved.
host_enrolled() {
	local print
	on "$1" shieldvm host enrol --guardian "$for_hosts" --name "$1" --tcti "swtpm:path=$work/$1.sock" \
		--eventlog "$work/$1/logs/eventlog" --ima "$work/$1/logs/ima" >"$work/$1/enrolled" || fail "$1 is enrolled"
	print=$(sed -n 's/^Fingerprint  //p' "$work/$1/enrolled")
	check "$1 is approved" admin host approve "$(host_id "$1")" "$print"
}

# policy_from HOST: hosts like that one pass.
policy_from() {
	# It fails the policy of now, and is captured all the same.
	on "$1" shieldvm attest --dry-run --capture "$work/good" >/dev/null 2>&1 || true
	check "a baseline is learned from $1" shieldvm guardian baseline learn rack "$work/good" --policy "$work/policy.json"
	check 'it is the policy' admin policy push "$work/policy.json"
}

# guarded_vm NAME UUID FILE: a plain VM, shielded for the guardian alone.
guarded_vm() {
	domain_xml "$1" "$2" | sed -e '/<disk /,/<\/disk>/d' -e 's/>512</>128</' >"$work/$1.xml"
	check "$1 is shielded for the guardian" on a shieldvm shield "$work/$1.xml" --owner "$work/owner.jwk" \
		--guardian "$work/state/release.jwk.pub@$for_hosts" -o "$3"
}

attestd_up() {
	nsenter -t "${host_pid[$1]}" -m -u -i -n -p -- shieldvm-attestd </dev/null >"$work/$1/attestd.out" 2>&1 &
}

# attestd_down HOST: ends it in order.
attestd_down() {
	on "$1" pkill -TERM -x shieldvm-attest
	until_true 10 no_process_on "$1" '^shieldvm-attestd'
}

# vm_log: the release log of $uuid as an admin sees it, verified.
vm_log() {
	admin log --vm "$uuid" --log-key "$work/state/log.jwk.pub"
}

# owner_log KEY: the same, as whoever has the owner key KEY sees it, who asks where hosts do.
owner_log() {
	vm_log >"$work/admin.log" &&
		shieldvm guardian log --vm "$uuid" --log-key "$work/state/log.jwk.pub" --guardian "$for_hosts" --owner "$1" \
			>"$work/owner.log" && cmp "$work/admin.log" "$work/owner.log" && [ -s "$work/owner.log" ]
}

# state_version HOST UUID: of its vTPM's state there.
state_version() {
	on "$1" od -An -t u8 --endian=big -j 16 -N 8 "/var/lib/shieldvm/$2/tpm2.state" | tr -d ' '
}

# ticket_for HOST UUID N [VERSION]: its owner lets the VM start there from the state that is there, or from that of
# VERSION; the ticket N + 1 of this VM.
ticket_for() {
	local version=${4:-}
	[ -n "$version" ] || version=$(state_version "$1" "$2")
	shieldvm key ticket --owner "$work/owner.jwk" --restore "$version" --restores "$3" "$2" >"$work/ticket" ||
		fail 'the owner writes a ticket'
	check "$1 gets its owner's ticket for version $version" on "$1" shieldvm host ticket "$2" "$work/ticket"
}
