//! Two controllers on one bucket, both used at once: no update is lost, and every conflict is shown.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::api::session_of_ada;
use crate::support::cli::Workplace;
use crate::support::form::{encoded, fields};
use crate::support::garage::Garage;
use crate::support::people;
use crate::support::serving::{Answer, Program, Serving};
use crate::support::tokens::Tokens;
use crate::support::wait_for;

const SITE: &str = "name: site\nprofile: {deploy: {}}\n";

/// The cells that are written to; few, so that writers meet.
const CELLS: usize = 4;

const WRITERS: usize = 8;

/// One of the controllers, to somebody who is signed in there and has a token.
#[derive(Clone, Copy)]
struct At<'a> {
    serving: &'a Serving,
    api: Program<'a>,
    session: &'a str,
}

impl At<'_> {
    /// A request to the API as a browser sends it, for what no token may.
    async fn in_person(self, method: &str, path: &str, body: &str) -> Answer {
        let headers =
            [("content-type", "application/json"), ("sec-fetch-site", "same-origin"), ("cookie", self.session)];
        self.serving.send(method, &format!("/api/v1{path}"), &headers, body.to_owned()).await
    }
}

fn token_name(writer: usize) -> String {
    format!("of-{writer}")
}

/// What one write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Done,
    /// An order got this generation.
    Claimed(u64),
    TooLate,
}

impl Came {
    fn is_done(self) -> bool {
        self != Self::TooLate
    }
}

/// What is counted up, each by reading it and writing one more under the condition that it is still what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Counter {
    /// A label in `cell.yaml`.
    Cell(usize),
    /// The text of an override.
    Override(usize),
    /// The cell's generation, by an order.
    Order(usize),
    /// A label of the manifest, which all share.
    Manifest,
    /// What a user may do; each writer has one of their own, and all stand in one signed document.
    User(usize),
    /// How many tokens a writer has made, which stand there, too.
    Token(usize),
    /// A label of a cell that is paused, or not any more, before each write.
    Paused,
}

impl Counter {
    fn at(step: usize, writer: usize) -> Self {
        let cell = step / 5 % CELLS;
        let fifth = [Self::Manifest, Self::User(writer), Self::Paused, Self::Token(writer)][step / 5 % 4];
        [Self::Cell(cell), Self::Override(cell), Self::Order(cell), Self::Order((cell + 1) % CELLS), fifth][step % 5]
    }

    fn all() -> impl Iterator<Item = Self> {
        let of_cell = |cell| [Self::Cell(cell), Self::Override(cell), Self::Order(cell)];
        (0..CELLS).flat_map(of_cell).chain([Self::Manifest, Self::Paused]).chain((0..WRITERS).flat_map(Self::of_writer))
    }

    fn of_writer(writer: usize) -> [Self; 2] {
        [Self::User(writer), Self::Token(writer)]
    }

    /// Whether only one writer changes it, and its controllers hear of the other's changes every few seconds.
    fn is_of_writer(self) -> bool {
        matches!(self, Self::User(_) | Self::Token(_))
    }

    fn path(self) -> String {
        match self {
            Self::Cell(cell) => format!("/cells/n1/c{cell}/yaml"),
            Self::Override(cell) => format!("/cells/n1/c{cell}/overrides/count"),
            Self::Order(cell) => format!("/cells/n1/c{cell}"),
            Self::Manifest => "/manifests/site".to_owned(),
            Self::User(writer) => format!("/users/w{writer}/grants"),
            Self::Token(_) => "/tokens".to_owned(),
            Self::Paused => format!("/cells/n1/c{CELLS}/yaml"),
        }
    }

    /// What it stands at, and what a write must know.
    async fn read(self, at: At<'_>) -> (u64, String) {
        let api = at.api;
        if let Self::Order(cell) = self {
            let page = api.get(&format!("/cells/n1/c{cell}/history?limit=1")).await.is(200).json();
            let generation: u64 = page["items"][0]["at"].as_str().unwrap().parse().unwrap();
            return (generation, generation.to_string());
        }
        if let Self::User(writer) = self {
            let list = api.get("/users?limit=100").await.is(200).json();
            let mine =
                list["items"].as_array().unwrap().iter().find(|user| user["name"] == format!("w{writer}").as_str());
            // The other controller may not have heard of a new user yet.
            let cells = mine.and_then(|user| user["grants"][0]["cells"].as_str()).unwrap_or("n0/*");
            return (cells.trim_matches(['n', '/', '*']).parse().unwrap(), String::new());
        }
        if let Self::Token(writer) = self {
            let list = at.in_person("GET", "/tokens?limit=1000", "").await.is(200).json();
            let name = token_name(writer);
            let own = list["items"].as_array().unwrap().iter().filter(|token| token["name"] == name.as_str());
            return (own.count() as u64, String::new());
        }
        let found = api.get(&self.path()).await.is(200);
        let tag = found.header("etag").to_owned();
        let text = match self {
            Self::Manifest => found.json()["text"].as_str().unwrap().to_owned(),
            _ => found.text(),
        };
        let after = text.rsplit("count").next().unwrap().chars();
        let digits: String = after.skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        (digits.parse().unwrap(), tag)
    }

    /// The text tells who wrote it: what is there already, byte for byte, is no conflict.
    async fn write(self, at: At<'_>, by: usize, count: u64, known: &str) -> Came {
        let api = at.api;
        let answer = match self {
            // Nobody else changes this one's, and what others change in the same document is no conflict.
            Self::User(_) => {
                let grants = json!({"grants": [{"role": "viewer", "cells": format!("n{count}/*")}]});
                at.in_person("PUT", &self.path(), &grants.to_string()).await.is(204);
                return Came::Done;
            }
            Self::Token(writer) => {
                let grants = [json!({"role": "viewer", "cells": "*"})];
                let new = json!({"name": token_name(writer), "grants": grants});
                at.in_person("POST", &self.path(), &new.to_string()).await.is(201);
                return Came::Done;
            }
            Self::Paused => {
                let verb = if count.is_multiple_of(2) { "pause" } else { "resume" };
                let reason = json!({"reason": "the database moves"});
                let answer = api.post(&format!("/cells/n1/c{CELLS}/{verb}"), &reason).await;
                assert!([200, 409].contains(&answer.status), "{} {}", answer.status, answer.text());
                assert!(answer.status == 200 || answer.json()["code"] == "changed", "{}", answer.text());
                // What is known of the file is older now: the pause was written into it, if it was none before.
                api.put_yaml(&self.path(), Some(known), &cell_yaml(CELLS, by, count)).await
            }
            Self::Cell(cell) => api.put_yaml(&self.path(), Some(known), &cell_yaml(cell, by, count)).await,
            Self::Manifest => api.put_yaml(&self.path(), Some(known), &manifest_yaml(by, count)).await,
            Self::Override(_) => {
                let headers = [("content-type", "application/octet-stream"), ("if-match", known)];
                api.send("PUT", &self.path(), &headers, format!("by {by}, count {count}")).await
            }
            Self::Order(_) => {
                let generation: u64 = known.parse().unwrap();
                let mut order = json!({"if_generation": generation, "reason": reason(by)});
                // There is something new to publish first, then something to go back from.
                let verb = match count % 4 {
                    2 => "publish",
                    3 => "redeploy",
                    0 => {
                        order["to"] = json!("one");
                        "rollback"
                    }
                    _ => "stop",
                };
                api.post(&format!("{}/{verb}", self.path()), &order).await
            }
        };
        match (self, answer.status) {
            // The other one's is on its way and asks for the same: it is brought to its end, and told of.
            (Self::Order(_), 200) if answer.json()["how"] != "claimed" => {
                assert!(answer.json()["at"]["generation"].as_u64().unwrap() >= known.parse().unwrap());
                Came::TooLate
            }
            (Self::Order(_), 200) => Came::Claimed(answer.json()["at"]["generation"].as_u64().unwrap()),
            (_, 200) => Came::Done,
            (Self::Order(_), 409) => {
                let problem = answer.json();
                let found = problem["conflict"]["found"]["at"]["generation"].as_u64().unwrap();
                match problem["code"].as_str() {
                    Some("lost" | "guard") => assert!(found > known.parse().unwrap(), "who won is told: {problem}"),
                    // What the order rests on was written meanwhile.
                    Some("changed" | "inputs_moving") => assert!(found >= known.parse().unwrap(), "{problem}"),
                    _ => panic!("{problem}"),
                }
                Came::TooLate
            }
            (Self::Cell(_) | Self::Override(_) | Self::Manifest | Self::Paused, 412) => {
                assert_eq!(answer.json()["code"], "changed");
                Came::TooLate
            }
            (counter, status) => panic!("{counter:?}: {status} {}", answer.text()),
        }
    }
}

/// Orders by a page's form, which carries what the page showed.
async fn order_by_form(At { serving, api, session }: At<'_>, cell: usize, verb: &str, by: usize) -> Came {
    let path = format!("/cells/n1/c{cell}/{verb}");
    let page = serving.get_in(session, &path).await.is(200).text();
    let generation: u64 = fields(&page)["if_generation"].parse().unwrap();
    let reason = reason(by);
    let form = format!("if_generation={generation}&reason={}", encoded(&reason));
    let answer = serving.send_form_in(session, &path, &form).await;
    if answer.status == 409 {
        let page = answer.text();
        assert!(page.contains("What you saw and wanted") && page.contains("What is there now"), "{page}");
        return Came::TooLate;
    }
    let at: u64 = answer.is(303).header("location").rsplit(['-', '=']).next().unwrap().parse().unwrap();
    // It leads to the other one's that asks for the same, too.
    let is_own = at == generation + 1 && ordered(api, cell, at).await["reason"] == reason.as_str();
    if is_own { Came::Claimed(at) } else { Came::TooLate }
}

/// The history's entry of a generation.
async fn ordered(api: Program<'_>, cell: usize, generation: u64) -> serde_json::Value {
    let page = format!("/cells/n1/c{cell}/history?limit=1&after={}", generation + 1);
    let mut found = api.get(&page).await.is(200).json();
    found["items"][0].take()
}

/// Why an order was given: two that are the same to the byte, within a second, are one.
fn reason(by: usize) -> String {
    format!("by {by}")
}

fn cell_yaml(cell: usize, by: usize, count: u64) -> String {
    format!("cell: n1/c{cell}\nmanifest: site\nlabels: {{by: \"{by}\", count: \"{count}\"}}\n")
}

fn manifest_yaml(by: usize, count: u64) -> String {
    format!("{SITE}labels: {{by: \"{by}\", count: \"{count}\"}}\n")
}

/// Two controllers on the bucket of `place`, whose cells stand at 0, or 1 of what only begins there.
struct Both {
    /// Its folder goes with it.
    _place: Workplace,
    controllers: [Serving; 2],
    token: String,
    /// Of who made the token.
    session: String,
}

impl Both {
    async fn start(place: Workplace) -> Self {
        let tokens = Tokens::of(&place).await;
        let token = tokens.make(&["admin"]).await;
        let controllers = [Serving::start_for_nobody(&place).await, Serving::start_for_nobody(&place).await];
        for controller in &controllers {
            let knows = async || controller.by(&token).get("/nodes").await.status == 200;
            wait_for(knows, "the token and the fleet to be known").await;
        }
        // It is good at both, which seal with the same key.
        let session = session_of_ada(&controllers[0]).await;
        let api = controllers[0].by(&token);
        let first = At { serving: &controllers[0], api, session: &session };
        api.put_yaml("/manifests/site", None, &manifest_yaml(0, 0)).await.is(201);
        place.write("r1/index.html", "one");
        place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
        for writer in 0..WRITERS {
            let grants = json!([{"role": "viewer", "cells": "n0/*"}]);
            let user = json!({"name": format!("w{writer}"), "password": people::PASSWORD, "grants": grants});
            first.in_person("POST", "/users", &user.to_string()).await.is(204);
        }
        api.put_yaml(&Counter::Paused.path(), None, &cell_yaml(CELLS, 0, 0)).await.is(201);
        for cell in 0..CELLS {
            api.put_yaml(&format!("/cells/n1/c{cell}/yaml"), None, &cell_yaml(cell, 0, 0)).await.is(201);
            let new = [("content-type", "application/octet-stream"), ("if-none-match", "*")];
            api.send("PUT", &Counter::Override(cell).path(), &new, "count 0").await.is(201);
            api.post(&format!("/cells/n1/c{cell}/publish"), &json!({"version": "one"})).await.is(200);
        }
        Self { _place: place, controllers, token, session }
    }

    fn at(&self, which: usize) -> At<'_> {
        let serving = &self.controllers[which % 2];
        At { serving, api: serving.by(&self.token), session: &self.session }
    }

    /// What every counter stands at, as both controllers tell.
    async fn counts(&self) -> BTreeMap<Counter, u64> {
        let mut counts = BTreeMap::new();
        for counter in Counter::all() {
            // Users are read again every few seconds.
            let mut both = (0, 1);
            let agree = async || {
                both = (counter.read(self.at(0)).await.0, counter.read(self.at(1)).await.0);
                both.0 == both.1 || !counter.is_of_writer()
            };
            wait_for(agree, "both to know the same of users").await;
            assert_eq!(both.0, both.1, "{counter:?}");
            counts.insert(counter, both.0);
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_writes_at_two_controllers_none_is_lost_and_every_conflict_is_shown() {
    const WRITES: usize = 125;
    let both = Both::start(Workplace::with_bucket().await).await;
    let before = both.counts().await;
    // Every writer goes through the counters from another place on, half of them at each controller.
    let writers = (0..WRITERS).map(async |writer| {
        let (at, mut came) = (both.at(writer), Vec::new());
        for step in 0..WRITES {
            let counter = Counter::at(step + writer / 2 * 6, writer);
            let (count, known) = counter.read(at).await;
            let written = match counter {
                // Some of them are people.
                Counter::Order(cell) if step % 3 == 0 => {
                    let verb = if count % 2 == 0 { "redeploy" } else { "stop" };
                    order_by_form(at, cell, verb, writer).await
                }
                _ => counter.write(at, writer, count + 1, &known).await,
            };
            came.push((writer, counter, written));
        }
        came
    });
    let came: Vec<(usize, Counter, Came)> = futures_util::future::join_all(writers).await.concat();
    assert_eq!(came.len(), WRITERS * WRITES);
    let too_late = came.iter().filter(|(.., came)| !came.is_done()).count();
    assert!((1..came.len() / 2).contains(&too_late), "{too_late} of {} met", came.len());

    let after = both.counts().await;
    for (counter, before) in &before {
        let done = came.iter().filter(|(_, of, came)| of == counter && came.is_done()).count() as u64;
        assert_eq!(after[counter], before + done, "{counter:?}");
    }
    // Every generation that somebody was given is theirs in the history.
    for (writer, counter, came) in came {
        let (Counter::Order(cell), Came::Claimed(generation)) = (counter, came) else { continue };
        let found = ordered(both.at(writer).api, cell, generation).await;
        assert_eq!((&found["at"], &found["reason"]), (&json!(generation.to_string()), &json!(reason(writer))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_store_keeps_no_conditions_controllers_take_turns_and_still_lose_nothing() {
    let Some(garage) = Garage::start().await else { return };
    let both = Both::start(Workplace::over(&garage.endpoint()).await).await;
    let before = both.counts().await;
    let mut done: BTreeMap<Counter, u64> = BTreeMap::new();
    let shared = Counter::all().filter(|counter| !counter.is_of_writer() && *counter != Counter::Paused);
    for (step, counter) in shared.enumerate() {
        // Both have read the same. Whoever writes first is done, the other is told.
        let (first, second) = (both.at(step), both.at(step + 1));
        let (count, known) = counter.read(first).await;
        assert_eq!(counter.read(second).await, (count, known.clone()));
        assert!(counter.write(first, 1, count + 1, &known).await.is_done(), "{counter:?}");
        assert_eq!(counter.write(second, 2, count + 1, &known).await, Came::TooLate, "{counter:?}");
        *done.entry(counter).or_default() += 1;
    }
    for (counter, after) in both.counts().await {
        assert_eq!(after, before[&counter] + done.get(&counter).copied().unwrap_or_default(), "{counter:?}");
    }
}
