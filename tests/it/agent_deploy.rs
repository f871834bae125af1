//! What an agent does with what it is asked for, over a real bucket and real folders.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use fleetman::model::content::content_sha256;
use fleetman::model::heartbeat::{Phase, RunningState};
use fleetman::model::manifest::Mode;
use fleetman::model::outcome::Ending;
use fleetman::model::run_spec::{DeploySpec, Profile};
use fleetman::model::systemd::SystemdSpec;
use fleetman::model::trigger::{Action, TriggerOptions};
use fleetman::model::{Code, ObjectKey, Sha256Digest};

use crate::support::node::{Bench, File, files, packed, target, tree};
use crate::support::proxy::On;
use crate::support::stand_in::run;

const ONE: &[File<'static>] = &[("index.html", b"one"), ("css/site.css", b"body{}"), ("empty", b"")];
const TWO: &[File<'static>] = &[("index.html", b"two"), ("css/site.css", b"body{}"), ("new/deep/file", b"x")];

#[tokio::test]
async fn a_published_version_is_deployed_and_reported() {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", ONE).await;
    let report = bench.once_for("web").await;

    assert_eq!(bench.deployed("web"), files(ONE));
    assert_eq!((report.phase, report.state.clone()), (Phase::UpToDate, RunningState::NotApplicable), "{report:#?}");
    assert_eq!(report.seen, report.applied);
    assert_eq!(report.running, report.known_good);
    assert_eq!(report.running.unwrap().manifest_sha256, target.manifest_sha256);
    assert_eq!((report.last_error, report.conditions), (None, vec![]));
    assert_eq!(bench.heartbeat().await.unwrap().cells.len(), 1);

    let outcomes = bench.outcomes("web").await;
    assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
    assert_eq!((outcomes[0].outcome, outcomes[0].attempt, outcomes[0].code), (Ending::Succeeded, 1, None));
    assert_eq!((outcomes[0].files_fetched, outcomes[0].bytes_fetched), (2, 9));
    let log = bench.log("web", 1, 1).await;
    assert!(log.contains("deploy version 1.0") && log.lines().last().unwrap().contains("succeeded"), "{log}");
}

#[tokio::test]
async fn the_release_belongs_to_the_agent_and_has_exactly_its_modes() {
    let mut bench = Bench::start().await;
    let mut manifest = bench.manifest("web", "1.0", &[("bin/run", b"#!/bin/sh"), ("secret", b"s")]);
    manifest.files[0].mode = Mode::EXECUTE;
    manifest.files[1].mode = Mode::new(0o440).unwrap();
    manifest.content_sha256 = content_sha256(&manifest);
    let target = bench.upload(&manifest, &[("bin/run", b"#!/bin/sh"), ("secret", b"s")]).await;
    bench.ask("web", Action::Deploy(target)).await;
    bench.once().await;

    let mode = |path: &str| std::fs::metadata(bench.target().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("web/bin/run"), mode("web/secret"), mode("web/bin"), mode("web")), (0o755, 0o440, 0o755, 0o755));
    let state = |path: &str| std::fs::metadata(bench.state_folder().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((state(""), state("cells"), state("data"), state("data/web")), (0o711, 0o700, 0o711, 0o750));
    assert_eq!(state("cells/web/state.json"), 0o600);
}

#[tokio::test]
async fn a_newer_version_replaces_the_older_one_and_fetches_only_what_is_new() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    bench.publish("web", "2.0", TWO).await;
    bench.proxy.clear_log();
    let report = bench.once_for("web").await;

    assert_eq!(bench.deployed("web"), files(TWO));
    assert_eq!(report.running.unwrap().version.as_str(), "2.0");
    assert_eq!(bench.proxy.count(On::get("*/files/*")), 2, "css/site.css is on the node already");
    assert_eq!(bench.outcomes("web").await[1].files_reused, 1);
}

#[tokio::test]
async fn files_of_another_cell_are_copied_and_never_linked() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.publish("shop", "1.0", &[("index.html", b"one"), ("again.html", b"one")]).await;
    let mut agent = bench.agent().await;
    agent.poll_once().await.unwrap();
    agent.close().await;
    bench.publish("third", "1.0", &[("a", b"one"), ("b", b"one"), ("c", b"body{}")]).await;
    bench.proxy.clear_log();
    bench.once().await;

    assert_eq!(bench.proxy.count(On::get("*/files/*")), 0);
    assert_eq!(bench.deployed("third"), files(&[("a", b"one"), ("b", b"one"), ("c", b"body{}")]));
    for path in ["third/a", "third/b", "web/index.html", "shop/again.html"] {
        assert_eq!(std::fs::metadata(bench.target().join(path)).unwrap().nlink(), 1, "{path}");
    }
}

#[tokio::test]
async fn a_file_on_the_node_that_was_changed_by_hand_is_not_reused() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", &[("a", b"right")]).await;
    bench.once().await;
    std::fs::write(bench.target().join("web/a"), b"wrong").unwrap();
    bench.publish("shop", "1.0", &[("a", b"right")]).await;
    bench.once().await;
    assert_eq!(bench.deployed("shop"), files(&[("a", b"right")]));
}

#[tokio::test]
async fn rolling_back_to_a_release_on_the_node_needs_nothing_of_the_bucket_but_the_trigger() {
    let mut bench = Bench::start().await;
    let first = bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    bench.publish("web", "2.0", TWO).await;
    bench.once().await;
    for key in bench.keys("cells/n1/web/versions/").await {
        bench.delete(&ObjectKey::parse(&key).unwrap()).await;
    }
    bench.ask("web", Action::Deploy(first)).await;
    let report = bench.once_for("web").await;
    assert_eq!(bench.deployed("web"), files(ONE));
    assert_eq!((report.phase, report.running.unwrap().version.as_str()), (Phase::UpToDate, "1.0"));
}

#[tokio::test]
async fn a_redeploy_of_the_same_version_is_a_new_attempt_and_repairs_the_release() {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    std::fs::write(bench.target().join("web/index.html"), b"hacked").unwrap();
    std::fs::write(bench.target().join("web/extra"), b"planted").unwrap();
    bench.ask("web", Action::Deploy(target)).await;
    let report = bench.once_for("web").await;
    assert_eq!(bench.deployed("web"), files(ONE));
    assert_eq!((report.phase, report.attempt), (Phase::UpToDate, 1));
    assert_eq!(bench.outcomes("web").await.len(), 2);
    assert_eq!(bench.releases("web").len(), 1, "nothing is left of the damaged one");
}

#[tokio::test]
async fn stop_keeps_the_files_remove_takes_them_and_a_later_deploy_brings_them_back() {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let data = bench.state_folder().join("data/web");
    std::fs::write(data.join("database"), b"precious").unwrap();

    bench.ask("web", Action::Stop).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.seen), (Phase::Stopped, report.applied));
    assert_eq!(bench.deployed("web"), files(ONE));

    bench.ask("web", Action::Remove).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.running, report.known_good), (Phase::Removed, None, None));
    assert_eq!(tree(&bench.target()), Default::default());
    assert!(!bench.target().join(".fleetman").exists(), "folders that the agent made go as well");
    assert!(data.join("database").exists(), "data outlives the cell");

    bench.ask("web", Action::Deploy(target)).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.seen.unwrap().generation.get()), (Phase::UpToDate, 4));
    assert_eq!(bench.deployed("web"), files(ONE));
    let endings: Vec<_> = bench.outcomes("web").await.into_iter().map(|o| (o.action, o.outcome)).collect();
    let expected = ["deploy", "stop", "remove", "deploy"].map(|action| (action.to_owned(), Ending::Succeeded));
    assert_eq!(endings, expected);
}

#[tokio::test]
async fn remove_with_purge_data_takes_the_data_too() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    std::fs::create_dir_all(bench.state_folder().join("data/web/deep/er")).unwrap();
    let options = TriggerOptions { purge_data: true, ..TriggerOptions::default() };
    let trigger = bench.trigger_with("web", Action::Remove, options);
    bench.place(&trigger).await;
    assert_eq!(bench.once_for("web").await.phase, Phase::Removed);
    assert!(!bench.state_folder().join("data/web").exists());
}

#[tokio::test]
async fn releases_beyond_those_to_be_kept_are_removed() {
    let mut bench = Bench::start().await;
    for version in ["1", "2", "3", "4", "5"] {
        bench.publish("web", version, &[("v", version.as_bytes())]).await;
        let mut settings = bench.settings().await;
        settings.keep_versions = 2;
        let mut agent = fleetman::agent::Agent::open(settings, fleetman::clock::SystemClock::shared()).await.unwrap();
        agent.poll_once().await.unwrap();
        agent.close().await;
    }
    let kept: Vec<String> = bench.releases("web").iter().map(|name| name[..1].to_owned()).collect();
    assert_eq!(kept, ["3", "4", "5"]);
    let manifests = tree(&bench.state_folder().join("cells/web/manifests"));
    assert_eq!(manifests.len(), 3, "{:?}", manifests.keys());
}

#[tokio::test]
async fn two_hundred_files_are_deployed() {
    let mut bench = Bench::start().await;
    let contents: Vec<(String, Vec<u8>)> =
        (0..200).map(|at| (format!("d{}/f{at}", at % 7), vec![u8::try_from(at).unwrap(); at * 13])).collect();
    let list: Vec<File<'_>> = contents.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    bench.publish("web", "1.0", &list).await;
    assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
    assert_eq!(bench.deployed("web"), files(&list));
    assert_eq!(bench.proxy.count(On::get("*/files/*")), 199, "nothing is fetched of an empty file");
}

#[tokio::test]
async fn neighbouring_files_of_a_pack_come_with_one_request() {
    let mut bench = Bench::start().await;
    let list: &[File<'_>] = &[("a", b"first"), ("b/c", b"second"), ("d", b""), ("e", b"third")];
    let manifest = packed(bench.manifest("web", "1.0", list), "packs/1", 3);
    let key = manifest.object_of(&manifest.files[0]).unwrap();
    bench.put(&key, b"xxxfirstsecondthirdyyy".to_vec()).await;
    let rendered = manifest.render();
    let version = manifest.version.clone();
    bench.put(&ObjectKey::VersionManifest(bench.cell_id("web"), version), rendered.clone()).await;
    bench.ask("web", Action::Deploy(target(&manifest, &rendered))).await;
    let report = bench.once_for("web").await;
    assert_eq!(report.phase, Phase::UpToDate, "{report:#?}");
    assert_eq!(bench.deployed("web"), files(list));
    assert_eq!(bench.proxy.count(On::get("*/packs/*")), 1);
}

#[tokio::test]
async fn a_profile_that_the_agent_is_not_set_up_for_waits() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let mut manifest = bench.manifest("web", "2.0", TWO);
    manifest.profile = Profile::Systemd(SystemdSpec::plain(run()));
    manifest.content_sha256 = content_sha256(&manifest);
    let target = bench.upload(&manifest, TWO).await;
    bench.ask("web", Action::Deploy(target)).await;
    let report = bench.once_for("web").await;
    assert_eq!(report.phase, Phase::Waiting);
    assert_eq!(report.waiting.unwrap().reason, Code::ProfileUnavailable);
    assert_eq!(bench.deployed("web"), files(ONE));
}

#[tokio::test]
async fn an_unknown_owner_waits_and_a_known_one_gets_the_data_folder() {
    let mut bench = Bench::start().await;
    let deploy = async |bench: &mut Bench, version: &str, user: &str| {
        let mut manifest = bench.manifest("web", version, ONE);
        manifest.profile = Profile::Deploy(DeploySpec { user: Some(user.to_owned()), group: None });
        manifest.content_sha256 = content_sha256(&manifest);
        let target = bench.upload(&manifest, ONE).await;
        bench.ask("web", Action::Deploy(target)).await;
        bench.once_for("web").await
    };
    let report = deploy(&mut bench, "1.0", "no-such-user-here").await;
    let waiting = report.waiting.unwrap();
    assert_eq!(waiting.reason, Code::UserUnknown);
    assert!(waiting.message.contains("no-such-user-here"), "{}", waiting.message);
    assert_eq!(bench.deployed("web"), None);
    if rustix::process::geteuid().is_root() {
        let report = deploy(&mut bench, "1.1", "daemon").await;
        assert_eq!(report.phase, Phase::UpToDate, "{report:#?}");
        let data = std::fs::metadata(bench.state_folder().join("data/web")).unwrap();
        let release = std::fs::metadata(bench.target().join("web")).unwrap();
        assert_eq!((data.uid(), release.uid()), (1, 0));
    }
}

#[tokio::test]
async fn a_version_that_does_not_fit_on_the_disk_waits_for_room() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let mut settings = bench.settings().await;
    settings.reserve_bytes = u64::MAX / 2;
    let mut agent = fleetman::agent::Agent::open(settings, fleetman::clock::SystemClock::shared()).await.unwrap();
    let report = crate::support::node::of(&agent.poll_once().await.unwrap(), "web");
    agent.close().await;
    assert_eq!(report.waiting.unwrap().reason, Code::DiskFull);
    assert_eq!(bench.proxy.count(On::get("*/files/*")), 0, "nothing is fetched that has no room");
    assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_deployed_fails_once_and_is_not_tried_again_until_a_retry() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let mut manifest = bench.manifest("web", "2.0", TWO);
    let rendered = {
        let right = manifest.content_sha256;
        manifest.content_sha256 = Sha256Digest::of(b"something else");
        let rendered = manifest.render();
        manifest.content_sha256 = right;
        rendered
    };
    let key = ObjectKey::VersionManifest(bench.cell_id("web"), manifest.version.clone());
    bench.put(&key, rendered.clone()).await;
    let bad = target(&manifest, &rendered);
    bench.ask("web", Action::Deploy(bad.clone())).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.last_error.unwrap().code), (Phase::Failed, Code::ManifestInvalid));
    assert_eq!(report.failed_content, [bad.content_sha256]);
    assert_eq!(bench.deployed("web"), files(ONE));

    // The same content under a newer trigger is not even looked at.
    bench.proxy.clear_log();
    bench.ask("web", Action::Deploy(bad.clone())).await;
    let report = bench.once_for("web").await;
    assert_eq!(report.waiting.unwrap().reason, Code::FailedBefore);
    assert_eq!(bench.proxy.count(On::get("*/manifest.json")), 0);

    // With `retry` it is, and by now it is right.
    let target = bench.upload(&manifest, TWO).await;
    let options = TriggerOptions { retry: true, ..TriggerOptions::default() };
    let trigger = bench.trigger_with("web", Action::Deploy(target), options);
    bench.place(&trigger).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.failed_content), (Phase::UpToDate, vec![]));
    assert_eq!(bench.deployed("web"), files(TWO));
}

#[tokio::test]
async fn a_redeploy_puts_modes_and_owners_right() {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let file = bench.target().join("web/index.html");
    let repaired = async |bench: &mut Bench| {
        bench.ask("web", Action::Deploy(target.clone())).await;
        assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
        let found = std::fs::metadata(&file).unwrap();
        (found.permissions().mode() & 0o7777, found.uid())
    };
    let right = (0o644, rustix::process::geteuid().as_raw());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4666)).unwrap();
    assert_eq!(repaired(&mut bench).await, right);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(1), None).unwrap();
        assert_eq!(repaired(&mut bench).await, right);
    }
}
