//! `fleetman events`: what happens in the fleet, line by line.

use std::time::Duration;

use chrono::SecondsFormat;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::cli::output::{Format, Output, Tone};
use crate::controller::{Event, EventKind, EventWatch, LivenessLimits, Moment, Mood, Scope};
use crate::model::{CellId, NodeName, text};
use crate::yaml::HumanDuration;

/// Nobody looks more often than this.
const SHORTEST: Duration = Duration::from_millis(200);

/// Show what happens in the fleet: what is wished, what comes of it, and who did what.
///
/// What is past is read from the audit and from what nodes said of their attempts. With --watch the fleet is looked at
/// again and again, as the portal does; what began and ended between two looks is not seen. `-o json` writes one object
/// on each line.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman events --since '2h ago'\n  fleetman events -w --node n1\n  fleetman -o json events -w | jq -r 'select(.kind == \"phase\") | .cell'"
)]
pub(super) struct EventsArgs {
    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// Only what is about this node
    #[arg(long, value_name = "NODE", conflicts_with = "cell")]
    node: Option<NodeName>,
    /// Only what is about this cell, as <node>/<cell>
    #[arg(long, value_name = "CELL")]
    cell: Option<CellId>,
    /// Only what is of this kind; may be given several times
    #[arg(long, value_name = "KIND", value_parser = kind())]
    kind: Vec<EventKind>,
    /// Begin with what happened since: a time, or '2h ago' [default: 1h ago, with --watch now]
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// How often it is looked
    #[arg(long, value_name = "DURATION", default_value = "5s", requires = "watch")]
    every: HumanDuration,
}

impl EventsArgs {
    fn scope(&self) -> Scope {
        match (&self.node, &self.cell) {
            (_, Some(cell)) => Scope::Cell(cell.clone()),
            (Some(node), None) => Scope::Node(node.clone()),
            (None, None) => Scope::Fleet,
        }
    }
}

/// A kind by its name, of which help and errors tell all.
fn kind() -> impl TypedValueParser<Value = EventKind> {
    PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str))
        .try_map(|name| EventKind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or("no kind of event"))
}

pub(super) async fn run(args: EventsArgs, context: &Context) -> Result<Exit, Failure> {
    let output = context.output;
    if output.format() == Format::Yaml {
        return Err(Failure::usage("events are written as text, or with -o json as one object on each line"));
    }
    let controller = context.looker().await?;
    let (scope, mut watch) = (args.scope(), EventWatch::new(LivenessLimits::default()));
    let is_wanted = |event: &Event| args.kind.is_empty() || args.kind.contains(&event.kind);
    let usual = (!args.watch).then_some(Moment::Ago(chrono::TimeDelta::hours(1)));
    let interrupted = interrupt::watch()?;
    if let Some(since) = args.since.or(usual) {
        let since = since.before(context.clock.now()).map_err(|error| Failure::usage(format!("--since: {error}")))?;
        let (mut past, left_out) = watch.past(&controller, &scope, since).await?;
        if left_out > 0 {
            output
                .say(&format!("what came of attempts on {left_out} cells is left out; --node or --cell makes it less"));
        }
        past.retain(is_wanted);
        if !print(&past, output)? {
            return Ok(Exit::Ok);
        }
    } else {
        watch.look(&controller).await?;
    }
    if !args.watch {
        return Ok(Exit::Ok);
    }
    let mut is_away = false;
    loop {
        tokio::select! {
            () = context.clock.sleep(args.every.0.max(SHORTEST)) => {}
            () = interrupted.cancelled() => return Ok(Exit::Interrupted),
        }
        match watch.look(&controller).await {
            Ok(mut events) => {
                is_away = false;
                events.retain(|event| event.is_in(&scope) && is_wanted(event));
                if !print(&events, output)? {
                    return Ok(Exit::Ok);
                }
            }
            // Nothing is lost by it: the next look tells what happened meanwhile.
            Err(error) if !is_away => {
                output.say(&format!("the store does not answer, and is asked again: {error}"));
                is_away = true;
            }
            Err(_) => {}
        }
    }
}

/// Writes events; false if nobody reads any more.
fn print(events: &[Event], output: Output) -> Result<bool, Failure> {
    let mut lines = String::new();
    for event in events {
        match output.format() {
            Format::Json => {
                let json = serde_json::to_string(event);
                let json = json.map_err(|error| Failure::new(Exit::Internal, "output", error.to_string()))?;
                lines.push_str(&json);
            }
            Format::Table | Format::Yaml => lines.push_str(&line(event, output)),
        }
        lines.push('\n');
    }
    if lines.is_empty() { Ok(true) } else { output.stream(lines.as_bytes()) }
}

/// An event for people, made safe to show.
fn line(event: &Event, output: Output) -> String {
    let at = event.at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let about = event.cell.as_ref().map(ToString::to_string).or_else(|| event.node.as_ref().map(ToString::to_string));
    let state = output.paint(tone(event), &event.state);
    let mut line = format!(
        "{}  {}  {} {state}",
        output.paint(Tone::Faint, &at),
        about.unwrap_or_else(|| "-".to_owned()),
        event.kind.as_str()
    );
    let version = event.version.as_ref().map(ToString::to_string);
    let by = event.by.as_ref().map(|by| format!("by {by}"));
    for part in [version, by].into_iter().flatten() {
        line.push_str(&format!(" {}", text::line(&part)));
    }
    if let Some(message) = &event.message {
        line.push_str(&format!(": {}", text::line(message)));
    }
    line
}

fn tone(event: &Event) -> Tone {
    match event.mood() {
        Mood::Good => Tone::Good,
        Mood::Warn => Tone::Warn,
        Mood::Bad => Tone::Bad,
        Mood::Plain => Tone::Faint,
    }
}
