//! What a bucket says of who may do what, compiled once and kept on each reactor: its policy and its block of public access.
//!
//! Invariants: what is kept belongs to the version of the namespace's settings, which a change raises before it is answered, so that a request
//! that begins after the answer is judged by the new policy; a policy is compiled again only where its text has changed; a policy that
//! cannot be read lets nobody in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use strata_net::Cluster;
use strata_raftlog::namespace::{Bucket, setting};

use crate::error::{Code, Fault};
use crate::policy::{Policy, PolicyKind};
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
    /// The documents that the above were read from.
    policy_text: Option<Vec<u8>>,
    block_text: Option<Vec<u8>>,
}

impl BucketRules {
    fn read(
        bucket: &Bucket,
        policy_text: Option<Vec<u8>>,
        block_text: Option<Vec<u8>>,
    ) -> Result<BucketRules, Fault> {
        let damaged = |what: String| Fault::from(Code::InternalError).because(what);
        let kind = PolicyKind::Bucket { name: &bucket.name };
        let policy = policy_text.as_deref().map(|text| Policy::parse(text, kind));
        let policy = policy.transpose();
        let policy = policy.map_err(|error| damaged(format!("the stored policy: {error}")))?;
        let block = match &block_text {
            None => PublicAccessBlock::default(),
            Some(text) => PublicAccessBlock::read(text).map_err(|fault| {
                damaged(format!("the stored public access block: {}", fault.message))
            })?,
        };
        Ok(BucketRules {
            is_public: policy.as_ref().is_some_and(Policy::is_public),
            policy,
            block,
            policy_text,
            block_text,
        })
    }

    /// Whether it has a block of public access.
    pub fn has_block(&self) -> bool {
        self.block_text.is_some()
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
        let (policy, block) = cluster.read(|view| {
            Ok((
                view.bucket_setting(bucket.inode, setting::POLICY)?,
                view.bucket_setting(bucket.inode, setting::PUBLIC_ACCESS_BLOCK)?,
            ))
        })?;
        let is_same =
            |rules: &Rc<BucketRules>| rules.policy_text == policy && rules.block_text == block;
        let rules = match earlier.filter(is_same) {
            Some(rules) => rules,
            None => Rc::new(BucketRules::read(bucket, policy, block)?),
        };
        let mut kept = self.rules.borrow_mut();
        if kept.len() >= BUCKETS_MAX && !kept.contains_key(&bucket.inode) {
            kept.clear();
        }
        kept.insert(bucket.inode, (version, rules.clone()));
        Ok(rules)
    }
}
