#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The monitor firewall over a real libvirtd and QEMU: what an administrator must not reach is refused
# under its rule's id and the VM runs on; what an operator does every day works.  The guest is its
# firmware: nothing here needs more.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"

uuid=3d1f6a52-7c0b-4e0a-9d3e-5a1f0c2b7e01
shieldvm_ready
libvirtd_start
shield_domain vm $uuid
check 'it starts' virsh start vm
check 'it runs' domain_state vm running
check 'it is destroyed' virsh destroy vm
check 'nothing of it is left' until_true 10 no_vm_processes $uuid
finish
