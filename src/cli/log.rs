//! What the program logs of itself: on standard error, away from data, or straight into systemd's journal where that is
//! the same.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::journal::{self, Journal};

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people; in systemd's journal each field is one of the journal's.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to log for `program`. `RUST_LOG` decides what, else `usual` and how often `-v` was given.
pub(crate) fn init(program: &'static str, format: LogFormat, usual: &str, verbose: u8) {
    let level = match verbose {
        0 => usual.to_owned(),
        1 => format!("{usual},fleetman=info"),
        2 => format!("{usual},fleetman=debug"),
        _ => "trace".to_owned(),
    };
    // The embedded server's library takes each 304, 404 and 412 that it answers for an error.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},s3s=off")));
    // A journal that cannot be spoken to still takes what comes over standard error.
    let journal = (format == LogFormat::Text && journal::is_standard_error()).then(|| Journal::connect(program).ok());
    if let Some(journal) = journal.flatten() {
        // A second call, as a test may make it, changes nothing.
        let _ = tracing_subscriber::registry().with(filter).with(journal).try_init();
        return;
    }
    // Nobody is left to be told that nobody reads, and the attempt would panic.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let _ = match format {
        LogFormat::Text => {
            lines.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).try_init()
        }
        LogFormat::Json => lines.json().with_ansi(false).try_init(),
    };
}
