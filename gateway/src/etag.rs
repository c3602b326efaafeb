//! Entity tags as AWS makes them.

use strata_raftlog::namespace::ETag;

use crate::md5;

/// The tag of an upload made of parts with these tags: the MD5 of their MD5s, and their number.
pub fn of_parts(parts: &[ETag]) -> ETag {
    let mut digest = md5::Md5::default();
    for part in parts {
        digest.update(&part.digest);
    }
    ETag {
        digest: digest.finish(),
        part_count: parts.len() as u32,
    }
}

/// The tag in quotation marks, as it stands in a header.
pub fn quoted(etag: ETag) -> String {
    format!("\"{etag}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_parts_is_the_digest_of_digests() {
        let part = |text: &[u8]| ETag::single(md5::digest(text));
        let (first, second) = (part(b"hello"), part(b"world"));
        let both = [first.digest, second.digest].concat();
        let etag = of_parts(&[first, second]);
        assert_eq!(etag.digest, md5::digest(&both));
        assert!(etag.to_string().ends_with("-2"));
        assert_eq!(ETag::parse(&quoted(etag)), Some(etag));
    }
}
