#!/usr/bin/env bash
# Installs what is missing, builds with gcc and clang (warnings are errors), checks format and lint, and runs
# every test, also under asan+ubsan. `scripts/test.sh quick` stops after the gcc build's tests.
set -euo pipefail
cd "$(dirname "$0")/.."
here=scripts

step() { printf '\n== %s\n' "$*"; }

step "packages"
bash $here/setup.sh

step "format"
git ls-files '*.c' '*.h' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror

step "build (gcc)"
bash $here/build.sh gcc

step "tests"
ctest --test-dir build --output-on-failure -j "$(nproc)"
[ "${1:-}" != quick ] || exit 0

step "tests under asan and ubsan"
bash $here/build.sh asan
ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
  ctest --test-dir build-asan --output-on-failure -j "$(nproc)"

step "build (clang)"
bash $here/build.sh clang

step "lint"
bash $here/lint.sh
