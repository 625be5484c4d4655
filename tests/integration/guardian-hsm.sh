#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A shieldvm-guardian whose release key is in a token: in mount, network and process namespaces of its own.
# Usage: guardian-hsm.sh SHIELDVM-GUARDIAN RELEASED
set -u -o pipefail
program=$(realpath "$1")
released=$(realpath "$2")
here=$(realpath "$(dirname "$0")")
skip() {
	printf 'skipped: %s\n' "$1"
	[ "${MUST_WORK:-}" != 1 ] || exit 1
	exit 77
}
if [ "${GUARDIAN_INSIDE:-}" != 1 ]; then
	if ! why=$(unshare --mount --net --pid --fork true 2>&1) || [ "$(id -u)" != 0 ]; then
		skip "no namespaces of its own: ${why:-not root}"
	fi
	[ -e /usr/lib/softhsm/libsofthsm2.so ] || skip "SoftHSM is not installed"
	GUARDIAN_INSIDE=1 exec timeout -k 5 180 unshare --mount --net --pid --fork --kill-child --mount-proc \
		--propagation private "$0" "$@"
fi
ip link set lo up
work=$(mktemp -d)
trap 'cd /; umount -l "$work"; rmdir "$work"' EXIT
mount -t tmpfs -o mode=700,size=64m tmpfs "$work"
cd "$work" || exit 1
python3 "$here/guardian_hsm.py" "$program" "$released" "$work"
