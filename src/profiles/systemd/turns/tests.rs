use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::model::manifest::Manifest;
use crate::model::strategy::{Socket, StartStop};
use crate::model::{CellName, Epoch, Floor, Generation, document};
use crate::profiles::systemd::look::File;

const MANIFEST: &[u8] = include_bytes!("../../../../tests/golden/manifest-sockets.json");

/// A version that is given these sockets, or takes no turns.
fn manifest(sockets: Option<&[(&str, &str)]>) -> Manifest {
    let mut manifest = document::parse::<Manifest>(MANIFEST).unwrap();
    manifest.strategy = sockets.map_or(Strategy::StopStart, |sockets| {
        let sockets = sockets.iter().map(|(name, listen)| {
            let socket = Socket { listen: listen.parse().unwrap(), process: None, mode: Socket::MODE };
            (name.parse().unwrap(), socket)
        });
        Strategy::StartStop(StartStop { sockets: sockets.collect(), shares: None })
    });
    manifest
}

fn activation(generation: u64) -> Activation {
    Activation::new(Floor::new(Epoch::FIRST, Generation::new(generation).unwrap()), 1)
}

fn given(sockets: &[(&str, &str)]) -> Sockets {
    let Strategy::StartStop(how) = manifest(Some(sockets)).strategy else { unreachable!() };
    unit::sockets(&CellName::new("web").unwrap(), &how)
}

/// A cell that the turn has brought up, with all its sockets open.
fn after(turn: &Turn, generation: u64, sockets: &[(&str, &str)]) -> Look {
    let begun = Begun {
        activation: activation(generation).to_string(),
        is_scheduled: false,
        instead_of: None,
        instance: turn.takes_turns.then_some(turn.instance),
        sockets: given(sockets),
        beside: turn.beside.clone(),
    };
    let up = || Unit { active: "active".to_owned(), ..Unit::default() };
    let sockets: BTreeMap<_, _> = begun.all_sockets().map(|stem| (stem.clone(), up())).collect();
    let file = File::Whole(begun.activation.clone());
    Look { service: up(), other: None, timer: None, sockets, file, begun: Some(begun) }
}

fn turn(manifest: &Manifest, activation: Activation, look: &Look, runs: &[Instance]) -> Turn {
    spares(manifest, activation, look, runs, false).unwrap()
}

fn spares(
    manifest: &Manifest,
    activation: Activation,
    look: &Look,
    runs: &[Instance],
    spares: bool,
) -> Result<Turn, ProfileError> {
    let cell = CellName::new("web").unwrap();
    let (release, data) = (Path::new("/r"), Path::new("/d"));
    let start = Start { cell: &cell, manifest, release, data, force: false, spares, activation };
    Turn::of(&start, look, |instance| runs.contains(&instance))
}

const HTTP: &[(&str, &str)] = &[("http", "[::]:80")];

fn settled(mut look: Look) -> Look {
    look.begun.as_mut().unwrap().beside = None;
    look
}

#[test]
fn the_first_one_is_alone_and_then_the_two_take_turns() {
    let fresh = Look { begun: None, ..after(&Turn::alone(Instance::A, true), 1, &[]) };
    let version = manifest(Some(HTTP));
    let first = turn(&version, activation(1), &fresh, &[]);
    assert_eq!(first, Turn::alone(Instance::A, true));
    let one = after(&first, 1, HTTP);
    let second = turn(&version, activation(2), &one, &[]);
    assert_eq!((second.instance, second.beside.as_ref().unwrap().activation.as_str()), (Instance::B, "1-1-1"));
    assert_eq!(second.beside.as_ref().unwrap().sockets, given(HTTP));
    // Asked once more it is the same.
    let both = after(&second, 2, HTTP);
    assert_eq!(turn(&version, activation(2), &both, &[]), second);
    // A newer one takes the place of the one that is not good yet.
    let third = turn(&version, activation(3), &both, &[]);
    assert_eq!(third, second);
    let next = turn(&version, activation(3), &settled(both), &[]);
    assert_eq!((next.instance, next.beside.unwrap().activation.as_str()), (Instance::A, "1-2-1"));
}

#[test]
fn what_is_gone_back_to_runs_still_or_is_started_alone() {
    let version = manifest(Some(HTTP));
    let one = after(&Turn::alone(Instance::A, true), 1, HTTP);
    let both = after(&turn(&version, activation(2), &one, &[]), 2, HTTP);
    let back = activation(2).restoring();
    let kept = turn(&version, back, &both, &[Instance::A]);
    assert_eq!(kept, Turn { is_there: true, ..Turn::alone(Instance::A, true) });
    assert_eq!(turn(&version, back, &both, &[]), Turn::alone(Instance::A, true), "where the good one was");
    assert_eq!(turn(&version, back, &settled(both), &[]), Turn::alone(Instance::B, true));
    assert_eq!(turn(&manifest(None), back, &one, &[Instance::A]), Turn::alone(Instance::A, false));
}

#[test]
fn what_took_no_turns_or_holds_a_place_is_stopped_first() {
    let one = after(&Turn::alone(Instance::A, true), 1, HTTP);
    let alone = |sockets: &[(&str, &str)], look: &Look| {
        turn(&manifest(Some(sockets)), activation(2), look, &[]) == Turn::alone(Instance::A, true)
    };
    assert!(alone(HTTP, &after(&Turn::alone(Instance::A, false), 1, &[])), "it listens by itself");
    assert!(alone(&[("web", "[::]:80")], &one), "another name");
    assert!(alone(&[("http", "127.0.0.1:80")], &one), "one address may hold another");
    assert!(!alone(&[("http", "[::]:81")], &one), "both are listened at");
    assert!(!alone(&[("http", "[::]:80"), ("more", "/run/80")], &one));
    assert!(!alone(&[], &one));
    let version = manifest(Some(&[("web", "[::]:80")]));
    let refused = spares(&version, activation(2), &one, &[], true).unwrap_err();
    assert!(matches!(&refused, ProfileError::StopsFirst(why) if why.contains("another name or mode")), "{refused}");
    let begun = after(&Turn::alone(Instance::A, true), 2, &[("web", "[::]:80")]);
    assert!(spares(&version, activation(2), &begun, &[], true).is_ok(), "it has been stopped already");
    let took_none = after(&Turn::alone(Instance::A, false), 1, &[]);
    assert!(spares(&version, activation(2), &took_none, &[], true).is_err());
    let mut closed = one;
    closed.sockets.values_mut().for_each(|unit| unit.active = "failed".to_owned());
    assert!(alone(HTTP, &closed), "nobody but the old one has the socket");
    closed.sockets.clear();
    assert!(alone(HTTP, &closed));
    let paths = after(&Turn::alone(Instance::A, true), 1, &[("http", "/run/a")]);
    assert!(alone(&[("other", "/run/a")], &paths) && !alone(&[("http", "/run/b")], &paths));
}
