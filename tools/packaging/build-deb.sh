#!/usr/bin/env bash
# Builds the Debian package: both binaries, units, man pages, completions. Needs `cargo install cargo-deb` and dpkg-dev.
# The last line that cargo-deb prints is the path of the package, below target/debian.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
profile=${STRATA_PACKAGE_PROFILE:-release}
cargo build --locked --profile "$profile" -p strata -p strata-bench
# The pages and completions say the same in every profile: the tests' one is built soonest.
cargo run --locked -p strata --example package_files -- target/package
cargo deb --locked -p strata --no-build --profile "$profile"
