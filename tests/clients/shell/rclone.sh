#!/usr/bin/env bash
# rclone against a server: rclone.sh NAME BINARY, called by tests/clients.sh. Its defaults, but for parts of 8 MiB from
# 8 MiB on, as it sends up to 200 MiB in one piece otherwise.
client=$1 binary=$2
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
bucket=strata:clients-$client
cat >"$back/config" <<CONF
[strata]
type = s3
provider = Other
endpoint = $STRATA_ENDPOINT
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
region = us-east-1
CONF
rclone() { "$binary" --config "$back/config" --s3-upload-cutoff 8M --s3-chunk-size 8M --retries 1 "$@"; }

put_and_get() { rclone copyto "$1" "$bucket/$2" && rclone copyto "$bucket/$2" "$back/file" && same "$1" "$back/file"; }

copies() {
    for name in 'a b' 'a+b'; do
        echo "$name" >"$back/$name" && rclone copyto "$back/$name" "$bucket/copy/$name" || return 1
    done
    for name in 'a b' 'a+b'; do
        rclone copyto "$bucket/copy/$name" "$bucket/copied/$name" && rclone copyto "$bucket/copied/$name" "$back/file" &&
            same "$back/$name" "$back/file" || return 1
    done
}

copy_big() { rclone copyto "$bucket/dir/big" "$bucket/big" && rclone copyto "$bucket/big" "$back/copied" && same "$SCRATCH/big" "$back/copied"; }

from_a_pipe() { rclone rcat "$bucket/piped" <"$SCRATCH/big" && rclone cat "$bucket/piped" | cmp - "$SCRATCH/big"; }

range() { rclone cat --offset 8388600 --count 16 "$bucket/dir/big" | cmp - <(tail -c +8388601 "$SCRATCH/big" | head -c 16); }

echo "$client: $("$binary" version | head -1)"
check "make a bucket" rclone mkdir "$bucket"
check "put and get an empty file" put_and_get "$SCRATCH/empty" empty
check "put and get 5 kB" put_and_get "$SCRATCH/small" dir/small
check "put and get 100 KiB" put_and_get "$SCRATCH/medium" dir/medium
check "put and get 51 MiB in parts" put_and_get "$SCRATCH/big" dir/big
check "put 51 MiB from a pipe" from_a_pipe
check "a range" range
check "odd keys" put_and_get "$SCRATCH/small" "odd/sp ace+ü%?&#'日"
check "copy names with a space and with a plus" copies
check "copy 51 MiB" copy_big
check "copy a folder of 1,001 files" rclone copy "$SCRATCH/many" "$bucket/many"
check "check it by its content" rclone check --download "$SCRATCH/many" "$bucket/many"
check "list 1,001 keys" counts 1001 . rclone lsf -R --files-only "$bucket/many"
check "list by folder" counts 5 '^(copied|copy|dir|many|odd)/$' rclone lsf "$bucket"
check "delete a folder" rclone delete "$bucket/many"
check "list what is left" counts 0 . rclone lsf -R --files-only "$bucket/many"
check "purge" rclone purge "$bucket"
finish
