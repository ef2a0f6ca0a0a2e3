#!/usr/bin/env bash
# vs2-bench rollout: what it counts, and how it says no.
set -euo pipefail
build=${VS2_BUILD_DIR:-build}
source tests/support.sh

"$build/vs2-data" synth --out "$folder" --videos 2 --quiet >"$folder/names"
rollout=("$build/vs2-bench" rollout --model "$folder/model" --data "$folder/rows.json" --media-dir "$folder")
"${rollout[@]}" --num-samples 3 --new-tokens 5 --max-frames 2 --sequences 2 --dtype f32 >"$folder/out"
for words in '"rows": 2' '"num_samples": 3' '"new_tokens": 30' '"dtype": "f32"' '"seconds": ' '"tokens_per_second": ' \
  '"prompt_tokens": ' '"peak": {"flops_per_second": ' '"peak_memory_bytes": '; do
  grep -qF "$words" "$folder/out" || fail "no $words in $(cat "$folder/out")"
done

refuses 2 "model" "$build/vs2-bench" rollout --data "$folder/rows.json"
refuses 2 "num-samples" "${rollout[@]}" --num-samples 0
refuses 2 "nothing" "${rollout[@]}" --device nothing
echo '[{"video": "missing.mp4", "prompt": "x"}]' >"$folder/missing.json"
refuses 1 "missing.mp4" "${rollout[@]}" --data "$folder/missing.json"
refuses 1 "$folder/nowhere" "${rollout[@]}" --model "$folder/nowhere"
