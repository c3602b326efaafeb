//! Queries about multipart uploads.

use super::View;
use super::list::rolled_up;
use crate::namespace::KEY_BYTES_MAX;
use crate::namespace::key::{self, prefix_end};
use crate::namespace::store::StoreError;
use crate::namespace::upload::{Part, Upload};

/// Which uploads to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadQuery {
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// Roll up keys that hold this after the prefix; empty is none.
    pub delimiter: Vec<u8>,
    /// Only what lies above this key, or above `upload_marker` under it.
    pub key_marker: Vec<u8>,
    /// With a key marker: only uploads of that key above this one, and later keys.
    pub upload_marker: Option<u64>,
    /// Entries of a page at most.
    pub limit: usize,
}

/// An upload of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// The object's key.
    pub key: Vec<u8>,
    /// The upload's inode, which names it.
    pub upload: u64,
    /// The rest.
    pub row: Upload,
}

/// One page of uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// By key, then by upload.
    pub uploads: Vec<ListedUpload>,
    /// In order; they count as entries.
    pub common_prefixes: Vec<Vec<u8>>,
    /// Where more follows: key marker and upload marker (`None` after a common prefix).
    pub next: Option<(Vec<u8>, Option<u64>)>,
}

impl View<'_> {
    /// An upload of a key of a bucket, given by its inode.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn upload(
        &self,
        bucket: u64,
        key: &[u8],
        upload: u64,
    ) -> Result<Option<Upload>, StoreError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        self.table
            .get(self.txn(), &key::upload(bucket, key, upload))
    }

    /// One page of the uploads of a bucket.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn uploads(&self, bucket: u64, query: &UploadQuery) -> Result<UploadPage, StoreError> {
        let mut page = UploadPage::default();
        let mut last = None;
        let mut from = self.first_upload(bucket, query);
        let prefix = key::uploads(bucket);
        'seek: while let Some(start) = from.take() {
            let mut scan = self.table.scan(self.txn(), &prefix, &start)?;
            while let Some((row_key, row)) = scan.next::<Upload>()? {
                let Some((key, upload)) = key::parse_upload(row_key) else {
                    return Err(super::body::malformed_key(row_key));
                };
                if !key.starts_with(&query.prefix) {
                    break 'seek;
                }
                if page.uploads.len() + page.common_prefixes.len() >= query.limit {
                    page.next = last;
                    break 'seek;
                }
                if let Some(length) = rolled_up(&query.prefix, &query.delimiter, &key) {
                    let rolled = key[..length].to_vec();
                    last = Some((rolled.clone(), None));
                    from = prefix_end(&rolled).map(|end| seek_key(bucket, &end));
                    page.common_prefixes.push(rolled);
                    continue 'seek;
                }
                last = Some((key.clone(), Some(upload)));
                page.uploads.push(ListedUpload { key, upload, row });
            }
        }
        Ok(page)
    }

    /// The parts of an upload with numbers above `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn parts(
        &self,
        upload: u64,
        after: u16,
        limit: usize,
    ) -> Result<Vec<(u16, Part)>, StoreError> {
        let prefix = key::parts(upload);
        let from = [&key::part(upload, after)[..], &[0]].concat();
        let mut scan = self.table.scan(self.txn(), &prefix, &from)?;
        let mut parts = Vec::new();
        while parts.len() < limit
            && let Some((row_key, part)) = scan.next::<Part>()?
        {
            let number = row_key
                .last_chunk::<2>()
                .map_or(0, |bytes| u16::from_be_bytes(*bytes));
            parts.push((number, part));
        }
        Ok(parts)
    }

    pub(crate) fn part(&self, upload: u64, number: u16) -> Result<Option<Part>, StoreError> {
        self.table.get(self.txn(), &key::part(upload, number))
    }

    pub(crate) fn any_upload(&self, bucket: u64) -> Result<bool, StoreError> {
        self.table.any(self.txn(), &key::uploads(bucket))
    }

    /// Where a page begins; `None` where it is empty.
    fn first_upload(&self, bucket: u64, query: &UploadQuery) -> Option<Vec<u8>> {
        let marker = &query.key_marker[..query.key_marker.len().min(KEY_BYTES_MAX)];
        if query.limit == 0 || query.prefix.len() > KEY_BYTES_MAX {
            return None;
        }
        if marker.is_empty() || *marker < query.prefix[..] {
            return Some(seek_key(bucket, &query.prefix));
        }
        if let Some(length) = rolled_up(&query.prefix, &query.delimiter, marker) {
            return prefix_end(&marker[..length]).map(|end| seek_key(bucket, &end));
        }
        Some(match query.upload_marker {
            Some(upload) => [&key::upload(bucket, marker, upload)[..], &[0]].concat(),
            None => seek_key(bucket, &[marker, &[0]].concat()),
        })
    }
}

/// Not above the row of any upload whose key is not below `object_key`.
fn seek_key(bucket: u64, object_key: &[u8]) -> Vec<u8> {
    key::upload(bucket, object_key, 0)
}
