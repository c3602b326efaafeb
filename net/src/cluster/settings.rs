//! Rows that every request needs and that seldom change: the root key, the buckets, users and their access keys, roles and session keys, kept on
//! each reactor.
//!
//! Invariant: what is kept belongs to the version of the namespace's settings; a command that changes one of them raises it
//! before it is answered.

use std::collections::HashMap;
use std::rc::Rc;

use strata_raftlog::namespace::{
    AccessKey, Bucket, PolicyText, RolePolicies, RootKey, SessionKey, UserPolicies, is_user_key_id,
};

use super::Cluster;
use crate::error::ClusterError;

/// Names of buckets that are kept, those that do not exist included.
const BUCKETS_MAX: usize = 1024;

/// Access keys of users that are kept.
const ACCESS_KEYS_MAX: usize = 1024;

/// Users that are kept.
const USERS_MAX: usize = 1024;

/// Roles that are kept.
const ROLES_MAX: usize = 1024;

/// Bytes of policies of the users that are kept, and as many of the roles, unless one alone has more.
pub const POLICY_BYTES_MAX: usize = 16 << 20;

/// What is kept.
#[derive(Default)]
pub(super) struct Settings {
    version: u64,
    /// `None` where it was not looked up yet.
    root_key: Option<Option<Rc<RootKey>>>,
    buckets: HashMap<String, Option<Rc<Bucket>>>,
    access_keys: HashMap<String, Rc<AccessKey>>,
    users: HashMap<String, Rc<UserPolicies>>,
    policy_bytes: usize,
    roles: HashMap<String, Rc<RolePolicies>>,
    role_policy_bytes: usize,
    /// By number. `None` where they were not looked up yet.
    session_keys: Option<Rc<[SessionKey]>>,
}

/// Bytes of the documents of policies that come with a user.
pub fn policy_bytes(of: &UserPolicies) -> usize {
    text_bytes(&of.policies, of.boundary.as_ref())
}

/// Bytes of the documents of policies that come with a role.
pub fn role_policy_bytes(of: &RolePolicies) -> usize {
    text_bytes(&of.policies, of.boundary.as_ref())
}

fn text_bytes(policies: &[PolicyText], boundary: Option<&PolicyText>) -> usize {
    let all = policies.iter().chain(boundary);
    all.map(|policy| match policy {
        PolicyText::Document(document) => document.len(),
        PolicyText::BuiltIn(name) => name.len(),
    })
    .sum()
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

    /// The version of the settings: buckets, what is set of them, the root key, users and what they may do. A command that changes one of them
    /// raises it before it is answered.
    pub fn settings_version(&self) -> u64 {
        self.inner.parts.namespace.settings_version()
    }

    /// The access key of a user, by its id; active or not. `None` for one that no user has, which is not kept: whoever makes ids up drives out none
    /// that is used.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub fn access_key(&self, id: &str) -> Result<Option<Rc<AccessKey>>, ClusterError> {
        if !is_user_key_id(id) {
            return Ok(None);
        }
        let version = self.drop_old_settings();
        if let Some(known) = self.inner.settings.borrow().access_keys.get(id) {
            return Ok(Some(known.clone()));
        }
        let Some(found) = self.read(|view| view.access_key(id))?.map(Rc::new) else {
            return Ok(None);
        };
        let mut settings = self.inner.settings.borrow_mut();
        if settings.access_keys.len() >= ACCESS_KEYS_MAX {
            settings.access_keys.clear();
        }
        settings.version = version;
        settings.access_keys.insert(id.to_owned(), found.clone());
        Ok(Some(found))
    }

    /// A user with the policies that decide what the user may do; for one whose signature is right.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub fn user_policies(&self, name: &str) -> Result<Option<Rc<UserPolicies>>, ClusterError> {
        let version = self.drop_old_settings();
        if let Some(known) = self.inner.settings.borrow().users.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some(found) = self.read(|view| view.user_policies(name))?.map(Rc::new) else {
            return Ok(None);
        };
        let mut settings = self.inner.settings.borrow_mut();
        let bytes = settings.policy_bytes + policy_bytes(&found);
        if settings.users.len() >= USERS_MAX || bytes > POLICY_BYTES_MAX {
            settings.users.clear();
            settings.policy_bytes = 0;
        }
        settings.policy_bytes += policy_bytes(&found);
        settings.version = version;
        settings.users.insert(name.to_owned(), found.clone());
        Ok(Some(found))
    }

    /// A role with the policies that decide what its sessions may do; for a session whose signature is right.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub fn role_policies(&self, name: &str) -> Result<Option<Rc<RolePolicies>>, ClusterError> {
        let version = self.drop_old_settings();
        if let Some(known) = self.inner.settings.borrow().roles.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some(found) = self.read(|view| view.role_policies(name))?.map(Rc::new) else {
            return Ok(None);
        };
        let mut settings = self.inner.settings.borrow_mut();
        let bytes = settings.role_policy_bytes + role_policy_bytes(&found);
        if settings.roles.len() >= ROLES_MAX || bytes > POLICY_BYTES_MAX {
            settings.roles.clear();
            settings.role_policy_bytes = 0;
        }
        settings.role_policy_bytes += role_policy_bytes(&found);
        settings.version = version;
        settings.roles.insert(name.to_owned(), found.clone());
        Ok(Some(found))
    }

    /// The keys that tokens of sessions are sealed with, by number: the last one seals.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub fn session_keys(&self) -> Result<Rc<[SessionKey]>, ClusterError> {
        let version = self.drop_old_settings();
        if let Some(known) = &self.inner.settings.borrow().session_keys {
            return Ok(known.clone());
        }
        let found: Rc<[SessionKey]> = self.read(|view| view.session_keys())?.into();
        let mut settings = self.inner.settings.borrow_mut();
        (settings.version, settings.session_keys) = (version, Some(found.clone()));
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
