//! `AssumeRoleWithWebIdentity`: a role for whoever has an identity of a provider outside, without keys of this cluster.

use strata_engine::reactor;

use super::parameters::{Assumed, policies};
use super::{facts_of, issue, role_of, session_seconds, trusts, who_of, write_assumed};
use crate::access::sessions::role_session;
use crate::auth::session_token::SessionPolicies;
use crate::error::{Code, Fault};
use crate::policy::{Key, Policies, Principal, Values, value};
use crate::query_api::Call;
use crate::query_api::call::violation;
use crate::web_identity::{TOKEN_BYTES_MAX, Vouched};
use crate::xml::Writer;

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

/// Answers it.
///
/// # Errors
/// `InvalidIdentityToken`, `ExpiredTokenException` for the token; `AccessDenied` where the trust policy of the role does not let its bearer in,
/// or there is no such role; as [`assume_role`](super::assume_role).
pub async fn assume_role_with_web_identity(
    call: &Call<'_>,
    result: &mut Writer,
) -> Result<(), Fault> {
    let assumed = Assumed::read(call)?;
    let token = call.parameters.required("WebIdentityToken")?;
    if !(4..=TOKEN_BYTES_MAX).contains(&token.len()) {
        let rule = format!("Member must have length between 4 and {TOKEN_BYTES_MAX}");
        return Err(violation("WebIdentityToken", None, &rule));
    }
    let now = reactor::wall_clock().seconds();
    let vouched = call.shared.config.web_identity.verify(token, now)?;
    let provider = vouched.provider.name().to_owned();
    let denied = || {
        Fault::new(
            Code::AccessDenied,
            format!("Not authorized to perform {ACTION}"),
        )
    };
    let role = role_of(call.shared, assumed.role_arn)?.ok_or_else(denied)?;
    let principal = Principal::Federated {
        provider: provider.clone(),
    };
    let facts = |key: &Key| match key {
        Key::Claim(of, claim) => claimed(&vouched, of, claim),
        key => facts_of(call, key),
    };
    if !trusts(
        &role,
        &principal,
        ACTION,
        assumed.role_arn,
        &facts,
        Policies::default(),
    )? {
        return Err(denied());
    }
    let length = session_seconds(&assumed, &role, false)?;
    let session = role_session(&role.role, assumed.session_name, Some(provider));
    let policies = policies(call)?;
    let packed = policies.as_ref().map(SessionPolicies::packed_bytes);
    issue(call.shared, who_of(&session), policies, length, result).await?;
    result.element("SubjectFromWebIdentityToken", &vouched.claims.subject);
    write_assumed(result, &session, packed);
    result.element("Provider", &vouched.provider.issuer);
    result.element("Audience", &vouched.audience);
    Ok(())
}

/// The values of a key that is named for a provider (IAM user guide, "Available keys for AWS OIDC federation").
fn claimed<'v>(vouched: &'v Vouched<'_>, provider: &str, claim: &str) -> Values<'v> {
    if !vouched.provider.name().eq_ignore_ascii_case(provider) {
        return None;
    }
    let claims = &vouched.claims;
    let several = |texts: &'v [String]| {
        let values = texts.iter().map(|text| text.as_str().into());
        (!texts.is_empty()).then(|| values.collect())
    };
    match claim {
        // Where a token names who it was made for, that is its audience, and the audiences are the original ones.
        "aud" | "azp" => match &claims.authorized_party {
            Some(party) => value(party.as_str()),
            None if claim == "aud" => several(&claims.audiences),
            None => None,
        },
        "oaud" => several(
            claims
                .authorized_party
                .as_ref()
                .and(Some(&claims.audiences[..]))?,
        ),
        "sub" => value(claims.subject.as_str()),
        "iss" => claims.issuer.as_deref().and_then(value),
        "email" => claims.email.as_deref().and_then(value),
        "amr" => several(&claims.methods),
        _ => None,
    }
}
