//! The document of a list, `AccessControlPolicy`: read from a client or from what is stored, and written with its elements in AWS's order.
//!
//! Source: AWS's API references of PutBucketAcl and GetBucketAcl. The kind of a grantee is told by the element that names it, so that a document
//! without `xsi:type` is read too.

use strata_raftlog::namespace::{Grantee, Permission};

use super::{AccessList, GROUPS, account_by_id, by_email, group_by_uri, to};
use crate::error::{Code, Fault};
use crate::xml;

/// The root of the document.
pub const ROOT: &str = "AccessControlPolicy";

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

const PERMISSIONS: &[(&str, Permission)] = &[
    ("FULL_CONTROL", Permission::FullControl),
    ("READ", Permission::Read),
    ("WRITE", Permission::Write),
    ("READ_ACP", Permission::ReadAcp),
    ("WRITE_ACP", Permission::WriteAcp),
];

/// What a document says.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// The canonical id of the owner.
    pub owner: String,
    /// The list.
    pub list: AccessList,
}

fn malformed() -> Fault {
    Code::MalformedACLError.into()
}

/// Reads a document.
///
/// # Errors
/// `MalformedACLError`; for a grantee that is not known `InvalidArgument` or `UnresolvableGrantByEmailAddress`.
pub fn read(text: &[u8]) -> Result<Document, Fault> {
    read_policy(text).map_err(|fault| match fault.code {
        Code::MalformedXML => malformed(),
        _ => fault,
    })
}

fn read_policy(text: &[u8]) -> Result<Document, Fault> {
    let mut xml = xml::Reader::open(text, ROOT)?;
    let (mut owner, mut list) = (None, None);
    while let Some(name) = xml.child()? {
        match name.as_str() {
            "Owner" if owner.is_none() => owner = Some(read_owner(&mut xml)?),
            "AccessControlList" if list.is_none() => list = Some(read_list(&mut xml)?),
            _ => return Err(malformed()),
        }
    }
    xml.end()?;
    match (owner, list) {
        (Some(owner), Some(list)) => Ok(Document { owner, list }),
        _ => Err(malformed()),
    }
}

fn read_owner(xml: &mut xml::Reader<'_>) -> Result<String, Fault> {
    let mut id = None;
    while let Some(name) = xml.child()? {
        let text = xml.text()?;
        match name.as_str() {
            "ID" if id.is_none() => id = Some(text.trim().to_owned()),
            "DisplayName" => {}
            _ => return Err(malformed()),
        }
    }
    id.ok_or_else(malformed)
}

fn read_list(xml: &mut xml::Reader<'_>) -> Result<AccessList, Fault> {
    let mut list = AccessList(Vec::new());
    while let Some(name) = xml.child()? {
        if name != "Grant" {
            return Err(malformed());
        }
        let (mut grantee, mut permission) = (None, None);
        while let Some(name) = xml.child()? {
            match name.as_str() {
                "Grantee" if grantee.is_none() => grantee = Some(read_grantee(xml)?),
                "Permission" if permission.is_none() => {
                    let text = xml.text()?;
                    let mut known = PERMISSIONS.iter();
                    let found = known.find(|(name, _)| *name == text.trim());
                    permission = Some(found.ok_or_else(malformed)?.1);
                }
                _ => return Err(malformed()),
            }
        }
        let (Some(grantee), Some(permission)) = (grantee, permission) else {
            return Err(malformed());
        };
        list.push(to(grantee, permission))?;
    }
    Ok(list)
}

fn read_grantee(xml: &mut xml::Reader<'_>) -> Result<Grantee, Fault> {
    let mut grantee = None;
    while let Some(name) = xml.child()? {
        let text = xml.text()?;
        let text = text.trim();
        let found = match name.as_str() {
            "ID" => account_by_id(text)?,
            "URI" => group_by_uri(text)?,
            "EmailAddress" => return Err(by_email()),
            "DisplayName" => continue,
            _ => return Err(malformed()),
        };
        if grantee.replace(found).is_some() {
            return Err(malformed());
        }
    }
    grantee.ok_or_else(malformed)
}

/// The document of a list.
pub fn write(owner: u64, list: &AccessList) -> xml::Writer {
    let mut xml = xml::Writer::new(ROOT);
    xml.open("Owner");
    xml.value("ID", format_args!("{owner:064x}"));
    xml.close("Owner");
    xml.open("AccessControlList");
    for grant in &list.0 {
        xml.open("Grant");
        let group = GROUPS.iter().find(|(_, group)| *group == grant.grantee);
        let kind = match group {
            Some(_) => "Group",
            None => "CanonicalUser",
        };
        xml.open(&format!("Grantee xmlns:xsi=\"{XSI}\" xsi:type=\"{kind}\""));
        match (group, grant.grantee) {
            (Some((uri, _)), _) => xml.element("URI", uri),
            (None, Grantee::Account(account)) => xml.value("ID", format_args!("{account:064x}")),
            (None, _) => {}
        }
        xml.close("Grantee");
        let mut permissions = PERMISSIONS.iter();
        let found = permissions.find(|(_, permission)| *permission == grant.permission);
        xml.optional("Permission", found.map(|(name, _)| *name));
        xml.close("Grant");
    }
    xml.close("AccessControlList");
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let grantees = [
            Grantee::Account(7),
            Grantee::AllUsers,
            Grantee::AuthenticatedUsers,
            Grantee::LogDelivery,
        ];
        let grants = grantees.into_iter().flat_map(|grantee| {
            let grants = PERMISSIONS.iter();
            grants.map(move |(_, permission)| to(grantee, *permission))
        });
        for list in [AccessList(Vec::new()), AccessList(grants.collect())] {
            let written = write(9, &list).finish();
            let owner = format!("{:064x}", 9);
            assert_eq!(read(&written).unwrap(), Document { owner, list });
        }
        let written = write(1, &AccessList::private(1)).finish();
        let text = String::from_utf8(written.to_vec()).unwrap();
        let id = format!("<ID>{:064x}</ID>", 1);
        let expected = format!(
            "<Owner>{id}</Owner><AccessControlList><Grant><Grantee xmlns:xsi=\"{XSI}\" xsi:type=\"CanonicalUser\">{id}</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
        );
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let id = format!("<ID>{:064x}</ID>", 1);
        let owner = format!("<Owner>{id}<DisplayName>a</DisplayName></Owner>");
        let document = |inside: &str| format!("<{ROOT}>{inside}</{ROOT}>");
        let of = |grants: &str| {
            document(&format!(
                "{owner}<AccessControlList>{grants}</AccessControlList>"
            ))
        };
        let grant = |grantee: &str, permission: &str| {
            of(&format!(
                "<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>"
            ))
        };
        assert!(read(grant(&id, "READ").as_bytes()).is_ok());
        let one = format!("<Grant><Grantee>{id}</Grantee><Permission>READ</Permission></Grant>");
        for (wrong, code) in [
            (String::new(), Code::MalformedACLError),
            (document(""), Code::MalformedACLError),
            (document(&owner), Code::MalformedACLError),
            (document("<AccessControlList/>"), Code::MalformedACLError),
            (
                document("<Owner/><AccessControlList/>"),
                Code::MalformedACLError,
            ),
            (grant(&id, "read"), Code::MalformedACLError),
            (grant(&id, "ALL"), Code::MalformedACLError),
            (grant("", "READ"), Code::MalformedACLError),
            (grant(&id.repeat(2), "READ"), Code::MalformedACLError),
            (of("<Grant/>"), Code::MalformedACLError),
            (of("<Other/>"), Code::MalformedACLError),
            (of(&one.repeat(101)), Code::MalformedACLError),
            (grant("<ID>1</ID>", "READ"), Code::InvalidArgument),
            (grant("<URI>http://a</URI>", "READ"), Code::InvalidArgument),
            (
                grant("<EmailAddress>a@example.com</EmailAddress>", "READ"),
                Code::UnresolvableGrantByEmailAddress,
            ),
        ] {
            let refused = read(wrong.as_bytes()).unwrap_err();
            assert_eq!(refused.code, code, "{wrong}");
        }
        assert_eq!(
            read(of(&one.repeat(100)).as_bytes()).unwrap().list.0.len(),
            100
        );
    }
}
