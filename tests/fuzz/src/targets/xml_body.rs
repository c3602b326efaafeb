//! XML bodies of clients: every element and text of a document with any root, and what was read is read again when it is written.

use strata_gateway::xml::{Reader, Writer};

use crate::allocation::bounded;

/// Roots of the documents that requests carry.
const ROOTS: [&str; 4] = [
    "Delete",
    "CompleteMultipartUpload",
    "Tagging",
    "CreateBucketConfiguration",
];

pub(super) fn run(data: &[u8]) {
    for root in ROOTS {
        let Some(texts) = bounded(data.len(), || texts(data, root)) else {
            continue;
        };
        // XML 1.0 has no form for NUL: it is shown as AWS shows it, and not read.
        if texts.iter().any(|text| text.contains('\0')) {
            continue;
        }
        let mut writer = Writer::bare(root, 0);
        texts.iter().for_each(|text| writer.element("T", text));
        let again = self::texts(&writer.finish(), root);
        assert_eq!(again.as_ref(), Some(&texts));
    }
}

/// The texts of a document's elements, which alternate: one whose elements are walked, one whose text is read.
fn texts(xml: &[u8], root: &str) -> Option<Vec<String>> {
    let mut reader = Reader::open(xml, root).ok()?;
    let mut texts = Vec::new();
    let mut depth = 1;
    while depth > 0 {
        match reader.child().ok()? {
            None => depth -= 1,
            Some(name) if name == "Object" || name == "Part" => depth += 1,
            Some(_) => texts.push(reader.text().ok()?),
        }
    }
    reader.end().ok()?;
    Some(texts)
}
