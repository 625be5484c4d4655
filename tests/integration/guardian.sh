#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shieldvm-guardian's processes as strangers, hosts and admins meet them, over real TLS: in mount, network
# and process namespaces of its own, so that its ports are free and nothing outlives it.
# Usage: guardian.sh SHIELDVM-GUARDIAN RELEASED
set -u -o pipefail
program=$(realpath "$1")
released=$(realpath "$2")
here=$(realpath "$(dirname "$0")")
if [ "${GUARDIAN_INSIDE:-}" != 1 ]; then
	if ! why=$(unshare --mount --net --pid --fork true 2>&1) || [ "$(id -u)" != 0 ]; then
		printf 'skipped: no namespaces of its own: %s\n' "${why:-not root}"
		[ "${MUST_WORK:-}" != 1 ] || exit 1
		exit 77
	fi
	GUARDIAN_INSIDE=1 exec timeout -k 5 240 unshare --mount --net --pid --fork --kill-child --mount-proc \
		--propagation private "$0" "$@"
fi
ip link set lo up
work=$(mktemp -d)
trap 'cd /; umount -l "$work"; rmdir "$work"' EXIT
mount -t tmpfs -o mode=700,size=64m tmpfs "$work"
cd "$work" || exit 1
python3 "$here/guardian.py" "$program" "$released" "$work"
