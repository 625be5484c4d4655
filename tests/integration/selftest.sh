#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shieldvm selftest: what it says of this kernel, that it notices a kernel with less, and that
# nothing is left of it.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

work=/run/bed
places() { find /etc/shieldvm /var/lib/shieldvm /run/shieldvm /var/log/shieldvm -printf '%p %u %m %s %T@\n'; }
judge() { /usr/bin/python3 "$here/selftest.py" "$@"; }

check 'the host is set up' shieldvm host init
places >$work/before

refused 'it is root'"'"'s' 'only root' setpriv --reuid 65534 --clear-groups shieldvm selftest
refused 'it takes no operand' 'operand|argument' shieldvm selftest vm

status=0
timeout 320 shieldvm selftest --json >$work/json 2>$work/said || status=$?
sed 's/^/# /' $work/said
judge outcomes $work/json | sed 's/^/# /'
check 'its exit status says whether something is open' judge status $status $work/json
check 'every attack has a sentence, a claim and a feature' judge complete $work/json
check 'what it should close is closed' judge closed $work/json
check 'what cannot be closed from user space is reported' judge residual $work/json
check 'each attack has its line in docs/ATTACKS.md, and each line its attack' \
	judge documented $work/json "$source_root/docs/ATTACKS.md"
check 'no process is left' bash -c '! pgrep -x "shieldvm.*"'
places >$work/after
check "the host's own folders are as they were" diff $work/before $work/after

# A kernel without secret memory, as a filter makes it look: the same attacks find the keys.
status=0
timeout 320 /usr/bin/python3 "$here/selftest.py" without-secret-memory \
	shieldvm selftest >$work/text 2>$work/said || status=$?
check 'without memfd_secret(2) it fails' test $status = 1
check '... and says what is open' grep -qE '^OPEN +memory.proc-mem ' $work/text
check '... and what of SECURITY.md does not hold' grep -q 'do not hold here' $work/said
check '... and what to do' grep -qE '^Not held here: .*memory\.proc-mem.* Remedy: ' $work/text
check 'no process is left' bash -c '! pgrep -x "shieldvm.*"'
places >$work/after
check "the host's own folders are as they were" diff $work/before $work/after
finish
