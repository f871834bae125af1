//! Cells that are on the host with our marker and of which nothing is known: deployed by an agent whose state is lost,
//! or by one that was here before. They are reported and left alone; only a signed removal, or a person on the node,
//! takes them away (I6).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;

use super::decide::OnHost;
use super::disk::{DiskError, apart};
use super::node::{Agent, Chore};
use super::report::{bounded, boxed};
use super::round::bare_report;
use super::survey::{Holding, holding};
use super::trouble::plain;
use crate::model::heartbeat::{CellReport, Condition, Fault, Phase};
use crate::model::{CellName, Code};

/// Orphans beyond so many are only counted: they are in every heartbeat.
const MOST_ORPHANS: usize = 100;

impl Agent {
    /// Looks for orphans, to be in the next heartbeat.
    pub(super) async fn find_orphans(&mut self) {
        let found = self.search().await;
        // What could not be looked at now has not gone.
        let Some(found) = self.bear(Chore::FindOrphans, found) else { return };
        if found.len() > MOST_ORPHANS {
            let count = found.len();
            tracing::warn!(code = %Code::Orphaned, "there are {count} orphaned cells here; {MOST_ORPHANS} are reported");
        }
        let mut orphans = BTreeMap::new();
        for (name, held) in found.into_iter().take(MOST_ORPHANS) {
            if !self.orphans.contains_key(&name) {
                tracing::warn!(cell = %name, code = %Code::Orphaned, "{}", describe(&held));
                // It goes on as it would with an agent that knew of it, also after a boot.
                join_all(held.iter().map(|holding| holding.profile.resume(&name))).await;
            }
            let report = self.report_orphan(&name, &held).await;
            orphans.insert(name, report);
        }
        self.orphans = orphans;
    }

    async fn search(&self) -> Result<BTreeMap<CellName, Vec<Holding>>, DiskError> {
        let context = Arc::clone(&self.context);
        let known: BTreeSet<CellName> = self.cells.keys().chain(self.unusable.keys()).cloned().collect();
        apart(move || {
            let mut found: BTreeMap<CellName, Vec<Holding>> = BTreeMap::new();
            for profile in context.profiles.iter() {
                let names = profile.cells().map_err(|source| {
                    let what = PathBuf::from(format!("what the {} profile has", profile.name()));
                    DiskError::new("looking at", what, source)
                })?;
                for name in names.into_iter().filter(|name| !known.contains(name)) {
                    if let Some(held) = holding(profile, &context.owner(&name), &context.steps)? {
                        found.entry(name).or_default().push(held);
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    async fn report_orphan(&self, name: &CellName, held: &[Holding]) -> CellReport {
        let fault = Fault { code: Code::Orphaned, message: describe(held), at: self.context.clock.now() };
        let mut report = CellReport { last_error: None, ..bare_report(Phase::Inconsistent, &fault) };
        if let Some(Holding { profile, .. }) = held.first() {
            let observed = bounded(profile.state(name).await);
            report.profile = Some(profile.name().to_owned());
            (report.state, report.processes) = (observed.state, boxed(observed.processes));
            report.conditions.extend(observed.conditions);
        }
        if let [_, _, ..] = held {
            let names: Vec<&str> = held.iter().map(|holding| holding.profile.name()).collect();
            let message = format!("it stands under several profiles: {}", names.join(", "));
            report.conditions.push(Condition { code: Code::Inconsistent, message });
        }
        report
    }
}

/// What of an orphan is here.
fn describe(held: &[Holding]) -> String {
    let what = held.iter().map(|holding| {
        let linked = holding.plot.as_ref().and_then(|plot| plot.linked().ok());
        let version = holding.mark.as_ref().and_then(|mark| mark.version.as_ref());
        let what = match (version, linked) {
            (Some(version), _) => format!("version {version}"),
            (None, Some(OnHost::Release(release))) => format!("release {release}"),
            (None, _) => "something".to_owned(),
        };
        format!("{what} under the {} profile", holding.profile.name())
    });
    let what = what.collect::<Vec<_>>().join(" and ");
    plain(&format!("of this cell there is {what}, and no trigger asks for it; it is left alone"))
}
