#!/usr/bin/env bash
# Remove the sandbox's images: those of its name that carry its label, and what their builds left behind.
#   remove.sh NAME LABEL          prints the images
set -euo pipefail

name=${1:?name} label=${2:?label}
docker image ls --filter "label=$label" --filter "reference=$name/*" --format '{{.Repository}}:{{.Tag}}' |
  while read -r image; do
    docker image rm "$image" >/dev/null
    echo "$image"
  done
docker image prune --force --filter "label=$label" >/dev/null
