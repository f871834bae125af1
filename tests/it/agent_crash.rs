//! An agent that is killed between any two steps leaves one whole version current, and the next one finishes the
//! work once (I4, I5).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetman::agent::{Agent, Steps};
use fleetman::clock::SystemClock;
use fleetman::model::heartbeat::Phase;
use fleetman::model::outcome::Ending;
use fleetman::model::trigger::Action;

use crate::support::node::{Bench, File, files, of, tree};

const ONE: &[File<'static>] = &[("index.html", b"one"), ("d/same", b"same"), ("gone", b"1")];
const TWO: &[File<'static>] = &[("index.html", b"two"), ("d/same", b"same"), ("e/new", b"2")];

/// Runs an agent that dies before its `survive`-th effect from now on. True if it lived to the end.
async fn run_until(bench: &Bench, survive: usize) -> bool {
    let left = Arc::new(AtomicUsize::new(survive));
    let counter = Arc::clone(&left);
    let mut settings = bench.settings().await;
    settings.steps = Steps::new(move |_| {
        let alive = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if alive { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let Ok(mut agent) = Agent::open(settings, SystemClock::shared()).await else { return false };
    // A task that died tells nobody why, as a killed process would not.
    let lived = agent.poll_once().await.is_ok();
    agent.close().await;
    lived
}

/// Walks every boundary of what `ask` asks for on a node that `prepare` made, and checks each.
async fn walk(ask: impl AsyncFn(&mut Bench), check: impl Fn(&Bench, bool)) {
    for survive in 0.. {
        assert!(survive < 500, "the walk does not end");
        let mut bench = Bench::start().await;
        bench.publish("web", "1.0", ONE).await;
        bench.once().await;
        ask(&mut bench).await;
        let lived = run_until(&bench, survive).await;
        check(&bench, false);
        let report = bench.once_for("web").await;
        assert_eq!(report.seen, report.applied, "after {survive} steps: {report:#?}");
        check(&bench, true);
        let report = bench.once_for("web").await;
        assert!(report.conditions.is_empty(), "after {survive} steps: {report:#?}");
        let outcomes = bench.outcomes("web").await;
        let endings: Vec<_> = outcomes.iter().map(|outcome| (outcome.at, outcome.outcome)).collect();
        assert_eq!(endings.len(), 2, "after {survive} steps the work was not done once: {endings:?}");
        assert!(endings.iter().all(|(_, ending)| *ending == Ending::Succeeded), "{endings:?}");
        nothing_is_left_over(&bench, survive);
        if lived {
            println!("walked {survive} boundaries");
            return;
        }
    }
}

fn nothing_is_left_over(bench: &Bench, survive: usize) {
    let mut all: Vec<String> = tree(&bench.target()).into_keys().collect();
    all.extend(tree(&bench.state_folder()).into_keys());
    let left: Vec<_> = all.iter().filter(|path| path.contains(".tmp-") || path.contains("outbox/")).collect();
    assert!(left.is_empty(), "after {survive} steps: {left:?}");
}

#[tokio::test]
async fn an_upgrade_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    walk(
        async |bench| {
            bench.publish("web", "2.0", TWO).await;
        },
        |bench, finished| {
            let deployed = bench.deployed("web");
            assert!(deployed == files(TWO) || !finished && deployed == files(ONE), "{deployed:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_rollback_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    for survive in (0..).step_by(3) {
        let mut bench = Bench::start().await;
        let first = bench.publish("web", "1.0", ONE).await;
        bench.once().await;
        bench.publish("web", "2.0", TWO).await;
        bench.once().await;
        bench.ask("web", Action::Deploy(first)).await;
        let lived = run_until(&bench, survive).await;
        let deployed = bench.deployed("web");
        assert!(deployed == files(ONE) || deployed == files(TWO), "{deployed:?}");
        assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
        assert_eq!(bench.deployed("web"), files(ONE));
        if lived {
            return;
        }
    }
}

#[tokio::test]
async fn a_removal_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    walk(
        async |bench| {
            bench.ask("web", Action::Remove).await;
        },
        |bench, finished| {
            // While it is being removed the link is whole or gone.
            if let Some(deployed) = bench.deployed("web").filter(|_| !finished) {
                assert_eq!(Some(deployed), files(ONE));
            }
            assert!(!finished || bench.deployed("web").is_none());
        },
    )
    .await;
}

#[tokio::test]
async fn a_first_start_that_is_killed_between_any_two_steps_is_finished_by_the_next_agent() {
    for survive in 0.. {
        let mut bench = Bench::start().await;
        bench.publish("web", "1.0", ONE).await;
        let lived = run_until(&bench, survive).await;
        let deployed = bench.deployed("web");
        assert!(deployed.is_none() || deployed == files(ONE), "{deployed:?}");
        let heartbeat = bench.once().await;
        assert_eq!(of(&heartbeat, "web").phase, Phase::UpToDate, "after {survive} steps: {heartbeat:#?}");
        assert_eq!(bench.deployed("web"), files(ONE));
        nothing_is_left_over(&bench, survive);
        if lived {
            return;
        }
    }
}
