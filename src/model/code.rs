//! Stable codes for what goes wrong, as heartbeats, outcomes and APIs show them (I8).

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $meaning:literal;)*) => {
        /// What went wrong, as programs compare it. Codes are only ever added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
        pub enum Code {
            $(
                #[doc = $meaning]
                #[serde(rename = $text)]
                $name,
            )*
            /// A code of a newer program.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl Code {
            /// Every code of this program, with what it means.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $meaning)),*];

            /// The code as documents write it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}

codes! {
    SigInvalid = "sig_invalid", "a trigger or an order carries no valid signature by a pinned key";
    WrongTarget = "wrong_target", "a validly signed document is for another fleet, node or cell";
    DocumentInvalid = "document_invalid", "a document is not what its schema says";
    Unsupported = "unsupported", "a document needs a feature that this agent does not have";
    Conflict = "conflict", "two different triggers have the same generation; the first one is held";
    TriggerStale = "trigger_stale", "a trigger below the floor lies in the bucket; it is ignored";
    IndexStale = "index_stale", "the index lags behind what the agent already knows";
    TriggerMissing = "trigger_missing", "the trigger of a cell that runs here is gone; it goes on running";
    ManifestMissing = "manifest_missing", "the manifest that a trigger names is not in the bucket yet";
    ManifestTampered = "manifest_tampered", "the manifest in the bucket is not the one that the trigger names";
    ManifestInvalid = "manifest_invalid", "the manifest is the right one, but cannot be deployed";
    FileMissing = "file_missing", "a file that the manifest names is not in the bucket yet";
    FileTampered = "file_tampered", "a file in the bucket is not the one that the manifest names";
    SecretMissing = "secret_missing", "a value that is to be read on the node is not there";
    UserUnknown = "user_unknown", "the node has no user or group of the name that the manifest gives";
    UserDenied = "user_denied", "the agent is not root, and so cannot run a cell as the user or group of the manifest";
    LimitUnavailable = "limit_unavailable", "the node has nothing to enforce a limit with that the manifest sets";
    SocketUnavailable = "socket_unavailable", "the node cannot listen where the manifest says, such as at a port that another program holds";
    FailedBefore = "failed_before", "this content failed here before; a trigger with retry tries it again";
    Window = "window", "a maintenance window is closed; nothing is wrong, and it goes on when it opens";
    Lock = "lock", "the application holds its lock file; nothing is wrong, and it goes on when that is let go";
    Dependency = "dependency", "a cell that this one depends on is not up; nothing of this one is wrong";
    DependencyCircle = "dependency_circle", "cells depend on each other in a circle, so the first of them by name starts without waiting";
    ProfileUnavailable = "profile_unavailable", "the agent is not set up for this profile";
    DiskFull = "disk_full", "there is not enough free space for the version";
    Io = "io", "the node's own disk refused an operation";
    Denied = "denied", "the store refuses access";
    Unreachable = "unreachable", "the store cannot be reached";
    Throttled = "throttled", "the store asks to slow down";
    ClockSkew = "clock_skew", "the node's clock is too far from the store's";
    StoreError = "store_error", "the store answered with an error that has no name here";
    ActivationFailed = "activation_failed", "the profile could not bring the version up";
    Unhealthy = "unhealthy", "the version came up, but not well enough or not in time";
    HookFailed = "hook_failed", "a hook of the version failed";
    HookWaits = "hook_waits", "a hook asks to be run again later";
    Reset = "reset", "a person took the cell off the node, and holds it until a newer trigger asks for it";
    Interrupted = "interrupted", "the attempt was ended by a newer trigger or by the agent's end";
    StateInvalid = "state_invalid", "the agent's state on disk cannot be read; nothing is touched";
    FloorRebuilt = "floor_rebuilt", "the agent had no state, or an old one, and took its floor from the bucket";
    FloorImplausible = "floor_implausible", "a heartbeat claims a generation far above every signed one";
    HeartbeatCut = "heartbeat_cut", "the node has more to tell than a heartbeat may hold; details are left out";
    DuplicateNode = "duplicate_node", "another agent writes heartbeats under this node's name";
    Orphaned = "orphaned", "a cell is deployed here, but nothing in the bucket asks for it";
    UnitNotOwned = "unit_not_owned", "something on the host has the cell's name, but not our marker";
    UnitDrift = "unit_drift", "what we installed on the host was changed by hand";
    UnitExtended = "unit_extended", "drop-ins on the host change how the cell's unit runs";
    SupervisorUnavailable = "supervisor_unavailable", "supervisord does not run on the host, or does not answer";
    SupervisorConfBroken = "supervisor_conf_broken", "supervisord cannot read its configuration, because of a file that is not ours";
    Drifted = "drifted", "files or units on the host are not what was deployed";
    DriftUnchecked = "drift_unchecked", "it cannot be told whether the host has what was deployed";
    RepairFailed = "repair_failed", "what drifted could not be put back";
    RepairsExhausted = "repairs_exhausted", "what was put back drifts again and again; it is left alone for a while";
    Inconsistent = "inconsistent", "what is on the host is not what the state says";
    Hold = "hold", "somebody holds the cell or its node: nothing that runs is changed until then";
    OrderExpired = "order_expired", "an order came too late; it is not carried out";
    OrderRefused = "order_refused", "an order asks for what this agent cannot do, or will not";
    NoLog = "no_log", "the cell's profile keeps nothing of what its programs write";
    LogsOff = "logs_off", "the node's owner lets nobody read what its cells write";
    NeedsOperator = "needs_operator", "the agent has done what it may do; a person must look";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_newer_program_is_read_as_unknown() {
        assert_eq!(serde_json::from_str::<Code>("\"sig_invalid\"").unwrap(), Code::SigInvalid);
        assert_eq!(serde_json::from_str::<Code>("\"made_up\"").unwrap(), Code::Unknown);
        for (code, _) in Code::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
    }
}
