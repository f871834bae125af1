//! `docs/FORMAT.md` shows what is there, and explains every field of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fleetman::model::Code;
use fleetman::model::drift::Deviation;

use super::keys::key_table;
use super::{root, updating};

fn code_table() -> String {
    let mut table = String::from("| code | meaning |\n|---|---|\n");
    for (code, meaning) in Code::ALL {
        writeln!(table, "| `{code}` | {meaning} |").unwrap();
    }
    table
}

fn deviation_table() -> String {
    let mut table = String::from("| code | meaning |\n|---|---|\n");
    for (code, meaning) in Deviation::ALL {
        writeln!(table, "| `{}` | {meaning} |", code.as_str()).unwrap();
    }
    table
}

/// The page's generated parts: between `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn generated() -> Vec<(String, String)> {
    let mut parts = vec![
        ("keys".to_owned(), key_table()),
        ("codes".to_owned(), code_table()),
        ("deviations".to_owned(), deviation_table()),
    ];
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join("tests/golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        parts.push((name, format!("```json\n{text}```\n")));
    }
    parts
}

#[test]
fn the_format_page_shows_every_key_code_and_document_as_it_is() {
    let path = root().join("docs/FORMAT.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    for (name, text) in generated() {
        let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
        let start = page.find(&begin).unwrap_or_else(|| panic!("docs/FORMAT.md has no part {name}")) + begin.len();
        let stop = start + page[start..].find(&end).unwrap_or_else(|| panic!("part {name} does not end"));
        if updating() {
            page.replace_range(start..stop, &text);
        } else {
            assert_eq!(page[start..stop], text, "part {name} of docs/FORMAT.md is stale: see the top of this test");
        }
    }
    if updating() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_fields_are_explained(&page, &path);
}

/// Each field of each document is named in the page's prose, outside the samples.
fn assert_fields_are_explained(page: &str, path: &Path) {
    let prose: String = page.split("```json").enumerate().fold(String::new(), |mut prose, (at, part)| {
        prose.push_str(if at == 0 { part } else { part.split_once("```").map_or("", |(_, rest)| rest) });
        prose
    });
    for (name, text) in generated().iter().filter(|(name, _)| name.ends_with(".json")) {
        let json = text.trim_start_matches("```json\n").trim_end_matches("```\n");
        let mut fields = Vec::new();
        collect_fields(&serde_json::from_str(json).unwrap(), &mut fields);
        for field in fields {
            assert!(
                prose.contains(&format!("`{field}`")),
                "{}: field {field} of {name} is not explained",
                path.display()
            );
        }
    }
}

/// Names that people chose, rather than fields.
const CHOSEN: [&str; 16] = [
    "on-call",
    "agent_dead",
    "rolled_back",
    "web",
    "site",
    "shop",
    "cache",
    "migrate",
    "region",
    "tier",
    "POOL",
    "TOKEN",
    "answers",
    "queue",
    "ready",
    "works",
];

fn collect_fields(value: &serde_json::Value, fields: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                if !CHOSEN.contains(&name.as_str()) {
                    fields.push(name.clone());
                }
                collect_fields(value, fields);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_fields(item, fields)),
        _ => {}
    }
}
