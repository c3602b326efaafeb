# Sourced by the programs of command-line clients: runs the cases, a line for each. A case that fails does not stop those
# behind it; `finish` at the end of the program sets its exit status. tests/clients.sh gives the endpoint, the keys, and
# in $SCRATCH the files `empty`, `small`, `medium` (100 KiB), `big` (51 MiB) the folder `sizes` with all of these and a file of an odd
# name, and the folder `many` with 1,001 files.

set -uo pipefail
all_passed=0

# check CASE COMMAND...: the command's output is shown only when it fails.
check() {
    local case=$1
    shift
    if "$@" >"$SCRATCH/$client.output" 2>&1; then
        echo "ok      $client: $case"
    else
        all_passed=1
        echo "FAILED  $client: $case"
        sed 's/^/        /' "$SCRATCH/$client.output" | tail -20
    fi
}

finish() { exit "$all_passed"; }

# same ONE OTHER: the files hold the same bytes.
same() {
    cmp -- "$1" "$2"
}

# same_folder ONE OTHER: the folders hold the same files.
same_folder() {
    diff -rq -- "$1" "$2"
}

# counts NUMBER PATTERN COMMAND...: so many lines of the command's output match.
counts() {
    local wanted=$1 pattern=$2 count
    shift 2
    "$@" >"$SCRATCH/$client.listing" || { cat "$SCRATCH/$client.listing"; return 1; }
    count=$(grep -cE -- "$pattern" "$SCRATCH/$client.listing")
    [ "$count" = "$wanted" ] || { head -20 "$SCRATCH/$client.listing"; echo "$count lines with $pattern instead of $wanted"; return 1; }
}

# fails COMMAND...: the command must not succeed.
fails() {
    ! "$@"
}

# fetch ADDRESS FILE, send FILE ADDRESS: without any header but those of the transport.
fetch() {
    python3 -c 'import sys, urllib.request; open(sys.argv[2], "wb").write(urllib.request.urlopen(sys.argv[1]).read())' "$@"
}
send() {
    python3 -c 'import sys, urllib.request as r
r.urlopen(r.Request(sys.argv[2], open(sys.argv[1], "rb").read(), method="PUT")).read()' "$@"
}

mkdir -p "$SCRATCH/$client"
back=$SCRATCH/$client
