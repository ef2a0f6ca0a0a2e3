#!/usr/bin/env bash
# GRPO over several processes, in every ZeRO stage: they draw what one process draws that accumulates as many
# micro-batches, log the same, and end with the same weights.
set -euo pipefail
build=$(realpath "${VS2_BUILD_DIR:-build}")
if ! grep -q '^MPI_C_LIB_NAMES:STRING=.' "$build/CMakeCache.txt"; then
  echo "skipped: this build has no MPI"
  exit 77
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=1
export OMPI_MCA_mpi_yield_when_idle=1 ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 # tests/train/test_processes.sh
source tests/support.sh
cd "$folder"

"$build/vs2-data" synth --out set --videos 8 --quiet
# Every fourth token that a completion may begin with has a reward: groups have something to learn.
cat >program.sh <<'END'
grep -o '"completion_ids": *\[[0-9]*' | grep -o '[0-9]*$' | awk '{ print $1 % 4 == 0 }'
END
# The entropy keeps the loss away from 0, so that a share of it means something.
settings=(stage=grpo model_name_or_path=set/model dataset=set/grpo.json max_completion_length=8 num_generations=3
  reward_funcs="['cmd:sh program.sh']" per_device_train_batch_size=1 max_steps=20 learning_rate=1e-4 logging_steps=1
  loss_type=dapo entropy_coef=0.1 sync_ref_model=true ref_model_sync_steps=8 save_strategy=no save_dtype=f32 bf16=false
  video_min_frames=2 video_maxlen=2 video_min_pixels=3136 video_max_pixels=3136 disable_tqdm=true)
run() { # PROCESSES DIR [key=value ...]
  local processes=$1 dir=$2
  shift 2
  mpirun -n "$processes" "$build/vs2-train" "${settings[@]}" output_dir="$dir" "$@" >out 2>&1 ||
    { cat out; fail "training in $dir"; }
}
figures() { grep -oE '"(loss|grad_norm|kl|entropy|reward|reward_std)": [0-9.e-]+' "$1/trainer_log.jsonl"; }
drawn() { find "$1/completions" -name 'step_*' | sort -V | xargs cat | grep -o '^.*"completion_ids": [^]]*'; }
elements() { od -An -v -w4 -t f4 "$1/model.safetensors"; }
same() { # DIR
  [ "$(figures "$1" | wc -l)" = 120 ] || fail "20 steps were expected in $1"
  diff <(drawn one) <(drawn "$1") >out || { cat out; fail "$1 has drawn something else than one process"; }
  paste <(figures one) <(figures "$1") | awk '
    { off = $2 - $4; if (off < 0) off = -off; size = $2 < 0 ? -$2 : $2
      allowed = $1 ~ /loss/ ? 1e-6 * size : 1e-5 * size + 1e-7 }
    $1 != $3 || off > allowed { print; bad = 1 }
    END { exit bad }' || fail "$1 has other figures than one process"
  paste <(elements one) <(elements "$1") | awk '
    $1 != $2 { off = $1 - $2; if (off < 0) off = -off; if (off > 1e-5) { print; bad = 1 } }
    END { exit bad || NR < 1000000 }' || fail "$1 has other weights than one process"
}

# Sanitizers make it several times as slow: then one stage of each kind over two processes.
stages=(0 1 2 3) many=true
if grep -q '^VS2_SANITIZE:STRING=.' "$build/CMakeCache.txt"; then stages=(0 3) many=false; fi

run 1 one gradient_accumulation_steps=4
[ "$(drawn one | wc -l)" = 240 ] || fail "20 steps of 4 groups of 3 were expected"
for stage in "${stages[@]}"; do
  run 2 two gradient_accumulation_steps=2 zero_stage=$stage
  same two
  rm -r two
  $many || continue
  run 4 four gradient_accumulation_steps=1 zero_stage=$stage overlap_comm=true
  same four
  rm -r four
done

# In bf16 what is gathered for rollouts are rounded copies; where weights lie changes no bit, in evaluations either.
for stage in 2 3; do
  run 2 "bf16-$stage" gradient_accumulation_steps=2 zero_stage=$stage bf16=true max_steps=4 val_size=2 \
    eval_strategy=steps eval_steps=2 steps_per_generation=4 num_iterations=2
done
cmp bf16-2/model.safetensors bf16-3/model.safetensors || fail "stages 2 and 3 differ in bf16"
diff <(drawn bf16-2) <(drawn bf16-3) || fail "stages 2 and 3 draw differently in bf16"
diff <(grep -oE '"eval_(reward|accuracy|completion_length)": [0-9.e-]+' bf16-2/trainer_log.jsonl) \
  <(grep -oE '"eval_(reward|accuracy|completion_length)": [0-9.e-]+' bf16-3/trainer_log.jsonl) || fail "stages evaluate differently"

# A setting of the stage that differs is refused at the start.
if mpirun -n 1 "$build/vs2-train" "${settings[@]}" output_dir=x : \
  -n 1 "$build/vs2-train" "${settings[@]}" output_dir=x log_completions=false >out 2>&1; then fail "other settings"; fi
grep -q "settings of the processes differ: 'log_completions' is" out || { cat out; fail "the error of log_completions"; }
echo "all well"
