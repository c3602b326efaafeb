//! A browser's form, up to the first byte of its file: its fields say what it is about and who asks.
//!
//! Invariants: nothing of the file is read here; a form that has a policy or a signature has both, and counts only where the signature is right and the
//! policy lets through what the fields say.

use std::rc::Rc;

use http::{HeaderMap, Method, header};

use super::Server;
use super::answer::Record;
use super::exchange::{Client, Find, asker, identify, unsigned};
use crate::access::identity::Identity;
use crate::access::{Asker, SignedAs};
use crate::auth::{Authorization, session_token};
use crate::body::RequestBody;
use crate::error::Fault;
use crate::form::fields::{self, FormFields};
use crate::form::parts::Delimiter;
use crate::form::policy::PostPolicy;
use crate::guard::{self, Admitted, Opened};
use crate::metrics::Asked;
use crate::operation::{Operation, check_head_of_form};
use crate::request::Address;
use crate::s3::cors;
use strata_engine::reactor;

/// A form of which the head has come.
pub struct FormRequest {
    /// The operation.
    pub operation: &'static Operation,
    /// What its head says: the bucket.
    pub opened: Opened,
    /// The headers of the head.
    pub headers: HeaderMap,
}

impl FormRequest {
    /// Reads the fields and decides whether the form can be served, as [`guard::admit`] does for what says all in its head.
    ///
    /// # Errors
    /// What AWS answers to the first thing that is wrong.
    pub async fn admit(
        mut self,
        server: &Server,
        client: Client,
        body: &mut RequestBody,
        record: &mut Record,
    ) -> Result<(Admitted, Asker), Fault> {
        record.asked = Asked::Operation(self.operation);
        check_head_of_form(&self.opened.query, &self.headers)?;
        guard::form_length(&self.headers)?;
        let delimiter = Delimiter::of(&self.headers)?;
        let (sent, file_name) = body.open_form(delimiter).await?;
        let fields = FormFields::new(sent, file_name.as_deref())?;
        let bucket = self.opened.address.bucket().unwrap_or_default().to_owned();
        self.opened.address = Address::Object(bucket.clone(), fields.key()?.to_owned());
        record.address = Some(self.opened.address.clone());
        let authorization = Authorization::of_form(&fields)?;
        let identity = match &authorization {
            None => self.unsigned(server)?,
            Some(authorization) => {
                let policy = fields.required(fields::POLICY)?;
                let verifier = &server.verifier;
                let verify = |find: Find<'_>| verifier.verify_form(policy, authorization, find);
                let token = fields.get(session_token::HEADER);
                let ((), identity) = identify(server, record, authorization, token, verify)?;
                let policy = PostPolicy::parse(policy)?;
                let now = reactor::wall_clock().seconds();
                body.bound_file(policy.check(&bucket, &fields, now)?);
                identity
            }
        };
        let signature = authorization.as_ref().map(SignedAs::by);
        let asker = asker(identity, client, signature);
        let headers = fields.headers()?;
        let action = fields.success_action();
        let admitted =
            guard::admit_form(self.operation, self.opened, headers, &self.headers, action)?;
        Ok((admitted, asker))
    }

    /// Who asks where nothing is signed. Browsers send a form for any page without asking before, so that one from a page counts as the root's only
    /// where the rules of the bucket let pages of that origin do so.
    fn unsigned(&self, server: &Server) -> Result<Rc<Identity>, Fault> {
        let shared = &server.shared;
        let Some(origin) = self.headers.get(header::ORIGIN) else {
            return Ok(unsigned(server));
        };
        let rules = cors::headers_for(shared, &self.opened.address, &Method::POST, origin)?;
        match rules.is_empty() {
            true => Ok(shared.identities.anonymous()),
            false => Ok(unsigned(server)),
        }
    }
}
