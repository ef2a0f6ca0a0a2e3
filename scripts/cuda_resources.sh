#!/usr/bin/env bash
# What each kernel of the CUDA backend takes, as ptxas told it when the kernel was compiled.
# cuda_resources.sh DIR: prints the table of a build folder.
# cuda_resources.sh: builds the backend for every architecture, to build-cuda/, and writes the table that is kept,
# tests/golden/cuda_resources.txt. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

rows() {
  local log
  for log in "$1"/tensor/*.cu.o.log; do
    c++filt <"$log" | awk -v file="$(basename "$log" .o.log)" '
      /Compiling entry function/ { # ... function '"'"'void name<4>(types)'"'"' for '"'"'sm_80'"'"'
        split($0, part, "'"'"'")
        kernel = part[2]; architecture = part[4]
        sub(/^void /, "", kernel); sub(/\(.*/, "", kernel); gsub(/ /, "", kernel)
      }
      /bytes stack frame/ { stack = $1; spilled = $5 + $9 }
      /Used [0-9]+ registers/ {
        match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
        shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH) + 0 : 0
        printf "%-26s %-33s %-6s %9d %6d %5d %5d\n", file, kernel, architecture, registers, shared, stack, spilled
      }'
  done | LC_ALL=C sort
}

table() {
  echo "# Made by scripts/cuda_resources.sh with nvcc $(sed -n 's/^VS2_NVCC_VERSION:.*=//p' "$1/CMakeCache.txt")."
  echo "# Registers are a thread's; shared memory is a block's in bytes, without what launches ask for; stack and spills"
  echo "# (stores and loads) are a thread's in bytes."
  printf "%-26s %-33s %-6s %9s %6s %5s %5s\n" file kernel for registers shared stack spills
  rows "$1"
}

if [ $# -gt 0 ]; then
  table "$1"
else
  cmake -B build-cuda -DVS2_CUDA=ON "-DVS2_CUDA_ARCHITECTURES=80;86;89;90;100;120" -DVS2_WERROR=ON >/dev/null
  cmake --build build-cuda --target vs2_cuda -j "$(nproc)"
  table build-cuda >tests/golden/cuda_resources.txt
fi
