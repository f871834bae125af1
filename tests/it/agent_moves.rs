//! Cells that move from one profile to another: never under both, wherever the agent is killed, and back when the new
//! version is no good. The profiles that run something are stand-ins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fleetman::agent::{Gate, Steps};
use fleetman::model::heartbeat::{CellReport, Phase};
use fleetman::model::outcome::Ending;
use fleetman::model::trigger::Action;

use crate::support::stand_in::{Node, StandIn};
use crate::support::walk::{Life, walk};

/// A node on which version 1 runs under the first profile, with data of its own.
async fn running() -> Node {
    let mut node = Node::start().await;
    node.publish("1").await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
    std::fs::write(data(&node), "kept").unwrap();
    node
}

fn data(node: &Node) -> std::path::PathBuf {
    node.bench.state_folder().join("data/app/notes")
}

fn is_both(node: &Node) -> bool {
    node.profile.runs().is_some() && node.other.runs().is_some()
}

/// Runs an agent that dies before its `survive`-th effect; true if it lived to the end. At none of them the cell runs
/// under both profiles.
async fn once_until(node: &Node, survive: usize) -> bool {
    let (one, other, life) = (Arc::clone(&node.profile), Arc::clone(&node.other), Life::of(survive));
    let both = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&both);
    let steps = Steps::new(move |_| {
        seen.fetch_or(one.runs().is_some() && other.runs().is_some(), Ordering::SeqCst);
        life.step()
    });
    let lived = match node.agent(|settings| settings.steps = steps).await {
        None => false,
        Some(mut agent) => {
            let lived = agent.poll_once().await.is_ok();
            agent.close().await;
            lived
        }
    };
    assert!(!both.load(Ordering::SeqCst) && !is_both(node), "it ran under both, of {survive} steps");
    lived
}

/// What must be so once another agent ran to its end: the cell stands under `home` alone.
async fn settled(node: &Node, survive: usize, home: Option<(&StandIn, &str)>) -> CellReport {
    node.once().await;
    let report = node.once().await;
    assert!(report.conditions.is_empty(), "after {survive} steps: {report:#?}");
    for profile in [&node.profile, &node.other] {
        let is_home = home.filter(|(home, _)| home.folder == profile.folder);
        assert_eq!(profile.runs(), is_home.map(|(_, version)| version.to_owned()), "after {survive} steps");
        assert_eq!(profile.folder.join("app").exists(), is_home.is_some(), "after {survive} steps: something is left");
    }
    assert_eq!(std::fs::read_to_string(data(node)).unwrap(), "kept");
    report
}

async fn endings(node: &Node) -> Vec<Ending> {
    node.bench.outcomes("app").await.iter().map(|outcome| outcome.outcome).collect()
}

#[tokio::test]
async fn a_move_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    walk(async |survive| {
        let mut node = running().await;
        node.publish_other("2").await;
        let lived = once_until(&node, survive).await;
        let report = settled(&node, survive, Some((&node.other, "2"))).await;
        assert_eq!((report.phase, report.profile.as_deref()), (Phase::UpToDate, Some("supervisor")), "{report:#?}");
        assert_eq!(endings(&node).await, [Ending::Succeeded; 2], "after {survive} steps");
        assert_eq!(node.other.told().started.len(), 1, "after {survive} steps it is started once");
        lived
    })
    .await;
}

/// What must be so once a move to version 2 has failed: the cell is where it was.
async fn is_back(node: &Node, survive: usize) {
    let report = settled(node, survive, Some((&node.profile, "1"))).await;
    assert_eq!((report.phase, report.profile.as_deref()), (Phase::RolledBack, Some("process")), "{report:#?}");
    assert_eq!(report.running, report.known_good);
    assert_eq!(endings(node).await, [Ending::Succeeded, Ending::RolledBack], "after {survive} steps");
}

#[tokio::test]
async fn a_move_that_fails_goes_back_to_the_old_profile_wherever_it_is_killed() {
    walk(async |survive| {
        let mut node = running().await;
        node.other.gate("2", Gate::Failed("it coughs".to_owned()));
        node.publish_other("2").await;
        let lived = once_until(&node, survive).await;
        is_back(&node, survive).await;
        lived
    })
    .await;
}

#[tokio::test]
async fn a_move_to_what_does_not_even_start_goes_back_to_the_old_profile() {
    let mut node = running().await;
    node.other.breaks("2");
    node.publish_other("2").await;
    assert!(once_until(&node, usize::MAX).await);
    is_back(&node, 0).await;
}

#[tokio::test]
async fn a_removal_in_the_middle_of_a_move_clears_both_wherever_it_is_killed() {
    walk(async |survive| {
        let mut node = running().await;
        node.other.gate("2", Gate::Pending("it warms up".to_owned()));
        node.publish_other("2").await;
        assert_eq!(node.once().await.phase, Phase::Checking);
        let releases = |profile: &StandIn| profile.folder.join("app/releases").exists();
        assert!(releases(&node.profile) && releases(&node.other), "what there is to go back to stays");
        node.bench.ask("app", Action::Remove).await;
        let lived = once_until(&node, survive).await;
        let report = settled(&node, survive, None).await;
        assert_eq!(report.phase, Phase::Removed, "after {survive} steps: {report:#?}");
        lived
    })
    .await;
}

#[tokio::test]
async fn a_move_and_back_before_the_first_was_good_ends_where_it_began() {
    let mut node = running().await;
    node.other.gate("2", Gate::Pending("it warms up".to_owned()));
    node.publish_other("2").await;
    assert_eq!(node.once().await.phase, Phase::Checking);
    node.publish("3").await;
    let report = settled(&node, 0, Some((&node.profile, "3"))).await;
    assert_eq!((report.phase, report.profile.as_deref()), (Phase::UpToDate, Some("process")));
    assert_eq!(endings(&node).await, [Ending::Succeeded, Ending::Superseded, Ending::Succeeded]);
}

#[tokio::test]
async fn a_cell_does_not_move_while_the_profile_that_it_runs_under_is_not_set_up() {
    let mut node = running().await;
    node.publish_other("2").await;
    let others: Vec<_> = node.profiles().iter().filter(|profile| profile.name() != "process").cloned().collect();
    let mut agent = node.agent(|settings| settings.profiles = fleetman::agent::Profiles::new(others)).await.unwrap();
    let report = crate::support::node::of(&agent.poll_once().await.unwrap(), "app");
    agent.close().await;
    let waiting = report.waiting.expect("it waits");
    assert_eq!(waiting.reason, fleetman::model::Code::ProfileUnavailable);
    assert!(waiting.message.contains("process"), "{}", waiting.message);
    assert_eq!((node.profile.runs().as_deref(), node.other.runs()), (Some("1"), None));
    settled(&node, 0, Some((&node.other, "2"))).await;
}
