#!/usr/bin/env bash
# demo.sh [DIR]: from nothing to a judge of videos. Installs what is missing, builds, renders a small video set with
# graded faults in DIR (default: demo), trains a model on it from random weights (SFT, then GRPO), and compares what it
# was at each stage on clips that it has not seen.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-demo}
SECONDS=0

step() { printf '\n== %s   [%d:%02d]\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }

step "packages"
bash scripts/setup.sh

step "build"
bash scripts/build.sh release | tail -1

step "a video set with faults, and a model with random weights, in $out/"
build/vs2-data synth --out "$out" --preset demo --videos 2500 --test-videos 200
echo "A clip shows coloured shapes over textured ground. Its prompt may ask for others; its picture may be spoilt and"
echo "its movement impossible, each in one of five strengths. That is what the three scores are of."

step "supervised fine-tuning: everything is learned, from the pixels to the words"
build/vs2-train --config configs/demo_sft.yaml model_name_or_path="$out/model" dataset_dir="$out" output_dir="$out/sft"

step "one clip that it has not seen"
clip() { # KEY: of the first line of the test set
  sed -n "1s/.*\"$1\": \"\([^\"]*\)\".*/\1/p" "$out/test/rows.jsonl"
}
build/vs2-score --model "$out/sft" --video "$out/test/$(clip video)" --prompt "$(clip prompt)" --max-frames 8 \
  --temperature 0 --max-new-tokens 128
echo
echo "The truth: $(sed -n '/"thinking"/{s/.*"thinking": "\(.*\)".*/\1/p;q}' "$out/test/videoscore-bench-v2.json")"

step "reinforcement (GRPO): eight answers a clip, and those are made likelier that come nearer to the truth"
build/vs2-train --config configs/demo_grpo.yaml model_name_or_path="$out/sft" dataset="$out/grpo.json" \
  output_dir="$out/grpo"

step "200 clips that none of the models has seen"
mkdir -p "$out/results"
for model in model sft grpo; do
  build/vs2-eval run --model "$out/$model" --benchmark videoscore-bench-v2 --data "$out/test/videoscore-bench-v2.json" \
    --videos "$out/test/videos" --max-frames 8 --temperature 0 --max-new-tokens 128 --output "$out/results/$model.json"
done

step "the model before training, after SFT and after GRPO"
results=("$out"/results/{model,sft,grpo}.json)
build/vs2-eval metrics --benchmark videoscore-bench-v2 "${results[@]}" >"$out/results/points.txt"
build/vs2-eval metrics --benchmark videogen-reward-bench --data "$out/test/videogen-reward-bench.csv" "${results[@]:1}" \
  >"$out/results/pairs.txt"
grep -E "rows,|visual quality  |^accuracy|three exact|constant" "$out/results/points.txt"
echo
grep -E "^pairs|visual quality  |json:" "$out/results/pairs.txt"
echo
for model in sft grpo; do
  echo "the best of five clips, picked by $model:"
  build/vs2-eval best-of-n "$out/results/$model.json" --output "$out/results/picks_$model.json"
done
build/vs2-eval report --benchmark videoscore-bench-v2 --videos "$out/test/videos" "${results[@]}" -o "$out/report.html"

step "done"
echo "Open $out/report.html: the three models beside each other, and every clip with its answer, worst first."
echo "Losses and rewards over the steps are $out/sft/training_loss.svg and $out/grpo/reward_curve.svg."
echo "Next: watch $out/videos/, change configs/demo_*.yaml (more steps, another rate), score a clip of your own:"
echo "  build/vs2-score --model $out/grpo --video FILE --prompt TEXT --max-frames 8"
