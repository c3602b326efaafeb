#!/usr/bin/env bash
# What reactors share memory by (mailboxes, answers, the parked flag), in every order in which two or three threads may see each other's
# reads and writes: https://docs.rs/loom. A failure names the iteration; LOOM_LOG=trace shows its steps.
#
#   tests/loom.sh [ARGUMENTS OF cargo test]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export RUSTFLAGS="--cfg strata_loom ${RUSTFLAGS:-}"
# Orders with more preemptions than this are left out: three find what is found in practice, as loom's documentation says.
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3}
exec cargo test --locked --target-dir target/loom -p strata-engine --lib loom_tests "$@"
