#!/usr/bin/env bash
# vs2-data: what it writes, and how it says no.
set -euo pipefail
program=${VS2_BUILD_DIR:-build}/vs2-data
source tests/support.sh

"$program" --help | grep -q synth || fail "--help does not name synth"
"$program" synth --help | grep -q bench-0.4b || fail "synth --help does not name the presets"
refuses 2 "out" "$program" synth
refuses 2 "preset" "$program" synth --out "$folder/set" --preset huge
refuses 2 "videos" "$program" synth --out "$folder/set" --videos 0
refuses 2 "" "$program" nothing
refuses 1 "/nowhere/set: cannot make the folder" "$program" synth --out /nowhere/set

expect 0 "videos 2/2" "$program" synth --out "$folder/set" --videos 2 --test-videos 5 --seed 3
grep -qx "$folder/set/test" "$folder/out" || fail "stdout does not name the test set"
grep -qx "$folder/set/rows.json" "$folder/out" || fail "stdout does not name the files"
for file in rows.json videos/clip_0001.mp4 model/config.json model/model.safetensors model/tokenizer.json \
  raw.json sft.json grpo.json dataset_info.json test/videogen-reward-bench.csv test/videos/test_0000_4.mp4; do
  [ -s "$folder/set/$file" ] || fail "no $file"
done
[ -z "$("$program" synth --out "$folder/set" --videos 1 --quiet 2>&1 >/dev/null)" ] || fail "--quiet speaks"
