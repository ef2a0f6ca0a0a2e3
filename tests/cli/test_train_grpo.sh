#!/usr/bin/env bash
# vs2-train stage=grpo: what a run writes; replayed, killed and several-process runs that compute the same; bad input.
set -euo pipefail
build=$(realpath "${VS2_BUILD_DIR:-build}")
train=$build/vs2-train
source tests/support.sh
export OMP_NUM_THREADS=1
cd "$folder"

"$build/vs2-data" synth --out set --videos 8 --quiet

# Every eighth token that a completion may begin with has a reward: rewards differ now and then, though the model says
# nothing.
cat >program.sh <<'END'
grep -o '"completion_ids": *\[[0-9]*' | grep -o '[0-9]*$' | awk '{ print $1 % 8 == 0 }'
END
settings=(stage=grpo model_name_or_path=set/model dataset=set/grpo.json max_completion_length=12 num_generations=4
  reward_funcs="[truncation, 'cmd:sh program.sh']" reward_weights="[0, 1]" per_device_train_batch_size=1
  gradient_accumulation_steps=2 max_steps=8 learning_rate=1e-3 logging_steps=1 save_steps=2 save_dtype=f32 bf16=false
  video_min_frames=2 video_maxlen=2 video_min_pixels=12544 video_max_pixels=12544 val_size=2 disable_tqdm=true)
run() { local dir=$1; shift; "$train" "${settings[@]}" output_dir="$dir" "$@"; } # run DIR [key=value ...]
good() { run "$@" >out 2>err || { cat err; fail "run in $1"; }; }
# bad WORDS DIR [key=value ...]: the run fails, and the last line of stderr has the words.
bad() {
  local words=$1
  shift
  if run "$@" >out 2>err; then fail "no error: $*"; fi
  grep -F 'vs2-train: error: ' err | grep -qF -- "$words" || { cat err; fail "no '$words' in the error of: $*"; }
}
# The log without what is a matter of time.
figures() { sed -E 's/, "(seconds\/[a-z_]*|tokens_per_second|step_seconds|mfu|memory|eval_[a-z]*_per_second|eval_runtime|elapsed_time|remaining_time)": [^,}]*//g' "$1/trainer_log.jsonl"; }
same_weights() { cmp "$1/model.safetensors" "$2/model.safetensors" || fail "$2: other weights than $1"; }
same_run() {
  same_weights "$1" "$2"
  diff <(figures "$1") <(figures "$2") || fail "$2: another log than $1"
  diff -r "$1/completions" "$2/completions" || fail "$2: other completions than $1"
}

# ---- What a run writes --------------------------------------------------------------------------------------------

good whole eval_strategy=steps eval_steps=4 eval_temperature=0
[ "$(grep -c '"loss"' whole/trainer_log.jsonl)" = 8 ] || fail "8 lines with a loss were expected"
for name in grad_norm lr reward reward_std rewards/truncation rewards/truncation/std 'rewards/cmd:sh program.sh' kl \
  completion_length clip_ratio entropy frac_reward_zero_std all_wrong all_correct tokens_per_second seconds/rollout seconds/optimizer; do
  [ "$(grep -cE "\"$name\": -?[0-9]" whole/trainer_log.jsonl)" = 8 ] || fail "$name is not logged"
done
[ "$(grep -c '"eval_accuracy": 0' whole/trainer_log.jsonl)" = 2 ] || fail "two evaluations were expected"
grep -qa 'train/seconds/optimizer' whole/runs/events.out.tfevents.* || fail "TensorBoard has no seconds of the optimizer"
[ -s whole/reward_curve.svg ] || fail "there is no reward_curve.svg"
for step in 1 2 3 4 5 6 7 8; do
  [ "$(wc -l <whole/completions/step_$step.jsonl)" = 8 ] || fail "step $step: 2 groups of 4 completions were expected"
done
head -n1 whole/completions/step_3.jsonl | grep -qE '^\{"step": 3, "problem_id": "clip_000[0-7]", "completion_ids": \[[0-9, ]+\], "text": ".*", "truncated": (true|false), "reward": -?[0-9.]+, "rewards": \{"truncation": -?[0-9]+, "cmd:sh program.sh": [0-9]+\}, "advantage": -?[0-9.]+, "logp": -[0-9.]+, "old_logp": null, "ref_logp": -[0-9.]+, "rollout_logp": -[0-9.]+\}$' ||
  { head -n1 whole/completions/step_3.jsonl; fail "the line of a completion"; }
[ ! -e whole/skipped.jsonl ] || fail "rows were skipped"

run plan --dry-run >out || fail "--dry-run"
for words in 'prompts 6,' 'held out: prompts 2' '4 completions of a prompt, up to 12 tokens' 'keys and values of rollouts' \
  'reference model' \
  'patches of a generation, at most            0.001 GB' 'free: it fits'; do
  grep -qF -- "$words" out || { cat out; fail "the plan does not say '$words'"; }
done
run plan --dry-run --gpu a100 >out || fail "--dry-run --gpu"
grep -q "A100 SXM 80 GB has 79.000 GB free: it fits" out || fail "the plan of another GPU"
grep -q "reference model" out || fail "the plan of another GPU has no reference model"
grep -q '^  the sums have the larger of both: it learns$' out || fail "the plan does not say what counts"
# Rollouts and passes have the same memory: the larger counts.
run plan --dry-run --gpu a100 rollout_cache_memory=256MiB max_completion_length=2000 per_device_train_batch_size=2 >larger
grep -q "have the larger of both: it generates" larger || { cat larger; fail "a long completion has few keys"; }
for plan in out larger; do
  awk '/^memory/ { on = 1 } /while it/ { phase = $3 } / of the host$/ { next } !on { next }
    /^  all on the device/ { exit !($5 > 0 && ($5 - sum - (more["generates"] > more["learns"] ? more["generates"] : more["learns"])) ^ 2 < 1e-5) }
    /^    / { more[phase] += $(NF - 1) } /^  [^ ].* GB$/ { sum += $(NF - 1) }' "$plan" || { cat "$plan"; fail "the sum of $plan"; }
done
! grep -q "this machine" out || fail "the plan of another machine speaks of this one"
[ ! -e plan ] || fail "--dry-run writes"

# ---- The same numbers ---------------------------------------------------------------------------------------------

# From recorded rollouts, whose rewards are all that there is.
cat whole/completions/step_?.jsonl >recorded.jsonl
good replayed rollouts=recorded.jsonl
same_weights whole replayed

# Killed at random times, with rollouts that last for two steps and are trained on twice, groups replaced, and a
# reference model that moves.
hard=(num_iterations=2 steps_per_generation=4 dynamic_sampling=true sync_ref_model=true ref_model_sync_steps=3
  seed=4 loss_type=dapo scale_rewards=batch importance_sampling_cap=2 entropy_coef=0.01 save_steps=1 save_total_limit=2)
good steady "${hard[@]}"
# An epoch has three steps: a generation of two, and one of what is left.
[ "$(echo steady/completions/*)" = "$(echo steady/completions/step_{1,2,5,7,8}.jsonl)" ] || fail "completions are written when first trained on"
grep -qE '"clip_ratio": 0\.[0-9]*[1-9]' steady/trainer_log.jsonl || fail "no ratio was clipped"
# Groups that tell nothing apart were replaced, as far as other prompts could.
good plain "${hard[@]}" dynamic_sampling=false max_steps=1
first() { head -n1 "$1/trainer_log.jsonl" | grep -oE '"frac_reward_zero_std": [0-9.]+' | grep -oE '[0-9.]+$'; }
awk -v steady="$(first steady)" -v plain="$(first plain)" 'BEGIN { exit !(steady < plain) }' ||
  fail "of $(first plain) flat groups $(first steady) stayed"
[ "$(cat steady/completions/step_[12].jsonl | grep -oE '"problem_id": "[^"]*"' | sort | uniq -c | awk '{ print $1 }' | sort -u)" = 4 ] ||
  fail "a prompt is twice in a generation"
kills=0
while :; do
  "$train" "${settings[@]}" output_dir=killed "${hard[@]}" >out 2>err &
  pid=$!
  sleep "0.$((RANDOM % 10))$((RANDOM % 10))"
  if kill -9 "$pid" 2>/dev/null; then kills=$((kills + 1)); fi
  if wait "$pid" 2>/dev/null; then break; fi
  if grep -q 'error:' err; then cat err; fail "going on after a kill"; fi
  if [ "$kills" -ge 8 ]; then good killed "${hard[@]}"; break; fi
done
echo "killed $kills times"
same_run steady killed

# Stopped: the step is finished and saved.
"$train" "${settings[@]}" output_dir=stopped "${hard[@]}" >out 2>err &
pid=$!
while [ ! -s stopped/trainer_log.jsonl ]; do sleep 0.01; done
kill -TERM "$pid"
wait "$pid" || fail "SIGTERM does not end with 0"
good stopped "${hard[@]}"
same_run steady stopped

# In two processes.
if grep -q '^MPI_C_LIB_NAMES:STRING=.' "$build/CMakeCache.txt"; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
  export OMPI_MCA_mpi_yield_when_idle=1
  for stage in 0 1 3; do
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 mpirun -n 2 "$train" "${settings[@]}" output_dir=two-$stage "${hard[@]}" \
      gradient_accumulation_steps=1 steps_per_generation=2 zero_stage=$stage >out 2>err || { cat err; fail "two processes, stage $stage"; }
    paste <(grep -oE '"(loss|grad_norm|kl|entropy|reward|reward_std)": [0-9.e-]+' steady/trainer_log.jsonl) \
      <(grep -oE '"(loss|grad_norm|kl|entropy|reward|reward_std)": [0-9.e-]+' two-$stage/trainer_log.jsonl) | awk '
      { off = $2 - $4; if (off < 0) off = -off; size = $2 < 0 ? -$2 : $2 }
      $1 != $3 || off > 1e-4 * size + 1e-7 { print; bad = 1 }
      END { exit bad || NR != 48 }' || fail "two processes have other figures than one in stage $stage"
  done
fi

# ---- Bad input ----------------------------------------------------------------------------------------------------

bad "'num_generations': one completion has nothing to be compared with" x num_generations=1
bad "there is no reward 'accurate' (did you mean 'accuracy'?)" x reward_weights=null reward_funcs=accurate
for program in 'exit 3' 'echo rubbish' 'yes 1 | head -n 7' 'yes nan | head -n 8' 'echo sorry >&2; exit 1'; do
  bad "$program" x reward_weights=null reward_funcs="['cmd:$program']"
done
grep -q sorry err || fail "what a reward's program says to stderr is not shown"
grep -q 'once more' err || { cat err; fail "a program that failed is not tried again"; }
# One that fails once only does no harm.
echo 'if mkdir "failed once" 2>/dev/null; then echo sorry >&2; exit 1; fi; sed "s/.*/1/"' >once.sh
good once reward_weights=null reward_funcs="['cmd:sh once.sh']" max_steps=2
[ "$(grep -c "stderr: sorry; it is tried once more" err)" = 1 ] || { cat err; fail "one failure was to be told"; }
[ "$(grep -c '"reward": 1.0' once/trainer_log.jsonl)" = 2 ] || fail "the program's rewards after its failure"
bad 'sleep 100' x reward_weights=null reward_funcs="['cmd:sleep 100']" reward_timeout=0.1
bad 'max_zero_std_steps' x reward_weights=null reward_funcs=format max_zero_std_steps=2
bad 'max_kl' x learning_rate=10 max_kl=0.5
bad 'it was trained with beta 0.04' whole resume_from_checkpoint=whole/checkpoint-4 beta=0.1

bad 'max_prompt_length 20 cuts into the video' x max_prompt_length=20

# Rows that cannot be used are skipped, and counted: a solution that says nothing, and a video that is none.
cp set/grpo.json kept.json
sed -i '0,/"solution": "<answer>.*<\/answer>"/s//"solution": "<answer>none<\/answer>"/' set/grpo.json
cp set/videos/clip_0003.mp4 kept.mp4
head -c 3000 kept.mp4 >set/videos/clip_0003.mp4
good skipping max_skipped_ratio=0.5 max_steps=1
[ "$(wc -l <skipping/skipped.jsonl)" = 2 ] || { cat skipping/skipped.jsonl; fail "two skipped rows were expected"; }
bad 'skipped' x max_skipped_ratio=0.1
cp kept.mp4 set/videos/clip_0003.mp4
cp kept.json set/grpo.json

# Recorded rollouts that are none, and those of which some are empty.
line='{"step": 1, "problem_id": "clip_0001", "completion": "a", "reward": 1}'
recorded_bad() { # WORDS LINE...
  local words=$1
  shift
  printf '%s\n' "$@" >bad.jsonl
  bad "bad.jsonl: $words" x rollouts=bad.jsonl
}
recorded_bad 'there are no rows in it' ''
recorded_bad "row 2: 'reward' is no number" "$line" '{"step": 1, "problem_id": "clip_0001", "completion": "a", "reward": "x"}'
recorded_bad "row 1: the data set has no problem 'clip_9'" '{"step": 1, "problem_id": "clip_9", "completion": "a", "reward": 1}'
recorded_bad "row 1: there is neither 'completion_ids' nor 'completion'" '{"step": 1, "problem_id": "clip_0001", "reward": 1}'
recorded_bad "row 1: item 2 of 'completion_ids' is no token" '{"step": 1, "problem_id": "clip_0001", "completion_ids": [1, -1], "reward": 1}'
recorded_bad 'row 2: step 0 comes after step 1' "$line" '{"step": 0, "problem_id": "clip_0001", "completion": "a", "reward": 1}'
recorded_bad "row 1: 'step' is no whole number" '{"problem_id": "clip_0001", "completion": "a", "reward": 1}'
printf '%s\n' '{"step": 1, "problem_id": "clip_0001", "completion_ids": [], "reward": 0}' \
  '{"step": 1, "problem_id": "clip_0001", "completion_ids": [5, 6], "reward": 1}' \
  '{"step": 2, "problem_id": "clip_0001", "completion_ids": [], "reward": 0}' \
  '{"step": 2, "problem_id": "clip_0001", "completion_ids": [], "reward": 1}' \
  '{"step": 3, "problem_id": "clip_0002", "completion": "one alone", "reward": 1}' >short.jsonl
good short rollouts=short.jsonl max_steps=3
grep -q '"completion_length": 1.0' short/trainer_log.jsonl || fail "the mean of no and two tokens"
echo "all well"
