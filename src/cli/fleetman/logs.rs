//! `fleetman logs`: what the programs of a cell write, as their node tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use tokio::time::timeout;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::cli::output::{Format, Output};
use crate::controller::{AskedLogs, Controller, LogNews, Moment};
use crate::model::answer::{Answer, AnswerState, LogLine};
use crate::model::order::LogQuery;
use crate::model::{CellId, Code, ProcessName, text};
use crate::yaml::HumanDuration;

/// How many lines there are at first, if nothing says from when on.
const USUAL_LINES: u32 = 100;

/// Whoever wants to end is not kept longer than this.
const TAKE_BACK_WITHIN: Duration = Duration::from_secs(10);

/// Show what the programs of a cell write.
///
/// The node is asked through the bucket, and answers when it looks there next. What it has answered is deleted when
/// this command ends, however it does.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman logs n1/web\n  fleetman logs n1/web -f --grep ERROR\n  fleetman logs n1/web --since 2h --process worker\n  fleetman -o json logs n1/web -n 1000"
)]
pub(super) struct LogsArgs {
    /// The cell, as <node>/<cell>
    #[arg(value_name = "NODE/CELL")]
    cell: CellId,
    /// Go on with what comes, until Ctrl-C or the time of --for
    #[arg(short, long)]
    follow: bool,
    /// How long to follow at most; 1h is the longest
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", requires = "follow")]
    lasts: HumanDuration,
    /// How many of the last lines of each process to begin with, at most 10000 [default: 100, or with --since all]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=10_000))]
    lines: Option<u32>,
    /// Only what was written since: a time, or 2h
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only lines with this text
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// TEXT is a regular expression
    #[arg(short = 'E', long, requires = "grep")]
    regex: bool,
    /// Only what this process writes
    #[arg(long, value_name = "PROCESS")]
    process: Option<ProcessName>,
    /// The text alone and as it is, also on a terminal, which obeys what is in it
    #[arg(long)]
    raw: bool,
    /// How long the node may take to begin; exit code 7 if it takes longer
    #[arg(long, value_name = "DURATION", default_value = "90s")]
    timeout: HumanDuration,
}

impl LogsArgs {
    fn query(&self, now: DateTime<Utc>) -> Result<LogQuery, Failure> {
        let since = self.since.map(|moment| moment.before(now)).transpose();
        let usual = if self.since.is_some() { LogQuery::MOST_LINES } else { USUAL_LINES };
        Ok(LogQuery {
            process: self.process.clone(),
            lines: self.lines.unwrap_or(usual),
            since: since.map_err(|error| Failure::usage(format!("--since: {error}")))?,
            grep: self.grep.clone(),
            regex: self.regex,
            follow_secs: self.follow.then(|| u32::try_from(self.lasts.0.as_secs()).unwrap_or(u32::MAX)),
        })
    }
}

pub(super) async fn run(args: LogsArgs, context: &Context) -> Result<Exit, Failure> {
    let query = args.query(context.clock.now())?;
    query.check().map_err(Failure::usage)?;
    let interrupted = interrupt::watch()?;
    let controller = context.controller().await?;
    let asked = controller.ask_for_logs(&args.cell, &query, args.timeout.0).await?;
    let mut printer = Printer {
        output: context.output,
        raw: args.raw,
        with_process: query.process.is_none(),
        numbers: BTreeMap::new(),
    };
    let shown = tokio::select! {
        shown = show(&controller, &asked, &args, &mut printer) => shown,
        () = interrupted.cancelled() => Ok(Exit::Interrupted),
    };
    match timeout(TAKE_BACK_WITHIN, controller.take_back_logs(&asked)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => context.output.say(&format!("the answer is left in the bucket until `fleetman gc`: {error}")),
        Err(_) => context.output.say("the answer is left in the bucket until `fleetman gc`"),
    }
    shown
}

/// Shows the answer as it comes, and how it ends.
async fn show(
    controller: &Controller,
    asked: &AskedLogs,
    args: &LogsArgs,
    printer: &mut Printer,
) -> Result<Exit, Failure> {
    let output = printer.output;
    let mut reader = controller.read_logs(asked, args.timeout.0);
    let answer = loop {
        match reader.next().await? {
            LogNews::Lines(lines) => {
                if !printer.print(&lines)? {
                    return Ok(Exit::Ok);
                }
            }
            LogNews::Ended(answer) => break answer,
        }
    };
    for note in &answer.notes {
        output.say(&format!("note: {note}"));
    }
    if answer.lost_bytes > 0 {
        output.say(&format!("note: {} bytes were removed on the node before they could be read", answer.lost_bytes));
    }
    ended(&answer, args, output)
}

fn ended(answer: &Answer, args: &LogsArgs, output: Output) -> Result<Exit, Failure> {
    let node = &args.cell.node;
    match answer.state {
        AnswerState::Time if args.follow => {
            output.say("the time of --for is over; the same command goes on, and `--for 1h` is the longest");
            Ok(Exit::Ok)
        }
        AnswerState::Full => {
            output.say("this is all that one answer may have; --since, --grep and --process make it less");
            Ok(Exit::Ok)
        }
        AnswerState::Failed => {
            let code = answer.code.unwrap_or(Code::Io);
            let message = answer.message.as_deref().unwrap_or("it does not say why");
            Err(Failure::new(Exit::Failed, code.as_str(), format!("{node} could not read on: {message}")))
        }
        AnswerState::Withdrawn => {
            let message = format!("the agent of {node} was ended or restarted");
            Err(Failure::new(Exit::Failed, "withdrawn", message).help("run the command again"))
        }
        _ => Ok(Exit::Ok),
    }
}

/// Writes lines as they are wanted.
struct Printer {
    output: Output,
    raw: bool,
    /// Whether lines say which process wrote them.
    with_process: bool,
    /// In which colour each process is shown.
    numbers: BTreeMap<String, usize>,
}

impl Printer {
    /// False if nobody reads any more.
    fn print(&mut self, lines: &[LogLine]) -> Result<bool, Failure> {
        let mut out = String::new();
        for line in lines {
            match self.output.format() {
                Format::Table if self.raw => out.push_str(&line.text),
                Format::Table => self.line(line, &mut out),
                Format::Json => out.push_str(&serde_json::to_string(line).map_err(|error| unwritable(&error))?),
                Format::Yaml => {
                    let item = serde_yaml::to_string(&[line]).map_err(|error| unwritable(&error))?;
                    out.push_str(item.trim_end_matches('\n'));
                }
            }
            out.push('\n');
        }
        self.output.stream(out.as_bytes())
    }

    fn line(&mut self, line: &LogLine, out: &mut String) {
        if let Some(at) = line.at {
            out.push_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true));
            out.push(' ');
        }
        if let Some(process) = line.process.as_ref().filter(|_| self.with_process) {
            let known = self.numbers.len();
            let number = *self.numbers.entry(process.clone()).or_insert(known);
            out.push_str(&self.output.paint_apart(number, &format!("{process} |")));
            out.push(' ');
        }
        match self.output.is_terminal() {
            true => out.push_str(&text::lines(&line.text)),
            false => out.push_str(&line.text),
        }
    }
}

fn unwritable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, "output", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(output: Output, with_process: bool) -> String {
        let mut printer = Printer { output, raw: false, with_process, numbers: BTreeMap::new() };
        let line = LogLine {
            at: DateTime::from_timestamp(1_800_000_000, 5_000_000),
            process: Some("ma\u{1b}in".to_owned()),
            text: "a\tb\u{1b}]0;owned\u{7}\u{9b}2J\r".to_owned(),
        };
        let mut out = String::new();
        printer.line(&line, &mut out);
        out
    }

    #[test]
    fn a_terminal_is_not_steered_and_a_program_gets_every_byte() {
        let shown = printed(Output::terminal(), true);
        assert_eq!(shown, "2027-01-15T08:00:00.005Z ma\u{fffd}in | a\tb\u{fffd}]0;owned\u{fffd}\u{fffd}2J\u{fffd}");
        let piped = printed(Output::plain(Format::Table), false);
        assert_eq!(piped, "2027-01-15T08:00:00.005Z a\tb\u{1b}]0;owned\u{7}\u{9b}2J\r");
    }
}
