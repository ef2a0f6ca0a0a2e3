#!/usr/bin/env bash
# vs2-score from outside: help, usage, bad input (each one line and exit 1 or 2), output, many videos.
set -uo pipefail
score=$VS2_BUILD_DIR/vs2-score
data=$VS2_BUILD_DIR/vs2-data
golden=tests/golden/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# expect CODE WORDS COMMAND...: the exit code, and one line on stderr that holds the words.
expect() {
    local code=$1 words=$2
    shift 2
    timeout 60 "$@" >"$work/out" 2>"$work/err"
    local got=$?
    [ "$got" = "$code" ] || fail "exit $got instead of $code: $*"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "not one line: $* : $(head -c 500 "$work/err")"
    grep -q '^vs2-score: error: ' "$work/err" || fail "no program's name: $* : $(head -c 500 "$work/err")"
    grep -qF -- "$words" "$work/err" || fail "no '$words': $* : $(head -c 500 "$work/err")"
}

# field NAME: that member of the JSON objects in $work/out, a line each (no nested objects).
field() {
    grep -oE "\"$1\": (null|-?[0-9][0-9.e+-]*|\"([^\"\\\\]|\\\\.)*\"|\[[^]]*\]|\{[^}]*\})" "$work/out" | sed "s/^\"$1\": //"
}

# Everything in $work/out but the time it took.
lasting() { sed 's/"seconds": [0-9.e-]*//' "$work/out"; }

# ---- Help and usage ----
"$score" --help | grep -q '^Usage: vs2-score --model DIR --video FILE --prompt TEXT' || fail help
"$score" --help | awk 'length > 96' | grep -q . && fail "a long line in the help"
"$score" --version | grep -qx 'vs2-score [0-9.]*' || fail version
model="--model $golden/tied"
expect 2 "unknown option '--modle' (did you mean '--model'?)" "$score" --modle x
expect 2 "option '--model' is missing" "$score" --video x --prompt y
expect 2 "option '--video' or '--input' is missing" "$score" $model
expect 2 "option '--prompt' is missing" "$score" $model --video x
expect 2 "exclude each other" "$score" $model --video x --input y
expect 2 "goes with '--video'" "$score" $model --input x --prompt y
expect 2 "goes with '--input'" "$score" $model --video x --prompt y --media-dir z
expect 2 "goes with '--format json'" "$score" $model --video x --prompt y --token-ids
expect 2 "'--temperature': -1 is out of range" "$score" $model --video x --prompt y --temperature -1
expect 2 "'--frame-policy': 'none' is none of llamafactory, qwen" "$score" $model --video x --prompt y --frame-policy none
expect 2 "'--num-samples': 0 is out of range" "$score" $model --video x --prompt y --num-samples 0
expect 2 "'y' is too much" "$score" $model --video x --prompt z y
expect 2 "device" "$score" $model --video x --prompt z --device abacus

# ---- Good runs ----
"$data" synth --out "$work/set" --videos 3 --quiet >/dev/null || fail synth
clip=$work/set/videos/clip_0000.mp4
quick="--temperature 0 --max-new-tokens 12 --max-frames 4 --max-pixels 20000 --dtype f32 --prompt ball"
json="--format json --token-ids"
run() { "$score" "$@" >"$work/out" 2>"$work/err" || fail "exit $?: $* : $(cat "$work/err")"; }

run $model --video "$clip" $quick $json
field video_name | grep -qx '"clip_0000.mp4"' || fail "video_name"
field completion_tokens | grep -qx 12 || fail "completion_tokens"
field finish | grep -qx '"length"' || fail "finish"
field errors | grep -q v_hard_score || fail "errors"
field v_hard_score | grep -qx null || fail "v_hard_score"
field completion_ids >"$work/first"
run $model --video "$clip" $quick
grep -q "no answer in the text" "$work/out" || fail "text output: $(cat "$work/out")"

# The same seed gives the same text; another one another; several samples on one prompt.
sampled="--temperature 1 --max-new-tokens 12 --max-frames 4 --max-pixels 20000 --dtype f32 --prompt ball"
run $model --video "$clip" $sampled $json --seed 7 --num-samples 3
lasting >"$work/samples"
run $model --video "$clip" $sampled $json --seed 7 --num-samples 3
lasting | cmp -s - "$work/samples" || fail "the same seed gave another text"
run $model --video "$clip" $sampled $json --seed 8 --num-samples 3
lasting | cmp -s - "$work/samples" && fail "another seed gave the same text"
[ "$(field finish | wc -l)" = 4 ] || fail "three samples and the first again: $(cat "$work/out")"

# ---- A checkpoint that answers: the form of the output ----
answering="--model tests/golden/score --video tests/golden/video/bframes.mp4 --temperature 0 --dtype f32"
run $answering --prompt "A red ball rolls." --format json
lasting | sed 's/: [0-9]*\.[0-9]*/: REAL/g' | diff - tests/golden/score/output.json || fail "JSON output"
run $answering --prompt "A red ball rolls."
grep -qE '^  visual quality +4 +[0-9.]+ +[0-9.]+ +[0-9.]+$' "$work/out" || fail "text output: $(cat "$work/out")"
grep -qx '  (2) text-to-video alignment: 3' "$work/out" || fail "no rationale: $(cat "$work/out")"
run $answering --prompt "A red ball rolls." --temperature 1 --num-samples 4 --output "$work/text"
grep -qE '^  physical/common-sense consistency +[1-5] +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+' "$work/text" ||
    fail "text output of samples: $(cat "$work/text")"

# ---- Many, with bad ones among them: in order, each as it would be alone ----
head -c 3000 "$clip" >"$work/cut.mp4"
echo "not a video" >"$work/text.mp4"
: >"$work/empty.mp4"
mkdir "$work/nothing"
{
    printf '{"video": "%s", "prompt": "ball"}\n' set/videos/clip_0001.mp4 text.mp4 set/videos/clip_0000.mp4 missing.mp4 \
        set/videos/clip_0002.mp4 cut.mp4
} >"$work/rows.jsonl"
"$score" $model --input "$work/rows.jsonl" --media-dir "$work" ${quick% --prompt ball} $json --output "$work/result" 2>"$work/err"
[ $? = 1 ] || fail "bad rows must give exit 1"
grep -q '^vs2-score: error: 3 of the videos could not be scored$' "$work/err" || fail "no count: $(cat "$work/err")"
cp "$work/result" "$work/out"
field video_name | tr -d '\n' | grep -qx '"clip_0001.mp4""text.mp4""clip_0000.mp4""missing.mp4""clip_0002.mp4""cut.mp4"' || fail "order"
[ "$(field completion_ids | sed -n 2p)" = "$(cat "$work/first")" ] || fail "a row among others differs from it alone"
[ "$(field prompt_tokens | tr '\n' ' ')" = "$(field prompt_tokens | sed -n 1p) null $(field prompt_tokens | sed -n 3p) null \
$(field prompt_tokens | sed -n 5p) null " ] || fail "prompt_tokens"
for name in text missing cut; do
    field errors | grep -q "\"video\": \"$work/$name.mp4: " || fail "no error for $name.mp4"
done

# ---- Bad videos ----
expect 1 "missing.mp4" "$score" $model --video "$work/missing.mp4" $quick
expect 1 "cut.mp4" "$score" $model --video "$work/cut.mp4" $quick
expect 1 "text.mp4" "$score" $model --video "$work/text.mp4" $quick
expect 1 "empty.mp4" "$score" $model --video "$work/empty.mp4" $quick
expect 1 "nothing" "$score" $model --video "$work/nothing" $quick

# ---- Bad checkpoints ----
args="--video $clip $quick"
expect 1 "huggingface" "$score" --model nobody/nothing $args
expect 1 "nothing/config.json" "$score" --model "$work/nothing" $args
copy() { rm -rf "$work/bad" && mkdir "$work/bad" && cp "$golden/$1"/*.* "$work/bad/"; }
copy tied
head -c 100000 "$golden/tied/model.safetensors" >"$work/bad/model.safetensors"
expect 1 "model.safetensors" "$score" --model "$work/bad" $args
copy tied
printf '\377\377\377\377\377\377\377\177{}' >"$work/bad/model.safetensors"
expect 1 "model.safetensors" "$score" --model "$work/bad" $args
copy tied
sed -i 's/"hidden_size": 64/"hidden_size": 999999999999/' "$work/bad/config.json"
expect 1 "config.json" "$score" --model "$work/bad" $args
copy tied
echo '{"model": {"type": "BPE", "vocab": {"a": 0, "a' >"$work/bad/tokenizer.json"
expect 1 "tokenizer.json" "$score" --model "$work/bad" $args
copy untied
rm "$work/bad/model-00002-of-00003.safetensors"
expect 1 "model-00002-of-00003.safetensors" "$score" --model "$work/bad" $args
copy tied
echo 'Judge this.' >"$work/bad/query_template.txt"
expect 1 "no {prompt} in it" "$score" --model "$work/bad" $args
copy tied
echo '{"temperature": "hot"}' >"$work/bad/generation_config.json"
expect 1 "generation_config.json" "$score" --model "$work/bad" $args

# ---- Bad lists and outputs; an output that cannot be written is told before anything is opened ----
printf '{"video": "a", "prompt": "b"}\n{"video": "a"\n' >"$work/bad.jsonl"
expect 1 "bad.jsonl:2" "$score" $model --input "$work/bad.jsonl"
expect 1 "no.jsonl" "$score" $model --input "$work/no.jsonl"
expect 1 "/no/folder/x" "$score" --model /no/model --video "$clip" --prompt ball --output /no/folder/x
mkfifo "$work/pipe"
expect 1 "it is a folder" "$score" --model /no/model --video "$clip" --prompt ball --output "$work"
expect 1 "no ordinary file" "$score" --model /no/model --video "$clip" --prompt ball --output "$work/pipe"
expect 1 "standard output" sh -c "exec '$score' $model $args >/dev/full"
"$score" --model "$work/bad" $args --output "$work/never" 2>/dev/null
[ -e "$work/never" ] && fail "an output of a failed run"

[ $failures = 0 ] && echo "vs2-score: all checks passed"
exit $((failures > 0))
