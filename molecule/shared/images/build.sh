#!/usr/bin/env bash
# Build one image of the sandbox from images/FOLDER/Dockerfile. Prints `kept` or `built`.
#   build.sh IMAGE FOLDER [TARGET]
set -euo pipefail

image=${1:?image}
folder=${2:?folder}
target=${3:-}
shared=$(cd "$(dirname "$0")/.." && pwd)

id() { docker image inspect --format '{{.Id}}' "$image" 2>/dev/null || true; }

before=$(id)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! docker build ${target:+--target "$target"} --tag "$image" --file "$shared/images/$folder/Dockerfile" "$shared" \
  >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  exit 1
fi
[[ $(id) == "$before" ]] && echo kept || echo built
