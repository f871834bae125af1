//! An agent that is killed between any two steps leaves one whole version current, and the next one finishes the
//! work once (I4, I5).

use fleetman::agent::Agent;
use fleetman::clock::SystemClock;
use fleetman::model::ObjectKey;
use fleetman::model::outcome::Ending;
use fleetman::model::trigger::{Action, Target};

use crate::support::node::{Bench, File, files, tree};
use crate::support::walk::{Life, walk};

const ONE: &[File<'static>] = &[("index.html", b"one"), ("d/same", b"same"), ("gone", b"1")];
const TWO: &[File<'static>] = &[("index.html", b"two"), ("d/same", b"same"), ("e/new", b"2")];

/// Runs an agent that dies before its `survive`-th effect from now on. True if it lived to the end.
async fn run_until(bench: &Bench, survive: usize) -> bool {
    let mut settings = bench.settings().await;
    settings.steps = Life::of(survive).steps();
    let Ok(mut agent) = Agent::open(settings, SystemClock::shared()).await else { return false };
    // A task that died tells nobody why, as a killed process would not.
    let lived = agent.poll_once().await.is_ok();
    agent.close().await;
    lived
}

/// A node on which version 1.0 of `web` runs.
async fn running() -> (Bench, Target) {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    (bench, target)
}

/// What must be so after an agent died and another one ran to its end: everything was done, once, and nothing is
/// left over.
async fn is_finished(bench: &Bench, survive: usize, outcomes: usize) {
    let report = bench.once_for("web").await;
    assert_eq!((report.seen, &report.conditions), (report.applied, &vec![]), "after {survive} steps: {report:#?}");
    let endings: Vec<_> = bench.outcomes("web").await.iter().map(|outcome| (outcome.at, outcome.outcome)).collect();
    assert_eq!(endings.len(), outcomes, "after {survive} steps the work was not done once: {endings:?}");
    assert!(endings.iter().all(|(_, ending)| *ending == Ending::Succeeded), "{endings:?}");
    nothing_is_left_over(bench, survive);
}

fn nothing_is_left_over(bench: &Bench, survive: usize) {
    let mut all: Vec<String> = tree(&bench.target()).into_keys().collect();
    all.extend(tree(&bench.state_folder()).into_keys());
    let left: Vec<_> = all.iter().filter(|path| path.contains(".tmp-") || path.contains("outbox/")).collect();
    assert!(left.is_empty(), "after {survive} steps: {left:?}");
}

#[tokio::test]
async fn an_upgrade_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    walk(async |survive| {
        let (mut bench, _) = running().await;
        bench.publish("web", "2.0", TWO).await;
        let lived = run_until(&bench, survive).await;
        let deployed = bench.deployed("web");
        assert!(deployed == files(TWO) || deployed == files(ONE), "{deployed:?}");
        is_finished(&bench, survive, 2).await;
        assert_eq!(bench.deployed("web"), files(TWO));
        lived
    })
    .await;
}

#[tokio::test]
async fn a_rollback_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    walk(async |survive| {
        let (mut bench, first) = running().await;
        bench.publish("web", "2.0", TWO).await;
        bench.once().await;
        bench.ask("web", Action::Deploy(first)).await;
        let lived = run_until(&bench, survive).await;
        let deployed = bench.deployed("web");
        assert!(deployed == files(ONE) || deployed == files(TWO), "{deployed:?}");
        is_finished(&bench, survive, 3).await;
        assert_eq!(bench.deployed("web"), files(ONE));
        lived
    })
    .await;
}

#[tokio::test]
async fn a_removal_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    walk(async |survive| {
        let (mut bench, _) = running().await;
        bench.ask("web", Action::Remove).await;
        let lived = run_until(&bench, survive).await;
        let deployed = bench.deployed("web");
        assert!(deployed.is_none() || deployed == files(ONE), "{deployed:?}");
        is_finished(&bench, survive, 2).await;
        assert_eq!(tree(&bench.target()), Default::default());
        lived
    })
    .await;
}

#[tokio::test]
async fn a_first_start_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    walk(async |survive| {
        let mut bench = Bench::start().await;
        bench.publish("web", "1.0", ONE).await;
        let lived = run_until(&bench, survive).await;
        let deployed = bench.deployed("web");
        assert!(deployed.is_none() || deployed == files(ONE), "{deployed:?}");
        is_finished(&bench, survive, 1).await;
        assert_eq!(bench.deployed("web"), files(ONE));
        lived
    })
    .await;
}

#[tokio::test]
async fn the_repair_of_a_damaged_release_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    walk(async |survive| {
        let (mut bench, target) = running().await;
        std::fs::write(bench.target().join("web/gone"), b"damaged").unwrap();
        bench.ask("web", Action::Deploy(target)).await;
        let lived = run_until(&bench, survive).await;
        is_finished(&bench, survive, 2).await;
        assert_eq!(bench.deployed("web"), files(ONE));
        lived
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_killed_while_it_recalls_its_floors_does_not_go_back_to_an_old_trigger() {
    walk(async |survive| {
        let (mut bench, _) = running().await;
        let old = bench.get(&ObjectKey::Trigger(bench.cell_id("web"))).await.unwrap();
        bench.publish("web", "2.0", TWO).await;
        bench.once().await;
        // The node loses its state, and somebody puts the bucket back to version 1.0.
        std::fs::remove_dir_all(bench.state_folder()).unwrap();
        bench.put(&ObjectKey::Trigger(bench.cell_id("web")), old.clone()).await;
        bench.place_index("web", &old).await;
        for key in bench.keys("cells/n1/web/history/").await {
            bench.delete(&ObjectKey::parse(&key).unwrap()).await;
        }
        let lived = run_until(&bench, survive).await;
        assert_eq!(bench.deployed("web"), files(TWO));
        let report = bench.once_for("web").await;
        assert_eq!(report.seen.unwrap().generation.get(), 2, "after {survive} steps: {report:#?}");
        assert_eq!(bench.deployed("web"), files(TWO));
        lived
    })
    .await;
}
