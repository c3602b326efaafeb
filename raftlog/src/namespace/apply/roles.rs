//! Commands about roles and session keys. What is refused is said in AWS's sentences (API reference of IAM).

use super::users::{
    already_exists, check_entity, check_quota, check_text, limit_exceeded, no_such, refuse_delete,
};
use super::{Change, Outcome, invalid};
use crate::namespace::command::{
    AddSessionKey, Answer, CreateRole, DeleteRole, RemoveSessionKey, SetRoleBoundary, UpdateRole,
};
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::users::{
    Principal, ROLE_SESSION_SECONDS, Role, SessionKey, is_description, is_user_name,
    policy_characters,
};

impl Change<'_, '_> {
    pub(super) fn create_role(&mut self, command: &CreateRole) -> Outcome {
        check_text(is_user_name(&command.name), ROLE_NAME)?;
        check_entity(&command.path, &command.id)?;
        check_session_seconds(command.max_session_seconds)?;
        check_text(is_description(&command.description), DESCRIPTION)?;
        self.check_trust_policy(&command.trust_policy)?;
        if self.view().role(&command.name)?.is_some() {
            return already_exists(format!("Role with name {} already exists.", command.name));
        }
        self.check_count(&key::system(key::S_ROLE), self.limits.roles_max, "Roles")?;
        let boundary = command.boundary.as_ref();
        let boundary = boundary.map(|policy| self.use_policy(policy)).transpose()?;
        self.put_role(&Role {
            name: command.name.clone(),
            id: command.id.clone(),
            path: command.path.clone(),
            account: command.account,
            created_nanos: self.now(),
            max_session_seconds: command.max_session_seconds,
            description: command.description.clone(),
            trust_policy: command.trust_policy.clone(),
            attached: Vec::new(),
            boundary,
        })?;
        Ok(Answer::Done)
    }

    pub(super) fn update_role(&mut self, command: &UpdateRole) -> Outcome {
        let mut role = self.role(&command.role)?;
        if let Some(trust_policy) = &command.trust_policy {
            self.check_trust_policy(trust_policy)?;
            role.trust_policy.clone_from(trust_policy);
        }
        if let Some(seconds) = command.max_session_seconds {
            check_session_seconds(seconds)?;
            role.max_session_seconds = seconds;
        }
        if let Some(description) = &command.description {
            check_text(is_description(description), DESCRIPTION)?;
            role.description.clone_from(description);
        }
        self.put_role(&role)?;
        Ok(Answer::Done)
    }

    pub(super) fn delete_role(&mut self, command: &DeleteRole) -> Outcome {
        let role = self.role(&command.name)?;
        let inline = key::inline_policies(&Principal::Role(role.name.clone()));
        let must = if self.table.any(self.txn, &inline)? {
            Some("must delete policies first.")
        } else if !role.attached.is_empty() {
            Some("must detach all policies first.")
        } else {
            None
        };
        refuse_delete(must)?;
        // As that of a user, a boundary gives nothing.
        if let Some(boundary) = &role.boundary {
            self.leave_policy(boundary)?;
        }
        self.delete(&key::role(&role.name))?;
        Ok(Answer::Done)
    }

    pub(super) fn set_role_boundary(&mut self, command: &SetRoleBoundary) -> Outcome {
        let mut role = self.role(&command.role)?;
        let Some(boundary) =
            self.replace_boundary(role.boundary.as_ref(), command.policy.as_ref())?
        else {
            return Ok(Answer::Done);
        };
        role.boundary = boundary;
        self.put_role(&role)?;
        Ok(Answer::Done)
    }

    pub(super) fn add_session_key(&mut self, command: &AddSessionKey) -> Outcome {
        let known = self.view().session_keys()?;
        let highest = known.last().map_or(0, |key| key.number);
        if command.number <= highest {
            let number = command.number;
            return already_exists(format!(
                "Session key {number} already exists, or a later one."
            ));
        }
        check_quota(known.len(), self.limits.session_keys_max, "SessionKeys")?;
        let row = SessionKey {
            number: command.number,
            created_nanos: self.now(),
            secret: command.secret.clone(),
        };
        self.put(&key::session_key(row.number), &row)?;
        Ok(Answer::Done)
    }

    pub(super) fn remove_session_key(&mut self, command: &RemoveSessionKey) -> Outcome {
        let number = command.number;
        let known = self.view().session_keys()?;
        if !known.iter().any(|key| key.number == number) {
            return no_such(format!("The session key {number} cannot be found."));
        }
        let is_newest = known.last().is_some_and(|key| key.number == number);
        refuse_delete(
            (is_newest && known.len() > 1).then_some("must delete earlier session keys first."),
        )?;
        self.delete(&key::session_key(number))?;
        Ok(Answer::Done)
    }

    pub(super) fn role(&self, name: &str) -> Outcome<Role> {
        check_text(is_user_name(name), ROLE_NAME)?;
        match self.view().role(name)? {
            Some(role) => Ok(role),
            None => no_such(format!("The role with name {name} cannot be found.")),
        }
    }

    pub(super) fn put_role(&mut self, role: &Role) -> Result<(), StoreError> {
        self.put(&key::role(&role.name), role)
    }

    fn check_trust_policy(&self, document: &str) -> Outcome<()> {
        if document.is_empty() || document.len() > self.limits.trust_policy_bytes_max {
            return invalid("the document of a trust policy has 1 to 16,384 bytes");
        }
        let most = self.limits.trust_policy_characters_max;
        match policy_characters(document) <= most {
            true => Ok(()),
            false => limit_exceeded(format!("Cannot exceed quota for ACLSizePerRole: {most}")),
        }
    }
}

const ROLE_NAME: &str = "a role's name has 1 to 64 letters, digits and _+=,.@-";
const DESCRIPTION: &str = "a description has at most 1,000 characters and no controls";

fn check_session_seconds(seconds: u32) -> Outcome<()> {
    match ROLE_SESSION_SECONDS.contains(&seconds) {
        true => Ok(()),
        false => invalid("the longest session of a role has 3,600 to 43,200 seconds"),
    }
}
