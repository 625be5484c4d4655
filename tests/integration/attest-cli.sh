#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shieldvm attest --dry-run and shieldvm guardian, against a software TPM with the logs of a host that never was
# (attest_log.py): a healthy host with a learned baseline, tampered ones with their named reasons, and spoiled logs.
# Runs in a mount namespace of its own. Usage: attest-cli.sh SHIELDVM
set -u -o pipefail
shieldvm=$(realpath "$1")
maker=$(realpath "$(dirname "$0")/attest_log.py")

# shellcheck source-path=SCRIPTDIR source=cli-lib.sh
. "$(dirname "$0")/cli-lib.sh"
for tool in swtpm swtpm_setup tpm2_pcrextend jq python3; do
	command -v "$tool" >/dev/null && continue
	echo "skipped: $tool is missing"
	[ "${MUST_WORK:-}" != 1 ] || exit 1
	exit 77
done
cli_enter 400 "$shieldvm"

tcti=swtpm:path=$work/tpm.sock
swtpm_pid=
stop_tpm() {
	# In order: a TPM that is cut off counts it as an attempt at a secret, and locks up after three.
	[ -z "$swtpm_pid" ] || TPM2TOOLS_TCTI=$tcti tpm2_shutdown -c 2>/dev/null
	[ -z "$swtpm_pid" ] || kill "$swtpm_pid" 2>/dev/null
	[ -z "$swtpm_pid" ] || wait "$swtpm_pid" 2>/dev/null
	swtpm_pid=
}
trap 'stop_tpm; cd /; umount -l "$work"; rmdir "$work"' EXIT

# Reset the TPM: another boot.
start_tpm() {
	stop_tpm
	rm -f tpm.sock tpm.sock.ctrl
	swtpm socket --tpm2 --tpmstate dir="$work/tpm" --server type=unixio,path="$work/tpm.sock" \
		--ctrl type=unixio,path="$work/tpm.sock.ctrl" --flags not-need-init,startup-clear \
		--log file="$work/swtpm.log" &
	swtpm_pid=$!
	for _ in $(seq 100); do
		[ -S tpm.sock ] && [ -S tpm.sock.ctrl ] && return
		sleep 0.1
	done
	fail 'swtpm does not start'
	exit 1
}

# boot CHANGE...: the TPM is reset and gets what attest_log.py says.
boot() {
	local extends
	start_tpm
	rm -rf host
	mkdir host
	python3 "$maker" host "$@" || exit 1
	mapfile -t extends <host/extend
	check "PCRs are extended ($*)" env TPM2TOOLS_TCTI="$tcti" tpm2_pcrextend "${extends[@]}"
}

# attest STATUS SENTENCE OPTION...: as expect, but a failed attestation still prints its table.
attest() {
	local status=$1 sentence=$2 got=0
	shift 2
	checks=$((checks + 1))
	"$shieldvm" attest --dry-run --tcti "$tcti" --eventlog host/eventlog --ima host/ima "$@" >out 2>err || got=$?
	[ "$got" = "$status" ] || fail "attest $*: status $got instead of $status: $(cat out err)"
	grep -qF -e "$sentence" out err || fail "attest $*: does not say '$sentence': $(cat out err)"
	[ "$status" = 0 ] || [ "$(grep -c '^shieldvm: ' err)" = 1 ] || fail "attest $*: not one sentence: $(cat err)"
}
# refused ID: the finding that failed, and with what to do; the JSON says the same.
refused() {
	local id=$1
	attest 1 "$id" --policy policy.json
	grep -qE "^failed +$id +[^ ]" out || fail "$id is not the reason: $(grep ^failed out)"
	grep -A1 -E "^failed +$id " out | grep -q 'what to do: *[A-Z]' || fail "$id: nothing is said of what to do"
	attest 1 "$id" --policy policy.json --json
	check "$id: the JSON tells it" jq -e --arg id "$id" \
		'.healthy == false and any(.findings[]; .id == $id and .verdict == "failed" and (.remedy | length > 10))' out
}

# quietly ARGUMENT...: it is done; nothing needs to be said.
quietly() {
	checks=$((checks + 1))
	"$shieldvm" "$@" >out 2>&1 || fail "shieldvm $*: $(cat out)"
}

# Arguments, and no TPM.
expect 2 'either --dry-run or --guardian' attest
expect 2 'there is no option' attest --dry-run --frob
expect 2 'one argument too many' attest --dry-run now
expect 0 'usage: shieldvm attest' attest --help
expect 3 'TPM' attest --dry-run
expect 3 'TPM' attest --dry-run --tcti "swtpm:path=$work/none"
expect 3 'none.json' attest --dry-run --policy none.json
expect 0 'usage: shieldvm guardian' guardian baseline --help
expect 0 'usage: shieldvm guardian' guardian policy show --help
expect 2 'what to do is missing' guardian baseline
expect 2 "there is no 'frob'" guardian policy frob
expect 2 'NAME and CAPTURE is missing' guardian baseline learn x
expect 2 'one argument too many' guardian policy demand boot.full boot.full
expect 2 'there is no option' guardian baseline learn a b --json
expect 2 'structured and exact' guardian baseline learn a b --kind some
expect 2 'sha256, sha384' guardian baseline add a 0=00 --bank sha1

# A TPM with a certificate of a maker.
mkdir tpm ca
cat >setup.conf <<EOF
create_certs_tool = $(command -v swtpm_localca)
create_certs_tool_config = $work/localca.conf
create_certs_tool_options = $work/localca.options
EOF
cat >localca.conf <<EOF
statedir = $work/ca
signingkey = $work/ca/key.pem
issuercert = $work/ca/cert.pem
certserial = $work/ca/serial
EOF
printf -- '--platform-manufacturer maker\n--platform-version 1\n--platform-model model\n' >localca.options
check 'a TPM is made' swtpm_setup --tpm2 --tpmstate "$work/tpm" --create-ek-cert --ecc --config setup.conf --overwrite
cat ca/*cert.pem >makers.pem

# A healthy host, whose evidence is captured; a new guardian accepts nobody.
boot
attest 1 'the policy has no baseline' --capture capture
grep -qE '^ok +activation.credential' out || fail 'no credential was activated'
grep -q 'key.release' out && fail 'a release is rehearsed for a host that a guardian refuses'
grep -qE '^unknown +ek.chain' out || fail 'without --ek-ca the chain is not unknown'
check 'the capture is its owner only' test "$(stat -c %a capture)" = 600
expect 0 'on your word' guardian baseline learn base capture --policy policy.json
expect 1 'already' guardian baseline learn base capture --policy policy.json
attest 0 'a guardian would accept this host' --policy policy.json --ek-ca makers.pem
grep -qE '^ok +ek.chain' out || fail "the maker's certificate is not accepted: $(grep ek. out)"
grep -qE '^ok +key.release +' out || fail 'no release was rehearsed'
grep -qE '^ok +baseline.match +base' out || fail 'it is not the baseline that matches'
attest 0 '"healthy": true' --policy policy.json --json
check 'a release is rehearsed' jq -e 'any(.findings[]; .id == "key.release" and .verdict == "ok")' out
check 'the key is of the NULL hierarchy' jq -e 'any(.findings[]; .id == "creation.hierarchy" and .verdict == "ok")' out
check 'the JSON has each finding once' jq -e '[.findings[].id] | length == (unique | length) and length > 20' out
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -keyout other.key -out other.pem \
	2>/dev/null
attest 1 'ek.chain' --policy policy.json --ek-ca other.pem
expect 1 'policy.json' attest --dry-run --tcti "$tcti" --ek-ca policy.json

# Demands.
quietly guardian policy demand kernel.lockdown --policy policy.json
attest 0 'accept' --policy policy.json
quietly guardian policy demand kernel.ima-appraise --policy policy.json
refused kernel.ima-appraise
quietly guardian policy waive kernel.ima-appraise --policy policy.json
expect 2 'no check' guardian policy demand kernel.none --policy policy.json
expect 0 'kernel.lockdown          yes' guardian policy show --policy policy.json
expect 0 '"kernel.lockdown"' guardian policy show --json --policy policy.json
check 'the policy is JSON' jq -e '.v == 1' policy.json

# A locked TPM is told as that: the endorsement key has a password, and the TPM takes none.
tpm() {
	TPM2TOOLS_TCTI=$tcti "$@" >tool.log 2>&1 || fail "$*: $(cat tool.log)"
	TPM2TOOLS_TCTI=$tcti tpm2_flushcontext -t
}
tpm tpm2_dictionarylockout --setup-parameters --max-tries=1 --recovery-time=1000 --lockout-recovery-time=1000
tpm tpm2_createprimary -C o -G ecc -p right -c key.ctx \
	-a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign'
check 'a wrong password is refused' sh -c "! TPM2TOOLS_TCTI=$tcti tpm2_sign -c key.ctx -p wrong -o signature host/ima"
tpm true
refused activation.lockout
grep -q 'tpm2_dictionarylockout --clear-lockout' out || fail 'how to unlock the TPM is not said'
tpm tpm2_dictionarylockout --clear-lockout
attest 0 'accept' --policy policy.json

# The same boot again is the same host; others have their names.
boot
attest 0 'accept' --policy policy.json
boot no-ima
attest 0 'accept' --policy policy.json
for change in secure-boot-off:boot.secure-boot firmware-debug:boot.firmware-debug other-loader:baseline.match \
	late-authority:baseline.match cmdline=/vmlinuz:kernel.lockdown; do
	boot "${change%:*}"
	refused "${change#*:}"
done

# Logs that are not what was measured.
for change in drop append reorder; do
	boot "$change"
	refused log.replay
done
boot empty
refused log.absent
boot
head -c -1 host/eventlog >short && mv short host/eventlog
refused log.truncated
boot
: >host/ima
refused ima.absent
boot
python3 "$maker" host other-loader
refused log.replay

# A capture that was changed teaches nothing.
jq -c '.evidence.pcrs["7"] = .evidence.pcrs["0"]' capture >spoiled
expect 1 'quote.digest' guardian baseline learn spoiled spoiled --policy policy.json
jq -c '.evidence.eventlog = ""' capture >spoiled
expect 1 'log.absent' guardian baseline learn spoiled spoiled --policy policy.json
expect 1 'not valid JSON' guardian baseline learn spoiled "$maker" --policy policy.json

# Exact baselines, by hand and learned; the file is replaced whole.
expect 0 'Learned' guardian baseline learn exact capture --kind exact --policy other.json
boot
attest 0 'accept' --policy other.json
boot other-loader
attest 1 'PCR 4 is' --policy other.json
zero=$(printf '%064d' 0)
quietly guardian baseline add none 4="$zero" 7="$zero" --policy other.json
expect 0 'none                     exact      sha256, 2 PCRs' guardian baseline show --policy other.json
expect 2 'hexadecimal' guardian baseline add x 4=00 --policy other.json
expect 2 'hexadecimal' guardian baseline add x 24="$zero" --policy other.json
expect 2 'twice' guardian baseline add x 4="$zero" 4="$zero" --policy other.json
expect 1 "no baseline 'x'" guardian baseline remove x --policy other.json
quietly guardian baseline remove exact --policy other.json
quietly guardian baseline remove none --policy other.json
expect 0 'no baseline' guardian baseline show --policy other.json
echo '{' >broken.json
expect 1 'broken.json' guardian policy demand boot.full --policy broken.json
check 'what cannot be read is left as it is' test "$(cat broken.json)" = '{'
expect 3 'no/' guardian policy demand boot.full --policy no/folder.json

# The guardian's own file.
quietly guardian policy demand boot.full
check 'it is where it belongs' test -s /etc/shieldvm/guardian/policy.json
echo "$checks checks"
exit $failed
