//! `fleetagent run` and `fleetagent once`

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::context::Context;
use super::metrics::Exporter;
use super::status;
use crate::agent::{Agent, AgentSettings, Onlooker, Rest};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::cli::notify::Manager;

pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    // Signals are watched before the agent does anything, so that one that comes early is not lost.
    let ended = interrupt::watch()?;
    let before = raise_open_files();
    let manager = Arc::new(Manager::of_this_process(context.clock.clone()));
    let config = context.config()?;
    let metrics = config.metrics.clone();
    let settings = context.settings(config, before).await?;
    let settings = AgentSettings { onlooker: Arc::new(Told(Arc::clone(&manager))), ..settings };
    tracing::info!(event = "agent_started", node = %settings.node, "the agent starts");
    let agent = Agent::open(settings, context.clock.clone()).await?;
    // Not only once the bucket has answered: what the node knows already runs without it.
    manager.ready("reading the bucket for the first time");
    let profiles = agent.profiles();
    let exporter = Exporter::new(metrics, &agent, context.clock.clone());
    let exported = async {
        match exporter {
            Some(exporter) => exporter.run().await,
            None => pending().await,
        }
    };
    let asked_to_end = async {
        ended.cancelled().await;
        manager.stopping();
    };
    let result = tokio::select! {
        result = agent.run(asked_to_end) => result,
        never = exported => match never {},
    };
    profiles.close().await;
    tracing::info!(event = "agent_ended", "the agent ends");
    Ok(result.map(|()| Exit::Ok)?)
}

pub(super) async fn once(context: &Context) -> Result<Exit, Failure> {
    let mut agent = Agent::open(context.settings(context.config()?, None).await?, context.clock.clone()).await?;
    let heartbeat = agent.poll_once().await?;
    context.output.show(&heartbeat, |output| status::table(&heartbeat, output))?;
    Ok(Exit::Ok)
}

/// The service manager, told by the agent itself.
#[derive(Debug)]
struct Told(Arc<Manager>);

impl Onlooker for Told {
    fn step(&self) {
        self.0.alive();
    }

    fn rest(&self, rest: &Rest) {
        self.0.status(&in_words(rest));
    }

    fn patience(&self) -> Duration {
        self.0.patience().unwrap_or(Duration::MAX)
    }
}

fn in_words(rest: &Rest) -> String {
    let cells = match rest.cells {
        0 => "no cells".to_owned(),
        1 => format!("{} of 1 cell up to date", rest.up_to_date),
        cells => format!("{} of {cells} cells up to date", rest.up_to_date),
    };
    let bucket = if rest.has_bucket { "" } else { "the bucket cannot be read; " };
    format!("{bucket}{cells}; next look in {} s", rest.next_look.as_secs_f64().ceil())
}

/// Raises the soft limit of open files to the hard one: an agent holds a few for each cell, and soft limits are often
/// 1,024 for the sake of programs that use `select`. So cells get the one that it was before, which this returns.
fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    limit.current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_how_things_stand() {
        let rest = Rest { cells: 4, up_to_date: 3, has_bucket: true, next_look: Duration::from_millis(11_200) };
        assert_eq!(in_words(&rest), "3 of 4 cells up to date; next look in 12 s");
        let away = Rest { cells: 1, up_to_date: 1, has_bucket: false, ..rest };
        assert_eq!(in_words(&away), "the bucket cannot be read; 1 of 1 cell up to date; next look in 12 s");
        assert_eq!(in_words(&Rest { cells: 0, up_to_date: 0, ..rest }), "no cells; next look in 12 s");
    }
}
