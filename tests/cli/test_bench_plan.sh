#!/usr/bin/env bash
# vs2-bench plan: the 7B model's counts, both formats, and how it says no.
set -euo pipefail
build=${VS2_BUILD_DIR:-build}
source tests/support.sh

plan=("$build/vs2-bench" plan --model configs/qwen2.5-vl-7b)

# The language model has 7,615,616,512 parameters: 12 bytes each of master weights and moments, which ZeRO 1 shares.
"${plan[@]}" --gpus 8 --format json >"$folder/json"
for words in '"computed": true' '"measured": false' '"master weights and moments": 91387398144' '"master weights and moments": 11423424768' \
  '"video_tokens": 4420' '"gpus": 1024' '"flops": 0.75' '"overlap": true' '"message_seconds"' '"drawn_per_second"'; do
  grep -qF "$words" "$folder/json" || fail "no $words in $(cat "$folder/json")"
done
[ "$(grep -c '"step_seconds"' "$folder/json")" -eq 16 ] || fail "not the step, 4 stages of ZeRO and 11 numbers of GPUs"

"${plan[@]}" --gpus 4 --gpu a100 --stage grpo --zero 2 >"$folder/out"
for words in 'grpo on 4 x A100 SXM 80 GB, ZeRO 2' 'all figures are computed' 'decoding ' 'reference model ' \
  'exchanges beside the passes' 'of 1 prompt of' '8 completions of 400 tokens each' 'generates: keys and values' 'all, with the larger of both' \
  ' tokens/s drawn' 'GPUs    prompts '; do
  grep -qF "$words" "$folder/out" || fail "no $words in $(cat "$folder/out")"
done
grep -qE '^ +1024 ' "$folder/out" || fail "no line of 1,024 GPUs"
# The file itself, names in capital letters, and messages that are waited for.
"${plan[@]}" --gpu a100 --gpus 4 >"$folder/out"
"$build/vs2-bench" plan --model configs/qwen2.5-vl-7b/config.json --gpu A100 --gpus 4 >"$folder/same"
cmp "$folder/out" "$folder/same" || fail "the file is not its folder's"
"${plan[@]}" --gpu a100 --gpus 4 --overlap off >"$folder/out"
grep -q 'exchanges waited for' "$folder/out" || fail "--overlap off"
cmp -s "$folder/out" "$folder/same" && fail "nothing overlaps"
refuses 1 "$folder/none/" "$build/vs2-bench" plan --model "$folder/none/config.json"

# Shares of this machine's processor, and a device that is not there.
"${plan[@]}" --measure cpu >"$folder/out" 2>"$folder/err"
grep -q '^measured on ' "$folder/out" || fail "no name of what was measured: $(cat "$folder/out")"
grep -q 'warning: measured on .*, which is no H100 SXM 80 GB' "$folder/err" || fail "no warning: $(cat "$folder/err")"
grep -q 'all figures are computed, with measured [0-9.]* TFLOP/s' "$folder/out" || fail "nothing measured: $(cat "$folder/out")"
refuses 2 "abacus" "${plan[@]}" --measure abacus

"$build/vs2-bench" --help | grep -q '^  plan ' || fail "the help does not list it"

refuses 2 'there is no GPU "k80" in the table (h100, h200, a100, b200, 4090)' "${plan[@]}" --gpu k80
refuses 2 "zero" "${plan[@]}" --zero 4
refuses 2 "gpus" "${plan[@]}" --gpus 0
refuses 2 "model" "$build/vs2-bench" plan
refuses 1 "$folder/none" "$build/vs2-bench" plan --model "$folder/none"
refuses 1 "one side is over 200 times the other" "${plan[@]}" --width 28000 --height 28
echo "all well"
