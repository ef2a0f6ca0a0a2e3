#!/usr/bin/env bash
# demo.sh [DIR]: from nothing to a scored video. Installs what is missing, builds, makes a small checkpoint and
# clips in DIR (default: demo), and scores a clip.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-demo}

step() { printf '\n== %s\n' "$*"; }

step "packages"
bash scripts/setup.sh

step "build"
bash scripts/build.sh release | tail -1

step "a small checkpoint and clips in $out/"
build/vs2-data synth --out "$out" --preset tiny
video=$out/videos/clip_0000.mp4
prompt=$(sed -n 's/.*"prompt": "\(.*\)".*/\1/p' "$out/rows.json" | head -1)

step "score $video"
echo "The weights are random: the text is noise, and no scores can be read from it."
echo
echo "build/vs2-score --model $out/model --video $video --prompt \"$prompt\" --max-new-tokens 64"
build/vs2-score --model "$out/model" --video "$video" --prompt "$prompt" --max-new-tokens 64

step "score with the tests' checkpoint"
echo "This one was taught to write answers (and nothing of videos): so looks a result. With a real checkpoint,"
echo "VideoScore2's for one, the command is the same."
echo
echo "build/vs2-score --model tests/golden/score --video tests/golden/video/bframes.mp4 --prompt \"A red ball rolls.\""
build/vs2-score --model tests/golden/score --video tests/golden/video/bframes.mp4 --prompt "A red ball rolls."
