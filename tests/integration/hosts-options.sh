#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What virsh migrate can be told besides where to: a shielded VM moves with each option that operators use,
# sealed, and what the option is for happens.  The guest has no system: firmware in 128 MiB.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
export BED_SECONDS=${BED_SECONDS:-600} ON_SECONDS=90 VIRSH_SECONDS=80
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. "$here/hosts.sh"

uuid=0b71095e-0b1d-4a57-9d0e-3a1f5c2b7d01
canary=canary-$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')
at=a # where the VM is

# migrates [OPTION...] with --live, to the other host; what virsh says is in /run/bed/said.
migrates() {
	on "$at" virsh migrate --live "$@" vm "$(far "$(other_host "$at")")" "tcp://host-$(other_host "$at")" \
		>/run/bed/said 2>&1 || {
		cat /run/bed/said
		return 1
	}
}

# moves OPTION...: it is on the other host then, running, and only there.
moves() {
	check "from $at: ${*:-no option}" migrates "$@"
	at=$(other_host "$at")
	check "it runs on $at, and there only" runs_only_on $at vm
}

# told WHAT CONDITION: what libvirt knows of the last migration: awk's $n, the number behind WHAT.
told() {
	on $at virsh domjobinfo vm --completed | awk -F ': *' -v "what=$1" \
		'{ n = $2 + 0 } $1 == what { found = 1; if (!('"$2"')) exit 1 } END { exit !found }'
}

# qemu_has COMMAND TEXT...: an object in QEMU's answer has these texts.
qemu_has() {
	local text
	on $at virsh qemu-monitor-command vm "{\"execute\":\"$1\"}" | grep -o '{[^{}]*}' >/run/bed/answer
	shift
	for text; do
		grep -F "$text" /run/bed/answer >/run/bed/objects || return 1
		mv /run/bed/objects /run/bed/answer
	done
}

# defined HOST: whether the VM has a definition there that stays.
defined() {
	on "$1" virsh list --all --persistent --name | grep -qx vm
}

not_defined() {
	! defined "$1"
}

# credentials HOST: what libvirt's own TLS for migrations wants.
credentials() {
	local host=$1
	on "$host" bash -c "mkdir -p /etc/libvirt/pki && cp $shared/pki/ca-cert.pem /etc/libvirt/pki/
		for kind in server client; do
			cp $shared/pki/host-$host-cert.pem /etc/libvirt/pki/\$kind-cert.pem
			cp $shared/pki/host-$host-key.pem /etc/libvirt/pki/\$kind-key.pem
		done
		chmod -R a+rX /etc/libvirt/pki && chmod 755 /etc/libvirt"
	on "$host" bash -c "printf '%s\n' 'migrate_tls_x509_cert_dir = \"/etc/libvirt/pki\"' \
		'migrate_tls_x509_verify = 1' >>/etc/libvirt/qemu.conf"
}

# authority: a CA, and a certificate for each host.
authority() {
	local host
	mkdir -p $shared/pki
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=bed' -keyout $shared/pki/ca-key.pem \
		-out $shared/pki/ca-cert.pem -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
	for host in $hosts; do
		openssl req -newkey rsa:2048 -nodes -subj "/CN=host-$host" -keyout "$shared/pki/host-$host-key.pem" \
			-out "$shared/pki/host-$host.csr"
		openssl x509 -req -days 2 -in "$shared/pki/host-$host.csr" -CA $shared/pki/ca-cert.pem \
			-CAkey $shared/pki/ca-key.pem -out "$shared/pki/host-$host-cert.pem" -extfile <(
				echo "subjectAltName=DNS:host-$host"
				echo keyUsage=critical,digitalSignature,keyEncipherment
				echo extendedKeyUsage=serverAuth,clientAuth
			)
		chmod a+r "$shared/pki/host-$host-key.pem"
		credentials "$host"
	done
}

hosts_up
check 'a CA, and certificates for both hosts' authority
for host in $hosts; do
	on "$host" pkill -x libvirtd
	until_true 20 no_process_on "$host" '^libvirtd '
	on "$host" rm -f /run/libvirtd.pid
	host_libvirtd "$host"
done
on a shieldvm key new $shared/owner.jwk >/dev/null
on b shieldvm host show >$shared/b.pub
domain_xml vm $uuid | sed -e '/<disk /,/<\/disk>/d' -e 's/>512</>128</' \
	-e "s|<os\b|<sysinfo type='smbios'><system><entry name='serial'>$canary</entry></system></sysinfo>&|" \
	-e "s|</os>|<smbios mode='sysinfo'/>&|" >$shared/plain.xml
check 'a VM is shielded for both hosts' on a shieldvm shield $shared/plain.xml --owner $shared/owner.jwk \
	--host $shared/b.pub -o $shared/vm.xml
check 'it is defined on a' on a virsh define $shared/vm.xml
check 'it starts on a' on a virsh start vm

capture_begin
moves --verbose --bandwidth 10
check 'its progress is shown while it goes on' grep -qE 'Migration: \[ [ 1-9][0-9](\.[0-9]*)? ?%\]' /run/bed/said
check 'it is as slow as it is to be' told 'Memory bandwidth' 'n < 20'
check 'as it was not to be defined there, it is not' not_defined b
moves --p2p --persistent --undefinesource
check "it is defined on $at" defined $at
check '... and no longer where it came from' not_defined "$(other_host $at)"
moves --compressed --comp-methods xbzrle
moves --p2p --abort-on-error --change-protection
moves --p2p --tls
capture_end
find $captured -name '*:16509*' -delete
refused 'nothing of its memory is on the wire' '^none of the texts' on_the_wire "$canary" pc.ram
check 'what is there looks random' random_on_the_wire

# Slowly, to be looked at, given up, and sped up.
slowly() {
	on $at virsh migrate-setspeed vm 1
	on $at virsh migrate --live "$@" vm "$(far "$(other_host $at)")" "tcp://host-$(other_host $at)" \
		>/run/bed/slow 2>&1 &
	slow=$!
	check "slowly, from $at: domjobinfo tells how far it is" until_true 30 moved
}
moved() {
	on $at virsh domjobinfo vm | awk '$1 == "Data" && $2 == "processed:" && $3 > 0 { found = 1 } END { exit !found }'
}
slowly --tls --auto-converge --auto-converge-initial 33 --compressed --comp-methods xbzrle --comp-xbzrle-cache 16777216
check "QEMU has its own TLS, too" qemu_has query-migrate-parameters '"tls-creds":"objlibvirt_migrate_tls0"'
check 'it would slow down a guest that is too fast' qemu_has query-migrate-capabilities '"auto-converge"' '"state":true'
check '... by so much at first' qemu_has query-migrate-parameters '"cpu-throttle-initial":33'
check 'it compresses' qemu_has query-migrate-capabilities '"xbzrle"' '"state":true'
check '... with a cache of that size' qemu_has query-migrate-parameters '"xbzrle-cache-size":16777216'
check 'it is given up' on $at virsh domjobabort vm
refused 'virsh migrate says so' 'operation aborted|canceled' bash -c "tail -f --pid=$slow /dev/null; cat /run/bed/slow; exit 1"
check "it runs on $at" runs_only_on $at vm
slowly --timeout 1 --timeout-suspend
check 'it is suspended after that time' until_true 20 qemu_has query-status '"status":"paused"'
check 'its speed is changed on the way' on $at virsh migrate-setspeed vm 2
check '... and QEMU knows' qemu_has query-migrate-parameters '"max-bandwidth":2097152'
on $at virsh migrate-setspeed vm 1000
check 'it arrives' wait $slow
at=$(other_host $at)
check "it runs on $at, and there only" runs_only_on $at vm

# The definition alone.
check 'it is shut off' on $at virsh destroy vm
on $at virsh define $shared/vm.xml >/dev/null
check 'virsh migrate --offline' on $at virsh migrate --offline --persistent vm "$(far "$(other_host $at)")"
check 'it is defined there' defined "$(other_host $at)"
refused 'started there at once, it is taken for a migration that goes on' 'this VM comes from another host' \
	on "$(other_host $at)" virsh start vm
refused 'its vTPM is not there, so it does not start there' 'vtpm\.' on "$(other_host $at)" virsh start vm
check 'where it was, it starts' on $at virsh start vm

# A host more, and one less, while the VM runs: its owner makes a new protector, which goes with it.
on $at virsh destroy vm
on a virsh undefine vm --nvram
on b virsh undefine vm --nvram
at=a
on a rm -rf /var/lib/shieldvm/$uuid /var/lib/shieldvm/registry/$uuid.json
on b rm -rf /var/lib/shieldvm/$uuid /var/lib/shieldvm/registry/$uuid.json
check 'a VM is shielded for a alone' on a shieldvm shield $shared/plain.xml --owner $shared/owner.jwk -o $shared/vm.xml
check 'it starts' on a virsh create $shared/vm.xml
refused 'b may not have it' 'protector\.recipient: ' migrates
# rewrapped OPTION...: the running VM's XML with a new protector is $shared/new.xml.
rewrapped() {
	on $at bash -c "virsh dumpxml vm --migratable >$shared/old.xml
		exec shieldvm key rewrap $shared/old.xml --owner $shared/owner.jwk -o $shared/new.xml $*"
}
check 'its owner lets b have it' rewrapped --add-host $shared/b.pub
moves --xml $shared/new.xml
a_name=$(on a shieldvm host show | jose jwk thp -i-)
check 'its owner no longer lets a have it' rewrapped --remove-host "$a_name"
refused 'so it does not move back' 'protector\.recipient: ' migrates --xml $shared/new.xml
check 'it runs on b' runs_only_on b vm

on b virsh destroy vm
hosts_end
