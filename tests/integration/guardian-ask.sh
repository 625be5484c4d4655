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
	flock -w 5 9 || fail "line ${BASH_LINENO[0]}: somebody has the lock"
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
state beta 7
asks beta 0 'key ok token' protector 7
ends
tends beta 0 ''
no_note beta

# A lease that cannot be noted is given back, and a start whose hook was killed does not undo the one after it.
lives alpha
mkdir "alpha/var/leases/$vm.json"
asks alpha 1 'the lease cannot be noted' protector 7
rmdir "alpha/var/leases/$vm.json"
lives beta
asks beta 0 'key ok token' protector 7
jq -c '.token += 5' "beta/var/leases/$vm.json" >changed && cp changed "beta/var/leases/$vm.json"
asks beta 1 'started again meanwhile' protector 7
jq -c '.token -= 5' changed >"beta/var/leases/$vm.json"
asks beta 0 'key ok token' protector 7
ends
tends beta 0 ''
no_note beta

# --- an owner's ticket: for the state that is there, or for a saved one ---

ticket() { # NAME KEY VERSION N
	"$shieldvm" key ticket "$vm" --owner "$2" --restore "$3" --restores "$4" >ticket 2>err || fail "no ticket: $(cat err)"
	check "$1 has a ticket for version $3" on "$1" "$shieldvm" host ticket "$vm" ticket
}
used() { check "$1 has none any more" test ! -e "$1/var/leases/$vm.ticket"; }
lives alpha
asks alpha 0 'spent 7 ticket 0 ' protector 7
ticket alpha owner 4 0
asks alpha 0 'spent 7 ticket 4 ' protector 7
used alpha
asks alpha 0 'spent 7 ticket 0 ' protector 7
on alpha "$shieldvm" host ticket "$vm" ticket 2>/dev/null
asks alpha 1 'ticket.invalid' protector 7
ticket alpha owner 4 1
asks alpha 1 'vm.version' protector 6
ticket alpha owner 6 1
asks alpha 0 'spent 7 ticket 6 ' protector 6
used alpha
# Version 0 is that of state that is not there: it takes one as well, and has it said to the worker.
asks alpha 1 'vm.version' protector 0
ticket alpha owner 0 2
asks alpha 0 'spent 7 ticket 18446744073709551615 ' protector 0
used alpha
# One that is not the owner's, or not older, does no harm.
ticket alpha admin 4 3
asks alpha 0 'spent 7 ticket 0 ' protector 7
ticket alpha owner 7 3
asks alpha 0 'spent 7 ticket 0 ' protector 7
ticket alpha owner 9 3
asks alpha 0 'spent 7 ticket 0 ' protector 7
used alpha
ends
tends alpha 0 ''
no_note alpha

# --- a migration: the lease follows the VM ---

lives alpha
state alpha 7
asks alpha 0 'key ok token' protector 7
state alpha 8
tends alpha 0 ''
held=$(note alpha .token)
asks beta 1 'lease.held' protector 8
rm "beta/var/$vm/tpm2.state"
asks beta 0 "key ok token $held expires 0" protector 0 1
noted beta .state incoming
noted beta .expires 0
# Its worker there is the one that lives now; at first it has no state, then one that is still alpha's.
ends
lives beta
tends beta 0 ''
noted beta .state incoming
state beta 8
touch "beta/var/$vm/tpm2.state.moved"
tends beta 0 ''
noted beta .state incoming
touch "alpha/var/$vm/tpm2.state.moved"
rm "beta/var/$vm/tpm2.state.moved"
state beta 9
tends beta 0 ''
noted beta .state held
check 'the lease has another token' test "$(note beta .token)" -gt "$held"
# The old host tells nothing of what is not its own any more.
tends alpha 0 ''
no_note alpha
asks alpha 1 'lease.held' protector 9
tends beta 0 ''
noted beta .state held
# Taken over behind its back: said once, and the VM goes on; at its end the note goes.
token=$(note beta .token)
jq -c ".token = $held" "beta/var/leases/$vm.json" >changed && cp changed "beta/var/leases/$vm.json"
tends beta 3 'lease.lost'
noted beta .token "$held"
jq -c ".token = $token" "beta/var/leases/$vm.json" >changed && cp changed "beta/var/leases/$vm.json"
ends
tends beta 0 ''
no_note beta
# One that never came.
rm -f alpha/var/"$vm"/*
asks alpha 0 'key ok' protector 0 1
noted alpha .state incoming
tends alpha 0 ''
no_note alpha

# --- another owner's VM with the same UUID ---

whose() { "$shieldvm" key show "$1.pub" 2>&1 >/dev/null | grep -oE '[A-Za-z0-9_-]{43}'; }
# reads STATUS SAYS ARGUMENT...: the VM's log.
reads() {
	local status=$1 says=$2
	shift 2
	expect "$status" "$says" guardian log --vm "$vm" --log-key state/log.jwk.pub "$@"
}
reads 0 "of the VM of owner $(whose owner), chained" --guardian "$admins_url" --admin admin
records=$(wc -l <out)
"$ask_key" make "$vm" admin tpm 0 state/release.jwk.pub "$first" >namesake || fail 'no protector'
lives beta
check 'it starts' on beta "$ask_key" ask "$ask" namesake admin 0 0
ends
tends beta 0 ''
no_note beta
reads 1 'owner.several' --guardian "$admins_url" --admin admin
reads 0 "records of the VM of owner $(whose owner), chained" --guardian "$admins_url" --admin admin --whose "$(whose owner)"
check 'it is no longer for that' test "$(wc -l <out)" = "$records"
reads 0 "2 records of the VM of owner $(whose admin), chained" --guardian "$first" --owner admin
reads 0 'they go on from the' --guardian "$first" --owner owner
check 'nobody reads the other one' test "$(wc -l <out)" = "$records"
reads 0 '' --guardian "$admins_url" --admin admin --whose "$(whose owner)" --json
cp out records
cp "kept/shieldvm/guardian-log/"*"/$vm-$(whose owner)" head
check 'each log has a head of its own' test -s "$(echo kept/shieldvm/guardian-log/*/"$vm-$(whose admin)")"
reads 2 "not a key's thumbprint" --guardian "$admins_url" --admin admin --whose me
reads 2 '--whose goes with --admin' --guardian "$first" --owner owner --whose "$(whose admin)"

# The daemon as it runs: a stop is told at once, and a signal ends it in order.
state alpha 9
lives alpha
asks alpha 0 'key ok' protector 9
ends
on alpha timeout --preserve-status -s TERM 6 "$attestd" 2>err || fail "attestd ends with $?: $(cat err)"
checks=$((checks + 1))
grep -q 'ends: signal 15' err || fail "attestd ends in no order: $(cat err)"
no_note alpha

# --- guardians that cannot be reached ---

"$ask_key" make "$vm" owner tpm 0 admin.pub "$nobody" state/release.jwk.pub "$first" >next || fail 'no protector'
"$ask_key" make "$vm" owner tpm 2 state/release.jwk.pub "$nobody,$first" >offline || fail 'no protector'
state alpha 9
lives alpha
asks alpha 0 'by https://127.0.0.1:8787' next 9
asks alpha 0 'left 0 by https://127.0.0.1:8787' offline 9
check 'there is a sealed copy' jq -e '.left == 2' "alpha/var/leases/$vm.copy"
stop_guardian one
asks alpha 1 'guardian.unreachable: ' protector 9
grep -q 'https://127.0.0.1:8787: ' out || fail "no address: $(cat out)"
# Two starts, and not with another protector, nor of a VM that comes, nor without the lease.
"$ask_key" make "$vm" owner tpm 2 state/release.jwk.pub "$first" >other || fail 'no protector'
asks alpha 1 'another protector' other 9
asks alpha 1 'comes from another host' offline 0 1
check 'the count stays' jq -e '.left == 2' "alpha/var/leases/$vm.copy"
asks alpha 0 'key ok' offline 9
grep -q 'left 1 by -' out || fail "not offline: $(cat out)"
mv "alpha/var/leases/$vm.json" kept.json
asks alpha 1 "has not got the VM's lease" offline 9
mv kept.json "alpha/var/leases/$vm.json"
# The daemon has nobody to tell, and keeps what it knows; a stop that was not heard keeps the copy.
tends alpha 3 'no guardian answers'
ends
tends alpha 3 'no guardian answers'
noted alpha .state held
lives alpha
asks alpha 0 'left 0 by -' offline 9
asks alpha 1 'no start from the sealed copy' offline 9
ends
# Another state of the TPM, and another life of it, open nothing; a count that is lowered stays so.
for change in other reset; do
	run_guardian one state 8787
	lives alpha
	asks alpha 0 'left 0 by https' offline 9
	stop_guardian one
	case $change in
	other) TPM2TOOLS_TCTI=swtpm:path=$work/alpha.sock tpm2_pcrextend "7:sha256=$(printf '%064d' 7)" ;;
	reset) boot alpha 9>&- ;;
	esac
	asks alpha 1 'and offline: ' offline 9
	check 'the count went down' jq -e '.left == 1' "alpha/var/leases/$vm.copy"
	ends
	boot alpha
done
# A refusal is no matter for a copy.
run_guardian one state 8787
admin host revoke "$(id_of alpha)"
lives alpha
asks alpha 1 'host.revoked: ' offline 9
check 'the count stays' jq -e '.left == 1' "alpha/var/leases/$vm.copy"
ends
tends alpha 3 'host.revoked'
no_note alpha
echo '{' >"alpha/var/leases/$vm.json"
tends alpha 3 "$vm"
check 'what cannot be read stays' test -e "alpha/var/leases/$vm.json"

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
# Another owner's log is not passed off as that of the one who asks.
cp records head liar
reads 0 'they go on' --guardian "$liar_url" --owner owner
reads 1 "it is of the VM of owner $(whose owner)" --guardian "$liar_url" --owner admin
reads 1 "it is of the VM of owner $(whose owner)" --guardian "$liar_url" --admin admin --whose "$(whose admin)"
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

# A stop that the guardian may have heard takes the copy away for good, also when it surely does not hear the next one:
# another host may have the VM by then.
held() { printf '{"v":1,"vm":"%s","state":"held","token":1,"expires":2,"guardian":"%s","urls":"%s"}\n' "$vm" "$(cat liar/pin)" "$liar_url"; }
held >"gamma/var/leases/$vm.json"
echo kept >"gamma/var/leases/$vm.copy"
echo '{"/v1/lease/stop": {"answer": {}, "how": "cut"}}' >liar/lies
tends gamma 3 'no guardian answers'
check 'a stop that may have been heard takes the copy' test ! -e "gamma/var/leases/$vm.copy"
stop_guardian liar
tends gamma 3 'no guardian answers'
check '... for good' test ! -e "gamma/var/leases/$vm.copy"
rm "gamma/var/leases/$vm".*

[ "$failed" = 0 ] && echo "ok - $checks checks"
exit "$failed"
