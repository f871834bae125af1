//! `/cells/{node}/{cell}/output`: asking for what a cell's programs write, and following it.

use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use ulid::Ulid;

use super::frame::{Frame, Tab};
use crate::access::AccessError;
use crate::controller::AskedLogs;
use crate::model::answer::LogLine;
use crate::model::order::LogQuery;
use crate::model::users::Role;
use crate::model::{CellId, ProcessName, text};
use crate::store::ErrorKind;
use crate::web::failure::Failure;
use crate::web::output::{PATIENCE, Standing, lines};
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;
use crate::yaml::HumanDuration;

/// How many lines a page shows at least, if there are so many; it ends with a whole chunk.
const LINES: usize = 1_000;

/// Chunks that are looked at together, and at most, for one page.
const BATCH: u32 = 4;
const MOST_CHUNKS: u32 = 400;

/// For how long what comes can be followed, and in words.
const FOLLOWS: [(&str, &str); 4] =
    [("", "No"), ("1m", "For a minute"), ("10m", "For 10 minutes"), ("1h", "For an hour")];

/// What the form sends back.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Sent {
    lines: String,
    process: String,
    since: String,
    grep: String,
    regex: Option<String>,
    follow: String,
}

impl Default for Sent {
    fn default() -> Self {
        let none = String::new;
        let (lines, follow) = ("100".to_owned(), "10m".to_owned());
        Self { lines, process: none(), since: none(), grep: none(), regex: None, follow }
    }
}

impl Sent {
    /// An error is what is wrong, for whoever filled the form in.
    fn query(&self, now: DateTime<Utc>) -> Result<LogQuery, String> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let span = |text: &str| text.parse::<HumanDuration>().map(|HumanDuration(span)| span).ok();
        let process = given(&self.process).map(ProcessName::new).transpose().map_err(|error| error.to_string())?;
        let lines = self.lines.trim().parse().map_err(|_| "Say how many lines, as a number.".to_owned())?;
        let since = given(&self.since).map(|text| {
            let ago = span(&text).and_then(|ago| TimeDelta::from_std(ago).ok()).map(|ago| now - ago);
            ago.or_else(|| text.parse().ok()).ok_or("Say since when as 2h, or as 2026-03-01T12:00:00Z.")
        });
        let follow = given(&self.follow).map(|text| span(&text).ok_or("Say how long to follow, as 10m."));
        let follow_secs = follow.transpose()?.map(|span| u32::try_from(span.as_secs()).unwrap_or(u32::MAX));
        let (grep, regex) = (Some(self.grep.clone()).filter(|text| !text.is_empty()), self.regex.is_some());
        let query = LogQuery { process, lines, since: since.transpose()?, grep, regex, follow_secs };
        query.check().map(|()| query)
    }
}

#[derive(Template)]
#[template(path = "cell/output.html")]
struct FormPage<'a> {
    shell: Shell,
    frame: Frame,
    sent: &'a Sent,
    /// Whether who looks may ask.
    may_ask: bool,
    error: Option<String>,
}

impl FormPage<'_> {
    fn follows(&self) -> [(&'static str, &'static str, bool); 4] {
        FOLLOWS.map(|(value, words)| (value, words, value == self.sent.follow))
    }
}

pub(super) async fn form(page: PageContext, CellOfPath(cell): CellOfPath) -> Result<Response, Failure> {
    show(&page, &cell, &Sent::default(), StatusCode::OK, None).await
}

async fn show(
    page: &PageContext,
    cell: &CellId,
    sent: &Sent,
    status: StatusCode,
    error: Option<String>,
) -> Result<Response, Failure> {
    let frame = Frame::read(page, cell, Tab::Output).await?;
    let may_ask = page.may().identity().may(Role::Operator, cell);
    let shell = page.shell(format!("Output of {cell}"), Nav::Cells, format!("fleetman logs {cell}"));
    page.render_with(status, &FormPage { shell, frame, sent, may_ask, error })
}

pub(super) async fn ask(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let unusable = StatusCode::UNPROCESSABLE_ENTITY;
    let query = match sent.query(page.caller.portal.clock.now()) {
        Ok(query) => query,
        // Whoever may not ask is told so first.
        Err(error) if page.may().identity().may(Role::Operator, &cell) => {
            return show(&page, &cell, &sent, unusable, Some(error)).await;
        }
        Err(_) => LogQuery::default(),
    };
    match page.may().ask_for_logs(&cell, &query, PATIENCE).await {
        Ok(asked) => Ok(page.lead_to(&format!("/cells/{cell}/output/{}", asked.order))),
        Err(AccessError::Controller(error)) if error.kind() == ErrorKind::Invalid => {
            show(&page, &cell, &sent, unusable, Some(error.to_string())).await
        }
        Err(error) => Err(error.into()),
    }
}

/// The order of a path with `{order}`, besides its cell.
#[derive(Debug, Deserialize)]
pub(super) struct OfOrder {
    order: String,
}

impl OfOrder {
    async fn asked(&self, page: &PageContext, cell: &CellId) -> Result<AskedLogs, Failure> {
        let order: Ulid = self.order.parse().map_err(|_| Failure::not_found(format!("order {:?}", self.order)))?;
        Ok(page.may().asked_logs(cell, order).await?)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Piece {
    /// The chunk that the piece ends with.
    until: Option<u32>,
}

#[derive(Template)]
#[template(path = "cell/output_read.html")]
struct ReadPage {
    shell: Shell,
    frame: Frame,
    asked: AskedLogs,
    standing: Standing,
    state: State,
    shown: Vec<Shown>,
    /// The chunk that the piece before this one ends with.
    earlier: Option<u32>,
    is_newest: bool,
}

/// A line that is safe to show.
struct Shown {
    at: String,
    process: String,
    text: String,
}

impl From<&LogLine> for Shown {
    fn from(line: &LogLine) -> Self {
        let at = line.at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)).unwrap_or_default();
        let process = text::line(line.process.as_deref().unwrap_or_default());
        Self { at, process, text: text::lines(&line.text) }
    }
}

pub(super) async fn read(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Path(order): Path<OfOrder>,
    Query(piece): Query<Piece>,
) -> Result<Response, Failure> {
    let asked = order.asked(&page, &cell).await?;
    let frame = Frame::read(&page, &cell, Tab::Output).await?;
    let standing = Standing::of(&page.caller, &asked).await?;
    let last = piece.until.unwrap_or(standing.chunks).min(standing.chunks);
    let (mut first, mut shown) = (last + 1, Vec::new());
    while first > 1 && shown.len() < LINES && last - (first - 1) < MOST_CHUNKS {
        let next = first.saturating_sub(BATCH).max(1);
        let chunks = lines(&page.caller, &asked, next, first - 1).await?;
        let mut before: Vec<Shown> = chunks.iter().flat_map(|lines| lines.iter().map(Shown::from)).collect();
        before.append(&mut shown);
        (first, shown) = (next, before);
    }
    let is_newest = piece.until.is_none();
    let cli = command(&asked);
    let title = format!("Output of {cell}");
    let shell = match is_newest {
        true => page.live_shell(title, Nav::Cells, cli),
        false => page.shell(title, Nav::Cells, cli),
    };
    let state = words(&standing);
    let earlier = (first > 1).then(|| first - 1);
    page.render(&ReadPage { shell, frame, asked, standing, state, shown, earlier, is_newest })
}

pub(super) async fn end(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Path(order): Path<OfOrder>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let asked = order.asked(&page, &cell).await?;
    page.may().take_back_logs(&asked).await?;
    Ok(page.lead_to(&format!("/cells/{cell}/output")))
}

/// The command that asks for the same.
fn command(asked: &AskedLogs) -> String {
    let AskedLogs { cell, query, .. } = asked;
    let mut command = format!("fleetman logs {cell} -n {}", query.lines);
    let mut add = |option: &str, value: &str| command.push_str(&format!(" {option} {value}"));
    if let Some(process) = &query.process {
        add("--process", process.as_str());
    }
    if let Some(since) = query.since {
        add("--since", &since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    }
    if let Some(grep) = &query.grep {
        add("--grep", &format!("'{}'", grep.replace('\'', "'\\''")));
    }
    if query.regex {
        command.push_str(" -E");
    }
    if let Some(secs) = query.follow_secs {
        command.push_str(&format!(" -f --for {secs}s"));
    }
    command
}

fn words(standing: &Standing) -> State {
    let (kind, word) = match standing.state {
        "waiting" => ("busy", "Waiting for the node"),
        "running" => ("busy", "Following"),
        "complete" => ("good", "Complete"),
        "time" => ("off", "The time is over"),
        "full" => ("warn", "As much as one answer may have"),
        "withdrawn" => ("warn", "The agent ended"),
        "refused" => ("bad", "Refused"),
        "failed" => ("bad", "Failed"),
        _ => ("unknown", "Ended"),
    };
    State { kind, word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_asks_for_what_it_says_or_tells_what_is_wrong() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let usual = Sent::default().query(now).unwrap();
        assert_eq!(usual, LogQuery { follow_secs: Some(600), ..LogQuery::last(100) });
        let text = str::to_owned;
        let sent = Sent {
            lines: text(" 5 "),
            process: text("main"),
            since: text("2h"),
            grep: text("it's"),
            regex: Some(text("on")),
            follow: String::new(),
        };
        let query = sent.query(now).unwrap();
        assert_eq!(query.since, Some(now - TimeDelta::hours(2)));
        let asked = AskedLogs {
            cell: "n1/web".parse().unwrap(),
            order: Ulid::nil(),
            query,
            by: "alice".parse().unwrap(),
            at: now,
            expires_at: now,
        };
        let expected = "fleetman logs n1/web -n 5 --process main --since 2027-01-15T06:00:00Z --grep 'it'\\''s' -E";
        assert_eq!(command(&asked), expected);
        for bad in [
            Sent { lines: text("many"), ..sent.clone() },
            Sent { lines: text("10001"), ..sent.clone() },
            Sent { process: text("M A"), ..sent.clone() },
            Sent { since: text("then"), ..sent.clone() },
            Sent { grep: text("("), ..sent.clone() },
            Sent { follow: text("2h"), ..sent },
        ] {
            assert!(bad.query(now).is_err(), "{bad:?}");
        }
    }
}
