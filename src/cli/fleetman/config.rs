//! `fleetman config`: what is configured, and where each value comes from.

use clap::Subcommand;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Rows, Tone};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Show every setting with its value and where that comes from
    ///
    /// Secrets are masked.
    Show,
}

pub(super) fn run(verb: &ConfigVerb, context: &Context) -> Result<Exit, Failure> {
    let ConfigVerb::Show = verb;
    let settings = context.settings(None)?;
    context.output.show(&settings, |output| {
        let mut rows = Rows::new(output, &["setting", "value", "from"]);
        for setting in &settings {
            let source = crate::cli::output::Shown::from(&setting.source).toned(Tone::Faint);
            rows.row([setting.name.as_str().into(), setting.value.as_str().into(), source]);
        }
        rows.render()
    })?;
    Ok(Exit::Ok)
}
