//! What stands on the host and the agent's state does not know, or knows otherwise: it is found, told, taken over where
//! it is wanted, and taken away only where a trigger says so.

use std::path::Path;

use fleetman::model::heartbeat::{CellReport, Phase, RunningState};
use fleetman::model::outcome::Ending;
use fleetman::model::trigger::Action;
use fleetman::model::{Code, ObjectKey};

use crate::support::node::{of, tree};
use crate::support::proxy::{Fault, On, Rule};
use crate::support::stand_in::Node;

fn codes(report: &CellReport) -> Vec<Code> {
    report.conditions.iter().map(|condition| condition.code).collect()
}

/// Copies a folder with its links and modes.
fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

async fn running() -> Node {
    let mut node = Node::start().await;
    node.publish("1").await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
    node.profile.asked();
    node
}

async fn empty_the_bucket(node: &Node) {
    for key in node.bench.keys("").await {
        node.bench.delete(&ObjectKey::parse(&key).unwrap()).await;
    }
}

#[tokio::test]
async fn an_agent_without_state_takes_over_what_runs_as_it_is_wanted() {
    let node = running().await;
    // The second attempt is up: the agent put right what was changed by hand.
    std::fs::remove_file(node.profile.folder.join("app/current")).unwrap();
    assert_eq!(node.once().await.phase, Phase::UpToDate);
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "1 as 1-1-2"]);
    for heartbeat_is_lost in [false, true] {
        std::fs::remove_dir_all(node.bench.state_folder()).unwrap();
        if heartbeat_is_lost {
            node.bench.delete(&ObjectKey::Heartbeat(node.bench.node.clone())).await;
        }
        let report = node.once().await;
        assert_eq!((report.phase, codes(&report)), (Phase::UpToDate, vec![]), "{report:#?}");
        assert_eq!(report.known_good, report.running);
        assert_eq!(node.profile.told().started.len(), 2, "nothing is restarted");
    }
}

#[tokio::test]
async fn a_state_from_a_backup_leads_nothing_back_with_or_without_the_bucket() {
    let mut node = running().await;
    let (state, backup) = (node.bench.state_folder(), node.bench.home.path().join("backup"));
    copy(&state, &backup);
    let old = node.bench.get(&ObjectKey::Trigger(node.bench.cell_id("app"))).await.unwrap();
    node.publish("2").await;
    node.once().await;
    node.profile.asked();
    std::fs::remove_dir_all(&state).unwrap();
    copy(&backup, &state);

    node.bench.proxy.inject(Rule::new(On::any(), Fault::LoseRequest));
    let mut agent = node.agent(|_| {}).await.unwrap();
    agent.poll_once().await.unwrap_err();
    agent.close().await;
    assert_eq!((node.profile.asked(), node.profile.runs().as_deref()), (vec![], Some("2")));
    node.bench.proxy.heal();

    // The bucket, too, is put back to version 1, and the heartbeat that told of version 2 is gone.
    let new = node.bench.get(&ObjectKey::Trigger(node.bench.cell_id("app"))).await.unwrap();
    for key in node.bench.keys("cells/n1/app/history/").await.into_iter().chain(node.bench.keys("agents/").await) {
        node.bench.delete(&ObjectKey::parse(&key).unwrap()).await;
    }
    node.bench.put(&ObjectKey::Trigger(node.bench.cell_id("app")), old.clone()).await;
    node.bench.place_index("app", &old).await;
    std::fs::remove_dir_all(&state).unwrap();
    copy(&backup, &state);
    let report = node.once().await;
    assert_eq!((node.profile.asked(), node.profile.runs().as_deref()), (vec![], Some("2")));
    assert!(codes(&report).contains(&Code::FloorRebuilt), "{report:#?}");

    node.bench.put(&ObjectKey::Trigger(node.bench.cell_id("app")), new.clone()).await;
    node.bench.place_index("app", &new).await;
    let report = node.once().await;
    assert_eq!((report.phase, codes(&report)), (Phase::UpToDate, vec![]), "{report:#?}");
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "2 as 1-2-1"], "it is taken over as it runs");
}

#[tokio::test]
async fn an_orphan_of_which_only_its_mark_is_left_is_told_and_removed_only_by_a_trigger() {
    let mut node = running().await;
    empty_the_bucket(&node).await;
    std::fs::remove_dir_all(node.bench.state_folder()).unwrap();
    std::fs::remove_dir_all(node.profile.folder.join("app")).unwrap();
    for _ in 0..2 {
        let report = node.once().await;
        assert_eq!((report.phase, codes(&report)), (Phase::Inconsistent, vec![Code::Orphaned]), "{report:#?}");
        assert!(report.conditions[0].message.contains("version 1 under the process profile"), "{report:#?}");
        assert_eq!(report.profile.as_deref(), Some("process"));
        assert!(matches!(report.state, RunningState::Running { .. }));
        assert_eq!(node.profile.asked(), [""; 0]);
    }
    node.bench.ask("app", Action::Remove).await;
    let report = node.once().await;
    assert_eq!((report.phase, codes(&report)), (Phase::Removed, vec![]), "{report:#?}");
    assert_eq!((node.profile.asked(), node.profile.runs()), (vec!["stop".to_owned(), "remove".to_owned()], None));
}

#[tokio::test]
async fn an_orphan_that_cannot_be_looked_at_for_once_is_not_gone() {
    let node = running().await;
    empty_the_bucket(&node).await;
    std::fs::remove_dir_all(node.bench.state_folder()).unwrap();
    let mut agent = node.agent(|_| {}).await.unwrap();
    let mut resumed = None;
    for is_blind in [false, true, false] {
        node.profile.told().is_blind = is_blind;
        let heartbeat = agent.poll_once().await.unwrap();
        assert_eq!(codes(&of(&heartbeat, "app")), [Code::Orphaned], "{heartbeat:#?}");
        let says_so = heartbeat.conditions.iter().any(|condition| condition.message.contains("nothing can be seen"));
        assert_eq!(says_so, is_blind, "{heartbeat:#?}");
        let now = node.profile.told().resumed;
        assert_eq!(*resumed.get_or_insert(now), now, "it is found only once");
    }
    agent.close().await;
}

#[tokio::test]
async fn a_cell_that_stands_under_two_profiles_is_told_and_ends_up_under_one() {
    let mut node = running().await;
    let (old, backup) = (node.profile.folder.join("app"), node.bench.home.path().join("backup"));
    copy(&old, &backup);
    node.publish_other("2").await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
    copy(&backup, &old);
    node.profile.asked();
    let report = node.once().await;
    assert_eq!((report.phase, codes(&report)), (Phase::Inconsistent, vec![Code::Inconsistent]), "{report:#?}");
    assert!(report.conditions[0].message.contains("process"), "{report:#?}");
    assert_eq!(node.profile.asked(), ["stop", "remove"]);
    assert!(!old.exists());
    let report = node.once().await;
    assert_eq!((report.phase, codes(&report)), (Phase::UpToDate, vec![]), "{report:#?}");
    assert_eq!(node.other.told().started, ["2 as 1-2-1"], "what runs is not touched");
    assert_eq!(node.profile.asked(), [""; 0]);

    // Without state and triggers both are orphans, and still nothing is done to them.
    copy(&backup, &old);
    let trigger = node.bench.get(&ObjectKey::Trigger(node.bench.cell_id("app"))).await.unwrap();
    for key in node.bench.keys("").await.iter().filter(|key| !key.contains("/versions/")) {
        node.bench.delete(&ObjectKey::parse(key).unwrap()).await;
    }
    std::fs::remove_dir_all(node.bench.state_folder()).unwrap();
    let report = node.once().await;
    assert_eq!(codes(&report), [Code::Orphaned, Code::Inconsistent], "{report:#?}");
    assert!(old.exists() && node.profile.asked().is_empty() && node.other.runs().is_some());
    node.bench.put(&ObjectKey::Trigger(node.bench.cell_id("app")), trigger).await;
    let report = node.once().await;
    assert_eq!((report.phase, codes(&report)), (Phase::UpToDate, vec![]), "{report:#?}");
    assert!(!old.exists());
    assert_eq!(node.other.told().started, ["2 as 1-2-1"]);
}

#[tokio::test]
async fn what_comes_back_of_a_removed_cell_is_removed_again() {
    let mut node = running().await;
    let (app, backup) = (node.profile.folder.join("app"), node.bench.home.path().join("backup"));
    copy(&app, &backup);
    node.bench.ask("app", Action::Remove).await;
    node.once().await;
    copy(&backup, &app);
    let report = node.once().await;
    assert_eq!(report.phase, Phase::Removed, "{report:#?}");
    assert!(!app.exists());
    assert_eq!(codes(&node.once().await), []);
    let outcome = node.bench.outcomes("app").await.pop().unwrap();
    assert_eq!((outcome.attempt, outcome.outcome, outcome.code), (2, Ending::Succeeded, None));
}

#[tokio::test]
async fn the_releases_of_another_node_are_no_orphans_and_are_left_alone() {
    let node = running().await;
    let before = tree(&node.profile.folder);
    let mut agent = node
        .agent(|settings| {
            settings.node = fleetman::model::NodeName::new("n2").unwrap();
            settings.state_folder = node.bench.home.path().join("state-2");
        })
        .await
        .unwrap();
    let heartbeat = agent.poll_once().await.unwrap();
    agent.close().await;
    assert!(heartbeat.cells.is_empty(), "{heartbeat:#?}");
    assert_eq!(tree(&node.profile.folder), before);
}
