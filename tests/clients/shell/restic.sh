#!/usr/bin/env bash
# restic with its defaults against a server: restic.sh NAME BINARY, called by tests/clients.sh. It makes its own bucket
# and cannot remove it.
client=$1 binary=$2
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
export RESTIC_REPOSITORY=s3:$STRATA_ENDPOINT/clients-$client/repository RESTIC_PASSWORD=nobody RESTIC_CACHE_DIR=$back/cache
restic() { "$binary" "$@"; }
source_folder=$SCRATCH/restic-source
mkdir -p "$source_folder"
cp -r "$SCRATCH/big" "$SCRATCH/small" "$SCRATCH/empty" "$source_folder"
cp "$SCRATCH/medium" "$source_folder/sp ace+ü"

restore() { restic restore latest --target "$back/restored" && same_folder "$source_folder" "$back/restored$source_folder"; }

change_and_backup() { head -c 300000 /dev/urandom >"$source_folder/small" && restic backup "$source_folder" && restore; }

echo "$client: $("$binary" version)"
check "make a repository" restic init
check "back up 51 MiB" restic backup "$source_folder"
check "restore it" restore
check "check all data" restic check --read-data
check "change, back up and restore again" change_and_backup
check "list the snapshots" counts 2 "$source_folder" restic snapshots
check "forget and prune" restic forget --keep-last 1 --prune
check "check all data again" restic check --read-data
finish
