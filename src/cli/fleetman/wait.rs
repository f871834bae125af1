//! Following what was published until its nodes are done with it.

use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::change::Changed;
use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::{Controller, FollowedHow};
use crate::model::heartbeat::CellReport;
use crate::model::{CellId, Floor};
use crate::yaml::HumanDuration;

/// How many nodes are looked at at once.
const AT_ONCE: usize = 32;

/// Whether to wait for the nodes.
#[derive(Debug, Clone, Args)]
pub(super) struct WaitArgs {
    /// Follow until the nodes are done; exit code 8 if one fails, 7 if it takes too long
    #[arg(short, long)]
    wait: bool,
    /// How long to wait [default: wait_timeout of the config]
    #[arg(long, value_name = "DURATION", requires = "wait")]
    timeout: Option<HumanDuration>,
}

/// How following a cell ended.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ended {
    /// `applied`, `rolled_back`, `failed`, `superseded`, `timed_out`, `detached` or `lost_sight`.
    pub(super) how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

impl WaitArgs {
    /// For a verb that waits without being told to.
    pub(super) fn always(timeout: Option<HumanDuration>) -> Self {
        Self { wait: true, timeout }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wait
    }

    fn timeout(&self, context: &Context) -> Result<Duration, Failure> {
        match self.timeout {
            Some(HumanDuration(timeout)) => Ok(timeout),
            None => Ok(context.quiet_config()?.wait_timeout),
        }
    }
}

/// Follows every change to its end, or until `interrupted`, and notes how it ended.
pub(super) async fn follow(
    context: &Context,
    controller: &Controller,
    changes: &mut [(CellId, Changed)],
    wait: &WaitArgs,
    interrupted: CancellationToken,
) -> Result<Exit, Failure> {
    let timeout = wait.timeout(context)?;
    let interrupted = &interrupted;
    let mut ends = stream::iter(changes.iter_mut())
        .map(async |(cell, changed)| {
            let ended = tokio::select! {
                ended = follow_one(context, controller, cell, changed.at, timeout) => ended,
                () = interrupted.cancelled() => Ended { how: "detached", message: None, exit: Exit::Interrupted },
            };
            let exit = ended.exit;
            changed.followed = Some(ended);
            (cell.clone(), exit)
        })
        .buffer_unordered(AT_ONCE);
    let (mut worst, mut detached) = (Exit::Ok, Vec::new());
    while let Some((cell, exit)) = ends.next().await {
        worst = worst.max(exit);
        if exit == Exit::Interrupted {
            detached.push(cell.to_string());
        }
    }
    if !detached.is_empty() {
        let cells = detached.join(" ");
        context.output.say(&format!("Detached; the nodes go on. Look again: fleetman status {cells}"));
    }
    Ok(worst)
}

async fn follow_one(context: &Context, controller: &Controller, cell: &CellId, at: Floor, timeout: Duration) -> Ended {
    let tell = |report: &CellReport| {
        let waiting = report.waiting.as_ref().map(|waiting| format!(": {}", waiting.message)).unwrap_or_default();
        context.output.say(&format!("{cell}: {}{waiting}", report.phase.as_str()));
    };
    let followed = match controller.follow(cell, at, Some(timeout), tell).await {
        Ok(followed) => followed,
        Err(error) => {
            let failure = Failure::from(error);
            let how = if failure.exit == Exit::TimedOut { "timed_out" } else { "lost_sight" };
            return Ended { how, message: Some(failure.message().to_owned()), exit: failure.exit };
        }
    };
    let fault = followed.report.last_error.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message));
    match followed.how {
        FollowedHow::Applied => Ended { how: "applied", message: None, exit: Exit::Ok },
        FollowedHow::RolledBack => Ended { how: "rolled_back", message: fault, exit: Exit::Failed },
        FollowedHow::Failed => Ended { how: "failed", message: fault, exit: Exit::Failed },
        FollowedHow::Superseded { by } => {
            Ended { how: "superseded", message: Some(format!("by generation {by}")), exit: Exit::Conflict }
        }
    }
}
