#!/usr/bin/env bash
# Checks, measures and explains the CUDA backend on a GPU machine that is there for minutes. One call, three phases:
#   1 is it right?   what was found; ops and a toy model against the CPU; products at model size, cuBLASLt against own kernels; a
#                    small model against transformers + PEFT there; one step at model size. Ends with a one-line verdict.
#   2 how fast?      cuBLASLt's algorithms timed; training, sweep, questions, decode at 32B; then transformers + PEFT on the same card.
#   3 why?           a training step op by op, single products (timed algorithms and first answers), a block old and new, 7B, compute-sanitizer on small work.
#
#   bash gpu-native/bench/device.sh build      without a GPU: programs for sm_90a into gpu-native/build/device
#   bash gpu-native/bench/device.sh            on the device, with that folder brought along (built there if it is missing or stale)
#   bash gpu-native/bench/device.sh 1 3        only these phases
#   bash gpu-native/bench/device.sh --dry      anywhere: the whole script on the emulated library and a toy model
#
# Writes two files into $OUT (default gpu-native/build/device-out), each line as it comes, so that being cut off loses nothing:
# device.log, all that ran and said; results.tsv, one fact a line (bench/device/report.h). A second call appends. Each program has a time limit
# of its own within its phase's; one that throws or dies runs once more with blocking launches, so that its error names the kernel.
#
# On a new device run phase 1 alone first; once it is right, LIMITS="100 150 90" with phases 2 3.
#
# LIMITS="120 180 60": seconds of the phases. SHAPE (32B), SECOND_SHAPE (7B), SECONDS_EACH (2): what is measured and for how long.
# STEERLAB_DEVICE_BIN: a folder of programs to use as they are. Needs nvcc, CMake and a C++20 compiler where it builds; uses
# python3 with torch, transformers and PEFT, and compute-sanitizer, where they are; what is missing is skipped by name.
set -u
export LC_ALL=C PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
cd "$(dirname "$0")/.." || exit 1
native=$PWD

dry= build= phases=
for argument in "$@"; do
  case $argument in
    --dry) dry=1 ;;
    build) build=1 ;;
    1 | 2 | 3) phases+="$argument " ;;
    *) echo "Expected build, --dry, 1, 2 or 3 but received $argument." >&2; exit 2 ;;
  esac
done
phases=${phases:-1 2 3}
read -ra limits <<< "${LIMITS:-120 180 60}"
shape=${SHAPE:-32B} second=${SECOND_SHAPE:-7B} each=${SECONDS_EACH:-2} lab=lab place=cuda
patience=1  # of an emulated device: this many times as long
if [ -n "$dry" ]; then
  shape=toy second=toy each=0.01 lab=toy place=cpu patience=10
  [ -n "${LIMITS:-}" ] || limits=(1200 600 600)
fi
python=${STEERLAB_PEER_PYTHON:-$(command -v python3)}
least=3  # seconds below which nothing more is started in a phase

out=${OUT:-build/device-out}
mkdir -p "$out" || exit 1
exec 3>> "$out/device.log" 4>> "$out/results.tsv"
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
SECONDS=0

log() { printf '%s\n' "$*" >&3; }
say() { printf '[%3ds] %s\n' "$SECONDS" "$*"; log "[$SECONDS s] $*"; }
record() { local IFS=$'\t'; printf '%s\n' "$*" >&4; }
skips=0 skipped=
skip() { skips=$((skips + 1)) skipped+="${skipped:+, }$1"; record skipped "$1" "$2"; say "skipped: $1: $2"; }

# ---- programs ----
stamp() { # of everything that is compiled
  (cd .. && find gpu-native/src gpu-native/bench/device test/gpu-native/cuda gpu-native/CMakeLists.txt -type f \
    \( -name '*.c*' -o -name '*.h' -o -name CMakeLists.txt \) | sort | xargs sha256sum | sha256sum | cut -c1-64)
}

compile() { # <part> <folder> <target> <options...>
  local tree=$native/build/device-tree-$2 part=$1 target=$3
  shift 3
  # a cache from another folder or compiler: once more from nothing
  local generator=()
  command -v ninja > /dev/null && generator=(-G Ninja)
  for _ in 1 2; do
    if cmake -S . -B "$tree" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release "-DSTEERLAB_PART=$part" "$@" >&3 2>&3; then
      cmake --build "$tree" --parallel "$(nproc)" --target "$target" >&3 2>&3
      return
    fi
    rm -rf "$tree"
  done
  return 1
}

programs="steerlab_cuda_ops_test steerlab_cuda_end_to_end steerlab_device_check steerlab_device_lab steerlab_device_bench"
up_to_date() {
  want=$(stamp)
  [ "$(cat "$bin/stamp" 2> /dev/null)" = "$want" ] && "$bin/steerlab_device_check" toy starts 2> /dev/null && say "programs are up to date in $bin"
}

# On a device a forgotten build would eat the time it is there for: so many seconds and no more.
build_within() {
  local most=$((${BUILD_LIMIT:-240} * patience))
  up_to_date && return
  say "the prebuilt programs in $bin are missing or stale: building them here, at most $most s; device.sh build elsewhere saves this time"
  timeout -k 5 "$most" bash "$native/bench/device.sh" build ${dry:+--dry} && return
  say "no programs after at most $most s of building; run device.sh build without a device and bring $bin along"
  return 1
}

build_programs() {
  local want tree=$native/build/device-tree p
  up_to_date && return
  say "building programs into $bin"
  mkdir -p "$bin" && rm -f "$bin/stamp"
  compile addon tools steerlab_device || { say "could not build the programs; the end of device.log says why"; return 1; }
  if [ -n "$dry" ]; then
    compile addon tools steerlab_cuda || { say "could not build the emulated library"; return 1; }
    cp "$tree-tools/libsteerlab_cuda.so" "$bin/"
  else
    local nvcc
    nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2> /dev/null)
    [ -n "$nvcc" ] || { say "nvcc is missing: the library cannot be built"; return 1; }
    compile cuda cuda steerlab_cuda "-DCMAKE_CUDA_COMPILER=$nvcc" "-DSTEERLAB_CUDA_CODE=-gencode=arch=compute_${CUDA_CODE:-90a},code=sm_${CUDA_CODE:-90a}" ||
      { say "could not build the library; the end of device.log says why"; return 1; }
    cp "$tree-cuda/libsteerlab_cuda.so" "$bin/"
  fi
  for p in $programs; do cp "$tree-tools/$p" "$bin/" || return 1; done
  printf '%s\n' "$want" > "$bin/stamp"
  say "built in $bin"
}

# ---- running ----
# attempt <name> <most seconds> <command...>: sets passed, failed, refused and status. Lines go to the log, facts to the results, failures
# here too; measurements under blocking launches are no measurements.
attempt() {
  local name=$1 most=$2 line
  shift 2
  passed=0 failed=0 status=137 refused= threw=
  log "== $name (at most $most s): $*"
  while IFS= read -r -t $((most + 15)) line; do
    case $line in *' threw '* | failed$'\t'*) threw=1 ;; esac
    case $line in
      '#status '*) status=${line#'#status '}; break ;;
      'ok  '*) passed=$((passed + 1)) ;;
      FAIL*) failed=$((failed + 1)); record fail "$name" "$line"; [ $failed -le 6 ] && printf '       %s\n' "$line" ;;
      failed$'\t'*) record "$line"; printf '       %s\n' "$line" ;;
      result$'\t'* | time$'\t'*) [ "${CUDA_LAUNCH_BLOCKING:-}" = 1 ] || record "$line" ;;
      found$'\t'* | skipped$'\t'*) record "$line" ;;
      *'evice not supported'* | *'not supported on this'*) refused=1 ;;
    esac
    log "$line"
  done < <(timeout -k 5 "$most" "$@" 2>&1 < /dev/null; echo "#status $?")  # -k: a process that hangs on the device may not heed the first signal
}

# run <name> <most seconds> <command...>: within what is left of the phase. What threw or died runs once more with blocking launches; numbers
# that are wrong would only be wrong again.
run() {
  local name=$1 most=$2 left=$((phase_end - SECONDS)) started=$SECONDS
  shift 2
  if [ "$left" -lt $least ]; then skip "$name" "no time left in phase $phase"; unfinished=$((unfinished + 1)); return 4; fi
  most=$((most * patience))
  [ "$most" -gt "$left" ] && most=$left
  attempt "$name" "$most" "$@"
  all_passed=$((all_passed + passed)) all_failed=$((all_failed + failed))
  record check "$phase" "$name" "$passed" "$failed" "$status" launches
  case $status in
    3) skips=$((skips + 1)) skipped+="${skipped:+, }$name"; say "$name: skipped, see above" ;;
    0) say "$name: done in $((SECONDS - started)) s, $passed checks passed" ;;
    124 | 137 | 143) say "$name: cut off after $most s, $passed checks passed until then"; record cut "$name" "$most s"; unfinished=$((unfinished + 1)) ;;
    *)
      if [ -n "$refused" ]; then skip "$name" "this machine refuses it"; return 3; fi
      bad+="$name (status $status, $failed checks failed); "
      say "$name: FAILED with status $status, $failed checks failed"
      [ -z "$threw" ] && [ "$status" -le 128 ] && return "$status"
      say "$name: once more with blocking launches"
      left=$((phase_end - SECONDS))
      [ "$left" -lt $least ] && return "$status"
      local first=$status
      [ "$most" -gt "$left" ] && most=$left
      CUDA_LAUNCH_BLOCKING=1 attempt "$name, blocking" "$most" "$@"
      record check "$phase" "$name" "$passed" "$failed" "$status" blocking
      say "$name, blocking: status $status, $failed checks failed"
      return "$first"
      ;;
  esac
  return "$status"
}

begin() { # a phase
  phase=$1 phase_end=$((SECONDS + limits[$1 - 1])) unfinished=0
  say "phase $1: $2, at most ${limits[$1 - 1]} s"
}

phase_1() {
  begin 1 "is it right?"
  local pid=
  if [ -n "$python" ]; then  # its imports take long: beside the checks that need little of the device
    timeout -k 5 "$((limits[0] - 10))" "$python" bench/device/lab.py "$scratch/lab" $lab $place > "$scratch/lab.txt" 2>&1 < /dev/null &
    pid=$!
  fi
  run "what is here" 30 "$bin/steerlab_device_check" $shape found
  run "products of $shape" 40 "$bin/steerlab_device_check" $shape products
  run "a block of $shape, matrix units against F32 units" 30 "$bin/steerlab_device_check" $shape block
  run "ops against the CPU" 60 "$bin/steerlab_cuda_ops_test" "$STEERLAB_CUDA_LIBRARY" both
  STEERLAB_CUBLASLT=own run "ops against the CPU, own products" 60 "$bin/steerlab_cuda_ops_test" "$STEERLAB_CUDA_LIBRARY" bf16
  run "toy model against the CPU" 60 "$bin/steerlab_cuda_end_to_end" both
  run "one step of $shape" 60 "$bin/steerlab_device_check" $shape step
  if [ -z "$pid" ]; then skip "lab model against transformers" "no python3"
  else
    while kill -0 $pid 2> /dev/null && [ $SECONDS -lt $((phase_end - 5 * least)) ]; do sleep 0.2; done
    kill $pid 2> /dev/null
    wait $pid
    run "transformers on the lab model" 10 bash -c 'cat "$1"; exit "$2"' - "$scratch/lab.txt" $?
    for type in f32 bf16; do
      [ -s "$scratch/lab/$type/index.txt" ] && run "lab model in $type against transformers" 30 "$bin/steerlab_device_lab" "$scratch/lab/$type"
    done
  fi
  judge
}

# The verdict so far: of phase 1, then with the step under the chosen algorithms.
judge() {
  local served
  served=$(awk -F'\t' '$1 == "found" && $2 == "backend" { text = $3 } END { print text }' "$out/results.tsv")
  if [ -n "$bad" ]; then verdict="WRONG: ${bad}$all_passed checks passed"
  elif [ "$all_passed" = 0 ] || [ $unfinished -gt 0 ]; then verdict="UNKNOWN: $unfinished programs did not finish; $all_passed checks passed, none failed"
  else verdict="RIGHT: $all_passed checks passed, none failed"
  fi
  [ $skips -gt 0 ] && verdict+=", $skips skipped: $skipped"
  case $served in
    *', cuBLASLt '* | '') ;;
    *) [ "${STEERLAB_CUBLASLT:-}" = own ] || [ "${STEERLAB_BATCH_INVARIANT:-}" = 1 ] ||
      verdict+="; cuBLASLt was expected but NOT FOUND: all figures are of own products" ;;
  esac
  verdict+=" [${served:-no backend}]"
  record verdict "$verdict"
  say "VERDICT: $verdict"
}

phase_2() {
  begin 2 "how fast?"
  # once for all that follows; the file is logged, so that its choices can be used again
  STEERLAB_CUBLASLT_TIME=1 run "choosing algorithms for $shape" 50 "$bin/steerlab_device_bench" $shape "$each" choose
  cat "$STEERLAB_CUBLASLT_CHOICES" >&3 2> /dev/null
  unfinished=0  # of what is judged
  run "one step of $shape, chosen algorithms" 40 "$bin/steerlab_device_check" $shape step
  judge
  run "bench $shape" $((limits[1] * 2 / 5)) "$bin/steerlab_device_bench" $shape "$each"
  if [ -z "$python" ]; then skip "transformers + PEFT" "no python3"
  else run "transformers + PEFT, $shape" $((limits[1] * 2 / 5)) "$python" bench/device/baseline.py $shape "$each" $place
  fi
}

phase_3() {
  begin 3 "why?"
  STEERLAB_CUDA_TIMES=1 run "details of $shape" 45 "$bin/steerlab_device_bench" $shape 1 details
  STEERLAB_CUBLASLT_CHOICES=/dev/null run "first answers for $shape" 20 "$bin/steerlab_device_bench" $shape 1 first
  [ "$second" != "$shape" ] && run "bench $second" 45 "$bin/steerlab_device_bench" $second 1
  local sanitizer tool case
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null)
  if [ -z "$sanitizer" ]; then skip compute-sanitizer "not installed"; return; fi
  # racecheck sees what the emulation cannot: threads that meet in shared memory without a barrier
  for look in "memcheck linear_backward" "racecheck attention" "racecheck linear" "racecheck linear_backward" "racecheck sample" "racecheck score" "memcheck attention"; do
    read -r tool case <<< "$look"
    STEERLAB_CUBLASLT=own run "$tool, $case" 25 "$sanitizer" --tool "$tool" --error-exitcode 9 \
      "$bin/steerlab_cuda_ops_test" "$STEERLAB_CUDA_LIBRARY" bf16 "$case"
    [ -n "$refused" ] && return
  done
}

if [ -n "${STEERLAB_DEVICE_BIN:-}" ]; then bin=$STEERLAB_DEVICE_BIN
else
  bin=$native/build/device${dry:+-dry}
  if [ -n "$build" ]; then build_programs || exit 1; else build_within || exit 1; fi
fi
[ -n "$build" ] && exit 0
export STEERLAB_CUDA_LIBRARY=${STEERLAB_CUDA_LIBRARY:-$bin/libsteerlab_cuda.so}
export STEERLAB_CUBLASLT_CHOICES=${STEERLAB_CUBLASLT_CHOICES:-$native/build/device-choices.tsv}  # stays: phases may be calls of their own
record run "$(date -u '+%Y-%m-%d %H:%M UTC')" "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2> /dev/null | head -1)" "phases $phases"
verdict= bad= all_passed=0 all_failed=0
for p in $phases; do phase_$p; done
[ -n "$bad" ] && [ "${verdict#WRONG}" = "$verdict" ] && judge  # what failed after the last verdict
[ -n "$python" ] && "$python" bench/device/table.py "$out/results.tsv" 2>&1 | tee -a "$out/device.log"
[ -n "$verdict" ] && echo "VERDICT: $verdict"
[ -z "$bad" ]
