//! The controller is killed, or an answer is lost, between any two writes: the same command finishes the work, once.

use chrono::{DateTime, Utc};
use fleetman::controller::{
    Controller, ControllerError, Deletion, Guard, PublishRequest, PublishedHow, RollbackRequest, StopRequest,
    UploadOptions,
};
use fleetman::model::heartbeat::VersionReport;
use fleetman::model::keys::AttemptId;
use fleetman::model::outcome::{Ending, Outcome};
use fleetman::model::trigger::{Target, TriggerOptions};
use fleetman::model::{Epoch, Floor, Generation, ObjectKey, document};

use crate::support::fleet::{Bench, FLEET, cell, request, site};
use crate::support::proxy::{Fault, On, Rule};

/// No command writes so often.
const MOST_WRITES: usize = 60;

/// What is done to the write at which a command is disturbed.
#[derive(Debug, Clone, Copy)]
enum Disturb {
    /// The controller is dead before it.
    Kill,
    /// It is carried out, and the answer is lost.
    LoseResponse,
}

/// Disturbs `command` at its first write, its second, and so on until it runs through; each time on a bench of its
/// own, and each time the same command follows from another process. Returns how many writes there were.
async fn at_every_write(
    disturb: Disturb,
    prepare: impl AsyncFn(&Bench),
    command: impl AsyncFn(&Bench, &Controller) -> Result<(), ControllerError>,
    check: impl AsyncFn(&Bench),
) -> usize {
    for writes in 0..MOST_WRITES {
        let bench = Bench::start().await;
        prepare(&bench).await;
        let before = bench.proxy.writes();
        match disturb {
            Disturb::Kill => bench.proxy.stop_after_writes(writes),
            Disturb::LoseResponse => {
                bench.proxy.inject(Rule::new(On::write("*"), Fault::LoseResponse).skip(writes).times(1));
            }
        }
        let disturbed = command(&bench, &bench.controller().await).await;
        let done = bench.proxy.writes() - before;
        bench.proxy.heal();
        if let Disturb::LoseResponse = disturb {
            disturbed.as_ref().unwrap_or_else(|error| panic!("a lost answer to write {writes}: {error:?}"));
        }
        command(&bench, &bench.controller().await)
            .await
            .unwrap_or_else(|error| panic!("after {writes} writes: {error:?}"));
        check(&bench).await;
        if disturbed.is_ok() && done <= writes {
            return writes;
        }
    }
    panic!("it still writes after {MOST_WRITES} writes");
}

fn at(generation: u64) -> Floor {
    Floor::new(Epoch::FIRST, Generation::new(generation).unwrap())
}

/// The node says that it deployed a version and found it good.
async fn becomes_good(bench: &Bench, generation: u64, target: &Target) {
    let version = Some(VersionReport::from(target));
    let outcome = Outcome {
        fleet: FLEET,
        node: cell().node,
        cell: cell().cell,
        at: at(generation),
        attempt: 1,
        action: "deploy".to_owned(),
        version: version.clone(),
        started_at: DateTime::<Utc>::UNIX_EPOCH,
        ended_at: DateTime::<Utc>::UNIX_EPOCH,
        outcome: Ending::Succeeded,
        known_good_after: version.clone(),
        running_after: version,
        code: None,
        message: None,
        files_fetched: 0,
        files_reused: 0,
        bytes_fetched: 0,
    };
    let key = ObjectKey::Outcome(AttemptId { cell: cell(), floor: at(generation), attempt: 1 });
    bench.overwrite(&key.relative(), document::render(&outcome)).await;
}

async fn two_good_versions(bench: &Bench) {
    for (generation, (version, greeting)) in (1..).zip([("v1", "hello"), ("v2", "bye")]) {
        let published = bench.publish(version, greeting).await;
        becomes_good(bench, generation, &published.target.unwrap()).await;
    }
}

async fn desired(bench: &Bench) -> (u64, Option<String>) {
    let history = bench.history().await;
    let newest = history.last().unwrap();
    (newest.generation.get(), newest.action.target().map(|target| target.version.to_string()))
}

/// Both ways of disturbing, one after the other; returns how many boundaries were tried.
macro_rules! disturbed {
    ($prepare:expr, $command:expr, $check:expr) => {{
        let kills = at_every_write(Disturb::Kill, $prepare, $command, $check).await;
        at_every_write(Disturb::LoseResponse, $prepare, $command, $check).await;
        kills
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_is_finished_once() {
    let boundaries = disturbed!(
        async |_| {},
        async |_: &Bench, controller: &Controller| {
            controller.publish(&PublishRequest::new(cell()), &Guard::default()).await.map(|_| ())
        },
        async |bench: &Bench| {
            bench.check().await;
            assert_eq!(bench.history().await.len(), 1);
            let manifests = bench.keys("cells/n1/web/versions/").await;
            assert_eq!(manifests.iter().filter(|key| key.ends_with("/manifest.json")).count(), 1, "{manifests:?}");
            assert_eq!(bench.outcomes("deploy").await, [("cell/n1/web".to_owned(), true)]);
        }
    );
    // Two files, the manifest, the intent, the claim, two copies; without its outcome it ends with a warning.
    assert_eq!(boundaries, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_publish_can_be_repeated_as_it_was() {
    disturbed!(
        async |bench: &Bench| {
            bench.publish("v1", "hello").await;
            bench.greet("bye").await;
        },
        async |_: &Bench, controller: &Controller| {
            let guard = Guard { if_generation: Some(1), expect: None };
            controller.publish(&request("v2"), &guard).await.map(|_| ())
        },
        async |bench: &Bench| {
            bench.check().await;
            assert_eq!(desired(bench).await, (2, Some("v2".to_owned())));
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeploy_is_finished_once() {
    disturbed_once(
        async |controller| {
            controller.redeploy(&cell(), TriggerOptions::default(), None, &Guard::default()).await.map(|done| done.how)
        },
        (3, Some("v2".to_owned())),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_finished_once_and_does_not_go_forward_again() {
    disturbed_once(
        async |controller| {
            let request = RollbackRequest { cell: cell(), to: None, reason: None, options: TriggerOptions::default() };
            controller.rollback(&request, &Guard::default()).await.map(|done| done.how)
        },
        (3, Some("v1".to_owned())),
    )
    .await;
}

/// Kills a command that means something else each time it is given, and repeats it only where it did not end.
async fn disturbed_once(
    command: impl AsyncFn(&Controller) -> Result<PublishedHow, ControllerError>,
    expected: (u64, Option<String>),
) {
    for writes in 0..MOST_WRITES {
        let bench = Bench::start().await;
        two_good_versions(&bench).await;
        bench.proxy.stop_after_writes(writes);
        let first = command(&bench.controller().await).await;
        bench.proxy.heal();
        // The last write is the outcome; without it the command ended, with a warning, and may be told to go on.
        let (ended, concluded) = (first.is_ok(), bench.outcomes("deploy").await.len() == 3);
        if !concluded {
            let how = command(&bench.controller().await).await.unwrap();
            let claimed_before = ended || matches!(first, Err(ControllerError::Unfinished { .. }));
            assert!(!claimed_before || how == PublishedHow::Finished, "after {writes} writes: {how:?}");
        }
        bench.check().await;
        assert_eq!(desired(&bench).await, expected, "after {writes} writes");
        assert_eq!(bench.outcomes("deploy").await.len(), 3);
        if concluded {
            return;
        }
    }
    panic!("it still writes after {MOST_WRITES} writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_to_a_named_version_is_finished_once() {
    disturbed!(
        two_good_versions,
        async |_: &Bench, controller: &Controller| {
            let to = Some("v1".parse().unwrap());
            let request = RollbackRequest { cell: cell(), to, reason: None, options: TriggerOptions::default() };
            controller.rollback(&request, &Guard::default()).await.map(|_| ())
        },
        async |bench: &Bench| {
            bench.check().await;
            assert_eq!(desired(bench).await, (3, Some("v1".to_owned())));
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_finished_once() {
    disturbed!(
        two_good_versions,
        async |_: &Bench, controller: &Controller| {
            let request = StopRequest { cell: cell(), reason: None };
            controller.stop(&request, &Guard::default()).await.map(|_| ())
        },
        async |bench: &Bench| {
            bench.check().await;
            assert_eq!(desired(bench).await, (3, None));
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remove_is_finished_once() {
    disturbed!(
        two_good_versions,
        async |_: &Bench, controller: &Controller| {
            let request = StopRequest { cell: cell(), reason: None };
            controller.remove(&request, true, &Guard::default()).await.map(|_| ())
        },
        async |bench: &Bench| {
            bench.check().await;
            assert_eq!(desired(bench).await, (3, None));
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_finished_once() {
    disturbed!(
        async |_| {},
        async |bench: &Bench, controller: &Controller| {
            let folder = bench.folder("new", &[("a", "a"), ("b", "b"), ("c/d", "d")]);
            controller.upload(&site(), None, &folder, &UploadOptions::default(), &|_| {}).await.map(|_| ())
        },
        async |bench: &Bench| {
            let keys = bench.keys("deployments/site/2").await;
            assert_eq!(keys.iter().filter(|key| key.ends_with("/deployment.json")).count(), 1, "{keys:?}");
            assert_eq!(keys.len(), 4, "{keys:?}");
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_finished_by_whoever_comes_by() {
    disturbed!(
        async |bench: &Bench| {
            two_good_versions(bench).await;
            let controller = bench.controller().await;
            let marked = controller.delete_version(&cell(), &"v1".parse().unwrap()).await.unwrap();
            assert!(matches!(marked, Deletion::Marked { .. }));
            bench.clock.pass(chrono::TimeDelta::minutes(61));
        },
        async |_: &Bench, controller: &Controller| {
            let report = controller.gc(false).await?;
            match report.problems.first() {
                None => Ok(()),
                Some(problem) => Err(ControllerError::Invalid { what: "gc".to_owned(), problem: problem.clone() }),
            }
        },
        async |bench: &Bench| {
            assert!(bench.keys("cells/n1/web/versions/v1/").await.is_empty());
            assert_eq!(bench.outcomes("deploy").await.len(), 2);
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_may_finish_what_another_claimed() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.greet("bye").await;
    bench.proxy.inject(Rule::new(On::put("*/trigger.json"), Fault::status(403)));
    let error = bench.controller().await.publish(&request("v2"), &Guard::default()).await.unwrap_err();
    assert_eq!((error.code(), error.kind().exit_code()), ("unfinished", 5));
    bench.proxy.heal();
    let (before, writes) = (bench.keys("").await, bench.proxy.writes());
    assert_eq!(bench.controller().await.gc(true).await.unwrap().finished, [cell()]);
    assert_eq!((bench.keys("").await, bench.proxy.writes()), (before, writes), "a dry run writes nothing");
    let report = bench.controller().await.gc(false).await.unwrap();
    assert_eq!(report.finished, [cell()]);
    bench.check().await;
    assert_eq!(desired(&bench).await, (2, Some("v2".to_owned())));
    assert_eq!(bench.outcomes("deploy").await.len(), 2);
    assert!(bench.controller().await.gc(false).await.unwrap().finished.is_empty());
}
