#!/usr/bin/env bash
# The latency bound: 4 KiB GETs at 2,000 a second in an open loop, alone, then while one stream PUTs 100 MiB/s, one LIST
# of 1,000 keys and one deletion of 1,000 keys run each second. The server has one core, the client the other.
# The loaded p99 may be at most the larger of 3x the unloaded one and 2 ms: medians of PAIRS pairs. A pair with a failed
# operation, or with less beside the reads than that, is missed whatever its p99 is.
# Usage: p99.sh    PAIRS=5 SECONDS_EACH=10 RATE=2000 STRATA_BENCH_DIR=/disk/with/room
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pairs=${PAIRS:-5}
each=${SECONDS_EACH:-10}
build
scratch p99
rm -rf "${work:?}"/*
start_server "$work" 127.0.0.1:0 --cores "$server_core-$server_core"
wait_for_endpoint 60

unloaded=() loaded=() broken=0 filled=""
for pair in $(seq "$pairs"); do
    word=""
    # shellcheck disable=SC2086
    line=$("$bench" s3 mixed --endpoint "$endpoint" --core "$client_core" --seconds "$each" --rate "${RATE:-2000}" $filled --json) || word="operations failed"
    if [ -z "$line" ]; then
        echo "p99: pair $pair of $pairs gave no figures: missed"
        exit 1
    fi
    filled=--filled
    if [ -z "$word" ] && [ "$(field load <<<"$line")" != full ]; then word="too little load"; fi
    if [ -n "$word" ]; then broken=$((broken + 1)); fi
    unloaded+=("$(field unloaded_p99_ms <<<"$line")")
    loaded+=("$(field loaded_p99_ms <<<"$line")")
    echo "pair $pair: p99 $(field loaded_p99_ms <<<"$line") ms loaded, $(field unloaded_p99_ms <<<"$line") ms unloaded;" \
        "p50 $(field loaded_p50_ms <<<"$line") / $(field unloaded_p50_ms <<<"$line"), p99.9 $(field loaded_p999_ms <<<"$line") / $(field unloaded_p999_ms <<<"$line");" \
        "stream $(field stream_mib_per_second <<<"$line") MiB/s, $(field list_operations <<<"$line") LISTs p50 $(field list_p50_ms <<<"$line") ms," \
        "$(field delete_operations <<<"$line") deletions p50 $(field delete_p50_ms <<<"$line") ms${word:+: $word}"
done
stop_server TERM
rm -rf "$work"

bound=$(awk -v u="$(median "${unloaded[@]}")" 'BEGIN { b = 3 * u; print (b > 2) ? b : 2 }')
verdict=missed
if [ "$broken" = 0 ] && holds "$(median "${loaded[@]}") <= $bound"; then verdict=held; fi
echo "p99: $(median "${loaded[@]}") ms loaded, $(median "${unloaded[@]}") ms unloaded (spread $(spread "${unloaded[@]}")), bound $bound ms," \
    "medians of $pairs pairs, $broken of them broken: $verdict"
[ "$verdict" = held ]
