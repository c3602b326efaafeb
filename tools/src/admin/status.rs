//! `strata status`: what a running server is, how it is, and what to do about it; a table for people, JSON for programs.
//!
//! The exit status says it as well: 0 healthy, 3 no server runs (as for the status of a service, LSB), 4 degraded, 5 it runs and
//! does not serve.

use std::fmt::Write as _;

use serde_json::Value;

use super::protocol::Request;
use super::shown::{duration, list, number, size, text};
use super::{Unanswered, ask};
use crate::config::Config;

/// The server serves, and something is lost or refused.
const EXIT_DEGRADED: u8 = 4;
/// No server runs.
const EXIT_NOT_RUNNING: u8 = 3;
/// A server runs, and does not serve.
const EXIT_NOT_SERVING: u8 = 5;

/// What the command prints, and its exit status.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// For standard output.
    pub text: String,
    /// For the shell.
    pub exit_status: u8,
}

/// Asks the server of this configuration how it is.
///
/// # Errors
/// One runs and cannot be asked; says why.
pub fn status(config: &Config, as_json: bool) -> Result<Told, String> {
    match ask(config, &Request::Status) {
        Ok(status) if as_json => Ok(Told {
            text: format!("{status:#}\n"),
            exit_status: exit_status(&status),
        }),
        Ok(status) => Ok(Told {
            text: table(&status),
            exit_status: exit_status(&status),
        }),
        Err(Unanswered::NotRunning(why)) => Ok(Told {
            text: if as_json {
                format!(
                    "{:#}\n",
                    serde_json::json!({ "state": "not running", "why": why })
                )
            } else {
                format!("{why}\n")
            },
            exit_status: EXIT_NOT_RUNNING,
        }),
        Err(Unanswered::Refused(why)) => Err(why),
    }
}

fn exit_status(status: &Value) -> u8 {
    match text(status, "state") {
        "healthy" => 0,
        "degraded" => EXIT_DEGRADED,
        _ => EXIT_NOT_SERVING,
    }
}

fn table(status: &Value) -> String {
    let mut table = String::new();
    let _ = writeln!(
        table,
        "Strata {}, node {}, process {}, up {}",
        text(status, "version"),
        number(status, "node"),
        number(status, "process_id"),
        duration(number(status, "uptime_seconds"))
    );
    let mut line = |name: &str, what: &str| {
        if !what.is_empty() {
            let _ = writeln!(table, "  {name:<9} {what}");
        }
    };
    let why = text(status, "why");
    let state = text(status, "state").to_uppercase();
    match why {
        "" => line("state", &state),
        why => line("state", &format!("{state}: {why}")),
    }
    line("cluster", text(status, "cluster"));
    line("S3", text(status, "s3"));
    line("metrics", &format!("{}/metrics", text(status, "metrics")));
    line("layout", text(status, "layout"));
    let of_the_node = list(status, "devices").iter();
    for device in of_the_node.filter(|device| text(device, "use") != "former") {
        line("device", &device_line(device));
    }
    line("capacity", &capacity_line(&status["capacity"]));
    line("buckets", &buckets_line(&status["buckets"]));
    line("names", &names_line(status));
    line("log", &log_line(&status["log"]));
    let degradations = list(status, "degradations");
    if !degradations.is_empty() {
        table.push_str("\nWhat is wrong, and what to do:\n");
    }
    for found in degradations {
        let severity = text(found, "severity").to_uppercase();
        let _ = writeln!(table, "  {severity:<9} {}", text(found, "what"));
        let _ = writeln!(table, "  {:<9} -> {}", "", text(found, "remedy"));
    }
    table
}

fn device_line(device: &Value) -> String {
    let (state, uuid) = (text(device, "state"), text(device, "uuid"));
    match (text(device, "path"), text(device, "why")) {
        ("", _) => format!("{state:<9} {uuid}"),
        (path, "") => format!("{state:<9} {path} ({uuid})"),
        (path, why) => format!("{state:<9} {path} ({uuid}): {why}"),
    }
}

fn capacity_line(capacity: &Value) -> String {
    format!(
        "{} of {} free; {} of {} shards",
        size(number(capacity, "free_bytes")),
        size(number(capacity, "total_bytes")),
        number(capacity, "chunks"),
        number(capacity, "chunks_max")
    )
}

fn buckets_line(buckets: &Value) -> String {
    format!(
        "{} with {} objects of {} together",
        number(buckets, "count"),
        number(buckets, "objects"),
        size(number(buckets, "objects_bytes"))
    )
}

fn names_line(status: &Value) -> String {
    let (place, log) = (text(status, "metadata_dir"), &status["log"]);
    if log.is_null() {
        return place.to_owned();
    }
    format!(
        "{place}, {} of {} used",
        size(number(log, "names_used_bytes")),
        size(number(log, "names_total_bytes"))
    )
}

fn log_line(log: &Value) -> String {
    if log.is_null() {
        return String::new();
    }
    format!(
        "{} of {} copies written, {} of {} used",
        number(log, "copies"),
        number(log, "copies_expected"),
        size(number(log, "used_bytes")),
        size(number(log, "total_bytes"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn degraded() -> Value {
        json!({
            "state": "degraded", "why": null, "version": "1", "process_id": 7, "uptime_seconds": 3_700, "node": 1,
            "cluster": "c", "s3": "http://127.0.0.1:1", "metrics": "http://127.0.0.1:2", "metadata_dir": "/m",
            "layout": "3 copies", "capacity": { "total_bytes": 3u64 << 30, "free_bytes": 3u64 << 29, "chunks": 2, "chunks_max": 9 },
            "devices": [
                { "uuid": "a", "path": "/a/strata.device", "state": "healthy", "why": null },
                { "uuid": "b", "path": "/b/strata.device", "state": "failing", "why": "EIO" },
                { "uuid": "c", "state": "gone" },
            ],
            "buckets": { "count": 2, "objects": 3, "objects_bytes": 1536 },
            "log": { "copies": 1, "copies_expected": 3, "used_bytes": 10, "total_bytes": 2048,
                "names_used_bytes": 4096, "names_total_bytes": 1u64 << 36 },
            "degradations": [
                { "severity": "critical", "kind": "placement", "what": "new objects are refused", "remedy": "put it back" },
            ],
        })
    }

    #[test]
    fn people_see_what_is_wrong_and_what_to_do() {
        let shown = table(&degraded());
        for line in [
            "Strata 1, node 1, process 7, up 1 h 1 min",
            "  state     DEGRADED",
            "  device    healthy   /a/strata.device (a)",
            "  device    failing   /b/strata.device (b): EIO",
            "  device    gone      c",
            "  capacity  1.5 GiB of 3.0 GiB free; 2 of 9 shards",
            "  buckets   2 with 3 objects of 1.5 KiB together",
            "  names     /m, 4.0 KiB of 64.0 GiB used",
            "  log       1 of 3 copies written, 10 B of 2.0 KiB used",
            "  CRITICAL  new objects are refused",
            "            -> put it back",
        ] {
            assert!(
                shown.lines().any(|shown| shown == line),
                "{line:?} is not in\n{shown}"
            );
        }
    }

    #[test]
    fn the_exit_status_tells_programs() {
        assert_eq!(exit_status(&degraded()), EXIT_DEGRADED);
        assert_eq!(exit_status(&json!({ "state": "healthy" })), 0);
        for state in ["starting", "stopping", "failed"] {
            assert_eq!(exit_status(&json!({ "state": state })), EXIT_NOT_SERVING);
        }
    }

    #[test]
    fn a_server_that_starts_has_less_to_show() {
        let shown = table(&json!({ "state": "starting", "why": "replaying the log", "log": null }));
        assert!(shown.contains("STARTING: replaying the log"), "{shown}");
        assert!(
            !shown.contains("copies written") && !shown.contains("What is wrong"),
            "{shown}"
        );
    }
}
