#!/usr/bin/env bash
# vs2-data: what it writes, and how it says no.
set -euo pipefail
program=${VS2_BUILD_DIR:-build}/vs2-data
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "test_data: $1" >&2
  exit 1
}

# expect CODE WORDS COMMAND...: the command ends with the code, and the one line on stderr has the words.
expect() {
  local code=0
  "${@:3}" >"$folder/out" 2>"$folder/err" || code=$?
  [ "$code" -eq "$1" ] || fail "exit $code, not $1: ${*:3}"
  grep -qF -- "$2" "$folder/err" || fail "no '$2' on stderr of ${*:3}: $(cat "$folder/err")"
  [ "$(grep -c 'error:' "$folder/err")" -le 1 ] || fail "more than one line: $(cat "$folder/err")"
}

"$program" --help | grep -q synth || fail "--help does not name synth"
"$program" synth --help | grep -q bench-0.4b || fail "synth --help does not name the presets"
expect 2 "out" "$program" synth
expect 2 "preset" "$program" synth --out "$folder/set" --preset huge
expect 2 "videos" "$program" synth --out "$folder/set" --videos 0
expect 2 "" "$program" nothing
expect 1 "/nowhere/set: cannot make the folder" "$program" synth --out /nowhere/set

expect 0 "videos 2/2" "$program" synth --out "$folder/set" --videos 2 --test-videos 5 --seed 3
grep -qx "$folder/set/test" "$folder/out" || fail "stdout does not name the test set"
grep -qx "$folder/set/rows.json" "$folder/out" || fail "stdout does not name the files"
for file in rows.json videos/clip_0001.mp4 model/config.json model/model.safetensors model/tokenizer.json \
  raw.json sft.json grpo.json dataset_info.json test/videogen-reward-bench.csv test/videos/test_0000_4.mp4; do
  [ -s "$folder/set/$file" ] || fail "no $file"
done
[ -z "$("$program" synth --out "$folder/set" --videos 1 --quiet 2>&1 >/dev/null)" ] || fail "--quiet speaks"
