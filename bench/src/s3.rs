//! Loads for an S3 endpoint over plain HTTP, all from one thread.
//!
//! - [`sign`]: Signature Version 4
//! - [`payload`]: bodies that can be checked from their key alone
//! - [`session`]: one connection and the requests it sends
//! - [`load`]: puts, gets, lists and batch deletes, in a closed loop or at a fixed rate
//! - [`mixed`]: gets at a fixed rate with and without a put stream, lists and batch deletes beside them
//! - [`multipart`]: one large object up and down
//! - [`connections`]: many idle connections beside many busy ones
//! - [`probe`]: how long until a server that was just started answers

mod connections;
mod load;
mod mixed;
mod multipart;
mod numbers;
mod probe;
mod session;
mod sign;

use std::rc::Rc;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::affinity;
use crate::report::Report;
use session::Endpoint;
use sign::Signer;

/// Options of `s3`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    load: Load,
}

#[derive(Args)]
struct Target {
    /// Where the server listens.
    #[arg(long, global = true, default_value = "http://127.0.0.1:9002")]
    endpoint: String,
    /// The bucket; it is made when it is missing.
    #[arg(long, global = true, default_value = "strata-bench")]
    bucket: String,
    /// What every key begins with.
    #[arg(long, global = true, default_value = "bench/")]
    prefix: String,
    #[arg(long, global = true, default_value = "us-east-1")]
    region: String,
    /// The access key; else STRATA_ROOT_ACCESS_KEY_ID or AWS_ACCESS_KEY_ID. The secret comes only from
    /// STRATA_ROOT_SECRET_KEY or AWS_SECRET_ACCESS_KEY.
    #[arg(long, global = true)]
    access_key: Option<String>,
    /// Do not hash and sign bodies.
    #[arg(long, global = true)]
    unsigned_payload: bool,
    /// Pin the client to this core.
    #[arg(long, global = true)]
    core: Option<usize>,
}

#[derive(Subcommand)]
enum Load {
    /// Store objects under consecutive numbers.
    Put(load::Options),
    /// Read objects that `put` stored, at random.
    Get(load::Options),
    /// List folders of objects that `put` stored, up to 1,000 keys a request.
    List(load::Options),
    /// Delete objects that `put` stored, 1,000 a request.
    Delete(load::Options),
    /// The 99th percentile of small reads, alone and beside a put stream, lists and batch deletes.
    Mixed(mixed::Options),
    /// One large object in parts, up and down again, compared byte by byte.
    Multipart(multipart::Options),
    /// Idle connections beside busy ones.
    Connections(connections::Options),
    /// Ask again and again until a signed GET and a signed PUT have worked.
    Probe(probe::Options),
}

impl Target {
    fn endpoint(&self) -> anyhow::Result<Rc<Endpoint>> {
        let variable = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok());
        let access_key = self
            .access_key
            .clone()
            .or_else(|| variable(["STRATA_ROOT_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"]))
            .context("no access key: set STRATA_ROOT_ACCESS_KEY_ID or AWS_ACCESS_KEY_ID")?;
        let secret_key = variable(["STRATA_ROOT_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"])
            .context("no secret key: set STRATA_ROOT_SECRET_KEY or AWS_SECRET_ACCESS_KEY")?;
        let signer = Signer::new(access_key, secret_key, self.region.clone());
        Endpoint::new(
            &self.endpoint,
            self.bucket.clone(),
            signer,
            !self.unsigned_payload,
        )
        .map(Rc::new)
    }
}

/// Runs the load on this thread.
pub fn run(options: Options) -> anyhow::Result<Report> {
    let endpoint = options.target.endpoint()?;
    let prefix = options.target.prefix.clone();
    if let Some(core) = options.target.core {
        affinity::pin(core).with_context(|| format!("pin to core {core}"))?;
    }
    affinity::raise_descriptor_limit().context("raise the limit of descriptors")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        match options.load {
            Load::Put(load) => load::put(&endpoint, &prefix, &load).await,
            Load::Get(load) => load::get(&endpoint, &prefix, &load).await,
            Load::List(load) => load::list(&endpoint, &prefix, &load).await,
            Load::Delete(load) => load::delete(&endpoint, &prefix, &load).await,
            Load::Mixed(load) => mixed::run(&endpoint, &prefix, &load).await,
            Load::Multipart(load) => multipart::run(&endpoint, &prefix, &load).await,
            Load::Connections(load) => connections::run(&endpoint, &prefix, &load).await,
            Load::Probe(load) => probe::run(&endpoint, &prefix, &load).await,
        }
    })
}
