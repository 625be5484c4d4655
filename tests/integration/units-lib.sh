# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What units.sh does inside (sourced by it): an admin sets up guardian and host with what is installed.
shieldvm=$(command -v shieldvm)
guardian=$(command -v shieldvm-guardian)
ask_key=/tests/ask-key
ask=$(dirname "$guardian")/shieldvm-ask
work=/run/units-test
mkdir "$work"
cd "$work" || exit 1
export XDG_STATE_HOME=$work/kept
# shellcheck source-path=SCRIPTDIR source=guardian-lib.sh
. "$here/guardian-lib.sh"
failed_checks() { # how it ends, with what may tell why
	if [ "$failed" != 0 ]; then
		journalctl --no-pager -u 'shieldvm*' | tail -n 60
		systemctl --no-pager status 'shieldvm*' | tail -n 60
	fi
	echo "$checks checks, $failed failed"
}
trap 'stop_all; failed_checks' EXIT
says() { # UNIT WORDS
	checks=$((checks + 1))
	for _ in $(seq 150); do
		journalctl --no-pager -q -o cat -u "$1" | grep -qF -e "$2" && return
		sleep 0.1
	done
	fail "$1 does not say '$2'"
}
is() { # UNIT PROPERTY VALUE
	local value
	checks=$((checks + 1))
	value=$(systemctl show -P "$2" "$1")
	[ "$value" = "$3" ] || fail "$1: $2 is '$value' instead of '$3'"
}
guardian_answers() {
	checks=$((checks + 1))
	for _ in $(seq 150); do
		(exec 3<>/dev/tcp/127.0.0.1/8787) 2>/dev/null && return
		sleep 0.1
	done
	fail "the guardian does not answer"
}

# Before anything is set up nothing is started, and that is no failure.
for unit in shieldvm-guardian shieldvm-attestd; do
	check "$unit may be started" systemctl start "$unit"
	is "$unit" ActiveState inactive
	is "$unit" ConditionResult no
done

make_maker
mkdir -p /etc/shieldvm
make_host alpha
cp -a alpha/etc/. /etc/shieldvm
boot alpha
for name in admin owner; do "$shieldvm" key new "$name" >/dev/null || fail "no key for $name"; done
check 'a guardian is made' "$guardian" init --admin admin.pub
mkdir -p /etc/systemd/system/shieldvm-guardian.service.d /etc/systemd/system/shieldvm-attestd.service.d
cp makers.pem /etc/makers.pem
cat >/etc/systemd/system/shieldvm-guardian.service.d/local.conf <<-END
	[Service]
	ExecStart=
	ExecStart=$guardian run --listen 127.0.0.1:8787 --admin-listen 127.0.0.1:8788 --ek-ca /etc/makers.pem
END
check 'systemd reads the units anew' systemctl daemon-reload
check 'the guardian may be enabled' systemctl enable shieldvm-guardian
check 'the guardian starts' systemctl start shieldvm-guardian
guardian_answers
pin=$("$shieldvm" key show /var/lib/shieldvm-guardian/tls.jwk.pub 2>&1 >/dev/null | grep -oE '[A-Za-z0-9_-]{43}')
url=https://127.0.0.1:8787#$pin
admin() { check "guardian $*" "$shieldvm" guardian "$@" --guardian "https://127.0.0.1:8788#$pin" --admin admin; }
"$shieldvm" host enrol --guardian "$url" --name alpha --tcti "swtpm:path=$work/alpha.sock" \
	--eventlog "$work/alpha/logs/eventlog" --ima "$work/alpha/logs/ima" >out 2>err || fail "not enrolled: $(cat err)"
admin host approve "$(tr -d '\n' </etc/shieldvm/host.id)" "$(print_of)"
"$shieldvm" attest --dry-run --tcti "swtpm:path=$work/alpha.sock" --eventlog alpha/logs/eventlog \
	--ima alpha/logs/ima --capture capture >/dev/null 2>&1
check 'a baseline is learned' "$shieldvm" guardian baseline learn base capture --policy policy.json
admin policy push policy.json

# A VM that this host has the lease of: its folder belongs to a worker's uid, as the broker makes it.
vm=2f6e8c3a-9d5b-4c1e-8a7f-0b1c2d3e4f50
"$ask_key" make "$vm" owner tpm 0 /var/lib/shieldvm-guardian/release.jwk.pub "$url" >protector || fail 'no protector'
mkdir -p "/run/shieldvm/$vm" "/var/lib/shieldvm/$vm"
exec 9>"/run/shieldvm/$vm/lock"
flock 9
"$ask_key" ask "$ask" protector owner 5 0 >out 2>err || fail "no key: $(cat out err)"
python3 -c 'import struct, sys; sys.stdout.buffer.write(b"SHVDSTAT" + struct.pack(">QQ", 1, 9) + b"sealed")' \
	>"/var/lib/shieldvm/$vm/tpm2.state"
chmod 600 "/var/lib/shieldvm/$vm/tpm2.state"
chmod 700 "/var/lib/shieldvm/$vm"
chown -R 1879048200:1879048200 "/var/lib/shieldvm/$vm"
check 'shieldvm-attestd starts' systemctl start shieldvm-attestd
says shieldvm-attestd 'this host is healthy'
is shieldvm-attestd ActiveState active
check 'it holds the lease' jq -e '.state == "held"' "/var/lib/shieldvm/leases/$vm.json"
check 'it may not write elsewhere' test "$(nsenter -t "$(systemctl show -P MainPID shieldvm-attestd)" -m \
	sh -c 'touch /etc/x /usr/x /var/lib/x 2>&1 | grep -c Read-only')" = 3

# The VM ends: the lease is given back, with the version that stands in the worker's own file.
exec 9>&-
checks=$((checks + 1))
for _ in $(seq 100); do
	[ -e "/var/lib/shieldvm/leases/$vm.json" ] || break
	sleep 0.1
done
[ ! -e "/var/lib/shieldvm/leases/$vm.json" ] || fail 'the lease is not given back'
"$shieldvm" guardian log --vm "$vm" --log-key /var/lib/shieldvm-guardian/log.jwk.pub \
	--guardian "https://127.0.0.1:8788#$pin" --admin admin >log 2>err || fail "no release log: $(cat err)"
check 'the guardian has it on record' grep -q ' stop .* version 9$' log

# Killed as a whole, the guardian comes back by itself; stopped, both end in order.
main=$(systemctl show -P MainPID shieldvm-guardian)
for name in keeper verifier front; do
	pid=$(pgrep -P "$main" "guardian-${name:0:5}")
	check "$name is confined" grep -q '^Seccomp:.2$' "/proc/$pid/status"
	[ "$name" = keeper ] ||
		check "$name has namespaces of its own" test "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink "/proc/$main/ns/mnt")"
done
kill -KILL "$main"
checks=$((checks + 1))
for _ in $(seq 200); do
	[ "$(systemctl show -P NRestarts shieldvm-guardian)" = 1 ] && break
	sleep 0.1
done
is shieldvm-guardian NRestarts 1
check 'the unit leaves it its Landlock' test -z "$(journalctl --no-pager -q -o cat -u shieldvm-guardian | grep 'does not.*not permitted')"
guardian_answers
for unit in shieldvm-guardian shieldvm-attestd; do
	check "$unit is stopped" systemctl stop "$unit"
	is "$unit" ActiveState inactive
	is "$unit" Result success
	is "$unit" ExecMainStatus 0
done
check 'nothing of them is left' test -z "$(pgrep -f shieldvm-)"
