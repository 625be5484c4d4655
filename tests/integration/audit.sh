#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The audit log on a private host, without libvirtd: what the hook refuses and lets happen is on
# record once, tampering is told, a full disk keeps VMs from starting, an auditor verifies elsewhere.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d11
work=/run/bed
log=/var/log/shieldvm/audit.jsonl
registry=/var/lib/shieldvm/registry

hook() {
	timeout 60 /usr/sbin/shieldvm-hook any "$1" begin - <"${2:-$work/vm.xml}" 2>&1 | timeout 60 cat
}
records() { wc -l <$log; }
none_left() { until_true 10 bash -c '[ "$(pgrep -c -x shieldvm-worker)" = 0 ]'; }
# adds_one WHAT RULE COMMAND...: the command fails and puts exactly one record in the log, a refusal
# under RULE.
adds_one() {
	local what=$1 rule=$2 before
	before=$(records)
	shift 2
	if "$@" >$work/said 2>&1; then
		fail "$what is refused" "$(cat $work/said)"
	fi
	check "$what: one record" test "$(records)" = $((before + 1))
	check "... of the refusal, under $rule" bash -c \
		"tail -n 1 $log | grep -F '\"event\":\"refused\",\"rule\":\"$rule\"' | grep -q '\"verdict\":\"refused\"'"
}
# events WORD...: the last records are these events
events() {
	local n=$#
	test "$(tail -n "$n" $log | sed -E 's/.*"event":"([^"]*)".*/\1/' | tr '\n' ' ')" = "$* "
}
# the host has signed the log up to its last record
signed() { shieldvm audit verify --json | jq -e --argjson n "$(records)" '.signed_seq == $n' >/dev/null; }
not_verified() { refused "$1" "$2" shieldvm audit verify; }

domain_xml plain $uuid >$work/plain.xml
check 'a plain domain passes' hook prepare $work/plain.xml
check '... and is none of the log' test ! -e $log
check 'an owner makes a key' shieldvm key new $work/owner
check 'the host is set up' shieldvm host init
check 'the domain is shielded' shieldvm shield $work/plain.xml --owner $work/owner -o $work/vm.xml

# --- a life -----------------------------------------------------------------------------------------
check 'prepare' hook prepare
check 'the first start is on record' events key-use tpm-made
check '... and signed' signed
cat >$work/launcher.py <<'PY'
# Asks for the vTPM as shieldvm-launch does (base/spawn.h).
# With a file to write to it then stays, as QEMU would.
import array, socket, struct, sys, time, uuid
monitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
monitor.bind("")
monitor.listen(1)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(10)
s.connect(f"/run/shieldvm/{sys.argv[1]}/launch.sock")
s.sendmsg([struct.pack("=II", 0x53485644, 7) + uuid.UUID(sys.argv[2]).bytes + bytes(20)],
          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [monitor.fileno()]))])
reply = s.recvmsg(4096, socket.CMSG_SPACE(64))
rc, = struct.unpack_from("=i", reply[0], 8)
if rc == 0 and len(sys.argv) > 3:
    open(sys.argv[3], "w").write("launched")
    time.sleep(60)
sys.exit(rc != 0)
PY
adds_one 'a launcher that nobody announced' launch.unannounced python3 $work/launcher.py $uuid $uuid
adds_one "another VM's launcher" launch.vm python3 $work/launcher.py $uuid 5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d12
check '... by the broker, with the peer' bash -c "tail -n 1 $log | grep -q '\"channel\":\"launch\".*\"pid\":[0-9]*,\"uid\":0'"
check 'start' hook start
check '... on record' events start
check '... and signed' signed
check 'the log is whole' shieldvm audit verify
adds_one 'a start without launcher' launch.bypassed hook started
python3 $work/launcher.py $uuid $uuid $work/launched &
launcher=$!
check 'a launcher has the vTPM' until_true 10 test -s $work/launched
adds_one 'a second prepare' vm.running hook prepare
kill $launcher
check 'release' hook release
check 'the end is on record' events stop
check 'the second start too' hook prepare
check '... without a new TPM' events key-use
check '... and signed' signed
kill -KILL "$(pgrep -x -n shieldvm-worker)"
check 'a killed worker' none_left
check '... is on record' until_true 5 events killed
check 'release' hook release
check 'restore is on record' hook restore
check '... as such' events restore
check '... and signed' signed
check 'migrate is on record' hook migrate
check '... as such' events migrate
check '... and signed' signed
check 'the log is whole' shieldvm audit verify
check 'the log names the VM' bash -c "! grep -v '\"vm\":\"$uuid\",\"name\":\"plain\",\"level\":\"shielded\"' $log"

# --- refusals: one record each ----------------------------------------------------------------------
sed 's|<emulator>.*</emulator>|<emulator>/usr/bin/qemu-system-x86_64</emulator>|' $work/vm.xml >$work/bad.xml
adds_one 'another emulator' domain.emulator hook prepare $work/bad.xml
sed 's|<video>|<graphics type="vnc" port="-1"/><video>|' $work/vm.xml >$work/bad.xml
for op in prepare restore migrate; do
	adds_one "$op with a screen" console.graphics hook $op $work/bad.xml
	check '... for that call' bash -c "tail -n 1 $log | grep -qF '\"request\":\"hook $op begin\"'"
	check '... and signed' signed
done
sed 's/5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d11/5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d12/' $work/vm.xml >$work/bad.xml
for op in prepare start started migrate restore; do
	adds_one "$op of another UUID" protector.vm hook $op $work/bad.xml
done
python3 - $work/vm.xml $work/bad.xml <<'PY'
import re, sys
text = open(sys.argv[1]).read()
# The signature is the third part of the compact JWS; its first character is changed.
def other(m):
    return m.group(1) + ("A" if m.group(2) != "A" else "B")
open(sys.argv[2], "w").write(re.sub(r"(protector>\s*[\w-]+\.[\w-]+\.)(.)", other, text))
PY
adds_one 'another signature' protector.signature hook prepare $work/bad.xml
head -c -20 $work/vm.xml >$work/bad.xml
adds_one 'half a domain' domain.form hook prepare $work/bad.xml
cp /var/lib/shieldvm/$uuid/tpm2.state $work/state
python3 - /var/lib/shieldvm/$uuid/tpm2.state <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(500)
    byte = f.read(1)[0]
    f.seek(500)
    f.write(bytes([byte ^ 1]))
PY
adds_one 'a flipped bit of the state' vtpm.state hook prepare
cp $work/state /var/lib/shieldvm/$uuid/tpm2.state
mv /etc/shieldvm/host.jwk $work/host.jwk
adds_one 'no host key' host.key hook prepare
shieldvm key new $work/h2 2>/dev/null
cp $work/h2 /etc/shieldvm/host.jwk
adds_one 'another host key' protector.recipient hook prepare
mv $work/host.jwk /etc/shieldvm/host.jwk
adds_one 'start without prepare' worker.ready hook start
check 'the log is whole' shieldvm audit verify

# --- the CLI ----------------------------------------------------------------------------------------
check 'show has every record' test "$(shieldvm audit show --json | wc -l)" = "$(records)"
check 'show --json is the log' cmp <(shieldvm audit show --json) $log
check 'show of another VM is empty' test -z "$(shieldvm audit show --vm 00000000-0000-0000-0000-000000000001)"
check 'show since tomorrow is empty' test -z "$(shieldvm audit show --since 2999-01-01)"
check 'show tells the rule' bash -c 'shieldvm audit show | grep -q console.graphics'
check 'report counts' bash -c 'shieldvm audit report | grep -Eq "refused +protector.vm +5"'
check 'report --json is JSON' bash -c 'shieldvm audit report --json | python3 -c "import json,sys; assert sum(r[\"count\"] for r in json.load(sys.stdin)) > 10"'
check 'verify --json is JSON' bash -c 'shieldvm audit verify --json | python3 -c "import json,sys; assert json.load(sys.stdin)[\"ok\"]"'
refused 'a bad time' 'neither a day' shieldvm audit show --since yesterday
refused 'a bad UUID' 'not a UUID' shieldvm audit show --vm x

# --- tampering --------------------------------------------------------------------------------------
keep() { cp -a $log $registry/audit.head $registry/audit.signed $work/; }
back() { cat $work/audit.jsonl >$log; cat $work/audit.head >$registry/audit.head; cp $work/audit.signed $registry/; }
keep
sed -i '3s/refused/retused/;3s/done/dome/' $log
not_verified 'an edited record' 'audit.jsonl: line 3 .*edited'
back
sed -i '4d' $log
not_verified 'a dropped record' 'line 4 .*record 5 where 4 must be'
refused 'with it, a start' 'audit log' hook prepare
check 'an end is let through' hook release
back
sed -i '$d' $log
not_verified 'a log cut at a line' 'it was cut, or replaced'
back
truncate -s -10 $log
not_verified 'a log cut inside a line' 'cut'
back
tail -n 1 $log | sed 's/plain/forged/' >>$log
not_verified 'a record appended by hand' 'appended by hand'
check 'the next record tells so' hook restore
check 'the log is whole, with that on record' bash -c 'shieldvm audit verify | grep -q "audit.torn"'
mv $log $work/aside
mkdir $log
for op in prepare start restore migrate; do
	refused "without a log, $op" 'refused, as it cannot be put on record' hook $op
done
check '... but a VM may end' hook release
rmdir $log
mv $work/aside $log
cp $work/audit.jsonl $work/older
check 'an older copy of the log' bash -c "cat $work/older >$log"
not_verified 'an older copy of the log' 'replaced by an older copy'
cat $work/audit.head >$registry/audit.head
not_verified 'an older copy of log and anchor' 'the host has signed'
refused 'and the next start' 'older copy' hook prepare
none_left || fail 'nothing of it runs'
rm $registry/audit.signed
not_verified 'a missing signature' 'is missing'
back
shieldvm key new $work/foreign
refused "another host's key" 'not signed by this host' shieldvm audit verify --host-key $work/foreign.pub
check 'the log as it was is whole' shieldvm audit verify

# --- elsewhere --------------------------------------------------------------------------------------
mkdir $work/auditor
shieldvm host show >$work/auditor/host.pub
cp $log $registry/audit.signed $registry/audit.head $work/auditor/
elsewhere() {
	(cd $work/auditor && shieldvm audit verify --log audit.jsonl --anchor audit.signed --host-key host.pub "$@")
}
check 'an auditor verifies a copy' elsewhere
check '... and with the anchor' elsewhere --head audit.head
check 'a later log still has what an older anchor says' bash -c "
	/usr/sbin/shieldvm-hook any restore begin - <$work/vm.xml && cp $log $work/auditor/"
check '...' elsewhere
sed -i '$d' $work/auditor/audit.jsonl
check 'what was cut behind an anchor it cannot know' elsewhere
sed -i '5,$d' $work/auditor/audit.jsonl
refused '... before it, it does' 'the host has signed' elsewhere
refused 'an anchor without a key' 'host-key' shieldvm audit verify --log $log --anchor $registry/audit.signed

# --- a full disk ------------------------------------------------------------------------------------
mkdir $work/log
cp -a /var/log/shieldvm/. $work/log/
mount -t tmpfs -o size=128k,mode=750 full /var/log/shieldvm
cp -a $work/log/. /var/log/shieldvm/
check 'the log is whole on the small disk' shieldvm audit verify
dd if=/dev/zero of=/var/log/shieldvm/ballast bs=1k status=none 2>/dev/null || true
before=$(records)
for _ in {1..12}; do hook restore >$work/said 2>&1 || break; done
check 'a full disk: refused' grep -q 'audit log cannot be written: No space left' $work/said
refused 'no VM starts' 'audit log cannot be written|No space' hook prepare
check 'nothing of it runs' none_left
check 'a VM ends all the same' hook release
rm /var/log/shieldvm/ballast
check 'with room it goes on' hook restore
check 'nothing is lost' test "$(records)" -gt "$before"
check 'and the log is whole' shieldvm audit verify
check 'a VM starts' hook prepare
check 'and ends' hook release
umount /var/log/shieldvm || umount -l /var/log/shieldvm
finish
