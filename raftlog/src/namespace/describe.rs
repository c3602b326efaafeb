//! Rows as named fields, for `strata inspect`, and keys as text for errors. Secrets are not shown.

use strata_engine::Uuid;
use strata_engine::format::description::{Description, Structure, Value};

use super::access_list::{AccessListRow, Grantee, Permission};
use super::accounts::Account;
use super::body::{DroppedRow, DroppedScope, ExtentRow, InlineRow, Pack, SpanRow};
use super::chunk::{Extent, ExtentKind};
use super::command::{Answer, DeleteOutcome, MarkOutcome, RepointOutcome, VersionDeleteOutcome};
use super::entry::{Entry, EntryKind, Place, PlaceKind};
use super::key;
use super::object::{
    Checksum, ChecksumAlgorithm, ChecksumKind, ETag, ObjectAttributes, StorageClass,
};
use super::object_lock::{BucketLock, ObjectLock, RetentionMode, RetentionPeriod};
use super::setting::{
    ACCESS_LIST, CORS, OWNERSHIP, POLICY, PUBLIC_ACCESS_BLOCK, SETTINGS, SettingRow, TAGS,
};
use super::store::StoreError;
use super::system::{
    AllocationEpoch, AnswerRow, BucketUsage, ClusterIdentity, DeviceCondition, Geometry,
    GeometryCode, GroupState, Layout, LayoutKind, LogPosition, MembershipRow, PlacementGroup,
    RootKey, Session, Slot, SlotState, Writer,
};
use super::tags::TagsRow;
use super::upload::{Part, Upload};
use super::users::{
    AccessKey, Group, InlinePolicy, ManagedPolicy, ManagedPolicyName, PolicySource, Role,
    SessionKey, User,
};
use super::value::{self, Row};
use super::version::{Marker, NullVersion, VersionId, VersionRow, Versioning};

/// A row of the namespace: its key, and what its value holds or what is wrong with it. Works on any bytes.
pub fn describe(key: &[u8], value: &[u8]) -> Structure {
    let (value, error) = match value_fields(key, value) {
        Ok(fields) => (Some(fields), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Structure {
        name: "row",
        key: Some(key_fields(key)),
        value,
        error,
    }
}

/// A key as text. Works on any bytes.
pub fn describe_key(key: &[u8]) -> String {
    key_fields(key).to_string()
}

/// The family of a key and the kind of its row, then the key's own fields.
fn key_fields(key: &[u8]) -> Description {
    let name = |kind: &'static str| {
        let family = String::from_utf8_lossy(&key[..1]).into_owned();
        Description::new()
            .with("family", Value::Word(family.into()))
            .with("kind", kind)
    };
    let fields = match (key.first().copied(), key.get(1).copied()) {
        (Some(key::DIRECTORY), _) => number(key, 1).map(|parent| {
            let fields = name("entry").with("parent", parent);
            fields.with_bytes("segment", &key[key::ENTRY_PREFIX_BYTES..])
        }),
        (Some(key::INODE), _) => number(key, 1).map(|inode| name("place").with("inode", inode)),
        (Some(key::MULTIPART), Some(key::UPLOAD)) => {
            key::parse_upload(key).map(|(object_key, upload)| {
                name("upload")
                    .with("bucket", number(key, 2))
                    .with_bytes("key", &object_key)
                    .with("upload", upload)
            })
        }
        (Some(key::MULTIPART), Some(key::PART)) => part_number(key).map(|part| {
            name("part")
                .with("upload", number(key, 2))
                .with("part", part)
        }),
        (Some(key::VERSION), Some(kind)) => version_key(kind, key),
        (Some(key::EXTENTS), _) => key::parse_x(key).map(|(inode, kind, space, offset)| {
            name(x_kind(kind))
                .with("inode", inode)
                .with("space", space)
                .with("offset", offset)
        }),
        (Some(key::PACK), _) => {
            key::parse_pack(key).map(|home| name("pack").with("home_inode", home))
        }
        (Some(key::DROPPED), _) => key::parse_dropped(key).map(|body| {
            name("dropped")
                .with("commit_sequence", body.commit_sequence)
                .with("index", body.index)
        }),
        (Some(key::SESSION), Some(key::OPEN)) => {
            number(key, 2).map(|session| name("session").with("session", session))
        }
        (Some(key::SESSION), Some(key::ANSWER)) => number(key, 10).map(|sequence| {
            name("answer")
                .with("session", number(key, 2))
                .with("sequence", sequence)
        }),
        (Some(key::SYSTEM), Some(key::S_USAGE)) => {
            number(key, 2).map(|bucket| name("usage").with("bucket", bucket))
        }
        (Some(key::SYSTEM), Some(key::S_DEVICE)) => {
            key::parse_device(key).map(|device| name("device").with("device", Uuid(device)))
        }
        (Some(key::SYSTEM), Some(kind @ key::S_USER..=key::S_ROLE)) => user_key(name, kind, key),
        (Some(key::SYSTEM), Some(key::S_SESSION_KEY)) => {
            let number = key.get(2..).and_then(|rest| rest.try_into().ok());
            number.map(|number| name("session key").with("number", u32::from_be_bytes(number)))
        }
        (Some(key::SYSTEM), Some(key::S_ACCOUNT)) => {
            number(key, 2).map(|account| name("account").with("number", account))
        }
        (Some(key::SYSTEM), Some(kind)) => Some(system_key(name(s_kind(kind)), &key[2..])),
        _ => None,
    };
    fields.unwrap_or_else(|| Description::new().with("malformed_hex", Value::hex(key)))
}

/// The key of a user, a group, a role, an access key or a policy.
fn user_key(
    name: impl Fn(&'static str) -> Description,
    kind: u8,
    key: &[u8],
) -> Option<Description> {
    let (kind, field) = match kind {
        key::S_USER => ("user", "name"),
        key::S_USER_GROUP => ("user group", "name"),
        key::S_ACCESS_KEY => ("access key", "access_key_id"),
        key::S_MANAGED_POLICY => ("managed policy", "name"),
        key::S_ROLE => ("role", "name"),
        _ => {
            let (principal, owner, policy) = key::parse_inline_policy(key)?;
            let fields = name("inline policy").with_bytes(principal, &owner);
            return Some(fields.with_bytes("name", policy));
        }
    };
    Some(name(kind).with_bytes(field, &key[2..]))
}

fn version_key(kind: u8, key: &[u8]) -> Option<Description> {
    let name = |kind: &'static str| {
        let fields = Description::new().with("family", Value::Word("V".into()));
        let fields = fields.with("kind", kind);
        fields.with("bucket", number(key, 2))
    };
    match kind {
        key::EARLIER => key::parse_version(key).map(|(object_key, position)| {
            name("version")
                .with_bytes("key", &object_key)
                .with("position", VersionId::Of(position).to_string())
        }),
        key::NULL_POINTER => key::parse_null_version(key)
            .map(|object_key| name("null version").with_bytes("key", &object_key)),
        _ => None,
    }
}

/// What follows the kind of a system row's key: the numbers of a geometry, a placement group, a writer or an epoch.
fn system_key(fields: Description, rest: &[u8]) -> Description {
    let u32_at = |at: usize| {
        let bytes = rest.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    match *rest {
        [] => fields,
        [high, low] => fields.with("number", u16::from_be_bytes([high, low])),
        [_, _, _, _] => fields.with("number", u32_at(0)),
        [_, _, _, _, _, _, _, _] => fields.with("writer", u32_at(0)).with("epoch", u32_at(4)),
        _ => fields.with("rest_hex", Value::hex(rest)),
    }
}

fn number(key: &[u8], at: usize) -> Option<u64> {
    let bytes = key.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

fn part_number(key: &[u8]) -> Option<u16> {
    let bytes = key.get(10..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

fn x_kind(kind: u8) -> &'static str {
    match kind {
        key::X_ATTRIBUTES => "attributes",
        key::X_INLINE => "inline",
        key::X_EXTENTS => "extents",
        key::X_SPANS => "spans",
        key::X_TAGS => "object tags",
        key::X_ACCESS_LIST => "object access list",
        TAGS => "tags",
        CORS => "cors",
        POLICY => "policy",
        PUBLIC_ACCESS_BLOCK => "public access block",
        OWNERSHIP => "ownership controls",
        ACCESS_LIST => "access list",
        kind if SETTINGS.contains(&kind) => "setting",
        _ => "unknown",
    }
}

fn s_kind(kind: u8) -> &'static str {
    match kind {
        key::S_APPLIED => "applied",
        key::S_MEMBERSHIP => "membership",
        key::S_GROUP => "group",
        key::S_CLUSTER => "cluster",
        key::S_LAYOUT => "layout",
        key::S_ROOT_KEY => "root key",
        key::S_GEOMETRY => "geometry",
        key::S_PLACEMENT_GROUP => "placement group",
        key::S_WRITER => "writer",
        key::S_EPOCH => "epoch",
        _ => "unknown",
    }
}

fn value_fields(key: &[u8], value: &[u8]) -> Result<Description, StoreError> {
    match by_type(&Describe, key, value) {
        Some(fields) => fields,
        None => {
            value::verify(key, value)?;
            Ok(Description::new().with("unknown_bytes", value.len()))
        }
    }
}

struct Describe;

impl TypedUse for Describe {
    type Outcome = Result<Description, StoreError>;

    fn of<R: Row + Described>(&self, key: &[u8], value: &[u8]) -> Self::Outcome {
        value::open::<R>(key, value).map(|row| row.fields())
    }
}

/// What is to be done with a row once its type is known.
trait TypedUse {
    type Outcome;

    fn of<R: Row + Described>(&self, key: &[u8], value: &[u8]) -> Self::Outcome;
}

/// Uses a row as what its key says that it is; `None` for a key of no known kind.
fn by_type<U: TypedUse>(using: &U, key: &[u8], value: &[u8]) -> Option<U::Outcome> {
    Some(match (key.first().copied(), key.get(1).copied()) {
        (Some(key::DIRECTORY), _) => using.of::<Entry>(key, value),
        (Some(key::INODE), _) => using.of::<Place>(key, value),
        (Some(key::MULTIPART), Some(key::UPLOAD)) => using.of::<Upload>(key, value),
        (Some(key::MULTIPART), Some(key::PART)) => using.of::<Part>(key, value),
        (Some(key::EXTENTS), _) => match key.get(17).copied()? {
            key::X_ATTRIBUTES => using.of::<ObjectAttributes>(key, value),
            key::X_INLINE => using.of::<InlineRow>(key, value),
            key::X_EXTENTS => using.of::<ExtentRow>(key, value),
            key::X_SPANS => using.of::<SpanRow>(key, value),
            key::X_TAGS => using.of::<TagsRow>(key, value),
            key::X_ACCESS_LIST => using.of::<AccessListRow>(key, value),
            kind if SETTINGS.contains(&kind) => using.of::<SettingRow>(key, value),
            _ => return None,
        },
        (Some(key::VERSION), Some(key::EARLIER)) => using.of::<VersionRow>(key, value),
        (Some(key::VERSION), Some(key::NULL_POINTER)) => using.of::<NullVersion>(key, value),
        (Some(key::PACK), _) => using.of::<Pack>(key, value),
        (Some(key::DROPPED), _) => using.of::<DroppedRow>(key, value),
        (Some(key::SESSION), Some(key::OPEN)) => using.of::<Session>(key, value),
        (Some(key::SESSION), Some(key::ANSWER)) => using.of::<AnswerRow>(key, value),
        (Some(key::SYSTEM), Some(kind)) => return system_by_type(using, kind, key, value),
        _ => return None,
    })
}

fn system_by_type<U: TypedUse>(
    using: &U,
    kind: u8,
    key: &[u8],
    value: &[u8],
) -> Option<U::Outcome> {
    Some(match kind {
        key::S_APPLIED => using.of::<LogPosition>(key, value),
        key::S_MEMBERSHIP => using.of::<MembershipRow>(key, value),
        key::S_GROUP => using.of::<GroupState>(key, value),
        key::S_CLUSTER => using.of::<ClusterIdentity>(key, value),
        key::S_LAYOUT => using.of::<Layout>(key, value),
        key::S_ROOT_KEY => using.of::<RootKey>(key, value),
        key::S_GEOMETRY => using.of::<Geometry>(key, value),
        key::S_PLACEMENT_GROUP => using.of::<PlacementGroup>(key, value),
        key::S_WRITER => using.of::<Writer>(key, value),
        key::S_EPOCH => using.of::<AllocationEpoch>(key, value),
        key::S_USAGE => using.of::<BucketUsage>(key, value),
        key::S_DEVICE => using.of::<DeviceCondition>(key, value),
        key::S_USER => using.of::<User>(key, value),
        key::S_USER_GROUP => using.of::<Group>(key, value),
        key::S_ACCESS_KEY => using.of::<AccessKey>(key, value),
        key::S_MANAGED_POLICY => using.of::<ManagedPolicy>(key, value),
        key::S_INLINE_POLICY => using.of::<InlinePolicy>(key, value),
        key::S_ROLE => using.of::<Role>(key, value),
        key::S_SESSION_KEY => using.of::<SessionKey>(key, value),
        key::S_ACCOUNT => using.of::<Account>(key, value),
        _ => return None,
    })
}

struct WriteAgain;

impl TypedUse for WriteAgain {
    type Outcome = Result<Vec<u8>, StoreError>;

    fn of<R: Row + Described>(&self, key: &[u8], value: &[u8]) -> Self::Outcome {
        value::open::<R>(key, value).map(|row| value::seal(key, &row))
    }
}

/// The value as it is written today, where it can be read; `None` for a key of no known kind. For fuzzers.
pub(crate) fn written_again(key: &[u8], value: &[u8]) -> Option<Result<Vec<u8>, StoreError>> {
    by_type(&WriteAgain, key, value)
}

/// A row that can say what it holds.
trait Described {
    fn fields(&self) -> Description;
}

mod rows;

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of every kind.
    const STATE: &[u8] = include_bytes!("../../tests/namespace/golden/state_1.bin");

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

    /// With a CRC that holds, a hostile payload is read or refused, never a panic.
    #[test]
    fn hostile_payloads_are_decoded_into_results() {
        for (key, value) in rows() {
            assert_eq!(describe(key, value).error, None);
            for at in 5..value.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut hostile = value.to_vec();
                    hostile[at] ^= flip;
                    describe(key, &value::sealed_again(key, &hostile));
                    describe(key, &value::sealed_again(key, &hostile[..at]));
                }
            }
        }
    }

    #[test]
    fn uuids_and_digests_are_shown_as_people_know_them() {
        let texts: Vec<String> = rows()
            .iter()
            .map(|(key, value)| describe(key, value).to_string())
            .collect();
        for (kind, known) in [
            ("kind cluster ", "= cluster "),
            ("kind placement group", "(device "),
        ] {
            let text = texts.iter().find(|text| text.contains(kind));
            let text = text.expect("a row of the kind");
            let (_, rest) = text.split_once(known).expect(text);
            let groups: Vec<usize> = rest[..36].split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{text}");
        }
        let digest = "etag 02020202020202020202020202020202";
        assert!(texts.iter().any(|text| text.contains(digest)), "{texts:?}");
    }

    /// Nothing of Rust's debug form: braces, `Some(...)`, `field: value`.
    #[test]
    fn rows_are_pairs_of_name_and_value() {
        for (key, value) in rows() {
            let text = describe(key, value).to_string();
            let ours = ["{", "}", "Some(", "None", ": "];
            assert!(!ours.iter().any(|form| text.contains(form)), "{text}");
        }
    }

    #[test]
    fn the_secret_of_the_root_key_is_in_no_field() {
        let row = |key: &&(&[u8], &[u8])| key.0 == key::system(key::S_ROOT_KEY);
        let rows = rows();
        let (key, value) = rows.iter().find(row).expect("a root key");
        let secret = value::open::<RootKey>(key, value)
            .expect("in order")
            .secret_access_key;
        assert!(!secret.is_empty());
        let found = describe(key, value);
        let names: Vec<&str> = found
            .value
            .iter()
            .flat_map(Description::fields)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["access_key_id"]);
        assert!(!format!("{found} {found:?}").contains(&secret), "{found}");
    }

    #[test]
    fn a_value_under_another_key_is_damaged() {
        let rows = rows();
        for pair in rows.windows(2) {
            let found = describe(pair[0].0, pair[1].1);
            let error = found.error.expect("it is damaged");
            assert!(error.contains("the CRC does not match"), "{error}");
        }
    }
}
