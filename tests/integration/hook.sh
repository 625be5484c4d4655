#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The hook and the worker on a private host, without libvirtd: every way in which a start is refused,
# what is left behind (nothing), and what a worker may do once it runs.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d11
other=5e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d12
work=/run/bed
state=/var/lib/shieldvm/$uuid
registry=/var/lib/shieldvm/registry/$uuid.json
run=/run/shieldvm/$uuid

# hook OPERATION [XML]: as libvirt calls it. Its pipe's end must come when it ends: a worker that
# kept it open would hang libvirtd, and here the cat.
hook() {
	timeout 60 /usr/sbin/shieldvm-hook any "$1" begin - <"${2:-$work/vm.xml}" 2>&1 | timeout 60 cat
}
workers() { pgrep -c -x shieldvm-worker || true; }
none_left() {
	until_true 10 bash -c '[ "$(pgrep -c -x shieldvm-worker)" = 0 ]' || return 1
	if [ -e "$run/launch.sock" ] && hook release; then :; fi
	[ ! -e "$run" ]
}
# refused_clean WHAT REGEX [XML]: prepare is refused, and nothing of it is left running.
refused_clean() {
	refused "$1" "$2" hook prepare "${3:-$work/vm.xml}"
	# What came before the sentence is the rule's id, once.
	check 'and the sentence names its rule once' test "$(grep -oE '\b[a-z-]+\.[a-z-]+: ' \
		/run/bed/check | sort | uniq -d | wc -l)" = 0
	check '... and nothing is left' none_left
}
# a start and an end that have to work
goes() {
	hook prepare "$@" && hook start "$@" && hook release "$@" && none_left
}
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status" | tr -s '\t' ' '; }

domain_xml plain $uuid >$work/plain.xml
domain_xml plain2 $other >$work/plain2.xml

# --- not our business -----------------------------------------------------------------------------
for op in prepare start started stopped release migrate restore reconnect attach someday; do
	check "a plain domain passes $op" hook $op $work/plain.xml
done
printf 'no XML at all' >$work/garbage
check 'what is not shielded is not even parsed' hook prepare $work/garbage
check 'nothing was made for it' test ! -e $state -a ! -e $run

# --- a host without a key ---------------------------------------------------------------------------
check 'an owner makes a key' shieldvm key new $work/owner
check 'the host is set up' shieldvm host init
check 'the domain is shielded' shieldvm shield $work/plain.xml --owner $work/owner -o $work/vm.xml
check 'another one too' shieldvm shield $work/plain2.xml --owner $work/owner -o $work/vm2.xml
mv /etc/shieldvm/host.jwk $work/host.jwk
refused_clean 'no host key' 'this host has no key.*shieldvm host init'
cp $work/host.jwk /etc/shieldvm/host.jwk
chmod 640 /etc/shieldvm/host.jwk
refused_clean 'a host key that others may read' 'must be a file of root.*mode 600'
rm /etc/shieldvm/host.jwk
ln -s $work/host.jwk /etc/shieldvm/host.jwk
refused_clean 'a host key behind a link' 'host.jwk'
rm /etc/shieldvm/host.jwk
head -c 100 $work/host.jwk >/etc/shieldvm/host.jwk
chmod 600 /etc/shieldvm/host.jwk
refused_clean 'half a host key' "this host's key"
mv $work/host.jwk /etc/shieldvm/host.jwk
mv /etc/shieldvm/ekca $work/ekca
refused_clean 'no EK CA for a first start' 'endorsement key'
check 'nothing half-made is taken for a TPM' test ! -e $state/tpm2.state
mv $work/ekca /etc/shieldvm/ekca

# --- a first start ----------------------------------------------------------------------------------
check 'prepare' hook prepare
check 'broker and worker run' test "$(workers)" = 2
broker=$(pgrep -x -o shieldvm-worker) worker=$(pgrep -x -n shieldvm-worker)
uid=$(stat -c %u $state)
for pid in "$broker" "$worker"; do
	check "$pid has the VM's uid and no group" test "$(field "$pid" Uid) $(field "$pid" Gid) $(field "$pid" Groups)" = \
		"$uid $uid $uid $uid $uid $uid $uid $uid "
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		check "$pid has no $set" test "$(field "$pid" $set)" = 0000000000000000
	done
	check "$pid gets no new privileges" test "$(field "$pid" NoNewPrivs)" = 1
	check "$pid is under a filter" test "$(field "$pid" Seccomp)" = 2
	for task in /proc/"$pid"/task/*; do
		check '... with every thread' grep -qE '^Seccomp:[[:space:]]2$' "$task/status"
	done
	# Also what it began with may be gone.
	check "$pid knows only where no OpenSSL configuration is, and to bind all symbols" bash -c \
		"! tr '\\0' '\n' 2>/dev/null <'/proc/$pid/environ' | grep -vxF -e OPENSSL_CONF=/dev/null -e LD_BIND_NOW=1"
	check "$pid is not dumpable" test "$(stat -c %u "/proc/$pid/environ")" = 0
	check "$pid may dump no core" grep -qE '^Max core file size +1 +1' "/proc/$pid/limits"
	# A pipe that nobody can write to is where libtpms' own messages go.
	audit=
	if [ "$pid" = "$broker" ]; then
		audit='| /var/log/shieldvm/audit.jsonl$| /var/lib/shieldvm/registry/audit.head$'
	fi
	check "$pid holds no key and no foreign file" bash -c \
		"! ls -l /proc/$pid/fd | grep -vE ' (socket|anon_inode|pipe):| /dev/null$| $state| /var/log/shieldvm/$uuid.log$| $run/lock$|^total$audit'"
done
guard=$(pgrep -x shieldvm-guard)
check 'the guard is the worker'"'"'s child' test "$(field "$guard" PPid)" = "$worker"
check '... and traces it' test "$(field "$worker" TracerPid)" = "$guard"
check '... which traces the guard' test "$(field "$guard" TracerPid)" = "$worker"
for task in /proc/"$worker"/task/*; do
	check '... with every thread' grep -qE "^TracerPid:[[:space:]]$guard$" "$task/status"
done
check 'nobody else can trace the worker' bash -c "! timeout 10 strace -p $worker 2>$work/said && grep -q 'not permitted' $work/said"
check '... nor the guard' bash -c "! timeout 10 strace -p $guard 2>$work/said && grep -q 'not permitted' $work/said"
kill -STOP "$guard"
check 'a guard that is stopped goes on' until_true 10 grep -q '^State:.S' /proc/"$guard"/status
kill -STOP "$worker"
check 'and so does a worker' until_true 10 grep -q '^State:.S' /proc/"$worker"/status
check 'the guard has no privilege' test "$(sed -n 's/^Cap.*:\t//p' /proc/"$guard"/status | sort -u) $(field "$guard" Uid | cut -d ' ' -f 1) $(field "$guard" Seccomp)" = \
	"0000000000000000 $uid 2"
check 'and holds nothing but the log' bash -c "! ls -l /proc/$guard/fd | grep -vE ' socket:| /dev/null$| /var/log/shieldvm/$uuid.log$|^total'"
for ns in mnt ipc uts cgroup; do
	check "worker, broker and host have a namespace of kind $ns each" test \
		"$(readlink /proc/{self,"$worker","$broker"}/ns/$ns | sort -u | wc -l)" = 3
done
for ns in net pid user; do
	check "the worker has a namespace of kind $ns, the broker the host's" test "$(readlink /proc/"$broker"/ns/$ns)" = \
		"$(readlink /proc/self/ns/$ns)" -a "$(readlink /proc/"$worker"/ns/$ns)" != "$(readlink /proc/self/ns/$ns)"
done
for pid in "$broker" "$worker" "$guard"; do
	check "$pid sees one mount, of nothing" test "$(cut -d ' ' -f 2,3 "/proc/$pid/mounts")" = '/ tmpfs'
	check "... and no file" test -z "$(ls -A "/proc/$pid/root/")"
done
check 'the worker is the first of its PID namespace' test "$(field "$worker" NSpid | cut -d ' ' -f 2)" = 1
map() { read -r a b c <"/proc/$worker/$1" && printf "%s %s %s" "$a" "$b" "$c"; }
check "there is one user in its namespace" test "$(map uid_map)" = "$uid $uid 1"
check "and one group, for good" test "$(map gid_map) $(cat "/proc/$worker/setgroups")" = "$uid $uid 1 deny"
check 'the broker holds nothing of the state' bash -c "! ls -l /proc/$broker/fd | grep -q $state"
# As after a libvirtd that was killed before it started QEMU.
check 'a second prepare of the same VM takes the place of one that nobody launched' hook prepare
check 'of which nothing is left' test "$(workers)" = 2
check 'it is another one' bash -c "! kill -0 $broker 2>/dev/null"
check 'status finds it' shieldvm status $uuid
check 'where nothing is missing' bash -c "! shieldvm status | grep -q missing"
check 'and tells what protects it' bash -c "shieldvm status --json | /usr/bin/python3 -c '
import json, sys
vm, = json.load(sys.stdin)
for of in \"worker_protections\", \"broker_protections\":
    of = vm[of]
    assert not set(of[\"held\"]) & set(of[\"missing\"]) and \"mdwe\" in of[\"held\"] + of[\"missing\"]
'"
check 'start' hook start
shieldvm audit show --json | grep '"event":"start"' | tail -n 1 >$work/start
check 'which is on record with it' grep -qE \
	'"reason":"libvirt starts QEMU; worker: [+-].*[+-]mdwe.*; broker: .*[+-]mdwe' $work/start
refused 'started without a launcher' 'without shieldvm-launch' hook started
for op in migrate restore reconnect; do check "$op of a genuine domain passes" hook $op; done
check 'release' hook release
check 'everything is gone' none_left
check 'a release more does no harm' hook release
refused 'start without prepare' 'no worker' hook start
check 'the same TPM starts again' goes
check 'the state is sealed for nobody to read' test "$(stat -c %a $state/tpm2.state)" = 600

# --- a debugger that is there first -------------------------------------------------------------------
check 'a start under strace is refused' bash -c "! timeout 60 strace -f -qq -e trace=none -o /dev/null \
	/usr/sbin/shieldvm-hook any prepare begin - <$work/vm.xml >$work/said 2>&1"
check '... with the reason' grep -q 'process [0-9]* traces this one' $work/said
check 'nothing is left of it' none_left
check 'without strace it starts' goes

# --- launchers ----------------------------------------------------------------------------------------
cat >$work/launcher.py <<'PY'
# Asks for the vTPM as shieldvm-launch does (base/spawn.h), says what came, and waits for a line.
# The monitor's listener is root's, as libvirtd's; the one who asks is a third argument's user.
import array, os, pwd, socket, struct, sys, uuid
monitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
monitor.bind("")
monitor.listen(1)
if len(sys.argv) > 3:
    user = pwd.getpwnam(sys.argv[3])
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(10)
try:
    s.connect(f"/run/shieldvm/{sys.argv[1]}/launch.sock")
except PermissionError:
    sys.exit("no permission")
s.sendmsg([struct.pack("=II", 0x53485644, 7) + uuid.UUID(sys.argv[2]).bytes + bytes(20)],
          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [monitor.fileno()]))])
data, ancillary, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(64))
rc, = struct.unpack_from("=i", data, 8)
if rc:
    sys.exit(data[12:].split(b"\0")[0].decode())
fds = array.array("i")
fds.frombytes(ancillary[0][2])
print(len(fds), "descriptors", flush=True)
sys.stdin.readline()
PY
launcher() { /usr/bin/python3 $work/launcher.py $uuid "${1:-$uuid}" </dev/null; }
check 'prepare' hook prepare
refused 'a launcher before the start' 'libvirt has not announced this start' launcher
check 'start' hook start
refused 'another user' 'no permission' setpriv --reuid 1234 --clear-groups /usr/bin/python3 $work/launcher.py $uuid $uuid
refused "another VM's launcher" "another VM's" launcher $other
mkfifo $work/qemu
/usr/bin/python3 $work/launcher.py $uuid $uuid libvirt-qemu \
	>$work/launched <>$work/qemu &
qemu=$!
check "QEMU's user gets its three descriptors" until_true 10 grep -q '^3 descriptors$' $work/launched
check 'started' hook started
refused 'a second launcher' 'handed out already' launcher
refused 'a second prepare' 'another worker of this VM still runs' hook prepare
refused 'its release, while the first runs' "the VM's QEMU \(pid $qemu\) runs" hook release
check 'has not harmed the first' test "$(workers)" = 2
kill -KILL $qemu
check 'the worker ends with QEMU' until_true 10 bash -c '[ "$(pgrep -c -x shieldvm-worker)" = 0 ]'
check 'in order' grep -q 'the worker ended with status 0' <(tail -n 1 /var/log/shieldvm/$uuid.log)
check 'release' hook release
check 'everything is gone' none_left

# --- tampering with state -----------------------------------------------------------------------------
cp -a $state $work/state
sum=$(sha256sum <$state/tpm2.state)
mv $state/tpm2.state $work/gone
refused_clean 'deleted state' 'tpm2.state'
check 'no new TPM came in its place' test ! -e $state/tpm2.state
mv $work/gone $state/tpm2.state
check 'put back, it starts' goes
/usr/bin/python3 - $state/tpm2.state <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(500)
    byte = f.read(1)[0]
    f.seek(500)
    f.write(bytes([byte ^ 1]))
PY
flipped=$(sha256sum <$state/tpm2.state)
refused_clean 'a flipped bit' 'tpm2.state'
check 'the file is left as it was' test "$(sha256sum <$state/tpm2.state)" = "$flipped"
cp $work/state/tpm2.state $state/tpm2.state
truncate -s -1 $state/tpm2.state
refused_clean 'a truncated state' 'tpm2.state'
cp $work/state/tpm2.state $state/tpm2.state
printf x >>$state/tpm2.state
refused_clean 'a byte more' 'tpm2.state'
check "another VM's first start" goes $work/vm2.xml
cp /var/lib/shieldvm/$other/tpm2.state $state/tpm2.state
refused_clean "another VM's state" 'tpm2.state'
cp $work/state/tpm2.state $state/tpm2.state
check 'the right one starts' test "$sum" = "$(sha256sum <$state/tpm2.state)"
check '... and runs' goes

# --- tampering with the registry --------------------------------------------------------------------
cp $registry $work/registry
printf '{' >$registry
refused_clean 'a damaged registry' 'registry'
sed 's/"made":true/"made":true,"x":1/' $work/registry >$registry
refused_clean 'a registry with more in it' 'registry'
sed "s/$uuid/$other/" $work/registry >$registry
refused_clean "another VM's registry" 'registry'
cp $work/registry $registry

# --- tampering with the domain ------------------------------------------------------------------------
sed "s/$uuid/$other/" $work/vm.xml >$work/bad.xml
refused_clean 'another UUID' '^shieldvm-hook: protector.vm: .*made for VM' $work/bad.xml
for op in migrate restore start started; do
	refused "$op of it" 'made for VM' hook $op $work/bad.xml
done
sed -E 's/(<protector>[^<]{200})./\1_/; s/(<[a-z0-9]*:protector>[^<]{200})./\1_/' $work/vm.xml >$work/bad.xml
check 'the protector was edited' bash -c "! cmp -s $work/vm.xml $work/bad.xml"
refused_clean 'an edited protector' '.' $work/bad.xml
sed 's|<emulator>.*</emulator>|<emulator>/usr/bin/qemu-system-x86_64</emulator>|' $work/vm.xml >$work/bad.xml
refused_clean 'another emulator' 'emulator' $work/bad.xml
sed 's|<video>|<graphics type="vnc" port="-1"/><video>|' $work/vm.xml >$work/bad.xml
refused_clean 'a screen added after shielding' 'graphics|console|display' $work/bad.xml
# What comes from a saved image or another host is judged as what is defined here.
# incoming WHAT RULE FROM TO: the domain with FROM as TO is refused under RULE by every operation.
incoming() {
	local op
	sed "s|$3|$4|" $work/vm.xml >$work/bad.xml
	check "the domain gets $1" bash -c "! cmp -s $work/vm.xml $work/bad.xml"
	for op in prepare restore migrate start; do
		refused "$op: $1" "^shieldvm-hook: $2: " hook $op $work/bad.xml
	done
}
incoming 'another emulator' domain.emulator '<emulator>.*</emulator>' '<emulator>/usr/bin/qemu-system-x86_64</emulator>'
incoming "another VM's TPM" tpm.backend "$uuid/vtpm.sock" "$other/vtpm.sock"
incoming 'a kernel' boot.kernel '<boot dev=.hd./>' "<kernel>/boot/vmlinuz</kernel>"
incoming 'a serial line' console.serial '<video>' "<serial type='pty'/><video>"
incoming 'arguments for QEMU' qemu.commandline '</devices>' \
	"</devices><c:commandline xmlns:c='http://libvirt.org/schemas/domain/qemu/1.0'><c:arg value='-s'/></c:commandline>"
check 'nothing of it is left' none_left
head -c -20 $work/vm.xml >$work/bad.xml
refused_clean 'half a domain' '.' $work/bad.xml
{ cat $work/vm.xml; head -c 9000000 /dev/zero | tr '\0' ' '; } >$work/bad.xml
refused_clean 'nine megabytes' 'cannot be read|larger|limit' $work/bad.xml

# --- a new TPM by the owner's order -----------------------------------------------------------------
check 'the owner orders a new TPM' shieldvm key rewrap $work/vm.xml --owner $work/owner --new-tpm -o $work/new.xml
check 'it starts with it' goes $work/new.xml
check 'the old state is kept' bash -c "cmp $work/state/tpm2.state $state/tpm2.state.????????????????????????????????"
check 'the new one is another' bash -c "! cmp -s $work/state/tpm2.state $state/tpm2.state"
refused_clean 'the old protector put back' 'replaced'
check 'the new one still starts' goes $work/new.xml
cp $work/new.xml $work/vm.xml

# --- ends that are none of ours ---------------------------------------------------------------------
check 'prepare' hook prepare
kill -KILL "$(pgrep -x -n shieldvm-worker)"
check 'a killed worker takes its broker with it' until_true 10 bash -c '[ "$(pgrep -c -x shieldvm-worker)" = 0 ]'
check 'and a new start works at once' goes
check 'prepare' hook prepare
kill -KILL "$(pgrep -x -o shieldvm-worker)"
check 'a killed broker takes its worker with it' until_true 10 bash -c '[ "$(pgrep -c -x shieldvm-worker)" = 0 ]'
check 'and a new start works at once' goes
check 'prepare' hook prepare
kill -TERM "$(pgrep -x -o shieldvm-worker)" "$(pgrep -x -n shieldvm-worker)"
check 'SIGTERM to all (a shutdown) ends both' until_true 10 bash -c '[ "$(pgrep -c -x shieldvm-worker)" = 0 ]'
check '... in order' grep -q 'the worker ended with status 0' <(tail -n 1 /var/log/shieldvm/$uuid.log)
check 'prepare' hook prepare
kill -STOP "$(pgrep -x -n shieldvm-worker)"
check 'release of a stopped worker' hook release
check 'everything is gone' none_left
check 'prepare' hook prepare
kill -STOP "$(pgrep -x -o shieldvm-worker)"
check 'release of a stopped broker' hook release
check 'everything is gone' none_left

# --- a poor host ------------------------------------------------------------------------------------
few_files() {
	timeout 60 prlimit --nofile="$1:$1" /usr/sbin/shieldvm-hook any prepare begin - <$work/vm.xml 2>&1
}
for n in 5 6 7 8 9 10 12 14 16; do
	if few_files $n >$work/said 2>&1; then
		pass "with $n descriptors prepare works"
	else
		check "with $n descriptors prepare says why not" grep -q ^shieldvm-hook: $work/said
	fi
	# As libvirt does after a failed start.
	check '... and after release' hook release
	check '... nothing is left' none_left
done
mount -t tmpfs -o size=4k,mode=755 full $state
chown "$uid:$uid" $state
chmod 700 $state
refused_clean 'an empty, full disk in place of the state' '.'
umount $state
check 'afterwards it starts' goes

# Standard descriptors that are not there: nothing of the hook's takes their place in the worker.
check 'without standard output and error prepare works' \
	bash -c "timeout 60 /usr/sbin/shieldvm-hook any prepare begin - <$work/vm.xml >&- 2>&-"
check '... and the worker runs' test "$(workers)" = 2
check '... and ends' hook release

# --- many at once -------------------------------------------------------------------------------------
for i in 0 1 2 3 4 5; do
	id=6e7f3c1a-0b1d-4a57-9d0e-3a1f5c2b7d0$i
	domain_xml many$i $id >$work/many.xml
	shieldvm shield $work/many.xml --owner $work/owner -o $work/many$i.xml >/dev/null 2>&1
done
pids=()
for i in 0 1 2 3 4 5; do
	hook prepare $work/many$i.xml >$work/many$i.out &
	pids+=($!)
done
for pid in "${pids[@]}"; do check 'one of six first starts at once' wait "$pid"; done
check 'twelve processes' test "$(workers)" = 12
check 'six uids' test "$(ps -o uid= -C shieldvm-worker | sort -u | wc -l)" = 6
for i in 0 1 2 3 4 5; do check 'release' hook release $work/many$i.xml; done
check 'everything is gone' test "$(workers)" = 0
check 'no run folder is left' bash -c '[ -z "$(ls -A /run/shieldvm)" ]'
finish
