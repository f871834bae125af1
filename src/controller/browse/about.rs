//! What each folder and object of the bucket is for, in a sentence.

use crate::model::ObjectKey;
use crate::model::keys::{Folder, WriteRule};

/// What something in the bucket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// What it is for.
    pub purpose: &'static str,
    /// Who writes it.
    pub writer: &'static str,
    /// How it may be written; None where a folder holds objects of several rules.
    pub rule: Option<WriteRule>,
}

const CONTROLLERS: &str = "controllers";
const AGENT: &str = "the node's agent";
const DOCTOR: &str = "the doctor";

/// The rule as people read it.
#[must_use]
pub fn rule_in_words(rule: WriteRule) -> &'static str {
    match rule {
        WriteRule::CreateOnce => "written once, never changed",
        WriteRule::ReplaceIfUnchanged => "replaced only by a writer who saw what is there",
        WriteRule::PutOwn => "overwritten by its one writer",
        WriteRule::Harmless => "its key fixes its bytes, so writing it again does no harm",
        WriteRule::Replace => "overwritten by whoever looked last",
    }
}

/// What a folder is for.
#[must_use]
pub fn about_folder(folder: &Folder) -> About {
    let (purpose, writer, rule) = match folder {
        Folder::Root => ("everything that the fleet is, wants and did", "controllers and agents", None),
        Folder::Agents => ("one heartbeat a node, overwritten by its agent", AGENT, Some(WriteRule::PutOwn)),
        Folder::Indexes => (
            "every current trigger of a node in one object, so that an idle poll is one request",
            CONTROLLERS,
            Some(WriteRule::ReplaceIfUnchanged),
        ),
        Folder::Controllers => (
            "beats of running controllers, and whose turn it is on stores without conditions",
            CONTROLLERS,
            Some(WriteRule::PutOwn),
        ),
        Folder::Manifests => ("the recipes that people edit", CONTROLLERS, Some(WriteRule::ReplaceIfUnchanged)),
        Folder::Deployments(None) => ("uploaded releases, by manifest", CONTROLLERS, None),
        Folder::Deployments(Some(_)) => ("the releases of one manifest", CONTROLLERS, None),
        Folder::Deployment(..) => ("one release: it exists once deployment.json does", CONTROLLERS, None),
        Folder::Cells => ("cells, by node", CONTROLLERS, None),
        Folder::NodeCells(_) => ("the cells of one node", CONTROLLERS, None),
        Folder::Cell(_) => ("one cell: what it is bound to, its versions, its triggers", CONTROLLERS, None),
        Folder::Overrides(_) => (
            "files of this cell that are laid over the release's at publish",
            CONTROLLERS,
            Some(WriteRule::ReplaceIfUnchanged),
        ),
        Folder::Versions(_) => ("immutable snapshots: each exists once its manifest.json does", CONTROLLERS, None),
        Folder::Version(..) => {
            ("one snapshot; its files lie below the first digits of its content's digest", CONTROLLERS, None)
        }
        Folder::VersionFiles(..) => ("the files of one snapshot", CONTROLLERS, Some(WriteRule::Harmless)),
        Folder::History(_) => (
            "every trigger ever issued, in order; the newest is the desired state",
            CONTROLLERS,
            Some(WriteRule::CreateOnce),
        ),
        Folder::Requests(_) => ("signed orders to the node's agent", CONTROLLERS, None),
        Folder::Logs => ("what agents logged of each attempt, and what came of it", AGENT, Some(WriteRule::PutOwn)),
        Folder::Answers(_) | Folder::Answer(..) => {
            ("what the node's agent answered to orders; it is deleted after a day", AGENT, Some(WriteRule::PutOwn))
        }
        Folder::NodeLogs(_) | Folder::CellLogs(_) => ("logs and outcomes of attempts", AGENT, Some(WriteRule::PutOwn)),
        Folder::Audit(_) => {
            ("who did what: an intent before, an outcome after", CONTROLLERS, Some(WriteRule::CreateOnce))
        }
        Folder::Alerts => ("what is wrong, and who was told", CONTROLLERS, Some(WriteRule::ReplaceIfUnchanged)),
        Folder::Auth => ("who may sign in to the portal, signed", CONTROLLERS, Some(WriteRule::ReplaceIfUnchanged)),
        Folder::Probes(_) => ("what the doctor writes and removes again", DOCTOR, Some(WriteRule::Harmless)),
    };
    About { purpose, writer, rule }
}

/// What an object is for.
#[must_use]
pub fn about_key(key: &ObjectKey) -> About {
    let (purpose, writer) = match key {
        ObjectKey::Fleet => ("whose bucket this is and how it is laid out", "fleetman init"),
        ObjectKey::StoreReport => ("what the doctor found out about this store, and when", CONTROLLERS),
        ObjectKey::Controller(_) => {
            ("the beat of one running controller, and the cell that it is writing now", "that controller")
        }
        ObjectKey::ManifestYaml(_) => ("the recipe that people edit, byte for byte", CONTROLLERS),
        ObjectKey::DeploymentFile(..) => ("one uploaded file of a release", CONTROLLERS),
        ObjectKey::Deployment(..) => {
            ("the signed list of a release's files; the release exists since this was written", CONTROLLERS)
        }
        ObjectKey::CellYaml(_) => ("binds a manifest to a node: variables, labels, whether it is paused", CONTROLLERS),
        ObjectKey::Override(..) => ("a file of this cell, laid over the release's at the next publish", CONTROLLERS),
        ObjectKey::VersionFile(..) => ("one file of a snapshot", CONTROLLERS),
        ObjectKey::VersionPack(..) => ("bytes of several files of a snapshot in one object", CONTROLLERS),
        ObjectKey::VersionManifest(..) => {
            ("a snapshot's list of files and how it is run; the version exists since this was written", CONTROLLERS)
        }
        ObjectKey::VersionDeleting(..) => ("the mark of a version whose deletion is under way", CONTROLLERS),
        ObjectKey::History(..) => ("one trigger as it was issued, signed", CONTROLLERS),
        ObjectKey::Trigger(_) => ("what is wanted of the cell now: a copy of its newest trigger, signed", CONTROLLERS),
        ObjectKey::Request(..) => ("what the node is asked to do at once, signed", CONTROLLERS),
        ObjectKey::Index(_) => ("a copy of every current trigger of the node, which its agent polls", CONTROLLERS),
        ObjectKey::Heartbeat(_) => ("what the node says of itself and its cells; a claim, unsigned", AGENT),
        ObjectKey::AttemptLog(_) => ("the agent's log of one attempt", AGENT),
        ObjectKey::Outcome(_) => ("what came of one attempt, as the agent says", AGENT),
        ObjectKey::Answer(..) => ("how far the node's answer to an order has come", AGENT),
        ObjectKey::AnswerChunk(..) => ("lines of a cell's output, as an order asked for", AGENT),
        ObjectKey::Audit(..) => ("who did what: one half of an act, the intent or its outcome", CONTROLLERS),
        ObjectKey::Alerts => ("what is wrong in the fleet, who was told, and what is silenced", CONTROLLERS),
        ObjectKey::Users => ("who may sign in to the portal, and with which tokens; signed", CONTROLLERS),
        ObjectKey::Probe(..) => ("a test object; it is removed again", DOCTOR),
    };
    About { purpose, writer, rule: Some(key.write_rule()) }
}
