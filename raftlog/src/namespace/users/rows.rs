//! Payloads of the `S` rows of users, groups, access keys and policies.

use super::{
    AccessKey, AccessKeySecret, Group, InlinePolicy, ManagedPolicy, ManagedPolicyName,
    PolicySource, User,
};
use crate::namespace::value::{Damage, FieldWriter, Fields, Row};

pub(in crate::namespace) fn write_list<T>(
    fields: &mut FieldWriter,
    list: &[T],
    write: impl Fn(&mut FieldWriter, &T),
) {
    assert!(list.len() <= usize::from(u16::MAX), "lists here are short");
    fields.u16(list.len() as u16);
    for item in list {
        write(fields, item);
    }
}

pub(in crate::namespace) fn read_list<T>(
    fields: &mut Fields<'_>,
    read: impl Fn(&mut Fields<'_>) -> Result<T, Damage>,
) -> Result<Vec<T>, Damage> {
    let count = fields.u16()?;
    (0..count).map(|_| read(fields)).collect()
}

pub(in crate::namespace) fn write_text(fields: &mut FieldWriter, text: &String) {
    fields.bytes(text.as_bytes());
}

pub(in crate::namespace) fn read_text(fields: &mut Fields<'_>) -> Result<String, Damage> {
    fields.string()
}

pub(super) fn write_policy_name(fields: &mut FieldWriter, policy: &ManagedPolicyName) {
    fields.u8(match policy.source {
        PolicySource::State => 1,
        PolicySource::BuiltIn => 2,
    });
    write_text(fields, &policy.name);
}

pub(super) fn read_policy_name(fields: &mut Fields<'_>) -> Result<ManagedPolicyName, Damage> {
    let source = match fields.u8()? {
        1 => PolicySource::State,
        2 => PolicySource::BuiltIn,
        _ => return Err(Damage("unknown source of a policy")),
    };
    Ok(ManagedPolicyName {
        source,
        name: fields.string()?,
    })
}

impl Row for User {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.account);
        fields.i64(self.created_nanos);
        for text in [&self.name, &self.id, &self.path] {
            write_text(fields, text);
        }
        write_list(fields, &self.groups, write_text);
        write_list(fields, &self.access_key_ids, write_text);
        write_list(fields, &self.attached, write_policy_name);
        write_list(fields, self.boundary.as_slice(), write_policy_name);
    }

    fn read(fields: &mut Fields<'_>) -> Result<User, Damage> {
        let (account, created_nanos) = (fields.u64()?, fields.i64()?);
        let (name, id, path) = (fields.string()?, fields.string()?, fields.string()?);
        let groups = read_list(fields, read_text)?;
        let access_key_ids = read_list(fields, read_text)?;
        let attached = read_list(fields, read_policy_name)?;
        let mut boundary = read_list(fields, read_policy_name)?;
        if boundary.len() > 1 {
            return Err(Damage("a user with more than one boundary"));
        }
        Ok(User {
            name,
            id,
            path,
            account,
            created_nanos,
            groups,
            access_key_ids,
            attached,
            boundary: boundary.pop(),
        })
    }
}

impl Row for Group {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.account);
        fields.i64(self.created_nanos);
        fields.u32(self.members);
        for text in [&self.name, &self.id, &self.path] {
            write_text(fields, text);
        }
        write_list(fields, &self.attached, write_policy_name);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Group, Damage> {
        let (account, created_nanos) = (fields.u64()?, fields.i64()?);
        let members = fields.u32()?;
        Ok(Group {
            name: fields.string()?,
            id: fields.string()?,
            path: fields.string()?,
            account,
            created_nanos,
            members,
            attached: read_list(fields, read_policy_name)?,
        })
    }
}

impl Row for AccessKey {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.account);
        fields.i64(self.created_nanos);
        fields.u8(u8::from(self.active));
        fields.zeros(3);
        for text in [&self.id, &self.secret.0, &self.user] {
            write_text(fields, text);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<AccessKey, Damage> {
        let (account, created_nanos) = (fields.u64()?, fields.i64()?);
        let active = match fields.u8()? {
            0 => false,
            1 => true,
            _ => {
                return Err(Damage(
                    "a mark of an active access key that is neither 0 nor 1",
                ));
            }
        };
        fields.zeros(3)?;
        Ok(AccessKey {
            id: fields.string()?,
            secret: AccessKeySecret(fields.string()?),
            account,
            user: fields.string()?,
            active,
            created_nanos,
        })
    }
}

impl Row for ManagedPolicy {
    fn write(&self, fields: &mut FieldWriter) {
        fields.i64(self.created_nanos);
        fields.i64(self.changed_nanos);
        fields.u32(self.uses);
        for text in [&self.name, &self.id, &self.document] {
            write_text(fields, text);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<ManagedPolicy, Damage> {
        let (created_nanos, changed_nanos) = (fields.i64()?, fields.i64()?);
        let uses = fields.u32()?;
        Ok(ManagedPolicy {
            name: fields.string()?,
            id: fields.string()?,
            created_nanos,
            changed_nanos,
            uses,
            document: fields.string()?,
        })
    }
}

impl Row for InlinePolicy {
    fn write(&self, fields: &mut FieldWriter) {
        write_text(fields, &self.name);
        write_text(fields, &self.document);
    }

    fn read(fields: &mut Fields<'_>) -> Result<InlinePolicy, Damage> {
        Ok(InlinePolicy {
            name: fields.string()?,
            document: fields.string()?,
        })
    }
}
