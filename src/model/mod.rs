//! The words of the system: names, digests, paths, keys, documents and signatures.
//!
//! Nothing here reads a file, asks for the time or waits. Every name and path has one constructor, which serde goes
//! through as well, so a value of these types is valid wherever it came from.

/// A type with `Display` and `FromStr` stands in documents as its text.
macro_rules! stands_as_text {
    ($name:ty, $error:ty) => {
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

pub mod alert;
pub mod answer;
pub mod audit;
pub mod cell_id;
pub mod code;
pub mod content;
#[cfg(feature = "controller")]
pub(crate) mod csv;
pub mod dependencies;
pub mod deployment;
pub mod digest;
pub mod document;
pub mod drift;
pub mod effect;
pub mod fleet;
pub mod generation;
pub mod health;
pub mod heartbeat;
pub mod hook;
pub mod index;
pub mod keys;
pub mod manifest;
pub mod name;
pub mod order;
pub mod outcome;
pub mod path;
pub mod pattern;
pub mod process;
pub mod rights;
pub mod run_spec;
pub mod sign;
pub mod strategy;
pub mod systemd;
pub(crate) mod text;
pub mod trigger;
pub mod users;
pub mod window;

pub use cell_id::CellId;
pub use code::Code;
pub use digest::{Content16, Sha256Digest};
pub use generation::{Epoch, Floor, Generation};
pub use keys::{ObjectKey, Prefix};
pub use name::{
    CellName, CheckName, CredentialName, DeploymentName, ManifestName, NodeName, ProcessName, SocketName, UnitName,
    UserName, VersionName,
};
pub use path::{FilePath, ObjectPath};
pub use pattern::PathPattern;
