//! What stands at the head of every page of a cell: how it stands, what can be done with it, the way to its other
//! pages.

use chrono::{DateTime, Utc};

use super::words;
use crate::controller::{CellView, HoldOrder, Liveness, LivenessLimits};
use crate::model::CellId;
use crate::model::heartbeat::{HoldReport, VersionReport};
use crate::model::trigger::Target;
use crate::model::users::Role;
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
    Output,
}

/// The head of a cell's page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) view: CellView,
    tab: Tab,
    /// When the store took the node's newest heartbeat.
    pub(super) last_seen: Option<DateTime<Utc>>,
    /// What was ordered about holding it, or its node, and not yet taken.
    pub(super) awaited: Option<HoldOrder>,
    pub(super) orders: Vec<OrderLink>,
    /// Whether who looks may look at the bucket as well.
    pub(super) sees_bucket: bool,
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

impl OrderLink {
    /// How much it weighs among the others, as a class.
    pub(super) fn weight(&self) -> &'static str {
        match self.verb {
            "publish" => " primary",
            "stop" | "remove" | "delete" => " grave",
            _ => "",
        }
    }
}

impl Frame {
    /// The cell as it was read last; or as it is, if it is so new that it was not read yet.
    pub(super) async fn read(page: &PageContext, cell: &CellId, tab: Tab) -> Result<Self, Failure> {
        let fleet = page.view().ok();
        let last_seen = fleet.as_ref().and_then(|fleet| fleet.node(&cell.node)).and_then(|node| node.last_seen);
        let read = async || page.may().cell_status(cell, LivenessLimits::default()).await;
        let view = match fleet.as_ref().and_then(|fleet| fleet.cell(cell)) {
            Some(view) if view.desired().is_some() => view.clone(),
            // The index may have lost what history still knows.
            Some(view) => read().await.map_or_else(|_| view.clone(), |(view, _)| view),
            None => read().await?.0,
        };
        let awaited = fleet.as_ref().and_then(|fleet| {
            let node = fleet.node(&cell.node)?;
            node.awaited(Some(&cell.cell), fleet.at).or_else(|| node.awaited(None, fleet.at)).cloned()
        });
        let identity = page.may().identity();
        let orders = orders(Stand::of(&view, awaited.as_ref()), page.caller.read_only().as_deref(), |role| {
            identity.may(role, cell)
        });
        Ok(Self { view, tab, last_seen, awaited, orders, sees_bucket: identity.may_everywhere(Role::Viewer) })
    }

    pub(super) fn cell(&self) -> &CellId {
        &self.view.cell
    }

    pub(super) fn is_first(&self) -> bool {
        self.tab == Tab::Status
    }

    pub(super) fn sync(&self) -> State {
        self.view.sync.into()
    }

    pub(super) fn health(&self) -> State {
        self.view.health.into()
    }

    pub(super) fn liveness(&self) -> State {
        self.view.liveness.into()
    }

    /// How it was when its node was heard of last, if that is long ago.
    pub(super) fn was(&self) -> Option<&'static str> {
        let is_silent = matches!(self.view.liveness, Liveness::Dead | Liveness::Unknown);
        self.view.report().filter(|_| is_silent).map(words::was)
    }

    /// Why nothing is published to it at present.
    pub(super) fn paused(&self) -> Option<&str> {
        self.view.about()?.paused.as_deref()
    }

    /// Who keeps what runs from being changed.
    pub(super) fn hold(&self) -> Option<&HoldReport> {
        self.view.report()?.hold.as_ref()
    }

    /// The version that it is to run.
    pub(super) fn target(&self) -> Option<&Target> {
        self.view.desired()?.target.as_ref()
    }

    /// What its node says that runs.
    pub(super) fn running(&self) -> Option<&VersionReport> {
        self.view.report()?.running.as_ref()
    }

    /// Running and desired version, if both are known and differ.
    pub(super) fn differs(&self) -> Option<(&VersionReport, &Target)> {
        let target = self.target()?;
        self.running().filter(|running| running.manifest_sha256 != target.manifest_sha256).map(|runs| (runs, target))
    }

    /// Whether who looks could delete a version of it now.
    pub(super) fn may_delete(&self, page: &PageContext) -> bool {
        page.may().identity().may(Role::Admin, self.cell()) && page.caller.read_only().is_none()
    }

    /// The pages of the cell: which, the last part of its path, how it is called.
    pub(super) fn tabs(&self) -> Vec<(bool, &'static str, &'static str)> {
        const TABS: [(Option<Tab>, &str, &str); 8] = [
            (Some(Tab::Status), "", "Status"),
            (Some(Tab::Versions), "/versions", "Versions"),
            (Some(Tab::Diff), "/diff", "Diff"),
            (Some(Tab::Overrides), "/overrides", "Overrides"),
            (Some(Tab::History), "/history", "History"),
            (Some(Tab::Log), "/log", "Log"),
            (Some(Tab::Output), "/output", "Output"),
            (None, "/yaml", "YAML"),
        ];
        TABS.iter().map(|(tab, path, name)| (*tab == Some(self.tab), *path, *name)).collect()
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

/// What of a cell decides what can be done with it.
#[derive(Debug, Clone, Copy)]
struct Stand<'a> {
    /// What the newest trigger says.
    action: Option<&'a str>,
    is_bound: bool,
    is_paused: bool,
    /// Whether a hold of the cell itself is in force, or will be once its node takes the order.
    is_held: bool,
}

impl<'a> Stand<'a> {
    fn of(view: &'a CellView, awaited: Option<&HoldOrder>) -> Self {
        let about = view.about();
        let is_held = view.report().and_then(|report| report.hold.as_ref()).is_some_and(|hold| !hold.whole_node);
        let of_cell = awaited.filter(|order| order.ordered.to.cell.is_some());
        Self {
            action: view.desired().map(|desired| desired.claim.action.as_str()),
            is_bound: about.is_some(),
            is_paused: about.is_some_and(|about| about.paused.is_some()),
            is_held: of_cell.map_or(is_held, |order| order.is_hold),
        }
    }
}

/// What can be done with a cell, and why not.
fn orders(cell: Stand<'_>, read_only: Option<&str>, may: impl Fn(Role) -> bool) -> Vec<OrderLink> {
    let Stand { action, is_bound, is_paused, is_held } = cell;
    let unbound = (!is_bound).then_some("there is no cell.yaml");
    let paused = is_paused.then_some("the cell is paused");
    let unpublished = action.is_none().then_some("nothing was published yet");
    let removed = (action == Some("remove")).then_some("the cell is removed");
    let stopped = (action == Some("stop")).then_some("the cell is stopped");
    let on_node =
        (!matches!(action, None | Some("remove"))).then_some("the cell has to be removed from its node first");
    let (pause, pause_label) = if is_paused { ("resume", "Resume") } else { ("pause", "Pause") };
    let (hold, hold_label) = if is_held { ("unhold", "End the hold") } else { ("hold", "Hold") };
    let all = [
        ("publish", "Publish", Role::Editor, unbound.or(paused)),
        ("redeploy", "Redeploy", Role::Operator, unbound.or(paused).or(unpublished).or(removed)),
        ("rollback", "Roll back", Role::Operator, unbound.or(paused).or(unpublished)),
        ("stop", "Stop", Role::Operator, unpublished.or(removed).or(stopped)),
        ("remove", "Remove", Role::Editor, unpublished.or(removed)),
        (pause, pause_label, Role::Operator, unbound),
        (hold, hold_label, Role::Operator, unpublished.filter(|_| !is_held)),
        ("delete", "Delete", Role::Admin, on_node),
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

    fn cell(action: Option<&str>) -> Stand<'_> {
        Stand { action, is_bound: true, is_paused: false, is_held: false }
    }

    /// The verbs that lead somewhere.
    fn open(cell: Stand<'_>, read_only: Option<&str>, role: Role) -> Vec<&'static str> {
        let all = orders(cell, read_only, |needed| role >= needed);
        all.iter().filter(|order| order.obstacle.is_none()).map(|order| order.verb).collect()
    }

    #[test]
    fn only_what_role_and_state_allow_leads_somewhere() {
        let running = cell(Some("deploy"));
        assert_eq!(open(running, None, Role::Viewer), [""; 0]);
        assert_eq!(open(running, None, Role::Operator), ["redeploy", "rollback", "stop", "pause", "hold"]);
        let all_but_delete = ["publish", "redeploy", "rollback", "stop", "remove", "pause", "hold"];
        assert_eq!(open(running, None, Role::Editor), all_but_delete);
        assert_eq!(open(running, None, Role::Admin), all_but_delete, "what is on a node cannot be deleted");
        assert_eq!(open(running, Some("the bucket does not answer"), Role::Admin), [""; 0]);
        assert_eq!(open(cell(None), None, Role::Admin), ["publish", "pause", "delete"]);
        let paused = Stand { is_paused: true, ..running };
        assert_eq!(open(paused, None, Role::Admin), ["stop", "remove", "resume", "hold"]);
        let held = Stand { is_held: true, ..paused };
        assert_eq!(open(held, None, Role::Admin), ["stop", "remove", "resume", "unhold"]);
        let stopped = ["publish", "redeploy", "rollback", "remove", "pause", "hold"];
        assert_eq!(open(cell(Some("stop")), None, Role::Admin), stopped);
        assert_eq!(open(cell(Some("remove")), None, Role::Admin), ["publish", "rollback", "pause", "hold", "delete"]);
        let unbound = Stand { is_bound: false, ..running };
        assert_eq!(open(unbound, None, Role::Admin), ["stop", "remove", "hold"]);
    }
}
