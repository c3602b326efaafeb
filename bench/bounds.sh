#!/usr/bin/env bash
# The reactor against its controls, in interleaved pairs: hyper on tokio for HTTP, fio for the device and the journal.
# Both sides of a device comparison use reserved 2 MiB pages, or neither does; then the line says what the system gives
# each of them unasked, and counts as missed where that is not the same. Prints one line per bound: medians, their ratio,
# the control's own spread from run to run, and the verdict. Takes about ten minutes with the defaults.
# On a machine that has other work, `chrt -r 1 bench/bounds.sh` keeps that work off both sides.
# Usage: bounds.sh [http] [device] [journal]    PAIRS=5 SECONDS_EACH=5 STRATA_BENCH_DIR=/disk/to/measure
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pairs=${PAIRS:-5}
each=${SECONDS_EACH:-5}
size=${FILE_SIZE:-4GiB}
subjects=${*:-http device journal}
build
scratch bounds
missed=0

# verdict NAME UNIT BOUND OPERATOR OURS CONTROL: both lists of figures, one bound on the ratio of their medians. The
# control's spread widens the bound, because it repeats itself no better than that. A pair that is not even proves nothing,
# whatever its ratio is.
verdict() {
    local name=$1 unit=$2 bound=$3 operator=$4 ours control share wide word=held
    read -ra ours <<<"$5"
    read -ra control <<<"$6"
    share=$(ratio "$(median "${ours[@]}")" "$(median "${control[@]}")")
    wide=$(spread "${control[@]}")
    if [[ $name == *"$uneven_pages"* ]]; then
        word="missed, the pair was not even"
        missed=$((missed + 1))
    elif ! holds "$share $operator $bound"; then
        word=missed
        if [ "${7:-}" = within-spread ] && holds "($share - 1) * ($share - 1) <= $wide * $wide"; then
            word="within the control's spread"
        else
            missed=$((missed + 1))
        fi
    fi
    echo "$name: $(median "${ours[@]}") against $(median "${control[@]}") $unit, ratio $share (bound $operator $bound), control's spread $wide: $word"
}

http_pairs() {
    local body=$1 ours="" control="" ours_cpu="" control_cpu="" line
    for _ in $(seq "$pairs"); do
        line=$("$bench" http --runtime reactor --body "$body" --seconds "$each" --server-core "$server_core" --client-core "$client_core" --json)
        ours+=" $(field ops_per_second <<<"$line")" ours_cpu+=" $(field cpu_us_per_request <<<"$line")"
        line=$("$bench" http --runtime tokio --body "$body" --seconds "$each" --server-core "$server_core" --client-core "$client_core" --json)
        control+=" $(field ops_per_second <<<"$line")" control_cpu+=" $(field cpu_us_per_request <<<"$line")"
    done
    verdict "http $2 throughput" "requests/s" 0.97 ">=" "$ours" "$control" within-spread
    verdict "http $2 processor time" "us/request" 1.03 "<=" "$ours_cpu" "$control_cpu" within-spread
}

# Where the data of a file of `strata-bench device` begins, behind its mark.
data_offset=1m

# run_fio FIELD OPTIONS...: one field of the terse output (7/48 = KiB/s, 8/49 = operations/s of reads/writes).
run_fio() {
    local column=$1
    shift
    fio --name=control --output-format=terse --terse-version=3 --cpus_allowed="$server_core" --thread --direct=1 \
        --time_based --runtime="$each" --randrepeat=0 --norandommap "$@" | cut -d';' -f"$column"
}

fio_memory() {
    if [ "$huge" = 1 ]; then echo "--iomem=mmaphuge"; else echo "--iomem=mmap"; fi
}

# The pages of both sides, for the line of a verdict. Without reserved ones Strata advises the kernel to use large pages
# and fio does not: where the kernel heeds the advice alone, the pair is not even.
uneven_pages="transparent huge pages for Strata alone"
pages() {
    if [ "$huge" = 1 ]; then
        echo "2 MiB pages on both sides"
    elif grep -q '\[always\]' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null; then
        echo "transparent huge pages on both sides"
    elif grep -q '\[madvise\]' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null; then
        echo "$uneven_pages"
    else
        echo "4 KiB pages on both sides"
    fi
}

device_pairs() {
    local file=$work/device ours="" control="" writes="" writes_control="" bytes=${size%iB} memory
    memory=$(fio_memory)
    "$bench" device --file "$file" --file-size "$size" --pattern prepare
    for _ in $(seq "$pairs"); do
        ours+=" $("$bench" device --file "$file" --file-size "$size" --core "$server_core" --depth 32 --seconds "$each" --json | field ops_per_second)"
        control+=" $(run_fio 8 --filename="$file" --offset=$data_offset --size="$bytes" --rw=randread --bs=4k --ioengine=io_uring --iodepth=32 "$memory")"
    done
    verdict "device 4 KiB reads, depth 32, $(pages)" "reads/s" 0.95 ">=" "$ours" "$control"
    for _ in $(seq "$pairs"); do
        writes+=" $("$bench" device --file "$file" --file-size "$size" --core "$server_core" --pattern sequential-write --depth 8 --seconds "$each" --json | field ops_per_second)"
        writes_control+=" $(run_fio 49 --filename="$file" --offset=$data_offset --size="$bytes" --rw=write --bs=1m --ioengine=io_uring --iodepth=8 "$memory")"
    done
    verdict "device 1 MiB writes, depth 8, $(pages)" "writes/s" 0.95 ">=" "$writes" "$writes_control"
    rm -f "$file"
}

# journal_pairs WRITERS BOUND: fio writes the batch sizes that the journal made, each with its fdatasync, at depth 1, over
# the blocks that the journal has written: another file may lie elsewhere, or still have blocks to be made. The bound is on io_uring, which a reactor has to use; what blocking system calls reach is printed beside it.
journal_pairs() {
    local writers=$1 bound=$2 ours="" control="" blocking="" batches="" line batch size_of_block column log_offset log_bytes
    for _ in $(seq "$pairs"); do
        rm -f "$work/journal"
        line=$("$bench" journal --device "$work/journal" --writers "$writers" --core "$server_core" --seconds "$each" --json)
        # What it wrote to the device in a batch, in whole blocks.
        batch=$(field device_bytes_per_batch <<<"$line" | awk '{ print int(($1 + 2048) / 4096) * 4096 }')
        batches+=" $batch"
        # One writer is compared by flushes: its record and the header it needs against a bare block.
        if [ "$writers" = 1 ]; then
            size_of_block=4096 column=49
            ours+=" $(field ops_per_second <<<"$line")"
        else
            size_of_block=$batch column=48
            ours+=" $(field device_mib_per_second <<<"$line" | awk '{ print $1 * 1024 }')"
        fi
        log_offset=$(field log_offset <<<"$line") log_bytes=$(field log_bytes <<<"$line")
        control+=" $(flushing_fio io_uring $column "$size_of_block")"
        blocking+=" $(flushing_fio psync $column "$size_of_block")"
    done
    local unit=KiB/s
    [ "$writers" = 1 ] && unit=records/s
    # shellcheck disable=SC2086
    verdict "journal, $writers writers of 4 KiB, batches of $(median $batches) bytes, $(pages)" $unit "$bound" ">=" "$ours" "$control"
    # shellcheck disable=SC2086
    echo "  for information: fio with blocking calls $(median $blocking) $unit, ratio $(ratio "$(median $ours)" "$(median $blocking)")"
    rm -f "$work/journal"
}

# flushing_fio ENGINE FIELD BLOCK: within the log of the last run.
flushing_fio() {
    run_fio "$2" --filename="$work/journal" --offset="$log_offset" --size="$log_bytes" --overwrite=1 --rw=write --bs="$3" --ioengine="$1" --iodepth=1 --fdatasync=1 "$(fio_memory)"
}

reserve_huge_pages 128
for subject in $subjects; do
    case $subject in
    http)
        http_pairs 13 hello
        http_pairs 64KiB "64 KiB"
        ;;
    device) device_pairs ;;
    journal)
        journal_pairs 64 0.8
        journal_pairs 1 0.9
        ;;
    *) echo "unknown subject $subject" >&2 && exit 2 ;;
    esac
done
echo "bounds: $([ $missed = 0 ] && echo held || echo "$missed missed")"
[ $missed = 0 ]
