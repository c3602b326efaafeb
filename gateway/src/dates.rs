//! Times in the two forms of S3: ISO 8601 in documents, HTTP dates in headers; both in whole seconds, but for the ends of retentions, which are
//! in ISO 8601 and in milliseconds everywhere.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use strata_raftlog::namespace::RETAIN_UNTIL_MILLIS_MAX;
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601 as Parser;

/// A time of the namespace, in nanoseconds since the Unix epoch, as it stands in a document:
/// `2009-10-12T17:50:30.000Z`.
#[derive(Debug, Clone, Copy)]
pub struct Iso8601(pub i64);

impl fmt::Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        write_digits(&mut text, whole_seconds(self.0), [0, 5, 8, 11, 14, 17]);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Milliseconds since the Unix epoch as they stand in headers and documents: `2009-10-12T17:50:30.125Z`.
#[derive(Debug, Clone, Copy)]
pub struct Iso8601Millis(pub i64);

impl fmt::Display for Iso8601Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let seconds = self.0.div_euclid(1000);
        write_digits(&mut text, seconds, [0, 5, 8, 11, 14, 17]);
        let mut millis = self.0.rem_euclid(1000);
        for digit in text[20..23].iter_mut().rev() {
            *digit = b'0' + (millis % 10) as u8;
            millis /= 10;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Reads a date with a time in ISO 8601: milliseconds since the Unix epoch, a part of one counted as a whole one but for the last one of the year
/// 9999. `None` for what is later, by the time zone that it names, since an earlier end would be a shorter retention.
pub fn parse_iso8601_millis(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Parser::DEFAULT).ok()?;
    let nanoseconds = time.unix_timestamp_nanos();
    let last = i128::from(RETAIN_UNTIL_MILLIS_MAX);
    let millis = match nanoseconds.div_euclid(1_000_000) {
        whole if whole == last => last,
        _ => -(-nanoseconds).div_euclid(1_000_000),
    };
    i64::try_from(millis)
        .ok()
        .filter(|millis| *millis <= RETAIN_UNTIL_MILLIS_MAX)
}

/// Puts year, month, day, hour, minute and second where they begin in a text. Without a formatter, because a list
/// writes a date for every key.
fn write_digits(text: &mut [u8], unix_seconds: i64, places: [usize; 6]) {
    let time = OffsetDateTime::from_unix_timestamp(unix_seconds);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let year = u32::try_from(time.year()).unwrap_or(0);
    let (month, day) = (u8::from(time.month()), time.day());
    let rest = [month, day, time.hour(), time.minute(), time.second()];
    let widths = [4, 2, 2, 2, 2, 2];
    let numbers = std::iter::once(year).chain(rest.map(u32::from));
    for ((place, width), mut number) in places.into_iter().zip(widths).zip(numbers) {
        for digit in text[place..place + width].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// Whole seconds since the Unix epoch as they stand in errors about times: `2009-10-12T17:50:30Z`.
#[derive(Debug, Clone, Copy)]
pub struct Iso8601Seconds(pub i64);

impl fmt::Display for Iso8601Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"0000-00-00T00:00:00Z";
        write_digits(&mut text, self.0, [0, 5, 8, 11, 14, 17]);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Whole seconds since the Unix epoch in the form of a signature: `20091012T175030Z`.
#[derive(Debug, Clone, Copy)]
pub struct Iso8601Basic(pub i64);

impl fmt::Display for Iso8601Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"00000000T000000Z";
        write_digits(&mut text, self.0, [0, 4, 6, 9, 11, 13]);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// The last second that an HTTP date can name: 9999-12-31T23:59:59Z.
const HTTP_SECONDS_MAX: u64 = 253_402_300_799;

/// Whole seconds since the Unix epoch, of a time of the namespace.
pub fn whole_seconds(nanoseconds: i64) -> i64 {
    nanoseconds.div_euclid(1_000_000_000)
}

/// A time of the namespace, in nanoseconds since the Unix epoch, as it stands in a header: one before the
/// epoch, or after the year 9999, as the nearest that an HTTP date can be.
pub fn http_date(nanoseconds: i64) -> HeaderValue {
    let seconds = u64::try_from(whole_seconds(nanoseconds)).unwrap_or(0);
    let seconds = seconds.min(HTTP_SECONDS_MAX);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    HeaderValue::from_str(&date).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The whole seconds since the Unix epoch of a date in a header; `None` where it is malformed.
pub fn parse_http_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(UNIX_EPOCH);
    Some(since.map_or(0, |since| since.as_secs().cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_whole_seconds() {
        assert_eq!(
            Iso8601(784_903_526_500_000_000).to_string(),
            "1994-11-15T12:45:26.000Z"
        );
        assert_eq!(
            http_date(784_903_526_500_000_000),
            "Tue, 15 Nov 1994 12:45:26 GMT"
        );
        assert_eq!(http_date(-1), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(Iso8601(-1).to_string(), "1969-12-31T23:59:59.000Z");
        assert_eq!(
            parse_http_date("Tue, 15 Nov 1994 12:45:26 GMT"),
            Some(784_903_526)
        );
        assert_eq!(Iso8601Basic(784_903_526).to_string(), "19941115T124526Z");
        let seconds = Iso8601Seconds(784_903_526).to_string();
        assert_eq!(seconds, "1994-11-15T12:45:26Z");
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn milliseconds_are_read_as_they_are_shown() {
        for (text, millis) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("1994-11-15T12:45:26.007Z", 784_903_526_007),
            ("9999-12-31T23:59:59.999Z", RETAIN_UNTIL_MILLIS_MAX),
        ] {
            assert_eq!(Iso8601Millis(millis).to_string(), text);
            assert_eq!(parse_iso8601_millis(text), Some(millis));
        }
        for (text, millis) in [
            ("1994-11-15T12:45:26Z", 784_903_526_000),
            ("1994-11-15T13:45:26+01:00", 784_903_526_000),
            ("1994-11-15T12:45:26.000001Z", 784_903_526_001),
            ("9999-12-31T23:59:59.999999Z", RETAIN_UNTIL_MILLIS_MAX),
            ("1969-12-31T23:59:59.9995Z", 0),
        ] {
            assert_eq!(parse_iso8601_millis(text), Some(millis), "{text}");
        }
        for text in [
            "",
            "soon",
            "1994-11-15",
            "784903526",
            "1994-11-15T12:45:26",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_iso8601_millis(text), None, "{text}");
        }
    }
}
