#!/usr/bin/env bash
# aws-cli with its defaults against a server: awscli.sh NAME BINARY, called by tests/clients.sh for version 1 and 2.
client=$1
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
bucket=clients-$client
aws() { "$binary" --endpoint-url "$STRATA_ENDPOINT" "$@"; }
binary=$2

# The client takes a second to start, so many files go with one command.
put_sizes() { aws s3 sync --only-show-errors "$SCRATCH/sizes" "s3://$bucket/dir"; }
get_sizes() { aws s3 sync --only-show-errors "s3://$bucket/dir" "$back/sizes" && same_folder "$SCRATCH/sizes" "$back/sizes"; }

empty_then_small() {
    # One process and one connection: with empty files between others, sync waits where an answer was taken for another's.
    mkdir -p "$back/kept" && for n in 1 2 3 4 5 6; do
        if [ $((n % 2)) = 1 ]; then : >"$back/kept/$n"; else cp "$SCRATCH/small" "$back/kept/$n"; fi
    done
    AWS_CONFIG_FILE=$back/config timeout 50 "$binary" --endpoint-url "$STRATA_ENDPOINT" s3 sync "$back/kept" "s3://$bucket/kept" &&
        aws s3 sync "s3://$bucket/kept" "$back/kept.back" && same_folder "$back/kept" "$back/kept.back"
}
printf '[default]\ns3 =\n  max_concurrent_requests = 1\n' >"$back/config"

copies() {
    mkdir -p "$back/names" && echo space >"$back/names/a b" && echo plus >"$back/names/a+b" &&
        aws s3 sync "$back/names" "s3://$bucket/copy" && aws s3 sync "s3://$bucket/copy" "s3://$bucket/copied" &&
        aws s3 sync "s3://$bucket/copied" "$back/copied" && same_folder "$back/names" "$back/copied"
}

copy_big() {
    aws s3 cp "s3://$bucket/dir/big" "s3://$bucket/big" && aws s3 cp "s3://$bucket/big" "$back/big" &&
        same "$SCRATCH/big" "$back/big"
}

range() {
    aws s3api get-object --bucket "$bucket" --key dir/big --range bytes=8388600-8388615 "$back/range" &&
        cmp "$back/range" <(tail -c +8388601 "$SCRATCH/big" | head -c 16)
}

# The client presigns with the retired version 2 unless it is told not to, and the refusal says so.
presigned() {
    fetch "$(AWS_CONFIG_FILE=$back/presign aws s3 presign "s3://$bucket/dir/small")" "$back/presigned" &&
        same "$SCRATCH/small" "$back/presigned"
}
printf '[default]\ns3 =\n  signature_version = s3v4\n' >"$back/presign"

delete_many() {
    aws s3api delete-objects --bucket "$bucket" \
        --delete '{"Objects":[{"Key":"copy/a b"},{"Key":"copy/a+b"},{"Key":"missing"}]}' &&
        counts 0 'copy/' aws s3 ls --recursive "s3://$bucket"
}

echo "$client: $("$binary" --version 2>&1)"
check "make a bucket" aws s3 mb "s3://$bucket"
check "put an empty file, 5 kB, 100 KiB, 51 MiB in parts and an odd name" put_sizes
check "get them back" get_sizes
check "a range" range
check "empty files among others on one connection" empty_then_small
check "copy names with a space and with a plus" copies
check "copy 51 MiB in parts" copy_big
check "list by folder" counts 4 'PRE (copied|copy|dir|kept)/' aws s3 ls "s3://$bucket/"
check "list all" counts 16 . aws s3 ls --recursive "s3://$bucket/"
check "delete many in one request" delete_many
check "presigned GET" presigned
check "remove the bucket and all in it" aws s3 rb --force "s3://$bucket"
finish
