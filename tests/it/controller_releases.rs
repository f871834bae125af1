//! The list of releases, as pages read it.

use std::time::Duration;

use fleetman::controller::{Controller, ReleaseReader};

use crate::support::fleet::{Bench, site};
use crate::support::proxy::{Fault, On, Rule};
use crate::support::wait_for;

/// After this the list is read again, behind whoever looks.
const OLD: Duration = Duration::from_secs(5);

/// After this nobody is shown the list before it was read again.
const STALE: Duration = Duration::from_secs(20);

async fn names(controller: &Controller, reader: &ReleaseReader) -> Vec<String> {
    let releases = controller.releases(reader).await.unwrap();
    releases.iter().map(|release| release.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_list_is_shown_at_once_and_read_again_and_a_stale_one_is_waited_for() {
    let bench = Bench::start().await;
    let (controller, reader) = (bench.controller().await, ReleaseReader::default());
    assert_eq!(names(&controller, &reader).await, ["r1"]);
    bench.upload("r2", &[("index.html", "two\n")]).await;

    bench.proxy.inject(Rule::new(On::list("*"), Fault::status(403)));
    bench.clock.elapse(OLD);
    assert_eq!(names(&controller, &reader).await, ["r1"], "nobody waits for the store");
    bench.proxy.heal();
    bench.proxy.clear_log();
    wait_for(async || names(&controller, &reader).await == ["r1", "r2"], "the list to be read again").await;
    assert!(bench.proxy.count(On::get("*/r1/deployment.json")) == 0, "what is known is not read again");

    // What cannot be read again stays for a while, and is no secret for longer.
    bench.proxy.inject(Rule::new(On::list("*"), Fault::status(403)));
    bench.clock.elapse(OLD);
    assert_eq!(names(&controller, &reader).await, ["r1", "r2"]);
    bench.clock.elapse(STALE);
    assert!(controller.releases(&reader).await.is_err());
    bench.proxy.heal();
    bench.upload("r3", &[("index.html", "three\n")]).await;
    assert_eq!(names(&controller, &reader).await, ["r1", "r2", "r3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_controller_changed_is_in_the_next_list() {
    let bench = Bench::start().await;
    let (controller, reader) = (bench.controller().await, ReleaseReader::default());
    assert_eq!(names(&controller, &reader).await, ["r1"]);
    bench.upload("r2", &[("index.html", "two\n")]).await;
    reader.renew();
    assert_eq!(names(&controller, &reader).await, ["r1", "r2"]);

    let (name, known) = ("r2".parse().unwrap(), fleetman::controller::Known::Anything);
    let before = controller.releases(&reader).await.unwrap()[1].clone();
    controller.delete_deployment(&site(), &name, &known).await.unwrap();
    bench.upload("r2", &[("index.html", "another\n")]).await;
    reader.forget(&(site(), name)).await;
    let after = controller.releases(&reader).await.unwrap()[1].clone();
    assert_eq!(after.name, before.name);
    assert_ne!(after.state, before.state, "the name was given to other files");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_names_reads_no_document_and_asks_once() {
    let bench = Bench::start().await;
    let (controller, reader) = (bench.controller().await, ReleaseReader::default());
    bench.proxy.clear_log();
    let known = async || {
        let names = controller.release_names_lately(&reader).await.unwrap();
        names.iter().map(|(_, name)| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((known().await, known().await), (vec!["r1".to_owned()], vec!["r1".to_owned()]));
    assert_eq!(bench.proxy.log().len(), 2, "a LIST of the manifests, and one of the releases of one");

    bench.upload("r2", &[("index.html", "two\n")]).await;
    reader.renew();
    assert_eq!(known().await, ["r1", "r2"], "what this controller changed is in the next answer");
    assert_eq!(names(&controller, &reader).await, ["r1", "r2"]);
}
