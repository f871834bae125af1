//! The agent's loop: what it asks of the bucket and when, and how it bears what goes wrong around it.

use std::time::Duration;

use fleetman::agent::{Agent, AgentError, read_status};
use fleetman::clock::SystemClock;
use fleetman::model::heartbeat::{Phase, SigningMode};
use fleetman::model::outcome::Ending;
use fleetman::model::trigger::Action;
use fleetman::model::{Code, ObjectKey};

use crate::support::node::{Bench, ONE, TWO, files, of, target};
use crate::support::proxy::{Fault, On, Rule};
use crate::support::running::{Running, wait_for_phase};
use crate::support::wait_for;

#[tokio::test]
async fn an_idle_poll_is_one_conditional_get_whatever_the_number_of_cells() {
    let mut bench = Bench::start().await;
    for at in 0..5 {
        bench.publish(&format!("c{at}"), "1.0", ONE).await;
    }
    let agent = Running::start(&bench, |_| {}).await;
    for at in 0..5 {
        wait_for_phase(&bench, &format!("c{at}"), Phase::UpToDate).await;
    }
    // The last logs are on their way.
    wait_for(async || bench.keys("logs/").await.len() == 10, "all logs to be sent").await;
    wait_for(
        async || {
            bench.proxy.clear_log();
            wait_for(async || bench.proxy.log().len() >= 5, "five requests").await;
            let log = bench.proxy.log();
            log.iter().all(|seen| seen.key.ends_with("index/n1.json") && seen.condition.is_some())
        },
        "five requests in a row for the index alone",
    )
    .await;
    assert!(bench.proxy.log().iter().all(|seen| seen.status.is_none_or(|status| status == 304)));
    agent.end().await;
}

#[tokio::test]
async fn an_agent_bears_a_store_that_is_down_and_converges_after() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let agent = Running::start(&bench, |_| {}).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    bench.proxy.inject(Rule::new(On::any(), Fault::LoseRequest));
    bench.publish("web", "2.0", TWO).await;
    bench.proxy.clear_log();
    wait_for(async || bench.proxy.count(On::get("*/index/*")) >= 6, "three polls of two tries").await;
    assert_eq!(bench.deployed("web"), files(ONE));
    let told = async || {
        let status = read_status(&bench.state_folder()).unwrap();
        status.heartbeat.store_error.is_some_and(|fault| fault.code == Code::Unreachable)
    };
    wait_for(told, "the local status to tell that the store is down").await;
    bench.proxy.heal();
    wait_for(async || bench.deployed("web") == files(TWO), "version 2.0").await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    wait_for(async || bench.outcomes("web").await.len() == 2, "both outcomes").await;
    let clear = async || bench.heartbeat().await.unwrap().store_error.is_none();
    wait_for(clear, "the heartbeat to be without a store error").await;
    agent.end().await;
}

#[tokio::test]
async fn a_denied_object_neither_slows_the_polls_nor_is_forgotten() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let agent = Running::start(&bench, |settings| settings.full_scan_interval = settings.poll_interval).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    bench.proxy.inject(Rule::new(On::get("*/web/trigger.json"), Fault::status(403)));
    bench.proxy.clear_log();
    wait_for(async || bench.proxy.count(On::get("*/index/*")) >= 30, "thirty polls").await;
    let scans = bench.proxy.count(On::get("*/web/trigger.json"));
    assert!((1..10).contains(&scans), "{scans} scans in thirty polls");
    let told = bench.heartbeat().await.unwrap().store_error.map(|fault| fault.code);
    assert_eq!(told, Some(Code::Denied), "polls of the index do not clear it");
    bench.publish("web", "2.0", TWO).await;
    wait_for(async || bench.deployed("web") == files(TWO), "version 2.0").await;
    bench.proxy.heal();
    let clear = async || bench.heartbeat().await.unwrap().store_error.is_none();
    wait_for(clear, "the next scan to clear it").await;
    agent.end().await;
}

#[tokio::test]
async fn a_file_that_comes_late_is_deployed_although_the_index_does_not_change() {
    let mut bench = Bench::start().await;
    let manifest = bench.manifest("web", "1.0", ONE);
    bench.publish("web", "1.0", ONE).await;
    let file = manifest.object_of(&manifest.files[0]).unwrap();
    bench.delete(&file).await;
    let agent = Running::start(&bench, |_| {}).await;
    wait_for_phase(&bench, "web", Phase::Waiting).await;
    bench.put(&file, b"one").await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    agent.end().await;
}

#[tokio::test]
async fn a_trigger_placed_by_hand_is_found_by_a_full_scan() {
    let mut bench = Bench::start().await;
    let manifest = bench.manifest("web", "1.0", ONE);
    let target = bench.upload(&manifest, ONE).await;
    let agent = Running::start(&bench, |settings| settings.full_scan_interval = Duration::from_millis(100)).await;
    let trigger = bench.trigger("web", Action::Deploy(target));
    bench.put(&ObjectKey::Trigger(bench.cell_id("web")), trigger.document()).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    // Half a first publish: there is nothing but its history entry.
    let manifest = bench.manifest("shop", "1.0", TWO);
    let target = bench.upload(&manifest, TWO).await;
    let trigger = bench.trigger("shop", Action::Deploy(target));
    bench.place_history(&trigger).await;
    wait_for_phase(&bench, "shop", Phase::UpToDate).await;
    // Half a later one.
    let manifest = bench.manifest("web", "2.0", TWO);
    let target = bench.upload(&manifest, TWO).await;
    let trigger = bench.trigger("web", Action::Deploy(target));
    bench.place_history(&trigger).await;
    wait_for(async || bench.deployed("web") == files(TWO), "version 2.0").await;
    agent.end().await;
}

#[tokio::test]
async fn an_index_that_lags_behind_makes_the_agent_read_the_trigger_itself() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let stale = bench.get(&ObjectKey::Trigger(bench.cell_id("web"))).await.unwrap();
    bench.publish("web", "2.0", TWO).await;
    let agent = Running::start(&bench, |_| {}).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    // Version 3.0 reaches the trigger, while somebody puts an old entry back into the index.
    let three: &[(&str, &[u8])] = &[("index.html", b"three")];
    let manifest = bench.manifest("web", "3.0", three);
    let target = bench.upload(&manifest, three).await;
    let trigger = bench.trigger("web", Action::Deploy(target));
    bench.put(&ObjectKey::Trigger(bench.cell_id("web")), trigger.document()).await;
    bench.place_index("web", &stale).await;
    wait_for(async || bench.deployed("web") == files(three), "version 3.0").await;
    agent.end().await;
}

#[tokio::test]
async fn a_second_agent_on_the_same_folder_is_refused_and_told_who_holds_it() {
    let bench = Bench::start().await;
    let first = bench.agent().await;
    let error = Agent::open(bench.settings().await, SystemClock::shared()).await.unwrap_err();
    let AgentError::AlreadyRunning { pid, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    first.close().await;
    bench.once().await;
    let status = read_status(&bench.state_folder()).unwrap();
    assert_eq!((status.pid, status.heartbeat.sequence), (None, 1));
}

#[tokio::test]
async fn an_agent_that_never_ran_has_no_status() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read_status(folder.path()), Err(AgentError::NeverRan { .. })));
}

#[tokio::test]
async fn what_was_changed_by_hand_is_reported_and_put_right() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    bench.publish("web", "2.0", TWO).await;
    bench.once().await;
    let link = bench.target().join("web");
    let old = bench.releases("web").into_iter().find(|name| name.starts_with("1.0")).unwrap();
    for change in ["gone", "to the old one", "the release is gone"] {
        std::fs::remove_file(&link).unwrap();
        match change {
            "gone" => {}
            "to the old one" => std::os::unix::fs::symlink(format!(".fleetman/web/{old}"), &link).unwrap(),
            _ => {
                let current = bench.releases("web").into_iter().find(|name| name.starts_with("2.0")).unwrap();
                std::os::unix::fs::symlink(format!(".fleetman/web/{current}"), &link).unwrap();
                std::fs::remove_dir_all(bench.target().join(".fleetman/web").join(current)).unwrap();
            }
        }
        let report = bench.once_for("web").await;
        assert_eq!(bench.deployed("web"), files(TWO), "{change}");
        assert_eq!((report.phase, report.last_error.unwrap().code), (Phase::UpToDate, Code::Inconsistent));
        let outcome = bench.outcomes("web").await.pop().unwrap();
        assert_eq!((outcome.outcome, outcome.code), (Ending::Succeeded, Some(Code::Inconsistent)));
    }
    assert_eq!(bench.outcomes("web").await.len(), 5);

    // What is not ours is not put right.
    std::fs::remove_file(&link).unwrap();
    std::fs::create_dir(&link).unwrap();
    let report = bench.once_for("web").await;
    assert_eq!(report.conditions[0].code, Code::UnitNotOwned);
    assert!(link.is_dir() && !link.is_symlink());
}

#[tokio::test]
async fn a_stop_pre_empts_a_download_that_hangs() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let agent = Running::start(&bench, |_| {}).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    bench.proxy.inject(Rule::new(On::get("*/files/*"), Fault::Stall));
    bench.publish("web", "2.0", TWO).await;
    wait_for_phase(&bench, "web", Phase::Fetching).await;
    bench.ask("web", Action::Stop).await;
    wait_for_phase(&bench, "web", Phase::Stopped).await;
    assert_eq!(bench.deployed("web"), files(ONE));
    wait_for(async || bench.outcomes("web").await.len() == 3, "three outcomes").await;
    let endings: Vec<Ending> = bench.outcomes("web").await.iter().map(|outcome| outcome.outcome).collect();
    assert_eq!(endings, [Ending::Succeeded, Ending::Superseded, Ending::Succeeded]);
    agent.end().await;
}

#[tokio::test]
async fn a_newer_deploy_pre_empts_a_download_that_hangs_once_it_is_wholly_there() {
    let mut bench = Bench::start().await;
    let agent = Running::start(&bench, |_| {}).await;
    bench.proxy.inject(Rule::new(On::get("*/1.0/files/*"), Fault::Stall));
    bench.publish("web", "1.0", ONE).await;
    wait_for_phase(&bench, "web", Phase::Fetching).await;
    // A newer one that is not there yet does not end the older one.
    let manifest = bench.manifest("web", "2.0", TWO);
    let rendered = manifest.render();
    bench.ask("web", Action::Deploy(target(&manifest, &rendered))).await;
    wait_for_phase(&bench, "web", Phase::Waiting).await;
    assert!(bench.outcomes("web").await.is_empty());
    bench.upload(&manifest, TWO).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    assert_eq!(bench.deployed("web"), files(TWO));
    wait_for(async || bench.outcomes("web").await.len() == 2, "two outcomes").await;
    let outcomes = bench.outcomes("web").await;
    assert_eq!((outcomes[0].outcome, outcomes[1].outcome), (Ending::Superseded, Ending::Succeeded));
    agent.end().await;
}

#[tokio::test]
async fn an_agent_that_is_told_to_end_ends_in_the_middle_of_a_download_and_the_next_one_goes_on() {
    let mut bench = Bench::start().await;
    bench.proxy.inject(Rule::new(On::get("*/files/*"), Fault::Stall));
    bench.publish("web", "1.0", ONE).await;
    let agent = Running::start(&bench, |_| {}).await;
    wait_for_phase(&bench, "web", Phase::Fetching).await;
    agent.end().await;
    bench.proxy.heal();
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.attempt), (Phase::UpToDate, 1));
    assert_eq!(bench.outcomes("web").await.len(), 1);
}

#[tokio::test]
async fn logs_that_cannot_be_sent_are_kept_and_sent_later() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.proxy.inject(Rule::new(On::put("*/logs/*"), Fault::status(403)));
    let mut agent = bench.agent().await;
    assert!(matches!(agent.poll_once().await, Err(AgentError::Report { .. })));
    agent.close().await;
    assert!(bench.outcomes("web").await.is_empty());
    assert_eq!(bench.deployed("web"), files(ONE));
    bench.proxy.heal();
    bench.once().await;
    assert_eq!(bench.outcomes("web").await.len(), 1);
    assert_eq!(std::fs::read_dir(bench.state_folder().join("cells/web/outbox")).unwrap().count(), 0);
}

#[tokio::test]
async fn heartbeats_count_on_across_restarts_and_tell_of_the_machine() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let first = bench.once().await;
    let second = bench.once().await;
    assert_eq!((first.sequence, second.sequence, first.instance_id), (1, 2, second.instance_id));
    assert!(second.host.disk_free_bytes > 0 && !second.host.hostname.is_empty());
    assert_eq!(second.signing, SigningMode::Signed);
    assert!(second.clock_skew_ms.is_some_and(|skew| skew.abs() < 5_000), "{:?}", second.clock_skew_ms);
}

#[tokio::test]
async fn a_disk_that_refuses_the_status_does_not_end_the_agent() {
    let mut bench = Bench::start().await;
    let mut agent = bench.agent().await;
    // Nothing can be renamed to the place of a folder.
    std::fs::create_dir(bench.state_folder().join("status.json")).unwrap();
    bench.publish("web", "1.0", ONE).await;
    agent.poll_once().await.unwrap();
    let heartbeat = agent.poll_once().await.unwrap();
    assert_eq!((heartbeat.conditions[0].code, heartbeat.conditions.len()), (Code::Io, 1));
    assert_eq!(of(&heartbeat, "web").phase, Phase::UpToDate);
    agent.close().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_written_stops_deployments_and_nothing_else() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let mut agent = bench.agent().await;
    agent.poll_once().await.unwrap();
    let state = bench.state_folder().join("cells/web/state.json");
    let kept = std::fs::read(&state).unwrap();
    std::fs::remove_file(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    bench.publish("web", "2.0", TWO).await;
    let report = of(&agent.poll_once().await.unwrap(), "web");
    assert_eq!((report.last_error.unwrap().code, bench.deployed("web")), (Code::Io, files(ONE)));
    agent.close().await;
    std::fs::remove_dir(&state).unwrap();
    std::fs::write(&state, kept).unwrap();
    assert_eq!(bench.once_for("web").await.running.unwrap().version.as_str(), "2.0");
}

#[tokio::test]
async fn a_status_that_is_too_large_keeps_no_agent_from_starting() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    std::fs::write(bench.state_folder().join("status.json"), vec![b' '; 2 << 20]).unwrap();
    assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
}

#[tokio::test]
async fn a_cell_whose_folder_cannot_be_used_bars_no_other_cell_and_is_taken_up_once_it_can() {
    let mut bench = Bench::start().await;
    bench.publish("shop", "1.0", ONE).await;
    bench.once().await;
    let blocked = ["cells/web", "cells/old"].map(|path| bench.state_folder().join(path));
    for path in &blocked {
        std::fs::write(path, b"in the way").unwrap();
    }
    bench.publish("web", "1.0", ONE).await;
    bench.publish("shop", "2.0", TWO).await;
    let mut agent = bench.agent().await;
    let heartbeat = agent.poll_once().await.unwrap();
    assert_eq!(bench.deployed("shop"), files(TWO));
    let report = of(&heartbeat, "web");
    assert_eq!((report.phase, report.conditions[0].code), (Phase::Held, Code::Io), "{report:#?}");
    std::fs::remove_file(&blocked[0]).unwrap();
    assert_eq!(of(&agent.poll_once().await.unwrap(), "web").phase, Phase::UpToDate);
    agent.close().await;
    assert_eq!(bench.deployed("web"), files(ONE));
}
