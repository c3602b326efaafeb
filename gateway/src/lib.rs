//! HTTP and S3. The only crate that knows XML; where bytes lie it does not know.
//!
//! The way of a request:
//!
//! | module | what |
//! |---|---|
//! | [`serve`] | connections, one task each; the request as a whole: id, log line, metrics, drain |
//! | [`guard`] | what a request must pass before anybody acts on it |
//! | [`auth`] | Signature Version 4: header, presigned URL, chunks, trailers |
//! | [`operation`] | which operation a request asks for; what is not served is refused here |
//! | [`context`] | what is known of a request while it is served |
//! | [`body`] | the body of a request: framing off, counted, hashed, compared |
//! | [`checksum`], [`etag`], [`md5`] | what bodies are compared with and answers carry |
//! | [`s3`] | the operations, one file per family, called by s3s |
//! | [`error`] | the one place that makes S3's codes and XML of what went wrong |
//! | [`metrics`], [`request_id`], [`query`] | counters; ids; percent-encoding |
//!
//! Invariants: s3s routes, parses and writes XML and is trusted with nothing else; bodies go past it
//! in both directions, so what a request holds does not depend on the size of an object; an object
//! is committed only after all that was declared of its bytes has been compared.

pub mod auth;
pub mod body;
pub mod checksum;
pub mod context;
pub mod error;
pub mod etag;
pub mod guard;
pub mod md5;
pub mod metrics;
pub mod operation;
pub mod query;
pub mod request_id;
pub mod s3;
pub mod serve;

pub use auth::Credential;
pub use metrics::GatewayMetrics;
pub use serve::{GatewayConfig, serve};
