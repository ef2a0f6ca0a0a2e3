#!/usr/bin/env bash
# Processes whose devices exchange by themselves: the CUDA backend through the emulator, with its NCCL. Sums, wholes and
# every ZeRO stage, whole runs with the optimizer's state on the host; processes meet over TCP. With VS2_TEST_DEVICE=cuda the
# same on GPUs.
set -euo pipefail
build=${VS2_BUILD_DIR:-build}
unset OMPI_COMM_WORLD_RANK PMI_RANK PMIX_RANK SLURM_PROCID TORCHELASTIC_RUN_ID VS2_MASTER_PORT
export OMP_NUM_THREADS=1 MASTER_ADDR=127.0.0.1 VS2_TEST_DEVICE=${VS2_TEST_DEVICE:-emulated} VS2_EMULATED_GPUS=3
[ "$VS2_TEST_DEVICE" != emulated ] || export VS2_TEST_JOINED=yes
gpus=$VS2_EMULATED_GPUS
[ "$VS2_TEST_DEVICE" != cuda ] || gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU') || true
if [ "$gpus" -lt 2 ]; then
  echo "skipped: there are no two GPUs here"
  exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
port=$((20000 + ($$ + 6000) % 12000))
# The last one: two processes on one GPU, which NCCL does not join; they exchange through host memory.
for run in "communicator 2" "communicator 3" "sharing 2" "device_resume 2" "communicator 2 shared"; do
  read -r test processes shared <<<"$run"
  if [ -n "$shared" ]; then
    [ "$VS2_TEST_DEVICE" = emulated ] || continue
    export VS2_EMULATED_GPUS=1 VS2_EMULATED_GPUS_ARE_SHARED=1 VS2_TEST_JOINED=no
  fi
  [ "$processes" -le "$gpus" ] || continue
  mkdir "$scratch/$test-$processes$shared"
  export WORLD_SIZE=$processes VS2_TEST_PROCESSES=$processes MASTER_PORT=$((port++)) VS2_TEST_FOLDER=$scratch/$test-$processes$shared
  pids=()
  for ((rank = 0; rank < processes; rank++)); do
    RANK=$rank LOCAL_RANK=$rank "$build/tests/train_test_$test" >"$scratch/out.$rank" 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || { cat "$scratch"/out.*; echo "FAILED: $test with $processes processes"; exit 1; }
  done
done
echo "all well"
