//! What can go wrong with a change to the fleet, named by what the caller must do about it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ulid::Ulid;
use uuid::Uuid;

use super::spool::SpoolError;
use crate::model::document::DocumentError;
use crate::model::order::Addressee;
use crate::model::sign::{SignError, Verified};
use crate::model::trigger::Trigger;
use crate::model::{
    CellId, CellName, Code, DeploymentName, Epoch, Floor, ManifestName, Sha256Digest, UserName, VersionName,
};
use crate::recipe::RecipeError;
use crate::recipe::render::RenderError;
use crate::store::{ErrorKind, StoreError};

/// A trigger, for messages: who asked for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its place.
    pub at: Floor,
    /// What it asks for.
    pub action: String,
    /// Which version, if one.
    pub version: Option<VersionName>,
    /// Who issued it.
    pub by: UserName,
    /// When.
    pub issued_at: DateTime<Utc>,
}

impl From<&Verified<Trigger>> for Claim {
    fn from(trigger: &Verified<Trigger>) -> Self {
        Self {
            at: Floor::new(trigger.epoch(), trigger.generation),
            action: trigger.action.name().to_owned(),
            version: trigger.action.target().map(|target| target.version.clone()),
            by: trigger.issued_by.clone(),
            issued_at: trigger.issued_at,
        }
    }
}

impl Claim {
    /// The version that a claim wants, out of the claim's own text: the audit has only that.
    #[must_use]
    pub fn version_in(text: &str) -> Option<VersionName> {
        let (_, rest) = text.strip_prefix("generation ")?.split_once("(deploy ")?;
        VersionName::new(rest.split_once(')')?.0).ok()
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} ({}", self.at, self.action)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        write!(f, ") by {} at {}", self.by, self.issued_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    }
}

/// Why a change to the fleet did not happen, or a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Another publish of the cell came first. Nothing was published.
    #[error("{cell}: lost to {winner}; nothing was published, look at the plan again and repeat")]
    Lost {
        /// The cell.
        cell: CellId,
        /// What was there first.
        winner: Box<Claim>,
    },
    /// It counts, but where agents look it is not yet written. Repeat the command, which finishes it.
    #[error("{cell}: generation {at} is claimed and counts, but is not copied yet; repeat the command to finish it")]
    Unfinished {
        /// The cell.
        cell: CellId,
        /// The trigger.
        at: Floor,
        /// What went wrong.
        #[source]
        source: Box<ControllerError>,
    },
    /// The cell is not as the caller expects it to be.
    #[error("{cell}: expected {expected}, found {found}; look at the plan again")]
    Guard {
        /// The cell.
        cell: CellId,
        /// What `--if-generation` or `--expect` says.
        expected: String,
        /// What is so.
        found: String,
    },
    /// What was to be replaced is no longer what the caller saw, or is there already.
    #[error("{what} was changed meanwhile; read it again before changing it")]
    Changed {
        /// The object.
        what: String,
    },
    /// The inputs of a version kept changing while it was being made.
    #[error(
        "{cell}: manifest, cell or overrides kept changing while the version was being made; repeat when they rest"
    )]
    InputsMoving {
        /// The cell.
        cell: CellId,
    },
    /// The name is taken by something else. Other content needs another name.
    #[error("{what} exists with other content ({differs}); choose another name")]
    Exists {
        /// The version or deployment.
        what: String,
        /// In what they differ.
        differs: String,
    },
    /// Somebody still needs it.
    #[error("{what} is in use: {by}")]
    InUse {
        /// What was to be deleted or changed.
        what: String,
        /// Who needs it.
        by: String,
    },
    /// More would be pruned than the caller allows.
    #[error(
        "{going} of {all} objects would be pruned, more than the {most} or {most_percent} % that are allowed; nothing was written"
    )]
    TooMuchPruned {
        /// How many would go.
        going: usize,
        /// Of how many.
        all: usize,
        /// How many may.
        most: usize,
        /// Which part may, in percent.
        most_percent: u8,
    },
    /// The version's deletion is under way.
    #[error("{cell}: version {version} is being deleted; its name is free after {free_after}", free_after = free_after.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))]
    Deleting {
        /// The cell.
        cell: CellId,
        /// The version.
        version: VersionName,
        /// When the deletion may be finished.
        free_after: DateTime<Utc>,
    },
    /// Nothing is published to a paused cell.
    #[error("{cell} is paused ({reason}); `fleetman resume {cell}` ends that")]
    Paused {
        /// The cell.
        cell: CellId,
        /// Why, in the words of whoever paused it.
        reason: String,
    },
    /// Another controller is writing the cell's node.
    #[error("{cell}: {holder} since {since}; gave up after {waited:?}", since = since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))]
    Busy {
        /// The cell that was to be written.
        cell: CellId,
        /// The other controller and the cell that it writes, in words.
        holder: String,
        /// Since when it says so.
        since: DateTime<Utc>,
        /// How long was waited.
        waited: Duration,
    },
    /// There is no such thing.
    #[error("{what}: {help}")]
    NotFound {
        /// What was looked for.
        what: String,
        /// What to do.
        help: String,
    },
    /// The YAML makes no sense; each error has its place.
    #[error("{0}")]
    Recipe(RecipeError),
    /// A template of the version cannot be rendered.
    #[error(transparent)]
    Template(#[from] RenderError),
    /// What was asked for makes no sense.
    #[error("{what}: {problem}")]
    Invalid {
        /// What it is about.
        what: String,
        /// What is wrong, and how to mend it.
        problem: String,
    },
    /// Cells of a node would wait for each other.
    #[error(
        "{cell}: the cells of {} would depend on each other in a circle: {}; leave one of these out of `after` or \
         `requires`",
        cell.node,
        way.join(" → ")
    )]
    Circle {
        /// The cell that would close it.
        cell: CellId,
        /// The names on the way from that cell back to it.
        way: Vec<String>,
    },
    /// A local folder holds what a release cannot.
    #[error("{} cannot be uploaded:\n  {}", folder.display(), problems.join("\n  "))]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Everything that is wrong, with its path and what to do about it.
        problems: Vec<String>,
    },
    /// What was sent cannot become a release.
    #[error("the files cannot be uploaded:\n  {}", problems.join("\n  "))]
    Files {
        /// Everything that is wrong, with its path and what to do about it.
        problems: Vec<String>,
    },
    /// What was sent could not be kept until a release is made of it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The bucket belongs to another fleet.
    #[error("the bucket belongs to fleet {found}, this config is of fleet {expected}; correct `fleet` or the bucket")]
    ForeignFleet {
        /// Whose it is.
        found: Uuid,
        /// What the config says.
        expected: Uuid,
    },
    /// A version in the bucket is not the one that was published, or not what its inputs give.
    #[error(
        "{what} in the bucket is not the one that was published: expected manifest {expected}, found {found}; nothing was signed"
    )]
    VersionTampered {
        /// The cell's version.
        what: String,
        /// The digest of its manifest by verified history, or by what was computed.
        expected: Sha256Digest,
        /// What is in the bucket.
        found: Sha256Digest,
    },
    /// A version lacks files.
    #[error("{cell}: version {version} is incomplete: {missing}; publish it under another name")]
    Incomplete {
        /// The cell.
        cell: CellId,
        /// The version.
        version: VersionName,
        /// What is missing.
        missing: String,
    },
    /// A document carries no signature that is believed, or is about something else.
    #[error("{key} is not believed{problem}")]
    Untrusted {
        /// The object.
        key: String,
        /// What is wrong with it, if its signature is good; begins with a colon.
        problem: String,
        /// What is wrong with its signature.
        #[source]
        source: Option<Box<SignError>>,
    },
    /// No release was named, and which is the newest cannot be told.
    #[error(
        "manifest {manifest}: which release is the newest cannot be told, because {name} is not believed; choose one by \
         name (`--deployment <name>`), or delete that one (`fleetman delete deployment {manifest} {name}`)"
    )]
    NewestUnknown {
        /// The manifest.
        manifest: ManifestName,
        /// The release that is not believed.
        name: DeploymentName,
        /// Why not.
        #[source]
        source: Box<ControllerError>,
    },
    /// A document in the bucket cannot be read.
    #[error("{key} cannot be read")]
    Unreadable {
        /// The object.
        key: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// A key of a higher epoch has signed for this cell: what this controller signs would be ignored.
    #[error(
        "{cell}: this controller's key is of epoch {ours}, but a key of epoch {theirs} signed before; use the newer key"
    )]
    Outranked {
        /// The cell.
        cell: CellId,
        /// Our epoch.
        ours: Epoch,
        /// The epoch of the newest trigger.
        theirs: Epoch,
    },
    /// No more triggers fit.
    #[error("{cell}: no generation is left in epoch {epoch}; sign with a key of a higher epoch")]
    Exhausted {
        /// The cell.
        cell: CellId,
        /// The epoch.
        epoch: Epoch,
    },
    /// The node did not get there in time. It goes on trying.
    #[error("{cell}: not there yet after {waited:?} ({last}); the node goes on, `fleetman status {cell}` shows it")]
    TimedOut {
        /// The cell.
        cell: CellId,
        /// How long was waited.
        waited: Duration,
        /// What the node said last.
        last: String,
    },
    /// The node has not said that it took an order. It takes it when it looks again.
    #[error("{to}: the node has not taken order {order} after {waited:?}; it does when it looks again")]
    Unconfirmed {
        /// Whom the order is about.
        to: Addressee,
        /// The order.
        order: Ulid,
        /// How long was waited.
        waited: Duration,
    },
    /// The node does not tell what a cell's programs write, and says so.
    #[error("{cell}: its node does not show the log: {message}")]
    LogsRefused {
        /// The cell.
        cell: CellId,
        /// Why, as the node names it.
        code: Code,
        /// Why, in the node's words.
        message: String,
    },
    /// The node says nothing of what a cell's programs write, or no more.
    #[error("{cell}: nothing came from its node for {waited:?}: {why}", waited = Duration::from_secs(waited.as_secs()))]
    NoLogs {
        /// The cell.
        cell: CellId,
        /// How long was waited.
        waited: Duration,
        /// Why that may be.
        why: String,
    },
    /// The bucket did not do what it was asked.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// A local file or folder cannot be used.
    #[error("{doing} {}", path.display())]
    Local {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A document could not be signed or written.
    #[error("signing for {what}")]
    Sign {
        /// What it is about.
        what: String,
        /// Why not.
        #[source]
        source: SignError,
    },
    /// The operating system has no randomness.
    #[error("asking the system for randomness")]
    Entropy(#[source] std::io::Error),
}

impl ControllerError {
    /// What the caller must do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.class().1
    }

    /// A word for this failure that never changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.class().0
    }

    fn class(&self) -> (&'static str, ErrorKind) {
        match self {
            Self::Lost { .. } => ("lost", ErrorKind::Conflict),
            Self::Unfinished { source, .. } => ("unfinished", source.kind()),
            Self::Guard { .. } => ("guard", ErrorKind::Conflict),
            Self::Changed { .. } => ("changed", ErrorKind::Conflict),
            Self::InputsMoving { .. } => ("inputs_moving", ErrorKind::Conflict),
            Self::Exists { .. } => ("exists", ErrorKind::Conflict),
            Self::InUse { .. } => ("in_use", ErrorKind::Conflict),
            Self::TooMuchPruned { .. } => ("too_much_pruned", ErrorKind::Conflict),
            Self::Deleting { .. } => ("deleting", ErrorKind::Conflict),
            Self::Paused { .. } => ("paused", ErrorKind::Conflict),
            Self::Busy { .. } => ("busy", ErrorKind::TimedOut),
            Self::NotFound { .. } => ("not_found", ErrorKind::NotFound),
            Self::Recipe(_) => ("invalid_yaml", ErrorKind::Invalid),
            Self::Template(_) => ("invalid_template", ErrorKind::Invalid),
            Self::Invalid { .. } | Self::Circle { .. } => ("invalid", ErrorKind::Invalid),
            Self::Folder { .. } => ("invalid_folder", ErrorKind::Invalid),
            Self::Files { .. } => ("invalid_files", ErrorKind::Invalid),
            Self::Spool(SpoolError::TooLarge { .. }) => ("upload_too_large", ErrorKind::Invalid),
            // Come back later: they pass.
            Self::Spool(SpoolError::NoRoom { .. }) => ("no_room", ErrorKind::Unreachable),
            Self::Spool(SpoolError::Busy) => ("uploads_busy", ErrorKind::Unreachable),
            Self::Spool(SpoolError::Local { .. }) => ("local", ErrorKind::Internal),
            Self::ForeignFleet { .. } => ("foreign_fleet", ErrorKind::Conflict),
            Self::VersionTampered { .. } => ("version_tampered", ErrorKind::Tampered),
            Self::Incomplete { .. } => ("version_incomplete", ErrorKind::Conflict),
            Self::Untrusted { .. } | Self::NewestUnknown { .. } => ("untrusted", ErrorKind::Tampered),
            Self::Unreadable { .. } => ("unreadable", ErrorKind::Tampered),
            Self::Outranked { .. } => ("outranked", ErrorKind::Denied),
            Self::Exhausted { .. } => ("exhausted", ErrorKind::Denied),
            Self::TimedOut { .. } | Self::Unconfirmed { .. } => ("timed_out", ErrorKind::TimedOut),
            Self::LogsRefused { code, .. } => (code.as_str(), refusal(*code)),
            Self::NoLogs { .. } => ("no_answer", ErrorKind::TimedOut),
            Self::Store(error) => (error.code(), error.error_kind()),
            Self::Local { .. } => ("local", ErrorKind::Invalid),
            Self::Sign { .. } => ("sign", ErrorKind::Internal),
            Self::Entropy(_) => ("entropy", ErrorKind::Internal),
        }
    }

    /// Somebody or something else was first: who asked has to look at both sides, and decide again.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Guard { .. } | Self::Changed { .. } | Self::InputsMoving { .. })
    }

    /// The same for somebody who sees only what `sees` accepts: other cells are not named.
    #[must_use]
    pub fn told_to(self, sees: impl Fn(&CellId) -> bool) -> Self {
        let Self::Circle { cell, mut way } = self else { return self };
        for name in &mut way {
            let is_seen = CellName::new(name.as_str()).is_ok_and(|name| sees(&CellId::new(cell.node.clone(), name)));
            if !is_seen {
                "a cell that you may not see".clone_into(name);
            }
        }
        Self::Circle { cell, way }
    }

    /// What the bucket said, if that is what went wrong.
    #[must_use]
    pub fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }

    /// The bucket does not answer at present.
    pub(super) fn is_outage(&self) -> bool {
        self.of_store().is_some_and(StoreError::is_transient)
    }

    /// The document is there, but it is too large or not what its kind says.
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable { .. }) || matches!(self.of_store(), Some(StoreError::TooLarge { .. }))
    }

    /// The document is there, but it cannot be read or is not believed.
    pub(super) fn is_of_document(&self) -> bool {
        matches!(self, Self::Untrusted { .. }) || self.is_unreadable()
    }

    pub(super) fn version_tampered(
        cell: &CellId,
        version: &VersionName,
        expected: Sha256Digest,
        found: Sha256Digest,
    ) -> Self {
        Self::VersionTampered { what: format!("{cell}: version {version}"), expected, found }
    }

    pub(super) fn not_found(what: impl fmt::Display, help: impl Into<String>) -> Self {
        Self::NotFound { what: what.to_string(), help: help.into() }
    }

    pub(super) fn invalid(what: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::Invalid { what: what.to_string(), problem: problem.to_string() }
    }
}

/// What whoever asked must do about what a node refuses.
fn refusal(code: Code) -> ErrorKind {
    match code {
        Code::NoLog => ErrorKind::NotFound,
        Code::LogsOff | Code::SigInvalid => ErrorKind::Denied,
        Code::OrderExpired => ErrorKind::TimedOut,
        _ => ErrorKind::Conflict,
    }
}

impl From<StoreError> for ControllerError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<RecipeError> for ControllerError {
    fn from(error: RecipeError) -> Self {
        Self::Recipe(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_out_of_a_claims_own_text() {
        let claim = |action: &str, version: Option<&str>| Claim {
            at: Floor::new(Epoch::FIRST, crate::model::Generation::new(8).unwrap()),
            action: action.to_owned(),
            version: version.map(|name| VersionName::new(name).unwrap()),
            by: UserName::new("bob").unwrap(),
            issued_at: DateTime::UNIX_EPOCH,
        };
        let read = |claim: Claim| Claim::version_in(&claim.to_string()).map(|name| name.to_string());
        assert_eq!(read(claim("deploy", Some("1.4.3"))).as_deref(), Some("1.4.3"));
        assert_eq!(read(claim("stop", None)), None);
        for other in ["", "generation 8 (deploy ../x) by bob", "(deploy 1)", "sha256"] {
            assert_eq!(Claim::version_in(other), None, "{other}");
        }
    }

    #[test]
    fn who_won_is_named_in_full() {
        let winner = Claim {
            at: Floor::new(Epoch::FIRST, crate::model::Generation::new(8).unwrap()),
            action: "deploy".to_owned(),
            version: Some(VersionName::new("1.4.3").unwrap()),
            by: UserName::new("bob").unwrap(),
            issued_at: DateTime::UNIX_EPOCH,
        };
        let lost = ControllerError::Lost { cell: "n1/web".parse().unwrap(), winner: Box::new(winner) };
        let text = lost.to_string();
        for part in ["n1/web", "generation 8", "deploy 1.4.3", "bob", "1970-01-01T00:00:00"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!((lost.code(), lost.kind().exit_code()), ("lost", 3));
    }
}
