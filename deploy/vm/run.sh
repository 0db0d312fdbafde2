#!/usr/bin/env bash
# Run a command on another kernel: this machine's files under QEMU, read only, with a layer in memory above them (root).
#   run.sh VERSION COMMAND        in this repository's folder; prints what it prints, ends as it ends
# VM_MEMORY_MB=4096; VM_QEMU="-monitor unix:PATH,server,nowait": more of QEMU's arguments.
# Emulated, never KVM (which is not to be had everywhere), so everything takes ten to twenty times as long.
set -euo pipefail
version=$1 command=$2
here=$(dirname "$(realpath "$0")")
repository=$(realpath "$here/../..")
folder=$repository/build/vm/$version
"$here/kernel.sh" "$version" "$folder"

cp "$here/start" "$folder/start"
echo "$command" >"$folder/command"
echo "$repository" >"$folder/folder"
rm -f "$folder/status"
qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m "${VM_MEMORY_MB:-4096}" -display none -no-reboot -nodefaults \
	-serial stdio -kernel "$folder/vmlinuz" -initrd "$folder/initramfs" -append "console=ttyS0 quiet panic=-1 mitigations=off" \
	-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
	-virtfs "local,path=$folder,mount_tag=out,security_model=none,multidevs=remap" ${VM_QEMU:-} </dev/null
exit "$(cat "$folder/status" 2>/dev/null || echo 255)"
