//! `fleetman hold` and `unhold`

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Rows;
use crate::controller::{Controller, ControllerError, Ordered};
use crate::model::order::Addressee;
use crate::yaml::HumanDuration;

/// Keep nodes from changing what runs, while somebody looks or works there by hand.
///
/// Downloads go on. What a trigger asks for meanwhile is done when the hold ends, which it does by itself.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman hold n1/web --reason 'looking at a leak' --for 2h\n  fleetman hold n1 --reason 'new disk' --for 1d --wait"
)]
pub(super) struct HoldArgs {
    /// The cells, as <node>/<cell>, or whole nodes
    #[arg(value_name = "NODE[/CELL]", required = true)]
    to: Vec<Addressee>,
    /// Why, for whoever finds it held
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long at most; 30 days is the longest
    #[arg(long = "for", value_name = "DURATION")]
    lasts: HumanDuration,
    #[command(flatten)]
    confirmed: Confirmed,
}

/// End a hold: what was asked for meanwhile is done.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman unhold n1/web\n  fleetman get cells     # shows who holds what")]
pub(super) struct UnholdArgs {
    /// The cells, as <node>/<cell>, or whole nodes
    #[arg(value_name = "NODE[/CELL]", required = true)]
    to: Vec<Addressee>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    confirmed: Confirmed,
}

/// Whether to ask before, and to wait afterwards.
#[derive(Debug, Args)]
struct Confirmed {
    /// Wait until the nodes say that it is so; exit code 7 if one takes too long
    #[arg(short, long)]
    wait: bool,
    /// How long to wait [default: wait_timeout of the config]
    #[arg(long, value_name = "DURATION", requires = "wait")]
    timeout: Option<HumanDuration>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What was ordered.
#[derive(Debug, Serialize)]
struct Done {
    /// The node, or `<node>/<cell>`.
    to: String,
    order: String,
    /// When a hold ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
    /// Whether the node said so, if that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<bool>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) => write!(f, "held until {}", until.to_rfc3339_opts(SecondsFormat::Secs, true))?,
            None => f.write_str("released")?,
        }
        match self.confirmed {
            Some(true) => f.write_str(", as the node says"),
            Some(false) => f.write_str("; the node has not said so yet"),
            None => f.write_str(", from the node's next look on"),
        }
    }
}

pub(super) async fn hold(args: HoldArgs, context: &Context) -> Result<Exit, Failure> {
    let lasts = TimeDelta::from_std(args.lasts.0).map_err(|error| Failure::usage(error.to_string()))?;
    let controller = context.controller().await?;
    let order = async |to: &Addressee| controller.hold(to, lasts, &args.reason).await;
    give(&controller, context, "hold", &args.to, &args.confirmed, order, true).await
}

pub(super) async fn unhold(args: UnholdArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let order = async |to: &Addressee| controller.release(to, args.reason.as_deref()).await;
    give(&controller, context, "unhold", &args.to, &args.confirmed, order, false).await
}

/// Asks, orders one after the other, and waits if that is wanted.
async fn give(
    controller: &Controller,
    context: &Context,
    verb: &str,
    to: &[Addressee],
    confirmed: &Confirmed,
    order: impl AsyncFn(&Addressee) -> Result<Ordered, ControllerError>,
    is_hold: bool,
) -> Result<Exit, Failure> {
    for to in to {
        context.output.say(&format!("{verb} {to}"));
    }
    ask::confirm("Go ahead?", confirmed.yes)?;
    let mut given = Vec::new();
    for to in to {
        given.push(order(to).await?);
    }
    let mut done: Vec<Done> = given
        .iter()
        .map(|ordered| Done {
            to: ordered.to.to_string(),
            order: ordered.id.to_string(),
            until: is_hold.then_some(ordered.expires_at),
            confirmed: None,
        })
        .collect();
    let mut exit = Exit::Ok;
    if confirmed.wait {
        let patience = match confirmed.timeout {
            Some(HumanDuration(timeout)) => timeout,
            None => context.quiet_config()?.wait_timeout,
        };
        for (ordered, done) in given.iter().zip(&mut done) {
            let is_so = is_confirmed(controller, ordered, is_hold, patience).await?;
            done.confirmed = Some(is_so);
            exit = if is_so { exit } else { Exit::TimedOut };
        }
    }
    context.output.show(&done, |output| {
        let mut rows = Rows::new(output, &["node or cell", ""]);
        for done in &done {
            rows.row([(&done.to).into(), done.to_string().into()]);
        }
        rows.render()
    })?;
    Ok(exit)
}

async fn is_confirmed(
    controller: &Controller,
    ordered: &Ordered,
    is_hold: bool,
    patience: Duration,
) -> Result<bool, Failure> {
    match controller.confirm_hold(ordered, is_hold, patience).await {
        Ok(()) => Ok(true),
        Err(ControllerError::Unconfirmed { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
