#!/usr/bin/env bash
# What a page of 1,000 costs in a large bucket, in server processor time: ListObjectsV2 and ListObjectVersions at the beginning, in the middle
# and at the end of a bucket that keeps versions and has 1,000,000 keys, 10,000 of them with 20 versions, beside the first page of one with
# 10,000 keys. Prints each page's median and spread over rounds that take them in turn, and the verdicts: 2 ms a page, and both buckets
# within 10 %. Needs curl 7.87 or later.
# Usage: pages.sh    KEYS=1000000 OVERWRITTEN=10000 VERSIONS=20 ROUNDS=5 PAGES_EACH=200 STRATA_BENCH_DIR=/disk PORT=19014
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
keys=${KEYS:-1000000} overwritten=${OVERWRITTEN:-10000} versions=${VERSIONS:-20}
rounds=${ROUNDS:-5} each=${PAGES_EACH:-200} port=${PORT:-19014}
build
scratch pages
rm -rf "$work/store"
missed=0
declare -A figures

signed() {
    curl -fsS -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" --aws-sigv4 "aws:amz:us-east-1:s3" --user "$STRATA_ROOT_ACCESS_KEY_ID:$STRATA_ROOT_SECRET_KEY" "$@"
}

# put BUCKET KEYS: so many objects of 1 byte, over those of the same numbers that are there.
put() {
    "$bench" s3 put --endpoint "$endpoint" --bucket "$1" --objects "$2" --size 1B --concurrency 32 --json >/dev/null
}

# make BUCKET: one that keeps versions.
make() {
    signed -X PUT "$endpoint/$1"
    signed -X PUT "$endpoint/$1?versioning=" -d '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
}

# page NAME URL: notes microseconds of the server for one of so many equal pages, each of which must be full.
page() {
    local name=$1 url=$2 before found
    found=$(signed "$url" | grep -o '<Key>' | wc -l)
    [ "$found" = 1000 ] || { echo "$name: a page of $found" >&2; exit 1; }
    for _ in $(seq "$each"); do printf 'url = "%s"\noutput = /dev/null\n' "$url"; done >"$work/urls"
    before=$(ticks)
    signed -K "$work/urls"
    figures[$name]+=" $(awk -v t=$(($(ticks) - before)) -v n="$each" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f", t * 1e6 / hz / n }')"
}

start_server "$work/store" "127.0.0.1:$port" --capacity 24GiB
wait_for_endpoint 60
make large
make small
put large "$keys"
for _ in $(seq 2 "$versions"); do put large "$overwritten"; done
put small "$overwritten"

# Keys are bench/XX/NUMBER with XX the lowest byte of the number.
last=$(printf 'bench/ff/%010d' $(((keys / 256 - 1005) * 256 + 255)))
for _ in $(seq "$rounds"); do
    page "LIST small" "$endpoint/small?list-type=2"
    page "LIST first" "$endpoint/large?list-type=2"
    page "LIST middle" "$endpoint/large?list-type=2&start-after=bench%2F80%2F"
    page "LIST last" "$endpoint/large?list-type=2&start-after=${last//\//%2F}"
    page "VERSIONS small" "$endpoint/small?versions="
    page "VERSIONS first" "$endpoint/large?versions="
    page "VERSIONS middle" "$endpoint/large?key-marker=bench%2F80%2F&versions="
    page "VERSIONS last" "$endpoint/large?key-marker=${last//\//%2F}&versions="
done
stop_server
rm -rf "$work/store"

for kind in LIST VERSIONS; do
    read -ra small <<<"${figures[$kind small]}"
    for place in first middle last; do
        read -ra here <<<"${figures[$kind $place]}"
        word=held
        holds "$(median "${here[@]}") <= 2000" || { word=missed missed=$((missed + 1)); }
        echo "$kind, $place page of $keys keys: $(median "${here[@]}") (spread $(spread "${here[@]}")) us (bound <= 2000): $word"
        verdict "$kind, $place page of $keys keys" "<= 1.1" us "${here[*]}" "${small[*]}" "$overwritten keys"
    done
done
[ $missed = 0 ]
