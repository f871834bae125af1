//! `fleetman audit`: who did what.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, ValueEnum};

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{ActResult, AuditCache, AuditFilter, AuditLine, AuditRow, ResultFilter};

/// Show who did what, newest first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman audit --action publish\n  fleetman audit --actor alice --from 2026-03-01T00:00:00Z -o json"
)]
pub(super) struct AuditArgs {
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
    /// Only from this time on
    #[arg(long, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// How many are shown at most
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ended {
    Done,
    Failed,
    NotConcluded,
}

pub(super) async fn run(args: AuditArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let filter = AuditFilter {
        from: args.from,
        until: args.until,
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
                let result = match act.result {
                    ActResult::Done { .. } => result.toned(Tone::Good),
                    ActResult::Failed { .. } => result.toned(Tone::Bad),
                    ActResult::NotConcluded => result.toned(Tone::Warn),
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
    shown.render()
}
