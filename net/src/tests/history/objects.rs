//! What clients do with objects, as a front end does it: bodies into chunks and back, names, parts, pages of names.

use std::collections::VecDeque;

use bytes::Bytes;
use strata_engine::CELL_BYTES;
use strata_raftlog::namespace::command::{
    AbortUpload, Answer, CompleteUpload, CompletedPart, CreateUpload, DeleteKey, DeleteObjects,
    ETagMatch, Precondition, PutObject, PutPart,
};
use strata_raftlog::namespace::{
    Body, ListPage, ListQuery, Listing, Object, ObjectAttributes, PieceSource, UploadQuery,
};

use super::super::world::BUCKET;
use super::values::Value;
use crate::cluster::Cluster;
use crate::cluster::read::{BodySource, ObjectReader};
use crate::cluster::write::SPACE_FILE;
use crate::error::ClusterError;

/// A multipart upload that was begun.
#[derive(Clone, Debug)]
pub struct Upload {
    pub key: usize,
    pub inode: u64,
    /// What the object holds when all parts are there.
    pub value: Value,
    /// How long the parts are, in bytes.
    pub parts: Vec<usize>,
}

impl Upload {
    /// Where the bytes of a part lie in the object.
    pub fn range_of(&self, part: usize) -> std::ops::Range<usize> {
        let start = self.parts[..part].iter().sum();
        start..start + self.parts[part]
    }
}

/// A run of a body that is being read.
enum Run {
    Bytes(Vec<u8>),
    Chunks(ObjectReader),
}

/// An object that was found, and its body, whose space is kept from here on.
pub struct Opened {
    pub object: Object,
    runs: VecDeque<Run>,
}

impl Opened {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClusterError>> {
        loop {
            match self.runs.front_mut()? {
                Run::Bytes(bytes) => {
                    let bytes = Bytes::from(std::mem::take(bytes));
                    self.runs.pop_front();
                    return Some(Ok(bytes));
                }
                Run::Chunks(reader) => match reader.next().await {
                    None => drop(self.runs.pop_front()),
                    some => return some,
                },
            }
        }
    }

    /// All that is left.
    pub async fn read(mut self) -> Result<Vec<u8>, ClusterError> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next().await {
            body.extend_from_slice(&bytes?);
        }
        Ok(body)
    }
}

/// The inode of the bucket.
pub fn bucket(cluster: &Cluster) -> Result<u64, ClusterError> {
    let found = cluster.read(|view| view.bucket(BUCKET))?;
    found
        .map(|bucket| bucket.inode)
        .ok_or_else(|| ClusterError::NotFound("the bucket".to_owned()))
}

/// The object under a key.
pub fn find(cluster: &Cluster, key: &str) -> Result<Option<Object>, ClusterError> {
    cluster.read(|view| view.object(BUCKET, key.as_bytes()))
}

/// Opens a range of the object under a key, if there is one.
pub fn open(
    cluster: &Cluster,
    key: &str,
    cut: impl Fn(u64) -> std::ops::Range<u64>,
) -> Result<Option<Opened>, ClusterError> {
    let found = cluster.read(|view| {
        let Some(object) = view.object(BUCKET, key.as_bytes())? else {
            return Ok(None);
        };
        let pieces = view.body_of_found(&object, cut(object.size), usize::MAX)?;
        Ok(Some((object, pieces)))
    })?;
    let Some((object, pieces)) = found else {
        return Ok(None);
    };
    let (mut runs, mut extents) = (VecDeque::new(), Vec::new());
    let inode = object.inode;
    let begin = |extents: &mut Vec<_>| {
        let length = extents
            .iter()
            .map(|extent: &strata_raftlog::namespace::Extent| extent.length)
            .sum();
        let source = BodySource::Extents(std::mem::take(extents));
        Run::Chunks(cluster.reader(inode, source, 0..length))
    };
    for piece in pieces {
        match piece.source {
            PieceSource::Chunk { extent, .. } => extents.push(extent),
            PieceSource::Zeros => {
                let what = "a hole in an object that was put whole";
                return Err(ClusterError::Bug(what.to_owned()));
            }
            PieceSource::Inline(bytes) => {
                runs.push_back(begin(&mut extents));
                runs.push_back(Run::Bytes(bytes));
            }
        }
    }
    runs.push_back(begin(&mut extents));
    Ok(Some(Opened { object, runs }))
}

/// Stores a body in pieces of 64 KiB, as they come from a client.
pub async fn store(
    cluster: &Cluster,
    inode: u64,
    space: u32,
    body: &Bytes,
) -> Result<Body, ClusterError> {
    let mut writer = cluster.writer(inode, space);
    for piece in body.chunks(CELL_BYTES) {
        writer.write(body.slice_ref(piece)).await?;
    }
    writer.finish().await
}

/// Stores what a value stands for under a fresh inode.
pub async fn store_value(cluster: &Cluster, value: Value) -> Result<(u64, Body), ClusterError> {
    let inode = cluster.new_inode().await?;
    Ok((
        inode,
        store(cluster, inode, SPACE_FILE, &value.content()).await?,
    ))
}

/// Stores a copy of an object, as it is read.
pub async fn store_copy(
    cluster: &Cluster,
    mut source: Opened,
) -> Result<(u64, Body), ClusterError> {
    let inode = cluster.new_inode().await?;
    let mut writer = cluster.writer(inode, SPACE_FILE);
    while let Some(bytes) = source.next().await {
        writer.write(bytes?).await?;
    }
    Ok((inode, writer.finish().await?))
}

/// Names a body that is stored; frees it where the name was refused.
pub async fn name(
    cluster: &Cluster,
    key: &str,
    value: Value,
    (inode, body): (u64, Body),
    only_if_absent: bool,
) -> Result<(), ClusterError> {
    let put = PutObject {
        bucket: bucket(cluster)?,
        key: key.as_bytes().to_vec(),
        inode,
        size: body.length(),
        etag: value.tag(0),
        checksum: None,
        attributes: ObjectAttributes::default(),
        body: body.clone(),
        precondition: Precondition {
            if_match: None,
            if_none_match: only_if_absent.then_some(ETagMatch::Any),
        },
        owner: 0,
    };
    let answer = cluster.submit(put).await;
    if matches!(
        answer,
        Err(ClusterError::Refused(_) | ClusterError::Busy(_))
    ) {
        cluster.discard(body).await;
    }
    answer.map(drop)
}

/// Takes a name away.
pub async fn delete(cluster: &Cluster, key: &str) -> Result<(), ClusterError> {
    let delete = DeleteObjects {
        bucket: bucket(cluster)?,
        keys: vec![DeleteKey {
            key: key.as_bytes().to_vec(),
            if_match: None,
        }],
    };
    cluster.submit(delete).await.map(drop)
}

/// Begins an upload.
pub async fn create_upload(cluster: &Cluster, key: &str) -> Result<u64, ClusterError> {
    let inode = cluster.new_inode().await?;
    let create = CreateUpload {
        bucket: bucket(cluster)?,
        key: key.as_bytes().to_vec(),
        inode,
        attributes: ObjectAttributes::default(),
        checksum: None,
        owner: 0,
    };
    cluster.submit(create).await?;
    Ok(inode)
}

/// Puts a part, from 0, in place of the one that may be there.
pub async fn put_part(
    cluster: &Cluster,
    key: &str,
    upload: &Upload,
    part: usize,
) -> Result<(), ClusterError> {
    let space = cluster.new_inode().await? as u32;
    let bytes = upload.value.content().slice(upload.range_of(part));
    let body = store(cluster, upload.inode, space, &bytes).await?;
    let put = PutPart {
        bucket: bucket(cluster)?,
        key: key.as_bytes().to_vec(),
        upload: upload.inode,
        number: part as u16 + 1,
        space,
        size: bytes.len() as u64,
        etag: upload.value.tag(0),
        checksum: None,
        body: body.clone(),
    };
    let answer = cluster.submit(put).await;
    if matches!(
        answer,
        Err(ClusterError::Refused(_) | ClusterError::Busy(_))
    ) {
        cluster.discard(body).await;
    }
    answer.map(drop)
}

/// Makes an upload an object of the parts that are there; `None` where some are missing.
pub fn completion(
    cluster: &Cluster,
    key: &str,
    upload: &Upload,
) -> Result<Option<CompleteUpload>, ClusterError> {
    let bucket = bucket(cluster)?;
    let found = cluster.read(|view| {
        let row = view.upload(bucket, key.as_bytes(), upload.inode)?;
        Ok((row, view.parts(upload.inode, 0, usize::MAX)?))
    })?;
    let (Some(row), parts) = found else {
        return Ok(None);
    };
    if parts.len() != upload.parts.len() {
        return Ok(None);
    }
    let completed = parts.iter().map(|(_, part)| CompletedPart {
        space: part.space,
        size: part.size,
    });
    Ok(Some(CompleteUpload {
        bucket,
        key: key.as_bytes().to_vec(),
        upload: upload.inode,
        parts_changed: row.parts_changed,
        parts: completed.collect(),
        etag: upload.value.tag(parts.len() as u32),
        checksum: None,
        part_checksums: Vec::new(),
        precondition: Precondition::default(),
    }))
}

/// Drops an upload.
pub async fn abort(cluster: &Cluster, key: &[u8], upload: u64) -> Result<Answer, ClusterError> {
    let abort = AbortUpload {
        bucket: bucket(cluster)?,
        key: key.to_vec(),
        upload,
    };
    cluster.submit(abort).await
}

/// Drops all uploads.
pub async fn abort_all(cluster: &Cluster) -> Result<(), ClusterError> {
    let bucket = bucket(cluster)?;
    let query = UploadQuery {
        limit: usize::MAX,
        ..UploadQuery::default()
    };
    for listed in cluster.read(|view| view.uploads(bucket, &query))?.uploads {
        abort(cluster, &listed.key, listed.upload).await?;
    }
    Ok(())
}

/// One page of the names.
pub fn list(cluster: &Cluster, query: ListQuery) -> Result<ListPage, ClusterError> {
    let bucket = bucket(cluster)?;
    let mut listing = Listing::new(query);
    cluster.read(|view| view.list(bucket, &mut listing, usize::MAX))?;
    Ok(listing.into_page())
}
