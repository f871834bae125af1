//! `fleetman publish`, `redeploy` and `rollback`: what makes a cell run something.

use clap::Args;

use super::batch::Again;
use super::change::DeployArgs;
use super::context::Context;
use super::order::{OrderArgs, carry_out};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::{PublishRequest, RollbackRequest};
use crate::model::{CellId, DeploymentName, Sha256Digest, VersionName};

/// Make a version of each cell and have it deployed.
///
/// The version is made from the manifest, the cell and the release as they are now, and never changes again. A cell
/// that is at it already stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fleetman publish n1/web --deployment 1.4.2 --wait
  fleetman publish --manifest site -l region=eu -y
  fleetman plan n1/web        # what it would change, and the guards to publish just that")]
pub(super) struct PublishArgs {
    #[command(flatten)]
    inputs: InputArgs,
    /// What to say about the version
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Only if this is what would be published, as `fleetman plan` shows it
    #[arg(long, value_name = "CONTENT_SHA256")]
    expect: Option<Sha256Digest>,
    #[command(flatten)]
    ship: ShipArgs,
}

/// To which cells something is shipped, and how.
#[derive(Debug, Args)]
struct ShipArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    deploy: DeployArgs,
}

/// What a version is made from.
#[derive(Debug, Clone, Args)]
pub(super) struct InputArgs {
    /// The release [default: the manifest's newest]
    #[arg(short, long, value_name = "NAME")]
    deployment: Option<DeploymentName>,
    /// The version's name [default: a generated one]
    #[arg(long = "as", value_name = "VERSION")]
    version: Option<VersionName>,
}

impl InputArgs {
    pub(super) fn request(&self, cell: &CellId) -> PublishRequest {
        PublishRequest {
            deployment: self.deployment.clone(),
            version: self.version.clone(),
            ..PublishRequest::new(cell.clone())
        }
    }
}

/// Deploy the same version again, which restarts it, and starts what was stopped.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman redeploy n1/web --retry --wait")]
pub(super) struct RedeployArgs {
    #[command(flatten)]
    ship: ShipArgs,
}

/// Go back to an earlier version.
///
/// Without --to that is the newest one with other content that became known good on the node. Nothing is deleted: going
/// back is a new trigger that names an old version.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman rollback n1/web --wait\n  fleetman rollback n1/web --to 1.4.1 --reason 'checkout is broken'"
)]
pub(super) struct RollbackArgs {
    /// The version to go back to
    #[arg(long, value_name = "VERSION")]
    to: Option<VersionName>,
    #[command(flatten)]
    ship: ShipArgs,
}

pub(super) async fn publish(args: PublishArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let guard = args.ship.order.change.guard(args.expect);
    let intent = match (&args.inputs.deployment, &args.inputs.version) {
        (Some(deployment), _) => format!("publish release {deployment} to"),
        (None, Some(version)) => format!("publish {version} to"),
        (None, None) => "publish to".to_owned(),
    };
    carry_out(context, &controller, &intent, &args.ship.order, Again::Nothing, async |cell| {
        let request = PublishRequest {
            note: args.note.clone(),
            reason: args.ship.order.change.reason.clone(),
            options: args.ship.deploy.options(),
            ..args.inputs.request(cell)
        };
        Ok(controller.publish(&request, &guard).await?.into())
    })
    .await
}

pub(super) async fn redeploy(args: RedeployArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let guard = args.ship.order.change.guard(None);
    carry_out(context, &controller, "redeploy", &args.ship.order, Again::Something, async |cell| {
        let reason = args.ship.order.change.reason.clone();
        Ok(controller.redeploy(cell, args.ship.deploy.options(), reason, &guard).await?.into())
    })
    .await
}

pub(super) async fn rollback(args: RollbackArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let guard = args.ship.order.change.guard(None);
    let intent = args.to.as_ref().map_or_else(|| "roll back".to_owned(), |to| format!("roll back to {to}:"));
    // Going back from where it led leads forward again.
    let again = if args.to.is_some() { Again::Nothing } else { Again::Something };
    carry_out(context, &controller, &intent, &args.ship.order, again, async |cell| {
        let request = RollbackRequest {
            cell: cell.clone(),
            to: args.to.clone(),
            reason: args.ship.order.change.reason.clone(),
            options: args.ship.deploy.options(),
        };
        Ok(controller.rollback(&request, &guard).await?.into())
    })
    .await
}
