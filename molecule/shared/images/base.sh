#!/usr/bin/env bash
# A small Debian as a local image, from this machine's own package mirror.
#   base.sh IMAGE SUITE [PACKAGE…]
# Without mmdebstrap (no root, or no Debian) the official image is pulled instead.
# Prints `kept` or `built`.
set -euo pipefail

image=${1:?image}
suite=${2:?Debian suite}
packages=(ca-certificates "${@:3}")

if docker image inspect "$image" >/dev/null 2>&1; then
  echo kept
  exit
fi

# The first archive in the machine's apt sources; a mirror of Debian has every suite.
mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null |
    awk '/^URIs:/ { print $2; exit } /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' || true
}

# Programs in the image trust what this machine trusts.
certificates() {
  local file
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
    if [[ -r $file ]]; then
      echo "$file"
      return
    fi
  done
}

if [[ $(id -u) -eq 0 ]] && command -v mmdebstrap >/dev/null && source=$(mirror) && [[ $source == *debian* ]]; then
  hooks=()
  bundle=$(certificates)
  if [[ -n $bundle ]]; then
    hooks+=("--customize-hook=upload $bundle /etc/ssl/certs/ca-certificates.crt")
  fi
  mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "${hooks[@]}" "$suite" - "$source" |
    docker import --change 'LABEL dgxspark.sandbox=1' --change 'CMD ["bash"]' - "$image" >/dev/null
else
  docker build --quiet --label dgxspark.sandbox=1 --tag "$image" - >/dev/null <<DOCKERFILE
FROM debian:$suite-slim
RUN apt-get update && apt-get install -y --no-install-recommends ${packages[*]}
DOCKERFILE
fi
echo built
