#!/usr/bin/env bash
# vs2-bench video: what it prints, and how it says no.
set -euo pipefail
program=${VS2_BUILD_DIR:-build}/vs2-bench
source tests/support.sh
clips=tests/golden/video

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
refuses 2 "data" "$program" video --media-dir $clips
refuses 2 "fps" "$program" video --data "$folder/array.json" --fps 0
refuses 2 "frame-policy" "$program" video --data "$folder/array.json" --frame-policy other
refuses 1 "missing.mp4: No such file or directory" "$program" video --data "$folder/missing.json" --media-dir $clips
refuses 1 "row 1: no video" "$program" video --data "$folder/none.json"
refuses 1 "there are no rows in it" "$program" video --data "$folder/empty.json"
refuses 1 "broken.json: line 2" "$program" video --data "$folder/broken.json"
refuses 1 "nowhere.json" "$program" video --data "$folder/nowhere.json"
