//! Bodies of clients that are framed in chunks. An input is how many bytes arrive at once (1 byte), how many bytes of data are
//! declared (1 byte), and the body; the highest bit of the second says whether trailers were announced.

use bytes::Bytes;
use strata_gateway::auth::chunks::Chunks;

use crate::allocation::bounded;

type Outcome = Result<(Vec<u8>, Vec<(String, String)>), ()>;

pub(super) fn run(data: &[u8]) {
    let Some(([step, declared], wire)) = data.split_first_chunk::<2>() else {
        return;
    };
    let at_once = bounded(wire.len(), || unframed(wire, wire.len().max(1), *declared));
    let in_steps = unframed(wire, usize::from(*step).max(1), *declared);
    assert_eq!(at_once, in_steps, "what arrives together matters");
    if let Ok((content, _)) = at_once {
        assert_eq!(content.len(), usize::from(declared & 0x7f));
    }
}

fn unframed(wire: &[u8], step: usize, declared: u8) -> Outcome {
    let mut chunks = Chunks::new(None, declared & 0x80 != 0, u64::from(declared & 0x7f));
    let mut content = Vec::new();
    for part in wire.chunks(step) {
        let mut part = Bytes::copy_from_slice(part);
        while let Some(data) = chunks.next(&mut part).map_err(|_| ())? {
            content.extend_from_slice(&data);
        }
    }
    let trailers = chunks.end().map_err(|_| ())?;
    Ok((content, trailers))
}
