//! AWS Signature Version 4 in the `Authorization` header, from AWS's description of it.
//!
//! Invariants: every header that is sent to be signed is signed; a day's signing key is derived once.

use std::cell::RefCell;
use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use time::OffsetDateTime;

/// Stands for the hash of a body that is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Signs requests of one access key.
pub struct Signer {
    access_key: String,
    secret_key: String,
    region: String,
    /// The day and the key derived for it.
    day_key: RefCell<Option<(String, hmac::Key)>>,
}

/// What a signature covers.
pub struct Unsigned<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, already percent-encoded.
    pub path: &'a str,
    /// The query with names and values already encoded, sorted by name.
    pub query: &'a str,
    /// Lower-case names with their values, sorted by name; `host` and `x-amz-date` are among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body in hexadecimal, or [`UNSIGNED_PAYLOAD`].
    pub payload_hash: &'a str,
}

/// A moment in the form that signatures use.
pub struct Moment {
    /// `20130524T000000Z`.
    pub text: String,
}

impl Moment {
    /// The wall clock's.
    pub fn now() -> Moment {
        let now = OffsetDateTime::now_utc();
        let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
        let (hour, minute, second) = (now.hour(), now.minute(), now.second());
        Moment {
            text: format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"),
        }
    }

    fn day(&self) -> &str {
        &self.text[..8]
    }
}

impl Signer {
    /// A signer for S3 in one region.
    pub fn new(access_key: String, secret_key: String, region: String) -> Signer {
        Signer {
            access_key,
            secret_key,
            region,
            day_key: RefCell::new(None),
        }
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self, request: &Unsigned<'_>, moment: &Moment) -> String {
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let scope = format!("{}/{}/s3/aws4_request", moment.day(), self.region);
        let canonical = hex(sha256(canonical_request(request, &names).as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{canonical}", moment.text);
        let signature = hex(hmac::sign(&self.key_of(moment.day()), to_sign.as_bytes()).as_ref());
        let access_key = &self.access_key;
        format!(
            "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
    }

    fn key_of(&self, day: &str) -> hmac::Key {
        let mut cached = self.day_key.borrow_mut();
        if let Some((of, key)) = cached.as_ref()
            && of == day
        {
            return key.clone();
        }
        let mut secret = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [day, &self.region, "s3", "aws4_request"] {
            secret = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), part.as_bytes())
                .as_ref()
                .to_vec();
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        *cached = Some((day.to_string(), key.clone()));
        key
    }
}

fn canonical_request(request: &Unsigned<'_>, names: &str) -> String {
    let mut text = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
    for (name, value) in request.headers {
        text.push_str(name);
        text.push(':');
        text.push_str(value.trim());
        text.push('\n');
    }
    text.push('\n');
    text.push_str(names);
    text.push('\n');
    text.push_str(request.payload_hash);
    text
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

/// A body's hash as signatures carry it.
pub fn hash(body: &[u8]) -> String {
    hex(sha256(body).as_ref())
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Percent-encodes all but the unreserved characters; `/` stays where it separates the parts of a path.
pub fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/');
        if plain {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    //! The examples of "Authenticating Requests: Using the Authorization Header" in the S3 documentation.

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

    fn signature(request: &Unsigned<'_>) -> String {
        let signer = Signer::new(
            "AKIAIOSFODNN7EXAMPLE".into(),
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            "us-east-1".into(),
        );
        let moment = Moment {
            text: "20130524T000000Z".into(),
        };
        let value = signer.authorization(request, &moment);
        assert_eq!(
            value,
            signer.authorization(request, &moment),
            "the cached key gives the same signature"
        );
        value.rsplit('=').next().unwrap().to_string()
    }

    #[test]
    fn get_object() {
        let headers = [
            HOST,
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            DATE,
        ];
        let request = Unsigned {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &headers,
            payload_hash: EMPTY,
        };
        assert_eq!(
            signature(&request),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn put_object() {
        let hash = hex(sha256(b"Welcome to Amazon S3.").as_ref());
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            HOST,
            ("x-amz-content-sha256", &hash),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let path = encode("/test$file.text", true);
        let request = Unsigned {
            method: "PUT",
            path: &path,
            query: "",
            headers: &headers,
            payload_hash: &hash,
        };
        assert_eq!(
            signature(&request),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn get_bucket_lifecycle_and_list_objects() {
        let headers = [HOST, ("x-amz-content-sha256", EMPTY), DATE];
        let of = |query| Unsigned {
            method: "GET",
            path: "/",
            query,
            headers: &headers,
            payload_hash: EMPTY,
        };
        assert_eq!(
            signature(&of("lifecycle=")),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature(&of("max-keys=2&prefix=J")),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn moments_have_sixteen_characters() {
        let now = Moment::now().text;
        assert_eq!(now.len(), 16);
        assert_eq!((&now[8..9], &now[15..]), ("T", "Z"));
    }
}
