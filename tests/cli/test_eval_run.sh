#!/usr/bin/env bash
# vs2-eval run from outside: killed and gone on with, shared by processes, bad videos, other settings, usage.
set -uo pipefail
eval=$VS2_BUILD_DIR/vs2-eval
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# expect CODE WORDS COMMAND...: the exit code, and an error on stderr's last line that holds the words.
expect() {
    local code=$1 words=$2
    shift 2
    timeout 60 "$@" >"$work/out" 2>"$work/err"
    local got=$?
    [ "$got" = "$code" ] || fail "exit $got instead of $code: $*"
    tail -1 "$work/err" | grep -q '^vs2-eval: error: ' || fail "no error: $* : $(head -c 500 "$work/err")"
    tail -1 "$work/err" | grep -qF -- "$words" || fail "no '$words': $* : $(head -c 500 "$work/err")"
}

# lasting FILE: everything but the time it took.
lasting() { sed 's/"seconds": [0-9.e-]*//' "$1"; }

# same FILE WHAT: the file is that of the unbroken run.
same() { lasting "$1" | cmp -s - "$work/unbroken" || fail "$2: another file than the unbroken run's"; }

# ---- A benchmark of 60 rows: few clips under many names, one that is no video, one that is missing ----
mkdir "$work/videos"
clips=(bframes odd444 tenbit)
prompts=("A red ball rolls." "猫 jumps très haut 🎬") # two that the tiny model was taught to answer
{
    printf '['
    for i in $(seq 0 59); do
        name=$(printf 'clip_%02d' "$i")
        [ "$i" = 33 ] || ln -s "$PWD/tests/golden/video/${clips[i % 3]}.mp4" "$work/videos/$name.mp4"
        [ "$i" = 0 ] || printf ',\n'
        printf '{"video_name": "%s", "prompt": "%s", "visual_score": %d, "t2v_score": %d, "phy_score": 5}' \
            "$name" "${prompts[i % 2]}" $((i % 5 + 1)) $((i % 3 + 1))
    done
    printf ']\n'
} >"$work/data.json"
rm "$work/videos/clip_17.mp4"
echo "not a video" >"$work/videos/clip_17.mp4"

run=("$eval" run --model tests/golden/score --benchmark videoscore-bench-v2 --data "$work/data.json" --videos "$work/videos"
    --temperature 0.8 --dtype f32 --max-new-tokens 112)

# ---- Unbroken: all rows in order, bad videos in rows of their own ----
expect 1 "2 of the videos could not be scored" "${run[@]}" --output "$work/whole.json"
grep -q 'accuracy [0-9]*%' "$work/err" || fail "no running accuracy: $(cat "$work/err")"
grep -qx "$work/whole.json: 60 videos, 2 failed, accuracy [0-9.]*%" "$work/out" || fail "summary: $(cat "$work/out")"
lasting "$work/whole.json" >"$work/unbroken"
grep -oE '"video_name": "[a-z0-9_]*"' "$work/whole.json" | grep -oE '[0-9]+' | cmp -s - <(seq -w 0 59) || fail "order"
grep -c '"output": null' "$work/whole.json" | grep -qx 2 || fail "rows without scores"
grep '"clip_17"' "$work/whole.json" | grep -qE '"errors": \{.*"video": "[^"]*clip_17.mp4: ' || fail "no error in the row"
grep '"clip_00"' "$work/whole.json" | grep -qE '"v_score_gt": 1,.*"v_score_model": [0-9].*"output": ".*"v_normed_score": [0-9].*"v_confidence": [0-9].*"completion_tokens": [0-9].*"seconds": [0-9]' ||
    fail "fields: $(sed -n 2p "$work/whole.json")"
[ "$(ls "$work/whole.json.run")" = settings.json ] || fail "left over: $(ls "$work/whole.json.run")"

# ---- Killed twenty times, each time in the middle ----
journal=$work/killed.json.run/rows-0.journal
rows() { if [ -e "$journal" ]; then wc -l <"$journal"; else echo 0; fi; }
kills=0
for _ in $(seq 100); do
    [ $kills = 20 ] && break
    "${run[@]}" --output "$work/killed.json" >"$work/out" 2>"$work/err" &
    pid=$!
    more=$(($(rows) + RANDOM % 3)) # so that kills come at any place, and the run still gets on
    for _ in $(seq 4000); do
        [ "$(rows)" -gt "$more" ] || ! kill -0 $pid 2>/dev/null && break
        sleep 0.005
    done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    if [ -e "$work/killed.json" ]; then # it came to its end before the kill: once more from the start
        same "$work/killed.json" "killed $kills times"
        rm -r "$work/killed.json" "$work/killed.json.run"
        continue
    fi
    kills=$((kills + 1))
    # What was scored stays, and nothing is there twice.
    grep -v '"output": null' "$journal" | grep -oE '^[0-9]+ .*\}$' | cut -d' ' -f1 | sort | uniq -d | grep -q . && fail "kill $kills: a row twice"
done
[ $kills = 20 ] || fail "only $kills kills"
expect 1 "2 of the videos" "${run[@]}" --output "$work/killed.json"
same "$work/killed.json" "killed"

# A line that was torn, by a kill or a full disk, is scored again.
cp -r "$work/whole.json.run" "$work/torn.json.run"
"${run[@]}" --output "$work/torn.json" --limit 12 >"$work/out" 2>"$work/err" || fail "limit: $(cat "$work/err")"
[ "$(grep -c video_name "$work/torn.json")" = 12 ] || fail "--limit 12"
printf '12 00000000 {"half": ' >"$work/torn.json.run/rows-0.journal"
expect 1 "2 of the videos" "${run[@]}" --output "$work/torn.json"
same "$work/torn.json" "torn"

# ---- Three processes, one of them killed; and rows drawn at random ----
for rank in 0 1 2; do
    OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=3 "${run[@]}" --output "$work/shared.json" >"$work/out.$rank" 2>"$work/err.$rank" &
    pids[rank]=$!
done
kill -9 "${pids[1]}"
wait "${pids[@]}" 2>/dev/null
[ -e "$work/shared.json" ] && fail "a file without the rows of the killed process"
grep -q 'are left to other processes' "$work"/out.[02] || fail "no word of what is left: $(cat "$work"/out.*)"
RANK=1 WORLD_SIZE=3 "${run[@]}" --output "$work/shared.json" >"$work/out" 2>"$work/err"
same "$work/shared.json" "shared"

# mpirun ends all processes when one of them fails: no process fails before all rows are there.
if command -v mpirun >/dev/null; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
    mpirun -n 2 "${run[@]}" --output "$work/mpirun.json" >"$work/out" 2>"$work/err"
    same "$work/mpirun.json" "mpirun -n 2"
    grep -q 'process 2 of 2: videoscore-bench-v2: 60 videos, 0 are done, 30 to score here' "$work/err" || fail "shares: $(cat "$work/err")"
fi

"${run[@]}" --output "$work/drawn.json" --limit 5 --sample-seed 3 >"$work/out" 2>"$work/err" || fail "drawn: $(cat "$work/err")"
while read -r line; do
    grep -qF -- "$line" "$work/unbroken" || fail "a drawn row differs: $line"
done < <(lasting "$work/drawn.json" | grep video_name | sed 's/,$//')
[ "$(grep -c video_name "$work/drawn.json")" = 5 ] || fail "rows drawn"
"${run[@]}" --output "$work/drawn.json" --limit 9 --sample-seed 3 >"$work/out" 2>"$work/err"
grep -q '5 are done, 4 to score here' "$work/err" || fail "a larger limit does not keep the rows: $(cat "$work/err")"

# A video that turns up is scored by the next call, and nothing else is.
cp "$work/videos/clip_01.mp4" "$work/videos/clip_33.mp4"
cp -r "$work/whole.json" "$work/later.json"
cp -r "$work/whole.json.run" "$work/later.json.run"
expect 1 "1 of the videos could not be scored" "${run[@]}" --output "$work/later.json"
grep -q '58 are done, 2 to score here' "$work/err" || fail "bad rows are not tried again: $(cat "$work/err")"
grep '"clip_33"' "$work/later.json" | grep -q '"output": "' || fail "clip_33 has no scores"
diff <(lasting "$work/later.json" | grep -v clip_33) <(grep -v clip_33 "$work/unbroken") >/dev/null || fail "other rows changed"

# ---- Several samples a video: the mean ----
"${run[@]}" --output "$work/samples.json" --limit 3 --num-samples 4 >"$work/out" 2>"$work/err" || fail "samples: $(cat "$work/err")"
[ "$(grep -c '"samples": \[' "$work/samples.json")" = 3 ] || fail "no samples"
model=$(grep -oE '"v_score_model": [0-9.nul]+' "$work/samples.json" | cut -d' ' -f2)
mean=$(grep -oE '"v_mean": [0-9.nul]+' "$work/samples.json" | cut -d' ' -f2)
[ "$model" = "$mean" ] || fail "scores $model are not the means $mean"

# ---- Options from a file; the command line wins ----
{
    printf 'model: tests/golden/score\nbenchmark: videophy2\ndata: %s\nvideos: %s\n' "$work/data.json" "$work/videos"
    printf 'temperature: 0.8\ndtype: f32\nmax_new_tokens: 112\nlimit: 3\nsample_seed: null\n'
} >"$work/eval.yaml"
"$eval" run --config "$work/eval.yaml" --benchmark videoscore-bench-v2 --output "$work/config.json" >"$work/out" 2>"$work/err" ||
    fail "config: $(cat "$work/err")"
lasting "$work/config.json" | sed 's/,$//' | cmp -s - <(sed 's/,$//' "$work/unbroken" | sed -n '1,4p; $p') || fail "rows by --config"
expect 1 "data_27k_test (VideoScoreBench-v2).json" "$eval" run --config configs/eval.yaml --model tests/golden/score --output "$work/x"
echo 'temprature: 1' >>"$work/eval.yaml"
expect 2 "eval.yaml:10: unknown key 'temprature' (did you mean 'temperature'?)" "$eval" run --config "$work/eval.yaml" --output "$work/x"

# ---- Other settings, and files that are not ours ----
expect 1 "made with --temperature 0.8, not 0.5" "${run[@]}" --output "$work/killed.json" --temperature 0.5
expect 1 "made with --top-k the checkpoint's, not 3" "${run[@]}" --output "$work/killed.json" --top-k 3
sed 's/ball rolls/ball rests/' "$work/data.json" >"$work/other.json"
expect 1 "made with other videos or prompts" "${run[@]}" --output "$work/killed.json" --data "$work/other.json"
cp -r tests/golden/score "$work/model"
expect 1 "could not be scored" "${run[@]}" --output "$work/killed.json" --model "$work/model"
printf '\001' | dd of="$work/model/model.safetensors" bs=1 seek=100000 conv=notrunc status=none
expect 1 "made with another model" "${run[@]}" --output "$work/killed.json" --model "$work/model"
echo '[]' >"$work/foreign.json"
expect 1 "not written by this program" "${run[@]}" --output "$work/foreign.json"
echo '{' >"$work/killed.json.run/settings.json"
expect 1 "settings.json" "${run[@]}" --output "$work/killed.json"

# ---- Usage ----
expect 2 "no benchmark 'videophy3' (did you mean 'videophy2'?)" "${run[@]}" --output "$work/x" --benchmark videophy3
expect 2 "'--sample-seed' goes with '--limit'" "${run[@]}" --output "$work/x" --sample-seed 3
expect 2 "option '--videos' is missing" "$eval" run --model a --benchmark b --data c --output d
expect 2 "PMI_SIZE=2" env PMI_RANK=2 PMI_SIZE=2 "${run[@]}" --output "$work/x"
expect 1 "nowhere.json" "${run[@]}" --output "$work/x" --data nowhere.json
expect 1 "not a folder" "${run[@]}" --output "$work/data.json/x.json"
"$eval" run --help | awk 'length > 96' | grep -q . && fail "a long line in the help"

[ $failures = 0 ] && echo "vs2-eval run: all checks passed"
exit $((failures > 0))
