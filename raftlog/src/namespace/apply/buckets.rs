//! Commands about buckets, directories below the root, and their settings.

use super::{Change, Outcome, invalid};
use crate::namespace::command::{Answer, CreateBucket, DeleteBucket, Refusal, SetBucketSetting};
use crate::namespace::object_lock::BucketLock;
use crate::namespace::setting::{SETTINGS, SettingRow};
use crate::namespace::version::Versioning;
use crate::namespace::view::directory_segment;
use crate::namespace::{BUCKET_BYTES_MAX, ROOT_ACCOUNT, ROOT_INODE, key};

impl Change<'_, '_> {
    pub(super) fn create_bucket(&mut self, command: &CreateBucket) -> Outcome {
        let name = &command.bucket;
        let reserved = matches!(name.as_str(), "" | "." | "..");
        if reserved || name.len() > BUCKET_BYTES_MAX || name.contains(['/', '\0']) {
            return invalid("a bucket's name has 1 to 255 bytes and no '/'");
        }
        if let Some(known) = self.view().bucket(name)? {
            return Err(match known.owner == command.owner {
                true => Refusal::BucketAlreadyOwnedByYou.into(),
                false => Refusal::BucketAlreadyExists.into(),
            });
        }
        if command.owner != ROOT_ACCOUNT && self.view().account(command.owner)?.is_none() {
            let message = format!(
                "The account with number {:012} cannot be found.",
                command.owner
            );
            return Err(Refusal::NoSuchEntity(message).into());
        }
        let mut entry = self.new_directory(false, command.owner);
        if command.object_lock {
            entry.versioning = Versioning::Enabled;
            entry.bucket_lock = Some(BucketLock::default());
        }
        self.link_in(ROOT_INODE, &directory_segment(name.as_bytes()), &entry)?;
        self.begin_usage(entry.inode);
        Ok(Answer::Done)
    }

    pub(super) fn delete_bucket(&mut self, command: &DeleteBucket) -> Outcome {
        let bucket = command.bucket;
        let place = self.bucket(bucket)?;
        let is_empty = {
            let view = self.view();
            view.is_empty_bucket(bucket)? && !view.any_upload(bucket)?
        };
        if !is_empty {
            return Err(Refusal::BucketNotEmpty.into());
        }
        self.unlink(ROOT_INODE, &place.segment, bucket)?;
        self.delete_prefix(&key::x(bucket))?;
        self.end_usage(bucket);
        Ok(Answer::Done)
    }

    pub(super) fn set_bucket_setting(&mut self, command: &SetBucketSetting) -> Outcome {
        self.bucket(command.bucket)?;
        if !SETTINGS.contains(&command.setting) {
            return invalid("a setting has a number of 16 to 127");
        }
        let row = key::x_kind(command.bucket, command.setting);
        match &command.document {
            Some(document) if document.len() > self.limits.setting_bytes_max => {
                invalid("the document of a setting has at most 256 KiB")
            }
            Some(document) => {
                self.put(&row, &SettingRow(document.clone()))?;
                Ok(Answer::Done)
            }
            None => {
                self.delete(&row)?;
                Ok(Answer::Done)
            }
        }
    }
}
