//! The header of a segment, at its beginning, one alignment unit or 4 KiB long, whichever is more.
//!
//! A segment is used again under a higher sequence number. Positions grow with the sequence, so a record left over from an
//! earlier use is known by its position and never taken for a new one.

use bytemuck::{Pod, Zeroable};

use super::layout::{BLOCK_BYTES, COUNT_MAX};
use super::{FormatError, Preamble, kind, read, refuse_nonzero, seal};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Raw {
    preamble: Preamble,
    device: [u8; 16],
    sequence: u64,
    previous_end: u64,
    durable_before: u64,
    writer_node: u64,
    writer_epoch: u64,
    salt: u64,
    partition: u16,
    content: u16,
    reserved: [u8; 4],
    tail: [u8; BLOCK_BYTES - 80],
}

const _: () = assert!(size_of::<Raw>() == BLOCK_BYTES);
const _: () = assert!(std::mem::offset_of!(Raw, tail) == 80);

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Records.
    Records,
    /// Index pages.
    Index,
}

/// A segment header that has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The device, so that a copied file is noticed.
    pub device: [u8; 16],
    /// The partition.
    pub partition: u16,
    /// What it holds.
    pub content: Content,
    /// The use of the segment: position of its first byte divided by its length.
    pub sequence: u64,
    /// Where the records of the segment before end.
    pub previous_end: u64,
    /// Everything below was durable when this was written.
    pub durable_before: u64,
    /// Who wrote.
    pub writer_node: u64,
    /// In which epoch.
    pub writer_epoch: u64,
    /// A random number that every record of the segment repeats: bytes of a client that look like a record have another one.
    pub salt: u64,
}

impl SegmentHeader {
    /// The block as it is written.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = Raw::zeroed();
        (raw.device, raw.partition, raw.sequence) = (self.device, self.partition, self.sequence);
        raw.content = match self.content {
            Content::Records => 1,
            Content::Index => 2,
        };
        (raw.previous_end, raw.durable_before) = (self.previous_end, self.durable_before);
        (raw.writer_node, raw.writer_epoch) = (self.writer_node, self.writer_epoch);
        raw.salt = self.salt;
        let mut bytes = bytemuck::bytes_of(&raw).to_vec();
        seal(&mut bytes, kind::SEGMENT);
        bytes
    }

    /// Reads a block.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
        let raw: Raw = read(bytes)?;
        super::check(&bytes[..BLOCK_BYTES], kind::SEGMENT)?;
        refuse_nonzero(&raw.reserved, "reserved bytes of the segment header")?;
        refuse_nonzero(&raw.tail, "reserved bytes of the segment header")?;
        let content = match raw.content {
            1 => Content::Records,
            2 => Content::Index,
            _ => return Err(FormatError::Field("content of the segment")),
        };
        let counts = [raw.sequence, raw.previous_end, raw.durable_before];
        if counts.iter().any(|count| *count > COUNT_MAX) {
            return Err(FormatError::Field("a count of the segment header"));
        }
        Ok(SegmentHeader {
            device: raw.device,
            partition: raw.partition,
            content,
            sequence: raw.sequence,
            previous_end: raw.previous_end,
            durable_before: raw.durable_before,
            writer_node: raw.writer_node,
            writer_epoch: raw.writer_epoch,
            salt: raw.salt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back() {
        let header = SegmentHeader {
            device: [9; 16],
            partition: 2,
            content: Content::Index,
            sequence: 12,
            previous_end: 1000,
            durable_before: 900,
            writer_node: 1,
            writer_epoch: 4,
            salt: 0x1234_5678_9abc_def0,
        };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
}
