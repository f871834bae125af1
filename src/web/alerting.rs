//! Alerts in the background: decided after each look at the fleet, sent when they are due.

use std::future::pending;

use tokio_util::sync::CancellationToken;

use super::snapshot::Snapshot;
use crate::clock::SharedClock;
use crate::controller::{AlertKeeper, Observation};

/// Keeps the alerts of the fleet that `snapshot` looks at until `ended`.
pub(super) async fn keep(mut keeper: AlertKeeper, snapshot: &Snapshot, clock: &SharedClock, ended: CancellationToken) {
    let mut looks = snapshot.each_look();
    loop {
        let due = async {
            match keeper.until_due() {
                Some(wait) => clock.sleep(wait).await,
                None => pending().await,
            }
        };
        let looked = tokio::select! {
            () = ended.cancelled() => return,
            // The sender lives as long as the snapshot that is held here.
            changed = looks.changed() => changed.is_ok(),
            () = due => false,
        };
        match snapshot.last_look().filter(|_| looked) {
            // What is sent may take a while: the end is not waited for longer than it is needed.
            Some(look) => {
                let look = look.map(|view| Observation::of(&view));
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = keeper.look(look) => {}
                }
            }
            None => tokio::select! {
                () = ended.cancelled() => return,
                () = keeper.send_due() => {}
            },
        }
    }
}
