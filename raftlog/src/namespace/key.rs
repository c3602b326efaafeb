//! Keys: a family byte, then big-endian fields, so that byte order is the order of the walk.
//!
//! | family | key | value |
//! |---|---|---|
//! | `D` | parent inode 8, segment | entry; a directory's segment ends in `/` |
//! | `I` | inode 8 | parent and segment |
//! | `M` 1 | bucket inode 8, key in groups, upload inode 8 | upload |
//! | `M` 2 | upload inode 8, part number 2 | part |
//! | `V` 1 | bucket inode 8, key in groups, complement of the position 16 | a version that is not the present one |
//! | `V` 2 | bucket inode 8, key in groups | where the null version stands in `V` |
//! | `X` | inode 8, version 8, kind 1, then space 4 and offset 8 where the kind has them | by kind |
//! | `C` | home inode 8 | a pack |
//! | `F` | commit sequence 8, index 4 | a body to release |
//! | `R` 1 | session 8 | session |
//! | `R` 2 | session 8, sequence 8 | answer |
//! | `S` | kind 1, then by kind | the cluster itself |
//!
//! `O`, `L`, `T` and `Q` are kept for later.

use crate::namespace::Principal;
use crate::namespace::command::DroppedKey;

pub(crate) const DIRECTORY: u8 = b'D';
pub(crate) const INODE: u8 = b'I';
pub(crate) const MULTIPART: u8 = b'M';
pub(crate) const VERSION: u8 = b'V';
pub(crate) const EXTENTS: u8 = b'X';
pub(crate) const PACK: u8 = b'C';
pub(crate) const DROPPED: u8 = b'F';
pub(crate) const SESSION: u8 = b'R';
pub(crate) const SYSTEM: u8 = b'S';

/// Second byte of `M` keys.
pub(crate) const UPLOAD: u8 = 1;
pub(crate) const PART: u8 = 2;

/// Second byte of `V` keys.
pub(crate) const EARLIER: u8 = 1;
pub(crate) const NULL_POINTER: u8 = 2;

/// Second byte of `R` keys.
pub(crate) const OPEN: u8 = 1;
pub(crate) const ANSWER: u8 = 2;

/// Kind byte of `X` keys.
pub(crate) const X_ATTRIBUTES: u8 = 1;
pub(crate) const X_INLINE: u8 = 2;
pub(crate) const X_EXTENTS: u8 = 3;
pub(crate) const X_SPANS: u8 = 4;
pub(crate) const X_TAGS: u8 = 5;
pub(crate) const X_ACCESS_LIST: u8 = 8;

/// Kind byte of `S` keys.
pub(crate) const S_APPLIED: u8 = 1;
pub(crate) const S_MEMBERSHIP: u8 = 2;
pub(crate) const S_GROUP: u8 = 3;
pub(crate) const S_CLUSTER: u8 = 4;
pub(crate) const S_LAYOUT: u8 = 5;
pub(crate) const S_ROOT_KEY: u8 = 6;
pub(crate) const S_GEOMETRY: u8 = 7;
pub(crate) const S_PLACEMENT_GROUP: u8 = 8;
pub(crate) const S_WRITER: u8 = 9;
pub(crate) const S_EPOCH: u8 = 10;
pub(crate) const S_USAGE: u8 = 11;
pub(crate) const S_DEVICE: u8 = 12;
pub(crate) const S_USER: u8 = 13;
pub(crate) const S_USER_GROUP: u8 = 14;
pub(crate) const S_ACCESS_KEY: u8 = 15;
pub(crate) const S_MANAGED_POLICY: u8 = 16;
pub(crate) const S_INLINE_POLICY: u8 = 17;
pub(crate) const S_ROLE: u8 = 18;
pub(crate) const S_SESSION_KEY: u8 = 19;
pub(crate) const S_ACCOUNT: u8 = 26;

/// Third byte of the keys of inline policies.
const OF_USER: u8 = 1;
const OF_GROUP: u8 = 2;
const OF_ROLE: u8 = 3;

fn key(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn entry(parent: u64, segment: &[u8]) -> Vec<u8> {
    key(&[&[DIRECTORY], &parent.to_be_bytes(), segment])
}

/// Bytes of a `D` key in front of the segment.
pub(crate) const ENTRY_PREFIX_BYTES: usize = 9;

pub(crate) fn inode(inode: u64) -> Vec<u8> {
    key(&[&[INODE], &inode.to_be_bytes()])
}

/// The prefix of the keys of a bucket's uploads.
pub(crate) fn uploads(bucket: u64) -> Vec<u8> {
    key(&[&[MULTIPART, UPLOAD], &bucket.to_be_bytes()])
}

pub(crate) fn upload(bucket: u64, object_key: &[u8], upload: u64) -> Vec<u8> {
    key(&[
        &uploads(bucket),
        &in_groups(object_key),
        &upload.to_be_bytes(),
    ])
}

/// Object key and upload inode of an upload's key.
pub(crate) fn parse_upload(bytes: &[u8]) -> Option<(Vec<u8>, u64)> {
    let (object_key, rest) = from_groups(bytes.get(10..)?)?;
    Some((object_key, u64::from_be_bytes(rest.try_into().ok()?)))
}

pub(crate) fn parts(upload: u64) -> Vec<u8> {
    key(&[&[MULTIPART, PART], &upload.to_be_bytes()])
}

pub(crate) fn part(upload: u64, number: u16) -> Vec<u8> {
    key(&[&parts(upload), &number.to_be_bytes()])
}

/// The prefix of the keys of all earlier versions in a bucket.
pub(crate) fn versions(bucket: u64) -> Vec<u8> {
    key(&[&[VERSION, EARLIER], &bucket.to_be_bytes()])
}

/// The prefix of the keys of the earlier versions of an object's key.
pub(crate) fn versions_of(bucket: u64, object_key: &[u8]) -> Vec<u8> {
    key(&[&versions(bucket), &in_groups(object_key)])
}

/// A version by where it stands among those of its key: later ones come first.
pub(crate) fn version(bucket: u64, object_key: &[u8], position: u128) -> Vec<u8> {
    key(&[&versions_of(bucket, object_key), &(!position).to_be_bytes()])
}

/// Object key and position of a version's key.
pub(crate) fn parse_version(bytes: &[u8]) -> Option<(Vec<u8>, u128)> {
    let (object_key, rest) = from_groups(bytes.get(10..)?)?;
    Some((object_key, !u128::from_be_bytes(rest.try_into().ok()?)))
}

/// The pointer to the null version of an object's key.
pub(crate) fn null_version(bucket: u64, object_key: &[u8]) -> Vec<u8> {
    key(&[
        &[VERSION, NULL_POINTER],
        &bucket.to_be_bytes(),
        &in_groups(object_key),
    ])
}

/// Object key of the pointer's key.
pub(crate) fn parse_null_version(bytes: &[u8]) -> Option<Vec<u8>> {
    let (object_key, rest) = from_groups(bytes.get(10..)?)?;
    rest.is_empty().then_some(object_key)
}

/// The prefix of all `X` keys of an inode. The version is 0: every PUT takes a new inode.
pub(crate) fn x(inode: u64) -> Vec<u8> {
    key(&[&[EXTENTS], &inode.to_be_bytes(), &0u64.to_be_bytes()])
}

pub(crate) fn x_kind(inode: u64, kind: u8) -> Vec<u8> {
    key(&[&x(inode), &[kind]])
}

pub(crate) fn x_space(inode: u64, kind: u8, space: u32) -> Vec<u8> {
    key(&[&x_kind(inode, kind), &space.to_be_bytes()])
}

pub(crate) fn x_at(inode: u64, kind: u8, space: u32, offset: u64) -> Vec<u8> {
    key(&[&x_space(inode, kind, space), &offset.to_be_bytes()])
}

/// Inode, kind, space and offset of an `X` key; the last two are 0 where the kind has none.
pub(crate) fn parse_x(bytes: &[u8]) -> Option<(u64, u8, u32, u64)> {
    let inode = u64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?);
    // The version is reserved, see `x`.
    if bytes.get(9..17)? != [0; 8] {
        return None;
    }
    let kind = *bytes.get(17)?;
    if bytes.len() == 18 {
        return Some((inode, kind, 0, 0));
    }
    let space = u32::from_be_bytes(bytes.get(18..22)?.try_into().ok()?);
    let offset = u64::from_be_bytes(bytes.get(22..)?.try_into().ok()?);
    Some((inode, kind, space, offset))
}

/// A pack, by the home inode of its chunk.
pub(crate) fn pack(home: u64) -> Vec<u8> {
    key(&[&[PACK], &home.to_be_bytes()])
}

/// The home inode of a pack's key.
pub(crate) fn parse_pack(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(1..)?.try_into().ok()?))
}

pub(crate) fn dropped(body: DroppedKey) -> Vec<u8> {
    key(&[
        &[DROPPED],
        &body.commit_sequence.to_be_bytes(),
        &body.index.to_be_bytes(),
    ])
}

pub(crate) fn parse_dropped(bytes: &[u8]) -> Option<DroppedKey> {
    Some(DroppedKey {
        commit_sequence: u64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?),
        index: u32::from_be_bytes(bytes.get(9..)?.try_into().ok()?),
    })
}

pub(crate) fn sessions() -> Vec<u8> {
    vec![SESSION, OPEN]
}

pub(crate) fn session(session: u64) -> Vec<u8> {
    key(&[&sessions(), &session.to_be_bytes()])
}

pub(crate) fn answers(session: u64) -> Vec<u8> {
    key(&[&[SESSION, ANSWER], &session.to_be_bytes()])
}

pub(crate) fn answer(session: u64, sequence: u64) -> Vec<u8> {
    key(&[&answers(session), &sequence.to_be_bytes()])
}

pub(crate) fn system(kind: u8) -> Vec<u8> {
    vec![SYSTEM, kind]
}

pub(crate) fn geometry(number: u16) -> Vec<u8> {
    key(&[&system(S_GEOMETRY), &number.to_be_bytes()])
}

pub(crate) fn placement_group(number: u32) -> Vec<u8> {
    key(&[&system(S_PLACEMENT_GROUP), &number.to_be_bytes()])
}

pub(crate) fn writer(writer: u32) -> Vec<u8> {
    key(&[&system(S_WRITER), &writer.to_be_bytes()])
}

pub(crate) fn epochs(writer: u32) -> Vec<u8> {
    key(&[&system(S_EPOCH), &writer.to_be_bytes()])
}

pub(crate) fn epoch(writer: u32, epoch: u32) -> Vec<u8> {
    key(&[&epochs(writer), &epoch.to_be_bytes()])
}

/// What a bucket holds.
pub(crate) fn usage(bucket: u64) -> Vec<u8> {
    key(&[&system(S_USAGE), &bucket.to_be_bytes()])
}

/// What is known of a device, by its uuid.
pub(crate) fn device(device: [u8; 16]) -> Vec<u8> {
    key(&[&system(S_DEVICE), &device])
}

/// The uuid of a device's key.
pub(crate) fn parse_device(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.get(2..)?.try_into().ok()
}

/// A name as it stands in a key: without regard to case.
fn folded(name: &str) -> Vec<u8> {
    name.to_ascii_lowercase().into_bytes()
}

/// A user, by name.
pub(crate) fn user(name: &str) -> Vec<u8> {
    key(&[&system(S_USER), &folded(name)])
}

/// A group of users, by name.
pub(crate) fn user_group(name: &str) -> Vec<u8> {
    key(&[&system(S_USER_GROUP), &folded(name)])
}

/// An account other than the first, by its number.
pub(crate) fn account(number: u64) -> Vec<u8> {
    key(&[&system(S_ACCOUNT), &number.to_be_bytes()])
}

/// An access key of a user, or of an account's root, by its id.
pub(crate) fn access_key(id: &str) -> Vec<u8> {
    key(&[&system(S_ACCESS_KEY), id.as_bytes()])
}

/// A managed policy, by name.
pub(crate) fn managed_policy(name: &str) -> Vec<u8> {
    key(&[&system(S_MANAGED_POLICY), &folded(name)])
}

/// A role, by name.
pub(crate) fn role(name: &str) -> Vec<u8> {
    key(&[&system(S_ROLE), &folded(name)])
}

/// A session key, by number.
pub(crate) fn session_key(number: u32) -> Vec<u8> {
    key(&[&system(S_SESSION_KEY), &number.to_be_bytes()])
}

/// The prefix of the keys of a principal's own policies.
pub(crate) fn inline_policies(principal: &Principal) -> Vec<u8> {
    let (kind, name) = match principal {
        Principal::User(name) => (OF_USER, name),
        Principal::Group(name) => (OF_GROUP, name),
        Principal::Role(name) => (OF_ROLE, name),
    };
    key(&[&system(S_INLINE_POLICY), &[kind], &in_groups(&folded(name))])
}

/// A principal's own policy, by name.
pub(crate) fn inline_policy(principal: &Principal, name: &str) -> Vec<u8> {
    key(&[&inline_policies(principal), &folded(name)])
}

/// The kind of principal, its name and the policy's name of the key of an inline policy.
pub(crate) fn parse_inline_policy(bytes: &[u8]) -> Option<(&'static str, Vec<u8>, &[u8])> {
    let kind = match *bytes.get(2)? {
        OF_USER => "user",
        OF_GROUP => "group",
        OF_ROLE => "role",
        _ => return None,
    };
    let (name, policy) = from_groups(bytes.get(3..)?)?;
    Some((kind, name, policy))
}

/// The smallest byte string above every one that begins with `prefix`; `None` where there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Bytes of a group, without its mark.
const GROUP_BYTES: usize = 8;

/// An order-preserving, self-delimiting form: groups of 8 bytes, padded with zeros, each followed
/// by the number of its bytes that count, or 9 where another group follows.
pub(crate) fn in_groups(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity((bytes.len() / GROUP_BYTES + 1) * (GROUP_BYTES + 1));
    let mut rest = bytes;
    while rest.len() > GROUP_BYTES {
        let (group, tail) = rest.split_at(GROUP_BYTES);
        out.extend_from_slice(group);
        out.push(GROUP_BYTES as u8 + 1);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.resize(out.len() + GROUP_BYTES - rest.len(), 0);
    out.push(rest.len() as u8);
    out
}

/// Reads what [`in_groups`] wrote, and gives what follows it.
pub(crate) fn from_groups(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    loop {
        let (group, rest) = bytes.split_first_chunk::<GROUP_BYTES>()?;
        let (mark, rest) = rest.split_first()?;
        bytes = rest;
        match usize::from(*mark) {
            more if more == GROUP_BYTES + 1 => out.extend_from_slice(group),
            // A group of no bytes is the one of an empty key: behind another, that one would have been the last.
            0 if !out.is_empty() => return None,
            count if count <= GROUP_BYTES => {
                let (used, padding) = group.split_at(count);
                out.extend_from_slice(used);
                return padding
                    .iter()
                    .all(|byte| *byte == 0)
                    .then_some((out, bytes));
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn groups_keep_order_and_content(
            a in proptest::collection::vec(0u8..4, 0..30),
            b in proptest::collection::vec(0u8..4, 0..30),
        ) {
            let (ga, gb) = (in_groups(&a), in_groups(&b));
            prop_assert_eq!(a.cmp(&b), ga.cmp(&gb));
            let mut tailed = ga.clone();
            tailed.extend_from_slice(b"tail");
            prop_assert_eq!(from_groups(&tailed), Some((a, &b"tail"[..])));
            if let Some((mark, more)) = ga.split_last().filter(|(mark, _)| **mark == 8) {
                let longer = [more, &[mark + 1], &[0; 9]].concat();
                prop_assert_eq!(from_groups(&longer), None);
            }
        }

        #[test]
        fn prefix_end_is_tight(prefix in proptest::collection::vec(250u8.., 0..5), tail in any::<Vec<u8>>()) {
            let inside = [prefix.clone(), tail.clone()].concat();
            match prefix_end(&prefix) {
                Some(end) => {
                    prop_assert!(inside < end);
                    prop_assert!(!end.starts_with(&prefix));
                    prop_assert!(tail.starts_with(&prefix) || tail < prefix || tail >= end);
                }
                None => prop_assert!(prefix.iter().all(|b| *b == 0xff)),
            }
        }
    }

    #[test]
    fn groups_of_the_longest_key_fit_lmdb() {
        assert!(upload(1, &[0; 1024], 1).len() <= 1_200);
        assert!(version(1, &[0; 1024], 1).len() <= 1_200);
    }
}
