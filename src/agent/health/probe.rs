//! One check, asked again and again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::log::Search;
use super::vitals::Probe;
use super::{Means, exec, file, http, net};
use crate::agent::disk::Folder;
use crate::agent::profile::Log;
use crate::agent::trouble::plain;
use crate::clock::SharedClock;
use crate::model::CheckName;
use crate::model::health::{Check, Health};

/// Between the end of one question and the next, however long it took.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// What checks ask about.
#[derive(Debug)]
pub(in crate::agent) struct Subject {
    /// The release's own folder.
    pub(in crate::agent) release: PathBuf,
    /// The cell's data folder.
    pub(in crate::agent) data: PathBuf,
    /// User and group that own the data.
    pub(in crate::agent) owner: (Option<String>, Option<String>),
    /// What the cell's programs are told by their environment.
    pub(in crate::agent) variables: Vec<(&'static str, String)>,
    /// Where what it says can be read.
    pub(in crate::agent) log: Log,
    /// The agent's own folder for the cell.
    pub(in crate::agent) home: Folder,
}

/// A check and what it takes to ask it.
pub(super) struct Asked {
    name: CheckName,
    check: Check,
    subject: Arc<Subject>,
    interval: Duration,
    timeout: Duration,
    means: Arc<Means>,
    clock: SharedClock,
    /// Of a check that waits for a line.
    search: Option<Search>,
}

impl Asked {
    pub(super) fn new(
        check: &Check,
        subject: Arc<Subject>,
        health: &Health,
        means: Arc<Means>,
        clock: SharedClock,
        name: &CheckName,
    ) -> Self {
        let search = match check {
            Check::Log(check) => Some(Search::new(name.clone(), &check.line, &subject)),
            _ => None,
        };
        Self {
            name: name.clone(),
            check: check.clone(),
            subject,
            interval: Duration::from_millis(health.interval_ms),
            timeout: Duration::from_millis(health.timeout_ms),
            means,
            clock,
            search,
        }
    }

    /// Asks until it is told to stop or nobody listens any more.
    pub(super) async fn run(mut self, round: u64, answers: mpsc::Sender<Probe>, stop: CancellationToken) {
        loop {
            let began = self.clock.monotonic();
            let result = self.ask(&stop).await.map(|found| plain(&found)).map_err(|why| plain(&why));
            if stop.is_cancelled() || answers.send(Probe { round, name: self.name.clone(), result }).await.is_err() {
                return;
            }
            let took = self.clock.monotonic().saturating_sub(began);
            tokio::select! {
                () = self.clock.sleep(self.interval.saturating_sub(took).max(LEAST_PAUSE)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// What was found, or what is wrong.
    async fn ask(&mut self, stop: &CancellationToken) -> Result<String, String> {
        if let Check::Exec(check) = &self.check {
            // It is not the program's fault if others have to end first.
            let permit = tokio::select! {
                permit = self.means.programs.acquire() => permit,
                () = stop.cancelled() => return Err("it was given up".to_owned()),
            };
            // No other check's, nor another agent's on this host: what belongs to it is killed by that.
            let mark = format!("check {} in {}", self.name, self.subject.data.display());
            let result = exec::ask(check, &self.subject, &mark, self.timeout, stop.cancelled(), &self.clock).await;
            drop(permit);
            return result;
        }
        let (subject, tls, clock) = (&self.subject, &self.means.tls, &self.clock);
        let asked = async {
            match (&self.check, &mut self.search) {
                (Check::Http(check), _) => http::ask(check, tls).await,
                (Check::Tcp(check), _) => net::ask(check).await,
                (Check::File(check), _) => file::ask(check, &subject.data, clock.now()).await,
                (Check::Log(_), Some(search)) => search.ask().await,
                (Check::Exec(_) | Check::Log(_), _) => Err("it cannot be asked".to_owned()),
            }
        };
        tokio::select! {
            result = asked => result,
            () = self.clock.sleep(self.timeout) => Err(format!("no answer within {:?}", self.timeout)),
            () = stop.cancelled() => Err("it was given up".to_owned()),
        }
    }
}
