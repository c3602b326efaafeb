//! Versions of managed policies, of which each has one (IAM API reference, "CreatePolicyVersion" and its neighbours).
//!
//! Invariant: the one version is `v1` and in force. A new one that is to be in force takes its place under the same id; one that is not to be is
//! refused, since nothing would keep it.

use strata_raftlog::namespace::command::PutManagedPolicy;

use super::page::Page;
use super::{Managed, document, no_such, submit};
use crate::dates::{Iso8601Seconds, whole_seconds};
use crate::error::{Code, Fault};
use crate::percent;
use crate::query_api::Call;
use crate::xml::Writer;

/// The id of the one version.
pub const VERSION: &str = "v1";

/// Puts another document in place of the one that is in force.
///
/// # Errors
/// `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`; `NotImplemented` for a version that is not to be in force.
pub async fn create(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let policy = Managed::own_of_call(call)?;
    let document = document(call)?;
    if call.parameters.boolean("SetAsDefault")? != Some(true) {
        let what = "A version of a policy that is not set as default";
        return Err(Fault::not_implemented(what));
    }
    let put = PutManagedPolicy {
        name: policy.name,
        id: policy.id,
        document,
    };
    submit(call, put).await?;
    let policy = Managed::of_call(call)?;
    xml.open("PolicyVersion");
    write(xml, &policy);
    xml.close("PolicyVersion");
    Ok(())
}

/// The version, with its document.
///
/// # Errors
/// `NoSuchEntity`, `InvalidInput`.
pub fn get(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let policy = Managed::of_call(call)?;
    check_version(call)?;
    xml.open("PolicyVersion");
    xml.value("Document", percent::encode(policy.document().as_bytes()));
    write(xml, &policy);
    xml.close("PolicyVersion");
    Ok(())
}

/// The list of the one version.
///
/// # Errors
/// `NoSuchEntity`, `InvalidInput`, `ValidationError`.
pub fn list(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let policy = Managed::of_call(call)?;
    let page = Page::of(call, vec![policy], |_| VERSION)?;
    page.write(xml, "Versions", write);
    Ok(())
}

/// Says which version is in force: the one that is.
///
/// # Errors
/// `NoSuchEntity`, `InvalidInput`.
pub fn set_default(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    Managed::own_of_call(call)?;
    check_version(call)
}

/// Deletes no version: the one that is there is in force.
///
/// # Errors
/// `DeleteConflict`; `NoSuchEntity`, `InvalidInput`.
pub fn delete(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    Managed::own_of_call(call)?;
    check_version(call)?;
    let message = "Cannot delete the default version of a policy.";
    Err(Fault::new(Code::DeleteConflict, message))
}

fn check_version(call: &Call<'_>) -> Result<(), Fault> {
    let version = call.parameters.required("VersionId")?;
    match version == VERSION {
        true => Ok(()),
        false => {
            let arn = call.parameters.get("PolicyArn").unwrap_or_default();
            Err(no_such(format!(
                "Policy {arn} version {version} does not exist or is not attachable."
            )))
        }
    }
}

fn write(xml: &mut Writer, policy: &Managed) {
    let changed = match policy {
        Managed::Own(policy) => whole_seconds(policy.changed_nanos),
        Managed::BuiltIn(policy) => policy.created_seconds,
    };
    xml.element("VersionId", VERSION);
    xml.value("IsDefaultVersion", true);
    xml.value("CreateDate", Iso8601Seconds(changed));
}
