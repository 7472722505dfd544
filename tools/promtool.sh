#!/usr/bin/env bash
# Unpacks promtool of the distribution's package prometheus into .cache/promtool, for the tests of the alert rules. The package is not
# installed: it would start a server that listens on port 9090. Needs no root. Does nothing where promtool is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=.cache/promtool

command -v promtool >/dev/null || [ -x "$folder/promtool" ] && exit 0
command -v apt-get >/dev/null || { echo "promtool: missing; install Prometheus and try again" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch() { (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download prometheus 2>/dev/null); }
echo "promtool: unpacking it from the package prometheus" >&2
fetch || { [ "$(id -u)" = 0 ] && apt-get -qq update && fetch; } \
    || { echo "promtool: the package prometheus cannot be downloaded; run: sudo apt-get update" >&2; exit 1; }
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
mkdir -p "$folder"
mv "$work/usr/bin/promtool" "$folder/promtool"
