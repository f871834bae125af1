//! What this controller was told, and whom it believes; and the doctor.

use axum::Json;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::pages::Keys;
use super::answer::{Has, List};
use super::operation::{Operation, Operations};
use crate::config::Setting;
use crate::controller::Checkup;

pub(super) fn operations() -> Operations {
    Operations::of("Settings")
        .get(
            "/api/v1/config",
            config,
            Operation::new(
                "getConfig",
                "admin",
                "Lists the settings, each with where it comes from. Secrets are masked.",
            )
            .gives::<List<Setting>>()
            .cli("fleetman config show"),
        )
        .get(
            "/api/v1/keys",
            keys,
            Operation::new("getKeys", "admin", "Tells what this controller signs with, and whom it believes.")
                .gives::<Keys>(),
        )
        .get(
            "/api/v1/doctor",
            doctor,
            Operation::new("getDoctor", "admin", "Tells what was found when the store was last examined.")
                .gives::<Examined>(),
        )
        .post(
            "/api/v1/doctor",
            examine,
            Operation::new("examineStore", "admin", "Tries out what the store can do.")
                .gives::<Examined>()
                .cli("fleetman doctor"),
        )
}

/// What was found out about the store.
#[derive(Debug, Serialize, JsonSchema)]
struct Examined {
    /// The worst of the findings: `ok`, `warning`, `failed`.
    verdict: crate::model::fleet::Verdict,
    /// How long ago that was.
    age_secs: i64,
    /// What was looked at.
    findings: Vec<crate::model::fleet::Finding>,
}

impl From<Checkup> for Examined {
    fn from(checkup: Checkup) -> Self {
        Self { verdict: checkup.verdict(), age_secs: checkup.age.num_seconds(), findings: checkup.report.findings }
    }
}

async fn config(caller: Caller, has: Has) -> Result<Response, Failure> {
    caller.may.check_settings()?;
    // As many as the config file has: no list that grows.
    let items: Vec<&Setting> = caller.portal.settings.iter().collect();
    has.json(&List { total: Some(items.len()), items, next: None, snapshot_at: None })
}

async fn keys(caller: Caller, has: Has) -> Result<Response, Failure> {
    has.json(&Keys::of(&caller)?)
}

async fn doctor(caller: Caller, has: Has) -> Result<Response, Failure> {
    let found = caller.may.checkup().await?;
    has.json(&Examined::from(found.ok_or_else(|| Failure::not_found("examination of the store yet; POST makes one"))?))
}

async fn examine(caller: Caller) -> Result<Json<Examined>, Failure> {
    caller.check_writable()?;
    Ok(Json(caller.may.examine().await?.into()))
}
