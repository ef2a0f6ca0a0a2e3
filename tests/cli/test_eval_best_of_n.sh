#!/usr/bin/env bash
# vs2-eval best-of-n: picks from result rows, the list of what is to be scored, and how it says no.
set -euo pipefail
build=$(realpath "${VS2_BUILD_DIR:-build}")
program=$build/vs2-eval
golden=$(realpath tests/golden)
source tests/support.sh

cd "$folder"
# A row with a prompt, three scores and a truth.
row() { echo "{\"video_name\":\"$1\",\"prompt\":\"$2\",\"v_score_model\":$3,\"t_score_model\":$4,\"p_score_model\":$5,\"v_score_gt\":$6,\"t_score_gt\":$6,\"p_score_gt\":$6}"; }
{ row m_0001_b.mp4 "a cat" 3 3 4 4; row m_0001_a.mp4 "a cat" 4 3 3 2; row m_0002_a.mp4 "a dog" 1 1 1 1; row m_0002_b.mp4 "a dog" 2 1 1 5; } >res.jsonl
expect 0 '"best": "m_0001_a.mp4"' "$program" best-of-n res.jsonl
grep -qF '"mean": 3.3333' out || fail "no mean: $(cat out)"
grep -qF '2 groups with ground truth: picked 3.500, a random one 3.000, the best 4.500; +0.500, 33.3% of the way' err || fail "$(cat err)"
cp out published
expect 0 "2 groups" "$program" best-of-n res.jsonl --output picks.json --gain gain.json
sed -e '$a\' picks.json | cmp - published || fail "file and stdout differ"
grep -qF '"reach": 33.3333' gain.json || fail "$(cat gain.json)"
expect 0 "2 groups of another size left out" "$program" best-of-n res.jsonl --group-size 5
printf '{"idx": 7, "text": "a cat"}\n{"idx": 3, "text": "a dog"}\n' >prompts.jsonl
expect 0 '"group_idx": 7' "$program" best-of-n res.jsonl --prompts prompts.jsonl

# The list of a folder, whose results vs2-score writes in a form that is read again.
mkdir clips && touch clips/m_7_1.mp4 clips/m_3_0.mp4 clips/readme.txt
expect 0 '{"video": "clips/m_3_0.mp4", "prompt": "a dog"}' "$program" best-of-n --videos clips --prompts prompts.jsonl
[ "$(wc -l <out)" -eq 2 ] || fail "not two lines: $(cat out)"
"$build/vs2-data" synth --out world --videos 1 --test-videos 5 --quiet >/dev/null
expect 0 "test_0000_4.mp4" "$program" best-of-n --videos world/test/videos --prompts world/test/best-of-n-prompts.jsonl
head -2 out >jobs.jsonl
"$build/vs2-score" --model world/model --input jobs.jsonl --format json --max-new-tokens 2 --output scores.jsonl >/dev/null 2>&1
expect 0 '"best": ""' "$program" best-of-n scores.jsonl

# Scored here: tests/golden/score was taught to answer one prompt with 4, 3, 5, and another one with 2, 5, 1.
mkdir films && ln -s "$golden/video/bframes.mp4" films/m_7_1.mp4 && ln -s "$golden/video/odd444.mp4" films/m_7_0.mp4
ln -s "$golden/video/tenbit.mp4" films/m_3_0.mp4 && echo "no video" >films/m_3_1.mp4
printf '{"idx": 7, "text": "A red ball rolls."}\n{"idx": 3, "text": "猫 jumps très haut 🎬"}\n' >taught.jsonl
score=("$program" best-of-n --model "$golden/score" --videos films --prompts taught.jsonl --temperature 0 --dtype f32)
expect 0 '"best": ""' "${score[@]}" --scored scored.json --max-new-tokens 2
expect 1 "made with --max-new-tokens 2, not 112" "${score[@]}" --scored scored.json --max-new-tokens 112
expect 0 'm_3_1.mp4: cannot be opened' "${score[@]}" --scored films.json --output picks.json --max-new-tokens 112
for words in '"group_idx": 3' '"best": "m_3_0.mp4"' '"best": "m_7_0.mp4"' '"mean": 4.0' '"mean": null'; do
  grep -qF "$words" picks.json || fail "no $words: $(cat picks.json)"
done
"$program" best-of-n films.json --prompts taught.jsonl --output again.json && cmp picks.json again.json || fail "other picks from the rows"
expect 0 "3 are done, 1 to score here" "${score[@]}" --scored films.json --output again.json --max-new-tokens 112
cmp picks.json again.json || fail "other picks when called again"

# Refusals.
expect 2 "--model needs --videos and --scored" "$program" best-of-n --model x --videos films --prompts taught.jsonl
expect 2 "--scored needs --model" "$program" best-of-n --scored x res.jsonl
expect 2 "no file is named" "$program" best-of-n
expect 2 "--videos needs --prompts" "$program" best-of-n --videos clips
expect 2 "not both" "$program" best-of-n res.jsonl --videos clips --prompts prompts.jsonl
expect 1 "m_9_1.mp4: no prompt has the idx 9" bash -c "touch clips/m_9_1.mp4; $program best-of-n --videos clips --prompts prompts.jsonl"
row nameless x 1 1 1 1 >bad.jsonl
expect 1 "bad.jsonl: row 1: 'nameless' does not tell its group" "$program" best-of-n bad.jsonl
expect 1 "bad.jsonl: row 1: its prompt is not among those of the groups" "$program" best-of-n bad.jsonl --prompts prompts.jsonl
expect 1 "No such file" "$program" best-of-n res.jsonl --output no/such/folder/picks.json
