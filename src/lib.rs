//! Fleetman deploys services to nodes with an S3 bucket as the only control plane.
//!
//! A controller (`fleetman`) writes immutable versions and signed triggers into the bucket; an agent
//! (`fleetagent`) on each node polls its own small corner of the bucket, verifies what it finds, deploys it and
//! writes a heartbeat back. Neither ever talks to the other, and either may be absent for months.
//!
//! # Layers
//! A file imports from its own folder and from what stands above it in this list; `tests/it/layering.rs` refuses
//! anything else.
//!
//! | layer | what it holds |
//! |---|---|
//! | [`model`] | the words: names, versions, digests, paths, keys, documents, signing. No I/O, no clock, no async |
//! | [`clock`] | the only place that asks the system for the time |
//! | [`entropy`] | the only place that asks the system for randomness |
//! | [`exposition`] | figures for monitoring, as the text that Prometheus reads |
//! | [`yaml`] | text to typed value, with line and column |
//! | [`recipe`] | the YAML that people write: parse, validate, schema, render |
//! | [`store`] | the bucket; the only place that names `aws_sdk_s3` |
//! | [`outbound`] | requests to services that are no bucket |
//! | [`embedded`] | an S3 server over a folder, for quickstart and tests |
//! | [`supervise`] | the built-in process supervisor, usable on its own |
//! | [`render`] | what a version becomes on its node: units, supervisord's file, processes |
//! | [`agent`] | what a node does |
//! | [`controller`] | what publishing does; never imports `agent`, nor the reverse |
//! | [`profiles`] | how a cell is run: systemd, supervisord, a process, a plain folder |
//! | [`config`] | the config files |
//! | [`access`] | who may do what in the portal and the API |
//! | [`web`] | the HTTP API |
//! | [`cli`] | the command line |
//!
//! # Invariants
//! Comments cite these by number.
//!
//! - **I1** A version whose `manifest.json` exists never changes by a byte.
//! - **I2** A history entry only ever names a version that was complete before the entry was written.
//! - **I3** Nothing runs on a node that is not reachable, digest by digest, from a trigger that the node verified;
//!   and no controller signs a digest that it has not computed or verified.
//! - **I4** At any instant, and after any crash or power cut, `current` is one whole verified version: the old or
//!   the new, never a mix.
//! - **I5** The (epoch, generation) that a node accepts never goes down, across restarts.
//! - **I6** A healthy cell is stopped only by a verified trigger, by its own exit, or by the failed health of a
//!   newer version. Losing the controller or the bucket stops nothing.
//! - **I7** Nothing without our ownership marker is written, stopped or removed on a host.
//! - **I8** Every refusal and failure is visible in the heartbeat with a stable code. Absence and denial are told
//!   apart, and neither is ever read as an instruction.
//! - **I9** Resources are bounded: disk keeps current, known good and N versions; memory does not grow with fleet or
//!   file size; no zombies, no leaked descriptors.

// Of the layers in the table some features leave some out. In what documents itself alone every link must lead somewhere.
#![cfg_attr(
    not(all(feature = "controller", feature = "agent", feature = "embedded")),
    allow(rustdoc::broken_intra_doc_links)
)]

#[cfg(feature = "bucket")]
pub mod model;

#[warn(rustdoc::broken_intra_doc_links)]
pub mod clock;

#[cfg(feature = "bucket")]
pub mod entropy;

#[cfg(feature = "bucket")]
pub mod exposition;

#[cfg(feature = "bucket")]
pub mod yaml;

#[cfg(feature = "controller")]
pub mod recipe;

#[cfg(feature = "bucket")]
pub mod store;

#[cfg(feature = "controller")]
pub mod outbound;

#[cfg(feature = "embedded")]
pub mod embedded;

#[cfg(feature = "supervise")]
#[warn(rustdoc::broken_intra_doc_links)]
pub mod supervise;

#[cfg(all(feature = "bucket", feature = "supervise"))]
pub mod render;

#[cfg(feature = "agent")]
pub mod agent;

#[cfg(feature = "controller")]
pub mod controller;

#[cfg(feature = "agent")]
pub mod profiles;

#[cfg(feature = "bucket")]
pub mod config;

#[cfg(feature = "controller")]
pub mod access;

#[cfg(feature = "controller")]
pub mod web;

#[cfg(feature = "bucket")]
pub mod cli;
