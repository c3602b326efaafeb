//! `strata device`: the devices of a node, and the replacement of a lost one.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use strata_net::node::discover::DEVICE_FILE;

use super::protocol::Request;
use super::shown::{age, list, number, seconds_since, size, text};
use super::{ask, said};
use crate::config::Config;

/// Lists the devices.
///
/// # Errors
/// No server runs, or it cannot be asked.
pub fn devices(config: &Config, as_json: bool) -> Result<String, String> {
    let status = ask(config, &Request::Status).map_err(|error| error.to_string())?;
    Ok(said(&status["devices"], as_json, |_| table(&status)))
}

fn table(status: &Value) -> String {
    let mut table = format!(
        "{:<36}  {:<9}  {:>6}  {:<8}  {:>10}  {:>10}  {:>10}  path\n",
        "uuid", "state", "for", "use", "used", "of", "shards"
    );
    for device in list(status, "devices") {
        let _ = write!(
            table,
            "{:<36}  {:<9}  {:>6}  {:<8}  {:>10}  {:>10}  {:>10}  {}",
            text(device, "uuid"),
            text(device, "state"),
            state_age(device),
            text(device, "use"),
            size(number(device, "live_bytes")),
            size(number(device, "total_bytes")),
            number(device, "shards"),
            text(device, "path")
        );
        match text(device, "why") {
            "" => table.push('\n'),
            why => {
                let _ = writeln!(table, " ({why})");
            }
        }
    }
    table
}

/// How long the device has been in its state; nothing until that has been noted.
fn state_age(device: &Value) -> String {
    let since = device["since_unix_seconds"].as_u64();
    since.map_or_else(String::new, |since| age(seconds_since(since)))
}

/// Has a new device take the place of a lost one.
///
/// # Errors
/// No server runs, or it refuses; says why.
pub fn replace(
    config: &Config,
    lost: &str,
    place: &Path,
    force_format: bool,
) -> Result<String, String> {
    let request = Request::ReplaceDevice {
        lost: lost.to_owned(),
        place: from_the_root(place)?,
        force_format,
    };
    let replaced = ask(config, &request).map_err(|error| error.to_string())?;
    let told = format!(
        "Device {} at {} has the place of {}, in {} placement groups. Repair fills it: `strata repair status`.\n{}",
        text(&replaced, "device"),
        text(&replaced, "path"),
        text(&replaced, "lost"),
        number(&replaced, "placement_groups"),
        to_be_listed(&replaced, " in the place of the lost one")
    );
    Ok(told + "If it was a mirror of the log, the next start makes the new one a mirror.\n")
}

/// Has a new device come beside the others.
///
/// # Errors
/// No server runs, or it refuses; says why.
pub fn add(config: &Config, place: &Path, force_format: bool) -> Result<String, String> {
    let request = Request::AddDevice {
        place: from_the_root(place)?,
        force_format,
    };
    let added = ask(config, &request).map_err(|error| error.to_string())?;
    Ok(format!(
        "Device {} at {} has slots in {} placement groups: new objects go there too, and what other disks hold for \
         those slots is being moved there: `strata repair status`.\n{}",
        text(&added, "device"),
        text(&added, "path"),
        number(&added, "placement_groups"),
        to_be_listed(&added, "")
    ))
}

/// Has a device give its slots to others.
///
/// # Errors
/// No server runs, or it refuses; says why.
pub fn drain(config: &Config, device: &str) -> Result<String, String> {
    let request = Request::DrainDevice {
        device: device.to_owned(),
    };
    let drained = ask(config, &request).map_err(|error| error.to_string())?;
    Ok(format!(
        "Device {} leaves {} placement groups; what it holds is being moved: `strata repair status`. When nothing is left to move, \
         take its directory or path off storage.data_dir before the next start.\n",
        text(&drained, "device"),
        number(&drained, "placement_groups")
    ))
}

/// Has what is noted of a device removed.
///
/// # Errors
/// No server runs, or it refuses; says why.
pub fn forget(config: &Config, device: &str) -> Result<String, String> {
    let request = Request::ForgetDevice {
        device: device.to_owned(),
    };
    let forgotten = ask(config, &request).map_err(|error| error.to_string())?;
    Ok(format!(
        "Device {} is forgotten.\n",
        text(&forgotten, "device")
    ))
}

fn from_the_root(place: &Path) -> Result<String, String> {
    let place = std::path::absolute(place).map_err(|error| error.to_string())?;
    Ok(place.display().to_string())
}

/// What is to be done about the configuration, if anything.
fn to_be_listed(changed: &Value, instead: &str) -> String {
    if changed["listed"] == true {
        return String::new();
    }
    let file = Path::new(text(changed, "path"));
    // A block device is listed itself.
    let directory = file.parent().filter(|_| file.ends_with(DEVICE_FILE));
    let place = directory.unwrap_or(file).display();
    format!("Before the next start: list {place} in storage.data_dir{instead}.\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_directory_or_a_block_device_is_to_be_listed() {
        let said = |path: &str| to_be_listed(&json!({ "listed": false, "path": path }), "");
        assert!(said("/a/strata.device").contains("list /a in"));
        assert!(said("/dev/disk/by-id/x").contains("list /dev/disk/by-id/x in"));
        assert_eq!(to_be_listed(&json!({ "listed": true }), ""), "");
    }

    #[test]
    fn an_age_is_shown_in_its_largest_unit() {
        let shown = [0, 59, 240, 3600, 86_399, 3 * 86_400 + 7].map(age);
        assert_eq!(shown, ["0 s", "59 s", "4 min", "1 h", "23 h", "3 d"]);
        assert_eq!(state_age(&json!({ "since_unix_seconds": null })), "");
    }

    #[test]
    fn devices_are_listed_with_what_is_wrong() {
        let shown = table(&json!({ "devices": [
            { "uuid": "a", "path": "/a/strata.device", "state": "healthy", "why": null, "since_unix_seconds": 1, "live_bytes": 2048, "total_bytes": 1u64 << 30,
                "shards": 7 },
            { "uuid": "b", "path": "/b/strata.device", "state": "failing", "why": "EIO" },
            { "uuid": "c", "state": "gone" },
        ] }));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 4, "{shown}");
        assert!(lines[1].contains("2.0 KiB") && lines[1].ends_with("/a/strata.device"));
        assert!(lines[2].ends_with("/b/strata.device (EIO)"), "{shown}");
        assert!(lines[1].contains(" d  "), "since 1970: {shown}");
        assert!(lines[3].contains("gone"));
    }
}
