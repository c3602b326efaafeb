//! `CompleteMultipartUpload`: the parts named, in their order, become the object.

use strata_engine::reactor;
use strata_raftlog::namespace::command::{CompleteUpload, CompletedPart};
use strata_raftlog::namespace::{
    Checksum, ChecksumAlgorithm, ChecksumKind, ETag, Object, PART_BYTES_MIN, PART_NUMBER_MAX, Part,
    VersionId,
};

use super::multipart::{find, parse_upload_id};
use super::{Shared, buckets, conditions, location, versions, write_key};
use crate::error::{Code, Fault};
use crate::percent::encode_path;
use crate::request::Request;
use crate::response::Response;
use crate::{checksum, etag, xml};

/// A part that a request names, with what it says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    number: i64,
    etag: String,
    checksums: Vec<(ChecksumAlgorithm, String)>,
}

type NumberedPart = (u16, Part);

/// Parts that are read from the namespace in one turn.
const PARTS_PER_TURN: usize = 256;

/// How often the parts are read, where others are put meanwhile.
const TRIES: usize = 3;

/// `CompleteMultipartUpload`. A part that is put meanwhile makes it read the parts again. An upload
/// that has become the object that the same parts make is answered as it was the first time.
///
/// # Errors
/// As every handler.
pub async fn complete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let named = read(&request.xml).await?;
    let mut outcome = try_complete(shared, request, &named).await;
    for _ in 1..TRIES {
        match outcome {
            Err(fault) if fault.code == Code::OperationAborted => {
                outcome = try_complete(shared, request, &named).await;
            }
            outcome => return outcome.or_else(|fault| repeated(shared, request, &named, fault)),
        }
    }
    outcome.or_else(|fault| repeated(shared, request, &named, fault))
}

/// The answer to a request whose upload is no longer there, or has lost its parts meanwhile: that of
/// the one which completed it, while the object at the key is what the upload has become (its inode
/// says so, which no other object ever has) and the parts that are named make its tag. The
/// conditions were decided then.
fn repeated(
    shared: &Shared,
    request: &Request,
    named: &[Named],
    fault: Fault,
) -> Result<Response, Fault> {
    if !matches!(fault.code, Code::NoSuchUpload | Code::InvalidPart) {
        return Err(fault);
    }
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let upload = parse_upload_id(request.query.text("uploadId"))?;
    let object = shared
        .cluster
        .read(|view| view.object_in(bucket.inode, key))?;
    let is_its = |object: &Object| object.inode == upload && is_made_of(object, named);
    let Some(object) = object.filter(is_its) else {
        return Err(fault);
    };
    check_object_size(request, object.size)?;
    if let Some(checksum) = &object.checksum {
        let (algorithm, kind) = (checksum.algorithm, checksum.kind);
        check_declared(request, algorithm, kind, Some(checksum))?;
    }
    let mut response = answer(shared, request, object.etag, object.checksum.as_ref())?;
    if object.version != VersionId::Null {
        let headers = &mut response.headers;
        versions::add_version(headers, versions::VERSION_ID, &bucket, object.version);
    }
    Ok(response)
}

/// Whether the parts that a request names, in their order, are those of the object.
fn is_made_of(object: &Object, named: &[Named]) -> bool {
    let tags: Option<Vec<ETag>> = named
        .iter()
        .map(|part| ETag::parse(part.etag.trim()))
        .collect();
    let is_ascending = named.is_sorted_by(|one, next| one.number < next.number);
    is_ascending && tags.is_some_and(|tags| etag::of_parts(&tags) == object.etag)
}

async fn try_complete(
    shared: &Shared,
    request: &Request,
    named: &[Named],
) -> Result<Response, Fault> {
    let (_, key) = request.address.object()?;
    let found = find(shared, request)?;
    let (algorithm, kind) = found
        .row
        .checksum
        .unwrap_or((checksum::DEFAULT, ChecksumKind::FullObject));
    let stored = parts_of(shared, found.upload).await?;
    let parts = match_parts(named, &stored, algorithm).await?;
    check_sizes(request, &parts)?;
    let tags: Vec<ETag> = parts.iter().map(|(_, part)| part.etag).collect();
    let etag = etag::of_parts(&tags);
    let checksum = whole_checksum(algorithm, kind, &parts).await;
    check_declared(request, algorithm, kind, checksum.as_ref())?;
    let completed = parts.iter().map(|(_, part)| CompletedPart {
        space: part.space,
        size: part.size,
    });
    let command = CompleteUpload {
        bucket: found.bucket.inode,
        key: key.to_vec(),
        upload: found.upload,
        parts_changed: found.row.parts_changed,
        parts: completed.collect(),
        etag,
        part_checksums: match checksum {
            Some(_) => part_checksums(algorithm, &parts),
            None => Vec::new(),
        },
        checksum: checksum.clone(),
        precondition: conditions::of_write(&request.headers)?,
    };
    let put = shared.cluster.submit(command).await?;
    let mut response = answer(shared, request, etag, checksum.as_ref())?;
    versions::add_put_version(&mut response.headers, &put);
    Ok(response)
}

/// The checksums of all parts in an algorithm, one after the other; none where one has no such checksum.
fn part_checksums(algorithm: ChecksumAlgorithm, parts: &[&NumberedPart]) -> Vec<u8> {
    let values = parts.iter().map(|(_, part)| {
        let checksum = part.checksum.as_ref()?;
        (checksum.algorithm == algorithm).then_some(&checksum.value[..])
    });
    let values: Option<Vec<&[u8]>> = values.collect();
    values.map_or_else(Vec::new, |values| values.concat())
}

fn answer(
    shared: &Shared,
    request: &Request,
    etag: ETag,
    checksum: Option<&Checksum>,
) -> Result<Response, Fault> {
    let (bucket, key) = request.address.object()?;
    let mut xml = xml::Writer::new("CompleteMultipartUploadResult");
    xml.element(
        "Location",
        &location(shared, request, bucket, &encode_path(key)),
    );
    xml.element("Bucket", bucket);
    write_key(&mut xml, "Key", key, false);
    xml.element("ETag", &etag::quoted(etag));
    checksum::write(&mut xml, checksum);
    let kind = checksum.map(|checksum| checksum::kind_name(checksum.kind));
    xml.optional("ChecksumType", kind);
    Ok(Response::xml(xml))
}

/// All parts of an upload, a few to a turn. What is put between two turns is noticed when the command is applied.
async fn parts_of(shared: &Shared, upload: u64) -> Result<Vec<NumberedPart>, Fault> {
    let mut parts: Vec<NumberedPart> = Vec::new();
    loop {
        let after = parts.last().map_or(0, |(number, _)| *number);
        let page = shared
            .cluster
            .read(|view| view.parts(upload, after, PARTS_PER_TURN))?;
        let is_last = page.len() < PARTS_PER_TURN;
        parts.extend(page);
        if is_last {
            return Ok(parts);
        }
        reactor::yield_if_due().await;
    }
}

/// The parts that a document names, one after the other.
struct NamedParts<'x> {
    xml: xml::Reader<'x>,
    count: u16,
}

impl<'x> NamedParts<'x> {
    fn open(xml: &'x [u8]) -> Result<NamedParts<'x>, Fault> {
        let xml = xml::Reader::open(xml, "CompleteMultipartUpload")?;
        Ok(NamedParts { xml, count: 0 })
    }

    fn next(&mut self) -> Result<Option<Named>, Fault> {
        let Some(name) = self.xml.child()? else {
            self.xml.end()?;
            return Ok(None);
        };
        if name != "Part" || self.count == PART_NUMBER_MAX {
            return Err(Code::MalformedXML.into());
        }
        self.count += 1;
        read_part(&mut self.xml).map(Some)
    }
}

async fn read(xml: &[u8]) -> Result<Vec<Named>, Fault> {
    let (mut document, mut parts) = (NamedParts::open(xml)?, Vec::new());
    while let Some(part) = document.next()? {
        parts.push(part);
        reactor::yield_if_due().await;
    }
    at_least_one(parts)
}

fn at_least_one(parts: Vec<Named>) -> Result<Vec<Named>, Fault> {
    match parts.is_empty() {
        false => Ok(parts),
        true => Err(Fault::new(
            Code::MalformedXML,
            "You must specify at least one part",
        )),
    }
}

/// A part without its number or its tag is malformed.
fn read_part(xml: &mut xml::Reader<'_>) -> Result<Named, Fault> {
    let (mut number, mut etag, mut checksums) = (None, None, Vec::new());
    while let Some(name) = xml.child()? {
        match name.as_str() {
            "PartNumber" => number = Some(xml.value()?),
            "ETag" => etag = Some(xml.text()?),
            other => {
                let algorithm = other.strip_prefix("Checksum").and_then(checksum::by_name);
                let algorithm = algorithm.ok_or_else(|| Fault::from(Code::MalformedXML))?;
                checksums.push((algorithm, xml.text()?));
            }
        }
    }
    match (number, etag) {
        (Some(number), Some(etag)) => Ok(Named {
            number,
            etag,
            checksums,
        }),
        _ => Err(Code::MalformedXML.into()),
    }
}

/// Finds the parts that a request names.
async fn match_parts<'a>(
    named: &[Named],
    stored: &'a [NumberedPart],
    algorithm: ChecksumAlgorithm,
) -> Result<Vec<&'a NumberedPart>, Fault> {
    let mut parts: Vec<&NumberedPart> = Vec::with_capacity(named.len());
    for wanted in named {
        let before = parts.last().map(|(number, _)| *number);
        parts.push(match_part(wanted, before, stored, algorithm)?);
        reactor::yield_if_due().await;
    }
    Ok(parts)
}

/// Finds a part that a request names behind the one `before`.
fn match_part<'a>(
    wanted: &Named,
    before: Option<u16>,
    stored: &'a [NumberedPart],
    algorithm: ChecksumAlgorithm,
) -> Result<&'a NumberedPart, Fault> {
    let missing = || Fault::from(Code::InvalidPart).detail("PartNumber", wanted.number.to_string());
    let number = u16::try_from(wanted.number).map_err(|_| missing())?;
    if before.is_some_and(|before| before >= number) {
        return Err(Code::InvalidPartOrder.into());
    }
    let at = stored.binary_search_by_key(&number, |(number, _)| *number);
    let part = &stored[at.map_err(|_| missing())?];
    if ETag::parse(wanted.etag.trim()) != Some(part.1.etag) {
        return Err(missing());
    }
    check_part(wanted, &part.1, algorithm)?;
    Ok(part)
}

/// Compares the checksum that a request names of a part.
fn check_part(wanted: &Named, part: &Part, algorithm: ChecksumAlgorithm) -> Result<(), Fault> {
    for (named, value) in &wanted.checksums {
        let stored = part.checksum.as_ref().map(checksum::text_of);
        if *named != algorithm || stored.as_ref() != Some(value) {
            let number = wanted.number.to_string();
            return Err(Fault::from(Code::InvalidPart).detail("PartNumber", number));
        }
    }
    Ok(())
}

/// Every part but the last has a least size, and all together may have been announced.
fn check_sizes(request: &Request, parts: &[&NumberedPart]) -> Result<(), Fault> {
    let all_but_last = parts.split_last().map_or(parts, |(_, before)| before);
    if let Some((number, part)) = all_but_last
        .iter()
        .find(|(_, part)| part.size < PART_BYTES_MIN)
    {
        return Err(Fault::from(Code::EntityTooSmall)
            .detail("ProposedSize", part.size.to_string())
            .detail("MinSizeAllowed", PART_BYTES_MIN.to_string())
            .detail("PartNumber", number.to_string()));
    }
    check_object_size(request, parts.iter().map(|(_, part)| part.size).sum())
}

/// Compares the size that a request announces of the object.
fn check_object_size(request: &Request, size: u64) -> Result<(), Fault> {
    match request.header("x-amz-mp-object-size") {
        Some(announced) if announced.parse() != Ok(size) => Err(Fault::new(
            Code::InvalidRequest,
            "The provided 'x-amz-mp-object-size' header value does not match what was computed.",
        )),
        _ => Ok(()),
    }
}

/// The checksum of the object from those of its parts; `None` where a part has none of the algorithm.
async fn whole_checksum(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    parts: &[&NumberedPart],
) -> Option<Checksum> {
    let mut whole = checksum::OfParts::new(algorithm, kind);
    for (_, part) in parts {
        whole.add(part.size, part.checksum.as_ref())?;
        reactor::yield_if_due().await;
    }
    whole.finish()
}

/// Compares the checksum that a request declares of the object.
fn check_declared(
    request: &Request,
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    computed: Option<&Checksum>,
) -> Result<(), Fault> {
    if let Some(name) = request.header("x-amz-checksum-type")
        && checksum::kind_by_name(name) != Some(kind)
    {
        let message = format!(
            "The upload was created using the {} checksum mode. The complete request must use the \
             same checksum mode.",
            checksum::kind_name(kind)
        );
        return Err(Fault::new(Code::InvalidRequest, message));
    }
    for (named, name, header) in checksum::ALGORITHMS {
        let Some(declared) = request.header(header) else {
            continue;
        };
        let text = computed.map(checksum::text_of).unwrap_or_default();
        let bare = text
            .split_once('-')
            .map_or(text.as_str(), |(value, _)| value);
        if named != algorithm || (declared != text && declared != bare) {
            let message =
                format!("The {name} you specified did not match the calculated checksum.");
            return Err(Fault::new(Code::BadDigest, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u16, body: &[u8]) -> NumberedPart {
        let sum = checksum::of_bytes(ChecksumAlgorithm::Crc32, body);
        let part = Part {
            space: 1,
            size: body.len() as u64,
            etag: ETag::single(crate::md5::digest(body)),
            checksum: Some(checksum::full_object(ChecksumAlgorithm::Crc32, sum)),
            modified_nanos: 0,
        };
        (number, part)
    }

    fn named(number: i64, part: &NumberedPart) -> Named {
        let sum = part.1.checksum.as_ref().map(checksum::text_of);
        let sums = sum.into_iter().map(|sum| (ChecksumAlgorithm::Crc32, sum));
        Named {
            number,
            etag: etag::quoted(part.1.etag),
            checksums: sums.collect(),
        }
    }

    fn outcome(named: &[Named], found: &[NumberedPart]) -> Result<usize, Code> {
        let mut before = None;
        for wanted in named {
            let part = match_part(wanted, before, found, ChecksumAlgorithm::Crc32);
            before = Some(part.map_err(|fault| fault.code)?.0);
        }
        Ok(named.len())
    }

    #[test]
    fn parts_must_be_there_in_order_and_agree() {
        let found = [part(1, b"a"), part(3, b"b")];
        let (one, three) = (named(1, &found[0]), named(3, &found[1]));
        assert_eq!(outcome(&[one.clone(), three.clone()], &found), Ok(2));
        assert_eq!(outcome(std::slice::from_ref(&three), &found), Ok(1));
        let none = at_least_one(Vec::new()).map_err(|fault| fault.code);
        assert_eq!(none, Err(Code::MalformedXML));
        assert_eq!(
            outcome(&[three, one.clone()], &found),
            Err(Code::InvalidPartOrder)
        );
        assert_eq!(
            outcome(&[one.clone(), one.clone()], &found),
            Err(Code::InvalidPartOrder)
        );
        assert_eq!(
            outcome(&[named(2, &found[0])], &found),
            Err(Code::InvalidPart)
        );
        assert_eq!(
            outcome(&[named(3, &found[0])], &found),
            Err(Code::InvalidPart)
        );
        assert_eq!(
            outcome(&[named(-1, &found[0])], &found),
            Err(Code::InvalidPart)
        );
        let wrong_sum = Named {
            checksums: vec![(ChecksumAlgorithm::Crc32, "AAAAAA==".into())],
            ..one
        };
        assert_eq!(outcome(&[wrong_sum], &found), Err(Code::InvalidPart));
    }

    #[test]
    fn the_parts_of_a_document_are_read() {
        let code = |xml: &str| -> Result<Vec<Named>, Code> {
            let read = || -> Result<Vec<Named>, Fault> {
                let mut document = NamedParts::open(xml.as_bytes())?;
                std::iter::from_fn(|| document.next().transpose()).collect()
            };
            read().map_err(|fault| fault.code)
        };
        let root = |inside: &str| {
            let name = "CompleteMultipartUpload";
            code(&format!("<{name}>{inside}</{name}>"))
        };
        let parts = root(
            "<Part><PartNumber> 7 </PartNumber><ETag>&quot;a&quot;</ETag>\
             <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>",
        );
        let expected = Named {
            number: 7,
            etag: "\"a\"".into(),
            checksums: vec![(ChecksumAlgorithm::Crc32, "AAAAAA==".into())],
        };
        assert_eq!(parts, Ok(vec![expected]));
        assert_eq!(root("").map(|parts| parts.len()), Ok(0));
        for wrong in [
            "<Part><PartNumber>a</PartNumber></Part>",
            "<Part><ChecksumMD7>a</ChecksumMD7></Part>",
            "<Other/>",
            "<Part/>",
            "<Part><PartNumber>7</PartNumber></Part>",
            "<Part><ETag>&quot;a&quot;</ETag></Part>",
            &"<Part><PartNumber>7</PartNumber><ETag>a</ETag></Part>".repeat(10_001),
        ] {
            assert_eq!(root(wrong), Err(Code::MalformedXML), "{wrong:.40}");
        }
        assert_eq!(code(""), Err(Code::MalformedXML));
    }
}
