#!/usr/bin/env bash
# Installs the Debian packages that the build and the tests need and that are missing. Says what it does.
set -euo pipefail

packages=(
  gcc g++ clang cmake ninja-build pkg-config git clang-format clang-tidy libomp-dev libclang-rt-dev
  libdnnl-dev libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libwebp-dev
  libjpeg-dev libjansson-dev libyaml-dev libpcre2-dev libutf8proc-dev libcmocka-dev libopenmpi-dev openmpi-bin
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: all packages are there"
  exit 0
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "setup: installing ${missing[*]}"
$sudo apt-get update -q
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
