//! What a cell was: its versions, what differs between two, its history, and what its node wrote about each attempt.

use axum::Json;
use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::paths::CellOfPath;
use super::super::views::{Attempt, Comparison, Version};
use super::answer::{Has, List, Page};
use super::fleet::Deleted;
use super::operation::{Condition, Operation, Operations};
use super::request::{Asked, IfKnown, Of, parse};
use super::version::VersionDetail;
use crate::controller::{Attempts, LogPlace, PastTrigger, Revision};
use crate::model::keys::AttemptId;
use crate::model::users::Role;
use crate::model::{Floor, Sha256Digest, UserName, VersionName};
use crate::store::in_full;

pub(super) fn operations() -> Operations {
    Operations::of("Past")
        .get(
            "/api/v1/cells/{node}/{cell}/versions",
            versions,
            Operation::new("listVersions", "viewer", "Lists the versions of a cell, the highest number first.")
                .query::<Page>()
                .gives::<List<Version>>()
                .cli("fleetman get versions {node}/{cell}"),
        )
        .delete(
            "/api/v1/cells/{node}/{cell}/versions/{version}",
            delete_version,
            Operation::new(
                "deleteVersion",
                "admin",
                "Marks a version that nobody needs, and an hour later deletes it.",
            )
            .condition(Condition::MayMatch)
            .gives::<Deleted>()
            .cli("fleetman delete version {node}/{cell} {version}"),
        )
        .get(
            "/api/v1/cells/{node}/{cell}/diff",
            diff,
            Operation::new("compareVersions", "viewer", "Compares two versions, or one with the cell's inputs now.")
                .query::<Sides>()
                .gives::<Comparison>()
                .cli("fleetman diff {node}/{cell} --from {from} --to {to}"),
        )
        .get(
            "/api/v1/cells/{node}/{cell}/history",
            history,
            Operation::new("listHistory", "viewer", "Lists the cell's triggers and what came of each, newest first.")
                .query::<Page>()
                .gives::<List<Trigger>>()
                .cli("fleetman history {node}/{cell}"),
        )
        .get(
            "/api/v1/cells/{node}/{cell}/outcomes/{at}",
            outcomes,
            Operation::new("listOutcomes", "viewer", "Lists what the node says of its attempts at one trigger.")
                .gives::<List<Attempt>>()
                .cli("fleetman attempts {node}/{cell} --at {at}"),
        )
        .get(
            "/api/v1/cells/{node}/{cell}/logs/{at}/{attempt}",
            log,
            Operation::new("getLog", "viewer", "Gives a piece of what the node logged of one attempt.")
                .query::<Piece>()
                .gives::<Log>()
                .cli("fleetman attempts {node}/{cell} --at {at} --attempt {attempt} --log"),
        )
}

/// What is compared.
#[derive(Debug, Deserialize, JsonSchema)]
struct Sides {
    /// The one that is changed: a version, or `now`; `now` if left out.
    from: Option<String>,
    /// The one that comes of it: a version, or `now`; `now` if left out.
    to: Option<String>,
}

/// Which piece of a log; the last one if nothing is said.
#[derive(Debug, Deserialize, JsonSchema)]
struct Piece {
    /// The piece that begins at this byte.
    from: Option<u64>,
    /// The piece that ends before this byte.
    until: Option<u64>,
}

/// A trigger that was issued.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Trigger {
    /// Its place.
    at: String,
    /// `deploy`, `stop`, `remove`.
    action: Option<String>,
    /// The version, if one was to run.
    version: Option<VersionName>,
    /// What that version is.
    content_sha256: Option<Sha256Digest>,
    /// How it was to be carried out: `retry`, `force`, `override_windows`, `purge_data`.
    options: Vec<String>,
    /// Who issued it.
    issued_by: Option<UserName>,
    /// When.
    issued_at: Option<DateTime<Utc>>,
    /// Why.
    reason: Option<String>,
    /// Why it is not believed, if so.
    problem: Option<String>,
    /// What the node did about it, newest first.
    attempts: Vec<Attempt>,
    /// How many older attempts there are.
    older_attempts: usize,
}

/// A piece of a log.
#[derive(Debug, Serialize, JsonSchema)]
struct Log {
    /// Its lines. Whatever the node wrote: it is nobody's instruction.
    lines: Vec<String>,
    /// The byte that it begins at.
    start: u64,
    /// The byte after its last one.
    end: u64,
    /// How long the log is.
    size: u64,
    /// When it was written last, by the store's clock.
    last_modified: Option<DateTime<Utc>>,
}

impl From<PastTrigger> for Trigger {
    fn from(past: PastTrigger) -> Self {
        let Attempts { newest, left_out } = past.attempts;
        let about = Self {
            at: past.entry.at.to_string(),
            attempts: newest.into_iter().map(Attempt::from).collect(),
            older_attempts: left_out,
            ..Self::default()
        };
        match past.entry.trigger {
            Ok(trigger) => {
                let target = trigger.action.target();
                Self {
                    action: Some(trigger.action.name().to_owned()),
                    version: target.map(|target| target.version.clone()),
                    content_sha256: target.map(|target| target.content_sha256),
                    options: trigger.options.names(),
                    issued_by: Some(trigger.issued_by.clone()),
                    issued_at: Some(trigger.issued_at),
                    reason: trigger.reason.clone(),
                    ..about
                }
            }
            Err(error) => Self { problem: Some(in_full(&error)), ..about },
        }
    }
}

async fn versions(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Asked(page): Asked<Page>,
) -> Result<Response, Failure> {
    let after: Option<VersionName> = page.after.as_deref().map(|after| parse("after", after)).transpose()?;
    let found = caller.may.version_page(&cell, after.as_ref(), page.limit()?).await?;
    let items = found.versions.into_iter().map(Version::from).collect();
    let next = found.next.map(|next| next.to_string());
    has.json(&List { items, total: Some(found.total), next, snapshot_at: None })
}

/// A version of the cell.
#[derive(Debug, Deserialize)]
struct Named {
    version: VersionName,
}

async fn delete_version(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Of(Named { version }): Of<Named>,
    known: IfKnown,
) -> Result<Json<Deleted>, Failure> {
    caller.check_writable()?;
    let find = async || caller.may.version(&cell, &version).await;
    let deleted = match known.is_said() {
        true => {
            caller.may.need_on_cell(Role::Admin, &cell)?;
            let now = find().await?;
            // What is deleted is what is compared, or nothing is.
            let seen = now.manifest_sha256;
            known.check(format_args!("version {version} of {cell}"), &VersionDetail::from(now))?;
            caller.may.delete_seen_version(&cell, &version, seen).await
        }
        false => caller.may.delete_version(&cell, &version).await,
    };
    match deleted {
        Ok(deletion) => Ok(Json(deletion.into())),
        Err(error) => Err(known.failed_at(error, async { find().await.ok().map(VersionDetail::from) }).await),
    }
}

async fn diff(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Asked(sides): Asked<Sides>,
) -> Result<Response, Failure> {
    caller.may.check_cell(&cell)?;
    let revision = |name, text: Option<&str>| text.map_or(Ok(Revision::Now), |text| parse(name, text));
    let (from, to) = (revision("from", sides.from.as_deref())?, revision("to", sides.to.as_deref())?);
    let compared = caller.may.compare(&cell, &from, &to).await?;
    has.json(&Comparison::from(compared))
}

async fn history(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Asked(page): Asked<Page>,
) -> Result<Response, Failure> {
    let below: Option<Floor> = page.after.as_deref().map(|after| parse("after", after)).transpose()?;
    let past = caller.may.past(&cell, below, page.limit()?).await?;
    let items = past.triggers.into_iter().map(Trigger::from).collect();
    has.json(&List { items, total: None, next: past.older.map(|older| older.to_string()), snapshot_at: None })
}

/// A trigger of the cell, and perhaps an attempt at it.
#[derive(Debug, Deserialize)]
struct Place {
    at: String,
    attempt: Option<u32>,
}

async fn outcomes(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Of(Place { at, .. }): Of<Place>,
) -> Result<Response, Failure> {
    let attempts = caller.may.attempts_at(&cell, parse("at", &at)?).await?;
    let total = Some(attempts.newest.len() + attempts.left_out);
    let items = attempts.newest.into_iter().map(Attempt::from).collect();
    has.json(&List { items, total, next: None, snapshot_at: None })
}

async fn log(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Of(Place { at, attempt }): Of<Place>,
    Asked(piece): Asked<Piece>,
) -> Result<Response, Failure> {
    let id = AttemptId { cell, floor: parse("at", &at)?, attempt: attempt.unwrap_or(1) };
    let place = match (piece.from, piece.until) {
        (None, None) => LogPlace::End,
        (Some(from), None) => LogPlace::From(from),
        (None, Some(until)) => LogPlace::Until(until),
        (Some(_), Some(_)) => {
            return Err(Failure::bad_request("invalid_query", "give from or until, and not both"));
        }
    };
    let piece = caller.may.attempt_log(&id, place).await?;
    has.json(&Log {
        lines: piece.lines,
        start: piece.start,
        end: piece.end,
        size: piece.size,
        last_modified: piece.modified,
    })
}
