//! Breaks every field of a manifest and of a cell once in every way, and asks for the exact place.
//!
//! The samples below name every field that there is (a test compares them with the schema), one to a line. Each test
//! changes one line and works out from the change alone where the error must stand.

use std::collections::BTreeSet;

use fleetman::recipe::{self, RecipeError, schema};
use fleetman::yaml::YamlError;

const PROCESS: &str = "\
name: web
description: A web server
labels:
  team: shop
vars:
  port: 8080
  domain:
    default: example.org
    description: where customers find it
files:
  - path: bin/server
    mode: \"0755\"
  - glob: etc/**
    exclude: [\"**/*.bak\"]
    template: true
profile:
  process:
    command: [bin/server, --port, \"{{ vars.port }}\"]
    env:
      LOG: info
      TOKEN:
        from_file: /etc/web/secrets
        key: TOKEN
    user: web
    group: web
    working_dir: etc
    restart:
      policy: always
      delay: 2s
      max_retries: 5
    stop:
      signal: INT
      timeout: 30s
strategy:
  start_stop:
    shares: so_reuseport
hooks:
  before_activate:
    command: [/usr/bin/true]
    timeout: 5m
    retry_for: 10m
    if_changed: [\"db/**\"]
    ignore_failure: true
    user: web
limits:
  open_files: 1024
  memory: 64MiB
  tasks: 10
  core: 0
";

const PROCESSES: &str = "\
name: shop
profile:
  process:
    env:
      LOG: info
    user: shop
    group: shop
    processes:
      migrate:
        type: task
        shell: bin/migrate --all && echo done
        env:
          LOG: debug
        user: owner
      web:
        type: service
        command: [bin/web]
        group: web
        working_dir: share
        umask: \"0027\"
        after: [migrate]
        autostart: true
        restart:
          policy: always
          delay: 500ms
          max_retries: 9
          backoff: 1.5
          max_delay: 30s
          jitter: 20%
          reset_after: 5m
        stop:
          signal: INT
          timeout: 30s
        reload_signal: HUP
strategy:
  start_stop:
    sockets:
      http:
        listen: 0.0.0.0:80
        process: web
      admin:
        listen: /run/admin.sock
        process: web
        mode: \"0660\"
reload_if: [conf/**]
restart_if: [bin/**]
health:
  min_healthy_time: 5s
  deadline: 1m
  interval: 500ms
  timeout: 1s
  restart_after: 3
  checks:
    answers:
      http:
        url: https://localhost/health
        status: 200-204
        contains: fine
        insecure: true
    cache:
      tcp:
        address: localhost:6379
    queue:
      exec:
        command: [bin/web, --queue]
    works:
      file:
        path: beat
        newer_than: 30s
    ready:
      log:
        matches: ^listening
";

const SYSTEMD: &str = "\
name: worker
profile:
  systemd:
    description: Works the queue off
    type: exec
    command: [bin/worker]
    env:
      LOG: info
      KEY:
        credential: worker.key
    user: worker
    group: worker
    working_dir: lib
    after: [network-online.target]
    requires: [postgresql.service]
    restart:
      policy: on-failure
      delay: 5s
      max_retries: 3
    stop:
      signal: INT
      timeout: 30s
    reload_command: [bin/worker, --reload]
    schedule:
      on_calendar: \"*-*-* 03:00\"
      persistent: true
      random_delay: 5m
    hardening:
      no_new_privileges: true
      protect_system: strict
      protect_home: tmpfs
      private_tmp: true
      private_devices: true
      private_network: false
      dynamic_user: false
      protect_kernel_tunables: true
      protect_kernel_modules: true
      protect_control_groups: true
      restrict_suid_sgid: true
      restrict_realtime: true
      lock_personality: true
      memory_deny_write_execute: true
      capabilities: [CAP_NET_BIND_SERVICE]
      ambient_capabilities: [CAP_NET_BIND_SERVICE]
      read_write_paths: [/srv/worker]
      state_directory: worker
limits:
  memory: 64MiB
";

const OWN_UNIT: &str = "\
name: worker
profile:
  systemd:
    unit_file: etc/worker.service
    user: worker
    group: worker
";

const SUPERVISOR: &str = "\
name: bot
profile:
  supervisor:
    env:
      LOG: info
    user: bot
    group: bot
    processes:
      seed:
        type: task
        shell: exec bin/seed
        env:
          LOG: debug
      bot:
        command: [bin/bot]
        user: bot2
        group: bot2
        working_dir: share
        umask: \"0027\"
        autostart: false
        restart:
          policy: always
          max_retries: 9
        stop:
          signal: INT
          timeout: 30s
limits:
  open_files: 1024
";

const DEPLOY: &str = "\
name: site
profile:
  deploy:
    user: www
    group: www
drift:
  mode: repair
  ignore: [cache/**]
  interval: 10m
  repairs_per_hour: 2
windows:
  download:
    - allow: 0 22 * * *
      for: 7h
      time_zone: Europe/Berlin
  activate:
    - allow: 0 2 * * mon-fri
      for: 2h
      time_zone: Europe/Berlin
    - deny: 0 0 24-26 12 *
      for: 1d
lock: run/busy
after: [cache]
requires: [db, queue]
";

const CELL: &str = "\
cell: n1/web
manifest: web
description: The one in Paris
vars:
  port: 9090
labels:
  region: eu
after: [cache]
requires: [db]
overrides:
  command: [bin/server]
  env:
    LOG: debug
    TOKEN:
      from_file: /etc/web/other
      key: OTHER
  user: web2
  group: web2
  working_dir: etc
  umask: \"0077\"
  restart:
    policy: never
    delay: 1m
    max_retries: 0
    backoff: 2
    max_delay: 1h
    jitter: 5%
    reset_after: 10m
  stop:
    signal: HUP
    timeout: 1s
  reload_signal: USR1
  processes:
    web:
      command: [bin/server]
      env:
        LOG: debug
      user: web3
      group: web3
      working_dir: etc
      umask: \"0077\"
      restart:
        backoff: 3
      stop:
        timeout: 2s
      reload_signal: USR2
    worker:
      shell: exec bin/worker
  schedule: daily
  hardening:
    private_tmp: false
  limits:
    open_files: 2048
    memory: 1GiB
    tasks: 20
    core: 1B
paused:
  reason: moving house
  by: alice
  since: 2026-11-20T14:00:00Z
";

/// Maps whose keys people choose: no key is unknown there.
const FREE: [&str; 14] = [
    "labels",
    "vars",
    "profile.process.env",
    "profile.process.processes",
    "profile.process.processes.migrate.env",
    "health.checks",
    "strategy.start_stop.sockets",
    "profile.systemd.env",
    "profile.supervisor.env",
    "profile.supervisor.processes",
    "profile.supervisor.processes.seed.env",
    "overrides.env",
    "overrides.processes",
    "overrides.processes.web.env",
];

/// Lists of maps.
const LISTS: [&str; 3] = ["files", "windows.download", "windows.activate"];

type Reader = fn(&str) -> Result<(), RecipeError>;

fn samples() -> [(&'static str, Reader); 7] {
    let manifest: Reader = |text| recipe::manifest(text, "sample.yaml").map(drop);
    let cell: Reader = |text| recipe::cell(text, "sample.yaml").map(drop);
    [
        (PROCESS, manifest),
        (PROCESSES, manifest),
        (SYSTEMD, manifest),
        (OWN_UNIT, manifest),
        (SUPERVISOR, manifest),
        (DEPLOY, manifest),
        (CELL, cell),
    ]
}

/// A key of a sample, one to a line.
#[derive(Debug, Clone)]
struct Key {
    /// Counted from zero.
    line: usize,
    /// The line behind the last one that belongs to the key's value.
    end: usize,
    /// In characters, counted from zero.
    column: usize,
    name: String,
    value: String,
    field: String,
    parent: String,
}

/// Every key of a sample, with the way to it.
fn keys(sample: &str) -> Vec<Key> {
    let lines: Vec<&str> = sample.lines().collect();
    let column_of = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut item: Option<usize> = None;
    let mut keys = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let column = column_of(line);
        let (name, value) = line[column..].split_once(':').expect("each line of a sample holds a key");
        let dash = line[..column].contains('-');
        above.retain(|(outer, _)| *outer < if dash { column - 2 } else { column });
        let list = above.last().map(|(_, field)| field.clone()).unwrap_or_default();
        item = if dash {
            Some(item.map_or(0, |index| index + 1))
        } else if above.last().is_some_and(|(_, field)| LISTS.contains(&field.as_str())) {
            item
        } else {
            None
        };
        let parent = item.map_or(list.clone(), |index| format!("{list}[{index}]"));
        let field = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        let end = number + 1 + lines[number + 1..].iter().take_while(|line| column_of(line) > column && !dash).count();
        if item.is_none() {
            above.push((column, field.clone()));
        }
        keys.push(Key {
            line: number,
            end,
            column,
            name: name.to_owned(),
            value: value.trim().to_owned(),
            field,
            parent,
        });
    }
    keys
}

impl Key {
    fn is_free(&self) -> bool {
        FREE.contains(&self.parent.as_str())
    }

    /// The sample with the lines of this key in place of `lines`.
    fn replaced(&self, sample: &str, lines: &[String]) -> String {
        let mut all: Vec<String> = sample.lines().map(str::to_owned).collect();
        all.splice(self.line..self.end, lines.iter().cloned());
        all.join("\n") + "\n"
    }

    /// The line up to the key.
    fn indent(&self, sample: &str) -> String {
        sample.lines().nth(self.line).unwrap()[..self.column].to_owned()
    }

    fn lines(&self, sample: &str) -> Vec<String> {
        sample.lines().skip(self.line).take(self.end - self.line).map(str::to_owned).collect()
    }

    fn place(&self) -> (usize, usize) {
        (self.line + 1, self.column + 1)
    }

    fn place_of_value(&self) -> (usize, usize) {
        (self.line + 1, self.column + self.name.len() + 3)
    }
}

/// The one error of a broken sample.
fn only_error(text: &str, read: Reader) -> YamlError {
    let error = read(text).expect_err(text);
    let [error] = error.errors() else { panic!("{error}\n{text}") };
    error.clone()
}

#[track_caller]
fn assert_place(error: &YamlError, place: (usize, usize), field: &str, text: &str) {
    assert_eq!((error.line, error.column), place, "{error}\n{text}");
    assert_eq!(error.field, field, "{error}\n{text}");
    let line = text.lines().nth(error.line - 1).unwrap_or_default();
    assert!(error.snippet().contains(line.trim_end()), "{}", error.snippet());
}

#[test]
fn the_samples_are_right_and_name_every_field_of_the_schema() {
    for (sample, read) in samples() {
        read(sample).unwrap_or_else(|error| panic!("{error}"));
    }
    let named: BTreeSet<String> = samples().iter().flat_map(|(sample, _)| keys(sample)).map(|key| key.name).collect();
    let mut wanted = BTreeSet::new();
    properties(&schema::manifest(), &mut wanted);
    properties(&schema::cell(), &mut wanted);
    assert!(wanted.len() > 30, "the walk finds the fields: {wanted:?}");
    let absent: Vec<&String> = wanted.difference(&named).collect();
    assert!(absent.is_empty(), "add to the samples: {absent:?}");
}

fn properties(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    if let Some(object) = schema.as_object() {
        if let Some(properties) = object.get("properties").and_then(|properties| properties.as_object()) {
            found.extend(properties.keys().cloned());
        }
        object.values().for_each(|inner| properties(inner, found));
    }
    if let Some(items) = schema.as_array() {
        items.iter().for_each(|inner| properties(inner, found));
    }
}

#[test]
fn a_misspelt_key_is_found_and_the_right_one_suggested() {
    let mut broken = 0;
    for (sample, read) in samples() {
        for key in keys(sample).iter().filter(|key| !key.is_free() && key.name != "cell") {
            let mut lines = key.lines(sample);
            // The last letter twice: one edit away, whatever the key.
            let wrong = format!("{}{}", key.name, key.name.chars().last().unwrap());
            lines[0] = lines[0].replacen(&format!("{}:", key.name), &format!("{wrong}:"), 1);
            let text = key.replaced(sample, &lines);
            let error = only_error(&text, read);
            assert_place(&error, key.place(), &key.field.replace(&key.name, &wrong), &text);
            assert_eq!(error.help, Some(format!("did you mean `{}`?", key.name)), "{error}");
            assert_eq!(error.end_column, Some(key.column + 1 + wrong.len()));
            broken += 1;
        }
    }
    assert!(broken > 80, "{broken}");
}

#[test]
fn an_unknown_key_beside_every_key_is_found() {
    for (sample, read) in samples() {
        for key in keys(sample).iter().filter(|key| !key.is_free()) {
            let mut lines = key.lines(sample);
            lines.push(format!("{}zzzzzzzz: 1", key.indent(sample).replace('-', " ")));
            let text = key.replaced(sample, &lines);
            let error = only_error(&text, read);
            let parent = if key.parent.is_empty() { String::new() } else { format!("{}.", key.parent) };
            let place = (key.line + lines.len(), key.column + 1);
            if key.parent == "profile" || key.parent.starts_with("health.checks.") && key.value.is_empty() {
                assert_place(&error, place, &format!("{parent}zzzzzzzz"), &text);
                assert!(error.message.contains("a second choice"), "{error}");
                continue;
            }
            assert_place(&error, place, &format!("{parent}zzzzzzzz"), &text);
            // The moments of hooks are a list of choices.
            if key.parent == "hooks" {
                assert!(error.help.as_ref().is_some_and(|help| help.contains("`before_stage`")), "{error}");
                continue;
            }
            assert!(error.message.starts_with("unknown key"), "{error}");
            assert!(error.help.as_ref().is_some_and(|help| help.contains(&format!("`{}`", key.name))), "{error}");
        }
    }
}

#[test]
fn every_key_without_a_value_is_found() {
    for (sample, read) in samples() {
        for key in keys(sample) {
            let indent = key.indent(sample);
            for (written, place) in [("", key.place()), (" ~", key.place_of_value()), (" null", key.place_of_value())] {
                let text = key.replaced(sample, &[format!("{indent}{}:{written}", key.name)]);
                let error = only_error(&text, read);
                assert_place(&error, place, &key.field, &text);
                assert_eq!(error.message, "there is no value");
            }
        }
    }
}

#[test]
fn every_key_given_twice_is_found() {
    for (sample, read) in samples() {
        for key in keys(sample) {
            let mut lines = key.lines(sample);
            let count = lines.len();
            lines.extend(key.lines(sample));
            // The second of two keys of an item stands below its dash.
            lines[count] = lines[count].replace('-', " ");
            let text = key.replaced(sample, &lines);
            let error = only_error(&text, read);
            assert_place(&error, (key.line + 1 + count, key.column + 1), &key.field, &text);
            assert_eq!(error.message, format!("`{}` is given twice, first on line {}", key.name, key.line + 1));
        }
    }
}

#[test]
fn every_value_of_a_wrong_type_is_found() {
    for (sample, read) in samples() {
        for key in keys(sample) {
            let is_map = key.value.is_empty() || key.value.starts_with('[');
            // A number, for what is a map or a list; else a list of lists, which nothing is.
            let wrong = match (is_map, key.name.as_str()) {
                (true, "domain" | "TOKEN" | "KEY" | "schedule") => "[[x]]",
                (true, _) => "7",
                (false, _) => "[[x]]",
            };
            let text = key.replaced(sample, &[format!("{}{}: {wrong}", key.indent(sample), key.name)]);
            let error = only_error(&text, read);
            let (line, column) = key.place_of_value();
            // A variable may be a list, but no list of lists: the inner one is at fault.
            let inner = wrong == "[[x]]" && ["port", "domain", "default"].contains(&key.name.as_str());
            let field = if inner { format!("{}[0]", key.field) } else { key.field.clone() };
            assert_place(&error, (line, column + usize::from(inner)), &field, &text);
        }
    }
}

#[test]
fn every_tab_that_indents_is_found() {
    for (sample, read) in samples() {
        for key in keys(sample).iter().filter(|key| key.column > 0 && !key.indent(sample).contains('-')) {
            let mut lines = key.lines(sample);
            lines[0] = format!("\t{}", lines[0].trim_start());
            let text = key.replaced(sample, &lines);
            let error = only_error(&text, read);
            assert_eq!((error.line, error.column), (key.line + 1, 1), "{error}\n{text}");
            assert!(error.message.contains("tab"), "{error}");
        }
    }
}

#[test]
fn the_schema_refuses_what_reading_refuses() {
    let validators = [schema::manifest(), schema::cell()].map(|schema| jsonschema::draft7::new(&schema).unwrap());
    for (sample, _) in samples() {
        let validator = &validators[usize::from(sample.starts_with("cell:"))];
        let accepts = |text: &str| validator.is_valid(&serde_yaml::from_str::<serde_json::Value>(text).unwrap());
        assert!(accepts(sample), "{sample}");
        for key in keys(sample) {
            let indent = key.indent(sample);
            let replaced = |value: &str| key.replaced(sample, &[format!("{indent}{}:{value}", key.name)]);
            assert!(!accepts(&replaced(" ~")), "null for {}", key.field);
            let is_map = key.value.is_empty() || key.value.starts_with('[');
            let free_value = is_map && key.is_free();
            let wrong = if is_map && !free_value { " 7" } else { " [[x]]" };
            assert!(!accepts(&replaced(wrong)), "{wrong} for {}", key.field);
            if !key.is_free() {
                let mut lines = key.lines(sample);
                lines.push(format!("{}zzzzzzzz: 1", indent.replace('-', " ")));
                assert!(!accepts(&key.replaced(sample, &lines)), "a neighbour of {}", key.field);
            }
        }
    }
}
