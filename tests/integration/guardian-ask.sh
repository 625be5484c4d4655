#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# VM keys from a guardian: two hosts with software TPMs and one without, guardians over one database and of their own,
# shieldvm-ask with somebody who plays hook and worker, and shieldvm-attestd's rounds.
# Runs in mount, network and process namespaces of its own.
# Usage: guardian-ask.sh SHIELDVM SHIELDVM-GUARDIAN SHIELDVM-ASK SHIELDVM-ATTESTD ASK-KEY
set -u -o pipefail
shieldvm=$(realpath "$1")
guardian=$(realpath "$2")
ask=$(realpath "$3")
attestd=$(realpath "$4")
ask_key=$(realpath "$5")
liar=$(realpath "$(dirname "$0")/guardian_liar.py")
for tool in swtpm swtpm_setup tpm2_pcrextend jq python3 ip openssl flock; do
	command -v "$tool" >/dev/null && continue
	echo "skipped: $tool is missing"
	[ "${MUST_WORK:-}" != 1 ] || exit 1
	exit 77
done
# shellcheck source-path=SCRIPTDIR source=guardian-lib.sh
. "$(dirname "$0")/guardian-lib.sh"
guardian_enter 500 "$shieldvm" "$guardian" "$ask" "$attestd" "$ask_key"

# on NAME COMMAND...: on that host.
on() {
	local name=$1 status=0 folder
	shift
	mkdir -p "$name/var" "$name/run" /etc/shieldvm /var/lib/shieldvm /run/shieldvm
	mount --bind "$name/etc" /etc/shieldvm
	mount --bind "$name/var" /var/lib/shieldvm
	mount --bind "$name/run" /run/shieldvm
	"$@" || status=$?
	for folder in /etc/shieldvm /var/lib/shieldvm /run/shieldvm; do umount "$folder"; done
	return "$status"
}
# asks NAME STATUS SAYS PROTECTOR [VERSION [COMES]]
asks() {
	local name=$1 status=$2 says=$3 got=0
	checks=$((checks + 1))
	on "$name" "$ask_key" ask "$ask" "$4" owner "${5:-0}" "${6:-0}" >out 2>err || got=$?
	[ "$got" = "$status" ] || fail "line ${BASH_LINENO[0]}: $name asks: $got instead of $status: $(cat out err)"
	grep -qF -e "$says" out || fail "line ${BASH_LINENO[0]}: $name asks: not '$says': $(cat out err)"
}
# tends NAME STATUS SAYS: a round of the daemon; SAYS nothing: nor does it.
tends() {
	local name=$1 status=$2 says=$3 got=0
	checks=$((checks + 1))
	on "$name" timeout 60 "$attestd" --once >out 2>err 9>&- || got=$?
	[ "$got" = "$status" ] || fail "line ${BASH_LINENO[0]}: $name tends: $got instead of $status: $(cat out err)"
	[ -n "$says" ] || ! grep -q ERROR err || fail "line ${BASH_LINENO[0]}: $name tends: $(cat err)"
	[ -z "$says" ] || grep -qF -e "$says" err || fail "line ${BASH_LINENO[0]}: $name tends: not '$says': $(cat err)"
}
# lives NAME, ends: the VM's worker, which is no more than who has the lock.
lives() {
	mkdir -p "$1/run/$vm" "$1/var/$vm"
	exec 9>"$1/run/$vm/lock"
	flock 9
}
ends() { exec 9>&-; }
# state NAME VERSION: of the VM's vTPM there.
state() {
	mkdir -p "$1/var/$vm"
	python3 -c 'import struct, sys; sys.stdout.buffer.write(b"SHVDSTAT" + struct.pack(">QQ", 1, int(sys.argv[1])) + b"sealed")' \
		"$2" >"$1/var/$vm/tpm2.state"
}
note() { jq -r "$2" "$1/var/leases/$vm.json"; }
noted() { # NAME FILTER VALUE
	checks=$((checks + 1))
	[ "$(note "$1" "$2" 2>&1)" = "$3" ] || fail "line ${BASH_LINENO[0]}: $1's note: $2 is $(note "$1" "$2" 2>&1) instead of $3"
}
no_note() {
	checks=$((checks + 1))
	[ ! -e "$1/var/leases/$vm.json" ] || fail "line ${BASH_LINENO[0]}: $1 still has a note"
}
admin() {
	check "guardian $*" "$shieldvm" guardian "$@" --guardian "$admins_url" --admin admin
}

# --- guardians and hosts ---

make_maker
for name in alpha beta gamma; do make_host "$name"; done
for name in admin owner; do
	"$shieldvm" key new "$name" >/dev/null || fail "no key for $name"
done
check 'a guardian is made' "$guardian" init --state "$work/state" --admin admin.pub
pin=$("$shieldvm" key show state/tls.jwk.pub 2>&1 >/dev/null | grep -oE '[A-Za-z0-9_-]{43}')
first=https://127.0.0.1:8787#$pin
second=https://127.0.0.1:8797#$pin
nobody=https://127.0.0.1:8700#$pin
admins_url=https://127.0.0.1:8788#$pin
boot alpha
boot beta
run_guardian one state 8787
vm=2f6e8c3a-9d5b-4c1e-8a7f-0b1c2d3e4f50
"$ask_key" make "$vm" owner tpm 0 state/release.jwk.pub "$first" >protector || fail 'no protector'
asks alpha 1 'guardian.host' protector
for name in alpha beta; do
	on "$name" "$shieldvm" host enrol --guardian "$first" --name "$name" --tcti "swtpm:path=$work/$name.sock" \
		--eventlog "$work/$name/logs/eventlog" --ima "$work/$name/logs/ima" >out 2>err ||
		fail "$name is not enrolled: $(cat err)"
	print=$(print_of)
	check "$name says how it attests" jq -e --arg tcti "swtpm:path=$work/$name.sock" '.v == 1 and .mode == "tpm" and .tcti == $tcti' \
		"$name/etc/attest.json"
	[ "$name" = beta ] || asks alpha 1 'host.pending' protector
	admin host approve "$(id_of "$name")" "$print"
done
asks alpha 1 'baseline.match' protector
on alpha "$shieldvm" attest --dry-run --tcti "swtpm:path=$work/alpha.sock" --eventlog alpha/logs/eventlog \
	--ima alpha/logs/ima --capture capture >/dev/null 2>&1
"$shieldvm" guardian baseline learn base capture --policy policy.json >/dev/null 2>&1 || fail 'no baseline'
admin policy push policy.json
on alpha "$shieldvm" attest --guardian "$first" >out 2>&1 || fail "attest does not know how: $(cat out)"

# --- one VM, one instance ---

lives alpha
asks alpha 0 'key ok token' protector 5
noted alpha .state held
noted alpha .urls "$first"
check "the note is root's alone" test "$(stat -c %a alpha/var/leases alpha/var/leases/$vm.json | tr '\n' ' ')" = '700 600 '
asks beta 1 'lease.held' protector 5
no_note beta
state alpha 7
tends alpha 0 'this host is healthy'
noted alpha .state held
asks beta 1 'lease.held' protector 7
ends
tends alpha 0 ''
no_note alpha
asks beta 1 'vm.version' protector 6
lives beta
asks beta 0 'key ok token' protector 7
ends
tends beta 0 ''
no_note beta

# --- a guardian that lies, to a host without a TPM ---

mkdir liar ours theirs
"$ask_key" ca ours && "$ask_key" ca theirs || fail 'no CAs'
echo >liar/none.der
python3 "$liar" 8900 ours/ca.pem liar/none.der liar >liar.out 2>&1 &
guardians[liar]=$!
for _ in $(seq 100); do [ -s liar/pin ] && break; sleep 0.1; done
liar_url=https://127.0.0.1:8900#$(cat liar/pin)
printf '01234567-89ab-4cde-8f01-23456789abcd\n' >gamma/etc/host.id
echo '{"v":1,"mode":"hostkey","tcti":null,"eventlog":null,"ima":null}' >gamma/etc/attest.json
"$ask_key" make "$vm" owner hostkey 0 state/release.jwk.pub "$liar_url" >lied || fail 'no protector'
"$ask_key" make "$vm" owner hostkey 0 state/release.jwk.pub "$liar_url" admin.pub "$nobody" >lied-twice || fail 'no protector'
certify() { printf '"/v1/attest": {"run": ["%s", "certify", "%s", "%s", "gamma/etc/host.jwk.pub"%s]}' "$ask_key" "$1" "$2" "${3:-}"; }
gamma=$(id_of gamma)
good=$(certify ours "$gamma")
# lies STATUS SAYS LIE [PROTECTOR]: what shieldvm-ask says then, and that nothing was noted.
lies() {
	echo "{$3}" >liar/lies
	asks gamma "$1" "$2" "${4:-lied}"
	no_note gamma
}
zeros() { python3 -c 'import base64, sys; print(base64.urlsafe_b64encode(b"\4" + bytes(int(sys.argv[1]) - 1)).decode().rstrip("="))' "$1"; }
released() { printf '"/v1/release": {"answer": {"key": "%s", "token": 1, "expires": 2, "spent": 3%s}}' "$(zeros "$1")" "${2:-}"; }
whole=219
lies 1 'guardian.answer' "$good, $(released $((whole - 1)))"
lies 1 'guardian.answer' "$good, $(released $((whole + 1)))"
lies 1 'guardian.answer' "$good, $(released $whole)"
lies 1 'does not permit' "$good, $(released $whole ', "copy": "AAAA"')"
lies 1 'guardian.answer' "$good, $(released $whole | sed 's/"token": 1/"token": -1/')"
lies 1 'guardian.answer' "$good, \"/v1/release\": {\"answer\": {}}"
lies 1 'CA has not signed' "$(certify theirs "$gamma")"
lies 1 'another host' "$(certify ours "$vm")"
lies 1 "another key than this host's" "$(certify ours "$gamma" ', "x"')"
lies 1 'guardian.answer' '"/v1/attest": {"answer": {"certificate": "AAAA", "findings": []}}'
lies 1 'guardian.answer' '"/v1/challenge": {"answer": {"nonce": "AAAA"}}'
refusal='"answer": {"status": "refused", "id": "lease.held", "text": "it runs there"}'
lies 1 'lease.held: ' "$good, \"/v1/release\": {\"status\": 403, $refusal}"
grep -q 'it runs there (Stop the VM where it runs' out || fail "no remedy: $(cat out)"
# What one refuses, or answers with nonsense, the next one is not asked for.
lies 1 'lease.held: ' "$good, \"/v1/release\": {\"status\": 403, $refusal}" lied-twice
lies 1 'guardian.answer: ' "$good, \"/v1/release\": {\"answer\": {}}" lied-twice
lies 1 'guardian.unreachable: ' "$good, \"/v1/release\": {\"status\": 503, $refusal}" lied-twice
grep -q '8900.*8700' out || fail "not each address: $(cat out)"
lies 1 'guardian.unreachable: ' "$good, \"/v1/release\": {\"answer\": {}, \"how\": \"cut\"}" lied-twice
grep -q '8700' out || fail "the next guardian was not asked: $(cat out)"
lies 1 'larger than any' "$good, \"/v1/release\": {\"how\": \"huge\"}"
started=$SECONDS
lies 1 'guardian.unreachable: ' "$good, \"/v1/release\": {\"how\": \"hang\"}"
[ $((SECONDS - started)) -le 45 ] || fail "it took $((SECONDS - started)) s"

[ "$failed" = 0 ] && echo "ok - $checks checks"
exit "$failed"
