//! What a request presents as its signature, taken apart and not yet believed.

use std::collections::BTreeSet;

use time::{Date, Month, PrimitiveDateTime, Time};

use super::Subject;
use super::signature::Scope;
use crate::error::{Code, Fault};
use crate::query::Query;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The longest that a presigned URL may live, in seconds.
const EXPIRES_SECONDS_MAX: i64 = 7 * 24 * 3600;

/// Where a signature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In the header `Authorization`.
    Header,
    /// In the query of a presigned URL.
    Query {
        /// How long the URL lives, in seconds.
        expires_seconds: i64,
    },
}

/// A signature and what it says of itself.
pub struct Presented {
    pub access_key_id: String,
    pub scope: Scope,
    pub signed_headers: Vec<String>,
    pub signature: String,
    /// `YYYYMMDDTHHMMSSZ`.
    pub date_time: String,
    pub time_seconds: i64,
    /// The last line of the canonical request.
    pub payload: String,
    pub form: Form,
}

impl Presented {
    /// Finds the signature of a request; `None` where there is none.
    pub fn read(subject: &Subject<'_>) -> Result<Option<Presented>, Fault> {
        let header = subject.headers.get(http::header::AUTHORIZATION);
        let query = subject.query;
        let in_query = query.has("X-Amz-Signature") || query.has("X-Amz-Algorithm");
        let is_version_2 = query.has("AWSAccessKeyId") || query.has("Signature");
        match header {
            Some(_) if in_query || is_version_2 => Err(Fault::new(
                Code::InvalidArgument,
                "Only one auth mechanism allowed",
            )),
            Some(header) => {
                let text = header.to_str().map_err(|_| malformed_header("not text."))?;
                from_header(text, subject).map(Some)
            }
            None if in_query => from_query(query, subject).map(Some),
            None if is_version_2 => Err(unsupported()),
            None => Ok(None),
        }
    }

    /// The error of a signature that is malformed, in the words of its form.
    pub fn malformed(&self, what: String) -> Fault {
        match self.form {
            Form::Header => malformed_header(&what),
            Form::Query { .. } => Fault::new(
                Code::AuthorizationQueryParametersError,
                format!("Error parsing the X-Amz-Credential parameter; {what}"),
            ),
        }
    }
}

fn malformed_header(what: &str) -> Fault {
    Fault::new(
        Code::AuthorizationHeaderMalformed,
        format!("The authorization header is malformed; {what}"),
    )
}

fn malformed_query(what: &str) -> Fault {
    Fault::new(Code::AuthorizationQueryParametersError, what.to_owned())
}

fn unsupported() -> Fault {
    Fault::new(
        Code::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use \
         AWS4-HMAC-SHA256.",
    )
}

fn from_header(text: &str, subject: &Subject<'_>) -> Result<Presented, Fault> {
    let (algorithm, fields) = text.split_once(' ').ok_or_else(unsupported)?;
    if algorithm != ALGORITHM {
        return Err(unsupported());
    }
    let field = |name: &str| {
        let mut found = fields
            .split(',')
            .filter_map(|field| field.trim().split_once('='));
        let value = found
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value);
        value.ok_or_else(|| malformed_header(&format!("{name} is missing.")))
    };
    let (access_key_id, scope) = credential(field("Credential")?).ok_or_else(|| {
        malformed_header("the Credential is not key/date/region/service/aws4_request.")
    })?;
    let header = |name: &str| {
        subject
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let date_time = header("x-amz-date").ok_or_else(|| {
        Fault::new(
            Code::AccessDenied,
            "AWS authentication requires a valid x-amz-date header",
        )
    })?;
    let time_seconds = parse_date_time(date_time).ok_or_else(|| {
        Fault::new(
            Code::AccessDenied,
            "AWS authentication requires a valid x-amz-date header",
        )
    })?;
    let payload = header("x-amz-content-sha256").ok_or_else(|| {
        Fault::new(
            Code::InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256",
        )
    })?;
    Ok(Presented {
        access_key_id,
        scope,
        signed_headers: signed_headers(field("SignedHeaders")?)
            .ok_or_else(|| malformed_header("a signed header is named twice."))?,
        signature: field("Signature")?.to_owned(),
        date_time: date_time.to_owned(),
        time_seconds,
        payload: payload.to_owned(),
        form: Form::Header,
    })
}

fn from_query(query: &Query, subject: &Subject<'_>) -> Result<Presented, Fault> {
    let field = |name: &str| {
        query.get(name).ok_or_else(|| {
            malformed_query(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, \
                 X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and \
                 X-Amz-Expires parameters.",
            )
        })
    };
    if field("X-Amz-Algorithm")? != ALGORITHM {
        return Err(malformed_query(
            "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
        ));
    }
    let (access_key_id, scope) = credential(field("X-Amz-Credential")?).ok_or_else(|| {
        malformed_query("Error parsing the X-Amz-Credential parameter; it is not key/date/region/service/aws4_request.")
    })?;
    let date_time = field("X-Amz-Date")?;
    let time_seconds = parse_date_time(date_time).ok_or_else(|| {
        malformed_query("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    let expires_seconds = expires(field("X-Amz-Expires")?)?;
    let signed_headers = signed_headers(field("X-Amz-SignedHeaders")?)
        .ok_or_else(|| malformed_query("X-Amz-SignedHeaders names a header twice"))?;
    let header = subject
        .headers
        .get("x-amz-content-sha256")
        .and_then(|value| value.to_str().ok());
    let signed = header.filter(|_| signed_headers.iter().any(|h| h == "x-amz-content-sha256"));
    let payload = signed
        .or(query.get("X-Amz-Content-Sha256"))
        .unwrap_or("UNSIGNED-PAYLOAD");
    Ok(Presented {
        access_key_id,
        scope,
        signature: field("X-Amz-Signature")?.to_owned(),
        date_time: date_time.to_owned(),
        time_seconds,
        payload: payload.to_owned(),
        signed_headers,
        form: Form::Query { expires_seconds },
    })
}

fn expires(text: &str) -> Result<i64, Fault> {
    let seconds: i64 = text
        .parse()
        .map_err(|_| malformed_query("X-Amz-Expires should be a number"))?;
    match seconds {
        ..0 => Err(malformed_query("X-Amz-Expires must be non-negative")),
        0..=EXPIRES_SECONDS_MAX => Ok(seconds),
        _ => Err(malformed_query(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given \
             X-Amz-Expires must be less than 604800 seconds",
        )),
    }
}

/// A name that stood here twice would be hashed twice: a short request could ask for a lot of work.
fn signed_headers(text: &str) -> Option<Vec<String>> {
    let names = text
        .split(';')
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let names: Vec<String> = names.collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    (distinct.len() == names.len()).then_some(names)
}

/// An access key id may hold slashes, so the scope is read from the end.
fn credential(text: &str) -> Option<(String, Scope)> {
    let mut fields = text.rsplitn(5, '/');
    let (end, service, region) = (fields.next()?, fields.next()?, fields.next()?);
    let (date, key) = (fields.next()?, fields.next()?);
    let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    if end != "aws4_request" || !is_date || key.is_empty() {
        return None;
    }
    let scope = Scope {
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    Some((key.to_owned(), scope))
}

/// Reads `YYYYMMDDTHHMMSSZ` as seconds since the Unix epoch.
fn parse_date_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u16> {
        let digits = &bytes[from..to];
        digits.iter().try_fold(0_u16, |sum, byte| {
            let digit = char::from(*byte).to_digit(10)?;
            Some(sum * 10 + digit as u16)
        })
    };
    let month = Month::try_from(number(4, 6)? as u8).ok()?;
    let date =
        Date::from_calendar_date(i32::from(number(0, 4)?), month, number(6, 8)? as u8).ok()?;
    let time = Time::from_hms(
        number(9, 11)? as u8,
        number(11, 13)? as u8,
        number(13, 15)? as u8,
    );
    Some(
        PrimitiveDateTime::new(date, time.ok()?)
            .assume_utc()
            .unix_timestamp(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_strictly() {
        assert_eq!(parse_date_time("19700101T000001Z"), Some(1));
        assert_eq!(parse_date_time("20130524T000000Z"), Some(1_369_353_600));
        for text in [
            "",
            "20130524T000000",
            "20131324T000000Z",
            "2013052aT000000Z",
            "é130524T00000Z",
        ] {
            assert_eq!(parse_date_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_signed_header_is_named_once() {
        assert_eq!(
            signed_headers("host;x-amz-date").unwrap(),
            ["host", "x-amz-date"]
        );
        assert_eq!(signed_headers("host;x-amz-date;host"), None);
    }

    #[test]
    fn credentials_are_read_from_the_end() {
        let (key, scope) = credential("a/b/20130524/us-east-1/s3/aws4_request").unwrap();
        assert_eq!((key.as_str(), scope.region.as_str()), ("a/b", "us-east-1"));
        assert!(credential("key/2013/us-east-1/s3/aws4_request").is_none());
        assert!(credential("key/20130524/us-east-1/s3").is_none());
    }
}
