//! `fleetagent doctor`: everything that an agent needs, looked at without a change that stays.

use std::io;
use std::path::Path;

use chrono::TimeDelta;
use rustix::fs::{Access, access};

use super::context::Context;
use super::host;
use crate::agent::{self, AgentError};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::findings;
use crate::config::AgentConfig;
use crate::model::document::Document as _;
use crate::model::fleet::{Finding, Verdict};
use crate::model::index::Index;
use crate::model::keys::Folder;
use crate::model::sign::{Trust, verify};
use crate::model::trigger::Trigger;
use crate::model::{ObjectKey, document};
use crate::store::{Depth, Store};

/// Below this difference clocks count as equal.
const SKEW_WARNING: TimeDelta = TimeDelta::seconds(30);

pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    let mut found = Vec::new();
    match context.quiet_config() {
        Err(failure) => found.push(findings::of("config", Err(failure))),
        Ok(config) => {
            let path = context.find_config()?;
            found.push(findings::of("config", Ok(format!("{} can be used", path.display()))));
            found.extend(config.warnings.iter().map(|warning| findings::warning("config", warning.as_str(), None)));
            found.push(folder("state_folder", &config.state_folder));
            found.push(agent_process(&config));
            found.extend(config.profiles.deploy.iter().map(|deploy| folder("deploy_folder", &deploy.target_folder)));
            if let Some(process) = &config.profiles.process {
                let finding = folder("process_folder", &process.folder);
                let can_be_made = finding.verdict == Verdict::Ok;
                found.push(finding);
                // Nothing else makes sense of a folder that cannot be.
                found.extend(if can_be_made { host::look(process) } else { Vec::new() });
            }
            match Store::connect(config.store.clone(), context.clock.clone()).await {
                Err(error) => found.push(findings::of("bucket", Err(error.into()))),
                Ok(store) => bucket(&store, &config, &mut found).await,
            }
        }
    }
    context.output.show(&found, |output| findings::table(&found, output))?;
    Ok(findings::exit(&found))
}

/// Whether `folder`, or the one that it will be made in, can be written to.
fn folder(check: &str, folder: &Path) -> Finding {
    let result = match folder.ancestors().find(|path| path.exists()) {
        None => Err(Failure::usage(format!("{} cannot be made", folder.display()))),
        Some(path) if !path.is_dir() => Err(Failure::usage(format!("{} is not a folder", path.display()))),
        Some(path) => access(path, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| Failure::local(format!("writing to {}", path.display()), &io::Error::from(error)))
            .map(|()| match path == folder {
                true => format!("{} can be written to", folder.display()),
                false => format!("{} will be made", folder.display()),
            }),
    };
    findings::of(check, result)
}

fn agent_process(config: &AgentConfig) -> Finding {
    match agent::read_status(&config.state_folder) {
        Ok(status) => match status.pid {
            Some(pid) => findings::of("agent", Ok(format!("running, pid {pid}"))),
            None => findings::warning("agent", "not running", Some("systemctl start fleetagent".to_owned())),
        },
        Err(error @ AgentError::NeverRan { .. }) => findings::warning("agent", error.to_string(), None),
        Err(error) => findings::of("agent", Err(error.into())),
    }
}

/// Whether the bucket gives what an agent reads. Nothing is written: a heartbeat from here would be a false one.
async fn bucket(store: &Store, config: &AgentConfig, found: &mut Vec<Finding>) {
    let listed = store.list(&Folder::NodeCells(config.node.clone()), Depth::Shallow).next().await;
    let listed = listed.map(|page| {
        let cells = page.map_or(0, |page| page.folders.len());
        format!("{} answers and lists {cells} cells of this node", store.describe())
    });
    let reached = listed.is_ok();
    found.push(findings::of("bucket", listed.map_err(Failure::from)));
    if !reached {
        return;
    }
    match store.find(&ObjectKey::Index(config.node.clone()), Index::MAX_BYTES).await {
        Err(error) => found.push(findings::of("index", Err(error.into()))),
        Ok(None) => found.push(findings::warning("index", "nothing was ever published to this node", None)),
        Ok(Some(object)) => match document::parse::<Index>(&object.bytes) {
            Err(error) => found.push(findings::of("index", Err(Failure::usage(error.to_string())))),
            Ok(index) => {
                found.push(findings::of("index", Ok(format!("can be read, {} cells", index.cells.len()))));
                found.push(signatures(&index, &config.trust));
            }
        },
    }
    match store.head(&ObjectKey::Heartbeat(config.node.clone())).await {
        Err(error) => found.push(findings::of("heartbeat", Err(error.into()))),
        Ok(Some(meta)) => {
            let when = meta.last_modified.map_or_else(|| "at an unknown time".to_owned(), |at| at.to_rfc3339());
            found.push(findings::of("heartbeat", Ok(format!("last taken by the store {when}"))));
        }
        Ok(None) => found.push(findings::warning(
            "heartbeat",
            format!(
                "none yet: whether {} can be written shows when the agent runs",
                ObjectKey::Heartbeat(config.node.clone())
            ),
            None,
        )),
    }
    if let Some(skew) = store.clock_skew() {
        let message = format!("this machine's clock and the store's differ by {} s", skew.num_seconds().abs());
        found.push(if skew.abs() < SKEW_WARNING {
            findings::of("clock", Ok(message))
        } else {
            findings::warning("clock", message, Some("timedatectl set-ntp true".to_owned()))
        });
    }
}

/// Whether what was published is signed by a key that this node believes.
fn signatures(index: &Index, trust: &Trust) -> Finding {
    if *trust == Trust::Unsigned {
        let message = "signatures are off: whoever can write to the bucket can deploy here";
        return findings::warning("keys", message, Some("pin trusted_keys".to_owned()));
    }
    let mut believed = 0_usize;
    for (name, entry) in index.entries() {
        let Ok((_, entry)) = entry else { continue };
        let Some(bytes) = entry.trigger_bytes() else { continue };
        match verify::<Trigger>(bytes, trust) {
            Ok(_) => believed += 1,
            Err(error) => {
                let failure = Failure::usage(format!("the trigger of {name} is not believed: {error}"));
                return findings::of("keys", Err(failure.help("compare trusted_keys with `fleetman keygen`'s output")));
            }
        }
    }
    findings::of("keys", Ok(format!("{believed} triggers are signed by a pinned key")))
}
