# shellcheck shell=bash
# What the tests of whole runs of several processes share; beside support.sh. They have GPUs that are emulated, or with
# VS2_TEST_DEVICE=cuda real ones; where there are no two of those, the test is skipped.
build=$(realpath "${VS2_BUILD_DIR:-build}")
device=${VS2_TEST_DEVICE:-emulated}
unset OMPI_COMM_WORLD_RANK PMI_RANK PMIX_RANK SLURM_PROCID TORCHELASTIC_RUN_ID MASTER_PORT VS2_MASTER_PORT
export OMP_NUM_THREADS=1 MASTER_ADDR=127.0.0.1 VS2_EMULATED_GPUS=2
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_mpi_yield_when_idle=1
train=$build/tests/emulated-vs2-train
if [ "$device" = cuda ]; then
  train=$build/vs2-train
  if [ "$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')" -lt 2 ]; then
    echo "skipped: there are no two GPUs here"
    exit 77
  fi
fi
has_mpi=false
if grep -q '^MPI_C_LIB_NAMES:STRING=.' "$build/CMakeCache.txt"; then has_mpi=true; fi
is_sanitized=false
if grep -q '^VS2_SANITIZE:STRING=.' "$build/CMakeCache.txt"; then is_sanitized=true; fi
port=$((20000 + ($$ + 3000) % 12000))

# start PROCESSES COMMAND...: they meet over TCP, or where there is one is alone. $code is the first exit code that is
# not 0, and $folder/out.RANK what each said. In the command RANK is the process's.
start() {
  local processes=$1 pids=() rank one
  shift
  port=$((port + 1))
  rm -f "$folder"/out.*
  for ((rank = 0; rank < processes; rank++)); do
    RANK=$rank WORLD_SIZE=$processes LOCAL_RANK=$rank MASTER_PORT=$port "$@" >"$folder/out.$rank" 2>&1 &
    pids+=($!)
  done
  code=0
  for rank in "${!pids[@]}"; do
    one=0
    wait "${pids[rank]}" || one=$?
    [ "$code" != 0 ] || code=$one
  done
}

# train PROCESSES DIR [key=value ...]: the run of "${settings[@]}" in $folder/DIR, whose GPUs exchange by NCCL.
train() {
  start "$1" "$train" "${settings[@]}" device="$device" output_dir="$folder/$2" "${@:3}"
  trained "$2" "$folder"/out.*
}

# train_by_mpi PROCESSES DIR [key=value ...]: the same, started by mpirun.
train_by_mpi() {
  code=0
  ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 mpirun -n "$1" "$train" "${settings[@]}" device="$device" \
    output_dir="$folder/$2" "${@:3}" >"$folder/out.all" 2>&1 || code=$?
  trained "$2" "$folder/out.all"
}

trained() { # DIR FILE...: what the processes said
  [ "$code" = 0 ] || { cat "${@:2}"; fail "exit $code of $1"; }
  [ "$(cat "${@:2}" | grep -c '^trained')" = 1 ] || { cat "${@:2}"; fail "$1: not one of the processes alone speaks"; }
  ! grep "through host memory" "${@:2}" || fail "$1: the GPUs do not exchange by themselves"
}

# compare DIR DIR KEYS LINES: the second run has so many figures of these keys (of a regular expression) in its log, and
# they are the first one's: losses to 1e-6 of their size, others to 1e-4 of it, as sums in another order leave them, and
# what is a small difference of larger numbers, a divergence, to 1e-6; and its weights lie within 1e-5 of the first one's.
compare() {
  local one=$folder/$1 other=$folder/$2
  paste <(figures "$one" "$3") <(figures "$other" "$3") >"$folder/figures"
  [ "$(figures "$other" "$3" | wc -l)" = "$4" ] || fail "$4 figures were expected in $2"
  awk '
    { allowed = $1 ~ /loss/ ? 1e-6 : 1e-4; off = $2 - $4; if (off < 0) off = -off; size = $2 < 0 ? -$2 : $2 }
    $1 != $3 || off > allowed * size + ($1 ~ /kl/ ? 1e-6 : 0) { print; bad = 1 }
    END { exit bad }' "$folder/figures" || fail "$2 has other figures than $1"
  paste <(elements "$one") <(elements "$other") | awk '
    $1 != $2 { off = $1 - $2; if (off < 0) off = -off; if (off > 1e-5) { print; bad = 1 } }
    END { exit bad || NR < 50000 }' >"$folder/weights" || { head -n 5 "$folder/weights"; fail "$2 has other weights than $1"; }
}
figures() { grep -oE "\"($2)\": [0-9.e-]+" "$1/trainer_log.jsonl"; }
elements() { od -An -v -w4 -t f4 "$1/model.safetensors"; }

# equal DIR DIR: the runs end with the same bits.
equal() { cmp "$folder/$1/model.safetensors" "$folder/$2/model.safetensors" || fail "$2 has other bits than $1"; }
