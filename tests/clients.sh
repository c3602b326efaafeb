#!/usr/bin/env bash
# The clients people use, each with its defaults, against a started server. Every client has a program in tests/clients/
# that makes a bucket, puts and gets bodies of all sizes and compares the bytes, reads ranges, lists, copies, presigns and
# deletes, and prints a line for each case. The last line here is "clients: N passed, N failed, N skipped".
#
#   tests/clients.sh [--required | --all] [CLIENT...]
#
# Without an option, clients that are not installed are skipped by name. --required installs those of the list `required`
# and fails where one is missing; --all does so for the slow ones too.
# CLIENTS_PROFILE=dev starts the server that the tests of the workspace have built instead of a release build.
# STRATA_ENDPOINT (with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) names a running server; without it one is started.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source .ci/install

required=(boto3 boto3_1_42 awscli1 awscli2 rclone s3cmd s5cmd minio_go minio_go_7_3 minio_py minio_js minio_java aws_sdk_go
    aws_sdk_js aws_sdk_java_v1 aws_sdk_java_v2 pyarrow duckdb s3fs restic terraform_lock)
# These take many minutes to build.
slow=(mc rclone_new)

must_be_there=
case ${1:-} in
    --required) must_be_there=1; shift; install_clients; clients=("${required[@]}") ;;
    --all) must_be_there=1; shift; install_clients; install_slow_clients; clients=("${required[@]}" "${slow[@]}") ;;
    *) clients=("${required[@]}" "${slow[@]}") ;;
esac
[ $# = 0 ] || clients=("$@")

export SCRATCH
SCRATCH=$(mktemp -d)
server=
passed=0 failed=0 skipped=0
finish() {
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null
        wait "$server" 2>/dev/null
    fi
    rm -rf "$SCRATCH" "${data:-$SCRATCH}"
}
trap finish EXIT

start_server() {
    local target folder=release build=(--release)
    if [ "${CLIENTS_PROFILE:-release}" = dev ]; then
        # The features of the whole workspace, as the tests have them: nothing is built a second time.
        folder=debug build=(--workspace --bin strata)
    fi
    cargo build --locked "${build[@]}" || exit 1
    target=$(cargo metadata --format-version 1 --no-deps --offline | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
    # On the disk of the build: a temporary folder may lie on tmpfs, which has no O_DIRECT.
    data=$(mktemp -d -p "$target")
    export AWS_ACCESS_KEY_ID=STRATACLIENTSROOT00 AWS_SECRET_ACCESS_KEY=clients/know/this/secret/and/nobody/uses/it
    STRATA_ROOT_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID STRATA_ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
        "$target/$folder/strata" server --s3-addr 127.0.0.1:0 --metrics-addr 127.0.0.1:0 --metadata-addr 127.0.0.1:0 \
        --data-addr 127.0.0.1:0 --data-dir "$data/data" --metadata-dir "$data/metadata" --capacity 4GiB \
        >"$SCRATCH/server.log" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        STRATA_ENDPOINT=$(grep -m1 'S3.*http://' "$SCRATCH/server.log" | grep -oE 'http://[0-9.:]+[0-9]')
        [ -n "$STRATA_ENDPOINT" ] && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    cat "$SCRATCH/server.log"
    echo "clients: 0 passed, 1 failed, 0 skipped"
    exit 1
}

# The files that the programs of tests/clients/shell/ send; the others make their bodies themselves.
make_files() {
    local sizes=$SCRATCH/sizes
    mkdir "$sizes" "$SCRATCH/many"
    : >"$SCRATCH/empty"
    head -c 5000 /dev/urandom >"$SCRATCH/small"
    head -c $((100 << 10)) /dev/urandom >"$SCRATCH/medium"
    # More than one part for every client's own size of parts, the largest of which is 50 MiB.
    head -c $(((51 << 20) + 7)) /dev/urandom >"$SCRATCH/big"
    cp "$SCRATCH"/{empty,small,medium,big} "$sizes"
    cp "$SCRATCH/small" "$sizes/sp ace+ü%?&#'日"
    for n in $(seq -w 1001); do echo "$n" >"$SCRATCH/many/$n"; done
}

# program_of CLIENT: sets `program` to the command that runs its cases, `needs` to what must be there for it.
program_of() {
    local shell=tests/clients/shell
    needs=$clients_dir/$1/installed
    case $1 in
        boto3) python_program aws boto3_cases.py "$1" ;;
        boto3_1_42) python_program boto3_1_42 boto3_cases.py "$1" ;;
        minio_py) python_program others minio_cases.py ;;
        pyarrow | duckdb | s3fs) python_program others "$1_cases.py" ;;
        s3cmd | s5cmd) needs=$clients_dir/others/installed program=($shell/$1.sh "$1" "$clients_dir/others/bin/$1") ;;
        awscli1) needs=$clients_dir/aws/installed program=($shell/awscli.sh "$1" "$clients_dir/aws/bin/aws") ;;
        awscli2) needs=/usr/bin/aws program=($shell/awscli.sh "$1" "$needs") && is_aws_v2 || needs="/usr/bin/aws of version 2" ;;
        rclone) needs=/usr/bin/rclone program=($shell/rclone.sh "$1" "$needs") ;;
        rclone_new) program=($shell/rclone.sh "$1" "$clients_dir/$1/rclone") ;;
        restic) needs=/usr/bin/restic program=($shell/restic.sh "$1" "$needs") ;;
        mc) program=($shell/mc.sh "$1" "$clients_dir/mc/mc") ;;
        minio_go | minio_go_7_3 | aws_sdk_go | terraform_lock)
            needs=$clients_dir/go/installed program=("$clients_dir/go/$1" "$1") ;;
        minio_js | aws_sdk_js) needs=$clients_dir/js/installed program=(node "$clients_dir/js/$1.mjs") ;;
        minio_java) java_program "$1" MinioJava ;;
        aws_sdk_java_v1) java_program "$1" AwsSdkJavaV1 ;;
        aws_sdk_java_v2) java_program "$1" AwsSdkJavaV2 ;;
        *) return 1 ;;
    esac
}

# python_program ENVIRONMENT FILE ARGUMENT...
python_program() {
    needs=$clients_dir/$1/installed
    program=("$clients_dir/$1/bin/python" "tests/clients/python/$2" "${@:3}")
}

java_program() {
    program=(java -Dfile.encoding=UTF-8 -cp "$clients_dir/$1/lib/*:$clients_dir/$1/classes" "$2")
}

# run_client CLIENT: the lines of its program, and one that sums them up. A program that ends badly without a failed line, or
# prints no line at all, has failed, whatever it had passed before.
run_client() {
    local log=$SCRATCH/$1.log begin=$SECONDS status ok bad
    program_of "$1" || { echo "FAILED  $1: no such client"; return; }
    if [ ! -e "$needs" ]; then
        if [ -n "$must_be_there" ]; then echo "FAILED  $1: $needs is not there"; else echo "skipped $1: $needs is not there"; fi
        return
    fi
    timeout --kill-after=10 200 "${program[@]}" >"$log" 2>"$log.stderr"
    status=$?
    ok=$(grep -c '^ok ' "$log") bad=$(grep -c '^FAILED ' "$log")
    if [ $bad = 0 ] && { [ $status != 0 ] || [ $ok = 0 ]; }; then
        echo "FAILED  $1: the program ended with status $status after $ok cases" >>"$log"
        tail -5 "$log.stderr" | sed 's/^/        /' >>"$log"
        bad=1
    fi
    cat "$log"
    echo "        $1: $ok passed, $bad not, in $((SECONDS - begin)) s"
}

# run_clients CLIENT...: two at a time, because most of what they take is their own start on one core; each has its own bucket.
# Shows and counts their lines in the order of the list.
run_clients() {
    local client lines pids=()
    for client in "$@"; do
        # The server is a job too, so the two are waited for by their numbers.
        if [ ${#pids[@]} -ge 2 ]; then wait "${pids[-2]}"; fi
        run_client "$client" >"$SCRATCH/$client.lines" &
        pids+=($!)
    done
    wait "${pids[@]}"
    for client in "$@"; do
        lines=$SCRATCH/$client.lines
        grep -qE '^(ok|FAILED|skipped) ' "$lines" || echo "FAILED  $client: it ended without a line" >>"$lines"
        cat "$lines"
        passed=$((passed + $(grep -c '^ok ' "$lines")))
        failed=$((failed + $(grep -c '^FAILED ' "$lines")))
        skipped=$((skipped + $(grep -c '^skipped ' "$lines")))
    done
}

[ -n "${STRATA_ENDPOINT:-}" ] || start_server
export STRATA_ENDPOINT AWS_DEFAULT_REGION=us-east-1 AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
# No setting of the user's reaches a client.
export AWS_CONFIG_FILE=$SCRATCH/none AWS_SHARED_CREDENTIALS_FILE=$SCRATCH/none
# Compiled once for all calls of a Python program, and not beside its source.
export PYTHONPYCACHEPREFIX=$SCRATCH/pycache
# rclone refuses to start where one is set; the server speaks plain HTTP.
unset AWS_CA_BUNDLE
make_files

run_clients "${clients[@]}"
[ "$failed" = 0 ] || [ ! -f "$SCRATCH/server.log" ] || { echo "-- the server's log:"; tail -30 "$SCRATCH/server.log"; }
echo "clients: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
