#!/usr/bin/env bash
# Runs clang-tidy (settings in .clang-tidy) over the project's sources, as the clang build compiles them.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f build-clang/compile_commands.json ] || bash scripts/build.sh clang >/dev/null
git ls-files '*.c' ':!tests' | xargs -P "$(nproc)" -n 4 clang-tidy -p build-clang --quiet 2>&1 |
  { grep -v -E '^[0-9]+ warnings? (generated|treated)|^$' || true; } | tee build-clang/lint.log
if grep -qE '(error|warning):' build-clang/lint.log; then
  echo "lint: clang-tidy has complaints"
  exit 1
fi
echo "lint: clean"
