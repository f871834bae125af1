//! What an agent does not believe. Every refusal has a code of its own, and what runs goes on running (I3, I6, I8).

use fleetman::agent::{Agent, AgentError};
use fleetman::clock::SystemClock;
use fleetman::model::heartbeat::{CellReport, Phase};
use fleetman::model::sign::{PinnedKey, PrivateKey, Signer, Trust, sign};
use fleetman::model::trigger::{Action, Target, TriggerOptions};
use fleetman::model::{CellName, Code, Epoch, Floor, Generation, ObjectKey};

use crate::support::node::{Bench, ONE, TWO, files, of};
use crate::support::proxy::{Fault, On, Rule};

/// A node on which version 1.0 of `web` runs.
async fn running() -> (Bench, Target) {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", ONE).await;
    assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
    (bench, target)
}

/// What the agent says waits, after showing that what ran runs on, untouched.
fn waits(bench: &Bench, report: &CellReport) -> Code {
    assert_eq!(report.phase, Phase::Waiting, "{report:#?}");
    still_one(bench, report);
    report.waiting.as_ref().unwrap().reason
}

fn still_one(bench: &Bench, report: &CellReport) {
    assert_eq!(bench.deployed("web"), files(ONE));
    assert_eq!(report.running.as_ref().unwrap().version.as_str(), "1.0");
}

fn conditions(report: &CellReport) -> Vec<Code> {
    report.conditions.iter().map(|condition| condition.code).collect()
}

#[tokio::test]
async fn a_tampered_file_is_refused_and_taken_once_it_is_right() {
    let (mut bench, _) = running().await;
    let manifest = bench.manifest("web", "2.0", TWO);
    bench.publish("web", "2.0", TWO).await;
    let key = manifest.object_of(&manifest.files[0]).unwrap();
    for tampered in [&b"TWO"[..], b"two and more", b"t"] {
        bench.put(&key, tampered).await;
        let report = bench.once_for("web").await;
        assert_eq!(waits(&bench, &report), Code::FileTampered);
        assert!(report.last_error.unwrap().message.contains("index.html"));
    }
    assert_eq!(bench.outcomes("web").await.len(), 1, "an attempt that waits is not over");
    assert!(bench.log("web", 2, 1).await.contains("file_tampered"));
    bench.put(&key, b"two").await;
    bench.proxy.clear_log();
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.attempt), (Phase::UpToDate, 1));
    assert_eq!(bench.deployed("web"), files(TWO));
    assert_eq!(bench.proxy.count(On::get("*/files/*")), 1, "what was right the first time is kept");
}

#[tokio::test]
async fn a_tampered_pack_is_refused() {
    let (mut bench, _) = running().await;
    let manifest = crate::support::node::packed(bench.manifest("web", "2.0", TWO), "packs/1", 0);
    let rendered = manifest.render();
    let pack = manifest.object_of(&manifest.files[0]).unwrap();
    bench.put(&ObjectKey::VersionManifest(bench.cell_id("web"), manifest.version.clone()), rendered.clone()).await;
    bench.ask("web", Action::Deploy(crate::support::node::target(&manifest, &rendered))).await;
    assert_eq!(waits(&bench, &bench.once_for("web").await), Code::FileMissing);
    bench.put(&pack, b"twoX").await;
    assert_eq!(waits(&bench, &bench.once_for("web").await), Code::FileTampered);
    bench.put(&pack, b"two").await;
    assert_eq!(waits(&bench, &bench.once_for("web").await), Code::FileTampered, "too short");
    bench.put(&pack, b"two2").await;
    assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
}

#[tokio::test]
async fn an_overwritten_manifest_is_refused_before_any_file_is_fetched() {
    let (mut bench, _) = running().await;
    bench.publish("web", "2.0", TWO).await;
    let other = bench.manifest("web", "2.0", &[("index.html", b"evil")]);
    bench.upload(&other, &[("index.html", b"evil")]).await;
    bench.proxy.clear_log();
    assert_eq!(waits(&bench, &bench.once_for("web").await), Code::ManifestTampered);
    // Not even one of the same length, or one that says the same in other words.
    let right = String::from_utf8(bench.manifest("web", "2.0", TWO).render()).unwrap();
    for changed in [right.replace("alice", "malic"), format!("{right} ")] {
        assert_ne!(changed, right);
        bench.put(&ObjectKey::VersionManifest(other.cell_id(), other.version.clone()), changed).await;
        assert_eq!(waits(&bench, &bench.once_for("web").await), Code::ManifestTampered);
    }
    assert_eq!(bench.proxy.count(On::get("*/files/*")), 0);
}

#[tokio::test]
async fn a_manifest_or_file_that_is_not_there_yet_is_waited_for() {
    let (mut bench, _) = running().await;
    let manifest = bench.manifest("web", "2.0", TWO);
    bench.publish("web", "2.0", TWO).await;
    let key = ObjectKey::VersionManifest(manifest.cell_id(), manifest.version.clone());
    bench.delete(&key).await;
    assert_eq!(waits(&bench, &bench.once_for("web").await), Code::ManifestMissing);
    bench.put(&key, manifest.render()).await;
    let file = manifest.object_of(&manifest.files[1]).unwrap();
    bench.delete(&file).await;
    let report = bench.once_for("web").await;
    assert_eq!(waits(&bench, &report), Code::FileMissing);
    assert_eq!(report.failed_content, []);
    bench.put(&file, b"2").await;
    assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
}

#[tokio::test]
async fn a_trigger_that_was_changed_is_refused() {
    let (mut bench, _) = running().await;
    let manifest = bench.manifest("web", "2.0", TWO);
    let target = bench.upload(&manifest, TWO).await;
    let trigger = bench.trigger("web", Action::Deploy(target));
    let text = String::from_utf8(trigger.document().to_vec()).unwrap();
    let changed = text.replace("\"generation\": 2", "\"generation\": 3");
    assert_ne!(changed, text);
    bench.put(&ObjectKey::Trigger(bench.cell_id("web")), changed.clone()).await;
    bench.place_index("web", changed.as_bytes()).await;
    let report = bench.once_for("web").await;
    still_one(&bench, &report);
    assert_eq!((report.phase, conditions(&report)), (Phase::UpToDate, vec![Code::SigInvalid, Code::SigInvalid]));
    assert_eq!(report.last_error.unwrap().code, Code::SigInvalid);

    bench.place(&trigger).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, conditions(&report)), (Phase::UpToDate, vec![]));
    assert_eq!(bench.deployed("web"), files(TWO));
}

#[tokio::test]
async fn a_key_that_is_not_pinned_signs_for_nobody_here() {
    let (bench, target) = running().await;
    let unsigned = bench.unsigned("web", Action::Remove, TriggerOptions::default(), Generation::new(2).unwrap());
    let stranger = Signer::Key(PrivateKey::from_seed(&[9; 32]), Epoch::FIRST);
    bench.place(&sign(&unsigned, &stranger).unwrap()).await;
    let report = bench.once_for("web").await;
    still_one(&bench, &report);
    assert!(conditions(&report).contains(&Code::SigInvalid), "{report:#?}");
    bench.place(&sign(&unsigned, &Signer::Unsigned).unwrap()).await;
    let report = bench.once_for("web").await;
    still_one(&bench, &report);
    assert_eq!(report.desired.unwrap().manifest_sha256, target.manifest_sha256);
}

#[tokio::test]
async fn another_cells_trigger_copied_over_is_refused() {
    let (mut bench, _) = running().await;
    bench.publish("shop", "1.0", TWO).await;
    let foreign = bench.trigger("shop", Action::Remove);
    bench.put(&ObjectKey::Trigger(bench.cell_id("web")), foreign.document()).await;
    bench.place_index("web", foreign.document()).await;
    let heartbeat = bench.once().await;
    let report = of(&heartbeat, "web");
    still_one(&bench, &report);
    assert_eq!(conditions(&report), [Code::WrongTarget, Code::WrongTarget]);
    assert_eq!(of(&heartbeat, "shop").phase, Phase::UpToDate, "the bad entry spoils only itself");
}

#[tokio::test]
async fn a_trigger_for_another_fleet_or_node_is_refused() {
    let (bench, _) = running().await;
    for change in [0, 1] {
        let mut trigger = bench.unsigned("web", Action::Remove, TriggerOptions::default(), Generation::new(2).unwrap());
        match change {
            0 => trigger.fleet = uuid::Uuid::from_u128(8),
            _ => trigger.node = fleetman::model::NodeName::new("n2").unwrap(),
        }
        let trigger = bench.sign(trigger);
        bench.put(&ObjectKey::Trigger(bench.cell_id("web")), trigger.document()).await;
        let report = bench.once_for("web").await;
        still_one(&bench, &report);
        assert_eq!(conditions(&report), [Code::WrongTarget]);
    }
}

#[tokio::test]
async fn an_old_trigger_put_back_is_stale_and_nothing_else() {
    let (mut bench, old) = running().await;
    let trigger = bench.get(&ObjectKey::Trigger(bench.cell_id("web"))).await.unwrap();
    bench.publish("web", "2.0", TWO).await;
    bench.once().await;
    bench.put(&ObjectKey::Trigger(bench.cell_id("web")), trigger.clone()).await;
    bench.place_index("web", &trigger).await;
    let report = bench.once_for("web").await;
    assert_eq!(bench.deployed("web"), files(TWO));
    assert_eq!((report.phase, conditions(&report)), (Phase::UpToDate, vec![Code::IndexStale, Code::TriggerStale]));
    assert_eq!(report.last_error, None, "no alarm by itself");
    assert_ne!(report.running.unwrap().manifest_sha256, old.manifest_sha256);
}

#[tokio::test]
async fn of_two_triggers_with_one_generation_the_first_is_held() {
    let (mut bench, _) = running().await;
    let trigger = bench.unsigned("web", Action::Remove, TriggerOptions::default(), Generation::FIRST);
    bench.place(&bench.sign(trigger)).await;
    let report = bench.once_for("web").await;
    still_one(&bench, &report);
    assert_eq!((report.phase, conditions(&report)), (Phase::UpToDate, vec![Code::Conflict, Code::Conflict]));
    bench.publish("web", "2.0", TWO).await;
    assert_eq!(conditions(&bench.once_for("web").await), [], "the next generation heals it");
}

#[tokio::test]
async fn what_only_a_newer_agent_understands_is_held_by_name() {
    let (bench, _) = running().await;
    let mut trigger = bench.unsigned("web", Action::Remove, TriggerOptions::default(), Generation::new(2).unwrap());
    trigger.requires.push("teleport".to_owned());
    bench.place(&bench.sign(trigger)).await;
    let report = bench.once_for("web").await;
    still_one(&bench, &report);
    assert_eq!((report.phase, report.seen.unwrap().generation.get()), (Phase::Held, 2));
    assert_eq!(report.conditions.len(), 1, "{report:#?}");
    assert_eq!(report.conditions[0].code, Code::Unsupported);
    assert!(report.conditions[0].message.contains("teleport"));
}

#[tokio::test]
async fn a_bad_index_entry_spoils_only_itself_and_a_bad_index_nothing() {
    let (mut bench, _) = running().await;
    bench.place_index("web", b"{\"signed\": 7}").await;
    bench.publish("shop", "1.0", TWO).await;
    let heartbeat = bench.once().await;
    still_one(&bench, &of(&heartbeat, "web"));
    assert_eq!(conditions(&of(&heartbeat, "web")), [Code::DocumentInvalid]);
    assert_eq!(of(&heartbeat, "shop").phase, Phase::UpToDate);

    bench.put(&ObjectKey::Index(bench.node.clone()), b"[".to_vec()).await;
    let heartbeat = bench.once().await;
    assert_eq!(heartbeat.conditions.len(), 1, "{heartbeat:#?}");
    assert_eq!(heartbeat.conditions[0].code, Code::DocumentInvalid);
    assert_eq!(of(&heartbeat, "web").phase, Phase::UpToDate);
}

#[tokio::test]
async fn refused_triggers_of_cells_that_are_not_here_are_reported_and_leave_nothing_on_the_node() {
    let (bench, _) = running().await;
    bench.put(&ObjectKey::Trigger(bench.cell_id("ghost")), b"{}".to_vec()).await;
    let report = bench.once_for("ghost").await;
    assert_eq!((report.phase, report.waiting.unwrap().reason), (Phase::Waiting, Code::DocumentInvalid));
    assert!(!bench.state_folder().join("cells/ghost").exists());
}

#[tokio::test]
async fn a_trigger_that_is_gone_or_denied_is_no_instruction() {
    let (bench, _) = running().await;
    bench.delete(&ObjectKey::Index(bench.node.clone())).await;
    bench.delete(&ObjectKey::Trigger(bench.cell_id("web"))).await;
    let report = bench.once_for("web").await;
    still_one(&bench, &report);
    assert_eq!((report.phase, conditions(&report)), (Phase::UpToDate, vec![Code::TriggerMissing]));

    bench.proxy.inject(Rule::new(On::get("*"), Fault::status(403)));
    bench.proxy.inject(Rule::new(On::list("*"), Fault::status(403)));
    let mut agent = bench.agent().await;
    let error = agent.poll_once().await.unwrap_err();
    assert!(matches!(&error, AgentError::Store(error) if error.code() == "denied"), "{error:?}");
    agent.close().await;
    assert_eq!(bench.deployed("web"), files(ONE));
    let status = fleetman::agent::read_status(&bench.state_folder()).unwrap();
    assert_eq!(status.heartbeat.store_error.unwrap().code, Code::Denied);
    assert_eq!(of(&bench.heartbeat().await.unwrap(), "web").phase, Phase::UpToDate);
}

#[tokio::test]
async fn a_key_of_a_higher_epoch_outranks_everything_that_an_older_one_signed() {
    let (bench, target) = running().await;
    let far = Generation::new(Generation::MAX).unwrap();
    let stolen = bench.unsigned("web", Action::Remove, TriggerOptions::default(), far);
    bench.place(&bench.sign(stolen)).await;
    assert_eq!(bench.once_for("web").await.phase, Phase::Removed, "a stolen key can do that");

    let (rotated, epoch) = (PrivateKey::from_seed(&[8; 32]), Epoch::new(2).unwrap());
    let first = bench.unsigned("web", Action::Deploy(target), TriggerOptions::default(), Generation::FIRST);
    bench.place(&sign(&first, &Signer::Key(rotated.clone(), epoch)).unwrap()).await;
    let mut settings = bench.settings().await;
    settings.trust = Trust::Keys(vec![
        PinnedKey { key: bench.key.public(), epoch: Epoch::FIRST },
        PinnedKey { key: rotated.public(), epoch },
    ]);
    let mut agent = Agent::open(settings, SystemClock::shared()).await.unwrap();
    let report = of(&agent.poll_once().await.unwrap(), "web");
    agent.close().await;
    assert_eq!((report.phase, report.applied), (Phase::UpToDate, Some(Floor::new(epoch, Generation::FIRST))));
    assert_eq!(bench.deployed("web"), files(ONE));
}

#[tokio::test]
async fn a_key_that_is_no_longer_pinned_leaves_floor_and_cell_as_they_are() {
    let (mut bench, _) = running().await;
    bench.publish("web", "2.0", TWO).await;
    let other = PrivateKey::from_seed(&[8; 32]);
    let mut settings = bench.settings().await;
    settings.trust = Trust::Keys(vec![PinnedKey { key: other.public(), epoch: Epoch::FIRST }]);
    let mut agent = Agent::open(settings, SystemClock::shared()).await.unwrap();
    let report = of(&agent.poll_once().await.unwrap(), "web");
    agent.close().await;
    still_one(&bench, &report);
    assert_eq!(report.seen.unwrap().generation, Generation::FIRST);
    assert_eq!(bench.once_for("web").await.running.unwrap().version.as_str(), "2.0");
}

#[tokio::test]
async fn what_is_in_a_cells_place_and_is_not_ours_is_never_touched() {
    for planted in ["folder", "file", "link", "releases link", "releases of another node"] {
        let mut bench = Bench::start().await;
        let elsewhere = bench.home.path().join("elsewhere");
        std::fs::create_dir_all(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("precious"), b"data").unwrap();
        std::fs::create_dir_all(bench.target().join(".fleetman")).unwrap();
        let place = bench.target().join("web");
        let releases = bench.target().join(".fleetman/web");
        match planted {
            "folder" => std::fs::create_dir(&place).unwrap(),
            "file" => std::fs::write(&place, b"mine").unwrap(),
            "link" => std::os::unix::fs::symlink(&elsewhere, &place).unwrap(),
            "releases link" => std::os::unix::fs::symlink(&elsewhere, &releases).unwrap(),
            _ => {
                std::fs::create_dir(&releases).unwrap();
                let owner = format!(
                    "{{\"schema\":\"fleetman/owner/1\",\"fleet\":\"{}\",\"node\":\"n2\",\"cell\":\"web\"}}",
                    bench.fleet
                );
                std::fs::write(releases.join(".owner.json"), owner).unwrap();
            }
        }
        let before = crate::support::node::tree(&bench.target());
        bench.publish("web", "1.0", ONE).await;
        for action in [None, Some(Action::Remove)] {
            if let Some(action) = action {
                bench.ask("web", action).await;
            }
            let report = bench.once_for("web").await;
            if report.phase == Phase::Waiting {
                assert_eq!(report.waiting.unwrap().reason, Code::UnitNotOwned, "{planted}");
            } else {
                assert_eq!(report.phase, Phase::Removed, "{planted}");
            }
            assert_eq!(std::fs::read(elsewhere.join("precious")).unwrap(), b"data");
            assert_eq!(crate::support::node::tree(&elsewhere).len(), 1, "{planted}");
            let mut after = crate::support::node::tree(&bench.target());
            after.retain(|path, _| !path.ends_with(".fleetman/web/.owner.json") || before.contains_key(path));
            assert_eq!(after, before, "{planted}");
        }
    }
}

#[tokio::test]
async fn releases_are_not_put_where_others_can_write() {
    let mut bench = Bench::start().await;
    let shared = bench.target().join(".fleetman");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    bench.publish("web", "1.0", ONE).await;
    let report = bench.once_for("web").await;
    let waiting = report.waiting.unwrap();
    assert_eq!(waiting.reason, Code::UnitNotOwned);
    assert!(waiting.message.contains("may write to it"), "{}", waiting.message);
    assert_eq!(bench.proxy.count(On::get("*/files/*")), 0);
}

#[tokio::test]
async fn a_link_planted_inside_an_unfinished_release_is_not_followed() {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", &[("a/b", b"one")]).await;
    let elsewhere = bench.home.path().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    // An agent that was stopped in the middle has left its marker and an unfinished release.
    bench.publish("web", "0.9", &[("x", b"x")]).await;
    bench.once().await;
    let name = format!("1.0-{}", target.manifest_sha256.short(12));
    let unfinished = bench.target().join(".fleetman/web").join(format!(".tmp-{name}"));
    std::fs::create_dir(&unfinished).unwrap();
    std::os::unix::fs::symlink(&elsewhere, unfinished.join("a")).unwrap();
    let mut agent = bench.agent().await;
    assert!(!unfinished.exists(), "what no attempt goes on with is swept at the start");
    std::fs::create_dir(&unfinished).unwrap();
    std::os::unix::fs::symlink(&elsewhere, unfinished.join("a")).unwrap();
    bench.ask("web", Action::Deploy(target)).await;
    let report = of(&agent.poll_once().await.unwrap(), "web");
    agent.close().await;
    assert_eq!(report.phase, Phase::Waiting, "{report:#?}");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[tokio::test]
async fn a_damaged_or_newer_state_is_reported_and_left_as_it_is() {
    for (bytes, told) in
        [(&b"{"[..], "not a valid"), (b"{\"schema\":\"fleetman/agent-cell/9\"}", "fleetman/agent-cell/9")]
    {
        let (mut bench, _) = running().await;
        let state = bench.state_folder().join("cells/web/state.json");
        std::fs::write(&state, bytes).unwrap();
        bench.publish("web", "2.0", TWO).await;
        bench.publish("shop", "1.0", TWO).await;
        let heartbeat = bench.once().await;
        let report = of(&heartbeat, "web");
        assert_eq!((report.phase, conditions(&report)), (Phase::Held, vec![Code::StateInvalid]));
        assert!(report.conditions[0].message.contains(told), "{}", report.conditions[0].message);
        assert_eq!(bench.deployed("web"), files(ONE));
        assert_eq!(std::fs::read(&state).unwrap(), bytes);
        assert_eq!(of(&heartbeat, "shop").phase, Phase::UpToDate);
    }
}

#[tokio::test]
async fn a_state_folder_of_another_node_is_refused() {
    let (bench, _) = running().await;
    let mut settings = bench.settings().await;
    settings.node = fleetman::model::NodeName::new("n2").unwrap();
    let error = Agent::open(settings, SystemClock::shared()).await.unwrap_err();
    assert!(matches!(&error, AgentError::StateInvalid { problem, .. } if problem.contains("n1")), "{error}");
}

#[tokio::test]
async fn an_orphan_is_reported_and_left_alone() {
    let (bench, _) = running().await;
    for key in bench.keys("").await {
        bench.delete(&ObjectKey::parse(&key).unwrap()).await;
    }
    std::fs::remove_dir_all(bench.state_folder()).unwrap();
    let heartbeat = bench.once().await;
    let report = of(&heartbeat, "web");
    assert_eq!((report.phase, conditions(&report)), (Phase::Inconsistent, vec![Code::Orphaned]));
    assert_eq!(bench.deployed("web"), files(ONE));
    assert!(heartbeat.cells.contains_key(&CellName::new("web").unwrap()));
}

#[tokio::test]
async fn a_manifest_of_another_version_cell_node_or_fleet_is_refused() {
    let (mut bench, _) = running().await;
    for change in 0..4 {
        let version = format!("2.{change}");
        let mut manifest = bench.manifest("web", &version, TWO);
        let key = ObjectKey::VersionManifest(manifest.cell_id(), manifest.version.clone());
        match change {
            0 => manifest.version = fleetman::model::VersionName::new("9").unwrap(),
            1 => manifest.cell = CellName::new("shop").unwrap(),
            2 => manifest.node = fleetman::model::NodeName::new("n2").unwrap(),
            _ => manifest.fleet = uuid::Uuid::from_u128(8),
        }
        manifest.content_sha256 = fleetman::model::content::content_sha256(&manifest);
        let rendered = manifest.render();
        bench.put(&key, rendered.clone()).await;
        let named = fleetman::model::VersionName::new(version).unwrap();
        let target = Target { version: named, ..crate::support::node::target(&manifest, &rendered) };
        bench.ask("web", Action::Deploy(target)).await;
        let report = bench.once_for("web").await;
        still_one(&bench, &report);
        assert_eq!((report.phase, report.last_error.unwrap().code), (Phase::Failed, Code::WrongTarget), "{change}");
    }
}

#[tokio::test]
async fn a_kept_manifest_that_was_changed_on_the_node_is_fetched_again() {
    let (mut bench, target) = running().await;
    let mut other = bench.manifest("web", "1.0", ONE);
    other.created_by = fleetman::model::UserName::new("mallory").unwrap();
    let folder = bench.state_folder().join("cells/web/manifests");
    let kept = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let right = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, other.render()).unwrap();
    bench.ask("web", Action::Deploy(target)).await;
    assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
    assert_eq!(std::fs::read(&kept).unwrap(), right);
}

#[tokio::test]
async fn an_index_of_another_node_is_refused_as_a_whole() {
    let (mut bench, _) = running().await;
    bench.publish("web", "2.0", TWO).await;
    bench.delete(&ObjectKey::Trigger(bench.cell_id("web"))).await;
    let key = ObjectKey::Index(bench.node.clone());
    let text = String::from_utf8(bench.get(&key).await.unwrap()).unwrap();
    let foreign = text.replacen("\"node\": \"n1\"", "\"node\": \"n2\"", 1);
    assert_ne!(foreign, text);
    bench.put(&key, foreign).await;
    let heartbeat = bench.once().await;
    assert_eq!(heartbeat.conditions.iter().map(|found| found.code).collect::<Vec<_>>(), [Code::WrongTarget]);
}

#[tokio::test]
async fn a_manifest_that_is_kept_on_the_node_is_held_against_a_later_trigger_as_well() {
    let (mut bench, target) = running().await;
    let content_sha256 = fleetman::model::Sha256Digest::of(b"something else");
    bench.ask("web", Action::Deploy(Target { content_sha256, ..target })).await;
    let report = bench.once_for("web").await;
    still_one(&bench, &report);
    assert_eq!((report.phase, report.last_error.unwrap().code), (Phase::Failed, Code::ManifestInvalid));
}

#[tokio::test]
async fn however_many_cells_are_made_up_in_the_bucket_only_some_are_reported() {
    let bench = Bench::start().await;
    for at in 0..110 {
        bench.put(&ObjectKey::Trigger(bench.cell_id(&format!("ghost-{at}"))), b"{}".to_vec()).await;
    }
    assert_eq!(bench.once().await.cells.len(), 100);
}
