//! Licences of all dependencies against the list in deny.toml, from what cargo has on this machine: no download.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Findings in the dependencies of the workspace at `root` as built on this machine.
pub fn check(root: &Path, deny: &str) -> Result<Vec<String>, String> {
    let allowed = allowed_in(deny)?;
    let metadata = metadata(root)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata without packages")?;
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or("?");
        let licence = package["license"].as_str().unwrap_or("");
        match permitted(licence, &allowed) {
            Ok(true) => {}
            Ok(false) => found.push(format!("{name}: `{licence}` is not in deny.toml's list")),
            Err(error) => found.push(format!("{name}: `{licence}`: {error}")),
        }
    }
    Ok(found)
}

fn allowed_in(deny: &str) -> Result<BTreeSet<String>, String> {
    let table: toml::Table = deny
        .parse()
        .map_err(|error| format!("deny.toml: {error}"))?;
    let list = table
        .get("licenses")
        .and_then(|section| section.get("allow")?.as_array());
    let list = list.ok_or("deny.toml: no licenses.allow")?;
    Ok(list
        .iter()
        .filter_map(|value| value.as_str().map(str::to_string))
        .collect())
}

fn metadata(root: &Path) -> Result<Value, String> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", &platform])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// Whether an SPDX expression can be satisfied from the list; `/` is the old way to say `OR`.
pub fn permitted(expression: &str, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Expression {
        tokens: &tokens,
        at: 0,
        allowed,
    };
    let value = parser.any()?;
    if parser.at == tokens.len() {
        Ok(value)
    } else {
        Err("an expression that does not end".into())
    }
}

struct Expression<'a> {
    tokens: &'a [&'a str],
    at: usize,
    allowed: &'a BTreeSet<String>,
}

impl<'a> Expression<'a> {
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.tokens.get(self.at) == Some(&word);
        self.at += usize::from(is_next);
        is_next
    }

    fn next(&mut self) -> Result<&'a str, String> {
        let token = *self
            .tokens
            .get(self.at)
            .ok_or("an expression that breaks off")?;
        self.at += 1;
        Ok(token)
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut value = self.all()?;
        while self.take("OR") {
            value |= self.all()?;
        }
        Ok(value)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut value = self.one()?;
        while self.take("AND") {
            value &= self.one()?;
        }
        Ok(value)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let value = self.any()?;
            return if self.take(")") {
                Ok(value)
            } else {
                Err("an open parenthesis".into())
            };
        }
        let licence = self.next()?;
        if self.take("WITH") {
            let exception = self.next()?;
            return Ok(self
                .allowed
                .contains(&format!("{licence} WITH {exception}")));
        }
        Ok(self.allowed.contains(licence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_weighed() {
        let allowed = BTreeSet::from(["MIT".to_string(), "ISC".to_string()]);
        let weigh = |expression: &str| permitted(expression, &allowed);
        assert_eq!(weigh("MIT"), Ok(true));
        assert_eq!(weigh("GPL-3.0"), Ok(false));
        assert_eq!(weigh("GPL-3.0/MIT"), Ok(true));
        assert_eq!(weigh("ISC AND (GPL-3.0 OR MIT)"), Ok(true));
        assert_eq!(weigh("ISC AND GPL-3.0 OR BSD"), Ok(false));
        assert_eq!(weigh("MIT WITH odd-exception"), Ok(false));
        assert!(weigh("").is_err() && weigh("(MIT").is_err() && weigh("MIT MIT").is_err());
    }
}
