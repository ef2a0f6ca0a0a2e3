#!/usr/bin/env bash
# vs2-bench video: what it prints, and how it says no.
set -euo pipefail
program=${VS2_BUILD_DIR:-build}/vs2-bench
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
clips=tests/golden/video

fail() {
  echo "test_bench_video: $1" >&2
  exit 1
}

# expect CODE WORDS ARGUMENTS...: it ends with the code, and the one line on stderr has the words.
expect() {
  local code=0
  "$program" video "${@:3}" >"$folder/out" 2>"$folder/err" || code=$?
  [ "$code" -eq "$1" ] || fail "exit $code, not $1: ${*:3}"
  grep -qF -- "$2" "$folder/err" || fail "no '$2' on stderr of ${*:3}: $(cat "$folder/err")"
  [ "$(wc -l <"$folder/err")" -le 1 ] || fail "more than one line: $(cat "$folder/err")"
}

echo '[{"videos": ["bframes.mp4"]}, {"video": "animation.gif"}]' >"$folder/array.json"
printf '{"path": "uneven.mkv"}\n\n{"video_name": "odd.avi"}\n{"video": "vp9.webm"}\n' >"$folder/lines.jsonl"
for rows in array.json lines.jsonl; do
  for policy in llamafactory qwen; do
    "$program" video --data "$folder/$rows" --media-dir $clips --fps 2 --max-frames 4 --max-pixels 5000 \
      --repeat 2 --threads 2 --frame-policy $policy >"$folder/out"
    grep -qE '"frames_per_video": [1-4]\.[0-9]+, "patches_per_video": [1-9].*"seconds_per_video": [0-9.]*[1-9]' \
      "$folder/out" || fail "$rows $policy: $(cat "$folder/out")"
    [ "$(wc -l <"$folder/out")" -eq 1 ] || fail "not one line of JSON"
  done
done

echo '[{"video": "missing.mp4"}]' >"$folder/missing.json"
echo '[{"prompt": "a cat"}]' >"$folder/none.json"
echo '[]' >"$folder/empty.json"
echo '[{"video": 3' >"$folder/broken.json"
expect 2 "data" --media-dir $clips
expect 2 "fps" --data "$folder/array.json" --fps 0
expect 2 "frame-policy" --data "$folder/array.json" --frame-policy other
expect 1 "missing.mp4: No such file or directory" --data "$folder/missing.json" --media-dir $clips
expect 1 "row 1: no video" --data "$folder/none.json"
expect 1 "there are no rows in it" --data "$folder/empty.json"
expect 1 "broken.json: line 2" --data "$folder/broken.json"
expect 1 "nowhere.json" --data "$folder/nowhere.json"
