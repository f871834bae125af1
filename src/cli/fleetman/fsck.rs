//! `fleetman fsck`: whether what lies in the bucket fits together.

use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{Finding, FsckOptions};

/// Check whether what lies in the bucket fits together.
///
/// Without --repair nothing is written. A repair finishes copies of what is signed, or deletes what nothing refers to;
/// what takes a decision is left to people. Exit code 1 if something is wrong, 8 if a repair failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fleetman fsck\n  fleetman fsck --deep -o json\n  fleetman fsck --repair")]
pub(super) struct FsckArgs {
    /// Read and digest every file, too
    #[arg(long)]
    deep: bool,
    /// Put right what can be
    #[arg(long)]
    repair: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    deep: bool,
    repair: bool,
    findings: &'a [Finding],
}

pub(super) async fn run(args: &FsckArgs, context: &Context) -> Result<Exit, Failure> {
    let FsckArgs { deep, repair } = *args;
    let controller = if repair { context.controller().await? } else { context.looker().await? };
    let findings = controller.fsck(FsckOptions { deep, repair }).await?;
    context.output.show(&Report { deep, repair, findings: &findings }, |output| table(&findings, output))?;
    Ok(match findings.iter().any(|finding| matches!(finding.repaired, Some(Err(_)))) {
        true => Exit::Failed,
        false if findings.iter().any(Finding::is_open) => Exit::Negative,
        false => Exit::Ok,
    })
}

fn table(findings: &[Finding], output: Output) -> String {
    if findings.is_empty() {
        return "Nothing is wrong.".to_owned();
    }
    let mut rows = Rows::new(output, &["what", "", "where", "problem", "what to do"]);
    for finding in findings {
        let (mark, tone) = match &finding.repaired {
            Some(Ok(())) => ("repaired", Tone::Good),
            Some(Err(_)) => ("not repaired", Tone::Bad),
            None if finding.notice => ("notice", Tone::Faint),
            None if finding.repairable => ("repairable", Tone::Warn),
            None => ("wrong", Tone::Bad),
        };
        let remedy = match &finding.repaired {
            Some(Err(why)) => why,
            _ => &finding.remedy,
        };
        let (code, key) = (finding.code.into(), (&finding.key).into());
        rows.row([code, Shown::from(mark).toned(tone), key, (&finding.problem).into(), Shown::whole(remedy)]);
    }
    rows.render()
}
