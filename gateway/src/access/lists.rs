//! What access lists grant, and whose an object is where they count.
//!
//! Invariants: lists count only in a bucket whose ownership lets them, so that nothing is looked up for any other; what is granted is granted to an account, and a user of it
//! needs leave by a policy of its own too; an object of another account is judged by its owner and its list, and the policy of the bucket can only deny; public
//! grants count for nobody where they are ignored.
//!
//! Sources: AWS's user guide of S3, "Access control list (ACL) overview" (the mapping of permissions), "How Amazon S3 authorizes a request", "Controlling ownership of
//! objects and disabling ACLs for your bucket".

use strata_raftlog::namespace::{Bucket, Object, Permission};

use super::bucket_rules::BucketRules;
use super::needs::Need;
use crate::access_list::AccessList;
use crate::error::Fault;
use crate::operation::Operation;
use crate::s3::multipart::parse_upload_id;
use crate::s3::{Shared, versions};

/// The list that decides, and what it has to grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// The bucket's.
    Bucket(Permission),
    /// The bucket's, for an object that belongs to the one who asks, or for none.
    Own(Permission),
    /// The object's.
    Object(Permission),
}

/// What an action asks of lists; `None` where they grant it to nobody.
fn asks(action: &str, operation: &Operation) -> Option<Asks> {
    Some(match action {
        "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads" => {
            Asks::Bucket(Permission::Read)
        }
        // What is there is put over and deleted by the owner of the bucket or its own.
        "s3:PutObject" | "s3:DeleteObject" => Asks::Own(Permission::Write),
        "s3:GetBucketAcl" => Asks::Bucket(Permission::ReadAcp),
        "s3:PutBucketAcl" => Asks::Bucket(Permission::WriteAcp),
        "s3:GetObject" | "s3:GetObjectVersion" => Asks::Object(Permission::Read),
        "s3:GetObjectAcl" | "s3:GetObjectVersionAcl" => Asks::Object(Permission::ReadAcp),
        // Of an object that is put it is its first list.
        "s3:PutObjectAcl" if operation.stores_headers => Asks::Own(Permission::Write),
        "s3:PutObjectAcl" | "s3:PutObjectVersionAcl" => Asks::Object(Permission::WriteAcp),
        _ => return None,
    })
}

/// What lists say of something that leave is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The account that owns it.
    pub owner_account: u64,
    /// Whether a list grants it to the account of the one who asks.
    pub is_granted: bool,
}

/// What is known of a bucket whose lists count.
pub struct Lists<'a> {
    /// What the reactor serves from.
    pub shared: &'a Shared,
    /// The bucket.
    pub bucket: &'a Bucket,
    /// What it says.
    pub rules: &'a BucketRules,
    /// The account of the one who asks; `None` for one that signs nothing.
    pub account: Option<u64>,
    /// The id of the upload that the request names.
    pub upload: Option<&'a str>,
}

impl Lists<'_> {
    /// What lists say of a need. An object that is not there is granted to whoever may list the bucket, who is then told so.
    ///
    /// # Errors
    /// Those of the namespace.
    pub fn say(&self, need: Need<'_>, operation: &Operation) -> Result<Granted, Fault> {
        let of_bucket = |is_granted| Granted {
            owner_account: self.bucket.owner,
            is_granted,
        };
        let by_bucket = |permission| match &self.rules.access_list {
            Some(list) => self.grants(list, permission),
            None => self.account == Some(self.bucket.owner),
        };
        match asks(need.action, operation) {
            None => Ok(of_bucket(false)),
            Some(Asks::Bucket(permission)) => Ok(of_bucket(by_bucket(permission))),
            Some(Asks::Own(permission)) => {
                let is_granted = by_bucket(permission)
                    && self
                        .object(need)?
                        .is_none_or(|(object, _)| Some(object.owner) == self.account)
                    && self.is_own_upload(need)?;
                Ok(of_bucket(is_granted))
            }
            Some(Asks::Object(permission)) => Ok(match self.object(need)? {
                None => of_bucket(by_bucket(Permission::Read)),
                Some((object, list)) => Granted {
                    owner_account: object.owner,
                    is_granted: match list {
                        Some(list) => self.grants(&list, permission),
                        None => self.account == Some(object.owner),
                    },
                },
            }),
        }
    }

    /// Whether the upload that the request names is of the account of the one who asks, if it is there: what is made of it will belong to whoever has begun it.
    fn is_own_upload(&self, need: Need<'_>) -> Result<bool, Fault> {
        let (Some(upload), Some(key)) = (self.upload, need.key) else {
            return Ok(true);
        };
        let Ok(upload) = parse_upload_id(upload) else {
            return Ok(true);
        };
        let bucket = self.bucket.inode;
        let found = self
            .shared
            .cluster
            .read(|view| view.upload(bucket, key.as_bytes(), upload))?;
        Ok(found.is_none_or(|upload| Some(upload.owner) == self.account))
    }

    /// Whether the bucket's list grants writing, so that some key may be deleted by it.
    pub fn may_write(&self) -> bool {
        let list = self.rules.access_list.as_ref();
        list.is_some_and(|list| self.grants(list, Permission::Write))
    }

    fn grants(&self, list: &AccessList, permission: Permission) -> bool {
        let ignores_public = self.rules.block.ignore_public_acls;
        list.grants(self.account, permission, ignores_public)
    }

    /// The object that a need is about, with its list.
    fn object(&self, need: Need<'_>) -> Result<Option<(Object, Option<AccessList>)>, Fault> {
        let Some(key) = need.key else {
            return Ok(None);
        };
        let Ok(version) = need.version.map(versions::parse).transpose() else {
            return Ok(None);
        };
        let found = self.shared.cluster.read(|view| {
            let found = versions::find(view, self.bucket, key.as_bytes(), version)?;
            let Ok(object) = found else {
                return Ok(None);
            };
            let list = view.object_access_list(&object)?;
            Ok(Some((object, list.map(AccessList))))
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Id, OPERATIONS};

    /// The table of AWS's user guide, "Mapping of ACL permissions and access policy permissions".
    #[test]
    fn permissions_are_those_of_actions() {
        let operation = |id| OPERATIONS.iter().find(|row| row.id == id).unwrap();
        let get = operation(Id::GetObject);
        for (action, expected) in [
            ("s3:ListBucket", Asks::Bucket(Permission::Read)),
            ("s3:ListBucketVersions", Asks::Bucket(Permission::Read)),
            (
                "s3:ListBucketMultipartUploads",
                Asks::Bucket(Permission::Read),
            ),
            ("s3:PutObject", Asks::Own(Permission::Write)),
            ("s3:DeleteObject", Asks::Own(Permission::Write)),
            ("s3:GetBucketAcl", Asks::Bucket(Permission::ReadAcp)),
            ("s3:PutBucketAcl", Asks::Bucket(Permission::WriteAcp)),
            ("s3:GetObject", Asks::Object(Permission::Read)),
            ("s3:GetObjectVersion", Asks::Object(Permission::Read)),
            ("s3:GetObjectAcl", Asks::Object(Permission::ReadAcp)),
            ("s3:GetObjectVersionAcl", Asks::Object(Permission::ReadAcp)),
            ("s3:PutObjectAcl", Asks::Object(Permission::WriteAcp)),
            ("s3:PutObjectVersionAcl", Asks::Object(Permission::WriteAcp)),
        ] {
            assert_eq!(asks(action, get), Some(expected), "{action}");
        }
        let put = asks("s3:PutObjectAcl", operation(Id::PutObject));
        assert_eq!(put, Some(Asks::Own(Permission::Write)));
        for row in OPERATIONS {
            let is_of_lists = matches!(
                row.action,
                "s3:ListBucket"
                    | "s3:ListBucketVersions"
                    | "s3:ListBucketMultipartUploads"
                    | "s3:PutObject"
                    | "s3:DeleteObject"
                    | "s3:GetBucketAcl"
                    | "s3:PutBucketAcl"
                    | "s3:GetObject"
                    | "s3:GetObjectAcl"
                    | "s3:PutObjectAcl"
            );
            assert_eq!(asks(row.action, row).is_some(), is_of_lists, "{}", row.name);
        }
        assert_eq!(asks("s3:DeleteObjectVersion", get), None);
    }
}
