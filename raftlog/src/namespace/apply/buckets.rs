//! Commands about buckets, directories below the root, and their settings.

use super::{Change, Outcome, invalid};
use crate::namespace::command::{
    Answer, CreateBucket, CreateBucketWithSettings, DeleteBucket, Refusal, SetBucketSetting,
};
use crate::namespace::object_lock::BucketLock;
use crate::namespace::setting::{SETTINGS, SettingRow};
use crate::namespace::version::Versioning;
use crate::namespace::view::directory_segment;
use crate::namespace::{BUCKET_BYTES_MAX, ROOT_ACCOUNT, ROOT_INODE, key};

impl Change<'_, '_> {
    pub(super) fn create_bucket(&mut self, command: &CreateBucket) -> Outcome {
        self.make_bucket(command)?;
        Ok(Answer::Done)
    }

    /// Makes a bucket: its inode.
    fn make_bucket(&mut self, command: &CreateBucket) -> Outcome<u64> {
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
        Ok(entry.inode)
    }

    pub(super) fn create_bucket_with_settings(
        &mut self,
        command: &CreateBucketWithSettings,
    ) -> Outcome {
        if command.settings.len() > self.limits.new_settings_max {
            return invalid("a bucket is made with at most 8 settings");
        }
        for setting in &command.settings {
            self.check_setting(setting.setting, Some(&setting.document))?;
        }
        let inode = self.make_bucket(&command.create)?;
        for setting in &command.settings {
            let row = key::x_kind(inode, setting.setting);
            self.put(&row, &SettingRow(setting.document.clone()))?;
        }
        Ok(Answer::Done)
    }

    fn check_setting(&self, setting: u8, document: Option<&[u8]>) -> Outcome<()> {
        if !SETTINGS.contains(&setting) {
            return invalid("a setting has a number of 16 to 127");
        }
        if document.map_or(0, <[u8]>::len) > self.limits.setting_bytes_max {
            return invalid("the document of a setting has at most 256 KiB");
        }
        Ok(())
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
        self.check_setting(command.setting, command.document.as_deref())?;
        let row = key::x_kind(command.bucket, command.setting);
        match &command.document {
            Some(document) => self.put(&row, &SettingRow(document.clone()))?,
            None => {
                self.delete(&row)?;
            }
        }
        Ok(Answer::Done)
    }
}
