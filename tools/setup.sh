#!/usr/bin/env bash
# Makes the virtual environment that everything else here runs in. Safe to repeat: a stamp says what it was made from.
#   VENV    where it goes      (.venv)
#   PYTHON  what it is made of (python3, 3.11 or newer: 3.11 gets ansible-core 2.19, 3.12 and newer get 2.21)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
cache=$root/.cache

# The collections that ours needs, and what those need, come out of this one wheel of the Python package index, so Galaxy is not needed.
bundle=14.5.0
bundle_sha256=245623ccc2d31d0f6f4bdb63168d550cad305fb032cc43d96e8f61ce8ab0ba84
collections=(ansible/posix community/docker community/library_inventory_filtering_v1)

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# ---- programs ---------------------------------------------------------------------------------------------------
packages=()
command -v git >/dev/null || packages+=(git)
command -v ssh >/dev/null || packages+=(openssh-client)
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then # for the tests alone: a laptop need not have them
    command -v curl >/dev/null || packages+=(curl)
    command -v ip >/dev/null || packages+=(iproute2)
fi
if ! command -v "$PYTHON" >/dev/null; then
    [ "$PYTHON" = python3 ] || die "PYTHON=$PYTHON is not there; name a Python 3.11 or newer"
    packages+=(python3 python3-venv)
elif ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    [ "$PYTHON" = python3 ] || die "PYTHON=$PYTHON lacks its modules venv and ensurepip; install them or name another one"
    packages+=(python3-venv)
fi
if [ ${#packages[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || die "missing: ${packages[*]}; install them and try again"
    [ "$(id -u)" = 0 ] || die "missing: ${packages[*]}; run: sudo apt-get install ${packages[*]}"
    say "installing with apt-get: ${packages[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends "${packages[@]}" >/dev/null
fi
version=$("$PYTHON" -c 'import platform; print(platform.python_version())')
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || die "$PYTHON is Python $version; 3.11 or newer is needed (make setup PYTHON=/path/to/python3)"

# ---- nothing to do? ---------------------------------------------------------------------------------------------
mkdir -p "$cache"
if command -v flock >/dev/null; then # two set-ups at once would undo each other
    exec 9>"$cache/setup.lock"
    flock 9
fi
wanted=$(cat requirements.lock tools/setup.sh - <<<"$version $root $VENV" | git hash-object --stdin)
[ "$(cat "$VENV/.stamp" 2>/dev/null)" = "$wanted" ] && exit 0

# ---- environment ------------------------------------------------------------------------------------------------
say "Python $version -> $VENV"
if [ "$("$VENV/bin/python" -c 'import platform, sys; print(platform.python_version(), sys.prefix)' 2>/dev/null)" \
    != "$version $(realpath -m "$VENV")" ]; then
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV"
fi
rm -f "$VENV/.stamp"
pip() { "$VENV/bin/python" -m pip -qq --disable-pip-version-check --no-input "$@"; }
pip install --require-hashes -r requirements.lock

wheel=$(find "$cache" -maxdepth 1 -name "ansible-$bundle-*.whl")
if [ -z "$wheel" ]; then
    say "fetching the collections ${collections[*]} (54 MB, once)"
    rm -rf "$cache/download"
    # The wheel declares a newer Python than core 2.19 has; the collections in it support both.
    pip download --no-deps --ignore-requires-python --dest "$cache/download" "ansible==$bundle"
    mv "$cache/download/"*.whl "$cache/"
    rmdir "$cache/download"
    wheel=$(find "$cache" -maxdepth 1 -name "ansible-$bundle-*.whl")
fi
found=$("$VENV/bin/python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$wheel")
[ "$found" = "$bundle_sha256" ] || die "$wheel has the SHA-256 $found, not $bundle_sha256; remove it and try again"
site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$site/ansible_collections"
"$VENV/bin/python" - "$wheel" "$site" "${collections[@]}" <<'PYTHON'
import sys
import zipfile

wheel, site, *names = sys.argv[1:]
folders = tuple(f"ansible_collections/{name}/" for name in names)
with zipfile.ZipFile(wheel) as bundle:
    bundle.extractall(site, [member for member in bundle.namelist() if member.startswith(folders)])
PYTHON

# A clone finds its own dgxspark.vllm.*: files are edited in place.
mkdir -p "$site/ansible_collections/dgxspark"
ln -sfn "$root" "$site/ansible_collections/dgxspark/vllm"

echo "$wanted" >"$VENV/.stamp"
say "ready: $("$VENV/bin/ansible" --version | sed -n 's/^ansible \[\(.*\)\].*/ansible-\1/p'), Python $version"
