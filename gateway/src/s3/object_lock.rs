//! Object Lock as requests and answers have it: headers, the documents `Retention` and `LegalHold`, and when a body must come with a digest.
//!
//! Invariants: this is the one place that reads a lock of a request; whether it is given, or a version is removed, is decided by the command. The
//! rules are those of AWS: user guide, "Locking objects with Object Lock", API reference of `PutObject`, `PutObjectRetention` and `PutObjectLegalHold`.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use strata_engine::reactor;
use strata_raftlog::namespace::{Bucket, Object, ObjectLock, Retention, RetentionMode};

use super::Shared;
use crate::access;
use crate::body::RequestBody;
use crate::dates::{Iso8601Millis, parse_iso8601_millis};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::xml;

/// The mode of a retention, in requests and answers.
pub const MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");

/// Until when it is in force.
pub const RETAIN_UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");

/// Whether there is a legal hold.
pub const LEGAL_HOLD: HeaderName = HeaderName::from_static("x-amz-object-lock-legal-hold");

/// Whether a retention of governance is bypassed.
const BYPASS: &str = "x-amz-bypass-governance-retention";

/// What AWS says of a date that is past.
const IN_FUTURE: &str = "The retain until date must be in the future!";

/// The lock that the headers of a request give what is put.
///
/// # Errors
/// `InvalidArgument` for a mode without a date or a date without a mode, for what is no mode, no date or no legal hold, and for a date that is past.
pub fn of_headers(headers: &HeaderMap) -> Result<ObjectLock, Fault> {
    let names = [MODE, RETAIN_UNTIL, LEGAL_HOLD];
    let [mode, until, hold] = names.map(|name| headers.get(name));
    if [mode, until, hold].iter().all(Option::is_none) {
        return Ok(ObjectLock::NONE);
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let retention = match (mode.map(text), until.map(text)) {
        (None, None) => None,
        (Some(mode), Some(until)) => Some(Retention {
            mode: mode_of(&mode).ok_or_else(|| {
                Fault::argument(MODE.as_str(), &mode, "Unknown wormMode directive.")
            })?,
            until_millis: until_of(&until)?,
        }),
        (mode, until) => {
            let name = if mode.is_some() { MODE } else { RETAIN_UNTIL };
            let value = mode.or(until).unwrap_or_default();
            let message = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both \
                           be supplied";
            return Err(Fault::argument(name.as_str(), &value, message));
        }
    };
    let legal_hold = match hold.map(text) {
        None => None,
        Some(hold) => Some(hold_of(&hold).ok_or_else(|| {
            let message = "Legal Hold must be either of 'ON' or 'OFF'";
            Fault::argument(LEGAL_HOLD.as_str(), &hold, message)
        })?),
    };
    Ok(ObjectLock {
        retention,
        legal_hold,
    })
}

/// The retention of a document; an empty one takes it off.
///
/// # Errors
/// `MalformedXML`; `InvalidArgument` for a date that is past.
pub fn read_retention(xml: &[u8]) -> Result<Option<Retention>, Fault> {
    let mut xml = xml::Reader::open(xml, "Retention")?;
    let (mut mode, mut until) = (None, None);
    while let Some(name) = xml.child()? {
        let field = match name.as_str() {
            "Mode" => &mut mode,
            "RetainUntilDate" => &mut until,
            _ => return Err(Code::MalformedXML.into()),
        };
        if field.replace(xml.text()?.trim().to_owned()).is_some() {
            return Err(Code::MalformedXML.into());
        }
    }
    xml.end()?;
    match (mode, until) {
        (None, None) => Ok(None),
        (Some(mode), Some(until)) => {
            let mode = mode_of(&mode).ok_or_else(|| Fault::from(Code::MalformedXML))?;
            if parse_iso8601_millis(&until).is_none() {
                return Err(Code::MalformedXML.into());
            }
            let until_millis = until_of(&until)?;
            Ok(Some(Retention { mode, until_millis }))
        }
        _ => Err(Code::MalformedXML.into()),
    }
}

/// The legal hold of a document.
///
/// # Errors
/// `MalformedXML`.
pub fn read_legal_hold(xml: &[u8]) -> Result<bool, Fault> {
    let mut xml = xml::Reader::open(xml, "LegalHold")?;
    let mut status = None;
    while let Some(name) = xml.child()? {
        if name != "Status" || status.replace(xml.text()?).is_some() {
            return Err(Code::MalformedXML.into());
        }
    }
    xml.end()?;
    let status = status.as_deref().map(str::trim).and_then(hold_of);
    status.ok_or_else(|| Code::MalformedXML.into())
}

/// The mode of that name, which has no other case of its letters.
pub fn mode_of(text: &str) -> Option<RetentionMode> {
    match text {
        "GOVERNANCE" => Some(RetentionMode::Governance),
        "COMPLIANCE" => Some(RetentionMode::Compliance),
        _ => None,
    }
}

/// The name of a mode.
pub fn mode_name(mode: RetentionMode) -> &'static str {
    match mode {
        RetentionMode::Governance => "GOVERNANCE",
        RetentionMode::Compliance => "COMPLIANCE",
    }
}

fn hold_of(text: &str) -> Option<bool> {
    match text {
        "ON" => Some(true),
        "OFF" => Some(false),
        _ => None,
    }
}

/// The name of a legal hold.
pub fn hold_name(legal_hold: bool) -> &'static str {
    match legal_hold {
        true => "ON",
        false => "OFF",
    }
}

/// A moment that is still to come, in milliseconds since the Unix epoch.
fn until_of(text: &str) -> Result<i64, Fault> {
    let argument = |message| Fault::argument(RETAIN_UNTIL.as_str(), text, message);
    let millis = parse_iso8601_millis(text)
        .ok_or_else(|| argument("The retain until date must be provided in ISO 8601 format"))?;
    match millis > reactor::wall_clock().nanoseconds() / 1_000_000 {
        true => Ok(millis),
        false => Err(argument(IN_FUTURE)),
    }
}

/// A retention is over when it would be given: the time of commits may be ahead of the clock here.
pub fn is_over() -> Fault {
    Fault::new(Code::InvalidArgument, IN_FUTURE).detail("ArgumentName", RETAIN_UNTIL.as_str())
}

/// Refuses a lock for a bucket that has no Object Lock, before a body is taken.
///
/// # Errors
/// `InvalidRequest`.
pub fn check_bucket(bucket: &Bucket, lock: ObjectLock) -> Result<(), Fault> {
    match bucket.lock {
        None if lock != ObjectLock::NONE => Err(no_configuration()),
        _ => Ok(()),
    }
}

/// The bucket has no Object Lock.
pub fn no_configuration() -> Fault {
    Fault::new(
        Code::InvalidRequest,
        "Bucket is missing Object Lock Configuration",
    )
}

/// Why something is not removed, or not shortened.
pub fn locked() -> Fault {
    Fault::new(
        Code::AccessDenied,
        "Access Denied because object protected by object lock.",
    )
}

/// Refuses a body without a digest where what it becomes is locked: by the request, by its upload, or by the default of the bucket (API
/// reference of PutObject).
///
/// # Errors
/// `InvalidRequest`.
pub fn check_digest(
    body: &RequestBody,
    asked: ObjectLock,
    bucket: &Bucket,
    what: &str,
) -> Result<(), Fault> {
    let has_default = bucket.lock.is_some_and(|lock| lock.default.is_some());
    let declared = body.expectation();
    let has_digest = declared.content_md5.is_some() || declared.checksum.is_some();
    if has_digest || asked == ObjectLock::NONE && !has_default {
        return Ok(());
    }
    let message = format!(
        "Content-MD5 OR x-amz-checksum- HTTP header is required for {what} requests with Object Lock \
         parameters"
    );
    Err(Fault::new(Code::InvalidRequest, message))
}

/// Whether a request says that governance is to be bypassed.
///
/// # Errors
/// `InvalidArgument` for what is neither true nor false.
pub fn asks_bypass(request: &Request) -> Result<bool, Fault> {
    match request.header(BYPASS) {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(Fault::argument(
            BYPASS,
            other,
            "The value must be true or false",
        )),
    }
}

/// Whether a request says so, and who asks may. The header alone is no error: clients send it with every delete.
///
/// # Errors
/// As [`asks_bypass`], and those of the namespace.
pub fn bypasses(shared: &Shared, request: &Request) -> Result<bool, Fault> {
    Ok(asks_bypass(request)? && access::may(shared, request, "s3:BypassGovernanceRetention")?)
}

/// Tells the lock of an object, as far as who asks may read it (API reference of GetObject).
///
/// # Errors
/// Those of the namespace.
pub fn add_headers(
    headers: &mut HeaderMap,
    shared: &Shared,
    request: &Request,
    object: &Object,
) -> Result<(), Fault> {
    let lock = object.lock;
    if let Some(retention) = lock.retention
        && access::may(shared, request, "s3:GetObjectRetention")?
    {
        let mode = HeaderValue::from_static(mode_name(retention.mode));
        headers.insert(MODE, mode);
        let until = Iso8601Millis(retention.until_millis).to_string();
        if let Ok(until) = HeaderValue::from_str(&until) {
            headers.insert(RETAIN_UNTIL, until);
        }
    }
    if let Some(legal_hold) = lock.legal_hold
        && access::may(shared, request, "s3:GetObjectLegalHold")?
    {
        let hold = HeaderValue::from_static(hold_name(legal_hold));
        headers.insert(LEGAL_HOLD, hold);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_reactor::on_a_reactor;

    const FUTURE: &str = "2999-01-02T03:04:05.006Z";
    const FUTURE_MILLIS: i64 = 32_472_241_445_006;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<ObjectLock, (Code, String)> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let headers: HeaderMap = headers.collect();
        let read = on_a_reactor(async || of_headers(&headers));
        read.map_err(|fault| (fault.code, fault.message.into_owned()))
    }

    #[test]
    fn the_lock_of_headers_is_read() {
        assert_eq!(read(&[]), Ok(ObjectLock::NONE));
        let all = [
            (MODE, "COMPLIANCE"),
            (RETAIN_UNTIL, FUTURE),
            (LEGAL_HOLD, "OFF"),
        ];
        let retention = Retention {
            mode: RetentionMode::Compliance,
            until_millis: FUTURE_MILLIS,
        };
        let lock = ObjectLock {
            retention: Some(retention),
            legal_hold: Some(false),
        };
        assert_eq!(read(&all), Ok(lock));
        for (pairs, says) in [
            (&[(MODE, "GOVERNANCE")][..], "must both be supplied"),
            (&[(RETAIN_UNTIL, FUTURE)], "must both be supplied"),
            (
                &[(MODE, "governance"), (RETAIN_UNTIL, FUTURE)],
                "Unknown wormMode",
            ),
            (&[(MODE, "GOVERNANCE"), (RETAIN_UNTIL, "soon")], "ISO 8601"),
            (
                &[(MODE, "GOVERNANCE"), (RETAIN_UNTIL, "1960-01-01T00:00:00Z")],
                "must be in the future!",
            ),
            (&[(LEGAL_HOLD, "on")], "either of 'ON' or 'OFF'"),
        ] {
            let (code, message) = read(pairs).unwrap_err();
            assert_eq!(code, Code::InvalidArgument, "{pairs:?}");
            assert!(message.contains(says), "{pairs:?}: {message}");
        }
    }

    #[test]
    fn documents_are_read_or_malformed() {
        let retention = |inside: &str| {
            let xml = format!("<Retention>{inside}</Retention>");
            let read = on_a_reactor(async || read_retention(xml.as_bytes()));
            read.map_err(|fault| fault.code)
        };
        let mode = "<Mode>GOVERNANCE</Mode>";
        let until = format!("<RetainUntilDate>{FUTURE}</RetainUntilDate>");
        let expected = Retention {
            mode: RetentionMode::Governance,
            until_millis: FUTURE_MILLIS,
        };
        assert_eq!(retention(&format!("{mode}{until}")), Ok(Some(expected)));
        assert_eq!(retention(""), Ok(None));
        let past = "<RetainUntilDate>1960-01-01T00:00:00Z</RetainUntilDate>";
        let past = retention(&format!("{mode}{past}"));
        assert_eq!(past, Err(Code::InvalidArgument));
        for inside in [
            mode,
            &until,
            &format!("<Mode>abc</Mode>{until}"),
            &format!("<Mode>governance</Mode>{until}"),
            &format!("{mode}<RetainUntilDate>soon</RetainUntilDate>"),
            &format!("{mode}{mode}{until}"),
            &format!("{mode}{until}<Other/>"),
        ] {
            assert_eq!(retention(inside), Err(Code::MalformedXML), "{inside}");
        }
        let hold = |inside: &str| {
            let read = read_legal_hold(format!("<LegalHold>{inside}</LegalHold>").as_bytes());
            read.map_err(|fault| fault.code)
        };
        assert_eq!(hold("<Status>ON</Status>"), Ok(true));
        assert_eq!(hold("<Status>OFF</Status>"), Ok(false));
        for inside in [
            "",
            "<Status>abc</Status>",
            "<Status>ON</Status><Status>ON</Status>",
        ] {
            assert_eq!(hold(inside), Err(Code::MalformedXML), "{inside}");
        }
    }
}
