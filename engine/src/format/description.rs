//! What a structure holds, as named fields: the one form that strata inspect renders as text and as JSON.
//!
//! Invariants: fields keep their order; text that came from outside is escaped where it is shown, so that a name can neither
//! break a line nor control a terminal.

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::id::{ChunkId, Uuid};

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// There is none.
    Absent,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(i128),
    /// A word of ours: a uuid, digits, one of an enumeration. Shown as it is.
    Word(Cow<'static, str>),
    /// A text of somebody else's. Shown in quotation marks, and escaped.
    Text(String),
    /// Several values.
    List(Vec<Value>),
    /// Fields of its own.
    Fields(Description),
}

/// Named fields, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    fields: Vec<(Cow<'static, str>, Value)>,
}

impl Description {
    /// With no field yet.
    pub fn new() -> Description {
        Description::default()
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Description {
        self.fields.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// With a field of bytes that are mostly text: as text where they are UTF-8, else in hexadecimal under the name with `_hex`.
    #[must_use]
    pub fn with_bytes(mut self, name: &'static str, bytes: &[u8]) -> Description {
        self.fields.push(match std::str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(name), Value::Text(text.to_owned())),
            Err(_) => (Cow::Owned(format!("{name}_hex")), Value::hex(bytes)),
        });
        self
    }

    /// With the fields of another one behind its own.
    #[must_use]
    pub fn with_all(mut self, other: Description) -> Description {
        self.fields.extend(other.fields);
        self
    }

    /// Names and values, in their order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (&**name, value))
    }
}

impl Value {
    /// Bytes in hexadecimal.
    pub fn hex(bytes: &[u8]) -> Value {
        let mut digits = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            let _ = write!(digits, "{byte:02x}");
        }
        Value::Word(digits.into())
    }

    /// Whether it gets lines of its own where several lines are asked for.
    fn is_nested(&self) -> bool {
        match self {
            Value::Fields(_) => true,
            Value::List(values) => values.iter().any(|value| matches!(value, Value::Fields(_))),
            _ => false,
        }
    }
}

macro_rules! from_number {
    ($($number:ty)*) => {
        $(impl From<$number> for Value {
            fn from(number: $number) -> Value {
                Value::Number(number.into())
            }
        })*
    };
}
from_number!(u8 u16 u32 u64 i64);

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(number as i128)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Value {
        Value::Word(word.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<Uuid> for Value {
    fn from(uuid: Uuid) -> Value {
        Value::Word(uuid.to_string().into())
    }
}

impl From<ChunkId> for Value {
    fn from(id: ChunkId) -> Value {
        Value::Word(id.number().to_string().into())
    }
}

impl From<Description> for Value {
    fn from(fields: Description) -> Value {
        Value::Fields(fields)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Absent, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Absent => f.write_str("none"),
            Value::Flag(true) => f.write_str("yes"),
            Value::Flag(false) => f.write_str("no"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Word(word) => f.write_str(word),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Fields(fields) => write!(f, "({fields})"),
        }
    }
}

/// `name value` pairs in one line; in several (`{:#}`) where fields have fields of their own.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (below, inline): (Vec<_>, Vec<_>) = self
            .fields()
            .partition(|(_, value)| f.alternate() && value.is_nested());
        for (at, (name, value)) in inline.into_iter().enumerate() {
            write!(f, "{}{name} {value}", if at == 0 { "" } else { ", " })?;
        }
        for (name, value) in below {
            let values = match value {
                Value::List(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in values {
                match value {
                    Value::Fields(fields) => write!(f, "\n  {name}: {fields}")?,
                    value => write!(f, "\n  {name}: {value}")?,
                }
            }
        }
        Ok(())
    }
}

/// What was found at a place: a structure in order, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// What it is, or claims to be.
    pub name: &'static str,
    /// The key under which it lies, where it has one.
    pub key: Option<Description>,
    /// What it holds, as far as it can be read.
    pub value: Option<Description>,
    /// What is wrong with it.
    pub error: Option<String>,
}

impl Structure {
    /// One that is in order.
    pub fn new(name: &'static str, value: Description) -> Structure {
        Structure {
            name,
            key: None,
            value: Some(value),
            error: None,
        }
    }

    /// One that is damaged.
    pub fn damaged(name: &'static str, error: impl fmt::Display) -> Structure {
        Structure {
            name,
            key: None,
            value: None,
            error: Some(error.to_string()),
        }
    }
}

/// `name: fields`, or `key = fields` where it has a key; `not in order: why` where something is wrong.
impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_fields = self
            .value
            .as_ref()
            .is_some_and(|value| !value.fields.is_empty());
        match &self.key {
            Some(key) => write!(f, "{key} =")?,
            None if !has_fields && self.error.is_none() => return f.write_str(self.name),
            None => write!(f, "{}:", self.name)?,
        }
        match &self.value {
            Some(value) if f.alternate() => write!(f, " {value:#}")?,
            Some(value) => write!(f, " {value}")?,
            None => {}
        }
        match &self.error {
            Some(error) if self.value.is_some() => write!(f, "\n  not in order: {error}"),
            Some(error) => write!(f, " not in order: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested() -> Description {
        let slot = |number: u64| Description::new().with("number", number);
        Description::new()
            .with("slots", vec![slot(1), slot(2)])
            .with("open", true)
            .with("uuid", Uuid([0xab; 16]))
            .with("none", None::<u64>)
            .with_bytes("key", b"a\n\x1b[2J\"")
            .with_bytes("key", b"\xff\x00")
            .with("list", vec![1u64, 2])
    }

    #[test]
    fn fields_are_pairs_in_one_line_and_nothing_from_outside_breaks_it() {
        assert_eq!(
            nested().to_string(),
            "slots [(number 1), (number 2)], open yes, uuid abababab-abab-abab-abab-abababababab, none none, \
             key \"a\\n\\u{1b}[2J\\\"\", key_hex ff00, list [1, 2]"
        );
    }

    #[test]
    fn nested_fields_get_lines_of_their_own_where_lines_are_asked_for() {
        let text = format!("{:#}", Structure::new("block", nested()));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("block: open yes, "), "{text}");
        assert_eq!(lines[1..], ["  slots: number 1", "  slots: number 2"]);
    }

    #[test]
    fn what_is_wrong_is_said_beside_what_can_be_read() {
        let empty = Structure::new("zeros", Description::new());
        assert_eq!(empty.to_string(), "zeros");
        let damaged = Structure::damaged("block", "torn");
        assert_eq!(damaged.to_string(), "block: not in order: torn");
        let half = Structure {
            value: Some(Description::new().with("at", 5u64)),
            ..damaged
        };
        assert_eq!(half.to_string(), "block: at 5\n  not in order: torn");
    }
}
