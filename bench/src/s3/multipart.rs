//! One large object: parts up over several connections, ranges down again, then once as a single stream.
//!
//! Invariants: memory is bounded by one pool of the size of a part, whatever the object's size; every byte that comes
//! back is compared; the object is deleted at the end unless told otherwise.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio::task::{JoinHandle, spawn_local};

use super::session::{EMPTY_HASH, Endpoint, Request, Session, element};
use super::sign::hash;
use crate::payload::{Comparison, Payloads};
use crate::progress;
use crate::report::{Report, parse_size};

/// Options of `multipart`.
#[derive(Args)]
pub struct Options {
    /// Bytes of the object.
    #[arg(long, value_parser = parse_size, default_value = "5GiB")]
    size: u64,
    /// Bytes of a part and of a range.
    #[arg(long, value_parser = parse_size, default_value = "16MiB")]
    part_size: u64,
    /// Connections.
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Leave the object where it is.
    #[arg(long)]
    keep: bool,
}

struct Transfer {
    endpoint: Rc<Endpoint>,
    key: String,
    upload: String,
    payloads: Payloads,
    part_size: u64,
    parts: u64,
    next: Cell<u64>,
    etags: RefCell<Vec<String>>,
}

/// Uploads, downloads in ranges, downloads in one stream.
pub async fn run(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
) -> anyhow::Result<Report> {
    ensure!(
        options.part_size >= 5 << 20,
        "S3 wants parts of at least 5 MiB"
    );
    ensure!(
        options.size.is_multiple_of(options.part_size),
        "the size is no multiple of the part size"
    );
    let mut session = Session::new(endpoint);
    session.create_bucket().await?;
    let key = format!("{prefix}large");
    let transfer = Rc::new(Transfer {
        endpoint: endpoint.clone(),
        upload: create(&mut session, &key).await?,
        key,
        payloads: Payloads::new(usize::try_from(options.part_size)?),
        part_size: options.part_size,
        parts: options.size / options.part_size,
        next: Cell::new(0),
        etags: RefCell::new(vec![
            String::new();
            usize::try_from(options.size / options.part_size)?
        ]),
    });
    let begun = Instant::now();
    each_part(&transfer, options.concurrency, upload_part).await?;
    let etags = transfer.etags.take();
    complete(&mut session, &transfer.key, &transfer.upload, &etags).await?;
    let up = begun.elapsed();
    let begun = Instant::now();
    each_part(&transfer, options.concurrency, download_part).await?;
    let ranges = begun.elapsed();
    let begun = Instant::now();
    transfer.download_whole(&mut session).await?;
    let whole = begun.elapsed();
    if !options.keep {
        session.delete(&transfer.key).await?;
    }
    let mut report = Report::default();
    let speed =
        |elapsed: Duration| options.size as f64 / elapsed.as_secs_f64() / f64::from(1 << 20);
    report.count("parts", transfer.parts);
    report.number("upload_mib_per_second", speed(up));
    report.number("ranges_mib_per_second", speed(ranges));
    report.number("stream_mib_per_second", speed(whole));
    Ok(report)
}

/// Begins an upload; its number.
///
/// # Errors
/// The request failed.
pub(super) async fn create(session: &mut Session, key: &str) -> anyhow::Result<String> {
    let request = Request {
        method: "POST",
        key,
        query: "uploads=",
        headers: &[],
        payload_hash: EMPTY_HASH,
    };
    let mut answer = Vec::new();
    session
        .perform(&request, b"", |piece| answer.extend_from_slice(piece))
        .await?;
    let answer = String::from_utf8_lossy(&answer);
    element(&answer, "UploadId")
        .map(str::to_string)
        .with_context(|| format!("no UploadId in {answer}"))
}

async fn each_part(
    transfer: &Rc<Transfer>,
    connections: usize,
    act: impl AsyncFn(&Transfer, &mut Session, u64) -> anyhow::Result<()> + Copy + 'static,
) -> anyhow::Result<()> {
    transfer.next.set(0);
    let workers: Vec<JoinHandle<anyhow::Result<()>>> = (0..connections)
        .map(|_| {
            let transfer = transfer.clone();
            spawn_local(async move {
                let mut session = Session::new(&transfer.endpoint);
                loop {
                    let part = transfer.next.replace(transfer.next.get() + 1);
                    if part >= transfer.parts {
                        return Ok(());
                    }
                    act(&transfer, &mut session, part)
                        .await
                        .with_context(|| format!("part {part}"))?;
                    progress::count(transfer.part_size);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    Ok(())
}

async fn upload_part(transfer: &Transfer, session: &mut Session, part: u64) -> anyhow::Result<()> {
    let body = transfer.payloads.body(part);
    let (query, payload_hash) = (
        format!("partNumber={}&uploadId={}", part + 1, transfer.upload),
        hash(body),
    );
    let request = Request {
        method: "PUT",
        key: &transfer.key,
        query: &query,
        headers: &[],
        payload_hash: &payload_hash,
    };
    let head = session.perform(&request, body, |_| ()).await?;
    let etag = head.etag.context("a stored part has no ETag")?;
    transfer.etags.borrow_mut()[usize::try_from(part)?] = etag;
    Ok(())
}

async fn download_part(
    transfer: &Transfer,
    session: &mut Session,
    part: u64,
) -> anyhow::Result<()> {
    let first = part * transfer.part_size;
    let range = format!("bytes={first}-{}", first + transfer.part_size - 1);
    let headers = [("range", range.as_str())];
    let request = Request {
        method: "GET",
        key: &transfer.key,
        query: "",
        headers: &headers,
        payload_hash: EMPTY_HASH,
    };
    let mut comparison = Comparison::new(transfer.payloads.body(part));
    session
        .perform(&request, b"", |piece| comparison.take(piece))
        .await?;
    comparison.finish().context("a range")
}

/// Makes an object of all parts, whose tags these are.
///
/// # Errors
/// The request failed.
pub(super) async fn complete(
    session: &mut Session,
    key: &str,
    upload: &str,
    etags: &[String],
) -> anyhow::Result<()> {
    let mut body =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (index, etag) in etags.iter().enumerate() {
        let part = format!(
            "<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>",
            index + 1
        );
        body.push_str(&part);
    }
    body.push_str("</CompleteMultipartUpload>");
    let (query, payload_hash) = (format!("uploadId={upload}"), hash(body.as_bytes()));
    let request = Request {
        method: "POST",
        key,
        query: &query,
        headers: &[],
        payload_hash: &payload_hash,
    };
    session
        .perform(&request, body.as_bytes(), |_| ())
        .await
        .context("complete")?;
    Ok(())
}

impl Transfer {
    async fn download_whole(&self, session: &mut Session) -> anyhow::Result<()> {
        let mut at = 0u64;
        let mut equal = true;
        session
            .get(&self.key, |mut piece| {
                while !piece.is_empty() {
                    let (part, inside) = (at / self.part_size, at % self.part_size);
                    let here = usize::try_from(self.part_size - inside)
                        .unwrap_or(usize::MAX)
                        .min(piece.len());
                    let begin = usize::try_from(inside).unwrap_or(usize::MAX);
                    equal &= self
                        .payloads
                        .body(part)
                        .get(begin..begin.saturating_add(here))
                        == Some(&piece[..here]);
                    at += here as u64;
                    piece = &piece[here..];
                }
            })
            .await?;
        ensure!(
            equal && at == self.parts * self.part_size,
            "the object came back with other bytes than were stored"
        );
        Ok(())
    }
}
