//! What this binary is.

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One line for people or a JSON object for programs, newline included.
pub fn describe(json: bool) -> String {
    if json {
        let fields = serde_json::json!({
            "version": VERSION,
            "profile": profile(),
            "architecture": std::env::consts::ARCH,
        });
        return format!("{fields}\n");
    }
    format!(
        "strata {VERSION} ({} build, {})\n",
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
