//! Changes of many cells that were begun at this controller, and how far each has come, for the page that follows them.
//! A form that is sent twice is carried out once: it has a number of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use ulid::Ulid;

use super::caller::Caller;
use super::failure::Failure;
use super::shell::sentence_time;
use crate::access::{AccessError, BulkDone, BulkNews, BulkOrder, Session};
use crate::controller::{BulkAction, BulkCell, CellView, Liveness};
use crate::model::{CellId, Floor, UserName};

/// How many are remembered, of all users together and of one. One that is under way is never forgotten.
const MOST: usize = 64;
const MOST_OF_ONE: usize = 16;

/// The changes of this process, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Bulks(Mutex<BTreeMap<Ulid, Arc<Bulk>>>);

/// A change of many cells.
#[derive(Debug)]
pub(super) struct Bulk {
    /// Who began it.
    by: UserName,
    /// What the config calls the bucket that it is in.
    bucket: String,
    pub(super) action: BulkAction,
    pub(super) reason: Option<String>,
    pub(super) began: DateTime<Utc>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    rows: Vec<BulkRow>,
    is_over: bool,
}

/// A cell of such a change.
#[derive(Debug, Clone)]
pub(super) struct BulkRow {
    pub(super) cell: CellId,
    pub(super) state: BulkState,
}

/// How far a cell has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BulkState {
    /// It is not its turn yet.
    Waits,
    UnderWay,
    /// A trigger is there; the node goes on from it.
    Published {
        at: Floor,
        warnings: Vec<String>,
    },
    /// Its document says it.
    Written,
    /// Somebody else changed it first: it was left alone.
    Overtaken {
        why: String,
    },
    Failed {
        why: String,
    },
    /// It was not begun with.
    Left {
        why: String,
    },
}

/// A change that was asked for.
pub(super) enum Begun {
    /// It is to be carried out now.
    New(Arc<Bulk>),
    /// It was asked for before.
    Known,
}

impl Bulks {
    /// Takes a change under the number that its form has.
    ///
    /// # Errors
    /// When too many are under way.
    pub(super) fn begin(
        &self,
        caller: &Caller,
        id: Ulid,
        order: &BulkOrder,
        cells: &[BulkCell],
    ) -> Result<Begun, Failure> {
        let row = |seen: &BulkCell| BulkRow { cell: seen.cell.clone(), state: BulkState::Waits };
        let progress = Progress { rows: cells.iter().map(row).collect(), is_over: false };
        let bulk = Arc::new(Bulk {
            by: caller.may.identity().user.clone(),
            bucket: caller.fleet.name.clone(),
            action: order.action,
            reason: order.reason.clone(),
            began: caller.portal.clock.now(),
            progress: Mutex::new(progress),
        });
        self.insert(id, bulk)
    }

    fn insert(&self, id: Ulid, bulk: Arc<Bulk>) -> Result<Begun, Failure> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = known.get(&id) {
            if there.by != bulk.by || there.bucket != bulk.bucket {
                return Err(Failure::bad_request("invalid_form", "the number of this form is somebody else's"));
            }
            return Ok(Begun::Known);
        }
        make_room(&mut known, MOST_OF_ONE, |other| other.by == bulk.by)?;
        make_room(&mut known, MOST, |_| true)?;
        known.insert(id, bulk.clone());
        Ok(Begun::New(bulk))
    }

    /// The change with this number, for who began it.
    pub(super) fn find(&self, caller: &Caller, id: Ulid) -> Option<Arc<Bulk>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bulk = known.get(&id)?;
        let is_own = bulk.by == caller.may.identity().user && bulk.bucket == caller.fleet.name;
        is_own.then(|| bulk.clone())
    }
}

/// Forgets the oldest that is over, if as many as may be are like it.
fn make_room(
    known: &mut BTreeMap<Ulid, Arc<Bulk>>,
    most: usize,
    counts: impl Fn(&Bulk) -> bool,
) -> Result<(), Failure> {
    let alike: Vec<Ulid> = known.iter().filter(|(_, bulk)| counts(bulk)).map(|(id, _)| *id).collect();
    if alike.len() < most {
        return Ok(());
    }
    let oldest = alike.into_iter().filter(|id| known.get(id).is_some_and(|bulk| bulk.is_over()));
    let oldest = oldest.min_by_key(|id| known.get(id).map(|bulk| bulk.began));
    match oldest {
        Some(oldest) => {
            known.remove(&oldest);
            Ok(())
        }
        None => {
            let detail =
                format!("{most} changes of many cells are under way already; try again when one of them is over");
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "bulk_busy", detail))
        }
    }
}

impl Bulk {
    /// Its cells, and whether nothing more is done to any of them from here.
    pub(super) fn progress(&self) -> (Vec<BulkRow>, bool) {
        let progress = self.lock();
        (progress.rows.clone(), progress.is_over)
    }

    fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// What became of a cell.
    pub(super) fn hear(&self, cell: &CellId, news: BulkNews) {
        let mut progress = self.lock();
        if let Some(row) = progress.rows.iter_mut().find(|row| row.cell == *cell) {
            row.state = BulkState::from(news);
        }
    }

    /// Nothing more is done from here; `problem` is why, if not all of it was.
    pub(super) fn end(&self, problem: Option<String>) {
        let why = problem.unwrap_or_else(|| "whoever began this may no longer do it".to_owned());
        let mut progress = self.lock();
        progress.is_over = true;
        for row in &mut progress.rows {
            if matches!(row.state, BulkState::Waits | BulkState::UnderWay) {
                row.state = BulkState::Left { why: why.clone() };
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<BulkNews> for BulkState {
    fn from(news: BulkNews) -> Self {
        let BulkNews::Ends(ended) = news else { return Self::UnderWay };
        match *ended {
            Ok(BulkDone::Published(published)) => Self::Published {
                at: published.at,
                warnings: published.warnings.iter().map(ToString::to_string).collect(),
            },
            Ok(BulkDone::Written(_)) => Self::Written,
            Err(error) => {
                let is_overtaken = matches!(&error, AccessError::Controller(error) if error.is_overtaken());
                let why = Failure::from(error).detail().to_owned();
                if is_overtaken { Self::Overtaken { why } } else { Self::Failed { why } }
            }
        }
    }
}

/// Whether whoever asks would still be let in, and may do the same: asked again before each cell.
pub(super) fn still_may(caller: &Caller, session: Option<Arc<Session>>) -> impl Fn() -> bool + Send + use<> {
    let caller = caller.clone();
    move || caller.portal.gate.still_knows(caller.may.identity(), session.as_deref())
}

/// What delays an order on the node of a cell, as it was seen a moment ago.
pub(super) fn delays(view: &CellView) -> Vec<String> {
    let hold = view.report().and_then(|report| report.hold.as_ref());
    let held = hold.map(|hold| {
        let what = if hold.whole_node { "its node is held" } else { "it is held" };
        format!("{what} by {} until {}: {}", hold.by, sentence_time(hold.until), hold.reason)
    });
    let silent = match view.liveness {
        Liveness::Active | Liveness::Warning => None,
        Liveness::Dead | Liveness::Unknown => {
            Some("its node is not heard of; it carries this out once it is back".to_owned())
        }
    };
    held.into_iter().chain(silent).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn bulk(by: &str, number: u64) -> (Ulid, Arc<Bulk>) {
        let rows = vec![BulkRow { cell: "n1/web".parse().unwrap(), state: BulkState::Waits }];
        let bulk = Bulk {
            by: UserName::new(by).unwrap(),
            bucket: "a".to_owned(),
            action: BulkAction::Stop,
            reason: None,
            began: DateTime::UNIX_EPOCH + TimeDelta::seconds(i64::try_from(number).unwrap()),
            progress: Mutex::new(Progress { rows, is_over: false }),
        };
        (Ulid::from_parts(number, 0), Arc::new(bulk))
    }

    #[test]
    fn a_number_counts_once_and_for_one_user() {
        let bulks = Bulks::default();
        let (id, first) = bulk("ada", 1);
        assert!(matches!(bulks.insert(id, first), Ok(Begun::New(_))));
        assert!(matches!(bulks.insert(id, bulk("ada", 1).1), Ok(Begun::Known)));
        assert_eq!(bulks.insert(id, bulk("bob", 1).1).err().unwrap().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_is_over_makes_room_for_its_own_user_and_what_is_under_way_does_not() {
        let bulks = Bulks::default();
        let of_ada: Vec<_> = (1..=MOST_OF_ONE as u64).map(|number| bulk("ada", number)).collect();
        for (id, bulk) in &of_ada {
            bulks.insert(*id, bulk.clone()).ok().unwrap();
        }
        let (late, of_late) = bulk("ada", 100);
        let refused = bulks.insert(late, of_late.clone()).err().unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let (other, of_other) = bulk("bob", 101);
        assert!(bulks.insert(other, of_other).is_ok());
        of_ada[3].1.end(None);
        assert_eq!(
            of_ada[3].1.progress().0[0].state,
            BulkState::Left { why: "whoever began this may no longer do it".to_owned() }
        );
        assert!(matches!(bulks.insert(late, of_late), Ok(Begun::New(_))));
        let known = bulks.0.lock().unwrap();
        assert!(!known.contains_key(&of_ada[3].0) && known.contains_key(&of_ada[0].0));
    }
}
