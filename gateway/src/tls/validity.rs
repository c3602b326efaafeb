//! When a certificate begins and ceases to hold: the one field of X.509 that rustls tells nobody.
//!
//! Invariant: any bytes give an answer, and none is read twice.

use time::{Date, Month, Time};

/// The tags of DER that stand on the way to the field.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The two ends of a validity, both included, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The certificate does not hold before.
    pub not_before: i64,
    /// Nor after.
    pub not_after: i64,
}

/// The validity of a certificate in DER (RFC 5280, 4.1); `None` where it is malformed.
pub fn of(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (signed, _) = element(certificate, SEQUENCE)?;
    let rest = element(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = element(rest, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(Validity {
        not_before,
        not_after,
    })
}

/// The content of the element that the bytes begin with, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let length = digits
                .iter()
                .fold(0u64, |sum, digit| sum << 8 | u64::from(*digit));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The time that the bytes begin with, in seconds since the Unix epoch, and what follows it. Both forms end in `Z`; in the short one,
/// years from 50 are of the last century.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, year) = match element(bytes, UTC_TIME) {
        Some((text, rest)) => {
            let year = number(text.get(..2)?)?;
            let century = if year < 50 { 2000 } else { 1900 };
            (text.get(2..)?, rest, century + year)
        }
        None => {
            let (text, rest) = element(bytes, GENERALIZED_TIME)?;
            (text.get(4..)?, rest, number(text.get(..4)?)?)
        }
    };
    let (digits, b"Z") = text.split_at_checked(10)? else {
        return None;
    };
    let mut pairs = digits.chunks_exact(2).map(number);
    let mut next = || u8::try_from(pairs.next()??).ok();
    let month = Month::try_from(next()?).ok()?;
    let date = Date::from_calendar_date(year, month, next()?).ok()?;
    let time = Time::from_hms(next()?, next()?, next()?).ok()?;
    Some((date.with_time(time).assume_utc().unix_timestamp(), rest))
}

fn number(digits: &[u8]) -> Option<i32> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    digits
        .iter()
        .try_fold(0, |sum, byte| Some(sum * 10 + digit(byte)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(not_before: (i32, u8, u8), not_after: (i32, u8, u8)) -> Vec<u8> {
        let date = |(year, month, day)| rcgen::date_time_ymd(year, month, day);
        let mut parameters = rcgen::CertificateParams::new(["a".to_owned()]).unwrap();
        parameters.not_before = date(not_before);
        parameters.not_after = date(not_after);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    /// Of both forms: from 2050 on the long one is used.
    #[test]
    fn both_ends_are_read() {
        let certificate = between((1970, 1, 2), (2049, 12, 31));
        let expected = Validity {
            not_before: 86_400,
            not_after: 2_524_521_600,
        };
        assert_eq!(of(&certificate), Some(expected));
        let certificate = between((2026, 2, 28), (4096, 1, 1));
        let expected = Validity {
            not_before: 1_772_236_800,
            not_after: 67_090_118_400,
        };
        assert_eq!(of(&certificate), Some(expected));
    }

    #[test]
    fn what_is_cut_or_changed_is_no_certificate_or_another() {
        let whole = between((2026, 1, 1), (2027, 1, 1));
        for end in 0..whole.len() {
            assert_eq!(of(&whole[..end]), None, "{end}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _any_answer = of(&changed);
        }
        assert_eq!(of(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
