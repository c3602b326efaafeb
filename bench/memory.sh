#!/usr/bin/env bash
# The memory bound: a 5 GiB multipart upload and download, then 1,000 idle and 200 busy connections, at default settings.
# Samples RssAnon + RssShmem + HugetlbPages of the server ten times a second and prints the peak against 512 MiB.
# With DISKS, so many data directories that count as a disk each: 6 are a layout of 4+2.
# Usage: memory.sh    SIZE=5GiB IDLE=1000 BUSY=200 DISKS=1 STRATA_BENCH_DIR=/disk/with/room
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
bound_mib=512
build
scratch memory
rm -rf "${work:?}"/*

# sample PID: writes "PEAK_KIB LAST_KIB" to a file ten times a second until the process is gone.
sample() {
    local peak=0 now
    while now=$(awk '/^(RssAnon|RssShmem|HugetlbPages):/ { sum += $2 } END { print sum + 0 }' "/proc/$1/status" 2>/dev/null) && [ "$now" != 0 ]; do
        [ "$now" -gt "$peak" ] && peak=$now
        echo "$peak $now" >"$work/samples.new" && mv "$work/samples.new" "$work/samples"
        sleep 0.1
    done
}

peak_mib() {
    awk '{ printf "%.0f", $1 / 1024 }' "$work/samples"
}

export STRATA_BENCH_SERVER_CPUS=${STRATA_BENCH_SERVER_CPUS:-0-$(($(nproc) - 1))}
directories=()
for disk in $(seq 2 "${DISKS:-1}"); do
    mkdir -p "$work/data$disk"
    directories+=(--data-dir "$work/data$disk")
done
[ "${DISKS:-1}" = 1 ] || export STRATA_NODE_ASSUME_SEPARATE_FAILURE_DOMAINS=true
start_server "$work" 127.0.0.1:0 "${directories[@]}"
sample "$server_pid" &
sampler=$!
wait_for_endpoint 60
sleep 1
started=$(peak_mib)
line=$("$bench" s3 multipart --endpoint "$endpoint" --size "${SIZE:-5GiB}" --json)
echo "multipart ${SIZE:-5GiB}: up $(field upload_mib_per_second <<<"$line") MiB/s, ranges $(field ranges_mib_per_second <<<"$line") MiB/s, stream $(field stream_mib_per_second <<<"$line") MiB/s"
multipart=$(peak_mib)
line=$("$bench" s3 connections --endpoint "$endpoint" --idle "${IDLE:-1000}" --busy "${BUSY:-200}" --json)
echo "connections: puts $(field put_ops_per_second <<<"$line")/s, gets $(field get_ops_per_second <<<"$line")/s"
sleep 0.2
# A peak that nobody looked for is no peak.
if ! kill -0 "$sampler" 2>/dev/null; then
    echo "memory: the sampler ended before the server was stopped: missed"
    exit 1
fi
peak=$(peak_mib)
stop_server TERM
wait $sampler || true
rm -rf "$work"
verdict=$(holds "$peak <= $bound_mib" && echo held || echo missed)
echo "memory: peak $peak MiB of $bound_mib MiB (after the start $started, after multipart $multipart): $verdict"
[ "$verdict" = held ]
