//! A version's run specification in the supervisor's words.
//!
//! The two say much the same in types of their own: one is a format of the bucket for ever, the other a library's that
//! is used without a bucket, and neither is to change with the other.

use std::collections::BTreeMap;
use std::path::Path;

use super::OnNode;
use crate::model::manifest::Manifest;
use crate::model::process::{Process, ProcessKind, ProcessSpec};
use crate::model::run_spec;
use crate::supervise::{
    EnvFile, EnvValue, Kind, Limits, LogLimits, ProcessDef, Restart, RestartPolicy, Run, ServiceDef, SignalName, Stop,
};

/// The processes of `spec`, ready to be started.
pub(crate) fn service(spec: &ProcessSpec, on_node: &OnNode<'_>) -> ServiceDef {
    let processes = spec.processes.iter().map(|(name, process)| (name.to_string(), process_def(process, on_node)));
    ServiceDef { processes: processes.collect(), logs: LogLimits::default() }
}

fn process_def(process: &Process, on_node: &OnNode<'_>) -> ProcessDef {
    let run = &process.run;
    ProcessDef {
        kind: match process.kind {
            ProcessKind::Service => Kind::Service,
            ProcessKind::Task => Kind::Task,
        },
        run: Run::Command(command(&run.command, on_node.release)),
        env: env(&run.env, on_node),
        working_dir: Some(
            run.working_dir.as_ref().map_or(on_node.release.into(), |dir| on_node.release.join(dir.as_str())),
        ),
        user: run.user.clone(),
        group: run.group.clone(),
        umask: process.umask.map(|mode| mode.bits()),
        limits: limits(on_node.manifest),
        autostart: process.autostart,
        after: process.after.iter().map(ToString::to_string).collect(),
        restart: restart(&run.restart),
        stop: Stop { signal: signal(run.stop.signal), timeout_ms: run.stop.timeout_ms },
        reload_signal: process.reload_signal.map(signal),
        sockets: Vec::new(),
    }
}

/// A program without a leading `/` is one of the version's files.
fn command(command: &[String], release: &Path) -> Vec<String> {
    let mut words = command.to_vec();
    if let Some(program) = words.first_mut().filter(|program| !program.starts_with('/')) {
        *program = release.join(&*program).display().to_string();
    }
    words
}

fn env(env: &BTreeMap<String, run_spec::EnvValue>, on_node: &OnNode<'_>) -> BTreeMap<String, EnvValue> {
    let own = on_node.variables().into_iter().map(|(name, value)| (name.to_owned(), EnvValue::Text(value)));
    let given = env.iter().filter_map(|(name, value)| {
        let value = match value {
            run_spec::EnvValue::Text(text) => EnvValue::Text(text.clone()),
            run_spec::EnvValue::FromFile(file) => {
                EnvValue::File(EnvFile { from_file: (&file.from_file).into(), key: file.key.clone() })
            }
            // No manifest has one here: it would have been refused when it was read.
            run_spec::EnvValue::Credential(_) => return None,
        };
        Some((name.clone(), value))
    });
    given.chain(own).collect()
}

fn limits(manifest: &Manifest) -> Limits {
    let run_spec::Limits { open_files, core_bytes, .. } = manifest.limits;
    Limits { open_files, core_bytes }
}

fn restart(restart: &run_spec::Restart) -> Restart {
    let share = |percent: u32| f64::from(percent) / 100.0;
    Restart {
        policy: match restart.policy {
            run_spec::RestartPolicy::Never => RestartPolicy::Never,
            run_spec::RestartPolicy::OnFailure => RestartPolicy::OnFailure,
            run_spec::RestartPolicy::Always => RestartPolicy::Always,
        },
        max_retries: restart.max_retries,
        delay_ms: restart.delay_ms,
        backoff: share(restart.backoff_percent),
        max_delay_ms: restart.max_delay_ms,
        jitter: share(restart.jitter_percent),
        reset_after_ms: restart.reset_after_ms,
    }
}

fn signal(signal: run_spec::StopSignal) -> SignalName {
    match signal {
        run_spec::StopSignal::Term => SignalName::Term,
        run_spec::StopSignal::Int => SignalName::Int,
        run_spec::StopSignal::Quit => SignalName::Quit,
        run_spec::StopSignal::Hup => SignalName::Hup,
        run_spec::StopSignal::Usr1 => SignalName::Usr1,
        run_spec::StopSignal::Usr2 => SignalName::Usr2,
        run_spec::StopSignal::Kill => SignalName::Kill,
    }
}
