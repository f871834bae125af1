//! Why there are no settings.

use std::io;
use std::path::PathBuf;

use crate::model::sign::KeyTextError;
use crate::yaml::YamlError;

/// What is wrong with a config, named by what its owner must do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Write one, or say where it is.
    #[error("no config found: looked for {looked}")]
    Absent {
        /// Where it was looked for.
        looked: String,
    },
    /// Make it readable.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Correct it at this place.
    #[error("{0}")]
    Invalid(YamlError),
    /// Name another bucket.
    #[error("the config has no bucket {name:?}, only {known}")]
    NoSuchBucket {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Give the bucket a signing key: this config can only look.
    #[error(
        "bucket {bucket:?} has no signing_key_file in the config: it can be looked at, but nothing can be signed for it"
    )]
    NoSigningKey {
        /// The bucket's name.
        bucket: String,
    },
    /// Correct the key file.
    #[error("{} holds no key", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with its text.
        #[source]
        source: KeyTextError,
    },
    /// Write the secret into it.
    #[error("{} is empty: expected a secret", path.display())]
    EmptySecret {
        /// The file.
        path: PathBuf,
    },
    /// Set the variable for whoever runs this.
    #[error("the environment has no {name}, in which the config says that a secret is")]
    UnsetSecret {
        /// The variable.
        name: String,
    },
    /// Correct the settings of this receiver of alerts.
    #[cfg(feature = "controller")]
    #[error("alerts in the config cannot be sent")]
    Receiver(#[from] crate::controller::ReceiverError),
    /// Put the two in accord: what this key signed would be refused by its own signer.
    #[error("the key in {} is {key}, which is not among trusted_keys of bucket {bucket:?}", path.display())]
    KeyNotTrusted {
        /// The file.
        path: PathBuf,
        /// Its public half.
        key: String,
        /// The bucket's name.
        bucket: String,
    },
}
