//! The command about the access list of an object.
//!
//! Invariant: a list is given to the very object that it was made for, which its inode tells: one that was put in its place meanwhile may
//! be another account's.

use super::{Change, Outcome, invalid};
use crate::namespace::access_list::{AccessListRow, Grant};
use crate::namespace::command::{Answer, SetObjectAccessList};
use crate::namespace::key;
use crate::namespace::store::StoreError;

impl Change<'_, '_> {
    pub(super) fn set_object_access_list(&mut self, command: &SetObjectAccessList) -> Outcome {
        self.check_access_list(command.access_list.as_deref())?;
        let version = Some(command.version);
        let mut named = self.named_version(command.bucket, &command.key, version)?;
        if named.entry.inode != command.inode {
            // As if it had been replaced just after.
            return Ok(Answer::Done);
        }
        let list = command.access_list.as_deref();
        if list.is_none() {
            if !named.entry.has_access_list {
                return Ok(Answer::Done);
            }
            self.delete(&key::x_kind(command.inode, key::X_ACCESS_LIST))?;
        }
        named.entry.has_access_list = self.put_access_list(command.inode, list)?;
        self.put_named(named)?;
        Ok(Answer::Done)
    }

    /// Writes the list of an inode, where there is one, in place of the one that may be there; whether there is.
    pub(super) fn put_access_list(
        &mut self,
        inode: u64,
        list: Option<&[Grant]>,
    ) -> Result<bool, StoreError> {
        if let Some(grants) = list {
            let row = AccessListRow(grants.to_vec());
            self.put(&key::x_kind(inode, key::X_ACCESS_LIST), &row)?;
        }
        Ok(list.is_some())
    }

    pub(super) fn check_access_list(&self, list: Option<&[Grant]>) -> Outcome<()> {
        match list.map_or(0, <[Grant]>::len) > self.limits.grants_max {
            true => invalid("an access list has at most 100 grants"),
            false => Ok(()),
        }
    }
}
