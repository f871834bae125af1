//! `/cells/{node}/{cell}/log?at=&attempt=`: what the node wrote while it carried out a change.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Tab};
use super::history::place;
use super::words;
use crate::controller::{Attempts, LogPiece, LogPlace, PastAttempt};
use crate::model::keys::AttemptId;
use crate::model::outcome::Outcome;
use crate::model::{CellId, Floor, ObjectKey};
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// How many changes back attempts are listed.
const TRIGGERS: usize = 20;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// The trigger.
    at: Option<String>,
    attempt: Option<u32>,
    /// The byte that the piece begins at.
    from: Option<u64>,
    /// The byte that the piece ends before.
    until: Option<u64>,
}

impl Asked {
    fn place(&self) -> LogPlace {
        match (self.from, self.until) {
            (Some(from), _) => LogPlace::From(from),
            (None, Some(until)) => LogPlace::Until(until),
            (None, None) => LogPlace::End,
        }
    }
}

#[derive(Template)]
#[template(path = "cell/log.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    shown: Option<Shown>,
    others: Vec<(PastAttempt, State)>,
}

/// The attempt whose log is shown.
struct Shown {
    attempt: PastAttempt,
    state: State,
    piece: Option<LogPiece>,
    size: String,
    key: ObjectKey,
}

impl Shown {
    fn outcome(&self) -> Option<&Outcome> {
        self.attempt.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok())
    }

    /// Where the lines before this piece are: the query of the address.
    fn earlier(&self, piece: &LogPiece) -> Option<String> {
        (piece.start > 0).then(|| self.piece("until", piece.start))
    }

    /// Where those after it are.
    fn later(&self, piece: &LogPiece) -> Option<String> {
        (piece.end < piece.size).then(|| self.piece("from", piece.end))
    }

    fn piece(&self, which: &str, byte: u64) -> String {
        format!("at={}&attempt={}&{which}={byte}", self.attempt.id.floor, self.attempt.id.attempt)
    }
}

pub(super) async fn log(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let at = place("at", asked.at.as_ref())?;
    let frame = Frame::read(&page, &cell, Tab::Log).await?;
    let past = page.may().past(&cell, None, TRIGGERS).await?;
    let others: Vec<PastAttempt> = past.triggers.into_iter().flat_map(|past| past.attempts.newest).collect();
    let chosen = match at {
        None => others.iter().find(|attempt| attempt.log.is_some()).cloned(),
        Some(at) => Some(attempt_at(&page, &cell, at, asked.attempt, &others).await?),
    };
    let shown = match chosen {
        Some(attempt) => Some(show(&page, attempt, asked.place()).await?),
        None => None,
    };
    // What is under way is looked at again as the node goes on, from its end.
    let is_growing = shown.as_ref().is_some_and(|shown| shown.attempt.outcome.is_none());
    let title = format!("Log of {cell}");
    let cli = match &shown {
        Some(Shown { attempt: PastAttempt { id, .. }, .. }) => {
            format!("fleetman attempts {cell} --at {} --attempt {} --log", id.floor, id.attempt)
        }
        None => format!("fleetman attempts {cell}"),
    };
    let shell = match is_growing && asked.place() == LogPlace::End {
        true => page.live_shell(title, Nav::Cells, cli),
        false => page.shell(title, Nav::Cells, cli),
    };
    let others = others.into_iter().map(|attempt| {
        let state = words::attempt(&attempt);
        (attempt, state)
    });
    page.render(&Page { shell, frame, shown, others: others.collect() })
}

/// The attempt that was asked for: the last one at its trigger if none is named.
async fn attempt_at(
    page: &PageContext,
    cell: &CellId,
    at: Floor,
    number: Option<u32>,
    known: &[PastAttempt],
) -> Result<PastAttempt, Failure> {
    let is_it =
        |attempt: &&PastAttempt| attempt.id.floor == at && number.is_none_or(|number| attempt.id.attempt == number);
    if let Some(attempt) = known.iter().find(is_it) {
        return Ok(attempt.clone());
    }
    let Attempts { newest, .. } = page.may().attempts_at(cell, at).await?;
    match (newest.iter().find(is_it), number) {
        (Some(attempt), _) => Ok(attempt.clone()),
        // It may be older than those that are listed; whether it has a log is seen when it is read.
        (None, Some(attempt)) => {
            let id = AttemptId { cell: cell.clone(), floor: at, attempt };
            Ok(PastAttempt { id, outcome: None, log: None })
        }
        (None, None) => Err(Failure::not_found(format!("attempt of {cell} at generation {at}"))),
    }
}

async fn show(page: &PageContext, attempt: PastAttempt, place: LogPlace) -> Result<Shown, Failure> {
    let piece = match page.may().attempt_log(&attempt.id, place).await {
        Ok(piece) => Some(piece),
        // The outcome may come before the log, or without one.
        Err(_) if attempt.outcome.is_some() && attempt.log.is_none() => None,
        Err(error) => return Err(error.into()),
    };
    let size = piece.as_ref().map(|piece| size(piece.size)).unwrap_or_default();
    let key = ObjectKey::AttemptLog(attempt.id.clone());
    Ok(Shown { state: words::attempt(&attempt), attempt, piece, size, key })
}
