#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The units that are installed, under a systemd that has booted: guardian and shieldvm-attestd do their work, and
# end, as confined as they say. What "meson install" installs is put over a copy of this system that is gone at the
# end (systemd-nspawn over an overlay), whose systemd, network, processes and /run are its own.
# Usage: units.sh BUILD ASK-KEY
set -u -o pipefail
here=$(realpath "$(dirname "$0")")
skip() {
	printf 'skipped: %s\n' "$1"
	[ "${MUST_WORK:-}" != 1 ] || exit 1
	exit 77
}
if [ "${UNITS_INSIDE:-}" = 1 ]; then
	# shellcheck source-path=SCRIPTDIR source=units-lib.sh
	. "$here/units-lib.sh"
	exit "$failed"
fi
build=$(realpath "$1")
ask_key=$(realpath "$2")
for tool in systemd-nspawn meson swtpm swtpm_setup tpm2_pcrextend jq python3; do
	command -v "$tool" >/dev/null || skip "$tool is missing"
done
if [ "${UNITS_OUTSIDE:-}" != 1 ]; then
	if ! why=$(unshare --mount true 2>&1) || [ "$(id -u)" != 0 ]; then
		skip "no mount namespace of its own: ${why:-not root}"
	fi
	UNITS_OUTSIDE=1 exec timeout -k 5 200 unshare --mount --propagation private "$0" "$@"
fi

# nspawn makes control groups below its own: they are to be this one's.
leave() {
	cd /
	if [ -n "$group" ]; then
		printf '%s' "$$" >"$(dirname "$group")/cgroup.procs"
		# Where both versions are mounted it makes them twice; and what has just ended is in them for a moment.
		for _ in $(seq 50); do
			find "$group" "/sys/fs/cgroup/unified/${group#/sys/fs/cgroup/systemd/}" -depth -type d -exec rmdir {} \; 2>/dev/null
			[ -e "$group" ] || break
			sleep 0.1
		done
	fi
	umount -R -l "$work"
	rmdir "$work"
}
group=
work=$(mktemp -d)
trap leave EXIT
mount -t tmpfs tmpfs "$work"
groups=/sys/fs/cgroup
[ -e $groups/cgroup.procs ] || groups=$groups/systemd
group=$(mktemp -d "$groups$(sed -nE 's|^[0-9]+:(name=systemd)?:/?|/|p' /proc/self/cgroup | head -n 1)/units-test.XXXXXXXX") &&
	printf '%s' "$$" >"$group/cgroup.procs" || skip 'no control group of its own'
# ... and a folder in the machine's /run.
mount -t tmpfs -o mode=755 tmpfs /run

mkdir "$work/over" "$work/spare" "$work/root" "$work/tests"
mount -t overlay -o "lowerdir=/,upperdir=$work/over,workdir=$work/spare" overlay "$work/root" ||
	skip 'no overlay over this system'
root=$work/root
# As on a machine that has only just been installed.
rm -rf "$root"/etc/systemd/system/*.wants "$root/etc/shieldvm" "$root"/var/lib/shieldvm* "$root/etc/libvirt"
: >"$root/etc/machine-id"
DESTDIR=$root meson install -C "$build" --no-rebuild --quiet || exit 1
cat >"$root/etc/systemd/system/units-test.service" <<-END
	[Unit]
	SuccessAction=exit-force
	FailureAction=exit-force
	[Service]
	Type=oneshot
	Environment=UNITS_INSIDE=1
	ExecStart=/tests/units.sh
	StandardOutput=file:/result
	StandardError=inherit
END
cp "$here"/{units.sh,units-lib.sh,guardian-lib.sh,cli-lib.sh,attest_log.py} "$ask_key" "$work/tests"
timeout -k 5 150 systemd-nspawn --directory="$root" --register=no --keep-unit --quiet --private-network --console=pipe \
	--system-call-filter='landlock_create_ruleset landlock_add_rule landlock_restrict_self' --bind-ro="$work/tests:/tests" --boot systemd.unit=units-test.service </dev/null >"$work/console" 2>&1
cat "$work/over/result" "$work/console"
grep -q '^[1-9][0-9]* checks, 0 failed$' "$work/over/result"
