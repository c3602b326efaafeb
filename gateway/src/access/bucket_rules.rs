//! What a bucket says of who may do what, compiled once and kept on each reactor: its policy, its block of public access, whose its objects are and its
//! access list.
//!
//! Invariants: what is kept belongs to the version of the namespace's settings, which a change raises before it is answered, so that a request
//! that begins after the answer is judged by the new policy; a policy is compiled again only where its text has changed; a policy that
//! cannot be read lets nobody in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use strata_net::Cluster;
use strata_raftlog::namespace::{Bucket, setting};

use crate::access_list::{AccessList, document};
use crate::error::{Code, Fault};
use crate::policy::{Policy, PolicyKind};
use crate::s3::ownership::{self, Ownership};
use crate::s3::public_access_block::PublicAccessBlock;

/// Buckets whose rules are kept, those without any included.
const BUCKETS_MAX: usize = 1024;

/// What a bucket says.
#[derive(Debug, Default)]
pub struct BucketRules {
    /// Its policy.
    pub policy: Option<Policy>,
    /// Whether that is public.
    pub is_public: bool,
    /// Its block of public access; nothing is blocked where it has none.
    pub block: PublicAccessBlock,
    /// Whose its objects are; `None` where that was removed, which is as [`Ownership::ObjectWriter`].
    pub ownership: Option<Ownership>,
    /// Its access list; `None` where it grants its owner everything and others nothing. It says something only where [lists
    /// count](BucketRules::has_lists).
    pub access_list: Option<AccessList>,
    /// The documents that the above were read from.
    texts: Texts,
}

/// The documents of the settings that rules are made of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Texts {
    policy: Option<Vec<u8>>,
    block: Option<Vec<u8>>,
    ownership: Option<Vec<u8>>,
    access_list: Option<Vec<u8>>,
}

impl BucketRules {
    fn read(bucket: &Bucket, texts: Texts) -> Result<BucketRules, Fault> {
        let damaged = |what: String| Fault::from(Code::InternalError).because(what);
        let kind = PolicyKind::Bucket { name: &bucket.name };
        let policy = texts
            .policy
            .as_deref()
            .map(|text| Policy::parse(text, kind));
        let policy = policy.transpose();
        let policy = policy.map_err(|error| damaged(format!("the stored policy: {error}")))?;
        let block = match &texts.block {
            None => PublicAccessBlock::default(),
            Some(text) => PublicAccessBlock::read(text).map_err(|fault| {
                damaged(format!("the stored public access block: {}", fault.message))
            })?,
        };
        let ownership = match &texts.ownership {
            None => Some(Ownership::NEW),
            Some(text) => ownership::read(text).map_err(|fault| {
                damaged(format!("the stored ownership controls: {}", fault.message))
            })?,
        };
        // Where lists do not count, one that cannot be read shuts nobody out.
        let has_lists = ownership != Some(Ownership::BucketOwnerEnforced);
        let text = texts.access_list.as_deref().filter(|_| has_lists);
        let list = text.map(document::read);
        let list = list
            .transpose()
            .map_err(|fault| damaged(format!("the stored access list: {}", fault.message)))?;
        Ok(BucketRules {
            is_public: policy.as_ref().is_some_and(Policy::is_public),
            policy,
            block,
            ownership,
            access_list: list.map(|document| document.list),
            texts,
        })
    }

    /// Whether it has a block of public access.
    pub fn has_block(&self) -> bool {
        self.texts.block.is_some()
    }

    /// Whether access lists say anything of it and of what is in it.
    pub fn has_lists(&self) -> bool {
        self.ownership != Some(Ownership::BucketOwnerEnforced)
    }

    /// Whether its policy is for principals of the owning account alone.
    pub fn is_restricted(&self) -> bool {
        self.is_public && self.block.restrict_public_buckets
    }
}

/// The rules of the buckets that requests name, on one reactor.
#[derive(Default)]
pub struct KnownRules {
    /// By the bucket's inode, each with the version of the settings that it was compared with.
    rules: RefCell<BTreeMap<u64, (u64, Rc<BucketRules>)>>,
}

impl KnownRules {
    /// The rules of a bucket.
    ///
    /// # Errors
    /// Those of the namespace; `InternalError` where what is stored cannot be read.
    pub fn of(&self, cluster: &Cluster, bucket: &Bucket) -> Result<Rc<BucketRules>, Fault> {
        let version = cluster.settings_version();
        let known = self.rules.borrow().get(&bucket.inode).cloned();
        let earlier = match known {
            Some((of_version, rules)) if of_version == version => return Ok(rules),
            Some((_, rules)) => Some(rules),
            None => None,
        };
        let texts = cluster.read(|view| {
            let read = |number| view.bucket_setting(bucket.inode, number);
            Ok(Texts {
                policy: read(setting::POLICY)?,
                block: read(setting::PUBLIC_ACCESS_BLOCK)?,
                ownership: read(setting::OWNERSHIP)?,
                access_list: read(setting::ACCESS_LIST)?,
            })
        })?;
        let is_same = |rules: &Rc<BucketRules>| rules.texts == texts;
        let rules = match earlier.filter(is_same) {
            Some(rules) => rules,
            None => Rc::new(BucketRules::read(bucket, texts)?),
        };
        let mut kept = self.rules.borrow_mut();
        if kept.len() >= BUCKETS_MAX && !kept.contains_key(&bucket.inode) {
            kept.clear();
        }
        kept.insert(bucket.inode, (version, rules.clone()));
        Ok(rules)
    }
}
