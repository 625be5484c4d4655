# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # what the caller sets
# Functions for hosts with software TPMs and the guardians they ask, each by its own command (sourced; the caller
# sets $shieldvm and $guardian). Hosts and guardians are folders of $work; a host's TPM is $work/NAME.sock.

# shellcheck source-path=SCRIPTDIR source=cli-lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/cli-lib.sh"
event_logs=$(realpath "$(dirname "${BASH_SOURCE[0]}")/attest_log.py")
declare -A tpms=() guardians=()

# guardian_enter SECONDS ARGUMENT...: like cli_enter, in network and process namespaces as well, so that every port
# is free and nothing outlives the caller.
guardian_enter() {
	local seconds=$1 why
	shift
	if [ "${CLI_INSIDE:-}" != 1 ]; then
		if ! why=$(unshare --mount --net --pid --fork true 2>&1) || [ "$(id -u)" != 0 ]; then
			printf 'skipped: no namespaces of its own: %s\n' "${why:-not root}"
			[ "${MUST_WORK:-}" != 1 ] || exit 1
			exit 77
		fi
		CLI_INSIDE=1 exec timeout -k 5 "$seconds" unshare --mount --net --pid --fork --kill-child \
			--mount-proc --propagation private "$(realpath "$0")" "$@"
	fi
	cli_enter "$seconds"
	trap 'stop_all; cd /; umount -l "$work"; rmdir "$work"' EXIT
	ip link set lo up
	export XDG_STATE_HOME=$work/kept
}

stop_tpm() { # NAME
	[ -n "${tpms[$1]:-}" ] || return 0
	# In order: a TPM that is cut off counts it as an attempt at a secret, and locks up after three.
	TPM2TOOLS_TCTI=swtpm:path=$work/$1.sock tpm2_shutdown -c 2>/dev/null
	kill "${tpms[$1]}" 2>/dev/null
	wait "${tpms[$1]}" 2>/dev/null
	unset "tpms[$1]"
}
stop_guardian() { # NAME
	[ -n "${guardians[$1]:-}" ] || return 0
	kill "${guardians[$1]}" 2>/dev/null
	wait "${guardians[$1]}" 2>/dev/null
	unset "guardians[$1]"
}
stop_all() {
	local name
	for name in "${!tpms[@]}"; do stop_tpm "$name"; done
	for name in "${!guardians[@]}"; do stop_guardian "$name"; done
}

# make_maker: who certifies the TPMs that make_host makes; once there is one, its certificates are in makers.pem.
make_maker() {
	mkdir ca
	cat >setup.conf <<-END
		create_certs_tool = $(command -v swtpm_localca)
		create_certs_tool_config = $work/localca.conf
		create_certs_tool_options = $work/localca.options
	END
	cat >localca.conf <<-END
		statedir = $work/ca
		signingkey = $work/ca/key.pem
		issuercert = $work/ca/cert.pem
		certserial = $work/ca/serial
	END
	printf -- '--platform-manufacturer maker\n--platform-version 1\n--platform-model model\n' >localca.options
}

# make_host NAME: it has a TPM, logs and an /etc/shieldvm of its own.
make_host() {
	mkdir "$1" "$1/tpm" "$1/etc"
	check "a TPM is made for $1" swtpm_setup --tpm2 --tpmstate "$work/$1/tpm" --create-ek-cert --ecc \
		--config setup.conf --overwrite
	"$shieldvm" key new "$1/etc/host.jwk" >/dev/null || fail "no key for $1"
	cat ca/*cert.pem >makers.pem
}

# boot NAME CHANGE...: its TPM is reset and gets what attest_log.py says.
boot() {
	local name=$1 extends
	shift
	stop_tpm "$name"
	rm -f "$name.sock" "$name.sock.ctrl"
	swtpm socket --tpm2 --tpmstate dir="$work/$name/tpm" --server type=unixio,path="$work/$name.sock" \
		--ctrl type=unixio,path="$work/$name.sock.ctrl" --flags not-need-init,startup-clear \
		--log file="$work/$name.log" &
	tpms[$name]=$!
	for _ in $(seq 100); do
		[ -S "$name.sock" ] && [ -S "$name.sock.ctrl" ] && break
		sleep 0.1
	done
	mkdir -p "$name/logs"
	python3 "$event_logs" "$name/logs" "$@" || exit 1
	mapfile -t extends <"$name/logs/extend"
	check "$name: PCRs are extended" env TPM2TOOLS_TCTI="swtpm:path=$work/$name.sock" tpm2_pcrextend "${extends[@]}"
}

# as_host NAME ARGUMENT...: shieldvm with those arguments, on that host; its status.
as_host() {
	local name=$1 status=0
	shift
	mkdir -p /etc/shieldvm
	mount --bind "$work/$name/etc" /etc/shieldvm
	"$shieldvm" "$@" || status=$?
	umount /etc/shieldvm
	return "$status"
}
id_of() { tr -d '\n' <"$1/etc/host.id"; }
# print_of [FILE]: the fingerprint that host enrol printed there.
print_of() { sed -n 's/^Fingerprint  //p' "${1:-out}"; }

# run_guardian NAME STATE PORT: serves hosts at PORT of 127.0.0.1 and admins at the next one.
run_guardian() {
	"$guardian" run --state "$work/$2" --listen "127.0.0.1:$3" --admin-listen "127.0.0.1:$(($3 + 1))" \
		--ek-ca makers.pem >"$1.out" 2>&1 &
	guardians[$1]=$!
	for _ in $(seq 100); do
		(exec 3<>"/dev/tcp/127.0.0.1/$3") 2>/dev/null && return
		kill -0 "${guardians[$1]}" 2>/dev/null || break
		sleep 0.1
	done
	fail "guardian $1 does not start: $(cat "$1.out")"
	exit 1
}
