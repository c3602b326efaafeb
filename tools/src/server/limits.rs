//! How many files and connections the system lets this process have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Rings, devices, LMDB and logs need about this many with a few connections beside them.
const DESCRIPTORS_MIN: u64 = 256;

/// Below this many, a busy server runs out of descriptors for connections.
const DESCRIPTORS_COMFORTABLE: u64 = 4096;

/// Raises the limit of open descriptors to the hard limit. Answers a warning when it is still low.
///
/// # Errors
/// When it is too low to start at all.
pub fn raise_descriptors() -> Result<Option<String>, String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let now = if raised.is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    judge_descriptors(now)
}

/// `None` is no limit.
fn judge_descriptors(limit: Option<u64>) -> Result<Option<String>, String> {
    let remedy = "raise it with `ulimit -n`, `LimitNOFILE=` of systemd or `--ulimit nofile=` of the container";
    match limit {
        Some(count) if count < DESCRIPTORS_MIN => Err(format!(
            "this process may open only {count} file descriptors and needs {DESCRIPTORS_MIN} at least; {remedy}"
        )),
        Some(count) if count < DESCRIPTORS_COMFORTABLE => Ok(Some(format!(
            "this process may open only {count} file descriptors: connections beyond that are turned away; {remedy}"
        ))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_an_error_and_few_a_warning() {
        assert!(judge_descriptors(Some(100)).is_err_and(|why| why.contains("ulimit -n")));
        assert!(judge_descriptors(Some(1024)).is_ok_and(|warning| warning.is_some()));
        assert_eq!(judge_descriptors(Some(1 << 20)), Ok(None));
        assert_eq!(judge_descriptors(None), Ok(None));
    }
}
