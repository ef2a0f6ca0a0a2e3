#!/usr/bin/env bash
# GRPO over several processes: one that is killed, or whose numbers are none, ends all with its name; and a run goes on in
# another number of processes from where it was, with the rollouts, figures and weights of one that was not stopped.
set -euo pipefail
source tests/support.sh
source tests/support_processes.sh
device=cpu

# Every fourth token that a completion may begin with has a reward: groups have something to learn. Process 1 of a run that
# is to be killed is, while it waits for rewards after step 3.
cat >"$folder/program.sh" <<END
if [ "\${RANK:-0}" = 1 ] && [ -e "$folder/killed/checkpoint-3" ] && mkdir "$folder/once" 2>/dev/null; then
  kill -9 "\$(cat "$folder/pid")"
fi
grep -o '"completion_ids": *\[[0-9]*' | grep -o '[0-9]*$' | awk '{ print \$1 % 4 == 0 }'
END
# As in test_gpu_processes.sh. A reference model that moves is part of what a checkpoint holds.
settings=(stage=grpo model_name_or_path=tests/golden/model/tied dataset=tests/golden/grpo/rows.jsonl
  media_dir=tests/golden/video question_template="'{problem}'" max_completion_length=4 num_generations=2
  reward_funcs="['cmd:sh $folder/program.sh']" per_device_train_batch_size=1 learning_rate=1e-5 adam_epsilon=1e-5
  loss_type=dapo entropy_coef=0.1 sync_ref_model=true ref_model_sync_steps=2 max_steps=12 save_steps=1 save_total_limit=20
  save_dtype=f32 bf16=false video_min_frames=2 video_maxlen=2 video_min_pixels=3136 video_max_pixels=3136 logging_steps=1
  report_to=none disable_tqdm=true)
drawn() { find "$folder/$1/completions" -name 'step_*' | sort -V | xargs cat | grep -o '^.*"completion_ids": [^]]*'; }
same() { # DIR
  diff <(drawn whole) <(drawn "$1") >"$folder/drawn" || { cat "$folder/drawn"; fail "$1 has drawn something else than whole"; }
  compare whole "$1" "loss|grad_norm|kl|entropy|reward|reward_std" 72
}
train 1 whole gradient_accumulation_steps=4

cat "$folder/whole/completions"/step_*.jsonl | grep -o '"reward": [0-9]' | sort -u | wc -l | grep -qx 2 || fail "all rewards are equal"

# ends_with CODE WORDS FILE...: the processes ended with the code, and what these said has the words.
ends_with() {
  [ "$code" = "$1" ] || { cat "$folder"/out.*; fail "exit $code, not $1: $2"; }
  for file in "${@:3}"; do grep -q "$2" "$folder/$file" || { cat "$folder"/out.*; fail "$file: no '$2'"; }; done
}

# ---- Killed, and going on in another number of processes ------------------------------------------------------------

with_pid() { # COMMAND...
  [ "$RANK" != 1 ] || echo "$BASHPID" >"$folder/pid"
  exec "$@"
}
SECONDS=0
start 2 with_pid "$train" "${settings[@]}" device=cpu output_dir="$folder/killed" gradient_accumulation_steps=2 zero_stage=3
ends_with 1 "error: process 1 on .* is gone" out.0
[ "$SECONDS" -lt 60 ] || fail "a process that is gone was noticed after $SECONDS seconds"
[ -e "$folder/once" ] || fail "no process was killed"
train 1 killed gradient_accumulation_steps=4
grep -qE "resuming from $folder/killed/checkpoint-[34], step [34]" "$folder/out.0" || { cat "$folder/out.0"; fail "where it went on"; }
same killed

mkdir "$folder/half"
cp -r "$folder/whole/"{checkpoint-5,completions,trainer_log.jsonl} "$folder/half"
train 2 half gradient_accumulation_steps=2 zero_stage=3
grep -q "resuming from $folder/half/checkpoint-5, step 5" "$folder/out.0" || { cat "$folder/out.0"; fail "where it went on"; }
same half

# ---- Numbers that are none ------------------------------------------------------------------------------------------

# Process 1's model has a NaN in the first layer's first norm.
cp -r tests/golden/model/tied "$folder/bad"
weights=$folder/bad/model.safetensors
header=$(od -An -t u8 -N8 "$weights" | tr -d ' ')
norm=$(head -c "$header" "$weights" | grep -aoE '"model.layers.0.input_layernorm.weight":[^}]*\[[0-9]+,' | grep -oE '[0-9]+,$' | tr -d ,)
printf '\377\377' | dd of="$weights" bs=1 seek=$((8 + header + norm)) conv=notrunc status=none
bad() { if [ "$RANK" = 1 ]; then "$@" model_name_or_path="$folder/bad"; else "$@"; fi; }
# It cannot draw.
start 2 bad "$train" "${settings[@]}" device=cpu output_dir="$folder/none" gradient_accumulation_steps=2 zero_stage=0
ends_with 1 "error: process 1 on .*: the model's logits are no numbers" out.0
# In stage 3 the element is process 0's share of the weights, and the NaN is in process 1's reference model alone.
start 2 bad "$train" "${settings[@]}" device=cpu output_dir="$folder/left" gradient_accumulation_steps=2 zero_stage=3 ref_model_sync_steps=100
ends_with 1 "step 1 is left out: its loss is -\?nan (that of process 1)" out.0
ends_with 1 "error: .*step 10: loss (that of process 1) or gradients were not numbers" out.0
[ "$(cat "$folder"/out.* | grep -c 'error:')" = 1 ] || { cat "$folder"/out.*; fail "the error is not told once"; }
echo "all well"
