#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# virsh migrate of a shielded VM to a host of the attacker's making: one without shieldvm's hook and
# launcher, with a vTPM of its own in the worker's place, which takes any VM.  In each of its forms it is
# refused at the source, as nobody there has the VM's key or the form is none that is sealed; the message
# names the rule, that is on record once, and the VM runs on.  Two libvirtd on one private host: the second sees folders of its own.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=monitor-lib.sh
. "$here/monitor-lib.sh"

there=/run/bed/there
far=qemu+tcp://127.0.0.1/system
far_virsh() {
	timeout -k 5 60 virsh -c $far -q "$@"
}

# far_host: a second libvirtd, which listens on TCP without asking who comes.
far_host() {
	mkdir -p $there/{lib,run,etc,log,cache,shieldvm-run,shieldvm-lib}
	cp -a /etc/libvirt/qemu.conf $there/etc/
	mkdir -p $there/etc/{hooks,qemu/networks,storage,nwfilter} $there/shieldvm-run/$a
	cat >$there/etc/libvirtd.conf <<-CONF
		host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
		listen_tls = 0
		listen_tcp = 1
		auth_tcp = "none"
		auth_unix_rw = "none"
		log_level = 3
		log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
	CONF
	cat >/run/bed/far <<-SCRIPT
		#!/bin/bash
		set -eu
		bind() { mount --bind $there/\$1 \$2; }
		mkdir -p $there/run/libvirt
		bind etc /etc/libvirt
		bind lib /var/lib/libvirt
		bind log /var/log/libvirt
		bind cache /var/cache/libvirt
		bind shieldvm-lib /var/lib/shieldvm
		bind shieldvm-run /run/shieldvm
		mount --bind /usr/bin/qemu-system-x86_64 /usr/bin/shieldvm-launch
		mkdir -p /run/libvirt && bind run/libvirt /run/libvirt
		hostname far
		while :; do
			swtpm socket --tpm2 --tpmstate dir=/var/lib/shieldvm \\
				--ctrl type=unixio,path=/run/shieldvm/$a/vtpm.sock,mode=0666
			sleep 0.1
		done &
		chmod 755 /run/shieldvm /run/shieldvm/$a
		mkdir -p $images && cp --sparse=always /run/bed/disks/* $images/
		exec libvirtd --listen --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/far.pid
	SCRIPT
	mkdir -p /run/bed/disks
	cp --sparse=always "$images"/a*.* /run/bed/disks/
	unshare --mount --uts bash /run/bed/far </dev/null >/run/bed/far.out 2>&1 &
	until_true 60 far_virsh version || fail "the far libvirtd answers: $(cat /run/bed/far.out)"
}

shieldvm_ready
libvirtd_start
grown_shielded a $a
printf '127.0.0.1 far\n' >>/etc/hosts
far_host
check 'a starts' virsh start a

while IFS='|' read -r rule words; do
	# shellcheck disable=SC2086 # the words are the arguments
	barred a $a "$rule" virsh migrate a $words
done <<-TABLE
	migration.peer|$far --live --unsafe
	migration.peer|$far --live --unsafe --migrateuri tcp://127.0.0.1:49200
	migration.peer|$far --live --unsafe --p2p
	migration.form|$far --live --unsafe --p2p --tunnelled
	migration.peer|$far --unsafe
	migration.form|$far --live --unsafe --copy-storage-all
	migration.form|$far --live --unsafe --parallel
	migration.peer|$far --live --unsafe --migrateuri unix:///tmp/m.sock
TABLE
check 'nothing of it has arrived' bash -c "! virsh -c $far domstate a"
check 'a answers' virsh domblkstat a vda
check 'a is destroyed' virsh destroy a
check 'the audit log is whole' shieldvm audit verify
finish
