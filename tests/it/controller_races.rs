//! Several controllers at once, on stores that keep conditions on writes and on one that only says so.

use std::time::Duration;

use fleetman::controller::{
    Controller, ControllerError, FsckOptions, Guard, PublishRequest, RollbackRequest, StopRequest, UploadOptions,
};
use fleetman::model::VersionName;
use fleetman::model::document;
use fleetman::model::fleet::{Conditions, StoreReport};
use fleetman::model::trigger::TriggerOptions;
use futures_util::future::join_all;

use crate::support::fleet::{Bench, KEY, cell, code, request, site};
use crate::support::proxy::{Fault, On, Rule};

async fn controller(bench: &Bench, user: &str, conditions: Conditions) -> Controller {
    bench.controller_of(user, KEY, &[KEY], conditions).await
}

/// Makes both read where the cell stands before either claims.
fn hold_claims_back(bench: &Bench) {
    let delay = Fault::Delay(Duration::from_millis(300));
    bench.proxy.inject(Rule::new(On::put("*/files/*"), delay));
}

fn named(version: &str) -> PublishRequest {
    let note = Some(version.to_owned());
    PublishRequest { note, ..request(version) }
}

/// Of several publishes one counts; every other names it.
fn one_winner(results: Vec<Result<fleetman::controller::Published, ControllerError>>) -> VersionName {
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "{won:?} {lost:?}");
    let winner = won.into_iter().next().unwrap().unwrap();
    let version = winner.target.unwrap().version;
    for lost in lost {
        let error = lost.unwrap_err();
        let ControllerError::Lost { winner: named, .. } = &error else { panic!("{error:?}") };
        assert_eq!((named.at, named.version.as_ref()), (winner.at, Some(&version)), "{error}");
        assert_eq!(error.kind().exit_code(), 3);
    }
    version
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_publishes_one_wins_and_the_others_name_it() {
    let bench = Bench::start().await;
    hold_claims_back(&bench);
    let users = ["alice", "bob", "carol", "dave"];
    let controllers = join_all(users.map(|user| controller(&bench, user, Conditions::Honoured))).await;
    let requests: Vec<_> = users.iter().map(|user| named(user)).collect();
    let race = controllers
        .iter()
        .zip(&requests)
        .map(|(it, request)| it.publish(request, &Guard { if_generation: Some(0), expect: None }));
    let winner = one_winner(join_all(race).await);
    bench.check().await;
    let history = bench.history().await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].issued_by.as_str(), winner.as_str());
    let outcomes = bench.outcomes("deploy").await;
    assert_eq!(outcomes.iter().filter(|(_, done)| *done).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.len(), users.len(), "the losers are on record too");
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_claims_again_where_others_give_up() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.greet("bye").await;
    // Bob's claim is held back until alice's is there.
    bench.proxy.inject(Rule::new(On::put("*/history/*"), Fault::Delay(Duration::from_millis(1_500))).times(1));
    let (alice, bob) = (bench.controller().await, controller(&bench, "bob", Conditions::Honoured).await);
    let stop = StopRequest { cell: cell(), reason: None };
    let (publish, guard) = (request("v2"), Guard::default());
    let publishing = async {
        bench.proxy.clear_log();
        let claims = async || bench.proxy.count(On::put("*/history/*")) > 0;
        crate::support::wait_for(claims, "bob's claim").await;
        alice.publish(&publish, &guard).await
    };
    let (stopped, published) = tokio::join!(bob.stop(&stop, &guard), publishing);
    assert_eq!(published.unwrap().at.generation.get(), 2);
    assert_eq!(stopped.unwrap().at.generation.get(), 3);
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_of_one_node_are_published_at_once_without_losing_an_index_entry() {
    let bench = Bench::start().await;
    let cells: Vec<String> = (0..8).map(|number| format!("n1/c{number}")).collect();
    for cell in &cells {
        bench.apply(&format!("cell: {cell}\nmanifest: site\n")).await;
    }
    let controllers = join_all(cells.iter().map(|_| bench.controller())).await;
    let requests: Vec<_> = cells.iter().map(|cell| PublishRequest::new(cell.parse().unwrap())).collect();
    let guard = Guard::default();
    let all = controllers.iter().zip(&requests).map(|(controller, request)| controller.publish(request, &guard));
    for result in join_all(all).await {
        result.unwrap();
    }
    let index: fleetman::model::index::Index = document::parse(&bench.read("index/n1.json").await.unwrap()).unwrap();
    let with_trigger = index.entries().filter(|(_, entry)| entry.as_ref().unwrap().1.trigger.is_some()).count();
    assert_eq!(with_trigger, cells.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_store_that_ignores_conditions_publishes_one_after_the_other_succeed() {
    let bench = Bench::start().await;
    bench.proxy.inject(Rule::new(On::put("*"), Fault::IgnoreConditions));
    let users = ["alice", "bob"];
    let controllers = join_all(users.map(|user| controller(&bench, user, Conditions::Ignored))).await;
    for round in 0..20 {
        bench.greet(&format!("round {round}")).await;
        let request = request(&format!("v{round}"));
        controllers[round % 2].publish(&request, &Guard::default()).await.unwrap();
    }
    bench.check().await;
    assert_eq!(bench.history().await.len(), 20);
    assert!(bench.keys("controllers/").await.is_empty(), "announcements are taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_store_that_ignores_conditions_a_race_has_one_winner_too() {
    for _ in 0..3 {
        let bench = Bench::start().await;
        bench.proxy.inject(Rule::new(On::put("*"), Fault::IgnoreConditions));
        let users = ["alice", "bob", "carol"];
        let controllers = join_all(users.map(|user| controller(&bench, user, Conditions::Ignored))).await;
        let requests: Vec<_> = users.iter().map(|user| named(user)).collect();
        let guard = Guard::default();
        let race = controllers.iter().zip(&requests).map(|(it, request)| it.publish(request, &guard));
        one_winner(join_all(race).await);
        bench.check().await;
        assert_eq!(bench.history().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_too_long_for_a_turn_names_the_holder() {
    let bench = Bench::start().await;
    let holder = controller(&bench, "bob", Conditions::Ignored).await;
    let waiter = bench.impatient("alice").await;
    // Bob takes his turn and then hangs for longer than alice is patient. Turns are ordered by a clock of whole
    // seconds, so this takes as long as it takes.
    bench.clock.take_time();
    bench.proxy.inject(Rule::new(On::put("*/history/*"), Fault::Delay(Duration::from_secs(3))));
    let (publish, guard) = (request("v1"), Guard::default());
    let waits = async {
        let has_turn = async || bench.proxy.count(On::put("*/audit/*")) > 0;
        bench.proxy.clear_log();
        crate::support::wait_for(has_turn, "bob's intent").await;
        waiter.publish(&request("v2"), &guard).await
    };
    let (published, waited) = tokio::join!(holder.publish(&publish, &guard), waits);
    published.unwrap();
    let error = waited.unwrap_err();
    assert_eq!((error.code(), error.kind().exit_code()), ("busy", 7));
    assert!(error.to_string().contains("\"bob-laptop\" is writing n1/web"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_does_not_know_its_store_finds_out_and_remembers() {
    let bench = Bench::empty().await;
    controller(&bench, "alice", Conditions::Unknown).await.init().await.unwrap();
    let report = async || document::parse::<StoreReport>(&bench.read("store.json").await.unwrap()).unwrap();
    assert_eq!(report().await.conditions, Conditions::Honoured);
    assert!(bench.keys("probes/").await.is_empty());

    bench.delete("store.json").await;
    bench.proxy.inject(Rule::new(On::put("*"), Fault::IgnoreConditions));
    let unsure = controller(&bench, "alice", Conditions::Unknown).await;
    unsure.apply(fleetman::recipe::read(crate::support::fleet::MANIFEST, "test").unwrap()).await.unwrap();
    assert_eq!(report().await.conditions, Conditions::Ignored);
    unsure.apply(fleetman::recipe::read(crate::support::fleet::CELL, "test").unwrap()).await.unwrap();
    assert_eq!(bench.proxy.count(On::put("*/controllers/*")), 1, "it takes its turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_never_rest_are_not_published() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    // Every time that it was looked at whether the cell is still the same, it is another.
    bench.proxy.inject(Rule::new(On::put("*/manifest.json"), Fault::Delay(Duration::from_millis(300))));
    let publish = PublishRequest::new(cell());
    let guard = Guard::default();
    let publishing = controller.publish(&publish, &guard);
    let editing = async {
        for number in 0.. {
            bench
                .overwrite("cells/n1/web/cell.yaml", crate::support::fleet::CELL.replace("hello", &number.to_string()))
                .await;
            let seen = bench.proxy.count(On::head("*/cell.yaml"));
            crate::support::wait_for(async || bench.proxy.count(On::head("*/cell.yaml")) > seen, "the next look").await;
        }
    };
    let result = tokio::select! {
        result = publishing => result,
        () = editing => unreachable!(),
    };
    assert_eq!(code(result), "inputs_moving");
    assert!(bench.history().await.is_empty());
}

/// Does `meanwhile` once a request that `on` picks has come, which is held back so that it takes effect only after.
async fn while_held_back<T>(bench: &Bench, on: On, work: impl Future<Output = T>, meanwhile: impl AsyncFnOnce()) -> T {
    while_held_back_after(bench, 0, on, work, meanwhile).await
}

/// The same of the request after so many that `on` picks.
async fn while_held_back_after<T>(
    bench: &Bench,
    skip: usize,
    on: On,
    work: impl Future<Output = T>,
    meanwhile: impl AsyncFnOnce(),
) -> T {
    bench.proxy.clear_log();
    bench.proxy.inject(Rule::new(on.clone(), Fault::Delay(Duration::from_millis(1_500))).skip(skip).times(1));
    let meanwhile = async {
        crate::support::wait_for(async || bench.proxy.count(on.clone()) > skip, "the request that is held back").await;
        meanwhile().await;
    };
    let (done, ()) = tokio::join!(work, meanwhile);
    bench.proxy.heal();
    done
}

const MARK: &str = "cells/n1/web/versions/v1/deleting.json";
const PAUSED: &str = "cell: n1/web\nmanifest: site\nvars: {greeting: hello}\npaused: {reason: not now}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_comes_late_does_not_take_a_newer_one_back() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    for key in ["*/trigger.json", "*/index/n1.json"] {
        let (alice, bob) = (bench.controller().await, controller(&bench, "bob", Conditions::Honoured).await);
        let (cell, guard) = (cell(), Guard::default());
        let late = alice.redeploy(&cell, TriggerOptions::default(), None, &guard);
        let stop = StopRequest { cell: cell.clone(), reason: None };
        let stopped = async || assert!(bob.stop(&stop, &guard).await.is_ok());
        while_held_back(&bench, On::put(key), late, stopped).await.unwrap();
        bench.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_marked_while_it_is_published_is_not_desired() {
    // A new one, while its files are written.
    let bench = Bench::start().await;
    let (controller, guard, v1) = (bench.controller().await, Guard::default(), request("v1"));
    let mark = async || bench.overwrite(MARK, "{}").await;
    let publish = controller.publish(&v1, &guard);
    assert_eq!(code(while_held_back(&bench, On::put("*/files/*"), publish, mark).await), "deleting");
    assert!(bench.read("cells/n1/web/versions/v1/manifest.json").await.is_none());

    // One that was published before, while its files are looked at.
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    bench.greet("hello").await;
    let controller = bench.controller().await;
    let mark = async || bench.overwrite(MARK, "{}").await;
    let publish = controller.publish(&v1, &guard);
    assert_eq!(code(while_held_back(&bench, On::list("*/versions/v1/*"), publish, mark).await), "deleting");
    bench.delete(MARK).await;
    let to = Some("v1".parse().unwrap());
    let back = RollbackRequest { cell: cell(), to, reason: None, options: TriggerOptions::default() };
    let rollback = controller.rollback(&back, &guard);
    assert_eq!(code(while_held_back(&bench, On::list("*/versions/v1/*"), rollback, mark).await), "deleting");
    bench.delete(MARK).await;
    // A pause counts as late as a mark.
    let pause = async || bench.overwrite("cells/n1/web/cell.yaml", PAUSED).await;
    let rollback = controller.rollback(&back, &guard);
    assert_eq!(code(while_held_back(&bench, On::list("*/versions/v1/*"), rollback, pause).await), "paused");
    assert_eq!(bench.history().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_file_vanishes_before_it_is_whole_is_never_made() {
    let bench = Bench::start().await;
    let (controller, guard, v1) = (bench.controller().await, Guard::default(), request("v1"));
    let lose = async || {
        let files = bench.keys("cells/n1/web/versions/v1/files/").await;
        bench.delete(&files[0]).await;
    };
    // The second LIST is the one after the files were written.
    let publish = async {
        let written = On::list("*/versions/v1/");
        while_held_back(&bench, written, controller.publish(&v1, &guard), lose).await
    };
    assert_eq!(code(publish.await), "version_incomplete");
    assert!(bench.read("cells/n1/web/versions/v1/manifest.json").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_is_published_while_it_is_deleted_keeps_its_versions() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let (alice, bob) = (bench.controller().await, controller(&bench, "bob", Conditions::Honoured).await);
    let (guard, stop) = (Guard::default(), StopRequest { cell: cell(), reason: None });
    alice.remove(&stop, false, &guard).await.unwrap();
    let publish = async || assert!(bob.publish(&request("v1"), &guard).await.is_ok());
    let deleted =
        while_held_back(&bench, On::delete("*/cell.yaml"), alice.delete_cell(&cell(), &Guard::default()), publish)
            .await;
    assert_eq!(code(deleted), "in_use");
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_committed_while_it_is_swept_stays() {
    let bench = Bench::start().await;
    bench.overwrite("cells/n1/web/versions/v9/files/0011223344556677/a", "a").await;
    bench.clock.pass(chrono::TimeDelta::hours(25));
    let controller = bench.controller().await;
    let commit = async || bench.overwrite("cells/n1/web/versions/v9/manifest.json", "{}").await;
    let swept = while_held_back(&bench, On::list("*/versions/v9/"), controller.gc(false), commit).await.unwrap();
    assert!(swept.swept.is_empty(), "{swept:?}");
    assert_eq!(bench.keys("cells/n1/web/versions/v9/").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_while_it_is_repaired_stays() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let orphan = "cells/n1/web/versions/v1/files/0011223344556677/a";
    bench.overwrite(orphan, "a").await;
    bench.clock.pass(chrono::TimeDelta::hours(25));
    let options = FsckOptions { deep: false, repair: true };
    let controller = bench.controller().await;
    for (folder, document) in
        [("cells/n1/web/versions/v9/", "manifest.json"), ("deployments/site/r9/", "deployment.json")]
    {
        bench.overwrite(&format!("{folder}files/0011223344556677/a"), "a").await;
        let commit = async || bench.overwrite(&format!("{folder}{document}"), "{}").await;
        // The first look finds it, and the second is what it is swept after.
        let look = On::list(&format!("*/{folder}"));
        while_held_back_after(&bench, 1, look, controller.fsck(options), commit).await.unwrap();
        assert_eq!(bench.keys(folder).await.len(), 2, "{folder}");
    }
    assert!(bench.read(orphan).await.is_none(), "what nobody took up is swept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_file_vanishes_before_it_is_whole_is_never_made() {
    let bench = Bench::start().await;
    let folder = bench.folder("r2", &[("a", "a"), ("b", "b")]);
    let (controller, name, options) = (bench.controller().await, "r2".parse().unwrap(), UploadOptions::default());
    let lose = async || {
        let sent = async || bench.keys("deployments/site/r2/files/").await.first().cloned();
        crate::support::wait_for(async || sent().await.is_some(), "the other file").await;
        bench.delete(&sent().await.unwrap()).await;
    };
    let (site, quiet) = (site(), |_| {});
    let upload = controller.upload(&site, Some(&name), &folder, &options, &quiet);
    assert_eq!(code(while_held_back(&bench, On::put("*/r2/files/*/b"), upload, lose).await), "changed");
    assert!(bench.read("deployments/site/r2/deployment.json").await.is_none());
}
