//! Uploading, planning, publishing and stopping, as long as nothing goes wrong.

use bytes::Bytes;
use fleetman::controller::{
    AppliedHow, FileKind, Guard, Known, PublishRequest, PublishedHow, RollbackRequest, StopRequest, TextDiff,
    UploadOptions,
};
use fleetman::model::document;
use fleetman::model::index::Index;
use fleetman::model::manifest::{Manifest, Origin};
use fleetman::model::trigger::{Action, TriggerOptions};
use fleetman::model::{DeploymentName, FilePath};

use crate::support::fleet::{Bench, CELL, MANIFEST, cell, code, request, site};
use crate::support::proxy::On;

fn stop() -> StopRequest {
    StopRequest { cell: cell(), reason: Some("noise".to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_version_is_whole_and_signed_and_copied_to_where_agents_look() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let request = PublishRequest { note: Some("first".into()), reason: Some("because".into()), ..request("v1") };
    let published = controller.publish(&request, &Guard::default()).await.unwrap();
    assert_eq!((published.how, published.at.generation.get()), (PublishedHow::Claimed, 1));
    assert!(published.warnings.is_empty());
    bench.check().await;

    let manifest = Manifest::parse(&bench.read("cells/n1/web/versions/v1/manifest.json").await.unwrap()).unwrap();
    let files: Vec<_> = manifest.files.iter().map(|file| (file.path.as_str(), file.from)).collect();
    assert_eq!(files, [("bin/run", Origin::Deployment), ("index.html", Origin::Template)]);
    assert_eq!(manifest.deployment, Some(DeploymentName::new("r1").unwrap()));
    assert_eq!(manifest.note.as_deref(), Some("first"));
    let key = manifest.object_of(&manifest.files[1]).unwrap().relative();
    assert_eq!(bench.read(&key).await.unwrap(), b"one hello\n");
    let trigger = &bench.history().await[0];
    assert_eq!((trigger.issued_by.as_str(), trigger.reason.as_deref()), ("alice", Some("because")));
    assert_eq!(bench.outcomes("deploy").await, [("cell/n1/web".to_owned(), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn release_files_travel_by_copies_inside_the_store() {
    let bench = Bench::start().await;
    bench.proxy.clear_log();
    bench.publish("v1", "hello").await;
    assert_eq!(bench.proxy.count(On::get("*/deployments/*/bin/run")), 0, "read by the controller");
    assert_eq!(bench.proxy.count(On::put("*/versions/v1/files/*/bin/run")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_publish_again_writes_nothing() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let unnamed = PublishRequest::new(cell());
    let first = controller.publish(&unnamed, &Guard::default()).await.unwrap();
    let writes = bench.proxy.writes();
    let again = controller.publish(&unnamed, &Guard::default()).await.unwrap();
    assert_eq!((again.how, again.at, &again.target), (PublishedHow::Unchanged, first.at, &first.target));
    assert_eq!(bench.proxy.writes(), writes);
    assert!(!controller.plan(&unnamed).await.unwrap().is_needed);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_was_published_before_keeps_its_name() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let unnamed = PublishRequest::new(cell());
    let first = controller.publish(&unnamed, &Guard::default()).await.unwrap().target.unwrap();
    bench.publish("named", "bye").await;
    bench.greet("hello").await;
    let back = controller.publish(&unnamed, &Guard::default()).await.unwrap();
    assert_eq!((back.target.unwrap(), back.at.generation.get()), (first.clone(), 3));
    bench.greet("bye").await;
    bench.clock.pass(chrono::TimeDelta::hours(20));
    bench.proxy.clear_log();
    let named = controller.publish(&unnamed, &Guard::default()).await.unwrap().target.unwrap();
    assert_eq!(named.version.as_str(), "named");
    assert_eq!(bench.proxy.count(On::put("*/files/*")), 0, "the files of a version are good at any age");
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_content_under_a_taken_name_is_refused_naming_what_differs() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.greet("bye").await;
    let error = bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap_err();
    assert_eq!(error.code(), "exists");
    assert!(error.to_string().contains("index.html"), "{error}");
    assert_eq!(bench.history().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_what_would_change_and_binds_the_publish_to_it() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    bench.upload("r2", &[("index.html", "two {{ vars.greeting }}\n"), ("new.css", "a{}\n")]).await;
    let unnamed = PublishRequest::new(cell());
    let plan = controller.plan(&unnamed).await.unwrap();
    assert!(plan.is_needed && !plan.restarts() && !plan.version.exists);
    assert_eq!((plan.generation, plan.current.unwrap().version.unwrap().as_str()), (1, "v1"));
    let fields: Vec<&str> = plan.changes.fields.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["deployment"]);
    let files: Vec<_> = plan.changes.files.iter().map(|file| (file.path.as_str(), file.kind)).collect();
    let expected = [("bin/run", FileKind::Removed), ("index.html", FileKind::Changed), ("new.css", FileKind::Added)];
    assert_eq!(files, expected);
    let TextDiff::Text(text) = &plan.changes.files[1].diff else { panic!("{:?}", plan.changes.files[1].diff) };
    assert!(text.contains("-one hello\n+two hello\n"), "{text}");

    // An override that somebody puts there after the plan was looked at.
    let guard = Guard { if_generation: Some(1), expect: Some(plan.content_sha256) };
    let path = FilePath::new("index.html").unwrap();
    controller.put_override(&cell(), &path, Bytes::from_static(b"mine"), &Known::Absent).await.unwrap();
    assert_eq!(code(controller.publish(&unnamed, &guard).await), "guard");
    controller.remove_override(&cell(), &path, &Known::Anything).await.unwrap();
    let stale = Guard { if_generation: Some(0), expect: None };
    let told = controller.publish(&unnamed, &stale).await.unwrap_err();
    assert_eq!(told.code(), "guard");
    assert!(told.to_string().contains("expected generation 0, found generation 1 (deploy v1) by alice at "), "{told}");
    assert_eq!(controller.publish(&unnamed, &guard).await.unwrap().at.generation.get(), 2);
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_lie_over_the_release_and_are_edited_only_as_they_were_seen() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let path = FilePath::new("bin/run").unwrap();
    let put = async |bytes: &'static [u8], known: &Known| {
        controller.put_override(&cell(), &path, Bytes::from_static(bytes), known).await
    };
    assert_eq!(put(b"a", &Known::Absent).await.unwrap().how, AppliedHow::Created);
    assert_eq!(put(b"a", &Known::Absent).await.unwrap().how, AppliedHow::Unchanged);
    assert_eq!(code(put(b"b", &Known::Absent).await), "changed");
    let seen = controller.get_override(&cell(), &path).await.unwrap();
    assert_eq!(put(b"b", &Known::Tag(seen.etag.clone())).await.unwrap().how, AppliedHow::Changed);
    assert_eq!(code(put(b"c", &Known::Tag(seen.etag)).await), "changed");
    assert_eq!(controller.list_overrides(&cell()).await.unwrap()[0].path, "bin/run");

    controller.publish(&request("v1"), &Guard::default()).await.unwrap();
    let manifest = Manifest::parse(&bench.read("cells/n1/web/versions/v1/manifest.json").await.unwrap()).unwrap();
    let file = &manifest.files[0];
    assert_eq!((file.path.as_str(), file.from), ("bin/run", Origin::Override));
    assert_eq!(bench.read(&manifest.object_of(file).unwrap().relative()).await.unwrap(), b"b");
    bench.check().await;
    controller.remove_override(&cell(), &path, &Known::Anything).await.unwrap();
    assert_eq!(code(controller.remove_override(&cell(), &path, &Known::Anything).await), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_told_whether_a_cell_has_files_of_its_own() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let index = async || bench.read("index/n1.json").await.unwrap();
    let told = async || {
        let index: Index = document::parse(&index().await).unwrap();
        index.entry(&cell().cell).unwrap().about.unwrap().has_overrides
    };
    let [one, other] = ["bin/run", "etc/app.conf"].map(|path| FilePath::new(path).unwrap());
    let put = async |path| {
        controller.put_override(&cell(), path, Bytes::from_static(b"a"), &Known::Anything).await.unwrap();
    };
    let remove = async |path| controller.remove_override(&cell(), path, &Known::Anything).await.unwrap();
    assert!(!told().await);
    put(&one).await;
    assert!(told().await);
    let before = index().await;
    put(&other).await;
    bench.greet("ciao").await;
    remove(&one).await;
    assert_eq!(index().await, before, "nothing is written that is told already");
    remove(&other).await;
    assert!(!told().await);
    // Whoever did not come to tell it does with the next write.
    bench.overwrite("cells/n1/web/overrides/etc/app.conf", "a").await;
    bench.greet("salve").await;
    assert!(told().await);
    bench.delete("cells/n1/web/overrides/etc/app.conf").await;
    // What a console makes of a folder is no file.
    bench.overwrite("cells/n1/web/overrides/", "").await;
    bench.greet("hi").await;
    assert!(!told().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_cell_takes_no_version_but_can_be_stopped() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    controller.pause(&cell(), "an audit: do not touch", &Known::Anything).await.unwrap();
    let text = controller.get_cell(&cell()).await.unwrap().text;
    assert!(text.starts_with("# A comment that stays.\n"), "{text}");
    let error = controller.publish(&PublishRequest::new(cell()), &Guard::default()).await.unwrap_err();
    assert_eq!(error.code(), "paused");
    assert!(error.to_string().contains("an audit: do not touch"), "{error}");
    let redeployed = controller.redeploy(&cell(), TriggerOptions::default(), None, &Guard::default()).await;
    assert_eq!(code(redeployed), "paused");
    assert_eq!(controller.plan(&PublishRequest::new(cell())).await.unwrap().paused.unwrap(), "an audit: do not touch");
    controller.stop(&stop(), &Guard::default()).await.unwrap();
    controller.resume(&cell(), &Known::Anything).await.unwrap();
    assert_eq!(controller.get_cell(&cell()).await.unwrap().text, CELL);
    controller.publish(&PublishRequest::new(cell()), &Guard::default()).await.unwrap();
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_remove_and_redeploy_are_generations_of_their_own() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let guard = Guard::default();
    assert_eq!(code(controller.stop(&stop(), &guard).await), "not_found", "nothing was published yet");
    bench.publish("v1", "hello").await;
    let again = controller.redeploy(&cell(), TriggerOptions::default(), None, &guard).await.unwrap();
    assert_eq!((again.how, again.at.generation.get()), (PublishedHow::Claimed, 2));
    assert_eq!(controller.stop(&stop(), &guard).await.unwrap().how, PublishedHow::Claimed);
    assert_eq!(controller.stop(&stop(), &guard).await.unwrap().how, PublishedHow::Unchanged);
    controller.redeploy(&cell(), TriggerOptions::default(), None, &guard).await.unwrap();
    controller.remove(&stop(), true, &guard).await.unwrap();
    assert_eq!(code(controller.stop(&stop(), &guard).await), "invalid");
    assert_eq!(code(controller.redeploy(&cell(), TriggerOptions::default(), None, &guard).await), "not_found");
    let history = bench.history().await;
    let actions: Vec<&str> = history.iter().map(|entry| entry.action.name()).collect();
    assert_eq!(actions, ["deploy", "deploy", "stop", "deploy", "remove"]);
    assert!(history[4].options.purge_data && history[4].requires == ["purge_data"]);
    assert!(matches!(&history[3].action, Action::Deploy(target) if target.version.as_str() == "v1"));
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_folder_is_the_same_release_and_another_needs_another_name() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let (options, name) = (UploadOptions::default(), DeploymentName::new("r1").unwrap());
    let same = bench.folder("r1", &[]);
    let writes = bench.proxy.writes();
    let again = controller.upload(&site(), Some(&name), &same, &options, &|_| {}).await.unwrap();
    assert!(!again.is_new);
    assert_eq!(bench.proxy.writes(), writes);

    let unnamed = controller.upload(&site(), None, &same, &options, &|_| {}).await.unwrap();
    assert_eq!(
        (unnamed.deployment, unnamed.is_new),
        (name.clone(), false),
        "a given name is as good as a generated one"
    );

    let other = bench.folder("other", &[("index.html", "x"), ("bin/run", "#!/bin/sh\n")]);
    let error = controller.upload(&site(), Some(&name), &other, &options, &|_| {}).await.unwrap_err();
    assert_eq!(error.code(), "exists");
    assert!(error.to_string().contains("index.html") && !error.to_string().contains("bin/run"), "{error}");

    let generated = controller.upload(&site(), None, &other, &options, &|_| {}).await.unwrap();
    assert!(generated.is_new && generated.deployment.as_str().ends_with(&generated.content_sha256.short(6)));
    let again = controller.upload(&site(), None, &other, &options, &|_| {}).await.unwrap();
    assert_eq!((again.deployment, again.is_new), (generated.deployment, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_ends_where_the_bytes_end() {
    let bench = Bench::start().await;
    let folder = bench.folder("big", &[("a", &"x".repeat(3 << 20)), ("b", "y")]);
    let seen = std::sync::Mutex::new(Vec::new());
    let tell = |progress| seen.lock().unwrap().push(progress);
    bench.controller().await.upload(&site(), None, &folder, &UploadOptions::default(), &tell).await.unwrap();
    let seen = seen.into_inner().unwrap();
    for sending in [false, true] {
        let most = seen.iter().filter(|progress| progress.sending == sending).map(|progress| progress.done_bytes);
        assert_eq!(most.max(), Some((3 << 20) + 1), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_checked_together_before_the_first_is_written() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    let read = |text: &str| fleetman::recipe::read(text, "test").unwrap();
    assert_eq!(code(controller.apply(read(CELL)).await), "invalid_yaml", "its manifest is nowhere");
    let twice = format!("{MANIFEST}---\n{CELL}---\n{CELL}");
    assert_eq!(code(controller.apply(read(&twice)).await), "invalid_yaml");
    assert_eq!(bench.proxy.writes(), 0);
    let applied = controller.apply(read(&format!("{CELL}---\n{MANIFEST}"))).await.unwrap();
    assert!(applied.iter().all(|applied| applied.how == AppliedHow::Created));
    let writes = bench.proxy.writes();
    let again = controller.apply(read(&format!("{CELL}---\n{MANIFEST}"))).await.unwrap();
    assert!(again.iter().all(|applied| applied.how == AppliedHow::Unchanged));
    assert_eq!(bench.proxy.writes(), writes);
    assert_eq!(controller.get_manifest(&site()).await.unwrap().text, MANIFEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_fleet_is_not_taken_over() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    assert_eq!(controller.init().await.unwrap().how, AppliedHow::Unchanged);
    let foreign = String::from_utf8(bench.read("fleet.json").await.unwrap()).unwrap().replace("0007\"", "0008\"");
    bench.overwrite("fleet.json", foreign).await;
    assert_eq!(code(controller.init().await), "foreign_fleet");
    let before = bench.keys("").await;
    let fresh = bench.controller().await;
    let manifest = fleetman::recipe::read(&MANIFEST.replace("hi", "ho"), "test").unwrap();
    assert_eq!(code(fresh.apply(manifest).await), "foreign_fleet");
    let folder = bench.folder("r2", &[("a", "a")]);
    let uploaded = fresh.upload(&site(), None, &folder, &UploadOptions::default(), &|_| {}).await;
    assert_eq!(code(uploaded), "foreign_fleet");
    assert_eq!(bench.keys("").await, before, "nothing is written, not even an intent");
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_that_together_render_to_more_than_is_held_are_refused() {
    let bench = Bench::start().await;
    let template = format!("{{{{ 'x' * {} }}}}", 8 << 20);
    let names: Vec<String> = (0..17).map(|number| format!("{number}.txt")).collect();
    bench.upload("r2", &names.iter().map(|name| (name.as_str(), template.as_str())).collect::<Vec<_>>()).await;
    bench.apply("name: site\nvars: {greeting: hi}\nfiles:\n  - glob: \"*.txt\"\n    template: true\nprofile:\n  deploy: {}\n").await;
    let error = bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap_err();
    assert_eq!(error.code(), "invalid");
    assert!(error.to_string().contains("bytes together"), "{error}");
    assert!(bench.keys("cells/n1/web/versions/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_can_be_bound_to_the_generation_that_was_looked_at() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    let controller = bench.controller().await;
    let stale = Guard { if_generation: Some(1), expect: None };
    let (to, options) = (Some("v1".parse().unwrap()), TriggerOptions::default());
    let back = RollbackRequest { cell: cell(), to, reason: None, options };
    assert_eq!(code(controller.rollback(&back, &stale).await), "guard");
    assert_eq!(code(controller.redeploy(&cell(), options, None, &stale).await), "guard");
    assert_eq!(code(controller.stop(&stop(), &stale).await), "guard");
    assert_eq!(code(controller.remove(&stop(), false, &stale).await), "guard");
    assert_eq!(bench.history().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_agent_would_read_past_is_required_of_it_and_shown_in_the_plan() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let profile = "profile: {process: {processes: {web: {shell: 'exec bin/run', after: [init]}, init: {type: task, shell: 'true'}}}}\n";
    bench.apply(&MANIFEST.replace("profile:\n  deploy: {}\n", &format!("{profile}health: {{deadline: 1h}}\n"))).await;
    let controller = bench.controller().await;
    let plan = controller.plan(&request("v2")).await.unwrap();
    let fields: Vec<&str> = plan.changes.fields.iter().map(|change| change.field.as_str()).collect();
    for field in
        ["health.deadline_ms", "profile.kind", "profile.processes.init.type", "profile.processes.web.after", "requires"]
    {
        assert!(fields.contains(&field), "{field} is not in {fields:?}");
    }
    assert!(plan.restarts());
    controller.publish(&request("v2"), &Guard::default()).await.unwrap();
    bench.check().await;
    let manifest = bench.read("cells/n1/web/versions/v2/manifest.json").await.unwrap();
    assert_eq!(Manifest::parse(&manifest).unwrap().requires, ["processes", "health"]);
}
