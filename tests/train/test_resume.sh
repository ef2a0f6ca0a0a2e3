#!/usr/bin/env bash
# A run that is killed again and again ends with the bits of one that was not; SIGTERM saves; a full disk and
# damaged checkpoints are errors that leave what was there.
set -euo pipefail
train=${VS2_BUILD_DIR:-build}/vs2-train
source tests/support.sh

settings=(stage=sft model_name_or_path=tests/golden/model/tied dataset=golden dataset_dir=tests/golden/trainer
  media_dir=tests/golden/video template=qwen2_vl freeze_vision_tower=false freeze_multi_modal_projector=false
  gradient_accumulation_steps=2 learning_rate=1e-3 max_steps=24 bf16=true save_dtype=bf16 val_size=0.2
  eval_strategy=steps eval_steps=6 eval_on_start=true logging_steps=1 save_steps=3 save_total_limit=2 disable_tqdm=true)

# run DIR [key=value ...]
run() { local dir=$1; shift; "$train" "${settings[@]}" output_dir="$dir" "$@"; }

# The log without what is a matter of time.
figures() { sed -E 's/, "(seconds\/optimizer|tokens_per_second|step_seconds|mfu|memory|eval_runtime|eval_samples_per_second|eval_steps_per_second|elapsed_time|remaining_time)": [^,}]*//g' "$1/trainer_log.jsonl"; }

same_run() { # DIR: the run in it is the unbroken one
  cmp "$folder/whole/model.safetensors" "$1/model.safetensors" || fail "$1: other weights"
  cmp "$folder/whole/checkpoint-24/vs2_state/model.safetensors" "$1/checkpoint-24/vs2_state/model.safetensors" ||
    fail "$1: other moments"
  diff <(figures "$folder/whole") <(figures "$1") || fail "$1: another log"
}

run "$folder/whole" >/dev/null 2>&1 || fail "the unbroken run"
[ "$(figures "$folder/whole" | grep -c '"loss"')" = 24 ] || fail "24 lines of loss were expected"
[ "$(figures "$folder/whole" | grep -n '"eval_loss"' | cut -d: -f1 | tr '\n' ' ')" = "1 8 15 22 29 " ] || fail "evaluations: at the start and every 6 steps"
[ "$(cd "$folder/whole" && echo checkpoint-*)" = "checkpoint-21 checkpoint-24" ] || fail "save_total_limit"

# SIGKILL at random times, while starting, computing and writing.
kills=0
while :; do
  # Not through run(): the signal is for the program itself.
  "$train" "${settings[@]}" output_dir="$folder/killed" >"$folder/out" 2>"$folder/err" & # goes on from the newest checkpoint, if there is one
  pid=$!
  sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
  if kill -9 "$pid" 2>/dev/null; then kills=$((kills + 1)); fi
  if wait "$pid" 2>/dev/null; then break; fi
  if grep -q 'error:' "$folder/err"; then cat "$folder/err"; fail "going on after a kill"; fi
  if [ "$kills" -ge 12 ]; then run "$folder/killed" >/dev/null 2>&1; break; fi
done
echo "killed $kills times"
same_run "$folder/killed"
[ -z "$(find "$folder/killed" -maxdepth 1 -name '*.tmp-*' -o -maxdepth 1 -name '*.old-*')" ] || fail "leftovers of killed runs"

# Two runs in one folder at once: the second one says so and leaves it alone.
flock "$folder/whole" sleep 20 &
holder=$!
while flock -n "$folder/whole" true; do sleep 0.01; done
if run "$folder/whole" >/dev/null 2>"$folder/err"; then fail "two runs in one folder"; fi
kill "$(pgrep -P "$holder")" "$holder" 2>/dev/null || true
wait "$holder" 2>/dev/null || true
grep -q "whole: another run is writing to this folder" "$folder/err" || { cat "$folder/err"; fail "two runs in one folder: the error"; }

# SIGTERM: the step is finished and saved, exit 0.
"$train" "${settings[@]}" output_dir="$folder/stopped" >"$folder/out" 2>/dev/null &
pid=$!
while [ ! -e "$folder/stopped/trainer_log.jsonl" ] || [ ! -s "$folder/stopped/trainer_log.jsonl" ]; do sleep 0.01; done
kill -TERM "$pid"
wait "$pid" || fail "SIGTERM does not end with 0"
grep -q 'resume_from_checkpoint=true' "$folder/out" || fail "no word on how to go on"
run "$folder/stopped" resume_from_checkpoint=true >/dev/null 2>&1
figures "$folder/stopped" >/dev/null
cmp "$folder/whole/model.safetensors" "$folder/stopped/model.safetensors" || fail "stopped and resumed: other weights"

# A disk that takes no more: the error names the file, and the older checkpoints stay.
cp -r "$folder/whole" "$folder/full"
rm -r "$folder/full/checkpoint-24"
if (trap '' XFSZ; ulimit -f 40; run "$folder/full" resume_from_checkpoint=true) >/dev/null 2>"$folder/err"; then fail "a full disk was not noticed"; fi
grep -qE 'vs2-train: error: .*(File too large|No space)' "$folder/err" || { cat "$folder/err"; fail "the full disk's error"; }
run "$folder/full" resume_from_checkpoint=true >/dev/null 2>&1 || fail "after the full disk"
same_run "$folder/full"

# Damaged, or another run's.
error_of() { if "$@" >/dev/null 2>"$folder/err"; then fail "no error: $*"; fi; }
cp -r "$folder/whole" "$folder/cut"
truncate -s -100 "$folder/cut/checkpoint-24/vs2_state/model.safetensors"
error_of run "$folder/cut" resume_from_checkpoint="$folder/cut/checkpoint-24"
grep -q 'model.safetensors' "$folder/err" || fail "a checkpoint cut short"
error_of run "$folder/whole" resume_from_checkpoint="$folder/whole/checkpoint-21" learning_rate=1e-4
grep -q 'learning_rate' "$folder/err" || fail "another learning rate on resume"
error_of run "$folder/whole" resume_from_checkpoint="$folder/whole/checkpoint-21" model_name_or_path=tests/golden/model/untied
grep -q 'checkpoint-21' "$folder/err" || fail "a checkpoint of another model"
echo "all well"
