//! What is wrong and was told, what was wrong lately, what is silenced, and what could not be told.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::controller::in_short;
use crate::model::alert::{Acknowledgement, Alert, AlertSubject, Alerts, Silence, SilenceScope};
use crate::model::users::Role;
use crate::web::address::with_query;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Pager, grouped};
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// Open alerts are shown in parts of so many.
const AT_ONCE: usize = 50;

/// So many that are over are shown, and so many messages.
const MOST_PAST: usize = 50;

#[derive(Template)]
#[template(path = "alerts/page.html")]
struct Page {
    shell: Shell,
    /// Why what was decided cannot be written, if so.
    problem: Option<String>,
    open: Vec<Row>,
    pager: Pager,
    /// How many more are open than can be listed.
    unlisted: Option<String>,
    resolved: Vec<Row>,
    silences: Vec<Silenced>,
    /// Told only to who may see everything.
    messages: Option<Vec<MessageRow>>,
    /// Whether anybody is told of alerts at all.
    is_told: bool,
    /// Whether the user may silence or acknowledge anything at all.
    may_silence: bool,
    /// Whom this controller tells, and how; told only to who may try it out.
    receivers: Option<Vec<(String, &'static str)>>,
}

/// One alert.
pub(super) struct Row {
    severity: State,
    pub(super) kind: &'static str,
    pub(super) subject: String,
    pub(super) href: Option<String>,
    pub(super) message: String,
    pub(super) since: DateTime<Utc>,
    resolved_at: Option<DateTime<Utc>>,
    state: &'static str,
    /// Who has seen it.
    seen: Option<Acknowledgement>,
    /// Where it can be silenced.
    silence: Option<String>,
    /// Where somebody can say that they have seen it, or take that back.
    acknowledge: Option<String>,
}

struct Silenced {
    it: Silence,
    /// Where it can be ended.
    end: Option<String>,
}

/// A message about alerts.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::web) struct Message {
    /// When it was made, or what became of it was settled, by the store's clock.
    at: DateTime<Utc>,
    /// To whom, by the receiver's name in the config.
    receiver: String,
    /// What it says, in short.
    about: String,
    /// How often it was tried.
    tries: u32,
    /// What became of it.
    state: MessageState,
    /// Why the last try failed, or why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum MessageState {
    /// It is about to be sent.
    Waiting,
    /// It could not be sent so far.
    TriedAgain,
    /// The receiver took it.
    Sent,
    /// It is not tried any more.
    GivenUp,
}

impl From<MessageState> for State {
    fn from(state: MessageState) -> Self {
        match state {
            MessageState::Waiting => Self::new("busy", "On its way"),
            MessageState::TriedAgain => Self::new("warn", "Tried again"),
            MessageState::Sent => Self::new("good", "Sent"),
            MessageState::GivenUp => Self::new("bad", "Given up"),
        }
    }
}

/// A message, dressed.
struct MessageRow {
    it: Message,
    state: State,
}

impl From<Message> for MessageRow {
    fn from(it: Message) -> Self {
        Self { state: it.state.into(), it }
    }
}

pub(super) async fn page(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let shell = page.live_shell("Alerts", Nav::Alerts, "fleetman alerts".to_owned());
    let known = page.caller.fleet.alerts.known();
    let alerts = &known.alerts;
    let mut open: Vec<&Alert> = alerts.open.iter().filter(|alert| page.may().sees_alert(&alert.subject)).collect();
    open.sort_by_key(|alert| (alert.severity, alert.key()));
    let pager = asked.pager_of(open.len(), open.len(), AT_ONCE);
    let resolved = alerts.resolved.iter().filter(|it| page.may().sees_alert(&it.alert.subject)).take(MOST_PAST);
    let resolved = resolved.map(|it| Row { resolved_at: Some(it.resolved_at), ..row(&it.alert, &shell) });
    let sees_all = page.may().check_alert_messages().is_ok();
    // Another controller of the fleet may have receivers, and has left its mark if it told any of them.
    let is_told = !page.caller.fleet.receivers.is_empty() || !alerts.receivers.is_empty();
    let silences = alerts.silences.iter().filter(|it| page.may().sees_silence(it)).map(|it| {
        let id = it.id.to_string();
        let end = page.may().check_silence(&it.scope).is_ok();
        Silenced {
            end: end.then(|| shell.link(&with_query("/alerts/unsilence", [("id", id.as_str())]))),
            it: it.clone(),
        }
    });
    let unlisted = usize::try_from(alerts.unlisted).ok().filter(|count| sees_all && *count > 0);
    let receivers = page.caller.fleet.receivers.names().map(|(name, channel)| (name.to_owned(), channel));
    page.render(&Page {
        receivers: page.may().check_try_receivers().is_ok().then(|| receivers.collect()),
        problem: known.problem.filter(|_| sees_all),
        open: open[pager.from..pager.to].iter().map(|alert| open_row(alert, is_told, &page, &shell)).collect(),
        unlisted: unlisted.map(grouped),
        resolved: resolved.collect(),
        silences: silences.collect(),
        messages: sees_all.then(|| messages(alerts).take(MOST_PAST).map(MessageRow::from).collect()),
        is_told,
        may_silence: page.may().need_anywhere(Role::Operator, "silences").is_ok(),
        pager,
        shell,
    })
}

/// One that is open, and where it can be silenced.
fn open_row(alert: &Alert, is_told: bool, page: &PageContext, shell: &Shell) -> Row {
    let (node, cell) = match &alert.subject {
        AlertSubject::Bucket => (None, None),
        AlertSubject::Node(node) => (Some(node), None),
        AlertSubject::Cell(cell) => (Some(&cell.node), Some(&cell.cell)),
    };
    let scope = SilenceScope { kind: Some(alert.kind), node: node.cloned(), cell: cell.cloned() };
    let silence = (!alert.silenced && page.may().check_silence(&scope).is_ok()).then(|| {
        let fields = [
            ("type", alert.kind.as_str()),
            ("node", node.map_or("", |name| name.as_str())),
            ("cell", cell.map_or("", |name| name.as_str())),
        ];
        shell.link(&with_query("/alerts/silence", fields))
    });
    let path = if alert.acknowledged.is_some() { "/alerts/unack" } else { "/alerts/ack" };
    let acknowledge = page.may().check_acknowledge(&alert.subject).is_ok();
    let acknowledge = acknowledge.then(|| shell.link(&with_query(path, [("alert", alert.key().to_string().as_str())])));
    let row = row(alert, shell);
    // That it was not told means something only where somebody is to be told.
    let state = if is_told || alert.silenced || alert.told { row.state } else { "open" };
    Row { silence, acknowledge, state, ..row }
}

pub(super) fn row(alert: &Alert, shell: &Shell) -> Row {
    let (subject, path) = match &alert.subject {
        AlertSubject::Bucket => ("Bucket".to_owned(), None),
        AlertSubject::Node(node) => (format!("Agent {node}"), Some(format!("/agents/{node}"))),
        AlertSubject::Cell(cell) => (format!("Cell {cell}"), Some(format!("/cells/{cell}"))),
    };
    Row {
        severity: alert.severity.into(),
        kind: alert.kind.in_words(),
        subject,
        href: path.map(|path| shell.link(&path)),
        message: alert.message.clone(),
        since: alert.since,
        resolved_at: None,
        state: match (alert.silenced, alert.told) {
            (true, _) => "silenced",
            (false, true) => "told",
            (false, false) => "not told yet",
        },
        seen: alert.acknowledged.clone(),
        silence: None,
        acknowledge: None,
    }
}

/// Messages about alerts: those on their way, the oldest first, then those that are over, the newest first.
pub(in crate::web) fn messages(alerts: &Alerts) -> impl Iterator<Item = Message> {
    let waiting = alerts.deliveries.iter().map(|it| Message {
        at: it.created_at,
        receiver: it.receiver.clone(),
        about: in_short(&it.notice),
        tries: it.tries,
        state: if it.tries == 0 { MessageState::Waiting } else { MessageState::TriedAgain },
        problem: it.problem.clone(),
    });
    let finished = alerts.finished.iter().map(|it| Message {
        at: it.at,
        receiver: it.receiver.clone(),
        about: it.about.clone(),
        tries: it.tries,
        state: if it.problem.is_some() { MessageState::GivenUp } else { MessageState::Sent },
        problem: it.problem.clone(),
    });
    waiting.chain(finished)
}
