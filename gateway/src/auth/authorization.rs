//! The signature that a request carries and what it says of itself, parsed and not yet verified.

use std::collections::BTreeSet;

use super::Subject;
use crate::dates::{Iso8601Basic, parse_http_date};
use crate::error::{Code, Fault};
use crate::form::fields::{self, FormFields};
use crate::query::Query;
use crate::signature::{ALGORITHM, Scope, UNSIGNED_PAYLOAD, parse_date_time};

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
    /// In fields of a form, over a policy that says until when it may be sent.
    Field,
}

/// A signature and what it says of itself.
pub struct Authorization {
    /// The key.
    pub access_key_id: String,
    /// What the signing key is good for.
    pub scope: Scope,
    /// The headers under the signature, in lower case.
    pub signed_headers: Vec<String>,
    /// The signature, in hexadecimal.
    pub signature: String,
    /// `YYYYMMDDTHHMMSSZ`.
    pub date_time: String,
    /// The same, in seconds since the Unix epoch.
    pub time_seconds: i64,
    /// The last line of the canonical request.
    pub payload: String,
    /// Whether the request says that line itself, under its signature.
    pub signs_payload: bool,
    /// Where it stands.
    pub form: Form,
}

impl Authorization {
    /// Finds the signature of a request; `None` where there is none.
    ///
    /// # Errors
    /// What AWS answers to one that is malformed, or that is of another version.
    pub fn read(subject: &Subject<'_>) -> Result<Option<Authorization>, Fault> {
        Authorization::find(subject, None)
    }

    /// As [`read`](Authorization::read), for an API whose signatures cover the hash of the body without a header that says it:
    /// [`cover`](Authorization::cover) is to follow when the body was read.
    ///
    /// # Errors
    /// As [`read`](Authorization::read).
    pub fn read_of_call(subject: &Subject<'_>) -> Result<Option<Authorization>, Fault> {
        Authorization::find(subject, Some(""))
    }

    /// Says what the body is, by its SHA-256 in hexadecimal.
    pub fn cover(&mut self, body_sha256: String) {
        self.payload = body_sha256;
        self.signs_payload = true;
    }

    fn find(
        subject: &Subject<'_>,
        unsaid_payload: Option<&str>,
    ) -> Result<Option<Authorization>, Fault> {
        let header = subject.headers.get(http::header::AUTHORIZATION);
        // One of nothing but spaces says nothing.
        let header = header.filter(|value| !value.as_bytes().trim_ascii().is_empty());
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
                from_header(text, subject, unsaid_payload).map(Some)
            }
            None if in_query => from_query(query, subject).map(Some),
            None if is_version_2 => Err(unsupported()),
            None => Ok(None),
        }
    }

    /// Finds the signature of a form; `None` where it says nothing of one.
    ///
    /// # Errors
    /// What AWS answers to one that is malformed, or that is of another version.
    pub fn of_form(form: &FormFields) -> Result<Option<Authorization>, Fault> {
        if form.get("awsaccesskeyid").is_some() || form.get("signature").is_some() {
            return Err(unsupported());
        }
        if !form.is_signed() {
            return Ok(None);
        }
        form.required(fields::POLICY)?;
        let algorithm = form.required("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            let message = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"";
            return Err(Fault::argument("X-Amz-Algorithm", algorithm, message));
        }
        let credential_text = form.required("X-Amz-Credential")?;
        let (access_key_id, scope) = credential(credential_text).ok_or_else(|| {
            let what = "the Credential is not key/date/region/service/aws4_request.";
            malformed_field(credential_text, what)
        })?;
        let date_time = form.required("X-Amz-Date")?;
        let time_seconds = parse_date_time(date_time).ok_or_else(|| {
            let message = "X-Amz-Date must be formated via ISO8601 Long format";
            Fault::argument("X-Amz-Date", date_time, message)
        })?;
        Ok(Some(Authorization {
            access_key_id,
            scope,
            signed_headers: Vec::new(),
            signature: form.required("X-Amz-Signature")?.to_owned(),
            date_time: date_time.to_owned(),
            time_seconds,
            payload: UNSIGNED_PAYLOAD.to_owned(),
            signs_payload: false,
            form: Form::Field,
        }))
    }

    /// The error of a signature that is malformed, in the words of its form.
    pub fn malformed(&self, what: &str) -> Fault {
        match self.form {
            Form::Header => malformed_header(what),
            Form::Query { .. } => Fault::new(
                Code::AuthorizationQueryParametersError,
                format!("Error parsing the X-Amz-Credential parameter; {what}"),
            ),
            Form::Field => {
                let credential = format!("{}/{}", self.access_key_id, self.scope);
                malformed_field(&credential, what)
            }
        }
    }
}

fn malformed_header(what: &str) -> Fault {
    Fault::new(
        Code::AuthorizationHeaderMalformed,
        format!("The authorization header is malformed; {what}"),
    )
}

fn malformed_field(credential: &str, what: &str) -> Fault {
    Fault::argument("X-Amz-Credential", credential, what.to_owned())
}

fn malformed_query(what: &str) -> Fault {
    Fault::new(Code::AuthorizationQueryParametersError, what.to_owned())
}

fn unsupported() -> Fault {
    Fault::new(
        Code::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use \
         AWS4-HMAC-SHA256 (Signature Version 4): signature_version = s3v4 in aws-cli and boto3, \
         signature_v2 = False in s3cmd, v2_auth = false in rclone.",
    )
}

fn from_header(
    text: &str,
    subject: &Subject<'_>,
    unsaid_payload: Option<&str>,
) -> Result<Authorization, Fault> {
    let (algorithm, fields) = text.split_once(' ').unwrap_or((text, ""));
    match algorithm {
        ALGORITHM => {}
        other if other == "AWS" || other.starts_with("AWS4-") => return Err(unsupported()),
        // The scheme alone: what follows may be a secret.
        other => {
            let message = "Unsupported Authorization Type";
            return Err(Fault::argument("Authorization", other, message));
        }
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
    let (date_time, time_seconds) = request_time(header).ok_or_else(|| {
        Fault::new(
            Code::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    })?;
    let payload = unsaid_payload.or_else(|| header("x-amz-content-sha256"));
    let payload = payload.ok_or_else(|| {
        Fault::new(
            Code::InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256",
        )
    })?;
    Ok(Authorization {
        access_key_id,
        scope,
        signed_headers: signed_headers(field("SignedHeaders")?)
            .ok_or_else(|| malformed_header("a signed header is named twice."))?,
        signature: field("Signature")?.to_owned(),
        date_time,
        time_seconds,
        payload: payload.to_owned(),
        signs_payload: true,
        form: Form::Header,
    })
}

/// The time that a request was signed at, as its string to sign has it and in seconds: `x-amz-date`, else `Date` (S3 API
/// reference, common request headers), which may be in either form.
fn request_time<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<(String, i64)> {
    let (amz, http) = (header("x-amz-date"), header("date"));
    let text = amz.or(http)?;
    if let Some(seconds) = parse_date_time(text) {
        return Some((text.to_owned(), seconds));
    }
    let seconds = parse_http_date(http.filter(|_| amz.is_none())?)?;
    Some((Iso8601Basic(seconds).to_string(), seconds))
}

fn from_query(query: &Query, subject: &Subject<'_>) -> Result<Authorization, Fault> {
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
    let header = subject.headers.get("x-amz-content-sha256");
    let header = header.and_then(|value| value.to_str().ok());
    let is_header_signed = signed_headers
        .iter()
        .any(|name| name == "x-amz-content-sha256");
    let mut parameters = query.pairs().iter();
    let in_query = parameters.find(|(name, _)| name.eq_ignore_ascii_case("x-amz-content-sha256"));
    let in_query = in_query.map(|(_, value)| value.as_str());
    let payload = header.filter(|_| is_header_signed).or(in_query);
    Ok(Authorization {
        access_key_id,
        scope,
        signature: field("X-Amz-Signature")?.to_owned(),
        date_time: date_time.to_owned(),
        time_seconds,
        payload: payload.unwrap_or(UNSIGNED_PAYLOAD).to_owned(),
        signs_payload: payload.is_some(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
