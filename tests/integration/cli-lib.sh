# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # what the caller sets
# Functions for the tests of the command alone (sourced; the caller sets $shieldvm): they run in a mount
# namespace of their own, where /etc is a copy and /run, /var/lib and /var/log are empty. A failed check
# does not end the test; "exit $failed" does.

failed=0 checks=0

# cli_enter SECONDS ARGUMENT...: outside, reruns this script inside with these arguments, for at most that
# long; where that cannot be the test is skipped (77), or fails if MUST_WORK=1. Then, inside, leaves the
# caller in an empty folder that is gone at the end.
cli_enter() {
	local seconds=$1 why folder
	shift
	if [ "${CLI_INSIDE:-}" != 1 ]; then
		if ! why=$(unshare --mount true 2>&1) || [ "$(id -u)" != 0 ]; then
			printf 'skipped: no mount namespace of its own: %s\n' "${why:-not root}"
			[ "${MUST_WORK:-}" != 1 ] || exit 1
			exit 77
		fi
		CLI_INSIDE=1 exec timeout "$seconds" unshare --mount --propagation private \
			"$(realpath "$0")" "$@"
	fi
	work=$(mktemp -d)
	trap 'cd /; umount -l "$work"; rmdir "$work"' EXIT
	mount -t tmpfs tmpfs "$work"
	chmod 755 "$work"
	cp -a /etc "$work/etc"
	rm -rf "$work/etc/shieldvm" "$work/etc/libvirt"
	mount --bind "$work/etc" /etc
	for folder in /run /var/lib /var/log; do
		mount -t tmpfs -o mode=755 tmpfs "$folder"
	done
	cd "$work" || exit 1
}

fail() {
	printf 'not ok - %s\n' "$*"
	failed=1
}

check() { # WHAT COMMAND...
	local what=$1
	shift
	checks=$((checks + 1))
	"$@" >/dev/null 2>&1 || fail "$what"
}

# expect STATUS SENTENCE ARGUMENT...: with those arguments shieldvm ends with STATUS, says SENTENCE, and,
# if it fails, ends with exactly one "shieldvm: " line and has written nothing but a verdict in JSON; only
# "In the way" may come before that line. IN: a file for its standard input. QUIET: if it succeeds, it
# says nothing on standard error.
expect() {
	local status=$1 sentence=$2 got=0
	shift 2
	checks=$((checks + 1))
	"$shieldvm" "$@" >out 2>err <"${IN:-/dev/null}" || got=$?
	if [ "$got" != "$status" ]; then
		fail "shieldvm $*: status $got instead of $status: $(cat err)"
	elif ! grep -qaF -e "$sentence" out err; then
		fail "shieldvm $*: does not say '$sentence' but: $(cat out err)"
	elif [ "$status" != 0 ] && [ "$(grep -c '^shieldvm: .' err)" != 1 ]; then
		fail "shieldvm $*: not one sentence: $(cat err)"
	elif [ "$status" != 0 ] && [ -s out ] && ! [[ "$*" =~ ^state\ .*--json ]]; then
		fail "shieldvm $*: failed, and yet wrote to standard output: $(cat out)"
	elif [ -n "${QUIET:-}" ] && [ "$status" = 0 ] && [ -s err ]; then
		fail "shieldvm $*: not quiet: $(cat err)"
	elif grep -qa $'[\r\033]' out err; then
		fail "shieldvm $*: shows progress where there is no terminal"
	fi
}
