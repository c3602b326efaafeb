//! The Object Lock of a bucket: `PutObjectLockConfiguration`, `GetObjectLockConfiguration`.
//!
//! The rules are those of AWS: API reference of the two operations, user guide, "Configuring S3 Object Lock".

use strata_net::ClusterError;
use strata_raftlog::namespace::command::{Refusal, SetBucketLock};
use strata_raftlog::namespace::{
    BucketLock, DefaultRetention, RETENTION_DAYS_MAX, RETENTION_YEARS_MAX, RetentionPeriod,
};

use super::object_lock::{mode_name, mode_of};
use super::{Shared, buckets};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// `PutObjectLockConfiguration`: gives a bucket Object Lock for good, and says which retention objects get that come without one.
///
/// # Errors
/// `MalformedXML`, `InvalidRetentionPeriod`, `InvalidBucketState` where the bucket keeps no versions, and as every handler.
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let default = read(&request.xml)?;
    let bucket = buckets::find(shared, request)?.inode;
    match shared
        .cluster
        .submit(SetBucketLock { bucket, default })
        .await
    {
        Ok(_) => Ok(Response::ok()),
        Err(ClusterError::Refused(Refusal::InvalidBucketState)) => Err(Fault::new(
            Code::InvalidBucketState,
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
        )),
        Err(error) => Err(error.into()),
    }
}

/// `GetObjectLockConfiguration`.
///
/// # Errors
/// `ObjectLockConfigurationNotFoundError`, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    match bucket.lock {
        Some(lock) => Ok(Response::xml(document(lock))),
        None => {
            let fault = Fault::from(Code::ObjectLockConfigurationNotFoundError);
            Err(fault.detail("BucketName", &bucket.name))
        }
    }
}

fn document(lock: BucketLock) -> xml::Writer {
    let mut xml = xml::Writer::new("ObjectLockConfiguration");
    xml.element("ObjectLockEnabled", "Enabled");
    if let Some(default) = lock.default {
        xml.open("Rule");
        xml.open("DefaultRetention");
        xml.element("Mode", mode_name(default.mode));
        match default.period {
            RetentionPeriod::Days(days) => xml.value("Days", days),
            RetentionPeriod::Years(years) => xml.value("Years", years),
        }
        xml.close("DefaultRetention");
        xml.close("Rule");
    }
    xml
}

fn read(xml: &[u8]) -> Result<Option<DefaultRetention>, Fault> {
    let mut xml = xml::Reader::open(xml, "ObjectLockConfiguration")?;
    let (mut is_enabled, mut default) = (false, None);
    while let Some(name) = xml.child()? {
        match name.as_str() {
            "ObjectLockEnabled" if !is_enabled && xml.text()?.trim() == "Enabled" => {
                is_enabled = true
            }
            "Rule" if default.is_none() => default = Some(read_rule(&mut xml)?),
            _ => return Err(Code::MalformedXML.into()),
        }
    }
    xml.end()?;
    match is_enabled {
        true => Ok(default),
        false => Err(Code::MalformedXML.into()),
    }
}

fn read_rule(xml: &mut xml::Reader<'_>) -> Result<DefaultRetention, Fault> {
    let mut default = None;
    while let Some(name) = xml.child()? {
        if name != "DefaultRetention" || default.is_some() {
            return Err(Code::MalformedXML.into());
        }
        default = Some(read_default(xml)?);
    }
    default.ok_or_else(|| Code::MalformedXML.into())
}

fn read_default(xml: &mut xml::Reader<'_>) -> Result<DefaultRetention, Fault> {
    let (mut mode, mut days, mut years) = (None, None, None);
    while let Some(name) = xml.child()? {
        match name.as_str() {
            "Mode" if mode.is_none() => mode = Some(xml.text()?),
            "Days" if days.is_none() => days = Some(xml.value::<i64>()?),
            "Years" if years.is_none() => years = Some(xml.value::<i64>()?),
            // An element that is there twice says two things.
            _ => return Err(Code::MalformedXML.into()),
        }
    }
    let mode = mode.and_then(|mode| mode_of(mode.trim()));
    let mode = mode.ok_or_else(|| Fault::from(Code::MalformedXML))?;
    let period = match (days, years) {
        (Some(days), None) => RetentionPeriod::Days(period(days, RETENTION_DAYS_MAX, "days")?),
        (None, Some(years)) => RetentionPeriod::Years(period(years, RETENTION_YEARS_MAX, "years")?),
        // Exactly one of the two.
        _ => return Err(Code::MalformedXML.into()),
    };
    Ok(DefaultRetention { mode, period })
}

fn period(count: i64, max: u32, unit: &str) -> Result<u32, Fault> {
    match u32::try_from(count) {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ if count <= 0 => Err(Code::InvalidRetentionPeriod.into()),
        _ => Err(Fault::new(
            Code::InvalidRetentionPeriod,
            format!("Default retention period must be at most {max} {unit}."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use strata_raftlog::namespace::RetentionMode;

    use super::*;

    fn configuration(inside: &str) -> Result<Option<DefaultRetention>, Code> {
        let xml = format!("<ObjectLockConfiguration>{inside}</ObjectLockConfiguration>");
        read(xml.as_bytes()).map_err(|fault| fault.code)
    }

    fn rule(inside: &str) -> Result<Option<DefaultRetention>, Code> {
        configuration(&format!(
            "<ObjectLockEnabled>Enabled</ObjectLockEnabled>\
             <Rule><DefaultRetention>{inside}</DefaultRetention></Rule>"
        ))
    }

    #[test]
    fn a_configuration_is_read_as_it_is_written() {
        for period in [RetentionPeriod::Days(36_500), RetentionPeriod::Years(1)] {
            let mode = RetentionMode::Compliance;
            let default = Some(DefaultRetention { mode, period });
            let written = document(BucketLock { default }).finish();
            assert_eq!(read(&written).unwrap(), default);
        }
        let written = document(BucketLock::default()).finish();
        assert_eq!(read(&written).unwrap(), None);
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for inside in [
            "",
            "<ObjectLockEnabled>Disabled</ObjectLockEnabled>",
            "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule/>",
            "<ObjectLockEnabled>Enabled</ObjectLockEnabled><ObjectLockEnabled>Enabled</ObjectLockEnabled>",
            "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>",
            "<Other/>",
        ] {
            assert_eq!(configuration(inside), Err(Code::MalformedXML), "{inside}");
        }
        for inside in [
            "<Days>1</Days>",
            "<Mode>GOVERNANCE</Mode>",
            "<Mode>abc</Mode><Days>1</Days>",
            "<Mode>governance</Mode><Days>1</Days>",
            "<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>",
            "<Mode>GOVERNANCE</Mode><Days>one</Days>",
            "<Mode>abc</Mode><Mode>GOVERNANCE</Mode><Days>1</Days>",
            "<Mode>COMPLIANCE</Mode><Mode>GOVERNANCE</Mode><Days>1</Days>",
            "<Mode>GOVERNANCE</Mode><Days>3650</Days><Days>1</Days>",
        ] {
            assert_eq!(rule(inside), Err(Code::MalformedXML), "{inside}");
        }
        for period in [
            "<Days>0</Days>",
            "<Years>-1</Years>",
            "<Days>36501</Days>",
            "<Years>101</Years>",
        ] {
            let inside = format!("<Mode>GOVERNANCE</Mode>{period}");
            assert_eq!(rule(&inside), Err(Code::InvalidRetentionPeriod), "{period}");
        }
    }
}
