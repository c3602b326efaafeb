#!/usr/bin/env bash
# The build bound: from downloaded crates to a running server with the README's command, in under six minutes, in a copy
# of the tree with a target directory of its own.
# Usage: build_time.sh    STRATA_BENCH_DIR=/disk/with/room
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
bound=360
scratch build_time
rm -rf "${work:?}"/*
unset CARGO_TARGET_DIR CARGO_INCREMENTAL RUSTFLAGS
git -C "$root" archive HEAD | tar -x -C "$work"
cd "$work"
cargo fetch --locked 1>&2
since=$(date +%s%N)
server_log=$work/server.log
cargo run --locked --release -- server --data-dir "$work/data" --metadata-dir "$work/metadata" --s3-addr 127.0.0.1:0 \
    --metrics-addr 127.0.0.1:0 --metadata-addr 127.0.0.1:0 --data-addr 127.0.0.1:0 >"$server_log" 2>&1 &
server_pid=$!
wait_for_endpoint 900
seconds=$((($(date +%s%N) - since) / 1000000000))
stop_server TERM
rm -rf "$work"
verdict=$(holds "$seconds < $bound" && echo held || echo missed)
echo "build: $seconds s of $bound s from downloaded crates to a listening server, $(nproc) cores, load of the machine before $(cut -d' ' -f1 /proc/loadavg): $verdict"
[ "$verdict" = held ]
