use proptest::prelude::*;

use super::*;

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?"
}

fn version() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._+-]{0,12}"
}

fn file_path() -> impl Strategy<Value = FilePath> {
    "[a-zA-Z0-9 %+é_.-]{1,8}(/[a-zA-Z0-9 %+é_.-]{1,8}){0,3}"
        .prop_filter_map("not a path", |text| FilePath::new(text).ok())
}

fn cell() -> impl Strategy<Value = CellId> {
    (label(), label()).prop_map(|(node, cell)| cell_id(&node, &cell).unwrap())
}

fn floor() -> impl Strategy<Value = Floor> {
    (1..=9999_u32, 1..=Generation::MAX)
        .prop_map(|(epoch, generation)| Floor::new(Epoch::new(epoch).unwrap(), Generation::new(generation).unwrap()))
}

fn key() -> impl Strategy<Value = ObjectKey> {
    let content = || any::<[u8; 32]>().prop_map(|bytes| super::super::Sha256Digest::of(&bytes).content16());
    let manifest = || label().prop_map(|text| ManifestName::new(text).unwrap());
    let node = || label().prop_map(|text| NodeName::new(text).unwrap());
    let deployment = || version().prop_map(|text| DeploymentName::new(text).unwrap());
    let named = || version().prop_map(|text| VersionName::new(text).unwrap());
    let day = (0..20_000_i64).prop_map(|days| chrono::DateTime::from_timestamp(days * 86_400, 0).unwrap().date_naive());
    let attempt =
        || (cell(), floor(), 1..20_000_u32).prop_map(|(cell, floor, attempt)| AttemptId { cell, floor, attempt });
    prop_oneof![
        Just(ObjectKey::Fleet),
        Just(ObjectKey::StoreReport),
        Just(ObjectKey::Alerts),
        Just(ObjectKey::Users),
        any::<u128>().prop_map(|id| ObjectKey::Controller(Uuid::from_u128(id))),
        manifest().prop_map(ObjectKey::ManifestYaml),
        (manifest(), deployment(), content(), file_path())
            .prop_map(|(m, d, c, p)| ObjectKey::DeploymentFile(m, d, c, p)),
        (manifest(), deployment()).prop_map(|(m, d)| ObjectKey::Deployment(m, d)),
        cell().prop_map(ObjectKey::CellYaml),
        (cell(), file_path()).prop_map(|(id, p)| ObjectKey::Override(id, p)),
        (cell(), named(), content(), file_path()).prop_map(|(id, v, c, p)| ObjectKey::VersionFile(id, v, c, p)),
        (cell(), named(), file_path()).prop_filter_map("a document", |(id, v, p)| {
            ObjectKey::version_object(id, v, ObjectPath::new(p.as_str()).unwrap()).ok()
        }),
        (cell(), named()).prop_map(|(id, v)| ObjectKey::VersionManifest(id, v)),
        (cell(), named()).prop_map(|(id, v)| ObjectKey::VersionDeleting(id, v)),
        (cell(), floor()).prop_map(|(id, f)| ObjectKey::History(id, f)),
        cell().prop_map(ObjectKey::Trigger),
        node().prop_map(ObjectKey::Index),
        node().prop_map(ObjectKey::Heartbeat),
        attempt().prop_map(ObjectKey::AttemptLog),
        attempt().prop_map(ObjectKey::Outcome),
        (node(), any::<u128>()).prop_map(|(node, id)| ObjectKey::Request(node, Ulid(id))),
        (node(), any::<u128>()).prop_map(|(node, id)| ObjectKey::Answer(node, Ulid(id))),
        (node(), any::<u128>(), 1..=9_999_u32).prop_map(|(node, id, n)| ObjectKey::AnswerChunk(node, Ulid(id), n)),
        (day, any::<u128>()).prop_map(|(day, id)| ObjectKey::Audit(day, Ulid(id))),
        (any::<u128>(), file_path()).prop_map(|(id, p)| ObjectKey::Probe(Ulid(id), p)),
    ]
}

proptest! {
    #[test]
    fn a_rendered_key_parses_to_itself(key in key(), prefix in "([a-z]{1,5}(/[a-z]{1,5}){0,2})?") {
        let prefix = Prefix::new(&prefix).unwrap();
        let rendered = key.render(&prefix);
        prop_assert!(rendered.len() <= 1024, "S3 keys hold 1024 bytes");
        prop_assert_eq!(ObjectKey::parse(prefix.strip(&rendered).unwrap()), Ok(key));
    }

    #[test]
    fn whatever_parses_renders_to_the_same_text(text in "(cells|logs|audit|index|agents|history|versions|files|[a-z0-9.-]{1,8}|/){1,9}") {
        if let Ok(key) = ObjectKey::parse(&text) {
            prop_assert_eq!(key.relative(), text);
        }
    }

    #[test]
    fn history_keys_sort_as_their_floors(a in floor(), b in floor()) {
        let id: CellId = "n/c".parse().unwrap();
        let key = |floor| ObjectKey::History(id.clone(), floor).relative();
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
    }
}

#[test]
fn the_longest_names_still_make_a_key_that_s3_holds() {
    let label = "a".repeat(63);
    let path = FilePath::new(format!("{0}/{0}/{1}", "p".repeat(255), "q".repeat(88))).unwrap();
    let id = cell_id(&label, &label).unwrap();
    let content = super::super::Sha256Digest::of(b"").content16();
    let key = ObjectKey::VersionFile(id, VersionName::new("v".repeat(128)).unwrap(), content, path);
    assert!(key.render(&Prefix::new(&"x".repeat(128)).unwrap()).len() <= 1024);
}

#[test]
fn keys_that_only_look_like_ours_are_refused() {
    for bad in [
        "",
        "fleet.json/",
        "cells/n1/_requests/trigger.json",
        "cells/n1/web",
        "cells/n1/web/trigger.json/x",
        "cells/N1/web/trigger.json",
        "cells/n1/web/history/0001-1.json",
        "cells/n1/web/history/0000-0000000000000001.json",
        "cells/n1/web/history/+001-0000000000000001.json",
        "cells/n1/web/overrides/../trigger.json",
        "cells/n1/web/versions/../trigger.json",
        "cells/n1/_requests/01arz3ndektsv4rrffq69g5fav.json",
        "logs/n1/_requests/01ARZ3NDEKTSV4RRFFQ69G5FAV/0000.log",
        "logs/n1/_requests/01ARZ3NDEKTSV4RRFFQ69G5FAV/1.log",
        "logs/n1/web/0001-0000000000000001-1.log",
        "logs/n1/web/0001-0000000000000001-+001.log",
        "audit/2026-1-2/01ARZ3NDEKTSV4RRFFQ69G5FAV.json",
        "audit/2026-01-02/01arz3ndektsv4rrffq69g5fav.json",
        "agents/n1.yaml",
        "controllers/A0000000-0000-0000-0000-000000000000.json",
    ] {
        assert!(ObjectKey::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_object_of_a_version_cannot_be_one_of_its_documents() {
    let id: CellId = "n1/web".parse().unwrap();
    let version = VersionName::new("1").unwrap();
    let object = |text: &str| {
        ObjectKey::version_object(id.clone(), version.clone(), ObjectPath::new(text).unwrap()).map(|key| key.relative())
    };
    assert!(object("manifest.json").is_err());
    assert!(object("deleting.json").is_err());
    assert_eq!(object("packs/0").unwrap(), "cells/n1/web/versions/1/packs/0");
}

proptest! {
    #[test]
    fn every_folder_is_found_by_its_own_path(key in key()) {
        let relative = key.relative();
        let folders = relative.match_indices('/').map(|(at, _)| &relative[..=at]);
        for path in folders.chain([""]) {
            if let Some(folder) = Folder::parse(path) {
                prop_assert_eq!(folder.relative(), path);
            }
        }
    }
}

#[test]
fn folders_of_the_protocol_have_their_paths_and_no_others() {
    for path in [
        "",
        "agents/",
        "index/",
        "controllers/",
        "manifests/",
        "deployments/",
        "deployments/m/",
        "deployments/m/d/",
        "cells/",
        "cells/n/",
        "cells/n/_requests/",
        "cells/n/c/",
        "cells/n/c/overrides/",
        "cells/n/c/versions/",
        "cells/n/c/versions/v/",
        "cells/n/c/versions/v/files/0123456789abcdef/",
        "cells/n/c/history/",
        "logs/",
        "logs/n/",
        "logs/n/c/",
        "audit/",
        "audit/2026-01-02/",
        "probes/",
        "probes/01ARZ3NDEKTSV4RRFFQ69G5FAV/",
    ] {
        assert_eq!(Folder::parse(path).map(|folder| folder.relative()).as_deref(), Some(path));
    }
    for path in [
        "/",
        "agents",
        "agents//",
        "/agents/",
        "Photos/",
        "cells/../",
        "cells/N/",
        "cells/n/c/overrides/etc/",
        "audit/2026-1-2/",
        "probes/01arz3ndektsv4rrffq69g5fav/",
        "cells/n/_other/",
    ] {
        assert_eq!(Folder::parse(path), None, "{path}");
    }
}
