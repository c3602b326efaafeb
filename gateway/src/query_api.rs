//! AWS's query protocol on the port of S3: calls of IAM and STS, each named by the parameter `Action` (IAM user guide, "Calling the IAM
//! API using HTTP query requests"; <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>).
//!
//! | module | what |
//! |---|---|
//! | [`call`] | a call: its parameters, who makes it |
//! | [`table`] | the table of actions: which there are, what leave each needs, who answers it |
//! | [`leave`] | whether policies let the one who calls |
//! | [`resource`] | the ARNs that leave is asked for |
//! | [`answer`] | the documents of answers and errors |
//! | [`iam`] | the actions of IAM |
//! | [`sts`] | the actions of STS |
//!
//! `serve` receives a call, verifies its signature and hands it to [`respond`]. To add an action, write what answers it and add a row to the table.
//!
//! Invariants: what is no row of the table is `InvalidAction`; leave is asked for before an action is answered; a parameter that an action does not
//! read is refused by name, so that none that changes what is asked for goes by unread; a secret is in the answer to the call that made it and in
//! nothing that is logged.

pub mod answer;
pub mod call;
pub mod iam;
pub mod leave;
pub mod resource;
pub mod sts;
pub mod table;

use std::pin::Pin;

use http::header::{self, HeaderMap};
use http::{Method, Uri};

use crate::error::{Code, Fault};
use crate::response::Response;
use crate::xml::Writer;

pub use call::{Call, Parameters};
pub use table::ACTIONS;

/// The largest body of a call, in bytes: a policy document of 32 KiB of which each byte is encoded as three, and its neighbours.
pub const CALL_BYTES_MAX: u64 = 256 << 10;

/// The same of a call without a signature, which carries one in a token.
pub const UNSIGNED_CALL_BYTES_MAX: u64 = 64 << 10;

/// A service that is called so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Identity and Access Management.
    Iam,
    /// Security Token Service.
    Sts,
}

/// All of them, by the names that signatures have.
pub const SERVICES: &[&str] = &["iam", "sts"];

impl Service {
    /// The service of a signature's name.
    pub fn of_name(name: &str) -> Option<Service> {
        match name {
            "iam" => Some(Service::Iam),
            "sts" => Some(Service::Sts),
            _ => None,
        }
    }

    /// The name in signatures and in front of actions.
    pub fn name(self) -> &'static str {
        match self {
            Service::Iam => "iam",
            Service::Sts => "sts",
        }
    }

    /// What the parameter `Version` must be.
    pub fn version(self) -> &'static str {
        match self {
            Service::Iam => "2010-05-08",
            Service::Sts => "2011-06-15",
        }
    }

    /// The namespace of its documents.
    pub fn namespace(self) -> &'static str {
        match self {
            Service::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }
}

/// What a call needs to be answered.
#[derive(Debug, Clone, Copy)]
pub enum Needs {
    /// Leave by a policy, for the action on the ARN that this tells.
    Leave(fn(&Call<'_>) -> Result<String, Fault>),
    /// The same on both of what these tell: of what is there, and of what it is to become.
    LeaveOnBoth(
        fn(&Call<'_>) -> Result<String, Fault>,
        fn(&Call<'_>) -> Result<String, Fault>,
    ),
    /// A signature and no leave: a policy cannot deny it either.
    Signature,
    /// Nothing: what it is about stands in its parameters, under a signature of its own.
    Nothing,
}

/// The answer to a call, under way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + 'a>>;

/// What answers a call: it writes the elements of the result, none where the action has none.
#[derive(Debug, Clone, Copy)]
pub enum Handler {
    /// From what is in force.
    Read(fn(&Call<'_>, &mut Writer) -> Result<(), Fault>),
    /// With a change.
    Change(for<'a> fn(&'a Call<'a>, &'a mut Writer) -> Answering<'a>),
}

/// An action of a service.
#[derive(Debug)]
pub struct Action {
    /// The service.
    pub service: Service,
    /// AWS's name, which the parameter `Action` holds.
    pub name: &'static str,
    /// The parameters that it reads; of one with members, what stands before `.member`.
    pub parameters: &'static [&'static str],
    /// What it needs.
    pub needs: Needs,
    /// What answers it.
    pub handler: Handler,
}

/// Whether a request, which is not about a bucket, is a call: a form that is posted to `/`, or a query that names an action and a version.
pub fn is_call(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    match uri.path() {
        "/" | "" => {}
        _ => return false,
    }
    let names = |name: &str| {
        let mut pairs = uri.query().unwrap_or_default().split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    };
    match *method {
        Method::POST => is_form(headers),
        Method::GET => names("Action") && names("Version"),
        _ => false,
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    const FORM: &str = "application/x-www-form-urlencoded";
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(FORM)
}

/// The action that parameters name. `service` is that of the signature; `None` where there is none.
///
/// # Errors
/// `InvalidAction` for what is no row of the table; `MissingAuthenticationToken` for what needs a signature and has none.
pub fn find(service: Option<Service>, parameters: &Parameters) -> Result<&'static Action, Fault> {
    let name = parameters.get("Action").unwrap_or_default();
    let version = parameters.get("Version").unwrap_or_default();
    let mut rows = ACTIONS.iter();
    let is_it = |row: &&Action| {
        let is_of_service = service.is_none_or(|service| service == row.service);
        is_of_service && row.name == name && row.service.version() == version
    };
    match rows.find(is_it) {
        Some(row) if service.is_none() && !matches!(row.needs, Needs::Nothing) => {
            Err(Code::MissingAuthenticationToken.into())
        }
        Some(row) => Ok(row),
        None => {
            let message = format!("Could not find operation {name} for version {version}");
            Err(Fault::new(Code::InvalidAction, message))
        }
    }
}

/// Answers a call, where whoever calls may have it.
///
/// # Errors
/// `AccessDenied`; those of the action.
pub async fn respond(call: &Call<'_>) -> Result<Response, Fault> {
    leave::check(call)?;
    let mut result = Writer::fragment();
    match call.action.handler {
        Handler::Read(read) => read(call, &mut result)?,
        Handler::Change(change) => change(call, &mut result).await?,
    }
    Ok(answer::of_result(call.action, &result, call.request_id))
}

#[cfg(test)]
mod tests;
