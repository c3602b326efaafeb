//! Commands about users, groups, access keys and policies. What is refused is said in AWS's sentences (API reference of IAM).
//!
//! Invariant: a refusal, which is kept as the answer of its command, quotes no name that could not be one, so that it is short.

use super::{Change, Outcome, invalid};
use crate::namespace::command::{
    Answer, AttachPolicy, CreateAccessKey, CreateGroup, CreateUser, DeleteAccessKey, DeleteGroup,
    DeleteInlinePolicy, DeleteManagedPolicy, DeleteUser, DetachPolicy, PutInlinePolicy,
    PutManagedPolicy, Refusal, SetAccessKeyActive, SetBoundary, SetMembership, UpdateUser,
};
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::users::{
    AccessKey, AccessKeySecret, ENTITY_ID_CHARACTERS, Group, InlinePolicy, ManagedPolicy,
    ManagedPolicyName, PolicySource, Principal, Role, User, is_group_name, is_path, is_user_key_id,
    is_user_name, is_user_secret, policy_characters,
};

impl Change<'_, '_> {
    pub(super) fn create_user(&mut self, command: &CreateUser) -> Outcome {
        check_text(is_user_name(&command.name), USER_NAME)?;
        check_entity(&command.path, &command.id)?;
        if self.view().user(&command.name)?.is_some() {
            return already_exists(format!("User with name {} already exists.", command.name));
        }
        self.check_count(&key::system(key::S_USER), self.limits.users_max, "Users")?;
        let boundary = command.boundary.as_ref();
        let boundary = boundary.map(|policy| self.use_policy(policy)).transpose()?;
        self.put_user(&User {
            name: command.name.clone(),
            id: command.id.clone(),
            path: command.path.clone(),
            account: command.account,
            created_nanos: self.now(),
            groups: Vec::new(),
            access_key_ids: Vec::new(),
            attached: Vec::new(),
            boundary,
        })?;
        Ok(Answer::Done)
    }

    pub(super) fn update_user(&mut self, command: &UpdateUser) -> Outcome {
        let old = self.user(&command.user)?;
        let name = command.name.clone().unwrap_or_else(|| old.name.clone());
        check_text(is_user_name(&name), USER_NAME)?;
        let path = command.path.clone().unwrap_or_else(|| old.path.clone());
        check_path(&path)?;
        let is_same_row = name.eq_ignore_ascii_case(&old.name);
        if !is_same_row && self.view().user(&name)?.is_some() {
            return already_exists(format!("User with name {name} already exists."));
        }
        let user = User {
            name,
            path,
            ..old.clone()
        };
        for id in &user.access_key_ids {
            let mut row = self.access_key(id)?;
            row.user.clone_from(&user.name);
            self.put(&key::access_key(id), &row)?;
        }
        if !is_same_row {
            let (from, to) = (
                Principal::User(old.name.clone()),
                Principal::User(user.name.clone()),
            );
            let policies = self.view().inline_policies(&from)?;
            for policy in policies {
                self.delete(&key::inline_policy(&from, &policy.name))?;
                self.put(&key::inline_policy(&to, &policy.name), &policy)?;
            }
            self.delete(&key::user(&old.name))?;
        }
        self.put_user(&user)?;
        Ok(Answer::Done)
    }

    pub(super) fn delete_user(&mut self, command: &DeleteUser) -> Outcome {
        let user = self.user(&command.name)?;
        let inline = key::inline_policies(&Principal::User(user.name.clone()));
        let must = if !user.access_key_ids.is_empty() {
            Some("must delete access keys first.")
        } else if self.table.any(self.txn, &inline)? {
            Some("must delete policies first.")
        } else if !user.attached.is_empty() {
            Some("must detach all policies first.")
        } else if !user.groups.is_empty() {
            Some("must remove users from group first.")
        } else {
            None
        };
        refuse_delete(must)?;
        // A boundary gives nothing, and goes with the user whom it bounds.
        if let Some(boundary) = &user.boundary {
            self.leave_policy(boundary)?;
        }
        self.delete(&key::user(&user.name))?;
        Ok(Answer::Done)
    }

    pub(super) fn create_access_key(&mut self, command: &CreateAccessKey) -> Outcome {
        let id = &command.access_key_id;
        let mut user = self.user(&command.user)?;
        self.check_new_key(id, &command.secret_access_key)?;
        let keys_max = self.limits.user_keys_max;
        check_quota(user.access_key_ids.len(), keys_max, "AccessKeysPerUser")?;
        user.access_key_ids.push(id.clone());
        let row = AccessKey {
            id: id.clone(),
            secret: command.secret_access_key.clone(),
            account: user.account,
            user: user.name.clone(),
            active: true,
            created_nanos: self.now(),
        };
        self.put_user(&user)?;
        self.put(&key::access_key(id), &row)?;
        Ok(Answer::Done)
    }

    pub(super) fn set_access_key_active(&mut self, command: &SetAccessKeyActive) -> Outcome {
        let mut row = self.access_key(&command.access_key_id)?;
        if row.active != command.active {
            row.active = command.active;
            self.put(&key::access_key(&row.id), &row)?;
        }
        Ok(Answer::Done)
    }

    pub(super) fn delete_access_key(&mut self, command: &DeleteAccessKey) -> Outcome {
        let row = self.access_key(&command.access_key_id)?;
        match row.user.is_empty() {
            true => self.take_key_from_account(&row)?,
            false => {
                let mut user = self.owner_of(&row)?;
                user.access_key_ids.retain(|id| *id != row.id);
                self.put_user(&user)?;
            }
        }
        self.delete(&key::access_key(&row.id))?;
        Ok(Answer::Done)
    }

    pub(super) fn create_group(&mut self, command: &CreateGroup) -> Outcome {
        check_text(is_group_name(&command.name), GROUP_NAME)?;
        check_entity(&command.path, &command.id)?;
        if self.view().user_group(&command.name)?.is_some() {
            return already_exists(format!("Group with name {} already exists.", command.name));
        }
        let groups = key::system(key::S_USER_GROUP);
        self.check_count(&groups, self.limits.groups_max, "Groups")?;
        self.put_group(&Group {
            name: command.name.clone(),
            id: command.id.clone(),
            path: command.path.clone(),
            account: command.account,
            created_nanos: self.now(),
            members: 0,
            attached: Vec::new(),
        })?;
        Ok(Answer::Done)
    }

    pub(super) fn delete_group(&mut self, command: &DeleteGroup) -> Outcome {
        let group = self.user_group(&command.name)?;
        let inline = key::inline_policies(&Principal::Group(group.name.clone()));
        let must = if group.members > 0 {
            Some("must remove users from group first.")
        } else if self.table.any(self.txn, &inline)? {
            Some("must delete policies first.")
        } else if !group.attached.is_empty() {
            Some("must detach all policies first.")
        } else {
            None
        };
        refuse_delete(must)?;
        self.delete(&key::user_group(&group.name))?;
        Ok(Answer::Done)
    }

    pub(super) fn set_membership(&mut self, command: &SetMembership) -> Outcome {
        let mut group = self.user_group(&command.group)?;
        let mut user = self.user(&command.user)?;
        let at = user.groups.iter().position(|known| *known == group.name);
        match (at, command.member) {
            (None, true) => {
                let groups_max = self.limits.user_groups_max;
                check_quota(user.groups.len(), groups_max, "GroupsPerUser")?;
                user.groups.push(group.name.clone());
                group.members += 1;
            }
            (Some(at), false) => {
                user.groups.remove(at);
                group.members = one_less(group.members, "the members of a group")?;
            }
            (Some(_), true) | (None, false) => return Ok(Answer::Done),
        }
        self.put_user(&user)?;
        self.put_group(&group)?;
        Ok(Answer::Done)
    }

    pub(super) fn put_inline_policy(&mut self, command: &PutInlinePolicy) -> Outcome {
        self.check_policy(&command.name, &command.document)?;
        let principal = self.named_principal(&command.principal)?;
        let known = self.view().inline_policies(&principal)?;
        let others = known
            .iter()
            .filter(|policy| !policy.name.eq_ignore_ascii_case(&command.name));
        let lengths: Vec<usize> = others
            .map(|policy| policy_characters(&policy.document))
            .collect();
        let (kind, most) = match &principal {
            Principal::User(_) => ("user", self.limits.user_policy_characters_max),
            Principal::Group(_) => ("group", self.limits.group_policy_characters_max),
            Principal::Role(_) => ("role", self.limits.role_policy_characters_max),
        };
        let (count, together) = (lengths.len(), lengths.iter().sum::<usize>());
        check_quota(
            count,
            self.limits.inline_policies_max,
            "InlinePoliciesPerEntity",
        )?;
        if together + policy_characters(&command.document) > most {
            let name = principal.name();
            return limit_exceeded(format!(
                "Maximum policy size of {most} bytes exceeded for {kind} {name}"
            ));
        }
        let row = InlinePolicy {
            name: command.name.clone(),
            document: command.document.clone(),
        };
        self.put(&key::inline_policy(&principal, &command.name), &row)?;
        Ok(Answer::Done)
    }

    pub(super) fn delete_inline_policy(&mut self, command: &DeleteInlinePolicy) -> Outcome {
        check_text(is_group_name(&command.name), POLICY_NAME)?;
        let principal = self.named_principal(&command.principal)?;
        let row = key::inline_policy(&principal, &command.name);
        if !self.table.contains(self.txn, &row)? {
            let (kind, name) = (kind_of(&principal), &command.name);
            return no_such(format!(
                "The {kind} policy with name {name} cannot be found."
            ));
        }
        self.delete(&row)?;
        Ok(Answer::Done)
    }

    pub(super) fn put_managed_policy(&mut self, command: &PutManagedPolicy) -> Outcome {
        self.check_policy(&command.name, &command.document)?;
        check_entity("/", &command.id)?;
        let most = self.limits.managed_policy_characters_max;
        if policy_characters(&command.document) > most {
            return limit_exceeded(format!("Cannot exceed quota for PolicySize: {most}"));
        }
        let now = self.now();
        let row = match self.view().managed_policy(&command.name)? {
            Some(known) if known.id != command.id => {
                let name = &command.name;
                return already_exists(format!(
                    "A policy called {name} already exists. Duplicate names are not allowed."
                ));
            }
            Some(known) => ManagedPolicy {
                changed_nanos: now,
                document: command.document.clone(),
                ..known
            },
            None => {
                let policies = key::system(key::S_MANAGED_POLICY);
                self.check_count(&policies, self.limits.managed_policies_max, "Policies")?;
                ManagedPolicy {
                    name: command.name.clone(),
                    id: command.id.clone(),
                    created_nanos: now,
                    changed_nanos: now,
                    uses: 0,
                    document: command.document.clone(),
                }
            }
        };
        self.put(&key::managed_policy(&row.name), &row)?;
        Ok(Answer::Done)
    }

    pub(super) fn delete_managed_policy(&mut self, command: &DeleteManagedPolicy) -> Outcome {
        let policy = self.managed_policy(&command.name)?;
        if policy.uses > 0 {
            let message = "Cannot delete a policy attached to entities.";
            return Err(Refusal::DeleteConflict(message.to_owned()).into());
        }
        self.delete(&key::managed_policy(&policy.name))?;
        Ok(Answer::Done)
    }

    pub(super) fn attach_policy(&mut self, command: &AttachPolicy) -> Outcome {
        let mut attached = self.attached(&command.principal)?;
        if attached.iter().any(|known| known.is_same(&command.policy)) {
            return Ok(Answer::Done);
        }
        let quota = match &command.principal {
            Principal::User(_) => "PoliciesPerUser",
            Principal::Group(_) => "PoliciesPerGroup",
            Principal::Role(_) => "PoliciesPerRole",
        };
        check_quota(attached.len(), self.limits.attached_policies_max, quota)?;
        let policy = self.use_policy(&command.policy)?;
        attached.push(policy);
        self.set_attached(&command.principal, attached)
    }

    pub(super) fn detach_policy(&mut self, command: &DetachPolicy) -> Outcome {
        check_text(is_group_name(&command.policy.name), POLICY_NAME)?;
        let mut attached = self.attached(&command.principal)?;
        let is_it = |known: &ManagedPolicyName| known.is_same(&command.policy);
        let Some(at) = attached.iter().position(is_it) else {
            let name = &command.policy.name;
            return no_such(format!("Policy {name} was not found."));
        };
        let policy = attached.remove(at);
        self.leave_policy(&policy)?;
        self.set_attached(&command.principal, attached)
    }

    pub(super) fn set_boundary(&mut self, command: &SetBoundary) -> Outcome {
        let mut user = self.user(&command.user)?;
        let Some(boundary) =
            self.replace_boundary(user.boundary.as_ref(), command.policy.as_ref())?
        else {
            return Ok(Answer::Done);
        };
        user.boundary = boundary;
        self.put_user(&user)?;
        Ok(Answer::Done)
    }

    /// Counts the uses when one boundary takes the place of another, or none does; the new one, or `None` where nothing changes.
    pub(super) fn replace_boundary(
        &mut self,
        known: Option<&ManagedPolicyName>,
        wanted: Option<&ManagedPolicyName>,
    ) -> Outcome<Option<Option<ManagedPolicyName>>> {
        let boundary = match (known, wanted) {
            (None, None) => return Ok(None),
            (Some(known), Some(policy)) if known.is_same(policy) => return Ok(None),
            (_, None) => None,
            (_, Some(policy)) => Some(self.use_policy(policy)?),
        };
        if let Some(known) = known {
            self.leave_policy(known)?;
        }
        Ok(Some(boundary))
    }

    /// Counts a use of a managed policy that must exist; its name as it was given when it was created.
    pub(super) fn use_policy(&mut self, policy: &ManagedPolicyName) -> Outcome<ManagedPolicyName> {
        if policy.source == PolicySource::BuiltIn {
            check_text(is_group_name(&policy.name), POLICY_NAME)?;
            return Ok(policy.clone());
        }
        let mut row = self.managed_policy(&policy.name)?;
        row.uses += 1;
        self.put(&key::managed_policy(&row.name), &row)?;
        Ok(ManagedPolicyName {
            source: PolicySource::State,
            name: row.name,
        })
    }

    /// Counts a use of a managed policy no more.
    pub(super) fn leave_policy(&mut self, policy: &ManagedPolicyName) -> Outcome<()> {
        if policy.source == PolicySource::BuiltIn {
            return Ok(());
        }
        let Some(mut row) = self.view().managed_policy(&policy.name)? else {
            let what = format!("policy {} is in use and does not exist", policy.name);
            return Err(StoreError::Invariant(what).into());
        };
        row.uses = one_less(row.uses, "the uses of a policy")?;
        self.put(&key::managed_policy(&row.name), &row)?;
        Ok(())
    }

    fn attached(&self, principal: &Principal) -> Outcome<Vec<ManagedPolicyName>> {
        match principal {
            Principal::User(name) => Ok(self.user(name)?.attached),
            Principal::Group(name) => Ok(self.user_group(name)?.attached),
            Principal::Role(name) => Ok(self.role(name)?.attached),
        }
    }

    fn set_attached(&mut self, principal: &Principal, attached: Vec<ManagedPolicyName>) -> Outcome {
        match principal {
            Principal::User(name) => {
                let user = self.user(name)?;
                self.put_user(&User { attached, ..user })?;
            }
            Principal::Group(name) => {
                let group = self.user_group(name)?;
                self.put_group(&Group { attached, ..group })?;
            }
            Principal::Role(name) => {
                let role = self.role(name)?;
                self.put_role(&Role { attached, ..role })?;
            }
        }
        Ok(Answer::Done)
    }

    /// The principal, who must exist, under the name that was given at first.
    fn named_principal(&self, principal: &Principal) -> Outcome<Principal> {
        match principal {
            Principal::User(name) => Ok(Principal::User(self.user(name)?.name)),
            Principal::Group(name) => Ok(Principal::Group(self.user_group(name)?.name)),
            Principal::Role(name) => Ok(Principal::Role(self.role(name)?.name)),
        }
    }

    fn user(&self, name: &str) -> Outcome<User> {
        check_text(is_user_name(name), USER_NAME)?;
        match self.view().user(name)? {
            Some(user) => Ok(user),
            None => no_such(format!("The user with name {name} cannot be found.")),
        }
    }

    fn user_group(&self, name: &str) -> Outcome<Group> {
        check_text(is_group_name(name), GROUP_NAME)?;
        match self.view().user_group(name)? {
            Some(group) => Ok(group),
            None => no_such(format!("The group with name {name} cannot be found.")),
        }
    }

    fn access_key(&self, id: &str) -> Outcome<AccessKey> {
        check_text(is_user_key_id(id), KEY_ID)?;
        match self.view().access_key(id)? {
            Some(row) => Ok(row),
            None => no_such(format!("The Access Key with id {id} cannot be found.")),
        }
    }

    fn managed_policy(&self, name: &str) -> Outcome<ManagedPolicy> {
        check_text(is_group_name(name), POLICY_NAME)?;
        match self.view().managed_policy(name)? {
            Some(row) => Ok(row),
            None => no_such(format!("Policy {name} was not found.")),
        }
    }

    /// The user of a key, who is not deleted while there is one.
    fn owner_of(&self, row: &AccessKey) -> Outcome<User> {
        let user = self.view().user(&row.user)?;
        user.ok_or_else(|| {
            StoreError::Invariant(format!("access key {} belongs to nobody", row.id)).into()
        })
    }

    /// Refuses a key that can be none, or whose id is taken.
    pub(super) fn check_new_key(&self, id: &str, secret: &AccessKeySecret) -> Outcome<()> {
        if !is_user_key_id(id) || !is_user_secret(&secret.0) {
            return invalid(
                "an access key id has 16 to 128 letters, digits and _, its secret 8 to 128 characters of printable ASCII",
            );
        }
        match self.is_key_id_taken(id)? {
            true => already_exists(format!("The Access Key with id {id} already exists.")),
            false => Ok(()),
        }
    }

    /// Whether an access key id belongs to a user or an account's root, or is the root key's.
    fn is_key_id_taken(&self, id: &str) -> Outcome<bool> {
        let view = self.view();
        let root = view.root_key()?;
        let is_root = root.is_some_and(|root| root.access_key_id == id);
        Ok(is_root || view.access_key(id)?.is_some())
    }

    /// Whether another row may come under a prefix.
    pub(super) fn check_count(&self, prefix: &[u8], most: usize, quota: &str) -> Outcome<()> {
        let mut scan = self.table.scan(self.txn, prefix, prefix)?;
        let mut count = 0;
        while count < most && scan.next_raw()?.is_some() {
            count += 1;
        }
        check_quota(count, most, quota)
    }

    fn check_policy(&self, name: &str, document: &str) -> Outcome<()> {
        check_text(is_group_name(name), POLICY_NAME)?;
        if document.is_empty() || document.len() > self.limits.policy_bytes_max {
            return invalid("the document of a policy has 1 to 32,768 bytes");
        }
        Ok(())
    }

    fn put_user(&mut self, user: &User) -> Result<(), StoreError> {
        self.put(&key::user(&user.name), user)
    }

    fn put_group(&mut self, group: &Group) -> Result<(), StoreError> {
        self.put(&key::user_group(&group.name), group)
    }
}

const USER_NAME: &str = "a user's name has 1 to 64 letters, digits and _+=,.@-";
const GROUP_NAME: &str = "a group's name has 1 to 128 letters, digits and _+=,.@-";
const KEY_ID: &str = "an access key id has 16 to 128 letters, digits and _";
const POLICY_NAME: &str = "a policy's name has 1 to 128 letters, digits and _+=,.@-";

/// Refuses a text that cannot be what it is given for, without quoting it.
pub(super) fn check_text(may_be: bool, what_is: &str) -> Outcome<()> {
    match may_be {
        true => Ok(()),
        false => invalid(what_is),
    }
}

fn check_path(path: &str) -> Outcome<()> {
    check_text(
        is_path(path),
        "a path begins and ends with / and has at most 512 characters",
    )
}

pub(super) fn check_entity(path: &str, id: &str) -> Outcome<()> {
    check_path(path)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !ENTITY_ID_CHARACTERS.contains(&id.len()) || !id.bytes().all(is_plain) {
        return invalid("an id has 16 to 128 letters, digits and _");
    }
    Ok(())
}

pub(super) fn check_quota(count: usize, most: usize, quota: &str) -> Outcome<()> {
    match count < most {
        true => Ok(()),
        false => limit_exceeded(format!("Cannot exceed quota for {quota}: {most}")),
    }
}

pub(super) fn refuse_delete(must: Option<&str>) -> Outcome<()> {
    match must {
        None => Ok(()),
        Some(must) => {
            let message = format!("Cannot delete entity, {must}");
            Err(Refusal::DeleteConflict(message).into())
        }
    }
}

fn kind_of(principal: &Principal) -> &'static str {
    match principal {
        Principal::User(_) => "user",
        Principal::Group(_) => "group",
        Principal::Role(_) => "role",
    }
}

fn one_less(count: u32, what: &str) -> Result<u32, StoreError> {
    let less = count.checked_sub(1);
    less.ok_or_else(|| StoreError::Invariant(format!("{what} are fewer than none")))
}

pub(super) fn already_exists<T>(message: String) -> Outcome<T> {
    Err(Refusal::EntityAlreadyExists(message).into())
}

pub(super) fn no_such<T>(message: String) -> Outcome<T> {
    Err(Refusal::NoSuchEntity(message).into())
}

pub(super) fn limit_exceeded<T>(message: String) -> Outcome<T> {
    Err(Refusal::LimitExceeded(message).into())
}
