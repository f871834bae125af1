//! Whether one object is what the rest of the bucket says that it is: signatures against the keys that this controller
//! believes, digests against what signed documents name.

mod files;
mod signed;

use super::{Controller, no_object};
use crate::controller::ControllerError;
use crate::model::alert::Alerts;
use crate::model::answer::Answer;
use crate::model::document::{self, Document};
use crate::model::fleet::{ControllerBeat, Deleting, Finding, Fleet, StoreReport, Verdict};
use crate::model::heartbeat::Heartbeat;
use crate::model::outcome::Outcome;
use crate::model::{CellId, ObjectKey};
use crate::recipe;
use crate::store::in_full;
use crate::yaml;

/// What was looked at, in order.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, check: &str, verdict: Verdict, message: impl Into<String>) {
        self.0.push(Finding { check: check.to_owned(), verdict, message: message.into(), help: None });
    }

    fn ok(&mut self, check: &str, message: impl Into<String>) {
        self.note(check, Verdict::Ok, message);
    }

    fn warn(&mut self, check: &str, message: impl Into<String>) {
        self.note(check, Verdict::Warning, message);
    }

    fn fail(&mut self, check: &str, message: impl Into<String>) {
        self.note(check, Verdict::Failed, message);
    }

    /// Notes that something is so, or that it is not.
    fn expect(&mut self, check: &str, is_so: bool, message: &str, otherwise: impl FnOnce() -> String) {
        if is_so { self.ok(check, message) } else { self.fail(check, otherwise()) }
    }
}

impl Controller {
    /// Verifies the object at `key`: each finding says what was compared and what came of it. None at all means that
    /// nothing in the bucket says what this object should be.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such object, [`ControllerError::Invalid`] when its digest is
    /// wanted and it has more than `most_bytes`, else why the store did not answer. What is wrong with the object is no
    /// error.
    pub async fn verify(&self, key: &ObjectKey, most_bytes: u64) -> Result<Vec<Finding>, ControllerError> {
        let mut found = Findings::default();
        match key {
            ObjectKey::DeploymentFile(manifest, deployment, content, path) => {
                let named = self.expected_of_release(manifest, deployment, *content, path, &mut found).await?;
                self.verify_bytes(key, named, most_bytes, &mut found).await?;
            }
            ObjectKey::VersionFile(cell, version, ..) | ObjectKey::VersionPack(cell, version, _) => {
                let named = self.expected_of_version(cell, version, key, &mut found).await?;
                self.verify_bytes(key, named, most_bytes, &mut found).await?;
            }
            ObjectKey::VersionManifest(cell, version) => {
                let manifest = self.verify_manifest(cell, version, &mut found).await?.ok_or_else(|| no_object(key))?;
                if let Some(manifest) = manifest {
                    self.verify_complete(&manifest, &mut found).await?;
                }
            }
            ObjectKey::Deployment(manifest, deployment) => {
                self.verify_deployment(manifest, deployment, &mut found).await?.ok_or_else(|| no_object(key))?;
            }
            ObjectKey::Trigger(cell) | ObjectKey::History(cell, _) => {
                self.verify_trigger(key, cell, &mut found).await?;
            }
            ObjectKey::Request(node, order) => self.verify_order(node, *order, &mut found).await?,
            ObjectKey::Answer(node, order) => {
                let is_ours = |it: &Answer| (&it.node, it.order, it.fleet) == (node, *order, self.fleet());
                self.verify_document(key, &mut found, is_ours).await?;
            }
            ObjectKey::Index(node) => self.verify_index(key, node, &mut found).await?,
            ObjectKey::ManifestYaml(name) => {
                if let Some(text) = self.text_for_verify(key, &mut found).await? {
                    let read = recipe::manifest(&text, &key.relative());
                    found.yaml("manifest", read.map(|recipe| recipe.name.clone()), name);
                }
            }
            ObjectKey::CellYaml(cell) => {
                if let Some(text) = self.text_for_verify(key, &mut found).await? {
                    let read = recipe::cell(&text, &key.relative());
                    found.yaml("cell", read.map(|binding| binding.cell.clone()), cell);
                }
            }
            ObjectKey::Alerts => self.verify_document::<Alerts>(key, &mut found, |_| true).await?,
            ObjectKey::Users => self.verify_user_list(&mut found).await?,
            ObjectKey::Fleet => self.verify_document::<Fleet>(key, &mut found, |it| it.fleet == self.fleet()).await?,
            ObjectKey::StoreReport => self.verify_document::<StoreReport>(key, &mut found, |_| true).await?,
            ObjectKey::Controller(id) => {
                self.verify_document::<ControllerBeat>(key, &mut found, |beat| beat.id == *id).await?;
            }
            ObjectKey::VersionDeleting(..) => self.verify_document::<Deleting>(key, &mut found, |_| true).await?,
            ObjectKey::Heartbeat(node) => {
                let is_ours = |beat: &Heartbeat| beat.node == *node && beat.fleet == self.fleet();
                self.verify_document(key, &mut found, is_ours).await?;
            }
            ObjectKey::Outcome(id) => {
                let is_ours = |it: &Outcome| {
                    let cell = CellId::new(it.node.clone(), it.cell.clone());
                    it.fleet == self.fleet() && cell == id.cell && it.at == id.floor && it.attempt == id.attempt
                };
                self.verify_document(key, &mut found, is_ours).await?;
            }
            ObjectKey::Audit(_, id) => {
                self.verify_audit_entry(key, *id, &mut found).await?;
            }
            ObjectKey::Override(..) | ObjectKey::AttemptLog(_) | ObjectKey::AnswerChunk(..) | ObjectKey::Probe(..) => {
                self.object(key).await?;
            }
        }
        Ok(found.0)
    }

    /// A document that nobody signs: it can only be read, and be about what its key says.
    async fn verify_document<T: Document>(
        &self,
        key: &ObjectKey,
        found: &mut Findings,
        is_about_it: impl FnOnce(&T) -> bool,
    ) -> Result<(), ControllerError> {
        let Some(bytes) = self.read_for_verify(key, T::MAX_BYTES, found).await? else { return Ok(()) };
        match document::parse::<T>(&bytes) {
            Err(error) => found.fail("document", in_full(&error)),
            Ok(document) => {
                found.ok("document", format!("it reads as {}", T::SCHEMA));
                found.expect("place", is_about_it(&document), "it is about what its key says", || {
                    "it is about something else than its key says".to_owned()
                });
            }
        }
        found.warn("signature", "documents of this kind are not signed: whoever can write here could have written it");
        Ok(())
    }

    /// A text that people wrote; None if it is none, which is noted.
    async fn text_for_verify(&self, key: &ObjectKey, found: &mut Findings) -> Result<Option<String>, ControllerError> {
        let Some(bytes) = self.read_for_verify(key, yaml::MAX_BYTES as u64, found).await? else { return Ok(None) };
        let text = String::from_utf8(bytes.into());
        Ok(text.map_err(|error| found.fail("document", format!("it is no text: {}", error.utf8_error()))).ok())
    }

    /// The bytes of a document; None if they are too many, which is noted.
    async fn read_for_verify(
        &self,
        key: &ObjectKey,
        most_bytes: u64,
        found: &mut Findings,
    ) -> Result<Option<bytes::Bytes>, ControllerError> {
        match self.store().find(key, most_bytes).await {
            Ok(Some(object)) => Ok(Some(object.bytes)),
            Ok(None) => Err(no_object(key)),
            Err(crate::store::StoreError::TooLarge { limit_bytes, .. }) => {
                found.fail("document", format!("it has more than the {limit_bytes} bytes that its kind may have"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Findings {
    /// Notes how a text that people wrote reads, and whether it is about what its key says.
    fn yaml<N: PartialEq + std::fmt::Display>(
        &mut self,
        kind: &str,
        named: Result<N, recipe::RecipeError>,
        expected: &N,
    ) {
        match named {
            Ok(named) => self.expect("document", named == *expected, &format!("it is {kind} {expected}"), || {
                format!("it says that it is {kind} {named}")
            }),
            Err(error) => self.fail("document", error.to_string()),
        }
    }
}
