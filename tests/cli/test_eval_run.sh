#!/usr/bin/env bash
# vs2-eval run from outside: killed and gone on with, shared by processes, bad videos, other settings, usage.
set -uo pipefail
eval=$VS2_BUILD_DIR/vs2-eval
source tests/support.sh

# stops CODE WORDS COMMAND...: the command ends so, and the last line of stderr is an error with the words.
stops() {
    ends "$1" "${@:3}"
    tail -1 "$folder/err" | grep -q '^vs2-eval: error: ' || fail "no error: ${*:3}: $(head -c 500 "$folder/err")"
    tail -1 "$folder/err" | grep -qF -- "$2" || fail "no '$2': ${*:3}: $(head -c 500 "$folder/err")"
}

# lasting FILE: everything but the time it took.
lasting() { sed 's/"seconds": [0-9.e-]*//' "$1"; }

# same FILE WHAT: the file is that of the unbroken run.
same() { lasting "$1" | cmp -s - "$folder/unbroken" || fail "$2: another file than the unbroken run's"; }

# ---- A benchmark of 60 rows: few clips under many names, one that is no video, one that is missing ----
mkdir "$folder/videos"
clips=(bframes odd444 tenbit)
prompts=("A red ball rolls." "猫 jumps très haut 🎬") # two that the tiny model was taught to answer
{
    printf '['
    for i in $(seq 0 59); do
        name=$(printf 'clip_%02d' "$i")
        [ "$i" = 33 ] || ln -s "$PWD/tests/golden/video/${clips[i % 3]}.mp4" "$folder/videos/$name.mp4"
        [ "$i" = 0 ] || printf ',\n'
        printf '{"video_name": "%s", "prompt": "%s", "visual_score": %d, "t2v_score": %d, "phy_score": 5}' \
            "$name" "${prompts[i % 2]}" $((i % 5 + 1)) $((i % 3 + 1))
    done
    printf ']\n'
} >"$folder/data.json"
rm "$folder/videos/clip_17.mp4"
echo "not a video" >"$folder/videos/clip_17.mp4"

run=("$eval" run --model tests/golden/score --benchmark videoscore-bench-v2 --data "$folder/data.json" --videos "$folder/videos"
    --temperature 0.8 --dtype f32 --max-new-tokens 112)

# ---- Unbroken: all rows in order, bad videos in rows of their own ----
stops 1 "2 of the videos could not be scored" "${run[@]}" --output "$folder/whole.json"
grep -q 'accuracy [0-9]*%' "$folder/err" || fail "no running accuracy: $(cat "$folder/err")"
grep -qx "$folder/whole.json: 60 videos, 2 failed, accuracy [0-9.]*%" "$folder/out" || fail "summary: $(cat "$folder/out")"
lasting "$folder/whole.json" >"$folder/unbroken"
grep -oE '"video_name": "[a-z0-9_]*"' "$folder/whole.json" | grep -oE '[0-9]+' | cmp -s - <(seq -w 0 59) || fail "order"
grep -c '"output": null' "$folder/whole.json" | grep -qx 2 || fail "rows without scores"
grep '"clip_17"' "$folder/whole.json" | grep -qE '"errors": \{.*"video": "[^"]*clip_17.mp4: ' || fail "no error in the row"
grep '"clip_00"' "$folder/whole.json" | grep -qE '"v_score_gt": 1,.*"v_score_model": [0-9].*"output": ".*"v_normed_score": [0-9].*"v_confidence": [0-9].*"completion_tokens": [0-9].*"seconds": [0-9]' ||
    fail "fields: $(sed -n 2p "$folder/whole.json")"
[ "$(ls "$folder/whole.json.run")" = settings.json ] || fail "left over: $(ls "$folder/whole.json.run")"

# ---- Killed twenty times, each time in the middle ----
journal=$folder/killed.json.run/rows-0.journal
rows() { if [ -e "$journal" ]; then wc -l <"$journal"; else echo 0; fi; }
kills=0
for _ in $(seq 100); do
    [ $kills = 20 ] && break
    "${run[@]}" --output "$folder/killed.json" >"$folder/out" 2>"$folder/err" &
    pid=$!
    more=$(($(rows) + RANDOM % 3)) # so that kills come at any place, and the run still gets on
    for _ in $(seq 4000); do
        [ "$(rows)" -gt "$more" ] || ! kill -0 $pid 2>/dev/null && break
        sleep 0.005
    done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    if [ -e "$folder/killed.json" ]; then # it came to its end before the kill: once more from the start
        same "$folder/killed.json" "killed $kills times"
        rm -r "$folder/killed.json" "$folder/killed.json.run"
        continue
    fi
    kills=$((kills + 1))
    # What was scored stays, and nothing is there twice.
    grep -v '"output": null' "$journal" | grep -oE '^[0-9]+ .*\}$' | cut -d' ' -f1 | sort | uniq -d | grep -q . && fail "kill $kills: a row twice"
done
[ $kills = 20 ] || fail "only $kills kills"
stops 1 "2 of the videos" "${run[@]}" --output "$folder/killed.json"
same "$folder/killed.json" "killed"

# A line that was torn, by a kill or a full disk, is scored again.
cp -r "$folder/whole.json.run" "$folder/torn.json.run"
"${run[@]}" --output "$folder/torn.json" --limit 12 >"$folder/out" 2>"$folder/err" || fail "limit: $(cat "$folder/err")"
[ "$(grep -c video_name "$folder/torn.json")" = 12 ] || fail "--limit 12"
printf '12 00000000 {"half": ' >"$folder/torn.json.run/rows-0.journal"
stops 1 "2 of the videos" "${run[@]}" --output "$folder/torn.json"
same "$folder/torn.json" "torn"

# ---- Three processes, one of them killed; and rows drawn at random ----
for rank in 0 1 2; do
    OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=3 "${run[@]}" --output "$folder/shared.json" >"$folder/out.$rank" 2>"$folder/err.$rank" &
    pids[rank]=$!
done
kill -9 "${pids[1]}"
wait "${pids[@]}" 2>/dev/null
[ -e "$folder/shared.json" ] && fail "a file without the rows of the killed process"
grep -q 'are left to other processes' "$folder"/out.[02] || fail "no word of what is left: $(cat "$folder"/out.*)"
RANK=1 WORLD_SIZE=3 "${run[@]}" --output "$folder/shared.json" >"$folder/out" 2>"$folder/err"
same "$folder/shared.json" "shared"

# mpirun ends all processes when one of them fails: no process fails before all rows are there.
if command -v mpirun >/dev/null; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
    mpirun -n 2 "${run[@]}" --output "$folder/mpirun.json" >"$folder/out" 2>"$folder/err"
    same "$folder/mpirun.json" "mpirun -n 2"
    grep -q 'process 2 of 2: videoscore-bench-v2: 60 videos, 0 are done, 30 to score here' "$folder/err" || fail "shares: $(cat "$folder/err")"
fi

"${run[@]}" --output "$folder/drawn.json" --limit 5 --sample-seed 3 >"$folder/out" 2>"$folder/err" || fail "drawn: $(cat "$folder/err")"
while read -r line; do
    grep -qF -- "$line" "$folder/unbroken" || fail "a drawn row differs: $line"
done < <(lasting "$folder/drawn.json" | grep video_name | sed 's/,$//')
[ "$(grep -c video_name "$folder/drawn.json")" = 5 ] || fail "rows drawn"
"${run[@]}" --output "$folder/drawn.json" --limit 9 --sample-seed 3 >"$folder/out" 2>"$folder/err"
grep -q '5 are done, 4 to score here' "$folder/err" || fail "a larger limit does not keep the rows: $(cat "$folder/err")"

# A video that turns up is scored by the next call, and nothing else is.
cp "$folder/videos/clip_01.mp4" "$folder/videos/clip_33.mp4"
cp -r "$folder/whole.json" "$folder/later.json"
cp -r "$folder/whole.json.run" "$folder/later.json.run"
stops 1 "1 of the videos could not be scored" "${run[@]}" --output "$folder/later.json"
grep -q '58 are done, 2 to score here' "$folder/err" || fail "bad rows are not tried again: $(cat "$folder/err")"
grep '"clip_33"' "$folder/later.json" | grep -q '"output": "' || fail "clip_33 has no scores"
diff <(lasting "$folder/later.json" | grep -v clip_33) <(grep -v clip_33 "$folder/unbroken") >/dev/null || fail "other rows changed"

# ---- Several samples a video: the mean ----
"${run[@]}" --output "$folder/samples.json" --limit 3 --num-samples 4 >"$folder/out" 2>"$folder/err" || fail "samples: $(cat "$folder/err")"
[ "$(grep -c '"samples": \[' "$folder/samples.json")" = 3 ] || fail "no samples"
model=$(grep -oE '"v_score_model": [0-9.nul]+' "$folder/samples.json" | cut -d' ' -f2)
mean=$(grep -oE '"v_mean": [0-9.nul]+' "$folder/samples.json" | cut -d' ' -f2)
[ "$model" = "$mean" ] || fail "scores $model are not the means $mean"

# ---- Options from a file; the command line wins ----
{
    printf 'model: tests/golden/score\nbenchmark: videophy2\ndata: %s\nvideos: %s\n' "$folder/data.json" "$folder/videos"
    printf 'temperature: 0.8\ndtype: f32\nmax_new_tokens: 112\nlimit: 3\nsample_seed: null\n'
} >"$folder/eval.yaml"
"$eval" run --config "$folder/eval.yaml" --benchmark videoscore-bench-v2 --output "$folder/config.json" >"$folder/out" 2>"$folder/err" ||
    fail "config: $(cat "$folder/err")"
lasting "$folder/config.json" | sed 's/,$//' | cmp -s - <(sed 's/,$//' "$folder/unbroken" | sed -n '1,4p; $p') || fail "rows by --config"
stops 1 "data_27k_test (VideoScoreBench-v2).json" "$eval" run --config configs/eval.yaml --model tests/golden/score --output "$folder/x"
echo 'temprature: 1' >>"$folder/eval.yaml"
stops 2 "eval.yaml:10: unknown key 'temprature' (did you mean 'temperature'?)" "$eval" run --config "$folder/eval.yaml" --output "$folder/x"

# ---- Other settings, and files that are not ours ----
stops 1 "made with --temperature 0.8, not 0.5" "${run[@]}" --output "$folder/killed.json" --temperature 0.5
stops 1 "made with --top-k the checkpoint's, not 3" "${run[@]}" --output "$folder/killed.json" --top-k 3
sed 's/ball rolls/ball rests/' "$folder/data.json" >"$folder/other.json"
stops 1 "made with other videos or prompts" "${run[@]}" --output "$folder/killed.json" --data "$folder/other.json"
cp -r tests/golden/score "$folder/model"
stops 1 "could not be scored" "${run[@]}" --output "$folder/killed.json" --model "$folder/model"
printf '\001' | dd of="$folder/model/model.safetensors" bs=1 seek=100000 conv=notrunc status=none
stops 1 "made with another model" "${run[@]}" --output "$folder/killed.json" --model "$folder/model"
echo '[]' >"$folder/foreign.json"
stops 1 "not written by this program" "${run[@]}" --output "$folder/foreign.json"
echo '{' >"$folder/killed.json.run/settings.json"
stops 1 "settings.json" "${run[@]}" --output "$folder/killed.json"

# ---- Usage ----
stops 2 "no benchmark 'videophy3' (did you mean 'videophy2'?)" "${run[@]}" --output "$folder/x" --benchmark videophy3
stops 2 "'--sample-seed' goes with '--limit'" "${run[@]}" --output "$folder/x" --sample-seed 3
stops 2 "option '--videos' is missing" "$eval" run --model a --benchmark b --data c --output d
stops 2 "PMI_SIZE=2" env PMI_RANK=2 PMI_SIZE=2 "${run[@]}" --output "$folder/x"
stops 1 "nowhere.json" "${run[@]}" --output "$folder/x" --data nowhere.json
stops 1 "not a folder" "${run[@]}" --output "$folder/data.json/x.json"
"$eval" run --help | awk 'length > 96' | grep -q . && fail "a long line in the help"

echo "vs2-eval run: all checks passed"
