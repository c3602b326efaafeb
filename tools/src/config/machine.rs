//! What values come to on this machine: processors, buffer memory.
//!
//! Invariants: a value that this machine cannot give is refused before anything is opened; what is raised is raised here, so
//! that `config show` tells the value in force.

use std::fs;

use super::value::{CoreChoice, parse_core_list};

/// The unit of a reactor's buffer memory: a huge page.
const HUGE_PAGE_BYTES: u64 = 2 << 20;

/// Buffer memory of a server that is told nothing.
const BUFFER_BYTES_DEFAULT: u64 = 256 << 20;

/// The least that a reactor works with: several requests of some MiB under way at once.
pub const BUFFER_BYTES_MIN: u64 = 32 << 20;

/// What this process may use of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Processors, ascending.
    pub processors: Vec<usize>,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This machine.
    ///
    /// # Errors
    /// `/proc` does not tell.
    pub fn here() -> Result<Machine, String> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
        };
        let processors = processors_in(&read("/proc/self/status")?);
        let memory_bytes = memory_in(&read("/proc/meminfo")?);
        Ok(Machine {
            processors: processors
                .ok_or("/proc/self/status does not say which processors this process may use")?,
            memory_bytes: memory_bytes
                .ok_or("/proc/meminfo does not say how much memory there is")?,
        })
    }

    /// The processors that a choice stands for, ascending.
    ///
    /// # Errors
    /// Continues "`node.cores` ...": the process may not use so many, or not those.
    pub fn choose(&self, choice: &CoreChoice) -> Result<Vec<usize>, String> {
        let usable = &self.processors;
        let list = CoreChoice::List(usable.clone());
        match choice {
            CoreChoice::Auto => Ok(usable.clone()),
            CoreChoice::Count(count) if *count > usable.len() => Err(format!(
                "asks for {count} processors and this process may use {} ({list})",
                usable.len()
            )),
            CoreChoice::Count(count) => Ok(usable[..*count].to_vec()),
            CoreChoice::List(wanted) => match wanted.iter().find(|core| !usable.contains(core)) {
                Some(core) => Err(format!(
                    "names processor {core} and this process may use only {list}"
                )),
                None => Ok(wanted.clone()),
            },
        }
    }

    /// Each reactor's share of the buffer memory in bytes: a whole number of huge pages, and at least [`BUFFER_BYTES_MIN`].
    ///
    /// # Errors
    /// Continues "`node.buffer_memory` ...": the machine has less.
    pub fn share_buffer_memory(
        &self,
        total: Option<u64>,
        core_count: usize,
    ) -> Result<u64, String> {
        let cores = core_count.max(1) as u64;
        let share = total.unwrap_or(BUFFER_BYTES_DEFAULT) / cores;
        let share = share.max(BUFFER_BYTES_MIN) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        if share.saturating_mul(cores) > self.memory_bytes {
            return Err(format!(
                "comes to {} MiB for {cores} threads and this machine has {} MiB of memory; each thread needs {} MiB at least",
                share.saturating_mul(cores) >> 20,
                self.memory_bytes >> 20,
                BUFFER_BYTES_MIN >> 20
            ));
        }
        Ok(share)
    }

    /// The memory of each reactor for what is read again and again, in bytes.
    ///
    /// # Errors
    /// Continues "`node.cache_memory` ...": the machine has less beside the buffers.
    pub fn share_cache_memory(
        &self,
        total: u64,
        buffer_bytes: u64,
        core_count: usize,
    ) -> Result<u64, String> {
        if total.saturating_add(buffer_bytes) > self.memory_bytes {
            return Err(format!(
                "comes to {} MiB, node.buffer_memory to {} MiB, and this machine has {} MiB of memory",
                total >> 20,
                buffer_bytes >> 20,
                self.memory_bytes >> 20
            ));
        }
        Ok(total / core_count.max(1) as u64)
    }
}

fn processors_in(status: &str) -> Option<Vec<usize>> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_core_list(list.trim())
}

fn memory_in(meminfo: &str) -> Option<u64> {
    let text = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = text.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(processors: &[usize]) -> Machine {
        Machine {
            processors: processors.to_vec(),
            memory_bytes: 8 << 30,
        }
    }

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::here().expect("it tells");
        assert!(!machine.processors.is_empty() && machine.memory_bytes > 64 << 20);
    }

    #[test]
    fn processors_are_chosen_from_the_usable() {
        let machine = machine(&[1, 2, 5]);
        assert_eq!(machine.choose(&CoreChoice::Auto), Ok(vec![1, 2, 5]));
        assert_eq!(machine.choose(&CoreChoice::Count(2)), Ok(vec![1, 2]));
        assert_eq!(
            machine.choose(&CoreChoice::List(vec![2, 5])),
            Ok(vec![2, 5])
        );
        assert!(machine.choose(&CoreChoice::Count(4)).is_err());
        let why = machine
            .choose(&CoreChoice::List(vec![0]))
            .expect_err("not usable");
        assert!(
            why.contains("processor 0") && why.contains("1,2,5"),
            "{why}"
        );
    }

    #[test]
    fn buffer_memory_is_shared_in_huge_pages_and_no_more_than_there_is() {
        let share =
            |total: Option<u64>, cores: usize| machine(&[0]).share_buffer_memory(total, cores);
        assert_eq!(share(None, 2), Ok(128 << 20));
        assert_eq!(share(None, 64), Ok(32 << 20));
        assert_eq!(share(Some(1 << 20), 2), Ok(32 << 20));
        assert_eq!(share(Some(100 << 20), 3), Ok(32 << 20));
        assert_eq!(share(Some((512 << 20) + 7), 1), Ok(512 << 20));
        let why = share(Some(9 << 30), 2).expect_err("more than there is");
        assert!(why.contains("8192 MiB"), "{why}");
    }

    #[test]
    fn cache_memory_is_what_is_left_beside_the_buffers_or_less() {
        let share = |total: u64| machine(&[0]).share_cache_memory(total, 1 << 30, 2);
        assert_eq!(share(0), Ok(0));
        assert_eq!(share(64 << 20), Ok(32 << 20));
        assert_eq!(share(7 << 30), Ok(7 << 29));
        let why = share((7 << 30) + 1).expect_err("more than there is");
        assert!(
            why.contains("1024 MiB") && why.contains("8192 MiB"),
            "{why}"
        );
    }
}
