//! Rows that every request needs and that seldom change: the root key, the buckets and the access keys of users, kept on each reactor.
//!
//! Invariant: what is kept belongs to the version of the namespace's settings; a command that changes one of them raises it
//! before it is answered.

use std::collections::HashMap;
use std::rc::Rc;

use strata_raftlog::namespace::{
    AccessKey, Bucket, PolicyText, RootKey, UserPolicies, is_user_key_id,
};

use super::Cluster;
use crate::error::ClusterError;

/// Names of buckets that are kept, those that do not exist included.
const BUCKETS_MAX: usize = 1024;

/// Access keys that are kept, those that do not exist included.
const USER_KEYS_MAX: usize = 1024;

/// Bytes of policies of the users whose keys are kept, unless one alone has more.
const USER_POLICY_BYTES_MAX: usize = 16 << 20;

/// An access key with the user that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserKey {
    /// The key.
    pub key: AccessKey,
    /// The user, with the policies that decide what the user may do.
    pub policies: UserPolicies,
}

/// What is kept.
#[derive(Default)]
pub(super) struct Settings {
    version: u64,
    /// `None` where it was not looked up yet.
    root_key: Option<Option<Rc<RootKey>>>,
    buckets: HashMap<String, Option<Rc<Bucket>>>,
    user_keys: HashMap<String, Option<Rc<UserKey>>>,
    user_policy_bytes: usize,
}

impl UserKey {
    /// Bytes of the documents that come with it.
    fn policy_bytes(&self) -> usize {
        let all = self.policies.policies.iter().chain(&self.policies.boundary);
        all.map(|policy| match policy {
            PolicyText::Document(document) => document.len(),
            PolicyText::BuiltIn(name) => name.len(),
        })
        .sum()
    }
}

impl Cluster {
    /// The root credentials.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub fn root_key(&self) -> Result<Option<Rc<RootKey>>, ClusterError> {
        let version = self.drop_old_settings();
        if let Some(known) = &self.inner.settings.borrow().root_key {
            return Ok(known.clone());
        }
        let found = self.read(|view| view.root_key())?.map(Rc::new);
        let mut settings = self.inner.settings.borrow_mut();
        (settings.version, settings.root_key) = (version, Some(found.clone()));
        Ok(found)
    }

    /// The bucket of a name.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub fn bucket(&self, name: &str) -> Result<Option<Rc<Bucket>>, ClusterError> {
        let version = self.drop_old_settings();
        if let Some(known) = self.inner.settings.borrow().buckets.get(name) {
            return Ok(known.clone());
        }
        let found = self.read(|view| view.bucket(name))?.map(Rc::new);
        let mut settings = self.inner.settings.borrow_mut();
        if settings.buckets.len() >= BUCKETS_MAX {
            settings.buckets.clear();
        }
        settings.version = version;
        settings.buckets.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// The version of the settings: buckets, what is set of them, the root key, users and what they may do. A command that changes one of them raises it before it is
    /// answered.
    pub fn settings_version(&self) -> u64 {
        self.inner.parts.namespace.settings_version()
    }

    /// The access key of a user, by its id; active or not. `None` for one that no user has.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub fn user_key(&self, access_key_id: &str) -> Result<Option<Rc<UserKey>>, ClusterError> {
        if !is_user_key_id(access_key_id) {
            return Ok(None);
        }
        let version = self.drop_old_settings();
        if let Some(known) = self.inner.settings.borrow().user_keys.get(access_key_id) {
            return Ok(known.clone());
        }
        let found = self.read(|view| {
            let Some(key) = view.access_key(access_key_id)? else {
                return Ok(None);
            };
            let policies = view.user_policies(&key.user)?;
            Ok(policies.map(|policies| UserKey { key, policies }))
        })?;
        let found = found.map(Rc::new);
        let policy_bytes = found.as_ref().map_or(0, |found| found.policy_bytes());
        let mut settings = self.inner.settings.borrow_mut();
        let bytes = settings.user_policy_bytes + policy_bytes;
        if settings.user_keys.len() >= USER_KEYS_MAX || bytes > USER_POLICY_BYTES_MAX {
            settings.user_keys.clear();
            settings.user_policy_bytes = 0;
        }
        settings.user_policy_bytes += policy_bytes;
        settings.version = version;
        let id = access_key_id.to_owned();
        settings.user_keys.insert(id, found.clone());
        Ok(found)
    }

    /// Forgets what an earlier version has said; the version that is in force.
    fn drop_old_settings(&self) -> u64 {
        let version = self.settings_version();
        let mut settings = self.inner.settings.borrow_mut();
        if settings.version != version {
            *settings = Settings::default();
        }
        version
    }
}
