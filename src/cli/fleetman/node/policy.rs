//! The policy that lets a node do what an agent does, and nothing else.

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::model::rights::{self, Act};
use crate::model::{NodeName, Prefix};

/// A policy of IAM, which MinIO and others read too. Nobody is denied anything: what is not allowed is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: &'static str,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    string_like: Prefixes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Prefixes {
    #[serde(rename = "s3:prefix")]
    prefix: Vec<String>,
}

impl Policy {
    /// The policy for `node` in a bucket of the AWS partition that `region` belongs to; other stores are written as the
    /// usual one.
    ///
    /// # Errors
    /// When the prefix holds what policies take for patterns: stores do not agree on how to write it.
    pub(super) fn of_node(
        node: &NodeName,
        bucket: &str,
        prefix: &Prefix,
        region: Option<&str>,
    ) -> Result<Self, Failure> {
        if prefix.as_str().contains(['*', '?', '$']) {
            let message =
                format!("in a policy `*`, `?` and `$` of the prefix {prefix:?} would stand for more than they are");
            return Err(Failure::usage(message).help("give the fleet a prefix without them"));
        }
        let arn = format!("arn:{}:s3:::{bucket}", partition(region));
        let rights = rights::of_node(node);
        let statement = |act: Act| {
            let scopes = rights.iter().filter(|right| right.act == act);
            let patterns: Vec<String> = scopes.map(|right| right.scope.pattern(prefix)).collect();
            // Listing is a right to the bucket, narrowed by what is asked for.
            let (sid, resource, condition) = match act {
                Act::List => {
                    ("List", vec![arn.clone()], Some(Condition { string_like: Prefixes { prefix: patterns } }))
                }
                Act::Get => ("Read", below(&arn, &patterns), None),
                Act::Put => ("Write", below(&arn, &patterns), None),
            };
            Statement { sid, effect: "Allow", action: act.action(), resource, condition }
        };
        Ok(Self { version: "2012-10-17", statement: Act::ALL.map(statement).into() })
    }
}

fn below(arn: &str, patterns: &[String]) -> Vec<String> {
    patterns.iter().map(|pattern| format!("{arn}/{pattern}")).collect()
}

fn partition(region: Option<&str>) -> &'static str {
    match region {
        Some(region) if region.starts_with("cn-") => "aws-cn",
        Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(prefix: &str, region: Option<&str>) -> Result<Policy, Failure> {
        Policy::of_node(&NodeName::new("n1").unwrap(), "acme", &Prefix::new(prefix).unwrap(), region)
    }

    #[test]
    fn the_policy_is_the_one_that_operators_paste() {
        let expected = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "Read",
                    "Effect": "Allow",
                    "Action": "s3:GetObject",
                    "Resource": [
                        "arn:aws:s3:::acme/prod/cells/n1/*",
                        "arn:aws:s3:::acme/prod/index/n1.json",
                        "arn:aws:s3:::acme/prod/agents/n1.json",
                    ],
                },
                {
                    "Sid": "List",
                    "Effect": "Allow",
                    "Action": "s3:ListBucket",
                    "Resource": ["arn:aws:s3:::acme"],
                    "Condition": {
                        "StringLike": {
                            "s3:prefix": ["prod/cells/n1/*", "prod/index/n1.json", "prod/agents/n1.json"],
                        },
                    },
                },
                {
                    "Sid": "Write",
                    "Effect": "Allow",
                    "Action": "s3:PutObject",
                    "Resource": ["arn:aws:s3:::acme/prod/agents/n1.json", "arn:aws:s3:::acme/prod/logs/n1/*"],
                },
            ],
        });
        assert_eq!(serde_json::to_value(policy("prod", Some("eu-central-1")).unwrap()).unwrap(), expected);
    }

    #[test]
    fn a_bucket_in_another_partition_is_named_as_it_is_there() {
        for (region, arn) in [("cn-north-1", "arn:aws-cn:s3:::acme"), ("us-gov-west-1", "arn:aws-us-gov:s3:::acme")] {
            assert_eq!(policy("", Some(region)).unwrap().statement[1].resource, [arn]);
        }
    }

    #[test]
    fn a_prefix_that_would_be_a_pattern_is_refused() {
        for prefix in ["a*", "prod/?", "${aws:username}"] {
            assert!(policy(prefix, None).unwrap_err().message().contains(prefix), "{prefix}");
        }
    }
}
