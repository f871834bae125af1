//! The commands that pages show: every page has the one that does the same, every empty list the one that comes next,
//! and the program takes each of them.

use fleetman::controller::{Guard, Known, PublishRequest};
use serde_json::Value;

use crate::portal_pages::PAGES;
use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::portal::Portal;

async fn served(acme: &Acme) -> Portal {
    let place = Workplace::empty();
    acme.configure(place.path());
    Portal::start(place).await
}

/// What stands in `<code>` in each place that begins with `start`.
fn commands(page: &str, start: &str) -> Vec<String> {
    let places = page.split(start).skip(1);
    let codes = places.filter_map(|place| place.split_once("<code>")?.1.split_once("</code>"));
    codes.map(|(code, _)| readable(code)).collect()
}

/// The characters for which HTML has words, as they are.
fn readable(html: &str) -> String {
    [("&#60;", "<"), ("&lt;", "<"), ("&#62;", ">"), ("&gt;", ">"), ("&#39;", "'"), ("&#38;", "&")]
        .iter()
        .fold(html.to_owned(), |text, (word, character)| text.replace(word, character))
}

/// The commands that do what a page does.
fn same(page: &str) -> Vec<String> {
    commands(page, "<p class=\"cli\">")
}

/// The commands that come next where there is nothing to show.
fn next(page: &str) -> Vec<String> {
    commands(page, "<div class=\"empty\">")
}

/// The words of a command, as a shell would take them apart, with something for what has to be filled in: its own name,
/// unless that makes no sense.
fn words(command: &str) -> Vec<String> {
    let command = command.replace("<role>", "viewer").replace("{at}", "1-2").replace("{attempt}", "1");
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            '<' | '>' | '{' | '}' if !quoted => {}
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Why the program does not take a command.
fn refusal(command: &str) -> Option<String> {
    let taken = fleetman::cli::fleetman::command().try_get_matches_from(words(command));
    taken.err().map(|error| format!("{command}: {error}"))
}

/// What is wrong with the commands of a page.
fn faults(page: &str) -> Vec<String> {
    let same = same(page);
    let count = (same.len() != 1).then(|| format!("{} commands that do the same: {same:?}", same.len()));
    count.into_iter().chain(same.iter().chain(&next(page)).filter_map(|command| refusal(command))).collect()
}

async fn look_at_all(acme: Acme, paths: impl Iterator<Item = &'static str>) {
    let portal = served(&acme).await;
    let mut found = Vec::new();
    for path in paths {
        found.extend(faults(&portal.get(path).await).into_iter().map(|fault| format!("{path}: {fault}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_a_command_that_the_program_takes() {
    let failures =
        ["/cells/n9/absent", "/agents/n9", "/nowhere", "/buckets/object?key=", "/audit?from=soon", "/search?q=%27"];
    let all = PAGES.iter().map(|(_, url)| *url).chain(failures);
    look_at_all(Acme::full().await, all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_an_empty_fleet_shows_a_command_that_the_program_takes() {
    let unnamed = PAGES.iter().filter(|(route, url)| route == url);
    look_at_all(Acme::empty().await, unnamed.map(|(_, url)| *url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_in_yet_is_told_what_to_do_on_the_command_line() {
    let (acme, place) = (Acme::empty().await, Workplace::empty());
    acme.configure(place.path());
    let portal = Portal::start_with(place, &["--listen", "127.0.0.1:0"]).await;
    let link = portal.first_link().await;
    let page = portal.get(link.strip_prefix(&portal.origin).unwrap()).await;
    assert_eq!(same(&page), ["fleetman user add <name> --may admin"]);
    assert_eq!(faults(&page), [""; 0]);
    assert_eq!(faults(&portal.get("/sign-in").await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_another_bucket_name_it_and_those_of_the_portal_do_not() {
    let (acme, place) = (Acme::full().await, Workplace::empty());
    acme.configure(place.path());
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    let bucket = config.split_once("\nuser:").unwrap().0.split_once('\n').unwrap().1;
    let second = bucket.replace("name: acme", "name: the spare");
    place.write("controller_config.yaml", &config.replace(bucket, &format!("{bucket}\n{second}")));
    let portal = Portal::start(place).await;
    for (path, command) in [
        ("/cells", "fleetman get cells"),
        ("/b/the%20spare/cells", "fleetman -b 'the spare' get cells"),
        ("/b/the%20spare/cells/ber-1/api", "fleetman -b 'the spare' status ber-1/api"),
        ("/b/the%20spare/settings/users", "fleetman user ls"),
    ] {
        let page = portal.get(path).await;
        assert_eq!((same(&page), faults(&page)), (vec![command.to_owned()], Vec::new()), "{path}");
    }
    for (asked, flags) in [
        ("health=failed&q=n1", "--search n1 --health failed"),
        ("manifest=site&label=a%3Db&label=c%3Dd", "--manifest site --label 'a=b' --label 'c=d'"),
        ("sync=out-of-sync&drift=drifted&phase=waiting", "--sync out-of-sync --drift drifted --phase waiting"),
        ("version=r1&paused=no&node=ber-1&sort=-name", "--of-version r1 --paused no --node ber-1"),
        ("q=-a+b%27c", "--search='-a b'\\''c'"),
    ] {
        let page = portal.get(&format!("/cells?{asked}")).await;
        assert_eq!(same(&page), [format!("fleetman get cells {flags}")], "{asked}");
    }
    for path in ["/cells?health=failed&q=n1", "/cells?version=r1&paused=no&node=ber-1&drift=drifted&label=a%3Db"] {
        assert_eq!(faults(&portal.get(path).await), [""; 0], "{path}");
    }
    let none = portal.get("/b/the%20spare/cells?q=nothing").await;
    assert_eq!(next(&none), ["fleetman -b 'the spare' get cells"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_the_api_names_a_command_that_the_program_takes() {
    let acme = Acme::empty().await;
    let portal = served(&acme).await;
    let api: Value = serde_json::from_str(&portal.get("/api/v1/openapi.json").await).unwrap();
    let paths = api["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let about: Vec<&str> = operations.filter_map(|operation| operation["description"].as_str()).collect();
    let commands: Vec<&str> =
        about.iter().filter_map(|about| about.split_once("line: `")?.1.split('`').next()).collect();
    assert!(commands.len() > 30, "{commands:?}");
    // A time is more than a name, and so is one side of a comparison.
    let filled = |command: &str| {
        let command = command.replace("unsilence {id}", "unsilence 01KDYWXAC0ZZZZZZZZZZZZZZZZ");
        let command = command.replace("{alert}", "drift:cell/n1/web");
        ["{time}", "{from}", "{to}"].iter().fold(command, |it, of| it.replace(of, "now"))
    };
    let refused: Vec<_> = commands.into_iter().filter_map(|command| refusal(&filled(command))).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// A fleet that has nothing to show somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    /// Nothing happened in it.
    Nothing,
    /// Nodes report, one of them rubbish, and nothing else happened. Nothing is signed.
    Beginning,
    /// Everything happened in it, and there are a manifest and a cell that nothing happened to.
    Full,
}

/// What has nothing to show: in which fleet, the page, a part of what it says, and what may be done next.
const EMPTY: &[(In, &str, &str, &str)] = &[
    (In::Nothing, "/", "Nothing has reported to this bucket yet", "fleetman node add <name>"),
    (In::Nothing, "/agents", "No agent has reported here yet", "fleetman node add <name>"),
    (In::Full, "/agents?q=none", "No agent fits", "fleetman get nodes"),
    (In::Nothing, "/cells", "There is no cell yet", "fleetman apply -f cell.yaml"),
    (In::Full, "/cells?q=none", "No cell fits", "fleetman get cells"),
    (In::Full, "/agents/lab-1", "Its agent never reported", "fleetman node add lab-1"),
    (In::Full, "/cells/lab-1/site", "The node says nothing of this cell", "fleetman describe node lab-1"),
    (In::Full, "/cells/new-1/fresh", "Nothing was published to it yet", "fleetman publish new-1/fresh"),
    (In::Full, "/cells/new-1/fresh/versions", "so it has no versions", "fleetman publish new-1/fresh"),
    (In::Full, "/cells/new-1/fresh/diff", "This cell has no versions yet", "fleetman publish new-1/fresh"),
    (In::Full, "/cells/new-1/fresh/history", "Nothing was ever published", "fleetman publish new-1/fresh"),
    (In::Full, "/cells/new-1/fresh/log", "has not tried anything", "fleetman status new-1/fresh"),
    (
        In::Full,
        "/cells/new-1/fresh/overrides",
        "This cell has no overrides",
        "fleetman override put new-1/fresh <path> <file>",
    ),
    (In::Full, "/cells/ams-1/site/overrides?q=none", "No override has this", "fleetman override ls ams-1/site"),
    (
        In::Full,
        "/cells/ams-1/site/versions/r2?q=none",
        "No file has this in its path",
        "fleetman describe version ams-1/site r2",
    ),
    (In::Full, "/cells/par-1/site/log?at=1-3&attempt=2", "sent no log of this attempt", "fleetman attempts par-1/site"),
    (In::Nothing, "/manifests", "There is no manifest yet", "fleetman apply -f manifest.yaml"),
    (In::Full, "/manifests?q=none", "No manifest fits", "fleetman get manifests"),
    (In::Full, "/manifests/unused", "No cell uses it yet", "fleetman apply -f cell.yaml"),
    (In::Full, "/manifests/unused", "Nothing was uploaded for it yet", "fleetman upload unused <folder>"),
    (In::Nothing, "/deployments", "Nothing was uploaded yet", "fleetman upload <manifest> <folder>"),
    (In::Full, "/deployments?q=none", "No release fits", "fleetman get deployments"),
    (In::Full, "/deployments/site/r2?q=none", "No file has this in its path", "fleetman describe deployment site r2"),
    (In::Full, "/buckets/browse?prefix=quarantine/", "There is nothing in it", "fleetman bucket ls"),
    (In::Full, "/buckets/usage", "Nothing was counted yet", "fleetman bucket du"),
    (In::Nothing, "/alerts", "Nothing is silenced", "fleetman alerts silence --type drift --for 2h --reason noise"),
    (In::Full, "/events?kind=drift&about=new-1", "Nothing that fits happened", "fleetman events -w"),
    (In::Full, "/audit?actor=nobody", "Nothing fits", "fleetman audit"),
    (In::Full, "/search?q=zzz", "Nothing has this in its name", "fleetman get cells"),
    (In::Full, "/settings/tokens", "There is no token", "fleetman token add nightly --for alice --may viewer"),
    (In::Beginning, "/", "Nothing was published yet", "fleetman publish <node>/<cell>"),
    (In::Beginning, "/agents/new-2", "Nothing is to run here yet", "fleetman apply -f cell.yaml"),
    (In::Beginning, "/agents/bad-1", "no heartbeat of it that can be read", "fleetman describe node bad-1"),
    (In::Beginning, "/settings/keys", "No key is known here", "fleetman keygen"),
    (In::Full, "/cells/new-1/bare/versions/v1", "It has no files", "fleetman describe version new-1/bare v1"),
];

async fn begun() -> (Acme, Portal) {
    let (acme, place) = (Acme::empty().await, Workplace::empty());
    acme.beat_anew("new-2").await;
    acme.put("agents/bad-1.json", "{").await;
    acme.configure(place.path());
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    place.write("controller_config.yaml", &config.replace("signing_key_file: signing.key", "signing: unsigned"));
    (acme, Portal::start(place).await)
}

async fn full() -> (Acme, Portal) {
    let acme = Acme::full().await;
    let controller = acme.controller();
    for manifest in ["unused", "bare"] {
        let text = format!("name: {manifest}\nprofile: {{deploy: {{}}}}\n");
        controller.put_manifest(&manifest.parse().unwrap(), &text, &Known::Absent).await.unwrap();
    }
    for cell in ["new-1/fresh", "new-1/bare"] {
        let manifest = if cell == "new-1/bare" { "bare" } else { "api" };
        let text = format!("cell: {cell}\nmanifest: {manifest}\n");
        controller.put_cell(&cell.parse().unwrap(), &text, &Known::Absent).await.unwrap();
    }
    let version = Some("v1".parse().unwrap());
    let bare = PublishRequest { version, ..PublishRequest::new("new-1/bare".parse().unwrap()) };
    controller.publish(&bare, &Guard::default()).await.unwrap();
    let portal = served(&acme).await;
    // An attempt that was told of without a log.
    let first = "logs/par-1/site/0001-0000000000000003-0001.json";
    let outcome = portal.get(&format!("/buckets/object/raw?key={first}")).await;
    let again = outcome.replace("\"attempt\": 1", "\"attempt\": 2");
    acme.put(&first.replace("-0001.json", "-0002.json"), again).await;
    (acme, portal)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_nothing_to_show_says_which_command_comes_next() {
    let acme = Acme::empty().await;
    let (nothing, (_begun, beginning), (_full, full)) = (served(&acme).await, begun().await, full().await);
    let mut found = Vec::new();
    for &(place, path, sentence, command) in EMPTY {
        let portal = match place {
            In::Nothing => &nothing,
            In::Beginning => &beginning,
            In::Full => &full,
        };
        let page = portal.get(path).await;
        let says = |part: &&str| part.split_once("</p>").is_some_and(|(says, _)| says.contains(sentence));
        let part = page.split("<div class=\"empty\">").skip(1).find(says);
        let commands = part.map(|part| commands(part, "<pre class=\"command\""));
        if commands.as_ref().is_none_or(|commands| commands.first().is_none_or(|first| first != command)) {
            found.push(format!("{path}: {sentence:?}: {commands:?}"));
        }
        found.extend(refusal(command));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What no fleet of these tests comes to show.
const ELSEWHERE: [&str; 4] = [
    "Nobody has changed anything yet", // `init` was the first, and is in every audit
    "The store was not examined yet",  // its first writer does it
    "There is no user yet",            // whoever reads it came in by another service
    "Nothing that fits so far",        // of an audit that is too long to be searched at once
];

#[test]
fn every_template_that_has_nothing_to_show_has_a_row() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut missing = Vec::new();
    for file in files {
        let template = std::fs::read_to_string(&file).unwrap();
        let sentences = template.split("m::empty(shell, \"").skip(1).filter_map(|rest| rest.split('"').next());
        let told = |sentence: &str| EMPTY.iter().map(|row| row.2).chain(ELSEWHERE).any(|part| sentence.contains(part));
        missing.extend(
            sentences.filter(|sentence| !told(sentence)).map(|sentence| format!("{}: {sentence}", file.display())),
        );
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
