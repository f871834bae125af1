//! `fleetman alerts`: what is wrong, who was told, and whether telling works.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;
use ulid::Ulid;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{Controller, Fate};
use crate::entropy;
use crate::model::alert::{Alert, AlertKey, AlertKind, Alerts, FinishedDelivery, Severity, Silence, SilenceScope};
use crate::model::{CellName, NodeName};
use crate::yaml::HumanDuration;

#[derive(Debug, Args)]
pub(super) struct AlertsArgs {
    #[command(subcommand)]
    verb: Option<AlertsVerb>,
}

#[derive(Debug, Subcommand)]
enum AlertsVerb {
    /// List what is wrong, and what could not be told
    Ls(ListArgs),
    /// Send a test message to a receiver of the config
    #[command(after_help = "Example:\n  fleetman alerts test on-call")]
    Test {
        /// Its name in the config
        receiver: String,
    },
    Ack(AckArgs),
    /// Take back that somebody has seen alerts
    #[command(after_help = "Example:\n  fleetman alerts unack rolled_back:cell/n1/web")]
    Unack {
        /// Which, `<type>:<about>` as `ls` shows both
        #[arg(required = true, value_name = "ALERT")]
        alerts: Vec<AlertKey>,
    },
    Silence(SilenceArgs),
    /// End a silence before its time
    Unsilence {
        /// Its id, as `ls` shows it
        id: Ulid,
    },
}

#[derive(Debug, Default, Args)]
struct ListArgs {
    /// Also what is no more wrong
    #[arg(long)]
    resolved: bool,
    /// Only of this type, such as agent_dead
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<AlertKind>,
}

/// Say that you have seen alerts, and are on it
///
/// They stay open and are shown with your name and your note, until they are resolved. What comes back after that was
/// not seen by anybody.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman alerts ack rolled_back:cell/n1/web --note 'looking at the log'")]
struct AckArgs {
    /// Which, `<type>:<about>` as `ls` shows both
    #[arg(required = true, value_name = "ALERT")]
    alerts: Vec<AlertKey>,
    /// What you do about it, for the others
    #[arg(long)]
    note: String,
}

/// Tell nobody of some alerts for a while
///
/// They stay open and are shown. What still is wrong when the silence ends is told then.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman alerts silence --node n1 --for 2h --reason 'new disks'")]
struct SilenceArgs {
    /// Those of this type
    #[arg(long = "type", value_name = "TYPE", required_unless_present_any = ["node", "cell"])]
    kind: Option<AlertKind>,
    /// Those about this node and what is on it
    #[arg(long, value_name = "NODE")]
    node: Option<NodeName>,
    /// Those about cells of this name
    #[arg(long, value_name = "CELL")]
    cell: Option<CellName>,
    /// For how long
    #[arg(long = "for", value_name = "TIME")]
    time: HumanDuration,
    /// Why, for those who wonder later
    #[arg(long)]
    reason: String,
}

/// What `ls` tells programs.
#[derive(Serialize)]
struct Listed<'a> {
    open: Vec<&'a Alert>,
    unlisted: u64,
    resolved: Vec<&'a crate::model::alert::Resolved>,
    silences: &'a [Silence],
    given_up: Vec<&'a FinishedDelivery>,
    waiting: usize,
}

pub(super) async fn run(args: AlertsArgs, context: &Context) -> Result<Exit, Failure> {
    match args.verb {
        None => list(&ListArgs::default(), context).await,
        Some(AlertsVerb::Ls(args)) => list(&args, context).await,
        Some(AlertsVerb::Test { receiver }) => test(&receiver, context).await,
        Some(AlertsVerb::Ack(args)) => acknowledge(&args, context).await,
        Some(AlertsVerb::Unack { alerts }) => unacknowledge(&alerts, context).await,
        Some(AlertsVerb::Silence(args)) => silence(args, context).await,
        Some(AlertsVerb::Unsilence { id }) => match context.controller().await?.end_silence(id).await? {
            Some(silence) => {
                context.output.say(&format!("the silence of {} ended", silence.scope));
                Ok(Exit::Ok)
            }
            None => Err(Failure::new(Exit::NotFound, "not_found", format!("there is no silence {id}"))
                .help("`fleetman alerts ls` lists them")),
        },
    }
}

async fn list(args: &ListArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let alerts = controller.alerts().await?.alerts;
    let is_wanted = |kind: AlertKind| args.kind.is_none_or(|wanted| wanted == kind);
    let resolved = alerts.resolved.iter().filter(|it| args.resolved && is_wanted(it.alert.kind));
    let mut listed = Listed {
        open: alerts.open.iter().filter(|alert| is_wanted(alert.kind)).collect(),
        unlisted: alerts.unlisted,
        resolved: resolved.collect(),
        silences: &alerts.silences,
        given_up: alerts.finished.iter().filter(|it| it.problem.is_some()).collect(),
        waiting: alerts.deliveries.len(),
    };
    listed.open.sort_by_key(|alert| (alert.severity, alert.key()));
    context.output.show(&listed, |output| tables(&listed, &alerts, output))?;
    Ok(Exit::Ok)
}

fn tables(listed: &Listed<'_>, alerts: &Alerts, output: Output) -> String {
    let mut text = String::new();
    let mut rows = Rows::new(output, &["severity", "type", "about", "since", "state", "message"]);
    for alert in &listed.open {
        let state = match (&alert.acknowledged, alert.silenced, alert.told) {
            (Some(seen), ..) => Shown::from(format!("acknowledged by {}", seen.by)).toned(Tone::Faint),
            (None, true, _) => Shown::from("silenced").toned(Tone::Faint),
            (None, false, true) => "told".into(),
            (None, false, false) => "open".into(),
        };
        let (about, message) = (&alert.subject, alert.message.as_str());
        rows.row([severity(alert.severity), alert.kind.into(), about.into(), time(alert.since), state, message.into()]);
    }
    for it in &listed.resolved {
        let alert = &it.alert;
        let state = format!("resolved {}", short(it.resolved_at));
        let (about, message) = (&alert.subject, alert.message.as_str());
        let severity = Shown::from(alert.severity.as_str()).toned(Tone::Faint);
        rows.row([severity, alert.kind.into(), about.into(), time(alert.since), state.into(), message.into()]);
    }
    // Writing into a String cannot fail.
    let _ = match rows.is_empty() {
        true => write!(text, "Nothing is wrong."),
        false => write!(text, "{}", rows.render()),
    };
    if listed.unlisted > 0 {
        let _ = write!(text, "\nand {} more than can be listed", listed.unlisted);
    }
    let seen = listed.open.iter().filter_map(|alert| Some((alert.key(), alert.acknowledged.as_ref()?)));
    let mut rows = Rows::new(output, &["acknowledged", "by", "since", "note"]);
    for (key, it) in seen {
        rows.row([key.to_string().into(), (&it.by).into(), time(it.at), it.note.as_str().into()]);
    }
    if !rows.is_empty() {
        let _ = write!(text, "\n\n{}", rows.render());
    }
    if !listed.silences.is_empty() {
        let mut rows = Rows::new(output, &["silence", "covers", "by", "until", "reason"]);
        for it in listed.silences {
            let (scope, reason) = (it.scope.to_string(), it.reason.as_str());
            rows.row([it.id.into(), scope.into(), (&it.by).into(), time(it.until), reason.into()]);
        }
        let _ = write!(text, "\n\n{}", rows.render());
    }
    if !listed.given_up.is_empty() {
        let mut rows = Rows::new(output, &["not sent", "to", "about", "tries", "why"]);
        for it in &listed.given_up {
            let (to, about) = (it.receiver.as_str(), it.about.as_str());
            let why = it.problem.as_deref().unwrap_or_default();
            rows.row([time(it.at), to.into(), about.into(), it.tries.into(), Shown::from(why).toned(Tone::Bad)]);
        }
        let _ = write!(text, "\n\n{}", rows.render());
    }
    if let Some(waiting) = alerts.deliveries.iter().find(|it| it.problem.is_some()) {
        let why = waiting.problem.as_deref().unwrap_or_default();
        let why = crate::model::text::line(why);
        let receiver = crate::model::text::line(&waiting.receiver);
        let _ = write!(text, "\n\n{} messages wait; {receiver} could not be reached: {why}", listed.waiting);
    }
    text
}

fn severity(severity: Severity) -> Shown {
    let tone = match severity {
        Severity::Critical => Tone::Bad,
        Severity::Warning => Tone::Warn,
        Severity::Notice => Tone::Faint,
    };
    Shown::from(severity.as_str()).toned(tone)
}

fn short(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn time(at: DateTime<Utc>) -> Shown {
    short(at).into()
}

async fn test(name: &str, context: &Context) -> Result<Exit, Failure> {
    let config = context.config()?;
    let bucket = context.chosen(&config)?;
    let Some(written) = config.alerts.receivers.iter().find(|receiver| receiver.rules.name == name) else {
        let known: Vec<&str> = config.alerts.receivers.iter().map(|it| it.rules.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::new(Exit::NotFound, "not_found", format!("the config has no receiver {name:?}"))
            .help(format!("`alerts.receivers` of the config names {known}")));
    };
    let (receiver, warnings) = written.open()?;
    for warning in warnings {
        context.output.say(&format!("warning: {warning}"));
    }
    let now = context.clock.now();
    let id = entropy::ulid(now).map_err(|error| Failure::local("asking for randomness", &error))?;
    let portal = config.serving.public_url.as_ref().map(ToString::to_string);
    match receiver.test(id, bucket.fleet, portal.as_deref(), now).await {
        Fate::Sent => {
            context.output.say(&format!("message {id} was taken by {name}; see whether it arrived"));
            Ok(Exit::Ok)
        }
        Fate::Later(why) => Err(Failure::new(Exit::Unreachable, "not_sent", format!("{name} was not reached: {why}"))),
        Fate::Never(why) => Err(Failure::new(Exit::Failed, "not_sent", format!("{name} refuses: {why}"))
            .help("correct the receiver in `alerts.receivers` of the config")),
    }
}

async fn acknowledge(args: &AckArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    check_open(&controller, &args.alerts).await?;
    for key in &args.alerts {
        controller.acknowledge(key, &args.note).await?.ok_or_else(|| not_open(key))?;
        context
            .output
            .say(&format!("{key} is acknowledged until it is resolved; `fleetman alerts unack {key}` takes it back"));
    }
    Ok(Exit::Ok)
}

async fn unacknowledge(alerts: &[AlertKey], context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    check_open(&controller, alerts).await?;
    for key in alerts {
        controller.unacknowledge(key).await?.ok_or_else(|| not_open(key))?;
        context.output.say(&format!("{key} is acknowledged by nobody"));
    }
    Ok(Exit::Ok)
}

/// Refuses all of them where one is wrong.
async fn check_open(controller: &Controller, alerts: &[AlertKey]) -> Result<(), Failure> {
    let known = controller.alerts().await?.alerts;
    let absent = alerts.iter().find(|key| !known.open.iter().any(|alert| alert.key() == **key));
    absent.map_or(Ok(()), |key| Err(not_open(key)))
}

fn not_open(key: &AlertKey) -> Failure {
    Failure::new(Exit::NotFound, "not_found", format!("there is no open alert {key}"))
        .help("`fleetman alerts ls` lists them: its name is its type, a colon and what it is about")
}

async fn silence(args: SilenceArgs, context: &Context) -> Result<Exit, Failure> {
    let SilenceArgs { kind, node, cell, time, reason } = args;
    let controller = context.controller().await?;
    let time = TimeDelta::from_std(time.0).unwrap_or(TimeDelta::MAX);
    let silence = controller.silence_for(SilenceScope { kind, node, cell }, &reason, time).await?;
    context.output.say(&format!(
        "nobody is told of {} until {}; `fleetman alerts unsilence {}` ends it",
        silence.scope,
        short(silence.until),
        silence.id
    ));
    Ok(Exit::Ok)
}
