#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Attacks on a worker and its hook, without libvirtd: a QEMU that was taken over, hook calls that are
# killed anywhere, another owner's protector, and secrets where none may be.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=a77ac000-0b1d-4a57-9d0e-3a1f5c2b7d01
work=/run/bed
state=/var/lib/shieldvm/$uuid
registry=/var/lib/shieldvm/registry/$uuid.json

hook() {
	timeout 60 /usr/sbin/shieldvm-hook any "$1" begin - <"${2:-$work/vm.xml}" 2>&1 | timeout 60 cat
}
none_left() { until_true 10 bash -c '[ "$(pgrep -c -x shieldvm-worker)" = 0 ]'; }
goes() { hook prepare "$@" && hook start "$@" && hook release "$@" && none_left; }
# attack WHAT ARGUMENT...: as a QEMU that was taken over (attack.py) of a VM that just started.
attack() {
	hook prepare && hook start || return 1
	timeout 60 /usr/bin/python3 "$here/attack.py" $uuid "$@" || return 1
	none_left && hook release
}

domain_xml plain $uuid >$work/plain.xml
shieldvm_ready
check 'the domain is shielded' shieldvm shield $work/plain.xml --owner $owner_key -o $work/vm.xml
check 'it starts' goes

# --- a QEMU that was taken over -----------------------------------------------------------------------
check "no key of the host's is in the memory of worker or broker" attack memory /etc/shieldvm/host.jwk
check 'every request in any order, with descriptors: nothing leaks, nothing ends' attack control 3000
check 'a thousand data channels' attack reconnect 1000
check 'a hundred thousand commands' attack commands 100000
check 'a client that never reads holds up nobody' attack deaf
check 'stop, start and cancel while keys are made' attack storm 3
check 'an older state is not put back' attack rewind
check 'a start from saved state serves nobody before that is in' attack incoming

# --- a stranger who is faster than the launcher -------------------------------------------------------
check 'prepare' hook prepare
check 'start' hook start
mkfifo $work/stranger
/usr/bin/python3 "$here/attack.py" $uuid hold <>$work/stranger >$work/held 2>&1 &
stranger=$!
check 'a stranger has the vTPM' until_true 10 grep -q held $work/held
check 'the failed start is released' hook release
check 'and the stranger has nothing any more' none_left
kill -0 $stranger 2>/dev/null && kill $stranger
check 'the VM starts' goes

# --- somebody else's protector ------------------------------------------------------------------------
cp -a $state $work/state
cp $registry $work/registry
check 'a stranger makes a key' shieldvm key new $work/stranger.jwk
check "and shields the victim's domain with it" shieldvm shield $work/plain.xml \
	--owner $work/stranger.jwk -o $work/forged.xml
refused 'which does not start' "this VM's TPM was made for the owner" hook prepare $work/forged.xml
check 'the state is where it was' diff -r $work/state $state
check 'and so is the registry' cmp $work/registry $registry
check 'the VM starts' goes

# --- a new TPM that was interrupted -------------------------------------------------------------------
old=$(sed -n 's/.*"tpm":"\([0-9a-f]*\)".*/\1/p' $registry)
check 'the owner orders a new TPM' shieldvm key rewrap $work/vm.xml --owner $owner_key --new-tpm \
	-o $work/new.xml
mv $state/tpm2.state.next "$state/tpm2.state.next.$old"
check 'cut short, and back to the old one' goes
check 'and the new one after all' goes $work/new.xml
refused 'the old one does not come back' 'replaced' hook prepare

# --- hook calls that are killed anywhere --------------------------------------------------------------
next_vm() {
	domain_xml killed a77ac000-0b1d-4a57-9d0e-3a1f5c2b7e0$1 >$work/k.plain.xml
	shieldvm shield $work/k.plain.xml --owner $owner_key -o $work/k.xml >/dev/null 2>&1
}
next_vm 0
killed=0
for i in $(seq 24); do
	/usr/sbin/shieldvm-hook any prepare begin - <$work/k.xml >$work/said 2>&1 &
	pid=$!
	sleep 0.$((RANDOM % 2))$((RANDOM % 10))
	status=0
	{ kill -KILL $pid && wait $pid; } 2>/dev/null || status=$?
	[ $status != 137 ] || killed=$((killed + 1))
	hook release $work/k.xml >>$work/said || fail "release after a killed prepare: $(cat $work/said)"
	if [ $((i % 8)) = 0 ]; then
		check "after $killed kills the VM starts" goes $work/k.xml
		next_vm $((i / 8))
	fi
done
check 'some were killed' test $killed -gt 3
check 'no process is left' none_left
check 'no run folder is left' bash -c '[ -z "$(ls -A /run/shieldvm)" ]'
check 'no half-made state folder is left' bash -c '! ls -A /var/lib/shieldvm | grep -q new'

# --- a hostile environment ----------------------------------------------------------------------------
# Whoever loads this leaves a name.
cat >$work/evil.c <<-'C'
	#include <fcntl.h>
	#include <stdio.h>
	#include <unistd.h>
	#include <sys/prctl.h>
	unsigned int la_version(unsigned int v) { return v; }
	__attribute__((constructor)) static void mark(void)
	{
		char name[32] = "", line[40];
		int fd = open("/run/bed/loaded", O_WRONLY | O_APPEND);
		prctl(PR_GET_NAME, name);
		(void)!write(fd, line, (size_t)snprintf(line, sizeof(line), "%s\n", name));
	}
C
check 'a library that leaves a mark' cc -shared -fPIC -o $work/evil.so $work/evil.c
printf 'openssl_conf = a\n[a]\nengines = b\n[b]\ne = c\n[c]\ndynamic_path = %s\ninit = 1\n' \
	$work/evil.so >$work/evil.cnf
chmod 755 $work $work/evil.*
hostile=("LD_PRELOAD=$work/evil.so" "LD_AUDIT=$work/evil.so" "LD_LIBRARY_PATH=$work"
	"GCONV_PATH=$work" "OPENSSL_CONF=$work/evil.cnf" "OPENSSL_ENGINES=$work" "OPENSSL_MODULES=$work")
: >$work/loaded && chmod 666 $work/loaded
hook_hostile() {
	timeout 60 env "${hostile[@]}" /usr/sbin/shieldvm-hook any "$1" begin - <$work/new.xml 2>&1 |
		timeout 60 cat
}
check 'a hook call in it' hook_hostile prepare
check "... whose environment is root's own business" grep -q '^shieldvm-hook' $work/loaded
check 'the worker has loaded nothing' bash -c "! grep shieldvm-worker $work/loaded"
check '... and has nothing of it mapped' bash -c \
	"for p in \$(pgrep -x shieldvm-worker); do ! grep evil /proc/\$p/maps || exit 1; done"
check 'release' hook release $work/new.xml
: >$work/loaded
check 'the launcher becomes QEMU in it' env "${hostile[@]}" shieldvm-launch -version
check 'neither of them has loaded anything' bash -c \
	"! grep -E 'shieldvm-launch|qemu' $work/loaded"
check 'the control: QEMU alone does' bash -c "env ${hostile[*]} qemu-system-x86_64 -version; grep qemu $work/loaded"

# --- links in the state folder, which the VM's uid may write --------------------------------------------
cp -a /etc/shieldvm $work/etc
cp /etc/passwd $work/passwd
uid=$(stat -c %u $state)
cat >$work/swap.py <<-'PY'
	import os, sys, time
	os.chdir(sys.argv[1])
	with open("tpm2.state", "rb") as f:
	    state = f.read()
	def put(make):
	    make("x")
	    os.rename("x", "tpm2.state")
	def copy(name):
	    with open(name, "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
	        f.write(state)
	copy("kept")
	swaps, end = 0, time.monotonic() + 6
	while time.monotonic() < end:
	    put(lambda x: os.symlink("/etc/shieldvm/host.jwk", x))
	    put(lambda x: os.symlink("/etc/passwd", x))
	    put(lambda x: os.link("kept", x))
	    put(lambda x: os.mkfifo(x, 0o600))
	    put(copy)
	    swaps += 5
	os.unlink("kept")
	print(swaps)
PY
setpriv --reuid "$uid" --regid "$uid" --clear-groups /usr/bin/python3 $work/swap.py $state >$work/swaps &
swapper=$!
refusals=0 starts=0
while kill -0 $swapper 2>/dev/null; do
	if hook prepare $work/new.xml >$work/said 2>&1; then starts=$((starts + 1)); else refusals=$((refusals + 1)); fi
	hook release $work/new.xml >>$work/said 2>&1 || fail "release while links are swapped: $(cat $work/said)"
done
check "$(cat $work/swaps) swaps under $starts starts and $refusals refusals" wait $swapper
check 'some were refused' test $refusals -gt 0
check "the host's keys are as they were" diff -r $work/etc /etc/shieldvm
check 'and so is the other file' cmp $work/passwd /etc/passwd
check 'no process is left' none_left
check 'the VM starts' goes $work/new.xml

# --- secrets ------------------------------------------------------------------------------------------
for key in /etc/shieldvm/host.jwk $owner_key; do
	d=$(sed -n 's/.*"d":"\([^"]*\)".*/\1/p' $key)
	check "the private half of $key is found" grep -q -e "$d" $key
	check '... and nowhere else' bash -c \
		"! grep -rlF -e '$d' /var/lib/shieldvm /var/log /run/shieldvm $work/said $work/*.xml"
done
finish
