//! Generated names of versions and deployments: `YYYYMMDD-HHMMSS-<6 hex of content_sha256>`.

use chrono::{DateTime, Utc};

use crate::model::Sha256Digest;

/// How many hex digits of the content a generated name has.
const DIGITS: usize = 6;

/// The name that content gets at a time.
pub(super) fn generate(at: DateTime<Utc>, content: Sha256Digest) -> String {
    format!("{}-{}", at.format("%Y%m%d-%H%M%S"), content.short(DIGITS))
}

/// Of `names`, those that may have been generated for this content, newest first.
pub(super) fn generated_for<'a>(names: impl IntoIterator<Item = &'a str>, content: Sha256Digest) -> Vec<&'a str> {
    let suffix = content.short(DIGITS);
    let mut found: Vec<&str> = names.into_iter().filter(|name| is_generated(name, &suffix)).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

fn is_generated(name: &str, suffix: &str) -> bool {
    let is_number = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = name.split('-');
    let fits = |part: Option<&str>, digits| part.is_some_and(|part| is_number(part, digits));
    fits(parts.next(), 8) && fits(parts.next(), 6) && parts.next() == Some(suffix) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_when_and_what_and_is_found_again_by_its_content() {
        let (content, other) = (Sha256Digest::of(b"a"), Sha256Digest::of(b"b"));
        let at = |secs: i64| DateTime::from_timestamp(1_767_323_045 + secs, 0).unwrap();
        assert_eq!(generate(at(0), content), "20260102-030405-ca9781");
        let names =
            [generate(at(0), content), generate(at(1), other), generate(at(9), content), "1.4-ca9781".to_owned()];
        let found = generated_for(names.iter().map(String::as_str), content);
        assert_eq!(found, [names[2].as_str(), names[0].as_str()]);
    }
}
