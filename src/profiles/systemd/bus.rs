//! Speaking to systemd over D-Bus, as `org.freedesktop.systemd1(5)` has it. Every call has a deadline.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use zbus::connection::Builder;
use zbus::{Connection, DynamicType, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::Scope;
use crate::clock::SharedClock;

const NAME: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long systemd may take to answer. It reads all its units anew in one call.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Why systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// There is no way to it.
    #[error("systemd cannot be reached: {0}")]
    Unreachable(String),
    /// It has not answered.
    #[error("systemd has not answered {method} within {} s", ANSWERS_WITHIN.as_secs())]
    Silent {
        /// What it was asked.
        method: &'static str,
    },
    /// It answered with an error.
    #[error("systemd refuses {method}: {message} ({name})")]
    Refused {
        /// What it was asked.
        method: &'static str,
        /// The error's name.
        name: String,
        /// What it says.
        message: String,
    },
}

/// How a job of systemd ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// With this result; see `JobRemoved` in `org.freedesktop.systemd1(5)`.
    Result(String),
    /// It has not, within the time that it was given.
    Going,
}

/// The properties of a unit, by name.
pub(super) type Properties = HashMap<String, OwnedVariant>;

/// What tells that something of a unit has changed, and what.
pub(super) type Signals = SelectAll<BoxStream<'static, (String, Properties)>>;

/// The way to the manager of one scope; made when it is needed, and again when it is lost.
pub(super) struct Bus {
    scope: Scope,
    clock: SharedClock,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Bus {
    pub(super) fn new(scope: Scope, clock: SharedClock) -> Self {
        Self { scope, clock, connection: tokio::sync::Mutex::default() }
    }

    /// What systemd says of a unit, all at one moment. One that it does not know it looks for.
    pub(super) async fn unit(&self, unit: &str) -> Result<Properties, BusError> {
        // Without an interface it is those of all interfaces.
        let message = self.call("GetAll", &unit_path(unit), PROPERTIES, &("",)).await?;
        read(&message)
    }

    /// The folders in which systemd looks for units, the first wins.
    pub(super) async fn unit_folders(&self) -> Result<Vec<PathBuf>, BusError> {
        let message = self.call("Get", MANAGER, PROPERTIES, &(MANAGER_INTERFACE, "UnitPath")).await?;
        let value: OwnedVariant = read(&message)?;
        let folders = Vec::<String>::try_from(value).map_err(|error| BusError::Unreachable(error.to_string()))?;
        Ok(folders.into_iter().map(PathBuf::from).collect())
    }

    /// Lets systemd read all its units anew.
    pub(super) async fn reload(&self) -> Result<(), BusError> {
        self.manage("Reload", &()).await.map(drop)
    }

    /// Lets a unit start with the host, as its own text says.
    pub(super) async fn enable(&self, unit: &str) -> Result<bool, BusError> {
        type Changes = (bool, Vec<(String, String, String)>);
        let message = self.manage("EnableUnitFiles", &(&[unit][..], false, false)).await?;
        read::<Changes>(&message).map(|(has_install_section, _)| has_install_section)
    }

    /// Lets a unit start with `target`, whatever its own text says.
    pub(super) async fn enable_with(&self, unit: &str, target: &str) -> Result<(), BusError> {
        let arguments = (&[unit][..], target, "Wants", false, false);
        self.manage("AddDependencyUnitFiles", &arguments).await.map(drop)
    }

    /// Lets a unit start with nothing any more. One that is not there does not.
    ///
    /// Only one in each call: a unit that is missing makes a call fail for the others too, unless one of them changed.
    pub(super) async fn disable(&self, unit: &str) -> Result<(), BusError> {
        unless_unknown(self.manage("DisableUnitFiles", &([unit].as_slice(), false)).await)
    }

    /// Forgets that a unit failed, and how often it was started.
    pub(super) async fn reset_failed(&self, unit: &str) -> Result<(), BusError> {
        unless_unknown(self.manage("ResetFailedUnit", &(unit,)).await)
    }

    /// Removes what systemd keeps of a timer.
    pub(super) async fn clean(&self, unit: &str) -> Result<(), BusError> {
        unless_unknown(self.manage("CleanUnit", &(unit, &["state"][..])).await)
    }

    /// Has `unit` started, and waits for the end of that.
    pub(super) async fn start(&self, unit: &str, patience: Duration) -> Result<JobEnd, BusError> {
        self.job("StartUnit", unit, patience).await
    }

    /// Has `unit` restarted, or started, and waits for the end of that.
    pub(super) async fn restart(&self, unit: &str, patience: Duration) -> Result<JobEnd, BusError> {
        self.job("RestartUnit", unit, patience).await
    }

    /// Has `unit` reloaded as it says itself, and waits for the end of that.
    pub(super) async fn reload_unit(&self, unit: &str, patience: Duration) -> Result<JobEnd, BusError> {
        self.job("ReloadUnit", unit, patience).await
    }

    /// Has `unit` stopped, and waits for the end of that. One that systemd does not know is stopped.
    pub(super) async fn stop(&self, unit: &str, patience: Duration) -> Result<JobEnd, BusError> {
        match self.job("StopUnit", unit, patience).await {
            Err(error) if error.is_of_unknown_unit() => Ok(JobEnd::Result("done".to_owned())),
            end => end,
        }
    }

    async fn job(&self, method: &'static str, unit: &str, patience: Duration) -> Result<JobEnd, BusError> {
        let connection = self.connection().await?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface(MANAGER_INTERFACE)
            .member("JobRemoved")
            .path(MANAGER)
            .build()
            .map_err(unreachable)?;
        // Before the job is there, so that its end is not missed.
        let mut removed = self.stream(rule, &connection).await?;
        let job: OwnedObjectPath = read(&self.manage(method, &(unit, "replace")).await?)?;
        let ended = async {
            while let Some(message) = removed.next().await {
                let Ok(message) = message else { continue };
                let body = message.body();
                if let Ok((_, path, _, result)) = body.deserialize::<(u32, OwnedObjectPath, String, String)>()
                    && path == job
                {
                    return Ok(JobEnd::Result(result));
                }
            }
            Err(BusError::Unreachable("the connection was closed".to_owned()))
        };
        tokio::select! {
            end = ended => end,
            () = self.clock.sleep(patience) => Ok(JobEnd::Going),
        }
    }

    /// What tells of changes of `units` from now on; it ends when the connection does.
    pub(super) async fn signals(&self, units: &[&str]) -> Result<Signals, BusError> {
        type Changes = (String, Properties, Vec<String>);
        let connection = self.connection().await?;
        let mut signals = SelectAll::new();
        for unit in units {
            let rule = MatchRule::builder()
                .msg_type(zbus::message::Type::Signal)
                .interface(PROPERTIES)
                .member("PropertiesChanged")
                .path(unit_path(unit))
                .build()
                .map_err(unreachable)?;
            let unit = (*unit).to_owned();
            // Whatever it says, it says that something has changed.
            let changes = move |message: zbus::Result<Message>| {
                let changes = message.and_then(|message| message.body().deserialize_ignore_signature::<Changes>());
                (unit.clone(), changes.map(|(_, changes, _)| changes).unwrap_or_default())
            };
            signals.push(self.stream(rule, &connection).await?.map(changes).boxed());
        }
        Ok(signals)
    }

    async fn stream(&self, rule: MatchRule<'_>, connection: &Connection) -> Result<MessageStream, BusError> {
        let stream =
            async { MessageStream::for_match_rule(rule.into_owned(), connection, None).await.map_err(unreachable) };
        self.within("AddMatch", stream).await
    }

    async fn manage<B>(&self, method: &'static str, body: &B) -> Result<Message, BusError>
    where
        B: serde::Serialize + DynamicType,
    {
        self.call(method, MANAGER, MANAGER_INTERFACE, body).await
    }

    async fn call<B>(&self, method: &'static str, path: &str, interface: &str, body: &B) -> Result<Message, BusError>
    where
        B: serde::Serialize + DynamicType,
    {
        let connection = self.connection().await?;
        let answer = self.within(method, ask(&connection, method, path, interface, body)).await;
        if matches!(answer, Err(BusError::Unreachable(_) | BusError::Silent { .. })) {
            // Another one may do better.
            let mut known = self.connection.lock().await;
            if known.as_ref().is_some_and(|known| known.server_guid() == connection.server_guid()) {
                *known = None;
            }
        }
        answer
    }

    async fn connection(&self) -> Result<Connection, BusError> {
        // Who waits for another's attempt to connect waits no longer for it than for an answer.
        let connected = async {
            let mut known = self.connection.lock().await;
            if let Some(connection) = known.as_ref().filter(|connection| !connection.is_closed()) {
                return Ok(connection.clone());
            }
            let connection = self.connect().await?;
            Ok(known.insert(connection).clone())
        };
        self.within("Subscribe", connected).await
    }

    async fn connect(&self) -> Result<Connection, BusError> {
        let address = format!("unix:path={}", self.scope.bus().display());
        let connection = Builder::address(address.as_str()).build().await.map_err(unreachable)?;
        // systemd tells of changes only who asked for it.
        ask(&connection, "Subscribe", MANAGER, MANAGER_INTERFACE, &()).await?;
        Ok(connection)
    }

    async fn within<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        tokio::select! {
            done = work => done,
            () = self.clock.sleep(ANSWERS_WITHIN) => Err(BusError::Silent { method }),
        }
    }
}

impl BusError {
    /// Whether systemd said that it knows no such unit.
    fn is_of_unknown_unit(&self) -> bool {
        matches!(self, Self::Refused { name, .. } if name == "org.freedesktop.systemd1.NoSuchUnit")
    }
}

fn unless_unknown(answer: Result<Message, BusError>) -> Result<(), BusError> {
    match answer {
        Err(error) if !error.is_of_unknown_unit() => Err(error),
        _ => Ok(()),
    }
}

async fn ask<B>(
    connection: &Connection,
    method: &'static str,
    path: &str,
    interface: &str,
    body: &B,
) -> Result<Message, BusError>
where
    B: serde::Serialize + DynamicType,
{
    let refused = |name: String, message: String| BusError::Refused { method, name, message };
    connection.call_method(Some(NAME), path, Some(interface), method, body).await.map_err(|error| match error {
        zbus::Error::MethodError(name, message, _) => refused(name.to_string(), message.unwrap_or_default()),
        zbus::Error::FDO(error) => {
            let error: &dyn zbus::DBusError = &*error;
            refused(error.name().to_string(), error.description().unwrap_or_default().to_owned())
        }
        error => unreachable(error),
    })
}

fn read<T>(message: &Message) -> Result<T, BusError>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    message.body().deserialize_ignore_signature().map_err(unreachable)
}

fn unreachable(error: zbus::Error) -> BusError {
    BusError::Unreachable(error.to_string())
}

/// The object of a unit, as `sd_bus_path_encode(3)` writes its name.
fn unit_path(unit: &str) -> String {
    let mut path = format!("{MANAGER}/unit/");
    for byte in unit.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() => path.push(char::from(byte)),
            byte => path.push_str(&format!("_{byte:02x}")),
        }
    }
    path
}

impl Scope {
    /// The socket of the bus that its manager is on. systemd's own socket, which works without a bus, does not do: what
    /// comes from it names as its sender what is no unique name, and zbus takes it for no message.
    fn bus(self) -> PathBuf {
        match self {
            Self::System => "/run/dbus/system_bus_socket".into(),
            Self::User => user_runtime().join("bus"),
        }
    }
}

/// The folder of what runs for this user; see `pam_systemd(8)`.
pub(super) fn user_runtime() -> PathBuf {
    let told = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    told.unwrap_or_else(|| Path::new("/run/user").join(rustix::process::geteuid().as_raw().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_object_is_named_as_systemd_names_it() {
        assert_eq!(unit_path("fleetman-web.service"), "/org/freedesktop/systemd1/unit/fleetman_2dweb_2eservice");
    }
}
