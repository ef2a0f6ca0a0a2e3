#!/usr/bin/env bash
# vs2-score from outside: help, usage, bad input (each one line and exit 1 or 2), output, many videos.
set -uo pipefail
score=$VS2_BUILD_DIR/vs2-score
data=$VS2_BUILD_DIR/vs2-data
golden=tests/golden/model
source tests/support.sh

# field NAME: that member of the JSON objects in $folder/out, a line each (no nested objects).
field() {
    grep -oE "\"$1\": (null|-?[0-9][0-9.e+-]*|\"([^\"\\\\]|\\\\.)*\"|\[[^]]*\]|\{[^}]*\})" "$folder/out" | sed "s/^\"$1\": //"
}

# Everything in $folder/out but the time it took.
lasting() { sed 's/"seconds": [0-9.e-]*//' "$folder/out"; }

# ---- Help and usage ----
"$score" --help | grep -q '^Usage: vs2-score --model DIR --video FILE --prompt TEXT' || fail help
"$score" --help | awk 'length > 96' | grep -q . && fail "a long line in the help"
"$score" --version | grep -qx 'vs2-score [0-9.]*' || fail version
model="--model $golden/tied"
refuses 2 "unknown option '--modle' (did you mean '--model'?)" "$score" --modle x
refuses 2 "option '--model' is missing" "$score" --video x --prompt y
refuses 2 "option '--video' or '--input' is missing" "$score" $model
refuses 2 "option '--prompt' is missing" "$score" $model --video x
refuses 2 "exclude each other" "$score" $model --video x --input y
refuses 2 "goes with '--video'" "$score" $model --input x --prompt y
refuses 2 "goes with '--input'" "$score" $model --video x --prompt y --media-dir z
refuses 2 "goes with '--format json'" "$score" $model --video x --prompt y --token-ids
refuses 2 "'--temperature': -1 is out of range" "$score" $model --video x --prompt y --temperature -1
refuses 2 "'--frame-policy': 'none' is none of llamafactory, qwen" "$score" $model --video x --prompt y --frame-policy none
refuses 2 "'--num-samples': 0 is out of range" "$score" $model --video x --prompt y --num-samples 0
refuses 2 "'y' is too much" "$score" $model --video x --prompt z y
refuses 2 "device" "$score" $model --video x --prompt z --device abacus

# ---- Good runs ----
"$data" synth --out "$folder/set" --videos 3 --quiet >/dev/null || fail synth
clip=$folder/set/videos/clip_0000.mp4
quick="--temperature 0 --max-new-tokens 12 --max-frames 4 --max-pixels 20000 --dtype f32 --prompt ball"
json="--format json --token-ids"
run() { "$score" "$@" >"$folder/out" 2>"$folder/err" || fail "exit $?: $* : $(cat "$folder/err")"; }

run $model --video "$clip" $quick $json
field video_name | grep -qx '"clip_0000.mp4"' || fail "video_name"
field completion_tokens | grep -qx 12 || fail "completion_tokens"
field finish | grep -qx '"length"' || fail "finish"
field errors | grep -q v_hard_score || fail "errors"
field v_hard_score | grep -qx null || fail "v_hard_score"
field completion_ids >"$folder/first"
run $model --video "$clip" $quick
grep -q "no answer in the text" "$folder/out" || fail "text output: $(cat "$folder/out")"

# The same seed gives the same text; another one another; several samples on one prompt.
sampled="--temperature 1 --max-new-tokens 12 --max-frames 4 --max-pixels 20000 --dtype f32 --prompt ball"
run $model --video "$clip" $sampled $json --seed 7 --num-samples 3
lasting >"$folder/samples"
run $model --video "$clip" $sampled $json --seed 7 --num-samples 3
lasting | cmp -s - "$folder/samples" || fail "the same seed gave another text"
run $model --video "$clip" $sampled $json --seed 8 --num-samples 3
lasting | cmp -s - "$folder/samples" && fail "another seed gave the same text"
[ "$(field finish | wc -l)" = 4 ] || fail "three samples and the first again: $(cat "$folder/out")"

# ---- A checkpoint that answers: the form of the output ----
answering="--model tests/golden/score --video tests/golden/video/bframes.mp4 --temperature 0 --dtype f32"
run $answering --prompt "A red ball rolls." --format json
lasting | sed 's/: [0-9]*\.[0-9]*/: REAL/g' | diff - tests/golden/score/output.json || fail "JSON output"
run $answering --prompt "A red ball rolls."
grep -qE '^  visual quality +4 +[0-9.]+ +[0-9.]+ +[0-9.]+$' "$folder/out" || fail "text output: $(cat "$folder/out")"
grep -qx '  (2) text-to-video alignment: 3' "$folder/out" || fail "no rationale: $(cat "$folder/out")"
run $answering --prompt "A red ball rolls." --temperature 1 --num-samples 4 --output "$folder/text"
grep -qE '^  physical/common-sense consistency +[1-5] +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+' "$folder/text" ||
    fail "text output of samples: $(cat "$folder/text")"

# ---- Many, with bad ones among them: in order, each as it would be alone ----
head -c 3000 "$clip" >"$folder/cut.mp4"
echo "not a video" >"$folder/text.mp4"
: >"$folder/empty.mp4"
mkdir "$folder/nothing"
{
    printf '{"video": "%s", "prompt": "ball"}\n' set/videos/clip_0001.mp4 text.mp4 set/videos/clip_0000.mp4 missing.mp4 \
        set/videos/clip_0002.mp4 cut.mp4
} >"$folder/rows.jsonl"
"$score" $model --input "$folder/rows.jsonl" --media-dir "$folder" ${quick% --prompt ball} $json --output "$folder/result" 2>"$folder/err"
[ $? = 1 ] || fail "bad rows must give exit 1"
grep -q '^vs2-score: error: 3 of the videos could not be scored$' "$folder/err" || fail "no count: $(cat "$folder/err")"
cp "$folder/result" "$folder/out"
field video_name | tr -d '\n' | grep -qx '"clip_0001.mp4""text.mp4""clip_0000.mp4""missing.mp4""clip_0002.mp4""cut.mp4"' || fail "order"
[ "$(field completion_ids | sed -n 2p)" = "$(cat "$folder/first")" ] || fail "a row among others differs from it alone"
[ "$(field prompt_tokens | tr '\n' ' ')" = "$(field prompt_tokens | sed -n 1p) null $(field prompt_tokens | sed -n 3p) null \
$(field prompt_tokens | sed -n 5p) null " ] || fail "prompt_tokens"
for name in text missing cut; do
    field errors | grep -q "\"video\": \"$folder/$name.mp4: " || fail "no error for $name.mp4"
done

# ---- Bad videos ----
refuses 1 "missing.mp4" "$score" $model --video "$folder/missing.mp4" $quick
refuses 1 "cut.mp4" "$score" $model --video "$folder/cut.mp4" $quick
refuses 1 "text.mp4" "$score" $model --video "$folder/text.mp4" $quick
refuses 1 "empty.mp4" "$score" $model --video "$folder/empty.mp4" $quick
refuses 1 "nothing" "$score" $model --video "$folder/nothing" $quick

# ---- Bad checkpoints ----
args="--video $clip $quick"
refuses 1 "huggingface" "$score" --model nobody/nothing $args
refuses 1 "nothing/config.json" "$score" --model "$folder/nothing" $args
copy() { rm -rf "$folder/bad" && mkdir "$folder/bad" && cp "$golden/$1"/*.* "$folder/bad/"; }
copy tied
head -c 100000 "$golden/tied/model.safetensors" >"$folder/bad/model.safetensors"
refuses 1 "model.safetensors" "$score" --model "$folder/bad" $args
copy tied
printf '\377\377\377\377\377\377\377\177{}' >"$folder/bad/model.safetensors"
refuses 1 "model.safetensors" "$score" --model "$folder/bad" $args
copy tied
sed -i 's/"hidden_size": 64/"hidden_size": 999999999999/' "$folder/bad/config.json"
refuses 1 "config.json" "$score" --model "$folder/bad" $args
copy tied
echo '{"model": {"type": "BPE", "vocab": {"a": 0, "a' >"$folder/bad/tokenizer.json"
refuses 1 "tokenizer.json" "$score" --model "$folder/bad" $args
copy untied
rm "$folder/bad/model-00002-of-00003.safetensors"
refuses 1 "model-00002-of-00003.safetensors" "$score" --model "$folder/bad" $args
copy tied
echo 'Judge this.' >"$folder/bad/query_template.txt"
refuses 1 "no {prompt} in it" "$score" --model "$folder/bad" $args
copy tied
echo '{"temperature": "hot"}' >"$folder/bad/generation_config.json"
refuses 1 "generation_config.json" "$score" --model "$folder/bad" $args

# ---- Bad lists and outputs; an output that cannot be written is told before anything is opened ----
printf '{"video": "a", "prompt": "b"}\n{"video": "a"\n' >"$folder/bad.jsonl"
refuses 1 "bad.jsonl:2" "$score" $model --input "$folder/bad.jsonl"
refuses 1 "no.jsonl" "$score" $model --input "$folder/no.jsonl"
refuses 1 "/no/folder/x" "$score" --model /no/model --video "$clip" --prompt ball --output /no/folder/x
mkfifo "$folder/pipe"
refuses 1 "it is a folder" "$score" --model /no/model --video "$clip" --prompt ball --output "$folder"
refuses 1 "no ordinary file" "$score" --model /no/model --video "$clip" --prompt ball --output "$folder/pipe"
refuses 1 "standard output" sh -c "exec '$score' $model $args >/dev/full"
"$score" --model "$folder/bad" $args --output "$folder/never" 2>/dev/null
[ -e "$folder/never" ] && fail "an output of a failed run"

echo "vs2-score: all checks passed"
