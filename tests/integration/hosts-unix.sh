#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# virsh migrate --migrateuri unix:///... and --disks-uri unix:///...: a shielded VM moves over sockets that
# somebody forwards from host to host, as ssh -L does, in every form that there is over TCP; and no socket is
# left.  The guest has no system: firmware in 128 MiB.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_USERFAULTFD=1 BED_SECONDS=${BED_SECONDS:-600} ON_SECONDS=90 VIRSH_SECONDS=80
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

uuid=405705ed-0b1d-4a57-9d0e-3a1f5c2b7d08
canary=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')
folder=/run/shieldvm/$uuid/migration
disk=$images/vm.img
forwards=()
port=49400

# there HOST COMMAND...: in the background, with the host's files and network; its process is $!.
there() {
	nsenter -t "${host_pid[$1]}" -m -n -- "${@:2}" </dev/null &
}

# forward HOST PATH [OPTION...]: who connects to PATH on the host comes out at PATH on the other one, over
# the wire. The near end has the options; what it has to say is in /run/bed/forward-NAME.
forward() {
	local to name
	to=$(other_host "$1")
	name=/run/bed/forward-$(basename "$2")
	port=$((port + 1))
	there "$to" python3 "$here/proxy.py" forward "$port" "$2" >"$name.far" 2>&1
	forwards+=($!)
	there "$1" python3 "$here/proxy.py" forward "$2" "host-$to:$port" "${@:3}" >"$name" 2>&1
	forwards+=($!)
	until_true 20 grep -q '^ready' "$name.far" || fail "$2 leads to $to: $(cat "$name.far")"
	until_true 20 grep -q '^ready' "$name" || fail "$2 leads away from $1: $(cat "$name")"
}

forwards_end() {
	kill -TERM "${forwards[@]}"
	wait "${forwards[@]}" 2>/dev/null || true
	forwards=()
}

# sockets: what is in the VM's folders on both hosts.
sockets() {
	local host
	for host in $hosts; do
		on "$host" find /run/shieldvm -path '*/migration/*'
	done
}

# settled HOST: the VM runs there only, and nobody listens anywhere.
settled() {
	check "it runs on $1, and on $1 only" until_true 20 runs_only_on "$1" vm transient
	check 'no socket is left' until_true 10 test -z "$(sockets)"
	check 'no port is left open' until_true 10 test "$(ports a) $(ports b)" = '16509 16509'
}

# moves FROM OPTION...: over $folder/memory.
moves() {
	local from=$1
	shift
	forward "$from" "$folder/memory"
	check "from $from: ${*:-direct}" on "$from" virsh migrate --live vm "$(far "$(other_host "$from")")" \
		--migrateuri "unix://$folder/memory" "$@"
	forwards_end
	settled "$(other_host "$from")"
}

# stays WORDS COMMAND...: the migration is refused, libvirt says why, and the VM runs on.
stays() {
	local words=$1
	shift
	refused "$words: ${*: -1}" "$words" on a "$@"
	check 'it runs on a only' until_true 10 runs_only_on a vm transient
	check 'no socket is left' until_true 10 test -z "$(on b find /run/shieldvm -path '*/migration/*')"
}

vm() {
	on a shieldvm shield "$shared/plain.xml" --owner $shared/owner.jwk --host $shared/b.pub -o $shared/vm.xml
	on a virsh create $shared/vm.xml
}

hosts_up
on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
domain_xml vm $uuid | sed -e 's/>512</>128</' -e '0,/<\/disk>/! { /<disk /,/<\/disk>/d }' \
	-e "s|<os\b|<sysinfo type='smbios'><system><entry name='serial'>$canary</entry></system></sysinfo>&|" \
	-e "s|</os>|<smbios mode='sysinfo'/>&|" >$shared/disk.xml
sed -e '/<disk /,/<\/disk>/d' $shared/disk.xml >$shared/plain.xml

# The twin has no worker: this is what the wire has to tell of it.
sed -e "s/$uuid/${uuid%08}18/" -e 's/<name>vm</<name>twin</' $shared/plain.xml >$shared/twin.xml
for host in $hosts; do
	on "$host" install -d -m 1777 /run/twin
done
check 'a VM that is not shielded starts on a' on a virsh create $shared/twin.xml
capture_begin
forward a /run/twin/memory
check 'it moves over a socket' on a virsh migrate --live --p2p twin "$(far b)" --migrateuri unix:///run/twin/memory
forwards_end
capture_end
check 'its canary is on the wire' on_the_wire "$canary"
on b virsh destroy twin

# --- shielded -------------------------------------------------------------------------------------

check 'a VM is shielded for both hosts, and starts on a' vm
check "the folder for its sockets is its worker's alone" test \
	"$(on a stat -c '%a %u %g' $folder)" = "700 $(on a stat -c '%u %g' /var/lib/shieldvm/$uuid)"
capture_begin
moves a
moves b --p2p --parallel --parallel-connections 4
moves a --p2p
moves b --parallel --parallel-connections 2
capture_end
find $captured -name '*:16509*' -delete
refused 'its canary is not on the wire' '^none of the texts' on_the_wire "$canary" pc.ram
check 'what is there looks random' random_on_the_wire
check 'who was connected to is on record' on b \
	grep -q "\"a connection to $folder/memory for a migration" /var/log/shieldvm/audit.jsonl

# --- what is not to be ------------------------------------------------------------------------------

through=(virsh migrate --live --p2p vm "$(far b)" --migrateuri)
where="migration.form: .*unix://$folder/NAME"
for path in /run/memory "$folder/../memory" "$folder/.memory" "$folder/a/b" "/run/shieldvm/${uuid%08}09/migration/memory"; do
	stays "$where" "${through[@]}" "unix://$path"
done
stays "$where" "${through[@]}" unix:///run/memory --parallel
stays 'migration.form: .*post-copy' "${through[@]}" "unix://$folder/memory" --parallel --postcopy
stays 'error: ' "${through[@]}" "unix://$folder/nobody"
stays 'error: ' "${through[@]}" "unix://$folder/nobody" --parallel

# What somebody has left in the place of the listener, as soon as there is a folder for it.
# shellcheck disable=SC2016 # python's own
left_over='import os, socket, sys, time
end = time.monotonic() + 30
while not os.path.isdir(sys.argv[1]):
    if time.monotonic() > end:
        sys.exit("no such folder")
    time.sleep(0.001)
socket.socket(socket.AF_UNIX).bind(sys.argv[1] + "/memory")
print("bound")'
there b python3 -c "$left_over" "$folder" >/run/bed/left-over 2>&1
left=$!
forward a "$folder/memory"
check 'where a socket was left, it comes in' on a "${through[@]}" "unix://$folder/memory"
forwards_end
check 'one was left' wait $left
settled b
moves b

# Strangers, while the VM is on its way: whoever connects must be root, or it is not let in at all; and who
# is let in has no key.
# shellcheck disable=SC2016 # python's own
stranger='import os, pwd, socket, sys, time
if sys.argv[2]:
    user = pwd.getpwnam(sys.argv[2])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
end = time.monotonic() + 30
while True:
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    try:
        s.connect(sys.argv[1])
        break
    except (FileNotFoundError, ConnectionRefusedError):
        if time.monotonic() > end:
            sys.exit("nobody listens")
        time.sleep(0.01)
try:
    s.sendall(b"\x16\x03\x01" + bytes(range(256)) * 64)
    print("ended" if len(s.recv(4096)) < 64 and not s.recv(4096) else "answered")
except (ConnectionResetError, BrokenPipeError):
    print("ended")'
forward a "$folder/memory" --delay-ms 2000
there b python3 -c "$stranger" "$folder/memory" '' >/run/bed/stranger 2>&1
first=$!
there b python3 -c "$stranger" "$folder/memory" libvirt-qemu >/run/bed/qemus 2>&1
second=$!
on a "${through[@]}" "unix://$folder/memory" >/run/bed/true 2>&1 &
true_one=$!
check 'a stranger is let in' wait $first
refused "QEMU's user is not" PermissionError bash -c "tail -f --pid=$second /dev/null; cat /run/bed/qemus; exit 1"
check 'the true one is on its way' kill -0 $true_one
check 'the stranger was ended' grep -qx ended /run/bed/stranger
check "it arrives: $(cat /run/bed/true)" wait $true_one
forwards_end
settled b
moves b

# --- harm to the link -------------------------------------------------------------------------------

for harm in '--cut-at 300000' '--flip-at 300000' '--flip-at 10'; do
	# shellcheck disable=SC2086 # several words
	forward a "$folder/memory" $harm
	stays 'error: ' "${through[@]}" "unix://$folder/memory"
	forwards_end
	on a rm $folder/memory
done

# --- in post-copy -----------------------------------------------------------------------------------

if [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 1 ]; then
	under_way() {
		on a virsh domjobinfo vm | grep -q '^Memory processed: *[1-9]'
	}
	forward a "$folder/memory"
	on a "${through[@]}" "unix://$folder/memory" --postcopy --bandwidth 1 --postcopy-bandwidth 1 >/run/bed/moving 2>&1 &
	moving=$!
	check 'it is under way' until_true 20 under_way
	check 'post-copy begins' on a virsh migrate-postcopy vm
	check 'it runs on b' until_true 20 runs_on b vm
	# QEMU's main thread may itself wait for memory that is not there; without a link it would do so for ever.
	sleep 3
	kill -USR1 "${forwards[1]}"
	refused 'the link breaks, and libvirt notices' 'error: ' \
		bash -c "tail -f --pid=$moving /dev/null; cat /run/bed/moving; exit 1"
	check 'no listener is left on b' until_true 10 test -z "$(on b find /run/shieldvm -path '*/migration/*')"
	check 'it goes on over the same socket' on a virsh migrate --live --p2p --postcopy --postcopy-resume vm \
		"$(far b)" --migrateuri "unix://$folder/memory"
	forwards_end
	settled b
	moves b
elif [ "${MUST_WORK:-}" = 1 ]; then
	fail 'the machine lets unprivileged processes use userfaultfd(2)'
fi
on a virsh destroy vm

# --- with its disk ----------------------------------------------------------------------------------

# disk_on HOST SOURCE: 8 MiB of that.
disk_on() {
	# shellcheck disable=SC2016 # that shell's own
	on "$1" bash -c 'head -c 8M "$2" >"$1" && for at in 0 3 7; do
		yes "$3" | head -c 65536 | dd of="$1" bs=1M seek="$at" conv=notrunc status=none; done' \
		disk "$disk" "$2" "${3:-nothing}"
}

content() {
	on "$1" sha256sum "$disk"
}

cp $shared/disk.xml $shared/plain.xml
check 'a disk with canaries' disk_on a /dev/urandom "$canary"
check '... and room for it on b' disk_on b /dev/zero
was=$(content a)
check 'it starts on a' vm
copies=(virsh migrate --live --p2p vm --migrateuri "unix://$folder/memory" --disks-uri)
capture_begin
for storage in all inc; do
	from=a
	[ $storage = all ] || from=b
	to=$(other_host $from)
	forward $from "$folder/memory"
	forward $from "$folder/disks"
	check "from $from with --copy-storage-$storage" on $from "${copies[@]}" "unix://$folder/disks" \
		"$(far "$to")" --copy-storage-$storage
	forwards_end
	settled "$to"
	check "its disk is on $to" test "$(content "$to")" = "$was"
	check 'its disk went that way' on $from \
		grep -q "\"a connection to $folder/disks for a migration" /var/log/shieldvm/audit.jsonl
	check '... over the wire' grep -q '^connection 0 ' /run/bed/forward-disks
	check "room for it on $from" disk_on $from /dev/zero
done
capture_end
find $captured -name '*:16509*' -delete
refused 'its canary is not on the wire' '^none of the texts' on_the_wire "$canary" NBDMAGIC IHAVEOPT pc.ram
check 'what is there looks random' random_on_the_wire

check "room for it on b" disk_on b /dev/zero
forward a "$folder/memory"
forward a /run/disks
stays "$where" "${copies[@]}" unix:///run/disks "$(far b)" --copy-storage-all
# A socket that the broker may not connect to, as ssh makes them if nobody says otherwise.
forward a "$folder/disks"
on a chmod 600 $folder/disks
stays "cannot connect to unix:$folder/disks .*Permission denied" "${copies[@]}" "unix://$folder/disks" \
	"$(far b)" --copy-storage-all
forwards_end
on a virsh destroy vm

# --- nothing is left --------------------------------------------------------------------------------

for host in $hosts; do
	check "nothing of it is left on $host" on "$host" bash -c "! pgrep -x 'shieldvm-.*'"
	check '... nor a folder' on "$host" test ! -e /run/shieldvm/$uuid
	check 'its audit log is whole' on "$host" shieldvm audit verify
done
hosts_down
finish
