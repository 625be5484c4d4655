#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Hosts with software TPMs, a guardian and its admin, all by their commands: enrolment, approval, certificates, a policy
# that is pushed, tampered and revoked hosts, and guardians that are not who they should be.
# Runs in mount, network and process namespaces of its own. Usage: guardian-attest.sh SHIELDVM SHIELDVM-GUARDIAN
set -u -o pipefail
shieldvm=$(realpath "$1")
guardian=$(realpath "$2")
liar=$(realpath "$(dirname "$0")/guardian_liar.py")
for tool in swtpm swtpm_setup tpm2_pcrextend jq python3 ip openssl pgrep; do
	command -v "$tool" >/dev/null && continue
	echo "skipped: $tool is missing"
	[ "${MUST_WORK:-}" != 1 ] || exit 1
	exit 77
done
# shellcheck source-path=SCRIPTDIR source=guardian-lib.sh
. "$(dirname "$0")/guardian-lib.sh"
guardian_enter 400 "$shieldvm" "$guardian"

# --- what is said on a host, and by the admin ---

# on NAME STATUS SENTENCE ARGUMENT...: the command on that host; its verdict may be on standard output.
on() {
	local name=$1 status=$2 sentence=$3 got=0
	shift 3
	checks=$((checks + 1))
	as_host "$name" "$@" >out 2>err || got=$?
	[ "$got" = "$status" ] || fail "$name: $*: status $got instead of $status: $(cat out err)"
	[ -z "$sentence" ] || grep -qaF -e "$sentence" out err || fail "$name: $*: does not say '$sentence': $(cat out err)"
	[ "$status" = 0 ] || [ "$(grep -c '^shieldvm: ' err)" = 1 ] || fail "$name: $*: not one sentence: $(cat err)"
}
enrol() { # NAME STATUS SENTENCE OPTION...
	local name=$1 status=$2 sentence=$3
	shift 3
	on "$name" "$status" "$sentence" host enrol --guardian "$hosts_url" --tcti "swtpm:path=$work/$name.sock" "$@"
}
attest() { # NAME STATUS SENTENCE OPTION...
	local name=$1 status=$2 sentence=$3
	shift 3
	on "$name" "$status" "$sentence" attest --guardian "${urls:-$hosts_url}" --tcti "swtpm:path=$work/$name.sock" \
		--eventlog "$name/logs/eventlog" --ima "$name/logs/ima" "$@"
}
# admin STATUS SENTENCE ARGUMENT...: of the admin, anywhere.
admin() {
	local status=$1 sentence=$2 got=0
	shift 2
	checks=$((checks + 1))
	"$shieldvm" guardian "$@" --guardian "$admins_url" --admin "${key:-admin}" >out 2>err || got=$?
	[ "$got" = "$status" ] || fail "guardian $*: status $got instead of $status: $(cat out err)"
	[ -z "$sentence" ] || grep -qaF -e "$sentence" out err || fail "guardian $*: does not say '$sentence': $(cat out err)"
}

# --- guardians ---

make_maker
make_host alpha
make_host beta
for name in admin stranger; do
	"$shieldvm" key new "$name" >/dev/null || fail "no key for $name"
done
check 'a guardian is made' "$guardian" init --state "$work/state" --admin admin.pub
pin=$("$shieldvm" key show state/tls.jwk.pub 2>&1 >/dev/null | grep -oE '[A-Za-z0-9_-]{43}')
hosts_url=https://127.0.0.1:8787#$pin
admins_url=https://127.0.0.1:8788#$pin
other_pin=${pin:1}A

# Arguments, and nobody there.
expect 2 '--guardian is missing' host enrol
expect 2 "not a guardian's address" host enrol --guardian http://127.0.0.1:1
expect 2 'uses no TPM' host enrol --guardian "$hosts_url" --host-key-only --tcti x
expect 0 'usage: shieldvm host enrol' host enrol --help
expect 2 'either --dry-run or --guardian' attest --dry-run --guardian "$hosts_url"
expect 2 'for --dry-run' attest --guardian "$hosts_url" --policy x
expect 2 'for --guardian' attest --dry-run -o x
expect 2 '--admin is missing' guardian host list --guardian "$admins_url"
expect 2 "there is no 'frob'" guardian host frob
expect 2 'not a UUID' guardian host revoke x --guardian "$admins_url" --admin admin
expect 2 'not a UUID' guardian lease takeback x y --guardian "$admins_url" --admin admin
expect 2 'OWNER' guardian lease takeback x --guardian "$admins_url" --admin admin
expect 2 'no name for an admin' guardian admin add 'Not A Name' admin admin.pub --guardian "$admins_url" --admin admin
expect 2 '--log-key is missing' guardian log --guardian "$admins_url" --admin admin
boot alpha
boot beta
attest alpha 3 'not enrolled'
enrol alpha 3 'https://127.0.0.1:8787'
run_guardian one state 8787

# Enrolment, and what an admin approves.
attest alpha 1 'host.unknown'
enrol alpha 2 '' --name 'Not A Name'
enrol alpha 0 'waits for approval' --name alpha
print=$(print_of)
alpha=$(id_of alpha)
check 'a host id is a UUID' grep -qE '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' alpha/etc/host.id
check 'a fingerprint is told' test "${#print}" = 64
attest alpha 1 'host.pending'
admin 0 pending host list
grep -q "$print" out || fail 'the list has another fingerprint than the host'
admin 1 admin.compare host approve "$alpha" "$(printf '%064d' 0)"
key=stranger admin 1 admin.unknown host approve "$alpha" "$print"
# A reviewer looks and does not decide.
admin 1 '' admin add rita boss stranger.pub
admin 0 '' admin add rita reviewer stranger.pub
admin 0 'rita' admin list
key=stranger admin 0 pending host list
key=stranger admin 1 admin.role host approve "$alpha" "$print"
key=stranger admin 1 admin.role admin add ruth admin stranger.pub
key=stranger admin 1 lease.none lease takeback-for-owner "$alpha" admin.pub admin.pub
admin 1 lease.none lease takeback "$alpha" "${pin}"
admin 0 '' admin remove rita
key=stranger admin 1 admin.unknown host list
admin 0 '"role": "admin"' admin list --json
! grep -q rita out || fail 'an admin that was removed is still there'
attest alpha 1 'host.pending'
admin 0 '' host approve "$alpha" "$print"
admin 0 approved host list --json
check 'the list is JSON' jq -e --arg id "$alpha" '.hosts[] | select(.id == $id).approved_by == "admin"' out

# Nobody passes a new policy; the admin learns a baseline from a capture and pushes it.
attest alpha 1 baseline.match
on alpha 1 'baseline' attest --dry-run --tcti "swtpm:path=$work/alpha.sock" --eventlog alpha/logs/eventlog \
	--ima alpha/logs/ima --capture capture
expect 0 'on your word' guardian baseline learn base capture --policy policy.json
admin 0 'generation 2' policy push policy.json
admin 0 'Generation 2' policy fetch -o fetched.json
check 'what is fetched is what was pushed' cmp policy.json fetched.json
attest alpha 0 'certifies this host until' -o cert.der
grep -qE '^ok +baseline.match +base' out || fail "the baseline is not told: $(cat out)"
check 'the certificate is X.509' openssl x509 -inform DER -in cert.der -noout
attest alpha 0 '"healthy": true' --json
check 'the JSON has the certificate' jq -e '.certificate | .assurance == "tpm" and .generation == 2 and
	.not_after - .not_before <= 3660' out

# A tampered host, with its reason; the next boot is good again.
for change in secure-boot-off:boot.secure-boot other-loader:baseline.match drop:log.replay; do
	boot alpha "${change%:*}"
	attest alpha 1 "${change#*:}"
	grep -qE "^failed +${change#*:} " out || fail "${change%:*}: $(cat out)"
done
boot alpha
attest alpha 0 certifies
check 'a PCR is extended behind the back of the log' env TPM2TOOLS_TCTI="swtpm:path=$work/alpha.sock" \
	tpm2_pcrextend "4:sha256=$(printf '%064d' 7)"
attest alpha 1 log.replay
boot alpha

# Another TPM under the same id, the same TPM under another id, and another key.
cp alpha/etc/host.id beta/etc/host.id
enrol beta 1 host.taken --name beta
attest beta 1 host.certificate
rm beta/etc/host.id
mv alpha/etc alpha/kept
mkdir alpha/etc
"$shieldvm" key new alpha/etc/host.jwk >/dev/null
enrol alpha 1 host.taken --name other
rm -r alpha/etc
mv alpha/kept alpha/etc

# A second host; revoked, it is refused at once, and comes back only as an admin says.
enrol beta 0 waits --name beta
beta_print=$(print_of)
beta=$(id_of beta)
admin 1 admin.compare host approve "$beta" "$print"
admin 0 '' host approve "$beta" "$beta_print"
attest beta 0 certifies
admin 0 '' host revoke "$beta"
attest beta 1 host.revoked
attest alpha 0 certifies
enrol beta 1 host.taken --name beta
admin 0 '' host replace "$beta"
enrol beta 0 waits --name beta
beta_print=$(print_of)
attest beta 1 host.pending
admin 0 '' host approve "$beta" "$beta_print"
attest beta 0 certifies

# A host without its TPM: the weaker word, and not for one that was enrolled with it.
on alpha 1 host.mode attest --guardian "$hosts_url" --host-key-only
make_host gamma
on gamma 0 waits host enrol --guardian "$hosts_url" --name gamma --host-key-only
admin 0 '' host approve "$(id_of gamma)" "$(print_of)"
on gamma 0 'assurance hostkey' attest --guardian "$hosts_url" --host-key-only

# Two guardians over one database: either answers for the other, and one may be gone.
run_guardian two state 8797
second=https://127.0.0.1:8797#$pin
urls=$hosts_url,$second attest alpha 0 '127.0.0.1:8787 certifies'
python3 - "$shieldvm" <<'EOF' || fail 'a challenge of one is not taken by the other, once'
import base64, hashlib, json, ssl, subprocess, sys, http.client
def key():
    d = json.load(open("gamma/etc/host.jwk"))
    n = lambda m: int.from_bytes(base64.urlsafe_b64decode(d[m] + "="), "big")
    return d, n
d, n = key()
der = bytes.fromhex("30770201010420") + n("d").to_bytes(32, "big") + bytes.fromhex("a00a06082a8648ce3d030107a144034200 04") \
    + n("x").to_bytes(32, "big") + n("y").to_bytes(32, "big")
open("gamma.key", "w").write("-----BEGIN EC PRIVATE KEY-----\n" + base64.encodebytes(der).decode() + "-----END EC PRIVATE KEY-----\n")
subprocess.run(["openssl", "req", "-x509", "-new", "-key", "gamma.key", "-subj", "/CN=x", "-days", "2", "-out", "gamma.pem"], check=True)
b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()
def ask(port, path, body):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.load_cert_chain("gamma.pem", "gamma.key")
    h = http.client.HTTPSConnection("127.0.0.1", port, context=c, timeout=20)
    h.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    r = h.getresponse()
    return r.status, json.loads(r.read())
def sign(payload, typ):
    name = b64(hashlib.sha256(json.dumps({k: d[k] for k in ("crv", "kty", "x", "y")}, separators=(",", ":"), sort_keys=True).encode()).digest())
    text = b64(json.dumps({"alg": "ES256", "kid": name, "typ": typ}, separators=(",", ":")).encode()) + "." + b64(payload.encode())
    open("tbs", "w").write(text)
    sig = subprocess.run(["openssl", "dgst", "-sha256", "-sign", "gamma.key", "tbs"], check=True, capture_output=True).stdout
    r = sig[4:4 + sig[3]]
    s = sig[6 + sig[3]:]
    return text + "." + b64(int.from_bytes(r, "big").to_bytes(32, "big") + int.from_bytes(s, "big").to_bytes(32, "big"))
host, worker = open("gamma/etc/host.id").read().strip(), b64(bytes(65))
status, c = ask(8787, "/v1/challenge", {"id": host})
said = json.dumps({"v": 1, "host": host, "nonce": c["nonce"], "worker": worker}, separators=(",", ":"))
body = {"id": host, "nonce": c["nonce"], "expires": c["expires"], "mac": c["mac"], "worker": worker,
        "statement": sign(said, "shieldvm-attest+jws")}
status, first = ask(8797, "/v1/attest", body)
again = [ask(port, "/v1/attest", body) for port in (8787, 8797)]
good = status == 200 and all(s >= 400 and a["id"] == "challenge.used" for s, a in again)
print("" if good else (status, first, again), end="")
sys.exit(not good)
EOF
stop_guardian one
urls=$hosts_url,$second attest alpha 0 '127.0.0.1:8797 certifies'
attest alpha 3 '127.0.0.1:8787'
run_guardian one state 8787

# The log tells what was decided, with a key that its reader has; cut off, it is found out.
admin 0 'chained and signed' log --log-key state/log.jwk.pub --head head
check 'it has what was done' test "$(grep -cE ' (approve|revoke|replace|policy) ' out)" -ge 7
check 'what is of no host names none' test "$(grep -c ' host ' out)" -ge 5 -a -z "$(grep 'host 00000000' out)"
admin 0 '' host revoke "$beta"
admin 0 'chained and signed' log --log-key state/log.jwk.pub --head head
admin 1 'signed by another key' log --log-key admin.pub
# ... without being told where to keep its head, too: the database is set back, in between.
admin 0 'This was the first look' log --log-key state/log.jwk.pub
check 'the head is kept' test -s "$work/kept/shieldvm/guardian-log/"*/00000000-0000-0000-0000-000000000000
stop_guardian one
stop_guardian two
mkdir saved
cp state/guardian.db* saved/
run_guardian one state 8787
admin 0 '' host replace "$beta"
admin 0 'they go on from' log --log-key state/log.jwk.pub
stop_guardian one
rm state/guardian.db*
cp saved/* state/
run_guardian one state 8787
admin 1 'its database was set back' log --log-key state/log.jwk.pub
env -u HOME -u XDG_STATE_HOME "$shieldvm" guardian log --log-key state/log.jwk.pub --guardian "$admins_url" \
	--admin admin >out 2>&1
check 'without a home a file is wanted' grep -q 'name a file with' out
run_guardian two state 8797
rm -r kept # what was rightly found is in the way of what follows

# A guardian with another key is none, at its address too; nor is one with other hosts in its database.
urls=https://127.0.0.1:8787#$other_pin attest alpha 1 'another key'
check 'another guardian is made' "$guardian" init --state "$work/false" --admin admin.pub
stop_guardian one
run_guardian false false 8787
attest alpha 1 'another key'
enrol alpha 1 'another key'
admin 1 'another key' host list
urls=$hosts_url,$second attest alpha 0 '127.0.0.1:8797 certifies'

# One with the right key that lies: the host works out for itself what it gets and what an admin compares.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -keyout ca.key -out ca.pem 2>/dev/null
mkdir liar foreign
python3 "$liar" 8807 state/ca/ca.pem cert.der "$work/liar" &
guardians[liar]=$!
python3 "$liar" 8817 ca.pem cert.der "$work/foreign" &
guardians[foreign]=$!
for _ in $(seq 100); do
	[ -s liar/pin ] && [ -s foreign/pin ] && break
	sleep 0.1
done
lies=https://127.0.0.1:8807#$(cat liar/pin)
on gamma 1 "other keys than this host's" host enrol --guardian "$lies" --name gamma --host-key-only
urls=$lies attest alpha 1 "another key than this host's" -o none.der
urls=$lies attest beta 1 'the certificate that the guardian sent'
urls=https://127.0.0.1:8817#$(cat foreign/pin) attest alpha 1 'the certificate that the guardian sent' -o none.der
check 'nothing of theirs is kept' test ! -e none.der
# ... and a log that the guardian has signed, but of another VM.
admins_url=https://127.0.0.1:8798#$pin admin 0 'chained and signed' log --log-key state/log.jwk.pub --head liar/head --json
cp out liar/records
admins_url=$lies admin 0 'chained and signed' log --log-key state/log.jwk.pub
admins_url=$lies admin 1 'not of 11111111' log --log-key state/log.jwk.pub \
	--vm 11111111-1111-4111-8111-111111111111

# A policy at once.
admins_url=https://127.0.0.1:8798#$pin
check 'a check is demanded' "$shieldvm" guardian policy demand kernel.ima-appraise --policy policy.json
admin 0 'generation 3' policy push policy.json --at-once
admin 0 'from 3 on' policy fetch
urls=$second attest alpha 1 kernel.ima-appraise

# Nothing outlives what was started here.
stop_all
left=$(pgrep -l 'swtpm|shieldvm' || true)
check "no process is left: $left" test -z "$left"
echo "$checks checks"
exit $failed
