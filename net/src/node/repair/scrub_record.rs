//! How far the scrub of a reactor is, and what the last one found, in a small file of the metadata directory.
//!
//! Invariants: what cannot be read, or is of another number of reactors, costs a scrub that begins anew and nothing else; a record says
//! no more than was read and compared before it was written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use strata_engine::reactor::{self, fs};
use strata_raftlog::namespace::BodyPosition;

use super::survey::{Survey, Surveyed};

/// The first line of the file; the number is raised when what follows changes.
const HEAD: &str = "strata scrub 1";

/// What the names begin with that count chunks by the losses that they survive.
const LOSSES_LEFT: &str = "losses_left.";

/// What one reactor knows of its scrubs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ScrubRecord {
    /// When the period began at whose end the next scrub is due, in nanoseconds since the Unix epoch.
    pub(super) since_nanos: i64,
    /// Where the scrub that is under way goes on, and what it has found before.
    pub(super) under_way: Option<(BodyPosition, Survey)>,
    /// What the last one found.
    pub(super) last: Option<Surveyed>,
}

/// The file of one reactor.
pub(super) struct RecordFile {
    path: PathBuf,
    reactors: u64,
}

impl RecordFile {
    /// That of this reactor, one of so many.
    pub(super) fn new(metadata_dir: &Path, reactors: usize) -> RecordFile {
        RecordFile {
            path: metadata_dir.join(format!("scrub-{}", reactor::index())),
            reactors: reactors as u64,
        }
    }

    /// What was written last; nothing where there is no file that is whole and of as many reactors.
    pub(super) async fn read(&self) -> Option<ScrubRecord> {
        let bytes = fs::read_small_file(&self.path).await.ok()?;
        let record = decode(&bytes, self.reactors);
        if record.is_none() {
            let path = self.path.display();
            tracing::info!(%path, "what is known of the scrub is of other reactors or damaged; it begins anew");
        }
        record
    }

    /// Writes a record; where that fails, a restart goes on from an earlier one.
    pub(super) async fn write(&self, record: &ScrubRecord) {
        let bytes = encode(record, self.reactors);
        let unfinished = self.path.with_extension("new");
        let written = async {
            fs::write_small_file(&unfinished, bytes.as_bytes(), 0o600, false).await?;
            fs::rename(&unfinished, &self.path).await
        };
        if let Err(error) = written.await {
            tracing::debug!(path = %self.path.display(), %error, "how far the scrub is could not be written");
        }
    }
}

/// Lines of a name and a number, then the CRC32C of all before.
fn encode(record: &ScrubRecord, reactors: u64) -> String {
    let mut text = format!("{HEAD}\n");
    let mut line = |name: &str, value: i128| {
        let _ = writeln!(text, "{name} {value}");
    };
    line("reactors", reactors.into());
    line("since", record.since_nanos.into());
    if let Some((at, survey)) = &record.under_way {
        line("at.inode", at.inode.into());
        line("at.space", at.space.into());
        line("at.offset", at.offset.into());
        survey_lines("found", survey, &mut line);
    }
    if let Some(last) = &record.last {
        line("last.ended", last.ended_nanos.into());
        survey_lines("last", &last.survey, &mut line);
    }
    let crc = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "crc32c {crc}");
    text
}

fn survey_lines(of: &str, survey: &Survey, line: &mut impl FnMut(&str, i128)) {
    for (name, value) in [
        ("chunks", survey.chunks),
        ("below_target", survey.below_target),
        ("repairable", survey.repairable),
        ("unreadable", survey.unreadable),
        ("written_weaker", survey.written_weaker),
        ("written_otherwise", survey.written_otherwise),
        ("verified_bytes", survey.verified_bytes),
        ("mended_shards", survey.mended_shards),
    ] {
        line(&format!("{of}.{name}"), value.into());
    }
    for (losses, chunks) in &survey.by_losses_left {
        line(&format!("{of}.{LOSSES_LEFT}{losses}"), (*chunks).into());
    }
}

fn decode(bytes: &[u8], reactors: u64) -> Option<ScrubRecord> {
    let text = std::str::from_utf8(bytes).ok()?;
    let at = text.rfind("crc32c ")?;
    let (before, crc) = text.split_at(at);
    let crc = crc.strip_prefix("crc32c ")?.strip_suffix('\n')?;
    if crc.parse() != Ok(crc32c::crc32c(before.as_bytes())) {
        return None;
    }
    let mut lines = before.lines();
    if lines.next() != Some(HEAD) {
        return None;
    }
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    let fields: BTreeMap<String, i128> = fields.collect::<Option<_>>()?;
    let number = |name: &str| u64::try_from(*fields.get(name)?).ok();
    let time = |name: &str| i64::try_from(*fields.get(name)?).ok();
    if number("reactors") != Some(reactors) {
        return None;
    }
    let position = || {
        Some(BodyPosition {
            inode: number("at.inode")?,
            space: u32::try_from(number("at.space")?).ok()?,
            offset: number("at.offset")?,
        })
    };
    let survey = |of: &str| {
        let prefix = format!("{of}.{LOSSES_LEFT}");
        let by_losses = fields.iter().filter_map(|(name, chunks)| {
            let losses = name.strip_prefix(&prefix)?.parse().ok()?;
            Some((losses, u64::try_from(*chunks).ok()?))
        });
        let of = |name: &str| number(&format!("{of}.{name}"));
        Some(Survey {
            chunks: of("chunks")?,
            below_target: of("below_target")?,
            repairable: of("repairable")?,
            unreadable: of("unreadable")?,
            written_weaker: of("written_weaker")?,
            written_otherwise: of("written_otherwise")?,
            verified_bytes: of("verified_bytes")?,
            mended_shards: of("mended_shards")?,
            by_losses_left: by_losses.collect(),
            ..Survey::default()
        })
    };
    let last = || {
        Some(Surveyed {
            survey: survey("last")?,
            ended_nanos: time("last.ended")?,
        })
    };
    Some(ScrubRecord {
        since_nanos: time("since")?,
        under_way: position().zip(survey("found")),
        last: last(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ScrubRecord {
        let survey = Survey {
            chunks: 7,
            verified_bytes: u64::MAX,
            mended_shards: 2,
            by_losses_left: BTreeMap::from([(0, 1), (2, u64::MAX)]),
            ..Survey::default()
        };
        let at = BodyPosition {
            inode: u64::MAX,
            space: u32::MAX,
            offset: 3,
        };
        ScrubRecord {
            since_nanos: -5,
            under_way: Some((at, survey.clone())),
            last: Some(Surveyed {
                survey,
                ended_nanos: i64::MAX,
            }),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let whole = record();
        let idle = ScrubRecord {
            under_way: None,
            ..record()
        };
        let new = ScrubRecord {
            since_nanos: 9,
            ..ScrubRecord::default()
        };
        for record in [whole, idle, new] {
            assert_eq!(decode(encode(&record, 4).as_bytes(), 4), Some(record));
        }
    }

    #[test]
    fn what_is_damaged_or_of_other_reactors_is_nothing() {
        let text = encode(&record(), 4);
        assert_eq!(decode(text.as_bytes(), 5), None);
        assert_eq!(decode(b"", 4), None);
        assert_eq!(decode(&text.as_bytes()[..text.len() - 1], 4), None);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(decode(&bytes, 4), None, "byte {at}");
        }
    }
}
