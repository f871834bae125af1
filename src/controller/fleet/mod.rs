//! What the fleet is to be and what it is: the indexes and the heartbeats, joined.
//!
//! Everything in a heartbeat is a claim of the node, and its texts may be hostile: they are kept as data, and whoever
//! shows them escapes them.
//!
//! A [`FleetReader`] reads (`reader.rs`) what the heartbeats and the indexes (`wishes.rs`) say, judges it (`judge.rs`) and
//! keeps it as a [`FleetView`] (`view.rs`), of which a look that found nothing new makes nothing new.

mod attention;
mod cell;
mod judge;
mod reader;
#[cfg(test)]
pub(crate) mod sample;
mod view;
mod wishes;

pub use attention::{Attention, AttentionLimits, Concern, Severity, Subject};
pub use judge::{Health, Liveness, LivenessLimits, Sync};
pub(super) use reader::read_heartbeat;
pub use reader::{FleetReader, Looked};
pub use view::{CellView, Counts, Desired, FleetView, NodeView, Sight};
