#!/usr/bin/env bash
# Compares this build with PyTorch and transformers, live: installs them into a venv, builds, and runs every
# comparison there is. Exits with 1 when one of them differs.
#
#   bash tests/reference/compare.sh [--clip VIDEO ...] [--build DIR] [LIVE OPTION ...]
#
# --clip     a real video to compare on as well (also by VS2_CLIP)
# --build    a folder with the programs and tests already built (default: build/, built here)
# The rest goes to live.py: --seed N, --shape NAME, --new-tokens N, --steps N, --samples K.
# VS2_REFERENCE_VENV names the venv (default: .venv-reference). PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# saves the download of the CUDA libraries where that index can be reached.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/reference
venv=${VS2_REFERENCE_VENV:-.venv-reference}
build=
clips=()
rest=()
[ -n "${VS2_CLIP:-}" ] && clips+=("$VS2_CLIP")
while [ $# -gt 0 ]; do
  case $1 in
    --clip) clips+=("$2"); shift 2 ;;
    --build) build=$2; shift 2 ;;
    --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) rest+=("$1"); shift ;;
  esac
done

if [ ! -x "$venv/bin/python" ]; then
  echo "compare: making $venv"
  python3 -m venv "$venv"
fi
python=$venv/bin/python
if ! "$python" "$here/requirements_met.py" "$here/requirements.txt"; then
  "$python" -m pip install -q -r "$here/requirements.txt"
fi
if [ -z "$build" ]; then
  build=build
  cmake -B "$build" -DCMAKE_BUILD_TYPE=Release >/dev/null
  cmake --build "$build" -j "$(nproc)" >/dev/null
fi
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=()

# run NAME COMMAND...: notes the name when the command fails, and goes on.
run() {
  local name=$1
  shift
  echo
  echo "== $name"
  "$@" || failed+=("$name")
}

# One clip's frames, sizes and pixels against PyAV, Pillow and torchvision.
video() {
  "$python" "$here/video.py" --clip "$1" --output "$scratch/video" &&
    VS2_VIDEO_GOLDEN=$scratch/video "$build/tests/data_test_visual"
}

run "golden values of the sampler" "$python" "$here/sampling.py" --check
run "golden values of the model" "$python" "$here/model.py" --check
run "golden gradients" "$python" "$here/gradients.py" --check
run "gradients of other weights" "$python" "$here/gradients.py" --live "$build/tests/model_test_backward"
run "golden groups" "$python" "$here/groups.py" --check
run "groups on other weights" "$python" "$here/groups.py" --live "$build/tests/train_test_pass"
run "golden losses of GRPO" "$python" "$here/grpo_math.py" --check
run "golden steps of GRPO" "$python" "$here/grpo.py" --check
run "steps of GRPO on other weights" "$python" "$here/grpo.py" --live "$build/tests/grpo_test_parity"
run "golden training runs" "$python" "$here/sft.py" --check
run "vs2-train beside transformers' Trainer" "$python" "$here/sft.py" --vs2-train "$build/vs2-train" \
  --case published --case tied-open --case batches --case vision-only
run "golden values of metrics" "$python" "$here/metrics.py" --check
run "metrics of random files" "$python" "$here/metrics.py" live "$build/vs2-eval"
run "golden values of scoring" "$python" "$here/score.py" --check
run "logs and checkpoints of training" "$python" "$here/outputs.py" live "$build"
run "tokenizer" "$python" "$here/tokenizer.py" live "$build/tests/tokenizer_driver"
for clip in ${clips[@]+"${clips[@]}"}; do
  run "frames and pixels of $clip" video "$clip"
done
for clip in ${clips[@]+"${clips[@]}"}; do
  rest+=(--clip "$clip")
done
run "vs2-score end to end" "$python" "$here/live.py" --vs2-score "$build/vs2-score" ${rest[@]+"${rest[@]}"}

echo
if [ ${#failed[@]} -gt 0 ]; then
  printf 'compare: differs: %s\n' "${failed[@]}"
  exit 1
fi
echo "compare: everything agrees"
