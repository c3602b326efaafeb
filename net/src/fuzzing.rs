//! What fuzzers need of the one decoder here that reads bytes of devices: it gives what the encoder makes of what was read, or says that
//! they were refused.

/// The member table at the end of a pack.
pub fn member_table(pack: &[u8]) -> Option<Vec<u8>> {
    crate::node::packing::table_written_again(pack)
}
