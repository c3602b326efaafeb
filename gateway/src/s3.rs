//! The operations of S3, one file per family.
//!
//! s3s calls [`Frontend`] with a request that the guard has admitted; what it needs beside the
//! fields that s3s parses is in the [`Context`]. Bodies go past s3s in both directions.

/// Sets the field of an answer that carries a checksum.
macro_rules! set_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            use strata_raftlog::namespace::ChecksumAlgorithm as Algorithm;
            let text = Some($crate::checksum::text_of(checksum));
            match checksum.algorithm {
                Algorithm::Crc32 => $output.checksum_crc32 = text,
                Algorithm::Crc32c => $output.checksum_crc32c = text,
                Algorithm::Crc64Nvme => $output.checksum_crc64nvme = text,
                Algorithm::Sha1 => $output.checksum_sha1 = text,
                Algorithm::Sha256 => $output.checksum_sha256 = text,
            }
        }
    };
}

mod buckets;
mod conditions;
mod copy_object;
mod copy_source;
mod delete_objects;
mod get_object;
mod head_object;
mod list_objects;
mod metadata;
mod multipart;
mod multipart_lists;
mod object_attributes;
mod object_body;
mod put_object;
mod ranges;
mod tagging;

use std::rc::Rc;

use s3s::dto;
use s3s::{S3, S3Request, S3Response, S3Result};
use send_wrapper::SendWrapper;
use strata_net::Cluster;

use crate::context::{Carried, Context};
use crate::error::{Code, Fault};
use crate::operation::Operation;
use crate::serve::GatewayConfig;

pub use object_body::{ObjectBody, ReadRoom};

/// The account that owns everything: there is one until accounts exist.
pub const ROOT_ACCOUNT: u64 = 1;

/// What the operations act on.
pub struct Shared {
    /// The cluster.
    pub cluster: Cluster,
    /// The configuration.
    pub config: Rc<GatewayConfig>,
    /// Room for readers that read ahead.
    pub read_room: ReadRoom,
}

/// The operations, as s3s calls them. Lives and dies on its reactor.
pub struct Frontend {
    shared: SendWrapper<Rc<Shared>>,
}

impl Frontend {
    /// A front end on a reactor.
    pub fn new(shared: Rc<Shared>) -> Frontend {
        Frontend {
            shared: SendWrapper::new(shared),
        }
    }
}

/// Takes the context out of a request and makes sure that s3s and the guard mean the same
/// operation.
fn context_of<I>(request: &S3Request<I>, operation: Operation) -> S3Result<Rc<Context>> {
    let carried = request.extensions.get::<Carried>();
    let context = carried
        .map(|carried| Rc::clone(carried))
        .ok_or(s3s::S3ErrorCode::InternalError)?;
    match context.operation == operation {
        true => Ok(context),
        false => Err(
            context.fail(Fault::from(Code::InternalError).because(format!(
                "the guard admitted {}, s3s calls {}",
                context.operation.name(),
                operation.name()
            ))),
        ),
    }
}

macro_rules! operations {
    ($($method:ident $operation:ident $input:ident $output:ident $function:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Frontend {
            $(async fn $method(
                &self,
                request: S3Request<dto::$input>,
            ) -> S3Result<S3Response<dto::$output>> {
                let shared = Rc::clone(&self.shared);
                SendWrapper::new(async move {
                    let context = context_of(&request, Operation::$operation)?;
                    let answer = $function(&shared, &context, request.input).await;
                    answer.map_err(|fault| context.fail(fault))
                })
                .await
            })*
        }
    };
}

operations! {
    list_buckets ListBuckets ListBucketsInput ListBucketsOutput buckets::list;
    create_bucket CreateBucket CreateBucketInput CreateBucketOutput buckets::create;
    head_bucket HeadBucket HeadBucketInput HeadBucketOutput buckets::head;
    delete_bucket DeleteBucket DeleteBucketInput DeleteBucketOutput buckets::delete;
    get_bucket_location GetBucketLocation GetBucketLocationInput GetBucketLocationOutput
        buckets::location;
    list_objects ListObjects ListObjectsInput ListObjectsOutput list_objects::version_1;
    list_objects_v2 ListObjectsV2 ListObjectsV2Input ListObjectsV2Output list_objects::version_2;
    put_object PutObject PutObjectInput PutObjectOutput put_object::put;
    get_object GetObject GetObjectInput GetObjectOutput get_object::get;
    head_object HeadObject HeadObjectInput HeadObjectOutput head_object::head;
    delete_object DeleteObject DeleteObjectInput DeleteObjectOutput delete_objects::one;
    delete_objects DeleteObjects DeleteObjectsInput DeleteObjectsOutput delete_objects::many;
    copy_object CopyObject CopyObjectInput CopyObjectOutput copy_object::copy;
    create_multipart_upload CreateMultipartUpload CreateMultipartUploadInput
        CreateMultipartUploadOutput multipart::create;
    upload_part_copy UploadPartCopy UploadPartCopyInput UploadPartCopyOutput
        copy_object::copy_part;
    get_object_tagging GetObjectTagging GetObjectTaggingInput GetObjectTaggingOutput tagging::get;
    get_object_attributes GetObjectAttributes GetObjectAttributesInput GetObjectAttributesOutput
        object_attributes::get;
    upload_part UploadPart UploadPartInput UploadPartOutput multipart::put_part;
    complete_multipart_upload CompleteMultipartUpload CompleteMultipartUploadInput
        CompleteMultipartUploadOutput multipart::complete;
    abort_multipart_upload AbortMultipartUpload AbortMultipartUploadInput
        AbortMultipartUploadOutput multipart::abort;
    list_parts ListParts ListPartsInput ListPartsOutput multipart_lists::parts;
    list_multipart_uploads ListMultipartUploads ListMultipartUploadsInput
        ListMultipartUploadsOutput multipart_lists::uploads;
}

/// A time of the namespace for an answer, in whole seconds as AWS has it.
fn timestamp(micros: u64) -> dto::Timestamp {
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(0);
    let time = time::OffsetDateTime::from_unix_timestamp(seconds);
    time.unwrap_or(time::OffsetDateTime::UNIX_EPOCH).into()
}

/// An account as AWS shows its canonical id: 64 hexadecimal digits.
fn owner(account: u64) -> dto::Owner {
    dto::Owner {
        display_name: None,
        id: Some(format!("{account:064x}")),
    }
}

/// A page size of a listing: 0 to 1,000, where nothing is said 1,000.
fn page_size(name: &str, asked: Option<i32>) -> Result<usize, Fault> {
    match asked {
        None => Ok(1000),
        Some(negative @ ..0) => Err(Fault::argument(
            name,
            &negative.to_string(),
            format!("Argument {name} must be an integer between 0 and 2147483647"),
        )),
        Some(size) => Ok((size as usize).min(1000)),
    }
}

/// Whether names are to be percent-encoded in the answer.
fn is_encoded(context: &Context) -> Result<bool, Fault> {
    match context.query.get("encoding-type") {
        None => Ok(false),
        Some("url") => Ok(true),
        Some(other) => Err(Fault::argument(
            "encoding-type",
            other,
            "Invalid Encoding Method specified in Request",
        )),
    }
}

/// Checks `x-amz-expected-bucket-owner` and its like against the one account.
fn check_owner(context: &Context, header: &str) -> Result<(), Fault> {
    match context.header(header) {
        Some(account) if account != format!("{ROOT_ACCOUNT:012}") => Err(Code::AccessDenied.into()),
        _ => Ok(()),
    }
}
