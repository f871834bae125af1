//! The units of the sockets that a cell's services are given: pure.
//!
//! A socket is named by where it listens and how, so that another one never takes the place of one that a service was
//! started with. Traffic must not start anything: which version runs, and whether it does, is for nobody outside to
//! decide. So what a socket starts when no service takes its connections is a unit of its own that does nothing; until
//! a service runs again they wait.

use std::collections::BTreeMap;

use super::escape::{Unwritable, rest_of_line};
use super::{HEAD, Lines, PREFIX};
use crate::model::strategy::{Listen, Socket, StartStop};
use crate::model::{CellName, Sha256Digest, SocketName};
use crate::render::instance::{INSTANCE, Instance};

/// As many connections wait as the kernel lets wait.
const BACKLOG: u32 = 4096;

/// Such sockets, by the names of their units without the end.
pub(crate) type Sockets = BTreeMap<String, Listen>;

/// The two units of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketUnits {
    /// What listens.
    pub(crate) socket: Vec<u8>,
    /// What it starts, which does nothing.
    pub(crate) idle: Vec<u8>,
}

/// What the names of the units of all sockets of a cell begin with: no name of a cell has a dot in it.
pub(crate) fn prefix(cell: &CellName) -> String {
    format!("{PREFIX}{cell}.")
}

fn stem(cell: &CellName, name: &SocketName, socket: &Socket) -> String {
    let settings = Sha256Digest::of(format!("{} {}", socket.mode, socket.listen).as_bytes());
    format!("{}{name}.{}", prefix(cell), settings.short(8))
}

/// The sockets that a version asks for.
pub(crate) fn sockets(cell: &CellName, how: &StartStop) -> Sockets {
    how.sockets.iter().map(|(name, socket)| (stem(cell, name, socket), socket.listen.clone())).collect()
}

/// Their units.
pub(super) fn units(cell: &CellName, how: &StartStop) -> Result<BTreeMap<String, SocketUnits>, Unwritable> {
    let units = how.sockets.iter().map(|(name, socket)| {
        let stem = stem(cell, name, socket);
        let units = SocketUnits { socket: listening(cell, name, socket, &stem)?, idle: idle(cell, name, &stem) };
        Ok((stem, units))
    });
    units.collect()
}

/// Tells a service which of two it is, and gives it the sockets that both are given.
pub(super) fn share(cell: &CellName, how: &StartStop, instance: Instance, lines: &mut Lines) {
    lines.set("Environment", format!("\"{INSTANCE}={}\"", instance.name()));
    let sockets = sockets(cell, how);
    if !sockets.is_empty() {
        let names: Vec<String> = sockets.keys().map(|stem| format!("{stem}.socket")).collect();
        lines.set("Sockets", names.join(" "));
        // The two share the flag: who is started later would otherwise make the earlier one wait in accept(2).
        lines.set("NonBlocking", "yes");
    }
}

fn listening(cell: &CellName, name: &SocketName, socket: &Socket, stem: &str) -> Result<Vec<u8>, Unwritable> {
    let mut lines = Lines(String::new());
    lines.section("Unit");
    lines.set("Description", format!("Socket {name} of {cell} of Fleetman"));
    lines.section("Socket");
    let listen = rest_of_line(&socket.listen.to_string());
    lines.set("ListenStream", listen.map_err(|problem| Unwritable::new(format!("socket {name}"), problem))?);
    match socket.listen {
        // A host may have its addresses only some time after it has booted.
        Listen::Tcp(_) => lines.set("FreeBind", "yes"),
        Listen::Unix(_) => {
            lines.set("SocketMode", socket.mode);
            lines.set("RemoveOnStop", "yes");
        }
    }
    lines.set("FileDescriptorName", name);
    lines.set("Backlog", BACKLOG);
    lines.set("Service", format!("{stem}.service"));
    // Each restart of a service under load counts, and past the limit systemd would close the socket.
    lines.set("TriggerLimitIntervalSec", 0);
    Ok(format!("{HEAD}{}", lines.0).into_bytes())
}

fn idle(cell: &CellName, name: &SocketName, stem: &str) -> Vec<u8> {
    let mut lines = Lines(String::new());
    lines.section("Unit");
    lines.set("Description", format!("Nobody takes connections of socket {name} of {cell} of Fleetman; they wait"));
    // While it is up its socket cannot be started.
    lines.set("BindsTo", format!("{stem}.socket"));
    lines.section("Service");
    lines.set("Type", "oneshot");
    lines.set("RemainAfterExit", "yes");
    // Nothing has to be there of what is executed.
    lines.set("ExecStart", "-/bin/true");
    format!("{HEAD}{}", lines.0).into_bytes()
}
