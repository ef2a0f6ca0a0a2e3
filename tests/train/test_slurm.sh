#!/usr/bin/env bash
# A training run of two processes as srun starts them without MPI: nothing but SLURM's variables tells them who they are
# and where they meet. They have the figures of one process.
set -euo pipefail
source tests/support.sh
source tests/support_processes.sh
device=cpu

settings=(stage=sft model_name_or_path=tests/golden/model/tied dataset=golden dataset_dir=tests/golden/trainer
  media_dir=tests/golden/video template=qwen2_vl per_device_train_batch_size=1 learning_rate=1e-4 max_steps=4
  save_steps=2 logging_steps=1 save_dtype=f32 report_to=none plot_loss=false disable_tqdm=true)
train 1 one gradient_accumulation_steps=4

# srun COMMAND...: with what srun sets for a task of a step, of a job of more tasks and machines.
srun() {
  env -u RANK -u WORLD_SIZE -u LOCAL_RANK -u MASTER_ADDR -u MASTER_PORT SLURM_JOB_ID=$port SLURM_STEP_ID=2 \
    SLURM_PROCID="$RANK" SLURM_LOCALID="$RANK" SLURM_NODEID=0 SLURM_NTASKS=64 SLURM_STEP_NUM_TASKS="$WORLD_SIZE" \
    SLURM_NNODES=4 SLURM_STEP_NUM_NODES=1 SLURM_JOB_NODELIST="other[1-3],localhost" SLURM_STEP_NODELIST=localhost \
    SLURM_TASKS_PER_NODE=16 SLURM_STEP_TASKS_PER_NODE="$WORLD_SIZE" "$@"
}
start 2 srun "$train" "${settings[@]}" device=cpu output_dir="$folder/two" gradient_accumulation_steps=2 zero_stage=3
trained two "$folder"/out.*
compare one two "loss|grad_norm|lr" 12
shards=$(find "$folder/two/checkpoint-4/vs2_state" -name 'process-*-of-2' | wc -l)
[ "$shards" = 2 ] || fail "$shards shards were written, not 2"
echo "all well"
