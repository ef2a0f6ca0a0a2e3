#!/usr/bin/env bash
# Several processes, started by mpirun: they train as one process does that accumulates as many micro-batches, fail
# together, and go on from each other's checkpoints.
set -euo pipefail
build=${VS2_BUILD_DIR:-build}
if ! grep -q '^MPI_C_LIB_NAMES:STRING=.' "$build/CMakeCache.txt"; then
  echo "skipped: this build has no MPI"
  exit 77
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=1
# Open MPI leaks from plugins that are unloaded by the end, so that no suppression can name them. What the processes run
# is checked for leaks where it runs in one.
export OMPI_MCA_mpi_yield_when_idle=1 ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

for test in communicator sharing shards; do
  for processes in 2 3; do
    VS2_TEST_PROCESSES=$processes mpirun -n "$processes" -x VS2_TEST_PROCESSES "$build/tests/train_test_$test" \
      >"$scratch/out" 2>&1 || { cat "$scratch/out"; fail "$test with $processes processes"; }
  done
done

settings=(stage=sft model_name_or_path=tests/golden/model/tied dataset=golden dataset_dir=tests/golden/trainer
  media_dir=tests/golden/video template=qwen2_vl freeze_vision_tower=false freeze_multi_modal_projector=false
  per_device_train_batch_size=1 learning_rate=1e-4 max_steps=20 val_size=2 eval_strategy=steps eval_steps=10
  logging_steps=1 save_steps=10 save_dtype=f32 disable_tqdm=true)
run() { # PROCESSES DIR [key=value ...]
  local processes=$1 dir=$2
  shift 2
  if [ "$processes" = 1 ]; then "$build/vs2-train" "${settings[@]}" output_dir="$dir" "$@"
  else mpirun -n "$processes" "$build/vs2-train" "${settings[@]}" output_dir="$dir" "$@"; fi >"$scratch/out" 2>&1 ||
    { cat "$scratch/out"; fail "training in $dir"; }
}
figures() { grep -oE '"(loss|eval_loss|grad_norm|lr)": [0-9.e-]+' "$1/trainer_log.jsonl"; }
elements() { od -An -v -w4 -t f4 "$1/model.safetensors"; }
# same DIR: it has the figures of the run in one process, and at the end its weights; sums in another order differ in
# the last bits of f32, and AdamW makes steps of gradients that are hardly anything else.
same() {
  [ "$(figures "$1" | wc -l)" = 62 ] || fail "20 steps and 2 evaluations were expected in $1"
  paste <(figures "$scratch/one") <(figures "$1") | awk '
    { allowed = $1 ~ /loss/ ? 1e-6 : 1e-4; off = ($2 - $4) / $2; if (off < 0) off = -off }
    $1 != $3 || off > allowed { print; bad = 1 }
    END { exit bad }' || fail "$1 has other figures than one process"
  paste <(elements "$scratch/one") <(elements "$1") | awk '
    $1 != $2 { off = $1 - $2; if (off < 0) off = -off; if (off > 1e-5) { print; bad = 1 } }
    END { exit bad || NR < 50000 }' || fail "$1 has other weights than one process"
}

# Sanitizers make it several times as slow: then no more than two or three processes.
many=true
if grep -q '^VS2_SANITIZE:STRING=.' "$build/CMakeCache.txt"; then many=false; fi

run 1 "$scratch/one" gradient_accumulation_steps=12
for stage in 0 1 2 3; do
  run 2 "$scratch/two-$stage" gradient_accumulation_steps=6 zero_stage=$stage
  [ "$(grep -c '^trained' "$scratch/out")" = 1 ] || fail "not one of the processes alone speaks"
  same "$scratch/two-$stage"
  $many || continue
  run 4 "$scratch/four-$stage" gradient_accumulation_steps=3 zero_stage=$stage
  same "$scratch/four-$stage"
done
run 3 "$scratch/three-1" gradient_accumulation_steps=4 zero_stage=1
same "$scratch/three-1"
cmp "$scratch/two-2/model.safetensors" "$scratch/two-3/model.safetensors" || fail "where weights lie changes the bits"

# In bf16 the model has rounded copies, and untied embeddings are not the head.
bf16=(model_name_or_path=tests/golden/model/untied bf16=true max_steps=4 gradient_accumulation_steps=3)
for stage in 0 1 2 3; do run 2 "$scratch/bf16-$stage" "${bf16[@]}" zero_stage=$stage; done
cmp "$scratch/bf16-2/model.safetensors" "$scratch/bf16-3/model.safetensors" || fail "stages 2 and 3 differ in bf16"
cmp "$scratch/bf16-1/model.safetensors" "$scratch/bf16-2/model.safetensors" || fail "stages 1 and 2 differ in bf16"

# Exchanges beside the passes change no bit.
for stage in 0 1 2 3; do
  if $many; then
    run 4 "$scratch/beside" gradient_accumulation_steps=3 zero_stage=$stage overlap_comm=true
    cmp "$scratch/four-$stage/model.safetensors" "$scratch/beside/model.safetensors" || fail "overlap_comm changes bits"
    rm -r "$scratch/beside"
  fi
  run 2 "$scratch/beside" "${bf16[@]}" zero_stage=$stage overlap_comm=true
  cmp "$scratch/bf16-$stage/model.safetensors" "$scratch/beside/model.safetensors" || fail "overlap_comm changes bits in bf16"
  rm -r "$scratch/beside"
done

# Processes, accumulation and stage may change between a checkpoint and going on from it, as long as a step is the same.
go_on() { # FROM PROCESSES [key=value ...]
  local from=$1 processes=$2
  shift 2
  rm -rf "$scratch/mixed"
  cp -r "$scratch/$from" "$scratch/mixed"
  rm -r "$scratch/mixed/checkpoint-20"
  run "$processes" "$scratch/mixed" resume_from_checkpoint=true "$@"
  grep -q "resuming from $scratch/mixed/checkpoint-10, step 10" "$scratch/out" || fail "$from was not gone on from"
  same "$scratch/mixed"
}
# What the shards hold, merged, is what the run saved in f32.
"$build/vs2-train" --merge "$scratch/two-3/checkpoint-20" --out "$scratch/merged" >"$scratch/out" ||
  { cat "$scratch/out"; fail "merging"; }
cmp "$scratch/merged/model.safetensors" "$scratch/two-3/model.safetensors" || fail "merged weights are not the run's"
go_on three-1 1 gradient_accumulation_steps=12
go_on one 2 gradient_accumulation_steps=6 zero_stage=3
go_on two-3 3 gradient_accumulation_steps=4 zero_stage=2

# Processes with other settings, and a process that dies.
refused() { # KEY=VALUE [WHAT]: in the second process only; the error names KEY, or WHAT
  if mpirun -n 1 "$build/vs2-train" "${settings[@]}" output_dir="$scratch/x" : \
    -n 1 "$build/vs2-train" "${settings[@]}" output_dir="$scratch/x" "$1" >"$scratch/out" 2>&1; then
    fail "different settings were not noticed: $1"
  fi
  grep -q "of the processes differ: '${2:-${1%=*}}' is" "$scratch/out" || { cat "$scratch/out"; fail "the error of $1"; }
  [ "$(grep -c 'vs2-train: error' "$scratch/out")" = 1 ] || { cat "$scratch/out"; fail "the error is not told once"; }
}
refused learning_rate=2e-3
refused zero_stage=1
refused overlap_comm=true
# tests/train/test_config.c checks that every key is compared; these ended in hangs or worse.
refused freeze_vision_tower=true
refused save_steps=7
refused eval_strategy=no
refused output_dir="$scratch/y"
[ ! -e "$scratch/x" ] || fail "a run that was refused made its folder"
refused model_name_or_path=tests/golden/model/untied hidden_act

# Folders of that name which are not the same one: told before there is a step.
mkdir -p "$scratch/apart/0" "$scratch/apart/1"
apart() { # WORDS [key=value ...]: each process in a folder of its own
  local words=$1 command
  shift
  command=("$(realpath "$build")/vs2-train" "${settings[@]}" model_name_or_path="$PWD/tests/golden/model/tied"
    dataset_dir="$PWD/tests/golden/trainer" media_dir="$PWD/tests/golden/video" output_dir=out "$@")
  if mpirun -n 1 -wdir "$scratch/apart/0" "${command[@]}" : -n 1 -wdir "$scratch/apart/1" "${command[@]}" \
    >"$scratch/out" 2>&1; then fail "folders apart were not noticed: $*"; fi
  grep -q "$words" "$scratch/out" || { cat "$scratch/out"; fail "the error of folders apart: $*"; }
  [ -z "$(find "$scratch/apart" -maxdepth 3 -name 'shared-*' -o -name trainer_log.jsonl)" ] || fail "folders apart: what is left"
}
apart "output_dir must be the same folder for all processes" zero_stage=1
mkdir -p "$scratch/apart/0/out"
cp -r "$scratch/one/checkpoint-10" "$scratch/apart/0/out"
apart "output folders of the processes differ: 'checkpoint to go on from' is null here" zero_stage=0

# A process whose numbers are none: all leave the steps out, and give up with the same words, which name it. Its model
# has a NaN in the first layer's first norm.
cp -r tests/golden/model/tied "$scratch/bad"
weights=$scratch/bad/model.safetensors
header=$(od -An -t u8 -N8 "$weights" | tr -d ' ')
norm=$(head -c "$header" "$weights" | grep -aoE '"model.layers.0.input_layernorm.weight":[^}]*\[[0-9]+,' | grep -oE '[0-9]+,$' | tr -d ,)
printf '\377\377' | dd of="$weights" bs=1 seek=$((8 + header + norm)) conv=notrunc status=none
for stage in 0 2; do
  same_for_both=("${settings[@]}" output_dir="$scratch/x" gradient_accumulation_steps=2 zero_stage=$stage)
  if mpirun -n 1 "$build/vs2-train" "${same_for_both[@]}" : \
    -n 1 "$build/vs2-train" "${same_for_both[@]}" model_name_or_path="$scratch/bad" >"$scratch/out" 2>&1; then
    fail "a process without numbers went unnoticed"
  fi
  grep -q 'step 1 is left out: its loss is -\?nan (that of process 1)' "$scratch/out" || { cat "$scratch/out"; fail "whose loss is none"; }
  [ "$(grep -c 'error: .*step 10: loss (that of process 1) or gradients were not numbers' "$scratch/out")" = 1 ] ||
    { cat "$scratch/out"; fail "the end without numbers"; }
done

# The disk of process 0, which alone writes, is full when a step is to be saved that ends the writing of the one before.
full=("$build/vs2-train" "${settings[@]}" output_dir="$scratch/full" gradient_accumulation_steps=12 save_steps=1 eval_strategy=no)
if OMPI_MCA_btl=self,tcp VS2_SILENCE_LIMIT=4 mpirun -n 1 bash -c 'trap "" XFSZ; ulimit -f 40; exec "$@"' limited "${full[@]}" : \
  -n 1 "${full[@]}" >"$scratch/out" 2>&1; then fail "a full disk was not noticed"; fi
[ "$(grep -c 'vs2-train: error' "$scratch/out")" = 1 ] && grep -q 'error: process 0 on .*File too large' "$scratch/out" ||
  { cat "$scratch/out"; fail "the full disk of process 0"; }

# process_of RANK DIR: the process of the run in DIR, as long as there is one.
process_of() {
  local pid
  for pid in $(pgrep -f "vs2-train.*output_dir=$2 " || true); do
    if grep -qzx "OMPI_COMM_WORLD_RANK=$1" "/proc/$pid/environ" 2>/dev/null; then echo "$pid"; fi
  done
}

# A process that is killed, be it one of many or the one that listens to them: its last words, in the second that mpirun
# leaves the others.
for killed in 1 0; do
  mpirun -n 2 "$build/vs2-train" "${settings[@]}" output_dir="$scratch/dying-$killed" max_steps=100000 zero_stage=3 \
    >"$scratch/out" 2>&1 &
  while [ ! -s "$scratch/dying-$killed/trainer_log.jsonl" ]; do sleep 0.05; done
  sleep 2 # it speaks every second
  begun=$SECONDS
  kill -9 "$(process_of "$killed" "$scratch/dying-$killed")"
  if wait $!; then fail "a process that was killed went unnoticed"; fi
  [ $((SECONDS - begun)) -lt 30 ] || fail "a process that was killed was noticed after $((SECONDS - begun)) s"
  grep -qE "process $killed on .* is gone; what it said last: \(step [0-9]+ of 100000\) (waits in|is busy after)" "$scratch/out" ||
    { cat "$scratch/out"; fail "the last words of process $killed, which was killed"; }
done

# A run whose processes are killed again and again, while the shards of a checkpoint are written after each step, ends
# with the bits of one that was not.
mkdir "$scratch/killed"
: >"$scratch/killed/trainer_log.jsonl"
steps() { wc -l <"$scratch/killed/trainer_log.jsonl"; }
killed=0
for delay in 0 0.01 0.03 0.05 0.07 0.1; do
  before=$(steps)
  mpirun -n 2 "$build/vs2-train" "${settings[@]}" output_dir="$scratch/killed" gradient_accumulation_steps=6 zero_stage=3 \
    save_steps=1 save_total_limit=2 >"$scratch/out" 2>&1 &
  while kill -0 $! 2>/dev/null && [ "$(steps)" -le $((before + 1)) ]; do sleep 0.01; done
  sleep "$delay"
  for pid in $(process_of $((killed % 2)) "$scratch/killed"); do if kill -9 "$pid"; then killed=$((killed + 1)); fi; done
  if wait $!; then break; fi
done
[ "$killed" -ge 3 ] || fail "only $killed processes were killed in time"
run 2 "$scratch/killed" gradient_accumulation_steps=6 zero_stage=3 save_steps=1 save_total_limit=2
cmp "$scratch/two-3/model.safetensors" "$scratch/killed/model.safetensors" || fail "kills change the weights"
[ "$(figures "$scratch/killed")" = "$(figures "$scratch/two-3")" ] || fail "kills change the log"
[ -z "$(find "$scratch/killed" -maxdepth 1 \( -name '*.tmp-*' -o -name '*.old-*' \))" ] || fail "leftovers of killed runs"

# A process that is stopped says nothing any more: it is named, with what it was at, be it one of many or the one that
# listens to them.
for stopped in 1 0; do
  VS2_SILENCE_LIMIT=4 mpirun -n 2 "$build/vs2-train" "${settings[@]}" output_dir="$scratch/stopped-$stopped" \
    max_steps=100000 zero_stage=1 >"$scratch/out" 2>&1 &
  while [ ! -s "$scratch/stopped-$stopped/trainer_log.jsonl" ]; do sleep 0.05; done
  sleep 2 # it speaks every second
  kill -STOP "$(process_of "$stopped" "$scratch/stopped-$stopped")"
  if wait $!; then fail "a process that was stopped went unnoticed"; fi
  grep -qE "process $stopped on .* does not answer: nothing was heard of it for .*\(step [0-9]+ of 100000\)" "$scratch/out" ||
    { cat "$scratch/out"; fail "the last words of process $stopped"; }
done

# Processes that wait for one which is busy for too long.
if VS2_SILENCE_LIMIT=2 VS2_TEST_HANG=busy mpirun -n 2 "$build/tests/train_test_heartbeat" >"$scratch/out" 2>&1
then fail "a process that is busy for good went unnoticed"; fi
grep -qE "processes wait for .*: process 1 on .*\(dreaming\) is busy after" "$scratch/out" ||
  { cat "$scratch/out"; fail "who is busy is not said"; }
# ... or does nothing, which busy ones may not do for as long.
if VS2_SILENCE_LIMIT=9 VS2_PROGRESS_LIMIT=2 VS2_TEST_HANG=still mpirun -n 2 "$build/tests/train_test_heartbeat" >"$scratch/out" 2>&1
then fail "a process that does nothing went unnoticed"; fi
grep -q "process 1 was busy, and has got there" "$scratch/out" || { cat "$scratch/out"; fail "a busy process was ended"; }
grep -qE "processes wait for .*: process 1 on .*\(asleep\) is busy after 1 exchanges, and did nothing for" "$scratch/out" ||
  { cat "$scratch/out"; fail "who does nothing is not said"; }
# One whose thread that trains is stuck in a step, while the others live on.
mkdir "$scratch/frozen"
if VS2_PROGRESS_LIMIT=3 VS2_TEST_FREEZE=yes VS2_TEST_FOLDER=$scratch/frozen mpirun -n 2 \
  "$build/tests/train_test_device_resume" >"$scratch/out" 2>&1; then fail "a stuck process went unnoticed"; fi
grep -qE "processes wait for .*: process 1 on .* \(step 2 of 3\) is busy after [0-9]+ exchanges, and did nothing for" "$scratch/out" ||
  { cat "$scratch/out"; fail "who is stuck is not said"; }
# Processes that wait for their devices.
if VS2_SILENCE_LIMIT=9 VS2_PROGRESS_LIMIT=2 VS2_TEST_HANG=device mpirun -n 2 "$build/tests/train_test_heartbeat" >"$scratch/out" 2>&1
then fail "processes whose devices are stuck went unnoticed"; fi
grep -qE "all processes wait for each other for .*: process 0 on .* waits for its device after 0 exchanges.*; process 1" "$scratch/out" ||
  { cat "$scratch/out"; fail "who waits for devices is not said"; }
# Processes that wait for each other.
if VS2_SILENCE_LIMIT=2 VS2_TEST_HANG=wait mpirun -n 2 "$build/tests/train_test_heartbeat" >"$scratch/out" 2>&1
then fail "processes that wait for each other went unnoticed"; fi
grep -qE "all processes wait for each other for .*: process 0 on .* waits in exchange [0-9]+, 'parts of the others'; process 1" "$scratch/out" ||
  { cat "$scratch/out"; fail "what they wait in is not said"; }
echo "all well"
