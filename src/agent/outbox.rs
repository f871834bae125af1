//! Logs and outcomes on their way to the bucket: kept on the node until they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::attempt_log;
use super::context::Context;
use super::disk::{DiskError, apart};
use super::home::CellHome;
use super::state::AttemptKey;
use super::trouble::Trouble;
use crate::model::keys::AttemptId;
use crate::model::{CellName, Floor, Generation, ObjectKey};

/// Attempts of one cell whose logs are kept while the bucket cannot take them; of more, the oldest are forgotten.
const MOST_ATTEMPTS: usize = 32;

/// The name of an attempt's files, without what tells log and outcome apart.
fn stem(key: AttemptKey) -> String {
    format!("{}-{}-{}", key.at.epoch, key.at.generation, key.number)
}

/// The name of an attempt's log in the outbox.
pub(super) fn log_name(key: AttemptKey) -> String {
    format!("{}.log", stem(key))
}

/// The name of an attempt's outcome in the outbox.
pub(super) fn outcome_name(key: AttemptKey) -> String {
    format!("{}.json", stem(key))
}

fn parse(name: &str) -> Option<AttemptKey> {
    let mut numbers = name.split_once('.')?.0.split('-');
    let at = Floor::new(numbers.next()?.parse::<u32>().ok()?.try_into().ok()?, {
        Generation::new(numbers.next()?.parse().ok()?).ok()?
    });
    let key = AttemptKey { at, number: numbers.next()?.parse().ok()? };
    (name == log_name(key) || name == outcome_name(key)).then_some(key)
}

/// What was sent of logs that still grow.
#[derive(Debug, Default)]
pub(super) struct Sent(BTreeMap<(CellName, AttemptKey), usize>);

impl Sent {
    /// Sends what `cell` has to send; an attempt is forgotten once its log and its outcome are in the bucket.
    pub(super) async fn send(&mut self, context: &Arc<Context>, cell: &CellName) -> Result<(), Trouble> {
        let (shared, name) = (Arc::clone(context), cell.clone());
        let (home, keys) = apart(move || {
            let home = shared.home.cell(&name)?;
            let keys = attempts(&home)?;
            Ok::<_, DiskError>((home, keys))
        })
        .await?;
        for key in keys {
            self.send_attempt(context, cell, &home, key).await?;
        }
        Ok(())
    }

    async fn send_attempt(
        &mut self,
        context: &Arc<Context>,
        cell: &CellName,
        home: &CellHome,
        key: AttemptKey,
    ) -> Result<(), Trouble> {
        let outbox = home.outbox.clone();
        let (outcome, log) = apart(move || {
            // The outcome first: once it is there the log does not grow any more.
            let outcome = outbox.read(&outcome_name(key), 1 << 20)?;
            Ok::<_, DiskError>((outcome, attempt_log::read(&outbox, &log_name(key))?))
        })
        .await?;
        let id = AttemptId { cell: context.identity.cell_id(cell), floor: key.at, attempt: key.number };
        let sent = self.0.entry((cell.clone(), key)).or_default();
        if let Some(log) = log.filter(|log| log.len() != *sent) {
            let length = log.len();
            home.outbox.before("send a log", "")?;
            context.store.put_own(&ObjectKey::AttemptLog(id.clone()), Bytes::from(log)).await?;
            *sent = length;
        }
        let Some(outcome) = outcome else { return Ok(()) };
        home.outbox.before("send an outcome", "")?;
        context.store.put_own(&ObjectKey::Outcome(id), Bytes::from(outcome)).await?;
        self.0.remove(&(cell.clone(), key));
        let outbox = home.outbox.clone();
        Ok(apart(move || forget(&outbox, key)).await?)
    }
}

/// What is in the outbox, the oldest first, after forgetting what is too much.
fn attempts(home: &CellHome) -> Result<Vec<AttemptKey>, DiskError> {
    let keys: BTreeSet<AttemptKey> = home.outbox.names()?.iter().filter_map(|name| parse(name)).collect();
    let mut keys: Vec<AttemptKey> = keys.into_iter().collect();
    let excess = keys.len().saturating_sub(MOST_ATTEMPTS);
    for key in keys.drain(..excess) {
        forget(&home.outbox, key)?;
    }
    Ok(keys)
}

fn forget(outbox: &super::disk::Folder, key: AttemptKey) -> Result<(), DiskError> {
    outbox.remove_file(&log_name(key))?;
    outbox.remove_file(&outcome_name(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::home::Home;
    use crate::agent::steps::Steps;
    use crate::model::Epoch;

    #[test]
    fn of_too_many_attempts_the_oldest_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::take(folder.path(), &Steps::default()).unwrap();
        let home = home.cell(&CellName::new("web").unwrap()).unwrap();
        for generation in 1..=40 {
            let at = Floor::new(Epoch::FIRST, Generation::new(generation).unwrap());
            let key = AttemptKey { at, number: 1 };
            home.outbox.write(&log_name(key), b"log").unwrap();
            home.outbox.write(&outcome_name(key), b"{}").unwrap();
        }
        let kept = attempts(&home).unwrap();
        assert_eq!((kept.len(), kept[0].at.generation.get()), (MOST_ATTEMPTS, 9));
        assert_eq!(home.outbox.names().unwrap().len(), 2 * MOST_ATTEMPTS);
    }

    #[test]
    fn the_names_of_an_attempts_files_name_the_attempt() {
        let at = Floor::new(Epoch::new(2).unwrap(), Generation::new(17).unwrap());
        let key = AttemptKey { at, number: 3 };
        assert_eq!(log_name(key), "2-17-3.log");
        assert_eq!(parse(&log_name(key)), Some(key));
        assert_eq!(parse(&outcome_name(key)), Some(key));
        for other in ["2-17-3.txt", "2-17-3", "2-017-3.log", ".tmp-2-17-3.json", "0-1-1.log", "x"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
