//! The policy of a form: until when it may be sent, and what its fields and its file may be.
//!
//! Invariants: every field that says something must be covered by a condition, so that whoever fills the form in can say nothing that its author did not think
//! of; the bucket is such a field, and its value is the bucket that the request names; a policy that is not understood in every part is refused.
//!
//! Sources: AWS's S3 API reference, "Creating a POST policy" and "POST policy".

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fields::{FormFields, needs_condition};
use crate::error::{Code, Fault};
use crate::guard::PUT_BYTES_MAX;
use crate::policy::json::Json;

/// The field that every request has: the bucket.
const BUCKET: &str = "bucket";

/// A policy, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPolicy {
    /// The last second in which it holds, since the Unix epoch.
    expires_seconds: i64,
    conditions: Vec<Condition>,
    /// Bytes of the file.
    lengths: RangeInclusive<u64>,
}

/// What the value of a field must be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    operator: Operator,
    /// In lower case, without the dollar sign.
    field: String,
    text: String,
    /// As the policy spells the field.
    spelled: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equals,
    StartsWith,
}

fn invalid(what: impl std::fmt::Display) -> Fault {
    let message = format!("Invalid Policy: {what}");
    Fault::new(Code::InvalidPolicyDocument, message)
}

fn denied(what: impl std::fmt::Display) -> Fault {
    let message = format!("Invalid according to Policy: {what}");
    Fault::new(Code::AccessDenied, message)
}

impl PostPolicy {
    /// Reads a policy as it stands in its field.
    ///
    /// # Errors
    /// `InvalidPolicyDocument` with a sentence that names what is wrong.
    pub fn parse(encoded: &str) -> Result<PostPolicy, Fault> {
        let bytes = BASE64.decode(encoded.as_bytes());
        PostPolicy::read(&bytes.map_err(|_| invalid("Invalid base64."))?)
    }

    /// Reads the document of a policy.
    ///
    /// # Errors
    /// As [`parse`](PostPolicy::parse).
    pub fn read(document: &[u8]) -> Result<PostPolicy, Fault> {
        let text = std::str::from_utf8(document).map_err(|_| invalid("Invalid JSON."))?;
        let json = serde_json::from_str(&without_own_escapes(text));
        let Ok(Json::Object(members)) = json else {
            return Err(invalid("Invalid JSON."));
        };
        let (mut expires_seconds, mut found) = (None, None);
        for (name, value) in members {
            match (&*name, value) {
                ("expiration", value) => expires_seconds = Some(expiration(&value)?),
                ("conditions", Json::List(items)) => found = Some(items),
                ("conditions", _) => {
                    return Err(invalid("Invalid 'conditions' value: not a list."));
                }
                _ => return Err(invalid(format_args!("Unexpected: '{name}'."))),
            }
        }
        let mut policy = PostPolicy {
            expires_seconds: expires_seconds
                .ok_or_else(|| invalid("Policy missing expiration."))?,
            conditions: Vec::new(),
            lengths: 0..=PUT_BYTES_MAX,
        };
        for item in found.ok_or_else(|| invalid("Policy missing conditions."))? {
            policy.add(item)?;
        }
        Ok(policy)
    }

    fn add(&mut self, item: Json) -> Result<(), Fault> {
        match item {
            Json::Object(members) => {
                let [(name, value)] = &*members else {
                    return Err(invalid(
                        "Invalid Simple-Condition: Simple-Conditions must have exactly one \
                         property specified.",
                    ));
                };
                let Json::Text(text) = value else {
                    return Err(invalid("Invalid Simple-Condition: value must be a string."));
                };
                self.conditions.push(Condition {
                    operator: Operator::Equals,
                    field: name.to_ascii_lowercase(),
                    text: text.clone(),
                    spelled: format!("${name}"),
                });
                Ok(())
            }
            Json::List(items) => self.add_list(&items),
            _ => Err(invalid("Invalid Condition: neither an object nor a list.")),
        }
    }

    fn add_list(&mut self, items: &[Json]) -> Result<(), Fault> {
        let [Json::Text(operator), first, second] = items else {
            return Err(invalid(
                "Invalid Condition: a list has an operator and two arguments.",
            ));
        };
        let operator = match &*operator.to_ascii_lowercase() {
            "eq" => Operator::Equals,
            "starts-with" => Operator::StartsWith,
            "content-length-range" => {
                let (min, max) = (length(first)?, length(second)?);
                let (known_min, known_max) = (*self.lengths.start(), *self.lengths.end());
                self.lengths = min.max(known_min)..=max.min(known_max);
                return Ok(());
            }
            _ => {
                let what = format_args!("Invalid Condition: unknown operation '{operator}'.");
                return Err(invalid(what));
            }
        };
        let (Json::Text(spelled), Json::Text(text)) = (first, second) else {
            return Err(invalid("Invalid Condition: the arguments are texts."));
        };
        let name = spelled.strip_prefix('$').ok_or_else(|| {
            let what = "Invalid Condition: the name of a field has a dollar sign before it.";
            invalid(what)
        })?;
        self.conditions.push(Condition {
            operator,
            field: name.to_ascii_lowercase(),
            text: text.clone(),
            spelled: spelled.clone(),
        });
        Ok(())
    }

    /// Decides whether a form may be sent to a bucket at a time, in seconds since the Unix epoch. Returns how many bytes its file may have: none where the range
    /// is empty.
    ///
    /// # Errors
    /// `AccessDenied` with what is not so, in AWS's words.
    pub fn check(
        &self,
        bucket: &str,
        fields: &FormFields,
        now: i64,
    ) -> Result<RangeInclusive<u64>, Fault> {
        if self.expires_seconds < now {
            return Err(denied("Policy expired."));
        }
        for condition in &self.conditions {
            let value = match &*condition.field {
                BUCKET => Some(bucket),
                field => fields.get(field),
            };
            // A field that is not there meets no condition, as with AWS.
            if !value.is_some_and(|value| condition.holds(value)) {
                let shown = condition.shown();
                return Err(denied(format_args!("Policy Condition failed: {shown}")));
            }
        }
        let covered = self.conditions.iter().map(|condition| &*condition.field);
        let covered: BTreeSet<&str> = covered.collect();
        let names = fields.all().iter().map(|field| &*field.name);
        let names = names.chain([BUCKET]).collect::<BTreeSet<&str>>();
        let is_extra = |name: &&str| needs_condition(name) && !covered.contains(name);
        let extra: Vec<&str> = names.into_iter().filter(is_extra).collect();
        match extra.is_empty() {
            true => Ok(self.lengths.clone()),
            false => Err(denied(format_args!(
                "Extra input fields: {}",
                extra.join(", ")
            ))),
        }
    }
}

impl Condition {
    /// A media type with commas is a list, of which each must begin so ("Matching Content-Types in a comma-separated list").
    fn holds(&self, value: &str) -> bool {
        match self.operator {
            Operator::Equals => value == self.text,
            Operator::StartsWith if self.field == "content-type" => value
                .split(',')
                .all(|one| one.trim_start().starts_with(&self.text)),
            Operator::StartsWith => value.starts_with(&self.text),
        }
    }

    /// As AWS shows it.
    fn shown(&self) -> String {
        let operator = match self.operator {
            Operator::Equals => "eq",
            Operator::StartsWith => "starts-with",
        };
        let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let (field, text) = (quoted(&self.spelled), quoted(&self.text));
        format!("[\"{operator}\", {field}, {text}]")
    }
}

/// A time in ISO 8601, such as `2007-12-01T12:00:00.000Z`, in whole seconds since the Unix epoch.
fn expiration(value: &Json) -> Result<i64, Fault> {
    let text = value.text().unwrap_or_default();
    // AWS reads neither a space in the middle nor an offset.
    let is_in_form = text.as_bytes().get(10) == Some(&b'T') && text.ends_with('Z');
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let time = time.filter(|_| is_in_form);
    let time = time.ok_or_else(|| invalid(format_args!("Invalid 'expiration' value: '{text}'")))?;
    Ok(time.unix_timestamp())
}

/// A number of bytes, which may be written as text.
fn length(value: &Json) -> Result<u64, Fault> {
    let (Json::Number(text) | Json::Text(text)) = value else {
        return Err(invalid("Invalid content-length-range: not a number."));
    };
    text.parse().map_err(|_| {
        invalid(format_args!(
            "Invalid content-length-range: '{text}' is no number of bytes."
        ))
    })
}

/// Policies may escape two characters that JSON does not: `\$` and `\v` ("Creating a POST policy", "Character escaping").
fn without_own_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('$') => out.push('$'),
            Some('v') => out.push_str("\\u000b"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests;
