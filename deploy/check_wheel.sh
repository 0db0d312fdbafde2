#!/usr/bin/env bash
# Build the wheel, install it into an empty environment and run an agent with what it installed (root).
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
export RUBICON_INSTANCE=wheel-$$
finish() {
	[[ -x $work/venv/bin/rubicon ]] && "$work/venv/bin/rubicon" down --yes >/dev/null 2>&1 || true
	rm -rf "$work" build/lib build/bdist.* "/var/lib/rubicon-$RUBICON_INSTANCE" "/run/rubicon-$RUBICON_INSTANCE"
}
trap finish EXIT

.venv/bin/python -m build --wheel --outdir "$work/dist" . >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
wheel=("$work"/dist/*.whl)
files=$(python3 -m zipfile -l "${wheel[0]}")
for object in objects/fork.bpf.o objects/no_fetch/fork.bpf.o; do
	[[ $files == *"sensor/kernel/$object"* ]] || { echo "check_wheel: $object is not in the wheel" >&2; exit 1; }
done
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "${wheel[0]}"

# From an empty folder and with no compiler that works on PATH: what runs must come out of the wheel.
cd "$work"
mkdir "$work/none"
for compiler in clang cc gcc; do
	printf '#!/bin/sh\necho "check_wheel: a compiler was called" >&2\nexit 99\n' >"$work/none/$compiler"
	chmod 755 "$work/none/$compiler"
done
PATH=$work/venv/bin:$work/none:/usr/sbin:/usr/bin:/sbin:/bin
hash -r
out=$(rubicon run --name wheel-check -- sh -c 'echo from-the-agent; exit 7') && status=0 || status=$?
[[ $status == 7 && $out == from-the-agent ]] || { echo "check_wheel: run gave status $status and output '$out'" >&2; exit 1; }
rubicon ps --all --json | grep -q '"wheel-check"' || { echo "check_wheel: the plane does not list the agent" >&2; exit 1; }
rubicon down --yes
echo "check_wheel: $(basename "${wheel[0]}") installs and runs an agent"
