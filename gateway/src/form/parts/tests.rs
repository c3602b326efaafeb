//! Forms whole and in pieces, and everything that can be wrong with their framing.

use super::*;

fn delimiter(media_type: &str) -> Result<Delimiter, Code> {
    Delimiter::of_media_type(media_type).map_err(|fault| fault.code)
}

/// A form that was read: its fields, the name of its file, and the file.
type Form = (Vec<(String, String)>, Option<String>, Vec<u8>);

/// Reads a form that comes in pieces of a length.
fn read(form: &[u8], step: usize) -> Result<Form, Code> {
    let mut prelude = Prelude::new(delimiter("multipart/form-data; boundary=b")?);
    let mut start: Option<Start> = None;
    let mut content = Vec::new();
    for piece in form.chunks(step) {
        let mut wire = match &start {
            Some(_) => Bytes::copy_from_slice(piece),
            None => match prelude.push(piece).map_err(|fault| fault.code)? {
                None => continue,
                Some(found) => start.insert(found).rest.clone(),
            },
        };
        let file = &mut start.as_mut().unwrap().file;
        while let Some(bytes) = file.next(&mut wire).map_err(|fault| fault.code)? {
            assert!(!bytes.is_empty());
            content.extend_from_slice(&bytes);
        }
        assert!(wire.is_empty());
    }
    let start = start.ok_or_else(|| prelude.ended().code)?;
    start.file.end().map_err(|fault| fault.code)?;
    let fields = start.fields.into_iter();
    let fields = fields.map(|field| (field.name, field.value)).collect();
    Ok((fields, start.file_name, content))
}

/// Reads a form in pieces of every length; the outcome must always be the same.
fn outcome(form: &str) -> Result<Form, Code> {
    let whole = read(form.as_bytes(), form.len().max(1));
    let is_short = form.len() < 1000;
    let steps = if is_short { 1..=form.len() } else { 997..=1005 };
    for step in steps {
        assert_eq!(read(form.as_bytes(), step), whole, "in pieces of {step}");
    }
    whole
}

fn field(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(content: &str) -> String {
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"";
    format!("--b\r\n{head}\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--b")
}

#[test]
fn fields_and_file_come_out_as_they_went_in() {
    for content in [
        "hello",
        "",
        "\r\n",
        "\r\n--",
        "\r\n--a",
        "\r\r\n\r\n--\r\n-",
        "\r\n--\r\n--\r\n--a\r\n",
        "--b",
        "\n--b",
    ] {
        let form = field("key", "a/é") + &field("empty", "") + &file(content) + "--\r\n";
        let (fields, name, found) = outcome(&form).unwrap();
        let expected = [("key", "a/é"), ("empty", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, expected);
        assert_eq!(name.as_deref(), Some("a.txt"));
        assert_eq!(found, content.as_bytes(), "{content:?}");
    }
}

#[test]
fn what_stands_round_the_parts_is_passed_over() {
    let form = format!(
        "a preamble\r\n{}{} \t\r\n{}",
        field("key", "a").replacen("--b\r\n", "--b \t\r\n", 1),
        file("x"),
        field("after", "y") + "anything\r\n--bx"
    );
    let (fields, _, content) = outcome(&form).unwrap();
    assert_eq!(fields, [("key".to_owned(), "a".to_owned())]);
    assert_eq!(content, b"x");
    // The last delimiter need not be followed by a line end.
    assert_eq!(outcome(&(file("x") + "--")).unwrap().2, b"x");
}

#[test]
fn a_broken_framing_is_refused() {
    let key = field("key", "a");
    for form in [
        String::new(),
        "no form".to_owned(),
        "--b".to_owned(),
        "--b\r\n".to_owned(),
        key.clone(),
        "--b\r\n\r\nvalue\r\n--b--".to_owned(),
        "--b\r\n\r\n\r\nvalue\r\n--b--".to_owned(),
        "--b\r\nContent-Type: text/plain\r\n\r\nvalue\r\n--b--".to_owned(),
        "--b\r\nContent-Disposition: attachment; name=\"file\"\r\n\r\nx\r\n--b--".to_owned(),
        "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--".to_owned(),
        "--b\r\nContent-Disposition: form-data; name=\"file\r\n\r\nx\r\n--b--".to_owned(),
        "--b\r\nContent-Disposition: form-data; name=\"file\"x\r\n\r\nx\r\n--b--".to_owned(),
        "--b\r\nno header\r\n\r\nx\r\n--b--".to_owned(),
        "--bx\r\n".to_owned() + &file("x") + "--",
        "--b-\r\n".to_owned() + &file("x") + "--",
        file("x").replace("\r\n", "\n") + "--",
        key.replace(
            "\r\n\r\n",
            "\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
        ) + &file("x")
            + "--",
        file("x"),
        file("x") + "-",
        file("x") + "-x",
        file("x") + "x",
        file("x") + "\r",
        file("x") + &" ".repeat(PADDING_BYTES_MAX + 1) + "\r\n",
    ] {
        assert_eq!(outcome(&form), Err(Code::MalformedPOSTRequest), "{form:?}");
    }
    let latin = [
        &b"--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n\xe9\r\n--b"[..],
        b"--",
    ]
    .concat();
    assert_eq!(read(&latin, 7), Err(Code::MalformedPOSTRequest));
    let without = outcome(&(key + "--b--\r\n"));
    assert_eq!(without, Err(Code::InvalidArgument), "a form without a file");
}

#[test]
fn what_comes_before_the_file_is_bounded() {
    let of_length = |length: usize| {
        let file = file("x") + "--";
        let head = file.find("\r\n\r\n").unwrap() + 4;
        let empty = field("key", "").len();
        field("key", &"a".repeat(length - head - empty)) + &file
    };
    assert!(outcome(&of_length(PRELUDE_BYTES_MAX)).is_ok());
    let more = outcome(&of_length(PRELUDE_BYTES_MAX + 1));
    assert_eq!(more, Err(Code::MaxPostPreDataLengthExceeded));
    let endless = "x".repeat(PRELUDE_BYTES_MAX + 100);
    assert_eq!(
        outcome(&endless),
        Err(Code::MaxPostPreDataLengthExceeded),
        "no delimiter comes"
    );
    // The file may be as long as it likes.
    let long = file(&"x".repeat(PRELUDE_BYTES_MAX * 2)) + "--";
    assert_eq!(
        read(long.as_bytes(), 4096).unwrap().2.len(),
        PRELUDE_BYTES_MAX * 2
    );
}

#[test]
fn boundaries_are_those_of_the_media_type() {
    let of = |media_type: &str| {
        let found = delimiter(media_type)?;
        Ok(String::from_utf8(found.bytes().to_vec()).unwrap())
    };
    for (media_type, boundary) in [
        ("multipart/form-data; boundary=b", "b"),
        (
            "Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b:c\" ",
            "a b:c",
        ),
        (
            "multipart/form-data; boundary=----WebKitFormBoundaryq7X",
            "----WebKitFormBoundaryq7X",
        ),
        ("multipart/form-data; boundary=a;charset=utf-8", "a"),
    ] {
        assert_eq!(
            of(media_type),
            Ok(format!("\r\n--{boundary}")),
            "{media_type}"
        );
    }
    for media_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=\"a \"",
        &format!("multipart/form-data; boundary={}", "a".repeat(71)),
    ] {
        assert_eq!(
            of(media_type),
            Err(Code::MalformedPOSTRequest),
            "{media_type}"
        );
    }
}

#[test]
fn names_are_read_as_browsers_send_them() {
    for (parameters, name, file_name) in [
        ("name=file; filename=a.txt", "file", Some("a.txt")),
        (
            "name=\"File\";filename=\"C:\\temp\\a;b.txt\"",
            "File",
            Some("C:\\temp\\a;b.txt"),
        ),
        ("filename=\"a\\\"b\"; name=\"file\"", "file", Some("a\"b")),
        ("name=\"file\"", "file", None),
        ("name=\"file\"; filename=\"\"", "file", Some("")),
        (
            "name=\"file\"; filename=\"löwe.jpg\";",
            "file",
            Some("löwe.jpg"),
        ),
    ] {
        let head = format!("content-disposition: Form-Data; {parameters}");
        let Ok(found) = PartHead::read(head.as_bytes()) else {
            panic!("{parameters}");
        };
        assert_eq!(
            (&*found.name, found.file_name.as_deref()),
            (name, file_name)
        );
    }
}
