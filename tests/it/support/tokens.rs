//! Tokens for programs, made as the portal makes them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fleetman::access::{Authorized, Directory, Gate, NewToken, SealKey, Sessions, Source, StateFolder, TOKEN_GOOD_FOR};
use fleetman::clock::SystemClock;
use fleetman::config::{ConfigFile, ControllerConfig, SessionSettings};
use fleetman::controller::{Actor, Controller, ControllerSettings};
use fleetman::model::UserName;
use fleetman::store::Store;
use uuid::Uuid;

use super::cli::Workplace;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const USER: &str = "ada";
/// Her password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// The admin `ada`, who makes tokens.
pub(crate) struct Tokens {
    gate: Gate,
    by: Authorized,
}

impl Tokens {
    /// Makes ada the first admin of the fleet that the config in `place` names.
    pub(crate) async fn of(place: &Workplace) -> Self {
        let file = ConfigFile::read(&place.path().join("controller_config.yaml")).unwrap();
        let config = ControllerConfig::parse(&file).unwrap();
        let bucket = config.bucket(None).unwrap();
        let clock = SystemClock::shared();
        let controller = Arc::new(Controller::new(
            ControllerSettings {
                store: Store::connect(bucket.store.clone(), clock.clone()).await.unwrap(),
                fleet: bucket.fleet,
                signer: bucket.signer().unwrap().0,
                trust: bucket.trust().unwrap(),
                actor: Actor {
                    user: UserName::new(USER).unwrap(),
                    source: "portal".to_owned(),
                    host: String::new(),
                    reason: None,
                },
                controller_id: Uuid::from_u128(4),
                lock_timeout: ControllerSettings::LOCK_TIMEOUT,
            },
            clock.clone(),
        ));
        let folder = StateFolder::open(&place.path().join("tokens")).unwrap();
        let directory = Directory::open(controller.clone(), clock.clone(), folder, Vec::new()).unwrap();
        directory.look().await;
        let SessionSettings { idle, absolute, .. } = SessionSettings::default();
        let gate = Gate::new(directory, Sessions { key: SealKey::new([5; 32]), idle, absolute }, clock);
        let once = gate.first_admin().unwrap().unwrap();
        let ada = gate.claim_first_admin(once.reveal(), USER, PASSWORD, HOME).await.unwrap();
        let identity = gate.by_cookie(&ada.cookie).unwrap().identity;
        let by = Authorized::new(controller, Arc::new(identity), Source::Portal, "127.0.0.1");
        Self { gate, by }
    }

    /// A token of ada's that may do no more than these roles, such as `viewer` or `operator:n1/*`.
    pub(crate) async fn make(&self, grants: &[&str]) -> String {
        let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        let user = UserName::new(USER).unwrap();
        let new = NewToken { id: None, name: "test".to_owned(), user, grants, good_for: TOKEN_GOOD_FOR };
        self.by.add_token(self.gate.directory(), &new).await.unwrap().reveal().to_owned()
    }
}
