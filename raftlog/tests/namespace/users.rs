//! Users, groups, access keys and policies: what commands do, what they refuse and with which words, and what is found.

use strata_raftlog::namespace::command::{
    Answer, AttachPolicy, Command, CreateAccessKey, CreateGroup, CreateUser, DeleteAccessKey,
    DeleteGroup, DeleteInlinePolicy, DeleteManagedPolicy, DeleteUser, DetachPolicy,
    PutInlinePolicy, PutManagedPolicy, Refusal, SetAccessKeyActive, SetBoundary, SetMembership,
    SetRootKey, UpdateUser,
};
use strata_raftlog::namespace::{
    AccessKeySecret, ManagedPolicyName, PolicySource, PolicyText, Principal, RootKey, describe,
};

use crate::commands::initialise;
use crate::support::Cluster;

pub fn create_user(name: &str) -> CreateUser {
    CreateUser {
        name: name.into(),
        path: "/".into(),
        id: format!("AIDA{:0>17}", name.to_ascii_uppercase().replace('-', "_")),
        account: 1,
        boundary: None,
    }
}

pub fn create_group(name: &str) -> CreateGroup {
    CreateGroup {
        name: name.into(),
        path: "/".into(),
        id: format!("AGPA{:0>17}", name.to_ascii_uppercase()),
        account: 1,
    }
}

pub fn create_key(user: &str, id: &str) -> CreateAccessKey {
    CreateAccessKey {
        user: user.into(),
        access_key_id: id.into(),
        secret_access_key: AccessKeySecret(format!("hushhush/{id}")),
    }
}

pub fn put_policy(name: &str, document: &str) -> PutManagedPolicy {
    PutManagedPolicy {
        name: name.into(),
        id: "ANPA00000000000000001".into(),
        document: document.into(),
    }
}

pub fn user(name: &str) -> Principal {
    Principal::User(name.into())
}

pub fn group(name: &str) -> Principal {
    Principal::Group(name.into())
}

pub fn policy(name: &str) -> ManagedPolicyName {
    ManagedPolicyName {
        source: PolicySource::State,
        name: name.into(),
    }
}

fn built_in(name: &str) -> ManagedPolicyName {
    ManagedPolicyName {
        source: PolicySource::BuiltIn,
        name: name.into(),
    }
}

pub fn done(cluster: &mut Cluster, command: impl Into<Command>) {
    let command = command.into();
    let said = format!("{command:?}");
    assert_eq!(cluster.change(command), Answer::Done, "{said}");
}

/// The refusal of a command that has to be refused.
pub fn refused(cluster: &mut Cluster, command: impl Into<Command>) -> Refusal {
    match cluster.change(command) {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn membership(user: &str, group: &str, member: bool) -> SetMembership {
    SetMembership {
        user: user.into(),
        group: group.into(),
        member,
    }
}

fn inline(principal: Principal, name: &str, document: &str) -> PutInlinePolicy {
    PutInlinePolicy {
        principal,
        name: name.into(),
        document: document.into(),
    }
}

const KEY: &str = "AKIA0000000000000001";

#[test]
fn a_user_is_created_once_whatever_the_case_and_found_so() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    let taken = refused(&mut cluster, create_user("aLICE"));
    assert_eq!(
        taken,
        Refusal::EntityAlreadyExists("User with name aLICE already exists.".into())
    );
    done(&mut cluster, create_user("alic"));
    let view = cluster.store.view().unwrap();
    let found = view.user("ALICE").unwrap().unwrap();
    assert_eq!(
        (&*found.name, &*found.path, found.account),
        ("Alice", "/", 1)
    );
    assert_eq!(found.created_nanos, cluster.time_nanos);
    assert_eq!(view.user("bob").unwrap(), None);
    assert_eq!(view.user(&"x".repeat(3_000)).unwrap(), None);
    let names: Vec<String> = view
        .users()
        .unwrap()
        .into_iter()
        .map(|user| user.name)
        .collect();
    assert_eq!(names, ["alic", "Alice"]);
    drop(view);
    for wrong in [
        CreateUser {
            name: "a b".into(),
            ..create_user("x")
        },
        CreateUser {
            name: String::new(),
            ..create_user("x")
        },
        CreateUser {
            path: "no".into(),
            ..create_user("x")
        },
        CreateUser {
            id: "AIDA".into(),
            ..create_user("x")
        },
    ] {
        assert!(matches!(refused(&mut cluster, wrong), Refusal::Invalid(_)));
    }
    done(
        &mut cluster,
        DeleteUser {
            name: "ALICE".into(),
        },
    );
    let gone = refused(
        &mut cluster,
        DeleteUser {
            name: "Alice".into(),
        },
    );
    assert_eq!(
        gone,
        Refusal::NoSuchEntity("The user with name Alice cannot be found.".into())
    );
}

#[test]
fn an_access_key_belongs_to_one_user_and_is_found_by_its_id() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, create_user("Bob"));
    done(&mut cluster, create_key("alice", KEY));
    for user in ["Alice", "Bob"] {
        let taken = refused(&mut cluster, create_key(user, KEY));
        assert!(
            matches!(taken, Refusal::EntityAlreadyExists(_)),
            "{taken:?}"
        );
    }
    let view = cluster.store.view().unwrap();
    let found = view.access_key(KEY).unwrap().unwrap();
    assert_eq!((&*found.user, found.active), ("Alice", true));
    assert_eq!(found.secret.0, format!("hushhush/{KEY}"));
    assert_eq!(view.access_key("AKIA0000000000000002").unwrap(), None);
    assert_eq!(view.access_key(&"A".repeat(4_000)).unwrap(), None);
    drop(view);
    for active in [false, false, true] {
        let access_key_id = KEY.to_owned();
        done(
            &mut cluster,
            SetAccessKeyActive {
                access_key_id,
                active,
            },
        );
        let view = cluster.store.view().unwrap();
        assert_eq!(view.access_key(KEY).unwrap().unwrap().active, active);
    }
    let conflict = refused(
        &mut cluster,
        DeleteUser {
            name: "Alice".into(),
        },
    );
    let why = "Cannot delete entity, must delete access keys first.";
    assert_eq!(conflict, Refusal::DeleteConflict(why.into()));
    let access_key_id = KEY.to_owned();
    done(&mut cluster, DeleteAccessKey { access_key_id });
    let access_key_id = KEY.to_owned();
    let gone = refused(&mut cluster, DeleteAccessKey { access_key_id });
    assert!(matches!(gone, Refusal::NoSuchEntity(_)));
    done(
        &mut cluster,
        DeleteUser {
            name: "Alice".into(),
        },
    );
    done(&mut cluster, create_key("Bob", KEY));
}

#[test]
fn the_root_key_and_the_keys_of_users_have_different_ids() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    let root = |id: &str| SetRootKey {
        key: RootKey {
            access_key_id: id.into(),
            secret_access_key: "hushhush".into(),
        },
    };
    done(&mut cluster, root("STRATAROOTKEY0000001"));
    let taken = refused(&mut cluster, create_key("Alice", "STRATAROOTKEY0000001"));
    assert!(matches!(taken, Refusal::EntityAlreadyExists(_)));
    done(&mut cluster, create_key("Alice", KEY));
    let taken = refused(&mut cluster, root(KEY));
    assert!(matches!(taken, Refusal::EntityAlreadyExists(_)));
    let view = cluster.store.view().unwrap();
    let id = view.root_key().unwrap().unwrap().access_key_id;
    assert_eq!(id, "STRATAROOTKEY0000001");
    assert_ne!(initialise().root_key.access_key_id, id);
}

#[test]
fn a_user_has_at_most_sixteen_keys_and_is_in_at_most_ten_groups() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    for number in 0..16 {
        done(
            &mut cluster,
            create_key("Alice", &format!("AKIA{number:016}")),
        );
    }
    let full = refused(
        &mut cluster,
        create_key("Alice", &format!("AKIA{:016}", 16)),
    );
    assert_eq!(
        full,
        Refusal::LimitExceeded("Cannot exceed quota for AccessKeysPerUser: 16".into())
    );
    for number in 0..11 {
        done(&mut cluster, create_group(&format!("g{number}")));
    }
    for number in 0..10 {
        done(
            &mut cluster,
            membership("Alice", &format!("g{number}"), true),
        );
    }
    let full = refused(&mut cluster, membership("Alice", "g10", true));
    assert!(matches!(full, Refusal::LimitExceeded(_)));
    done(&mut cluster, membership("Alice", "G3", true));
    let view = cluster.store.view().unwrap();
    assert_eq!(view.user("Alice").unwrap().unwrap().groups.len(), 10);
    assert_eq!(view.user_group("g3").unwrap().unwrap().members, 1);
    assert_eq!(view.user_groups().unwrap().len(), 11);
}

#[test]
fn a_group_with_users_stays() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, create_group("Staff"));
    assert!(matches!(
        refused(&mut cluster, create_group("staff")),
        Refusal::EntityAlreadyExists(_)
    ));
    done(&mut cluster, membership("alice", "staff", true));
    for command in [
        Command::from(DeleteGroup {
            name: "staff".into(),
        }),
        Command::from(DeleteUser {
            name: "alice".into(),
        }),
    ] {
        let why = "Cannot delete entity, must remove users from group first.";
        let refusal = refused(&mut cluster, command);
        assert_eq!(refusal, Refusal::DeleteConflict(why.into()));
    }
    done(&mut cluster, membership("alice", "staff", false));
    done(&mut cluster, membership("alice", "staff", false));
    done(
        &mut cluster,
        DeleteGroup {
            name: "STAFF".into(),
        },
    );
    let gone = refused(&mut cluster, membership("alice", "staff", true));
    assert!(matches!(gone, Refusal::NoSuchEntity(_)));
    done(
        &mut cluster,
        DeleteUser {
            name: "alice".into(),
        },
    );
}

#[test]
fn policies_of_a_user_are_those_of_the_user_and_of_the_users_groups() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, create_group("Staff"));
    done(&mut cluster, membership("Alice", "Staff", true));
    done(&mut cluster, put_policy("Read", "{1}"));
    done(&mut cluster, put_policy("Bound", "{2}"));
    done(&mut cluster, inline(user("alice"), "Own", "{3}"));
    done(&mut cluster, inline(group("staff"), "Own", "{4}"));
    let attach = |principal, policy| AttachPolicy { principal, policy };
    done(&mut cluster, attach(group("Staff"), policy("read")));
    done(
        &mut cluster,
        attach(user("Alice"), built_in("AmazonS3FullAccess")),
    );
    let boundary = |policy| SetBoundary {
        user: "Alice".into(),
        policy,
    };
    done(&mut cluster, boundary(Some(policy("Bound"))));
    let view = cluster.store.view().unwrap();
    let found = view.user_policies("alice").unwrap().unwrap();
    let document = |text: &str| PolicyText::Document(text.into());
    let built = PolicyText::BuiltIn("AmazonS3FullAccess".into());
    assert_eq!(
        found.policies,
        [document("{3}"), built, document("{4}"), document("{1}")]
    );
    assert_eq!(found.boundary, Some(document("{2}")));
    assert_eq!(view.user_policies("bob").unwrap(), None);
    drop(view);
    // A document that is put again is in force wherever the policy is attached.
    done(&mut cluster, put_policy("READ", "{5}"));
    let view = cluster.store.view().unwrap();
    let found = view.user_policies("alice").unwrap().unwrap();
    assert_eq!(found.policies[3], document("{5}"));
    assert_eq!(view.managed_policy("read").unwrap().unwrap().uses, 1);
    drop(view);
    for name in ["read", "bound"] {
        let refusal = refused(&mut cluster, DeleteManagedPolicy { name: name.into() });
        assert!(matches!(refusal, Refusal::DeleteConflict(_)), "{refusal:?}");
    }
    done(&mut cluster, boundary(None));
    done(&mut cluster, boundary(None));
    done(
        &mut cluster,
        DeleteManagedPolicy {
            name: "bound".into(),
        },
    );
    let detach = |principal, policy| DetachPolicy { principal, policy };
    done(&mut cluster, detach(group("Staff"), policy("Read")));
    let gone = refused(&mut cluster, detach(group("Staff"), policy("Read")));
    assert!(matches!(gone, Refusal::NoSuchEntity(_)));
    done(
        &mut cluster,
        DeleteManagedPolicy {
            name: "read".into(),
        },
    );
    let absent = refused(&mut cluster, attach(user("Alice"), policy("Read")));
    assert!(matches!(absent, Refusal::NoSuchEntity(_)));
}

#[test]
fn who_has_policies_is_not_deleted() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, create_user("Alic"));
    done(&mut cluster, create_group("Alice"));
    done(&mut cluster, inline(user("Alice"), "Own", "{}"));
    done(
        &mut cluster,
        DeleteUser {
            name: "Alic".into(),
        },
    );
    done(
        &mut cluster,
        DeleteGroup {
            name: "Alice".into(),
        },
    );
    let why = "Cannot delete entity, must delete policies first.";
    let refusal = refused(
        &mut cluster,
        DeleteUser {
            name: "Alice".into(),
        },
    );
    assert_eq!(refusal, Refusal::DeleteConflict(why.into()));
    let delete = || DeleteInlinePolicy {
        principal: user("alice"),
        name: "OWN".into(),
    };
    done(&mut cluster, delete());
    assert!(matches!(
        refused(&mut cluster, delete()),
        Refusal::NoSuchEntity(_)
    ));
    let policy = built_in("AmazonS3FullAccess");
    let attach = AttachPolicy {
        principal: user("Alice"),
        policy: policy.clone(),
    };
    done(&mut cluster, attach);
    let why = "Cannot delete entity, must detach all policies first.";
    let refusal = refused(
        &mut cluster,
        DeleteUser {
            name: "Alice".into(),
        },
    );
    assert_eq!(refusal, Refusal::DeleteConflict(why.into()));
    let detach = DetachPolicy {
        principal: user("Alice"),
        policy,
    };
    done(&mut cluster, detach);
    done(
        &mut cluster,
        DeleteUser {
            name: "Alice".into(),
        },
    );
}

#[test]
fn a_boundary_goes_with_its_user() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, put_policy("Bound", "{}"));
    let bound = SetBoundary {
        user: "Alice".into(),
        policy: Some(policy("Bound")),
    };
    done(&mut cluster, bound);
    let name = || "Bound".to_owned();
    let refusal = refused(&mut cluster, DeleteManagedPolicy { name: name() });
    assert!(matches!(refusal, Refusal::DeleteConflict(_)), "{refusal:?}");
    done(
        &mut cluster,
        DeleteUser {
            name: "Alice".into(),
        },
    );
    done(&mut cluster, DeleteManagedPolicy { name: name() });
}

/// Who is to be bounded is never there without the boundary.
#[test]
fn a_user_is_created_with_a_boundary_or_not_at_all() {
    let mut cluster = Cluster::new();
    let bounded = || CreateUser {
        boundary: Some(policy("bound")),
        ..create_user("Alice")
    };
    let missing = refused(&mut cluster, bounded());
    assert!(matches!(missing, Refusal::NoSuchEntity(_)), "{missing:?}");
    assert_eq!(cluster.store.view().unwrap().user("Alice").unwrap(), None);
    done(&mut cluster, put_policy("Bound", "{}"));
    done(&mut cluster, bounded());
    let user = cluster.store.view().unwrap().user("Alice").unwrap();
    assert_eq!(user.unwrap().boundary, Some(policy("Bound")));
    let delete = || DeleteManagedPolicy {
        name: "Bound".into(),
    };
    let used = refused(&mut cluster, delete());
    assert!(matches!(used, Refusal::DeleteConflict(_)), "{used:?}");
    let name = "Alice".into();
    done(&mut cluster, DeleteUser { name });
    done(&mut cluster, delete());
}

#[test]
fn a_renamed_user_keeps_all_but_the_name() {
    let mut cluster = Cluster::new();
    let id = "AKIA0000000000000001";
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, create_user("Bob"));
    done(&mut cluster, create_group("Staff"));
    done(&mut cluster, membership("Alice", "Staff", true));
    done(&mut cluster, create_key("Alice", id));
    done(&mut cluster, inline(user("alice"), "Own", "{1}"));
    let update = |user: &str, name: Option<&str>, path: Option<&str>| UpdateUser {
        user: user.into(),
        name: name.map(str::to_owned),
        path: path.map(str::to_owned),
    };
    let taken = refused(&mut cluster, update("alice", Some("BOB"), None));
    assert!(
        matches!(taken, Refusal::EntityAlreadyExists(_)),
        "{taken:?}"
    );
    let missing = refused(&mut cluster, update("carol", Some("dan"), None));
    assert!(matches!(missing, Refusal::NoSuchEntity(_)), "{missing:?}");
    for (name, path) in [(Some("a b"), None), (None, Some("staff"))] {
        let refusal = refused(&mut cluster, update("alice", name, path));
        assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal:?}");
    }
    done(
        &mut cluster,
        update("alice", Some("ALICE"), Some("/staff/")),
    );
    done(&mut cluster, update("alice", Some("Carol"), None));
    let view = cluster.store.view().unwrap();
    assert_eq!(view.user("alice").unwrap(), None);
    assert!(view.inline_policies(&user("alice")).unwrap().is_empty());
    let carol = view.user("carol").unwrap().unwrap();
    assert_eq!((&*carol.name, &*carol.path), ("Carol", "/staff/"));
    assert_eq!(carol.groups, ["Staff"]);
    assert_eq!(view.access_key(id).unwrap().unwrap().user, "Carol");
    assert_eq!(view.inline_policies(&user("carol")).unwrap().len(), 1);
    drop(view);
    done(&mut cluster, membership("carol", "staff", false));
}

#[test]
fn a_policy_is_replaced_under_its_id_alone() {
    let mut cluster = Cluster::new();
    done(&mut cluster, put_policy("Read", "{1}"));
    let mut other = put_policy("READ", "{2}");
    other.id = "ANPA00000000000000002".into();
    let refusal = refused(&mut cluster, other);
    assert!(
        matches!(refusal, Refusal::EntityAlreadyExists(_)),
        "{refusal:?}"
    );
    let view = cluster.store.view().unwrap();
    assert_eq!(
        view.managed_policy("read").unwrap().unwrap().document,
        "{1}"
    );
}

#[test]
fn policies_are_bounded_without_their_whitespace() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, create_group("Staff"));
    for (principal, most) in [(user("Alice"), 2_048), (group("Staff"), 5_120)] {
        let half = "x".repeat(most / 2) + &" \n".repeat(4_000);
        done(&mut cluster, inline(principal.clone(), "one", &half));
        done(&mut cluster, inline(principal.clone(), "two", &half));
        done(&mut cluster, inline(principal.clone(), "TWO", &half));
        let over = refused(&mut cluster, inline(principal.clone(), "three", "x"));
        assert!(matches!(over, Refusal::LimitExceeded(_)), "{over:?}");
        let over = refused(&mut cluster, inline(principal, "two", &(half + "x")));
        assert!(matches!(over, Refusal::LimitExceeded(_)), "{over:?}");
    }
    done(&mut cluster, put_policy("p", &"ä".repeat(6_144)));
    let over = refused(&mut cluster, put_policy("p", &"ä".repeat(6_145)));
    assert!(matches!(over, Refusal::LimitExceeded(_)));
    let spaces = " ".repeat(32 * 1024 + 1);
    for document in ["", &spaces] {
        let refusal = refused(&mut cluster, put_policy("p", document));
        assert!(matches!(refusal, Refusal::Invalid(_)));
    }
    for number in 0..10 {
        let name = format!("p{number}");
        done(&mut cluster, put_policy(&name, "{}"));
        let policy = policy(&name);
        let principal = user("Alice");
        done(&mut cluster, AttachPolicy { principal, policy });
    }
    let attach = AttachPolicy {
        principal: user("Alice"),
        policy: policy("p"),
    };
    let over = refused(&mut cluster, attach);
    assert_eq!(
        over,
        Refusal::LimitExceeded("Cannot exceed quota for PoliciesPerUser: 10".into())
    );
}

#[test]
fn what_can_be_no_name_is_refused_and_not_quoted() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, create_group("Staff"));
    let text = || "x/".repeat(10_000);
    for command in [
        Command::from(DeleteUser { name: text() }),
        DeleteGroup { name: text() }.into(),
        create_key(&text(), KEY).into(),
        SetAccessKeyActive {
            access_key_id: text(),
            active: false,
        }
        .into(),
        DeleteAccessKey {
            access_key_id: text(),
        }
        .into(),
        membership(&text(), "Staff", true).into(),
        membership("Alice", &text(), true).into(),
        inline(user(&text()), "Own", "{}").into(),
        inline(group(&text()), "Own", "{}").into(),
        DeleteInlinePolicy {
            principal: user("Alice"),
            name: text(),
        }
        .into(),
        DeleteManagedPolicy { name: text() }.into(),
        AttachPolicy {
            principal: user("Alice"),
            policy: policy(&text()),
        }
        .into(),
        DetachPolicy {
            principal: user("Alice"),
            policy: built_in(&text()),
        }
        .into(),
        SetBoundary {
            user: "Alice".into(),
            policy: Some(policy(&text())),
        }
        .into(),
    ] {
        let name = command.name();
        let refusal = refused(&mut cluster, command);
        assert!(matches!(refusal, Refusal::Invalid(_)), "{name}");
        assert!(refusal.to_string().len() < 200, "{name}");
    }
}

#[test]
fn readers_hear_of_every_change_and_secrets_are_in_no_description() {
    let mut cluster = Cluster::new();
    let mut version = cluster.store.settings_version();
    for command in [
        Command::from(create_user("Alice")),
        create_key("Alice", KEY).into(),
        SetAccessKeyActive {
            access_key_id: KEY.into(),
            active: false,
        }
        .into(),
        create_group("Staff").into(),
        membership("Alice", "Staff", true).into(),
        put_policy("Read", "{}").into(),
        inline(user("Alice"), "Own", "{}").into(),
        AttachPolicy {
            principal: group("Staff"),
            policy: policy("Read"),
        }
        .into(),
        SetBoundary {
            user: "Alice".into(),
            policy: Some(policy("Read")),
        }
        .into(),
    ] {
        assert!(!format!("{command:?}").contains("hushhush"));
        done(&mut cluster, command);
        let next = cluster.store.settings_version();
        assert_ne!(version, next);
        version = next;
    }
    let rows = cluster.rows();
    let described = rows
        .iter()
        .map(|(key, value)| describe(key, value).to_string());
    let described: Vec<String> = described.collect();
    assert!(
        described
            .iter()
            .any(|row| row.contains(KEY) && row.contains("kind access key"))
    );
    assert!(
        !described.iter().any(|row| row.contains("hushhush")),
        "{described:#?}"
    );
}
