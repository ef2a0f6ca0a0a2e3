#!/usr/bin/env bash
# Several processes that MPI does not join: each is told by its environment which it is, as torchrun and srun do, and they
# meet over TCP. They do what processes of mpirun do (test_processes.sh), with the figures of one process.
set -euo pipefail
build=${VS2_BUILD_DIR:-build}
unset OMPI_COMM_WORLD_RANK PMI_RANK PMIX_RANK SLURM_PROCID TORCHELASTIC_RUN_ID MASTER_PORT VS2_MASTER_PORT
export OMP_NUM_THREADS=1 MASTER_ADDR=127.0.0.1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
next_port=$((20000 + $$ % 12000))

# start PROCESSES COMMAND...: $code is the first exit code that is not 0, and $scratch/out.RANK what each said.
start() {
  local processes=$1 pids=() rank one
  shift
  next_port=$((next_port + 1))
  rm -f "$scratch"/out.*
  for ((rank = 0; rank < processes; rank++)); do
    RANK=$rank WORLD_SIZE=$processes LOCAL_RANK=$rank MASTER_PORT=$next_port "$@" >"$scratch/out.$rank" 2>&1 &
    pids+=($!)
  done
  code=0
  for rank in "${!pids[@]}"; do
    one=0
    wait "${pids[rank]}" || one=$?
    [ "$code" != 0 ] || code=$one
  done
}
start_well() {
  start "$@"
  [ "$code" = 0 ] || { cat "$scratch"/out.*; fail "exit $code of $*"; }
}

for test in communicator sharing; do
  for processes in 2 4; do
    VS2_TEST_PROCESSES=$processes start_well "$processes" "$build/tests/train_test_$test"
  done
done

settings=(stage=sft model_name_or_path=tests/golden/model/tied dataset=golden dataset_dir=tests/golden/trainer
  media_dir=tests/golden/video template=qwen2_vl per_device_train_batch_size=1 learning_rate=1e-4 max_steps=4
  logging_steps=1 save_dtype=f32 disable_tqdm=true)
train() { echo "$build/vs2-train" "${settings[@]}" output_dir="$scratch/$1" "${@:2}"; }
figures() { grep -oE '"(loss|grad_norm|lr)": [0-9.e-]+' "$1/trainer_log.jsonl"; }
same() { # DIR DIR: the figures are equal up to the order of f32 sums
  [ "$(figures "$2" | wc -l)" = 12 ] || fail "4 steps were expected in $2"
  paste <(figures "$1") <(figures "$2") | awk '
    { allowed = $1 ~ /loss/ ? 1e-6 : 1e-4; off = ($2 - $4) / $2; if (off < 0) off = -off }
    $1 != $3 || off > allowed { print; bad = 1 }
    END { exit bad }' || fail "$2 has other figures than $1"
}
$(train one gradient_accumulation_steps=4) >"$scratch/out" 2>&1 || { cat "$scratch/out"; fail "one process"; }
for stage in 0 2 3; do
  start_well 2 $(train "two-$stage" gradient_accumulation_steps=2 zero_stage=$stage)
  same "$scratch/one" "$scratch/two-$stage"
  [ "$(grep -l '^trained' "$scratch"/out.* | wc -l)" = 1 ] || fail "not one of the processes alone speaks"
done
start_well 4 $(train four gradient_accumulation_steps=1 zero_stage=3)
same "$scratch/one" "$scratch/four"

# The very bits of mpirun.
if grep -q '^MPI_C_LIB_NAMES:STRING=.' "$build/CMakeCache.txt"; then
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
    OMPI_MCA_mpi_yield_when_idle=1 ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 \
    mpirun -n 2 $(train by-mpi gradient_accumulation_steps=2 zero_stage=2) >"$scratch/out" 2>&1 ||
    { cat "$scratch/out"; fail "mpirun"; }
  cmp "$scratch/by-mpi/model.safetensors" "$scratch/two-2/model.safetensors" || fail "mpirun gives other bits"
fi

# srun sets these.
slurm() { SLURM_PROCID=$RANK SLURM_STEP_NUM_TASKS=$WORLD_SIZE SLURM_LOCALID=$RANK SLURM_STEP_NODELIST="localhost,other[1-3]" \
  SLURM_JOB_ID=$((MASTER_PORT * 7)) SLURM_STEP_ID=0 env -u RANK -u WORLD_SIZE -u MASTER_ADDR -u MASTER_PORT "$@"; }
VS2_TEST_PROCESSES=2 start_well 2 slurm "$build/tests/train_test_communicator"

# A process that expects others, settings that differ, one that is missing: all are told.
expect() { # CODE MESSAGE FILE...
  local message=$2
  [ "$code" = "$1" ] || { cat "$scratch"/out.*; fail "exit $code, not $1: $message"; }
  for file in "${@:3}"; do grep -q "$message" "$scratch/$file" || { cat "$scratch"/out.*; fail "$file: $message"; }; done
}
larger() { WORLD_SIZE=$((WORLD_SIZE + RANK)) "$@"; }
start 2 larger $(train refused)
expect 2 "is one of 3 processes, and process 0 one of 2" out.0 out.1
other() { "$@" learning_rate="2e-$((3 + RANK))"; }
start 2 other $(train differing)
expect 2 "the settings of the processes differ: 'learning_rate' is" out.0
absent() { [ "$RANK" = 1 ] || VS2_MEETING_SECONDS=1 "$@"; }
start 3 absent $(train refused)
expect 1 "process 1 of 3 did not come to 127.0.0.1, port $next_port, within 1 seconds" out.0 out.2
start 1 env RANK=0 WORLD_SIZE=2 MASTER_PORT= $(train refused)
expect 2 "MASTER_PORT= leaves no port to meet at" out.0
[ ! -e "$scratch/refused" ] || fail "a run that was refused trained"

# Failures that all agree on: process 0 tells of them, once, and the others end with it.
agreed() { # MESSAGE
  expect 1 "error: process 0 on .*$1" out.0
  [ "$(cat "$scratch"/out.* | grep -c 'vs2-train: error')" = 1 ] || { cat "$scratch"/out.*; fail "told more than once: $1"; }
}
full() { # COMMAND...: process 0's disk takes no files of more than a kibibyte
  if [ "$RANK" = 0 ]; then (trap '' XFSZ; ulimit -f 1; exec "$@" 2>&1) | cat; else "$@"; fi
}
# rows NAME: a data set of that name whose last row, in the third step, has a video late.mp4 whose frames are none.
rows() {
  mkdir -p "$scratch/rows" "$scratch/videos"
  cp tests/golden/video/{bframes,uneven,odd444}.mp4 "$scratch/videos"
  cp tests/golden/video/uneven.mp4 "$scratch/videos/late.mp4"
  head -c 3000 /dev/zero | dd of="$scratch/videos/late.mp4" bs=1 seek=100 conv=notrunc status=none
  sed "$(grep -n uneven.mp4 tests/golden/trainer/rows.json | tail -1 | cut -d: -f1)s/uneven/late/" tests/golden/trainer/rows.json >"$scratch/rows/rows.json"
  sed "s/\"golden\"/\"$1\"/" tests/golden/trainer/dataset_info.json >"$scratch/rows/dataset_info.json"
}
late=(dataset_dir="$scratch/rows" media_dir="$scratch/videos" disable_shuffling=true gradient_accumulation_steps=1 save_steps=1)
# The list of what was skipped does not fit the disk: the data set's name alone is as long.
name=$(printf 'n%.0s' {1..1200})
rows "$name"
start 2 full $(train full "${late[@]}" dataset="$name" max_skipped_ratio=1 save_strategy=no logging_steps=100)
agreed "skipped.jsonl.*File too large"

# A checkpoint that is written when the next step fails gets its name, and can be gone on from.
rows golden
start 2 $(train late "${late[@]}" zero_stage=2 max_skipped_ratio=0)
expect 1 "error: process 0 on .*rows cannot be used" out.0
[ -e "$scratch/late/checkpoint-2" ] || { ls "$scratch/late"; fail "the checkpoint before a failure is lost"; }
cp tests/golden/video/uneven.mp4 "$scratch/videos/late.mp4"
start_well 2 $(train late "${late[@]}" zero_stage=2 max_skipped_ratio=0 resume_from_checkpoint=true)
grep -q "resuming from $scratch/late/checkpoint-2, step 2" "$scratch/out.0" || { cat "$scratch/out.0"; fail "the checkpoint before a failure"; }

# One that is killed ends all, with its name and its last words.
killed() {
  if [ "$RANK" = 1 ]; then
    "$@" &
    echo $! >"$scratch/pid"
    wait $!
  else "$@"; fi
}
(
  while [ ! -s "$scratch/dying/trainer_log.jsonl" ]; do sleep 0.05; done
  sleep 2 # it speaks every second
  kill -9 "$(cat "$scratch/pid")"
) &
start 3 killed $(train dying max_steps=100000 zero_stage=3)
expect 1 "error: process 1 on .* is gone; what it said last: (step [0-9]* of 100000)" out.0
echo "all well"
