//! `PutObject`, and how a body goes into chunks.

use s3s::S3Response;
use s3s::dto;
use strata_net::ObjectWriter;
use strata_raftlog::namespace::command::{Answer, Command, PutObject};
use strata_raftlog::namespace::{Body, Checksum, ChecksumAlgorithm, ETag};

use super::{ROOT_ACCOUNT, Shared, buckets, conditions, metadata};
use crate::body::{Digests, RequestBody};
use crate::checksum;
use crate::context::Context;
use crate::error::{Code, Fault};
use crate::etag;

/// The space of an object's own bytes.
const SPACE_OBJECT: u32 = 0;

/// `PutObject`: nothing is committed before the whole body has come and agrees with all that was
/// declared of it.
pub async fn put(
    shared: &Shared,
    context: &Context,
    _: dto::PutObjectInput,
) -> Result<S3Response<dto::PutObjectOutput>, Fault> {
    let (bucket, key) = context.object()?;
    let attributes = metadata::attributes(&context.headers)?;
    // Looked up now, so that nobody sends gigabytes to a bucket that is not there.
    buckets::find(shared, context)?;
    let inode = shared.cluster.new_inode().await?;
    let mut request_body = context.take_body()?;
    let algorithm = stored_algorithm(&request_body);
    request_body.want_checksum(algorithm);
    let writer = shared.cluster.writer(inode, SPACE_OBJECT);
    let stored = store(&mut request_body, writer).await;
    context.give_back(request_body);
    let (body, digests) = stored?;
    let checksum = checksum_of(&digests);
    let etag = ETag::single(digests.md5);
    let command = PutObject {
        bucket: bucket.to_owned(),
        key: key.to_vec(),
        inode,
        size: digests.length,
        etag,
        checksum: checksum.clone(),
        attributes,
        body,
        precondition: conditions::of_write(&context.headers),
        owner: ROOT_ACCOUNT,
    };
    commit(shared, command.into()).await?;
    let mut output = dto::PutObjectOutput {
        e_tag: Some(etag::to_dto(etag)),
        ..Default::default()
    };
    set_checksum!(output, checksum.as_ref());
    output.checksum_type = checksum.as_ref().map(kind_of);
    Ok(S3Response::new(output))
}

/// A checksum's kind for an answer.
pub fn kind_of(checksum: &Checksum) -> dto::ChecksumType {
    dto::ChecksumType::from_static(checksum::kind_name(checksum.kind))
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
    let digests = body.finish()?;
    let stored = writer.finish().await?;
    if stored.length() != digests.length {
        return Err(Fault::from(Code::InternalError).because("chunks and body differ in length"));
    }
    Ok((stored, digests))
}

/// Proposes a command that names chunks. The chunks of one that was certainly refused are freed;
/// where the outcome is unknown, that is left to the sweep.
pub async fn commit(shared: &Shared, command: Command) -> Result<Answer, Fault> {
    let body = body_of(&command);
    match shared.cluster.change(command).await {
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
        Command::PutPart(put) => &put.body,
        _ => return Body::Empty,
    };
    match body {
        Body::Extents(_) => body.clone(),
        Body::Empty | Body::Inline(_) => Body::Empty,
    }
}
