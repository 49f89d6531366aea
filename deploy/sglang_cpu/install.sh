#!/usr/bin/env bash
# Stock SGLang 0.5.23 on an x86 CPU without CUDA, and this package beside it, in an environment of its own.
# usage: install.sh VENV
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$1
test -x "$venv/bin/python" || "${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)
"${pip[@]}" -c "$here/constraints.txt" -r "$here/requirements.txt"
"${pip[@]}" --no-deps -r "$here/requirements-bare.txt"
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
cp -r "$here/shims/." "$packages"
echo "import edge_torchvision_shim" >"$packages/edge_torchvision_shim.pth"  # Python reads it at start
"${pip[@]}" -c "$here/constraints.txt" hatchling editables
"${pip[@]}" --no-deps --no-build-isolation -e "$here/../.."
