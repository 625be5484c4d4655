#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# virsh save, restore, managedsave and start of a guest with canaries in its memory, page cache and TPM:
# the file holds none of it, and the guest goes on where it was. Next to it an unshielded twin,
# whose files do: the checks can fail.
set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR source=bed.sh
. "$(dirname "$0")/bed.sh"
bed_enter "$@"
# shellcheck source-path=SCRIPTDIR source=state.sh
. "$(dirname "$0")/state.sh"


# records EVENT: how many the audit log has of the VM.
records() {
	shieldvm audit show --vm "$vm" --json | jq -c --arg event "$1" 'select(.event == $event and .channel == "monitor")' | wc -l
}

# saved NAME FILE [KIND]: after a save: the VM is off, nothing of it runs; the file is fit.
saved() {
	check "$1 is shut off" domain_state "$1" 'shut off'
	[ "$1" = twin ] || check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
	artefact "$@"
}

format() {
	sed -i '/^save_image_format/d' /etc/libvirt/qemu.conf
	printf 'save_image_format = "%s"\n' "$1" >>/etc/libvirt/qemu.conf
	libvirtd_stop
	rm -f /run/libvirtd.pid
	libvirtd_start
}

state_begin
for name in $domains; do
	file=$images/$name.save
	state_is_whole "$name"
	read -r up _ _ <<<"$clock"
	began=$SECONDS
	check "virsh save $name" virsh save "$name" "$file"
	saved "$name" "$file"
	sha256sum "$file" >/run/bed/sum
	check "virsh restore $name" virsh restore "$file"
	check "$name runs" domain_state "$name" running
	state_goes_on "$name"
	read -r now date rtc <<<"$clock"
	check "$name: its uptime went on ($up, $now)" test "$now" -ge "$up" -a "$now" -le $((up + SECONDS - began + 60))
	check "$name: its clock is sane ($(date +%s), $date, $rtc)" test $(($(date +%s) - rtc)) -le 10 -a \
		$(($(date +%s) - rtc)) -ge -10 -a "$date" -gt $(($(date +%s) - 300)) -a "$date" -le $(($(date +%s) + 3))
	check 'the file is as it was' sha256sum --quiet -c /run/bed/sum
	rm "$file"
done

for name in $domains; do
	file=/var/lib/libvirt/qemu/save/$name.save
	check "virsh managedsave $name" virsh managedsave "$name"
	saved "$name" "$file"
	check "virsh start $name" virsh start "$name"
	state_goes_on "$name"
	check 'the file is gone' test ! -e "$file"
done

# Compressed by libvirt, in a program behind a pipe; libvirt before 9.7 knows no zstd.
format gzip
for name in $domains; do
	file=$images/$name.gzip
	check "virsh save $name, gzip, --paused" virsh save "$name" "$file" --paused
	saved "$name" "$file" compressed
	check "virsh restore $name" virsh restore "$file"
	check "$name is paused" domain_state "$name" paused
	check "virsh resume $name" virsh resume "$name"
	state_goes_on "$name"
	rm "$file"
done

for name in $domains; do
	file=/var/lib/libvirt/qemu/save/$name.save
	check "virsh managedsave $name, gzip, --running" virsh managedsave "$name" --running
	saved "$name" "$file" compressed
	check "virsh start $name --paused" virsh start "$name" --paused
	check "$name is paused" domain_state "$name" paused
	check "virsh resume $name" virsh resume "$name"
	state_goes_on "$name"
done

format raw
for name in $domains; do
	file=$images/$name.direct
	if dd if=/dev/zero of="$file" bs=4096 count=1 oflag=direct status=none; then
		check "virsh suspend $name" virsh suspend "$name"
		check "virsh save $name --bypass-cache" virsh save "$name" "$file" --bypass-cache
		saved "$name" "$file"
		check "virsh restore $name --bypass-cache --running" virsh restore "$file" --bypass-cache --running
		check "$name runs" domain_state "$name" running
		state_goes_on "$name"
	fi
	cp "$file" "$images/$name.kept"
done

# shellcheck disable=SC2086 # the names are words
leaves_no_canary $domains
if [ "$domains" != twin ]; then
	check 'every save is on record' test "$(records save)" = 5
	check 'and every restore' test "$(records restore)" = 5
	check 'the audit log is whole' shieldvm audit verify
fi
for name in $domains; do
	check "$name is destroyed" virsh destroy "$name"
done
[ "$domains" = twin ] || check 'nothing of it is left' until_true 10 no_vm_processes "$vm"
finish
