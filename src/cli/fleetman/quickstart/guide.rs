//! What a quickstart tells people: what there is, and what to try.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::home::{BUCKET, Home};
use crate::controller::{FleetView, Liveness, Sync};
use crate::model::CellId;
use crate::model::heartbeat::{CellReport, Phase, RunningState};

/// What there is, and what to try.
pub(super) fn text(
    home: &Home,
    sites: &BTreeMap<CellId, SocketAddr>,
    view: &FleetView,
    took: Duration,
    portal: &str,
    way_in: Option<&str>,
) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let (nodes, synced) = (view.counts.liveness(Liveness::Active), view.counts.sync(Sync::Synced));
    line(&format!("\n{nodes} nodes, {synced} cells up to date, {:.1} s after the start.\n", took.as_secs_f64()));
    let states = cells(view);
    for cell in Home::cells() {
        let state = states.get(&cell).map_or("unknown", String::as_str);
        let site = sites.get(&cell).map_or("nowhere".to_owned(), |address| format!("http://{address}/"));
        line(&format!("  {site}   {cell}: {state}"));
    }
    line(&format!("  {portal}   the portal"));
    if let Some(way_in) = way_in {
        line(&format!("\n{way_in}"));
    }

    let fleetman = program("fleetman").unwrap_or_else(|| "fleetman".to_owned());
    let config = quoted(&home.path("controller_config.yaml"));
    line("\nTry it in another terminal:\n");
    line(&format!("  export FLEETMAN_CONFIG={config}"));
    line(&format!("  {fleetman} publish --manifest site --deployment 2 --as 2 --yes --wait"));
    line("      # the pages follow: version 2");
    line(&format!("  {fleetman} rollback --manifest site --yes --wait"));
    line("      # and back again");
    if let Some(address) = sites.values().next() {
        line(&format!("  kill -9 $(curl -s http://{address}/process/pid)"));
        line("      # a service that is killed is back at once, as another process");
    }
    line(&format!("  {fleetman} status"));

    line("\nMake a version of your own:\n");
    let folder = home.path("site-2");
    line(&format!("  edit {}", quoted(&folder.join("index.html"))));
    line(&format!("  {fleetman} upload site {}", quoted(&folder)));
    line(&format!("  {fleetman} publish --manifest site --yes --wait"));

    if let (Some(fleetagent), Some(cell)) = (program("fleetagent"), Home::cells().first()) {
        line("\nLook at a node as who is on it, without the bucket:\n");
        line(&format!("  export FLEETAGENT_CONFIG={}", quoted(&home.agent_config(&cell.node))));
        line(&format!("  {fleetagent} ps"));
        line(&format!("  {fleetagent} logs {}", cell.cell));
    }

    line("\nLook into the bucket, with this or any S3 tool:\n");
    line(&format!("  {fleetman} bucket ls"));
    line(&format!(
        "  export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_DEFAULT_REGION=us-east-1",
        home.state.access_key, home.state.secret_key
    ));
    line(&format!("  aws --endpoint-url http://127.0.0.1:{} s3 ls --recursive s3://{BUCKET}/", home.state.ports.store));
    let kept = if home.is_ephemeral() { "leaves nothing behind" } else { "keeps everything for the next quickstart" };
    let _ = write!(text, "\nCtrl-C ends all of it, and {kept}.\n");
    text
}

/// Each cell in a few words.
pub(super) fn cells(view: &FleetView) -> BTreeMap<CellId, String> {
    view.cells()
        .map(|cell| {
            let version =
                |version: Option<&str>| version.map_or("nothing".to_owned(), |name| format!("version {name}"));
            let report = cell.report();
            let running = report.and_then(|report| report.running.as_ref()).map(|running| running.version.as_str());
            let wanted = cell.desired().and_then(|desired| desired.target.as_ref());
            let wanted = wanted.map(|target| target.version.as_str());
            let is_seen = report.is_some_and(|report| report.seen >= cell.desired_at());
            let phase = match report {
                Some(report) if is_seen => report.phase.as_str().replace('_', " "),
                _ => "not seen by the node yet".to_owned(),
            };
            let mut state = if running == wanted || wanted.is_none() {
                format!("{}, {phase}", version(running))
            } else {
                format!("{} -> {}, {phase}", version(running), version(wanted))
            };
            state.push_str(&report.filter(|_| is_seen).map(trouble).unwrap_or_default());
            (cell.cell.clone(), state)
        })
        .collect()
}

/// What did not go well, as far as there is something to say.
fn trouble(report: &CellReport) -> String {
    let failed = matches!(report.phase, Phase::RolledBack | Phase::Failed);
    if let Some(error) = report.last_error.as_ref().filter(|_| failed) {
        return format!(": {}", error.message);
    }
    match &report.state {
        RunningState::Failed { reason } => format!(", but does not run: {reason}"),
        RunningState::Running { restarts: 1, .. } => ", restarted once".to_owned(),
        RunningState::Running { restarts, .. } if *restarts > 1 => format!(", restarted {restarts} times"),
        _ => String::new(),
    }
}

/// How people call one of the programs from where they are; None if it does not lie beside this one.
fn program(name: &str) -> Option<String> {
    let this = std::env::current_exe().ok()?.with_file_name(name);
    if !this.is_file() {
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    let is_this = |file: PathBuf| file.canonicalize().is_ok_and(|file| file == this);
    if on_path.is_some_and(is_this) {
        return Some(name.to_owned());
    }
    let here = std::env::current_dir().unwrap_or_default();
    match this.strip_prefix(&here) {
        Ok(below) if below.components().count() > 1 => Some(quoted(below)),
        _ => Some(quoted(&this)),
    }
}

/// `path` as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+,:@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/srv/a-b.c")), "/srv/a-b.c");
        assert_eq!(quoted(Path::new("/srv/a b")), "'/srv/a b'");
        assert_eq!(quoted(Path::new("/srv/it's")), r"'/srv/it'\''s'");
    }
}
