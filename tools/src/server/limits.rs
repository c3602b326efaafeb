//! What the system lets this process have: descriptors and processors.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::value::{CoreChoice, parse_core_list};

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

/// The processors that the choice stands for, ascending.
///
/// # Errors
/// When the process may not use so many, or not those.
pub fn resolve_cores(choice: &CoreChoice) -> Result<Vec<usize>, String> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("cannot read /proc/self/status: {error}"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let usable = line.and_then(|list| parse_core_list(list.trim()));
    choose(
        choice,
        &usable.ok_or("/proc/self/status does not say which processors this process may use")?,
    )
}

fn choose(choice: &CoreChoice, usable: &[usize]) -> Result<Vec<usize>, String> {
    let list = CoreChoice::List(usable.to_vec());
    match choice {
        CoreChoice::Auto => Ok(usable.to_vec()),
        CoreChoice::Count(count) if *count > usable.len() => Err(format!(
            "`node.cores` asks for {count} processors and this process may use {} ({list})",
            usable.len()
        )),
        CoreChoice::Count(count) => Ok(usable[..*count].to_vec()),
        CoreChoice::List(wanted) => match wanted.iter().find(|core| !usable.contains(core)) {
            Some(core) => Err(format!(
                "`node.cores` names processor {core} and this process may use only {list}"
            )),
            None => Ok(wanted.clone()),
        },
    }
}

/// The unit of a reactor's buffer memory: a huge page.
const HUGE_PAGE_BYTES: u64 = 2 << 20;

/// Buffer memory of a server that is told nothing.
const BUFFER_BYTES_DEFAULT: u64 = 256 << 20;

/// The least that a reactor works with: several requests of some MiB under way at once.
const BUFFER_BYTES_MIN: u64 = 32 << 20;

/// Each reactor's share of the buffer memory in bytes, a whole number of huge pages.
pub fn share_buffer_memory(total: Option<u64>, core_count: usize) -> usize {
    let share = total.unwrap_or(BUFFER_BYTES_DEFAULT) / core_count.max(1) as u64;
    (share.max(BUFFER_BYTES_MIN) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES) as usize
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

    #[test]
    fn processors_are_chosen_from_the_usable() {
        let usable = [1, 2, 5];
        assert_eq!(choose(&CoreChoice::Auto, &usable), Ok(vec![1, 2, 5]));
        assert_eq!(choose(&CoreChoice::Count(2), &usable), Ok(vec![1, 2]));
        assert_eq!(
            choose(&CoreChoice::List(vec![2, 5]), &usable),
            Ok(vec![2, 5])
        );
        assert!(choose(&CoreChoice::Count(4), &usable).is_err());
        let why = choose(&CoreChoice::List(vec![0]), &usable).expect_err("not usable");
        assert!(
            why.contains("processor 0") && why.contains("1,2,5"),
            "{why}"
        );
        assert!(
            !resolve_cores(&CoreChoice::Auto)
                .expect("this process runs somewhere")
                .is_empty()
        );
    }

    #[test]
    fn buffer_memory_is_shared_in_huge_pages() {
        assert_eq!(share_buffer_memory(None, 2), 128 << 20);
        assert_eq!(share_buffer_memory(None, 64), 32 << 20);
        assert_eq!(share_buffer_memory(Some(100 << 20), 3), 32 << 20);
        assert_eq!(share_buffer_memory(Some((512 << 20) + 7), 1), 512 << 20);
    }
}
