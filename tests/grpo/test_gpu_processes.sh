#!/usr/bin/env bash
# GRPO over two processes whose GPUs exchange by NCCL draws what one GPU does that accumulates as many micro-batches, logs
# the same, and ends with the same weights.
set -euo pipefail
source tests/support.sh
source tests/support_processes.sh

# Every fourth token that a completion may begin with has a reward: groups have something to learn.
cat >"$folder/program.sh" <<'END'
grep -o '"completion_ids": *\[[0-9]*' | grep -o '[0-9]*$' | awk '{ print $1 % 4 == 0 }'
END
# The entropy keeps the loss away from 0, so that a share of it means something. This model's loss is steep: AdamW is not to
# make whole steps of gradients that are hardly anything but rounding.
settings=(stage=grpo model_name_or_path=tests/golden/model/tied dataset=tests/golden/grpo/rows.jsonl
  media_dir=tests/golden/video question_template="'{problem}'" max_completion_length=4 num_generations=2
  reward_funcs="['cmd:sh $folder/program.sh']" per_device_train_batch_size=1 learning_rate=1e-5
  adam_epsilon=1e-5 logging_steps=1
  loss_type=dapo entropy_coef=0.1 sync_ref_model=true ref_model_sync_steps=8 save_strategy=no save_dtype=f32 bf16=false
  video_min_frames=2 video_maxlen=2 video_min_pixels=3136 video_max_pixels=3136 report_to=none disable_tqdm=true)
# Sanitizers make it several times as slow: then one stage and few steps.
stages=(0 3) steps=20
! $is_sanitized || stages=(3) steps=3
drawn() { find "$folder/$1/completions" -name 'step_*' | sort -V | xargs cat | grep -o '^.*"completion_ids": [^]]*'; }
same() { # DIR
  diff <(drawn one) <(drawn "$1") >"$folder/drawn" || { cat "$folder/drawn"; fail "$1 has drawn something else than one process"; }
  compare one "$1" "loss|grad_norm|kl|entropy|reward|reward_std" $((6 * steps))
}

train 1 one gradient_accumulation_steps=4 max_steps=$steps
[ "$(drawn one | wc -l)" = $((8 * steps)) ] || fail "$steps steps of 4 groups of 2 were expected"
[ "$(figures "$folder/one" reward | sort -u | wc -l)" -gt 1 ] || fail "there is nothing to learn from equal rewards"
# Stage 0 exchanges between the passes, and mpirun's processes tell each other NCCL's id over MPI.
two=(gradient_accumulation_steps=2 max_steps="$steps")
for stage in "${stages[@]}"; do
  starter=train more=()
  if [ "$stage" = 0 ]; then
    ! $has_mpi || starter=train_by_mpi
    more=(overlap_comm=false)
  fi
  $starter 2 "two-$stage" "${two[@]}" zero_stage=$stage "${more[@]}"
  same "two-$stage"
done
echo "all well"
