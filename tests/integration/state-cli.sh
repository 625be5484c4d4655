#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shieldvm state on files made by the library, as a worker makes them, behind libvirt's header or
# bare. Runs in a mount namespace of its own, without libvirtd. Usage: state-cli.sh SHIELDVM STATE-MAKE
set -u -o pipefail
shieldvm=$(realpath "$1")
make=$(realpath "$2")
here=$(realpath "$(dirname "$0")")

# shellcheck source-path=SCRIPTDIR source=cli-lib.sh
. "$here/cli-lib.sh"
cli_enter 280 "$shieldvm" "$make"

json() { # WHAT FILTER: the object on standard output of the last expect has it
	checks=$((checks + 1))
	jq -e "$2" out >/dev/null 2>&1 || fail "$1: $(cat out)"
}
nothing_left() { # NAME
	checks=$((checks + 1))
	[ -z "$(find . -maxdepth 1 -name "$1*")" ] || fail "$1: something is left: $(ls -d "$1"*)"
}

# --- who and what ---------------------------------------------------------------------------------
uuid=11111111-2222-4333-8444-555555555555
domain() { # UUID
	cat <<-XML
		<domain type='qemu'>
		  <name>vm</name>
		  <uuid>$1</uuid>
		  <memory unit='MiB'>512</memory>
		  <os><type arch='x86_64' machine='q35'>hvm</type></os>
		  <features><acpi/></features>
		  <devices><interface type='user'/></devices>
		</domain>
	XML
}
"$shieldvm" host init >/dev/null 2>&1 || fail 'host init'
for key in owner stranger; do
	"$shieldvm" key new $key.jwk >/dev/null || fail "key new $key"
done
domain $uuid >plain.xml
domain ${uuid/1/2} >other-plain.xml
"$shieldvm" shield plain.xml --owner owner.jwk -o vm.xml 2>/dev/null || fail 'shield'
"$shieldvm" shield other-plain.xml --owner owner.jwk -o other.xml 2>/dev/null || fail 'shield'
"$shieldvm" shield plain.xml --owner owner.jwk -o again.xml 2>/dev/null || fail 'shield'
"$shieldvm" shield plain.xml --owner stranger.jwk -o stranger.xml 2>/dev/null || fail 'shield'
"$shieldvm" key rewrap vm.xml --owner owner.jwk --new-tpm -o new-tpm.xml 2>/dev/null || fail rewrap
"$shieldvm" key rewrap vm.xml --owner owner.jwk --add-host stranger.jwk.pub -o two.xml 2>/dev/null ||
	fail rewrap
host=/etc/shieldvm/host.jwk
owner=$("$shieldvm" key show owner.jwk 2>&1 >/dev/null | cut -d' ' -f2)

record=262144
{
	printf 'QEVM canary-in-the-clear '
	head -c $((3 * record)) /dev/urandom
} >plain
: >plain.0
head -c 1 plain >plain.1
head -c $record plain >plain.record
for n in '' .0 .1 .record; do
	"$make" saved-state vm.xml owner.jwk <plain$n >bare$n || fail "saved state$n"
done
"$make" saved-state vm.xml owner.jwk <plain >bare.again || fail 'another save'
"$make" saved-state other.xml owner.jwk <plain >bare.other || fail "another VM's save"
"$make" dump vm.xml <plain >dump || fail dump
front=$((148 + 96))

# What libvirt writes in front.
cat >image.py <<'PY'
# image.py XML OUT [NAME=VALUE]... <stream
import struct, sys
a = dict(order="<", magic="LibvirtQemudSave", version=2, running=1, format=0, cookie="", pad=65536, length=-1)
for word in sys.argv[3:]:
    name, value = word.split("=", 1)
    a[name] = type(a[name])(value)
xml = open(sys.argv[1], "rb").read() + b"\0"
data = xml + a["cookie"].encode() + bytes(a["pad"])
length = len(data) if a["length"] < 0 else a["length"]
head = a["magic"].encode() + struct.pack(a["order"] + "5I", a["version"], length, a["running"],
                                         a["format"], len(xml) if a["cookie"] else 0) + bytes(56)
open(sys.argv[2], "wb").write(head + data + sys.stdin.buffer.read())
PY
image() { # IN XML OUT [NAME=VALUE]...
	python3 image.py "${@:2}" <"$1" || fail "image $*"
}
image bare vm.xml save
image bare vm.xml save.swapped 'order=>' running=0
image bare vm.xml save.cookie 'cookie=<cookie/>'
image bare vm.xml save.part magic=LibvirtQemudPart
image bare plain.xml save.unshielded
image bare other.xml save.other-xml
sed "s|<uuid>1|<uuid>3|" vm.xml >edited.xml
image bare edited.xml save.edited
for n in .0 .1 .record; do
	image bare$n vm.xml save$n
done

# --- inspect --------------------------------------------------------------------------------------
QUIET=1
expect 0 "domain       vm ($uuid)" state inspect save
check 'inspect says whose it is' grep -q "VM           $uuid" out
check '... under which level' grep -q 'level        shielded' out
check '... the owner' grep -q "owner        $owner" out
check '... and that nothing is proven' grep -q 'Nothing of this is authenticated' out
check '... that it ran' grep -q 'was          running' out
check '... and was finished' grep -q 'finished     yes' out
expect 0 '' state inspect save --json
json 'image' ".image | .name == \"vm\" and .uuid == \"$uuid\" and .complete and .was_running and .compression == \"raw\" and .owner == \"$owner\""
json 'stream' ".stream | .kind == \"saved-state\" and .vm == \"$uuid\" and .level == \"shielded\" and (.tpm | length) == 32
	and (.shredded | not) and .recipient == null and .record_bytes == $record and .bytes == $(stat -c %s bare)
	and .offset == $(($(stat -c %s save) - $(stat -c %s bare)))"
json 'nothing proven' '.authentic == false'
json 'no other member' '(keys == ["authentic", "image", "stream"]) and (.image | keys == ["complete", "compression", "name", "owner", "uuid", "was_running"])
	and (.stream | keys == ["bytes", "compression", "kind", "level", "offset", "recipient", "record_bytes", "shredded", "tpm", "vm"])'
expect 0 'are authentic' state inspect save --key owner.jwk
expect 0 'are authentic' state inspect save --key $host
expect 0 '' state inspect save --json --key owner.jwk
json 'proven' '.authentic and .stream.level == "shielded"'
another='sealed with another key or for another vTPM or level'
expect 1 "$another" state inspect save --key owner.jwk --protector again.xml
expect 0 'was          paused' state inspect save.swapped
expect 0 'finished     no' state inspect save.part
expect 0 "sealed saved state, from byte 0 on" state inspect bare
expect 0 '' state inspect bare --json
json 'bare' '.image == null and .stream.level == null and .stream.tpm == null and .stream.offset == 0'
expect 0 'are authentic' state inspect bare --key owner.jwk --protector vm.xml
expect 0 "sealed for   $owner" state inspect dump
expect 0 '' state inspect dump --json
json 'dump' ".image == null and .stream.kind == \"dump\" and .stream.recipient == \"$owner\" and .stream.level == \"shielded\""
expect 0 'Who made the dump is not proven' state inspect dump --key owner.jwk
expect 0 'the domain in it has no protector' state inspect save.unshielded
expect 0 'the VM with another UUID' state inspect save.edited
IN=save expect 0 "domain       vm ($uuid)" state inspect -
checks=$((checks + 1))
"$shieldvm" state inspect - --json < <(cat save) | jq -e '.stream.bytes == null' >out || fail 'inspect of a pipe'

# --- verify ---------------------------------------------------------------------------------------
expect 0 'save: authentic and complete' state verify save
check 'verify says how many records' grep -q "VM $uuid (level shielded), 768.0 KiB in 4 records" out
for n in '' .0 .1 .record .swapped .cookie; do
	expect 0 'authentic and complete' state verify save$n --key owner.jwk
done
expect 0 '' state verify save --json
json 'verified' ".ok and .kind == \"saved-state\" and .vm == \"$uuid\" and .level == \"shielded\" and (.tpm | length) == 32
	and .records == 4 and .plain_bytes == $(stat -c %s plain) and .packed_bytes == .plain_bytes
	and .compression == \"none\" and (keys | length) == 9"
expect 0 'authentic and complete' state verify bare --protector vm.xml
expect 0 'authentic and complete' state verify save --protector two.xml --key stranger.jwk
expect 0 'complete and unaltered' state verify dump --key owner.jwk
check 'a dump proves nothing about who made it' grep -q 'Who made it is not proven' out
expect 0 'complete and unaltered' state verify dump --key owner.jwk --protector vm.xml
IN=bare expect 0 'authentic and complete' state verify - --protector vm.xml
checks=$((checks + 1))
{ head -c 100 /dev/zero; cat save; } >behind
python3 -c 'import os, sys; os.lseek(0, 100, 0); os.execv(sys.argv[1], sys.argv[1:])' \
	"$shieldvm" state verify - <behind >out 2>err || fail "a save in the midst of a file: $(cat err)"
checks=$((checks + 1))
(head -c 5 save; sleep 0.3; tail -c +6 save | head -c 70000; sleep 0.3; tail -c +70006 save) |
	"$shieldvm" state verify - >out 2>err || fail "a save through a slow pipe: $(cat err)"

# --- open -----------------------------------------------------------------------------------------
QUIET=
for n in '' .0 .1 .record; do
	expect 0 'in the clear' state open save$n -o clear$n --key owner.jwk
	check "the plaintext$n" cmp plain$n clear$n
done
check 'it is private' test "$(stat -c %a clear)" = 600
expect 3 'exists and is not overwritten' state open save.1 -o clear
check 'what was there stays' cmp plain clear
expect 0 'in the clear' state open save.1 -o clear --force
check '... unless forced' cmp plain.1 clear
check '... and private again' test "$(stat -c %a clear)" = 600
check 'the temporary is gone' test ! -e "$(echo clear.tmp.*)"
expect 0 'crash(8)' state open dump -o core --key owner.jwk
check "the dump's plaintext" cmp plain core
expect 0 'did not finish' state open save.part -o part
check 'an unfinished one can be opened still' cmp plain part
"$shieldvm" state open save -o - >clear.stdout 2>err || fail "open to a file on standard output: $(cat err)"
check 'it is the plaintext' cmp plain clear.stdout
"$shieldvm" state open - -o - <save 2>err | cmp - plain || fail "open in a pipe: $(cat err)"
cat dump | "$shieldvm" state open - -o - --key owner.jwk 2>err | cat | cmp - plain || fail "open in a pipe: $(cat err)"
"$shieldvm" state open save -o - 2>err | head -c 100 >/dev/null
check 'a reader who goes away' test "${PIPESTATUS[0]}" = 3
expect 3 'No such file' state open save -o missing/clear
expect 3 'not a regular file' state open save -o /dev/full --force
expect 3 'not a regular file' state open save -o /etc --force
ln -s plain link
expect 3 'not a regular file' state open save -o link --force
cp save itself
expect 2 'is the sealed file itself' state open itself -o ./itself --force
check 'which stays' cmp save itself
mkdir small
mount -t tmpfs -o size=300k tmpfs small
expect 3 'No space left' state open save -o small/clear
check 'a full disk leaves nothing' test -z "$(ls -A small)"
umount small
mkdir nobody
chown 65534 nobody
cp "$shieldvm" shieldvm
cp owner.jwk nobody/
cp save vm.xml nobody/
chown 65534 nobody/*
(cd nobody && setpriv --reuid 65534 --regid 65534 --clear-groups ../shieldvm state open save -o clear \
	--key owner.jwk 2>../err) || fail "open by its owner, who is not root: $(cat err)"
check 'the same for nobody' cmp plain nobody/clear

# --- compressed -----------------------------------------------------------------------------------
"$shieldvm" key rewrap vm.xml --owner owner.jwk --allow state.compression -o packing.xml 2>/dev/null || fail rewrap
{
	printf 'QEVM canary-in-the-clear '
	yes 'the same page again and again' | head -c $((9 * record))
} >pages
"$make" saved-state packing.xml owner.jwk <pages >bare.packed || fail 'a compressed saved state'
"$make" dump packing.xml <pages >dump.packed || fail 'a compressed dump'
image bare.packed vm.xml save.packed
check 'it is small' test "$(stat -c %s bare.packed)" -lt 5000 -a "$(stat -c %s dump.packed)" -lt 6000
expect 0 'compression  zstd' state inspect save.packed
expect 0 'compression  none' state inspect save
expect 0 '' state inspect dump.packed --json
json 'it says so' '.stream.compression == "zstd"'
expect 0 ' MiB, compressed to ' state verify save.packed
expect 0 ' (zstd) in 1 record.' state verify dump.packed --key owner.jwk
expect 0 '' state verify save.packed --json --key owner.jwk
json 'both sizes' ".ok and .compression == \"zstd\" and .plain_bytes == $(stat -c %s pages) and .records == 1
	and .packed_bytes < 5000"
for file in save.packed dump.packed; do
	expect 0 '' state open $file --key owner.jwk -o $file.out
	check "$file is what was sealed" cmp -s pages $file.out
	expect 0 '' state open $file --key owner.jwk -o -
	check "$file is so in a pipe" cmp -s pages out
	head -c -1 $file >short
	expect 1 'it was cut off in record 0' state open short --key owner.jwk -o short.out
	nothing_left short.out
done

# --- must fail ------------------------------------------------------------------------------------
expect 1 'with stranger.jwk: the key' state verify save --key stranger.jwk
expect 1 "$another" state verify save --protector again.xml
expect 1 "$another" state verify save --protector new-tpm.xml
expect 1 'made for VM' state verify save --protector other.xml
expect 1 'stranger.xml' state verify save --protector stranger.xml --key owner.jwk
expect 1 'made for VM' state verify save.other-xml
expect 1 'the VM with another UUID' state verify save.edited
expect 1 'has no protector' state verify save.unshielded
expect 1 'did not finish the save' state verify save.part
expect 1 "sealed to the key $owner" state verify dump --key stranger.jwk
expect 1 "sealed to the key $owner" state verify dump --key $host
expect 1 'a dump of VM' state verify dump --key owner.jwk --protector other.xml
expect 2 "owner's private key alone" state verify dump
expect 2 '--protector XML' state verify bare
expect 1 'owner.jwk.pub' state verify save --key owner.jwk.pub
cp owner.jwk open.jwk
chmod 644 open.jwk
expect 1 'open.jwk' state verify save --key open.jwk
mv $host away
expect 3 'no --key was given' state verify save
mv away $host

cat bare.again >tail-of-another
python3 - $front $record <<'PY'
import sys
front, record = int(sys.argv[1]), int(sys.argv[2]) + 20
bare, again, other = (open(n, "rb").read() for n in ("bare", "bare.again", "bare.other"))
def records(b):
    return [b[front + i * record:front + (i + 1) * record] for i in range(4)]
r, a, o = records(bare), records(again), records(other)
def write(name, head, parts):
    open("bad." + name, "wb").write(head + b"".join(parts))
f = bare[:front]
write("swapped", f, [r[1], r[0], r[2], r[3]])
write("repeated", f, [r[0], r[0], r[1], r[2], r[3]])
write("dropped", f, [r[0], r[2], r[3]])
write("no-final", f, r[:3])
write("spliced", f, [r[0], a[1], r[2], r[3]])
write("spliced-final", f, [r[0], r[1], r[2], a[3]])
write("of-another-vm", f, [r[0], o[1], r[2], r[3]])
write("of-another-vm-whole", f, o)
write("key-of-another", again[:148] + bare[148:front], r)
write("head-of-another", other[:32] + bare[32:front], r)
write("trailing", f, r + [b"\0"])
write("trailing-record", f, r + [r[3]])
write("two", f, r + [bare])
PY
while read -r name sentence; do
	image "bad.$name" vm.xml bad
	expect 1 "$sentence" state verify bad
	check "$name: says where, once the header is past" bash -c "! grep -q 'record ' err || grep -q 'byte [0-9]* of the file' err"
	expect 1 "$sentence" state open bad -o bad-clear
	nothing_left bad-clear
done <<-'CASES'
	swapped record 0 is not authentic
	repeated record 1 is not authentic
	dropped record 1 is not authentic
	no-final record 3
	spliced record 1 is not authentic
	spliced-final record 3 is not authentic
	of-another-vm record 1 is not authentic
	of-another-vm-whole record 0 is not authentic
	key-of-another sealed with another key
	head-of-another made for VM
	trailing behind the final record
	trailing-record behind the final record
	two behind the final record
CASES
image bad.spliced vm.xml bad
expect 1 "would begin at byte $(($(stat -c %s bad) - $(stat -c %s bare) + front + record + 20)) of the file" state verify bad
expect 1 '' state verify bad --json
json 'a verdict' ".ok == false and .record == 1 and .offset == $(($(stat -c %s bad) - $(stat -c %s bare) + front + record + 20)) and (.reason | contains(\"record 1 is not authentic\"))"
"$shieldvm" state open bad -o - >clear.stdout 2>err
check 'a bad record ends the stream' test $? = 1
check '... behind what was authentic' test "$(stat -c %s clear.stdout)" = $record
check '... which is right' cmp -n $record plain clear.stdout

# Every byte of the front, every record's edges, a sample elsewhere; every cut likewise.
image bare vm.xml good
checks=$((checks + 1))
python3 "$here/state-cli.py" "$shieldvm" good $(($(stat -c %s good) - $(stat -c %s bare))) $front $record ||
	fail 'bit flips and cuts'
nothing_left clear.py

# --- not ours -------------------------------------------------------------------------------------
cp plain clear.plain
expect 1 'not sealed: a QEMU state in the clear' state inspect clear.plain
image plain vm.xml unsealed
expect 1 'not sealed: a QEMU state in the clear' state inspect unsealed
expect 1 'not sealed: a QEMU state in the clear' state verify unsealed
printf '\177ELF junk' >elf
expect 1 'not sealed: an ELF core' state verify elf --key owner.jwk
: >empty
expect 1 'empty' state verify empty
expect 1 'neither' state verify vm.xml
head -c 80 save >short
expect 1 'cut off inside libvirt' state verify short
head -c 500 save >short
expect 1 'cut off inside the domain XML' state verify short
image empty vm.xml short
expect 1 "nothing is behind libvirt's header" state verify short
image bare vm.xml bad length=4000000000
expect 1 '4000000000 bytes of domain XML' state verify bad
image bare vm.xml bad version=3
expect 1 'version 3' state verify bad
image bare /dev/null bad
expect 1 'the XML is empty' state verify bad
expect 0 'the XML is empty' state inspect bad
expect 0 'authentic and complete' state verify bad --protector vm.xml
expect 3 'No such file' state verify missing
expect 3 'not a regular file' state verify /etc
for program in gzip:1 bzip2:2 xz:3 zstd:5; do
	name=${program%:*}
	type "$name" >/dev/null 2>&1 || continue
	"$name" -c <bare >packed
	image packed vm.xml save.packed "format=${program#*:}"
	expect 0 "compressed   by libvirt, with $name" state inspect save.packed
	expect 1 "libvirt compressed it with $name" state verify save.packed
	expect 1 "libvirt compressed it with $name" state inspect save.packed --key owner.jwk
	command=$(sed -n 's/.*\(tail -c .*\)$/\1/p' err | sed "s|FILE|save.packed|; s|shieldvm|$shieldvm|")
	check "what it says to do with $name works" bash -c "$command"
	expect 1 'shred -u FILE' state shred save.packed --yes
	"$name" -c <dump >packed
	expect 1 "libvirt compressed it with $name" state verify packed --key owner.jwk
	command=$(sed -n 's/.*: \([a-z0-9]* -dc .*\)$/\1/p' err | sed "s|FILE|packed|; s|shieldvm|$shieldvm|")
	check "for a dump too" bash -c "$command --key owner.jwk"
done
image bare vm.xml save.sparse format=6
expect 0 "compressed   by libvirt, with sparse" state inspect save.sparse
expect 1 'not sealed' state verify save.sparse

# --- shred ----------------------------------------------------------------------------------------
cp save shredded
expect 2 'say --yes' state shred shredded
check 'nothing without consent' cmp save shredded
expect 0 'nobody can open this file any more' state shred shredded --yes
check 'it is as long as before' test "$(stat -c %s save)" = "$(stat -c %s shredded)"
at=$(($(stat -c %s save) - $(stat -c %s bare)))
check 'only the key is overwritten' test "$(cmp -l save shredded | awk -v a=$((at + 32)) -v b=$((at + 148)) '$1 <= a || $1 > b { n++ } END { print n + 0 }')" = 0
check '... and all of it' test "$(tail -c +$((at + 33)) shredded | head -c 116 | tr -d '\0' | wc -c)" = 0
expect 1 'was shredded' state verify shredded
expect 1 'was shredded' state open shredded -o clear.shredded --key owner.jwk
nothing_left clear.shredded
expect 0 'key          shredded' state inspect shredded
expect 0 '' state inspect shredded --json
json 'shredded' ".stream.shredded and .stream.record_bytes == null and .stream.vm == \"$uuid\""
before=$(sha256sum shredded)
expect 0 'was shredded already' state shred shredded --yes
check 'twice is as once' test "$before" = "$(sha256sum shredded)"
cp dump shredded
expect 0 'nobody can open' state shred shredded --yes
expect 1 'was shredded' state verify shredded --key owner.jwk
expect 1 'was shredded' state verify shredded
expect 1 'neither' state shred vm.xml --yes
check 'a foreign file stays' grep -q protector vm.xml
expect 1 'not sealed' state shred unsealed --yes
ln -sf save link
expect 3 'symbolic link' state shred link --yes
expect 3 'not a regular file' state shred /dev/null --yes
expect 2 'FILE is missing' state shred --yes
head -c $((at + 100)) save >short
before=$(sha256sum short)
expect 1 'short' state shred short --yes
check 'what cannot be shredded stays' test "$before" = "$(sha256sum short)"

# --- a terminal, and arguments --------------------------------------------------------------------
checks=$((checks + 1))
python3 "$here/state-cli.py" terminal "$shieldvm" save shredme || fail 'on a terminal'
expect 2 'a command is missing' state
expect 2 "no command 'state frob'" state frob
expect 2 'FILE is missing' state verify
expect 2 'one argument too many' state verify save save
expect 2 '-o OUT is missing' state open save
expect 2 "no option '-o'" state verify save -o out
expect 2 "no option '--yes'" state verify save --yes
expect 2 "no option '--force'" state inspect save --force
expect 2 "no option '--json'" state open save --json -o x
expect 2 "no option '--key'" state shred save --key owner.jwk
expect 0 'usage: shieldvm state verify' state verify --help
expect 0 'usage: shieldvm state shred' state --help
expect 0 'shieldvm state open' --help
for command in 'state inspect save' 'state verify save' 'state verify save --json' 'state open save -o -'; do
	checks=$((checks + 1))
	# shellcheck disable=SC2086 # several words
	"$shieldvm" $command >/dev/full 2>err
	if [ $? != 3 ] || [ "$(grep -c '^shieldvm: ' err)" != 1 ]; then
		fail "$command to a full disk: $(cat err)"
	fi
done

printf '%d checks\n' "$checks"
exit "$failed"
