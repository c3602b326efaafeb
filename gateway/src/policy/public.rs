//! Which statements make a policy public.
//!
//! AWS's rule, in the user guide of S3, "The meaning of public": a statement that allows everybody something is public, unless a condition holds it to fixed values of
//! certain keys; a fixed value has no wildcard and no policy variable, and a range of addresses is fixed where it is not too wide.

use std::net::IpAddr;

use super::condition::{FixedValue, Network};
use super::key::Key;
use super::principal::{Named, Principals};
use super::{Effect, Statement};

/// Keys that AWS has no value for in a request from outside its services and that count all the same.
const FIXING_KEYS: &[&str] = &[
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
];

/// Bits of a range's prefix at least: a shorter one holds too many addresses.
const IPV4_BITS_MIN: u8 = 8;
const IPV6_BITS_MIN: u8 = 32;

/// Whether a statement lets the public in.
pub(super) fn is_public(statement: &Statement) -> bool {
    let is_everybody = match &statement.principals {
        Principals::Named(named) => named.contains(&Named::Everybody),
        Principals::AllBut(_) => true,
        Principals::Owner => false,
    };
    let fixed = statement.conditions.iter().filter_map(|one| one.fixed());
    statement.effect == Effect::Allow
        && is_everybody
        && !fixed
            .into_iter()
            .any(|(key, values)| values.iter().all(|value| is_fixing(key, value)))
}

fn is_fixing(key: &Key, value: &FixedValue<'_>) -> bool {
    match (key, value) {
        (Key::SourceIp, FixedValue::Network(network)) => is_narrow(network),
        (Key::PrincipalAccount | Key::PrincipalArn | Key::UserName, FixedValue::Text(_)) => true,
        (Key::UserId, FixedValue::Text(text)) => *text != "anonymous",
        (Key::Absent(name), FixedValue::Text(_)) => FIXING_KEYS.contains(name),
        (Key::Header("x-amz-server-side-encryption-aws-kms-key-id"), FixedValue::Text(_)) => true,
        _ => false,
    }
}

fn is_narrow(network: &Network) -> bool {
    match network.address {
        IpAddr::V4(_) => network.prefix_bits >= IPV4_BITS_MIN,
        IpAddr::V6(_) => network.prefix_bits >= IPV6_BITS_MIN,
    }
}
