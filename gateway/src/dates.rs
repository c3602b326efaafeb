//! Times in the two forms of S3: ISO 8601 in documents, HTTP dates in headers; both in whole seconds.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use time::OffsetDateTime;

/// A time of the namespace, in microseconds since the Unix epoch, as it stands in a document:
/// `2009-10-12T17:50:30.000Z`.
#[derive(Debug, Clone, Copy)]
pub struct Iso8601(pub u64);

impl fmt::Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0 / 1_000_000).unwrap_or(0);
        let time = OffsetDateTime::from_unix_timestamp(seconds);
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z"
        )
    }
}

/// The last second that an HTTP date can name: 9999-12-31T23:59:59Z.
const HTTP_SECONDS_MAX: u64 = 253_402_300_799;

/// A time of the namespace, in microseconds since the Unix epoch, as it stands in a header.
pub fn http_date(micros: u64) -> HeaderValue {
    let seconds = (micros / 1_000_000).min(HTTP_SECONDS_MAX);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    HeaderValue::from_str(&date).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The whole seconds since the Unix epoch of a date in a header; `None` where it is malformed.
pub fn parse_http_date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    Some(
        time.duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_whole_seconds() {
        assert_eq!(
            Iso8601(784_903_526_500_000).to_string(),
            "1994-11-15T12:45:26.000Z"
        );
        assert_eq!(
            http_date(784_903_526_500_000),
            "Tue, 15 Nov 1994 12:45:26 GMT"
        );
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(
            parse_http_date("Tue, 15 Nov 1994 12:45:26 GMT"),
            Some(784_903_526)
        );
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
