//! The entries of `sts.web_identity`.

use std::path::PathBuf;

use super::{Value, WebIdentity, describe};
use crate::config::nearest;
use crate::config::schema::Kind;

const FIELDS: &[&str] = &["issuer", "audiences", "jwks"];

/// The longest issuer and the longest audience, in bytes (API reference of IAM, CreateOpenIDConnectProvider).
const TEXT_BYTES_MAX: usize = 255;

/// Audiences of an issuer at most (the same).
const AUDIENCES_MAX: usize = 100;

/// All entries, or all that is wrong with them.
pub(super) fn read(items: Vec<toml::Value>) -> Result<Value, String> {
    let mut known: Vec<WebIdentity> = Vec::new();
    let mut problems = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("entry {}", index + 1);
        let read = match item {
            toml::Value::Table(table) => entry(table),
            _ => Err("is no table".to_owned()),
        };
        match read {
            Ok(read) if known.iter().any(|other| other.issuer == read.issuer) => {
                problems.push(format!("{place} repeats the issuer `{}`", read.issuer));
            }
            Ok(read) => known.push(read),
            Err(why) => problems.push(format!("{place} {why}")),
        }
    }
    if problems.is_empty() {
        return Ok(Value::WebIdentities(known));
    }
    let what = describe(Kind::WebIdentities);
    Err(format!("must be {what}: {}", problems.join("; ")))
}

fn entry(mut table: toml::Table) -> Result<WebIdentity, String> {
    let mut fields = table.keys();
    if let Some(field) = fields.find(|field| !FIELDS.contains(&field.as_str())) {
        let hint = nearest::hint(field, FIELDS.iter().copied());
        return Err(format!("has an unknown field `{field}`{hint}"));
    }
    let mut take = |field: &str| {
        table
            .remove(field)
            .ok_or_else(|| format!("lacks `{field}`"))
    };
    let issuer = text("issuer", take("issuer")?)?;
    let name = issuer.strip_prefix("https://").unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/:%".contains(&byte);
    if name.is_empty() || issuer.len() > TEXT_BYTES_MAX || !name.bytes().all(is_plain) {
        return Err("has an `issuer` that is not https:// and a name without a query".to_owned());
    }
    let audiences = match take("audiences")? {
        toml::Value::Array(items) => items,
        one => vec![one],
    };
    let audiences = audiences.into_iter().map(|item| text("audiences", item));
    let audiences = audiences.collect::<Result<Vec<String>, _>>()?;
    let is_text = |audience: &String| (1..=TEXT_BYTES_MAX).contains(&audience.len());
    if !(1..=AUDIENCES_MAX).contains(&audiences.len()) || !audiences.iter().all(is_text) {
        return Err("has `audiences` that are not 1 to 100 texts".to_owned());
    }
    let jwks = text("jwks", take("jwks")?)?;
    if jwks.contains("://") {
        return Err(
            "has a `jwks` that is a URL: this version reads keys from a file alone".to_owned(),
        );
    }
    if jwks.is_empty() {
        return Err("has an empty `jwks`".to_owned());
    }
    Ok(WebIdentity {
        issuer,
        audiences,
        jwks: PathBuf::from(jwks),
    })
}

fn text(field: &str, value: toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text),
        _ => Err(format!("has a `{field}` that is not text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Value, String> {
        let mut table = text.parse::<toml::Table>().unwrap();
        match table.remove("w") {
            Some(toml::Value::Array(items)) => read(items),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_issuer_has_its_audiences_and_the_file_of_its_keys() {
        let read = read_text(
            "[[w]]\nissuer = \"https://id.example.com/a\"\naudiences = \"strata\"\njwks = \"keys.json\"\n",
        );
        let expected = WebIdentity {
            issuer: "https://id.example.com/a".to_owned(),
            audiences: vec!["strata".to_owned()],
            jwks: PathBuf::from("keys.json"),
        };
        assert_eq!(read, Ok(Value::WebIdentities(vec![expected])));
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said() {
        let whole = "issuer = \"https://a.b\"\naudiences = [\"x\"]\njwks = \"k\"\n";
        for (entries, why) in [
            (
                whole.replace("https", "http"),
                "`issuer` that is not https://",
            ),
            (
                whole.replace("a.b", "a.b?c"),
                "`issuer` that is not https://",
            ),
            (
                whole.replace("[\"x\"]", "[]"),
                "`audiences` that are not 1 to 100",
            ),
            (
                whole.replace("[\"x\"]", "7"),
                "`audiences` that is not text",
            ),
            (whole.replace("\"k\"", "\"https://a.b/keys\""), "is a URL"),
            (whole.replace("jwks", "jwk"), "unknown field `jwk`"),
            (
                whole.replace("issuer = \"https://a.b\"\n", ""),
                "lacks `issuer`",
            ),
            (
                format!("{whole}[[w]]\n{whole}"),
                "entry 2 repeats the issuer",
            ),
        ] {
            let said = read_text(&format!("[[w]]\n{entries}")).expect_err(&entries);
            assert!(said.contains(why), "{said}");
        }
    }
}
