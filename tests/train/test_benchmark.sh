#!/usr/bin/env bash
# A benchmark that the model is scored on while it is trained: the figures are those of vs2-eval run and metrics on
# the model that was saved, they stand in every log, and they do not depend on how many processes there are.
set -uo pipefail
build=${VS2_BUILD_DIR:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# Nine videos; tests/golden/score was taught to answer these prompts. One video is missing.
mkdir "$work/videos"
clips=(bframes odd444 tenbit)
prompts=("A red ball rolls." "猫 jumps très haut 🎬")
for i in 0 1 2 3 4 5 6 7 8; do
  [ $i = 5 ] || ln -s "$PWD/tests/golden/video/${clips[i % 3]}.mp4" "$work/videos/c_$i.mp4"
  printf '{"video_name": "c_%d", "prompt": "%s", "visual_score": %d, "t2v_score": %d, "phy_score": %d}\n' \
    $i "${prompts[i % 2]}" $((i % 3 + 2)) $((i % 2 + 3)) $((i % 4 + 1))
done >"$work/points.jsonl"
printf '%s\n' 'path_A,path_B,prompt,VQ,TA,Overall' 'c_0.mp4,c_1.mp4,A red ball rolls.,A,B,same' \
  'c_2.mp4,c_3.mp4,A red ball rolls.,B,B,A' 'c_4.mp4,c_5.mp4,A red ball rolls.,A,A,A' >"$work/pairs.csv"

sft=(stage=sft model_name_or_path=tests/golden/score dataset=golden dataset_dir=tests/golden/trainer
  media_dir=tests/golden/video template=qwen2_vl video_maxlen=10 video_max_pixels=691200 bf16=false save_dtype=f32
  per_device_train_batch_size=1 gradient_accumulation_steps=1 max_steps=4 logging_steps=1 save_steps=2 plot_loss=true disable_tqdm=true)
benchmark=(eval_benchmark=videoscore-bench-v2 "eval_data=$work/points.jsonl" "eval_videos=$work/videos" eval_steps=2
  eval_max_new_tokens=112)
train() { # DIR [key=value ...]
  local dir=$1
  shift
  "$build/vs2-train" "$@" output_dir="$work/$dir" >"$work/out" 2>"$work/err" || fail "$dir: $(cat "$work/err")"
}
# figures DIR: the evaluations without what is a matter of time.
figures() {
  grep '"eval_mean_acc"' "$work/$1/trainer_log.jsonl" |
    sed -E 's/, "(eval_runtime|eval_[a-z]+_per_second|eval_benchmark_runtime|elapsed_time|remaining_time)": [^,}]*//g'
}
# logged DIR KEY: the last evaluation's figure.
logged() { tail -1 <<<"$(figures "$1")" | grep -oE "\"eval_$2\": [0-9.]+" | cut -d' ' -f2; }

# same_as_metrics DIR: they are those in $work/metrics.json.
same_as_metrics() {
  local key wanted
  for key in v_acc t_acc p_acc acc_whole_item scored; do
    wanted=$(grep -m1 -oE "\"$key\": [0-9.]+" "$work/metrics.json" | cut -d' ' -f2)
    awk -v a="$(logged "$1" $key)" -v b="$wanted" 'BEGIN { exit !(a != "" && b != "" && (a - b) ^ 2 < 1e-6) }' ||
      fail "$1: $key is $(logged "$1" $key), of the saved model $wanted"
  done
}

# ---- SFT, beside a loss on held-out rows ----
train sft "${sft[@]}" "${benchmark[@]}" learning_rate=1e-4 val_size=2
[ "$(figures sft | wc -l)" = 2 ] || fail "two evaluations were expected: $(cat "$work/sft/trainer_log.jsonl")"
figures sft | grep -q '"eval_loss": .*"eval_mean_acc": .*"eval_v_acc": .*"eval_acc_whole_item": .*"eval_scored": 6' || fail "$(figures sft)"
grep -q 'videoscore-bench-v2: .*c_5.mp4: No such file' "$work/err" || fail "the missing video is not named: $(cat "$work/err")"
grep -qE 'step 4: videoscore-bench-v2: accuracy [0-9.]+% over 9 videos' "$work/err" || fail "no word of the accuracy: $(cat "$work/err")"
grep -q '"eval_v_acc": ' "$work/sft/trainer_state.json" || fail "trainer_state.json"
grep -qa 'eval/v_acc' "$work"/sft/runs/events.out.* || fail "TensorBoard"
grep -q 'Accuracy on the benchmark' "$work/sft/benchmark_accuracy.svg" || fail "no curve"

# The same by vs2-eval, on what was saved.
"$build/vs2-eval" run --model "$work/sft" --benchmark videoscore-bench-v2 --data "$work/points.jsonl" --videos "$work/videos" \
  --output "$work/res.json" --max-new-tokens 112 --dtype f32 >/dev/null 2>&1
"$build/vs2-eval" metrics --benchmark videoscore-bench-v2 "$work/res.json" --json >"$work/metrics.json" || fail metrics
same_as_metrics sft
awk -v a="$(logged sft mean_acc)" 'BEGIN { exit !(a > 0 && a < 100) }' || fail "an accuracy that tells nothing: $(figures sft)"

# A run that goes on from a checkpoint has the same figures.
cp -r "$work/sft" "$work/resumed"
rm -r "$work/resumed/checkpoint-4"
train resumed "${sft[@]}" "${benchmark[@]}" learning_rate=1e-4 val_size=2
diff <(figures sft) <(figures resumed) || fail "resumed: other figures"

# ---- Pairs, with nothing held out, at both ends only ----
train pairs "${sft[@]}" "${benchmark[@]}" learning_rate=1e-4 eval_benchmark=videogen-reward-bench "eval_data=$work/pairs.csv" \
  eval_steps=null eval_on_start=true do_eval=true eval_limit=4
[ "$(figures pairs | grep -oE '"current_steps": [0-9]+' | tr -dc '0-9\n' | tr '\n' ' ')" = "0 4 " ] || fail "evaluations at steps 0 and 4 were expected"
figures pairs | grep -qE '"eval_mean_acc": .*"eval_vq_acc_ties": .*"eval_overall_acc_no_ties": .*"eval_scored": 4' || fail "$(figures pairs)"
figures pairs | grep -q eval_loss && fail "a loss on nothing"

# ---- GRPO, whose frames are those of its prompts ----
"$build/vs2-data" synth --out "$work/set" --videos 4 --quiet >/dev/null || fail "synth"
train grpo stage=grpo model_name_or_path=tests/golden/score dataset="$work/set/grpo.json" media_dir="$work/set" \
  max_completion_length=8 num_generations=2 max_steps=2 gradient_accumulation_steps=1 learning_rate=1e-9 bf16=false save_dtype=f32 \
  logging_steps=1 save_strategy=no disable_tqdm=true "${benchmark[@]}"
[ "$(figures grpo | wc -l)" = 1 ] || fail "one evaluation of GRPO was expected"
"$build/vs2-eval" run --model "$work/grpo" --benchmark videoscore-bench-v2 --data "$work/points.jsonl" --videos "$work/videos" \
  --output "$work/grpo.json" --max-new-tokens 112 --dtype f32 --frame-policy qwen >/dev/null 2>&1
"$build/vs2-eval" metrics --benchmark videoscore-bench-v2 "$work/grpo.json" --json >"$work/metrics.json" || fail "metrics of GRPO"
same_as_metrics grpo

# ---- Processes share the videos ----
if command -v mpirun >/dev/null && grep -q '^MPI_C_LIB_NAMES:STRING=.' "$build/CMakeCache.txt"; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
  export OMPI_MCA_mpi_yield_when_idle=1
  still=("${sft[@]}" "${benchmark[@]}" learning_rate=1e-9 save_strategy=no)
  train one "${still[@]}"
  ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 mpirun -n 2 "$build/vs2-train" "${still[@]}" output_dir="$work/two" \
    zero_stage=3 >"$work/out" 2>"$work/err" || fail "mpirun: $(cat "$work/err")"
  accuracies() { figures "$1" | grep -oE '"eval_[a-z_]+": [0-9.]+'; }
  diff <(accuracies one) <(accuracies two) || fail "two processes have other figures"
fi

# ---- Plan, and mistakes ----
"$build/vs2-train" "${sft[@]}" "${benchmark[@]}" output_dir="$work/x" --dry-run 2>/dev/null |
  grep -q '9 videos of videoscore-bench-v2 scored in each evaluation' || fail "--dry-run"
wrong() { # WORDS [key=value ...]
  local words=$1
  shift
  "$build/vs2-train" "${sft[@]}" "${benchmark[@]}" output_dir="$work/x" "$@" >"$work/out" 2>"$work/err" && fail "no error: $*"
  tail -1 "$work/err" | grep -qF -- "$words" || fail "no '$words': $(cat "$work/err")"
}
wrong "'eval_benchmark': no benchmark 'videophy3' (did you mean 'videophy2'?)" eval_benchmark=videophy3
wrong "'eval_benchmark': eval_videos is missing" eval_videos=null
wrong "'eval_data': eval_benchmark is missing" eval_benchmark=null
wrong "nowhere.json" eval_data=nowhere.json

[ $failures = 0 ] && echo "benchmarks in training: all checks passed"
exit $((failures > 0))
