//! The command line: what both programs share, and the programs.
#![allow(rustdoc::invalid_html_tags, reason = "what stands at arguments is their help, and says <node>/<cell>")]

mod ask;
#[cfg(feature = "agent")]
mod exec;
mod exit;
mod failure;
mod findings;
#[cfg(feature = "controller")]
mod input;
mod interrupt;
mod journal;
mod log;
mod notify;
mod output;
mod program;
#[cfg(feature = "controller")]
mod terminal;

#[cfg(feature = "agent")]
mod write_env;

#[cfg(feature = "agent")]
pub mod fleetagent;

#[cfg(feature = "controller")]
pub mod fleetman;
