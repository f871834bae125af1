//! Reading the node's corner of the bucket. Nothing is believed here that did not verify, and nothing that is absent,
//! denied or unreadable says anything but that it is so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::context::Context;
use super::decide::{Place, Seen};
use super::orders::{self, Brought};
use super::state::floor_of;
use super::trouble::{Cure, Trouble, plain};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{Condition, Heartbeat};
use crate::model::index::Index;
use crate::model::keys::Folder;
use crate::model::sign::Trust;
use crate::model::trigger::Trigger;
use crate::model::{CellName, Code, Epoch, Floor, Generation, ObjectKey};
use crate::store::{Depth, ETag, Fetched, StoreError, in_full};

/// A half-finished publish is one step ahead; more than these are not followed at once.
const HISTORY_STEPS: usize = 64;

/// Without a floor, as many of the newest entries are tried.
const NEWEST_ENTRIES: usize = 8;

/// A node has at most so many cells; of a longer list nothing is read.
const MOST_CELLS: usize = 10_000;

/// Cells that are read at once.
const AT_ONCE: usize = 8;

/// A heartbeat that claims more than this above everything signed is not believed.
const PLAUSIBLE_AHEAD: u64 = 1_000;

/// What was read, cell by cell.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) seen: BTreeMap<CellName, Vec<Seen>>,
    /// The first thing that the store refused.
    pub(super) error: Option<StoreError>,
}

/// What is at the index.
#[derive(Debug)]
pub(super) enum IndexReading {
    Unchanged,
    /// With what is wrong with the index as a whole, and the orders in it.
    Read(BTreeMap<CellName, Vec<Seen>>, Option<ETag>, Vec<Condition>, Vec<Brought>),
}

/// Reads the index, unless it is the one that `known` names.
pub(super) async fn index(context: &Context, known: Option<&ETag>) -> Result<IndexReading, StoreError> {
    let key = ObjectKey::Index(context.identity.node.clone());
    let object = match context.store.get_if_changed(&key, known, Index::MAX_BYTES).await {
        Ok(Fetched::Unchanged) => return Ok(IndexReading::Unchanged),
        Ok(Fetched::Absent) => return Ok(IndexReading::Read(BTreeMap::new(), None, Vec::new(), Vec::new())),
        Ok(Fetched::Changed(object)) => object,
        Err(error @ StoreError::TooLarge { .. }) => {
            return Ok(IndexReading::Read(BTreeMap::new(), None, vec![invalid(&in_full(&error))], Vec::new()));
        }
        Err(error) => return Err(error),
    };
    let (mut seen, mut conditions, mut brought) = (BTreeMap::new(), Vec::new(), Vec::new());
    match document::parse::<Index>(&object.bytes) {
        Ok(index) if index.node == context.identity.node => {
            read_entries(context, &index, &mut seen, &mut conditions);
            brought = orders::in_index(context, &index);
        }
        Ok(index) => {
            let message = format!("the index is of node {}", index.node);
            conditions.push(Condition { code: Code::WrongTarget, message });
        }
        Err(error) => conditions.push(invalid(&format!("{key}: {}", in_full(&error)))),
    }
    Ok(IndexReading::Read(seen, Some(object.etag), conditions, brought))
}

fn invalid(message: &str) -> Condition {
    Condition { code: Code::DocumentInvalid, message: plain(message) }
}

/// One entry after the other: a bad one spoils only itself.
fn read_entries(
    context: &Context,
    index: &Index,
    seen: &mut BTreeMap<CellName, Vec<Seen>>,
    conditions: &mut Vec<Condition>,
) {
    let place = Place::Index;
    for (name, entry) in index.entries() {
        match (CellName::new(name), entry) {
            (_, Ok((cell, entry))) => {
                if let Some(bytes) = entry.trigger_bytes() {
                    let entry = believed(context, bytes, &cell, place);
                    seen.insert(cell, vec![entry]);
                }
            }
            (Ok(cell), Err(problem)) => {
                let trouble = Trouble::new(Code::DocumentInvalid, format!("index entry: {problem}"), Cure::Time);
                seen.insert(cell, vec![Seen::Refused { place, trouble }]);
            }
            (Err(error), Err(_)) if conditions.len() < 8 => conditions.push(invalid(&format!("index entry: {error}"))),
            (Err(_), Err(_)) => {}
        }
    }
}

fn believed(context: &Context, document: &[u8], cell: &CellName, place: Place) -> Seen {
    match context.identity.believe(document, cell) {
        Ok(wish) => Seen::Trigger { wish, place },
        Err(trouble) => Seen::Refused { place, trouble },
    }
}

/// Reads triggers and history one by one, whatever the index says: of the cells in the bucket and of those in
/// `floors`, which are the agent's own.
pub(super) async fn scan(context: &Arc<Context>, floors: &BTreeMap<CellName, Option<Floor>>) -> Reading {
    let folder = Folder::NodeCells(context.identity.node.clone());
    let mut reading = Reading::default();
    let mut cells: BTreeSet<CellName> = floors.keys().cloned().collect();
    match context.store.list_all(&folder, Depth::Shallow, MOST_CELLS).await {
        // What begins with `_` is no cell, and no cell's name does.
        Ok(listing) => cells.extend(listing.folders.into_iter().filter_map(|name| CellName::new(name).ok())),
        Err(error) => reading.error = Some(error),
    }
    let scans = stream::iter(cells).map(|cell| async move {
        let floor = floors.get(&cell).copied().flatten();
        let scanned = scan_cell(context, &cell, floor).await;
        (cell, scanned)
    });
    let mut scans = scans.buffer_unordered(AT_ONCE);
    while let Some((cell, scanned)) = scans.next().await {
        match scanned {
            Ok(seen) => {
                reading.seen.insert(cell, seen);
            }
            Err(error) => reading.error = reading.error.take().or(Some(error)),
        }
        context.onlooker.step();
    }
    drop(scans);
    reading
}

/// The trigger, then what history has after it or after the floor.
async fn scan_cell(context: &Context, cell: &CellName, floor: Option<Floor>) -> Result<Vec<Seen>, StoreError> {
    let id = context.identity.cell_id(cell);
    let mut seen = Vec::new();
    let mut highest = floor;
    let look = async |key: ObjectKey, place: Place, seen: &mut Vec<Seen>| {
        let entry = match context.store.find(&key, 2 * Trigger::MAX_BYTES).await {
            Ok(Some(object)) => believed(context, &object.bytes, cell, place),
            Ok(None) => return Ok(None),
            Err(error @ StoreError::TooLarge { .. }) => {
                Seen::Refused { place, trouble: Trouble::passing(Code::DocumentInvalid, &error) }
            }
            Err(error) => return Err(error),
        };
        let at = match &entry {
            Seen::Trigger { wish, .. } => Some(floor_of(wish)),
            _ => None,
        };
        seen.push(entry);
        Ok::<_, StoreError>(Some(at))
    };
    let trigger = look(ObjectKey::Trigger(id.clone()), Place::Trigger, &mut seen).await?;
    if trigger.is_none() {
        seen.push(Seen::NothingAt(Place::Trigger));
    }
    highest = highest.max(trigger.flatten());
    let mut found = trigger.is_some();
    if let Some(mut highest) = highest {
        seen.push(Seen::NothingAt(Place::History));
        for _ in 0..HISTORY_STEPS {
            let mut next = None;
            for at in following(&context.identity.trust, highest) {
                let at = look(ObjectKey::History(id.clone(), at), Place::History, &mut seen).await?;
                next = next.max(at.flatten());
            }
            match next.filter(|next| *next > highest) {
                Some(next) => highest = next,
                None => break,
            }
            found = true;
        }
    } else {
        for key in newest_entries(context, cell).await? {
            if look(key, Place::History, &mut seen).await?.flatten().is_some() {
                found = true;
                break;
            }
        }
    }
    if !found {
        seen.push(Seen::Missing);
    }
    Ok(seen)
}

/// Where the history may go on after `floor`: one generation further, or anew under a key of a higher epoch.
fn following(trust: &Trust, floor: Floor) -> BTreeSet<Floor> {
    let mut next: BTreeSet<Floor> =
        floor.generation.next().map(|next| Floor::new(floor.epoch, next)).into_iter().collect();
    if let Trust::Keys(keys) = trust {
        let epochs = keys.iter().map(|pinned| pinned.epoch).filter(|epoch| *epoch > floor.epoch);
        next.extend(epochs.map(|epoch: Epoch| Floor::new(epoch, Generation::FIRST)));
    }
    next
}

/// The newest keys in a cell's history, the newest first.
async fn newest_entries(context: &Context, cell: &CellName) -> Result<Vec<ObjectKey>, StoreError> {
    let mut newest = BTreeMap::new();
    let mut pages = context.store.list(&Folder::History(context.identity.cell_id(cell)), Depth::Shallow);
    while let Some(page) = pages.next().await? {
        for entry in page.entries {
            if let Some(ObjectKey::History(id, at)) = entry.object_key() {
                newest.insert(at, ObjectKey::History(id, at));
            }
        }
        while newest.len() > NEWEST_ENTRIES {
            newest.pop_first();
        }
    }
    Ok(newest.into_values().rev().collect())
}

/// The highest trigger of each cell that verified, wherever it stood.
pub(super) fn highest<'a>(seen: impl Iterator<Item = (&'a CellName, &'a Vec<Seen>)>) -> BTreeMap<CellName, Floor> {
    let mut floors = BTreeMap::new();
    for (cell, seen) in seen {
        let verified = seen.iter().filter_map(|seen| match seen {
            Seen::Trigger { wish, .. } => Some(floor_of(wish)),
            _ => None,
        });
        let highest = verified.max().max(floors.get(cell).copied());
        floors.extend(highest.map(|highest| (cell.clone(), highest)));
    }
    floors
}

/// The floors that the agent's own last heartbeat told of, for an agent that has lost its state. Those that no
/// signed trigger makes plausible come back as the second part.
pub(super) fn told_floors(
    heartbeat: &Heartbeat,
    signed: &BTreeMap<CellName, Floor>,
) -> (BTreeMap<CellName, Floor>, Vec<CellName>) {
    let (mut plausible, mut implausible) = (BTreeMap::new(), Vec::new());
    for (cell, report) in &heartbeat.cells {
        let Some(told) = report.seen else { continue };
        let highest = signed.get(cell);
        let generation = highest.map_or(0, |highest| highest.generation.get());
        let same_epoch = highest.is_none_or(|highest| highest.epoch >= told.epoch);
        if same_epoch && told.generation.get() <= generation + PLAUSIBLE_AHEAD {
            plausible.insert(cell.clone(), told);
        } else {
            implausible.push(cell.clone());
        }
    }
    (plausible, implausible)
}
