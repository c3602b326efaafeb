//! Rows that every request needs and that seldom change: the root key and the buckets, kept on each reactor.
//!
//! Invariant: what is kept belongs to the version of the namespace's settings; a command that changes one of them raises it
//! before it is answered.

use std::collections::HashMap;
use std::rc::Rc;

use strata_raftlog::namespace::{Bucket, RootKey};

use super::Cluster;
use crate::error::ClusterError;

/// Names of buckets that are kept, those that do not exist included.
const BUCKETS_MAX: usize = 1024;

/// What is kept.
#[derive(Default)]
pub(super) struct Settings {
    version: u64,
    /// `None` where it was not looked up yet.
    root_key: Option<Option<Rc<RootKey>>>,
    buckets: HashMap<String, Option<Rc<Bucket>>>,
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

    /// The version of the settings: buckets, what is set of them, and the root key. A command that changes one of them raises it before it is
    /// answered.
    pub fn settings_version(&self) -> u64 {
        self.inner.parts.namespace.settings_version()
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
