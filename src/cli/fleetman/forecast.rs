//! What a node will do with a version, as lines for people.

use crate::cli::output::{Output, Tone};
use crate::controller::{Forecast, HookForecast, HookRun, ProcessFate};
use crate::model::text;

/// What becomes of each process, what is run around it, what delays it and what it must pass.
pub(super) fn lines(forecast: &Forecast, output: Output) -> Vec<String> {
    let heading = match &forecast.over {
        Some(version) => format!("On the node, in place of {version}:"),
        None => "On the node, where nothing of the cell runs:".to_owned(),
    };
    let mut lines = vec![heading];
    lines.extend(forecast.processes.iter().map(|process| {
        let (mark, tone) = marked(process.fate);
        let named = output.paint(tone, &format!("{mark} {}", process.process));
        format!("  {named} {}: {}", process.fate.words(), text::line(&process.because))
    }));
    lines.extend(forecast.hooks.iter().map(|hook| hook_line(hook, output)));
    for wait in &forecast.waits {
        let (word, tone) = if wait.is_now { ("waits", Tone::Warn) } else { ("may wait", Tone::Faint) };
        lines.push(format!("  {}: {}", output.paint(tone, word), text::line(&wait.message)));
    }
    lines.push(format!("  gate: {}", forecast.gate));
    if let Some(why) = &forecast.refusal {
        lines.push(format!("  {}", output.paint(Tone::Bad, &text::line(&format!("its agent will refuse it: {why}")))));
    }
    let unknown = forecast.unknown.iter().map(|what| format!("  not known here: {what}"));
    lines.extend(unknown.map(|line| output.paint(Tone::Faint, &line)));
    lines
}

fn marked(fate: ProcessFate) -> (&'static str, Tone) {
    match fate {
        ProcessFate::Restarts | ProcessFate::Replaced | ProcessFate::Reloads => ("~", Tone::Warn),
        ProcessFate::Starts | ProcessFate::RunsOnce => ("+", Tone::Good),
        ProcessFate::Stops => ("-", Tone::Bad),
        ProcessFate::GoesOn | ProcessFate::Scheduled | ProcessFate::ByHand => (" ", Tone::Faint),
    }
}

fn hook_line(hook: &HookForecast, output: Output) -> String {
    let (word, tone) = match hook.run {
        HookRun::Runs => ("runs", Tone::Warn),
        HookRun::IfItFails => ("runs if it fails", Tone::Faint),
        HookRun::Skipped => ("does not run", Tone::Faint),
    };
    let of = if hook.is_old { " of the version before" } else { "" };
    let why = match (hook.run, hook.matches.as_slice()) {
        (HookRun::Skipped, _) => " (nothing changed that it is for)".to_owned(),
        (_, []) => String::new(),
        (_, [path]) => format!(" ({path} changed)"),
        (_, [path, more @ ..]) => format!(" ({path} and {} more changed)", more.len()),
    };
    let command = text::line(&hook.command.join(" "));
    format!("  hook {}{of} {}: {command}{why}", hook.event, output.paint(tone, word))
}
