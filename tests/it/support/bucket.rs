//! Our own [`Store`] over whatever endpoint, and keys to try it with.

use std::time::Duration;

use fleetman::clock::SystemClock;
use fleetman::model::{FilePath, NodeName, ObjectKey, Prefix};
use fleetman::store::{Conditions, Credentials, ProxySettings, RetryPolicy, Secret, Store, StoreSettings};
use ulid::Ulid;

use super::{ACCESS_KEY, BUCKET, SECRET_KEY};

/// Settings for the embedded store or a proxy in front of it, with tries that follow each other at once.
pub(crate) fn settings(endpoint: &str) -> StoreSettings {
    StoreSettings {
        prefix: Prefix::new("prod/eu").unwrap(),
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        credentials: Credentials::Static {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: Secret::new(SECRET_KEY),
            session_token: None,
        },
        proxy: ProxySettings::None,
        retry: RetryPolicy { tries: 5, first: Duration::from_millis(1), most: Duration::from_millis(5) },
        ..StoreSettings::new(BUCKET)
    }
}

/// A store with these settings that trusts conditions, as after `fleetman doctor`.
pub(crate) async fn connect(settings: StoreSettings) -> Store {
    let store = Store::connect(settings, SystemClock::shared()).await.unwrap();
    store.with_capabilities(Conditions::Honoured)
}

/// A key that may be written in every way but the ways of heartbeats.
pub(crate) fn probe(path: &str) -> ObjectKey {
    ObjectKey::Probe(Ulid::from_parts(1, 1), FilePath::new(path).unwrap())
}

/// The heartbeat's key of a node.
pub(crate) fn heartbeat(node: &str) -> ObjectKey {
    ObjectKey::Heartbeat(NodeName::new(node).unwrap())
}
