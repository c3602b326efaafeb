#!/usr/bin/env bash
# The clients people use, against a started server: boto3, aws-cli v1 and v2, rclone and, where it is installed, s5cmd.
# Each makes a bucket, uploads a small file and 64 MiB in parts, lists, downloads and compares, copies, deletes, deletes
# many. Prints every version; the last line is "clients: N passed, N failed, N skipped".
#
#   tests/clients.sh [--required] [CLIENT...]
#
# A client that is not there is skipped by name; with --required that is a failure, but for s5cmd.
# STRATA_ENDPOINT (with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) names a running server; without it one is started.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source .ci/install
install_clients

required=
[ "${1:-}" = --required ] && { required=1; shift; }
scratch=$(mktemp -d)
server=
passed=0 failed=0 skipped=0
finish() {
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null
        wait "$server" 2>/dev/null
    fi
    rm -rf "$scratch" "${data:-$scratch}"
}
trap finish EXIT

start_server() {
    local target
    cargo build --locked --release || exit 1
    target=$(cargo metadata --format-version 1 --no-deps --offline | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
    # On the disk of the build: a temporary folder may lie on tmpfs, which has no O_DIRECT.
    data=$(mktemp -d -p "$target")
    export AWS_ACCESS_KEY_ID=STRATACLIENTSROOT00 AWS_SECRET_ACCESS_KEY=clients/know/this/secret/and/nobody/uses/it
    STRATA_ROOT_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID STRATA_ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
        "$target/release/strata" server --s3-addr 127.0.0.1:0 --metrics-addr 127.0.0.1:0 --metadata-addr 127.0.0.1:0 \
        --data-addr 127.0.0.1:0 --data-dir "$data/data" --metadata-dir "$data/metadata" --capacity 4GiB \
        >"$scratch/server.log" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        STRATA_ENDPOINT=$(grep -m1 'S3.*http://' "$scratch/server.log" | grep -oE 'http://[0-9.:]+[0-9]')
        [ -n "$STRATA_ENDPOINT" ] && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    cat "$scratch/server.log"
    echo "clients: 0 passed, 1 failed, 0 skipped"
    exit 1
}

# check CLIENT CASE COMMAND...: one case; its output is shown only when it fails.
check() {
    local client=$1 name=$2
    shift 2
    if "$@" >"$scratch/output" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $client: $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $client: $name"
        sed 's/^/        /' "$scratch/output" | tail -20
    fi
}

skip() {
    skipped=$((skipped + 1))
    echo "skipped $1: $2"
}

same() { [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ]; }

# lists BUCKET EXPECTED COMMAND...: the command's lines hold exactly so many keys of ours.
lists() {
    local expected=$1 count
    shift
    "$@" >"$scratch/listing" || return 1
    count=$(grep -cE 'small|big|copy|many' "$scratch/listing")
    [ "$count" = "$expected" ] || { cat "$scratch/listing"; echo "$count instead of $expected"; return 1; }
}

# aws_cli NAME BINARY: every case through one aws-cli.
aws_cli() {
    local name=$1 bucket=clients-$1 aws=("$2" --endpoint-url "$STRATA_ENDPOINT" --no-cli-auto-prompt)
    [ "$name" = awscli1 ] && aws=("$2" --endpoint-url "$STRATA_ENDPOINT")
    echo "$name: $("$2" --version 2>&1)"
    check "$name" "make a bucket" "${aws[@]}" s3 mb "s3://$bucket"
    check "$name" "upload a small file" "${aws[@]}" s3 cp "$scratch/small" "s3://$bucket/dir/small"
    check "$name" "upload 64 MiB in parts" "${aws[@]}" s3 cp "$scratch/big" "s3://$bucket/dir/big"
    check "$name" "list" lists 2 "${aws[@]}" s3 ls --recursive "s3://$bucket"
    check "$name" "download the small file" "${aws[@]}" s3 cp "s3://$bucket/dir/small" "$scratch/$name.small"
    check "$name" "the small file is the same" same "$scratch/small" "$scratch/$name.small"
    check "$name" "download 64 MiB" "${aws[@]}" s3 cp "s3://$bucket/dir/big" "$scratch/$name.big"
    check "$name" "64 MiB are the same" same "$scratch/big" "$scratch/$name.big"
    check "$name" "copy" "${aws[@]}" s3 cp "s3://$bucket/dir/big" "s3://$bucket/copy"
    check "$name" "download the copy" "${aws[@]}" s3 cp "s3://$bucket/copy" "$scratch/$name.copy"
    check "$name" "the copy is the same" same "$scratch/big" "$scratch/$name.copy"
    check "$name" "sync a folder" "${aws[@]}" s3 sync "$scratch/many" "s3://$bucket/many"
    check "$name" "list all" lists 23 "${aws[@]}" s3 ls --recursive "s3://$bucket"
    check "$name" "delete one" "${aws[@]}" s3 rm "s3://$bucket/copy"
    check "$name" "delete many in one request" "${aws[@]}" s3api delete-objects --bucket "$bucket" \
        --delete '{"Objects":[{"Key":"many/many1"},{"Key":"many/many2"},{"Key":"many/many3"}]}'
    check "$name" "list what is left" lists 19 "${aws[@]}" s3 ls --recursive "s3://$bucket"
    check "$name" "presign" presigned "${aws[@]}" s3 presign "s3://$bucket/dir/small"
    check "$name" "remove the bucket and all in it" "${aws[@]}" s3 rb --force "s3://$bucket"
}

# aws-cli v1 presigns with the retired version 2 unless it is told not to.
presigned() {
    printf '[default]\ns3 =\n  signature_version = s3v4\n' >"$scratch/presign.conf"
    python3 -c 'import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())' \
        "$(AWS_CONFIG_FILE=$scratch/presign.conf "$@")" >"$scratch/presigned" && same "$scratch/small" "$scratch/presigned"
}

rclone_cases() {
    local bucket=clients-rclone
    local rclone=(rclone --config "$scratch/rclone.conf" --s3-upload-cutoff 8M --s3-chunk-size 8M --retries 1)
    echo "rclone: $(rclone version | head -1)"
    cat >"$scratch/rclone.conf" <<CONF
[strata]
type = s3
provider = Other
endpoint = $STRATA_ENDPOINT
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
region = us-east-1
CONF
    check rclone "make a bucket" "${rclone[@]}" mkdir "strata:$bucket"
    check rclone "upload a small file" "${rclone[@]}" copyto "$scratch/small" "strata:$bucket/dir/small"
    check rclone "upload 64 MiB in parts" "${rclone[@]}" copyto "$scratch/big" "strata:$bucket/dir/big"
    check rclone "list" lists 2 "${rclone[@]}" lsf -R --files-only "strata:$bucket"
    check rclone "download the small file" "${rclone[@]}" copyto "strata:$bucket/dir/small" "$scratch/rclone.small"
    check rclone "the small file is the same" same "$scratch/small" "$scratch/rclone.small"
    check rclone "download 64 MiB" "${rclone[@]}" copyto "strata:$bucket/dir/big" "$scratch/rclone.big"
    check rclone "64 MiB are the same" same "$scratch/big" "$scratch/rclone.big"
    check rclone "copy" "${rclone[@]}" copyto "strata:$bucket/dir/big" "strata:$bucket/copy"
    check rclone "copy a folder" "${rclone[@]}" copy "$scratch/many" "strata:$bucket/many"
    check rclone "check a folder by content" "${rclone[@]}" check --download "$scratch/many" "strata:$bucket/many"
    check rclone "list all" lists 23 "${rclone[@]}" lsf -R --files-only "strata:$bucket"
    check rclone "delete one" "${rclone[@]}" deletefile "strata:$bucket/copy"
    check rclone "delete a folder" "${rclone[@]}" delete "strata:$bucket/many"
    check rclone "list what is left" lists 2 "${rclone[@]}" lsf -R --files-only "strata:$bucket"
    check rclone "purge" "${rclone[@]}" purge "strata:$bucket"
}

s5cmd_cases() {
    local bucket=clients-s5cmd s5cmd=(s5cmd --endpoint-url "$STRATA_ENDPOINT")
    echo "s5cmd: $(s5cmd version)"
    check s5cmd "make a bucket" "${s5cmd[@]}" mb "s3://$bucket"
    check s5cmd "upload a small file" "${s5cmd[@]}" cp "$scratch/small" "s3://$bucket/dir/small"
    check s5cmd "upload 64 MiB in parts" "${s5cmd[@]}" cp -p 8 "$scratch/big" "s3://$bucket/dir/big"
    check s5cmd "download 64 MiB" "${s5cmd[@]}" cp "s3://$bucket/dir/big" "$scratch/s5cmd.big"
    check s5cmd "64 MiB are the same" same "$scratch/big" "$scratch/s5cmd.big"
    check s5cmd "list" lists 2 "${s5cmd[@]}" ls "s3://$bucket/*"
    check s5cmd "delete many" "${s5cmd[@]}" rm "s3://$bucket/*"
    check s5cmd "remove the bucket" "${s5cmd[@]}" rb "s3://$bucket"
}

boto3_cases() {
    local python=$clients_dir/boto3/bin/python line
    "$python" tests/clients/boto3_cases.py "$STRATA_ENDPOINT" "$scratch" 2>&1 | tee "$scratch/boto3.log"
    passed=$((passed + $(grep -c '^ok ' "$scratch/boto3.log")))
    failed=$((failed + $(grep -c '^FAILED ' "$scratch/boto3.log")))
    # A script that ended early has failed, whatever it had passed before.
    grep -q '^boto3: done' "$scratch/boto3.log" || { failed=$((failed + 1)); echo "FAILED  boto3: the script broke off"; }
}

# missing CLIENT REASON: skipped by name, or a failure where it had to be there.
missing() {
    [ -n "$required" ] || { skip "$1" "$2"; return; }
    failed=$((failed + 1))
    echo "FAILED  $1: $2"
}

run_client() {
    case $1 in
        boto3) if has_python boto3; then boto3_cases; else missing boto3 "not installed from PyPI"; fi ;;
        awscli1)
            if has_python awscli1; then
                aws_cli awscli1 "$clients_dir/awscli1/bin/aws"
            else
                missing awscli1 "not installed from PyPI"
            fi
            ;;
        awscli2) if is_aws_v2; then aws_cli awscli2 /usr/bin/aws; else missing awscli2 "/usr/bin/aws is not there, or not version 2"; fi ;;
        rclone) if command -v rclone >/dev/null; then rclone_cases; else missing rclone "Debian's rclone is not installed"; fi ;;
        s5cmd) if command -v s5cmd >/dev/null; then s5cmd_cases; else skip s5cmd "optional, not installed"; fi ;;
        *) failed=$((failed + 1)); echo "FAILED  $1: no such client" ;;
    esac
}

[ -n "${STRATA_ENDPOINT:-}" ] || start_server
export AWS_DEFAULT_REGION=us-east-1 AWS_CONFIG_FILE=$scratch/none AWS_SHARED_CREDENTIALS_FILE=$scratch/none
export AWS_EC2_METADATA_DISABLED=true
# rclone refuses to start where one is set; the server speaks plain HTTP.
unset AWS_CA_BUNDLE
head -c 5000 /dev/urandom >"$scratch/small"
head -c $((64 << 20)) /dev/urandom >"$scratch/big"
mkdir "$scratch/many"
for n in $(seq 20); do head -c $((n * 1000)) /dev/urandom >"$scratch/many/many$n"; done

clients=("$@")
[ ${#clients[@]} = 0 ] && clients=(boto3 awscli1 awscli2 rclone s5cmd)
for client in "${clients[@]}"; do run_client "$client"; done
[ "$failed" = 0 ] || [ ! -f "$scratch/server.log" ] || { echo "-- the server's log:"; tail -30 "$scratch/server.log"; }
echo "clients: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
