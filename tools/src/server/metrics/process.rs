//! What the system counts of this process (proc(5)), under the names that every Prometheus client library gives it.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Parts of a second in which proc(5) counts: USER_HZ is 100 on every architecture that io_uring machines have.
const TICKS_PER_SECOND: f64 = 100.0;

/// One reading. What the system does not tell is not shown.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct ProcessReading {
    /// Time on a processor, of all threads, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Memory that is resident, in bytes.
    pub resident_bytes: Option<f64>,
    /// Address space, in bytes.
    pub virtual_bytes: Option<f64>,
    /// Threads.
    pub threads: Option<f64>,
    /// When the process began, in seconds since 1970.
    pub start_seconds: Option<f64>,
    /// Descriptors that are open.
    pub open_descriptors: Option<f64>,
    /// Descriptors that may be open.
    pub descriptors_max: Option<f64>,
}

/// Reads them now. proc(5) is memory: nothing here waits for a disk.
pub fn read() -> ProcessReading {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut reading = parse(
        &text("/proc/self/stat"),
        &text("/proc/self/status"),
        &text("/proc/stat"),
    );
    // The one that lists them is open as well.
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1));
    reading.open_descriptors = open.ok().map(|count| count as f64);
    reading.descriptors_max = getrlimit(Resource::Nofile)
        .current
        .map(|limit| limit as f64);
    reading
}

fn parse(stat: &str, status: &str, system: &str) -> ProcessReading {
    // The name of the program, in brackets, may hold anything.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
    // Fields are counted from 1 in proc(5), and the first behind the name is the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
    let booted = booted.and_then(|text| text.trim().parse::<f64>().ok());
    ProcessReading {
        cpu_seconds: field(14)
            .zip(field(15))
            .map(|(user, system)| (user + system) / TICKS_PER_SECOND),
        resident_bytes: resident.map(|kibibytes| kibibytes * 1024.0),
        virtual_bytes: field(23),
        threads: field(20),
        start_seconds: booted
            .zip(field(22))
            .map(|(booted, ticks)| booted + ticks / TICKS_PER_SECOND),
        ..ProcessReading::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_proc() {
        let stat =
            "17 (a (b) c) S 1 17 17 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1234 1048576 77 0 0";
        let status = "Name:\ta\nVmRSS:\t   308 kB\nThreads:\t9\n";
        let reading = parse(stat, status, "cpu 1 2 3\nbtime 1700000000\n");
        assert_eq!(reading.cpu_seconds, Some(3.0));
        assert_eq!(reading.threads, Some(9.0));
        assert_eq!(reading.virtual_bytes, Some(1_048_576.0));
        assert_eq!(reading.resident_bytes, Some(308.0 * 1024.0));
        assert_eq!(reading.start_seconds, Some(1_700_000_012.34));
    }

    #[test]
    fn what_is_not_told_is_not_shown() {
        assert_eq!(parse("", "", ""), ProcessReading::default());
        assert_eq!(
            parse("17 (a) S 1", "VmRSS: much", "btime"),
            ProcessReading::default()
        );
    }

    #[test]
    fn this_process_can_be_read() {
        let reading = read();
        assert!(reading.cpu_seconds.is_some() && reading.start_seconds > Some(1e9));
        assert!(reading.resident_bytes > Some(1e6) && reading.threads >= Some(1.0));
        assert!(reading.open_descriptors >= Some(3.0));
    }
}
