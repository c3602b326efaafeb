//! Which statements make a policy public.
//!
//! AWS's rule, in the user guide of S3, "The meaning of public": a statement that allows everybody something is public, unless a condition holds it to fixed values of
//! certain keys; a fixed value has no wildcard and no policy variable, and ranges of addresses are fixed where they are not too wide together. Invariant: a
//! condition on the principal that an anonymous caller meets holds nobody back.

use std::net::{IpAddr, Ipv4Addr};

use super::condition::{Condition, FixedValue, Network};
use super::key::Key;
use super::principal::{Named, Principal, Principals};
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

/// Addresses that the ranges of a condition hold at most: those of one range whose prefix has 8 bits, or 32 with IPv6.
const IPV4_ADDRESSES_MAX: u128 = 1 << 24;
const IPV6_ADDRESSES_MAX: u128 = 1 << 96;

/// Private ranges (RFC 1918), which do not count.
const PRIVATE: &[Network] = &[
    Network {
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)),
        prefix_bits: 8,
    },
    Network {
        address: IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)),
        prefix_bits: 12,
    },
    Network {
        address: IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)),
        prefix_bits: 16,
    },
];

/// Whether a statement lets the public in.
pub(super) fn is_public(statement: &Statement) -> bool {
    let is_everybody = match &statement.principals {
        Principals::Named(named) => named.contains(&Named::Everybody),
        Principals::AllBut(_) => true,
        Principals::Owner => false,
    };
    statement.effect == Effect::Allow
        && is_everybody
        && !statement.conditions.iter().any(keeps_public_out)
}

/// Whether a condition holds a request to fixed values.
fn keeps_public_out(condition: &Condition) -> bool {
    let Some((key, values)) = condition.fixed() else {
        return false;
    };
    let of_anonymous = |key: &Key| Principal::Anonymous.values(key).flatten();
    let is_of_principal = Principal::Anonymous.values(key).is_some();
    if is_of_principal && condition.holds(&of_anonymous) {
        return false;
    }
    let networks = values.iter().filter_map(|value| match value {
        FixedValue::Network(network) => Some(*network),
        FixedValue::Text(_) => None,
    });
    values.iter().all(|value| is_fixing(key, value)) && are_narrow(networks.collect())
}

fn is_fixing(key: &Key, value: &FixedValue<'_>) -> bool {
    match (key, value) {
        (Key::SourceIp, FixedValue::Network(_)) => true,
        (
            Key::PrincipalAccount | Key::PrincipalArn | Key::UserId | Key::UserName,
            FixedValue::Text(_),
        ) => true,
        (Key::Absent(name), FixedValue::Text(_)) => FIXING_KEYS.contains(name),
        (Key::Header("x-amz-server-side-encryption-aws-kms-key-id"), FixedValue::Text(_)) => true,
        _ => false,
    }
}

/// Whether ranges hold few addresses together. Two of them are apart, or one holds the other.
fn are_narrow(mut networks: Vec<Network>) -> bool {
    networks.retain(|network| !PRIVATE.iter().any(|private| private.covers(network)));
    networks.sort_by_key(|network| (network.first(), network.prefix_bits));
    networks.dedup_by(|network, earlier| earlier.covers(network));
    let (mut ipv4, mut ipv6) = (0_u128, 0_u128);
    for network in networks {
        let sum = match network.address {
            IpAddr::V4(_) => &mut ipv4,
            IpAddr::V6(_) => &mut ipv6,
        };
        *sum = sum.saturating_add(network.addresses());
    }
    ipv4 <= IPV4_ADDRESSES_MAX && ipv6 <= IPV6_ADDRESSES_MAX
}
