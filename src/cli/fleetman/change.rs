//! What every verb that issues a trigger has in common.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::wait::Ended;
use crate::controller::{Guard, Published, PublishedHow};
use crate::model::trigger::TriggerOptions;
use crate::model::{Floor, Sha256Digest, VersionName};

/// Why and how a change is made.
#[derive(Debug, Clone, Args)]
pub(super) struct ChangeArgs {
    /// Why, for the trigger and the audit
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Only if the cell is still at this generation, as `fleetman plan` shows it; 0 = never published
    #[arg(long, value_name = "N")]
    if_generation: Option<u64>,
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
}

impl ChangeArgs {
    /// What must be so for the change to be made.
    pub(super) fn guard(&self, expect: Option<Sha256Digest>) -> Guard {
        Guard { if_generation: self.if_generation, expect }
    }
}

/// How a node is to carry a deployment out.
#[derive(Debug, Clone, Args)]
pub(super) struct DeployArgs {
    /// Try again what failed on the node before
    #[arg(long)]
    retry: bool,
    /// Overwrite what was changed by hand on the node
    #[arg(long)]
    force: bool,
    /// Wait neither for a maintenance window nor for the application's lock, this once
    #[arg(long)]
    override_windows: bool,
}

impl DeployArgs {
    pub(super) fn options(&self) -> TriggerOptions {
        let Self { retry, force, override_windows } = *self;
        TriggerOptions { retry, force, override_windows, ..TriggerOptions::default() }
    }
}

/// A trigger that counts now.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Changed {
    pub(super) at: Floor,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<VersionName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_sha256: Option<Sha256Digest>,
    /// `claimed` by this command, `finished` after an interruption, or `unchanged`.
    how: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// How following it ended, if it was followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) followed: Option<Ended>,
}

impl From<Published> for Changed {
    fn from(published: Published) -> Self {
        let how = match published.how {
            PublishedHow::Claimed => "claimed",
            PublishedHow::Finished => "finished",
            PublishedHow::Unchanged => "unchanged",
        };
        Self {
            at: published.at,
            action: published.action,
            version: published.target.as_ref().map(|target| target.version.clone()),
            content_sha256: published.target.as_ref().map(|target| target.content_sha256),
            how,
            warnings: published.warnings.iter().map(ToString::to_string).collect(),
            followed: None,
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.action)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        write!(f, ", generation {}", self.at)?;
        match self.how {
            "unchanged" => f.write_str(" (it was so already)")?,
            "finished" => f.write_str(" (an interrupted one was finished)")?,
            _ => {}
        }
        if let Some(Ended { how, message, .. }) = &self.followed {
            write!(f, ": {}", how.replace('_', " "))?;
            if let Some(message) = message {
                write!(f, " ({message})")?;
            }
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "; warning: {warning}"))
    }
}
