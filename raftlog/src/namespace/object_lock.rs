//! Object Lock: what keeps a version of an object from being removed, and what a bucket gives to those that come without.
//!
//! Invariants: retention and legal hold stand in the entry of the version, and go with it from one family to the other; a locked version
//! is only in a bucket that has Object Lock, such a bucket keeps versions and never stops, and never loses Object Lock; the body of an object is dropped
//! only with a [`Removable`], which is there for none that is locked; time is that of the group, which only moves forward, never a clock of the
//! machine.
//! The rules are those of
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>.

use rkyv::{Archive, Deserialize, Serialize};

use super::entry::Entry;
use super::value::Damage;

/// The longest default retention, in days.
pub const RETENTION_DAYS_MAX: u32 = 36_500;

/// The longest default retention, in years.
pub const RETENTION_YEARS_MAX: u32 = 100;

/// The last moment until which something can be retained: the end of the year 9999, in milliseconds since the Unix epoch.
pub const RETAIN_UNTIL_MILLIS_MAX: i64 = 253_402_300_799_999;

const MILLIS_PER_DAY: i64 = 86_400_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// Who can shorten or remove a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum RetentionMode {
    /// Whoever may bypass it, and says so.
    Governance,
    /// Nobody.
    Compliance,
}

/// Until when a version is not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Retention {
    /// Who can shorten it.
    pub mode: RetentionMode,
    /// The moment from which on it is in force no more, in milliseconds since the Unix epoch, of 0 to
    /// [`RETAIN_UNTIL_MILLIS_MAX`].
    pub until_millis: i64,
}

impl Retention {
    /// Whether it holds at a moment, in nanoseconds since the Unix epoch.
    pub fn is_in_force(&self, now_nanos: i64) -> bool {
        i128::from(self.until_millis) * i128::from(NANOS_PER_MILLI) > i128::from(now_nanos)
    }
}

/// What keeps a version from being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct ObjectLock {
    /// A retention, which stays here when its time is over.
    pub retention: Option<Retention>,
    /// A legal hold; `None` where it was never set.
    pub legal_hold: Option<bool>,
}

impl ObjectLock {
    /// That of what has none.
    pub const NONE: ObjectLock = ObjectLock {
        retention: None,
        legal_hold: None,
    };

    /// Whether it keeps a version from being removed at a moment, in nanoseconds since the Unix epoch, by one who bypasses governance or not.
    fn holds(&self, now_nanos: i64, bypass_governance: bool) -> bool {
        let is_retained = self.retention.is_some_and(|retention| {
            let is_bypassed = bypass_governance && retention.mode == RetentionMode::Governance;
            retention.is_in_force(now_nanos) && !is_bypassed
        });
        is_retained || self.legal_hold == Some(true)
    }

    /// Whether the retention may be replaced by another one, or be removed. In force, it can be made longer; all else needs that governance is
    /// bypassed, and compliance cannot be.
    pub(crate) fn may_become(
        &self,
        retention: Option<Retention>,
        now_nanos: i64,
        bypass_governance: bool,
    ) -> bool {
        let Some(old) = self.retention.filter(|old| old.is_in_force(now_nanos)) else {
            return true;
        };
        let is_longer =
            |new: &Retention| new.mode == old.mode && new.until_millis >= old.until_millis;
        match old.mode {
            RetentionMode::Governance if bypass_governance => true,
            RetentionMode::Governance | RetentionMode::Compliance => {
                retention.as_ref().is_some_and(is_longer)
            }
        }
    }

    /// How a row has it: a byte with the mode (0 none, 1 governance, 2 compliance), and the legal hold in the next two bits (0 never
    /// set, 1 off, 2 on); and until when.
    pub(crate) fn to_row(self) -> (u8, u64) {
        let hold = match self.legal_hold {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        let mode = mode_to_row(self.retention.map(|retention| retention.mode));
        let until = self.retention.map_or(0, |retention| retention.until_millis);
        (mode | hold << 2, until.cast_unsigned())
    }

    /// Reads what [`to_row`](ObjectLock::to_row) wrote.
    pub(crate) fn of_row(byte: u8, until: u64) -> Result<ObjectLock, Damage> {
        let legal_hold = match byte >> 2 {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            _ => return Err(Damage("unknown legal hold")),
        };
        let until_millis = until.cast_signed();
        let retention = match mode_of_row(byte)? {
            None if until != 0 => return Err(Damage("a time of no retention")),
            None => None,
            Some(_) if !(0..=RETAIN_UNTIL_MILLIS_MAX).contains(&until_millis) => {
                return Err(Damage("a time of retention that cannot be"));
            }
            Some(mode) => Some(Retention { mode, until_millis }),
        };
        Ok(ObjectLock {
            retention,
            legal_hold,
        })
    }
}

fn mode_to_row(mode: Option<RetentionMode>) -> u8 {
    match mode {
        None => 0,
        Some(RetentionMode::Governance) => 1,
        Some(RetentionMode::Compliance) => 2,
    }
}

/// By the low two bits.
fn mode_of_row(byte: u8) -> Result<Option<RetentionMode>, Damage> {
    match byte & 3 {
        0 => Ok(None),
        1 => Ok(Some(RetentionMode::Governance)),
        2 => Ok(Some(RetentionMode::Compliance)),
        _ => Err(Damage("unknown mode of retention")),
    }
}

/// How long a bucket's default retention is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum RetentionPeriod {
    /// Days of 24 hours: 1 to [`RETENTION_DAYS_MAX`].
    Days(u32),
    /// Years of 365 days: 1 to [`RETENTION_YEARS_MAX`].
    Years(u32),
}

impl RetentionPeriod {
    /// Whether a bucket can have it.
    pub fn is_valid(self) -> bool {
        match self {
            RetentionPeriod::Days(days) => (1..=RETENTION_DAYS_MAX).contains(&days),
            RetentionPeriod::Years(years) => (1..=RETENTION_YEARS_MAX).contains(&years),
        }
    }
}

/// The retention of objects that come without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DefaultRetention {
    /// Its mode.
    pub mode: RetentionMode,
    /// How long it is, from the commit of an object on.
    pub period: RetentionPeriod,
}

impl DefaultRetention {
    /// That of an object that is put at a moment, in nanoseconds since the Unix epoch.
    pub(crate) fn from(self, now_nanos: i64) -> Retention {
        let days = match self.period {
            RetentionPeriod::Days(days) => i64::from(days),
            RetentionPeriod::Years(years) => 365 * i64::from(years),
        };
        let began = now_nanos.max(0) / NANOS_PER_MILLI + i64::from(now_nanos % NANOS_PER_MILLI > 0);
        Retention {
            mode: self.mode,
            until_millis: began + days * MILLIS_PER_DAY,
        }
    }
}

/// The Object Lock of a bucket that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketLock {
    /// What objects get that come without a retention.
    pub default: Option<DefaultRetention>,
}

const ROW_LOCKED: u8 = 1 << 4;
const ROW_YEARS: u8 = 1 << 5;

/// How the entry of a bucket has it: a byte with the mode of the default, whether there is Object Lock (16) and whether the default
/// counts years (32); and how many days or years.
pub(crate) fn bucket_lock_to_row(lock: Option<BucketLock>) -> (u8, u64) {
    let Some(lock) = lock else {
        return (0, 0);
    };
    let (unit, count) = match lock.default.map(|default| default.period) {
        None => (0, 0),
        Some(RetentionPeriod::Days(days)) => (0, days),
        Some(RetentionPeriod::Years(years)) => (ROW_YEARS, years),
    };
    let mode = mode_to_row(lock.default.map(|default| default.mode));
    (ROW_LOCKED | unit | mode, count.into())
}

/// Reads what [`bucket_lock_to_row`] wrote.
pub(crate) fn bucket_lock_of_row(byte: u8, count: u64) -> Result<Option<BucketLock>, Damage> {
    if byte & ROW_LOCKED == 0 {
        return match (byte, count) {
            (0, 0) => Ok(None),
            _ => Err(Damage("a default of no Object Lock")),
        };
    }
    if byte & !(ROW_LOCKED | ROW_YEARS | 3) != 0 {
        return Err(Damage("unknown bits of Object Lock"));
    }
    let count = u32::try_from(count).map_err(|_| Damage("a default that is too long"))?;
    let period = match byte & ROW_YEARS {
        0 => RetentionPeriod::Days(count),
        _ => RetentionPeriod::Years(count),
    };
    let default = match mode_of_row(byte)? {
        None if period == RetentionPeriod::Days(0) => None,
        Some(mode) if period.is_valid() => Some(DefaultRetention { mode, period }),
        _ => return Err(Damage("a default retention that cannot be")),
    };
    Ok(Some(BucketLock { default }))
}

/// An object's entry that nothing keeps from being removed: what drops its body asks for this.
pub(crate) struct Removable<'e>(&'e Entry);

impl<'e> Removable<'e> {
    /// `None` where the object is locked at that moment, in nanoseconds since the Unix epoch.
    pub(crate) fn of(
        entry: &'e Entry,
        now_nanos: i64,
        bypass_governance: bool,
    ) -> Option<Removable<'e>> {
        (!entry.lock.holds(now_nanos, bypass_governance)).then_some(Removable(entry))
    }

    pub(crate) fn entry(&self) -> &'e Entry {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention(mode: RetentionMode, until_millis: i64) -> Retention {
        Retention { mode, until_millis }
    }

    #[test]
    fn locks_are_read_as_they_are_written() {
        let modes = [RetentionMode::Governance, RetentionMode::Compliance];
        let times = [0, 1, RETAIN_UNTIL_MILLIS_MAX];
        let retentions = modes.map(|mode| times.map(|until| Some(retention(mode, until))));
        for retention in retentions.into_iter().flatten().chain([None]) {
            for legal_hold in [None, Some(false), Some(true)] {
                let lock = ObjectLock {
                    retention,
                    legal_hold,
                };
                let (byte, until) = lock.to_row();
                assert_eq!(ObjectLock::of_row(byte, until).ok(), Some(lock));
            }
        }
        let periods = [
            RetentionPeriod::Days(RETENTION_DAYS_MAX),
            RetentionPeriod::Years(1),
        ];
        let defaults = modes.map(|mode| periods.map(|period| DefaultRetention { mode, period }));
        for default in defaults.into_iter().flatten().map(Some).chain([None]) {
            let lock = Some(BucketLock { default });
            let (byte, count) = bucket_lock_to_row(lock);
            assert_eq!(bucket_lock_of_row(byte, count).ok(), Some(lock));
        }
        assert_eq!(bucket_lock_of_row(0, 0).ok(), Some(None));
    }

    #[test]
    fn every_byte_is_read_or_refused() {
        for byte in 0..=255 {
            for number in [0, 1, u64::from(RETENTION_DAYS_MAX), u64::MAX] {
                if let Ok(lock) = ObjectLock::of_row(byte, number) {
                    assert_eq!(lock.to_row(), (byte, number));
                }
                if let Ok(lock) = bucket_lock_of_row(byte, number) {
                    assert_eq!(bucket_lock_to_row(lock), (byte, number));
                }
            }
        }
    }

    #[test]
    fn a_retention_ends_at_its_moment() {
        let until = retention(RetentionMode::Compliance, 5);
        assert!(until.is_in_force(4_999_999));
        assert!(!until.is_in_force(5_000_000));
        assert!(
            retention(RetentionMode::Compliance, RETAIN_UNTIL_MILLIS_MAX).is_in_force(i64::MAX)
        );
    }

    #[test]
    fn a_default_is_no_shorter_than_it_says() {
        let default = |period| DefaultRetention {
            mode: RetentionMode::Governance,
            period,
        };
        let of_days = default(RetentionPeriod::Days(2)).from(1_000_000);
        assert_eq!(of_days.until_millis, 1 + 2 * 86_400_000);
        let of_years = default(RetentionPeriod::Years(1)).from(1_000_001);
        assert_eq!(of_years.until_millis, 2 + 365 * 86_400_000);
        assert_eq!(
            default(RetentionPeriod::Days(1)).from(-5).until_millis,
            86_400_000
        );
    }
}
