//! `strata tls self-signed`: a certificate and a private key for first steps, where no authority gives one.
//!
//! Invariants: nothing that is there is overwritten; the key is in no file that others can read, at no time; both files are
//! there when the command succeeds, and neither where it fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::server::tls::unix_seconds;

/// How long a certificate holds. Some clients refuse one that holds for more than 398 days.
const VALID_DAYS: i64 = 365;

/// So many hours it holds already: clocks differ.
const VALID_BEFORE_HOURS: i64 = 24;

/// Characters on a line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// The length of a host name at most, in bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// Writes `cert.pem` and `key.pem` into a directory, which is made where there is none; what is to be said about them.
///
/// # Errors
/// A name cannot stand in a certificate, one of the files is there already, or cannot be written.
pub fn write(directory: &Path, hosts: &[String]) -> Result<String, String> {
    let (cert_path, key_path) = (directory.join("cert.pem"), directory.join("key.pem"));
    for path in [&cert_path, &key_path] {
        if path.symlink_metadata().is_ok() {
            let path = path.display();
            return Err(format!("{path} is there already, and is not overwritten"));
        }
    }
    let (certificate, key, until) = make(hosts)?;
    fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    write_new(&key_path, 0o600, "PRIVATE KEY", &key)?;
    if let Err(why) = write_new(&cert_path, 0o644, "CERTIFICATE", &certificate) {
        // Nobody has seen the key; the error that counts is the first.
        let _ = fs::remove_file(&key_path);
        return Err(why);
    }
    let (cert, key) = (cert_path.display(), key_path.display());
    Ok(format!(
        "Wrote {cert} and {key} (for its owner alone). The certificate holds for {VALID_DAYS} days, until {until}.\n\
         No authority vouches for it: give it to clients as the one to trust.\n\n  \
         strata server --tls-cert {cert} --tls-key {key}\n  \
         export AWS_CA_BUNDLE={cert}    # or curl --cacert {cert}\n"
    ))
}

/// A certificate and its private key in DER, and the day after which it does not hold.
fn make(hosts: &[String]) -> Result<(Vec<u8>, Vec<u8>, time::Date), String> {
    let failed = |error: rcgen::Error| format!("cannot make a certificate: {error}");
    let now = OffsetDateTime::from_unix_timestamp(unix_seconds())
        .map_err(|error| format!("the clock shows no time: {error}"))?;
    let mut parameters = CertificateParams::default();
    parameters.not_before = now - Duration::hours(VALID_BEFORE_HOURS);
    parameters.not_after = now + Duration::days(VALID_DAYS);
    parameters.subject_alt_names = names(hosts)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "Strata, self-signed");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    let until = parameters.not_after.date();
    Ok((certificate.der().to_vec(), key.serialize_der(), until))
}

/// The names that were asked for, and those of this machine to itself.
fn names(hosts: &[String]) -> Result<Vec<SanType>, String> {
    let own = [
        name_of("localhost")?,
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    let mut names = Vec::new();
    for host in hosts {
        names.push(name_of(host)?);
    }
    for name in own {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A host name or an IP address as it stands in a certificate.
fn name_of(host: &str) -> Result<SanType, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let rest = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    let is_name = host.len() <= HOST_BYTES_MAX && rest.split('.').all(is_label);
    match Ia5String::try_from(host) {
        Ok(name) if is_name => Ok(SanType::DnsName(name)),
        _ => Err(format!(
            "--host: `{host}` is neither a host name, such as s3.example.org or *.example.org, nor an IP address"
        )),
    }
}

/// Writes a file that is not there yet, as one block of PEM, and has it on the disk.
fn write_new(path: &Path, mode: u32, label: &str, bytes: &[u8]) -> Result<(), String> {
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
    };
    let fill = |mut file: File| -> io::Result<()> {
        file.write_all(pem(label, bytes).as_bytes())?;
        file.sync_all()
    };
    let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
    let file = create().map_err(failed)?;
    fill(file).map_err(|error| {
        // Half a file is of no use to anybody.
        let _ = fs::remove_file(path);
        failed(error)
    })
}

fn pem(label: &str, bytes: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(bytes);
    let mut block = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        block.push_str(line);
        block.push('\n');
        rest = after;
    }
    block + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use strata_gateway::tls::identity::Identity;

    #[test]
    fn both_files_make_an_identity_and_the_key_is_for_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let below = directory.path().join("tls");
        let said = write(&below, &["s3.example.org".to_owned()]).expect("written");
        assert!(said.contains("365 days"), "{said}");
        let read = |name: &str| fs::read(below.join(name)).expect("there");
        let identity = Identity::from_pem(&read("cert.pem"), &read("key.pem")).expect("a pair");
        let (begins, ends) = (identity.validity.not_before, identity.validity.not_after);
        assert_eq!(ends - begins, (365 + 1) * 86_400);
        assert!((begins..ends).contains(&unix_seconds()));
        let mode = fs::metadata(below.join("key.pem"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn nothing_is_overwritten_and_half_is_not_left() {
        for there in ["cert.pem", "key.pem"] {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join(there), "mine").expect("written");
            let why = write(directory.path(), &[]).expect_err("one is there");
            assert!(
                why.contains(there) && why.contains("not overwritten"),
                "{why}"
            );
            let left = fs::read_dir(directory.path()).expect("a directory").count();
            assert_eq!(left, 1);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for host in [
            "",
            "a b",
            "a..b",
            "https://a",
            "*",
            "\u{e4}.org",
            &"a".repeat(64),
        ] {
            let why = name_of(host).expect_err(host);
            assert!(why.contains("neither a host name"), "{why}");
        }
        for host in ["a", "s3.example.org", "*.example.org", "10.0.0.1", "::1"] {
            assert!(name_of(host).is_ok(), "{host}");
        }
        // What was asked for and is there anyway stands once.
        assert_eq!(names(&["localhost".to_owned()]).expect("names").len(), 3);
    }
}
