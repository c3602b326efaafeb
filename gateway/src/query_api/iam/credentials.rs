//! Credentials that no user has here: passwords, MFA devices, certificates, keys of SSH and of other services. Programs that delete a user ask for
//! them first (IAM user guide, "Remove or deactivate an IAM user").

use super::page::Page;
use super::{no_such, one_of, user_or_self};
use crate::error::Fault;
use crate::query_api::Call;
use crate::xml::Writer;

/// The password of a user, of whom none has one.
///
/// # Errors
/// `NoSuchEntity`.
pub fn login_profile(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let name = user_or_self(call)?.name;
    Err(no_such(format!(
        "Login Profile for User {name} cannot be found."
    )))
}

/// MFA devices of a user.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn mfa_devices(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    none_of_user(call, xml, "MFADevices")
}

/// MFA devices of the account.
///
/// # Errors
/// `ValidationError`.
pub fn virtual_mfa_devices(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    one_of(call, "AssignmentStatus", &["Assigned", "Unassigned", "Any"])?;
    none(call, xml, "VirtualMFADevices")
}

/// Signing certificates of a user.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn signing_certificates(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    none_of_user(call, xml, "Certificates")
}

/// Keys of SSH of a user.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn ssh_public_keys(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    none_of_user(call, xml, "SSHPublicKeys")
}

/// Credentials of a user for other services.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn service_specific_credentials(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    match call.parameters.boolean("AllUsers")? {
        Some(true) => none(call, xml, "ServiceSpecificCredentials"),
        _ => none_of_user(call, xml, "ServiceSpecificCredentials"),
    }
}

fn none_of_user(call: &Call<'_>, xml: &mut Writer, list: &str) -> Result<(), Fault> {
    user_or_self(call)?;
    none(call, xml, list)
}

fn none(call: &Call<'_>, xml: &mut Writer, list: &str) -> Result<(), Fault> {
    Page::of(call, Vec::<String>::new(), |one| one)?.write(xml, list, |_, _| {});
    Ok(())
}
