//! What is in force and where it comes from.
//!
//! Invariants: the TOML that is shown can be read again, but for secrets, which are shown as `(secret)`.

use std::fmt::Write as _;

use super::schema::{self, KEYS, Key, State};
use super::value::{Value, size_text};
use super::{Config, Settings};

/// What is shown in place of a secret, and refused as one.
pub const HIDDEN: &str = "(secret)";

/// The configuration as TOML, each key with its origin in a comment.
pub fn as_toml(settings: &Settings, config: &Config) -> String {
    let mut text = String::new();
    for section in schema::sections() {
        let keys: Vec<&Key> = live_keys().filter(|key| key.section == section).collect();
        if keys.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "{}[{section}]",
            if text.is_empty() { "" } else { "\n" }
        );
        for key in keys {
            let _ = writeln!(text, "{}", line_of(settings, config, key));
        }
    }
    text
}

fn line_of(settings: &Settings, config: &Config, key: &Key) -> String {
    let origin = settings.origin(key);
    let adjusted = adjustment(settings, config, key).map_or_else(String::new, |given| {
        format!(", which gave {}", size_text(given))
    });
    match effective(settings, config, key) {
        Some(value) => format!("{} = {}  # {origin}{adjusted}", key.name, literal(&value)),
        None => format!("# {} is not set: {}", key.name, key.default_note),
    }
}

/// The configuration as one JSON object: path to value and origin, and to what was given where something else is in force.
pub fn as_json(settings: &Settings, config: &Config) -> serde_json::Value {
    let entries = live_keys().map(|key| {
        let value =
            effective(settings, config, key).map_or(serde_json::Value::Null, |value| json(&value));
        let mut entry = serde_json::json!({ "value": value, "origin": settings.origin(key) });
        if let Some(given) = adjustment(settings, config, key) {
            entry["given"] = given.into();
        }
        (key.path(), entry)
    });
    serde_json::Value::Object(entries.collect())
}

fn live_keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| key.state == State::Live)
}

/// The value in force, computed defaults included.
fn effective(settings: &Settings, config: &Config, key: &Key) -> Option<Value> {
    match key.path().as_str() {
        "storage.data_dir" => Some(Value::Directories(config.data_dirs.clone())),
        "storage.metadata_dir" => Some(Value::Directory(config.metadata_dir().to_owned())),
        "node.buffer_memory" => Some(Value::Size(config.buffer_bytes())),
        _ => settings.get(key).map(|(value, _)| value.clone()),
    }
}

/// What was given in bytes, where another value is in force.
fn adjustment(settings: &Settings, config: &Config, key: &Key) -> Option<u64> {
    match (key.path().as_str(), settings.get(key)?) {
        ("node.buffer_memory", (Value::Size(given), _)) => {
            (*given != config.buffer_bytes()).then_some(*given)
        }
        _ => None,
    }
}

fn literal(value: &Value) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Size(bytes) => quoted(&size_text(*bytes)),
        Value::Flag(flag) => flag.to_string(),
        Value::Text(text) => quoted(text),
        Value::Directory(path) | Value::File(path) => quoted(&path.to_string_lossy()),
        Value::Directories(paths) => {
            let items: Vec<String> = paths
                .iter()
                .map(|path| quoted(&path.to_string_lossy()))
                .collect();
            format!("[{}]", items.join(", "))
        }
        Value::Domains(domains) => {
            let items: Vec<String> = domains.iter().map(|domain| quoted(domain)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Address(address) => quoted(&address.to_string()),
        Value::Cores(cores) => quoted(&cores.to_string()),
        Value::Credentials(list) => {
            let items = list.iter().map(|credential| {
                let user = credential
                    .user_id
                    .as_deref()
                    .map(|user| format!(", user_id = {}", quoted(user)));
                let id = quoted(&credential.access_key_id);
                format!(
                    "{{ access_key_id = {id}, secret_key = \"{HIDDEN}\"{} }}",
                    user.unwrap_or_default()
                )
            });
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        Value::WebIdentities(list) => {
            let items = list.iter().map(|known| {
                let audiences = known.audiences.iter().map(|audience| quoted(audience));
                format!(
                    "{{ issuer = {}, audiences = [{}], jwks = {} }}",
                    quoted(&known.issuer),
                    audiences.collect::<Vec<_>>().join(", "),
                    quoted(&known.jwks.to_string_lossy())
                )
            });
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Integer(number) | Value::Size(number) => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::Text(text) => text.clone().into(),
        Value::Directory(path) | Value::File(path) => path.to_string_lossy().into_owned().into(),
        Value::Directories(paths) => paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
        Value::Domains(domains) => domains.clone().into(),
        Value::Address(address) => address.to_string().into(),
        Value::Cores(cores) => cores.to_string().into(),
        Value::Credentials(list) => list
            .iter()
            .map(|credential| serde_json::json!({ "access_key_id": credential.access_key_id, "user_id": credential.user_id }))
            .collect(),
        Value::WebIdentities(list) => list
            .iter()
            .map(|known| serde_json::json!({ "issuer": known.issuer, "audiences": known.audiences, "jwks": known.jwks }))
            .collect(),
    }
}
