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

# start TEST PROCESSES FOLDER: of ours, which meet over TCP. $codes is how they ended, $scratch/out.RANK what they said.
start() {
  local test=$1 processes=$2 pids=() pid rank
  mkdir "$scratch/$3"
  rm -f "$scratch"/out.*
  export WORLD_SIZE=$processes VS2_TEST_PROCESSES=$processes MASTER_PORT=$((port++)) VS2_TEST_FOLDER=$scratch/$3
  for ((rank = 0; rank < processes; rank++)); do
    RANK=$rank LOCAL_RANK=$rank "$build/tests/train_test_$test" >"$scratch/out.$rank" 2>&1 &
    pids+=($!)
  done
  codes=()
  for pid in "${pids[@]}"; do
    codes+=(0)
    wait "$pid" || codes[-1]=$?
  done
}

# One of two gets stuck in a step, and the other's GPU waits for it in an exchange between or beside the passes: all are
# ended, and the words tell who it was. A minute is the limit, of which the standard limit of 45 s is a part.
for way in waits overlaps; do
  begun=$SECONDS
  VS2_PROGRESS_LIMIT=4 VS2_TEST_FREEZE=$way start device_resume 2 "frozen-$way"
  [ "${codes[0]}" != 0 ] && [ "${codes[1]}" != 0 ] && [ $((SECONDS - begun)) -lt 60 ] ||
    { cat "$scratch"/out.*; echo "FAILED: a stuck process ($way): ${codes[*]} after $((SECONDS - begun)) s"; exit 1; }
  grep -qE 'error: processes wait for .*: process 1 on .* \(step 2 of 3\) is busy after [0-9]+ exchanges, and did nothing for' \
    "$scratch/out.0" || { cat "$scratch"/out.*; echo "FAILED: who is stuck ($way)"; exit 1; }
done

# The same where it is killed, by nobody who would end the other one.
begun=$SECONDS
VS2_TEST_FREEZE=killed start device_resume 2 killed
[ "${codes[0]}" != 0 ] && [ $((SECONDS - begun)) -lt 30 ] &&
  grep -qE 'error: process 1 on .* is gone; what it said last: \(step 2 of 3\) ' "$scratch/out.0" ||
  { cat "$scratch"/out.*; echo "FAILED: a killed process: ${codes[*]} after $((SECONDS - begun)) s"; exit 1; }

# The last one: two processes on one GPU, which NCCL does not join; they exchange through host memory.
for run in "communicator 2" "communicator 3" "sharing 2" "device_resume 2" "communicator 2 shared"; do
  read -r test processes shared <<<"$run"
  if [ -n "$shared" ]; then
    [ "$VS2_TEST_DEVICE" = emulated ] || continue
    export VS2_EMULATED_GPUS=1 VS2_EMULATED_GPUS_ARE_SHARED=1 VS2_TEST_JOINED=no
  fi
  [ "$processes" -le "$gpus" ] || continue
  start "$test" "$processes" "$test-$processes$shared"
  for code in "${codes[@]}"; do
    [ "$code" = 0 ] || { cat "$scratch"/out.*; echo "FAILED: $test with $processes processes"; exit 1; }
  done
done
echo "all well"
