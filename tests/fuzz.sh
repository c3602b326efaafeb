#!/usr/bin/env bash
# The coverage-guided fuzzers, by libFuzzer on the stable toolchain; needs a C++ compiler.
#   tests/fuzz.sh [TARGET...] [SECONDS]        runs these targets (else all), each for so long (else 60)
#   tests/fuzz.sh --merge [TARGET...]          adds to tests/fuzz/corpus what runs have found that reaches new code
#   tests/fuzz.sh --again TARGET INPUT         runs one input, such as one that failed
# The working corpus and inputs that fail lie below target/fuzz; a run goes on where the last one ended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${CARGO_TARGET_DIR:-target}
work=$build/fuzz
corpus=tests/fuzz/corpus
host=$(rustc -vV | sed -n 's/^host: //p')
# Inputs are no longer than this, so that the corpus stays small.
length=4096
# A target's corpus in the tree is not filled up beyond this many inputs.
inputs=48

# Coverage by LLVM's own pass, which stable rustc runs too. What a debug build checks is checked here as well.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
    cargo build --locked --release --package strata-fuzz --features libfuzzer --bin libfuzzer \
    --target "$host" --target-dir "$work/build"
fuzzer=$work/build/$host/release/libfuzzer

mode=run
case ${1:-} in
--merge | --again) mode=${1#--} && shift ;;
esac
if [ $mode = again ]; then
    STRATA_FUZZ_TARGET=$1 exec "$fuzzer" "$2"
fi

seconds=60
targets=()
for word in "$@"; do
    case $word in
    [0-9]*) seconds=$word ;;
    *) targets+=("$word") ;;
    esac
done
if [ ${#targets[@]} = 0 ]; then
    targets=("$corpus"/*/)
fi

failed=()
for target in "${targets[@]}"; do
    target=$(basename "$target")
    mkdir -p "$work/corpus/$target" "$work/failures" "$corpus/$target"
    export STRATA_FUZZ_TARGET=$target
    if [ $mode = merge ]; then
        rm -rf "$work/merged" && cp -r "$corpus/$target" "$work/merged"
        "$fuzzer" -set_cover_merge=1 -use_counters=0 -max_len=$length "$work/merged" "$work/corpus/$target" \
            >"$work/$target.log" 2>&1
        # The largest of what is new: they reach the most. The tree holds text but for what is called .bin.
        room=$((inputs - $(find "$corpus/$target" -type f | wc -l)))
        find "$work/merged" -type f ! -name '*.bin' -printf '%s %f\n' | sort -rn | head -n $((room > 0 ? room : 0)) |
            while read -r _ name; do cp "$work/merged/$name" "$corpus/$target/${name:0:12}.bin"; done
        echo "$target: $(find "$corpus/$target" -type f | wc -l) inputs, $(du -cbs "$corpus/$target" | tail -1 | cut -f1) bytes"
        continue
    fi
    if "$fuzzer" -max_total_time="$seconds" -max_len=$length -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$work/failures/$target-" "$work/corpus/$target" "$corpus/$target" >"$work/$target.log" 2>&1; then
        echo "$target: $(grep -E 'number_of_executed_units' "$work/$target.log" | grep -oE '[0-9]+$') runs, $(grep -oE 'cov: [0-9]+' "$work/$target.log" | tail -1)"
    else
        failed+=("$target")
        echo "$target FAILED: $(grep -m1 -aE 'panicked at|ERROR: libFuzzer' "$work/$target.log"); see $work/$target.log"
        input=$(grep -aoE "$work/failures/$target-\S+" "$work/$target.log" | tail -1)
        echo "  again:    tests/fuzz.sh --again $target $input"
        echo "  smaller:  STRATA_FUZZ_TARGET=$target $fuzzer -minimize_crash=1 -runs=100000 $input"
        echo "  when mended, keep it: cp $input $corpus/$target/WHAT_IT_IS.bin"
    fi
done
[ ${#failed[@]} = 0 ]
