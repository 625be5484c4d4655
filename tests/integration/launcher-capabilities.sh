#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# libvirt probes an emulator before it uses it: through the launcher it must find what it finds with
# the real QEMU, and nothing but a probe passes.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

libvirtd_start
capabilities() {
	virsh domcapabilities --virttype qemu --machine q35 --emulatorbin "$1" |
		sed "s#<path>$1</path>#<path/>#"
}
capabilities /usr/bin/qemu-system-x86_64 >/run/bed/qemu.xml
check 'libvirt probes the launcher' bash -c "timeout 120 virsh -q domcapabilities --virttype qemu \
	--machine q35 --emulatorbin /usr/bin/shieldvm-launch"
capabilities /usr/bin/shieldvm-launch >/run/bed/launch.xml
check 'there are capabilities to compare' grep -q '<loader supported=' /run/bed/qemu.xml
check 'they are those of the real QEMU' diff /run/bed/qemu.xml /run/bed/launch.xml

probe=(-S -no-user-config -nodefaults -nographic -machine 'none,accel=kvm:tcg')
refused 'a probe with one more argument is refused' 'shieldvm-launch' \
	timeout 10 shieldvm-launch "${probe[@]}" -daemonize -monitor stdio
refused 'a start without a worker is refused' 'shieldvm-launch' \
	timeout 10 shieldvm-launch -name guest=x -S -machine q35 -display none
refused 'a start without arguments is refused' 'shieldvm-launch' timeout 10 shieldvm-launch
finish
