//! Every test that runs more than one layer, in one binary.
#![allow(missing_docs, reason = "tests name the behaviour that they show")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod agent_crash;
mod agent_deploy;
mod agent_gate;
mod agent_memory;
mod agent_profiles;
mod agent_refuses;
mod agent_run;
mod cli_bucket;
mod cli_local;
mod cli_ship;
mod conformance;
mod controller_crash;
mod controller_deletion;
mod controller_publish;
mod controller_races;
mod controller_tampering;
mod controller_views;
mod dependencies;
mod docs;
mod doctor;
mod embedded_corners;
mod embedded_crash;
mod embedded_objects;
mod end_to_end;
mod fault_proxy;
mod foreign_clients;
mod format;
mod layering;
mod process_profile;
mod quickstart;
mod real_host;
mod recipe_errors;
mod recipe_examples;
mod store_credentials;
mod store_faults;
mod store_files;
mod store_reads;
mod store_ways;
mod store_writes;
mod supervise_kills;
mod supervise_stubborn;
mod supervise_takeover;
mod support;
mod web_api;
