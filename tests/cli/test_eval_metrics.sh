#!/usr/bin/env bash
# vs2-eval metrics: figures of files and pairs, files side by side, and how it says no.
set -euo pipefail
build=$(realpath "${VS2_BUILD_DIR:-build}")
program=$build/vs2-eval
source tests/support.sh

# found WORDS: the last command's stdout has the words.
found() { grep -qF -- "$1" "$folder/out" || fail "no '$1' in $(cat "$folder/out")"; }

cd "$folder"
# row NAME TRUTH MODEL [MORE]: the same in each dimension.
row() {
  local fields=
  for d in v t p; do fields+=",\"${d}_score_gt\":$2,\"${d}_score_model\":$3"; done
  echo "{\"video_name\":\"$1\",\"prompt\":\"<script>\"$fields${4:-}}"
}
list() { echo "[$(paste -sd,)]"; }
{ row a 1 1; row b.mp4 2 3; row x/c 5 3; row d 4 null; } | list >res.json

# One file, as a table and as JSON.
expect 0 "any rows, hard scores: 4 rows, 3 scored, 1 missing" "$program" metrics res.json
found "33.333 [0.0, 100.0]"
found "truth down, model across"
expect 0 '"missing": 1' "$program" metrics res.json --benchmark videoscore-bench-v2 --json
found '"v_acc": 33.333'
found '"v_acc_relaxed": 66.667'
found '"acc_whole_item": 33.333'
found '"overall_acc": null'
expect 0 '"v_plcc": 69.338' "$program" metrics res.json --json --score float
cp out first
"$program" metrics res.json --json --score float | cmp - first || fail "two runs differ"
expect 0 '"score": "hard"' "$program" metrics --benchmark vs2_bench res.json --json
echo '[]' >none.json
expect 0 '"v_acc": null' "$program" metrics none.json --json
row only 3 3 | list >one.json
expect 0 '"v_spcc": null' "$program" metrics one.json --json
found '"v_acc": 100'
{ row a 1 3; row b 2 3; } | list >constant.json
expect 0 '"v_plcc": null' "$program" metrics constant.json --json
grep -qi nan out && fail "NaN in the JSON"
echo '[{"video_name":"a","output":"(1) visual quality: 4\n(2) text-to-video alignment: 3\n(3) physical/common-sense consistency: 5"}]' >text.json
expect 0 "1 read from their output" "$program" metrics text.json

# Pairs, in a CSV as they come.
printf '\xef\xbb\xbfpath_A,path_B,prompt,VQ,TA,Overall\r\nm/a.mp4,b.mp4,"a ""cat"", \r\nor two",B,same,B\r\nc.mp4,b.mp4,,A,A,same\r\nd.mp4,a.mp4,,A,A,A\r\ngone.mp4,a.mp4,,A,A,A\r\n' >pairs.csv
expect 0 '"pairs_dropped": 2' "$program" metrics --benchmark videogen-reward-bench --data pairs.csv res.json --json
found '"pairs": 4'
found '"pairs_unknown": 1'
found '"vq_acc_ties": 50.0'
found '"ta_acc_ties": 0.0'
found '"overall_acc_ties": 100.0'
found '"overall_acc_no_ties": 100.0'
expect 0 "4 pairs, 2 dropped, 1 of them with a video that has no row" "$program" metrics --benchmark videogen-reward-bench --data pairs.csv res.json

# Files side by side.
{ row a 1 1; row b.mp4 2 2; row x/c 5 5; row d 4 4; } | list >better.json
expect 0 "A is res.json, B is better.json: 3 videos scored in both" "$program" metrics res.json better.json
found "v_acc"
expect 0 '"comparisons": [' "$program" metrics res.json better.json one.json --json
found '"better": "neither"'
expect 0 "4 pairs, 1 dropped" "$program" metrics --benchmark videogen-reward-bench --data pairs.csv better.json
for i in $(seq 40); do row "v$i" $((i % 5 + 1)) $((i % 5 + 1)); done | list >right.json
for i in $(seq 40); do row "v$i" $((i % 5 + 1)) $((i * 7 % 4 + 1)); done | list >wrong.json
expect 0 "A is wrong.json, B is right.json: 40 videos" "$program" metrics wrong.json right.json
grep -qE '^v_acc .* B$' out || fail "B is not better: $(cat out)"
grep -qE '^v_mae .* B$' out || fail "B is not better in its errors: $(cat out)"

# What our own clips have.
"$build/vs2-data" synth --out world --videos 1 --test-videos 5 --quiet >/dev/null
for d in v t p; do fields+=",\"${d}_score_model\":3"; done
for benchmark in videogen-reward-bench mj-bench-video t2vqa-db; do
  data=world/test/$benchmark-pairs.json
  [ -e "$data" ] || data=world/test/$benchmark.csv
  for i in 0 1 2 3 4; do echo "{\"video_name\":\"test_0000_$i\"$fields}"; done | list >world.json
  expect 0 '"pairs_dropped": 0' "$program" metrics --benchmark $benchmark --data "$data" world.json --json
done

# Refusals.
expect 2 "no file is named" "$program" metrics
expect 2 "no benchmark 'videophy3' (did you mean 'videophy2'?)" "$program" metrics --benchmark videophy3 res.json
expect 2 "--data needs --benchmark" "$program" metrics --data pairs.csv res.json
expect 2 "VideoPhy2-test has no pairs" "$program" metrics --benchmark videophy2 --data pairs.csv res.json
expect 2 "score" "$program" metrics --score soft res.json
expect 1 "gone.json" "$program" metrics gone.json
{ row a 1 1; row b 2 '"3"'; } | list >bad.json
expect 1 "bad.json: row 2: 'v_score_model' is text, not a number" "$program" metrics bad.json
{ row a 1 1; echo '{"video_name":"b","v_score_gt":1,"t_score_gt":1,"p_score_gt":1}'; } | list >bad.json
expect 1 "bad.json: row 2: neither 'v_score_model' nor 'output'" "$program" metrics bad.json
{ row a 1 1; row a.mp4 1 1; } | list >bad.json
expect 1 "the video" "$program" metrics bad.json
printf 'path_A,path_B,VQ,TA,Overall\na,b,A,A\n' >bad.csv
expect 1 "bad.csv:2: 4 fields, but there are 5 columns" "$program" metrics --benchmark videogen-reward-bench --data bad.csv res.json
printf 'path_A,path_B,VQ,TA,Overall\na,b,A,A,C\n' >bad.csv
expect 1 "bad.csv: row 1: 'Overall' is 'C'" "$program" metrics --benchmark videogen-reward-bench --data bad.csv res.json
expect 0 "Picks" "$program" best-of-n --help
if [ -e /dev/full ]; then expect 1 "error:" bash -c "$program metrics res.json > /dev/full"; fi
