#!/usr/bin/env bash
# vs2-train: configurations from files and words, and how it says no.
set -euo pipefail
program=$(realpath "${VS2_BUILD_DIR:-build}/vs2-train")
source=$PWD
source tests/support.sh
cd "$folder"

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
refuses 2 "run.yaml:5: unknown key 'learning_rat' (did you mean 'learning_rate'?)" \
  "$program" --config run.yaml --dry-run
sed -i s/learning_rat:/learning_rate:/ run.yaml
refuses 2 "argument 'learnin_rate': unknown key 'learnin_rate' (did you mean 'learning_rate'?)" \
  "$program" run.yaml learnin_rate=1
refuses 2 "argument 'learning_rate'" "$program" run.yaml learning_rate=fast
refuses 2 "argument 'learning_rate'" "$program" run.yaml --learning_rate fast
refuses 2 "argument 'learning_rate'" "$program" --learning-rate=fast --config run.yaml
refuses 2 "argument 'bf16'" "$program" --bf16 maybe run.yaml
refuses 2 "argument 'seed'" "$program" run.yaml --bf16 seed=x
refuses 2 "argument 'nonsense': not of the form key=value" "$program" run.yaml nonsense
refuses 2 "there is no GPU \"h10\" in the table (h100," "$program" run.yaml stage=sft dataset=a --dry-run --gpu h10
refuses 2 "--gpu is for --dry-run" "$program" run.yaml --gpu h100
refuses 2 "--out is for --merge" "$program" run.yaml --out x
refuses 2 "--merge needs --out DIR" "$program" --merge x
refuses 2 "--merge trains nothing" "$program" --merge x --out y run.yaml
refuses 1 "x/config.json: No such file or directory" "$program" --merge x --out y
refuses 2 "unknown option" "$program" --learnin-rate 1 run.yaml
refuses 2 "a configuration is missing: --config FILE" "$program"
refuses 1 "nowhere.yaml: No such file or directory" "$program" --config nowhere.yaml
refuses 2 "'stage': 'dpo' is neither sft nor grpo" "$program" run.yaml stage=dpo
refuses 2 "$source/configs/sft.yaml:25: dataset: a data set of data/dataset_info.json must be named" \
  "$program" --config "$source/configs/sft.yaml"
