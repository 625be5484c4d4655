#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shieldvm-swtpm in swtpm's place, with Debian's own tools: swtpm_setup, swtpm_ioctl, tpm2-tools; and
# one clear sentence for what it refuses.  Runs in a network namespace of its own, so that its ports
# are free.  Usage: swtpm-tools.sh SHIELDVM-SWTPM
# shellcheck disable=SC2054 # the commas are swtpm's
set -u -o pipefail
program=$(realpath "$1")

if [ "${TOOLS_INSIDE:-}" != 1 ]; then
	if ! why=$(unshare --net true 2>&1) || ! why=$(command -v swtpm_setup swtpm_ioctl tpm2_getrandom 2>&1); then
		printf 'skipped: no network namespace of its own, or swtpm-tools or tpm2-tools missing: %s\n' "$why"
		[ "${MUST_WORK:-}" != 1 ] || exit 1
		exit 77
	fi
	TOOLS_INSIDE=1 exec timeout -k 5 200 unshare --net "$0" "$@"
fi
ip link set lo up
umask 022
work=$(mktemp -d)
cd "$work" || exit 1
trap 'stop_all; cd /; rm -rf "$work"' EXIT
mkdir bin
ln -s "$program" bin/swtpm
export PATH=$work/bin:$PATH
unset TPM2TOOLS_TCTI

checks=0 failed=0
stop_all() {
	local file
	for file in "$work"/*.pid; do
		[ -s "$file" ] && kill -KILL "$(cat "$file")" 2>/dev/null
	done
}
check() { # WHAT COMMAND...
	local what=$1
	shift
	checks=$((checks + 1))
	if ! "$@" >out 2>&1; then
		printf 'not ok - %s\n' "$what"
		sed 's/^/# /' out
		failed=1
	fi
}
check_output() { # WHAT REGEX COMMAND...
	local what=$1 regex=$2
	shift 2
	check "$what" "$@"
	grep -qE -- "$regex" out || {
		printf 'not ok - %s: no /%s/ in: %s\n' "$what" "$regex" "$(cat out)"
		failed=1
	}
}
refused() { # STATUS SENTENCE ARGUMENT...
	local status=$1 sentence=$2 got=0
	shift 2
	checks=$((checks + 1))
	timeout 20 swtpm "$@" >out 2>err </dev/null || got=$?
	if [ "$got" != "$status" ] || ! grep -qF -- "$sentence" err ||
		[ "$(grep -c '^shieldvm-swtpm: .' err)" != 1 ]; then
		printf "not ok - swtpm %s: status %s instead of %s, or not '%s': %s\n" "$*" "$got" "$status" \
			"$sentence" "$(cat err)"
		failed=1
	fi
}
gone() { # PID-FILE: within 5 seconds
	local _
	for _ in {1..50}; do
		[ -e "$1" ] || return 0
		sleep 0.1
	done
	return 1
}
ctrl() { timeout 20 swtpm_ioctl "${where[@]}" "$@"; }
pcr7() { tpm2_pcrread sha256:7 | grep -o '0x[0-9A-F]*'; }
digest() { stat -c '%n %i %Y %s' "$1"/* && cat "$1"/* | sha256sum; }

# --- swtpm_setup, as libvirt 9.0 calls it ---
uuid=6b1d2d0a-0f7a-4d21-8b7d-0000000000aa
mkdir -p "vm/$uuid/tpm2"
cat >setup.conf <<CONF
create_certs_tool= /usr/bin/swtpm_localca
create_certs_tool_config = $work/localca.conf
create_certs_tool_options = /etc/swtpm-localca.options
active_pcr_banks = sha256
CONF
cat >localca.conf <<CONF
statedir = $work/ca
signingkey = $work/ca/signkey.pem
issuercert = $work/ca/issuercert.pem
certserial = $work/ca/certserial
CONF
mkdir ca
setup=(timeout 60 swtpm_setup --tpm2 --config "$work/setup.conf" --tpm-state "$work/vm/$uuid/tpm2" --vmid
	"test:$uuid" --logfile "$work/setup.log" --createek --create-ek-cert --create-platform-cert --lock-nvram
	--not-overwrite)
check 'swtpm_setup makes keys and certificates' "${setup[@]}"
check 'it says so' grep -q 'Successfully created NVRAM area 0x1c00016 for ECC EK certificate' setup.log
before=$(digest "vm/$uuid/tpm2")
check 'swtpm_setup finds the state the second time' "${setup[@]}"
check 'and leaves it alone' test "$before" = "$(digest "vm/$uuid/tpm2")"

# --- and with a passphrase, as libvirt has it for <encryption> ---
mkdir sealed
printf secret >passphrase
check 'swtpm_setup with a passphrase' "${setup[@]/"vm/$uuid/tpm2"/sealed}" --pwdfile passphrase --cipher aes-256-cbc
check 'made a state' grep -q ^SHVDSTAT sealed/tpm2-00.permall
refused 1 'made with a --key' socket --tpm2 --tpmstate "dir=$work/sealed" --ctrl "type=unixio,path=$work/ctrl"

# --- the control channel, over a Unix socket, with swtpm_ioctl ---
where=(--unix "$work/ctrl")
start=(swtpm socket --tpm2 --tpmstate "dir=$work/vm/$uuid/tpm2" --ctrl "type=unixio,path=$work/ctrl,mode=0600"
	--log "file=$work/log" --pid "file=$work/a.pid" --daemon)
check 'it starts in the background' "${start[@]}"
check 'its pid file names it' kill -0 "$(cat a.pid)"
check 'its socket has the mode asked for' test "$(stat -c %a ctrl)" = 600
check_output 'capabilities' 'capability is 0x1?7fff|0xffff' ctrl -c
check 'commands wait for INIT' bash -c "! timeout 5 swtpm_ioctl --unix $work/ctrl -h abc"
check 'INIT' ctrl -i
check_output 'the established bit' 'tpmEstablished is 0' ctrl -e
check 'hashing sets it' ctrl -h 1234
check_output 'it is set' 'tpmEstablished is 1' ctrl -e
check 'it can be reset' ctrl -r 3
check_output 'it is reset' 'tpmEstablished is 0' ctrl -e
check 'cancel' ctrl -C
check 'locality' ctrl -l 4
check_output 'configuration: no key' 'flags: 0x0' ctrl -g
check_output 'info' '"family":"2.0"' ctrl --info 1
check_output 'stop, then the buffer size' 'TPM result|buffersize' bash -c \
	"swtpm_ioctl --unix $work/ctrl --stop; swtpm_ioctl --unix $work/ctrl -b 4096"
check 'shutdown' ctrl -s
check 'the process has gone, its pid file with it' gone a.pid
check 'and its socket' test ! -e ctrl

# --- the data channel, over TCP, with tpm2-tools ---
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >key
mkdir keyed
where=(--tcp :2322)
start=(swtpm socket --tpm2 --tpmstate "dir=$work/keyed" --key "file=$work/key,mode=aes-256-cbc" --server
	type=tcp,port=2321 --ctrl type=tcp,port=2322 --flags not-need-init,startup-clear --log "file=$work/log"
	--pid "file=$work/b.pid" --daemon)
export TPM2TOOLS_TCTI=swtpm:port=2321
check 'it starts with a key' "${start[@]}"
check_output 'random bytes' '^[0-9a-f]{16}$' tpm2_getrandom --hex 8
check 'a primary key' tpm2_createprimary -Q -C o -c primary.ctx
check 'a PCR is extended' tpm2_pcrextend "7:sha256=$(printf %064d 1)"
value=$(pcr7)
check 'an NV index is defined' tpm2_nvdefine -Q 0x1500001 -s 8 -C o
check 'and written' bash -c 'printf 12345678 | tpm2_nvwrite -Q 0x1500001 -C o -i -'
check_output 'configuration: keys' 'flags: 0x3' ctrl -g
check 'state blobs can be had' ctrl --save permanent blob.permanent
check 'the volatile one too' ctrl --save volatile blob.volatile
check 'they are sealed' grep -q '^SHVDSEAL' blob.permanent blob.volatile
check 'volatile state is stored' ctrl -v
check 'it is killed' kill -KILL "$(cat b.pid)"
rm -f b.pid
check 'it starts again, without Startup' "${start[@]//,startup-clear/}"
check 'with the PCRs it had' test "$value" = "$(pcr7)"
check_output 'and the NV index' '^12345678$' tpm2_nvread 0x1500001 -C o
check 'stop' ctrl --stop
check 'an altered blob is refused' bash -c "
	head -c 1000 blob.permanent >blob.bad; printf X >>blob.bad; tail -c +1002 blob.permanent >>blob.bad
	! swtpm_ioctl --tcp :2322 --load permanent blob.bad"
check 'the blobs are taken back' ctrl --load permanent blob.permanent
check 'both' ctrl --load volatile blob.volatile
check 'INIT resumes from them' ctrl -i
check 'with the PCR' test "$value" = "$(pcr7)"
check 'SIGTERM ends it' kill -TERM "$(cat b.pid)"
check 'in order' gone b.pid

# --- over a Unix socket, one command a connection ---
start=(swtpm socket --tpm2 --tpmstate "dir=$work/keyed" --key "file=$work/key" --server
	"type=unixio,path=$work/data,disconnect" --flags startup-clear --log "file=$work/log" --pid "file=$work/c.pid"
	--daemon --seccomp action=none)
check 'it serves a Unix socket' "${start[@]}"
for turn in 1 2; do
	check_output "connection $turn gets one reply and is closed" '^16$' python3 -c "
import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect('data')
s.sendall(bytes.fromhex('80010000000c0000017b0004'))
n = b''
while (p := s.recv(100)): n += p
print(len(n))"
done
check 'it is ended' kill -TERM "$(cat c.pid)"
check 'in order' gone c.pid
check 'its socket is gone' test ! -e data

# --- --terminate: the client goes, and so does it ---
check 'it starts with --terminate' "${start[@]//,disconnect/}" --terminate
check 'a client comes and goes' python3 -c "
import socket
s = socket.socket(socket.AF_UNIX); s.connect('data'); s.close()"
check 'that was it' gone c.pid

# --- over Unix sockets, with tpm2-tools ---
start=(swtpm socket --tpm2 --tpmstate "dir=$work/keyed" --key "file=$work/key" --server "type=unixio,path=$work/sock"
	--ctrl "type=unixio,path=$work/sock.ctrl" --flags startup-clear --log "file=$work/log" --pid "file=$work/f.pid"
	--daemon)
check 'it serves two Unix sockets' "${start[@]}"
check_output 'tpm2-tools come in by path' '^12345678$' env TPM2TOOLS_TCTI="swtpm:path=$work/sock" \
	tpm2_nvread 0x1500001 -C o
refused 1 'in use by another process' socket --tpm2 --tpmstate "dir=$work/keyed" --key "file=$work/key" \
	--server "type=unixio,path=$work/sock"
check 'whose sockets are left alone' test -S sock -a -S sock.ctrl
check 'it is ended' kill -TERM "$(cat f.pid)"
check 'in order' gone f.pid

# --- another user, if we can become one ---
if [ "$(id -u)" = 0 ]; then
	mkdir nobody
	chown nobody nobody
	chmod 711 "$work"
	start=(swtpm socket --tpm2 --tpmstate "dir=$work/nobody" --ctrl "type=unixio,path=$work/nobody/ctrl"
		--log file=- --pid "file=$work/nobody/pid" --daemon --runas nobody)
	check 'it starts as another user' "${start[@]}"
	check 'and is that one' test "$(stat -c %U nobody/pid nobody/ctrl | uniq)" = nobody
	check 'shutdown' timeout 20 swtpm_ioctl --unix nobody/ctrl -s
	check 'it ends' gone nobody/pid
fi

# --- a passphrase, by descriptor ---
mkdir pass
start=(swtpm socket --tpm2 --tpmstate "dir=$work/pass" --key pwdfd=9,kdf=pbkdf2 --ctrl "type=unixio,path=$work/ctrl"
	--flags startup-clear --log file=- --pid "file=$work/d.pid" --daemon)
where=(--unix "$work/ctrl")
check 'a passphrase' bash -c '"$@" 9<<<secret' - "${start[@]}"
check 'shutdown' ctrl -s
check 'it ends' gone d.pid
check 'the same passphrase opens it' bash -c '"$@" 9<<<secret' - "${start[@]}"
check 'shutdown' ctrl -s
check 'it ends' gone d.pid
ctl=(--ctrl "type=unixio,path=$work/ctrl")
refused 1 'perhaps this is not its --key' socket --tpm2 --tpmstate "dir=$work/pass" --key "file=$work/key" "${ctl[@]}"

# --- what is refused, and left alone ---
state="dir=$work/keyed"
before=$(digest keyed)
refused 1 'perhaps it was made with a --key' socket --tpm2 --tpmstate "$state" "${ctl[@]}"
printf 0 >>key
refused 1 'not a key' socket --tpm2 --tpmstate "$state" --key "file=$work/key" "${ctl[@]}"
refused 3 'cannot be read' socket --tpm2 --tpmstate "$state" --key "file=$work/nokey" "${ctl[@]}"
refused 3 'cannot be opened' socket --tpm2 --tpmstate "dir=$work/none" "${ctl[@]}"
refused 3 'is no socket' socket --tpm2 --tpmstate "dir=$work/vm/$uuid/tpm2" --ctrl "type=unixio,path=$work/key"
refused 2 'longer than' socket --tpm2 --tpmstate "dir=$work/vm/$uuid/tpm2" \
	--ctrl "type=unixio,path=$work/$(printf %0100d 0)"
refused 2 'no IP address' socket --tpm2 --tpmstate "dir=$work/vm/$uuid/tpm2" --ctrl type=tcp,port=1,bindaddr=a.b
refused 2 'no stream socket' socket --tpm2 --tpmstate "dir=$work/vm/$uuid/tpm2" --ctrl type=unixio,fd=0
refused 2 'not to be had' chardev --tpm2
refused 2 'TPM 2.0 only' socket --tpmstate "$state" "${ctl[@]}"
check 'nothing was changed' test "$before" = "$(digest keyed)"
other=6b1d2d0a-0f7a-4d21-8b7d-0000000000bb
mkdir -p "vm/$other" moved
cp -a "vm/$uuid/tpm2" "vm/$other/tpm2"
before=$(digest "vm/$other/tpm2")
refused 1 'made for VM' socket --tpm2 --tpmstate "dir=$work/vm/$other/tpm2" "${ctl[@]}"
check "another VM's state is left alone" test "$before" = "$(digest "vm/$other/tpm2")"
rm "vm/$other/tpm2/tpm2-00.permall"
refused 1 'was deleted' socket --tpm2 --tpmstate "dir=$work/vm/$other/tpm2" "${ctl[@]}"
printf '\2\1\0\12\0\0\0\0\0\0' >moved/tpm2-00.permall
before=$(digest moved)
refused 1 'made by swtpm' socket --tpm2 --tpmstate "dir=$work/moved" "${ctl[@]}"
check "swtpm's own state is left alone" test "$before" = "$(digest moved)"
mkdir old
check 'a real swtpm makes a state' /usr/bin/swtpm socket --tpm2 --tpmstate "dir=$work/old" --daemon \
	--ctrl "type=unixio,path=$work/ctrl" --flags not-need-init --pid "file=$work/e.pid"
check 'shutdown' ctrl -s
check 'it ends' gone e.pid
refused 1 'made by swtpm' socket --tpm2 --tpmstate "dir=$work/old" "${ctl[@]}"
check_output 'it is listed' '"name": "permall"' swtpm socket --tpm2 --print-states --tpmstate "$state"
check_output 'capabilities are JSON' 'swtpm' python3 -c "
import json, subprocess
c = json.loads(subprocess.check_output(['swtpm', 'socket', '--tpm2', '--print-capabilities']))
assert 'tpm-2.0' in c['features'] and 'cmdarg-key-fd' in c['features']
print(c['type'])"

printf '%s checks\n' "$checks"
exit "$failed"
