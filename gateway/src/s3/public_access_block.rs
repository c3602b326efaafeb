//! The block of public access of a bucket: `PutPublicAccessBlock`, `GetPublicAccessBlock`, `DeletePublicAccessBlock`.
//!
//! The flags are those of AWS's user guide, "Blocking public access to your Amazon S3 storage". `BlockPublicPolicy` refuses public policies, `RestrictPublicBuckets`
//! keeps a public policy to the owner's account, `BlockPublicAcls` refuses public access lists and `IgnorePublicAcls` has their public grants count for nobody.

use strata_raftlog::namespace::command::SetBucketSetting;
use strata_raftlog::namespace::setting;

use super::{Shared, buckets};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// The flags.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PublicAccessBlock {
    /// `BlockPublicAcls`.
    pub block_public_acls: bool,
    /// `IgnorePublicAcls`.
    pub ignore_public_acls: bool,
    /// `BlockPublicPolicy`.
    pub block_public_policy: bool,
    /// `RestrictPublicBuckets`.
    pub restrict_public_buckets: bool,
}

impl PublicAccessBlock {
    /// Reads a document; a flag that it leaves out is off.
    ///
    /// # Errors
    /// `MalformedXML`.
    pub fn read(xml: &[u8]) -> Result<PublicAccessBlock, Fault> {
        let mut xml = xml::Reader::open(xml, "PublicAccessBlockConfiguration")?;
        let mut block = PublicAccessBlock::default();
        while let Some(name) = xml.child()? {
            let flag = match name.as_str() {
                "BlockPublicAcls" => &mut block.block_public_acls,
                "IgnorePublicAcls" => &mut block.ignore_public_acls,
                "BlockPublicPolicy" => &mut block.block_public_policy,
                "RestrictPublicBuckets" => &mut block.restrict_public_buckets,
                _ => return Err(Code::MalformedXML.into()),
            };
            let text = xml.text()?;
            *flag = match text.trim() {
                text if text.eq_ignore_ascii_case("true") => true,
                text if text.eq_ignore_ascii_case("false") => false,
                _ => return Err(Code::MalformedXML.into()),
            };
        }
        xml.end()?;
        Ok(block)
    }

    fn document(&self) -> xml::Writer {
        let mut xml = xml::Writer::new("PublicAccessBlockConfiguration");
        xml.value("BlockPublicAcls", self.block_public_acls);
        xml.value("IgnorePublicAcls", self.ignore_public_acls);
        xml.value("BlockPublicPolicy", self.block_public_policy);
        xml.value("RestrictPublicBuckets", self.restrict_public_buckets);
        xml
    }
}

/// `PutPublicAccessBlock`: replaces all four flags.
///
/// # Errors
/// `MalformedXML`, and as every handler.
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    let block = PublicAccessBlock::read(&request.xml)?;
    set(shared, bucket, Some(block.document().finish().to_vec())).await?;
    Ok(Response::ok())
}

/// `DeletePublicAccessBlock`: none is no error.
///
/// # Errors
/// As every handler.
pub async fn delete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    set(shared, bucket, None).await?;
    Ok(Response::no_content())
}

async fn set(shared: &Shared, bucket: u64, document: Option<Vec<u8>>) -> Result<(), Fault> {
    let command = SetBucketSetting {
        bucket,
        setting: setting::PUBLIC_ACCESS_BLOCK,
        document,
    };
    shared.cluster.submit(command).await?;
    Ok(())
}

/// `GetPublicAccessBlock`.
///
/// # Errors
/// `NoSuchPublicAccessBlockConfiguration`, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let rules = shared.rules.of(&shared.cluster, &bucket)?;
    match rules.has_block() {
        true => Ok(Response::xml(rules.block.document())),
        false => {
            let fault = Fault::from(Code::NoSuchPublicAccessBlockConfiguration);
            Err(fault.detail("BucketName", &bucket.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_they_are_written() {
        let read = |inside: &str| {
            let root = "PublicAccessBlockConfiguration";
            let block = PublicAccessBlock::read(format!("<{root}>{inside}</{root}>").as_bytes());
            block.map_err(|fault| fault.code)
        };
        let block = read(
            "<BlockPublicPolicy>TRUE</BlockPublicPolicy><IgnorePublicAcls>false</IgnorePublicAcls>",
        );
        let block = block.unwrap();
        assert!(block.block_public_policy && !block.ignore_public_acls);
        let written = block.document().finish();
        assert_eq!(PublicAccessBlock::read(&written).unwrap(), block);
        assert_eq!(read(""), Ok(PublicAccessBlock::default()));
        for wrong in [
            "<Other>true</Other>",
            "<BlockPublicPolicy/>",
            "<BlockPublicPolicy>yes</BlockPublicPolicy>",
        ] {
            assert_eq!(read(wrong), Err(Code::MalformedXML), "{wrong}");
        }
    }
}
