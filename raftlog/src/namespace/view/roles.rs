//! Queries about roles and session keys.

use super::View;
use super::users::PolicyText;
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::users::{
    ManagedPolicyName, PolicySource, Principal, Role, SessionKey, is_user_name,
};

/// A role with the documents of all policies that decide what its sessions may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolePolicies {
    /// The role.
    pub role: Role,
    /// The role's own policies and those that are attached to it.
    pub policies: Vec<PolicyText>,
    /// The boundary, where the role has one.
    pub boundary: Option<PolicyText>,
}

impl View<'_> {
    /// The role of a name, in whatever case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn role(&self, name: &str) -> Result<Option<Role>, StoreError> {
        match is_user_name(name) {
            true => self.table.get(self.txn(), &key::role(name)),
            false => Ok(None),
        }
    }

    /// All roles, by name without regard to case.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn roles(&self) -> Result<Vec<Role>, StoreError> {
        self.all(&key::system(key::S_ROLE))
    }

    /// A role with the documents of all policies that decide what its sessions may do. `None` where there is no such role.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket); `Invariant` where a policy that the role has does not exist.
    pub fn role_policies(&self, name: &str) -> Result<Option<RolePolicies>, StoreError> {
        let Some(role) = self.role(name)? else {
            return Ok(None);
        };
        let policies = self.policies_of(&Principal::Role(role.name.clone()), &role.attached)?;
        let boundary = role.boundary.as_ref();
        let boundary = boundary
            .map(|policy| self.policy_text(policy))
            .transpose()?;
        Ok(Some(RolePolicies {
            role,
            policies,
            boundary,
        }))
    }

    /// What a managed policy says; `None` where there is none of that name. Built-in ones are the front end's.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn text_of(&self, policy: &ManagedPolicyName) -> Result<Option<PolicyText>, StoreError> {
        match policy.source {
            PolicySource::BuiltIn => self.policy_text(policy).map(Some),
            PolicySource::State => {
                let found = self.managed_policy(&policy.name)?;
                Ok(found.map(|policy| PolicyText::Document(policy.document)))
            }
        }
    }

    /// All session keys, by number.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn session_keys(&self) -> Result<Vec<SessionKey>, StoreError> {
        self.all(&key::system(key::S_SESSION_KEY))
    }
}
