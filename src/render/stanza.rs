//! The file that tells supervisord of a cell.
//!
//! supervisord loses all of its configuration to one bad value. So nothing that a manifest says freely stands in this
//! file: only names that were checked, numbers, words of ours, and paths of this node without a character that means
//! anything to supervisord. What is free lies in the specification that the file names: a [`ServiceDef`].

use std::fmt::Write as _;
use std::path::Path;

use crate::model::{CellName, Sha256Digest, VersionName};
use crate::supervise::{Kind, ProcessDef, RestartPolicy, ServiceDef, SignalName};

/// The word that makes the agent's program a process of a cell.
pub const EXEC: &str = "exec";

/// How a file begins that is ours.
pub(crate) const MARKER: &str = "; fleetman: ";

/// How much of the output of a process is kept, and in how many files beside the one that is written.
const LOG_BYTES: u64 = 10 << 20;
const LOG_BACKUPS: u32 = 9;

/// How often supervisord tries to start a process that ends within [`START_SECS`], where nothing else is asked for: it
/// goes on for as long as anybody may wait for.
const WITHOUT_END: u32 = 1_000_000;

/// What has run so long has started. What ends sooner is started again after a pause that grows by a second each time;
/// without this supervisord would start it again at once, for ever.
const START_SECS: u32 = 1;

/// The name of a cell's group of processes.
pub(crate) fn group(cell: &CellName) -> String {
    format!("fleetman-{cell}")
}

/// The name of a cell's file.
pub(crate) fn file_name(cell: &CellName) -> String {
    format!("fleetman-{cell}.conf")
}

/// What a cell's file says.
pub(crate) struct Stanza<'a> {
    pub(crate) cell: &'a CellName,
    pub(crate) version: &'a VersionName,
    pub(crate) activation: &'a str,
    /// The cell's folder.
    pub(crate) folder: &'a Path,
    /// The folder of the specification.
    pub(crate) spec: &'a Path,
    /// The folder of the logs.
    pub(crate) logs: &'a Path,
    /// The agent's program.
    pub(crate) program: &'a Path,
    pub(crate) service: &'a ServiceDef,
}

impl Stanza<'_> {
    /// The whole file.
    ///
    /// # Errors
    /// A path has a character in it that means something to supervisord.
    pub(crate) fn render(&self) -> Result<String, String> {
        let group = group(self.cell);
        let (folder, spec) = (harmless(self.folder)?, harmless(self.spec)?);
        let (logs, program) = (harmless(self.logs)?, harmless(self.program)?);
        let mut rest =
            "; Do not edit: fleetagent writes this file, and will not overwrite what others changed in it.\n"
                .to_owned();
        let only = self.service.processes.len() == 1;
        if !only {
            let programs = self.service.processes.keys().map(|process| format!("{group}.{process}"));
            // Writing into a String cannot fail.
            let _ = write!(rest, "\n[group:{group}]\nprograms={}\n", programs.collect::<Vec<_>>().join(","));
        }
        for (name, process) in &self.service.processes {
            match only {
                true => drop(write!(rest, "\n[program:{group}]\n")),
                false => drop(write!(rest, "\n[program:{group}.{name}]\nprocess_name={name}\n")),
            }
            let _ = write!(
                rest,
                "command={program} {EXEC} {spec} {name}\ndirectory=/\n{}stopasgroup=true\nkillasgroup=true\n\
                 redirect_stderr=true\nstdout_logfile={logs}/{name}.log\nstdout_logfile_maxbytes={LOG_BYTES}\n\
                 stdout_logfile_backups={LOG_BACKUPS}\n",
                settings(process)
            );
        }
        let Self { cell, version, activation, .. } = self;
        let digest = Sha256Digest::of(rest.as_bytes());
        Ok(format!(
            "{MARKER}cell={cell} folder={folder} version={version} activation={activation} sha256={digest}\n{rest}"
        ))
    }
}

/// How supervisord starts, restarts and stops a process.
fn settings(process: &ProcessDef) -> String {
    let policy = match process.kind {
        Kind::Service => process.restart.policy,
        Kind::Task => RestartPolicy::Never,
    };
    let autorestart = match policy {
        RestartPolicy::Never => "false",
        RestartPolicy::OnFailure => "unexpected",
        RestartPolicy::Always => "true",
    };
    let (startsecs, startretries) = match policy {
        RestartPolicy::Never => (0, 0),
        _ => (START_SECS, process.restart.max_retries.unwrap_or(WITHOUT_END)),
    };
    let signal = signal(process.stop.signal);
    let (autostart, stopwaitsecs) = (process.autostart, process.stop.timeout_ms.div_ceil(1000));
    format!(
        "autostart={autostart}\nautorestart={autorestart}\nexitcodes=0\nstartsecs={startsecs}\n\
         startretries={startretries}\nstopsignal={signal}\nstopwaitsecs={stopwaitsecs}\n"
    )
}

/// What supervisord calls a signal.
pub(crate) fn signal(signal: SignalName) -> &'static str {
    match signal {
        SignalName::Term => "TERM",
        SignalName::Int => "INT",
        SignalName::Quit => "QUIT",
        SignalName::Hup => "HUP",
        SignalName::Usr1 => "USR1",
        SignalName::Usr2 => "USR2",
        SignalName::Kill => "KILL",
    }
}

/// Whether no character of a path means anything to supervisord, in a value, a command line or a comment.
pub(crate) fn is_harmless(path: &Path) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._+-@".contains(byte);
    path.is_absolute() && path.as_os_str().as_encoded_bytes().iter().all(plain)
}

fn harmless(path: &Path) -> Result<&str, String> {
    path.to_str().filter(|_| is_harmless(path)).ok_or_else(|| {
        format!("supervisord cannot be given the path {path:?}; use one of letters, digits and ._+-@ only")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::supervise::{Restart, Run, Stop};

    fn render(processes: Vec<(&str, ProcessDef)>, folder: &str) -> Result<String, String> {
        let processes = processes.into_iter().map(|(name, process)| (name.to_owned(), process)).collect();
        let folder = PathBuf::from(folder);
        let stanza = Stanza {
            cell: &CellName::new("web").unwrap(),
            version: &VersionName::new("1.2+3").unwrap(),
            activation: "1-7-1",
            folder: &folder,
            spec: &folder.join("activations/1-7-1"),
            logs: &folder.join("logs"),
            program: Path::new("/usr/bin/fleetagent"),
            service: &ServiceDef { processes, ..ServiceDef::default() },
        };
        stanza.render()
    }

    fn process() -> ProcessDef {
        let hostile = Run::command(["/x\n[program:evil]", "100% ;", "\""]);
        let env = BTreeMap::from([("A\n[b]".to_owned(), "c;%".into())]);
        ProcessDef { env, user: Some("u;%".into()), ..ProcessDef::new(hostile) }
    }

    fn policy(policy: RestartPolicy, max_retries: Option<u32>) -> ProcessDef {
        ProcessDef { restart: Restart { policy, max_retries, ..Restart::default() }, ..process() }
    }

    #[test]
    fn a_single_process_is_a_program_with_nothing_of_the_manifest_in_it() {
        let text = render(vec![("main", process())], "/var/lib/cells/web").unwrap();
        let (marker, rest) = text.split_once('\n').unwrap();
        let digest = Sha256Digest::of(rest.as_bytes());
        assert_eq!(
            marker,
            format!("; fleetman: cell=web folder=/var/lib/cells/web version=1.2+3 activation=1-7-1 sha256={digest}")
        );
        assert_eq!(
            rest,
            "; Do not edit: fleetagent writes this file, and will not overwrite what others changed in it.\n\n\
             [program:fleetman-web]\n\
             command=/usr/bin/fleetagent exec /var/lib/cells/web/activations/1-7-1 main\ndirectory=/\nautostart=true\n\
             autorestart=unexpected\nexitcodes=0\nstartsecs=1\nstartretries=1000000\nstopsignal=TERM\nstopwaitsecs=10\n\
             stopasgroup=true\nkillasgroup=true\nredirect_stderr=true\n\
             stdout_logfile=/var/lib/cells/web/logs/main.log\nstdout_logfile_maxbytes=10485760\n\
             stdout_logfile_backups=9\n"
        );
    }

    #[test]
    fn several_processes_are_a_group_and_each_has_its_own_settings() {
        let task = ProcessDef { kind: Kind::Task, autostart: false, ..process() };
        let stop = Stop { signal: SignalName::Usr2, timeout_ms: 1_001 };
        let quick = ProcessDef { stop, ..policy(RestartPolicy::Always, Some(3)) };
        let text = render(vec![("a", quick), ("b", task), ("c", policy(RestartPolicy::Never, Some(3)))], "/x").unwrap();
        assert!(
            text.contains("[group:fleetman-web]\nprograms=fleetman-web.a,fleetman-web.b,fleetman-web.c\n"),
            "{text}"
        );
        let programs: Vec<&str> = text.split("[program:").skip(1).collect();
        let has = |at: usize, lines: &[&str]| {
            for line in lines {
                assert!(programs[at].lines().any(|found| found == *line), "{line}: {}", programs[at]);
            }
        };
        has(0, &["fleetman-web.a]", "process_name=a", "autorestart=true", "startretries=3", "startsecs=1"]);
        has(0, &["stopsignal=USR2", "stopwaitsecs=2", "command=/usr/bin/fleetagent exec /x/activations/1-7-1 a"]);
        has(1, &["autostart=false", "autorestart=false", "startretries=0", "startsecs=0"]);
        has(2, &["autostart=true", "autorestart=false", "startretries=0", "startsecs=0"]);
        assert!(!text.contains("evil") && !text.contains('%') && !text.contains('"'), "{text}");
    }

    #[test]
    fn a_path_that_means_something_to_supervisord_is_refused() {
        for folder in ["/a b", "/a;b", "/a%b", "/a#b", "/a\"b", "/a'b", "/a\\b", "/a\nb", "/ä", "/a$b", "relative"] {
            let error = render(vec![("main", process())], folder).unwrap_err();
            assert!(error.starts_with("supervisord cannot be given the path \""), "{error}");
        }
        assert!(render(vec![("main", process())], "/a-b_c.d+e@f/0").is_ok());
    }
}
