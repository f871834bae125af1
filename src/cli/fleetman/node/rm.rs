//! `fleetman node rm`: every cell is removed by a signed trigger, and only then does the bucket forget the node.
//!
//! Each step is one that the same command finds done when it is run again, so it may be interrupted anywhere.

use clap::Args;

use super::keys::StoreKind;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::fleetman::batch::{Again, Batch};
use crate::cli::fleetman::change::Changed;
use crate::cli::fleetman::context::Context;
use crate::cli::fleetman::wait::{WaitArgs, follow};
use crate::cli::interrupt;
use crate::controller::{Deletion, Guard, Liveness, LivenessLimits, NodeCell, NodeState, StopRequest};
use crate::model::NodeName;
use crate::yaml::HumanDuration;

/// Remove every cell of a node, and forget the node
///
/// It waits until the node has removed them, then deletes its index and its heartbeat. What else is in the bucket of its
/// cells stays: `fleetman delete cell` forgets that too. Triggers stay in any case, so that a node of this name can come
/// back. Run it again to go on where it was interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fleetman node rm n1
  fleetman node rm n1 --force     # the machine is gone and will not answer")]
pub(crate) struct RmArgs {
    /// The node
    node: NodeName,
    /// Do not wait for the node: what runs there goes on until its agent reads that it is removed
    #[arg(long, conflicts_with = "timeout")]
    force: bool,
    /// How long to wait for the node [default: wait_timeout of the config]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<HumanDuration>,
    /// Delete the cells' data folders on the node, too
    #[arg(long)]
    purge_data: bool,
    /// Why, for the triggers and the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The kind of store [default: the one that the endpoint suggests]
    #[arg(long, value_name = "KIND", value_enum)]
    store: Option<StoreKind>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(args: RmArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let node = &args.node;
    let output = context.output;
    let state = controller.node_state(node, LivenessLimits::default()).await?;
    if state.is_unknown() {
        let failure = Failure::new(Exit::NotFound, "not_found", format!("node {node}: there is none"));
        return Err(failure.help("`fleetman get nodes` lists them"));
    }
    let open: Vec<&NodeCell> = state.cells.iter().filter(|cell| is_open(cell, &state, &args)).collect();
    refuse(&state, &open, &args)?;
    for cell in &open {
        output.say(&format!("remove{} {}", if args.purge_data { ", with all its data," } else { "" }, cell.cell));
    }
    for cell in state.cells.iter().filter(|cell| cell.is_stray()) {
        output.say(&format!("warning: {} is on the node, but no trigger speaks of it: it stays there", cell.cell));
    }
    let forget = [(state.has_index, "index"), (state.has_heartbeat, "heartbeat")];
    let forget: Vec<&str> = forget.into_iter().filter_map(|(is_there, what)| is_there.then_some(what)).collect();
    if !forget.is_empty() {
        let when = if open.is_empty() || args.force { "" } else { ", once that is done" };
        output.say(&format!("delete the {} of {node}{when}", forget.join(" and the ")));
    }
    if !open.is_empty() || !forget.is_empty() {
        ask::confirm(&format!("Take {node} out of the fleet?"), args.yes)?;
    }

    let interrupted = interrupt::watch()?;
    let cells = open.iter().map(|cell| cell.cell.clone()).collect();
    let mut ran = Batch::agreed(context, cells, interrupted.clone())
        .run(async |cell| {
            // A removal that was asked for with the data stays one.
            let purges = state.cells.iter().any(|known| known.cell == *cell && known.is_removed() && known.purges_data);
            let request = StopRequest { cell: cell.clone(), reason: args.reason.clone() };
            let removed = controller.remove(&request, args.purge_data || purges, &Guard::default()).await?;
            Ok(Changed::from(removed))
        })
        .await;
    let followed = if args.force {
        Exit::Ok
    } else {
        follow(context, &controller, &mut ran.done, &WaitArgs::always(args.timeout), interrupted).await?
    };
    match (ran.finish(output, Again::Nothing)?, followed) {
        (Exit::Ok, Exit::Ok) => {}
        (Exit::Ok, exit) | (exit, _) => {
            output.say(&format!("{node} is still in the fleet; the same command again goes on, --force does not wait"));
            return Ok(exit);
        }
    }

    let Deletion::Done { objects } = controller.clear_node(node).await? else { return Ok(Exit::Ok) };
    let gone = if objects == 0 { "was out of the fleet already" } else { "is out of the fleet" };
    output.say(&format!(
        "{node} {gone}. An agent that still runs there reports again; end it: systemctl disable --now fleetagent"
    ));
    if args.force && !open.is_empty() {
        output.say(&format!(
            "What runs on {node} goes on until its agent has read the bucket once more: revoke its keys after that, or stop \
             it by hand"
        ));
    }
    let config = context.quiet_config()?;
    output.say(&format!("\n{}", StoreKind::of(args.store, context.chosen(&config)?).0.revoke(node).text()));
    Ok(Exit::Ok)
}

/// Whether there is something to be done about a cell, or to be waited for.
fn is_open(cell: &NodeCell, state: &NodeState, args: &RmArgs) -> bool {
    if cell.newest.is_none() {
        return false;
    }
    // With nothing but removed cells left, it was taken out before.
    let is_out = !state.has_index && !state.has_heartbeat;
    let is_asked = cell.is_removed() && (cell.purges_data || !args.purge_data);
    !is_asked || !(args.force || is_out || cell.is_gone())
}

/// What must be settled by a person first.
fn refuse(state: &NodeState, open: &[&NodeCell], args: &RmArgs) -> Result<(), Failure> {
    let node = &args.node;
    let conflict = |code: &str, message: String| Failure::new(Exit::Conflict, code, message);
    let paused =
        open.iter().filter(|cell| !cell.is_removed()).find_map(|cell| Some((&cell.cell, cell.paused.as_ref()?)));
    if let Some((cell, reason)) = paused {
        let help = format!("fleetman resume {cell}, or remove it alone: fleetman remove {cell}");
        return Err(conflict("paused", format!("{cell} is paused ({reason})")).help(help));
    }
    if args.force || open.is_empty() {
        return Ok(());
    }
    if state.is_double {
        let message = format!("two agents report as {node}: what one of them removes may run on with the other");
        return Err(conflict("duplicate_node", message).help("end one of them, or go on with --force"));
    }
    if matches!(state.liveness, Liveness::Dead | Liveness::Unknown) {
        let heard = match state.last_seen {
            Some(at) => format!("was last heard of {}", at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
            None => "was never heard of".to_owned(),
        };
        let message = format!("{node} {heard}, and cannot say that its cells are removed");
        return Err(conflict("node_not_heard", message).help("start its agent, or go on with --force"));
    }
    Ok(())
}
