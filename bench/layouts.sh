#!/usr/bin/env bash
# The coded layout against whole copies, and with disks away against itself, in interleaved pairs of fresh stores of six directories:
# server processor time of PUT and GET of 16 MiB at 4+2 against three copies, and at 4+2 the GETs a second of 64 KiB and 1 MiB with one
# and with two directories away against all of them. Prints one line for each: medians, their ratio, the control's own spread, and
# the verdict.
# Usage: layouts.sh    PAIRS=5 SECONDS_EACH=4 STRATA_BENCH_DIR=/disk PORT=19014
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pairs=${PAIRS:-5} each=${SECONDS_EACH:-4} port=${PORT:-19014}
export STRATA_NODE_ASSUME_SEPARATE_FAILURE_DOMAINS=true
build
scratch layouts
missed=0
declare -A figures

# serve SCHEME: starts a server of six directories in that scheme; those that are away stay so.
serve() {
    local directories=()
    for disk in 2 3 4 5 6; do
        directories+=(--data-dir "$work/store/data$disk")
    done
    STRATA_ERASURE_CODING_DATA_SHARDS=${1%+*} STRATA_ERASURE_CODING_PARITY_SHARDS=${1#*+} \
        start_server "$work/store" "127.0.0.1:$port" --capacity 24GiB "${directories[@]}"
    wait_for_endpoint 60
}

# load NAME BYTES COMMAND OPTIONS...: runs a load and notes microseconds of the server a MiB, and operations a second.
load() {
    local name=$1 bytes=$2 before line
    shift 2
    before=$(ticks)
    line=$("$bench" s3 "$@" --size "$bytes" --endpoint "$endpoint" --core "$client_core" --json)
    [ "$(field errors <<<"$line")" = 0 ] || { echo "$name: $line" >&2; exit 1; }
    figures[cpu,$name]+=" $(awk -v t=$(($(ticks) - before)) -v n="$(field operations <<<"$line")" -v b="$bytes" \
        -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", t * 1e6 / hz / n / b * 1048576 }')"
    figures[rate,$name]+=" $(field ops_per_second <<<"$line")"
}

# measure SCHEME: PUT and GET of 16 MiB on an empty store; for 4+2 also what is read while directories are away.
measure() {
    local scheme=$1 away
    rm -rf "$work/store"
    mkdir -p "$work"/store/data{,2,3,4,5,6}
    serve "$scheme"
    load "put $scheme" 16777216 put --prefix large/ --objects 60 --concurrency 4
    load "get $scheme" 16777216 get --prefix large/ --objects 60 --concurrency 4 --seconds "$each"
    if [ "$scheme" = 4+2 ]; then
        "$bench" s3 put --endpoint "$endpoint" --prefix small/ --size 65536 --objects 4000 --concurrency 16 --json >/dev/null
        "$bench" s3 put --endpoint "$endpoint" --prefix medium/ --size 1048576 --objects 500 --concurrency 16 --json >/dev/null
        for away in 0 1 2; do
            if [ "$away" != 0 ]; then
                stop_server
                mv "$work/store/data$((away + 3))" "$work/store/away$away"
                serve "$scheme"
            fi
            load "64 KiB $away away" 65536 get --prefix small/ --objects 4000 --concurrency 16 --seconds "$each"
            load "1 MiB $away away" 1048576 get --prefix medium/ --objects 500 --concurrency 16 --seconds "$each"
        done
    fi
    stop_server
}

for pair in $(seq "$pairs"); do
    if [ $((pair % 2)) = 0 ]; then
        measure 1+2
        measure 4+2
    else
        measure 4+2
        measure 1+2
    fi
done
rm -rf "$work/store"

verdict "PUT 16 MiB, 4+2 against three copies" "<= 0.7" "us a MiB" "${figures[cpu,put 4+2]}" "${figures[cpu,put 1+2]}" "three copies"
verdict "GET 16 MiB, 4+2 against three copies" "<= 2" "us a MiB" "${figures[cpu,get 4+2]}" "${figures[cpu,get 1+2]}" "three copies"
for size in "64 KiB" "1 MiB"; do
    verdict "GET $size, one away against none" ">= 0.8" "a second" "${figures[rate,$size 1 away]}" "${figures[rate,$size 0 away]}" "the whole"
    verdict "GET $size, two away against none" ">= 0.6" "a second" "${figures[rate,$size 2 away]}" "${figures[rate,$size 0 away]}" "the whole"
done
[ $missed = 0 ]
