//! The page of an instant, and of what changed until another.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Query, cells, moment, written};
use crate::controller::{Answer, CellAt, Changes, InstantChange, Scope, Wished};
use crate::web::address::{Asked, with_query};
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// What the form asks for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Form {
    #[serde(flatten)]
    query: Query,
    /// The later instant, if two are compared.
    #[serde(default)]
    to: String,
}

#[derive(Template)]
#[template(path = "instants/show.html")]
struct Page {
    shell: Shell,
    form: Form,
    /// What of the form makes no sense.
    refused: Option<String>,
    shown: Option<Shown>,
}

/// What the form means.
struct Meant {
    scope: Scope,
    time: DateTime<Utc>,
    /// The later instant, if two are compared.
    to: Option<DateTime<Utc>>,
}

/// What there was.
struct Shown {
    time: DateTime<Utc>,
    /// The same, as addresses write it.
    written: String,
    /// The cells at that instant, unless two are compared.
    cells: Vec<Row>,
    /// The later instant, and what changed until then.
    changed: Option<(DateTime<Utc>, Vec<Changed>)>,
    /// Cells that were not looked at.
    more: usize,
    /// Where going back is asked for.
    revert: String,
}

/// A cell, dressed.
struct Row {
    at: CellAt,
    kind: &'static str,
    word: &'static str,
    /// Why the wish failed, if it did.
    why: String,
}

/// A cell that changed.
struct Changed {
    change: InstantChange,
    differs: String,
}

impl From<CellAt> for Row {
    fn from(at: CellAt) -> Self {
        let (kind, word) = match &at.answer {
            Answer::None => ("off", "Nothing wished"),
            Answer::NotConfirmed => ("warn", "Not confirmed"),
            Answer::Confirmed { .. } => ("good", "Confirmed"),
            Answer::Failed { rolled_back: true, .. } => ("bad", "Rolled back"),
            Answer::Failed { .. } => ("bad", "Failed"),
        };
        let why = match &at.answer {
            Answer::Failed { code, message, .. } => {
                let why = [code.map(|code| code.to_string()), message.clone()];
                why.into_iter().flatten().collect::<Vec<_>>().join(": ")
            }
            _ => String::new(),
        };
        Self { at, kind, word, why }
    }
}

pub(super) async fn page(page: PageContext, Asked(form): Asked<Form>) -> Result<Response, Failure> {
    let asked = form.read(&page);
    let argument = form.query.argument();
    let cli = match &asked {
        Ok(Meant { time, to: None, .. }) => format!("fleetman at {}{argument}", written(*time)),
        Ok(Meant { time, to: Some(to), .. }) => {
            format!("fleetman diff --from-time {} --to-time {}{argument}", written(*time), written(*to))
        }
        Err(_) => format!("fleetman at {}", quoted("2h ago")),
    };
    let shell = page.shell("At a time", Nav::Cells, cli);
    let (shown, refused) = match asked {
        Ok(meant) => (Some(show(&page, &shell, &form, &meant).await?), None),
        Err(why) => (None, Some(why)),
    };
    let status = if refused.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    page.render_with(status, &Page { shell, form, refused, shown })
}

impl Form {
    fn read(&self, page: &PageContext) -> Result<Meant, String> {
        let (scope, time) = (self.query.scope()?, self.query.time(page)?);
        let to = match self.to.trim() {
            "" => None,
            to => Some(moment(to, page)?),
        };
        if to.is_some_and(|to| to < time) {
            return Err("the later instant is before the earlier one".to_owned());
        }
        Ok(Meant { scope, time, to })
    }
}

async fn show(page: &PageContext, shell: &Shell, form: &Form, meant: &Meant) -> Result<Shown, Failure> {
    let Meant { scope, time, to } = meant;
    let time = *time;
    let (cells, more) = cells(page, scope).await?;
    let revert =
        with_query(&shell.link("/at/revert"), [("time", written(time).as_str()), ("place", form.query.place.trim())]);
    let mut shown = Shown { time, written: written(time), cells: Vec::new(), changed: None, more, revert };
    match *to {
        Some(to) => {
            let changed = page.may().changed_between(cells, time, to).await?;
            let changed = changed.into_iter().map(|change| {
                let differs = change.changes.as_ref().map(Changes::summary).unwrap_or_default();
                Changed { change, differs }
            });
            shown.changed = Some((to, changed.collect()));
        }
        None => {
            let chronicles = page.may().chronicles(cells, time).await?;
            let at = chronicles.iter().map(|chronicle| chronicle.at(time));
            // Of many, those that were not there yet are of no interest.
            let is_told = |cell: &CellAt| cell.wished != Wished::Nothing || matches!(scope, Scope::Cell(_));
            shown.cells = at.filter(is_told).map(Row::from).collect();
        }
    }
    Ok(shown)
}
