//! `CompleteMultipartUpload`: the parts named, in their order, become the object.

use strata_raftlog::namespace::command::{CompleteUpload, CompletedPart};
use strata_raftlog::namespace::{
    Checksum, ChecksumAlgorithm, ChecksumKind, ETag, PART_NUMBER_MAX, Part,
};

use super::multipart::find;
use super::{Shared, conditions, write_key};
use crate::error::{Code, Fault};
use crate::percent::encode_path;
use crate::request::Request;
use crate::response::Response;
use crate::{checksum, etag, xml};

/// A part that a request names, with what it says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Named {
    number: i64,
    etag: String,
    checksums: Vec<(ChecksumAlgorithm, String)>,
}

type NumberedPart = (u16, Part);

/// `CompleteMultipartUpload`.
///
/// # Errors
/// As every handler.
pub async fn complete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let (bucket, key) = request.address.object()?;
    let found = find(shared, request)?;
    let (upload, row) = (found.upload, found.row);
    let named = read(&request.xml)?;
    let algorithm = row
        .checksum
        .map_or(checksum::DEFAULT, |(algorithm, _)| algorithm);
    let kind = row
        .checksum
        .map_or(ChecksumKind::FullObject, |(_, kind)| kind);
    let stored = shared
        .cluster
        .read(|view| view.parts(upload, 0, usize::from(PART_NUMBER_MAX)))?;
    let parts = match_parts(&named, &stored, algorithm)?;
    check_size(request, &parts)?;
    let tags: Vec<ETag> = parts.iter().map(|(_, part)| part.etag).collect();
    let (etag, checksum) = (
        etag::of_parts(&tags),
        whole_checksum(algorithm, kind, &parts),
    );
    check_declared(request, algorithm, kind, checksum.as_ref())?;
    let completed = parts.iter().map(|(number, part)| CompletedPart {
        number: *number,
        etag: part.etag,
        checksum: part
            .checksum
            .as_ref()
            .map(|checksum| checksum.value.clone()),
    });
    let command = CompleteUpload {
        bucket: found.bucket,
        key: key.to_vec(),
        upload,
        parts: completed.collect(),
        etag,
        checksum: checksum.clone(),
        precondition: conditions::of_write(&request.headers),
    };
    shared.cluster.submit(command).await?;
    let mut xml = xml::Writer::new("CompleteMultipartUploadResult");
    xml.element("Location", &location(request, bucket, key));
    xml.element("Bucket", bucket);
    write_key(&mut xml, "Key", key, false);
    xml.element("ETag", &etag::quoted(etag));
    checksum::write(&mut xml, checksum.as_ref());
    let kind = checksum
        .as_ref()
        .map(|checksum| checksum::kind_name(checksum.kind));
    xml.optional("ChecksumType", kind);
    Ok(Response::xml(xml))
}

/// Reads the parts that a document names.
fn read(xml: &[u8]) -> Result<Vec<Named>, Fault> {
    let mut xml = xml::Reader::open(xml, "CompleteMultipartUpload")?;
    let mut parts = Vec::new();
    while let Some(name) = xml.child()? {
        if name != "Part" || parts.len() >= usize::from(PART_NUMBER_MAX) {
            return Err(Code::MalformedXML.into());
        }
        parts.push(read_part(&mut xml)?);
    }
    xml.end()?;
    Ok(parts)
}

fn read_part(xml: &mut xml::Reader<'_>) -> Result<Named, Fault> {
    let mut part = Named::default();
    while let Some(name) = xml.child()? {
        match name.as_str() {
            "PartNumber" => part.number = xml.value()?,
            "ETag" => part.etag = xml.text()?,
            other => {
                let algorithm = other.strip_prefix("Checksum").and_then(checksum::by_name);
                let algorithm = algorithm.ok_or_else(|| Fault::from(Code::MalformedXML))?;
                part.checksums.push((algorithm, xml.text()?));
            }
        }
    }
    Ok(part)
}

/// Finds the parts that a request names. The state machine looks once more when the command is
/// applied; here their sizes and checksums are needed.
fn match_parts<'a>(
    named: &[Named],
    found: &'a [NumberedPart],
    algorithm: ChecksumAlgorithm,
) -> Result<Vec<&'a NumberedPart>, Fault> {
    if named.is_empty() || named.len() > usize::from(PART_NUMBER_MAX) {
        return Err(Fault::new(
            Code::MalformedXML,
            "You must specify at least one part",
        ));
    }
    let mut parts: Vec<&NumberedPart> = Vec::with_capacity(named.len());
    for wanted in named {
        let number = wanted.number;
        let missing = || Fault::from(Code::InvalidPart).detail("PartNumber", number.to_string());
        let number_16 = u16::try_from(number).map_err(|_| missing())?;
        if parts.last().is_some_and(|(before, _)| *before >= number_16) {
            return Err(Code::InvalidPartOrder.into());
        }
        let at = found.binary_search_by_key(&number_16, |(number, _)| *number);
        let part = &found[at.map_err(|_| missing())?];
        if ETag::parse(wanted.etag.trim()) != Some(part.1.etag) {
            return Err(missing());
        }
        check_part(wanted, &part.1, algorithm)?;
        parts.push(part);
    }
    Ok(parts)
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

fn check_size(request: &Request, parts: &[&NumberedPart]) -> Result<(), Fault> {
    let Some(declared) = request.header("x-amz-mp-object-size") else {
        return Ok(());
    };
    let size: u64 = parts.iter().map(|(_, part)| part.size).sum();
    match declared.parse() == Ok(size) {
        true => Ok(()),
        false => Err(Fault::new(
            Code::InvalidRequest,
            "The provided 'x-amz-mp-object-size' header value does not match what was computed.",
        )),
    }
}

fn whole_checksum(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    parts: &[&NumberedPart],
) -> Option<Checksum> {
    let sums: Vec<_> = parts
        .iter()
        .map(|(_, part)| (part.size, part.checksum.as_ref()))
        .collect();
    checksum::of_parts(algorithm, kind, &sums)
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

fn location(request: &Request, bucket: &str, key: &[u8]) -> String {
    let host = request.header("host").unwrap_or_default();
    format!("http://{host}/{bucket}/{}", encode_path(key))
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
        match_parts(named, found, ChecksumAlgorithm::Crc32)
            .map(|parts| parts.len())
            .map_err(|fault| fault.code)
    }

    #[test]
    fn parts_must_be_there_in_order_and_agree() {
        let found = [part(1, b"a"), part(3, b"b")];
        let (one, three) = (named(1, &found[0]), named(3, &found[1]));
        assert_eq!(outcome(&[one.clone(), three.clone()], &found), Ok(2));
        assert_eq!(outcome(std::slice::from_ref(&three), &found), Ok(1));
        assert_eq!(outcome(&[], &found), Err(Code::MalformedXML));
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
        let code = |xml: &str| read(xml.as_bytes()).map_err(|fault| fault.code);
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
            &"<Part/>".repeat(10_001),
        ] {
            assert_eq!(root(wrong), Err(Code::MalformedXML), "{wrong:.40}");
        }
        assert_eq!(code(""), Err(Code::MalformedXML));
    }
}
