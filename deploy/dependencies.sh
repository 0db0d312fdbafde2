#!/usr/bin/env bash
# Install what building and testing need from the distribution (Debian 12, Ubuntu 24.04). Idempotent; quiet unless it fails.
#   dependencies.sh build        compiler and headers for bpf/
#   dependencies.sh demo         the above, and OpenSSH and iproute2 for the demo
#   dependencies.sh test         the above, and the real programs that the tests run
#   dependencies.sh vm           what `make vm` boots other kernels with
set -euo pipefail

build=(clang llvm libbpf-dev libbpf1 libelf1 libseccomp2 make python3-venv)
demo=("${build[@]}" iproute2 openssh-server openssh-client procps)
test=("${demo[@]}" clang-format gcc libc6-dev bpftool dropbear-bin putty-tools autossh netcat-openbsd rsync git tmux vim-tiny util-linux ruby systemd runc sudo gdb dbus at cron)
vm=(qemu-system-x86 busybox-static kmod cpio xz-utils)

case ${1:-build} in
build) wanted=("${build[@]}") ;;
demo) wanted=("${demo[@]}") ;;
test) wanted=("${test[@]}") ;;
vm) wanted=("${vm[@]}") ;;
*) echo "usage: $0 build|demo|test|vm" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
	# Ubuntu has bpftool inside linux-tools-common, as a script that calls the running kernel's
	if [[ $package == bpftool ]] && bpftool version >/dev/null 2>&1; then continue; fi
	# libelf1 is libelf1t64 in Ubuntu 24.04
	states=$(dpkg-query -W -f '${Status}\n' "$package" "${package}t64" 2>/dev/null || true)
	[[ $states == *'ok installed'* ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ! command -v apt-get >/dev/null; then
	echo "rubicon: these are missing and only apt-get is known here: ${missing[*]}" >&2
	exit 1
fi
if ((EUID)); then
	echo "rubicon: run this once as root to install: ${missing[*]}" >&2
	exit 1
fi
echo "rubicon: installing ${#missing[@]} packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# A policy that starts no services: the tests start their own sshd.
policy=/usr/sbin/policy-rc.d
made=0
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	made=1
fi
status=0
{
	apt-get update -q
	for i in "${!missing[@]}"; do
		if [[ ${missing[$i]} == bpftool ]] && ! apt-cache show bpftool >/dev/null 2>&1; then missing[i]=linux-tools-generic; fi
	done
	apt-get install -y -q --no-install-recommends "${missing[@]}"
} >"$log" 2>&1 || status=$?
((made)) && rm -f "$policy"
if ((status)); then
	cat "$log" >&2
	echo "rubicon: apt-get failed (above)" >&2
	exit 1
fi
