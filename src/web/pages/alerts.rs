//! `/alerts`: what is wrong and was told, what was wrong lately, and what could not be told.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use crate::controller::in_short;
use crate::model::alert::{Alert, AlertSubject, Alerts};
use crate::web::failure::Failure;
use crate::web::list::{Asked, Pager, grouped};
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// Open alerts are shown in parts of so many.
const AT_ONCE: usize = 50;

/// So many that are over are shown, and so many messages.
const MOST_PAST: usize = 50;

pub(super) fn routes() -> Routes {
    Routes::new().get("/alerts", page)
}

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
    /// What is told only to who may see everything.
    messages: Option<Messages>,
}

/// One alert.
struct Row {
    severity: State,
    kind: &'static str,
    subject: String,
    href: Option<String>,
    message: String,
    since: DateTime<Utc>,
    resolved_at: Option<DateTime<Utc>>,
    state: &'static str,
}

/// Silences, and messages on their way or past.
struct Messages {
    silences: Vec<Silenced>,
    rows: Vec<Message>,
}

struct Silenced {
    covers: String,
    by: String,
    reason: String,
    until: DateTime<Utc>,
}

struct Message {
    at: DateTime<Utc>,
    receiver: String,
    about: String,
    tries: u32,
    state: State,
    problem: String,
}

async fn page(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let shell = page.live_shell("Alerts", Nav::Alerts, "fleetman alerts".to_owned());
    let known = page.caller.fleet.alerts.known();
    let alerts = &known.alerts;
    let mut open: Vec<&Alert> = alerts.open.iter().filter(|alert| page.may().sees_alert(&alert.subject)).collect();
    open.sort_by_key(|alert| (alert.severity, alert.key()));
    let pager = asked.pager_of(open.len(), open.len(), AT_ONCE);
    let resolved = alerts.resolved.iter().filter(|it| page.may().sees_alert(&it.alert.subject)).take(MOST_PAST);
    let resolved = resolved.map(|it| Row { resolved_at: Some(it.resolved_at), ..row(&it.alert, &shell) });
    let sees_all = page.may().check_alert_messages().is_ok();
    let unlisted = usize::try_from(alerts.unlisted).ok().filter(|count| sees_all && *count > 0);
    page.render(&Page {
        problem: known.problem.filter(|_| sees_all),
        open: open[pager.from..pager.to].iter().map(|alert| row(alert, &shell)).collect(),
        unlisted: unlisted.map(grouped),
        resolved: resolved.collect(),
        messages: sees_all.then(|| messages(alerts)),
        pager,
        shell,
    })
}

fn row(alert: &Alert, shell: &Shell) -> Row {
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
            (false, false) => "not told to anybody yet",
        },
    }
}

fn messages(alerts: &Alerts) -> Messages {
    let silences = alerts.silences.iter().map(|it| Silenced {
        covers: it.scope.to_string(),
        by: it.by.to_string(),
        reason: it.reason.clone(),
        until: it.until,
    });
    let waiting = alerts.deliveries.iter().map(|it| Message {
        at: it.created_at,
        receiver: it.receiver.clone(),
        about: in_short(&it.notice),
        tries: it.tries,
        state: if it.tries == 0 { State::new("busy", "On its way") } else { State::new("warn", "Tried again") },
        problem: it.problem.clone().unwrap_or_default(),
    });
    let finished = alerts.finished.iter().map(|it| Message {
        at: it.at,
        receiver: it.receiver.clone(),
        about: it.about.clone(),
        tries: it.tries,
        state: if it.problem.is_some() { State::new("bad", "Given up") } else { State::new("good", "Sent") },
        problem: it.problem.clone().unwrap_or_default(),
    });
    Messages { silences: silences.collect(), rows: waiting.chain(finished).take(MOST_PAST).collect() }
}
