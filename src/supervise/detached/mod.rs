//! A supervisor in a process of its own, and how others speak to it.
//!
//! Whoever asked for a service may be restarted, upgraded or killed, and the service goes on: a small process with
//! nothing else to do takes care of it, as containerd's shims do of containers. [`Server`] is that process's part,
//! [`Client`] the other one's. They speak through a socket in the service's folder.
//!
//! ```text
//! <folder>/<service>/orders.json             what is to run, and whether it is to run; outlives the machine
//! <folder>/<service>/run/orders.begun        the name of orders that are being carried out
//! <folder>/<service>/run/supervisor.lock     held while a supervisor is there
//! <folder>/<service>/run/supervisor.socket   where it listens; only its own user can come in
//! ```
//!
//! # The protocol
//! A server says first which versions it speaks: `{"oldest":1,"newest":4,"pid":…,"program":"…"}`. Then each request
//! is a line of JSON, as is each answer. An answer with `bytes` is followed by so many bytes of output.
//!
//! | request | since | answer |
//! |---|---|---|
//! | `{"v":1,"do":"status"}` | 1 | `{"ok":{…}}`, a [`Report`] |
//! | `{"v":1,"do":"apply","orders":{…}}` | 1 | `{"ok":null}` once the [`Orders`] are carried out |
//! | `{"v":1,"do":"stop"}` | 1 | the same, and the server ends |
//! | `{"v":1,"do":"start","process":"web"}` | 1 | `{"ok":null}`; as `halt`, `restart` and `kill` |
//! | `{"v":1,"do":"output","process":"web"}` | 1 | `{"bytes":n}`, the last output |
//! | `{"v":2,"do":"reload","process":"web"}` | 2 | `{"ok":null}` |
//! | `{"v":2,"do":"watch"}` | 2 | `{"ok":{…}}` now and at each change |
//! | `{"v":2,"do":"follow","process":"web"}` | 2 | `{"bytes":n}` or `{"lost":n}`, again and again |
//!
//! Version 3 brought orders that [join](Orders::joins) what runs, and [sockets](super::ProcessDef::sockets); version 4
//! those by which what runs [stays](Orders::stays). That orders [spare](Orders::spares) what runs is ignored by those that
//! do not know it.
//!
//! What is refused is answered with `{"error":{"code":"…","message":"…"}}`. Unknown fields are ignored.

mod client;
mod log;
mod orders;
mod program;
mod protocol;
mod server;

pub use client::{Client, DetachedError, Following, Watch};
pub use log::last_words;
pub use orders::{Orders, Stays, Wanted};
pub use program::{main, takes_sockets, version};
pub use protocol::{NEWEST, OLDEST, Report, SOCKET_LOST};
pub use server::{Server, ServerConfig, ServerError};
