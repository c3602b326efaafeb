//! `strata layout`: what new objects are made into, what stored ones are, over which disks they are spread, and the change of it.

use std::fmt::Write as _;

use serde_json::{Value, json};
use strata_net::scheme::Scheme;

use super::protocol::Request;
use super::shown::{number, text};
use super::{ask, said};
use crate::config::Config;

/// Shows the layout.
///
/// # Errors
/// No server runs, or it cannot be asked.
pub fn show(config: &Config, as_json: bool) -> Result<String, String> {
    let status = ask(config, &Request::Status).map_err(|error| error.to_string())?;
    let survey = &status["redundancy"]["survey"];
    let fields = json!({
        "layout": status["layout"],
        "scheme": status["scheme"],
        "placement_groups": status["placement_groups"],
        "log_copies": status["log"]["copies"],
        "log_copies_expected": status["log"]["copies_expected"],
        "chunks": survey["chunks"],
        "written_otherwise": survey["written_otherwise"],
    });
    Ok(said(&fields, as_json, table))
}

fn table(fields: &Value) -> String {
    let mut table = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(table, "{name:<17}  {value}");
    };
    line("layout", text(fields, "layout").to_owned());
    let scheme = &fields["scheme"];
    let (k, m) = (
        number(scheme, "data_shards"),
        number(scheme, "parity_shards"),
    );
    line("scheme", format!("{k}+{m}"));
    let groups = number(fields, "placement_groups");
    line("placement groups", groups.to_string());
    let copies = number(fields, "log_copies");
    let expected = number(fields, "log_copies_expected");
    line("copies of the log", format!("{copies} of {expected}"));
    let chunks = match fields["chunks"].as_u64() {
        None => "being looked over".to_owned(),
        Some(chunks) => {
            let otherwise = number(fields, "written_otherwise");
            format!("{chunks}, of which {otherwise} are in another scheme")
        }
    };
    line("chunks", chunks);
    table
}

/// Has the layout get another scheme.
///
/// # Errors
/// No server runs, or it refuses; says why.
pub fn set(config: &Config, scheme: Scheme) -> Result<String, String> {
    let request = Request::SetLayout { scheme };
    let changed = ask(config, &request).map_err(|error| error.to_string())?;
    Ok(format!(
        "New objects are written as {scheme} from now on, in {} more placement groups. Stored ones are written again so in the \
         background: `strata layout show` and `strata repair status` tell how far that is.\n",
        number(&changed, "placement_groups")
    ))
}

/// Has what is stored spread over the devices anew.
///
/// # Errors
/// No server runs, or it refuses; says why.
pub fn rebalance(config: &Config) -> Result<String, String> {
    let changed = ask(config, &Request::RebalanceLayout).map_err(|error| error.to_string())?;
    Ok(format!(
        "{} placement groups have other disks in them now; what these are to hold is being moved: `strata repair status`.\n",
        number(&changed, "placement_groups")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_told_with_what_is_not_so_yet() {
        let mut fields = json!({
            "layout": "6+3 on 9 devices: survives the loss of any 3 disks",
            "scheme": { "data_shards": 6, "parity_shards": 3 },
            "placement_groups": 117, "log_copies": 3, "log_copies_expected": 4, "chunks": 100, "written_otherwise": 40,
        });
        let shown = table(&fields);
        for line in [
            "layout             6+3 on 9 devices: survives the loss of any 3 disks",
            "scheme             6+3",
            "placement groups   117",
            "copies of the log  3 of 4",
            "chunks             100, of which 40 are in another scheme",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{shown}");
        }
        fields["chunks"] = Value::Null;
        assert!(table(&fields).contains("being looked over"));
    }
}
