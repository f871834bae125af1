//! The buckets of the config, and how much lies in one.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::pages;
use super::answer::{Has, List};
use super::operation::{Operation, Operations};
use crate::controller::{self, Amount, FolderUsage, UsageState};
use crate::model::keys::Folder;

pub(super) fn operations() -> Operations {
    Operations::of("Bucket")
        .get(
            "/api/v1/buckets",
            buckets,
            Operation::new("listBuckets", "viewer", "Lists the buckets of the controller's config.")
                .gives::<List<Bucket>>(),
        )
        .get(
            "/api/v1/usage",
            usage,
            Operation::new("getUsage", "viewer", "Tells how much lies where, as it was counted last.").gives::<Usage>(),
        )
        .post(
            "/api/v1/usage",
            count,
            Operation::new("countUsage", "viewer", "Has it counted, which takes a request for each thousand objects.")
                .status(StatusCode::ACCEPTED)
                .gives::<Usage>()
                .cli("fleetman bucket du"),
        )
}

/// A bucket of the config.
#[derive(Debug, Serialize, JsonSchema)]
struct Bucket {
    /// What the config calls it.
    name: String,
    /// What stands before the paths that mean it; nothing for the first.
    path: String,
    /// When it was read last, by the store's clock.
    read_at: Option<DateTime<Utc>>,
    /// Why it does not answer, if so.
    problem: Option<String>,
    /// Why nothing can be changed from here, if this controller cannot sign for it.
    read_only: Option<String>,
    /// More about it, if it is the one that this request means.
    details: Option<BucketDetail>,
}

/// The bucket that a request means.
#[derive(Debug, Serialize, JsonSchema)]
struct BucketDetail {
    /// Bucket, prefix and endpoint in words.
    location: String,
    /// Whose it is, by the config.
    fleet: Uuid,
    /// How several writers get along, in words.
    writes: &'static str,
    /// How many requests this controller sent so far.
    requests: u64,
}

/// How much lies in a bucket.
#[derive(Debug, Serialize, JsonSchema)]
struct Usage {
    /// Since when it is being counted, if it is.
    counting_since: Option<DateTime<Utc>>,
    /// How many objects were counted so far, if it is.
    counted_so_far: Option<u64>,
    /// Why the last count failed, if it did.
    problem: Option<String>,
    /// What the last one came to.
    counted: Option<Counted>,
}

/// What a count came to.
#[derive(Debug, Serialize, JsonSchema)]
struct Counted {
    /// When it ended.
    at: DateTime<Utc>,
    /// Everything.
    total: Size,
    /// By top folder, the largest first.
    folders: Vec<FolderSize>,
    /// What is not of the protocol.
    foreign: Size,
    /// Whether there are more objects than are counted.
    is_cut: bool,
}

/// So many objects, with so many bytes.
#[derive(Debug, Serialize, JsonSchema)]
struct Size {
    /// How many objects.
    objects: u64,
    /// Their sizes together.
    bytes: u64,
}

/// What lies in one top folder.
#[derive(Debug, Serialize, JsonSchema)]
struct FolderSize {
    /// The folder, with a slash at its end; empty for what lies in none.
    path: String,
    /// What lies in it.
    #[serde(flatten)]
    size: Size,
    /// The same by cell, manifest or node, where the folder has such; the largest first, at most 1,000.
    parts: Vec<PartSize>,
    /// How many smaller parts are left out.
    parts_left_out: usize,
}

/// What lies in one part of a folder.
#[derive(Debug, Serialize, JsonSchema)]
struct PartSize {
    /// The part.
    path: String,
    /// What lies in it.
    #[serde(flatten)]
    size: Size,
}

impl From<Amount> for Size {
    fn from(Amount { objects, bytes }: Amount) -> Self {
        Self { objects, bytes }
    }
}

impl From<&(Folder, Amount)> for PartSize {
    fn from((folder, amount): &(Folder, Amount)) -> Self {
        Self { path: folder.relative(), size: (*amount).into() }
    }
}

impl From<&FolderUsage> for FolderSize {
    fn from(usage: &FolderUsage) -> Self {
        let FolderUsage { folder, amount, parts, parts_left_out } = usage;
        Self {
            path: folder.relative(),
            size: (*amount).into(),
            parts: parts.iter().map(PartSize::from).collect(),
            parts_left_out: *parts_left_out,
        }
    }
}

impl From<&controller::Usage> for Counted {
    fn from(usage: &controller::Usage) -> Self {
        let controller::Usage { counted_at, total, folders, foreign, is_cut } = usage;
        Self {
            at: *counted_at,
            total: (*total).into(),
            folders: folders.iter().map(FolderSize::from).collect(),
            foreign: (*foreign).into(),
            is_cut: *is_cut,
        }
    }
}

impl From<UsageState> for Usage {
    fn from(state: UsageState) -> Self {
        let (counting_since, counted_so_far) = state.counting.unzip();
        let (counted, problem) = match state.last {
            Some(Ok(usage)) => (Some(Counted::from(&*usage)), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        Self { counting_since, counted_so_far, problem, counted }
    }
}

async fn buckets(caller: Caller, has: Has) -> Result<Response, Failure> {
    let facts = caller.may.bucket_facts()?;
    let mut details = Some(BucketDetail {
        location: facts.location,
        fleet: facts.fleet,
        writes: facts.writes,
        requests: facts.requests,
    });
    let bucket = |fleet: &std::sync::Arc<super::super::app::Fleet>| {
        let age = fleet.snapshot.age();
        Bucket {
            name: fleet.name.clone(),
            path: fleet.base.clone(),
            read_at: age.at,
            problem: age.problem,
            read_only: fleet.unsigned_reason.clone(),
            details: if std::sync::Arc::ptr_eq(fleet, &caller.fleet) { details.take() } else { None },
        }
    };
    let items: Vec<Bucket> = caller.portal.fleets.iter().map(bucket).collect();
    has.json(&List { total: Some(items.len()), items, next: None, snapshot_at: None })
}

async fn usage(caller: Caller, has: Has) -> Result<Response, Failure> {
    has.json(&Usage::from(caller.may.usage(&caller.fleet.usage)?))
}

async fn count(caller: Caller) -> Result<Response, Failure> {
    pages::count_usage(&caller).await?;
    let usage = Usage::from(caller.may.usage(&caller.fleet.usage)?);
    Ok((StatusCode::ACCEPTED, Json(usage)).into_response())
}
