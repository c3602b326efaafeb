#!/usr/bin/env bash
# mc, MinIO's client, with its defaults against a server: mc.sh NAME BINARY, called by tests/clients.sh.
client=$1 binary=$2
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
bucket=strata/clients-$client
export MC_CONFIG_DIR=$back/config
mc() { "$binary" --quiet --disable-pager "$@"; }

put_and_get() { mc cp "$1" "$bucket/$2" && mc cp "$bucket/$2" "$back/file" && same "$1" "$back/file"; }

copies() {
    for name in 'a b' 'a+b'; do
        echo "$name" >"$back/$name" && mc cp "$back/$name" "$bucket/copy/$name" || return 1
    done
    for name in 'a b' 'a+b'; do
        mc cp "$bucket/copy/$name" "$bucket/copied/$name" && mc cat "$bucket/copied/$name" | cmp - "$back/$name" || return 1
    done
}

from_a_pipe() { mc pipe "$bucket/piped" <"$SCRATCH/big" && mc cat "$bucket/piped" | cmp - "$SCRATCH/big"; }

get_folder() { mc mirror "$bucket/many" "$back/many" && same_folder "$SCRATCH/many" "$back/many"; }

presigned() {
    fetch "$(mc share download --json "$bucket/dir/small" | python3 -c 'import json, sys; print(json.load(sys.stdin)["share"])')" \
        "$back/presigned" && same "$SCRATCH/small" "$back/presigned"
}

echo "$client: $("$binary" --version | head -1)"
check "name the server" mc alias set strata "$STRATA_ENDPOINT" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
check "make a bucket" mc mb "$bucket"
check "put and get an empty file" put_and_get "$SCRATCH/empty" empty
check "put and get 5 kB" put_and_get "$SCRATCH/small" dir/small
check "put and get 100 KiB" put_and_get "$SCRATCH/medium" dir/medium
check "put and get 51 MiB in parts" put_and_get "$SCRATCH/big" dir/big
check "put 51 MiB from a pipe" from_a_pipe
check "what is known of an object" counts 1 'Size *: 51 MiB' mc stat "$bucket/dir/big"
check "odd keys" put_and_get "$SCRATCH/small" "odd/sp ace+ü%&#'日"
check "copy names with a space and with a plus" copies
check "mirror a folder of 1,001 files" mc mirror "$SCRATCH/many" "$bucket/many"
check "mirror it back" get_folder
check "list 1,001 keys" counts 1001 . mc ls --recursive "$bucket/many/"
check "list by folder" counts 5 ' (copied|copy|dir|many|odd)/$' mc ls "$bucket"
check "find by name" counts 1 'dir/big' mc find "$bucket" --name big
check "presigned GET" presigned
check "delete a folder" mc rm --recursive --force "$bucket/many"
check "remove the bucket and all in it" mc rb --force "$bucket"
finish
