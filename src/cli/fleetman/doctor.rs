//! `fleetman doctor`

use clap::Args;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::findings;
use crate::controller::doctor;
use crate::model::fleet::Finding;

/// Check config, credentials, clock and what the store can do.
///
/// Writers race for the same objects, because some stores accept conditions on writes and ignore them. What was found
/// out is remembered in store.json, for every controller. Nothing else of the bucket is touched.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Do not remember what was found out
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: DoctorArgs, context: &Context) -> Result<Exit, Failure> {
    let config = match context.quiet_config() {
        Ok(config) => config,
        Err(failure) => return end(&[findings::of("config", Err(failure))], context),
    };
    let bucket = context.chosen(&config)?;
    let path = context.find_config()?;
    let mut found = vec![findings::of("config", Ok(format!("{}, bucket {:?}", path.display(), bucket.name)))];
    found.extend(config.warnings.iter().map(|warning| findings::warning("config", warning.as_str(), None)));
    found.push(match bucket.signer() {
        Ok((crate::model::sign::Signer::Unsigned, _)) => findings::warning(
            "signing",
            "signatures are off: whoever can write to the bucket can deploy",
            Some("set signing_key_file".to_owned()),
        ),
        Ok((_, Some(warning))) => findings::warning("signing", warning, None),
        Ok((crate::model::sign::Signer::Key(key, epoch), None)) => {
            findings::of("signing", Ok(format!("key {} of epoch {epoch}", key.public().id())))
        }
        Err(error) => findings::of("signing", Err(error.into())),
    });
    let store = context.store_of(bucket).await?;
    let report = doctor::examine(&store, bucket.fleet, &context.clock)
        .await
        .map_err(|error| Failure::local("asking for randomness", &error))?;
    found.extend(report.findings.iter().cloned());
    // A store that could not be asked about conditions must not make an earlier answer forgotten.
    if !args.dry_run && report.conditions != crate::model::fleet::Conditions::Unknown {
        let remembered = doctor::remember(&store, &report).await;
        found.push(findings::of("remembered", remembered.map(|()| "in store.json".to_owned()).map_err(Failure::from)));
    }
    end(&found, context)
}

fn end(found: &[Finding], context: &Context) -> Result<Exit, Failure> {
    context.output.show(&found, |output| findings::table(found, output))?;
    Ok(findings::exit(found))
}
