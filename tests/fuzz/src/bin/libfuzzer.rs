//! libFuzzer over the target that `STRATA_FUZZ_TARGET` names; `tests/fuzz.sh` builds and runs it.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use strata_fuzz::{Target, target};

static TARGET: OnceLock<&Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("STRATA_FUZZ_TARGET").unwrap_or_default();
        target(&name).expect("STRATA_FUZZ_TARGET names a target")
    });
    (target.run)(data);
});
