//! What is known of a request while it is served, carried through s3s as an extension.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::{HeaderMap, StatusCode};
use s3s::{S3Error, S3ErrorCode};
use send_wrapper::SendWrapper;

use crate::body::RequestBody;
use crate::error::{Code, Fault};
use crate::operation::{Address, Operation};
use crate::query::Query;
use crate::request_id::RequestId;
use crate::s3::ObjectBody;

/// A request that is being served.
pub struct Context {
    /// Its id.
    pub request_id: RequestId,
    /// What it asks for.
    pub operation: Operation,
    /// What it is about.
    pub address: Address,
    /// Its parameters.
    pub query: Query,
    /// Its headers as they were sent, with those adopted from a presigned URL.
    pub headers: HeaderMap,
    body: RefCell<Option<RequestBody>>,
    answer: RefCell<Option<ObjectBody>>,
    fault: RefCell<Option<Fault>>,
    status: Cell<Option<StatusCode>>,
}

/// The context as s3s carries it: it never leaves the reactor.
pub type Carried = SendWrapper<Rc<Context>>;

impl Context {
    /// A context.
    pub fn new(
        request_id: RequestId,
        operation: Operation,
        address: Address,
        query: Query,
        headers: HeaderMap,
        body: Option<RequestBody>,
    ) -> Context {
        Context {
            request_id,
            operation,
            address,
            query,
            headers,
            body: RefCell::new(body),
            answer: RefCell::default(),
            fault: RefCell::default(),
            status: Cell::new(None),
        }
    }

    /// Takes the body of the request; the one who takes it gives it back.
    ///
    /// # Errors
    /// `InternalError` where there is none: the operation was classified as one without.
    pub fn take_body(&self) -> Result<RequestBody, Fault> {
        let body = self.body.borrow_mut().take();
        body.ok_or_else(|| Fault::from(Code::InternalError).because("the request has no body"))
    }

    /// Gives the body back, so that what is left of it can be drained and counted.
    pub fn give_back(&self, body: RequestBody) {
        *self.body.borrow_mut() = Some(body);
    }

    /// The body at the end of the request.
    pub fn take_rest(&self) -> Option<RequestBody> {
        self.body.borrow_mut().take()
    }

    /// Sets the body of the answer, which takes the place of the one that s3s makes.
    pub fn answer_with(&self, body: ObjectBody) {
        *self.answer.borrow_mut() = Some(body);
    }

    /// The body of the answer.
    pub fn take_answer(&self) -> Option<ObjectBody> {
        self.answer.borrow_mut().take()
    }

    /// Sets the status of the answer: s3s passes over the one of its own response.
    pub fn set_status(&self, status: StatusCode) {
        self.status.set(Some(status));
    }

    /// The status that was set.
    pub fn status(&self) -> Option<StatusCode> {
        self.status.get()
    }

    /// Notes what went wrong, and makes an error that s3s understands.
    pub fn fail(&self, fault: Fault) -> S3Error {
        let code = S3ErrorCode::from_bytes(fault.code.name().as_bytes())
            .unwrap_or(S3ErrorCode::InternalError);
        let mut error = S3Error::with_message(code, fault.message.clone());
        error.set_status_code(fault.code.status());
        *self.fault.borrow_mut() = Some(fault);
        error
    }

    /// What went wrong.
    pub fn take_fault(&self) -> Option<Fault> {
        self.fault.borrow_mut().take()
    }

    /// A header as text; `None` where it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The bucket that the request is about.
    ///
    /// # Errors
    /// `InternalError`: the operation was classified as one with a bucket.
    pub fn bucket(&self) -> Result<&str, Fault> {
        let bucket = self.address.bucket();
        bucket.ok_or_else(|| Fault::from(Code::InternalError).because("the request has no bucket"))
    }

    /// The bucket and the key that the request is about.
    ///
    /// # Errors
    /// `InternalError`: the operation was classified as one with a key.
    pub fn object(&self) -> Result<(&str, &[u8]), Fault> {
        match &self.address {
            Address::Object(bucket, key) => Ok((bucket, key.as_bytes())),
            _ => Err(Fault::from(Code::InternalError).because("the request has no key")),
        }
    }
}
