//! What the bucket gives an agent, looked at for `fleetagent doctor`: its rights one by one, what was published, who
//! else uses the node's name, and the store's clock. Nothing is written: a heartbeat from here would be a false one.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::context::Context;
use crate::agent;
use crate::cli::failure::Failure;
use crate::cli::findings;
use crate::config::AgentConfig;
use crate::model::document::{self, Document as _};
use crate::model::fleet::Finding;
use crate::model::heartbeat::Heartbeat;
use crate::model::index::Index;
use crate::model::keys::{AttemptId, Folder};
use crate::model::rights::{self, Act, Right, Scope};
use crate::model::sign::{Trust, verify};
use crate::model::trigger::Trigger;
use crate::model::{CellId, CellName, Code, Epoch, Floor, Generation, ObjectKey};
use crate::store::{Depth, Object, Store, StoreError, in_full};

/// Below this difference clocks count as equal.
const SKEW_WARNING: TimeDelta = TimeDelta::seconds(30);

/// Signatures are good for so long before and after the store's time.
const SKEW_FAILURE: TimeDelta = TimeDelta::minutes(15);

/// A heartbeat that is older than so many intervals is not that of an agent that runs.
const ALIVE_INTERVALS: i32 = 3;

/// The cell whose log is named, and never written, when there is no cell yet.
const NO_CELL: &str = "doctor";

/// What a right came to when it was tried.
enum Tried {
    Given,
    /// There is nothing there that would show it.
    Untold,
}

/// Everything that there is to say of the bucket.
pub(super) async fn look(store: &Store, config: &AgentConfig, context: &Context) -> Vec<Finding> {
    let mut found = Vec::new();
    let listed = store.list(&Folder::NodeCells(config.node.clone()), Depth::Shallow).next().await;
    let cells: Vec<CellName> = match listed {
        Ok(page) => {
            let folders = page.map(|page| page.folders).unwrap_or_default();
            let cells: Vec<CellName> = folders.into_iter().filter_map(|name| CellName::new(name).ok()).collect();
            let message = format!("{} answers and lists {} cells of this node", store.describe(), cells.len());
            found.push(findings::of("bucket", Ok(message)));
            cells
        }
        // Which rights there are is told one by one.
        Err(StoreError::Denied { .. }) => {
            let message = format!("{} answers, but does not list the cells of this node", store.describe());
            found.push(findings::of("bucket", Err(Failure::usage(message).help("see list_cells"))));
            Vec::new()
        }
        Err(error) => {
            found.push(findings::of("bucket", Err(error.into())));
            return found;
        }
    };
    let index = store.find(&ObjectKey::Index(config.node.clone()), Index::MAX_BYTES).await;
    let beat = store.find(&ObjectKey::Heartbeat(config.node.clone()), Heartbeat::MAX_BYTES).await;
    found.extend(rights(store, config, &cells, &index, &beat).await);
    found.extend(index.ok().map(|index| published(index.as_ref(), config)).unwrap_or_default());
    let now = context.clock.now() + store.clock_skew().unwrap_or_default();
    found.extend(beat.ok().map(|beat| heartbeat(beat.as_ref(), config, now)));
    found.extend(store.clock_skew().map(clock));
    found
}

/// Each right that a node needs, in the words of the policy that gives it.
async fn rights(
    store: &Store,
    config: &AgentConfig,
    cells: &[CellName],
    index: &Result<Option<Object>, StoreError>,
    beat: &Result<Option<Object>, StoreError>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for right in rights::of_node(&config.node) {
        let tried = match (right.act, &right.scope) {
            (Act::Get, Scope::At(ObjectKey::Index(_))) => seen(index),
            (Act::Get, Scope::At(_)) => seen(beat),
            (Act::Get, Scope::Below(_)) => read_a_cell(store, config, cells).await,
            (Act::List, scope) => store.may_list(scope).await.map(|()| Tried::Given).map_err(refusal),
            (Act::Put, Scope::At(key)) => {
                // A store that would keep it keeps what was there.
                let bytes = beat.as_ref().ok().and_then(Option::as_ref).map(|object| object.bytes.clone());
                written(store, key, bytes.unwrap_or_default()).await
            }
            (Act::Put, Scope::Below(_)) => {
                let text = Bytes::from_static(b"fleetagent doctor tried whether this can be written.\n");
                match a_log(config, cells) {
                    Some(key) => written(store, &key, text).await,
                    None => Ok(Tried::Untold),
                }
            }
        };
        found.push(finding(&right, tried, config));
    }
    found
}

fn finding(right: &Right, tried: Result<Tried, String>, config: &AgentConfig) -> Finding {
    let words = right.in_words(&config.store.prefix);
    match tried {
        Ok(Tried::Given) => findings::of(right.name, Ok(words)),
        Ok(Tried::Untold) => {
            findings::of(right.name, Ok(format!("{words}: shows once something is there that could be read")))
        }
        Err(problem) => {
            let help = format!("`fleetman node add {}` prints the policy that gives it", config.node);
            findings::of(right.name, Err(Failure::usage(format!("{words} is missing: {problem}")).help(help)))
        }
    }
}

fn refusal(error: StoreError) -> String {
    in_full(&error)
}

fn seen(read: &Result<Option<Object>, StoreError>) -> Result<Tried, String> {
    match read {
        Ok(Some(_)) | Err(StoreError::TooLarge { .. }) => Ok(Tried::Given),
        Ok(None) => Ok(Tried::Untold),
        Err(error) => Err(in_full(error)),
    }
}

/// The first cell that has a trigger shows whether cells can be read.
async fn read_a_cell(store: &Store, config: &AgentConfig, cells: &[CellName]) -> Result<Tried, String> {
    const MOST_LOOKS: usize = 10;
    for cell in cells.iter().take(MOST_LOOKS) {
        let key = ObjectKey::Trigger(CellId::new(config.node.clone(), cell.clone()));
        if store.head(&key).await.map_err(refusal)?.is_some() {
            return store.find(&key, 2 * Trigger::MAX_BYTES).await.map(|_| Tried::Given).map_err(refusal);
        }
    }
    Ok(Tried::Untold)
}

async fn written(store: &Store, key: &ObjectKey, body: Bytes) -> Result<Tried, String> {
    store.may_write(key, body).await.map(|()| Tried::Given).map_err(refusal)
}

/// A log that no attempt writes: these count from 1.
fn a_log(config: &AgentConfig, cells: &[CellName]) -> Option<ObjectKey> {
    let cell = cells.first().cloned().or_else(|| CellName::new(NO_CELL).ok())?;
    let cell = CellId::new(config.node.clone(), cell);
    let floor = Floor::new(Epoch::FIRST, Generation::FIRST);
    Some(ObjectKey::AttemptLog(AttemptId { cell, floor, attempt: 0 }))
}

/// What was published, and whether this node believes it.
fn published(index: Option<&Object>, config: &AgentConfig) -> Vec<Finding> {
    let Some(object) = index else {
        let pinned = match &config.trust {
            Trust::Keys(keys) => format!("; what its {} pinned keys believe shows then", keys.len()),
            Trust::Unsigned => String::new(),
        };
        let message = format!("nothing was published to this node yet{pinned}");
        return vec![findings::warning("index", message, None)];
    };
    match document::parse::<Index>(&object.bytes) {
        Err(error) => vec![findings::of("index", Err(Failure::usage(in_full(&error))))],
        Ok(index) if index.node != config.node => {
            vec![findings::of("index", Err(Failure::usage(format!("it is that of node {}", index.node))))]
        }
        Ok(index) => {
            let read = findings::of("index", Ok(format!("can be read, {} cells", index.cells.len())));
            vec![read, signatures(&index, config)]
        }
    }
}

/// Whether what was published is signed by a key that this node believes, and meant for it.
fn signatures(index: &Index, config: &AgentConfig) -> Finding {
    if config.trust == Trust::Unsigned {
        let message = "signatures are off: whoever can write to the bucket can deploy here";
        return findings::warning("keys", message, Some("pin trusted_keys".to_owned()));
    }
    let mut believed = 0_usize;
    for (name, entry) in index.entries() {
        let Ok((_, entry)) = entry else { continue };
        let Some(bytes) = entry.trigger_bytes() else { continue };
        match verify::<Trigger>(bytes, &config.trust) {
            Ok(trigger) if trigger.fleet != config.fleet => {
                let message =
                    format!("the trigger of {name} is of fleet {}, this node of {}", trigger.fleet, config.fleet);
                return findings::of("keys", Err(Failure::usage(message).help("correct `fleet` or the bucket")));
            }
            Ok(_) => believed += 1,
            Err(error) => {
                let failure = Failure::usage(format!("the trigger of {name} is not believed: {error}"));
                return findings::of("keys", Err(failure.help("compare trusted_keys with `fleetman keygen`'s output")));
            }
        }
    }
    findings::of("keys", Ok(format!("{believed} triggers are signed by a pinned key")))
}

/// Whose heartbeat lies in the bucket.
fn heartbeat(object: Option<&Object>, config: &AgentConfig, now: DateTime<Utc>) -> Finding {
    const CHECK: &str = "heartbeat";
    let Some(object) = object else {
        return findings::warning(CHECK, "none yet: the agent writes the first", None);
    };
    let Ok(beat) = document::parse::<Heartbeat>(&object.bytes) else {
        return findings::warning(CHECK, "what lies in its place is none, and is overwritten by the agent", None);
    };
    let when = object.last_modified.map_or_else(|| "at an unknown time".to_owned(), |at| at.to_rfc3339());
    if beat.fleet != config.fleet {
        let message = format!("it is of fleet {}, this node of {}", beat.fleet, config.fleet);
        return findings::of(
            CHECK,
            Err(Failure::usage(message).help("correct `fleet`, or give the fleet its own prefix")),
        );
    }
    let other = "give one of the two another name, and end both until then";
    if let Some(double) = beat.conditions.iter().find(|condition| condition.code == Code::DuplicateNode) {
        return findings::of(CHECK, Err(Failure::usage(double.message.as_str()).help(other)));
    }
    let ours = agent::read_status(&config.state_folder).ok().map(|status| status.heartbeat.instance_id);
    if ours == Some(beat.instance_id) {
        return findings::of(CHECK, Ok(format!("last taken by the store {when}")));
    }
    let interval = TimeDelta::seconds(i64::try_from(beat.interval_secs.clamp(1, 3_600)).unwrap_or(3_600));
    let is_alive = object.last_modified.is_some_and(|at| now - at < interval * ALIVE_INTERVALS);
    let message = format!("another agent, on host {:?}, reported as {} {when}", beat.host.hostname, config.node);
    if is_alive {
        return findings::of(CHECK, Err(Failure::usage(format!("duplicate_node: {message}")).help(other)));
    }
    findings::warning(CHECK, format!("{message}; this one takes its place"), None)
}

fn clock(skew: TimeDelta) -> Finding {
    const CHECK: &str = "clock";
    let message = format!("this machine's clock and the store's differ by {} s", skew.num_seconds().abs());
    let help = "timedatectl set-ntp true";
    if skew.abs() < SKEW_WARNING {
        findings::of(CHECK, Ok(message))
    } else if skew.abs() < SKEW_FAILURE {
        findings::warning(CHECK, message, Some(help.to_owned()))
    } else {
        findings::of(CHECK, Err(Failure::usage(message).help(help)))
    }
}
