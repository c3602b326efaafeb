//! Conditions: what a statement asks of the request.
//!
//! The rules are those of AWS's IAM user guide, "IAM JSON policy elements: Condition operators" and "Set operators". Invariants: all conditions of a
//! statement must hold; one that compares holds where any of its values fits, one that is negated (`Not`) where none does; a key without a value
//! in the request fits nothing, so that a negated condition then holds.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

use super::MalformedPolicy;
use super::json::Json;
use super::key::Key;
use super::pattern::{Pattern, Resolve, Syntax};

/// The values of a key in a request; `None` where it has none.
pub type Values<'a> = Option<Vec<Cow<'a, str>>>;

/// The only value of a key.
pub fn value<'a>(text: impl Into<Cow<'a, str>>) -> Values<'a> {
    Some(vec![text.into()])
}

/// How a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    NumericEquals,
    NumericLess,
    NumericLessOrEqual,
    NumericGreater,
    NumericGreaterOrEqual,
    DateEquals,
    DateLess,
    DateLessOrEqual,
    DateGreater,
    DateGreaterOrEqual,
    Bool,
    BinaryEquals,
    IpAddress,
    ArnLike,
    Null,
}

/// Operators with their names in lower case, how they compare, and whether they are negated.
const OPERATORS: &[(&str, Comparison, bool)] = &[
    ("stringequals", Comparison::StringEquals, false),
    ("stringnotequals", Comparison::StringEquals, true),
    (
        "stringequalsignorecase",
        Comparison::StringEqualsIgnoreCase,
        false,
    ),
    (
        "stringnotequalsignorecase",
        Comparison::StringEqualsIgnoreCase,
        true,
    ),
    ("stringlike", Comparison::StringLike, false),
    ("stringnotlike", Comparison::StringLike, true),
    ("numericequals", Comparison::NumericEquals, false),
    ("numericnotequals", Comparison::NumericEquals, true),
    ("numericlessthan", Comparison::NumericLess, false),
    (
        "numericlessthanequals",
        Comparison::NumericLessOrEqual,
        false,
    ),
    ("numericgreaterthan", Comparison::NumericGreater, false),
    (
        "numericgreaterthanequals",
        Comparison::NumericGreaterOrEqual,
        false,
    ),
    ("dateequals", Comparison::DateEquals, false),
    ("datenotequals", Comparison::DateEquals, true),
    ("datelessthan", Comparison::DateLess, false),
    ("datelessthanequals", Comparison::DateLessOrEqual, false),
    ("dategreaterthan", Comparison::DateGreater, false),
    (
        "dategreaterthanequals",
        Comparison::DateGreaterOrEqual,
        false,
    ),
    ("bool", Comparison::Bool, false),
    ("binaryequals", Comparison::BinaryEquals, false),
    ("ipaddress", Comparison::IpAddress, false),
    ("notipaddress", Comparison::IpAddress, true),
    ("arnequals", Comparison::ArnLike, false),
    ("arnnotequals", Comparison::ArnLike, true),
    ("arnlike", Comparison::ArnLike, false),
    ("arnnotlike", Comparison::ArnLike, true),
    ("null", Comparison::Null, false),
];

/// What a set operator asks of the values of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// There is none.
    One,
    /// `ForAnyValue:`.
    Any,
    /// `ForAllValues:`.
    All,
}

/// A value that a condition compares with.
#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Pattern(Pattern),
    /// The parts of an ARN.
    Arn(Vec<Pattern>),
    Number(f64),
    /// Seconds since the Unix epoch, with a fraction.
    Date(f64),
    Bool(bool),
    Binary(Vec<u8>),
    Network(Network),
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    pub address: IpAddr,
    pub prefix_bits: u8,
}

/// A condition on one key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    over: Over,
    comparison: Comparison,
    is_negated: bool,
    if_exists: bool,
    key: Key,
    wanted: Vec<Wanted>,
}

/// The conditions of a statement.
pub(super) fn parse(
    json: &Json,
    has_variables: bool,
    key_of: fn(&str) -> Option<Key>,
) -> Result<Vec<Condition>, MalformedPolicy> {
    let Json::Object(operators) = json else {
        return Err(MalformedPolicy::new("Condition must be an object"));
    };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Json::Object(keys) = keys else {
            let what = format!("The condition {operator} must be an object of keys");
            return Err(MalformedPolicy::new(what));
        };
        for (key, values) in keys {
            let key = key_of(key).ok_or_else(|| {
                MalformedPolicy::new("Policy has an invalid condition key").about(key)
            })?;
            conditions.push(Condition::parse(operator, key, values, has_variables)?);
        }
    }
    Ok(conditions)
}

impl Condition {
    fn parse(
        operator: &str,
        key: Key,
        values: &Json,
        has_variables: bool,
    ) -> Result<Condition, MalformedPolicy> {
        let unknown = || MalformedPolicy::new(format!("Invalid Condition type : {operator}"));
        let lower = operator.to_ascii_lowercase();
        let (over, name) = match lower.split_once(':') {
            None => (Over::One, &lower[..]),
            Some(("foranyvalue", name)) => (Over::Any, name),
            Some(("forallvalues", name)) => (Over::All, name),
            Some(_) => return Err(unknown()),
        };
        let (name, if_exists) = match name.strip_suffix("ifexists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let found = OPERATORS.iter().find(|(known, ..)| *known == name);
        let (_, comparison, is_negated) = *found.ok_or_else(unknown)?;
        if comparison == Comparison::Null && (if_exists || over != Over::One) {
            return Err(unknown());
        }
        let wanted = values.items().iter();
        let wanted = wanted.map(|value| read(comparison, value, has_variables));
        let wanted: Vec<Wanted> = wanted.collect::<Result<_, _>>()?;
        if wanted.is_empty() {
            let what = format!("The condition {operator} has no values");
            return Err(MalformedPolicy::new(what));
        }
        Ok(Condition {
            over,
            comparison,
            is_negated,
            if_exists,
            key,
            wanted,
        })
    }

    /// Whether the request is as the condition says.
    pub(super) fn holds<'a>(&self, look_up: &dyn Fn(&Key) -> Values<'a>) -> bool {
        let found = look_up(&self.key);
        if self.comparison == Comparison::Null {
            let is_absent = found.is_none();
            return self.wanted.contains(&Wanted::Bool(is_absent));
        }
        let Some(found) = found.filter(|found| !found.is_empty()) else {
            return match self.over {
                Over::One => self.if_exists || self.is_negated,
                Over::Any => self.if_exists,
                Over::All => true,
            };
        };
        let resolve = |key: &Key| first_of(look_up(key));
        let fits = |value: &Cow<'_, str>| {
            let mut wanted = self.wanted.iter();
            wanted.any(|wanted| self.fits(wanted, value, &resolve)) != self.is_negated
        };
        match (self.over, self.is_negated) {
            (Over::All, _) | (Over::One, true) => found.iter().all(fits),
            (Over::Any, _) | (Over::One, false) => found.iter().any(fits),
        }
    }

    /// Whether one value fits what it is compared with.
    fn fits(&self, wanted: &Wanted, value: &str, resolve: &Resolve<'_>) -> bool {
        match wanted {
            Wanted::Pattern(pattern) if self.comparison == Comparison::StringEqualsIgnoreCase => {
                pattern.equals_in_any_case(value, resolve)
            }
            Wanted::Pattern(pattern) => pattern.matches(value, resolve),
            Wanted::Arn(parts) => {
                let mut values = value.splitn(parts.len(), ':');
                let fits = |part: &Pattern| {
                    values
                        .next()
                        .is_some_and(|value| part.matches(value, resolve))
                };
                parts.iter().all(fits)
            }
            Wanted::Number(number) => {
                let value = value.parse::<f64>();
                value.is_ok_and(|value| self.orders(value, *number))
            }
            Wanted::Date(date) => read_date(value).is_some_and(|value| self.orders(value, *date)),
            Wanted::Bool(wanted) => read_bool(value) == Some(*wanted),
            Wanted::Binary(wanted) => STANDARD.decode(value).is_ok_and(|value| value == *wanted),
            Wanted::Network(network) => {
                let address = value.parse::<IpAddr>();
                address.is_ok_and(|address| network.contains(address))
            }
        }
    }

    fn orders(&self, value: f64, wanted: f64) -> bool {
        match self.comparison {
            Comparison::NumericLess | Comparison::DateLess => value < wanted,
            Comparison::NumericLessOrEqual | Comparison::DateLessOrEqual => value <= wanted,
            Comparison::NumericGreater | Comparison::DateGreater => value > wanted,
            Comparison::NumericGreaterOrEqual | Comparison::DateGreaterOrEqual => value >= wanted,
            _ => value == wanted,
        }
    }

    /// The key, and the values that it is held to, where the condition lets nothing through but these.
    pub(super) fn fixed(&self) -> Option<(&Key, Vec<FixedValue<'_>>)> {
        if self.is_negated || self.if_exists || self.over == Over::All {
            return None;
        }
        let values = self.wanted.iter().map(|wanted| match wanted {
            Wanted::Pattern(pattern) => pattern.fixed().map(FixedValue::Text),
            Wanted::Arn(parts) => {
                let is_fixed = parts.iter().all(|part| part.fixed().is_some());
                is_fixed.then_some(FixedValue::Text("arn"))
            }
            Wanted::Network(network) => Some(FixedValue::Network(*network)),
            _ => None,
        });
        let values: Option<Vec<FixedValue<'_>>> = values.collect();
        values.map(|values| (&self.key, values))
    }
}

/// A value without wildcards or variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FixedValue<'a> {
    Text(&'a str),
    Network(Network),
}

fn first_of(values: Values<'_>) -> Option<String> {
    let mut values = values?.into_iter();
    // A variable that stands for several values stands for none, as with AWS.
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.into_owned()),
        _ => None,
    }
}

fn read(
    comparison: Comparison,
    json: &Json,
    has_variables: bool,
) -> Result<Wanted, MalformedPolicy> {
    let text = match json {
        Json::Text(text) => Cow::Borrowed(text.as_str()),
        Json::Number(number) => Cow::Borrowed(number.as_str()),
        Json::Bool(is) => Cow::Owned(is.to_string()),
        Json::Null | Json::List(_) | Json::Object(_) => {
            return Err(MalformedPolicy::new("A condition compares with texts"));
        }
    };
    let invalid = |kind: &str| {
        let what = format!("Invalid {kind} in a condition");
        MalformedPolicy::new(what).about(&text)
    };
    let pattern = |text: &str, wildcards| {
        let syntax = Syntax {
            wildcards,
            variables: has_variables,
        };
        Pattern::compile(text, syntax).map_err(MalformedPolicy::new)
    };
    Ok(match comparison {
        Comparison::StringEquals | Comparison::StringEqualsIgnoreCase => {
            Wanted::Pattern(pattern(&text, false)?)
        }
        Comparison::StringLike => Wanted::Pattern(pattern(&text, true)?),
        Comparison::ArnLike => {
            // A variable holds colons where its key's name does.
            let parts = split_arn(&text).ok_or_else(|| invalid("ARN"))?;
            let parts = parts.into_iter().map(|part| pattern(part, true));
            Wanted::Arn(parts.collect::<Result<_, _>>()?)
        }
        Comparison::NumericEquals
        | Comparison::NumericLess
        | Comparison::NumericLessOrEqual
        | Comparison::NumericGreater
        | Comparison::NumericGreaterOrEqual => {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            Wanted::Number(number.ok_or_else(|| invalid("number"))?)
        }
        Comparison::DateEquals
        | Comparison::DateLess
        | Comparison::DateLessOrEqual
        | Comparison::DateGreater
        | Comparison::DateGreaterOrEqual => {
            Wanted::Date(read_date(&text).ok_or_else(|| invalid("date"))?)
        }
        Comparison::Bool | Comparison::Null => {
            Wanted::Bool(read_bool(&text).ok_or_else(|| invalid("Boolean"))?)
        }
        Comparison::BinaryEquals => {
            Wanted::Binary(STANDARD.decode(&*text).map_err(|_| invalid("base64"))?)
        }
        Comparison::IpAddress => {
            Wanted::Network(Network::parse(&text).ok_or_else(|| invalid("IP address or range"))?)
        }
    })
}

/// The six parts of an ARN, or a star that stands for any.
fn split_arn(text: &str) -> Option<Vec<&str>> {
    if text == "*" {
        return Some(vec![text]);
    }
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && parts.len() < 5 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    let is_arn = parts.len() == 6 && matches!(parts[0], "arn" | "*");
    is_arn.then_some(parts)
}

fn read_bool(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A date in ISO 8601, of a day alone or with a time, or in seconds since the Unix epoch. A number that can be meant as a year or as a day without its hyphens
/// is neither.
fn read_date(text: &str) -> Option<f64> {
    if matches!(text.len(), 4 | 8) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    let whole = match text.contains('T') {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("{text}T00:00:00Z")),
    };
    let date = OffsetDateTime::parse(&whole, &Iso8601::DEFAULT).ok()?;
    Some(date.unix_timestamp_nanos() as f64 / 1e9)
}

/// Bits that stand before an address of IPv4 in one of IPv6 (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

impl Network {
    /// Reads an address, or a range in the form of CIDR.
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.unwrap_or(most);
        if prefix_bits > most {
            return None;
        }
        // Whoever asks has the address of IPv4 that one of IPv6 stands for.
        let mapped = match address {
            IpAddr::V6(address) if prefix_bits >= MAPPED_BITS => address.to_ipv4_mapped(),
            _ => None,
        };
        Some(match mapped {
            Some(mapped) => Network {
                address: IpAddr::V4(mapped),
                prefix_bits: prefix_bits - MAPPED_BITS,
            },
            None => Network {
                address,
                prefix_bits,
            },
        })
    }

    /// The first of its addresses.
    pub(super) fn first(&self) -> IpAddr {
        let bits = u32::from(self.prefix_bits);
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        }
    }

    /// How many addresses it holds.
    pub(super) fn addresses(&self) -> u128 {
        let most: u32 = if self.address.is_ipv4() { 32 } else { 128 };
        let free = most.saturating_sub(u32::from(self.prefix_bits));
        1_u128.checked_shl(free).unwrap_or(u128::MAX)
    }

    /// Whether it holds all of another.
    pub(super) fn covers(&self, other: &Network) -> bool {
        self.prefix_bits <= other.prefix_bits && self.contains(other.address)
    }

    fn contains(&self, address: IpAddr) -> bool {
        let bits = u32::from(self.prefix_bits);
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}
