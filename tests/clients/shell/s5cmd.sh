#!/usr/bin/env bash
# s5cmd with its defaults against a server: s5cmd.sh NAME BINARY, called by tests/clients.sh.
client=$1 binary=$2
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
bucket=s3://clients-$client
s5cmd() { "$binary" --endpoint-url "$STRATA_ENDPOINT" "$@"; }

put_and_get() { s5cmd cp "$1" "$bucket/$2" && s5cmd cp "$bucket/$2" "$back/file" && same "$1" "$back/file"; }

# The client writes a space in a copy source as a plus.
copies() {
    for name in 'a b' 'a+b'; do
        echo "$name" >"$back/$name" && s5cmd cp "$back/$name" "$bucket/copy/$name" || return 1
    done
    s5cmd cp "$bucket/copy/a b" "$bucket/copied" && s5cmd cp "$bucket/copied" "$back/file" && same "$back/a b" "$back/file"
}

from_a_pipe() { s5cmd pipe "$bucket/piped" <"$SCRATCH/big" && s5cmd cat "$bucket/piped" | cmp - "$SCRATCH/big"; }

get_folder() { s5cmd cp "$bucket/many/*" "$back/many/" && same_folder "$SCRATCH/many" "$back/many"; }

presigned() { fetch "$(s5cmd presign "$bucket/dir/small")" "$back/presigned" && same "$SCRATCH/small" "$back/presigned"; }

echo "$client: $("$binary" version)"
check "make a bucket" s5cmd mb "$bucket"
check "put and get an empty file" put_and_get "$SCRATCH/empty" empty
check "put and get 5 kB" put_and_get "$SCRATCH/small" dir/small
check "put and get 100 KiB" put_and_get "$SCRATCH/medium" dir/medium
check "put and get 51 MiB in parts" put_and_get "$SCRATCH/big" dir/big
check "put 51 MiB from a pipe" from_a_pipe
check "head" counts 1 '"size":53477383' s5cmd head "$bucket/dir/big"
check "odd keys" put_and_get "$SCRATCH/small" "odd/sp ace+ü%&#'日"
check "copy a name with a space beside one with a plus" copies
check "put a folder of 1,001 files" s5cmd cp "$SCRATCH/many/" "$bucket/many/"
check "get a folder of 1,001 files" get_folder
check "list 1,001 keys" counts 1001 . s5cmd ls "$bucket/many/*"
check "list by folder" counts 4 'DIR +(copy|dir|many|odd)/' s5cmd ls "$bucket/"
check "presigned GET" presigned
check "delete all" s5cmd rm "$bucket/*"
check "remove the bucket" s5cmd rb "$bucket"
finish
