//! `audit/<yyyy-mm-dd>/<ulid>.json`: who did what. An intent before the first visible effect, an outcome after.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::document::Document;
use super::name::UserName;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its own id.
    pub id: Ulid,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// Who acted.
    pub actor: UserName,
    /// From where: `cli`, `portal`, `api`.
    pub source: String,
    /// The machine that it was done on.
    pub host: String,
    /// What was done: the verb.
    pub action: String,
    /// What it was done to, such as `cell/n1/web`.
    pub object: String,
    /// What the object was before, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which half of the story this is.
    pub stage: AuditStage,
}

/// Which half of the story an entry tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditStage {
    /// It is about to be done.
    Intent,
    /// It was done, or not; names the intent.
    Outcome {
        /// The intent's id.
        intent: Ulid,
        /// Whether it was done.
        done: bool,
        /// What came of it.
        message: String,
    },
}

impl Document for AuditEntry {
    const SCHEMA: &'static str = "fleetman/audit/1";
    const MAX_BYTES: u64 = 64 << 10;
}
