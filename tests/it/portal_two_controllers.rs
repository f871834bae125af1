//! Two controllers on one bucket, both used at once: no update is lost, and every conflict is shown.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::cli::Workplace;
use crate::support::garage::Garage;
use crate::support::serving::{Program, Serving};
use crate::support::tokens::Tokens;
use crate::support::wait_for;

const SITE: &str = "name: site\nprofile: {deploy: {}}\n";

/// The cells that are written to; few, so that writers meet.
const CELLS: usize = 4;

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
    /// The cell's generation, by redeploying it.
    Order(usize),
    /// A label of the manifest, which all share.
    Manifest,
}

impl Counter {
    fn at(step: usize) -> Self {
        let cell = step / 4 % CELLS;
        [Self::Cell(cell), Self::Override(cell), Self::Order(cell), Self::Manifest][step % 4]
    }

    fn path(self) -> String {
        match self {
            Self::Cell(cell) => format!("/cells/n1/c{cell}/yaml"),
            Self::Override(cell) => format!("/cells/n1/c{cell}/overrides/count"),
            Self::Order(cell) => format!("/cells/n1/c{cell}/redeploy"),
            Self::Manifest => "/manifests/site".to_owned(),
        }
    }

    /// What it stands at, and what a write must know.
    async fn read(self, api: Program<'_>) -> (u64, String) {
        if let Self::Order(cell) = self {
            let page = api.get(&format!("/cells/n1/c{cell}/history?limit=1")).await.is(200).json();
            let generation: u64 = page["items"][0]["at"].as_str().unwrap().parse().unwrap();
            return (generation, generation.to_string());
        }
        let found = api.get(&self.path()).await.is(200);
        let tag = found.header("etag").to_owned();
        let text = match self {
            Self::Manifest => found.json()["text"].as_str().unwrap().to_owned(),
            _ => found.text(),
        };
        let digits: String = text.rsplit("count").next().unwrap().chars().filter(char::is_ascii_digit).collect();
        (digits.parse().unwrap(), tag)
    }

    /// The text tells who wrote it: what is there already, byte for byte, is no conflict.
    async fn write(self, api: Program<'_>, by: usize, count: u64, known: &str) -> Came {
        let answer = match self {
            Self::Cell(cell) => api.put_yaml(&self.path(), Some(known), &cell_yaml(cell, by, count)).await,
            Self::Manifest => api.put_yaml(&self.path(), Some(known), &manifest_yaml(by, count)).await,
            Self::Override(_) => {
                let headers = [("content-type", "application/octet-stream"), ("if-match", known)];
                api.send("PUT", &self.path(), &headers, format!("by {by}, count {count}")).await
            }
            Self::Order(_) => {
                let generation: u64 = known.parse().unwrap();
                api.post(&self.path(), &json!({"if_generation": generation, "reason": reason(by)})).await
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
                    Some("changed") => assert!(found >= known.parse().unwrap(), "{problem}"),
                    _ => panic!("{problem}"),
                }
                Came::TooLate
            }
            (Self::Cell(_) | Self::Override(_) | Self::Manifest, 412) => {
                assert_eq!(answer.json()["code"], "changed");
                Came::TooLate
            }
            (counter, status) => panic!("{counter:?}: {status} {}", answer.text()),
        }
    }
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
        let api = controllers[0].by(&token);
        api.put_yaml("/manifests/site", None, &manifest_yaml(0, 0)).await.is(201);
        place.write("r1/index.html", "one");
        place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
        for cell in 0..CELLS {
            api.put_yaml(&format!("/cells/n1/c{cell}/yaml"), None, &cell_yaml(cell, 0, 0)).await.is(201);
            let new = [("content-type", "application/octet-stream"), ("if-none-match", "*")];
            api.send("PUT", &Counter::Override(cell).path(), &new, "count 0").await.is(201);
            api.post(&format!("/cells/n1/c{cell}/publish"), &json!({"version": "one"})).await.is(200);
        }
        Self { _place: place, controllers, token }
    }

    fn api(&self, which: usize) -> Program<'_> {
        self.controllers[which % 2].by(&self.token)
    }

    /// What every counter stands at, as both controllers tell.
    async fn counts(&self) -> BTreeMap<Counter, u64> {
        let mut counts = BTreeMap::new();
        for counter in (0..4 * CELLS).map(Counter::at) {
            let (one, other) = (counter.read(self.api(0)).await.0, counter.read(self.api(1)).await.0);
            assert_eq!(one, other, "{counter:?}");
            counts.insert(counter, one);
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_writes_at_two_controllers_none_is_lost_and_every_conflict_is_shown() {
    const WRITERS: usize = 8;
    const WRITES: usize = 125;
    let both = Both::start(Workplace::with_bucket().await).await;
    let before = both.counts().await;
    // Every writer goes through the counters from another place on, half of them at each controller.
    let writers = (0..WRITERS).map(async |writer| {
        let (api, mut came) = (both.api(writer), Vec::new());
        for step in 0..WRITES {
            let counter = Counter::at(step + writer / 2 * 4 + writer / 2);
            let (count, known) = counter.read(api).await;
            came.push((writer, counter, counter.write(api, writer, count + 1, &known).await));
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
        let page = format!("/cells/n1/c{cell}/history?limit=1&after={}", generation + 1);
        let found = both.api(writer).get(&page).await.is(200).json();
        assert_eq!(
            (&found["items"][0]["at"], &found["items"][0]["reason"]),
            (&json!(generation.to_string()), &json!(reason(writer)))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_store_keeps_no_conditions_controllers_take_turns_and_still_lose_nothing() {
    let Some(garage) = Garage::start().await else { return };
    let both = Both::start(Workplace::over(&garage.endpoint()).await).await;
    let before = both.counts().await;
    let mut done: BTreeMap<Counter, u64> = BTreeMap::new();
    for step in 0..4 * CELLS {
        let counter = Counter::at(step);
        // Both have read the same. Whoever writes first is done, the other is told.
        let (first, second) = (both.api(step), both.api(step + 1));
        let (count, known) = counter.read(first).await;
        assert_eq!(counter.read(second).await, (count, known.clone()));
        assert!(counter.write(first, 1, count + 1, &known).await.is_done(), "{counter:?}");
        assert_eq!(counter.write(second, 2, count + 1, &known).await, Came::TooLate, "{counter:?}");
        *done.entry(counter).or_default() += 1;
    }
    for (counter, after) in both.counts().await {
        assert_eq!(after, before[&counter] + done[&counter], "{counter:?}");
    }
}
