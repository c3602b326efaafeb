//! The targets, each named for what it decodes.

mod anchor;
mod apply;
mod bearer_token;
mod chunk_framing;
mod command;
mod data_record;
mod device;
mod form;
mod index_page;
mod lmdb_pages;
mod log_entry;
mod log_record;
mod log_replay;
mod member_table;
mod membership;
mod policy;
mod post_policy;
mod query_call;
mod request_line;
mod row;
mod row_key;
mod segment_header;
mod side_file;
mod snapshot_manifest;
mod snapshot_piece;
mod snapshot_state;
mod superblock;
mod xml_body;

use crate::Target;

macro_rules! targets {
    ($($name:ident: $mutations:literal,)*) => {
        /// All of them, each with how many mutations of its corpus a smoke run takes: what opens a whole device takes milliseconds.
        pub const TARGETS: &[Target] = &[$(
            Target { name: stringify!($name), run: $name::run, mutations: $mutations },
        )*];
    };
}

targets! {
    anchor: 5_000,
    apply: 2_000,
    bearer_token: 5_000,
    chunk_framing: 5_000,
    command: 5_000,
    data_record: 5_000,
    device: 100,
    form: 5_000,
    index_page: 5_000,
    lmdb_pages: 100,
    log_entry: 5_000,
    log_record: 5_000,
    log_replay: 5_000,
    member_table: 5_000,
    membership: 5_000,
    policy: 5_000,
    post_policy: 5_000,
    query_call: 5_000,
    request_line: 5_000,
    row: 5_000,
    row_key: 5_000,
    segment_header: 5_000,
    side_file: 5_000,
    snapshot_manifest: 5_000,
    snapshot_piece: 5_000,
    snapshot_state: 5_000,
    superblock: 5_000,
    xml_body: 5_000,
}

/// What inspection says of any bytes is said without a panic, and is text.
fn described(bytes: &[u8]) {
    let structure = strata_engine::format::describe::describe(bytes);
    assert!(structure.error.is_some() != structure.value.is_some());
}
