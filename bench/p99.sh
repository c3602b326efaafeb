#!/usr/bin/env bash
# The latency bound: 4 KiB GETs at 2,000 a second in an open loop, alone, then while one stream PUTs 100 MiB/s, one LIST
# of 1,000 keys and one deletion of 1,000 keys run each second. The server has one core, the client the other.
# The loaded p99 may be at most the larger of 3x the unloaded one and 2 ms.
# Usage: p99.sh    SECONDS_EACH=20 RATE=2000 STRATA_BENCH_DIR=/disk/with/room
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
build
scratch p99
rm -rf "${work:?}"/*
start_server "$work" 127.0.0.1:0 --cores "$server_core-$server_core"
wait_for_endpoint 60
line=$("$bench" s3 mixed --endpoint "$endpoint" --core "$client_core" --seconds "${SECONDS_EACH:-20}" --rate "${RATE:-2000}" --json) || echo "some operations failed" >&2
stop_server TERM
rm -rf "$work"
verdict=$(field verdict <<<"$line")
echo "p99: $(field loaded_p99_ms <<<"$line") ms loaded, $(field unloaded_p99_ms <<<"$line") ms unloaded, bound $(field bound_ms <<<"$line") ms;" \
    "p50 $(field loaded_p50_ms <<<"$line") / $(field unloaded_p50_ms <<<"$line"), p99.9 $(field loaded_p999_ms <<<"$line") / $(field unloaded_p999_ms <<<"$line");" \
    "stream $(field stream_mib_per_second <<<"$line") MiB/s, LIST p50 $(field list_p50_ms <<<"$line") ms, deletes p50 $(field delete_p50_ms <<<"$line") ms: $verdict"
[ "$verdict" = held ]
