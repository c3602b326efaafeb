//! The envelope of a command, byte for byte (little endian, 64 bytes, then the archived body):
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | CRC32C of all that follows |
//! | 4 | 2 | version, 2 |
//! | 6 | 2 | kind |
//! | 8 | 2 | group |
//! | 10 | 2 | feature level |
//! | 12 | 4 | reserved, 0 |
//! | 16 | 8 | session, 0 for none |
//! | 24 | 8 | sequence |
//! | 32 | 8 | lowest unanswered sequence |
//! | 40 | 8 | time, signed nanoseconds since the Unix epoch |
//! | 48 | 4 | length of the body |
//! | 52 | 12 | reserved, 0 |

use bytes::Bytes;
use rkyv::util::AlignedVec;

use super::kinds::Command;

/// The highest feature level that this binary can follow.
pub const FEATURE_LEVEL: u16 = 1;

/// Who proposes a command, so that a repeated proposal gets its first answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposer {
    /// The session of the proposing reactor; 0 for commands that need none (opening one).
    pub session: u64,
    /// Position of the command in its session.
    pub sequence: u64,
    /// Answers below this position may be forgotten.
    pub lowest_unanswered: u64,
}

impl Proposer {
    /// The proposer of the few commands that need no session.
    pub const SESSIONLESS: Proposer = Proposer {
        session: 0,
        sequence: 0,
        lowest_unanswered: 0,
    };
}

const VERSION: u16 = 2;
const HEADER_BYTES: usize = 64;
/// Where an archive lies when it is read.
const ALIGNMENT: usize = 16;

/// A command with all that its proposer says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The group that the command is for.
    pub group: u16,
    /// The feature level that the command needs.
    pub feature_level: u16,
    /// The proposer's session; 0 for the few commands that need none.
    pub session: u64,
    /// The command's number in the session.
    pub sequence: u64,
    /// All answers below this sequence have reached the proposer.
    pub lowest_unanswered: u64,
    /// The leader's time, in nanoseconds since the Unix epoch; only moves forward when applied.
    pub time_nanos: i64,
    /// The command.
    pub command: Command,
}

/// Why bytes are no command, or a command has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Shorter than its header or its stated length, or longer.
    #[error("a command of {found} bytes where {expected} are expected")]
    Length {
        /// Bytes at hand.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The CRC does not match.
    #[error("the CRC of the command does not match")]
    Checksum,
    /// Written by a newer version.
    #[error("command version {0} is unknown")]
    UnknownVersion(u16),
    /// A kind that this version does not know.
    #[error("command kind {0:#06x} is unknown")]
    UnknownKind(u16),
    /// Reserved bytes are not zero.
    #[error("reserved bytes of the command are not zero")]
    Reserved,
    /// The body is no archive of its kind.
    #[error("malformed command body: {0}")]
    Malformed(String),
    /// The body could not be archived.
    #[error("the command cannot be archived: {0}")]
    Unarchivable(String),
}

impl Envelope {
    /// The bytes that are proposed. The archive is written behind the header, so that a body is copied once.
    ///
    /// # Errors
    /// `Unarchivable` where the body exceeds what an archive can hold (2 GiB).
    pub fn encode(&self) -> Result<Bytes, CommandError> {
        let mut header =
            AlignedVec::<ALIGNMENT>::with_capacity(HEADER_BYTES + self.command.body_bytes());
        header.extend_from_slice(&[0; 4]);
        for field in [VERSION, self.command.kind(), self.group, self.feature_level] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        header.extend_from_slice(&[0; 4]);
        for field in [
            self.session,
            self.sequence,
            self.lowest_unanswered,
            self.time_nanos.cast_unsigned(),
        ] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        header.resize(HEADER_BYTES, 0);
        let mut bytes = self.command.archive_behind(header)?;
        let length = u32::try_from(bytes.len() - HEADER_BYTES)
            .map_err(|_| CommandError::Unarchivable("the body is too long".into()))?;
        bytes[48..52].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        Ok(Bytes::from_owner(bytes))
    }

    /// Reads what [`encode`](Envelope::encode) wrote.
    ///
    /// # Errors
    /// Says what is wrong with the bytes; they may come from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, CommandError> {
        check(bytes)?;
        let version = u16_at(bytes, 4);
        if version != VERSION {
            return Err(CommandError::UnknownVersion(version));
        }
        if bytes[12..16]
            .iter()
            .chain(&bytes[52..64])
            .any(|byte| *byte != 0)
        {
            return Err(CommandError::Reserved);
        }
        let (kind, body) = (u16_at(bytes, 6), &bytes[HEADER_BYTES..]);
        // What was encoded here lies as it must; what was read from a log may not.
        let command = match body.as_ptr().align_offset(ALIGNMENT) {
            0 => Command::restore(kind, body)?,
            _ => {
                let mut aligned = AlignedVec::<ALIGNMENT>::with_capacity(body.len());
                aligned.extend_from_slice(body);
                Command::restore(kind, &aligned)?
            }
        };
        Ok(Envelope {
            group: u16_at(bytes, 8),
            feature_level: u16_at(bytes, 10),
            session: u64_at(bytes, 16),
            sequence: u64_at(bytes, 24),
            lowest_unanswered: u64_at(bytes, 32),
            time_nanos: u64_at(bytes, 40).cast_signed(),
            command,
        })
    }
}

/// Whether encoded bytes hold a command that activates a feature level.
pub(crate) fn sets_level(bytes: &[u8]) -> bool {
    const KINDS: [u16; 2] = [Command::INITIALISE, Command::RAISE_FEATURE_LEVEL];
    bytes.len() >= HEADER_BYTES && KINDS.contains(&u16_at(bytes, 6))
}

/// Length and CRC.
fn check(bytes: &[u8]) -> Result<(), CommandError> {
    let found = bytes.len();
    if found < HEADER_BYTES {
        return Err(CommandError::Length {
            found,
            expected: HEADER_BYTES,
        });
    }
    let expected = HEADER_BYTES + u32_at(bytes, 48) as usize;
    if found != expected {
        return Err(CommandError::Length { found, expected });
    }
    if u32_at(bytes, 0) != crc32c::crc32c(&bytes[4..]) {
        return Err(CommandError::Checksum);
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
