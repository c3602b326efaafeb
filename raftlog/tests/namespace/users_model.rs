//! Random commands about users, groups, roles, access keys and policies against a model in maps: outcome by outcome, and all that is found again and
//! again.

use std::collections::{BTreeMap, BTreeSet};

use strata_raftlog::namespace::command::{
    Answer, AttachPolicy, Command, DeleteAccessKey, DeleteGroup, DeleteInlinePolicy,
    DeleteManagedPolicy, DeleteRole, DeleteUser, DetachPolicy, PutInlinePolicy, Refusal,
    SetAccessKeyActive, SetBoundary, SetMembership, SetRoleBoundary, UpdateUser,
};
use strata_raftlog::namespace::{PolicyText, Principal, View};

use crate::random::Random;
use crate::roles::{TRUST, create_role, update_trust};
use crate::support::Cluster;
use crate::users::{create_group, create_key, create_user, group, policy, put_policy, user};

const USERS: [&str; 4] = ["ann", "bob", "cyd", "ann-x"];
const GROUPS: [&str; 3] = ["ann", "ops", "dev"];
const ROLES: [&str; 2] = ["ann", "job"];
const POLICIES: [&str; 3] = ["read", "write", "bound"];
const KEYS: [&str; 4] = [
    "AKIA0000000000000001",
    "AKIA0000000000000002",
    "AKIA0000000000000003",
    "AKIA0000000000000004",
];

/// What became of a command.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Done,
    Exists,
    Absent,
    Conflict,
}

/// What a user or a group has.
#[derive(Default)]
struct Has {
    inline: BTreeMap<&'static str, String>,
    attached: Vec<&'static str>,
}

#[derive(Default)]
struct Model {
    users: BTreeMap<&'static str, Has>,
    groups: BTreeMap<&'static str, Has>,
    roles: BTreeMap<&'static str, Has>,
    members: BTreeSet<(&'static str, &'static str)>,
    keys: BTreeMap<&'static str, (&'static str, bool)>,
    policies: BTreeMap<&'static str, String>,
    boundaries: BTreeMap<&'static str, &'static str>,
    role_boundaries: BTreeMap<&'static str, &'static str>,
    /// What was last said of who may assume a role.
    trusts: BTreeMap<&'static str, String>,
    /// In the order in which users were put in groups.
    joined: Vec<(&'static str, &'static str)>,
}

/// A user, a group or a role.
#[derive(Clone, Copy)]
enum Who {
    User(&'static str),
    Group(&'static str),
    Role(&'static str),
}

impl Who {
    fn some(random: &mut Random) -> Who {
        match random.below(3) {
            0 => Who::User(one(random, &USERS)),
            1 => Who::Role(one(random, &ROLES)),
            _ => Who::Group(one(random, &GROUPS)),
        }
    }

    fn principal(self) -> Principal {
        match self {
            Who::User(name) => user(name),
            Who::Group(name) => group(name),
            Who::Role(name) => Principal::Role(name.into()),
        }
    }
}

fn one(random: &mut Random, of: &[&'static str]) -> &'static str {
    of[random.below(of.len())]
}

impl Model {
    fn has(&mut self, who: Who) -> Option<&mut Has> {
        match who {
            Who::User(name) => self.users.get_mut(name),
            Who::Group(name) => self.groups.get_mut(name),
            Who::Role(name) => self.roles.get_mut(name),
        }
    }

    fn is_used(&self, policy: &str) -> bool {
        let all = self.users.values().chain(self.groups.values());
        let mut boundaries = self
            .boundaries
            .values()
            .chain(self.role_boundaries.values());
        all.chain(self.roles.values())
            .any(|has| has.attached.contains(&policy))
            || boundaries.any(|known| *known == policy)
    }
}

fn step(random: &mut Random, model: &mut Model) -> (Command, Came) {
    match random.below(5) {
        0 => of_users(random, model),
        3 => of_roles(random, model),
        1 => of_keys(random, model),
        2 => of_groups(random, model),
        _ => of_policies(random, model),
    }
}

fn of_users(random: &mut Random, model: &mut Model) -> (Command, Came) {
    let name = one(random, &USERS);
    let is_there = model.users.contains_key(name);
    match random.below(5) {
        4 => rename(one(random, &USERS), name, model),
        0 => {
            let is_free = model.users.get(name).is_some_and(|has| {
                has.inline.is_empty()
                    && has.attached.is_empty()
                    && !model.members.iter().any(|(member, _)| *member == name)
                    && !model.keys.values().any(|(owner, _)| *owner == name)
            });
            let came = match (is_there, is_free) {
                (false, _) => Came::Absent,
                (true, false) => Came::Conflict,
                (true, true) => Came::Done,
            };
            if is_free {
                model.users.remove(name);
                model.boundaries.remove(name);
            }
            (DeleteUser { name: name.into() }.into(), came)
        }
        1 => {
            let bound = one(random, &POLICIES);
            let wants = random.below(2) == 0;
            let exists = model.policies.contains_key(bound);
            let command = SetBoundary {
                user: name.into(),
                policy: wants.then(|| policy(bound)),
            };
            if !is_there || (wants && !exists) {
                return (command.into(), Came::Absent);
            }
            match wants {
                true => model.boundaries.insert(name, bound),
                false => model.boundaries.remove(name),
            };
            (command.into(), Came::Done)
        }
        _ => {
            let came = match is_there {
                true => Came::Exists,
                false => Came::Done,
            };
            model.users.entry(name).or_default();
            (create_user(name).into(), came)
        }
    }
}

fn rename(from: &'static str, to: &'static str, model: &mut Model) -> (Command, Came) {
    let command = UpdateUser {
        user: from.into(),
        name: Some(to.into()),
        path: None,
    };
    if !model.users.contains_key(from) {
        return (command.into(), Came::Absent);
    }
    if from != to && model.users.contains_key(to) {
        return (command.into(), Came::Exists);
    }
    let has = model.users.remove(from).unwrap_or_default();
    model.users.insert(to, has);
    if let Some(bound) = model.boundaries.remove(from) {
        model.boundaries.insert(to, bound);
    }
    let renamed = |name: &'static str| if name == from { to } else { name };
    for (owner, _) in model.keys.values_mut() {
        *owner = renamed(owner);
    }
    let members = std::mem::take(&mut model.members).into_iter();
    model.members = members
        .map(|(user, group)| (renamed(user), group))
        .collect();
    for (user, _) in &mut model.joined {
        *user = renamed(user);
    }
    (command.into(), Came::Done)
}

fn of_keys(random: &mut Random, model: &mut Model) -> (Command, Came) {
    let (id, owner) = (one(random, &KEYS), one(random, &USERS));
    let is_there = model.keys.contains_key(id);
    let access_key_id = id.to_owned();
    match random.below(4) {
        0 => {
            let came = match model.keys.remove(id) {
                Some(_) => Came::Done,
                None => Came::Absent,
            };
            (DeleteAccessKey { access_key_id }.into(), came)
        }
        1 => {
            let active = random.below(2) == 0;
            let known = model.keys.get_mut(id);
            let came = known.map_or(Came::Absent, |key| {
                key.1 = active;
                Came::Done
            });
            (
                SetAccessKeyActive {
                    access_key_id,
                    active,
                }
                .into(),
                came,
            )
        }
        _ => {
            let came = match (model.users.contains_key(owner), is_there) {
                (false, _) => Came::Absent,
                (true, true) => Came::Exists,
                (true, false) => Came::Done,
            };
            if came == Came::Done {
                model.keys.insert(id, (owner, true));
            }
            (create_key(owner, id).into(), came)
        }
    }
}

fn of_groups(random: &mut Random, model: &mut Model) -> (Command, Came) {
    let (name, member) = (one(random, &GROUPS), one(random, &USERS));
    let is_there = model.groups.contains_key(name);
    match random.below(5) {
        0 => {
            let has = model.groups.get(name);
            let is_free = has.is_some_and(|has| has.inline.is_empty() && has.attached.is_empty())
                && !model.members.iter().any(|(_, of)| *of == name);
            let came = match (is_there, is_free) {
                (false, _) => Came::Absent,
                (true, false) => Came::Conflict,
                (true, true) => Came::Done,
            };
            if is_free {
                model.groups.remove(name);
            }
            (DeleteGroup { name: name.into() }.into(), came)
        }
        1 | 2 => {
            let joins = random.below(3) > 0;
            let command = SetMembership {
                user: member.into(),
                group: name.into(),
                member: joins,
            };
            if !is_there || !model.users.contains_key(member) {
                return (command.into(), Came::Absent);
            }
            let pair = (member, name);
            match joins {
                true if model.members.insert(pair) => model.joined.push(pair),
                false if model.members.remove(&pair) => model.joined.retain(|known| *known != pair),
                _ => {}
            }
            (command.into(), Came::Done)
        }
        _ => {
            let came = match is_there {
                true => Came::Exists,
                false => Came::Done,
            };
            model.groups.entry(name).or_default();
            (create_group(name).into(), came)
        }
    }
}

fn of_roles(random: &mut Random, model: &mut Model) -> (Command, Came) {
    let name = one(random, &ROLES);
    let is_there = model.roles.contains_key(name);
    match random.below(5) {
        0 => {
            let has = model.roles.get(name);
            let is_free = has.is_some_and(|has| has.inline.is_empty() && has.attached.is_empty());
            let came = match (is_there, is_free) {
                (false, _) => Came::Absent,
                (true, false) => Came::Conflict,
                (true, true) => Came::Done,
            };
            if is_free {
                model.roles.remove(name);
                model.role_boundaries.remove(name);
            }
            (DeleteRole { name: name.into() }.into(), came)
        }
        1 => {
            let bound = one(random, &POLICIES);
            let wants = random.below(2) == 0;
            let command = SetRoleBoundary {
                role: name.into(),
                policy: wants.then(|| policy(bound)),
            };
            if !is_there || (wants && !model.policies.contains_key(bound)) {
                return (command.into(), Came::Absent);
            }
            match wants {
                true => model.role_boundaries.insert(name, bound),
                false => model.role_boundaries.remove(name),
            };
            (command.into(), Came::Done)
        }
        2 => {
            let trust = format!("{{{}}}", random.below(1_000));
            let came = match is_there {
                true => Came::Done,
                false => Came::Absent,
            };
            if is_there {
                model.trusts.insert(name, trust.clone());
            }
            (update_trust(name, &trust).into(), came)
        }
        _ => {
            let came = match is_there {
                true => Came::Exists,
                false => Came::Done,
            };
            if !is_there {
                model.roles.insert(name, Has::default());
                model.trusts.insert(name, TRUST.to_owned());
            }
            (create_role(name).into(), came)
        }
    }
}

fn of_policies(random: &mut Random, model: &mut Model) -> (Command, Came) {
    let (who, name) = (Who::some(random), one(random, &POLICIES));
    let (principal, text) = (who.principal(), format!("{{{}}}", random.below(1_000)));
    let exists = model.policies.contains_key(name);
    match random.below(7) {
        0 | 1 => {
            model.policies.insert(name, text.clone());
            (put_policy(name, &text).into(), Came::Done)
        }
        2 => {
            let came = match (exists, model.is_used(name)) {
                (false, _) => Came::Absent,
                (true, true) => Came::Conflict,
                (true, false) => Came::Done,
            };
            if came == Came::Done {
                model.policies.remove(name);
            }
            (DeleteManagedPolicy { name: name.into() }.into(), came)
        }
        3 => {
            let has = model.has(who);
            let came = has.map_or(Came::Absent, |has| {
                has.inline.insert(name, text.clone());
                Came::Done
            });
            let (name, document) = (name.to_owned(), text);
            (
                PutInlinePolicy {
                    principal,
                    name,
                    document,
                }
                .into(),
                came,
            )
        }
        4 => {
            let removed = model.has(who).and_then(|has| has.inline.remove(name));
            let came = removed.map_or(Came::Absent, |_| Came::Done);
            let name = name.to_owned();
            (DeleteInlinePolicy { principal, name }.into(), came)
        }
        5 => {
            let policy = policy(name);
            let command = AttachPolicy { principal, policy };
            let Some(has) = model.has(who).filter(|_| exists) else {
                return (command.into(), Came::Absent);
            };
            if !has.attached.contains(&name) {
                has.attached.push(name);
            }
            (command.into(), Came::Done)
        }
        _ => {
            let policy = policy(name);
            let has = model.has(who).filter(|has| has.attached.contains(&name));
            let came = has.map_or(Came::Absent, |has| {
                has.attached.retain(|known| *known != name);
                Came::Done
            });
            (DetachPolicy { principal, policy }.into(), came)
        }
    }
}

fn came(answer: Answer) -> Came {
    match answer {
        Answer::Done => Came::Done,
        Answer::Refused(Refusal::EntityAlreadyExists(_)) => Came::Exists,
        Answer::Refused(Refusal::NoSuchEntity(_)) => Came::Absent,
        Answer::Refused(Refusal::DeleteConflict(_)) => Came::Conflict,
        other => panic!("{other:?}"),
    }
}

fn texts(model: &Model, has: &Has) -> Vec<PolicyText> {
    let inline = has.inline.values().cloned();
    let attached = has.attached.iter().map(|name| model.policies[name].clone());
    inline.chain(attached).map(PolicyText::Document).collect()
}

fn compare(view: &View<'_>, model: &Model) {
    let found = view.users().unwrap().into_iter().map(|user| user.name);
    let mut known: Vec<&str> = model.users.keys().copied().collect();
    known.sort_unstable();
    assert_eq!(found.collect::<Vec<_>>(), known);
    for (name, has) in &model.users {
        let found = view.user_policies(name).unwrap().unwrap();
        let groups = model.joined.iter().filter(|(member, _)| member == name);
        let groups: Vec<&str> = groups.map(|(_, group)| *group).collect();
        assert_eq!(found.user.groups, groups, "{name}");
        let of_groups = groups
            .iter()
            .flat_map(|group| texts(model, &model.groups[group]));
        let all: Vec<PolicyText> = texts(model, has).into_iter().chain(of_groups).collect();
        assert_eq!(found.policies, all, "{name}");
        let bound = model
            .boundaries
            .get(name)
            .map(|bound| &model.policies[bound]);
        assert_eq!(found.boundary, bound.cloned().map(PolicyText::Document));
        let mut ids = found.user.access_key_ids;
        ids.sort_unstable();
        let keys = model.keys.iter().filter(|(_, (owner, _))| owner == name);
        assert_eq!(ids, keys.map(|(id, _)| *id).collect::<Vec<_>>());
    }
    for id in KEYS {
        let found = view
            .access_key(id)
            .unwrap()
            .map(|key| (key.user, key.active));
        let known = model
            .keys
            .get(id)
            .map(|(owner, active)| ((*owner).to_owned(), *active));
        assert_eq!(found, known, "{id}");
    }
    for group in view.user_groups().unwrap() {
        let members = model.members.iter().filter(|(_, of)| *of == group.name);
        assert_eq!(group.members as usize, members.count(), "{}", group.name);
    }
    assert_eq!(view.user_groups().unwrap().len(), model.groups.len());
    assert_eq!(view.roles().unwrap().len(), model.roles.len());
    for (name, has) in &model.roles {
        let found = view.role_policies(name).unwrap().unwrap();
        assert_eq!(found.policies, texts(model, has), "{name}");
        assert_eq!(found.role.trust_policy, model.trusts[name], "{name}");
        let bound = model.role_boundaries.get(name);
        let bound = bound.map(|bound| PolicyText::Document(model.policies[bound].clone()));
        assert_eq!(found.boundary, bound, "{name}");
    }
    for row in view.managed_policies().unwrap() {
        assert_eq!(row.document, model.policies[&*row.name]);
        assert_eq!(row.uses > 0, model.is_used(&row.name), "{}", row.name);
    }
    assert_eq!(view.managed_policies().unwrap().len(), model.policies.len());
}

#[test]
fn random_histories_of_users_are_those_of_the_model() {
    for seed in 0..4 {
        let (mut random, mut model) = (Random::new(seed), Model::default());
        let mut cluster = Cluster::new();
        let mut conflicts = 0;
        for number in 0..600 {
            let (command, expected) = step(&mut random, &mut model);
            conflicts += usize::from(expected == Came::Conflict);
            let said = format!("seed {seed}, step {number}: {command:?}");
            assert_eq!(came(cluster.change(command)), expected, "{said}");
            if number % 50 == 49 {
                compare(&cluster.store.view().unwrap(), &model);
            }
        }
        assert!(conflicts > 5, "what is in use was to be deleted as well");
    }
}
