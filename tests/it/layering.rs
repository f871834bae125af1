//! The layers of `src/lib.rs` hold: no file imports from below its own place in that list, S3 is spoken in one place,
//! and keys are built in one place.

use std::path::Path;

/// What only `src/store` may name.
const S3_CLIENT: [&str; 4] = ["aws_sdk_s3", "aws_config", "aws_smithy_", "aws_credential_types"];

/// How object keys begin.
const KEYS: [&str; 10] = [
    "alerts/",
    "cells/",
    "manifests/",
    "deployments/",
    "agents/",
    "index/",
    "logs/",
    "audit/",
    "auth/",
    "controllers/",
];

/// The layers in their order, from the table in the documentation of `src/lib.rs`.
fn layers(lib: &str) -> Vec<&str> {
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    rows.filter_map(|row| row.split_once("`]")).map(|(layer, _)| layer).collect()
}

/// A source file, by its path below `src`.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// The layer that the file belongs to; `lib.rs` and binaries stand above all of them.
    fn layer(&self) -> Option<&'a str> {
        let first = self.path.split('/').next()?;
        let layer = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "bin"].contains(&layer)).then_some(layer)
    }

    /// How many times `super` leads from the file's module to the crate.
    fn depth(&self) -> usize {
        let folders = self.path.split('/').count();
        if self.path.ends_with("/mod.rs") { folders - 1 } else { folders }
    }

    /// The text without comments of whole lines.
    fn code(&self) -> String {
        let lines = self.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The same without tests.
    fn code_without_tests(&self) -> String {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return String::new();
        }
        let code = self.code();
        code.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
    }

    /// What the file names directly below the crate: `crate::name`, `crate::{name, …}`.
    fn named(&self) -> Vec<String> {
        let code = self.code();
        let mut named = Vec::new();
        for rest in code.split("crate::").skip(1) {
            match rest.strip_prefix('{') {
                Some(group) => named.extend(members(group)),
                None => named.push(identifier(rest)),
            }
        }
        named
    }

    /// What it may reach by climbing: `super::super::name`. A module inside of the file climbs once more, so not
    /// every such name stands directly below the crate.
    fn climbed_to(&self) -> Vec<String> {
        let code = self.code();
        let to_crate = "super::".repeat(self.depth());
        code.split(&to_crate).skip(1).map(|rest| identifier(rest.trim_start_matches("super::"))).collect()
    }

    fn faults(&self, layers: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(format!("src/{}: {what}", self.path));
        let place = |layer: &str| layers.iter().position(|known| *known == layer);
        if let Some(own) = self.layer() {
            let Some(own_place) = place(own) else {
                fault(format!("{own} is not in the list of layers"));
                return faults;
            };
            let named = self.named();
            for unknown in named.iter().filter(|name| place(name).is_none()) {
                fault(format!("{unknown} is not in the list of layers"));
            }
            for other in named.iter().chain(&self.climbed_to()) {
                if place(other).is_some_and(|place| place > own_place) {
                    fault(format!("{own} imports {other}, which stands below it"));
                }
                if [own, other] == ["controller", "agent"] {
                    fault("controller imports agent".to_owned());
                }
            }
            if own != "store" {
                for name in S3_CLIENT.iter().filter(|name| self.code().contains(**name)) {
                    fault(format!("{name} is named outside of store"));
                }
            }
        }
        if self.path != "model/keys.rs" {
            // Templates lie in folders that are called like those of the bucket.
            let code = self.code_without_tests().replace("#[template(path = \"", "");
            for key in KEYS.iter().filter(|key| code.contains(&format!("\"{key}"))) {
                fault(format!("a key that begins with {key} is built outside of model/keys.rs"));
            }
        }
        faults
    }
}

/// The identifier that `text` begins with.
fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first identifiers of the members of a group, whose brace is open already.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut members, mut current) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(std::mem::take(&mut current)),
            _ if depth == 0 => current.push(c),
            _ => {}
        }
    }
    members.push(current);
    members.iter().map(|member| identifier(member.trim())).filter(|member| !member.is_empty()).collect()
}

fn faults_below(folder: &Path, relative: &str, layers: &[&str], faults: &mut Vec<String>) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{relative}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files += faults_below(&entry.path(), &format!("{path}/"), layers, faults);
        } else if path.ends_with(".rs") {
            files += 1;
            let text = std::fs::read_to_string(entry.path()).unwrap();
            faults.extend(Source { path: &path, text: &text }.faults(layers));
        }
    }
    files
}

#[test]
fn every_file_keeps_to_its_layer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = std::fs::read_to_string(src.join("lib.rs")).unwrap();
    let layers = layers(&lib);
    assert_eq!((layers.first(), layers.last()), (Some(&"model"), Some(&"cli")), "the list is read wrong: {layers:?}");
    let mut faults = Vec::new();
    assert!(faults_below(&src, "", &layers, &mut faults) > layers.len());
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn a_file_that_breaks_its_layer_is_seen() {
    let layers = layers(
        "//! | layer | what |\n//! | [`model`] | words |\n//! | [`store`] | s |\n//! | [`agent`] | a |\n//! | [`controller`] | c |\n",
    );
    assert_eq!(layers, ["model", "store", "agent", "controller"]);
    let faults = |path, text| Source { path, text }.faults(&layers).len();
    for (path, text) in [
        ("model/name.rs", "use crate::store::Store;"),
        ("model.rs", "fn f() { crate::store::g() }"),
        ("model/name.rs", "use crate::{\n    model::{a, b},\n    store::{c},\n};"),
        ("model/name.rs", "use super::super::store::Store;"),
        ("model/mod.rs", "use super::store::Store;"),
        ("store/a.rs", "use crate::agent::Agent;"),
        ("agent/a.rs", "use crate::controller::Plan;"),
        ("controller/a.rs", "use crate::agent::Agent;"),
        ("controller/a.rs", "use crate::unheard_of::Agent;"),
        ("elsewhere/a.rs", ""),
        ("agent/a.rs", "use aws_sdk_s3::Client;"),
        ("agent/a.rs", "let key = format!(\"cells/{node}\");"),
        ("bin/fleetman.rs", "let key = \"audit/x\";"),
    ] {
        assert_eq!(faults(path, text), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("controller/a.rs", "use crate::{model::{Name, store}, store::Store};\nuse super::agent;"),
        ("store/a.rs", "use aws_sdk_s3::Client;\nuse super::error::E;\nuse crate::model::Name;"),
        ("agent/a.rs", "// not aws_sdk_s3, not crate::controller\n/// \"cells/\""),
        ("agent/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests { const K: &str = \"cells/a\"; }"),
        ("agent/a/tests.rs", "const K: &str = \"cells/a\";"),
        ("model/keys.rs", "let key = \"cells/\";"),
        ("bin/fleetman.rs", "fleetman::cli::main()"),
    ] {
        assert_eq!(faults(path, text), 0, "{path}: {text}");
    }
}
