//! What stands at the head of every page of a cell: how it stands, what can be done with it, the way to its other
//! pages.

use chrono::{DateTime, Utc};

use super::words;
use crate::controller::{CellView, Claim, Liveness, LivenessLimits};
use crate::model::heartbeat::{CellReport, VersionReport};
use crate::model::trigger::Target;
use crate::model::users::Role;
use crate::model::{CellId, ManifestName};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::words::State;

/// The pages of a cell, in the order of their tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Status,
    Versions,
    Diff,
    Overrides,
    History,
    Log,
}

/// The head of a cell's page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) cell: CellId,
    tab: Tab,
    pub(super) sync: State,
    pub(super) health: State,
    /// How it was when its node was heard of last, if that is long ago.
    pub(super) was: Option<(&'static str, Option<DateTime<Utc>>)>,
    pub(super) liveness: State,
    pub(super) last_seen: Option<DateTime<Utc>>,
    pub(super) manifest: Option<ManifestName>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) desired: Option<Wish>,
    pub(super) report: Option<CellReport>,
    pub(super) paused: Option<String>,
    /// Why what the index says of it is not believed.
    pub(super) problem: Option<String>,
    pub(super) orders: Vec<OrderLink>,
    /// Whether who looks may look at the bucket as well.
    pub(super) sees_bucket: bool,
}

/// What the cell is to be.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) claim: Claim,
    pub(super) target: Option<Target>,
    pub(super) reason: Option<String>,
}

/// A button that leads to a page on which the cell is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderLink {
    /// The last part of its path.
    pub(super) verb: &'static str,
    pub(super) label: &'static str,
    /// Why it leads nowhere at present.
    pub(super) obstacle: Option<String>,
}

impl Frame {
    /// The cell as it was read last; or as it is, if it is so new that it was not read yet.
    pub(super) async fn read(page: &PageContext, cell: &CellId, tab: Tab) -> Result<Self, Failure> {
        let known = match page.view() {
            Ok(fleet) => {
                let view = fleet.cells.iter().find(|view| view.cell == *cell).cloned();
                let node = fleet.nodes.iter().find(|node| node.node == cell.node);
                view.map(|view| (view, node.and_then(|node| node.last_seen)))
            }
            Err(_) => None,
        };
        let (view, last_seen) = match known {
            Some(known) => known,
            None => (page.may().cell_status(cell, LivenessLimits::default()).await?.0, None),
        };
        let identity = page.may().identity();
        let orders = orders(&view, page.caller.read_only().as_deref(), |role| identity.may(role, cell));
        let sees_bucket = identity.may_everywhere(Role::Viewer);
        let CellView { cell, about, desired, problem, report, liveness, sync, health } = view;
        let is_silent = matches!(liveness, Liveness::Dead | Liveness::Unknown);
        let paused = about.as_ref().and_then(|about| about.paused.clone());
        Ok(Self {
            cell,
            tab,
            sync: sync.into(),
            health: health.into(),
            was: report.as_ref().filter(|_| is_silent).map(|report| (words::was(report), last_seen)),
            liveness: liveness.into(),
            last_seen,
            manifest: about.as_ref().map(|about| about.manifest.clone()),
            labels: about.map(|about| about.labels.into_iter().collect()).unwrap_or_default(),
            desired: desired.map(|desired| Wish {
                claim: desired.claim,
                target: desired.target,
                reason: desired.reason,
            }),
            report,
            paused,
            problem,
            orders,
            sees_bucket,
        })
    }

    /// The pages of the cell: which, the last part of its path, how it is called.
    pub(super) fn tabs(&self) -> Vec<(bool, &'static str, &'static str)> {
        const TABS: [(Option<Tab>, &str, &str); 7] = [
            (Some(Tab::Status), "", "Status"),
            (Some(Tab::Versions), "/versions", "Versions"),
            (Some(Tab::Diff), "/diff", "Diff"),
            (Some(Tab::Overrides), "/overrides", "Overrides"),
            (Some(Tab::History), "/history", "History"),
            (Some(Tab::Log), "/log", "Log"),
            (None, "/yaml", "YAML"),
        ];
        TABS.iter().map(|(tab, path, name)| (*tab == Some(self.tab), *path, *name)).collect()
    }

    /// What its node says that runs.
    pub(super) fn running(&self) -> Option<&VersionReport> {
        self.report.as_ref().and_then(|report| report.running.as_ref())
    }

    /// Running and desired version, if both are known and differ.
    pub(super) fn differs(&self) -> Option<(&VersionReport, &Target)> {
        let target = self.desired.as_ref()?.target.as_ref()?;
        self.running().filter(|running| running.manifest_sha256 != target.manifest_sha256).map(|runs| (runs, target))
    }

    /// What cannot be done and why, each reason once.
    pub(super) fn obstacles(&self) -> Vec<(String, &str)> {
        let mut found: Vec<(String, &str)> = Vec::new();
        for order in &self.orders {
            let Some(obstacle) = order.obstacle.as_deref() else { continue };
            match found.iter_mut().find(|(_, why)| *why == obstacle) {
                Some((labels, _)) => *labels = format!("{labels}, {}", order.label),
                None => found.push((order.label.to_owned(), obstacle)),
            }
        }
        found
    }
}

/// What can be done with a cell, and why not.
fn orders(view: &CellView, read_only: Option<&str>, may: impl Fn(Role) -> bool) -> Vec<OrderLink> {
    let action = view.desired.as_ref().map(|desired| desired.claim.action.as_str());
    let paused = view.about.as_ref().is_some_and(|about| about.paused.is_some());
    let unbound = view.about.is_none().then_some("there is no cell.yaml");
    let paused_now = paused.then_some("the cell is paused");
    let unpublished = action.is_none().then_some("nothing was published yet");
    let removed = (action == Some("remove")).then_some("the cell is removed");
    let stopped = (action == Some("stop")).then_some("the cell is stopped");
    let needed = match action {
        None | Some("remove") => None,
        Some(_) => Some("the cell has to be removed from its node first"),
    };
    let (pause, pause_label) = if paused { ("resume", "Resume") } else { ("pause", "Pause") };
    let all = [
        ("publish", "Publish", Role::Editor, unbound.or(paused_now)),
        ("redeploy", "Redeploy", Role::Operator, unbound.or(paused_now).or(unpublished).or(removed)),
        ("rollback", "Roll back", Role::Operator, unbound.or(paused_now).or(unpublished)),
        ("stop", "Stop", Role::Operator, unpublished.or(removed).or(stopped)),
        ("remove", "Remove", Role::Editor, unpublished.or(removed)),
        (pause, pause_label, Role::Operator, unbound),
        ("delete", "Delete", Role::Admin, needed),
    ];
    let link = |(verb, label, role, obstacle): (&'static str, &'static str, Role, Option<&str>)| {
        let denied = (!may(role)).then(|| format!("it takes the role {role} on this cell"));
        let obstacle = denied.or_else(|| read_only.or(obstacle).map(str::to_owned));
        OrderLink { verb, label, obstacle }
    };
    all.map(link).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::{Desired, Health, Sync};
    use crate::model::index::About;
    use crate::model::{Epoch, Floor, Generation, UserName};

    fn view(action: Option<&str>, paused: Option<&str>) -> CellView {
        let claim = |action: &str| Claim {
            at: Floor::new(Epoch::FIRST, Generation::FIRST),
            action: action.to_owned(),
            version: None,
            by: UserName::new("ada").unwrap(),
            issued_at: DateTime::UNIX_EPOCH,
        };
        CellView {
            cell: "n1/web".parse().unwrap(),
            about: Some(About {
                manifest: ManifestName::new("site").unwrap(),
                labels: Default::default(),
                paused: paused.map(str::to_owned),
            }),
            desired: action.map(|action| Desired { claim: claim(action), target: None, reason: None }),
            problem: None,
            report: None,
            liveness: Liveness::Active,
            sync: Sync::Synced,
            health: Health::Healthy,
        }
    }

    /// The verbs that lead somewhere.
    fn open(view: &CellView, read_only: Option<&str>, role: Role) -> Vec<&'static str> {
        let all = orders(view, read_only, |needed| role >= needed);
        all.iter().filter(|order| order.obstacle.is_none()).map(|order| order.verb).collect()
    }

    #[test]
    fn only_what_role_and_state_allow_leads_somewhere() {
        let running = view(Some("deploy"), None);
        assert_eq!(open(&running, None, Role::Viewer), [""; 0]);
        assert_eq!(open(&running, None, Role::Operator), ["redeploy", "rollback", "stop", "pause"]);
        assert_eq!(
            open(&running, None, Role::Admin),
            ["publish", "redeploy", "rollback", "stop", "remove", "pause"],
            "what is on a node cannot be deleted"
        );
        assert_eq!(open(&running, Some("the bucket does not answer"), Role::Admin), [""; 0]);
        assert_eq!(open(&view(None, None), None, Role::Admin), ["publish", "pause", "delete"]);
        assert_eq!(open(&view(Some("deploy"), Some("holidays")), None, Role::Admin), ["stop", "remove", "resume"]);
        assert_eq!(
            open(&view(Some("stop"), None), None, Role::Admin),
            ["publish", "redeploy", "rollback", "remove", "pause"]
        );
        assert_eq!(open(&view(Some("remove"), None), None, Role::Admin), ["publish", "rollback", "pause", "delete"]);
        let unbound = CellView { about: None, ..running };
        assert_eq!(open(&unbound, None, Role::Admin), ["stop", "remove"]);
    }
}
