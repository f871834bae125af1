//! Signed documents, and the manifests that they pin.

use ulid::Ulid;

use super::{Controller, Findings};
use crate::controller::ControllerError;
use crate::controller::head::{TRIGGER_BYTES, floor};
use crate::controller::users::USERS_BYTES;
use crate::model::audit::{FoundEntry, Seal};
use crate::model::deployment::Deployment;
use crate::model::document::{self, Document as _};
use crate::model::index::Index;
use crate::model::manifest::Manifest;
use crate::model::order::Order;
use crate::model::sign::Verified;
use crate::model::trigger::Trigger;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName, ObjectKey, Sha256Digest, VersionName};
use crate::store::in_full;

/// How many entries of an index are looked at.
const MOST_ENTRIES: usize = 1_000;

/// Who signed a document, in words.
fn signer<T>(verified: &Verified<T>) -> String {
    match verified.signed_by() {
        Some(key) => format!("signed by key {key} of epoch {}", verified.epoch()),
        None => "signatures are off, so it is believed as it is".to_owned(),
    }
}

impl Controller {
    /// A release's list of files. The outer None if there is none, the inner if it is not believed.
    pub(super) async fn verify_deployment(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
        found: &mut Findings,
    ) -> Result<Option<Option<Verified<Deployment>>>, ControllerError> {
        match self.find_deployment(manifest, name).await {
            Ok(None) => Ok(None),
            Ok(Some((release, _))) => {
                found.ok(
                    "signature",
                    format!("deployment.json: {}, uploaded by {}", signer(&release), release.created_by),
                );
                Ok(Some(Some(release)))
            }
            Err(error) if error.is_of_document() => {
                found.fail("signature", in_full(&error));
                Ok(Some(None))
            }
            Err(error) => Err(error),
        }
    }

    /// A version's manifest against itself and against what verified history pinned. The outer None if there is none,
    /// the inner if it makes no sense.
    pub(super) async fn verify_manifest(
        &self,
        cell: &CellId,
        version: &VersionName,
        found: &mut Findings,
    ) -> Result<Option<Option<Manifest>>, ControllerError> {
        let bytes = match self.find_manifest(cell, version).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) if error.is_unreadable() => {
                found.fail("document", in_full(&error));
                return Ok(Some(None));
            }
            Err(error) => return Err(error),
        };
        let digest = Sha256Digest::of(&bytes);
        let pinned = self.newest_target(cell, |target| target.version == *version).await?;
        match &pinned {
            None => found.warn("pinned", "manifest.json: no trigger that is believed has ever named this version"),
            Some(target) => found.expect(
                "pinned",
                target.manifest_sha256 == digest && target.manifest_size == bytes.len() as u64,
                &format!("manifest.json: the history pins these bytes, sha256 {digest}"),
                || format!("manifest.json: the history pins sha256 {}, found {digest}", target.manifest_sha256),
            ),
        }
        let manifest = match Manifest::parse(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                found.fail("document", format!("manifest.json: {}", in_full(&error)));
                return Ok(Some(None));
            }
        };
        let is_ours = manifest.fleet == self.fleet() && manifest.cell_id() == *cell && manifest.version == *version;
        found.expect("place", is_ours, "manifest.json: it is about what its key says", || {
            let Manifest { fleet, version, .. } = &manifest;
            format!("manifest.json: it is version {version} of {} of fleet {fleet}", manifest.cell_id())
        });
        Ok(Some(Some(manifest)))
    }

    /// Whether every file of a version lies in the bucket with its size.
    pub(super) async fn verify_complete(
        &self,
        manifest: &Manifest,
        found: &mut Findings,
    ) -> Result<(), ControllerError> {
        match self.check_complete(manifest).await {
            Ok(()) => {
                let (files, bytes) = (manifest.files.len(), manifest.total_bytes());
                found.ok("files", format!("all {files} files are there with their sizes, {bytes} bytes together"));
                Ok(())
            }
            Err(error @ ControllerError::Incomplete { .. }) => {
                found.fail("files", error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A trigger or an entry of the history.
    pub(super) async fn verify_trigger(
        &self,
        key: &ObjectKey,
        cell: &CellId,
        found: &mut Findings,
    ) -> Result<(), ControllerError> {
        let Some(bytes) = self.read_for_verify(key, TRIGGER_BYTES, found).await? else { return Ok(()) };
        let Some(trigger) = found.signature(self.believe(key, cell, &bytes), "") else { return Ok(()) };
        if matches!(key, ObjectKey::Trigger(_)) {
            self.verify_copy(cell, &trigger, "", found).await?;
        }
        Ok(())
    }

    /// Whether an order to a node is signed, and for this node.
    pub(super) async fn verify_order(
        &self,
        node: &NodeName,
        id: Ulid,
        found: &mut Findings,
    ) -> Result<(), ControllerError> {
        let key = &ObjectKey::Request(node.clone(), id);
        let Some(bytes) = self.read_for_verify(key, 2 * Order::MAX_BYTES, found).await? else { return Ok(()) };
        match self.believe_order(node, &bytes) {
            Ok(order) => {
                found.ok("signature", format!("{}: {} by {}", signer(&order), order.action.name(), order.issued_by));
                found.expect("place", order.id == id, "it is about what its key says", || {
                    format!("it is order {}", order.id)
                });
            }
            Err(error) => found.fail("signature", in_full(&error)),
        }
        Ok(())
    }

    /// Whether an entry of the audit is signed, and what it says was there before it is there.
    pub(super) async fn verify_audit_entry(
        &self,
        key: &ObjectKey,
        id: Ulid,
        found: &mut Findings,
    ) -> Result<(), ControllerError> {
        let Some(bytes) = self.read_for_verify(key, FoundEntry::MOST_BYTES, found).await? else { return Ok(()) };
        let entry = match FoundEntry::read(&bytes, self.fleet(), &self.settings.trust) {
            Ok(entry) => entry,
            Err(error) => {
                found.fail("document", in_full(&error));
                return Ok(());
            }
        };
        match &entry.seal {
            Seal::Signed => found.ok("signature", "a pinned key signed it"),
            Seal::Off => found.warn("signature", "signatures are off: whoever can write here could have written it"),
            Seal::Missing => found.warn(
                "signature",
                "no pinned key signed it: it is of an older program, of one whose key is not pinned, or of anybody who can write here",
            ),
            Seal::Broken(why) => found.fail("signature", why.clone()),
        }
        found.expect("place", entry.id == id, "it is about what its key says", || format!("it is entry {}", entry.id));
        for fault in self.entry_faults(&entry).await? {
            found.fail("chain", format!("entry {}, which was there before it, is {}", fault.id, fault.kind.as_str()));
        }
        Ok(())
    }

    /// Whether the list of users is signed and of this fleet. Whether it is the newest only its readers know.
    pub(super) async fn verify_user_list(&self, found: &mut Findings) -> Result<(), ControllerError> {
        let key = &ObjectKey::Users;
        let Some(bytes) = self.read_for_verify(key, USERS_BYTES, found).await? else { return Ok(()) };
        match self.verify_users(&bytes) {
            Ok(users) => found.ok("signature", format!("{}: revision {}", signer(&users), users.revision)),
            Err(error) => found.fail("signature", in_full(&error)),
        }
        Ok(())
    }

    /// Whether a copy of a trigger says what the history says, and is the newest.
    async fn verify_copy(
        &self,
        cell: &CellId,
        copy: &Verified<Trigger>,
        whose: &str,
        found: &mut Findings,
    ) -> Result<(), ControllerError> {
        let at = floor(copy);
        let entry = match self.history_entry(cell, at).await {
            Ok(entry) => entry,
            Err(error) if error.is_of_document() => {
                found.fail("history", format!("{whose}{}", in_full(&error)));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match entry {
            None => found.warn("history", format!("{whose}the history has no generation {at}")),
            Some(entry) => found.expect(
                "history",
                entry.signed_sha256() == copy.signed_sha256(),
                &format!("{whose}it says what the history says of generation {at}"),
                || format!("{whose}the history says something else of generation {at}: two were signed"),
            ),
        }
        if let Some(newest) = self.history_keys(cell, Some(at)).await?.last() {
            let message = format!("{whose}the history has a newer generation, {newest}; repeat what issued it");
            found.warn("newest", message);
        }
        Ok(())
    }

    /// Every trigger in a node's index.
    pub(super) async fn verify_index(
        &self,
        key: &ObjectKey,
        node: &NodeName,
        found: &mut Findings,
    ) -> Result<(), ControllerError> {
        let Some(bytes) = self.read_for_verify(key, Index::MAX_BYTES, found).await? else { return Ok(()) };
        let index = match document::parse::<Index>(&bytes) {
            Ok(index) => index,
            Err(error) => {
                found.fail("document", in_full(&error));
                return Ok(());
            }
        };
        found.ok("document", format!("it reads as {}; only the triggers in it are signed", Index::SCHEMA));
        found.expect("place", index.node == *node, "it is about what its key says", || {
            format!("it says that it is of node {}", index.node)
        });
        for (name, entry) in index.entries().take(MOST_ENTRIES) {
            match entry {
                Err(why) => found.fail("entry", format!("{name:?}: {why}")),
                Ok((cell, entry)) => {
                    let cell = CellId::new(node.clone(), cell);
                    let whose = format!("{cell}: ");
                    match entry.trigger_bytes() {
                        None => found.ok("entry", format!("{whose}no trigger yet")),
                        Some(bytes) => {
                            found.signature(self.believe(key, &cell, bytes), &whose);
                        }
                    }
                }
            }
        }
        if index.cells.len() > MOST_ENTRIES {
            found.warn("entry", format!("{} more entries were not looked at", index.cells.len() - MOST_ENTRIES));
        }
        Ok(())
    }
}

impl Findings {
    /// Notes who signed a trigger, or why it is not believed.
    fn signature(
        &mut self,
        believed: Result<Verified<Trigger>, ControllerError>,
        whose: &str,
    ) -> Option<Verified<Trigger>> {
        match believed {
            Ok(trigger) => {
                let claim = crate::controller::Claim::from(&trigger);
                self.ok("signature", format!("{whose}{}: {claim}", signer(&trigger)));
                Some(trigger)
            }
            Err(error) => {
                self.fail("signature", format!("{whose}{}", in_full(&error)));
                None
            }
        }
    }
}
