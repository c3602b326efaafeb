//! The dependency direction: a crate uses only what stands left of it.
//!
//! ```text
//! engine <- raftlog <- net <- { gateway, mount } <- tools <- { bench, tests, tests/fuzz }
//! ```

use std::collections::BTreeMap;

/// Every crate's folder with its rank: it may use crates of a lower rank only.
const RANKS: [(&str, u8); 9] = [
    ("engine", 0),
    ("raftlog", 1),
    ("net", 2),
    ("gateway", 3),
    ("mount", 3),
    ("tools", 4),
    ("bench", 5),
    ("tests", 5),
    ("tests/fuzz", 5),
];

/// The folder of a workspace package's name.
fn folder_of(package: &str) -> Option<&str> {
    match package {
        "strata" => Some("tools"),
        "strata-fuzz" => Some("tests/fuzz"),
        other => other.strip_prefix("strata-"),
    }
}

/// Findings in one manifest, by its folder.
pub fn check_manifest(folder: &str, manifest: &str) -> Vec<String> {
    let ranks = BTreeMap::from(RANKS);
    let Some(rank) = ranks.get(folder) else {
        return vec![format!(
            "{folder}: a crate that the dependency direction does not know"
        )];
    };
    let table: toml::Table = match manifest.parse() {
        Ok(table) => table,
        Err(error) => return vec![format!("{folder}/Cargo.toml: {error}")],
    };
    let mut found = Vec::new();
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(dependencies) = table.get(kind).and_then(toml::Value::as_table) else {
            continue;
        };
        for used in dependencies.keys().filter_map(|name| folder_of(name)) {
            match ranks.get(used) {
                Some(used_rank) if used_rank < rank => {}
                _ => found.push(format!("{folder}/Cargo.toml: {kind} may not name {used}")),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check_manifest;

    #[test]
    fn an_edge_to_the_right_is_found() {
        let manifest =
            "[dependencies]\nstrata-engine = {}\n[dev-dependencies]\nstrata-gateway = {}";
        assert_eq!(
            check_manifest("gateway", "[dependencies]\nstrata-net = {}"),
            [""; 0]
        );
        assert_eq!(check_manifest("raftlog", manifest).len(), 1);
        assert_eq!(check_manifest("engine", manifest).len(), 2);
        assert_eq!(check_manifest("kitchen", "").len(), 1);
    }
}
