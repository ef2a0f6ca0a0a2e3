#!/usr/bin/env bash
# vs2-bench rollout: what it counts, and how it says no.
set -euo pipefail
build=${VS2_BUILD_DIR:-build}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "test_bench_rollout: $1" >&2
  exit 1
}

# expect CODE WORDS COMMAND...: the command ends with the code, and the one line on stderr has the words.
expect() {
  local code=0
  "${@:3}" >"$folder/out" 2>"$folder/err" || code=$?
  [ "$code" -eq "$1" ] || fail "exit $code, not $1: ${*:3}: $(cat "$folder/err")"
  grep -qF -- "$2" "$folder/err" || fail "no '$2' on stderr of ${*:3}: $(cat "$folder/err")"
  [ "$(wc -l <"$folder/err")" -eq 1 ] || fail "not one line: $(cat "$folder/err")"
}

"$build/vs2-data" synth --out "$folder" --videos 2 --quiet >"$folder/names"
rollout=("$build/vs2-bench" rollout --model "$folder/model" --data "$folder/rows.json" --media-dir "$folder")
"${rollout[@]}" --num-samples 3 --new-tokens 5 --max-frames 2 --sequences 2 --dtype f32 >"$folder/out"
for words in '"rows": 2' '"num_samples": 3' '"new_tokens": 30' '"dtype": "f32"' '"seconds": ' '"tokens_per_second": ' \
  '"prompt_tokens": ' '"peak": {"flops_per_second": ' '"peak_memory_bytes": '; do
  grep -qF "$words" "$folder/out" || fail "no $words in $(cat "$folder/out")"
done

expect 2 "model" "$build/vs2-bench" rollout --data "$folder/rows.json"
expect 2 "num-samples" "${rollout[@]}" --num-samples 0
expect 2 "nothing" "${rollout[@]}" --device nothing
echo '[{"video": "missing.mp4", "prompt": "x"}]' >"$folder/missing.json"
expect 1 "missing.mp4" "${rollout[@]}" --data "$folder/missing.json"
expect 1 "$folder/nowhere" "${rollout[@]}" --model "$folder/nowhere"
