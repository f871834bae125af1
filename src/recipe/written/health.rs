//! When a version counts as good, and what is asked of it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::CheckName;
use crate::model::health;
use crate::recipe::value::{Name, Scalar, Statuses};
use crate::yaml::HumanDuration;

/// When a version that was brought up counts as good.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// How long everything must run without a restart, and every check pass without a failure; `10s` if left out.
    pub min_healthy_time: Option<HumanDuration>,
    /// After how long it has failed if it is not good by then; `2m` if left out.
    pub deadline: Option<HumanDuration>,
    /// How often each check asks, also once the version is good; `5s` if left out.
    pub interval: Option<HumanDuration>,
    /// How long a check may take before it has failed; `2s` if left out.
    pub timeout: Option<HumanDuration>,
    /// After how many failures in a row of one check a version that is good is restarted; never if left out.
    pub restart_after: Option<NonZeroU32>,
    /// What is asked besides, by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, Check>")]
    pub checks: BTreeMap<CheckName, Check>,
}

impl Health {
    /// The times as a manifest says them, without any check.
    pub(in crate::recipe) fn times(&self) -> health::Health {
        let usual = health::Health::default();
        let millis = |time: Option<HumanDuration>, usual: u64| time.map_or(usual, HumanDuration::as_millis);
        health::Health {
            min_healthy_ms: millis(self.min_healthy_time, usual.min_healthy_ms),
            deadline_ms: millis(self.deadline, usual.deadline_ms),
            interval_ms: millis(self.interval, usual.interval_ms),
            timeout_ms: millis(self.timeout, usual.timeout_ms),
            restart_after: self.restart_after,
            checks: usual.checks,
        }
    }
}

/// One thing that is asked, again and again: one of the five, with its settings.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// A web server of the node answers a GET.
    Http(HttpCheck),
    /// Something on the node takes connections.
    Tcp(TcpCheck),
    /// A program ends with 0.
    Exec(ExecCheck),
    /// A file is there, and fresh.
    File(FileCheck),
    /// A line stands in the cell's log, written since the version was brought up.
    Log(LogCheck),
}

/// What a web server is asked for. Redirects are not followed: they are answers like any other.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// An `http` or `https` URL of the node itself, such as `http://127.0.0.1:8080/health`.
    pub url: String,
    /// The answers that are good, such as `204` or `200-399`; `200-299` if left out.
    pub status: Option<Statuses>,
    /// What must stand in the first 64 KiB of the body.
    #[schemars(with = "Option<Scalar>", length(min = 1, max = 1000))]
    pub contains: Option<String>,
    /// Whether any certificate will do, and not only one that the node's own roots vouch for.
    #[serde(default)]
    pub insecure: bool,
}

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// A host of the node itself and a port, such as `127.0.0.1:5432`.
    pub address: String,
}

/// What is run, as the user that owns the cell's data.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecCheck {
    /// The program and its arguments. One without a leading `/` is one of the version's files.
    #[schemars(with = "Vec<Scalar>", length(min = 1))]
    pub command: Vec<String>,
}

/// What file is looked at.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileCheck {
    /// Absolute, or relative to the cell's data folder.
    pub path: String,
    /// It must have been written no longer ago than this.
    pub newer_than: Option<HumanDuration>,
}

/// Which line is waited for: one of the two.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["contains"]}, {"required": ["matches"]}]))]
pub struct LogCheck {
    /// What stands in the line.
    #[schemars(with = "Option<Scalar>", length(min = 1, max = 1000))]
    pub contains: Option<String>,
    /// A regular expression that matches somewhere in the line; without look-around and back references.
    #[schemars(length(min = 1, max = 1000))]
    pub matches: Option<String>,
}
