//! Samples of the commands about roles and session keys.

use super::super::layout::structure;
use super::super::*;
use super::Sample;
use super::users::built_in;
use crate::namespace::SessionKeySecret;

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;

fn role() -> String {
    "Backup".to_owned()
}

/// One of each kind.
pub(super) fn samples() -> Vec<Sample> {
    samples! {
        CreateRole {
            name: role(),
            path: "/service/".to_owned(),
            id: "AROAEXAMPLE0000000001".to_owned(),
            account: 1,
            trust_policy: TRUST.to_owned(),
            max_session_seconds: 7_200,
            description: "Copies reports".to_owned(),
            boundary: Some(built_in()),
        }
        UpdateRole {
            role: role(),
            trust_policy: Some(TRUST.to_owned()),
            max_session_seconds: Some(3_600),
            description: None,
        }
        DeleteRole { name: role() }
        SetRoleBoundary {
            role: role(),
            policy: Some(built_in()),
        }
        AddSessionKey {
            number: 1,
            secret: SessionKeySecret([7; 32]),
        }
        RemoveSessionKey { number: 1 }
    }
}
