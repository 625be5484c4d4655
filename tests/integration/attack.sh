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

# --- secrets ------------------------------------------------------------------------------------------
for key in /etc/shieldvm/host.jwk $owner_key; do
	d=$(sed -n 's/.*"d":"\([^"]*\)".*/\1/p' $key)
	check "the private half of $key is found" grep -q -e "$d" $key
	check '... and nowhere else' bash -c \
		"! grep -rlF -e '$d' /var/lib/shieldvm /var/log /run/shieldvm $work/said $work/*.xml"
done
finish
