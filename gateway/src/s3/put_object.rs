//! `PutObject`, and how a body goes into chunks.

use http::HeaderMap;
use http::header;
use strata_net::ObjectWriter;
use strata_raftlog::namespace::command::{Answer, Command, PutObject, PutObjectWithExtras};
use strata_raftlog::namespace::{Body, Checksum, ChecksumAlgorithm, ETag, ObjectExtras};

use super::access_lists::{self, NewAccess};
use super::{Shared, buckets, conditions, metadata, object_lock, tags, versions};
use crate::body::{Digests, RequestBody};
use crate::checksum;
use crate::error::{Code, Fault};
use crate::etag;
use crate::request::Request;
use crate::response::Response;

/// The space of an object's own bytes.
const SPACE_OBJECT: u32 = 0;

/// `PutObject`: nothing is committed before the whole body has come and agrees with all that was
/// declared of it.
///
/// # Errors
/// As every handler.
pub async fn put(shared: &Shared, request: &mut Request) -> Result<Response, Fault> {
    let attributes = metadata::attributes(&request.headers)?;
    let mut extras = extras_of(&request.headers)?;
    let precondition = conditions::of_write(&request.headers)?;
    // Looked up now, so that nobody sends gigabytes to a bucket that is not there.
    let bucket = buckets::find(shared, request)?;
    object_lock::check_bucket(&bucket, extras.lock)?;
    let NewAccess { owner, list } = access_lists::of_new_object(shared, request, &bucket)?;
    extras.access_list = list;
    object_lock::check_digest(&request.body, extras.lock, &bucket, "Put Object")?;
    let inode = shared.cluster.new_inode().await?;
    let algorithm = stored_algorithm(&request.body);
    request.body.want_checksum(algorithm);
    let writer = shared.cluster.writer(inode, SPACE_OBJECT);
    let (body, digests) = store(&mut request.body, writer).await?;
    let checksum = checksum_of(&digests);
    let etag = ETag::single(digests.md5);
    let (_, key) = request.address.object()?;
    let command = PutObject {
        bucket: bucket.inode,
        key: key.to_vec(),
        inode,
        size: digests.length,
        etag,
        checksum: checksum.clone(),
        attributes,
        body,
        precondition,
        owner,
    };
    let answer = commit(shared, put_command(command, extras)).await?;
    let mut response = Response::ok().header(header::ETAG, &etag::quoted(etag));
    versions::add_put_version(&mut response.headers, &answer);
    if let Some(checksum) = &checksum {
        checksum::add(&mut response.headers, checksum);
    }
    Ok(response)
}

/// What headers give an object beside its body and its attributes: tags and a lock. Its list depends on the bucket, see [`access_lists::of_new_object`].
///
/// # Errors
/// Those of [`tags::of_headers`] and [`object_lock::of_headers`].
pub fn extras_of(headers: &HeaderMap) -> Result<ObjectExtras, Fault> {
    Ok(ObjectExtras {
        tags: tags::of_headers(headers)?,
        lock: object_lock::of_headers(headers)?,
        access_list: None,
    })
}

/// The command that puts an object with what it has beside.
pub fn put_command(put: PutObject, extras: ObjectExtras) -> Command {
    match extras.is_empty() {
        true => put.into(),
        false => PutObjectWithExtras { put, extras }.into(),
    }
}

/// The algorithm of the checksum that is stored: the client's, or the default.
pub fn stored_algorithm(body: &RequestBody) -> ChecksumAlgorithm {
    let declared = body.expectation().checksum.as_ref();
    declared.map_or(checksum::DEFAULT, |declaration| declaration.algorithm)
}

/// The checksum that was computed of a body.
pub fn checksum_of(digests: &Digests) -> Option<Checksum> {
    let (algorithm, value) = digests.checksum.clone()?;
    Some(checksum::full_object(algorithm, value))
}

/// Takes a body from the client into chunks. When this returns without an error, the chunks are
/// durable and the body is what was declared.
pub async fn store(
    body: &mut RequestBody,
    mut writer: ObjectWriter,
) -> Result<(Body, Digests), Fault> {
    while let Some(bytes) = body.next().await? {
        writer.write(bytes).await?;
    }
    let digests = body.finish().await?;
    let stored = writer.finish().await?;
    if stored.length() != digests.length {
        return Err(Fault::from(Code::InternalError).because("chunks and body differ in length"));
    }
    Ok((stored, digests))
}

/// Proposes a command that names chunks. The chunks of one that was certainly refused are freed;
/// where the outcome is unknown, that is left to orphan collection.
pub async fn commit(shared: &Shared, command: Command) -> Result<Answer, Fault> {
    let body = body_of(&command);
    match shared.cluster.submit(command).await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            use strata_net::ClusterError::{Busy, Full, Invalid, Refused};
            if matches!(error, Refused(_) | Busy(_) | Full(_) | Invalid(_)) {
                shared.cluster.discard(body).await;
            }
            Err(error.into())
        }
    }
}

fn body_of(command: &Command) -> Body {
    let body = match command {
        Command::PutObject(put) => &put.body,
        Command::PutObjectWithExtras(with) => &with.put.body,
        Command::PutPart(put) => &put.body,
        _ => return Body::Empty,
    };
    match body {
        Body::Extents(_) => body.clone(),
        Body::Empty | Body::Inline(_) => Body::Empty,
    }
}
