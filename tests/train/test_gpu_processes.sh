#!/usr/bin/env bash
# SFT over two processes whose GPUs exchange by NCCL computes what one GPU does that accumulates as many micro-batches,
# in every ZeRO stage; NCCL's id goes over TCP or MPI, and exchanges beside the passes or between them.
set -euo pipefail
source tests/support.sh
source tests/support_processes.sh

settings=(stage=sft model_name_or_path=tests/golden/model/tied dataset=golden dataset_dir=tests/golden/trainer
  media_dir=tests/golden/video template=qwen2_vl freeze_vision_tower=false freeze_multi_modal_projector=false
  per_device_train_batch_size=1 learning_rate=1e-4 save_strategy=no logging_steps=1 save_dtype=f32
  video_maxlen=2 video_min_pixels=3136 video_max_pixels=3136 report_to=none plot_loss=false disable_tqdm=true)
stages=(0 1 2 3) steps=20
# Sanitizers make it several times as slow: then one stage and few steps.
! $is_sanitized || stages=(3) steps=4
same() { compare one "$1" "loss|grad_norm|lr" $((3 * steps)); }

train 1 one gradient_accumulation_steps=4 max_steps=$steps
two=(gradient_accumulation_steps=2 max_steps="$steps")
for stage in "${stages[@]}"; do
  train 2 "two-$stage" "${two[@]}" zero_stage=$stage
  same "two-$stage"
done

# Between the passes exchanges give the same bits; and mpirun's processes tell each other NCCL's id over MPI.
starter=train
! $has_mpi || starter=train_by_mpi
$starter 2 between "${two[@]}" zero_stage=3 overlap_comm=false
equal two-3 between

# Two processes with one GPU do not exchange by NCCL, which is told.
if [ "$device" = emulated ]; then
  export VS2_EMULATED_GPUS=1 VS2_EMULATED_GPUS_ARE_SHARED=1
  start 2 "$train" "${settings[@]}" max_steps=1 device=emulated output_dir="$folder/shared" zero_stage=3
  [ "$code" = 0 ] || { cat "$folder"/out.*; fail "two processes with one GPU"; }
  [ "$(cat "$folder"/out.* | grep -c 'the processes exchange through host memory')" = 1 ] ||
    { cat "$folder"/out.*; fail "it is not told that GPUs exchange through host memory"; }
fi
echo "all well"
