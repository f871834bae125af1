//! What a store that reads policies makes of one: as much of IAM's rules as node policies use. A policy that uses more
//! is refused as a whole, so that nothing is taken for allowed that no store was asked about.

use std::collections::BTreeSet;

use http::{HeaderMap, Method};
use serde::Deserialize;

use super::BUCKET;
use super::proxy::Seen;

/// A policy, and which of its rights were made use of.
#[derive(Debug)]
pub(crate) struct Policy {
    document: Document,
    used: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    version: String,
    statement: Vec<Statement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(rename = "Sid")]
    _sid: String,
    effect: String,
    action: String,
    resource: Vec<String>,
    condition: Option<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Condition {
    string_like: StringLike,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StringLike {
    #[serde(rename = "s3:prefix")]
    prefix: Vec<String>,
}

/// One thing that a request needs to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    action: &'static str,
    resource: String,
    /// What stands in the request's context, if anything does.
    prefix: Option<String>,
}

impl Asked {
    /// What a request asks for. Of a kind that is not known here it asks for a right that nobody has.
    pub(super) fn of(seen: &Seen, headers: &HeaderMap) -> Vec<Self> {
        let object = |action| Self { action, resource: format!("arn:aws:s3:::{BUCKET}/{}", seen.key), prefix: None };
        let known = ["prefix=", "delimiter=", "encoding-type=", "max-keys=", "start-after=", "continuation-token="];
        let known_here = |pair: &&str| {
            pair.starts_with("x-id=")
                || (seen.listing && (*pair == "list-type=2" || known.iter().any(|k| pair.starts_with(k))))
        };
        let is_plain = seen.query.split('&').filter(|pair| !pair.is_empty()).all(|pair| known_here(&pair));
        if !is_plain {
            return vec![object("unknown")];
        }
        match seen.method {
            Method::GET if seen.listing => {
                let has_prefix = seen.query.split('&').any(|pair| pair.starts_with("prefix="));
                vec![Self { prefix: has_prefix.then(|| seen.key.clone()), ..Self::any_list() }]
            }
            Method::HEAD if seen.key.is_empty() => vec![Self::any_list()],
            Method::GET | Method::HEAD => vec![object("s3:GetObject")],
            Method::PUT if headers.contains_key("x-amz-copy-source") => {
                let source = headers["x-amz-copy-source"].to_str().unwrap().trim_start_matches('/');
                let source = percent_encoding::percent_decode_str(source).decode_utf8_lossy();
                let read = Self { action: "s3:GetObject", resource: format!("arn:aws:s3:::{source}"), prefix: None };
                vec![object("s3:PutObject"), read]
            }
            Method::PUT => vec![object("s3:PutObject")],
            Method::DELETE => vec![object("s3:DeleteObject")],
            _ => vec![object("unknown")],
        }
    }

    /// Looking whether anything is in the bucket.
    pub(super) fn any_list() -> Self {
        Self { action: "s3:ListBucket", resource: format!("arn:aws:s3:::{BUCKET}"), prefix: None }
    }
}

impl Policy {
    pub(crate) fn parse(text: &str) -> Self {
        let document: Document = serde_json::from_str(text).unwrap();
        assert_eq!(document.version, "2012-10-17");
        assert!(document.statement.iter().all(|statement| statement.effect == "Allow"));
        let patterns = document.statement.iter().flat_map(Statement::patterns);
        for pattern in patterns {
            assert!(!pattern.contains(['?', '$']), "{pattern}");
        }
        Self { document, used: BTreeSet::new() }
    }

    /// The same without what is allowed for one pattern.
    pub(crate) fn without(text: &str, action: &str, pattern: &str) -> Self {
        let mut policy = Self::parse(text);
        for statement in policy.document.statement.iter_mut().filter(|statement| statement.action == action) {
            match &mut statement.condition {
                Some(condition) => condition.string_like.prefix.retain(|prefix| prefix != pattern),
                None => statement.resource.retain(|resource| !resource.ends_with(&format!("/{pattern}"))),
            }
        }
        policy
    }

    /// Whether a statement allows it. What allowed it is taken down.
    pub(super) fn allows(&mut self, asked: &Asked) -> bool {
        for statement in self.document.statement.iter().filter(|statement| statement.action == asked.action) {
            let Some(resource) = statement.resource.iter().find(|pattern| like(pattern, &asked.resource)) else {
                continue;
            };
            let Some(condition) = &statement.condition else {
                self.used.insert(format!("{} on {resource}", asked.action));
                return true;
            };
            // A condition on what the request does not say does not hold.
            let prefix = asked.prefix.as_ref();
            let held =
                prefix.and_then(|prefix| condition.string_like.prefix.iter().find(|pattern| like(pattern, prefix)));
            if let Some(pattern) = held {
                self.used.insert(format!("{} on {pattern}", asked.action));
                return true;
            }
        }
        false
    }

    /// What allowed nothing so far.
    pub(super) fn unused(&self) -> Vec<String> {
        let all = self.document.statement.iter().flat_map(|statement| {
            statement.patterns().map(|pattern| format!("{} on {pattern}", statement.action)).collect::<Vec<_>>()
        });
        all.filter(|right| !self.used.contains(right)).collect()
    }
}

impl Statement {
    /// What narrows it: the prefixes if it has some, else the resources.
    fn patterns(&self) -> impl Iterator<Item = &String> {
        self.condition.as_ref().map_or(&self.resource, |condition| &condition.string_like.prefix).iter()
    }
}

/// Whether `text` fits a pattern in which `*` stands for anything.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => {
            let Some(tail) = text.strip_prefix(start) else { return false };
            let mut ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            ends.any(|at| like(rest, &tail[at..]))
        }
    }
}
