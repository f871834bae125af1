//! The bucket as a whole: who did what, and what lies where.

use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::answer::{Has, List, Page};
use super::operation::{Operation, Operations};
use super::request::{Asked, parse};
use crate::controller::{AuditFilter, AuditPlace, AuditProof, AuditRow, FolderRow, ObjectRow, ResultFilter};
use crate::model::UserName;

pub(super) fn operations() -> Operations {
    Operations::of("Bucket")
        .get(
            "/api/v1/audit",
            audit,
            Operation::new("listAudit", "viewer", "Lists who did what, newest first.")
                .query::<Page>()
                .query::<Filter>()
                .gives::<List<Act>>()
                .cli("fleetman audit"),
        )
        .get(
            "/api/v1/audit/verification",
            verify,
            Operation::new(
                "verifyAudit",
                "viewer",
                "Reads the whole audit, or that of a time, and tells which entries are gone, or were replaced or changed.",
            )
            .query::<Span>()
            .gives::<AuditProof>()
            .cli("fleetman audit verify"),
        )
        .get(
            "/api/v1/objects",
            objects,
            Operation::new("listObjects", "viewer", "Lists what lies directly in a folder of the bucket.")
                .query::<Page>()
                .query::<Folder>()
                .gives::<List<Entry>>(),
        )
}

/// Which acts.
#[derive(Debug, Deserialize, JsonSchema)]
struct Filter {
    /// From this time on.
    from: Option<DateTime<Utc>>,
    /// Before this time.
    until: Option<DateTime<Utc>>,
    /// Only this user's.
    actor: Option<String>,
    /// Only this action, such as `publish`.
    action: Option<String>,
    /// Only those on objects with this in their name.
    object: Option<String>,
    /// Only those that came from here: `cli`, `portal`, `api`.
    source: Option<String>,
    /// Only those that came to this.
    result: Option<Result_>,
}

/// Of which time.
#[derive(Debug, Deserialize, JsonSchema)]
struct Span {
    /// From this time on.
    from: Option<DateTime<Utc>>,
    /// Before this time.
    until: Option<DateTime<Utc>>,
}

/// What came of an act.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ActResult")]
enum Result_ {
    /// It was done.
    Done,
    /// It was not done.
    Failed,
    /// Nobody wrote what came of it.
    NotConcluded,
}

/// What somebody did.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Act {
    /// Its id.
    id: String,
    /// When it was begun.
    at: DateTime<Utc>,
    /// Who acted.
    actor: Option<UserName>,
    /// From where: `cli`, `portal`, `api`.
    source: Option<String>,
    /// The machine, or the address of who used it.
    host: Option<String>,
    /// What was done.
    action: Option<String>,
    /// To what.
    object: Option<String>,
    /// What it was before, in short.
    before: Option<String>,
    /// What it was to be.
    after: Option<String>,
    /// Why, in the actor's words.
    reason: Option<String>,
    /// `done`, `failed`, `not concluded`.
    result: Option<&'static str>,
    /// What was written about that.
    message: Option<String>,
    /// When that was written.
    ended_at: Option<DateTime<Utc>>,
    /// How far it can be believed: `signed`, `not signed` by a key that is pinned, `broken`, `signatures are off`.
    signature: Option<&'static str>,
    /// Why the entry cannot be read, if so.
    problem: Option<String>,
}

/// Where to look.
#[derive(Debug, Deserialize, JsonSchema)]
struct Folder {
    /// The folder, below the fleet's prefix, with a slash at its end; the fleet's own if left out.
    prefix: Option<String>,
}

/// A folder or an object.
#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    /// Its name in the folder that was listed.
    name: String,
    /// Whether it is a folder.
    is_folder: bool,
    /// In bytes, of an object.
    size: Option<u64>,
    /// The store's name for its bytes.
    etag: Option<String>,
    /// When the store took it, by the store's clock.
    last_modified: Option<DateTime<Utc>>,
}

impl From<AuditRow> for Act {
    fn from(row: AuditRow) -> Self {
        let about = Self { id: row.id.to_string(), at: row.at, ..Self::default() };
        match row.act {
            Ok(act) => Self {
                result: Some(act.result.as_str()),
                message: act.result.message().map(str::to_owned),
                ended_at: act.result.at(),
                signature: Some(act.seal.as_str()),
                actor: Some(act.actor),
                source: Some(act.source),
                host: Some(act.host),
                action: Some(act.action),
                object: Some(act.object),
                before: act.before,
                after: act.after,
                reason: act.reason,
                ..about
            },
            Err(problem) => Self { problem: Some(problem), ..about },
        }
    }
}

impl From<FolderRow> for Entry {
    fn from(row: FolderRow) -> Self {
        Self { name: row.name, is_folder: true, size: None, etag: None, last_modified: None }
    }
}

impl From<ObjectRow> for Entry {
    fn from(row: ObjectRow) -> Self {
        let ObjectRow { name, size, etag, modified, .. } = row;
        Self { name, is_folder: false, size: Some(size), etag: Some(etag.to_string()), last_modified: modified }
    }
}

impl From<Filter> for AuditFilter {
    fn from(filter: Filter) -> Self {
        let Filter { from, until, actor, action, object, source, result } = filter;
        let result = result.map(|result| match result {
            Result_::Done => ResultFilter::Done,
            Result_::Failed => ResultFilter::Failed,
            Result_::NotConcluded => ResultFilter::NotConcluded,
        });
        Self { from, until, actor, action, object, source, result }
    }
}

async fn audit(
    caller: Caller,
    has: Has,
    Asked(page): Asked<Page>,
    Asked(filter): Asked<Filter>,
) -> Result<Response, Failure> {
    let after: Option<AuditPlace> = page.after.as_deref().map(|after| parse("after", after)).transpose()?;
    let (cache, limit) = (&caller.fleet.audit, page.limit()?);
    let found = caller.may.audit_page(cache, &filter.into(), after.as_ref(), limit).await?;
    let items = found.rows.into_iter().map(Act::from).collect();
    has.json(&List { items, total: None, next: found.next.map(|next| next.to_string()), snapshot_at: None })
}

async fn verify(caller: Caller, has: Has, Asked(span): Asked<Span>) -> Result<Response, Failure> {
    caller.may.check_audit()?;
    let Ok(_turn) = caller.fleet.audit_check.try_acquire() else {
        let detail = "the audit of this bucket is being checked already; try again when that is done";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail));
    };
    has.json(&caller.may.verify_audit(span.from, span.until).await?)
}

async fn objects(
    caller: Caller,
    has: Has,
    Asked(page): Asked<Page>,
    Asked(folder): Asked<Folder>,
) -> Result<Response, Failure> {
    let limit = u16::try_from(page.limit()?).unwrap_or(u16::MAX);
    let found = caller.may.browse(folder.prefix.as_deref().unwrap_or_default(), page.after.as_deref(), limit).await?;
    let folders = found.folders.into_iter().map(Entry::from);
    let items = folders.chain(found.objects.into_iter().map(Entry::from)).collect();
    has.json(&List { items, total: None, next: found.next, snapshot_at: None })
}
