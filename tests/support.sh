# What the tests of programs share; they source it from the source folder. It makes "$folder", removed at the end.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# fail WORDS...: ends the test.
fail() {
  echo "FAILED: $(basename "$0" .sh): $*" >&2
  exit 1
}

# ends CODE COMMAND...: the command ends with the code; its words are in $folder/out and $folder/err.
ends() {
  local code=0
  "${@:2}" >"$folder/out" 2>"$folder/err" || code=$?
  [ "$code" -eq "$1" ] || fail "exit $code, not $1: ${*:2}: $(head -c 500 "$folder/err")"
}

# expect CODE WORDS COMMAND...: it ends so, stdout or stderr has the words, and there is one line of error at most.
expect() {
  ends "$1" "${@:3}"
  grep -qF -- "$2" "$folder/out" "$folder/err" || fail "no '$2': ${*:3}: $(cat "$folder/out" "$folder/err")"
  [ "$(grep -c 'error:' "$folder/err")" -le 1 ] || fail "more than one error: $(cat "$folder/err")"
}

# refuses CODE WORDS COMMAND...: it ends so, and stderr is one line, an error in the program's name with the words.
refuses() {
  ends "$1" "${@:3}"
  [ "$(wc -l <"$folder/err")" -eq 1 ] || fail "not one line: ${*:3}: $(head -c 500 "$folder/err")"
  grep -q "^vs2-[a-z]*: error: " "$folder/err" || fail "no program's name: ${*:3}: $(cat "$folder/err")"
  grep -qF -- "$2" "$folder/err" || fail "no '$2' on stderr of ${*:3}: $(cat "$folder/err")"
}
