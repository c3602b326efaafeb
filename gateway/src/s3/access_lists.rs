//! Access lists of buckets and objects: `PutBucketAcl`, `GetBucketAcl`, `PutObjectAcl`, `GetObjectAcl`, and the lists that come with what is put.
//!
//! Invariants: a list is set only where lists count, names accounts that exist, and is not public where such lists are blocked; where the owner of a bucket owns all that
//! is in it, a list that grants anybody else something is refused; a list that says what is so anyway is not stored.
//!
//! Sources: AWS's API references of the four operations; user guide of S3, "Controlling ownership of objects and disabling ACLs for your bucket" and "Blocking public
//! access to your Amazon S3 storage".

use strata_raftlog::namespace::command::{NewSetting, SetBucketSetting, SetObjectAccessList};
use strata_raftlog::namespace::{Bucket, Grant, setting};

use super::ownership::{self, Ownership};
use super::{ROOT_ACCOUNT, Shared, buckets, object_tagging, versions};
use crate::access::Access;
use crate::access::bucket_rules::BucketRules;
use crate::access::needs::Need;
use crate::access_list::{
    AccessList, CANNED, CANNED_BUCKET_OWNER_FULL_CONTROL, ListOf, Owners, document, unknown_id,
};
use crate::error::{Code, Fault};
use crate::operation::Id;
use crate::request::Request;
use crate::response::Response;

/// Who owns an object that is put, and its list where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccess {
    /// The account.
    pub owner: u64,
    /// The list; `None` for the one that grants its owner everything and others nothing.
    pub list: Option<Vec<Grant>>,
}

/// What the headers of a request give an object that it puts. What an anonymous one puts is the bucket owner's.
///
/// # Errors
/// Those of [`check`].
pub fn of_new_object(
    shared: &Shared,
    request: &Request,
    bucket: &Bucket,
) -> Result<NewAccess, Fault> {
    let rules = shared.rules.of(&shared.cluster, bucket)?;
    let of_bucket = NewAccess {
        owner: bucket.owner,
        list: None,
    };
    if !rules.has_lists() {
        return Ok(of_bucket);
    }
    let canned = request.header(CANNED);
    let is_given = rules.ownership == Some(Ownership::BucketOwnerPreferred)
        && canned.is_some_and(|name| name.eq_ignore_ascii_case(CANNED_BUCKET_OWNER_FULL_CONTROL));
    if is_given {
        return Ok(of_bucket);
    }
    let account = request.asker.identity.principal.account();
    let owner = account.unwrap_or(bucket.owner);
    let owners = Owners {
        own: owner,
        of_bucket: bucket.owner,
    };
    let list = AccessList::of_headers(&request.headers, ListOf::Object, owners)?;
    Ok(NewAccess {
        owner,
        list: stored(list, owner),
    })
}

/// The grants of a list, where they are not those that are so without one.
fn stored(list: Option<AccessList>, owner: u64) -> Option<Vec<Grant>> {
    let list = list.filter(|list| !list.is_private(owner));
    list.map(|list| list.0)
}

/// The settings that a bucket is made with: its ownership and its list, each where it is not what is so without it.
///
/// # Errors
/// Those of [`check`].
pub fn of_new_bucket(shared: &Shared, request: &Request) -> Result<Vec<NewSetting>, Fault> {
    let ownership = ownership::of_new_bucket(shared, request)?;
    let owner = request.asker.account();
    let mut settings = Vec::new();
    if ownership != Ownership::NEW {
        settings.push(NewSetting {
            setting: setting::OWNERSHIP,
            document: ownership::document(Some(ownership)).finish().to_vec(),
        });
    }
    let list = of_bucket_headers(request, owner)?.filter(|list| !list.is_private(owner));
    if let Some(list) = list
        && ownership != Ownership::BucketOwnerEnforced
    {
        settings.push(NewSetting {
            setting: setting::ACCESS_LIST,
            document: document::write(owner, &list).finish().to_vec(),
        });
    }
    Ok(settings)
}

fn of_bucket_headers(request: &Request, owner: u64) -> Result<Option<AccessList>, Fault> {
    let owners = Owners {
        own: owner,
        of_bucket: owner,
    };
    AccessList::of_headers(&request.headers, ListOf::Bucket, owners)
}

/// Sets the list of a bucket that its owner makes again where AWS allows it, to what the request says: API reference of CreateBucket.
///
/// # Errors
/// Those of [`check`], and of the namespace.
pub async fn reset(shared: &Shared, request: &Request) -> Result<(), Fault> {
    let bucket = buckets::find(shared, request)?;
    let rules = shared.rules.of(&shared.cluster, &bucket)?;
    let list = of_bucket_headers(request, bucket.owner)?;
    let list = list.unwrap_or_else(|| AccessList::private(bucket.owner));
    if !rules.has_lists() {
        return match list.names_others(bucket.owner) {
            true => Err(Code::InvalidBucketAclWithObjectOwnership.into()),
            false => Ok(()),
        };
    }
    check_list(shared, &rules, &list)?;
    if rules.access_list.is_none() && list.is_private(bucket.owner) {
        return Ok(());
    }
    // That a bucket may be made says nothing of one that is there.
    Access::of(shared, request, Some(&bucket))?.check(Need {
        action: "s3:PutBucketAcl",
        bucket: Some(&bucket.name),
        key: None,
        version: None,
    })?;
    set_of_bucket(shared, &bucket, &list).await
}

/// Checks the list that comes in the headers of a request, before its body is read.
///
/// # Errors
/// `AccessControlListNotSupported` where the bucket has no lists and `InvalidBucketAclWithObjectOwnership` where a new one would have none;
/// `AccessDenied` where public lists are blocked; `InvalidArgument` for a list or a grantee that does not exist; what
/// [`AccessList::of_headers`] says.
pub fn check(shared: &Shared, request: &Request) -> Result<(), Fault> {
    let id = request.operation.id;
    if !request.operation.takes_access_list() {
        return Ok(());
    }
    // The list may stand in the body.
    if matches!(id, Id::PutBucketAcl | Id::PutObjectAcl) {
        return Ok(());
    }
    let is_named = |name: &&str| request.headers.contains_key(*name);
    if !std::iter::once(&CANNED)
        .chain(crate::access_list::GRANTS)
        .any(is_named)
    {
        return Ok(());
    }
    match id {
        Id::CreateBucket => check_of_new_bucket(shared, request),
        _ => check_of_new_object(shared, request),
    }
}

fn check_of_new_bucket(shared: &Shared, request: &Request) -> Result<(), Fault> {
    let owner = request.asker.account();
    let Some(list) = of_bucket_headers(request, owner)? else {
        return Ok(());
    };
    let ownership = ownership::of_new_bucket(shared, request)?;
    if ownership == Ownership::BucketOwnerEnforced && list.names_others(owner) {
        return Err(Code::InvalidBucketAclWithObjectOwnership.into());
    }
    check_accounts(shared, &list)
}

fn check_of_new_object(shared: &Shared, request: &Request) -> Result<(), Fault> {
    let bucket = buckets::find(shared, request)?;
    let rules = shared.rules.of(&shared.cluster, &bucket)?;
    if rules.has_lists() {
        let access = of_new_object(shared, request, &bucket)?;
        let list = access.list.map(AccessList);
        return list.map_or(Ok(()), |list| check_list(shared, &rules, &list));
    }
    let owners = Owners {
        own: bucket.owner,
        of_bucket: bucket.owner,
    };
    match AccessList::of_headers(&request.headers, ListOf::Object, owners) {
        Ok(list)
            if list
                .as_ref()
                .is_none_or(|list| !list.names_others(bucket.owner)) =>
        {
            Ok(())
        }
        Err(fault) if request.headers.contains_key(CANNED) => Err(fault),
        // Whom a grant is to makes no difference.
        _ => Err(Code::AccessControlListNotSupported.into()),
    }
}

/// Whether a list may be set in a bucket.
fn check_list(shared: &Shared, rules: &BucketRules, list: &AccessList) -> Result<(), Fault> {
    if rules.block.block_public_acls && list.is_public() {
        let message = "Public access control lists are prevented by the BlockPublicAcls setting in S3 Block Public Access.";
        return Err(Fault::new(Code::AccessDenied, message));
    }
    check_accounts(shared, list)
}

/// Whether all accounts that a list names exist.
fn check_accounts(shared: &Shared, list: &AccessList) -> Result<(), Fault> {
    let missing = shared.cluster.read(|view| {
        for account in list.accounts() {
            if account != ROOT_ACCOUNT && view.account(account)?.is_none() {
                return Ok(Some(account));
            }
        }
        Ok(None)
    })?;
    match missing {
        Some(account) => Err(unknown_id(&format!("{account:064x}"))),
        None => Ok(()),
    }
}

/// The list that a request sets, in its headers or in its body.
fn asked(request: &Request, of: ListOf, owners: Owners) -> Result<AccessList, Fault> {
    match AccessList::of_headers(&request.headers, of, owners)? {
        Some(_) if !request.xml.is_empty() => Err(Code::UnexpectedContent.into()),
        Some(list) => Ok(list),
        None if request.xml.is_empty() => {
            Err(Fault::from(Code::MissingSecurityHeader).detail("MissingHeaderName", CANNED))
        }
        None => {
            let found = document::read(&request.xml)?;
            // The owner stays who it is.
            match found.owner == format!("{:064x}", owners.own) {
                true => Ok(found.list),
                false => Err(Code::AccessDenied.into()),
            }
        }
    }
}

/// `PutBucketAcl`: replaces the list.
///
/// # Errors
/// Those of [`check`]; `MalformedACLError`, `UnexpectedContent` for a list in headers and in the body, `MissingSecurityHeader` for none; and as every handler.
pub async fn put_of_bucket(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let owners = Owners {
        own: bucket.owner,
        of_bucket: bucket.owner,
    };
    let rules = shared.rules.of(&shared.cluster, &bucket)?;
    if !rules.has_lists() {
        return without_lists(request, ListOf::Bucket, owners);
    }
    let list = asked(request, ListOf::Bucket, owners)?;
    check_list(shared, &rules, &list)?;
    set_of_bucket(shared, &bucket, &list).await?;
    Ok(Response::ok())
}

/// The answer where lists do not count: one that says what is so anyway is taken, as s3cmd sets the list of its source on every copy, and any other refused (user guide of
/// S3, "Controlling ownership of objects and disabling ACLs for your bucket").
fn without_lists(request: &Request, of: ListOf, owners: Owners) -> Result<Response, Fault> {
    match asked(request, of, owners) {
        Ok(list) if list.is_private(owners.of_bucket) => Ok(Response::ok()),
        _ => Err(Code::AccessControlListNotSupported.into()),
    }
}

async fn set_of_bucket(shared: &Shared, bucket: &Bucket, list: &AccessList) -> Result<(), Fault> {
    let document = document::write(bucket.owner, list).finish().to_vec();
    let command = SetBucketSetting {
        bucket: bucket.inode,
        setting: setting::ACCESS_LIST,
        document: Some(document).filter(|_| !list.is_private(bucket.owner)),
    };
    shared.cluster.submit(command).await?;
    Ok(())
}

/// `GetBucketAcl`: where lists do not count, that of a bucket whose owner may do everything.
///
/// # Errors
/// As every handler.
pub async fn get_of_bucket(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let rules = shared.rules.of(&shared.cluster, &bucket)?;
    let list = rules.access_list.as_ref().filter(|_| rules.has_lists());
    let private = || AccessList::private(bucket.owner);
    let list = list.cloned().unwrap_or_else(private);
    Ok(Response::xml(document::write(bucket.owner, &list)))
}

/// `PutObjectAcl`: replaces the list of an object, or of a version that is named.
///
/// # Errors
/// As [`put_of_bucket`]; `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed` for a delete marker.
pub async fn put_of_object(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let version = versions::asked(request)?;
    let object = shared
        .cluster
        .read(|view| object_tagging::find(view, &bucket, key, version))??;
    let rules = shared.rules.of(&shared.cluster, &bucket)?;
    let owners = |own| Owners {
        own,
        of_bucket: bucket.owner,
    };
    if !rules.has_lists() {
        return without_lists(request, ListOf::Object, owners(bucket.owner));
    }
    let list = asked(request, ListOf::Object, owners(object.owner))?;
    check_list(shared, &rules, &list)?;
    let command = SetObjectAccessList {
        bucket: bucket.inode,
        key: key.to_vec(),
        version: object.version,
        inode: object.inode,
        access_list: stored(Some(list), object.owner),
    };
    shared.cluster.submit(command).await?;
    Ok(Response::ok())
}

/// `GetObjectAcl`: where lists do not count, that of an object whose owner, the bucket's, may do everything.
///
/// # Errors
/// `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed` for a delete marker, and as every handler.
pub async fn get_of_object(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let asked = versions::asked(request)?;
    let rules = shared.rules.of(&shared.cluster, &bucket)?;
    let (object, list) = shared.cluster.read(|view| {
        Ok(match object_tagging::find(view, &bucket, key, asked)? {
            Ok(object) => {
                let list = view.object_access_list(&object)?;
                Ok((object, list))
            }
            Err(fault) => Err(fault),
        })
    })??;
    let (owner, list) = match rules.has_lists() {
        true => (object.owner, list.map(AccessList)),
        false => (bucket.owner, None),
    };
    let list = list.unwrap_or_else(|| AccessList::private(owner));
    Ok(Response::xml(document::write(owner, &list)))
}
