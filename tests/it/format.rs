//! The formats: golden documents that stay readable for ever, and `docs/FORMAT.md` held against the code.
//!
//! `FLEETMAN_UPDATE=1 cargo test --test it format -- --test-threads 1`, run twice, writes the golden files and the
//! generated parts of the page anew.

mod documents;
mod keys;
mod page;
mod samples;

use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn updating() -> bool {
    std::env::var_os("FLEETMAN_UPDATE").is_some()
}
