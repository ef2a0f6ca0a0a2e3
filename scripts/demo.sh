#!/usr/bin/env bash
# demo.sh [DIR]: from nothing to a judge of videos. Installs what is missing, builds, renders a small video set with
# graded faults in DIR (default: demo), trains a model on it from random weights, and compares its scores of held-out
# clips with the truth.
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

step "scores of 200 clips that it has not seen"
build/vs2-score --model "$out/sft" --input "$out/test/rows.jsonl" --media-dir "$out/test" --max-frames 8 \
  --temperature 0 --max-new-tokens 128 --format json --output "$out/scores.jsonl"

step "one of them"
video=$out/test/videos/test_0000_0.mp4
prompt=$(sed -n '1s/.*"prompt": "\(.*\)"}/\1/p' "$out/test/rows.jsonl")
build/vs2-score --model "$out/sft" --video "$video" --prompt "$prompt" --max-frames 8 --temperature 0 \
  --max-new-tokens 128
echo
echo "The truth: $(sed -n '/"thinking"/{s/.*"thinking": "\(.*\)".*/\1/p;q}' "$out/test/videoscore-bench-v2.json")"

step "how often the score is exactly right"
# Truth and answers are in the same order: a line a value of the indented truth, a line a clip of the answers.
awk '
  function value(line) { sub(/.*: */, "", line); return line + 0 }
  FNR == NR {
    for (d = 1; d <= 3; d++) if (index($0, "\"" key[d] "\"")) truth[d, ++count[d]] = value($0)
    next
  }
  {
    row++
    for (d = 1; d <= 3; d++)
      if (match($0, "\"" letter[d] "_hard_score\": *[0-9]")) {
        score = substr($0, RSTART + RLENGTH - 1, 1)
        right[d] += score == truth[d, row]
      }
  }
  BEGIN {
    split("visual_score t2v_score phy_score", key, " "); split("v t p", letter, " ")
    split("visual quality,text-to-video alignment,physical consistency", name, ",")
  }
  END {
    printf "%-26s %10s %22s %7s\n", "", "this model", "best constant guess", "ratio"
    for (d = 1; d <= 3; d++) {
      most = 0
      for (s = 1; s <= 5; s++) {
        n = 0
        for (i = 1; i <= row; i++) n += truth[d, i] == s
        if (n > most) most = n
      }
      model = 100 * right[d] / row; guess = 100 * most / row; models += model / 3; guesses += guess / 3
      printf "%-26s %9.1f%% %21.1f%% %7.2f\n", name[d], model, guess, model / guess
    }
    printf "%-26s %9.1f%% %21.1f%% %7.2f\n", "mean", models, guesses, models / guesses
  }' "$out/test/videoscore-bench-v2.json" "$out/scores.jsonl"

step "done"
echo "The model is $out/sft, its loss over the steps $out/sft/training_loss.svg, the answers $out/scores.jsonl."
echo "Next: watch $out/videos/, change configs/demo_sft.yaml (more steps, another rate), score a clip of your own:"
echo "  build/vs2-score --model $out/sft --video FILE --prompt TEXT --max-frames 8"
