use std::path::PathBuf;

use super::*;
use crate::agent::Activation;
use crate::model::document;
use crate::model::manifest::Manifest;
use crate::model::process::{Process, ProcessKind};
use crate::model::run_spec::Profile;
use crate::model::strategy::Strategy;
use crate::model::{Epoch, Floor, Generation};
use crate::render::instance::INSTANCE;
use crate::supervise::EnvValue;

const MANIFEST: &[u8] = include_bytes!("../../../../tests/golden/manifest-sockets.json");

/// A version of a cell: a task, and a service after it that is given two sockets.
struct Version {
    manifest: Manifest,
    activation: Activation,
}

impl Version {
    fn new(generation: u64) -> Self {
        let mut manifest = document::parse::<Manifest>(MANIFEST).unwrap();
        manifest.version = generation.to_string().parse().unwrap();
        let at = Floor::new(Epoch::FIRST, Generation::new(generation).unwrap());
        Self { manifest, activation: Activation::new(at, 1) }
    }

    fn again(generation: u64, activation: Activation) -> Self {
        Self { activation, ..Self::new(generation) }
    }

    fn orders(&self, before: Option<&Orders>) -> Orders {
        self.spares(before, false).unwrap()
    }

    fn spares(&self, before: Option<&Orders>, spares: bool) -> Result<Orders, &'static str> {
        let (release, data) = (PathBuf::from(format!("/releases/{}", self.manifest.version)), PathBuf::from("/data"));
        let Self { manifest, activation } = self;
        let cell = &manifest.cell;
        let start =
            Start { cell, manifest, release: &release, data: &data, force: false, spares, activation: *activation };
        let Profile::Process(spec) = &manifest.profile else { panic!("{:?}", manifest.profile) };
        let Strategy::StartStop(how) = &manifest.strategy else { panic!("{:?}", manifest.strategy) };
        orders(spec, how, &start, before)
    }
}

fn names(orders: &Orders) -> Vec<&str> {
    orders.service.processes.keys().map(String::as_str).collect()
}

fn leaving(orders: &Orders) -> Vec<&str> {
    orders.leaving.iter().map(String::as_str).collect()
}

/// The version that a process is of.
fn version<'a>(orders: &'a Orders, process: &str) -> &'a EnvValue {
    &orders.service.processes[process].env["FLEETMAN_VERSION"]
}

#[test]
fn the_first_one_is_alone_and_given_its_sockets() {
    let first = Version::new(1).orders(None);
    assert_eq!((names(&first), first.joins), (vec!["migrate", "web"], false));
    let web = &first.service.processes["web"];
    assert_eq!(web.env[INSTANCE], EnvValue::Text("a".to_owned()));
    let sockets: Vec<&str> = web.sockets.iter().map(|socket| socket.name.as_str()).collect();
    assert_eq!(sockets, ["admin", "http"]);
    assert!(first.service.processes["migrate"].sockets.is_empty());
    assert_eq!(settled(&first), None);
    assert!(first.service.check().is_ok());
}

#[test]
fn the_next_one_runs_beside_it_until_that_leaves_and_they_take_turns() {
    let first = Version::new(1).orders(None);
    let second = Version::new(2).orders(Some(&first));
    assert_eq!(names(&second), ["migrate", "migrate-b", "web", "web-b"]);
    assert_eq!((leaving(&second), second.joins), (vec!["migrate", "web"], true));
    assert_eq!(second.service.processes["web"], first.service.processes["web"], "it is left as it is");
    assert_eq!(second.service.processes["web-b"].after, BTreeSet::from(["migrate-b".to_owned()]));
    assert_eq!(version(&second, "web-b"), &EnvValue::Text("2".to_owned()));
    assert!(second.service.check().is_ok());

    assert_eq!(Version::new(2).orders(Some(&second)), second, "the same is not begun twice");
    let second = settled(&second).unwrap();
    assert_eq!((names(&second), second.joins), (vec!["migrate-b", "web-b"], true));
    assert_eq!(Version::new(2).orders(Some(&second)), second, "nor begun again once it is good");
    let third = Version::new(3).orders(Some(&second));
    assert_eq!(leaving(&third), ["migrate-b", "web-b"]);
    assert_eq!(version(&third, "web"), &EnvValue::Text("3".to_owned()));
}

#[test]
fn one_that_is_not_good_yet_gives_way_and_what_is_good_stays() {
    let first = Version::new(1).orders(None);
    let second = Version::new(2).orders(Some(&first));
    let third = Version::new(3).orders(Some(&second));
    assert_eq!(names(&third), ["migrate", "migrate-b", "web", "web-b"]);
    assert_eq!(leaving(&third), ["migrate", "web"]);
    assert_eq!(version(&third, "web"), &EnvValue::Text("1".to_owned()));
    assert_eq!(version(&third, "web-b"), &EnvValue::Text("3".to_owned()));
}

#[test]
fn what_is_gone_back_to_goes_on_if_it_still_runs_and_starts_alone_otherwise() {
    let first = Version::new(1).orders(None);
    let second = Version::new(2);
    let both = second.orders(Some(&first));
    let back = Version::again(1, second.activation.restoring()).orders(Some(&both));
    assert_eq!(back.service, first.service);
    assert_eq!((back.joins, leaving(&back), back.id.as_str()), (true, vec![], "1-2-1-restore"));
    // It has left already.
    let alone = settled(&both).unwrap();
    let back = Version::again(1, second.activation.restoring()).orders(Some(&alone));
    assert_eq!((names(&back), back.joins), (vec!["migrate", "web"], false));
}

#[test]
fn nothing_runs_beside_what_was_stopped_or_holds_its_ports_by_itself() {
    let first = Version::new(1).orders(None);
    let stopped = Orders { wanted: Wanted::Down, ..first.clone() };
    let mut plain = first;
    plain.service.processes.values_mut().for_each(|process| {
        process.env.remove(INSTANCE);
    });
    for before in [stopped, plain] {
        let next = Version::new(2).orders(Some(&before));
        assert_eq!((names(&next), leaving(&next), next.joins), (vec!["migrate", "web"], vec![], false));
    }
}

#[test]
fn what_is_spared_is_not_ended_for_the_next_one_until_that_is_good() {
    let first = Version::new(1).orders(None);
    let second = Version::new(2).spares(Some(&first), true).unwrap();
    assert!(second.joins && second.spares);
    assert_eq!(Version::new(2).spares(Some(&second), true).unwrap(), second, "the same is not begun twice");
    // It could not be joined, and was told: from then on there is only the next one.
    let alone = Version::new(2).orders(Some(&second));
    assert_eq!(
        (names(&alone), leaving(&alone), alone.joins, alone.spares),
        (vec!["migrate-b", "web-b"], vec![], false, false)
    );
    assert_eq!(Version::new(2).orders(Some(&alone)), alone);
    assert!(!settled(&second).unwrap().spares);
    let mut plain = first.clone();
    plain.service.processes.values_mut().for_each(|process| {
        process.env.remove(INSTANCE);
    });
    assert!(Version::new(2).spares(Some(&plain), true).is_err());
    let stopped = Orders { wanted: Wanted::Down, ..first };
    assert!(!Version::new(2).spares(Some(&stopped), true).unwrap().joins, "nothing runs that could be spared");
}

#[test]
fn a_task_can_be_given_no_socket() {
    let mut version = Version::new(1);
    let Profile::Process(spec) = &mut version.manifest.profile else { panic!() };
    for process in spec.processes.values_mut() {
        *process = Process { kind: ProcessKind::Task, ..process.clone() };
    }
    assert!(version.orders(None).service.processes.values().all(|process| process.sockets.is_empty()));
}
