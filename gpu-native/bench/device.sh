#!/usr/bin/env bash
# Builds, checks and measures the CUDA backend on a bare GPU machine, in one call of under ten minutes; a short table comes last.
#
#   bash gpu-native/bench/device.sh [shapes]      default "32B 7B 0.5B": what matters most comes first
#
# Results and logs go to $OUT (default: build/device).
#
# Needs: nvcc (12 or 13), CMake and a C++20 compiler. Uses, where they are: cuBLASLt (see src/cuda/gemm_source.h), compute-sanitizer,
# python3 with torch + transformers + PEFT (the baseline, alternating with ours). What is missing is skipped by name.
# BUDGET: seconds for everything (default 570). SECONDS_EACH: for one measurement (default 2). SANITIZE=0 leaves the sanitizer out.
set -u
cd "$(dirname "$0")/.." || exit 1
shapes=${1:-"32B 7B 0.5B"}
out=${OUT:-build/device}
budget=${BUDGET:-570}
each=${SECONDS_EACH:-2}
work=build/device-work
mkdir -p "$out" "$work"
out=$(cd "$out" && pwd)
results=$out/results.tsv
: > "$results"
SECONDS=0

say() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }
left() { echo $((budget - SECONDS)); }
skip() { say "skipped: $*"; printf 'skipped\t%s\n' "$*" >> "$results"; }

# limited <most seconds> <log> <command...>: runs within what is left of the budget
limited() {
  local most=$1 log=$2 now
  shift 2
  : > "$log"
  now=$(left)
  [ "$now" -lt 10 ] && { skip "$(basename "$1"): no time left"; return 4; }
  [ "$most" -gt "$now" ] && most=$now
  timeout -k 5 "$most" "$@" > "$log" 2>&1  # -k: a process that hangs on the device may not heed the first signal
}

nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2> /dev/null)
[ -n "$nvcc" ] || { say "nvcc is missing: nothing can be built"; exit 1; }
command -v cmake > /dev/null || { say "CMake is missing: nothing can be built"; exit 1; }
device=$(nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader 2> /dev/null | head -1)
say "device: ${device:-none found by nvidia-smi}; $("$nvcc" --version | grep release)"
cap=$(printf '%s' "$device" | awk -F', ' '{ gsub(/\./, "", $4); print $4 }')
case "$cap" in
  90) arch="-gencode=arch=compute_90a,code=sm_90a" ;;
  8*) arch="-gencode=arch=compute_80,code=sm_80" ;;
  *) arch= ;;  # all that CMakeLists.txt names
esac

# ---- build ----
jobs=$(nproc)
{
  cmake -S . -B "$work" -DSTEERLAB_PART=cuda -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_FLAGS=-allow-unsupported-compiler \
    ${arch:+"-DSTEERLAB_CUDA_CODE=$arch"} &&
    cmake --build "$work" --parallel "$jobs" --target steerlab_cuda steerlab_cuda_ops_test steerlab_cuda_end_to_end steerlab_device_bench
} > "$out/build.log" 2>&1 || { say "could not build"; grep -m 20 -E "rror|not found" "$out/build.log"; exit 1; }
say "built with $jobs compilers"
export STEERLAB_CUDA_LIBRARY=${STEERLAB_CUDA_LIBRARY:-$PWD/$work/libsteerlab_cuda.so}

# ---- check ----
verdict() { # name, log, status
  local failed passed
  failed=$(grep -c '^FAIL' "$2")
  passed=$(grep -c '^ok' "$2")
  printf 'check\t%s\t%s\t%s\t%s\n' "$1" "$passed" "$failed" "$3" >> "$results"
  say "check $1: $passed passed, $failed failed, exit status $3"
  [ "$3" -ne 0 ] && grep -v '^ok' "$2" | grep -E 'FAIL|no device|rror|threw' | head -12
}
for source in own found; do
  export STEERLAB_CUBLASLT=$([ $source = own ] && echo own || echo "${CHOSEN_CUBLASLT:-}")
  limited 60 "$out/ops-$source.log" "$work/steerlab_cuda_ops_test" "$STEERLAB_CUDA_LIBRARY" both
  verdict "ops ($source matrix products)" "$out/ops-$source.log" $?
  limited 60 "$out/end-to-end-$source.log" "$work/steerlab_cuda_end_to_end" both
  verdict "toy model ($source matrix products)" "$out/end-to-end-$source.log" $?
done
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null)
if [ "${SANITIZE:-1}" = 0 ]; then skip "compute-sanitizer (SANITIZE=0)"
elif [ -z "$sanitizer" ]; then skip "compute-sanitizer (not installed)"
else
  # racecheck sees what the emulation cannot: threads that meet in shared memory without a barrier
  for look in "memcheck attention" "memcheck linear_backward" "racecheck attention" "racecheck linear"; do
    set -- $look
    log=$out/$1-$2.log
    STEERLAB_CUBLASLT=own limited 25 "$log" "$sanitizer" --tool "$1" --error-exitcode 9 \
      "$work/steerlab_cuda_ops_test" "$STEERLAB_CUDA_LIBRARY" bf16 "$2"
    status=$?
    if [ $status -eq 124 ]; then skip "$1 of $2 (not finished in 25 s; nothing found until then)"
    elif [ $status -ne 4 ]; then verdict "$1, $2" "$log" $status
    fi
  done
fi

# ---- measure ----
measure() { # name, most seconds, command...
  local name=$1 most=$2
  shift 2
  limited "$most" "$out/$name.log" "$@"
  local status=$?
  grep -E '^(result|skipped|failed)' "$out/$name.log" | sed "s/^result/result\t$name/" >> "$results"
  grep -E '^(skipped|failed)' "$out/$name.log"
  if [ $status -eq 124 ]; then skip "the rest of $name (over $most s or the budget)"
  elif [ $status -ne 0 ] && [ $status -ne 4 ] && ! grep -qE '^(skipped|failed)' "$out/$name.log"; then
    skip "the rest of $name (exit status $status: $(grep -v '^ *$' "$out/$name.log" | tail -1 | cut -c1-160))"
  fi
  say "$name: exit status $status"
}
python=$(command -v python3)
for shape in $shapes; do
  measure "ours-$shape" 120 "$work/steerlab_device_bench" "$shape" "$each"
  if [ -z "$python" ]; then skip "baseline (no python3)"
  else
    measure "baseline-$shape" 100 "$python" bench/device/baseline.py "$shape" "$each"
    grep -q '^result' "$out/baseline-$shape.log" && measure "ours-again-$shape" 60 "$work/steerlab_device_bench" "$shape" 1 again
  fi
done

# ---- table ----
say "done; full numbers in $results"
echo "device: ${device:-unknown}"
grep -h '^#.*cuda' "$out"/ours-*.log 2> /dev/null | sort -u | head -1
awk -F'\t' '
  $1 == "check" { printf "%-52s %4s passed %3s failed%s\n", $2, $3, $4, ($5 == 0 ? "" : "  <-- exit status " $5) }
  $1 == "skipped" { print "skipped: " $2 (NF > 2 ? ": " $3 : "") }
  $1 == "failed" { print "failed: " $2 ": " $3 }
  $1 == "result" {
    key = $3 "\t" $4
    if ($2 ~ /^ours-again/) { again[key] = $5; next }
    if (!(key in value)) order[++n] = key
    value[key] = $5; unit[key] = $6; floor[key] = $7; spread[key] = $8; shape[key] = $3; what[key] = $4
  }
  END {
    printf "\n%-5s %-44s %10s %-11s %10s %7s %10s\n", "shape", "what", "median", "unit", "floor", "spread", "again"
    for (i = 1; i <= n; ++i) {
      k = order[i]
      printf "%-5s %-44s %10s %-11s %10s %7s %10s\n", shape[k], what[k], value[k], unit[k], floor[k], spread[k], (k in again ? again[k] : "-")
    }
    for (i = 1; i <= n; ++i) {
      k = order[i]
      if (what[k] !~ /^(peft|hooks)/ || what[k] ~ /memory/) continue
      twins = "training" substr(what[k], match(what[k], / [0-9]+\+/))
      if (what[k] ~ /sweep/) twins = "sweep of 1224 rows, shared|sweep of 1224 rows, unshared"
      split(twins, names, "|")
      for (j = 1; j in names; ++j) {
        ours = shape[k] "\t" names[j]
        if (!(ours in value)) continue
        ratio = unit[k] == "s" ? value[k] / value[ours] : value[ours] / value[k]
        printf "%-5s %-28s / %-32s %10.2f x\n", shape[k], names[j], what[k], ratio
      }
    }
    for (i = 1; i <= n; ++i) {
      k = order[i]
      if (floor[k] == "-" || floor[k] <= 0 || what[k] !~ /^(training|sweep|[0-9]+ questions|decode)/) continue
      share = unit[k] ~ /\/s$/ ? value[k] / floor[k] : floor[k] / value[k]
      printf "%-5s %-44s at %5.1f %% of its floor\n", shape[k], what[k], 100 * share
    }
  }' "$results"
# a failed check makes the numbers worthless: say so to the caller
! awk -F'\t' '$1 == "check" && $5 != 0 { bad = 1 } END { exit !bad }' "$results"
