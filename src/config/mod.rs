//! The config files: what people write, checked once, as settings.
//!
//! A file is looked for where `--config` or the environment says, then in the current folder, then in
//! `/etc/fleetman/`. Unknown fields are refused with line, column and the name that was probably meant. Relative paths
//! are taken from the folder of the file. No error and no log line quotes the file: it may hold keys.

mod access;
#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "controller")]
mod alerts;
#[cfg(feature = "controller")]
mod controller;
mod error;
mod file;
#[cfg(feature = "controller")]
mod oidc;
#[cfg(feature = "controller")]
mod people;
#[cfg(feature = "controller")]
mod serving;
#[cfg(feature = "controller")]
mod sources;
mod user;
#[cfg(feature = "agent")]
mod windows;

#[cfg(feature = "agent")]
pub use agent::{AgentConfig, MetricsSettings};
#[cfg(feature = "controller")]
pub use alerts::{AlertsConfig, ReceiverConfig};
#[cfg(feature = "controller")]
pub use controller::{ControllerConfig, FleetBucket, Keys};
pub use error::ConfigError;
#[cfg(feature = "controller")]
pub(crate) use file::open_warning;
pub use file::{AGENT_FILE, CONTROLLER_FILE, ConfigFile, find};
#[cfg(feature = "controller")]
pub use oidc::{GroupRole, OidcSettings};
#[cfg(feature = "controller")]
pub use people::{ConfigUser, SessionSettings};
#[cfg(feature = "controller")]
pub use serving::{Origin, Serving, TlsFiles};
#[cfg(feature = "controller")]
pub use sources::{Setting, Source, settings};
pub use user::state_home;

#[cfg(test)]
mod tests;
