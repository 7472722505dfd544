#!/usr/bin/env bash
# Build the stand-in packages of the NVIDIA container toolkit and a signed flat repository of them, laid out as
# NVIDIA's own: OUT/libnvidia-container/{gpgkey,stable/deb/{amd64,arm64}/}.
#   build.sh OUT        needs dpkg-deb, apt-ftparchive, gpg
set -euo pipefail

out=${1:?output folder}/libnvidia-container
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Two versions: a host that asks for the first must not be given the second.
versions=(1.19.0-1 1.20.0-1)

package() {  # package FOLDER NAME VERSION ARCHITECTURE DEPENDS
  mkdir -p "$1/DEBIAN"
  cat >"$1/DEBIAN/control" <<CONTROL
Package: $2
Version: $3
Architecture: $4
Maintainer: Sandbox <root@localhost>
Section: utils
Priority: optional
Depends: $5
Description: stand-in for $2, without a GPU
CONTROL
  dpkg-deb --root-owner-group -Zgzip -z1 --build "$1" "$out/stable/deb/$4/$2_$3_$4.deb" >/dev/null
}

binary() {  # binary FOLDER NAME VERSION
  install -D -m 0755 "$here/bin/$2" "$1/usr/bin/$2"
  sed -i "s/@VERSION@/${3%-*}/" "$1/usr/bin/$2"
}

export GNUPGHOME=$work/gnupg
mkdir -m 0700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'Sandbox toolkit repository (stand-in)' rsa3072 sign never

for arch in amd64 arm64; do
  mkdir -p "$out/stable/deb/$arch"
  for version in "${versions[@]}"; do
    root=$work/$arch-$version
    major=$((${version%%.*} + 1)).0.0
    binary "$root/toolkit" nvidia-container-runtime-hook "$version"
    binary "$root/base" nvidia-ctk "$version"
    binary "$root/base" nvidia-container-runtime "$version"
    binary "$root/tools" nvidia-container-cli "$version"
    install -D -m 0644 "$here/units/nvidia-cdi-refresh.service" \
      "$root/base/usr/lib/systemd/system/nvidia-cdi-refresh.service"
    install -D -m 0755 "$here/scripts/base.postinst" "$root/base/DEBIAN/postinst"
    install -D -m 0755 "$here/scripts/base.prerm" "$root/base/DEBIAN/prerm"
    package "$root/lib" libnvidia-container1 "$version" "$arch" libc6
    package "$root/tools" libnvidia-container-tools "$version" "$arch" "libnvidia-container1 (>= $version)"
    package "$root/base" nvidia-container-toolkit-base "$version" "$arch" python3
    package "$root/toolkit" nvidia-container-toolkit "$version" "$arch" \
      "nvidia-container-toolkit-base (= $version), libnvidia-container-tools (>= $version), libnvidia-container-tools (<< $major)"
  done
  (
    cd "$out/stable/deb/$arch"
    apt-ftparchive packages . >Packages
    gzip -k -9 Packages
    apt-ftparchive -o APT::FTPArchive::Release::Architectures="$arch" release . >"$work/Release"
    mv "$work/Release" Release
    gpg --batch --quiet --armor --detach-sign --output Release.gpg Release
    gpg --batch --quiet --clearsign --output InRelease Release
  )
done
gpg --armor --export >"$out/gpgkey"
