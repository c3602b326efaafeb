//! Forms of browsers, with the boundary `b`. An input is how many bytes arrive at once (1 byte) and the body.

use bytes::Bytes;
use strata_gateway::form::fields::FormFields;
use strata_gateway::form::parts::{Delimiter, Field, Prelude, Start};

use crate::allocation::bounded;

/// The fields, the name of the file, and the file.
type Outcome = Result<(Vec<Field>, Option<String>, Vec<u8>), ()>;

pub(super) fn run(data: &[u8]) {
    let Some((step, form)) = data.split_first() else {
        return;
    };
    let at_once = bounded(form.len(), || read(form, form.len().max(1)));
    let in_steps = read(form, usize::from(*step).max(1));
    assert_eq!(at_once, in_steps, "what arrives together matters");
    let Ok((fields, file_name, content)) = at_once else {
        return;
    };
    assert!(content.len() < form.len());
    if let Ok(fields) = FormFields::new(fields, file_name.as_deref()) {
        let _ = fields.key();
        let _ = fields.headers();
        let _ = fields.success_action().redirect_of("b", "k", "\"e\"");
    }
}

fn delimiter() -> Delimiter {
    let delimiter = Delimiter::of_media_type("multipart/form-data; boundary=b");
    delimiter.unwrap_or_else(|_| panic!("the boundary may be one"))
}

fn read(form: &[u8], step: usize) -> Outcome {
    let mut prelude = Prelude::new(delimiter());
    let mut start: Option<Start> = None;
    let mut content = Vec::new();
    for piece in form.chunks(step) {
        let mut wire = Bytes::copy_from_slice(piece);
        let file = match &mut start {
            Some(start) => &mut start.file,
            None => match prelude.push(piece).map_err(|_| ())? {
                None => continue,
                Some(found) => {
                    wire = found.rest.clone();
                    &mut start.insert(found).file
                }
            },
        };
        while let Some(bytes) = file.next(&mut wire).map_err(|_| ())? {
            content.extend_from_slice(&bytes);
        }
    }
    let start = start.ok_or(())?;
    start.file.end().map_err(|_| ())?;
    Ok((start.fields, start.file_name, content))
}
