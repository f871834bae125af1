use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    count: u16,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    delta: i8,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    nested: Option<Nested>,
    run: Option<Run>,
    kind: Option<Word>,
    free: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Nested {
    depth: u8,
    note: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Run {
    Deploy(Nested),
    Process { depth: u8 },
    Nothing,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
struct Word(String);

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains(' ') { Err(format!("`{text}` is two words\njoin them")) } else { Ok(Self(text)) }
    }
}

fn error(text: &str) -> YamlError {
    parse::<Sample>(text, "sample.yaml").expect_err(text)
}

/// `line:column field: message (help)`.
fn shown(text: &str) -> String {
    error(text).to_string().strip_prefix("sample.yaml:").expect("the origin comes first").to_owned()
}

#[test]
fn a_whole_document_is_read() {
    let text = "name: web\ncount: 3\non: true\ndelta: -4\ntags: [a, b]\nenv: {PORT: 8080}\nnested: {depth: 1}\n\
                run:\n  process: {depth: 2}\nkind: word\n";
    let sample: Sample = parse(text, "sample.yaml").unwrap();
    assert_eq!((sample.name.as_str(), sample.count, sample.on, sample.delta), ("web", 3, true, -4));
    assert_eq!(sample.tags, ["a", "b"]);
    assert_eq!(sample.env["PORT"], "8080");
    assert_eq!(sample.nested, Some(Nested { depth: 1, note: None }));
    assert_eq!(sample.run, Some(Run::Process { depth: 2 }));
    assert_eq!(sample.kind, Some(Word("word".to_owned())));
}

#[test]
fn text_keeps_the_characters_as_written() {
    for written in ["1.10", "0644", "off", "yes", "12:30", "1e3", "0x1F", "true", "1_000", "2026-01-01", "-0"] {
        let sample: Sample = parse(&format!("name: {written}\n"), "sample.yaml").unwrap();
        assert_eq!(sample.name, written);
    }
}

#[test]
fn every_refusal_names_the_place_the_field_and_the_remedy() {
    let cases = [
        ("", "1:1: the document is empty"),
        ("# nothing\n---\n", "1:1: the document is empty"),
        ("nmae: web\n", "1:1: nmae: unknown key `nmae` (did you mean `name`?)"),
        ("name: web\ntasg: []\n", "2:1: tasg: unknown key `tasg` (did you mean `tags`?)"),
        ("name: a\nnested:\n  depth: 1\n  nota: x\n", "4:3: nested.nota: unknown key `nota` (did you mean `note`?)"),
        ("name: a\nnested: {zzzzzz: 1}\n", "2:10: nested.zzzzzz: unknown key `zzzzzz` (known here: `depth`, `note`)"),
        ("count: 1\n", "1:1: the key `name` is missing"),
        ("name: a\nnested:\n  note: x\n", "3:3: nested: the key `depth` is missing"),
        ("name: a\nname: b\n", "2:1: name: `name` is given twice, first on line 1 (keep one of the two)"),
        (
            "name: a\nenv:\n  A: 1\n  B: 2\n  A: 3\n",
            "5:3: env.A: `A` is given twice, first on line 3 (keep one of the two)",
        ),
        ("name: a\ncount: many\n", "2:8: count: expected a whole number from 0 to 65535, found text"),
        ("name: a\ncount: 70000\n", "2:8: count: expected a whole number from 0 to 65535, found a number"),
        ("name: a\ncount: -1\n", "2:8: count: expected a whole number from 0 to 65535, found a number"),
        ("name: a\ncount: 010\n", "2:8: count: ambiguous: YAML readers differ on `010` (quote it: \"010\")"),
        ("name: a\non: yes\n", "2:5: on: expected true or false, found text"),
        ("name: a\nfree: yes\n", "2:7: free: ambiguous: YAML readers differ on `yes` (quote it: \"yes\")"),
        (
            "name: a\nfree: {t: 12:30}\n",
            "2:11: free.t: ambiguous: YAML readers differ on `12:30` (quote it: \"12:30\")",
        ),
        ("name: a\ntags: x y\n", "2:7: tags: expected a list, found text (write [one, two], or"),
        ("name: a\ntags: {x: y}\n", "2:7: tags: expected a list, found a map (write [one, two], or"),
        ("name: a\ntags: [x, {y: z}]\n", "2:11: tags[1]: expected a string, found a map"),
        ("name: a\nnested: 4\n", "2:9: nested: expected a map, found a number (its keys are `depth`, `note`)"),
        ("name: a\nenv: [x]\n", "2:6: env: expected a map of `key: value`, found a list"),
        ("name: [a]\n", "1:7: name: expected a string, found a list"),
        ("name: a\nkind: two words\n", "2:7: kind: `two words` is two words (join them)"),
        ("name: a\nrun: {depoly: {}}\n", "2:7: run.depoly: unknown choice `depoly` (did you mean `deploy`?)"),
        ("name: a\nrun: procss\n", "2:6: run: unknown choice `procss` (did you mean `process`?)"),
        ("name: a\nrun: deploy\n", "2:6: run: `deploy` takes settings (write {deploy: {}})"),
        ("name: a\nrun: {nothing: {a: 1}}\n", "2:16: run.nothing: `nothing` takes no settings (write `nothing` alone)"),
        (
            "name: a\nrun:\n  nothing: x\n  process: {depth: 1}\n",
            "4:3: run.process: a second choice (give only one of `deploy`, `process`, `nothing`)",
        ),
        ("name: a\nrun: {}\n", "2:6: run: expected one of `deploy`, `process`, `nothing`, found a map"),
        (
            "name: a\nrun: {process: {depth: x}}\n",
            "2:24: run.process.depth: expected a whole number from 0 to 255, found text",
        ),
        ("name: a\nenv:\n\tA: 1\n", "3:1: a tab in the indentation, which YAML does not allow (indent with spaces)"),
        (
            "name: a\nenv:\n  A: 1\n  \tB: 1\n",
            "4:3: a tab in the indentation, which YAML does not allow (indent with spaces)",
        ),
        ("- a\n", "1:1: expected a map, found a list"),
        ("name: a\n? [x]\n: y\n", "2:3: a key must be text"),
        ("name: a\n---\nname: b\n", "3:1: a second document begins here (put it into a file of its own)"),
        ("name: é\nä: 1\n", "2:1: ä: unknown key `ä`"),
        ("name: [ä, {x: 1}]\n", "1:7: name: expected a string, found a list"),
        ("name: a\r\ncount: x\r\n", "2:8: count: expected a whole number from 0 to 65535, found text"),
        ("%YAML 1.1\n---\nname: a\n", "1:1: not YAML: "),
    ];
    for (text, expected) in cases {
        let shown = shown(text);
        assert!(shown.starts_with(expected), "{text:?}\n  gives    {shown}\n  expected {expected}");
    }
}

#[test]
fn what_yaml_versions_take_differently_is_refused_unless_text_is_wanted() {
    for written in ["y", "No", "on", "OFF", "010", "+012", "-0_1", "0o17", "0b11", "1_000", "12:30", "190:20:30"] {
        let message = format!("2:7: free: ambiguous: YAML readers differ on `{written}` (quote it: \"{written}\")");
        assert_eq!(shown(&format!("name: a\nfree: {written}\n")), message);
        assert_eq!(parse::<Sample>(&format!("name: {written}\n"), "x").unwrap().name, written);
        assert!(parse::<Sample>(&format!("name: a\nfree: \"{written}\"\n"), "x").is_ok());
    }
    for written in ["0", "-7", "10", "0x1F", "1.5", "yess", "a:b", "1a", "0.5", "_1", "2026-01-01"] {
        assert!(parse::<Sample>(&format!("name: a\nfree: {written}\n"), "x").is_ok(), "{written}");
    }
}

#[test]
fn what_the_two_parsers_take_differently_is_refused_at_its_place() {
    let cases = [
        (
            "name: a\nfree: [?x, b]\n",
            "2:8: ambiguous: YAML readers differ here: they read another value (quote the value)",
        ),
        ("name: a\nfree: [a:, b]\n", "2:9: ambiguous: YAML readers differ here: found unexpected ':'"),
        ("name: ü\u{2028}b\n", "1:8: the invisible line break U+2028, which YAML readers take differently (remove it)"),
        ("name: a\nkind: \"\u{85}\"\n", "2:8: the invisible line break U+0085, which"),
        ("name: 123456789012345678901234567890\n", "1:7: name: the number is larger than any that is read (quote it)"),
        ("name: -123456789012345678901234567890\n", "1:7: name: the number is larger than any that is read (quote it)"),
    ];
    for (text, expected) in cases {
        assert!(shown(text).starts_with(expected), "{text:?}\n  gives    {}\n  expected {expected}", shown(text));
    }
    assert!(parse::<Sample>("name: \"123456789012345678901234567890\"\ncount: 1\n", "x").is_ok());
    assert!(parse::<Sample>("name: a\nfree: [18446744073709551615, -9223372036854775808]\n", "x").is_ok());
}

#[test]
fn null_is_refused_wherever_it_stands() {
    let cases = [
        ("name:\n", "1:1: name: there is no value"),
        ("name: ~\n", "1:7: name: there is no value"),
        ("name: a\nnested: null\n", "2:9: nested: there is no value"),
        ("name: a\nnested:\n", "2:1: nested: there is no value"),
        ("name: a\ncount: Null\n", "2:8: count: there is no value"),
        ("name: a\ntags: [x, ~]\n", "2:11: tags[1]: there is no value"),
        ("name: a\nenv: {A: }\n", "2:7: env.A: there is no value"),
        ("name: a\nrun: ~\n", "2:6: run: there is no value"),
        ("name: a\nrun:\n  deploy:\n", "3:3: run.deploy: there is no value"),
        ("name: a\nfree: {x: ~}\n", "2:11: free.x: there is no value"),
        ("name: a\non: ~\n", "2:5: on: there is no value"),
    ];
    for (text, expected) in cases {
        let shown = shown(text);
        assert!(shown.starts_with(expected), "{text:?}\n  gives    {shown}\n  expected {expected}");
    }
}

#[test]
fn what_yaml_has_and_people_need_not_know_is_refused_by_name() {
    let cases = [
        ("name: *.html\n", "1:7: name: aliases (`*name`) are not read (quote a value that begins with `*`"),
        ("name: &a x\n", "1:10: name: anchors (`&name`) are not read"),
        ("name: !!str x\n", "1:13: name: tags (`!name`) are not read"),
        ("name: a\nenv:\n  <<: {A: 1}\n", "3:3: env[\"<<\"]: merge keys (`<<`) are not read"),
        ("name: {{ vars.x }}\n", "1:7: name: `{{` begins a map here, not a template (quote a template"),
        ("name: {{ vars.x }}:80\n", "1:"),
        ("name: @home\n", "1:7: not YAML: "),
    ];
    for (text, expected) in cases {
        let shown = shown(text);
        assert!(shown.starts_with(expected), "{text:?}\n  gives    {shown}\n  expected {expected}");
        assert!(error(text).help.is_some(), "{text:?} says how to mend it");
    }
}

#[test]
fn nothing_grows_in_the_reading() {
    let bomb: String = (0..20).map(|i| format!("a{i}: &a{i} [*a{j}, *a{j}]\n", j = i + 1)).collect();
    assert!(error(&bomb).message.contains("not read"));
    assert!(shown(&format!("name: {}", "[".repeat(100_000))).starts_with("1:"));
    assert!(shown(&format!("name: {}", "{a: ".repeat(100_000))).starts_with("1:"));
    let deep = |depth: usize| format!("name: a\nfree: {}{}\n", "[".repeat(depth), "]".repeat(depth));
    assert!(parse::<Sample>(&deep(31), "x").is_ok());
    assert!(shown(&deep(33)).ends_with("(at most 32 levels are read)"), "{}", shown(&deep(33)));
    let long = format!("name: {}", "x".repeat(MAX_BYTES));
    assert_eq!(shown(&long), "1:1: the text has 1048582 bytes, more than the 1048576 that are read");
    let many_keys: String = (0..60_000).map(|i| format!("k{i}: 1\n")).collect();
    assert!(shown(&many_keys).contains("unknown key `k0`"));
}

#[test]
fn a_snippet_shows_the_line_and_underlines_the_place() {
    let error = error("name: web\nnested:\n  detph: 1\n");
    let expected = "error: unknown key `detph`\n --> sample.yaml:3:3 (nested.detph)\n  |\n3 |   detph: 1\n  |   ^^^^^\n  \
                    = help: did you mean `depth`?";
    assert_eq!(error.snippet(), expected);
    assert_eq!(error.end_column, Some(8));
}

#[test]
fn a_snippet_of_a_long_line_shows_the_part_around_the_place() {
    let text = format!("{{name: {}, cuont: 1, tags: [{}]}}", "x".repeat(500), "y".repeat(500));
    let snippet = error(&text).snippet();
    let lines: Vec<&str> = snippet.lines().collect();
    let column = lines[4].find('^').unwrap();
    assert_eq!(&lines[3][column..column + 5], "cuont");
    assert!(lines[3].len() < 150, "{snippet}");
}

#[test]
fn errors_are_data_for_editors() {
    let value = serde_json::to_value(error("name: web\ncuont: 1\n")).unwrap();
    let expected = serde_json::json!({
        "file": "sample.yaml", "line": 2, "column": 1, "end_column": 6, "field": "cuont",
        "message": "unknown key `cuont`", "help": "did you mean `count`?",
    });
    assert_eq!(value, expected);
}

#[test]
fn a_private_text_is_never_quoted() {
    for text in [
        "count: s3cr3t",
        "tags: s3cr3t",
        "env: s3cr3t",
        "nested: s3cr3t",
        "delta: s3cr3t",
        "on: s3cr3t",
        "free: {s3cr3t",
    ] {
        let error = parse_private::<Sample>(&format!("name: a\n{text}\n"), "c.yaml").unwrap_err();
        assert!(error.line >= 2, "{error}");
        assert!(!format!("{error} {} {error:?}", error.snippet()).contains("s3cr3t"), "{error}");
    }
}

#[test]
fn a_text_cannot_steer_the_terminal() {
    let error = error("\"\\e[31m\\n\": 1 # \u{9b}31m\n");
    assert!(!format!("{error}").contains(['\u{1b}', '\n']));
    assert!(!error.snippet().contains(['\u{1b}', '\u{9b}']));
}

#[test]
fn documents_keep_their_own_bytes_and_the_lines_of_the_whole() {
    let text = "# first\nname: a\n---\n# second\nname: b # é\n---\n---\nname: c\ncount: x\n";
    let documents = documents(text, "all.yaml").unwrap();
    let texts: Vec<&str> = documents.iter().map(Document::text).collect();
    assert_eq!(texts, ["# first\nname: a\n", "# second\nname: b # é\n", "name: c\ncount: x\n"]);
    assert_eq!(documents[1].parse::<Sample>().unwrap().name, "b");
    assert!(documents[2].has_key("count") && !documents[1].has_key("count"));
    let error = documents[2].parse::<Sample>().unwrap_err();
    assert_eq!((error.line, error.column), (9, 8));
}

#[test]
fn a_marker_with_content_on_its_line_belongs_to_its_document() {
    let documents = documents("---\nname: a\n...\n--- {name: b}\n", "all.yaml").unwrap();
    let texts: Vec<&str> = documents.iter().map(Document::text).collect();
    assert_eq!(texts, ["name: a\n...\n", "--- {name: b}\n"]);
    for document in &documents {
        assert_eq!(document.text().parse_name(), document.parse::<Sample>().unwrap().name);
    }
}

trait ParseName {
    fn parse_name(&self) -> String;
}

impl ParseName for &str {
    fn parse_name(&self) -> String {
        parse::<Sample>(self, "alone.yaml").unwrap().name
    }
}

#[test]
fn an_error_about_meaning_points_at_the_value_the_key_or_the_nearest_thing() {
    let text = "name: a\nenv:\n  A: one\ntags:\n  - x\n  - y\n";
    let document = document(text, "sample.yaml").unwrap();
    let at = |error: YamlError| (error.line, error.column, error.field.clone());
    let env = Field::root().key("env").key("A");
    assert_eq!(at(document.error(&env, "bad", None)), (3, 6, "env.A".to_owned()));
    assert_eq!(at(document.error_at_key(&env, "bad", None)), (3, 3, "env.A".to_owned()));
    let item = Field::root().key("tags").index(1);
    assert_eq!(at(document.error(&item, "bad", None)), (6, 5, "tags[1]".to_owned()));
    let absent = Field::root().key("env").key("no.such");
    assert_eq!(at(document.error(&absent, "bad", None)), (3, 3, "env[\"no.such\"]".to_owned()));
}

#[test]
fn a_suggestion_is_near_or_absent() {
    let known = ["restart", "env", "stop_signal", "command"];
    assert_eq!(nearest("restrat", known), Some("restart"));
    assert_eq!(nearest("Stop-Signal", known), Some("stop_signal"));
    assert_eq!(nearest("commands", known), Some("command"));
    assert_eq!(nearest("evn", known), Some("env"));
    assert_eq!(nearest("volumes", known), None);
    assert_eq!(nearest("", known), None);
}

#[test]
fn both_parsers_see_the_same_in_ordinary_texts() {
    let ordinary = [
        "name: |\n  two\n  lines\n",
        "name: >-\n  folded\n  text\n\n  more\n",
        "name: 'it''s'\n",
        "name: \"tab\\there \\u00e9\"\n",
        "name: plain text # and a comment\n",
        "name: http://example.com/#anchor\n",
        "name: a\ntags:\n- x\n-   y\n",
        "{\"name\": \"json\", \"tags\": [\"a\", \"b\"], \"count\": 1}\n",
        "name: two\n  lines\n",
        "\u{feff}name: with a byte order mark\n",
        "name: a\ncount: 7 \n",
        "name: ''\n",
        "name: -\n",
        "name: a b: c\n",
    ];
    for text in ordinary {
        let ours = parse::<Sample>(text, "sample.yaml");
        match serde_yaml::from_str::<Sample>(text) {
            Ok(theirs) => assert_eq!(ours.unwrap_or_else(|error| panic!("{text:?}: {error}")), theirs, "{text:?}"),
            Err(_) => assert!(ours.is_err(), "{text:?}"),
        }
    }
}

proptest! {
    /// Whatever people type: an answer or an error with a place inside the text, and no value that `serde_yaml`
    /// alone would not give.
    #[test]
    fn any_text_gets_an_answer_with_a_place(text in "([ \\-:{}\\[\\],#&*!|>'\"%@`\t\n]|name|env|tags|a|1|~|é){0,40}") {
        match parse::<Sample>(&text, "x") {
            Ok(sample) => prop_assert_eq!(sample, serde_yaml::from_str::<Sample>(&text).unwrap()),
            Err(error) => {
                prop_assert!(error.line >= 1 && error.line <= text.split('\n').count() + 1, "{}", error);
                prop_assert!(error.column >= 1);
                prop_assert!(error.snippet().contains("x:"));
            }
        }
    }
}
