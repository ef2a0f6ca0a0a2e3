#!/usr/bin/env bash
# vs2-train: configurations from files and words, and how it says no.
set -euo pipefail
program=$(realpath "${VS2_BUILD_DIR:-build}/vs2-train")
source=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() {
  echo "test_train_config: $1" >&2
  exit 1
}

# expect CODE WORDS COMMAND...: the command ends with the code, and stderr has the words.
expect() {
  local code=0
  "${@:3}" >out 2>err || code=$?
  [ "$code" -eq "$1" ] || fail "exit $code, not $1: ${*:3}: $(cat err)"
  grep -qF -- "$2" err || fail "no '$2' on stderr of ${*:3}: $(cat err)"
  [ "$(grep -c 'error:' err)" -eq "$((code != 0))" ] || fail "not one line of error: $(cat err)"
}

"$program" --help | grep -q -- --dry-run || fail "--help does not name --dry-run"
"$program" --version | grep -q vs2-train || fail "--version does not name the program"
"$program" --help-keys >keys
grep -qx '  learning_rate' keys || fail "--help-keys does not list learning_rate"
grep -qx '  eval_strategy, evaluation_strategy' keys || fail "--help-keys does not list aliases"
! grep -q '.\{81\}' keys || fail "--help-keys has lines of more than 80 columns"

cat >run.yaml <<'EOF'
# a run
model_name_or_path: model
dataset: a, b
output_dir: out
learning_rat: 1e-5
EOF
expect 2 "run.yaml:5: unknown key 'learning_rat' (did you mean 'learning_rate'?)" \
  "$program" --config run.yaml --dry-run
sed -i s/learning_rat:/learning_rate:/ run.yaml
expect 2 "argument 'learnin_rate': unknown key 'learnin_rate' (did you mean 'learning_rate'?)" \
  "$program" run.yaml learnin_rate=1
expect 2 "argument 'learning_rate'" "$program" run.yaml learning_rate=fast
expect 2 "argument 'learning_rate'" "$program" run.yaml --learning_rate fast
expect 2 "argument 'learning_rate'" "$program" --learning-rate=fast --config run.yaml
expect 2 "argument 'bf16'" "$program" --bf16 maybe run.yaml
expect 2 "argument 'seed'" "$program" run.yaml --bf16 seed=x
expect 2 "argument 'nonsense': not of the form key=value" "$program" run.yaml nonsense
expect 2 "unknown option" "$program" --learnin-rate 1 run.yaml
expect 2 "a configuration is missing: --config FILE" "$program"
expect 1 "nowhere.yaml: No such file or directory" "$program" --config nowhere.yaml
expect 2 "'stage': 'dpo' is neither sft nor grpo" "$program" run.yaml stage=dpo
expect 2 "$source/configs/sft.yaml:25: dataset: a data set of data/dataset_info.json must be named" \
  "$program" --config "$source/configs/sft.yaml"
