//! Why an agent does not start or go on, named by what the caller must do about it.

use std::path::PathBuf;

use super::disk::DiskError;
use crate::store::StoreError;

/// Why an agent does not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Stop the other agent, or give this one a folder of its own.
    #[error("another agent{} uses {}: stop it first, or set another state_folder", holder(*pid), folder.display())]
    AlreadyRunning {
        /// The state folder.
        folder: PathBuf,
        /// The process that holds it, if it told.
        pid: Option<u32>,
    },
    /// Look at the file: it is damaged, or a newer agent wrote it. Nothing was touched.
    #[error("{} cannot be used: {problem}; restore it, or move the state folder away to start anew", path.display())]
    StateInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Mend the folder or the disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Look at the bucket: what is wrong is in the error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Look at the bucket: what was done is done, but the bucket does not know all of it yet.
    #[error("the report could not be written: {message}")]
    Report {
        /// Why.
        message: String,
    },
    /// Start an agent first.
    #[error("no agent has run with the state folder {} yet", folder.display())]
    NeverRan {
        /// The state folder.
        folder: PathBuf,
    },
    /// Mend the program: a part of the agent ended that never ends.
    #[error("{part} ended unexpectedly")]
    Broken {
        /// The part.
        part: String,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
}
