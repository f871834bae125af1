//! Alerts: what is wrong, what was wrong lately, who is told, and of what nobody is told for a while.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::pages::{Message, messages, no_receiver, tested_lately};
use super::answer::{Has, List, Page};
use super::operation::{Operation, Operations};
use super::request::{Asked, Of, Sent};
use crate::controller::{Fate, Trial};
use crate::model::alert::{Alert, AlertKey, AlertKind, AlertNameError, Silence, SilenceScope};
use crate::model::users::Role;
use crate::model::{CellName, NodeName};

pub(super) fn operations() -> Operations {
    Operations::of("Alerts")
        .get(
            "/api/v1/alerts",
            alerts,
            Operation::new(
                "listAlerts",
                "viewer",
                "Lists the alerts that are open, the worst first, or those that are over.",
            )
            .query::<Which>()
            .gives::<List<Shown>>()
            .cli("fleetman alerts"),
        )
        .get(
            "/api/v1/alerts/messages",
            sent,
            Operation::new("listAlertMessages", "viewer", "Lists messages about alerts, and what became of them.")
                .query::<AtMost>()
                .gives::<List<Message>>()
                .cli("fleetman alerts"),
        )
        .post(
            "/api/v1/alerts/ack",
            acknowledge,
            Operation::new("acknowledgeAlert", "operator", "Notes that the caller has seen an alert that is open.")
                .takes::<Seen>()
                .gives::<Alert>()
                .cli("fleetman alerts ack {alert} --note text"),
        )
        .post(
            "/api/v1/alerts/unack",
            unacknowledge,
            Operation::new("unacknowledgeAlert", "operator", "Takes back that somebody has seen an alert.")
                .takes::<Unseen>()
                .gives::<Alert>()
                .cli("fleetman alerts unack {alert}"),
        )
        .post(
            "/api/v1/alerts/test",
            test,
            Operation::new(
                "testReceiver",
                "admin",
                "Sends a test message to a receiver of alerts, and tells its answer.",
            )
            .takes::<Whom>()
            .gives::<Tested>()
            .also(StatusCode::TOO_MANY_REQUESTS)
            .cli("fleetman alerts test {receiver}"),
        )
        .get(
            "/api/v1/silences",
            silences,
            Operation::new("listSilences", "viewer", "Lists what nobody is told of for a while.")
                .gives::<List<Silence>>()
                .cli("fleetman alerts"),
        )
        .post(
            "/api/v1/silences",
            silence,
            Operation::new("silence", "operator", "Keeps people from being told of some alerts, for a while.")
                .takes::<Quiet>()
                .gives::<Silence>()
                .cli("fleetman alerts silence --node {node} --for 2h --reason text"),
        )
        .delete(
            "/api/v1/silences/{id}",
            end,
            Operation::new("endSilence", "operator", "Ends a silence before its time.")
                .query::<Why>()
                .gives::<Silence>()
                .cli("fleetman alerts unsilence {id}"),
        )
}

/// Which alerts.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// The most entries, 1 to 1,000; 100 if left out. `total` tells how many there are.
    limit: Option<usize>,
    /// Only those of this type.
    #[serde(rename = "type")]
    kind: Option<AlertKind>,
    /// Those that were resolved lately, instead of those that are open.
    resolved: Option<bool>,
}

/// How many.
#[derive(Debug, Deserialize, JsonSchema)]
struct AtMost {
    /// The most entries, 1 to 1,000; 100 if left out. `total` tells how many there are.
    limit: Option<usize>,
}

/// What nobody is to be told of, for how long and why. A type, a node or a cell has to be named.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Quiet {
    /// Only alerts of this type.
    #[serde(rename = "type")]
    kind: Option<AlertKind>,
    /// Only those about this node and what is on it.
    node: Option<NodeName>,
    /// Only those about cells of this name.
    cell: Option<CellName>,
    /// For those who wonder later; it has to be given.
    reason: String,
    /// After so long it ends by itself; it has to be given, and is a year at most.
    #[schemars(range(max = 31_622_400))]
    for_secs: u32,
}

/// What somebody has seen.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// The alert, `<type>:<about>`, such as `rolled_back:cell/n1/web`.
    alert: String,
    /// For the others; it has to be given.
    #[schemars(length(max = 500))]
    note: String,
}

/// What nobody has seen after all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Unseen {
    /// The alert, `<type>:<about>`, such as `rolled_back:cell/n1/web`.
    alert: String,
    /// For the audit.
    #[serde(default)]
    reason: String,
}

/// Who is to get a test message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Whom {
    /// The receiver's name in the config of this controller.
    receiver: String,
}

/// What came of a test message.
#[derive(Debug, Serialize, JsonSchema)]
struct Tested {
    /// The message's id, which the receiver was told.
    #[schemars(with = "String")]
    id: Ulid,
    /// To whom.
    receiver: String,
    /// What came of it.
    result: TestResult,
    /// What the receiver said, or why it was not reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What came of a test message.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TestResult {
    /// The receiver took it.
    Sent,
    /// The receiver was not reached; it may be later.
    NotReached,
    /// The receiver does not want it.
    Refused,
}

/// Why a silence ends.
#[derive(Debug, Deserialize, JsonSchema)]
struct Why {
    /// For the audit.
    reason: Option<String>,
}

/// An alert.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    #[serde(flatten)]
    alert: Alert,
    /// When it was over, by the store's clock, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<DateTime<Utc>>,
}

async fn alerts(caller: Caller, has: Has, Asked(which): Asked<Which>) -> Result<Response, Failure> {
    let limit = Page { limit: which.limit, after: None }.limit()?;
    let view = caller.view()?;
    let known = caller.fleet.alerts.known().alerts;
    let mut all: Vec<(&Alert, Option<DateTime<Utc>>)> = match which.resolved {
        Some(true) => known.resolved.iter().map(|it| (&it.alert, Some(it.resolved_at))).collect(),
        _ => known.open.iter().map(|alert| (alert, None)).collect(),
    };
    all.retain(|(alert, _)| which.kind.is_none_or(|kind| kind == alert.kind) && caller.may.sees_alert(&alert.subject));
    if which.resolved != Some(true) {
        all.sort_by_key(|(alert, _)| (alert.severity, alert.key()));
    }
    let total = Some(all.len());
    let items = all.into_iter().take(limit).map(|(alert, resolved_at)| Shown { alert: alert.clone(), resolved_at });
    has.json(&List { items: items.collect(), total, next: None, snapshot_at: Some(view.at) })
}

async fn sent(caller: Caller, has: Has, Asked(AtMost { limit }): Asked<AtMost>) -> Result<Response, Failure> {
    caller.may.check_alert_messages()?;
    let limit = Page { limit, after: None }.limit()?;
    let known = caller.fleet.alerts.known().alerts;
    let all: Vec<Message> = messages(&known).collect();
    let total = Some(all.len());
    has.json(&List { items: all.into_iter().take(limit).collect(), total, next: None, snapshot_at: None })
}

async fn silences(caller: Caller, has: Has) -> Result<Response, Failure> {
    let known = caller.fleet.alerts.known().alerts;
    // No more than may be made at once.
    let items: Vec<&Silence> = known.silences.iter().filter(|it| caller.may.sees_silence(it)).collect();
    has.json(&List { total: Some(items.len()), items, next: None, snapshot_at: None })
}

async fn silence(caller: Caller, Sent(quiet): Sent<Quiet>) -> Result<Json<Silence>, Failure> {
    caller.may.need_anywhere(Role::Operator, "silences")?;
    caller.check_writable()?;
    let Quiet { kind, node, cell, reason, for_secs } = quiet;
    let (scope, lasts) = (SilenceScope { kind, node, cell }, TimeDelta::seconds(for_secs.into()));
    Ok(Json(caller.may.silence(&caller.fleet.alerts, scope, &reason, lasts).await?))
}

async fn end(caller: Caller, Of(id): Of<String>, Asked(why): Asked<Why>) -> Result<Json<Silence>, Failure> {
    caller.may.need_anywhere(Role::Operator, "silences")?;
    caller.check_writable()?;
    let absent = || Failure::not_found(format_args!("silence {id}"));
    let wanted = id.parse::<Ulid>().map_err(|_| absent())?;
    let may = caller.may.because(why.reason.as_deref().unwrap_or_default());
    may.end_silence(&caller.fleet.alerts, wanted).await?.map(Json).ok_or_else(absent)
}

/// The alert of this name, if there may be one.
fn key(text: &str) -> Result<AlertKey, Failure> {
    text.parse().map_err(|error: AlertNameError| {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("alert: {error}"))
    })
}

async fn acknowledge(caller: Caller, Sent(seen): Sent<Seen>) -> Result<Json<Alert>, Failure> {
    caller.check_writable()?;
    let key = key(&seen.alert)?;
    let found = caller.may.acknowledge(&caller.fleet.alerts, &key, &seen.note).await?;
    found.map(Json).ok_or_else(|| Failure::not_found(format_args!("open alert {key}")))
}

async fn unacknowledge(caller: Caller, Sent(unseen): Sent<Unseen>) -> Result<Json<Alert>, Failure> {
    caller.check_writable()?;
    let key = key(&unseen.alert)?;
    let found = caller.may.because(&unseen.reason).unacknowledge(&caller.fleet.alerts, &key).await?;
    found.map(Json).ok_or_else(|| Failure::not_found(format_args!("open alert {key}")))
}

async fn test(caller: Caller, Sent(Whom { receiver }): Sent<Whom>) -> Result<Json<Tested>, Failure> {
    caller.check_writable()?;
    let (id, fate) = match caller.may.try_receiver(&caller.fleet.receivers, &receiver).await? {
        None => return Err(no_receiver(&receiver)),
        Some(Trial::TooSoon { wait }) => return Err(tested_lately(&receiver, wait)),
        Some(Trial::Made { id, fate }) => (id, fate),
    };
    let (result, problem) = match fate {
        Fate::Sent => (TestResult::Sent, None),
        Fate::Later(why) => (TestResult::NotReached, Some(why)),
        Fate::Never(why) => (TestResult::Refused, Some(why)),
    };
    Ok(Json(Tested { id, receiver, result, problem }))
}
