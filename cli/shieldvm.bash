# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# bash completion for shieldvm(1)

# The names and UUIDs of running VMs; root only, silent for others.
_shieldvm_vms() {
	shieldvm status --json 2>/dev/null | sed -n 's/^ *"\(name\|uuid\)": "\([^"]*\)",\{0,1\}$/\2/p'
}

_shieldvm() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]:-} words=
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		words='attest audit guardian host key lint selftest shield state status --help --version'
	elif [ "$COMP_CWORD" -eq 2 ] && [ "$command" = audit ]; then
		words='show verify report --help'
	elif [ "$COMP_CWORD" -eq 2 ] && [ "$command" = guardian ]; then
		words='admin baseline host lease log policy --help'
	elif [ "$COMP_CWORD" -eq 3 ] && [ "$command" = guardian ] && [ "$prev" = baseline ]; then
		words='learn add remove show --help'
	elif [ "$COMP_CWORD" -eq 3 ] && [ "$command" = guardian ] && [ "$prev" = policy ]; then
		words='demand waive show push fetch --help'
	elif [ "$COMP_CWORD" -eq 3 ] && [ "$command" = guardian ] && [ "$prev" = host ]; then
		words='list approve revoke replace --help'
	elif [ "$COMP_CWORD" -eq 3 ] && [ "$command" = guardian ] && [ "$prev" = admin ]; then
		words='list add remove --help'
	elif [ "$COMP_CWORD" -eq 3 ] && [ "$command" = guardian ] && [ "$prev" = lease ]; then
		words='takeback takeback-for-owner --help'
	elif [ "$COMP_CWORD" -eq 2 ] && [ "$command" = host ]; then
		words='enrol init leases show ticket --help'
	elif [ "$COMP_CWORD" -eq 2 ] && [ "$command" = key ]; then
		words='new show rewrap ticket --help'
	elif [ "$COMP_CWORD" -eq 2 ] && [ "$command" = state ]; then
		words='inspect verify open shred --help'
	else
		case $prev in
		--level) words='shielded encryption-supported' ;;
		--allow | --forbid) words='agent.channel boot.acpi-table boot.oem-strings boot.serial channel.other
			channel.spice channel.vsock console.console console.graphics console.input
			console.parallel console.screenshot console.serial crash.pstore
			device.filesystem device.hostdev device.redirdev device.smartcard
			device.vhost-user disk.fdgroup disk.media disk.transient input.nmi input.send-key
			memory.hugepages memory.nvdimm memory.shared state.compression' ;;
		--assurance) words='tpm hostkey' ;;
		--kind) words='structured exact' ;;
		--bank) words='sha256 sha384 sha512' ;;
		demand | waive) words='boot.firmware-debug boot.full boot.iommu boot.secure-boot dump.none-or-encrypted
			kernel.ima-appraise kernel.lockdown kernel.module-signatures kernel.no-debugger
			kernel.no-hibernation kernel.no-kdump swap.none-or-encrypted' ;;
		--remove-host | --remove-guardian | --offline-starts | --restore | --restores | --takeback | --vm | --since | --tcti | --name) return ;;
		--guardian) [ "$command" = shield ] || return ;;
		--admin | --log-key | --policy | --ek-ca | --capture | --eventlog | --ima | --log | --head | --anchor | --host-key | --owner | --host | --add-host | --add-guardian | --argv | --key | \
			--protector | -o | --output) ;;
		*)
			case $command${COMP_WORDS[2]:+/${COMP_WORDS[2]}} in
			attest/*) words='--guardian --dry-run -o --host-key-only --json --policy --ek-ca --capture --tcti
				--eventlog --ima --help' ;;
			guardian/baseline) words='--kind --bank --json --policy --help' ;;
			guardian/admin | guardian/host) words='--guardian --admin --json --help' ;;
			guardian/lease) words='--guardian --admin --help' ;;
			guardian/log) words='--guardian --admin --owner --log-key --head --vm --whose --json --help' ;;
			guardian/policy) words='--json --policy --guardian --admin --at-once -o --help' ;;
			audit/verify) words='--json --log --head --anchor --host-key --help' ;;
			audit/*) words='--vm --since --json --log --help' ;;
			key/rewrap) words='--owner --add-host --remove-host --add-guardian --remove-guardian --assurance
				--offline-starts --new-tpm --allow --forbid -o --help' ;;
			key/ticket) words='--owner --restore --restores --takeback --help' ;;
			host/enrol) words='--guardian --name --tcti --eventlog --ima --host-key-only --help' ;;
			host/leases) words='--json --help' ;;
			host/ticket) words='--remove --help' ;;
			host/* | key/*) words=--help ;;
			lint/*) words='--level --allow --json --argv --rules --help' ;;
			shield/*) words='--owner --host --guardian --assurance --offline-starts --level --allow --strip -o --help' ;;
			state/open) words='-o --force --key --protector --help' ;;
			state/shred) words='--yes --help' ;;
			state/*) words='--json --key --protector --help' ;;
			selftest/*) words='--json --help' ;;
			status/*) words="--json --help $(_shieldvm_vms)" ;;
			esac
			;;
		esac
	fi
	if [ -n "$words" ] && { [[ $cur == -* ]] || [ "$COMP_CWORD" -le 2 ] ||
		[ "$prev" = --level ] || [ "$prev" = --assurance ] || [ "$prev" = --allow ] || [ "$prev" = --forbid ] || [ "$prev" = --kind ] || [ "$prev" = --bank ] || [ "$prev" = demand ] ||
		[ "$prev" = waive ] || { [ "$command" = guardian ] && [ "$COMP_CWORD" -eq 3 ]; } ||
		[ "$command" = status ]; }; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _shieldvm shieldvm
