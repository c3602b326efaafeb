# Shared by the scripts beside it: building, huge pages, figures, medians, a server to measure.
# Sourced, never run. Everything started here is stopped when the script ends; nothing listens beyond loopback.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Where the two binaries are; without it they are built here.
binaries=${STRATA_BENCH_BINARIES:-${CARGO_TARGET_DIR:-$root/target}/release}
bench=$binaries/strata-bench
strata=$binaries/strata
# Where data goes; on the file system that is to be measured.
place=${STRATA_BENCH_DIR:-${TMPDIR:-/var/tmp}/strata-bench}
server_core=${STRATA_BENCH_SERVER_CORE:-0}
client_core=${STRATA_BENCH_CLIENT_CORE:-1}
export STRATA_ROOT_ACCESS_KEY_ID=strata-bench-key STRATA_ROOT_SECRET_KEY=strata-bench-secret-0123456789

server_pid=""
reserved_before=""

build() {
    [ -n "${STRATA_BENCH_BINARIES:-}" ] || (cd "$root" && cargo build --locked --release -p strata -p strata-bench 1>&2)
}

# Takes a scratch directory of its own; kept between runs only where a script resumes.
scratch() {
    work=$place/$1
    mkdir -p "$work"
}

# Reserves 2 MiB pages for both sides of a comparison, or for none: sets $huge to 1 or 0.
reserve_huge_pages() {
    local wanted=$1 knob=/proc/sys/vm/nr_hugepages
    huge=0
    reserved_before=$(cat $knob)
    if [ -w $knob ] && echo "$wanted" 2>/dev/null >$knob && [ "$(cat $knob)" -ge "$wanted" ]; then
        huge=1
    else
        release_huge_pages
    fi
}

release_huge_pages() {
    if [ -n "$reserved_before" ]; then
        echo "$reserved_before" 2>/dev/null >/proc/sys/vm/nr_hugepages || true
        reserved_before=""
    fi
}

# field NAME: a figure out of one line of JSON on standard input.
field() {
    sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p"
}

# ticks: processor time of the server so far, user and system, in clock ticks.
ticks() {
    awk '{ print $14 + $15 }' "/proc/$server_pid/stat"
}

# verdict NAME BOUND UNIT FIGURES CONTROL CONTROL_NAME: prints medians, spreads, their ratio and whether the bound (such as "<= 4")
# holds; counts in $missed where it does not.
verdict() {
    local a b share word=held
    read -ra a <<<"$4"
    read -ra b <<<"$5"
    share=$(ratio "$(median "${a[@]}")" "$(median "${b[@]}")")
    if ! holds "$share $2"; then
        word=missed
        missed=$((missed + 1))
    fi
    echo "$1: $(median "${a[@]}") (spread $(spread "${a[@]}")) $3 against $(median "${b[@]}") of $6 (spread $(spread "${b[@]}")), ratio $share (bound $2): $word"
}

# ratio A B: A / B with three digits.
ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", (b > 0) ? a / b : 0 }'
}

# holds "A OP B": whether an arithmetic comparison is true.
holds() {
    awk "BEGIN { exit !($1) }"
}

median() {
    printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# spread VALUES...: the farthest from the median, as a share of it.
spread() {
    local middle
    middle=$(median "$@")
    printf '%s\n' "$@" | awk -v m="$middle" '{ d = $1 > m ? $1 - m : m - $1; if (d > w) w = d } END { printf "%.3f", (m > 0) ? w / m : 0 }'
}

# start_server DIRECTORY ADDRESS [OPTIONS...]: starts it and waits until it listens; sets $server_pid and $endpoint.
start_server() {
    local directory=$1 address=$2
    shift 2
    mkdir -p "$directory/data" "$directory/metadata"
    server_log=$directory/server.log
    : >"$server_log"
    taskset -c "${STRATA_BENCH_SERVER_CPUS:-$server_core}" "$strata" server --data-dir "$directory/data" \
        --metadata-dir "$directory/metadata" --s3-addr "$address" --metrics-addr 127.0.0.1:0 \
        --metadata-addr 127.0.0.1:0 --data-addr 127.0.0.1:0 "$@" >"$server_log" 2>&1 &
    server_pid=$!
}

# wait_for_endpoint SECONDS: waits for the line that says where S3 is; sets $endpoint.
wait_for_endpoint() {
    local end=$((SECONDS + $1))
    while ! endpoint=$(grep -m1 S3 "$server_log" | grep -o 'http://[0-9.]*:[0-9]*'); do
        if [ $SECONDS -ge $end ] || ! kill -0 "$server_pid" 2>/dev/null; then
            echo "the server did not start:" >&2
            cat "$server_log" >&2
            return 1
        fi
        sleep 0.05
    done
}

stop_server() {
    local signal=${1:-TERM}
    if [ -n "$server_pid" ]; then
        kill "-$signal" "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
        server_pid=""
    fi
}

finish() {
    stop_server KILL
    release_huge_pages
}
trap finish EXIT
