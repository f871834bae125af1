//! An override that was sent, beside the one whose place it takes.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::{Sent, Waiting};
use crate::controller::{ControllerError, TextDiff};
use crate::model::{CellId, FilePath, ObjectKey};
use crate::web::changes::{self, Block};
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::cell_inputs::{above_override, barred, saved};
use crate::web::pages::editor::{if_there, unless_changed};
use crate::web::pages::sides::{self, Facts, Side};
use crate::web::shell::{Nav, Shell};

/// A longer file is not compared line by line.
const MOST_TEXT_BYTES: u64 = 1 << 20;

#[derive(Template)]
#[template(path = "uploads/override.html")]
struct Page {
    shell: Shell,
    above: Vec<(String, String)>,
    action: String,
    /// What is there; of nothing, that it is not.
    now: Facts,
    /// What was sent.
    sent: Facts,
    /// What was seen and what is there now, where they differ.
    sides: Option<[Side; 2]>,
    /// Why there are no lines, if that needs saying.
    note: &'static str,
    lines: Vec<Block>,
    until: DateTime<Utc>,
    reason: String,
    failure: Option<String>,
    barred: Option<String>,
}

pub(super) async fn review(
    page: &PageContext,
    waiting: &Waiting,
    (cell, path): (&CellId, &FilePath),
    sent: &Sent,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let spool = &waiting.staged.spool;
    let arrived = spool.only().ok_or_else(|| Failure::not_found("file in this upload"))?;
    let now = Facts::of(page.may().override_facts(cell, path).await?.as_ref());
    let seen = Facts::read(&sent.seen);
    let sides = match seen == now {
        true => None,
        false => {
            let key = ObjectKey::Override(cell.clone(), path.clone());
            Some(sides::both(page, &key, seen, now.clone()).await?)
        }
    };
    let diff = if now.sha256 == Some(arrived.sha256) {
        TextDiff::Same
    } else if now.size.max(arrived.size) > MOST_TEXT_BYTES {
        TextDiff::TooLarge
    } else {
        let before = if_there(page.may().get_override(cell, path).await)?;
        let after = spool.read_first().await.map_err(ControllerError::from)?;
        TextDiff::between(before.as_ref().map_or(&[], |before| &before.bytes), &after)
    };
    let (note, lines) = match &diff {
        TextDiff::Text(unified) => ("", changes::lines(unified)),
        TextDiff::Same => ("It is there already, byte for byte: nothing would change.", Vec::new()),
        TextDiff::TooLarge => ("It is too large to be compared line by line.", Vec::new()),
        _ => ("It is no text, so that there are no lines to compare.", Vec::new()),
    };
    let cli = format!("fleetman override put {cell} {} <file>", quoted(path.as_str()));
    let shell = page.shell(format!("Review override {path}"), Nav::Cells, cli);
    page.render_with(
        failed.map_or(StatusCode::OK, Failure::status),
        &Page {
            shell,
            above: above_override(page, cell),
            action: page.link(&format!("/uploads/{}", waiting.id)),
            now,
            sent: Facts { size: arrived.size, sha256: Some(arrived.sha256), ..Facts::default() },
            sides,
            note,
            lines,
            until: waiting.staged.until,
            reason: sent.reason.clone(),
            failure: failed.map(|failure| failure.detail().to_owned()),
            barred: barred(page, cell),
        },
    )
}

/// Writes it, unless what is there is no longer what was looked at.
pub(super) async fn confirm(
    page: &PageContext,
    waiting: &Waiting,
    of: (&CellId, &FilePath),
    sent: &Sent,
) -> Result<Response, Failure> {
    let (cell, path) = of;
    let taken = waiting.take(page)?;
    let bytes = taken.staged().spool.read_first().await.map_err(ControllerError::from)?;
    let known = Facts::read(&sent.seen).known();
    let written = page.may().because(&sent.reason).put_override(cell, path, bytes, &known).await;
    let failure = match unless_changed(written) {
        Ok(Some(_)) => {
            taken.done();
            return Ok(page.lead_to(&saved(cell, path)));
        }
        Ok(None) => {
            let changed = "Somebody else changed it meanwhile. Look at what is there now.";
            Failure::new(StatusCode::CONFLICT, "changed", changed)
        }
        Err(failure) => failure,
    };
    drop(taken);
    review(page, waiting, of, sent, Some(&failure)).await
}
