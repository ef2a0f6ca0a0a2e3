#!/usr/bin/env bash
# vs2-bench grpo: what it counts, with the prompt shared and not, and how it says no.
set -euo pipefail
build=${VS2_BUILD_DIR:-build}
source tests/support.sh

# holds WORDS...: the output has each.
holds() {
  local words
  for words in "$@"; do
    grep -qF "$words" "$folder/out" || fail "no $words in $(cat "$folder/out")"
  done
}

"$build/vs2-data" synth --out "$folder" --videos 2 --quiet >"$folder/names"
grpo=("$build/vs2-bench" grpo --model "$folder/model" --data "$folder/rows.json" --media-dir "$folder"
  --num-generations 3 --completion-tokens 5 --max-frames 2 --dtype f32 --warmup 0)
"${grpo[@]}" --prompt-tokens 200 --steps 2 >"$folder/out"
# Two prompts of 200 tokens, and 3 completions each of 5 tokens, the last of which only is a target.
holds '"rows": 2' '"num_generations": 3' '"completion_tokens": 5' '"prompt_tokens": 200' '"sharing": true' \
  '"policy_tokens": 424' '"dtype": "f32"' '"decode": ' '"reference_head": ' '"policy_vision_backward": ' \
  '"optimizer": ' '"logprob_difference": {"mean": ' '"rollout_tokens_per_second": ' '"peak_memory_bytes": '
"${grpo[@]}" --prompt-tokens 200 --no-sharing --freeze-vision --beta 0 >"$folder/out"
holds '"sharing": false' '"policy_tokens": 1224' '"reference_head": 0.000000' '"policy_vision_backward": 0.000000'

refuses 2 "data" "$build/vs2-bench" grpo --model "$folder/model"
refuses 2 "sequences" "${grpo[@]}" --sequences 65
refuses 1 "more than --prompt-tokens 3" "${grpo[@]}" --prompt-tokens 3
refuses 2 "nothing" "${grpo[@]}" --device nothing
echo '[{"video": "missing.mp4", "prompt": "x"}]' >"$folder/missing.json"
refuses 1 "missing.mp4" "${grpo[@]}" --data "$folder/missing.json"
refuses 1 "$folder/nowhere" "${grpo[@]}" --model "$folder/nowhere"
