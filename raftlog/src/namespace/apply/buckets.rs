//! Commands about buckets: directories below the root.

use super::{Change, Outcome, invalid};
use crate::namespace::command::{Answer, CreateBucket, Refusal};
use crate::namespace::view::directory_segment;
use crate::namespace::{BUCKET_BYTES_MAX, ROOT_INODE};

impl Change<'_, '_> {
    pub(super) fn create_bucket(&mut self, command: &CreateBucket) -> Outcome {
        let name = &command.bucket;
        let reserved = matches!(name.as_str(), "" | "." | "..");
        if reserved || name.len() > BUCKET_BYTES_MAX || name.contains(['/', '\0']) {
            return invalid("a bucket's name has 1 to 255 bytes and no '/'");
        }
        if self.view().bucket(name)?.is_some() {
            return Err(Refusal::BucketAlreadyOwnedByYou.into());
        }
        let entry = self.new_directory(false, command.owner);
        self.link_in(ROOT_INODE, &directory_segment(name.as_bytes()), &entry)?;
        Ok(Answer::Done)
    }

    pub(super) fn delete_bucket(&mut self, bucket: u64) -> Outcome {
        let place = self.bucket(bucket)?;
        if !self.view().is_empty_directory(bucket)? || self.view().any_upload(bucket)? {
            return Err(Refusal::BucketNotEmpty.into());
        }
        self.unlink(ROOT_INODE, &place.segment, bucket)?;
        Ok(Answer::Done)
    }
}
