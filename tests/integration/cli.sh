#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The shieldvm command itself, as a user meets it: what it makes, and one clear sentence and a
# documented exit status for everything it cannot take. Runs in a mount namespace of its own, where
# /etc, /run, /var/lib and /var/log are private. Usage: cli.sh SHIELDVM
set -u -o pipefail
shieldvm=$(realpath "$1")
vectors=$(realpath "$(dirname "$0")/../vectors/qemu-args")

# shellcheck source-path=SCRIPTDIR source=cli-lib.sh
. "$(dirname "$0")/cli-lib.sh"
cli_enter 240 "$shieldvm"

uuid=11111111-2222-4333-8444-555555555555
cat >plain.xml <<EOF
<domain type='qemu'>
  <name>vm</name>
  <uuid>$uuid</uuid>
  <memory unit='MiB'>512</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'><source file='/x'/><target dev='vda' bus='virtio'/></disk>
    <interface type='user'/>
  </devices>
</domain>
EOF
sed "s|</devices>|<serial type='pty'/><graphics type='vnc'/><hostdev/></devices>|" plain.xml >console.xml

# Before the host is prepared.
expect 3 'run shieldvm host init first' host show
expect 0 'Owner key' key new owner.jwk
check 'the owner key is private' test "$(stat -c %a owner.jwk)" = 600
check 'its public half is not' test "$(stat -c %a owner.jwk.pub)" = 644
expect 3 'run shieldvm host init' shield plain.xml --owner owner.jwk
expect 0 'No worker is running' status
expect 0 '[]' status --json

# The host.
apparmor=/etc/apparmor.d/local/abstractions/libvirt-qemu
mkdir -p "${apparmor%/*}"
rm -f "$apparmor"
expect 0 'Restart libvirtd' host init
expect 0 'kept' host init
check 'the second run makes nothing' grep -qv 'Restart' out
check 'the host key is private' test "$(stat -c %a /etc/shieldvm/host.jwk)" = 600
check 'the state folder cannot be listed' test "$(stat -c %a /var/lib/shieldvm)" = 711
check 'the registry is root only' test "$(stat -c %a /var/lib/shieldvm/registry)" = 700
check 'the run folder cannot be listed' test "$(stat -c %a /run/shieldvm)" = 711
check 'the logs are not for everybody' test "$(stat -c %a /var/log/shieldvm)" = 750
check 'there is a CA' test -s /etc/shieldvm/ekca/ca.pem
check 'no AppArmor file is made where there was none' test ! -e "$apparmor"
printf '  /srv/vms/** rw,' >"$apparmor"
expect 0 'rules added' host init
check 'what AppArmor allowed before stays' grep -qx '  /srv/vms/\*\* rw,' "$apparmor"
check 'AppArmor lets the launcher run' grep -qx '  /usr/bin/shieldvm-launch rmix,' "$apparmor"
check '... and QEMU migrate' grep -qx '  /run/shieldvm/\*/migrate.sock rw,' "$apparmor"
cp "$apparmor" rules
expect 0 "$apparmor (kept)" host init
check 'the rules are added once' cmp rules "$apparmor"
sed -i '/migrate/d' "$apparmor"
expect 0 "$apparmor (rules added)" host init
check 'what an earlier version had not added is' cmp rules "$apparmor"
{
	printf 'profile test {\n'
	cat "$apparmor"
	printf '}\n'
} >profile
check 'apparmor_parser takes the rules' apparmor_parser --skip-kernel-load --skip-cache profile
ln -sf /etc/passwd "$apparmor"
expect 3 "$apparmor" host init
rm "$apparmor"
check 'the hook is in place' test "$(readlink /etc/libvirt/hooks/qemu.d/shieldvm)" = /usr/sbin/shieldvm-hook
expect 0 '"kty"' host show
cp out host.pub
expect 0 'thumbprint' key show host.pub
expect 0 'kept' host init
rm /etc/shieldvm/host.jwk.pub
expect 0 'kept' host init
expect 0 '"kty"' host show
check 'the public half is made again, the same' cmp out host.pub
chmod 644 /etc/shieldvm/host.jwk
expect 1 '/etc/shieldvm/host.jwk' host init
chmod 600 /etc/shieldvm/host.jwk
"$shieldvm" key new other.jwk >/dev/null
cp /etc/shieldvm/host.jwk.pub keep
cp other.jwk.pub /etc/shieldvm/host.jwk.pub
expect 1 'is not the public half' host init
cp keep /etc/shieldvm/host.jwk.pub
rm /etc/libvirt/hooks/qemu.d/shieldvm
echo mine >/etc/libvirt/hooks/qemu.d/shieldvm
expect 3 'something else than a link' host init
check 'a foreign hook is left alone' grep -q mine /etc/libvirt/hooks/qemu.d/shieldvm
rm /etc/libvirt/hooks/qemu.d/shieldvm
chown 1234 /var/lib/shieldvm
expect 1 'instead of root' host init
chown 0 /var/lib/shieldvm
expect 0 'Hook' host init
chmod 755 "$work"
cp "$shieldvm" "$work/shieldvm"
checks=$((checks + 1))
setpriv --reuid 65534 --regid 65534 --clear-groups "$work/shieldvm" host init >out 2>err
if [ $? != 3 ] || ! grep -q 'only root' err; then
	fail "host init as nobody: $(cat err)"
fi

# A shielded domain.
expect 0 'Changed:' shield plain.xml --owner owner.jwk -o shielded.xml
check 'it is a domain' xmllint --noout shielded.xml
check 'with a protector' grep -q 'urn:shieldvm:shield:1' shielded.xml
expect 0 '<protector>' shield plain.xml --owner owner.jwk
expect 0 '<protector>' shield --owner owner.jwk plain.xml
expect 0 'level encryption-supported' shield console.xml --owner owner.jwk \
	--level encryption-supported --allow console.serial --allow console.graphics \
	--allow device.hostdev -o es.xml
check 'allowed devices stay' grep -q '<serial' es.xml
expect 1 'shielded already' shield shielded.xml --owner owner.jwk
checks=$((checks + 1))
"$shieldvm" shield - --owner owner.jwk <plain.xml 2>/dev/null | grep -q '<protector>' ||
	fail 'a domain on standard input'
cp plain.xml in-place.xml
chmod 600 in-place.xml
expect 0 'Shielded:' shield in-place.xml --owner owner.jwk -o in-place.xml
check 'a replaced file keeps its mode' test "$(stat -c %a in-place.xml)" = 600

"$shieldvm" shield plain.xml --owner owner.jwk -o piped.xml 2>&1 | true
check 'a reader who goes away does not stop it' test -s piped.xml

# What stands in the way, and taking it out.
expect 1 'console.serial: <serial> at line 10' shield console.xml --owner owner.jwk -o never.xml
expect 1 '3 things stand in the way at level shielded' shield console.xml --owner owner.jwk
expect 1 '1 thing stands in the way' shield console.xml --owner owner.jwk --strip -o never.xml
expect 1 '(--allow console.serial)' shield console.xml --owner owner.jwk --level encryption-supported
check 'nothing was written' test ! -e never.xml
sed 's|<hostdev/>||' console.xml >strip.xml
expect 0 'removed: <serial> at line 10 (console.serial)' shield strip.xml --owner owner.jwk --strip

# What the rules say of a domain.
# lints STATUS SENTENCE ARGUMENT...: as expect, but what was found is on standard output in any case.
lints() {
	local status=$1 sentence=$2 got=0
	shift 2
	checks=$((checks + 1))
	"$shieldvm" lint "$@" >out 2>err <input || got=$?
	if [ "$got" != "$status" ]; then
		fail "lint $*: status $got instead of $status: $(cat out err)"
	elif ! grep -qF -e "$sentence" out; then
		fail "lint $*: does not say '$sentence' but: $(cat out err)"
	elif [ "$(grep -c '^shieldvm: .' err)" != $((status != 0)) ]; then
		fail "lint $*: not one sentence on standard error: $(cat err)"
	fi
}
cp console.xml input
lints 1 'console.xml:10: refused console.serial: <serial>: a serial line' console.xml
check 'an element that only a person can take out' grep -q '^console.xml:10: refused device.hostdev: .*(remove it)$' out
check 'the lines are in order' test "$(grep -oE '^console.xml:[0-9]+' out)" = \
	"$(grep -oE '^console.xml:[0-9]+' out | sort -t : -k 2 -n)"
check 'the sum' grep -qx 'console.xml: not shielded yet, level shielded: 3 refused (2 of them --strip takes out), 1 notice' out
check 'what shielding does is one line' test "$(grep -c 'tpm.backend' out)" = 1
check 'and the sentence' grep -qx 'shieldvm: console.xml: refused at level shielded, for 3 reasons' err
lints 1 'standard input:10: refused' -
lints 1 '--allow console.serial)' console.xml --level encryption-supported
lints 1 ': 1 refused' console.xml --level encryption-supported --allow console.serial --allow device.hostdev
lints 0 '(its owner allows it)' console.xml --level encryption-supported --allow console.serial \
	--allow device.hostdev --allow console.graphics
lints 0 'plain.xml: not shielded yet, level shielded: 0 refused, 1 notice; shieldvm shield would take it' plain.xml
check 'and so it does' "$shieldvm" shield plain.xml --owner owner.jwk -o never.xml
rm never.xml
lints 0 'shielded.xml: shielded, level shielded: 0 refused, 1 notice; no rule keeps it from starting' shielded.xml
lints 0 'es.xml: shielded, level encryption-supported: 0 refused, 3 notices' es.xml
lints 1 'refused console.serial: <serial>' es.xml --level shielded
sed 's|<hostdev/>|<hostdev/><redirdev/>|' es.xml >bad.xml
lints 1 'refused device.redirdev' bad.xml
lints 0 'notice device.redirdev' bad.xml --allow device.redirdev
sed 's|<emulator>.*</emulator>|<emulator>/usr/bin/qemu-system-x86_64</emulator>|' shielded.xml >bad.xml
lints 1 'refused domain.emulator: <emulator>' bad.xml
sed 's|<protector>e|<protector>f|' shielded.xml >bad.xml
lints 1 'refused protector.form: <protector>' bad.xml
sed -E 's/(<protector>[^<]{200})./\1_/' shielded.xml >bad.xml
lints 1 'refused protector.' bad.xml
other_uuid() { sed "s|$uuid|${uuid/#1/2}|" shielded.xml >bad.xml; }
other_uuid
lints 1 'refused protector.vm: <protector>: it was made for the VM with another UUID' bad.xml
sed "s|$uuid|x|" plain.xml >bad.xml
lints 1 'refused domain.uuid: <uuid>: not a UUID' bad.xml
sed "s|$uuid|\U$uuid|" plain.xml >bad.xml
lints 0 ' 0 refused' bad.xml
sed '/<uuid>/d' plain.xml >bad.xml
lints 0 'puts right domain.uuid, ' bad.xml
sed 's|q35|pc-i440fx-7.2|' plain.xml >bad.xml
lints 1 "bad.xml:5: refused domain.machine: <type>: Secure Boot needs the q35 machine" bad.xml
sed "s| machine='q35'||" plain.xml >bad.xml
lints 0 'domain.machine' bad.xml
{
	echo "<domain type='kvm'><devices>"
	for _ in $(seq 12000); do echo '<serial/>'; done
	echo '</devices></domain>'
} >many.xml
lints 1 '12001 refused (12000 of them --strip takes out)' many.xml
check 'a hostile file does not fill the screen' test "$(wc -l <out)" -lt 10005
json() { python3 -c "import json, sys; d = json.load(open('out')); sys.exit(not ($1))"; }
lints 1 '"findings"' console.xml --json
check 'lint --json' json 'd["refused"] == 3 and d["notices"] == 1 and d["level"] == "shielded" and not d["shielded"]'
check '... findings' json '[f["fix"] for f in d["findings"] if f["rule"] == "console.serial"] == [["strip"]]'
check '... verdicts' json '{f["verdict"] for f in d["findings"]} == {"refused", "notice", "shield"}'
check '... missing elements' json '[f["line"] for f in d["findings"] if f["missing"] and f["rule"] == "tpm.backend"] == [7]'
lints 0 '"shielded": true' es.xml --json
check '... of a shielded domain' json 'len(d["allow"]) == 3 and d["uuid"] == "'$uuid'" and d["name"] == "vm"'
lints 0 'monitor' --rules
check 'every rule that an owner may allow is listed as such' grep -qE '^console.serial +domain +owner +refused ' out
lints 0 '"where": "argv"' --rules --json
check 'lint --rules --json' json 'len(d) > 100 and all(r["reason"] and "." in r["rule"] for r in d)'
check '... what --strip takes out' json '{r["strip"] for r in d if r["rule"] == "console.serial" and r["where"] == "domain"} == {True}
	and {r["strip"] for r in d if r["rule"] == "device.hostdev"} == {False}'
printf '\377' >name
cp plain.xml "$(cat name).xml"
lints 0 '"?.xml"' --json "$(cat name).xml"

# Argument vectors, in every form.
lints 0 'none of 86 arguments is refused' --argv "$vectors/plain.args"
tr '\n' '\0' <"$vectors/plain.args" >vector
lints 0 'none of 86 arguments is refused' --argv vector
python3 - "$vectors/plain.args" >printed <<-'PYTHON'
	import shlex, sys
	words = open(sys.argv[1]).read().splitlines()
	print("LC_ALL=C \\\nPATH=/bin:/usr/bin \\\n" + " \\\n".join(map(shlex.quote, words)))
PYTHON
lints 0 'none of 86 arguments is refused' --argv printed
cp printed input
lints 0 'none of 86 arguments is refused' --argv -
printf -- '-gdb\0tcp::1\0' | cat vector - >input
lints 1 '-: refused memory.peek: ' --argv -
lints 1 '"rule": "memory.peek"' --argv - --json
printf '%s\0' /usr/bin/x -S -no-user-config -nodefaults -nographic -machine none,accel=kvm:tcg -qmp \
	unix:/a/qmp.monitor,server=on,wait=off -pidfile /a/qmp.pid -daemonize >probe
lints 0 'capability probe' --argv probe
printf '/usr/bin/x -name it\047s' >bad
expect 1 'neither a vector' lint --argv bad
# shellcheck disable=SC2016 # not for this shell
printf '/usr/bin/x -name $(reboot)' >bad
expect 1 'neither a vector' lint --argv bad
: >bad
expect 1 'it is empty' lint --argv bad
yes | tr -d 'y' | head -c 5000 >bad
expect 1 'more than 4096 arguments' lint --argv bad
expect 3 'No such file' lint --argv missing
expect 2 'XML is missing' lint
expect 2 'one argument too many' lint plain.xml plain.xml
expect 2 'one argument too many' lint --rules plain.xml
expect 2 'stand alone' lint --rules --level shielded
expect 2 'stand alone' lint --argv a --allow console.serial
expect 2 'nothing but state.compression can be allowed at level shielded' lint plain.xml --allow console.serial
expect 2 'nothing but state.compression can be allowed at level shielded' lint shielded.xml --allow console.serial
expect 2 "no option '-o'" lint plain.xml -o x
expect 2 '--level high' lint plain.xml --level high
expect 0 'usage: shieldvm lint' lint --help

# Other hosts, and a new protector.
"$shieldvm" key new b.jwk >/dev/null
b=$("$shieldvm" key show b.jwk.pub 2>&1 >/dev/null | cut -d' ' -f2)
this=$("$shieldvm" key show host.pub 2>&1 >/dev/null | cut -d' ' -f2)
expect 0 "by 2 hosts" shield plain.xml --owner owner.jwk --host b.jwk.pub --host host.pub -o two.xml
expect 0 "host $b" key rewrap shielded.xml --owner owner.jwk --add-host b.jwk.pub -o rewrapped.xml
expect 0 'the owner and 1 host can' key rewrap rewrapped.xml --owner owner.jwk --remove-host "$this"
expect 0 'may have kept' key rewrap two.xml --owner owner.jwk --remove-host "$b"
expect 0 'the owner and 2 hosts can' key rewrap two.xml --owner owner.jwk --new-tpm
expect 0 'new, empty TPM' key rewrap two.xml --owner owner.jwk --new-tpm
expect 1 'none of the domain' key rewrap shielded.xml --owner owner.jwk --remove-host "$b"
expect 2 'no host would be left' key rewrap shielded.xml --owner owner.jwk --remove-host "$this"
owner=$("$shieldvm" key show owner.jwk 2>&1 >/dev/null | cut -d' ' -f2)
expect 2 'is the owner' key rewrap shielded.xml --owner owner.jwk --remove-host "$owner"
expect 2 'nothing to change' key rewrap shielded.xml --owner owner.jwk
# One choice is the owner's at level shielded, too.
expect 0 'allows: state.compression' key rewrap shielded.xml --owner owner.jwk --allow state.compression -o packed.xml
lints 0 'state.compression' packed.xml --json
check 'it is signed' json 'd["allow"] == ["state.compression"] and d["level"] == "shielded"'
expect 0 'allows: none' key rewrap packed.xml --owner owner.jwk --forbid state.compression -o plainer.xml
lints 0 '"allow"' plainer.xml --json
check 'no more' json 'd["allow"] == []'
expect 2 'nothing but state.compression' key rewrap shielded.xml --owner owner.jwk --allow console.serial
expect 2 'not a rule that an owner' key rewrap shielded.xml --owner owner.jwk --allow state.compressed
expect 0 'at level shielded' shield plain.xml --owner owner.jwk --allow state.compression -o packed.xml
lints 0 'state.compression' packed.xml --json
check 'it is signed' json 'd["allow"] == ["state.compression"] and d["level"] == "shielded"'
expect 2 'nothing but state.compression' shield plain.xml --owner owner.jwk --allow console.serial
expect 1 "another owner's key" key rewrap shielded.xml --owner b.jwk --new-tpm
expect 1 'is not shielded' key rewrap plain.xml --owner owner.jwk --new-tpm
sed "s|<uuid>1|<uuid>2|" shielded.xml >other-vm.xml
expect 1 'another UUID' key rewrap other-vm.xml --owner owner.jwk --new-tpm
sed 's|<protector>e|<protector>f|' shielded.xml >bad.xml
expect 1 'bad.xml: its protector' key rewrap bad.xml --owner owner.jwk --new-tpm
sed 's|</protector>|A</protector>|' shielded.xml >bad.xml
expect 1 'bad.xml: its protector' key rewrap bad.xml --owner owner.jwk --new-tpm
sed 's|<protector>.*</protector>|<protector/>|' shielded.xml >bad.xml
expect 1 'bad.xml: its protector' key rewrap bad.xml --owner owner.jwk --new-tpm

# Guardians. This host is no recipient then, unless it is named.
for key in guardian second tls; do
	"$shieldvm" key new $key.jwk >/dev/null
done
thumbprint() { "$shieldvm" key show "$1" 2>&1 >/dev/null | cut -d' ' -f2; }
pin=$(thumbprint tls.jwk) guardian=$(thumbprint guardian.jwk) second=$(thumbprint second.jwk)
one="https://one.example:8443#$pin" two="https://[2001:db8::2]:8443#$pin"
expect 0 'and by 1 guardian:' shield plain.xml --owner owner.jwk --guardian "guardian.jwk.pub@$one" -o guarded.xml
check 'its guardian is told' grep -q "guardian $guardian" err
check '... and where it is' grep -q "    $one" err
check '... and what it demands' grep -q 'shown its health with its TPM\.' err
check '... and what is without it' grep -q 'the VM does not start' err
check 'nobody else is' test "$(grep -c '^  host ' err)" = 0
lints 0 '"guardians"' guarded.xml --json
check 'it is signed' json "d['guardians'] == [{'thumbprint': '$guardian', 'urls': ['$one']}]"
check '... with the demands' json 'd["assurance"] == "tpm" and d["offline"] == 0'
edition=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["edition"])' <out)
check '... and the time, as its edition' [ "$edition" -gt $(($(date +%s) - 600)) ]
expect 0 'by 1 host and 1 guardian' shield plain.xml --owner owner.jwk --host host.pub \
	--guardian "guardian.jwk.pub@$two,$one" --assurance hostkey --offline-starts 3 -o both.xml
check 'a host beside a guardian is warned of' grep -q 'without any guardian' err
check 'so is a host without TPM' grep -q 'nothing is measured' err
check '... and starts without a guardian' grep -q '3 more times' err
lints 0 '"guardians"' both.xml --json
check 'the order is the owner'"'"'s' json "d['guardians'][0]['urls'] == ['$two', '$one']"
check '... and so are the demands' json 'd["assurance"] == "hostkey" and d["offline"] == 3'
lints 0 '"guardians"' shielded.xml --json
check 'without guardians there are none' json 'd["guardians"] == [] and "assurance" not in d and "edition" not in d'
expect 0 'the owner and 2 guardians can' key rewrap guarded.xml --owner owner.jwk \
	--add-guardian "second.jwk.pub@$two" -o guarded2.xml
expect 0 "    $two" key rewrap guarded2.xml --owner owner.jwk --add-guardian "guardian.jwk.pub@$two" -o moved.xml
lints 0 '"guardians"' moved.xml --json
check 'each protector has a higher edition' json "d['edition'] >= $edition + 2"
check 'one that was there moves' json "[g['urls'] for g in d['guardians']] == [['$two'], ['$two']]"
expect 0 'the owner and 1 guardian can' key rewrap moved.xml --owner owner.jwk --remove-guardian "$guardian"
check 'what a removed one keeps is told' grep -q 'It still does by the old one' err
expect 0 'the owner and 1 host can' key rewrap both.xml --owner owner.jwk --remove-guardian "$guardian" -o plainer.xml
lints 0 '"guardians"' plainer.xml --json
check 'the last one takes the demands along' json 'd["guardians"] == [] and "offline" not in d'
expect 0 'the owner and 1 guardian can' key rewrap both.xml --owner owner.jwk --remove-host "$this"
check 'and a removed host is told of' grep -q 'by itself' err
expect 0 'the owner and 1 guardian can' key rewrap shielded.xml --owner owner.jwk --add-guardian "guardian.jwk.pub@$one" \
	--remove-host "$this" --offline-starts 100
expect 0 '1 more time.' key rewrap guarded.xml --owner owner.jwk --offline-starts 1 -o guarded3.xml
lints 0 '"offline": 1' guarded3.xml --json
expect 0 'shown its health with its TPM' key rewrap both.xml --owner owner.jwk --assurance tpm
expect 2 'no host would be left' key rewrap guarded.xml --owner owner.jwk --remove-guardian "$guardian"
expect 1 "none of the domain's guardians" key rewrap guarded.xml --owner owner.jwk --remove-guardian "$second"
expect 1 "none of the domain's guardians" key rewrap both.xml --owner owner.jwk --remove-guardian "$this"
expect 2 'is a guardian: --remove-guardian' key rewrap both.xml --owner owner.jwk --remove-host "$guardian"
expect 2 'of use with a guardian only' key rewrap shielded.xml --owner owner.jwk --offline-starts 0
expect 2 'of use with a guardian only' key rewrap both.xml --owner owner.jwk --assurance tpm \
	--remove-guardian "$guardian"
expect 2 'the same key would be' key rewrap both.xml --owner owner.jwk --add-host guardian.jwk.pub
expect 2 'the same key is given' shield plain.xml --owner owner.jwk --host guardian.jwk.pub \
	--guardian "guardian.jwk.pub@$one"
expect 2 'of use with --guardian only' shield plain.xml --owner owner.jwk --assurance tpm
expect 2 '--assurance none: it is tpm or hostkey' shield plain.xml --owner owner.jwk --assurance none
for number in -1 101 1x '' 0x1; do
	expect 2 'it is a number from 0 to 100' shield plain.xml --owner owner.jwk --offline-starts "$number"
done
expect 2 'names no guardian' shield plain.xml --owner owner.jwk --guardian guardian.jwk.pub
expect 2 'names no guardian' shield plain.xml --owner owner.jwk --guardian "@$one"
expect 2 'thumbprint is missing' shield plain.xml --owner owner.jwk --guardian guardian.jwk.pub@https://a:1
expect 2 'host or port is wrong' shield plain.xml --owner owner.jwk --guardian "guardian.jwk.pub@https://a/#$pin"
expect 2 'given twice' shield plain.xml --owner owner.jwk --guardian "guardian.jwk.pub@$one,$one"
expect 2 'this guardian is named twice' shield plain.xml --owner owner.jwk --guardian "guardian.jwk.pub@$one" \
	--guardian "guardian.jwk.pub@$two"
expect 1 'besides its owner' shield plain.xml --owner owner.jwk --guardian "owner.jwk.pub@$one"
expect 3 'missing.jwk' shield plain.xml --owner owner.jwk --guardian "missing.jwk@$one"
expect 1 'guardian.jwk:' shield plain.xml --owner owner.jwk --guardian "guardian.jwk@$one"

# What an owner tells a guardian: JWSs with the owner's key, whose payloads are spelled exactly.
part() { cut -d. -f"$1" out | tr -d '\n' | jose b64 dec -i -; }
ticket() { # TYP PAYLOAD
	[ "$(part 1)" = '{"alg":"ES256","kid":"'"$owner"'","typ":"'"$1"'"}' ] && [ "$(part 2)" = "$2" ] &&
		tr -d '\n' <out | jose jws ver -i - -k owner.jwk.pub
}
expect 0 'good once' key ticket "$uuid" --owner owner.jwk --restore 7 --restores 2
check 'a ticket to restore' ticket shieldvm-restore+jws "{\"v\":1,\"vm\":\"$uuid\",\"version\":7,\"restores\":2}"
expect 0 'once it has expired' key ticket "$uuid" --owner owner.jwk --takeback 12
check 'a lease taken back' ticket shieldvm-takeback+jws "{\"v\":1,\"vm\":\"$uuid\",\"token\":12}"
expect 2 'give either' key ticket "$uuid" --owner owner.jwk
expect 2 'give either' key ticket "$uuid" --owner owner.jwk --restore 7
expect 2 'give either' key ticket "$uuid" --owner owner.jwk --restore 7 --restores 0 --takeback 1
expect 2 'give either' key ticket "$uuid" --owner owner.jwk --restores 7 --takeback 1
for number in -1 x '' 1000000000000000000; do
	expect 2 'not a number' key ticket "$uuid" --owner owner.jwk --takeback "$number"
done
expect 2 'not a VM' key ticket vm --owner owner.jwk --takeback 1
expect 2 'owner FILE is missing' key ticket "$uuid" --takeback 1
expect 2 'VM-UUID is missing' key ticket --owner owner.jwk --takeback 1
expect 1 'owner.jwk.pub' key ticket "$uuid" --owner owner.jwk.pub --takeback 1
expect 0 'usage: shieldvm key ticket' key ticket --help

# A machine that is no host may shield for others.
mv /etc/shieldvm/host.jwk.pub keep
expect 0 'This machine has no host key' shield plain.xml --owner owner.jwk --host b.jwk.pub
expect 0 'by 1 host' shield plain.xml --owner owner.jwk --host b.jwk.pub
mv keep /etc/shieldvm/host.jwk.pub

# Malformed domains.
bad_domain() { # SENTENCE TEXT
	printf '%s' "$2" >bad.xml
	expect 1 "bad.xml: $1" shield bad.xml --owner owner.jwk
	expect 1 "bad.xml: $1" lint bad.xml
	expect 1 "bad.xml: $1" key rewrap bad.xml --owner owner.jwk --new-tpm
}
bad_domain 'the XML is empty' ''
bad_domain 'not well-formed XML' 'hello'
bad_domain 'not well-formed XML: line 2' $'<domain>\n<a></b></domain>'
bad_domain 'not well-formed XML' $'<domain>\x01</domain>'
bad_domain 'not well-formed XML' $'<domain>\xff\xfe</domain>'
bad_domain 'not a libvirt domain' '<network/>'
bad_domain 'a document type declaration' '<!DOCTYPE d SYSTEM "/etc/passwd"><domain/>'
bad_domain 'a document type declaration' '<!DOCTYPE d [<!ENTITY a "x">]><domain>&a;</domain>'
bad_domain '<shield> at line 1: no <protector>' \
	'<domain><metadata><shield xmlns="urn:shieldvm:shield:1"/></metadata></domain>'
head -c 5000000 /dev/zero | tr '\0' ' ' >bad.xml
expect 1 'than the 4194304 bytes a domain may have' shield bad.xml --owner owner.jwk
head -c 1000 /dev/urandom >bad.xml
expect 1 'bad.xml: ' shield bad.xml --owner owner.jwk
expect 3 'No such file' shield missing.xml --owner owner.jwk
expect 3 'No such file' lint missing.xml
expect 3 'Is a directory' shield /etc --owner owner.jwk
sed 's|q35|pc-i440fx-7.2|' plain.xml >bad.xml
expect 1 'has no SMM' shield bad.xml --owner owner.jwk
sed "s|$uuid|x|" plain.xml >bad.xml
expect 1 'not a UUID' shield bad.xml --owner owner.jwk

# Malformed keys.
bad_key() { # STATUS SENTENCE TEXT
	printf '%s' "$3" >bad.jwk
	chmod 600 bad.jwk
	expect "$1" "$2" shield plain.xml --owner bad.jwk
	expect "$1" "$2" shield plain.xml --owner owner.jwk --host bad.jwk
	expect "$1" "$2" key show bad.jwk
	expect "$1" "$2" key rewrap shielded.xml --owner bad.jwk --new-tpm
}
bad_key 1 'bad.jwk' ''
bad_key 1 'bad.jwk' 'hello'
bad_key 1 'bad.jwk' '{}'
bad_key 1 'bad.jwk' '[]'
bad_key 1 'bad.jwk' '{"kty":"RSA","n":"AQAB","e":"AQAB"}'
bad_key 1 'bad.jwk' '{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}'
bad_key 1 'bad.jwk' "$(tr -d '\n' <owner.jwk | sed 's/"d":"./"d":"/')"
bad_key 1 'bad.jwk' "$(head -c 5000 /dev/zero | tr '\0' ' ')"
expect 1 'owner.jwk.pub' shield plain.xml --owner owner.jwk.pub
expect 1 'owner.jwk' shield plain.xml --owner owner.jwk --host owner.jwk
cp owner.jwk open.jwk
chmod 644 open.jwk
expect 1 'open.jwk' shield plain.xml --owner open.jwk
expect 3 'missing.jwk' shield plain.xml --owner missing.jwk
expect 3 'missing.jwk' shield plain.xml --owner owner.jwk --host missing.jwk
expect 3 'missing.jwk' key show missing.jwk
before=$(sha256sum owner.jwk)
expect 3 'is not overwritten' key new owner.jwk
check 'the owner key is as it was' test "$before" = "$(sha256sum owner.jwk)"
touch half.jwk.pub
expect 3 'is not overwritten' key new half.jwk
check 'no half pair' test ! -e half.jwk
expect 3 'No such file' key new missing/owner.jwk

# Output that cannot be written.
expect 3 'No such file' shield plain.xml --owner owner.jwk -o missing/out.xml
expect 3 'not a regular file' shield plain.xml --owner owner.jwk -o /dev/full
expect 3 'not a regular file' shield plain.xml --owner owner.jwk -o /etc
for command in "shield plain.xml --owner owner.jwk" "host show" "--help" "key show owner.jwk"; do
	checks=$((checks + 1))
	# shellcheck disable=SC2086 # several words
	"$shieldvm" $command >/dev/full 2>err
	if [ $? != 3 ] || ! grep -q '^shieldvm: standard output' err; then
		fail "$command to a full disk: $(cat err)"
	fi
done
mkdir small
mount -t tmpfs -o size=4k tmpfs small
printf 'precious' >small/out.xml
expect 3 'No space left' shield plain.xml --owner owner.jwk -o small/out.xml
check 'a full disk leaves the old file' test "$(cat small/out.xml)" = precious
check 'and nothing else' test "$(find small -type f | wc -l)" = 1
umount small

# Arguments.
expect 2 'a command is missing'
expect 2 "no command 'frob'" frob
expect 2 'a command is missing' host
expect 2 "no command 'host frob'" host frob
expect 2 "no command 'key -x'" key -x
expect 2 "no option '--frob'" shield --frob plain.xml
expect 2 "no option '-x'" shield -x plain.xml
expect 2 'needs a value' shield plain.xml --owner
expect 2 'needs a value' shield plain.xml -o
expect 2 'takes no value' shield plain.xml --strip=yes --owner owner.jwk
expect 2 '--owner FILE is missing' shield plain.xml
expect 2 'IN.xml is missing' shield --owner owner.jwk
expect 2 'one argument too many' shield plain.xml plain.xml --owner owner.jwk
expect 2 '--level high' shield plain.xml --owner owner.jwk --level high
expect 2 '--allow no.such' shield plain.xml --owner owner.jwk --allow no.such
expect 2 '--allow qemu.commandline' shield plain.xml --owner owner.jwk --allow qemu.commandline
expect 2 'nothing but state.compression can be allowed at level shielded' shield plain.xml --owner owner.jwk --allow console.serial
expect 2 'FILE is missing' key new
expect 2 'one argument too many' key new a b
expect 2 "no option '-o'" key new -o a
expect 2 'FILE is missing' key show
expect 2 'XML is missing' key rewrap --owner owner.jwk
expect 2 '--owner FILE is missing' key rewrap shielded.xml
expect 2 'one argument too many' host init now
expect 2 'one argument too many' host show now
expect 2 "no option '--frob'" host init --frob
expect 2 'one argument too many' status a b
expect 2 "no option '-o'" status -o x
expect 1 'no worker is running for this VM' status vm
expect 0 'usage: shieldvm shield' shield --help
expect 0 'usage: shieldvm shield' shield plain.xml --help
expect 0 'usage: shieldvm host init' host --help
expect 0 'usage: shieldvm key rewrap' key rewrap -h
expect 0 'usage: shieldvm status' status --help
expect 0 'Exit status' --help
expect 0 'shieldvm 0' --version

# A worker that has ended, does not answer, or answers nonsense.
mkdir -p "/run/shieldvm/$uuid" /run/shieldvm/notes
expect 0 'No worker' status
listen() { # seconds to live; what it answers
	rm -f listening
	python3 - "$1" "$2" <<-PYTHON &
		import os, socket, sys, time
		path = "/run/shieldvm/$uuid/control.sock"
		if os.path.exists(path):
		    os.unlink(path)
		s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		s.bind(path)
		s.listen(1)
		open("listening", "w").close()
		s.settimeout(float(sys.argv[1]))
		c = s.accept()[0]
		if sys.argv[2]:
		    c.send(sys.argv[2].encode())
		time.sleep(float(sys.argv[1]))
	PYTHON
	listener=$!
	for _ in $(seq 100); do
		[ ! -e listening ] || break
		sleep 0.05
	done
}
listen 1 nonsense
expect 0 'does not answer: unknown version' status
wait "$listener"
expect 0 'No worker' status
listen 15 ''
expect 0 '"answers": false' status --json
kill "$listener"

printf '%d checks\n' "$checks"
exit "$failed"
