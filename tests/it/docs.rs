//! The documentation, as readers use it: every command is run, every sample is parsed, every link leads somewhere.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fleetman::config::{AgentConfig, ConfigFile, ControllerConfig};
use fleetman::recipe;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::cli::Workplace;
use crate::support::{ACCESS_KEY, BUCKET, SECRET_KEY, Store};

/// Commands that are no verbs of ours or do not end by themselves, and who runs them instead.
const OTHERS: [&str; 11] = [
    "cargo build --release",                   // `.ci/run`
    "cargo test",                              // `.ci/run`
    "cargo run --release -- quickstart",       // `.ci/run`
    "curl http://127.0.0.1:8080/api/v1/cells", // tests/it/web_api.rs
    "fleetman serve",                          // tests/it/portal_bucket.rs
    "fleetagent logs clock -f",                // tests/it/node_logs.rs
    "dpkg -i fleetagent_0.1.0-1_amd64.deb",    // tests/it/package_host.rs
    "systemctl start fleetagent",              // tests/it/package_host.rs
    "systemctl status fleetagent",             // tests/it/package_service.rs
    "cargo install cargo-deb --locked",        // `.ci/run`
    "dist/package packages",                   // `.ci/run`
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that people read.
fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

/// A fenced block: its language, the file that it is said to be, and its text.
struct Block {
    language: String,
    file: Option<String>,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut file) = (false, None);
    for line in page.lines() {
        if let Some(language) = line.strip_prefix("```") {
            if !open {
                blocks.push(Block { language: language.to_owned(), file: file.take(), text: String::new() });
            }
            open = !open;
        } else if open {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else if let Some(name) = line.strip_prefix("<!-- file: ") {
            file = name.strip_suffix(" -->").map(str::to_owned);
        }
    }
    assert!(!open, "a block does not end");
    blocks
}

/// A command line as its words; quotes are the only thing that a shell would do here.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_pages_works_in_the_order_of_the_page() {
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        let store = Store::start().await;
        let place = Workplace::empty();
        let _cells = Cells(place.path().to_owned());
        place.write("secret", SECRET_KEY);
        let mut init_printed = String::new();
        for block in blocks(&page) {
            if let Some(file) = &block.file {
                place.write(file, &block.text);
            }
            if block.language != "sh" {
                continue;
            }
            for line in block.text.lines().filter(|line| !line.trim().is_empty()) {
                let line = line
                    .replace("http://127.0.0.1:3900", &store.endpoint())
                    .replace("ACCESS_KEY", ACCESS_KEY)
                    .replace("s3://fleet/", &format!("s3://{BUCKET}/"));
                if OTHERS.contains(&line.as_str()) {
                    continue;
                }
                let words = words(&line);
                let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
                let ran = match words[0].as_str() {
                    "fleetman" => place.fleetman(&args).await,
                    "fleetagent" => {
                        write_agent_config(&place, &init_printed);
                        place.fleetagent(&args).await
                    }
                    _ => panic!("{}: nobody runs `{line}`", path.display()),
                };
                let expected = match (words[0].as_str(), args[0]) {
                    // Like `diff`: something would change.
                    ("fleetman", "plan") => 1,
                    ("fleetman", "diff") if args.contains(&"--from-time") => 1,
                    // As LSB has it: `once` has ended.
                    ("fleetagent", "status") => 3,
                    _ => 0,
                };
                assert_eq!(ran.code, expected, "{}: {line}\n{}\n{}", path.display(), ran.out, ran.err);
                if args[0] == "init" {
                    init_printed = ran.out;
                }
            }
        }
    }
}

/// Ends the supervisors of cells below a folder, and with them the cells, however the test ends.
struct Cells(PathBuf);

impl Drop for Cells {
    fn drop(&mut self) {
        let processes =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for pid in processes.filter_map(|name| Pid::from_raw(name.parse().ok()?)) {
            let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let is_ours = |word: &&[u8]| Path::new(OsStr::from_bytes(word)).starts_with(&self.0);
            if words.get(1) == Some(&b"supervise".as_slice()) && words.get(2).is_some_and(is_ours) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }
}

/// The node's config as the page says to make it: what `init` printed, completed.
fn write_agent_config(place: &Workplace, printed: &str) {
    let keys = |line: &str| match line.trim() {
        "# access_key: AKIAEXAMPLE" => format!("  access_key: {ACCESS_KEY}"),
        "# secret_key: change-me" => format!("  secret_key: {SECRET_KEY}"),
        _ => line.to_owned(),
    };
    let config: Vec<String> = printed.lines().map(keys).collect();
    let config = config.join("\n").replace("CHANGE-ME", "n1").replace("/var/lib/fleetagent", "state");
    place.write("agent_config.yaml", &config.replace("/srv/cells", "cells"));
}

#[test]
fn every_sample_of_a_manifest_is_one() {
    let mut samples = 0;
    for path in pages() {
        for block in blocks(&std::fs::read_to_string(&path).unwrap()) {
            if block.language == "yaml" {
                let name = path.display().to_string();
                recipe::read(&block.text, &name).unwrap_or_else(|error| panic!("{error}"));
                samples += 1;
            }
        }
    }
    assert!(samples > 0);
}

/// How pages mark a part of a config.
const PART_OF_CONFIG: &str = "controller_config.yaml, besides buckets";

#[test]
fn every_sample_of_the_controllers_config_is_one() {
    let buckets = "buckets:\n  - name: a\n    fleet: 00000000-0000-4000-8000-000000000001\n    bucket: b\n    signing: unsigned\n";
    let mut samples = 0;
    for path in pages() {
        for block in blocks(&std::fs::read_to_string(&path).unwrap()) {
            if block.file.as_deref() == Some(PART_OF_CONFIG) {
                let file = ConfigFile::written(&path, format!("{buckets}{}", block.text));
                ControllerConfig::parse(&file).unwrap_or_else(|error| panic!("{error}"));
                samples += 1;
            }
        }
    }
    assert!(samples > 0);
}

/// How pages mark a part of an agent's config.
const PART_OF_AGENT_CONFIG: &str = "agent_config.yaml, besides node and bucket";

#[test]
fn every_sample_of_the_agents_config_is_one() {
    let rest = "node: n1\nfleet: 00000000-0000-4000-8000-000000000001\nbucket: {bucket: b}\nsigning: unsigned\n";
    let mut samples = 0;
    for path in pages() {
        for block in blocks(&std::fs::read_to_string(&path).unwrap()) {
            if block.file.as_deref() == Some(PART_OF_AGENT_CONFIG) {
                let file = ConfigFile::written(&path, format!("{rest}{}", block.text));
                AgentConfig::parse(&file).unwrap_or_else(|error| panic!("{error}"));
                samples += 1;
            }
        }
    }
    assert!(samples > 0);
}

/// What GitHub makes of a heading in links to it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

fn has_anchor(path: &Path, wanted: &str) -> bool {
    let page = std::fs::read_to_string(path).unwrap_or_default();
    page.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' ')).any(|line| anchor(line) == wanted)
}

#[test]
fn every_link_leads_somewhere() {
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        // What stands between backticks is code: patterns have brackets, too.
        let page: String = page.split('`').step_by(2).collect();
        for (at, _) in page.match_indices("](") {
            let target = page[at + 2..].split(')').next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{}: {target} is not there", path.display());
            assert!(fragment.is_empty() || has_anchor(&file, fragment), "{}: {target}", path.display());
        }
    }
}

/// The text of every invariant, by its number, without line breaks.
fn invariants(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim());
    let mut found: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in lines {
        if line.starts_with("- **I") {
            found.push(line.to_owned());
            is_open = true;
        } else if line.is_empty() {
            is_open = false;
        } else if let (true, Some(last)) = (is_open, found.last_mut()) {
            last.push(' ');
            last.push_str(line);
        }
    }
    found
}

#[test]
fn the_architecture_page_names_the_layers_and_invariants_that_the_code_cites() {
    let page = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let code = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    assert_eq!(invariants(&code).len(), 9);
    assert_eq!(invariants(&page), invariants(&code));
    for layer in code.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split('`').next()) {
        assert!(page.contains(&format!("`src/{layer}")), "docs/ARCHITECTURE.md does not say where {layer} is");
    }
}
