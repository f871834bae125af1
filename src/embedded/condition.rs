//! The conditions of a request against the object that is there. Pure.

use chrono::{DateTime, SubsecRound as _, Utc};
use s3s::dto::{ETag, ETagCondition};

use super::bucket::Refusal;
use super::object::Object;

/// What must hold for a write to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum WriteCondition {
    /// Nothing.
    #[default]
    None,
    /// `If-None-Match: *`: the key is absent.
    Absent,
    /// `If-Match: *`: the key is there.
    Present,
    /// `If-Match: <etag>`: the key is there and has this ETag.
    Matches(String),
}

impl WriteCondition {
    /// From the two headers; `None` for what S3 itself does not implement: `If-None-Match` with an ETag, or both.
    pub(super) fn parse(if_match: Option<ETagCondition>, if_none_match: Option<ETagCondition>) -> Option<Self> {
        match (if_match, if_none_match) {
            (None, None) => Some(Self::None),
            (None, Some(ETagCondition::Any)) => Some(Self::Absent),
            (Some(ETagCondition::Any), None) => Some(Self::Present),
            (Some(ETagCondition::ETag(etag)), None) => Some(Self::Matches(etag.into_value())),
            (_, Some(_)) => None,
        }
    }

    /// For writing an object where `current` is the ETag that is there. As on AWS, `If-Match` on an absent key is not
    /// a failed precondition but an absent key.
    pub(super) fn check(&self, current: Option<&str>) -> Result<(), Refusal> {
        match (self, current) {
            (Self::Present | Self::Matches(_), None) => Err(Refusal::NoSuchKey),
            _ => self.check_delete(current),
        }
    }

    /// For deleting: an absent key fails the precondition.
    pub(super) fn check_delete(&self, current: Option<&str>) -> Result<(), Refusal> {
        let holds = match self {
            Self::None => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::Matches(etag) => current == Some(etag.as_str()),
        };
        if holds { Ok(()) } else { Err(Refusal::PreconditionFailed) }
    }
}

/// What must hold for an object to be read or copied.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadCondition {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<DateTime<Utc>>,
    pub(super) if_unmodified_since: Option<DateTime<Utc>>,
}

/// What the conditions of a read come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    NotModified,
    PreconditionFailed,
}

impl ReadCondition {
    /// Evaluates in the order of RFC 9110, section 13.2.2: an ETag outranks a date.
    pub(super) fn evaluate(&self, object: &Object) -> Verdict {
        // Dates in headers have no fraction.
        let modified = object.modified.trunc_subsecs(0);
        let matches = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(ETag::Strong(etag) | ETag::Weak(etag)) => *etag == object.etag,
        };
        match (&self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !matches(condition) => return Verdict::PreconditionFailed,
            (None, Some(date)) if modified > date => return Verdict::PreconditionFailed,
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(condition), _) if matches(condition) => Verdict::NotModified,
            (None, Some(date)) if modified <= date => Verdict::NotModified,
            _ => Verdict::Proceed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::digests::{Algorithm, Checksum, Scope};
    use super::super::object::Headers;
    use super::*;

    fn object() -> Object {
        Object {
            key: "k".to_owned(),
            size: 0,
            etag: "now".to_owned(),
            modified: DateTime::from_timestamp_millis(100_700).unwrap(),
            checksum: Checksum { algorithm: Algorithm::Crc32, scope: Scope::FullObject, value: String::new() },
            headers: Headers::default(),
            parts: Vec::new(),
            upload: None,
        }
    }

    #[test]
    fn a_read_is_decided_by_etag_before_date_and_by_match_before_none_match() {
        use Verdict::{NotModified, PreconditionFailed, Proceed};
        // If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since; the object is "now", of second 100.7.
        let cases = [
            (None, None, None, None, Proceed),
            (Some("now"), None, None, None, Proceed),
            (Some("old"), None, None, None, PreconditionFailed),
            (Some("*"), None, None, None, Proceed),
            (None, Some("now"), None, None, NotModified),
            (None, Some("old"), None, None, Proceed),
            (None, Some("*"), None, None, NotModified),
            (None, None, Some(99), None, Proceed),
            (None, None, Some(100), None, NotModified),
            (None, None, Some(101), None, NotModified),
            (None, None, None, Some(99), PreconditionFailed),
            (None, None, None, Some(100), Proceed),
            (None, None, None, Some(101), Proceed),
            (Some("now"), None, None, Some(99), Proceed),
            (None, Some("old"), Some(101), None, Proceed),
            (Some("old"), Some("now"), None, None, PreconditionFailed),
        ];
        for case in cases {
            let etag = |text: Option<&str>| text.map(|text| text.parse::<ETagCondition>().unwrap());
            let date = |second: Option<i64>| second.and_then(|second| DateTime::from_timestamp(second, 0));
            let condition = ReadCondition {
                if_match: etag(case.0),
                if_none_match: etag(case.1),
                if_modified_since: date(case.2),
                if_unmodified_since: date(case.3),
            };
            assert_eq!(condition.evaluate(&object()), case.4, "{case:?}");
        }
    }
}
