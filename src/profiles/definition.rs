//! What the supervisors' profiles ask of processes, whoever supervises them.

use std::time::Duration;

use crate::agent::ProfileError;
use crate::model::Code;
use crate::store::in_full;
use crate::supervise::{EnvValue, ServiceDef};

/// Secrets must be on the node before anything is stopped for a version, and may be put there at any time.
pub(super) fn check_secrets(service: &ServiceDef) -> Result<(), ProfileError> {
    for (name, process) in &service.processes {
        for (variable, value) in &process.env {
            if let EnvValue::File(file) = value {
                file.read().map_err(|error| ProfileError::Waiting {
                    code: Code::SecretMissing,
                    message: format!("{variable} of {name}: {}", in_full(&error)),
                })?;
            }
        }
    }
    Ok(())
}

/// The longest that the processes of a service may take to end, one after the other.
pub(super) fn stops_within(service: &ServiceDef) -> Duration {
    service.processes.values().map(|process| Duration::from_millis(process.stop.timeout_ms)).sum()
}
