//! Which operation of S3 a request asks for.
//!
//! Invariant: whatever is not served here is named and refused; a subresource, a parameter or a
//! method that is not known never turns into an operation that merely looks like it. The table of
//! `docs/S3.md` is this file in words.

mod missing;

use http::{HeaderMap, Method};

use crate::error::{Code, Fault};
use crate::query::{Query, decode};

pub use missing::refuse_unsigned;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident [$($parameter:literal),*],)*) => {
        /// The operations that are served.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Operation { $($(#[$doc])* $name,)* }

        impl Operation {
            /// All of them.
            const ALL: &[Operation] = &[$(Operation::$name),*];

            /// AWS's name.
            pub fn name(self) -> &'static str {
                match self { $(Operation::$name => stringify!($name),)* }
            }

            /// The query parameters that the operation knows.
            fn parameters(self) -> &'static [&'static str] {
                match self { $(Operation::$name => &[$($parameter),*],)* }
            }
        }
    };
}

operations! {
    /// `GET /`.
    ListBuckets ["prefix", "max-buckets", "continuation-token", "bucket-region"],
    /// `PUT /bucket`.
    CreateBucket [],
    /// `HEAD /bucket`.
    HeadBucket [],
    /// `DELETE /bucket`.
    DeleteBucket [],
    /// `GET /bucket?location`.
    GetBucketLocation ["location"],
    /// `GET /bucket`.
    ListObjects ["prefix", "delimiter", "marker", "max-keys", "encoding-type"],
    /// `GET /bucket?list-type=2`.
    ListObjectsV2 ["list-type", "prefix", "delimiter", "continuation-token", "start-after",
        "max-keys", "encoding-type", "fetch-owner"],
    /// `POST /bucket?delete`.
    DeleteObjects ["delete"],
    /// `GET /bucket?uploads`.
    ListMultipartUploads ["uploads", "prefix", "delimiter", "key-marker", "upload-id-marker",
        "max-uploads", "encoding-type"],
    /// `PUT /bucket/key`.
    PutObject [],
    /// `PUT /bucket/key` with `x-amz-copy-source`.
    CopyObject [],
    /// `GET /bucket/key`.
    GetObject ["versionId", "partNumber", "response-cache-control", "response-content-disposition",
        "response-content-encoding", "response-content-language", "response-content-type",
        "response-expires"],
    /// `HEAD /bucket/key`.
    HeadObject ["versionId", "partNumber", "response-cache-control",
        "response-content-disposition", "response-content-encoding", "response-content-language",
        "response-content-type", "response-expires"],
    /// `DELETE /bucket/key`.
    DeleteObject ["versionId"],
    /// `POST /bucket/key?uploads`.
    CreateMultipartUpload ["uploads"],
    /// `PUT /bucket/key?partNumber&uploadId`.
    UploadPart ["partNumber", "uploadId"],
    /// `PUT /bucket/key?partNumber&uploadId` with `x-amz-copy-source`.
    UploadPartCopy ["partNumber", "uploadId"],
    /// `GET /bucket/key?attributes`.
    GetObjectAttributes ["attributes", "versionId"],
    /// `GET /bucket/key?tagging`.
    GetObjectTagging ["tagging", "versionId"],
    /// `POST /bucket/key?uploadId`.
    CompleteMultipartUpload ["uploadId"],
    /// `DELETE /bucket/key?uploadId`.
    AbortMultipartUpload ["uploadId"],
    /// `GET /bucket/key?uploadId`.
    ListParts ["uploadId", "max-parts", "part-number-marker"],
}

impl Operation {
    /// Whether the request has a body that becomes an object or a part.
    pub fn streams_a_body(self) -> bool {
        matches!(self, Operation::PutObject | Operation::UploadPart)
    }

    /// Whether the request has an XML body.
    pub fn takes_xml(self) -> bool {
        use Operation::*;
        matches!(self, CreateBucket | DeleteObjects | CompleteMultipartUpload)
    }

    /// Whether headers of the request are stored with an object.
    pub fn stores_headers(self) -> bool {
        use Operation::*;
        matches!(self, PutObject | CopyObject | CreateMultipartUpload)
    }
}

/// What a path names: addressing is by path alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `/`.
    Root,
    /// A bucket.
    Bucket(String),
    /// A bucket and a key in it.
    Object(String, String),
}

impl Address {
    /// Reads a raw path.
    ///
    /// # Errors
    /// `InvalidURI` where the path is no encoded UTF-8.
    pub fn parse(raw: &str) -> Result<Address, Fault> {
        let path = decode(raw).ok_or_else(|| Fault::from(Code::InvalidURI))?;
        let path = path
            .strip_prefix('/')
            .ok_or_else(|| Fault::from(Code::InvalidURI))?;
        Ok(match path.split_once('/') {
            _ if path.is_empty() => Address::Root,
            None => Address::Bucket(path.to_owned()),
            Some((bucket, "")) => Address::Bucket(bucket.to_owned()),
            Some((bucket, key)) => Address::Object(bucket.to_owned(), key.to_owned()),
        })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Address::Root => None,
            Address::Bucket(bucket) | Address::Object(bucket, _) => Some(bucket),
        }
    }
}

/// The operation that a request asks for.
///
/// # Errors
/// `NotImplemented` with the operation's name, `MethodNotAllowed` where there is none.
pub fn classify(
    method: &Method,
    address: &Address,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Operation, Fault> {
    missing::refuse(method, address, query)?;
    let operation = match address {
        Address::Root => of_root(method)?,
        Address::Bucket(_) => of_bucket(method, query)?,
        Address::Object(..) => of_object(method, query, headers)?,
    };
    check_parameters(operation, query)?;
    Ok(operation)
}

fn of_root(method: &Method) -> Result<Operation, Fault> {
    match *method {
        Method::GET => Ok(Operation::ListBuckets),
        _ => Err(Code::MethodNotAllowed.into()),
    }
}

fn of_bucket(method: &Method, query: &Query) -> Result<Operation, Fault> {
    match *method {
        Method::GET if query.has("location") => Ok(Operation::GetBucketLocation),
        Method::GET if query.has("uploads") => Ok(Operation::ListMultipartUploads),
        Method::GET => match query.get("list-type") {
            None => Ok(Operation::ListObjects),
            Some("2") => Ok(Operation::ListObjectsV2),
            Some(other) => Err(Fault::argument("list-type", other, "Invalid list type")),
        },
        Method::PUT => Ok(Operation::CreateBucket),
        Method::HEAD => Ok(Operation::HeadBucket),
        Method::DELETE => Ok(Operation::DeleteBucket),
        Method::POST if query.has("delete") => Ok(Operation::DeleteObjects),
        _ => Err(Code::MethodNotAllowed.into()),
    }
}

fn of_object(method: &Method, query: &Query, headers: &HeaderMap) -> Result<Operation, Fault> {
    let is_copy = headers.contains_key("x-amz-copy-source");
    let (upload, part) = (query.has("uploadId"), query.has("partNumber"));
    match *method {
        Method::GET if query.has("attributes") => Ok(Operation::GetObjectAttributes),
        Method::GET if query.has("tagging") => Ok(Operation::GetObjectTagging),
        Method::GET if upload => Ok(Operation::ListParts),
        Method::GET => Ok(Operation::GetObject),
        Method::HEAD => Ok(Operation::HeadObject),
        Method::PUT if upload && part && is_copy => Ok(Operation::UploadPartCopy),
        Method::PUT if upload && part => Ok(Operation::UploadPart),
        Method::PUT if upload || part => Err(Fault::new(
            Code::InvalidRequest,
            "A part needs both parameters, partNumber and uploadId.",
        )),
        Method::PUT if is_copy => Ok(Operation::CopyObject),
        Method::PUT => Ok(Operation::PutObject),
        Method::POST if query.has("uploads") => Ok(Operation::CreateMultipartUpload),
        Method::POST if upload => Ok(Operation::CompleteMultipartUpload),
        Method::DELETE if upload => Ok(Operation::AbortMultipartUpload),
        Method::DELETE => Ok(Operation::DeleteObject),
        _ => Err(Code::MethodNotAllowed.into()),
    }
}

/// Parameters beside those of the operation: those of a presigned URL have been looked at before,
/// `x-id` names the operation, and other names in `x-` are for the client's own log.
fn check_parameters(operation: Operation, query: &Query) -> Result<(), Fault> {
    for (name, value) in query.pairs() {
        let lower = name.to_ascii_lowercase();
        if operation.parameters().contains(&name.as_str()) || lower.starts_with("x-amz-") {
            continue;
        }
        if name == "x-id" && value != operation.name() {
            return Err(misnamed(value));
        }
        if !lower.starts_with("x-") {
            return Err(Fault::new(
                Code::NotImplemented,
                "A query parameter you provided implies functionality that is not implemented.",
            )
            .detail("Parameter", name));
        }
    }
    Ok(())
}

/// `x-id` may be all that tells an operation that is not served from one that is.
fn misnamed(value: &str) -> Fault {
    match Operation::ALL.iter().any(|known| known.name() == value) {
        true => Fault::argument("x-id", value, "x-id does not name the operation"),
        false => Fault::operation_not_implemented(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, uri: &str) -> Result<Operation, Code> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let address = Address::parse(path).unwrap();
        let query = Query::parse(query).unwrap();
        classify(&method, &address, &query, &HeaderMap::new()).map_err(|fault| fault.code)
    }

    #[test]
    fn operations_are_told_apart() {
        assert_eq!(ask(Method::GET, "/"), Ok(Operation::ListBuckets));
        assert_eq!(ask(Method::GET, "/b"), Ok(Operation::ListObjects));
        assert_eq!(
            ask(Method::GET, "/b/?list-type=2&prefix=a"),
            Ok(Operation::ListObjectsV2)
        );
        assert_eq!(
            ask(Method::GET, "/b?location"),
            Ok(Operation::GetBucketLocation)
        );
        assert_eq!(ask(Method::POST, "/b?delete"), Ok(Operation::DeleteObjects));
        assert_eq!(
            ask(Method::PUT, "/b/k?x-id=PutObject"),
            Ok(Operation::PutObject)
        );
        assert_eq!(
            ask(Method::PUT, "/b/k?partNumber=1&uploadId=u"),
            Ok(Operation::UploadPart)
        );
        assert_eq!(
            ask(Method::DELETE, "/b/k?uploadId=u"),
            Ok(Operation::AbortMultipartUpload)
        );
    }

    #[test]
    fn what_is_not_served_is_refused() {
        for uri in [
            "/b?acl",
            "/b?policy",
            "/b?versioning",
            "/b?versions",
            "/b?unheard-of",
        ] {
            assert_eq!(ask(Method::GET, uri), Err(Code::NotImplemented), "{uri}");
            assert_eq!(ask(Method::PUT, uri), Err(Code::NotImplemented), "{uri}");
        }
        for uri in ["/b/k?acl", "/b/k?torrent", "/b/k?foo=1"] {
            assert_eq!(ask(Method::GET, uri), Err(Code::NotImplemented), "{uri}");
            assert_eq!(ask(Method::PUT, uri), Err(Code::NotImplemented), "{uri}");
        }
        assert_eq!(
            ask(Method::PUT, "/b/k?x-id=GetObject"),
            Err(Code::InvalidArgument)
        );
        assert_eq!(ask(Method::PATCH, "/b/k"), Err(Code::MethodNotAllowed));
        assert_eq!(ask(Method::PUT, "/b/k?tagging"), Err(Code::NotImplemented));
        assert_eq!(ask(Method::PUT, "/"), Err(Code::MethodNotAllowed));
        assert_eq!(
            ask(Method::PUT, "/b/k?uploadId=u"),
            Err(Code::InvalidRequest)
        );
    }

    #[test]
    fn what_is_not_served_is_refused_by_its_name() {
        let refusal = |method: Method, uri: &str| {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let address = Address::parse(path).unwrap();
            let query = Query::parse(query).unwrap();
            let fault = classify(&method, &address, &query, &HeaderMap::new()).unwrap_err();
            assert_eq!(fault.code, Code::NotImplemented, "{method} {uri}");
            fault.message.into_owned()
        };
        for (method, uri, name) in [
            (
                Method::GET,
                "/?x-id=ListDirectoryBuckets",
                "ListDirectoryBuckets",
            ),
            (
                Method::POST,
                "/WriteGetObjectResponse",
                "WriteGetObjectResponse",
            ),
            (Method::GET, "/b?session", "CreateSession"),
            (
                Method::GET,
                "/b?metrics&id=a",
                "GetBucketMetricsConfiguration",
            ),
            (Method::GET, "/b?metrics", "ListBucketMetricsConfigurations"),
            (Method::PUT, "/b/k?encryption", "UpdateObjectEncryption"),
        ] {
            let message = refusal(method, uri);
            assert!(
                message.starts_with(&format!("The operation {name} ")),
                "{message}"
            );
        }
        for uri in [
            "/b?acl",
            "/b?versions",
            "/b?metrics",
            "/b/k?acl",
            "/b/k?select",
        ] {
            let message = refusal(Method::DELETE, uri);
            assert!(message.starts_with("A query parameter"), "{uri}: {message}");
        }
        assert_eq!(
            ask(Method::GET, "/?x-id=PutObject"),
            Err(Code::InvalidArgument)
        );
    }

    /// Their rows in docs/S3.md are tested by sending each; here are the rows of what is served.
    #[test]
    fn the_matrix_lists_what_is_served() {
        let document = include_str!("../../docs/S3.md");
        let rows = document.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let (name, state) = (cells.next()?, cells.next()?);
            matches!(state, "works" | "partly").then_some(name)
        });
        let mut listed: Vec<&str> = rows.collect();
        let mut served: Vec<&str> = Operation::ALL.iter().map(|known| known.name()).collect();
        listed.sort_unstable();
        served.sort_unstable();
        assert_eq!(listed, served);
    }

    #[test]
    fn a_path_names_a_bucket_and_a_key_with_all_its_slashes() {
        let object = |bucket: &str, key: &str| Address::Object(bucket.into(), key.into());
        assert_eq!(Address::parse("/").unwrap(), Address::Root);
        assert_eq!(Address::parse("/b/").unwrap(), Address::Bucket("b".into()));
        assert_eq!(Address::parse("/b//").unwrap(), object("b", "/"));
        assert_eq!(
            Address::parse("/b/a//../c%2B+").unwrap(),
            object("b", "a//../c++")
        );
        assert!(Address::parse("/b/%ff").is_err());
        assert!(Address::parse("*").is_err());
    }
}
