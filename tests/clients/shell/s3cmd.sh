#!/usr/bin/env bash
# s3cmd with its defaults against a server: s3cmd.sh NAME BINARY, called by tests/clients.sh.
client=$1 binary=$2
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
bucket=s3://clients-$client
cat >"$back/config" <<CONF
[default]
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
host_base = ${STRATA_ENDPOINT#http://}
host_bucket = ${STRATA_ENDPOINT#http://}
use_https = False
CONF
s3cmd() { "$binary" --config "$back/config" --no-progress "$@"; }

put_and_get() { s3cmd put "$1" "$bucket/$2" && s3cmd get --force "$bucket/$2" "$back/file" && same "$1" "$back/file"; }

copies() {
    for name in 'a b' 'a+b'; do
        echo "$name" >"$back/$name" && s3cmd put "$back/$name" "$bucket/copy/$name" || return 1
    done
    for name in 'a b' 'a+b'; do
        s3cmd cp "$bucket/copy/$name" "$bucket/copied/$name" && s3cmd get --force "$bucket/copied/$name" "$back/file" &&
            same "$back/$name" "$back/file" || return 1
    done
}

empty_then_small() { s3cmd put "$SCRATCH/empty" "$SCRATCH/small" "$bucket/kept/" && s3cmd get --force "$bucket/kept/small" "$back/file" && same "$SCRATCH/small" "$back/file"; }

get_folder() { mkdir -p "$back/sizes" && s3cmd sync "$bucket/sizes/" "$back/sizes/" && same_folder "$SCRATCH/sizes" "$back/sizes"; }

# Its presigned addresses are of the retired version 2 alone.
presigned() { fails fetch "$(s3cmd signurl "$bucket/dir/small" +600)" "$back/presigned"; }

echo "$client: $("$binary" --version)"
check "make a bucket" s3cmd mb "$bucket"
check "put and get an empty file" put_and_get "$SCRATCH/empty" empty
check "put and get 5 kB" put_and_get "$SCRATCH/small" dir/small
check "put and get 100 KiB" put_and_get "$SCRATCH/medium" dir/medium
check "put and get 51 MiB in parts" put_and_get "$SCRATCH/big" dir/big
check "what is known of an object" counts 1 'File size: +53477383' s3cmd info "$bucket/dir/big"
check "what is known of the bucket" counts 1 'Location:' s3cmd info "$bucket"
check "an empty file, then one of 5 kB" empty_then_small
check "odd keys" put_and_get "$SCRATCH/small" "odd/sp ace+ü%&#'日"
check "copy names with a space and with a plus" copies
check "sync a folder" s3cmd sync "$SCRATCH/sizes/" "$bucket/sizes/"
check "sync it back" get_folder
check "list by prefix" counts 5 . s3cmd ls --recursive "$bucket/sizes/"
check "list by folder" counts 6 'DIR .*/(copied|copy|dir|kept|odd|sizes)/$' s3cmd ls "$bucket/"
check "a presigned address of version 2 is refused" presigned
check "delete all" s3cmd del --recursive --force "$bucket"
check "remove the bucket" s3cmd rb "$bucket"
finish
