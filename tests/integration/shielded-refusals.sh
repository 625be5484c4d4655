#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What must not start does not start, `virsh start` shows why, and the vTPM's state is left as it
# was. Two VMs of one owner lend each other their files. No guest has to boot for this.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

a=1c0ffee0-52c1-4b6e-8a51-0d5e8e6f0a01
b=1c0ffee0-52c1-4b6e-8a51-0d5e8e6f0b02
shieldvm_ready
libvirtd_start
shield_domain a $a
shield_domain b $b

starts_and_ends() {
	virsh start "$1" && virsh destroy "$1" && until_true 10 no_vm_processes "$2"
}
check 'a starts' starts_and_ends a $a
check 'b starts' starts_and_ends b $b

# --- the state file -------------------------------------------------------------------------------

state=$(state_file $a)
cp -a "$(state_folder $a)" /run/bed/a.saved

folder_sum() {
	(cd "$(state_folder $a)" && find . -type f -exec sha256sum {} + | sort -k 2)
}

restore_state() {
	rm -rf "$(state_folder $a)"
	cp -a /run/bed/a.saved "$(state_folder $a)"
}

# damaged WHAT REGEX COMMAND...: with the state changed by the command, a does not start, says a
# sentence that matches, and leaves all of its files as they are.
damaged() {
	local what=$1 regex=$2 before
	shift 2
	"$@"
	before=$(folder_sum)
	refused "$what is refused" "$regex" virsh start a
	check "$what is left as it is" test "$(folder_sum)" = "$before"
	check 'no process is left over' until_true 10 no_vm_processes $a
	restore_state
}

flip_byte() {
	python3 -c 'import sys
path, at = sys.argv[1], int(sys.argv[2])
with open(path, "r+b") as f:
    f.seek(at, 0 if at >= 0 else 2)
    byte = f.read(1)[0]
    f.seek(-1, 1)
    f.write(bytes([byte ^ 1]))' "$state" "$1"
}

other_state() {
	cat "$(state_file $b)" >"$state"
}

damaged "another VM's state" "refused and left as it is.*made for VM $b" other_state
damaged 'a truncated state' 'refused and left as it is' truncate -s -1 "$state"
damaged 'an empty state' 'refused and left as it is' truncate -s 0 "$state"
damaged 'a state with a byte behind it' 'refused and left as it is' bash -c "printf x >>$state"
damaged 'a state with a bit flipped in its header' 'refused and left as it is' flip_byte 30
damaged 'a state with a bit flipped in its contents' 'refused and left as it is' flip_byte -20
damaged 'a deleted state' 'was deleted|is missing' rm "$state"
damaged 'a deleted state folder' 'is missing' bash -c "rm -f $(state_folder $a)/tpm2.state*"
check 'with its own state back, a starts' starts_and_ends a $a

# --- the protector --------------------------------------------------------------------------------

# redefined WHAT REGEX SCRIPT [XML]: a, redefined from its XML after the python statements in SCRIPT
# have changed the string "xml", does not start.
redefined() {
	python3 -c 'import re, sys
xml = open(sys.argv[1]).read()
before = xml
exec(sys.argv[2])
assert xml != before, "nothing was changed"
open("/run/bed/changed.xml", "w").write(xml)' "/run/bed/a.xml" "$3"
	check "a is redefined with $1" virsh define /run/bed/changed.xml
	refused "$1 is refused" "$2" virsh start a
	check 'no process is left over' until_true 10 no_vm_processes $a
}

# A compact JWS: header, payload, signature.
parts='m = re.search(r"<protector[^>]*>\s*([^<\s]+)", xml).group(1); h, p, s = m.split(".")'
other='lambda c: "A" if c != "A" else "B"'
redefined 'a protector with an edited signature' 'signature does not fit' \
	"$parts; xml = xml.replace(m, h + '.' + p + '.' + ($other)(s[0]) + s[1:])"
redefined 'a protector with one byte edited' "protector's payload|signature does not fit" \
	"$parts; xml = xml.replace(m, h + '.' + p[:40] + ($other)(p[40]) + p[41:] + '.' + s)"
redefined 'a protector with its level edited' 'signature does not fit' \
	"$parts
import base64
text = base64.urlsafe_b64decode(p + '==').decode().replace('\"shielded\"', '\"encryption-supported\"')
edited = base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')
assert edited != p
xml = xml.replace(m, h + '.' + edited + '.' + s)"
redefined 'a protector without signature' 'signature|three parts' \
	"$parts; xml = xml.replace(m, h + '.' + p + '.')"
redefined "another VM's protector" "made for VM $b" \
	"$parts; o = open('/run/bed/b.xml').read(); xml = xml.replace(m, re.search(r'<protector[^>]*>\s*([^<\s]+)', o).group(1))"
redefined 'a serial console' 'console\.(serial|console)' \
	"xml = xml.replace('<video>', \"<serial type='pty'/><video>\")"
redefined 'another emulator' 'domain\.emulator' \
	"xml = xml.replace('/usr/bin/shieldvm-launch', '/usr/bin/qemu-system-x86_64')"
redefined 'its shield taken off' 'worker|shield' \
	"xml = re.sub(r'<metadata>.*</metadata>', '', xml, flags=re.S)"
check 'a is defined as it was' virsh define /run/bed/a.xml

# --- the programs ---------------------------------------------------------------------------------

mv /usr/sbin/shieldvm-worker /run/bed/worker
refused 'with no worker program a does not start' 'worker' virsh start a
mv /run/bed/worker /usr/sbin/shieldvm-worker

mv /etc/shieldvm/host.jwk /run/bed/host.jwk
refused "without the host's key a does not start" 'host' virsh start a
mv /run/bed/host.jwk /etc/shieldvm/host.jwk

rm /etc/libvirt/hooks/qemu.d/shieldvm
libvirtd_stop
libvirtd_start
refused 'without the hook the launcher refuses' 'worker' virsh start a
check 'the host is set up again' shieldvm host init
libvirtd_stop
libvirtd_start
check 'with everything back in place a starts' starts_and_ends a $a
finish
