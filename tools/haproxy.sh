#!/usr/bin/env bash
# Unpacks haproxy of the distribution, with the libraries that the machine lacks, into .cache/haproxy, for the tests of the gateway. The
# package is not installed: it would start a service. Needs no root. Does nothing where haproxy is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$PWD/.cache/haproxy

[ -x /usr/sbin/haproxy ] || [ -x "$folder/haproxy" ] && exit 0
command -v apt-get >/dev/null || { echo "haproxy: missing; install HAProxy 2.6 or newer and try again" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
missing() { apt-get -qq --simulate --no-install-recommends install haproxy 2>/dev/null | awk '/^Inst / {print $2}'; }
fetch() {
    local packages
    packages=$(missing) && [ -n "$packages" ] || return 1
    # shellcheck disable=SC2086 # several words
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download $packages 2>/dev/null)
}
echo "haproxy: unpacking it from the package" >&2
fetch || { [ "$(id -u)" = 0 ] && apt-get -qq update && fetch; } \
    || { echo "haproxy: the package cannot be downloaded; run: sudo apt-get update" >&2; exit 1; }
rm -rf "$folder"
mkdir -p "$folder"
for package in "$work"/*.deb; do dpkg-deb --extract "$package" "$folder/root"; done
libraries=$(dirname "$(find "$folder/root" -name 'liblua*.so*' -print -quit)")
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/root/usr/sbin/haproxy "$@"\n' "$libraries" "$folder" >"$folder/haproxy"
chmod +x "$folder/haproxy"
