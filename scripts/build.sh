#!/usr/bin/env bash
# build.sh PRESET: configures and builds one preset of CMakePresets.json.
set -euo pipefail
cd "$(dirname "$0")/.."
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja} # a folder configured before keeps its own
cmake --preset "$1" >/dev/null
cmake --build --preset "$1" -j "$(nproc)"
