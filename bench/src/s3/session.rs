//! One connection to an endpoint that signs and sends S3 requests.
//!
//! Invariants: after an error the connection is opened anew; the status of an answer decides whether an operation
//! worked, and a body that says `<Error>` in a 200 (a completed upload may) is an error.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;

use anyhow::{Context as _, bail};

use super::sign::{Moment, Signer, UNSIGNED_PAYLOAD, Unsigned, encode, hash};
use crate::connection::{Connection, Head};

/// Where the requests go and who sends them.
pub struct Endpoint {
    address: SocketAddr,
    host: String,
    bucket: String,
    signer: Signer,
    sign_payload: bool,
}

impl Endpoint {
    /// Parses `http://host:port`.
    ///
    /// # Errors
    /// Another scheme, or a host that does not resolve.
    pub fn new(
        url: &str,
        bucket: String,
        signer: Signer,
        sign_payload: bool,
    ) -> anyhow::Result<Endpoint> {
        anyhow::ensure!(
            !url.starts_with("https://"),
            "{url:?}: the loads speak plain HTTP; measure a server without tls.cert and tls.key"
        );
        let host = url
            .strip_prefix("http://")
            .with_context(|| format!("{url:?} does not begin with http://"))?;
        let host = host.trim_end_matches('/').to_string();
        let with_port = if host.contains(':') {
            host.clone()
        } else {
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("resolve {with_port}"))?
            .next()
            .with_context(|| format!("{with_port} has no address"))?;
        Ok(Endpoint {
            address,
            host,
            bucket,
            signer,
            sign_payload,
        })
    }

    fn head(&self, request: &Request<'_>, length: usize) -> String {
        let moment = Moment::now();
        let path = match request.key {
            "" => format!("/{}", self.bucket),
            key => format!("/{}/{}", self.bucket, encode(key, true)),
        };
        let payload_hash = if self.sign_payload {
            request.payload_hash
        } else {
            UNSIGNED_PAYLOAD
        };
        let mut headers = vec![
            ("host", self.host.as_str()),
            ("x-amz-content-sha256", payload_hash),
            ("x-amz-date", moment.text.as_str()),
        ];
        headers.extend_from_slice(request.headers);
        headers.sort_unstable();
        let unsigned = Unsigned {
            method: request.method,
            path: &path,
            query: request.query,
            headers: &headers,
            payload_hash,
        };
        let authorization = self.signer.authorization(&unsigned, &moment);
        let question = if request.query.is_empty() { "" } else { "?" };
        let mut head = format!(
            "{} {path}{question}{} HTTP/1.1\r\n",
            request.method, request.query
        );
        for (name, value) in headers
            .iter()
            .chain(&[("authorization", authorization.as_str())])
        {
            head.extend([*name, ": ", *value, "\r\n"]);
        }
        head + &format!("content-length: {length}\r\n\r\n")
    }
}

/// One request before it is signed.
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The key; empty for the bucket itself.
    pub key: &'a str,
    /// Encoded, sorted by name.
    pub query: &'a str,
    /// Headers beyond those that every request has; lower-case names.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body in hexadecimal.
    pub payload_hash: &'a str,
}

/// SHA-256 of an empty body.
pub const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A connection and what it is for.
pub struct Session {
    endpoint: Rc<Endpoint>,
    connection: Option<Connection>,
}

impl Session {
    /// A session that connects at its first request.
    pub fn new(endpoint: &Rc<Endpoint>) -> Session {
        Session {
            endpoint: endpoint.clone(),
            connection: None,
        }
    }

    /// Sends a request, reads the answer to its end, and refuses every status but those below 300.
    pub async fn perform(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
        sink: impl FnMut(&[u8]),
    ) -> anyhow::Result<Head> {
        let head = self.endpoint.head(request, body.len());
        let mut connection = self.take_connection().await?;
        connection
            .send(head.as_bytes(), body)
            .await
            .context("send")?;
        self.answer(connection, sink).await
    }

    /// Like `perform`, but sends the body in pieces, each when `due` says that so many bytes are.
    pub async fn perform_paced(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
        mut due: impl AsyncFnMut(usize),
    ) -> anyhow::Result<Head> {
        /// A piece, small against a second's worth.
        const PIECE: usize = 64 << 10;
        let head = self.endpoint.head(request, body.len());
        let mut connection = self.take_connection().await?;
        connection
            .send(head.as_bytes(), b"")
            .await
            .context("send")?;
        for piece in body.chunks(PIECE) {
            due(piece.len()).await;
            connection.send(b"", piece).await.context("send")?;
        }
        self.answer(connection, |_| ()).await
    }

    async fn take_connection(&mut self) -> anyhow::Result<Connection> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(self.endpoint.address)
                .await
                .context("connect"),
        }
    }

    async fn answer(
        &mut self,
        mut connection: Connection,
        mut sink: impl FnMut(&[u8]),
    ) -> anyhow::Result<Head> {
        /// Enough of an error's XML to tell its code.
        const ERROR_BYTES_MAX: usize = 1024;
        let mut beginning = Vec::new();
        let head = connection
            .receive(|piece| {
                let room = ERROR_BYTES_MAX
                    .saturating_sub(beginning.len())
                    .min(piece.len());
                beginning.extend_from_slice(&piece[..room]);
                sink(piece);
            })
            .await?;
        if !head.close {
            self.connection = Some(connection);
        }
        let text = String::from_utf8_lossy(&beginning);
        if head.status >= 300 || text.contains("<Error>") {
            bail!(
                "status {} {}",
                head.status,
                element(&text, "Code").unwrap_or("without a code")
            );
        }
        Ok(head)
    }

    /// Stores an object.
    pub async fn put(&mut self, key: &str, body: &[u8]) -> anyhow::Result<Head> {
        let payload_hash = if self.endpoint.sign_payload {
            hash(body)
        } else {
            String::new()
        };
        let request = Request {
            method: "PUT",
            key,
            query: "",
            headers: &[],
            payload_hash: &payload_hash,
        };
        self.perform(&request, body, |_| ()).await
    }

    /// Reads an object.
    pub async fn get(&mut self, key: &str, sink: impl FnMut(&[u8])) -> anyhow::Result<Head> {
        let request = Request {
            method: "GET",
            key,
            query: "",
            headers: &[],
            payload_hash: EMPTY_HASH,
        };
        self.perform(&request, b"", sink).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// The request failed.
    pub async fn delete(&mut self, key: &str) -> anyhow::Result<()> {
        let request = Request {
            method: "DELETE",
            key,
            query: "",
            headers: &[],
            payload_hash: EMPTY_HASH,
        };
        self.perform(&request, b"", |_| ()).await?;
        Ok(())
    }

    /// Makes the bucket; one that is there already is as good.
    pub async fn create_bucket(&mut self) -> anyhow::Result<()> {
        let request = Request {
            method: "PUT",
            key: "",
            query: "",
            headers: &[],
            payload_hash: EMPTY_HASH,
        };
        match self.perform(&request, b"", |_| ()).await {
            Err(error) if !error.to_string().contains("BucketAlready") => {
                Err(error).context("create the bucket")
            }
            _ => Ok(()),
        }
    }

    /// Lists up to 1,000 keys; how many came.
    pub async fn list(&mut self, prefix: &str) -> anyhow::Result<usize> {
        let query = format!("list-type=2&max-keys=1000&prefix={}", encode(prefix, false));
        let request = Request {
            method: "GET",
            key: "",
            query: &query,
            headers: &[],
            payload_hash: EMPTY_HASH,
        };
        let mut page = Vec::new();
        self.perform(&request, b"", |piece| page.extend_from_slice(piece))
            .await?;
        Ok(String::from_utf8_lossy(&page).matches("<Key>").count())
    }

    /// Deletes a batch of keys.
    pub async fn delete_batch(&mut self, keys: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let mut body = String::from(
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>",
        );
        for key in keys {
            body.extend(["<Object><Key>", &key, "</Key></Object>"]);
        }
        body.push_str("</Delete>");
        let digest = super::sign::sha256(body.as_bytes());
        let checksum =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_ref());
        let headers = [
            ("x-amz-checksum-sha256", checksum.as_str()),
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
        ];
        let payload_hash = super::sign::hex(digest.as_ref());
        let request = Request {
            method: "POST",
            key: "",
            query: "delete=",
            headers: &headers,
            payload_hash: &payload_hash,
        };
        self.perform(&request, body.as_bytes(), |_| ())
            .await
            .map(|_| ())
    }
}

/// The text of the first element of that name.
pub fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_signs_what_it_sends() {
        let signer = Signer::new("key".into(), "secret".into(), "us-east-1".into());
        let endpoint =
            Endpoint::new("http://127.0.0.1:9000/", "bucket".into(), signer, false).unwrap();
        let headers = [("range", "bytes=0-1")];
        let request = Request {
            method: "GET",
            key: "a b/c",
            query: "",
            headers: &headers,
            payload_hash: EMPTY_HASH,
        };
        let head = endpoint.head(&request, 0);
        assert!(
            head.starts_with(
                "GET /bucket/a%20b/c HTTP/1.1\r\nhost: 127.0.0.1:9000\r\nrange: bytes=0-1\r\n"
            ),
            "{head}"
        );
        assert!(head.contains("x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"));
        assert!(head.contains("SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "));
        assert!(head.ends_with("content-length: 0\r\n\r\n"));
    }

    #[test]
    fn https_and_names_without_address_are_refused() {
        let signer = || Signer::new(String::new(), String::new(), String::new());
        assert!(Endpoint::new("https://127.0.0.1:1", String::new(), signer(), true).is_err());
        assert!(Endpoint::new("http://127.0.0.1:port", String::new(), signer(), true).is_err());
    }

    #[test]
    fn elements_are_found_by_name() {
        assert_eq!(
            element("<a><UploadId>x1</UploadId></a>", "UploadId"),
            Some("x1")
        );
        assert_eq!(element("<a><UploadId>x1", "UploadId"), None);
    }
}
