//! The keys: every one of them, and how the page writes it.

use std::fmt::Write as _;

use fleetman::model::keys::{AttemptId, WriteRule};
use fleetman::model::{FilePath, ObjectKey, ObjectPath, Sha256Digest};

use super::samples::{fleet, floor, time, ulid};

/// Every key with placeholders for its names. The `match` makes a new key fail to build until it stands here.
fn key_patterns() -> Vec<(&'static str, ObjectKey)> {
    let cell = || "node/cell".parse().unwrap();
    let version = || "version".parse().unwrap();
    let content = Sha256Digest::of(b"").content16();
    let path = || FilePath::new("path").unwrap();
    let attempt = AttemptId { cell: cell(), floor: floor(), attempt: 1 };
    let keys = vec![
        ObjectKey::Fleet,
        ObjectKey::StoreReport,
        ObjectKey::Controller(fleet()),
        ObjectKey::ManifestYaml("manifest".parse().unwrap()),
        ObjectKey::DeploymentFile("manifest".parse().unwrap(), "deployment".parse().unwrap(), content, path()),
        ObjectKey::Deployment("manifest".parse().unwrap(), "deployment".parse().unwrap()),
        ObjectKey::CellYaml(cell()),
        ObjectKey::Override(cell(), path()),
        ObjectKey::VersionFile(cell(), version(), content, path()),
        ObjectKey::VersionPack(cell(), version(), ObjectPath::new("object").unwrap()),
        ObjectKey::VersionManifest(cell(), version()),
        ObjectKey::VersionDeleting(cell(), version()),
        ObjectKey::History(cell(), floor()),
        ObjectKey::Trigger(cell()),
        ObjectKey::Request("node".parse().unwrap(), ulid()),
        ObjectKey::Index("node".parse().unwrap()),
        ObjectKey::Heartbeat("node".parse().unwrap()),
        ObjectKey::AttemptLog(attempt.clone()),
        ObjectKey::Outcome(attempt),
        ObjectKey::Answer("node".parse().unwrap(), ulid()),
        ObjectKey::AnswerChunk("node".parse().unwrap(), ulid(), 1),
        ObjectKey::Audit(time(0).date_naive(), ulid()),
        ObjectKey::Alerts,
        ObjectKey::Users,
        ObjectKey::Probe(ulid(), path()),
    ];
    keys.into_iter()
        .map(|key| {
            let pattern = match &key {
                ObjectKey::Fleet => "fleet.json",
                ObjectKey::StoreReport => "store.json",
                ObjectKey::Controller(_) => "controllers/<id>.json",
                ObjectKey::ManifestYaml(_) => "manifests/<manifest>/manifest.yaml",
                ObjectKey::DeploymentFile(..) => "deployments/<manifest>/<deployment>/files/<content16>/<path>",
                ObjectKey::Deployment(..) => "deployments/<manifest>/<deployment>/deployment.json",
                ObjectKey::CellYaml(_) => "cells/<node>/<cell>/cell.yaml",
                ObjectKey::Override(..) => "cells/<node>/<cell>/overrides/<path>",
                ObjectKey::VersionFile(..) => "cells/<node>/<cell>/versions/<version>/files/<content16>/<path>",
                ObjectKey::VersionPack(..) => "cells/<node>/<cell>/versions/<version>/<object>",
                ObjectKey::VersionManifest(..) => "cells/<node>/<cell>/versions/<version>/manifest.json",
                ObjectKey::VersionDeleting(..) => "cells/<node>/<cell>/versions/<version>/deleting.json",
                ObjectKey::History(..) => "cells/<node>/<cell>/history/<epoch>-<generation>.json",
                ObjectKey::Trigger(_) => "cells/<node>/<cell>/trigger.json",
                ObjectKey::Request(..) => "cells/<node>/_requests/<ulid>.json",
                ObjectKey::Index(_) => "index/<node>.json",
                ObjectKey::Heartbeat(_) => "agents/<node>.json",
                ObjectKey::AttemptLog(_) => "logs/<node>/<cell>/<epoch>-<generation>-<attempt>.log",
                ObjectKey::Outcome(_) => "logs/<node>/<cell>/<epoch>-<generation>-<attempt>.json",
                ObjectKey::Answer(..) => "logs/<node>/_requests/<ulid>/answer.json",
                ObjectKey::AnswerChunk(..) => "logs/<node>/_requests/<ulid>/<chunk>.log",
                ObjectKey::Audit(..) => "audit/<yyyy-mm-dd>/<ulid>.json",
                ObjectKey::Alerts => "alerts/state.json",
                ObjectKey::Users => "auth/users.json",
                ObjectKey::Probe(..) => "probes/<ulid>/<path>",
            };
            (pattern, key)
        })
        .collect()
}

#[test]
fn the_patterns_are_what_the_code_renders() {
    for (pattern, key) in key_patterns() {
        let mut rendered = key.relative();
        for (value, name) in [
            ("0001-0000000000000007-0001", "<epoch>-<generation>-<attempt>"),
            ("0001-0000000000000007", "<epoch>-<generation>"),
            (&ulid().to_string(), "<ulid>"),
            (&fleet().to_string(), "<id>"),
            (&Sha256Digest::of(b"").content16().to_string(), "<content16>"),
            ("2026-01-02", "<yyyy-mm-dd>"),
            ("/0001.log", "/<chunk>.log"),
            ("/node/cell", "/<node>/<cell>"),
            ("/node/_requests", "/<node>/_requests"),
            ("index/node", "index/<node>"),
            ("agents/node", "agents/<node>"),
            ("manifests/manifest", "manifests/<manifest>"),
            ("deployments/manifest/deployment", "deployments/<manifest>/<deployment>"),
            ("versions/version", "versions/<version>"),
            ("/path", "/<path>"),
            ("/object", "/<object>"),
        ] {
            rendered = rendered.replace(value, name);
        }
        assert_eq!(rendered, pattern);
    }
}

pub(super) fn key_table() -> String {
    let mut table = String::from("| key | write rule | media type |\n|---|---|---|\n");
    for (pattern, key) in key_patterns() {
        let rule = match key.write_rule() {
            WriteRule::CreateOnce => "create-once",
            WriteRule::ReplaceIfUnchanged => "replace-if-unchanged",
            WriteRule::PutOwn => "put-own",
            WriteRule::Harmless => "harmless to repeat",
            WriteRule::Replace => "replace",
        };
        writeln!(table, "| `{pattern}` | {rule} | `{}` |", key.content_type()).unwrap();
    }
    table
}
