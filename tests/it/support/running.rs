//! An agent that goes on in the background, as it does on a node.

use std::time::Duration;

use fleetman::agent::{Agent, AgentError, AgentSettings};
use fleetman::clock::SystemClock;
use fleetman::model::CellName;
use fleetman::model::heartbeat::Phase;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::node::Bench;
use super::wait_for;

/// An agent that runs until it is told to end.
pub(crate) struct Running {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Running {
    /// Short intervals but for the full scan, which `change` may change.
    pub(crate) async fn start(bench: &Bench, change: impl FnOnce(&mut AgentSettings)) -> Self {
        let mut settings = bench.settings().await;
        settings.poll_interval = Duration::from_millis(40);
        change(&mut settings);
        let agent = Agent::open(settings, SystemClock::shared()).await.unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(agent.run(async {
            let _ = ended.await;
        }));
        Self { end, task }
    }

    pub(crate) async fn end(self) {
        self.end.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// Waits until the heartbeat in the bucket says that `cell` is in this phase.
pub(crate) async fn wait_for_phase(bench: &Bench, cell: &str, phase: Phase) {
    let name = CellName::new(cell).unwrap();
    let there = async || {
        let heartbeat = bench.heartbeat().await;
        heartbeat.is_some_and(|beat| beat.cells.get(&name).is_some_and(|report| report.phase == phase))
    };
    wait_for(there, &format!("{cell} to be {phase:?}")).await;
}
