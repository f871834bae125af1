//! `fleetman diff`: two versions of a cell side by side, or a version and the inputs as they are; or two instants.

use clap::Args;

use super::context::Context;
use super::{at, changes};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Tone};
use crate::controller::{self, Compared, Controller, LivenessLimits, Made, Moment, Proof, Revision, Scope};
use crate::model::CellId;
use crate::web::views::Comparison;

/// Show what differs between two versions of a cell, its inputs now, or two instants
///
/// With --from-time: what changed between two instants, of a cell, a node or the fleet.
///
/// Exit code 1 where something differs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman diff n1/web\n  fleetman diff n1/web --from 1.4.1 --to 1.4.2\n  fleetman diff --from-time '1d ago' n1"
)]
pub(super) struct DiffArgs {
    /// The cell, as <node>/<cell>; of two instants also <node>, or nothing for the whole fleet
    #[arg(value_name = "CELL", required_unless_present = "from_time")]
    scope: Option<Scope>,
    /// The version that is changed, or now [default: the one that is desired]
    #[arg(long, value_name = "VERSION")]
    from: Option<Revision>,
    /// The version that comes of it; now is what a publish would make
    #[arg(long, value_name = "VERSION", default_value = "now")]
    to: Revision,
    /// The earlier instant: a time, or '2h ago'
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    from_time: Option<Moment>,
    /// The later instant [default: now]
    #[arg(long, value_name = "TIME", requires = "from_time")]
    to_time: Option<Moment>,
}

pub(super) async fn run(args: DiffArgs, context: &Context) -> Result<Exit, Failure> {
    let DiffArgs { scope, from, to, from_time, to_time } = args;
    if let Some(from) = from_time {
        return at::changed(from, to_time.unwrap_or(Moment::NOW), &scope.unwrap_or_default(), context).await;
    }
    let Some(Scope::Cell(cell)) = scope else {
        return Err(Failure::usage("versions are of a cell: name it as <node>/<cell>"));
    };
    let controller = context.looker().await?;
    let from = match from {
        Some(from) => from,
        None => desired(&controller, &cell).await?,
    };
    let compared = controller.compare(&cell, &from, &to).await?;
    let table = for_people(&cell, &compared, context.output);
    let is_same = compared.changes.is_empty();
    context.output.show(&Comparison::from(compared), |_| table)?;
    Ok(if is_same { Exit::Ok } else { Exit::Negative })
}

/// The version that is desired; while the cell is stopped or removed the newest one.
async fn desired(controller: &Controller, cell: &CellId) -> Result<Revision, Failure> {
    let (view, _) = controller.cell_status(cell, LivenessLimits::default()).await?;
    let target = view.desired().and_then(|desired| desired.target.as_ref()).map(|target| target.version.clone());
    let version = match target {
        Some(version) => Some(version),
        None => controller.version_names_by_number(cell).await?.into_iter().next(),
    };
    version.map(Revision::Version).ok_or_else(|| {
        let failure = Failure::new(Exit::NotFound, "not_found", format!("nothing was ever published to {cell}"));
        failure.help(format!("`fleetman plan {cell}` shows what a publish would make"))
    })
}

fn for_people(cell: &CellId, compared: &controller::Comparison, output: Output) -> String {
    let mut lines = vec![format!("{cell}  {} → {}", compared.from.revision, compared.to.revision)];
    lines.extend([&compared.from, &compared.to].into_iter().filter_map(|side| doubt(side, output)));
    lines.extend(changes::lines(&compared.changes, output));
    if compared.changes.is_empty() {
        lines.push("Nothing differs.".to_owned());
    }
    lines.join("\n")
}

/// What is to be known of a version before one believes that it is what it says.
fn doubt(side: &Compared, output: Output) -> Option<String> {
    let Made { proof, .. } = side.made.as_ref()?;
    let text = match proof {
        Proof::Verified { .. } => return None,
        Proof::Contradicted { by, expected } => {
            format!("  {} is not what was published: generation {by} names the digest {expected}", side.revision)
        }
        Proof::Unnamed { triggers } => {
            format!("  {} is named by none of the newest {triggers} changes that are believed", side.revision)
        }
    };
    Some(output.paint(Tone::Warn, &text))
}
