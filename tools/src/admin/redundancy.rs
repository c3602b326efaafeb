//! `strata repair` and `strata scrub`: whether chunks have all their shards, and what is being done about those that have not.

use std::fmt::Write as _;

use serde_json::Value;

use super::protocol::Request;
use super::shown::{duration, number, seconds_since, size};
use super::{ask, said};
use crate::config::Config;

/// Tells what the last walk over all chunks has found.
///
/// # Errors
/// No server runs, or it cannot be asked.
pub fn repair_status(config: &Config, as_json: bool) -> Result<String, String> {
    let status = ask(config, &Request::Status).map_err(|error| error.to_string())?;
    Ok(said(&status["redundancy"], as_json, repair_table))
}

/// Tells what the last scrub has found.
///
/// # Errors
/// No server runs, or it cannot be asked.
pub fn scrub_status(config: &Config, as_json: bool) -> Result<String, String> {
    let status = ask(config, &Request::Status).map_err(|error| error.to_string())?;
    Ok(said(&status["redundancy"], as_json, scrub_table))
}

/// Begins a scrub.
///
/// # Errors
/// No server runs, or it refuses.
pub fn start_scrub(config: &Config) -> Result<String, String> {
    ask(config, &Request::StartScrub).map_err(|error| error.to_string())?;
    Ok("The scrub begins; `strata scrub status` tells how far it is.\n".to_owned())
}

fn repair_table(redundancy: &Value) -> String {
    let mut table = String::new();
    let survey = &redundancy["survey"];
    if survey.is_null() {
        table.push_str("It is not known yet whether all chunks have their shards: they are being looked over.\n");
    } else {
        let chunks = number(survey, "chunks");
        let _ = writeln!(
            table,
            "Of {chunks} chunks {} lack shards ({} ago):",
            number(survey, "below_target"),
            ago(survey)
        );
        let mut line = |what: &str, chunks: u64| {
            let _ = writeln!(table, "  {chunks:>12}  {what}");
        };
        line("can be repaired now", number(survey, "repairable"));
        let waiting = number(survey, "below_target") - number(survey, "repairable");
        line("wait for a device", waiting);
        line("cannot be read", number(survey, "unreadable"));
        for (losses, count) in survey["by_losses_left"].as_object().into_iter().flatten() {
            let what = format!("survive the loss of {losses} more disks");
            line(&what, count.as_u64().unwrap_or(0));
        }
        line(
            "were written to survive fewer losses than the layout",
            number(survey, "written_weaker"),
        );
        line(
            "are in another scheme than the layout's, the weaker ones among them",
            number(survey, "written_otherwise"),
        );
    }
    let under_way = &redundancy["survey_under_way"];
    if !under_way.is_null() {
        let _ = writeln!(
            table,
            "Under way: {} chunks looked over by {} reactors.",
            number(under_way, "chunks"),
            number(under_way, "walks")
        );
    }
    tell_what_was_done(redundancy, &mut table);
    table
}

fn tell_what_was_done(redundancy: &Value, table: &mut String) {
    let moving = number(redundancy, "groups_moving");
    if moving > 0 {
        let _ = writeln!(
            table,
            "Shards of {moving} placement groups are being moved."
        );
    }
    let mut line = |what: &str, things: &str, of: &str| {
        let count = number(redundancy, &format!("{of}_{things}"));
        let bytes = size(number(redundancy, &format!("{of}_bytes")));
        // Most nodes never move or convert anything.
        if count > 0 || of == "repaired" {
            let _ = writeln!(table, "{what}: {count} {things}, {bytes}.");
        }
    };
    line("Moved since the start", "shards", "moved");
    line("Written anew since the start", "shards", "repaired");
    line(
        "Written again in the scheme of the layout",
        "chunks",
        "converted",
    );
}

fn scrub_table(redundancy: &Value) -> String {
    let (scrub, under_way) = (&redundancy["scrub"], &redundancy["scrub_under_way"]);
    if !under_way.is_null() {
        return format!(
            "Under way: {} chunks, {} read and compared.\n",
            number(under_way, "chunks"),
            size(number(under_way, "verified_bytes"))
        );
    }
    if scrub.is_null() {
        return "Nothing has been scrubbed yet: `strata scrub start`.\n".to_owned();
    }
    format!(
        "{} ago: {} chunks, {} read and compared; {} shards written anew; {} chunks lack shards, {} cannot be read.\n",
        ago(scrub),
        number(scrub, "chunks"),
        size(number(scrub, "verified_bytes")),
        number(scrub, "mended_shards"),
        number(scrub, "below_target"),
        number(scrub, "unreadable")
    )
}

fn ago(surveyed: &Value) -> String {
    duration(seconds_since(number(surveyed, "ended_unix_seconds")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_lacks_shards_is_told() {
        let shown = repair_table(&json!({
            "survey": {
                "ended_unix_seconds": 1, "chunks": 9, "below_target": 5, "repairable": 2, "unreadable": 1, "written_weaker": 3,
                "by_losses_left": { "0": 1, "1": 3 },
            },
            "survey_under_way": { "walks": 2, "chunks": 7 },
            "repaired_shards": 4,
            "repaired_bytes": 2048,
        }));
        for line in [
            "Of 9 chunks 5 lack shards (",
            "             2  can be repaired now",
            "             3  wait for a device",
            "             1  cannot be read",
            "             1  survive the loss of 0 more disks",
            "             3  survive the loss of 1 more disks",
            "Under way: 7 chunks looked over by 2 reactors.",
            "Written anew since the start: 4 shards, 2.0 KiB.",
        ] {
            let has = shown.lines().any(|shown| shown.starts_with(line));
            assert!(has, "{line:?} is not in\n{shown}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let shown = repair_table(&json!({ "survey": null, "survey_under_way": null }));
        assert!(shown.starts_with("It is not known yet"), "{shown}");
        let shown = scrub_table(&json!({ "scrub": null, "scrub_under_way": null }));
        assert!(shown.starts_with("Nothing has been scrubbed"), "{shown}");
    }
}
