#!/usr/bin/env bash
# Unpacks a program of the distribution, with the libraries that the machine lacks, into .cache/NAME, for the tests of the gateway. The
# package is not installed: it would start a service. Needs no root. Does nothing where the program is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=$1
folder=$PWD/.cache/$name

[ -x "/usr/sbin/$name" ] || [ -x "$folder/$name" ] && exit 0
command -v apt-get >/dev/null || { echo "$name: missing; install it (HAProxy: 2.6 or newer) and try again" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
missing() { apt-get -qq --simulate --no-install-recommends install "$name" 2>/dev/null | awk '/^Inst / {print $2}'; }
fetch() {
    local packages
    packages=$(missing) && [ -n "$packages" ] || return 1
    # shellcheck disable=SC2086 # several words
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download $packages 2>/dev/null)
}
echo "$name: unpacking it from the package" >&2
fetch || { [ "$(id -u)" = 0 ] && apt-get -qq update && fetch; } \
    || { echo "$name: the package cannot be downloaded; run: sudo apt-get update" >&2; exit 1; }
rm -rf "$folder"
mkdir -p "$folder"
for package in "$work"/*.deb; do dpkg-deb --extract "$package" "$folder/root"; done
libraries=$(find "$folder/root" -name '*.so*' -printf '%h\n' | sort --unique | paste --serial --delimiters=:)
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/root/usr/sbin/%s "$@"\n' "$libraries" "$folder" "$name" >"$folder/$name"
chmod +x "$folder/$name"
