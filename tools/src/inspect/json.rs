//! Structures as JSON, one object a line.
//!
//! Invariants: fields keep the order of their description; a structure has `value` where it can be read and `error` where it is
//! damaged; numbers are integers of up to 64 bits.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use strata_engine::format::description::{Description, Structure, Value};

/// A structure as a line, without its end.
pub fn line(offset: Option<u64>, structure: &Structure) -> String {
    let line = serde_json::to_string(&Found { offset, structure });
    line.expect("maps whose keys are texts are always JSON")
}

struct Found<'a> {
    offset: Option<u64>,
    structure: &'a Structure,
}

impl Serialize for Found<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let structure = self.structure;
        let mut map = serializer.serialize_map(None)?;
        if let Some(offset) = self.offset {
            map.serialize_entry("offset", &offset)?;
        }
        map.serialize_entry("structure", structure.name)?;
        if let Some(key) = &structure.key {
            map.serialize_entry("key", &Fields(key))?;
        }
        if let Some(value) = &structure.value {
            map.serialize_entry("value", &Fields(value))?;
        }
        if let Some(error) = &structure.error {
            map.serialize_entry("error", error)?;
        }
        map.end()
    }
}

struct Fields<'a>(&'a Description);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.fields().map(|(name, value)| (name, Field(value))))
    }
}

struct Field<'a>(&'a Value);

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Absent => serializer.serialize_none(),
            Value::Flag(flag) => serializer.serialize_bool(*flag),
            Value::Number(number) => serializer.serialize_i128(*number),
            Value::Word(word) => serializer.serialize_str(word),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(values) => serializer.collect_seq(values.iter().map(Field)),
            Value::Fields(fields) => Fields(fields).serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use strata_raftlog::namespace::describe;

    use super::*;

    /// Rows of every kind, as the namespace's own tests first wrote them.
    const STATE: &[u8] = include_bytes!("../../../raftlog/tests/namespace/golden/state_1.bin");

    fn rows() -> Vec<(&'static [u8], &'static [u8])> {
        let mut rows = Vec::new();
        let mut rest = &STATE[12..];
        while !rest.is_empty() {
            let length =
                |at: usize| u32::from_be_bytes(std::array::from_fn(|i| rest[at + i])) as usize;
            let (key_end, end) = (8 + length(0), 8 + length(0) + length(4));
            rows.push((&rest[8..key_end], &rest[key_end..end]));
            rest = &rest[end..];
        }
        rows
    }

    fn parsed(structure: &Structure) -> Json {
        let line = line(None, structure);
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(&line).expect(&line)
    }

    #[test]
    fn every_kind_of_row_is_json_with_key_and_value() {
        let mut kinds = std::collections::BTreeSet::new();
        for (key, value) in rows() {
            let row = parsed(&describe(key, value));
            assert_eq!(row["structure"], "row");
            assert!(
                row["value"].is_object() && row.get("error").is_none(),
                "{row}"
            );
            let kind = row["key"]["kind"].as_str().expect("a kind");
            kinds.insert(kind.to_owned());
            let damaged = parsed(&describe(key, &value[..value.len() - 1]));
            assert!(damaged["error"].is_string(), "{damaged}");
            assert_eq!((damaged.get("value"), &damaged["key"]), (None, &row["key"]));
        }
        assert_eq!(kinds.len(), 37, "{kinds:?}");
    }

    #[test]
    fn the_fields_of_json_are_those_of_the_text() {
        for (key, value) in rows() {
            let found = describe(key, value);
            let (row, text) = (parsed(&found), found.to_string());
            for part in ["key", "value"] {
                for (name, value) in row[part].as_object().expect("an object") {
                    assert!(text.contains(name.as_str()), "{name} is not in {text}");
                    if let Some(number) = value.as_i64() {
                        let pair = format!("{name} {number}");
                        assert!(text.contains(&pair), "{pair} is not in {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_numbers_and_odd_names_come_through() {
        let fields = Description::new()
            .with("largest", u64::MAX)
            .with("least", i64::MIN)
            .with_bytes("key", b"a\n\"\xc3\xa4")
            .with_bytes("key", b"\xff")
            .with("none", None::<u64>)
            .with("list", vec![Description::new().with("open", true)]);
        let found = parsed(&Structure::new("s", fields));
        assert_eq!(
            found,
            json!({ "structure": "s", "value": {
                "largest": u64::MAX, "least": i64::MIN, "key": "a\n\"ä", "key_hex": "ff", "none": null,
                "list": [{ "open": true }] } })
        );
    }
}
