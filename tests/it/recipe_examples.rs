//! The examples and schemas in `docs/`: what people copy from there must work.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fleetman::model::deployment::DeploymentFile;
use fleetman::model::manifest::Mode;
use fleetman::model::run_spec::Profile;
use fleetman::model::systemd::{Hardening, ServiceType};
use fleetman::model::{FilePath, Sha256Digest};
use fleetman::recipe::{self, Parsed, schema};
use serde_json::{Value, json};

fn docs(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(below)
}

/// Every example, by file name.
fn examples() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(docs("examples")).unwrap().map(|entry| entry.unwrap().path());
    let yaml = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
    };
    yaml.map(read).collect()
}

#[test]
fn the_schemas_in_docs_are_those_of_the_code() {
    for (name, schema) in [("manifest", schema::manifest()), ("cell", schema::cell())] {
        let file = format!("schema/{name}.schema.json");
        let stored = std::fs::read_to_string(docs(&file)).unwrap_or_default();
        let current = schema::text(&schema);
        assert!(stored == current, "docs/{file} is stale: run `cargo run -- schema {name} > docs/{file}`");
    }
}

#[test]
fn the_schemas_are_valid_and_say_what_every_field_is_for() {
    for schema in [schema::manifest(), schema::cell()] {
        assert!(jsonschema::meta::is_valid(&schema));
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        described("", &schema);
    }
}

fn described(at: &str, schema: &Value) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let is_choice = property.as_object().is_some_and(|object| object.keys().eq(["$ref"]));
        assert!(property.get("description").is_some() || is_choice, "{at}/{name} has no description");
    }
    match schema {
        Value::Object(object) => object.iter().for_each(|(key, inner)| described(&format!("{at}/{key}"), inner)),
        Value::Array(items) => items.iter().for_each(|inner| described(at, inner)),
        _ => {}
    }
}

#[test]
fn every_example_is_read_and_fits_its_schema() {
    let examples = examples();
    assert!(examples.len() >= 7, "{:?}", examples.keys());
    for (name, text) in &examples {
        let found = recipe::read(text, name).unwrap_or_else(|error| panic!("{error}"));
        let (kind, schema) = match found.as_slice() {
            [Parsed::Manifest(_)] => ("manifest", schema::manifest()),
            [Parsed::Cell(_)] => ("cell", schema::cell()),
            other => panic!("{name} holds {} documents", other.len()),
        };
        let modeline = format!("# yaml-language-server: $schema=../schema/{kind}.schema.json\n");
        assert!(text.starts_with(&modeline), "{name} names its schema");
        let validator = jsonschema::draft7::new(&schema).unwrap();
        let value: Value = serde_yaml::from_str(text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

#[test]
fn the_examples_with_cells_become_versions() {
    let resolved = |manifest: &str, cell: &str, files: &[(&str, u32)]| {
        let examples = examples();
        let manifest = recipe::manifest(&examples[manifest], manifest).unwrap();
        let cell = recipe::cell(&examples[cell], cell).unwrap();
        assert_eq!(cell.manifest, manifest.name);
        let file = |(path, mode): &(&str, u32)| DeploymentFile {
            path: FilePath::new(*path).unwrap(),
            size: 1,
            sha256: Sha256Digest::of(path.as_bytes()),
            mode: Mode::new(*mode).unwrap(),
        };
        let files: Vec<DeploymentFile> = files.iter().map(file).collect();
        recipe::resolve::resolve(&manifest, &cell, &files, &[]).unwrap_or_else(|error| panic!("{error}"))
    };
    let site = [("index.html", 0o644), ("style.css", 0o644), ("style.css.map", 0o644), ("drafts/new.html", 0o644)];
    let site = resolved("site.yaml", "site-cell.yaml", &site);
    let files: Vec<(&str, bool)> = site.files.iter().map(|file| (file.path.as_str(), file.template)).collect();
    assert_eq!(files, [("index.html", true), ("style.css", false)]);
    let page = "<title>{{ vars.title }}</title> {{ vars.contact }} {{ labels.team }} {{ labels.region }} {{ node }}";
    let page = recipe::render::file("index.html", page.as_bytes(), &site.context).unwrap();
    assert_eq!(page, "<title>Welcome</title> hello@example.com web eu n1");

    let api = resolved(
        "process.yaml",
        "process-cell.yaml",
        &[("bin/api", 0o644), ("etc/api.toml", 0o644), ("public/a/b.css", 0o644)],
    );
    let run = api.profile.runs()[0];
    assert_eq!(run.command[2], "127.0.0.1:9090");
    assert_eq!(api.limits.memory_bytes, Some(2 << 30));

    let shop = [("bin/shop", 0o644), ("bin/migrate", 0o644), ("migrations/1.sql", 0o644)];
    let shop = resolved("processes.yaml", "processes-cell.yaml", &shop);
    let Profile::Process(spec) = &shop.profile else { panic!("{:?}", shop.profile) };
    assert_eq!(spec.check(), Ok(()));
    let web = &spec.processes[&"web".parse().unwrap()];
    assert_eq!((web.run.command.last().map(String::as_str), web.run.stop.timeout_ms), (Some("9090"), 120_000));
    assert_eq!((web.run.env.len(), shop.health.deadline_ms), (2, 180_000));

    let worker = resolved("systemd.yaml", "systemd-cell.yaml", &[("bin/worker", 0o644), ("lib/a.so", 0o644)]);
    let Profile::Systemd(spec) = &worker.profile else { panic!("{:?}", worker.profile) };
    assert_eq!(spec.check(), Ok(()));
    let unit = spec.rendered().unwrap();
    assert_eq!((unit.kind, unit.run.restart.delay_ms), (ServiceType::Notify, 30_000));
    let Hardening { private_tmp, read_write_paths, .. } = &unit.hardening;
    assert_eq!((*private_tmp, read_write_paths.len(), worker.limits.tasks), (Some(true), 1, Some(64)));

    let bot = resolved("supervisor.yaml", "supervisor-cell.yaml", &[("bot.py", 0o644)]);
    let Profile::Supervisor(spec) = &bot.profile else { panic!("{:?}", bot.profile) };
    assert_eq!(spec.check(), Ok(()));
    let programs: Vec<(usize, bool)> =
        spec.processes.values().map(|process| (process.run.env.len(), process.autostart)).collect();
    assert_eq!(programs, [(3, true), (2, false)]);
}

/// The language server that editors use, as `yaml-language-server` on the path.
struct LanguageServer {
    child: Child,
    stdin: ChildStdin,
    messages: Receiver<Value>,
}

impl LanguageServer {
    /// `None` where it is not installed, which only counts as a failure if `FLEETMAN_E2E` is set.
    fn start() -> Option<Self> {
        let child =
            Command::new("yaml-language-server").arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if std::env::var_os("FLEETMAN_E2E").is_some() => panic!("yaml-language-server: {error}"),
            Err(error) => {
                eprintln!("skipped: yaml-language-server: {error}");
                return None;
            }
        };
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            while let Some(message) = receive(&mut stdout)
                && sender.send(message).is_ok()
            {}
        });
        Some(Self { child, stdin, messages })
    }

    fn send(&mut self, mut message: Value) {
        message["jsonrpc"] = "2.0".into();
        let text = message.to_string();
        write!(self.stdin, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        self.stdin.flush().unwrap();
    }

    /// Waits for a message that `wanted` takes, answering what the server asks meanwhile.
    fn wait<T>(&mut self, wanted: impl Fn(&Value) -> Option<T>) -> T {
        loop {
            let message = self.messages.recv_timeout(Duration::from_secs(60)).expect("the language server answers");
            if let Some(found) = wanted(&message) {
                return found;
            }
            if let (Some(id), Some(method)) = (message.get("id"), message.get("method")) {
                let count = message["params"]["items"].as_array().map_or(0, Vec::len);
                let result =
                    if method == "workspace/configuration" { json!(vec![Value::Null; count]) } else { Value::Null };
                self.send(json!({"id": id, "result": result}));
            }
        }
    }

    /// Opens or changes the text at `uri`, and waits until the server marks something there, or nothing: line (from
    /// zero) and message. It may well say the same of an old text once more.
    fn marks(&mut self, uri: &str, version: i64, text: &str, any: bool) -> Vec<(u64, String)> {
        if version == 1 {
            let document = json!({"uri": uri, "version": version, "languageId": "yaml", "text": text});
            self.send(json!({"method": "textDocument/didOpen", "params": {"textDocument": document}}));
        } else {
            let document = json!({"uri": uri, "version": version});
            let params = json!({"textDocument": document, "contentChanges": [{"text": text}]});
            self.send(json!({"method": "textDocument/didChange", "params": params}));
        }
        self.wait(|message| {
            let params = &message["params"];
            let published = message["method"] == "textDocument/publishDiagnostics" && params["uri"] == uri;
            let found = params["diagnostics"].as_array().filter(|found| published && found.is_empty() != any)?;
            let line = |mark: &Value| mark["range"]["start"]["line"].as_u64().unwrap();
            Some(found.iter().map(|mark| (line(mark), mark["message"].as_str().unwrap().to_owned())).collect())
        })
    }
}

impl Drop for LanguageServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn receive(stdout: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            header => length = header.strip_prefix("Content-Length: ").map_or(length, |text| text.parse().unwrap()),
        }
    }
    let mut body = vec![0; length];
    stdout.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

#[test]
fn an_editor_takes_the_schema_and_marks_an_unknown_key() {
    let Some(mut server) = LanguageServer::start() else { return };
    let root = format!("file://{}", docs("examples").display());
    let capabilities = json!({"textDocument": {"publishDiagnostics": {"relatedInformation": true}}});
    let params = json!({"processId": null, "rootUri": root, "capabilities": capabilities});
    server.send(json!({"id": 1, "method": "initialize", "params": params}));
    server.wait(|message| (message["id"] == 1).then_some(()));
    server.send(json!({"method": "initialized", "params": {}}));
    let settings = json!({"yaml": {"validate": true, "schemaStore": {"enable": false}}});
    server.send(json!({"method": "workspace/didChangeConfiguration", "params": {"settings": settings}}));
    for (name, text) in examples() {
        let uri = format!("{root}/{name}");
        assert_eq!(server.marks(&uri, 1, &text, false), [], "{name}");
        let broken = format!("{text}zzzzzzzz: 1\n");
        let line = u64::try_from(text.lines().count()).unwrap();
        let found = server.marks(&uri, 2, &broken, true);
        assert_eq!(found, [(line, "Property zzzzzzzz is not allowed.".to_owned())], "{name}");
    }
}
