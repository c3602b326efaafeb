//! HTTP and S3. The only crate that knows XML; where bytes lie it does not know.
//!
//! The way of a request:
//!
//! | module | what |
//! |---|---|
//! | [`serve`] | connections, one task each; the request as a whole: id, log line, metrics, drain |
//! | [`tls`] | TLS below HTTP, where it is configured: identities, handshakes, records |
//! | [`guard`] | what a request must pass before its operation is served |
//! | [`virtual_host`] | buckets that are named by the host |
//! | [`auth`], [`signature`] | Signature Version 4: header, presigned URL, chunks, trailers |
//! | [`access`], [`policy`], [`access_list`] | who asks, and whether policies and access lists let them |
//! | [`web_identity`] | identities of providers outside |
//! | [`operation`] | the table of operations: which one a request asks for, and who serves it |
//! | [`request`], [`response`] | what a handler takes, and what it gives back |
//! | [`body`] | the body of a request: framing off, counted, hashed, compared |
//! | [`form`] | browsers' forms: their framing, fields and policies |
//! | [`checksum`], [`etag`], [`md5`] | what bodies are compared with and answers carry |
//! | [`s3`] | the handlers, one file per family |
//! | [`query_api`] | AWS's query protocol: the actions of IAM |
//! | [`xml`], [`percent`], [`query`], [`dates`], [`encoded_word`] | the forms of text that S3 uses |
//! | [`error`] | the one place that makes S3's codes of what went wrong |
//! | [`metrics`], [`request_id`], [`random_text`] | counters; ids |
//!
//! Invariants: a request is parsed once; bodies are streamed in both directions, so what a request
//! holds does not depend on the size of an object; an object is committed only after all that was
//! declared of its bytes has been compared.

pub mod access;
pub mod access_list;
pub mod auth;
pub mod body;
pub mod checksum;
pub mod dates;
pub mod encoded_word;
pub mod error;
pub mod etag;
pub mod form;
pub mod guard;
pub mod md5;
pub mod metrics;
pub mod operation;
pub mod percent;
pub mod policy;
pub mod query;
pub mod query_api;
pub mod random_text;
pub mod request;
pub mod request_id;
pub mod response;
pub mod s3;
pub mod serve;
pub mod signature;
#[cfg(test)]
mod test_reactor;
pub mod tls;
pub mod virtual_host;
pub mod web_identity;
pub mod xml;

pub use auth::Credential;
pub use metrics::GatewayMetrics;
pub use serve::line_limit::LineLimit;
pub use serve::{GatewayConfig, serve};
