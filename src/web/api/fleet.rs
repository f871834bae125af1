//! The fleet as it was read a moment ago: nodes, cells, and a search over both.

use axum::Json;
use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::pages;
use super::super::paths::CellOfPath;
use super::super::views::{Cell, CellDetail, Node, NodeDetail};
use super::answer::{Has, List, Page};
use super::operation::{Condition, Operation, Operations};
use super::request::{Asked, IfKnown, Of};
use crate::controller::{
    self, Attention, AttentionLimits, CellView, Deletion, Health, Known, Liveness, LivenessLimits, NodeView, Severity,
    Subject, Sync,
};
use crate::model::drift::DriftState;
use crate::model::users::Role;
use crate::model::{CellId, ManifestName, NodeName};

pub(super) fn operations() -> Operations {
    Operations::of("Fleet")
        .get(
            "/api/v1/nodes",
            nodes,
            Operation::new("listNodes", "viewer", "Lists the nodes that have a cell or were ever heard of.")
                .query::<Page>()
                .query::<NodeFilter>()
                .gives::<List<Node>>()
                .cli("fleetman get nodes"),
        )
        .get(
            "/api/v1/nodes/{node}",
            node,
            Operation::new("getNode", "viewer", "Tells everything that is known of a node.")
                .gives::<NodeDetail>()
                .cli("fleetman describe node {node}"),
        )
        .delete(
            "/api/v1/nodes/{node}",
            delete_node,
            Operation::new("deleteNodeStatus", "admin", "Deletes the heartbeat of a dead node.")
                .condition(Condition::MayMatch)
                .gives::<Deleted>()
                .cli("fleetman delete heartbeat {node}"),
        )
        .get(
            "/api/v1/cells",
            cells,
            Operation::new("listCells", "viewer", "Lists the cells.")
                .query::<Page>()
                .query::<CellFilter>()
                .gives::<List<Cell>>()
                .cli("fleetman get cells"),
        )
        .get(
            "/api/v1/cells/{node}/{cell}",
            cell,
            Operation::new("getCell", "viewer", "Tells everything that is known of a cell.")
                .gives::<CellDetail>()
                .cli("fleetman describe cell {node}/{cell}"),
        )
        .get(
            "/api/v1/attention",
            attention,
            Operation::new("listAttention", "viewer", "Lists what somebody should look at, the worst first.")
                .query::<Most>()
                .gives::<List<Concern>>()
                .cli("fleetman status"),
        )
        .get(
            "/api/v1/search",
            search,
            Operation::new(
                "search",
                "viewer",
                "Finds nodes, cells, manifests and deployments by a part of their names.",
            )
            .query::<Wanted>()
            .gives::<Found>(),
        )
}

/// Which nodes.
#[derive(Debug, Deserialize, JsonSchema)]
struct NodeFilter {
    /// Only those that are so.
    liveness: Option<Liveness>,
    /// Only those with this in their name.
    q: Option<String>,
    /// Only those with this label, `key=value`.
    label: Option<String>,
}

/// Which cells.
#[derive(Debug, Deserialize, JsonSchema)]
struct CellFilter {
    /// Only those of this node.
    #[schemars(with = "Option<String>")]
    node: Option<NodeName>,
    /// Only those of this manifest.
    #[schemars(with = "Option<String>")]
    manifest: Option<ManifestName>,
    /// Only those that are so.
    sync: Option<Sync>,
    /// Only those that are so.
    health: Option<Health>,
    /// Only those whose host has, or has not, what was deployed.
    drift: Option<DriftWord>,
    /// Only those that have files of their own, or have none.
    has_overrides: Option<bool>,
    /// Only those with this in their name.
    q: Option<String>,
    /// Only those with this label, `key=value`.
    label: Option<String>,
}

/// Whether a host has what was deployed.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DriftWord {
    /// It has.
    InSync,
    /// It has not.
    Drifted,
    /// Nobody has looked yet, or the node is not heard of.
    Unknown,
}

impl From<DriftWord> for DriftState {
    fn from(word: DriftWord) -> Self {
        match word {
            DriftWord::InSync => Self::InSync,
            DriftWord::Drifted => Self::Drifted,
            DriftWord::Unknown => Self::Unknown,
        }
    }
}

/// How much of a list.
#[derive(Debug, Deserialize, JsonSchema)]
struct Most {
    /// The most entries, 1 to 1,000; 100 if left out. `total` tells how many there are.
    limit: Option<usize>,
}

/// Something that somebody should look at.
#[derive(Debug, Serialize, JsonSchema)]
struct Concern {
    /// How bad it is: `critical`, `warning`, `notice`.
    severity: &'static str,
    /// The node that it is about, if it is about one as a whole.
    node: Option<NodeName>,
    /// The cell that it is about, if it is about one.
    cell: Option<CellId>,
    /// What is the matter, as programs compare it.
    code: String,
    /// What is the matter, in words. Some of them may be a node's own.
    message: String,
    /// Since when, where that is known.
    since: Option<DateTime<Utc>>,
}

impl From<Attention> for Concern {
    fn from(attention: Attention) -> Self {
        let (node, cell) = match attention.subject {
            Subject::Node(node) => (Some(node), None),
            Subject::Cell(cell) => (None, Some(cell)),
            Subject::Agents => (None, None),
        };
        Self {
            severity: match attention.severity {
                Severity::Critical => "critical",
                Severity::Warning => "warning",
                Severity::Notice => "notice",
            },
            node,
            cell,
            code: attention.concern.code().to_owned(),
            message: attention.concern.to_string(),
            since: attention.since,
        }
    }
}

/// What is looked for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Wanted {
    /// A part of a name.
    q: String,
}

/// What was found; at most 50 of each.
#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    /// Nodes.
    nodes: Vec<NodeName>,
    /// Cells.
    cells: Vec<CellId>,
    /// Manifests.
    manifests: Vec<ManifestName>,
    /// Deployments, `<manifest>/<name>`.
    deployments: Vec<String>,
    /// Why not all manifests and deployments could be looked for, if so.
    problem: Option<String>,
}

/// What came of a deletion.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deleted {
    /// False if it is only marked: ask again after `ready_at`.
    done: bool,
    /// How many objects were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<usize>,
    /// When a marked one may be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_at: Option<DateTime<Utc>>,
}

impl From<Deletion> for Deleted {
    fn from(deletion: Deletion) -> Self {
        match deletion {
            Deletion::Done { objects } => Self { done: true, objects: Some(objects), ready_at: None },
            Deletion::Marked { ready_at } => Self { done: false, objects: None, ready_at: Some(ready_at) },
        }
    }
}

/// Most hits of one kind.
const MOST_HITS: usize = 50;

async fn nodes(
    caller: Caller,
    has: Has,
    Asked(page): Asked<Page>,
    Asked(filter): Asked<NodeFilter>,
) -> Result<Response, Failure> {
    let view = caller.view()?;
    let label = filter.label.as_deref().map(label).transpose()?;
    let is_wanted = |node: &NodeView| {
        let labels = || node.heartbeat.as_ref().map(|beat| &beat.labels);
        filter.liveness.is_none_or(|liveness| node.liveness == liveness)
            && filter.q.as_deref().is_none_or(|part| node.node.as_str().contains(part))
            && label
                .is_none_or(|(key, value)| labels().and_then(|labels| labels.get(key)).is_some_and(|is| is == value))
    };
    let all: Vec<&NodeView> = view.nodes.iter().map(|node| &**node).filter(|node| is_wanted(node)).collect();
    has.json(&List::of(all, &page, |node| node.node.clone(), Node::from)?.read_at(view.at))
}

async fn node(caller: Caller, has: Has, Of(name): Of<NodeName>) -> Result<Response, Failure> {
    caller.may.check_node(&name)?;
    has.json(&find_node(&caller, &name)?)
}

fn find_node(caller: &Caller, name: &NodeName) -> Result<NodeDetail, Failure> {
    NodeDetail::find(name, &*caller.view()?).ok_or_else(|| Failure::not_found(format_args!("node {name}")))
}

async fn delete_node(caller: Caller, Of(name): Of<NodeName>, known: IfKnown) -> Result<Json<Deleted>, Failure> {
    caller.check_writable()?;
    let beat = match known.is_said() {
        true => {
            caller.may.need_on_node(Role::Admin, &name)?;
            let beat = caller.may.heartbeat_facts(&name).await?;
            let now = find_node(&caller, &name)?;
            known.check(format_args!("node {name}"), &now)?;
            // What was read in the background may be older than what lies there. Stores tell seconds alone in some answers.
            let second = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp());
            match beat.filter(|beat| second(beat.modified) == second(now.node.last_seen)) {
                Some(beat) => Known::Tag(beat.etag),
                None => Known::Absent,
            }
        }
        false => Known::Anything,
    };
    let deleted = caller.may.delete_heartbeat(&name, LivenessLimits::default(), &beat).await;
    match deleted {
        Ok(deleted) => {
            caller.fleet.snapshot.look_soon();
            Ok(Json(deleted.into()))
        }
        Err(error) => Err(known.failed_at(error, async { find_node(&caller, &name).ok() }).await),
    }
}

async fn cells(
    caller: Caller,
    has: Has,
    Asked(page): Asked<Page>,
    Asked(filter): Asked<CellFilter>,
) -> Result<Response, Failure> {
    let view = caller.view()?;
    let label = filter.label.as_deref().map(label).transpose()?;
    let is_wanted = |cell: &CellView| {
        let about = cell.about();
        filter.node.as_ref().is_none_or(|node| cell.cell.node == *node)
            && filter.manifest.as_ref().is_none_or(|name| about.is_some_and(|about| about.manifest == *name))
            && filter.sync.is_none_or(|sync| cell.sync == sync)
            && filter.health.is_none_or(|health| cell.health == health)
            && filter.drift.is_none_or(|drift| cell.drift() == Some(drift.into()))
            && filter.has_overrides.is_none_or(|has| about.is_some_and(|about| about.has_overrides) == has)
            && filter.q.as_deref().is_none_or(|part| cell.cell.to_string().contains(part))
            && label.is_none_or(|(key, value)| {
                about.and_then(|about| about.labels.get(key)).is_some_and(|found| found == value)
            })
    };
    let all: Vec<&CellView> = view.cells().filter(|cell| is_wanted(cell)).collect();
    has.json(&List::of(all, &page, |cell| cell.cell.clone(), Cell::from)?.read_at(view.at))
}

async fn cell(caller: Caller, has: Has, CellOfPath(name): CellOfPath) -> Result<Response, Failure> {
    caller.may.check_cell(&name)?;
    let found = CellDetail::find(&name, &*caller.view()?);
    has.json(&found.ok_or_else(|| Failure::not_found(format_args!("cell {name}")))?)
}

async fn attention(caller: Caller, has: Has, Asked(most): Asked<Most>) -> Result<Response, Failure> {
    let limit = Page { limit: most.limit, after: None }.limit()?;
    let view = caller.view()?;
    let all = view.attention(AttentionLimits::default());
    let total = Some(all.len());
    let items = all.into_iter().take(limit).map(Concern::from).collect();
    has.json(&List { items, total, next: None, snapshot_at: Some(view.at) })
}

async fn search(caller: Caller, has: Has, Asked(Wanted { q }): Asked<Wanted>) -> Result<Response, Failure> {
    let view = caller.view()?;
    let (recipes, problem) = pages::recipes(&caller, &view).await;
    let releases = recipes.releases.iter().map(|(manifest, name)| (manifest, name));
    let found = controller::Found::new(&q, &view, recipes.manifests.iter(), releases);
    has.json(&Found {
        nodes: found.nodes.into_iter().take(MOST_HITS).cloned().collect(),
        cells: found.cells.into_iter().take(MOST_HITS).cloned().collect(),
        manifests: found.manifests.into_iter().take(MOST_HITS).cloned().collect(),
        deployments: found.releases.iter().take(MOST_HITS).map(|(of, name)| format!("{of}/{name}")).collect(),
        problem,
    })
}

fn label(text: &str) -> Result<(&str, &str), Failure> {
    text.split_once('=').ok_or_else(|| Failure::bad_request("invalid_query", "label: expected key=value"))
}
