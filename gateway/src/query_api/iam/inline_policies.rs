//! Policies that belong to one user or group (IAM API reference, "PutUserPolicy", "PutGroupPolicy" and their neighbours).
//!
//! Documents stand in answers percent-encoded, as AWS has them (RFC 3986).

use strata_raftlog::namespace::command::{DeleteInlinePolicy, PutInlinePolicy};
use strata_raftlog::namespace::{InlinePolicy, Principal};

use super::page::Page;
use super::{document, no_such, principal, submit};
use crate::error::Fault;
use crate::percent;
use crate::query_api::Call;
use crate::xml::Writer;

/// Puts a policy in place of one of its name.
///
/// # Errors
/// `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`, `ValidationError`.
pub async fn put(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let (principal, _) = principal(call)?;
    let put = PutInlinePolicy {
        principal,
        name: call.parameters.required("PolicyName")?.to_owned(),
        document: document(call)?,
    };
    submit(call, put).await
}

/// A policy.
///
/// # Errors
/// `NoSuchEntity`.
pub fn get(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let name = call.parameters.required("PolicyName")?;
    let (principal, policies) = of_principal(call)?;
    let mut policies = policies.into_iter();
    let found = policies.find(|policy| policy.name.eq_ignore_ascii_case(name));
    let (kind, element) = match &principal {
        Principal::User(_) => ("user", "UserName"),
        Principal::Group(_) => ("group", "GroupName"),
        Principal::Role(_) => ("role", "RoleName"),
    };
    let policy = found.ok_or_else(|| {
        no_such(format!(
            "The {kind} policy with name {name} cannot be found."
        ))
    })?;
    xml.element(element, principal.name());
    xml.element("PolicyName", &policy.name);
    xml.value(
        "PolicyDocument",
        percent::encode(policy.document.as_bytes()),
    );
    Ok(())
}

/// The names of the policies.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn list(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let (_, policies) = of_principal(call)?;
    let page = Page::of(call, policies, |policy| &policy.name)?;
    page.write(xml, "PolicyNames", |xml, policy| xml.text(&policy.name));
    Ok(())
}

/// Deletes a policy.
///
/// # Errors
/// `NoSuchEntity`.
pub async fn delete(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let (principal, _) = principal(call)?;
    let name = call.parameters.required("PolicyName")?.to_owned();
    submit(call, DeleteInlinePolicy { principal, name }).await
}

fn of_principal(call: &Call<'_>) -> Result<(Principal, Vec<InlinePolicy>), Fault> {
    let (principal, _) = principal(call)?;
    let policies = call
        .shared
        .cluster
        .read(|view| view.inline_policies(&principal))?;
    Ok((principal, policies))
}
