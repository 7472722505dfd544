#!/usr/bin/env bash
# The page of playbooks/report.yml, of sixteen hosts, in headless Chromium, and as valid HTML. Not part of `make test`:
# it needs Chromium, Node and a registry of npm. What can be checked without them is in tests/unit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
export CHROMIUM
[ -n "$CHROMIUM" ] || { echo "check_page: no Chromium; install it (apt-get install chromium) or set CHROMIUM" >&2; exit 1; }
command -v npm >/dev/null || { echo "check_page: no npm; install Node.js" >&2; exit 1; }

folder=.cache/page
mkdir -p "$folder"
npm install --silent --no-audit --no-fund --prefix "$folder" axe-core@4.14.1 puppeteer-core@24.43.1 html-validate@10.17.0
PYTHONPATH=tests python -c 'from support.fleet import sixteen; print(sixteen().page(), end="")' >"$folder/page.html"
"$folder/node_modules/.bin/html-validate" "$folder/page.html"
node tools/check_page.mjs "$folder/page.html" "$folder"
echo "screenshots and print.pdf are in $folder"
