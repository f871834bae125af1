//! One of two versions of a cell that run at once.

use serde::{Deserialize, Serialize};

use super::OnNode;
use crate::model::process::ProcessSpec;
use crate::model::strategy::{self, Socket, StartStop};
use crate::supervise::{EnvValue, Listen, ProcessDef, ServiceDef, Socket as Given};

/// The variable by which a program knows which of the two it is.
pub const INSTANCE: &str = "FLEETMAN_INSTANCE";

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instance {
    /// The one whose processes have the names that the manifest gives them.
    A,
    /// The other one.
    B,
}

impl Instance {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// As programs are told of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The one that is there beside it.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The one that a process belongs to; none if it was started by another strategy.
    #[must_use]
    pub fn of(process: &ProcessDef) -> Option<Self> {
        let Some(EnvValue::Text(name)) = process.env.get(INSTANCE) else { return None };
        Self::BOTH.into_iter().find(|instance| instance.name() == name)
    }
}

/// An instance, ready to be started.
pub(crate) fn service(spec: &ProcessSpec, how: &StartStop, on_node: &OnNode<'_>, instance: Instance) -> ServiceDef {
    let plain = super::service::service(spec, on_node);
    let named = |name: &String| match (instance, name.parse()) {
        (Instance::B, Ok(name)) => strategy::second(&name),
        _ => name.clone(),
    };
    let processes = plain.processes.iter().map(|(name, def)| {
        let mut def = def.clone();
        def.env.insert(INSTANCE.to_owned(), instance.name().into());
        def.after = def.after.iter().map(named).collect();
        let own =
            how.sockets.iter().filter(|(_, socket)| how.taker(spec, socket).is_some_and(|it| it.as_str() == name));
        def.sockets = own.map(|(name, socket)| Given { name: name.to_string(), listen: listen(socket) }).collect();
        (named(name), def)
    });
    ServiceDef { processes: processes.collect(), ..plain }
}

fn listen(socket: &Socket) -> Listen {
    match &socket.listen {
        strategy::Listen::Tcp(address) => Listen::Tcp(*address),
        strategy::Listen::Unix(path) => Listen::Unix { path: path.into(), mode: socket.mode.bits() },
    }
}
