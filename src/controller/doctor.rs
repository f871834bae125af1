//! `fleetman doctor`: what this store really does, found out by doing it.
//!
//! Stores differ, and some lie: they answer 200 to a condition and overwrite all the same, or let several racers win.
//! One request at a time would not show that, so conditions are *raced*. Everything is written below `probes/` and
//! removed again.

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::future::join_all;
use ulid::Ulid;
use uuid::Uuid;

use crate::clock::{SharedClock, to_seconds};
use crate::entropy;
use crate::model::document::{self, Document};
use crate::model::fleet::{Conditions, Finding, Fleet, StoreReport, Verdict};
use crate::model::keys::Folder;
use crate::model::{FilePath, ObjectKey, Sha256Digest};
use crate::store::{Depth, ETag, Expect, Fetched, Outcome, Store, StoreError, in_full};

/// How many writers race for one object.
const RACERS: usize = 32;
/// How often they race: some stores let a second one win only now and then.
const ROUNDS: usize = 4;
/// How many writers count one counter up, and how often each.
const COUNTERS: usize = 8;
const COUNTS: usize = 5;
/// How often a read follows a write.
const READS: usize = 20;
/// Below this difference clocks count as equal: `Date` headers have whole seconds.
const SKEW_WARNING: TimeDelta = TimeDelta::seconds(30);

/// What a race showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Race {
    conditions: Conditions,
    /// How many were told that they had won, in the worst round.
    winners: usize,
}

/// One run of `doctor`.
struct Doctor {
    store: Store,
    probes: Probes,
    findings: Vec<Finding>,
}

/// Looks at everything that Fleetman needs of a store; `fleet` is whose bucket it should be. Nothing of the bucket is
/// written but `probes/<ulid>/`, which is removed again.
///
/// # Errors
/// Only where the operating system has no randomness: whatever the store does is a finding.
pub async fn examine(store: &Store, fleet: Uuid, clock: &SharedClock) -> std::io::Result<StoreReport> {
    let probes = Probes { run: entropy::ulid(clock.now())? };
    // Conditions must be sent, and believed, for their effect to be seen.
    let store = store.clone().with_capabilities(Conditions::Honoured);
    let mut doctor = Doctor { store, probes, findings: Vec::new() };
    let mut conditions = Conditions::Unknown;
    if doctor.reach().await {
        doctor.fleet(fleet).await;
        if doctor.write_and_read().await {
            doctor.unchanged().await;
            doctor.copy().await;
            doctor.list().await;
            conditions = doctor.conditions().await;
        }
        doctor.clean_up().await;
    }
    doctor.clock();
    Ok(StoreReport { checked_at: to_seconds(clock.now()), conditions, findings: doctor.findings })
}

/// Only races the store, for a controller that is about to write and finds no verdict.
///
/// # Errors
/// See [`examine`].
pub(super) async fn race(store: &Store, clock: &SharedClock) -> std::io::Result<StoreReport> {
    let probes = Probes { run: entropy::ulid(clock.now())? };
    let store = store.clone().with_capabilities(Conditions::Honoured);
    let mut doctor = Doctor { store, probes, findings: Vec::new() };
    let conditions = doctor.conditions().await;
    doctor.clean_up().await;
    Ok(StoreReport { checked_at: to_seconds(clock.now()), conditions, findings: doctor.findings })
}

/// Puts what was found out where controllers look for it.
///
/// # Errors
/// Why the store did not take it.
pub async fn remember(store: &Store, report: &StoreReport) -> Result<(), StoreError> {
    store.put_own(&ObjectKey::StoreReport, document::render(report).into()).await.map(|_| ())
}

impl Doctor {
    fn note(&mut self, check: &str, verdict: Verdict, message: impl Into<String>, help: Option<&str>) {
        let help = help.map(str::to_owned);
        self.findings.push(Finding { check: check.to_owned(), verdict, message: message.into(), help });
    }

    /// Notes how a check ended, and whether it ended well.
    fn conclude(&mut self, check: &str, result: Result<String, Trouble>) -> bool {
        match result {
            Ok(message) => self.note(check, Verdict::Ok, message, None),
            Err(trouble) => {
                self.note(check, Verdict::Failed, trouble.message, trouble.help);
                return false;
            }
        }
        true
    }

    async fn reach(&mut self) -> bool {
        let listed = self.store.list(&Folder::Root, Depth::Shallow).next().await;
        let result = listed.map(|_| format!("{} answers and lists", self.store.describe())).map_err(Trouble::from);
        self.conclude("reach", result)
    }

    fn clock(&mut self) {
        let Some(skew) = self.store.clock_skew() else { return };
        let (ahead, secs) = (skew < TimeDelta::zero(), skew.num_seconds().abs());
        if skew.abs() < SKEW_WARNING {
            self.note("clock", Verdict::Ok, format!("this machine's clock and the store's differ by {secs} s"), None);
        } else {
            let way = if ahead { "ahead of" } else { "behind" };
            let message =
                format!("this machine's clock is {secs} s {way} the store's; beyond 15 minutes S3 refuses it");
            self.note("clock", Verdict::Warning, message, Some("timedatectl set-ntp true"));
        }
    }

    /// Whose bucket it is.
    async fn fleet(&mut self, own: Uuid) {
        let result = match self.store.find(&ObjectKey::Fleet, Fleet::MAX_BYTES).await {
            Err(error) => Err(error.into()),
            Ok(None) => Err(Trouble::new("there is no fleet.json: no fleet lives here yet", "fleetman init")),
            Ok(Some(object)) => match document::parse::<Fleet>(&object.bytes) {
                Err(error) => Err(Trouble::new(format!("fleet.json: {error}"), "restore it, or use another prefix")),
                Ok(found) if found.fleet != own => Err(Trouble::new(
                    format!("the bucket belongs to fleet {}, the config says {own}", found.fleet),
                    "use another prefix, or correct `fleet` in the config",
                )),
                Ok(found) if found.layout != Fleet::LAYOUT => Err(Trouble::new(
                    format!("the bucket has layout {}, this program knows {}", found.layout, Fleet::LAYOUT),
                    "use the fleetman that made it, or a newer one",
                )),
                Ok(found) => Ok(format!("fleet {}, layout {}", found.fleet, found.layout)),
            },
        };
        self.conclude("fleet", result);
    }

    /// Sizes and names that stores stumble over, read back at once, again and again.
    async fn write_and_read(&mut self) -> bool {
        let result = self.try_writes().await;
        self.conclude("read_after_write", result)
    }

    async fn try_writes(&self) -> Result<String, Trouble> {
        let large: Bytes = (0..=u8::MAX).cycle().take(LARGE_BYTES).collect::<Vec<_>>().into();
        for (name, body) in [("empty", Bytes::new()), (ODD_NAME, Bytes::from_static(b"odd")), ("large", large)] {
            let key = self.probes.key(name)?;
            self.store.put_own(&key, body.clone()).await?;
            let expect = Expect { size: body.len() as u64, sha256: Sha256Digest::of(&body) };
            self.store.download(&key, None, expect, &mut tokio::io::sink()).await?;
        }
        let again = self.probes.key("again")?;
        for round in 0..READS {
            let fresh = self.probes.key(&format!("fresh-{round}"))?;
            for key in [&fresh, &again] {
                let body = Bytes::from(format!("{round}"));
                self.store.put_own(key, body.clone()).await?;
                let read = self.store.find(key, 64).await?.map(|object| object.bytes);
                if read.as_ref() != Some(&body) {
                    let what = if read.is_none() { "nothing" } else { "older bytes" };
                    return Err(Trouble::new(
                        format!("a read right after a write gave {what}: the store is only eventually consistent"),
                        "set the bucket to strong consistency; agents stay safe, but see changes late",
                    ));
                }
            }
            self.store.delete(&fresh).await?;
            if self.store.find(&fresh, 64).await?.is_some() {
                return Err(Trouble::new("an object was still there after its deletion", "set strong consistency"));
            }
        }
        Ok(format!("{READS} writes, overwrites and deletions were seen at once; odd names and 8 MiB came back whole"))
    }

    /// An idle poll is one conditional GET; without it every poll would fetch the index.
    async fn unchanged(&mut self) {
        let check = async {
            let key = self.probes.key("large")?;
            let Some(meta) = self.store.head(&key).await? else {
                return Err(Trouble::new("an object is gone", "find out who deletes below probes/"));
            };
            match self.store.get_if_changed(&key, Some(&meta.etag), LARGE_BYTES as u64).await? {
                Fetched::Unchanged => Ok("an unchanged object is not sent again".to_owned()),
                Fetched::Changed(_) | Fetched::Absent => Err(Trouble::new(
                    "If-None-Match on reads is ignored: each idle poll will fetch the whole index",
                    "it works, but costs traffic; a gateway in between may be at fault",
                )),
            }
        };
        let result = check.await;
        self.conclude("conditional_read", result);
    }

    async fn copy(&mut self) {
        let check = async {
            let (from, to) = (self.probes.key(ODD_NAME)?, self.probes.key("copied")?);
            self.store.copy(&from, &to).await?;
            let expect = Expect { size: 3, sha256: Sha256Digest::of(b"odd") };
            self.store.download(&to, None, expect, &mut tokio::io::sink()).await?;
            Ok("objects are copied inside the store, also those with odd names".to_owned())
        };
        let result = check.await;
        self.conclude("copy", result);
    }

    async fn list(&mut self) {
        let check = async {
            let folder = Folder::Probes(Some(self.probes.run));
            let listing = self.store.list_all(&folder, Depth::Deep, 10_000).await?;
            for name in ["empty", ODD_NAME, "large", "copied"] {
                let key = self.probes.key(name)?;
                if !listing.entries.iter().any(|entry| entry.object_key().as_ref() == Some(&key)) {
                    return Err(Trouble::new(
                        format!("a list right after a write lacks {key}"),
                        "set the bucket to strong consistency",
                    ));
                }
            }
            if listing.entries.iter().any(|entry| entry.last_modified.is_none()) {
                return Err(Trouble::new("lists have no LastModified", "nodes cannot be told alive from dead with it"));
            }
            Ok("a list shows what was just written".to_owned())
        };
        let result = check.await;
        self.conclude("list_after_write", result);
    }

    /// Races the store; what it shows decides whether writers must take turns.
    async fn conditions(&mut self) -> Conditions {
        let creates = race_creates(&self.store, &self.probes).await;
        let create = self.conclude_race("create_race", creates, |winners| {
            format!("{winners} of {RACERS} writers who created one object at once were told that they had won")
        });
        if create != Conditions::Honoured {
            return create;
        }
        let replaces = race_replaces(&self.store, &self.probes).await;
        self.conclude_race("replace_race", replaces, |lost| {
            format!("{lost} of the changes that {COUNTERS} writers made to one object were lost")
        })
    }

    fn conclude_race(&mut self, check: &str, race: Result<Race, Trouble>, lie: impl Fn(usize) -> String) -> Conditions {
        const TURNS: &str = "writers take turns on this store, and publishing is a little slower; nothing is unsafe";
        match race {
            Err(trouble) => {
                self.note(check, Verdict::Failed, trouble.message, trouble.help);
                Conditions::Unknown
            }
            Ok(Race { conditions: Conditions::Honoured, .. }) => {
                let message = if check == "create_race" {
                    format!("of {RACERS} writers who created one object at once, exactly one won, {ROUNDS} times")
                } else {
                    format!("of the changes that {COUNTERS} writers made to one object at once, none was lost")
                };
                self.note(check, Verdict::Ok, message, None);
                Conditions::Honoured
            }
            Ok(Race { conditions: Conditions::Ignored, winners }) => {
                let message = format!("{}: conditions on writes do not hold here", lie(winners));
                self.note(check, Verdict::Warning, message, Some(TURNS));
                Conditions::Ignored
            }
            Ok(Race { conditions, .. }) => {
                self.note(check, Verdict::Warning, "the store refuses conditions on writes", Some(TURNS));
                conditions
            }
        }
    }

    async fn clean_up(&mut self) {
        let check = async {
            let folder = Folder::Probes(Some(self.probes.run));
            let listing = self.store.list_all(&folder, Depth::Deep, 10_000).await?;
            let keys: Vec<ObjectKey> = listing.entries.iter().filter_map(|entry| entry.object_key()).collect();
            for (_, result) in self.store.delete_many(&keys).await {
                result?;
            }
            Ok(format!("{} probes were removed again", keys.len()))
        };
        let result = check.await;
        self.conclude("clean_up", result);
    }
}

/// A name with what stores and signatures stumble over.
const ODD_NAME: &str = "odd/a b+c%20\u{e9}&=.txt";

/// More than one piece of most transfers.
const LARGE_BYTES: usize = 8 << 20;

/// What one run writes.
struct Probes {
    run: Ulid,
}

impl Probes {
    fn key(&self, name: &str) -> Result<ObjectKey, Trouble> {
        let path = FilePath::new(name).map_err(|error| Trouble { message: error.to_string(), help: None })?;
        Ok(ObjectKey::Probe(self.run, path))
    }
}

/// What is wrong, and what to do about it.
struct Trouble {
    message: String,
    help: Option<&'static str>,
}

impl Trouble {
    fn new(message: impl Into<String>, help: &'static str) -> Self {
        Self { message: message.into(), help: Some(help) }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        let help = match &error {
            StoreError::Denied { .. } => Some("grant the right to read, write, list and delete below the prefix"),
            StoreError::Unreachable { .. } => Some("check `endpoint`, the network, and whether the store runs"),
            _ => None,
        };
        Self { message: in_full(&error), help }
    }
}

/// Lets many writers create one object, each with bytes of its own. Exactly one may be told that it did.
async fn race_creates(store: &Store, probes: &Probes) -> Result<Race, Trouble> {
    let mut worst = Race { conditions: Conditions::Honoured, winners: 1 };
    for round in 0..ROUNDS {
        let key = probes.key(&format!("race-{round}"))?;
        let racers = (0..RACERS).map(|racer| store.create(&key, Bytes::from(format!("racer {racer}"))));
        let mut winners = 0;
        for result in join_all(racers).await {
            match result {
                Ok(created) if created.outcome == Outcome::New => winners += 1,
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(StoreError::Unsupported { .. }) => return Ok(Race { conditions: Conditions::Refused, winners }),
                Err(error) => return Err(error.into()),
            }
        }
        if winners > worst.winners || winners == 0 {
            worst = Race { conditions: Conditions::Ignored, winners };
        }
    }
    Ok(worst)
}

/// Lets several writers count one number up under `If-Match`. Each change that was said to be made must be in the sum.
async fn race_replaces(store: &Store, probes: &Probes) -> Result<Race, Trouble> {
    let key = probes.key("counter")?;
    store.put_own(&key, Bytes::from_static(b"0 first")).await?;
    let made: usize = join_all((0..COUNTERS).map(|counter| count_up(store, &key, counter)))
        .await
        .into_iter()
        .sum::<Result<usize, StoreError>>()?;
    let sum = read_number(store, &key).await?.map_or(0, |(sum, _)| sum);
    if made == sum {
        Ok(Race { conditions: Conditions::Honoured, winners: 0 })
    } else {
        Ok(Race { conditions: Conditions::Ignored, winners: made.abs_diff(sum) })
    }
}

/// Tries to count `COUNTS` times; says how often it was told that it did.
async fn count_up(store: &Store, key: &ObjectKey, counter: usize) -> Result<usize, StoreError> {
    let mut made = 0;
    for round in 0..COUNTS {
        let Some((current, etag)) = read_number(store, key).await? else { continue };
        // No two writers write the same bytes, or one could take the other's for its own.
        let body = Bytes::from(format!("{} {counter}-{round}", current + 1));
        match store.replace_if(key, body, Some(&etag)).await {
            Ok(_) => made += 1,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

async fn read_number(store: &Store, key: &ObjectKey) -> Result<Option<(usize, ETag)>, StoreError> {
    let object = store.find(key, 64).await?;
    Ok(object.and_then(|object| {
        let text = std::str::from_utf8(&object.bytes).ok()?;
        Some((text.split_once(' ')?.0.parse().ok()?, object.etag))
    }))
}
