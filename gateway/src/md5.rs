//! MD5, which S3's ETags and `Content-MD5` are made of; it protects nothing.
//!
//! `aws-lc-rs` keeps its MD5 to itself, and calling `aws-lc-sys` would bring `unsafe` in here, so
//! this is the pure Rust `md-5`, which s3s brings along anyway. It is what one stream of PUTs is
//! bound by; several at once call for lanes, which go behind this type.

use md5::Digest as _;

/// MD5 of a stream.
#[derive(Clone, Default)]
pub struct Md5(md5::Md5);

impl Md5 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

/// The digest of some bytes.
pub fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut md5 = Md5::default();
    md5.update(bytes);
    md5.finish()
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_digests() {
        assert_eq!(
            super::digest(b""),
            0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128.to_be_bytes()
        );
        let mut md5 = super::Md5::default();
        md5.update(b"a");
        md5.update(b"bc");
        assert_eq!(
            md5.finish(),
            0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72_u128.to_be_bytes()
        );
    }
}
