//! What this binary is.

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, as far as that is known: debug builds do not look it up.
pub const COMMIT: &str = env!("BUILT_FROM_COMMIT");

/// Both, for `strata --version`.
pub const VERSION_AND_COMMIT: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("BUILT_FROM_COMMIT"),
    ")"
);

/// One line for people or a JSON object for programs, newline included.
pub fn describe(json: bool) -> String {
    if json {
        let fields = serde_json::json!({
            "version": VERSION,
            "commit": COMMIT,
            "profile": profile(),
            "architecture": std::env::consts::ARCH,
        });
        return format!("{fields}\n");
    }
    format!(
        "strata {VERSION} (commit {COMMIT}, {} build, {})\n",
        profile(),
        std::env::consts::ARCH
    )
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}
