#!/usr/bin/env bash
# Server processor time per request against another build of the server, in interleaved pairs of fresh starts: GET, PUT, batch
# DELETE and LIST of 4 KiB objects, PUT and GET of 16 MiB; and GET of 4 KiB against hyper's bare hello on the reactor. Prints one
# line for each: medians, their ratio, the other build's own spread, and the verdict. Each server has six directories, and an
# empty store in every pair.
# Usage: requests.sh DIRECTORY_OF_THE_OTHER_BINARIES    PAIRS=5 SECONDS_EACH=4 STRATA_BENCH_DIR=/disk PORT=19012
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
other=${1:?the directory of the other binaries}
pairs=${PAIRS:-5} each=${SECONDS_EACH:-4} port=${PORT:-19012}
build
scratch requests
ours=$strata
missed=0
names=(get put delete list put16 get16)
declare -A figures

# load NAME KEYS COMMAND OPTIONS...: runs a load and notes microseconds of the server a request (or a key, where a request has
# KEYS of them).
load() {
    local name=$1 keys=$2 before line count
    shift 2
    before=$(ticks)
    line=$("$bench" s3 "$@" --endpoint "$endpoint" --core "$client_core" --json)
    [ "$(field errors <<<"$line")" = 0 ] || { echo "$name: $line" >&2; exit 1; }
    count=$(field operations <<<"$line")
    figures[$side,$name]+=" $(awk -v t=$(($(ticks) - before)) -v n="$count" -v k="$keys" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.2f", t * 1e6 / hz / n / k }')"
}

# settle: waits until the server has nothing to do any more, such as the release of deleted bodies, at most a minute.
settle() {
    local before
    for _ in $(seq 60); do
        before=$(ticks)
        sleep 1
        [ $(($(ticks) - before)) -gt 3 ] || return 0
    done
    echo "requests: the server of $side does not come to rest" >&2
}

# measure SIDE BINARY: all loads on a server with an empty store.
measure() {
    side=$1 strata=$2
    rm -rf "$work/store"
    local directories=()
    for disk in 2 3 4 5 6; do
        directories+=(--data-dir "$work/store/data$disk")
        mkdir -p "$work/store/data$disk"
    done
    start_server "$work/store" "127.0.0.1:$port" --capacity 24GiB "${directories[@]}"
    wait_for_endpoint 60
    # While the namespace is small, bodies of 4 KiB lie in it: what is read is in memory.
    "$bench" s3 put --endpoint "$endpoint" --prefix warm/ --objects 5000 --concurrency 32 --json >/dev/null
    load get 1 get --prefix warm/ --objects 5000 --concurrency 32 --seconds "$each"
    "$bench" s3 put --endpoint "$endpoint" --objects 51200 --concurrency 32 --json >/dev/null
    load list 200 list --objects 51200 --concurrency 8 --seconds "$each"
    load put 1 put --first 60000 --seconds "$each" --concurrency 32
    load delete 1000 delete --objects 51000
    settle
    load put16 1 put --prefix large/ --size 16MiB --objects 40 --concurrency 4
    settle
    load get16 1 get --prefix large/ --size 16MiB --objects 40 --concurrency 4 --seconds "$each"
    stop_server
}

hello=""
for pair in $(seq "$pairs"); do
    line=$("$bench" http --runtime reactor --seconds "$each" --server-core "$server_core" --client-core "$client_core" --json)
    hello+=" $(field cpu_us_per_request <<<"$line")"
    # Each goes first as often as the other: the disk remembers what was there before.
    if [ $((pair % 2)) = 0 ]; then
        measure other "$other/strata"
        measure ours "$ours"
    else
        measure ours "$ours"
        measure other "$other/strata"
    fi
done
rm -rf "$work/store"

verdict "GET 4 KiB" "<= 4" us "${figures[ours,get]}" "$hello" "hyper's hello"
verdict "PUT 4 KiB" "<= 0.55" us "${figures[ours,put]}" "${figures[other,put]}" "the other build"
verdict "batch DELETE, per key" "<= 0.4" us "${figures[ours,delete]}" "${figures[other,delete]}" "the other build"
verdict "LIST, per key" "<= 0.5" us "${figures[ours,list]}" "${figures[other,list]}" "the other build"
verdict "PUT 16 MiB" "<= 1.0" us "${figures[ours,put16]}" "${figures[other,put16]}" "the other build"
verdict "GET 16 MiB" "<= 1.0" us "${figures[ours,get16]}" "${figures[other,get16]}" "the other build"
echo "GET 4 KiB of the other build: $(read -ra a <<<"${figures[other,get]}"; median "${a[@]}") us"
[ $missed = 0 ]
