//! What people have made of the fleet so far: recipes and releases, versions and orders of one cell, and the audit.

use std::time::Duration;

use chrono::TimeDelta;
use fleetman::clock::SystemClock;
use fleetman::controller::{Guard, Known, PublishRequest, UploadOptions};
use fleetman::model::audit::{AuditEntry, AuditStage};
use fleetman::model::deployment::{Deployment, DeploymentFile};
use fleetman::model::manifest::Mode;
use fleetman::model::sign::sign;
use fleetman::model::{
    CellId, DeploymentName, FilePath, ManifestName, ObjectKey, Sha256Digest, UserName, content, document,
};
use ulid::Ulid;

use super::crowd::put;
use crate::support::acme::Acme;
use crate::support::fleet::{FLEET, KEY};

/// The cell whose past is long.
pub(crate) const CELL: &str = "node-00042/past";

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) manifests: usize,
    /// Of each manifest.
    pub(crate) releases: usize,
    /// Of the cell, each ordered once.
    pub(crate) versions: usize,
    /// Of the cell.
    pub(crate) overrides: usize,
    /// Entries of the audit.
    pub(crate) audit: usize,
}

impl Past {
    /// Writes all of it.
    pub(crate) async fn write(self, acme: &Acme) {
        let names = (0..self.manifests).map(|number| ManifestName::new(format!("app-{number:05}")).unwrap());
        let recipes = names.clone().map(|name| {
            let text =
                format!("name: {name}\ndescription: One of many\nlabels: {{team: web}}\nprofile: {{deploy: {{}}}}\n");
            (ObjectKey::ManifestYaml(name), text.into_bytes())
        });
        let releases = names.flat_map(|name| (0..self.releases).map(move |number| release(&name, number)));
        let audit = (0..self.audit).map(entry);
        put(acme, recipes.chain(releases).chain(audit)).await;
        self.order(acme).await;
    }

    /// What one cell was told, by a controller.
    async fn order(self, acme: &Acme) {
        let (controller, cell): (_, CellId) = (acme.controller(), CELL.parse().unwrap());
        let site: ManifestName = "past".parse().unwrap();
        let recipe = "name: past\nprofile: {deploy: {}}\n";
        controller.put_manifest(&site, recipe, &Known::Absent).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("index.html"), "hello\n").unwrap();
        let (name, options) = ("r1".parse().unwrap(), UploadOptions::default());
        controller.upload(&site, Some(&name), folder.path(), &options, &|_| {}).await.unwrap();
        let binding = format!("cell: {CELL}\nmanifest: past\n");
        controller.put_cell(&cell, &binding, &Known::Absent).await.unwrap();
        for number in 0..self.versions.max(self.overrides) {
            if number < self.overrides {
                let path = FilePath::new(format!("overrides/{number:04}.txt")).unwrap();
                controller.put_override(&cell, &path, format!("{number}\n").into(), &Known::Absent).await.unwrap();
            }
            if number < self.versions {
                let request = PublishRequest {
                    version: Some(format!("v{number}").parse().unwrap()),
                    ..PublishRequest::new(cell.clone())
                };
                controller.publish(&request, &Guard::default()).await.unwrap();
            }
        }
    }
}

fn release(manifest: &ManifestName, number: usize) -> (ObjectKey, Vec<u8>) {
    let name = DeploymentName::new(format!("2026.11.{number}")).unwrap();
    let files = (0..3).map(|file| DeploymentFile {
        path: FilePath::new(format!("bin/part-{file}")).unwrap(),
        size: 4_096,
        sha256: Sha256Digest::of(format!("{manifest}/{number}/{file}").as_bytes()),
        mode: Mode::new(0o644).unwrap(),
    });
    let age = TimeDelta::minutes(i64::try_from(number).unwrap());
    let mut deployment = Deployment {
        requires: Vec::new(),
        fleet: FLEET,
        manifest: manifest.clone(),
        deployment: name.clone(),
        content_sha256: Sha256Digest::of(b""),
        created_at: SystemClock::shared().now() - age,
        created_by: UserName::new("ci").unwrap(),
        note: Some("what the build says of it".to_owned()),
        files: files.collect(),
    };
    deployment.content_sha256 = content::content_sha256(&deployment);
    let signed = sign(&deployment, &KEY.signer()).unwrap();
    (ObjectKey::Deployment(manifest.clone(), name), signed.document().to_vec())
}

/// One of many, two minutes before the one after it.
fn entry(number: usize) -> (ObjectKey, Vec<u8>) {
    let at = SystemClock::shared().now() - Duration::from_secs(120 * u64::try_from(number + 1).unwrap());
    let id = Ulid::from_parts(u64::try_from(at.timestamp_millis()).unwrap(), u128::try_from(number).unwrap());
    let entry = AuditEntry {
        id,
        at,
        actor: UserName::new(["alice", "bob", "ci"][number % 3]).unwrap(),
        source: "portal".to_owned(),
        host: "10.1.4.7".to_owned(),
        action: "pause".to_owned(),
        object: format!("cell/node-{:05}/site", number % 10_000),
        before: None,
        after: Some("paused".to_owned()),
        reason: Some("the database moves".to_owned()),
        stage: AuditStage::Intent,
        chain: None,
    };
    (ObjectKey::Audit(at.date_naive(), id), document::render(&entry))
}
