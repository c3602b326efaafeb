//! AWS signatures (version 4) made by hand, for what the SDKs never send: signed chunks with a trailer, and wrong ones.

use crate::http::Request;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `x-amz-content-sha256` says of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Its SHA-256.
    Hashed,
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// Chunks, each with a signature.
    SignedChunks,
    /// Chunks with signatures and a signed trailer.
    SignedChunksTrailer,
    /// Chunks without signatures and a trailer.
    UnsignedChunksTrailer,
}

/// Who signs, for what.
#[derive(Clone)]
pub struct Signer {
    /// Access key id.
    pub access_key_id: String,
    /// Secret key.
    pub secret_key: String,
    /// Region.
    pub region: String,
    /// Service.
    pub service: String,
    /// Seconds to add to the clock.
    pub clock_offset_seconds: i64,
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 as lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-256 in base64, as `x-amz-checksum-sha256` carries it.
pub fn sha256_base64(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    base64::engine::general_purpose::STANDARD.encode(digest)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

/// `20260131T235959Z` of a Unix time (days to civil date after Howard Hinnant).
pub fn timestamp(unix_seconds: i64) -> String {
    let (days, seconds) = (
        unix_seconds.div_euclid(86_400),
        unix_seconds.rem_euclid(86_400),
    );
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

impl Signer {
    fn now(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        timestamp(now as i64 + self.clock_offset_seconds)
    }

    fn scope(&self, time: &str) -> String {
        let (region, service) = (&self.region, &self.service);
        format!("{}/{region}/{service}/aws4_request", &time[..8])
    }

    fn signature(&self, time: &str, text: &str) -> String {
        let key = mac(format!("AWS4{}", self.secret_key).as_bytes(), &time[..8]);
        let key = mac(&mac(&key, &self.region), &self.service);
        let key = mac(&key, "aws4_request");
        hex(&mac(&key, text))
    }

    /// The request with its signature in the header, the body coded as `payload` says. `trailer` is a checksum header
    /// and its value, for payloads with a trailer.
    pub fn sign(
        &self,
        request: Request,
        server: SocketAddr,
        payload: Payload,
        trailer: Option<(&str, &str)>,
    ) -> Request {
        let time = self.now();
        let mut request = request.header("x-amz-date", &time);
        if !request.has("host") {
            request = request.header("host", server.to_string());
        }
        let body = std::mem::take(&mut request.body);
        request = request.header("x-amz-content-sha256", content_hash(payload, &body));
        if payload != Payload::Hashed && payload != Payload::Unsigned {
            request = request.header("content-encoding", "aws-chunked");
            if !request.has("x-amz-decoded-content-length") {
                request = request.header("x-amz-decoded-content-length", body.len().to_string());
            }
        }
        if let Some((name, _)) = trailer {
            request = request.header("x-amz-trailer", name);
        }
        let hash = content_hash(payload, &body);
        let seed = self.authorise(&mut request, &time, &hash);
        request.body = self.encode(&body, payload, trailer, &time, seed);
        request
    }

    /// The fields that sign a form: `conditions` of its policy in JSON, with a comma between them, which lets it be sent for so many seconds. Those on the
    /// fields of the signature are added.
    pub fn form(&self, conditions: &str, lives_seconds: i64) -> Vec<(String, String)> {
        let time = self.now();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_secs()) as i64;
        let end = timestamp(now + lives_seconds);
        let (date, clock) = (&end[..8], &end[9..15]);
        let expiration = format!(
            "{}-{}-{}T{}:{}:{}.000Z",
            &date[..4],
            &date[4..6],
            &date[6..],
            &clock[..2],
            &clock[2..4],
            &clock[4..]
        );
        let credential = format!("{}/{}", self.access_key_id, self.scope(&time));
        let own = [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &credential),
            ("x-amz-date", &time),
        ];
        let own_conditions = own.map(|(name, value)| format!("{{\"{name}\":\"{value}\"}}"));
        let own_conditions = own_conditions.join(",");
        let policy = format!(
            "{{\"expiration\":\"{expiration}\",\"conditions\":[{conditions},{own_conditions}]}}"
        );
        let policy = base64::engine::general_purpose::STANDARD.encode(policy);
        let signature = self.signature(&time, &policy);
        let own = own.map(|(name, value)| (name.to_string(), value.to_string()));
        let mut fields = own.to_vec();
        fields.push(("policy".into(), policy));
        fields.push(("x-amz-signature".into(), signature));
        fields
    }

    /// The request with its signature in the header, as services other than S3 have it: over a hash of the body that no header says.
    pub fn sign_call(&self, request: Request, server: SocketAddr) -> Request {
        let time = self.now();
        let mut request = request.header("x-amz-date", &time);
        if !request.has("host") {
            request = request.header("host", server.to_string());
        }
        let hash = sha256_hex(&request.body);
        self.authorise(&mut request, &time, &hash);
        request
    }

    /// The same request as a URL that is presigned for a time, in the target of the request. Headers that it has are signed.
    pub fn presign_call(&self, request: Request, server: SocketAddr, seconds: u32) -> Request {
        let time = self.now();
        let mut request = request;
        if !request.has("host") {
            request = request.header("host", server.to_string());
        }
        let names = canonical_headers(&request).1;
        let credential = format!("{}/{}", self.access_key_id, self.scope(&time));
        request.target += &format!(
            "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={time}&X-Amz-Expires={seconds}&X-Amz-SignedHeaders={}",
            credential.replace('/', "%2F"),
            names.replace(';', "%3B"),
        );
        let (_, _, signature) = self.signature_of(&request, &time, &sha256_hex(&request.body));
        request.target += &format!("&X-Amz-Signature={signature}");
        request
    }

    /// Adds the header and gives back the signature, which seeds those of the chunks.
    fn authorise(&self, request: &mut Request, time: &str, hash: &str) -> String {
        let (scope, names, signature) = self.signature_of(request, time, hash);
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key_id
        );
        request.headers.push(("authorization".into(), value));
        signature
    }

    /// Scope, signed headers and signature.
    fn signature_of(&self, request: &Request, time: &str, hash: &str) -> (String, String, String) {
        let (lines, names) = canonical_headers(request);
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let canonical = format!(
            "{}\n{path}\n{}\n{lines}\n{names}\n{hash}",
            request.method,
            canonical_query(query)
        );
        let scope = self.scope(time);
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            sha256_hex(canonical.as_bytes())
        );
        let signature = self.signature(time, &text);
        (scope, names, signature)
    }

    fn encode(
        &self,
        body: &[u8],
        payload: Payload,
        trailer: Option<(&str, &str)>,
        time: &str,
        seed: String,
    ) -> Vec<u8> {
        if payload == Payload::Hashed || payload == Payload::Unsigned {
            return body.to_vec();
        }
        let is_signed = payload != Payload::UnsignedChunksTrailer;
        let mut out = Vec::new();
        let mut previous = seed;
        for chunk in body.chunks(64 << 10).chain(std::iter::once(&[][..])) {
            out.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
            if is_signed {
                previous = self.chunk_signature(time, &previous, chunk);
                out.extend_from_slice(format!(";chunk-signature={previous}").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(chunk);
            if !chunk.is_empty() {
                out.extend_from_slice(b"\r\n");
            }
        }
        if let Some((name, value)) = trailer {
            out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
            if is_signed {
                let signature = self.trailer_signature(time, &previous, name, value);
                out.extend_from_slice(
                    format!("x-amz-trailer-signature:{signature}\r\n").as_bytes(),
                );
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    fn chunk_signature(&self, time: &str, previous: &str, chunk: &[u8]) -> String {
        let (scope, empty, hash) = (self.scope(time), sha256_hex(b""), sha256_hex(chunk));
        let text =
            format!("AWS4-HMAC-SHA256-PAYLOAD\n{time}\n{scope}\n{previous}\n{empty}\n{hash}");
        self.signature(time, &text)
    }

    fn trailer_signature(&self, time: &str, previous: &str, name: &str, value: &str) -> String {
        let (scope, hash) = (
            self.scope(time),
            sha256_hex(format!("{name}:{value}\n").as_bytes()),
        );
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{time}\n{scope}\n{previous}\n{hash}");
        self.signature(time, &text)
    }
}

/// The canonical lines of the headers, and their names.
fn canonical_headers(request: &Request) -> (String, String) {
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"));
    (lines.collect(), names.join(";"))
}

fn content_hash(payload: Payload, body: &[u8]) -> String {
    match payload {
        Payload::Hashed => sha256_hex(body),
        Payload::Unsigned => "UNSIGNED-PAYLOAD".into(),
        Payload::SignedChunks => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into(),
        Payload::SignedChunksTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".into(),
        Payload::UnsignedChunksTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into(),
    }
}

/// The query in canonical order; names without a value get an empty one.
/// Sorted by name, not by pair: `select` stands before `select-type`, though `-` stands before `=`.
fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(&str, &str)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_civil() {
        assert_eq!(timestamp(0), "19700101T000000Z");
        assert_eq!(timestamp(951_827_696), "20000229T123456Z");
        assert_eq!(timestamp(1_798_761_599), "20261231T235959Z");
    }
}
