//! What few objects have beside body and headers, so that a command that has none of it is no longer for it.

use rkyv::{Archive, Deserialize, Serialize};

use super::access_list::Grant;
use super::object_lock::ObjectLock;
use super::tags::Tag;

/// What comes with an object, or with the upload that it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct ObjectExtras {
    /// Its tags, whose form is the front end's affair: at most [`OBJECT_TAGS_MAX`](super::OBJECT_TAGS_MAX), of 16 KiB in all.
    pub tags: Vec<Tag>,
    /// What keeps it from being removed, only in a bucket that has Object Lock. A retention that is over already is refused. Where it names none, the object gets the
    /// bucket's default.
    pub lock: ObjectLock,
    /// Its access list, at most [`GRANTS_MAX`](super::GRANTS_MAX) grants; `None` for the one that grants its owner everything.
    pub access_list: Option<Vec<Grant>>,
}

impl ObjectExtras {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.lock == ObjectLock::NONE && self.access_list.is_none()
    }
}
