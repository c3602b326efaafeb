//! Roles and session keys: what commands do, what they refuse and with which words, and what is found.

use strata_raftlog::namespace::command::{
    AddSessionKey, Answer, AttachPolicy, Command, CreateRole, DeleteInlinePolicy, DeleteRole,
    DetachPolicy, Envelope, PutInlinePolicy, Refusal, RemoveSessionKey, SetRoleBoundary,
    UpdateRole,
};
use strata_raftlog::namespace::{PolicyText, Principal, SessionKeySecret, describe};

use crate::support::Cluster;
use crate::users::{policy, put_policy};

pub const TRUST: &str = "who may assume it";

pub fn create_role(name: &str) -> CreateRole {
    CreateRole {
        name: name.into(),
        path: "/".into(),
        id: format!("AROA{:0>17}", name.to_ascii_uppercase()),
        account: 1,
        trust_policy: TRUST.into(),
        max_session_seconds: 3_600,
        description: String::new(),
        boundary: None,
    }
}

pub fn update_trust(role: &str, trust: &str) -> UpdateRole {
    UpdateRole {
        role: role.into(),
        trust_policy: Some(trust.into()),
        max_session_seconds: None,
        description: None,
    }
}

fn session_key(number: u32) -> AddSessionKey {
    AddSessionKey {
        number,
        secret: SessionKeySecret([number as u8; 32]),
    }
}

fn done(cluster: &mut Cluster, command: impl Into<Command>) {
    let command = command.into();
    let said = format!("{command:?}");
    assert_eq!(cluster.change(command), Answer::Done, "{said}");
}

/// The words of a refusal.
fn refused(cluster: &mut Cluster, command: impl Into<Command>) -> String {
    match cluster.change(command) {
        Answer::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_role_is_created_once_and_changed_in_what_is_said() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create_role("Backup"));
    let taken = refused(&mut cluster, create_role("bACKUP"));
    assert_eq!(taken, "Role with name bACKUP already exists.");
    done(&mut cluster, update_trust("backup", "others"));
    done(
        &mut cluster,
        UpdateRole {
            role: "Backup".into(),
            trust_policy: None,
            max_session_seconds: Some(43_200),
            description: Some("Copies".into()),
        },
    );
    let view = cluster.store.view().unwrap();
    let role = view.role("BACKUP").unwrap().expect("in whatever case");
    assert_eq!((&*role.name, &*role.trust_policy), ("Backup", "others"));
    assert_eq!(
        (role.max_session_seconds, &*role.description),
        (43_200, "Copies")
    );
    drop(view);
    let absent = refused(&mut cluster, update_trust("nobody", "others"));
    assert_eq!(absent, "The role with name nobody cannot be found.");
}

#[test]
fn what_no_role_can_have_is_refused() {
    let mut cluster = Cluster::new();
    let role = || create_role("r");
    for (command, word) in [
        (
            CreateRole {
                name: "a b".into(),
                ..role()
            },
            "name",
        ),
        (
            CreateRole {
                id: "short".into(),
                ..role()
            },
            "id",
        ),
        (
            CreateRole {
                path: "x".into(),
                ..role()
            },
            "path",
        ),
        (
            CreateRole {
                max_session_seconds: 3_599,
                ..role()
            },
            "3,600",
        ),
        (
            CreateRole {
                max_session_seconds: 43_201,
                ..role()
            },
            "43,200",
        ),
        (
            CreateRole {
                trust_policy: String::new(),
                ..role()
            },
            "document",
        ),
        (
            CreateRole {
                trust_policy: "x".repeat(4_097),
                ..role()
            },
            "ACLSizePerRole",
        ),
        (
            CreateRole {
                description: "\u{7}".into(),
                ..role()
            },
            "description",
        ),
    ] {
        let why = refused(&mut cluster, command);
        assert!(why.contains(word), "{why}");
    }
    assert!(cluster.store.view().unwrap().roles().unwrap().is_empty());
}

#[test]
fn a_role_goes_when_it_has_nothing_but_a_boundary() {
    let mut cluster = Cluster::new();
    let principal = || Principal::Role("job".into());
    done(&mut cluster, create_role("job"));
    done(&mut cluster, put_policy("read", "text"));
    done(
        &mut cluster,
        PutInlinePolicy {
            principal: principal(),
            name: "own".into(),
            document: "own text".into(),
        },
    );
    done(
        &mut cluster,
        AttachPolicy {
            principal: principal(),
            policy: policy("read"),
        },
    );
    let bound = |policy| SetRoleBoundary {
        role: "job".into(),
        policy,
    };
    done(&mut cluster, bound(Some(policy("read"))));
    let found = cluster
        .store
        .view()
        .unwrap()
        .role_policies("job")
        .unwrap()
        .unwrap();
    let text = |text: &str| PolicyText::Document(text.to_owned());
    assert_eq!(found.policies, [text("own text"), text("text")]);
    assert_eq!(found.boundary, Some(text("text")));
    let delete = || DeleteRole { name: "JOB".into() };
    let why = refused(&mut cluster, delete());
    assert_eq!(why, "Cannot delete entity, must delete policies first.");
    done(
        &mut cluster,
        DeleteInlinePolicy {
            principal: principal(),
            name: "own".into(),
        },
    );
    let why = refused(&mut cluster, delete());
    assert_eq!(why, "Cannot delete entity, must detach all policies first.");
    done(
        &mut cluster,
        DetachPolicy {
            principal: principal(),
            policy: policy("read"),
        },
    );
    done(&mut cluster, delete());
    let view = cluster.store.view().unwrap();
    let read = view.managed_policy("read").unwrap().unwrap();
    assert_eq!(read.uses, 0, "the boundary went with its role");
}

#[test]
fn numbers_of_session_keys_rise_and_none_is_shown() {
    let mut cluster = Cluster::new();
    assert!(refused(&mut cluster, session_key(0)).contains("already exists"));
    done(&mut cluster, session_key(1));
    assert!(refused(&mut cluster, session_key(1)).contains("already exists"));
    done(&mut cluster, session_key(5));
    assert!(refused(&mut cluster, session_key(4)).contains("a later one"));
    let remove = |number| RemoveSessionKey { number };
    let why = refused(&mut cluster, remove(5));
    assert!(why.contains("must delete earlier"), "{why}");
    done(&mut cluster, remove(1));
    let why = refused(&mut cluster, remove(1));
    assert_eq!(why, "The session key 1 cannot be found.");
    let keys = cluster.store.view().unwrap().session_keys().unwrap();
    assert_eq!(keys.iter().map(|key| key.number).collect::<Vec<_>>(), [5]);
    assert!(!format!("{keys:?}").contains("[5, 5"), "{keys:?}");
    done(&mut cluster, remove(5));
    for number in 1..=8 {
        done(&mut cluster, session_key(number));
    }
    match cluster.change(session_key(9)) {
        Answer::Refused(Refusal::LimitExceeded(why)) => {
            assert!(why.contains("SessionKeys"), "{why}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_key_is_described_without_its_secret() {
    let mut cluster = Cluster::new();
    done(&mut cluster, session_key(0xA5));
    let described = cluster.rows();
    let described = described
        .iter()
        .map(|(key, value)| describe(key, value).to_string());
    let keys: Vec<String> = described
        .filter(|text| text.contains("session key"))
        .collect();
    assert_eq!(keys.len(), 1);
    assert!(!keys[0].contains("a5a5"), "{}", keys[0]);
    assert!(!keys[0].contains("165, 165"), "{}", keys[0]);
}

/// A command about policies of a role reads back as it was written, as do those of users and groups.
#[test]
fn a_command_about_a_role_is_read_as_it_was_written() {
    let command = PutInlinePolicy {
        principal: Principal::Role("job".into()),
        name: "own".into(),
        document: "text".into(),
    };
    let envelope = Envelope {
        group: 0,
        feature_level: 1,
        session: 1,
        sequence: 1,
        lowest_unanswered: 1,
        time_nanos: 1,
        command: command.into(),
    };
    let bytes = envelope.encode().unwrap();
    assert_eq!(Envelope::decode(&bytes).unwrap(), envelope);
}
