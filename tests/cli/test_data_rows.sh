#!/usr/bin/env bash
# vs2-data check, stats, template and convert: what they find and write, and how they say no.
set -euo pipefail
program=$(realpath "${VS2_BUILD_DIR:-build}")/vs2-data
golden=$(realpath tests/golden)
source tests/support.sh

# found WORDS: the last command's stdout has the words.
found() { grep -qF -- "$1" "$folder/out" || fail "no '$1' in $(cat "$folder/out")"; }

cd "$folder"
ln -s "$golden/video" videos
raw() {
  echo "{\"video_name\": \"$1\", \"video_url\": \"u\", \"prompt\": \"$2\", \"visual_score\": $3, \"visual_cmt_raw\": \"a\"," \
    "\"t2v_score\": 4, \"t2v_cmt_raw\": \"b\", \"phy_score\": 5, \"phy_cmt_raw\": null, \"thinking\": \"because $2\"}"
}

# Converting.
{ raw short "A cat." 1; raw bframes.mp4 "Two dogs" 3; raw vp9.webm "Rain!" 5; } >raw.jsonl
expect 0 "3 rows converted, 0 left out" "$program" convert raw.jsonl --sft sft.json --grpo grpo.json
python='import json, sys
sft, grpo, info = (json.load(open(name)) for name in ("sft.json", "grpo.json", "dataset_info.json"))
assert [row["videos"] for row in sft] == [["videos/short.mp4"], ["videos/bframes.mp4"], ["videos/vp9.webm"]]
assert [turn["from"] for turn in sft[0]["conversations"]] == ["human", "gpt"]
assert sft[0]["conversations"][0]["value"].startswith("<video>\n") and "its text prompt:\nA cat.\n" in sft[0]["conversations"][0]["value"]
assert sft[1]["conversations"][1]["value"] == ("\n<think>\nbecause Two dogs\n</think>\n\n(1) visual quality: 3\n"
    "(2) text-to-video alignment: 4\n(3) physical/common-sense consistency: 5\n")
assert list(grpo[0]) == ["problem_id", "problem", "data_type", "problem_type", "options", "solution", "path", "data_source"]
assert grpo[2]["path"] == "./vs2_videos/vp9.webm" and grpo[0]["path"] == "./vs2_videos/short.mp4"
assert grpo[1]["solution"] == "<answer>visual quality: 3; text-to-video alignment: 4; physical/common-sense consistency: 5</answer>"
assert "<video>" not in grpo[0]["problem"] and grpo[0]["problem_type"] == "video eval" and grpo[0]["options"] == []
assert info["sft"] == {"file_name": "sft.json", "formatting": "sharegpt", "columns": {"messages": "conversations", "videos": "videos"}}'
if command -v python3 >/dev/null; then python3 -c "$python" || fail "the converted rows"; fi
raw short "A" 6 >>raw.jsonl
cp sft.json before.json
expect 1 "raw.jsonl: row 4: 'visual_score' is no whole number from 1 to 5" "$program" convert raw.jsonl --sft sft.json
cmp sft.json before.json || fail "a conversion that failed wrote"
expect 0 "raw.jsonl: row 4: left out: 'visual_score'" "$program" convert raw.jsonl --sft sft.json --skip-broken --name again
grep -q '"again"' dataset_info.json && grep -q '"sft"' dataset_info.json || fail "dataset_info.json lost a set"
cmp sft.json before.json || fail "the rows that are right differ"
expect 2 "neither --sft nor --grpo" "$program" convert raw.jsonl
expect 2 "no file is named" "$program" convert --sft x.json
echo '[{"video_name": "a"}]' >poor.json
expect 1 "poor.json: row 1: there is no text 'prompt'" "$program" convert poor.json --sft x.json
expect 1 "none of its 1 rows" "$program" convert poor.json --sft x.json --skip-broken
[ ! -e x.json ] || fail "x.json is there"

# The template, back and forth.
expect 0 "3 of 3 rows fit" "$program" template sft.json --output template.txt
"$program" convert raw.jsonl --sft second.json --skip-broken --template template.txt >/dev/null 2>&1
cmp sft.json second.json || fail "the template is not what the rows were made with"
expect 0 "3 of 3 rows fit" "$program" template sft --dataset-dir .
cmp out template.txt || fail "stdout and file differ"
expect 1 "sft.json: no row has its prompt between 'nothing'" "$program" template sft.json --before nothing
expect 2 "no data set is named" "$program" template

# Checking: nothing, then one of each.
expect 0 "sft.json: 3 rows, nothing is broken" "$program" check sft.json
expect 0 "nothing is broken" "$program" check sft --dataset-dir . --quick --threads 2
row() { echo "{\"conversations\": [{\"from\": \"human\", \"value\": \"$1\"}, {\"from\": \"gpt\", \"value\": \"$2\"}], \"videos\": [\"$3\"]}"; }
good="(1) visual quality: 4\\n(2) text-to-video alignment: 3\\n(3) physical/common-sense consistency: 5"
head -c 3000 videos/bframes.mp4 >cut.mp4
{ row "<video>" "$good" videos/short.mp4
  row "<video>" "$good" videos/gone.mp4
  row "no mark" "$good" videos/short.mp4
  row "<video>q" "I like it" videos/short.mp4
  row "<video>" "$good" videos/short.mp4
  row "<video>" "$good" cut.mp4; } >bad.jsonl
expect 1 "bad.jsonl: row 2: $folder/videos/gone.mp4: No such file or directory" "$program" check bad.jsonl --media-dir "$folder"
found "bad.jsonl: row 3: the number of videos (1) does not match the number of <video> marks (0)"
found "bad.jsonl: row 4: visual quality: "
found "bad.jsonl: row 5: the same as row 1"
found "bad.jsonl: row 6: $folder/cut.mp4: "
found "bad.jsonl: 6 rows, rows that cannot be trained: 1, videos or images that cannot be read: 2, answers without readable scores: 3, rows that are there twice: 1"
expect 1 '"kind": "duplicate"' "$program" check bad.jsonl --format json
found '"duplicate": 1'
found '"row": 6'
expect 1 "row 2: its " "$program" check sft.json --model "$golden/tokenizer" --cutoff-len 380 --max-pixels 5000
expect 1 "inside a video or image" "$program" check sft.json --model "$golden/tokenizer" --cutoff-len 20 --max-pixels 5000
expect 2 "no data set is named" "$program" check
expect 2 "no data set 'sfx' (did you mean 'sft'?)" "$program" check sfx --dataset-dir .
expect 1 "gone.json: there is no such file" "$program" check gone.json

# Statistics.
expect 0 "6 rows, 3 of them with something that cannot be read" "$program" stats bad.jsonl --svg plots.svg
found "Visual quality (score): 4 values, mean 4,"
found "Frames of a video: "
grep -q '</svg>' plots.svg || fail "no SVG"
expect 0 '"answer_tokens"' "$program" stats sft.json sft --dataset-dir . --model "$golden/tokenizer" --format json
found '"rows": 6'
expect 0 "6 rows, 1 of them" "$program" stats bad.jsonl --no-videos
! grep -q "Frames" out || fail "--no-videos opens videos"
expect 2 "no data set is named" "$program" stats
