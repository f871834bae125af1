//! Why a command failed: what people read, what programs compare, and the exit code.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;

use super::exit::Exit;
use crate::config::ConfigError;
use crate::store::{StoreError, in_full};
use crate::yaml::YamlError;

/// A failure of a command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the command ends.
    pub(crate) exit: Exit,
    /// What programs compare.
    code: String,
    /// What people read.
    message: String,
    /// How to mend it.
    help: Option<String>,
    /// The message with more lines of detail, for people.
    detail: Option<String>,
}

/// What `-o json` writes on standard error.
#[derive(Debug, Serialize)]
struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

/// The failure within a document.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody<'a> {
    pub(crate) code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), help: None, detail: None }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// A local file cannot be used; `doing` ends in its path.
    pub(crate) fn local(doing: impl Into<String>, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Internal,
        };
        Self::new(exit, "local", format!("{}: {error}", doing.into()))
    }

    /// The same failure with a hint how to mend it.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// What people read, without the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// How to mend it.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The failure within a document.
    pub(crate) fn body(&self) -> ErrorBody<'_> {
        ErrorBody { code: &self.code, message: &self.message, help: self.help.as_deref() }
    }

    /// The failure as people read it.
    pub(crate) fn for_people(&self) -> String {
        let mut text = self.detail.clone().unwrap_or_else(|| format!("error: {}", self.message));
        if let Some(help) = &self.help {
            // Writing into a String cannot fail.
            let _ = write!(text, "\n  help: {help}");
        }
        text
    }

    /// The failure as programs read it, on one line.
    pub(crate) fn for_programs(&self) -> String {
        serde_json::to_string(&ErrorDocument { error: self.body() }).unwrap_or_default()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let message = in_full(&error);
        let (code, help) = match &error {
            ConfigError::Absent { .. } => {
                ("config_absent", Some("`fleetman init` writes a first config; --config names one"))
            }
            ConfigError::Unreadable { .. } => ("config_unreadable", None),
            ConfigError::Invalid(_) => ("config_invalid", None),
            ConfigError::NoSuchBucket { .. } => {
                ("config_no_such_bucket", Some("--bucket (or FLEETMAN_BUCKET) names it"))
            }
            ConfigError::NoSigningKey { .. } => {
                ("config_no_signing_key", Some("set signing_key_file; `fleetman keygen` makes a key"))
            }
            ConfigError::KeyFile { .. } => ("config_key_invalid", None),
            ConfigError::EmptySecret { .. } | ConfigError::UnsetSecret { .. } => ("config_secret_empty", None),
            #[cfg(feature = "controller")]
            ConfigError::Receiver(_) => ("config_receiver_invalid", None),
            ConfigError::KeyNotTrusted { .. } => {
                ("config_key_not_trusted", Some("add it to trusted_keys, with its epoch, here and on the nodes"))
            }
        };
        let failure = Self::new(Exit::Usage, code, message);
        match (error, help) {
            (ConfigError::Invalid(error), _) => failure.at(&error),
            (_, Some(help)) => failure.help(help),
            (_, None) => failure,
        }
    }
}

impl Failure {
    /// Points at a place in YAML.
    fn at(self, error: &YamlError) -> Self {
        let detail = error.snippet();
        Self { detail: Some(detail), ..self }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.error_kind().into(), error.code(), in_full(&error))
    }
}

#[cfg(feature = "controller")]
impl From<crate::access::oidc::OidcError> for Failure {
    fn from(error: crate::access::oidc::OidcError) -> Self {
        Self::new(Exit::Usage, "oidc_invalid", in_full(&error))
            .help("oidc in the config names the service and its files")
    }
}

#[cfg(feature = "controller")]
impl From<crate::access::StateError> for Failure {
    fn from(error: crate::access::StateError) -> Self {
        let help = "`state_folder` of the config is where a controller keeps what it must not forget";
        Self::new(Exit::Internal, "state", in_full(&error)).help(help)
    }
}

#[cfg(feature = "controller")]
impl From<crate::controller::ControllerError> for Failure {
    fn from(error: crate::controller::ControllerError) -> Self {
        use crate::controller::ControllerError;
        match error {
            ControllerError::Recipe(errors) => Self::recipes(&[errors]),
            ControllerError::Store(error) => (*error).into(),
            error => Self::new(error.kind().into(), error.code(), in_full(&error)),
        }
    }
}

#[cfg(feature = "controller")]
impl From<crate::web::listener::ListenError> for Failure {
    fn from(error: crate::web::listener::ListenError) -> Self {
        use crate::web::listener::ListenError;
        let message = in_full(&error);
        match error {
            ListenError::Open { .. } => Self::usage(message).help(
                "set tls in the config; or listen on 127.0.0.1; or, behind proxies that speak https, set \
                 trusted_proxies and public_url; or say --insecure-http",
            ),
            ListenError::Taken { .. } => Self::new(Exit::Conflict, "port_taken", message)
                .help("stop what listens there, or choose another address"),
            ListenError::Address { source, .. } | ListenError::Socket(source) => {
                Self { message, ..Self::local("", &source) }
            }
            ListenError::Certificate(_) => {
                Self::new(Exit::Usage, "certificate_invalid", message).help("tls in the config names the files")
            }
        }
    }
}

#[cfg(feature = "controller")]
impl From<crate::controller::MomentError> for Failure {
    fn from(error: crate::controller::MomentError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(feature = "controller")]
impl Failure {
    /// Everything that is wrong with one or more files that people wrote.
    pub(crate) fn recipes(errors: &[crate::recipe::RecipeError]) -> Self {
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let places = errors.iter().flat_map(|error| error.errors()).map(YamlError::snippet).collect::<Vec<_>>();
        let failure = Self::new(Exit::Usage, "invalid_yaml", messages.join("\n"));
        Self { detail: Some(places.join("\n\n")), ..failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_programs_read_the_same_failure() {
        let failure = Failure::usage("no cell named").help("name one as <node>/<cell>");
        assert_eq!(failure.for_people(), "error: no cell named\n  help: name one as <node>/<cell>");
        assert_eq!(
            failure.for_programs(),
            r#"{"error":{"code":"usage","message":"no cell named","help":"name one as <node>/<cell>"}}"#
        );
    }
}
