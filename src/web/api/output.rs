//! What the programs of a cell write, as its node answers it.

use axum::Json;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::output::{PATIENCE, Standing, lines};
use super::super::paths::CellOfPath;
use super::operation::{Operation, Operations};
use super::request::{Asked, Of, Sent, parse};
use crate::controller::AskedLogs;
use crate::model::answer::LogLine;
use crate::model::order::LogQuery;
use crate::model::{Code, ProcessName};

/// The most chunks that one answer gives.
const MOST_CHUNKS: u32 = 16;

pub(super) fn operations() -> Operations {
    Operations::of("Output")
        .post(
            "/api/v1/cells/{node}/{cell}/output",
            ask,
            Operation::new("askForOutput", "operator", "Asks a cell's node for what its programs write.")
                .takes::<Wanted>()
                .gives::<Order>()
                .cli("fleetman logs {node}/{cell}"),
        )
        .get(
            "/api/v1/cells/{node}/{cell}/output/{order}",
            read,
            Operation::new("getOutput", "operator", "Gives what the node has answered so far.")
                .query::<Place>()
                .gives::<Output>()
                .cli("fleetman logs {node}/{cell}"),
        )
        .delete(
            "/api/v1/cells/{node}/{cell}/output/{order}",
            end,
            Operation::new("endOutput", "operator", "Takes the order back, and deletes what was answered.")
                .status(StatusCode::NO_CONTENT)
                .cli("fleetman logs {node}/{cell}"),
        )
}

/// Which lines are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// Of this process only.
    #[schemars(with = "Option<String>")]
    process: Option<ProcessName>,
    /// So many of the last lines of each process; 100 if left out.
    #[schemars(range(max = 10_000))]
    lines: u32,
    /// Only what was written from then on.
    since: Option<DateTime<Utc>>,
    /// Only lines with this text.
    #[schemars(length(max = 512))]
    grep: Option<String>,
    /// Whether that is a regular expression.
    regex: bool,
    /// For so long what comes is wanted, too.
    #[schemars(range(min = 1, max = 3_600))]
    follow_secs: Option<u32>,
    /// Why, for the audit.
    reason: Option<String>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { process: None, lines: 100, since: None, grep: None, regex: false, follow_secs: None, reason: None }
    }
}

/// An order for what a cell writes.
#[derive(Debug, Serialize, JsonSchema)]
struct Order {
    /// The order; its output is read under this.
    id: String,
    /// The cell.
    cell: String,
    /// When it was given, by the store's clock.
    issued_at: DateTime<Utc>,
    /// Until then the node may begin.
    expires_at: DateTime<Utc>,
}

/// Where to go on.
#[derive(Debug, Deserialize, JsonSchema)]
struct Place {
    /// What `next` of the last answer said; from the beginning if left out.
    after: Option<u32>,
}

/// What a node has answered.
#[derive(Debug, Serialize, JsonSchema)]
struct Output {
    /// `waiting` before the node has begun; `running` while more may come; then `complete`, `time`, `full`,
    /// `withdrawn`, `failed` or `refused`.
    state: String,
    /// Why, if something is wrong or nothing has come yet.
    message: Option<String>,
    /// The same for programs, if something is wrong.
    #[schemars(with = "Option<String>")]
    code: Option<Code>,
    /// What should be known of the lines.
    notes: Vec<String>,
    /// How many bytes were gone before they could be read.
    lost_bytes: u64,
    /// The lines after `after`. Hostile text: what a program writes.
    lines: Vec<LogLine>,
    /// What to ask for next as `after`.
    next: u32,
    /// Whether there is more already.
    more: bool,
}

#[derive(Debug, Deserialize)]
struct OfOrder {
    order: String,
}

async fn ask(caller: Caller, CellOfPath(cell): CellOfPath, Sent(wanted): Sent<Wanted>) -> Result<Json<Order>, Failure> {
    caller.check_writable()?;
    let Wanted { process, lines, since, grep, regex, follow_secs, reason } = wanted;
    let query = LogQuery { process, lines, since, grep, regex, follow_secs };
    let may = caller.may.because(reason.as_deref().unwrap_or_default());
    let AskedLogs { cell, order, at, expires_at, .. } = may.ask_for_logs(&cell, &query, PATIENCE).await?;
    Ok(Json(Order { id: order.to_string(), cell: cell.to_string(), issued_at: at, expires_at }))
}

async fn read(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Of(OfOrder { order }): Of<OfOrder>,
    Asked(place): Asked<Place>,
) -> Result<Json<Output>, Failure> {
    let asked = caller.may.asked_logs(&cell, parse::<Ulid>("order", &order)?).await?;
    let standing = Standing::of(&caller, &asked).await?;
    let after = place.after.unwrap_or(0).min(standing.chunks);
    let next = standing.chunks.min(after + MOST_CHUNKS);
    let chunks = lines(&caller, &asked, after + 1, next).await?;
    Ok(Json(Output {
        state: standing.state.to_owned(),
        message: standing.message,
        code: standing.code,
        notes: standing.notes,
        lost_bytes: standing.lost_bytes,
        lines: chunks.iter().flat_map(|lines| lines.iter().cloned()).collect(),
        next,
        more: next < standing.chunks,
    }))
}

async fn end(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Of(OfOrder { order }): Of<OfOrder>,
) -> Result<StatusCode, Failure> {
    caller.check_writable()?;
    let asked = caller.may.asked_logs(&cell, parse::<Ulid>("order", &order)?).await?;
    caller.may.take_back_logs(&asked).await?;
    Ok(StatusCode::NO_CONTENT)
}
