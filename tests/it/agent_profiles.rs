//! What an agent does with profiles that run something: starts, failures, going back, changing from one to another.
//! The profile is a stand-in; the agent's side of it is real.

use fleetman::model::Code;
use fleetman::model::heartbeat::{Phase, RunningState};
use fleetman::model::outcome::Ending;
use fleetman::model::trigger::{Action, TriggerOptions};

use crate::support::stand_in::Node;

#[tokio::test]
async fn a_version_that_does_not_come_up_is_rolled_back_once_and_not_tried_again() {
    let mut node = Node::start().await;
    node.publish("1").await;
    let report = node.once().await;
    assert_eq!(report.phase, Phase::UpToDate, "{report:#?}");
    assert!(matches!(report.state, RunningState::Running { .. }));

    node.profile.breaks("2");
    let bad = node.publish("2").await;
    node.profile.asked();
    let report = node.once().await;
    assert_eq!(node.profile.asked(), ["activate 2", "activate 1"], "nothing is stopped before the new one failed");
    assert_eq!((report.phase, report.last_error.as_ref().unwrap().code), (Phase::RolledBack, Code::ActivationFailed));
    assert_eq!(report.running.as_ref().unwrap().version.as_str(), "1");
    assert_eq!(report.failed_content, [bad.content_sha256]);
    assert!(report.applied < report.seen);
    let outcome = node.bench.outcomes("app").await.pop().unwrap();
    assert_eq!((outcome.outcome, outcome.code), (Ending::RolledBack, Some(Code::ActivationFailed)));
    assert_eq!(outcome.running_after, outcome.known_good_after);

    assert_eq!(node.once().await.phase, Phase::RolledBack);
    assert_eq!(node.profile.asked(), [""; 0], "nothing flaps");

    // The same content, asked for again: not without `retry`.
    node.bench.ask("app", Action::Deploy(bad.clone())).await;
    let report = node.once().await;
    assert_eq!(report.waiting.unwrap().reason, Code::FailedBefore);
    assert_eq!(node.profile.asked(), [""; 0]);
    node.profile.mends();
    let options = TriggerOptions { retry: true, ..TriggerOptions::default() };
    let trigger = node.bench.trigger_with("app", Action::Deploy(bad), options);
    node.bench.place(&trigger).await;
    let report = node.once().await;
    assert_eq!((report.phase, report.failed_content), (Phase::UpToDate, vec![]));
}

#[tokio::test]
async fn a_first_version_that_does_not_come_up_has_nothing_to_go_back_to() {
    let mut node = Node::start().await;
    node.profile.breaks("1");
    node.publish("1").await;
    let report = node.once().await;
    assert_eq!((report.phase, report.known_good), (Phase::Failed, None));
    assert_eq!(report.conditions[0].code, Code::NeedsOperator);
    assert_eq!(node.bench.outcomes("app").await[0].outcome, Ending::Failed);
    node.publish("2").await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
}

#[tokio::test]
async fn a_known_good_release_that_was_damaged_is_not_gone_back_to() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    std::fs::write(node.profile.folder.join("app/current/version"), "hacked").unwrap();
    node.profile.breaks("2");
    node.publish("2").await;
    node.profile.asked();
    let report = node.once().await;
    assert_eq!(node.profile.asked(), ["activate 2"]);
    assert_eq!(report.phase, Phase::Failed, "{report:#?}");
    assert_eq!(report.conditions[0].code, Code::NeedsOperator);
}

#[tokio::test]
async fn a_rollback_target_that_fails_as_well_ends_the_matter() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    node.profile.breaks("1");
    node.profile.breaks("2");
    node.publish("2").await;
    node.profile.asked();
    let report = node.once().await;
    assert_eq!(node.profile.asked(), ["activate 2", "activate 1"]);
    assert_eq!((report.phase, report.conditions[0].code), (Phase::Failed, Code::NeedsOperator), "{report:#?}");
    node.once().await;
    assert_eq!(node.profile.asked(), [""; 0]);
}

#[tokio::test]
async fn a_cell_that_changes_its_profile_is_never_under_both() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    node.profile.asked();

    let files: &[(&str, &[u8])] = &[("index.html", b"static now")];
    node.bench.publish("app", "2", files).await;
    let report = node.once().await;
    assert_eq!((report.phase, report.profile.as_deref()), (Phase::UpToDate, Some("deploy")), "{report:#?}");
    assert_eq!(node.profile.asked(), ["stop", "stop", "remove"], "stopped before the switch, then cleared");
    assert!(!node.profile.folder.join("app/current").exists());
    assert!(!node.profile.folder.join("app/releases").exists());

    node.publish("3").await;
    let report = node.once().await;
    assert_eq!((report.phase, report.profile.as_deref()), (Phase::UpToDate, Some("process")));
    assert_eq!(node.bench.deployed("app"), None);
    assert!(node.bench.releases("app").is_empty());
}

#[tokio::test]
async fn a_redeploy_restarts_a_stop_stops_and_a_remove_removes() {
    let mut node = Node::start().await;
    let target = node.publish("1").await;
    node.once().await;
    node.bench.ask("app", Action::Deploy(target.clone())).await;
    node.once().await;
    assert_eq!(node.profile.asked(), ["activate 1", "activate 1"]);
    node.bench.ask("app", Action::Stop).await;
    let report = node.once().await;
    assert_eq!((report.phase, report.state), (Phase::Stopped, RunningState::Stopped));
    assert_eq!(node.profile.asked(), ["stop"]);
    node.bench.ask("app", Action::Remove).await;
    assert_eq!(node.once().await.phase, Phase::Removed);
    assert_eq!(node.profile.asked(), ["stop", "remove"]);
    assert!(!node.profile.folder.join("app").exists(), "a folder that is the cell's own goes with it");
    node.bench.ask("app", Action::Deploy(target)).await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);

    let foreign = node.profile.folder.join("app/notes");
    std::fs::write(&foreign, "mine").unwrap();
    node.bench.ask("app", Action::Remove).await;
    assert_eq!(node.once().await.phase, Phase::Removed);
    assert!(foreign.exists(), "what somebody else put there stays");
}
