//! Queries about users, groups, access keys and policies.

use super::View;
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::users::{
    AccessKey, Group, InlinePolicy, ManagedPolicy, ManagedPolicyName, PolicySource, Principal,
    User, is_group_name, is_user_key_id, is_user_name,
};

/// A user with the documents of all policies that decide what the user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPolicies {
    /// The user.
    pub user: User,
    /// The user's own policies and those of the user's groups.
    pub policies: Vec<PolicyText>,
    /// The boundary, where the user has one.
    pub boundary: Option<PolicyText>,
}

/// A policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyText {
    /// What it says.
    Document(String),
    /// One of those that the front end has, by name.
    BuiltIn(String),
}

impl View<'_> {
    /// The access key of an id, by one row. `None` for the root key, which is no user's.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn access_key(&self, id: &str) -> Result<Option<AccessKey>, StoreError> {
        match is_user_key_id(id) {
            true => self.table.get(self.txn(), &key::access_key(id)),
            false => Ok(None),
        }
    }

    /// The user of a name, in whatever case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn user(&self, name: &str) -> Result<Option<User>, StoreError> {
        match is_user_name(name) {
            true => self.table.get(self.txn(), &key::user(name)),
            false => Ok(None),
        }
    }

    /// All users, by name without regard to case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        self.all(&key::system(key::S_USER))
    }

    /// The group of users of a name, in whatever case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn user_group(&self, name: &str) -> Result<Option<Group>, StoreError> {
        match is_group_name(name) {
            true => self.table.get(self.txn(), &key::user_group(name)),
            false => Ok(None),
        }
    }

    /// All groups of users, by name without regard to case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn user_groups(&self) -> Result<Vec<Group>, StoreError> {
        self.all(&key::system(key::S_USER_GROUP))
    }

    /// The managed policy of a name, in whatever case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn managed_policy(&self, name: &str) -> Result<Option<ManagedPolicy>, StoreError> {
        match is_group_name(name) {
            true => self.table.get(self.txn(), &key::managed_policy(name)),
            false => Ok(None),
        }
    }

    /// All managed policies, by name without regard to case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn managed_policies(&self) -> Result<Vec<ManagedPolicy>, StoreError> {
        self.all(&key::system(key::S_MANAGED_POLICY))
    }

    /// The policies that a user or a group has of its own, by name without regard to case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn inline_policies(&self, principal: &Principal) -> Result<Vec<InlinePolicy>, StoreError> {
        self.all(&key::inline_policies(principal))
    }

    /// A user with the documents of all policies that decide what the user may do. `None` where there is no such user.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket); `Invariant` where a policy or a group that the user has does not exist.
    pub fn user_policies(&self, name: &str) -> Result<Option<UserPolicies>, StoreError> {
        let Some(user) = self.user(name)? else {
            return Ok(None);
        };
        let mut policies = self.policies_of(&Principal::User(user.name.clone()), &user.attached)?;
        for group in &user.groups {
            let found = self.user_group(group)?;
            let found = found.ok_or_else(|| {
                StoreError::Invariant(format!(
                    "user {name} is in group {group}, which is not there"
                ))
            })?;
            policies.extend(self.policies_of(&Principal::Group(found.name), &found.attached)?);
        }
        let boundary = user.boundary.as_ref();
        let boundary = boundary
            .map(|policy| self.policy_text(policy))
            .transpose()?;
        Ok(Some(UserPolicies {
            user,
            policies,
            boundary,
        }))
    }

    pub(super) fn policies_of(
        &self,
        principal: &Principal,
        attached: &[ManagedPolicyName],
    ) -> Result<Vec<PolicyText>, StoreError> {
        let inline = self.inline_policies(principal)?.into_iter();
        let inline = inline.map(|policy| Ok(PolicyText::Document(policy.document)));
        let attached = attached.iter().map(|policy| self.policy_text(policy));
        inline.chain(attached).collect()
    }

    pub(super) fn policy_text(&self, policy: &ManagedPolicyName) -> Result<PolicyText, StoreError> {
        match policy.source {
            PolicySource::BuiltIn => Ok(PolicyText::BuiltIn(policy.name.clone())),
            PolicySource::State => {
                let found = self.managed_policy(&policy.name)?;
                let found = found.ok_or_else(|| {
                    let name = &policy.name;
                    StoreError::Invariant(format!("policy {name} is in use and does not exist"))
                })?;
                Ok(PolicyText::Document(found.document))
            }
        }
    }
}
