#!/usr/bin/env bash
# vs2-eval report: one page of rows, files, pairs and frames, and how it says no.
set -euo pipefail
build=$(realpath "${VS2_BUILD_DIR:-build}")
program=$build/vs2-eval
golden=$(realpath tests/golden/video)
source tests/support.sh

# found WORDS FILE: the page has the words.
found() { grep -qF -- "$1" "$2" || fail "no '$1' in $2"; }

cd "$folder"
# row NAME TRUTH MODEL [MORE]: the same in each dimension.
row() {
  local fields=
  for d in v t p; do fields+=",\"${d}_score_gt\":$2,\"${d}_score_model\":$3"; done
  echo "{\"video_name\":\"$1\",\"prompt\":\"</script><script>alert(1)</script>\"$fields${4:-}}"
}
list() { echo "[$(paste -sd,)]"; }
{ row bframes 1 4; row b.mp4 2 3; row x/c 5 3 ',"output":"<script>"'; row d 4 null; } | list >res.json
{ row bframes 1 1; row b.mp4 2 2; row x/c 5 5; row d 4 4; } | list >better.json

# One file and several; the same bytes each time, and to a folder that has the file already.
expect 0 "one.html: 4 videos, 0 with frames" "$program" report res.json -o one.html
[ -s out ] && fail "something is on stdout"
found "4 rows, 3 scored, 1 without all three scores" one.html
found '\u003c/script>\u003cscript>alert(1)\u003c/script>' one.html
[ "$(grep -c '<script' one.html)" -eq 2 ] || fail "a row's script is in the page"
cp one.html first.html
"$program" report --quiet res.json --output=one.html 2>err
[ -s err ] && fail "--quiet is not quiet: $(cat err)"
cmp one.html first.html || fail "two runs differ"
expect 0 "4 videos" "$program" report --benchmark videoscore-bench-v2 -oseveral.html res.json better.json
found "<td>44.35</td>" several.html
found "res.json" several.html
found "better.json" several.html
if grep -oE '(src|href)="[^#"][^"]*"|url\(|https?://' several.html; then fail "the page refers to something"; fi

# Frames; videos that are not there are told and shown without.
expect 0 "4 videos, 1 with frames" "$program" report res.json -o frames.html --videos "$golden"
found "3 videos could not be read; the first: $golden/" err
found "data:image/jpeg;base64," frames.html
[ "$(wc -c <frames.html)" -lt 200000 ] || fail "the page is large"
expect 0 "0 with frames" "$program" report res.json -o frames.html --videos "$golden" --thumbnails 0

# Pairs.
printf 'path_A,path_B,VQ,TA,Overall\nbframes.mp4,b.mp4,A,same,A\nd.mp4,b.mp4,A,A,A\n' >pairs.csv
expect 0 "4 videos" "$program" report --benchmark videogen-reward-bench --data pairs.csv res.json -o pairs.html
found "2 pairs, 1 dropped" pairs.html
found "pairs, without ties" pairs.html

# Refusals: nothing is written.
expect 2 "no file is named" "$program" report -o no.html
expect 2 "option '--output' is missing" "$program" report res.json
expect 2 "option '--output' needs an argument" "$program" report res.json -o
expect 2 "'res.json' is too much" "$program" report -o no.html res.json res.json res.json res.json res.json res.json res.json
expect 2 "no benchmark 'videophy3'" "$program" report --benchmark videophy3 res.json -o no.html
expect 2 "--data needs --benchmark" "$program" report --data pairs.csv res.json -o no.html
expect 2 "out of range" "$program" report --thumbnails=-1 res.json -o no.html
expect 1 "gone.json" "$program" report gone.json -o no.html
{ row a 1 1; row b 2 '"3"'; } | list >bad.json
expect 1 "bad.json: row 2: 'v_score_model' is text, not a number" "$program" report bad.json -o no.html
expect 1 "nowhere/no.html" "$program" report res.json -o nowhere/no.html
[ -e no.html ] && fail "a refused report was written"
expect 0 "Draws a report" "$program" report --help
found "-o, --output FILE" out
