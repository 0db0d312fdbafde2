#!/usr/bin/env bash
# Fetch one of Debian's kernels and make the initramfs that boots this machine's own files under it.
#   kernel.sh VERSION FOLDER      VERSION as 6.1 or 6.12: the newest such kernel that apt knows is taken
# Leaves FOLDER/{vmlinuz,lib,initramfs}; what is there already is kept.
set -euo pipefail
version=$1 folder=$2
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! test -e "$folder/vmlinuz"; then
	# The generic flavour: the one for clouds has no 9p.
	package=$(apt-cache pkgnames "linux-image-$version." | grep -E '^linux-image-[0-9.]+(-[0-9]+|\+deb[0-9]+)-amd64$' | sort -V | tail -1)
	if test -z "$package"; then
		echo "vm: apt knows no kernel $version; it may know others: apt-cache search --names-only '^linux-image-.*-amd64$'" >&2
		exit 1
	fi
	echo "vm: fetching $package" >&2
	mkdir -p "$folder"
	(cd "$work" && apt-get download "$package" >log 2>&1) || { cat "$work/log" >&2; exit 1; }
	dpkg-deb -x "$work"/*.deb "$work/root"
	rm -rf "$folder/lib"
	mv "$work/root/lib" "$folder/lib"
	depmod -b "$folder" "$(ls "$folder/lib/modules")"
	mv "$work"/root/boot/vmlinuz-* "$folder/vmlinuz"
fi

mkdir -p "$work/files"/{bin,modules,new}
cp /bin/busybox "$work/files/bin"
cp "$here/init" "$work/files"
# In the order in which they are to be loaded; what is built in has no file.
for name in virtio_pci 9pnet_virtio 9p overlay; do
	modprobe -d "$folder" -S "$(ls "$folder/lib/modules")" --show-depends "$name"
done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r file; do
	name=$(basename "$file" .xz)
	case $file in
	*.xz) xz -dc "$file" >"$work/files/modules/$name" ;;
	*) cp "$file" "$work/files/modules/$name" ;;
	esac
	echo "$name" >>"$work/files/modules/order"
done
(cd "$work/files" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/initramfs"
