//! An S3 server over a folder, for quickstart and tests.
//!
//! Any S3 client can use it: SigV4 in headers and presigned URLs, conditional reads and atomic conditional writes,
//! listings, server-side copies, multipart uploads and checksums. What it does not do it refuses with
//! `NotImplemented`: versions, tags, ACLs, encryption, policies. Buckets are addressed by path, whatever the host name.
//!
//! # The folder
//! ```text
//! .lock                                  held while a server runs
//! tmp/                                   what is not finished; swept at start
//! buckets/<bucket>/bucket                name and time of creation
//! buckets/<bucket>/objects/<sha256>      one object; the name is the digest of its key
//! buckets/<bucket>/uploads/<id>/upload   a multipart upload: its key and headers
//! buckets/<bucket>/uploads/<id>/<part>   one part
//! ```
//! The file of an object is its body followed by its record (key, digests, headers). It is written and synced below
//! `tmp/`, then renamed to its place, and the folder is synced before the client hears of it. So after any crash an
//! object is the old one or the new one, whole, and a write that was acknowledged is there.
//!
//! # Bounds
//! Bodies are streamed. The records, not the bodies, of all objects are read at start and kept in memory, about
//! 1 KiB each, at most a million in a bucket. Connections, headers, XML bodies and the time in which a client sends
//! nothing are bounded too; uploads that nobody completes or aborts stay, as on S3. Requests signed more than 15
//! minutes from the server's time are refused.
//!
//! s3s logs every refusal, even a 404 or 412, as an error with the target `s3s`: whoever shows logs to people turns
//! that target off. What the server itself has to say has the target `fleetman::embedded`.

mod bucket;
mod buckets;
mod condition;
mod copies;
mod digests;
mod folder;
mod listing;
mod lists;
mod multipart;
mod object;
mod objects;
mod receive;
mod record;
mod reply;
mod server;
mod service;
mod uploads;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use server::Server;

/// What to serve, and to whom.
#[derive(Clone)]
pub struct Options {
    /// The folder; created if it is missing.
    pub root: PathBuf,
    /// Where to listen. Port 0 takes a free one; see [`Server::local_addr`].
    pub listen: SocketAddr,
    /// The only access key that is accepted.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Buckets to create if they are missing.
    pub buckets: Vec<String>,
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, listen, access_key, secret_key: _, buckets } = self;
        let mut out = formatter.debug_struct("Options");
        out.field("root", root).field("listen", listen).field("access_key", access_key);
        out.field("secret_key", &"<hidden>").field("buckets", buckets).finish()
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Something else listens there: stop it, or choose another address.
    #[error("{address} is taken: stop what listens there, or choose another port (0 takes a free one)")]
    PortTaken {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another server, in this process or another, serves the folder.
    #[error("another server is using {}: stop it first, or choose another folder", root.display())]
    InUse {
        /// The folder.
        root: PathBuf,
    },
    /// A file in the folder is not what was written there.
    #[error("{} is damaged: move it out of the folder to go on without it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error("{doing} {}", path.display())]
    Folder {
        /// What was being done.
        doing: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// No client could address a bucket of that name.
    #[error("`{name}` is not a bucket name: 3 to 63 of a-z, 0-9, `.` and `-`, a letter or digit at either end")]
    BucketName {
        /// The name.
        name: String,
    },
}
