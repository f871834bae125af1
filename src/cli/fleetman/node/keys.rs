//! A node's keys at the store: how they are made and how they are revoked, in the words of each kind of store. Nothing
//! here asks a store: rights are given by whoever administers it.

use clap::ValueEnum;
use serde::Serialize;

use crate::config::FleetBucket;
use crate::model::NodeName;

/// Stores that give rights to keys in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoreKind {
    Aws,
    Minio,
    Garage,
    R2,
    B2,
}

/// What to do at a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Steps {
    /// What they come to, and what they cannot do.
    pub(super) about: String,
    /// What to run, if the store has a command for it. What stands in `<>` is to be filled in.
    pub(super) commands: Vec<String>,
}

/// The longest name of a user at AWS.
const AWS_USER_BYTES: usize = 64;

impl StoreKind {
    /// The kind that was named, or the one that the endpoint suggests, and whether that is more than a guess.
    pub(super) fn of(named: Option<Self>, bucket: &FleetBucket) -> (Self, bool) {
        named.map_or_else(|| Self::guess(bucket.store.endpoint.as_deref()), |named| (named, true))
    }

    fn guess(endpoint: Option<&str>) -> (Self, bool) {
        let Some(endpoint) = endpoint else { return (Self::Aws, true) };
        let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        let is_below = |domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        if is_below("amazonaws.com") || is_below("amazonaws.com.cn") {
            (Self::Aws, true)
        } else if is_below("r2.cloudflarestorage.com") {
            (Self::R2, true)
        } else if is_below("backblazeb2.com") {
            (Self::B2, true)
        } else if port == "3900" {
            (Self::Garage, false)
        } else {
            // Of those that people run themselves most read the same policies as MinIO.
            (Self::Minio, false)
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "AWS",
            Self::Minio => "MinIO",
            Self::Garage => "Garage",
            Self::R2 => "Cloudflare R2",
            Self::B2 => "Backblaze B2",
        }
    }

    /// Whether its keys can be limited by a policy.
    pub(super) fn reads_policies(self) -> bool {
        matches!(self, Self::Aws | Self::Minio)
    }

    /// How to make keys for a node.
    pub(super) fn make(self, node: &NodeName, bucket: &FleetBucket) -> Steps {
        let (key, bucket, prefix) = (key_name(node), &bucket.store.bucket, &bucket.store.prefix);
        match self {
            Self::Aws => Steps::new(
                "Give the machine's role this policy. A machine without a role gets a user with keys:",
                &[
                    format!("aws iam create-user --user-name {key}"),
                    format!(
                        "aws iam put-user-policy --user-name {key} --policy-name fleetman --policy-document file://policy.json"
                    ),
                    format!("aws iam create-access-key --user-name {key}"),
                ],
            ),
            Self::Minio => Steps::new(
                "A user whose name is the access key; the password that is asked for is the secret key:",
                &[
                    format!("mc admin policy create <alias> {key} policy.json"),
                    format!("mc admin user add <alias> {key}"),
                    format!("mc admin policy attach <alias> {key} --user {key}"),
                ],
            ),
            Self::Garage => Steps::new(
                "Garage gives rights to whole buckets only: with these keys the node can read and write everything in \
                 the bucket, and delete it. What it cannot do is sign. Nodes that must not get at each other's files \
                 need buckets of their own:",
                &[
                    format!("garage key create {key}"),
                    format!("garage bucket allow --read --write {bucket} --key {key}"),
                ],
            ),
            Self::R2 => Steps::new(
                format!(
                    "R2 gives rights to whole buckets only: with its token the node can read and write everything in \
                     the bucket, and delete it. What it cannot do is sign. In the dashboard, under R2, API tokens, make \
                     a token called {key} with `Object Read & Write` for bucket {bucket} alone."
                ),
                &[],
            ),
            Self::B2 => {
                let below = if prefix.as_str().is_empty() {
                    String::new()
                } else {
                    format!(" --name-prefix {}", shell(&format!("{prefix}/")))
                };
                Steps::new(
                    "A key of B2 has one prefix, and a node needs several: with this key it can read and write \
                     everything of the fleet. What it cannot do is sign, or delete:",
                    &[format!("b2 key create --bucket {bucket}{below} {key} listFiles,readFiles,writeFiles")],
                )
            }
        }
    }

    /// How to revoke them.
    pub(super) fn revoke(self, node: &NodeName) -> Steps {
        let key = key_name(node);
        let about = format!("Revoke the node's keys at {}. Unless they were made otherwise:", self.as_str());
        match self {
            Self::Aws => Steps::new(
                about,
                &[
                    format!("aws iam list-access-keys --user-name {key}"),
                    format!("aws iam delete-access-key --user-name {key} --access-key-id <its id>"),
                    format!("aws iam delete-user-policy --user-name {key} --policy-name fleetman"),
                    format!("aws iam delete-user --user-name {key}"),
                ],
            ),
            Self::Minio => Steps::new(
                about,
                &[format!("mc admin user remove <alias> {key}"), format!("mc admin policy remove <alias> {key}")],
            ),
            Self::Garage => Steps::new(about, &[format!("garage key delete --yes {key}")]),
            Self::R2 => Steps::new(
                format!("Revoke the node's token: delete {key} in the dashboard, under R2, API tokens."),
                &[],
            ),
            Self::B2 => Steps::new(about, &["b2 key list".to_owned(), format!("b2 key delete <the id of {key}>")]),
        }
    }
}

impl Steps {
    fn new(about: impl Into<String>, commands: &[String]) -> Self {
        Self { about: about.into(), commands: commands.to_vec() }
    }

    /// As people read them.
    pub(super) fn text(&self) -> String {
        let commands = self.commands.iter().map(|command| format!("\n  {command}"));
        format!("{}{}", self.about, commands.collect::<String>())
    }
}

/// What a node's keys, user and policy are called.
fn key_name(node: &NodeName) -> String {
    let name = format!("fleetman-{node}");
    if name.len() <= AWS_USER_BYTES { name } else { node.to_string() }
}

/// A word that a shell takes as it is.
fn shell(word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_told_by_its_endpoint_where_that_is_possible() {
        for (endpoint, kind, sure) in [
            (None, StoreKind::Aws, true),
            (Some("https://s3.eu-central-1.amazonaws.com"), StoreKind::Aws, true),
            (Some("https://s3.cn-north-1.amazonaws.com.cn/"), StoreKind::Aws, true),
            (Some("https://abc.r2.cloudflarestorage.com"), StoreKind::R2, true),
            (Some("https://s3.us-west-004.backblazeb2.com:443"), StoreKind::B2, true),
            (Some("http://127.0.0.1:3900"), StoreKind::Garage, false),
            (Some("http://127.0.0.1:9000"), StoreKind::Minio, false),
            (Some("https://evilamazonaws.com"), StoreKind::Minio, false),
        ] {
            assert_eq!(StoreKind::guess(endpoint), (kind, sure), "{endpoint:?}");
        }
    }

    #[test]
    fn a_users_name_is_never_too_long_for_aws() {
        assert_eq!(key_name(&NodeName::new("n1").unwrap()), "fleetman-n1");
        let longest = NodeName::new("n".repeat(63)).unwrap();
        assert_eq!(key_name(&longest), longest.as_str());
    }

    #[test]
    fn a_prefix_is_one_word_of_a_command() {
        assert_eq!(shell("prod/eu/"), "prod/eu/");
        assert_eq!(shell("it's $HOME/"), "'it'\\''s $HOME/'");
    }
}
