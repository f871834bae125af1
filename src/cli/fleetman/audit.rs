//! `fleetman audit`: who did what, and whether that is all.

use chrono::SecondsFormat;
use clap::{Args, Subcommand, ValueEnum};

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{ActResult, AuditCache, AuditFilter, AuditLine, AuditProof, AuditRow, Moment, ResultFilter};
use crate::model::audit::Seal;

/// Show who did what, newest first.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  fleetman audit --action publish\n  fleetman audit --actor alice --from 2026-03-01 -o json\n  fleetman audit verify"
)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    verb: Option<AuditVerb>,
    /// Only what this user did
    #[arg(long, value_name = "USER")]
    actor: Option<String>,
    /// Only this action, such as publish
    #[arg(long)]
    action: Option<String>,
    /// Only objects whose name holds this text, such as n1/web
    #[arg(long, value_name = "TEXT")]
    object: Option<String>,
    /// Only what came from here: cli, portal or api
    #[arg(long)]
    source: Option<String>,
    /// Only what ended so
    #[arg(long)]
    result: Option<Ended>,
    /// Only from this time on: a time, or '2h ago'
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// How many are shown at most
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
}

#[derive(Debug, Subcommand)]
enum AuditVerb {
    /// Check whether entries are gone, or were replaced or changed
    ///
    /// Each entry is signed and names entries that were there before it. What no entry names yet, such as the very
    /// newest, may be gone unnoticed. Exit code 1 if something is wrong.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// Only entries from this time on
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ended {
    Done,
    Failed,
    NotConcluded,
}

pub(super) async fn run(args: AuditArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let now = context.clock.now();
    let time = |moment: Option<Moment>| moment.map(|moment| moment.of(now));
    if let Some(AuditVerb::Verify(VerifyArgs { from, until })) = args.verb {
        let proof = controller.verify_audit(time(from), time(until)).await?;
        context.output.show(&proof, |output| proof_table(&proof, output))?;
        return Ok(if proof.faults.is_empty() { Exit::Ok } else { Exit::Negative });
    }
    let filter = AuditFilter {
        from: time(args.from),
        until: time(args.until),
        actor: args.actor,
        action: args.action,
        object: args.object,
        source: args.source,
        result: args.result.map(|ended| match ended {
            Ended::Done => ResultFilter::Done,
            Ended::Failed => ResultFilter::Failed,
            Ended::NotConcluded => ResultFilter::NotConcluded,
        }),
    };
    let cache = AuditCache::default();
    let (mut rows, mut after) = (Vec::new(), None);
    while rows.len() < args.limit {
        let page = controller.audit_page(&cache, &filter, after.as_ref(), args.limit - rows.len()).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let lines: Vec<AuditLine<'_>> = rows.iter().map(AuditRow::line).collect();
    context.output.show(&lines, |output| table(&rows, output))?;
    Ok(Exit::Ok)
}

fn table(rows: &[AuditRow], output: Output) -> String {
    let mut shown = Rows::new(output, &["at", "actor", "from", "action", "object", "result", "reason"]);
    for row in rows {
        let at = row.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        match &row.act {
            Ok(act) => {
                let result = Shown::from(act.result.as_str());
                let result = match (&act.seal, &act.result) {
                    (Seal::Broken(_), _) => Shown::from("broken signature").toned(Tone::Bad),
                    (_, ActResult::Done { .. }) => result.toned(Tone::Good),
                    (_, ActResult::Failed { .. }) => result.toned(Tone::Bad),
                    (_, ActResult::NotConcluded) => result.toned(Tone::Warn),
                };
                let reason = act.reason.as_deref().unwrap_or_default();
                let from = format!("{} {}", act.source, act.host);
                let (action, object) = (act.action.as_str(), act.object.as_str());
                shown.row([
                    at.into(),
                    (&act.actor).into(),
                    from.into(),
                    action.into(),
                    object.into(),
                    result,
                    reason.into(),
                ]);
            }
            Err(why) => {
                let result = Shown::from("unreadable").toned(Tone::Bad);
                shown.row([at.into(), "".into(), "".into(), "".into(), "".into(), result, why.into()]);
            }
        }
    }
    if rows.is_empty() { "No entry fits.".to_owned() } else { shown.render() }
}

fn proof_table(proof: &AuditProof, output: Output) -> String {
    let AuditProof { entries, signed, not_signed, not_kept, faults, checked_from, cut_days } = proof;
    let mut said = vec![format!(
        "{entries} {} read: {signed} signed by a pinned key, {not_signed} not.",
        if *entries == 1 { "entry was" } else { "entries were" }
    )];
    if *not_kept > 0 {
        said.push(format!("{not_kept} older ones that others name are no longer kept."));
    }
    if let Some(from) = checked_from {
        said.push(format!(
            "Entries before {} were not checked; --until goes on from there.",
            from.to_rfc3339_opts(SecondsFormat::Secs, true)
        ));
    }
    for day in cut_days {
        said.push(format!("Of {day} only the later entries were checked."));
    }
    if faults.is_empty() {
        said.push("None is gone, replaced or changed, as far as others name it.".to_owned());
        return said.join("\n");
    }
    let mut rows = Rows::new(output, &["entry", "made at", "", "problem"]);
    for fault in faults {
        let what = Shown::from(fault.kind.as_str()).toned(Tone::Bad);
        let at = fault.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        rows.row([fault.id.to_string().into(), at.into(), what, Shown::whole(&fault.kind.told())]);
    }
    format!("{}\n{}", rows.render(), said.join("\n"))
}
