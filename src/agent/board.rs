//! What the cells of a node tell each other: one card a cell, and whether its owner has yet to hear something.
//!
//! Each cell runs in a task of its own. What one of them reads here of another is only of use if the other has taken in
//! all that the agent knew when the first one was told: so what a round brings is announced for all of its cells before
//! any of them is told, and a cell that was announced counts as on its way up until it has put up its card again.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::decide::{Card, Neighbours, Presence};
use crate::model::CellName;

/// Where cells look how the others stand.
#[derive(Debug, Default)]
pub(super) struct Board {
    places: watch::Sender<Places>,
}

#[derive(Debug, Default)]
struct Places {
    cells: BTreeMap<CellName, PlaceOnBoard>,
    /// Counts what changed.
    revision: u64,
}

#[derive(Debug, Default)]
struct PlaceOnBoard {
    card: Option<Card>,
    /// What was announced for it, and not taken in yet.
    announced: usize,
}

impl Board {
    /// Something is to come for `cell`.
    pub(super) fn announce(&self, cell: &CellName) {
        self.change(|places| {
            places.cells.entry(cell.clone()).or_default().announced += 1;
            true
        });
    }

    /// `announced` of what was to come for `cell` does not.
    pub(super) fn withdraw(&self, cell: &CellName, announced: usize) {
        self.take_in(cell, None, announced);
    }

    /// The cell has taken in so much of what was announced for it, and stands like this.
    pub(super) fn put(&self, cell: &CellName, card: Card, taken: usize) {
        self.take_in(cell, Some(card), taken);
    }

    fn take_in(&self, cell: &CellName, card: Option<Card>, taken: usize) {
        self.change(|places| {
            let place = places.cells.entry(cell.clone()).or_default();
            let is_new = card.is_some() && place.card != card;
            if is_new {
                place.card = card;
            }
            place.announced = place.announced.saturating_sub(taken);
            is_new || taken > 0
        });
    }

    fn change(&self, change: impl FnOnce(&mut Places) -> bool) {
        self.places.send_if_modified(|places| {
            let changed = change(places);
            places.revision += u64::from(changed);
            changed
        });
    }

    /// Tells of every change from now on.
    pub(super) fn watch(&self) -> Watch {
        Watch(self.places.subscribe())
    }

    /// Another number whenever anything has changed.
    pub(super) fn revision(&self) -> u64 {
        self.places.borrow().revision
    }
}

/// A look at the board.
#[derive(Debug)]
pub(super) struct Watch(watch::Receiver<Places>);

impl Watch {
    /// What `look` makes of the cards that are there now; changes before this are not told any more.
    pub(super) fn look<T>(&mut self, look: impl FnOnce(&Neighbours) -> T) -> T {
        let neighbours = self.0.borrow_and_update().cells.iter().filter_map(neighbour).collect();
        look(&neighbours)
    }

    /// Completes once something is otherwise than it was when it was looked at last.
    pub(super) async fn changed(&mut self) {
        // The board is there as long as the agent is.
        let _ = self.0.changed().await;
    }
}

fn neighbour((name, place): (&CellName, &PlaceOnBoard)) -> Option<(CellName, Card)> {
    let is_awaited = place.announced > 0;
    // Of a cell whose state cannot be read nothing is known.
    let unknown = || is_awaited.then_some(Card { presence: Presence::Gone, needs: None, is_awaited });
    let card = place.card.clone().map(|card| Card { is_awaited, ..card }).or_else(unknown)?;
    Some((name.clone(), card))
}
