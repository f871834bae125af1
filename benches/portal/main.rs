//! The portal over a large fleet: how long each list takes beside a file of the same server, how much memory the server
//! takes, and what a look at the bucket asks of it.
//!
//! ```sh
//! cargo bench --bench portal             # 10,000 agents, 50,000 cells
//! cargo bench --bench portal -- --only versions   # of the lists only those whose path has this in it
//! cargo test --bench portal -- --quick   # fewer, and no figures, only whether the requests are as many as they should be
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod crowd;
#[allow(dead_code, reason = "shared with a bench that needs all of it")]
#[path = "../supervisor/figures.rs"]
mod figures;
mod past;
mod plain;
#[allow(unused_imports, reason = "shared with the tests, which need all of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleetman::clock::{SharedClock, SystemClock};
use fleetman::controller::{FleetReader, FleetView, LivenessLimits};

use self::crowd::Crowd;
use self::figures::{Memory, Times};
use self::past::Past;
use self::plain::Plain;
use self::support::acme::Acme;
use self::support::cli::Workplace;
use self::support::holds_in_time;
use self::support::serving::Serving;

/// The lists, as people ask for them.
const LISTS: [&str; 26] = [
    "/",
    "/agents",
    "/agents?page=100",
    "/agents?q=7&sort=-load",
    "/agents?label=region%3Deu-west&sort=memory",
    "/cells",
    "/cells?page=500",
    "/cells?sync=out-of-sync",
    "/cells?health=failed&sort=-changed",
    "/cells?q=api&sort=changed&page=20",
    "/cells?sort=running&per=500",
    "/agents/node-00042",
    "/search?q=node-000",
    "/api/v1/nodes/node-00042",
    "/manifests",
    "/manifests?q=app&sort=-changed&page=20",
    "/manifests/app-00042",
    "/deployments",
    "/deployments?sort=-uploaded&page=200",
    "/audit",
    "/audit?actor=alice",
    "/buckets/browse?prefix=manifests/",
    "/buckets/browse?prefix=audit/",
    "/cells/node-00042/past/overrides",
    "/cells/node-00042/past/history",
    "/cells/node-00042/past/versions",
];

#[tokio::main]
async fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    // More than a page of a list has.
    let (crowd, past) = if quick {
        (Crowd { nodes: 1_001, cells: 1 }, Past { manifests: 12, releases: 3, versions: 30, overrides: 30, audit: 400 })
    } else {
        (
            Crowd { nodes: 10_000, cells: 5 },
            Past { manifests: 2_000, releases: 20, versions: 200, overrides: 300, audit: 100_000 },
        )
    };
    let clock = SystemClock::shared();
    let acme = Acme::empty().await;
    let (took, ()) = timed(&clock, crowd.write(&acme)).await;
    let Crowd { nodes, cells } = crowd;
    println!("{nodes} agents and {} cells, written in {} s", nodes * cells, took.as_secs());
    looks(crowd, &acme, &clock).await;
    let (took, ()) = timed(&clock, past.write(&acme)).await;
    println!("{past:?}, written in {} s", took.as_secs());
    if !quick {
        let only = std::env::args().skip_while(|arg| arg != "--only").nth(1).unwrap_or_default();
        pages(crowd, &acme, &clock, &only).await;
    }
}

async fn timed<T>(clock: &SharedClock, what: impl Future<Output = T>) -> (Duration, T) {
    let began = clock.monotonic();
    let result = what.await;
    (clock.monotonic() - began, result)
}

/// What looks at the bucket ask of it: a LIST for each thousand objects of a folder, and a GET of each that changed.
async fn looks(crowd: Crowd, acme: &Acme, clock: &SharedClock) {
    let mut reader = FleetReader::new(LivenessLimits::default());
    let mut look = async |what: &str, gets: usize| -> FleetView {
        let before = acme.controller().store().request_counts();
        let (took, view) = timed(clock, reader.refresh(acme.controller())).await;
        let (view, looked) = (view.unwrap(), reader.looked());
        println!(
            "{what}: {} lists and {} objects in {} ms; the first list took {} ms",
            looked.lists,
            looked.gets,
            took.as_millis(),
            looked.answered_in.as_millis(),
        );
        let lists = 2 * crowd.nodes.div_ceil(1_000);
        assert_eq!((looked.lists, looked.gets), (lists, gets), "{what}");
        let sent = acme.controller().store().request_counts().total() - before.total();
        assert_eq!(sent, u64::try_from(lists + gets).unwrap(), "{what}: nothing else is asked, and nothing twice");
        view
    };
    let first = look("the first look", 2 * crowd.nodes).await;
    assert_eq!((first.counts.nodes(), first.counts.cells()), (crowd.nodes, crowd.nodes * crowd.cells));
    let second = look("a look when nothing changed", 0).await;
    assert_eq!(second.revision, first.revision);
    crowd.beat(acme, 100..107, 2).await;
    let third = look("a look when 7 agents reported", 7).await;
    let other = first.nodes.iter().zip(&third.nodes).filter(|(before, now)| !std::sync::Arc::ptr_eq(before, now));
    assert_eq!((other.count(), third.revision), (7, first.revision + 1), "only what changed is new");
}

/// How long each list takes, while as many agents report as do when each does so once a minute.
async fn pages(crowd: Crowd, acme: &Acme, clock: &SharedClock, only: &str) {
    let place = Workplace::empty();
    acme.configure(place.path());
    let serving = Serving::start(&place).await;
    let pid = serving.child.id().unwrap();
    let began = clock.monotonic();
    let ready = async || serving.get("/readyz").await.status == 200;
    while !holds_in_time(ready).await {
        println!("the server has not read the fleet yet");
    }
    println!("the server has read the fleet after {} ms", (clock.monotonic() - began).as_millis());
    println!("its memory then, in KiB: {}", Memory::of(pid));

    let plain = Plain::start().await;
    let measured = AtomicU64::new(0);
    let measuring = async {
        for path in LISTS.into_iter().filter(|path| path.contains(only)) {
            let (first, _) = timed(clock, serving.get(path)).await;
            let (times, bytes) = measure(clock, async || serving.get(path).await.is(200).body.len()).await;
            let (beside, as_long) = measure(clock, async || plain.get(bytes).await).await;
            assert_eq!(as_long, bytes);
            println!(
                "{path:44} {bytes:7} bytes, first {:5} ms, {}    as many plain bytes {}",
                first.as_millis(),
                percentiles(&times),
                percentiles(&beside),
            );
        }
        measured.store(1, Ordering::Relaxed);
    };
    let reporting = async {
        let mut sequence = 3;
        while measured.load(Ordering::Relaxed) == 0 {
            let second = clock.monotonic() + Duration::from_secs(1);
            let first = usize::try_from(sequence).unwrap() * crowd.nodes / 60;
            crowd.beat(acme, (first..first + crowd.nodes / 60).map(|node| node % crowd.nodes), sequence).await;
            sequence += 1;
            clock.sleep(second.saturating_sub(clock.monotonic())).await;
        }
    };
    tokio::join!(measuring, reporting);
    println!("its memory after all that, in KiB: {}", Memory::of(pid));
}

/// How long two hundred answers took each, one after the other, and how long the last one was.
async fn measure(clock: &SharedClock, ask: impl AsyncFn() -> usize) -> (Times, usize) {
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..200 {
        let (took, length) = timed(clock, ask()).await;
        bytes = length;
        times.push(took);
    }
    (Times(times), bytes)
}

fn percentiles(times: &Times) -> String {
    let ms = |share| times.share(share).as_secs_f64() * 1000.0;
    format!("p50 {:6.2} ms, p99 {:6.2} ms", ms(0.5), ms(0.99))
}
