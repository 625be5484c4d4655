#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Two shieldvm-guardians over one PostgreSQL: in mount, network and process namespaces of its own, so that ports
# are free and nothing outlives it.
# Usage: guardian-postgres.sh SHIELDVM-GUARDIAN RELEASED
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
	GUARDIAN_INSIDE=1 exec timeout -k 5 240 unshare --mount --net --pid --fork --kill-child --mount-proc \
		--propagation private "$0" "$@"
fi
bin=$(find /usr/lib/postgresql -name initdb -printf '%h\n' 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] && id postgres >/dev/null 2>&1 || skip "PostgreSQL is not installed"
ip link set lo up
work=$(mktemp -d)
trap 'cd /; umount -l "$work"; rmdir "$work"' EXIT
mount -t tmpfs -o mode=755,size=256m tmpfs "$work"
cd "$work" || exit 1
python3 "$here/guardian_postgres.py" "$program" "$released" "$work" "$bin"
