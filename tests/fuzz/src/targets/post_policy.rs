//! The policies of browsers' forms. An input is the document; a form is judged by what is understood.

use strata_gateway::form::fields::FormFields;
use strata_gateway::form::parts::Field;
use strata_gateway::form::policy::PostPolicy;

use crate::allocation::bounded;

pub(super) fn run(data: &[u8]) {
    let Some(policy) = bounded(data.len(), || PostPolicy::read(data).ok()) else {
        return;
    };
    assert_eq!(PostPolicy::read(data).ok().as_ref(), Some(&policy));
    let field = |(name, value): (&str, &str)| Field {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let sent = [("key", "user/${filename}"), ("Content-Type", "a/b,a/c")].map(field);
    let Ok(fields) = FormFields::new(sent.to_vec(), Some("photo.jpg")) else {
        panic!("no name stands twice");
    };
    let early = policy.check("b", &fields, i64::MIN);
    if let Ok(lengths) = policy.check("b", &fields, 0) {
        assert_eq!(early.ok(), Some(lengths), "what holds later held before");
    }
}
