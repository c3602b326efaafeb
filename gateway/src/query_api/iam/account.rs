//! The account as a whole (IAM API reference, "GetAccountSummary", "ListAccountAliases", "ListOpenIDConnectProviders").

use super::page::Page;
use crate::error::Fault;
use crate::policy::account_id;
use crate::query_api::Call;
use crate::s3::ROOT_ACCOUNT;
use crate::xml::Writer;

/// How many there are of what.
///
/// # Errors
/// Those of the namespace.
pub fn summary(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let counts = call.shared.cluster.read(|view| {
        Ok([
            ("Users", view.users()?.len()),
            ("Groups", view.user_groups()?.len()),
            ("Policies", view.managed_policies()?.len()),
            (
                "AccountAccessKeysPresent",
                usize::from(view.root_key()?.is_some()),
            ),
            ("Roles", view.roles()?.len()),
            ("MFADevices", 0),
            ("AccountMFAEnabled", 0),
            ("Providers", 0),
        ])
    })?;
    xml.open("SummaryMap");
    for (name, count) in counts {
        xml.open("entry");
        xml.element("key", name);
        xml.value("value", count);
        xml.close("entry");
    }
    xml.close("SummaryMap");
    Ok(())
}

/// Names of the account, of which it has none.
///
/// # Errors
/// `ValidationError`.
pub fn aliases(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    Page::of(call, Vec::<String>::new(), |name| name)?.write(xml, "AccountAliases", |_, _| {});
    Ok(())
}

/// The providers of identities that the configuration trusts.
///
/// # Errors
/// None of its own.
pub fn providers(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    xml.open("OpenIDConnectProviderList");
    for provider in &call.shared.config.web_identity.providers {
        let (account, name) = (account_id(ROOT_ACCOUNT), provider.name());
        xml.open("member");
        xml.element(
            "Arn",
            &format!("arn:aws:iam::{account}:oidc-provider/{name}"),
        );
        xml.close("member");
    }
    xml.close("OpenIDConnectProviderList");
    Ok(())
}
