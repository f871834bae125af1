//! Reading the fleet again and again: what changed is read and judged anew, all else is used again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};

use super::judge::{Liveness, LivenessLimits};
use super::view::{CellView, Counts, FleetView, NodeView};
use super::wishes::{Abouts, Wishes};
use crate::controller::inputs::READS;
use crate::controller::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::Heartbeat;
use crate::model::index::Index;
use crate::model::keys::Folder;
use crate::model::{CellId, CellName, NodeName, ObjectKey};
use crate::store::{Depth, ETag, StoreError};

/// So many objects that are refused one by one are no longer the doing of some nodes, but the store's or the
/// credentials' trouble.
const MOST_REFUSED: usize = 100;

/// Reads the fleet again and again: one LIST of the heartbeats and one of the indexes for each thousand of them, and a
/// GET of each that changed. A look grows with what changed, beside the lists.
#[derive(Debug, Default)]
pub struct FleetReader {
    limits: LivenessLimits,
    known: BTreeMap<NodeName, Known>,
    abouts: Abouts,
    revision: u64,
    looked: Looked,
}

/// What the last look asked of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Pages of lists.
    pub lists: usize,
    /// Objects that were read, because they were new or other than before.
    pub gets: usize,
    /// How long the store took for the first page of a list.
    pub answered_in: Duration,
}

/// What is known of a node.
#[derive(Debug, Default)]
struct Known {
    heartbeat: Option<Cached<Heartbeat>>,
    wishes: Option<Cached<Wishes>>,
    /// What is made of it; None if it has to be made anew.
    view: Option<Arc<NodeView>>,
}

/// An object as it was read.
#[derive(Debug)]
struct Cached<T> {
    /// None if it was refused: it may be readable the next time.
    etag: Option<ETag>,
    modified: Option<DateTime<Utc>>,
    /// An error says why it cannot be read.
    value: Result<Arc<T>, String>,
}

/// A kind of object of which each node has one.
#[derive(Debug, Clone, Copy)]
enum Part {
    Heartbeat,
    Index,
}

/// A folder of such objects as it is listed.
#[derive(Debug, Default)]
struct List {
    entries: BTreeMap<NodeName, Listed>,
    pages: usize,
    answered_in: Duration,
}

#[derive(Debug, Clone)]
struct Listed {
    etag: ETag,
    modified: Option<DateTime<Utc>>,
}

/// What a list says of an object that may be known.
#[derive(Debug, PartialEq, Eq)]
enum Compared {
    Same,
    /// The same bytes, taken by the store anew.
    Moved,
    Gone,
    Other,
}

/// What was read of an object.
enum Found {
    Bytes(ETag, Bytes),
    /// It can never be read.
    Unreadable(ETag, String),
    /// The store refuses it, which says nothing of others.
    Refused(StoreError),
    /// It was deleted between the LIST and the GET.
    Gone,
}

impl FleetReader {
    /// A reader that knows nothing yet.
    #[must_use]
    pub fn new(limits: LivenessLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What the last [`FleetReader::refresh`] asked of the store. Tries that the store layer repeated are counted once.
    #[must_use]
    pub fn looked(&self) -> Looked {
        self.looked
    }

    /// Reads what changed and joins it with what was known.
    ///
    /// # Errors
    /// Why the store did not answer; what was read until then is not read again. An object that cannot be read is part
    /// of the view.
    pub async fn refresh(&mut self, controller: &Controller) -> Result<FleetView, ControllerError> {
        self.looked = Looked::default();
        let (heartbeats, indexes) =
            tokio::try_join!(controller.list_part(Part::Heartbeat), controller.list_part(Part::Index))?;
        self.looked.lists = heartbeats.pages + indexes.pages;
        self.looked.answered_in = heartbeats.answered_in;
        let other = self.compare(heartbeats.entries, indexes.entries);
        self.read(controller, other).await?;
        Ok(self.join(controller.store_now()))
    }

    /// Forgets what is not there any more; what is returned has to be read.
    fn compare(
        &mut self,
        mut heartbeats: BTreeMap<NodeName, Listed>,
        mut indexes: BTreeMap<NodeName, Listed>,
    ) -> Vec<(NodeName, Part, Listed)> {
        for name in heartbeats.keys().chain(indexes.keys()) {
            if !self.known.contains_key(name) {
                self.known.insert(name.clone(), Known::default());
            }
        }
        let mut other = Vec::new();
        for (name, known) in &mut self.known {
            let (heartbeat, index) = (heartbeats.remove(name), indexes.remove(name));
            let of_heartbeat = compare(&mut known.heartbeat, heartbeat.as_ref());
            let of_index = compare(&mut known.wishes, index.as_ref());
            // When the index was written is shown nowhere.
            if matches!(of_heartbeat, Compared::Moved | Compared::Gone) || of_index == Compared::Gone {
                known.view = None;
            }
            for (part, compared, listed) in [(Part::Heartbeat, of_heartbeat, heartbeat), (Part::Index, of_index, index)]
            {
                other.extend(listed.filter(|_| compared == Compared::Other).map(|listed| (name.clone(), part, listed)));
            }
        }
        other
    }

    async fn read(
        &mut self,
        controller: &Controller,
        other: Vec<(NodeName, Part, Listed)>,
    ) -> Result<(), ControllerError> {
        let mut reads = stream::iter(other)
            .map(async |(node, part, listed)| {
                let found = controller.read_part(&node, part, &listed).await;
                (node, part, listed, found)
            })
            .buffer_unordered(READS);
        let mut refused = 0;
        while let Some((node, part, Listed { modified, .. }, found)) = reads.next().await {
            self.looked.gets += 1;
            let known = self.known.entry(node.clone()).or_default();
            let (etag, bytes) = match found? {
                Found::Bytes(etag, bytes) => (Some(etag), Ok(bytes)),
                Found::Unreadable(etag, why) => (Some(etag), Err(why)),
                Found::Refused(error) if refused == MOST_REFUSED => return Err(error.into()),
                Found::Refused(error) => {
                    refused += 1;
                    (None, Err(error.to_string()))
                }
                Found::Gone => continue,
            };
            let is_news = match part {
                Part::Heartbeat => {
                    let value = bytes.and_then(|bytes| read_heartbeat(&node, &bytes)).map(Arc::new);
                    put(&mut known.heartbeat, Cached { etag, modified, value })
                }
                Part::Index => {
                    let value =
                        bytes.and_then(|bytes| controller.read_wishes(&node, &bytes, &mut self.abouts)).map(Arc::new);
                    put(&mut known.wishes, Cached { etag, modified, value })
                }
            };
            if is_news {
                known.view = None;
            }
        }
        Ok(())
    }

    /// Makes a view of what is known, of which what was made before is a part wherever it still holds.
    fn join(&mut self, at: DateTime<Utc>) -> FleetView {
        let before = self.known.len();
        self.known.retain(|_, known| known.heartbeat.is_some() || known.wishes.is_some());
        let mut is_news = self.known.len() != before || self.revision == 0;
        let mut nodes = Vec::with_capacity(self.known.len());
        for (name, known) in &mut self.known {
            let liveness = known.liveness(self.limits, at);
            let kept = known.view.take().filter(|view| view.liveness == liveness);
            is_news |= kept.is_none();
            let view = kept.unwrap_or_else(|| Arc::new(known.judged(name, liveness)));
            known.view = Some(view.clone());
            nodes.push(view);
        }
        if is_news {
            self.revision += 1;
            self.abouts.sweep();
        }
        let counts = Counts::of(&nodes);
        FleetView { at, revision: self.revision, nodes, counts }
    }
}

impl Known {
    fn liveness(&self, limits: LivenessLimits, at: DateTime<Utc>) -> Liveness {
        let heartbeat = self.heartbeat.as_ref();
        let interval_secs = heartbeat.and_then(|beat| beat.value.as_ref().ok()).map(|beat| beat.interval_secs);
        limits.judge(heartbeat.and_then(|beat| beat.modified), interval_secs, at)
    }

    fn judged(&self, node: &NodeName, liveness: Liveness) -> NodeView {
        let heartbeat = self.heartbeat.as_ref().and_then(|beat| beat.value.as_ref().ok());
        let wishes = self.wishes.as_ref().and_then(|wishes| wishes.value.as_ref().ok());
        let unread = self.heartbeat.as_ref().and_then(|beat| beat.value.as_ref().err());
        let mut problems: Vec<String> = unread.map(|why| format!("heartbeat: {why}")).into_iter().collect();
        let unread = self.wishes.as_ref().and_then(|wishes| wishes.value.as_ref().err());
        problems.extend(unread.map(|why| format!("index: {why}")));
        problems.extend(wishes.iter().flat_map(|wishes| wishes.problems.iter().cloned()));

        let wished = wishes.iter().flat_map(|wishes| wishes.cells.iter().map(|(name, _)| name));
        let reported = heartbeat.iter().flat_map(|heartbeat| heartbeat.cells.keys());
        let names: BTreeSet<&CellName> = wished.chain(reported).collect();
        let cells = names.into_iter().map(|name| {
            let wish = wishes.and_then(|wishes| wishes.of(name)).cloned();
            CellView::of(CellId::new(node.clone(), name.clone()), wish, heartbeat.cloned(), liveness)
        });
        NodeView {
            node: node.clone(),
            liveness,
            last_seen: self.heartbeat.as_ref().and_then(|beat| beat.modified),
            heartbeat: heartbeat.cloned(),
            problems,
            hold_orders: wishes.map(|wishes| wishes.hold_orders.clone()).unwrap_or_default(),
            cells: cells.filter(|cell| !cell.is_tombstone()).collect(),
        }
    }
}

/// Compares an object with what a list says of it.
fn compare<T>(known: &mut Option<Cached<T>>, listed: Option<&Listed>) -> Compared {
    match (known.as_mut(), listed) {
        (None, None) => Compared::Same,
        (Some(_), None) => {
            *known = None;
            Compared::Gone
        }
        (Some(known), Some(listed)) if known.etag.as_ref() == Some(&listed.etag) => {
            let before = std::mem::replace(&mut known.modified, listed.modified);
            if before == listed.modified { Compared::Same } else { Compared::Moved }
        }
        (_, Some(_)) => Compared::Other,
    }
}

/// Keeps what was read of an object, and tells whether that is news: an object that still cannot be read is none.
fn put<T>(known: &mut Option<Cached<T>>, read: Cached<T>) -> bool {
    let is_as_before = known.as_ref().is_some_and(|known| match (&known.value, &read.value) {
        (Err(before), Err(now)) => before == now && known.modified == read.modified,
        _ => false,
    });
    *known = Some(read);
    !is_as_before
}

/// Reads the heartbeat of `node`; an error says why it is none.
pub(in crate::controller) fn read_heartbeat(node: &NodeName, bytes: &[u8]) -> Result<Heartbeat, String> {
    let beat: Heartbeat = document::parse(bytes).map_err(|error| error.to_string())?;
    if beat.node == *node { Ok(beat) } else { Err(format!("it says that it is of node {}", beat.node)) }
}

impl Controller {
    async fn list_part(&self, part: Part) -> Result<List, ControllerError> {
        let folder = match part {
            Part::Heartbeat => Folder::Agents,
            Part::Index => Folder::Indexes,
        };
        let began = self.clock.monotonic();
        let mut pages = self.store().list(&folder, Depth::Deep);
        let mut list = List::default();
        while let Some(page) = pages.next().await? {
            list.pages += 1;
            if list.pages == 1 {
                list.answered_in = self.clock.monotonic().saturating_sub(began);
            }
            list.entries.extend(page.entries.into_iter().filter_map(|entry| match entry.object_key() {
                Some(ObjectKey::Heartbeat(node) | ObjectKey::Index(node)) => {
                    Some((node, Listed { etag: entry.etag, modified: entry.last_modified }))
                }
                _ => None,
            }));
        }
        Ok(list)
    }

    async fn read_part(&self, node: &NodeName, part: Part, listed: &Listed) -> Result<Found, ControllerError> {
        let (key, most_bytes) = match part {
            Part::Heartbeat => (ObjectKey::Heartbeat(node.clone()), Heartbeat::MAX_BYTES),
            Part::Index => (ObjectKey::Index(node.clone()), Index::MAX_BYTES),
        };
        match self.store().find(&key, most_bytes).await {
            Ok(Some(object)) => Ok(Found::Bytes(object.etag, object.bytes)),
            Ok(None) => Ok(Found::Gone),
            Err(error @ StoreError::TooLarge { .. }) => Ok(Found::Unreadable(listed.etag.clone(), error.to_string())),
            Err(error @ (StoreError::Denied { .. } | StoreError::Refused { .. })) => Ok(Found::Refused(error)),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::controller::fleet::sample::{heartbeat, now};

    fn listed(tag: &str, secs: i64) -> Listed {
        Listed { etag: ETag::from(tag.to_owned()), modified: Some(now() + TimeDelta::seconds(secs)) }
    }

    /// A reader that has read these heartbeats, and nothing else, under the tag "a".
    fn knowing(names: &[&str]) -> FleetReader {
        let mut reader = FleetReader::new(LivenessLimits::default());
        let heartbeats = names.iter().map(|name| (NodeName::new(*name).unwrap(), listed("a", 0)));
        for (node, _, Listed { etag, modified }) in reader.compare(heartbeats.collect(), BTreeMap::new()) {
            let value = Ok(Arc::new(heartbeat(node.as_str(), &json!({}))));
            let cached = Cached { etag: Some(etag), modified, value };
            assert!(put(&mut reader.known.get_mut(&node).unwrap().heartbeat, cached));
        }
        reader
    }

    /// What has to be read when the heartbeats are listed like this.
    fn compared(reader: &mut FleetReader, heartbeats: &[(&str, Listed)]) -> Vec<String> {
        let heartbeats = heartbeats.iter().map(|(name, listed)| (NodeName::new(*name).unwrap(), listed.clone()));
        let other = reader.compare(heartbeats.collect(), BTreeMap::new());
        other.into_iter().map(|(node, ..)| node.to_string()).collect()
    }

    #[test]
    fn a_look_that_found_nothing_new_makes_nothing_new() {
        let mut reader = knowing(&["n1", "n2"]);
        let first = reader.join(now());
        assert_eq!((first.revision, first.counts.liveness(Liveness::Active)), (1, 2));
        assert!(compared(&mut reader, &[("n1", listed("a", 0)), ("n2", listed("a", 0))]).is_empty());
        let second = reader.join(now() + TimeDelta::seconds(9));
        assert_eq!((second.revision, second.at), (1, now() + TimeDelta::seconds(9)));
        assert!(first.nodes.iter().zip(&second.nodes).all(|(first, second)| Arc::ptr_eq(first, second)));
    }

    #[test]
    fn only_the_node_that_changed_is_new() {
        let mut reader = knowing(&["n1", "n2"]);
        let first = reader.join(now());
        assert!(compared(&mut reader, &[("n1", listed("a", 5)), ("n2", listed("a", 0))]).is_empty(), "nothing to read");
        let moved = reader.join(now());
        assert_eq!((moved.revision, moved.nodes[0].last_seen), (2, Some(now() + TimeDelta::seconds(5))));
        let beats = [&first, &moved].map(|view| view.nodes[0].heartbeat.clone().unwrap());
        assert!(Arc::ptr_eq(&beats[0], &beats[1]) && Arc::ptr_eq(&first.nodes[1], &moved.nodes[1]));
        assert_eq!(compared(&mut reader, &[("n1", listed("b", 5)), ("n2", listed("a", 0))]), ["n1"]);
        assert_eq!(
            compared(&mut reader, &[("n1", listed("b", 5)), ("n2", listed("a", 0))]),
            ["n1"],
            "until it is read"
        );
    }

    #[test]
    fn a_node_is_new_when_it_falls_silent_and_gone_when_nothing_of_it_is_listed() {
        let mut reader = knowing(&["n1", "n2"]);
        assert_eq!(reader.join(now()).revision, 1);
        let silent = reader.join(now() + TimeDelta::seconds(120));
        assert_eq!((silent.revision, silent.counts.liveness(Liveness::Warning)), (2, 2));
        assert!(compared(&mut reader, &[("n2", listed("a", 0))]).is_empty());
        let left = reader.join(now() + TimeDelta::seconds(121));
        assert_eq!((left.revision, left.nodes.len()), (3, 1));
        assert!(left.node(&NodeName::new("n1").unwrap()).is_none());
        assert_eq!(reader.join(now() + TimeDelta::seconds(121)).revision, 3);
    }

    #[test]
    fn an_object_that_still_cannot_be_read_is_no_news() {
        let refused = |why: &str| Cached::<Heartbeat> { etag: None, modified: Some(now()), value: Err(why.to_owned()) };
        let mut known = None;
        assert!(put(&mut known, refused("denied")));
        assert!(!put(&mut known, refused("denied")));
        assert!(put(&mut known, refused("too large")));
        assert_eq!(compare(&mut known, Some(&listed("a", 0))), Compared::Other, "it may be readable now");
    }
}
