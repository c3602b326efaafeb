#!/usr/bin/env bash
# What rights and versions cost, in server processor time a request, in interleaved pairs on one server: a GET of 4 KiB by a user with three
# policies against one by the root key, and a PUT of 4 KiB onto the names of a bucket with versions against one without. Prints medians, their
# ratio, the control's spread, and the verdict. Needs curl 7.87 or later.
# Usage: rights.sh    PAIRS=5 SECONDS_EACH=4 STRATA_BENCH_DIR=/disk PORT=19013
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pairs=${PAIRS:-5} each=${SECONDS_EACH:-4} port=${PORT:-19013}
build
scratch rights
rm -rf "$work/store"
missed=0
declare -A figures

admin() {
    "$strata" admin "$@" --metadata-dir "$work/store/metadata" --data-dir "$work/store/data"
}

# load NAME OPTIONS...: runs a load and notes microseconds of the server a request.
load() {
    local name=$1 before line count
    shift
    before=$(ticks)
    line=$("$bench" s3 "$@" --endpoint "$endpoint" --core "$client_core" --concurrency 32 --seconds "$each" --json)
    [ "$(field errors <<<"$line")" = 0 ] || { echo "$name: $line" >&2; exit 1; }
    count=$(field operations <<<"$line")
    figures[$name]+=" $(awk -v t=$(($(ticks) - before)) -v n="$count" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.2f", t * 1e6 / hz / n }')"
}

start_server "$work/store" "127.0.0.1:$port" --capacity 24GiB
wait_for_endpoint 60
"$bench" s3 put --endpoint "$endpoint" --prefix warm/ --objects 5000 --concurrency 32 --json >/dev/null
policy=$work/policy.json
cat >"$policy" <<'P'
{"Version": "2012-10-17", "Statement": [
  {"Sid": "home", "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::*/${aws:username}/*"},
  {"Sid": "read", "Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": ["arn:aws:s3:::strata-bench", "arn:aws:s3:::strata-bench/*"],
   "Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "127.0.0.0/8"]}}},
  {"Sid": "secret", "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::*/secret/*"}]}
P
{
    admin user create reader
    admin group create readers
    admin group add readers reader
    admin policy put own "$policy" --user reader
    admin policy put shared "$policy" --group readers
    admin policy attach AmazonS3ReadOnlyAccess --user reader
} >/dev/null
key=$(admin key create reader --json | tr -d ' \n')
user_id=$(field access_key_id <<<"$key") user_secret=$(field secret_access_key <<<"$key")
signed() {
    curl -fsS -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" --aws-sigv4 "aws:amz:us-east-1:s3" --user "$STRATA_ROOT_ACCESS_KEY_ID:$STRATA_ROOT_SECRET_KEY" "$@"
}
signed -X PUT "$endpoint/versioned"
signed -X PUT "$endpoint/versioned?versioning=" -d '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'

for pair in $(seq "$pairs"); do
    for side in $([ $((pair % 2)) = 0 ] && echo "user root" || echo "root user"); do
        if [ "$side" = user ]; then
            STRATA_ROOT_ACCESS_KEY_ID=$user_id STRATA_ROOT_SECRET_KEY=$user_secret load user get --prefix warm/ --objects 5000
        else
            load root get --prefix warm/ --objects 5000
        fi
    done
    for bucket in $([ $((pair % 2)) = 0 ] && echo "versioned plain" || echo "plain versioned"); do
        # The names begin anew in every round, so that all but the first are overwritten.
        load "$bucket" put --bucket "$bucket" --first 0
    done
done
stop_server
rm -rf "$work/store"

verdict "GET 4 KiB by a user" "<= 1.1" us "${figures[user]}" "${figures[root]}" "the root key"
verdict "PUT 4 KiB with versions" "<= 1.15" us "${figures[versioned]}" "${figures[plain]}" "a bucket without"
[ $missed = 0 ]
