#!/usr/bin/env bash
# The tests of the engine (or of the crates that are given, as `-p NAME`) under the address sanitiser: reads and writes outside of what was
# allocated, or after it was given back, end a test with a report. io_uring's kernel side is not seen by it; what the reactor hands
# to the kernel and takes back is.
#
#   tests/asan.sh [-p CRATE]... [ARGUMENTS OF cargo test]
#
# The sanitiser is a feature that rustc calls unstable; its runtime comes with every toolchain of this target.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1}
# With a target, what runs while building (macros, build scripts) is built without the sanitiser.
[ $# -gt 0 ] || set -- -p strata-engine
exec cargo test --locked --target "$host" --target-dir target/asan --lib --tests "$@"
