//! What browsers get of others' work is what `scripts/vendor.sh` made, file by file, and its licences are told.

use std::collections::BTreeSet;
use std::path::Path;

use fleetman::model::Sha256Digest;

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("static/vendor").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn vendored_files_are_those_whose_sums_are_listed() {
    let sums = String::from_utf8(read("SHA256SUMS")).unwrap();
    let mut listed = BTreeSet::from(["SHA256SUMS".to_owned()]);
    for line in sums.lines() {
        let (expected, name) = line.split_once("  ").unwrap();
        assert_eq!(Sha256Digest::of(&read(name)).to_string(), expected, "{name}: scripts/vendor.sh makes it anew");
        listed.insert(name.to_owned());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("static/vendor");
    let there = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), listed);
}

#[test]
fn each_vendored_script_has_its_packages_with_version_licence_and_source() {
    let licences = String::from_utf8(read("LICENSES.md")).unwrap();
    let rows: Vec<Vec<&str>> = licences
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| package"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for name in String::from_utf8(read("SHA256SUMS")).unwrap().lines().filter_map(|line| line.split("  ").nth(1)) {
        let told = rows.iter().any(|row| row[4].split(", ").any(|file| file == name));
        assert!(told || name == "LICENSES.md", "no package is said to be in {name}");
    }
    let lock = include_str!("../../scripts/vendor/package-lock.json");
    let lock: serde_json::Value = serde_json::from_str(lock).unwrap();
    for row in rows {
        let pinned = &lock["packages"][format!("node_modules/{}", row[0])];
        assert_eq!(pinned["version"], row[1], "{}", row[0]);
        assert!(["MIT", "0BSD", "BSD-0-Clause"].contains(&row[2]), "{} is under {}", row[0], row[2]);
        assert!(row[3].starts_with("https://"), "{}", row[0]);
        let heads = licences.lines().filter_map(|line| line.strip_prefix("## "));
        assert!(heads.flat_map(|head| head.split(", ")).any(|name| name == row[0]), "the licence of {}", row[0]);
    }
}
