//! Orders as a controller gives them: what is given later counts, whatever clocks say.

use std::time::Duration;

use chrono::TimeDelta;
use fleetman::model::document;
use fleetman::model::index::Index;
use fleetman::model::order::{Addressee, LogQuery};

use crate::support::fleet::{Bench, cell};

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_newer_than_the_hold_that_it_ends_and_outlasts_it_although_clocks_were_set_back() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let (controller, to) = (bench.controller().await, Addressee::from(cell()));
    let held = controller.hold(&to, TimeDelta::days(3), "leak").await.unwrap();
    bench.clock.pass(TimeDelta::minutes(-5));
    let released = bench.controller().await.release(&to, None).await.unwrap();
    assert!(released.id > held.id, "{released:?} is newer than {held:?}");
    assert!(released.expires_at > held.expires_at, "whoever finds both is not held again: {released:?}");
    assert_eq!(bench.keys("cells/n1/_requests/").await, [format!("cells/n1/_requests/{}.json", released.id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_orders_takes_out_of_the_index_what_is_over() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let (controller, to) = (bench.controller().await, Addressee::from(cell()));
    controller.hold(&to, TimeDelta::minutes(1), "leak").await.unwrap();
    bench.clock.pass(TimeDelta::minutes(2));
    let later = bench.controller().await;
    let held = later.hold(&Addressee::from(cell().node), TimeDelta::minutes(1), "disk").await.unwrap();
    let index: Index = document::parse(&bench.read("index/n1.json").await.unwrap()).unwrap();
    assert_eq!(index.requests.len(), 1);
    assert!(index.requests[0].get().contains(&held.id.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_for_no_more_logs_at_a_time_than_leaves_room_for_holds() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let controller = bench.controller().await;
    let ask = async || controller.ask_for_logs(&cell(), &LogQuery::last(1), Duration::from_secs(3_600)).await;
    for _ in 0..64 {
        ask().await.unwrap();
    }
    let refused = ask().await.unwrap_err();
    assert_eq!(refused.code(), "invalid");
    assert!(refused.to_string().contains("it was asked for logs 64 times in the last minutes"), "{refused}");
    // Who stops it from being changed is heard all the same.
    controller.hold(&Addressee::from(cell()), TimeDelta::days(1), "leak").await.unwrap();
    bench.clock.pass(TimeDelta::hours(1));
    bench.controller().await.ask_for_logs(&cell(), &LogQuery::last(1), Duration::from_secs(3_600)).await.unwrap();
}
