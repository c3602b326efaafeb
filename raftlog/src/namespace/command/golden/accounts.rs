//! Samples of the commands about accounts, and of the answer that they have brought.

use super::super::layout::structure;
use super::super::*;
use super::Sample;
use crate::namespace::AccessKeySecret;

/// One of each kind.
pub(super) fn samples() -> Vec<Sample> {
    samples! {
        CreateAccount {
            number: 123_456_789_012,
            name: "Research".to_owned(),
        }
        DeleteAccount { number: 123_456_789_012 }
        CreateAccountKey {
            number: 123_456_789_012,
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: AccessKeySecret("not a secret".to_owned()),
        }
    }
}

/// The refusal that came with accounts.
pub(super) fn answers() -> Vec<Answer> {
    vec![Answer::Refused(Refusal::BucketAlreadyExists)]
}
