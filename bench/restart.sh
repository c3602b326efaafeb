#!/usr/bin/env bash
# The restart bound: kill -9 at random moments of a mixed load with 180,000 objects of 4 KiB and 20,000 of 256 KiB
# stored, and once more with the page cache dropped; a signed GET and a signed PUT succeed within 3 s of the start.
# The store is kept under STRATA_BENCH_DIR and filled only once: a run that broke off goes on where it was.
# Usage: restart.sh    SMALL=180000 LARGE=20000 ROUNDS=5 STRATA_BENCH_DIR=/disk/with/room KEEP=1 PORT=19002
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
small=${SMALL:-180000} large=${LARGE:-20000} rounds=${ROUNDS:-5} bound=3
build
scratch restart
export STRATA_BENCH_SERVER_CPUS=${STRATA_BENCH_SERVER_CPUS:-0-$(($(nproc) - 1))}

# fill PREFIX SIZE COUNT: stores what is not stored yet, 20,000 at a time, and remembers how far it came.
fill() {
    local done_file=$work/filled-$2 done step
    done=$(cat "$done_file" 2>/dev/null || echo 0)
    while [ "$done" -lt "$3" ]; do
        step=$(($3 - done < 20000 ? $3 - done : 20000))
        "$bench" s3 put --endpoint "$endpoint" --prefix "$1" --size "$2" --first "$done" --objects "$step" --concurrency 32 --json >/dev/null
        done=$((done + step))
        echo "$done" >"$done_file"
        echo "stored $done of $3 objects of $2" >&2
    done
}

# Below the ports that the system gives to clients: one of those might be taken by the time the server starts again.
address=127.0.0.1:${PORT:-19002}
start_server "$work" $address
wait_for_endpoint 120
fill small/ 4KiB "$small"
fill large/ 256KiB "$large"

# round DROP: loads the server, kills it at random, starts it again; sets $seconds, to the first GET and PUT.
round() {
    local loads=() since line
    "$bench" s3 put --endpoint "$endpoint" --prefix small/ --first "$small" --seconds 60 --concurrency 8 >/dev/null 2>&1 &
    loads+=($!)
    "$bench" s3 get --endpoint "$endpoint" --prefix large/ --size 256KiB --objects "$large" --seconds 60 --concurrency 8 >/dev/null 2>&1 &
    loads+=($!)
    sleep "$((1 + RANDOM % 4)).$((RANDOM % 10))"
    stop_server KILL
    kill "${loads[@]}" 2>/dev/null || true
    wait "${loads[@]}" 2>/dev/null || true
    if [ "$1" = 1 ]; then
        sync
        echo 3 >/proc/sys/vm/drop_caches
    fi
    since=$(date +%s%N)
    start_server "$work" "$address"
    line=$("$bench" s3 probe --endpoint "$endpoint" --prefix small/ --object $((RANDOM % small)) --since "$since" --json)
    seconds=$(field put_seconds <<<"$line")
}

all=""
for _ in $(seq "$rounds"); do
    round 0
    all+=" $seconds"
    echo "killed at random: signed GET and PUT after $seconds s" >&2
done
dropped="not tried, it needs root"
if [ -w /proc/sys/vm/drop_caches ]; then
    round 1
    dropped=$seconds
    all+=" $seconds"
fi
stop_server TERM
[ "${KEEP:-0}" = 1 ] || rm -rf "$work"
# shellcheck disable=SC2086
worst=$(printf '%s\n' $all | sort -g | tail -1)
verdict=$(holds "$worst <= $bound" && echo held || echo missed)
# shellcheck disable=SC2086
echo "restart: signed GET and PUT after a median of $(median $all) s, worst $worst s of $bound s, page cache dropped $dropped s, $small + $large objects: $verdict"
[ "$verdict" = held ]
