#!/usr/bin/env bash
# What the kernels of this build take is what the table says; with another nvcc than the table's, none spills.
set -euo pipefail
table=tests/golden/cuda_resources.txt
[ -f "$VS2_BUILD_DIR/vs2_cuda.so" ] || { echo "no CUDA backend in this build"; exit 77; }
made=$(mktemp)
trap 'rm -f "$made"' EXIT
bash scripts/cuda_resources.sh "$VS2_BUILD_DIR" >"$made"
grep -c ' sm_' "$made" | { read -r kernels; [ "$kernels" -gt 50 ]; } || { echo "few kernels: the check is blind"; exit 1; }

if awk '$NF > 0' "$made" | grep ' sm_'; then
  echo "these kernels spill registers"
  exit 1
fi
if [ "$(head -1 "$table")" != "$(head -1 "$made")" ]; then
  echo "another nvcc than the table's: only spills were looked at"
  exit 0
fi
architectures=$(grep -o ' sm_[0-9]*' "$made" | sort -u | paste -sd'|')
diff <(grep -E "($architectures) " "$table") <(grep ' sm_' "$made") ||
  { echo "the table is old: bash scripts/cuda_resources.sh"; exit 1; }
