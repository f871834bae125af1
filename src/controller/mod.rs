//! Publishing, and everything else that writes what the fleet is to be.
//!
//! A [`Controller`] is a reader and writer of objects: nothing of the fleet is kept in it, any number of them may
//! work on one bucket, and each may be killed between any two writes. What then lies in the bucket is always one of:
//!
//! - files that no commit document names, which the same command uses again and [`Controller::gc`] sweeps;
//! - a version without a history entry, which the same command publishes;
//! - a history entry whose copies lag, which the same command, or anybody else, finishes.
//!
//! Every change of a cell goes the same way: read its head (`head.rs`), make and check the version (`snapshot.rs`,
//! `version.rs`), claim the next generation (`claim.rs`), copy it to where agents look (`copies.rs`).

mod aftermath;
mod alerts;
mod apply;
mod attempt_log;
mod audit;
mod audit_ends;
mod audit_log;
mod browse;
mod bulk;
mod bundle;
mod capability;
mod checkup;
mod claim;
mod compare;
mod copies;
mod definitions;
mod delete;
mod delivery;
mod dependencies;
mod diff;
pub mod doctor;
mod documents;
mod error;
mod events;
mod export;
mod facts;
mod fleet;
mod follow;
mod forecast;
mod fsck;
mod gc;
mod head;
mod history;
mod holds;
mod inputs;
mod instant;
mod lists;
mod logs;
mod names;
mod orders;
mod overrides;
mod past;
mod plan;
mod preview;
mod publish;
mod references;
mod releases;
mod retire;
mod rollback;
mod search;
mod secret;
mod seen;
mod signing;
mod snapshot;
mod spool;
mod stop;
mod texts;
mod timeline;
mod turns;
mod upload;
mod usage;
mod users;
mod version;
mod version_facts;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub use aftermath::LastLines;
pub use alerts::{
    AlertBoard, AlertFilter, AlertKeeper, AlertRule, AlertRules, AlertSettings, Channel, Fate, HeldAlerts, KnownAlerts,
    LONGEST_SILENCE, Letter, MailSettings, MailTls, Observation, Receiver, ReceiverError, ReceiverRules,
    ReceiverTrials, Trial, in_short,
};
pub use apply::{
    ApplyLine, ApplyPlan, ApplyRequest, ApplyStep, ApplySummary, ApplyTarget, Collision, LocalFile, Prune, StepHow,
    Stepped,
};
pub use attempt_log::{LogPiece, LogPlace};
pub use audit::key as audit_key;
pub use audit_log::{
    Act, ActResult, AuditCache, AuditFault, AuditFilter, AuditLine, AuditPage, AuditPlace, AuditProof, AuditRow,
    ExportFormat, FaultKind, PlaceError, ResultFilter, day_after,
};
pub use browse::{
    About, BrowsePage, Content, FolderRow, ObjectRow, Preview, Reference, References, TextKind, about_folder,
    about_key, rule_in_words,
};
pub use bulk::{BulkAction, BulkCell, BulkChange, BulkOutlook, BulkStep};
pub use bundle::{BundleFile, BundlePlan, BundleSelector, BundleToSave, BundledVersion, Loaded, Saved};
pub use checkup::Checkup;
pub use claim::{Published, PublishedHow, Warning};
pub use compare::{Compared, Comparison, Made, Proof, Revision, VersionDetail};
pub use definitions::{DefinitionChange, StandIn};
pub use delete::{Deletion, DeletionOutlook};
pub use delivery::{Delivery, DeliveryPlan, FileFate};
pub use dependencies::Dependent;
pub use diff::{Changes, FieldChange, FileChange, FileKind, FileSide, TextDiff};
pub use documents::{Applied, AppliedHow, Known, Text};
pub use error::{Claim, ControllerError};
pub use events::{Event, EventKind, EventLog, EventWatch, Mood};
pub use facts::ObjectFacts;
#[cfg(test)]
pub(crate) use fleet::sample as fleet_sample;
pub use fleet::{
    Attention, AttentionLimits, CellView, Concern, Counts, Desired, FleetReader, FleetView, Health, Liveness,
    LivenessLimits, Looked, NodeView, Severity, Sight, Subject, Sync,
};
pub use follow::{Followed, FollowedHow};
pub use forecast::{Forecast, Gate, HookForecast, HookRun, ProcessFate, ProcessForecast, Wait, WaitKind};
pub use fsck::{Finding, FsckOptions, findings_name};
pub use gc::{GcReport, MarkedVersion};
pub use history::{HistoryEntry, OutcomeEntry};
pub use holds::{HoldOrder, HoldStanding};
pub use instant::{
    Answer, CellAt, Chronicle, InstantChange, Moment, MomentError, Ran, Revert, RevertOptions, RevertPlan, RevertStep,
    Scope, Told, Wish, Wished,
};
pub use lists::{DeploymentView, ManifestView, VersionPage, VersionState, VersionView};
pub use logs::{AskedLogs, LogNews, LogReader};
pub use orders::Ordered;
pub use overrides::OverrideView;
pub use past::{Attempts, LogFacts, Past, PastAttempt, PastTrigger};
pub use plan::{Plan, PlannedVersion};
pub use preview::{FileFacts, FilePlace, FilePreview, PreviewBody};
pub use publish::{Guard, PublishRequest};
pub use releases::{KnownVersion, Release, ReleaseFacts, ReleaseName, ReleasePage, ReleaseReader, ReleaseState};
pub use retire::{NodeCell, NodeState};
pub use rollback::RollbackRequest;
pub use search::Found;
pub use signing::SigningKeys;
pub use spool::{Spool, SpoolError, SpoolFile, SpoolFolder, UploadLimits};
pub use stop::StopRequest;
pub use timeline::{Timeline, TimelineVersion};
pub use upload::{Progress, UploadOptions, Uploaded};
pub use usage::{Amount, FolderUsage, Usage, UsageBoard, UsageState};
pub use users::{UsersChange, UsersFound, UsersObject, UsersSeen, users_floor};
pub use version_facts::VersionFacts;

use self::audit_ends::LooseEnds;
use self::seen::Seen;
use self::turns::Presence;
use self::version_facts::SaidFacts;
use crate::clock::SharedClock;
use crate::entropy;
use crate::model::fleet::Fleet;
use crate::model::sign::{Signer, Trust};
use crate::model::{Epoch, ObjectKey, UserName, document};
use crate::store::{Memory, Store};

/// Who acts, and from where: what the audit says of every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user: UserName,
    /// `cli`, `portal`, `api`.
    pub source: String,
    /// The machine.
    pub host: String,
    /// Why, for changes that are given no reason of their own.
    pub reason: Option<String>,
}

/// What a controller works with.
#[derive(Debug, Clone)]
pub struct ControllerSettings {
    /// The bucket. Where its [`Conditions`](crate::model::fleet::Conditions) are unknown, `store.json` is asked, and without
    /// one the store is raced before the first write.
    pub store: Store,
    /// The fleet that the config names. What the bucket says of itself is only compared with it.
    pub fleet: Uuid,
    /// What triggers and deployments are signed with.
    pub signer: Signer,
    /// Whose signatures are believed. Must include the signer's key.
    pub trust: Trust,
    /// Who acts.
    pub actor: Actor,
    /// Names this process in `controllers/`.
    pub controller_id: Uuid,
    /// How long to wait for another controller's turn on a store without conditions.
    pub lock_timeout: Duration,
}

impl ControllerSettings {
    /// The usual patience with another controller.
    pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
}

/// Writes what the fleet is to be, and reads what it is.
#[derive(Debug)]
pub struct Controller {
    settings: ControllerSettings,
    clock: SharedClock,
    /// The store with what is known of its conditions; set before the first write, whoever makes it.
    writer: Arc<OnceCell<Store>>,
    presence: Arc<Presence>,
    /// What the next entry of the audit follows.
    ends: Arc<LooseEnds>,
    /// What was read for views.
    seen: Arc<Seen>,
    /// What manifests of versions said that were read for lists.
    said: Arc<SaidFacts>,
}

impl Controller {
    /// A controller. Nothing is asked of the bucket yet.
    #[must_use]
    pub fn new(settings: ControllerSettings, clock: SharedClock) -> Self {
        Self {
            settings,
            clock,
            writer: Arc::default(),
            presence: Arc::default(),
            ends: Arc::default(),
            seen: Arc::default(),
            said: Arc::default(),
        }
    }

    /// The bucket, for what only reads.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.settings.store
    }

    /// The fleet that the config names.
    #[must_use]
    pub fn fleet(&self) -> Uuid {
        self.settings.fleet
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.settings.actor
    }

    /// The same controller acting for somebody else, as a portal does for its users.
    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Self {
        Self {
            settings: ControllerSettings { actor, store: self.store().clone().forgetful(), ..self.settings.clone() },
            clock: self.clock.clone(),
            writer: self.writer.clone(),
            presence: self.presence.clone(),
            ends: self.ends.clone(),
            seen: self.seen.clone(),
            said: self.said.clone(),
        }
    }

    /// The same controller for who only looks: what was read before is to be had while the store does not answer.
    /// [`Controller::acting_as`] leads back.
    #[must_use]
    pub fn remembering(&self, memory: Arc<Memory>) -> Self {
        let known = self.acting_as(self.actor().clone());
        let store = self.store().clone().remembering(memory);
        Self { settings: ControllerSettings { store, ..known.settings }, ..known }
    }

    /// Marks the bucket as this fleet's. Doing it again is fine.
    ///
    /// # Errors
    /// [`ControllerError::ForeignFleet`] when another fleet has marked it.
    pub async fn init(&self) -> Result<Applied, ControllerError> {
        if self.check_fleet().await? {
            return Ok(Applied::unchanged("fleet.json"));
        }
        let fleet = Fleet { fleet: self.fleet(), layout: Fleet::LAYOUT, created_at: self.now() };
        let writer = self.writer().await?;
        let act = self.intend("init", "fleet", None, Some(self.fleet().to_string()), None).await?;
        let created = writer.create(&ObjectKey::Fleet, document::render(&fleet).into()).await;
        let result = match created {
            Ok(_) => Ok(Applied::created("fleet.json")),
            // Another `init` was faster: the same fleet's is as good as ours.
            Err(crate::store::StoreError::Conflict { .. }) => {
                self.check_fleet().await.map(|_| Applied::unchanged("fleet.json"))
            }
            Err(error) => Err(error.into()),
        };
        self.conclude(act, result).await
    }

    /// Whether the bucket is marked, and then as this fleet's.
    ///
    /// # Errors
    /// [`ControllerError::ForeignFleet`] when it is another's.
    pub async fn check_fleet(&self) -> Result<bool, ControllerError> {
        let Some(found) = self.find_document::<Fleet>(&ObjectKey::Fleet).await? else {
            return Ok(false);
        };
        if found.fleet != self.fleet() {
            return Err(ControllerError::ForeignFleet { found: found.fleet, expected: self.fleet() });
        }
        if found.layout != Fleet::LAYOUT {
            let problem =
                format!("expected layout {}, found {}; a newer fleetman made it", Fleet::LAYOUT, found.layout);
            return Err(ControllerError::invalid(ObjectKey::Fleet, problem));
        }
        Ok(true)
    }

    /// The epoch that this controller signs in. One that only looks, and has no key, sees what the newest key would do.
    fn epoch(&self) -> Epoch {
        match (&self.settings.signer, &self.settings.trust) {
            (Signer::Key(_, epoch), _) => *epoch,
            (Signer::Unsigned, Trust::Keys(pinned)) => pinned.iter().map(|key| key.epoch).max().unwrap_or(Epoch::FIRST),
            (Signer::Unsigned, Trust::Unsigned) => Epoch::FIRST,
        }
    }

    /// Now, as documents write it.
    fn now(&self) -> DateTime<Utc> {
        crate::clock::to_seconds(self.clock.now())
    }

    /// Now by the store's clock, as well as it is known: what `LastModified` is compared with.
    fn store_now(&self) -> DateTime<Utc> {
        self.clock.now() + self.store().clock_skew().unwrap_or_default()
    }

    fn ulid(&self) -> Result<ulid::Ulid, ControllerError> {
        entropy::ulid(self.clock.now()).map_err(ControllerError::Entropy)
    }

    /// Reads an unsigned document.
    async fn find_document<T: document::Document>(&self, key: &ObjectKey) -> Result<Option<T>, ControllerError> {
        match self.store().find(key, T::MAX_BYTES).await? {
            Some(object) => document::parse(&object.bytes)
                .map(Some)
                .map_err(|source| ControllerError::Unreadable { key: key.to_string(), source }),
            None => Ok(None),
        }
    }
}
