//! Names out of paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::failure::Failure;
use crate::model::order::Addressee;
use crate::model::{CellId, NodeName, ObjectKey, VersionName};

/// The cell of a path with `{node}` and `{cell}`.
#[derive(Debug, Clone)]
pub(super) struct CellOfPath(pub(super) CellId);

impl<S: Send + Sync> FromRequestParts<S> for CellOfPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Names {
            node: String,
            cell: String,
        }
        let Path(Names { node, cell }) = Path::from_request_parts(parts, state)
            .await
            .map_err(|error| Failure::bad_request("invalid_path", error.body_text()))?;
        Ok(Self(format!("{node}/{cell}").parse()?))
    }
}

/// The cell of a path with `{node}` and `{cell}`, or the node of one without a cell.
#[derive(Debug, Clone)]
pub(super) struct AddresseeOfPath(pub(super) Addressee);

impl<S: Send + Sync> FromRequestParts<S> for AddresseeOfPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Names {
            node: String,
            cell: Option<String>,
        }
        let Path(Names { node, cell }) = Path::from_request_parts(parts, state)
            .await
            .map_err(|error| Failure::bad_request("invalid_path", error.body_text()))?;
        match cell {
            Some(cell) => Ok(Self(format!("{node}/{cell}").parse::<CellId>()?.into())),
            None => Ok(Self(NodeName::new(node)?.into())),
        }
    }
}

/// The version of a path with `{version}`, besides its cell.
#[derive(Debug, Clone)]
pub(super) struct VersionOfPath(pub(super) CellId, pub(super) VersionName);

impl<S: Send + Sync> FromRequestParts<S> for VersionOfPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Named {
            version: String,
        }
        let CellOfPath(cell) = CellOfPath::from_request_parts(parts, state).await?;
        let Path(Named { version }) = Path::from_request_parts(parts, state)
            .await
            .map_err(|error| Failure::bad_request("invalid_path", error.body_text()))?;
        Ok(Self(cell, VersionName::new(version)?))
    }
}

/// The object that a query names. What is no key of the protocol is nowhere: foreign objects are never opened.
pub(super) fn object_key(text: &str) -> Result<ObjectKey, Failure> {
    if text.is_empty() {
        return Err(Failure::bad_request("no_key", "say which object: ?key=…"));
    }
    ObjectKey::parse(text).map_err(|error| Failure::not_found(format!("object here to look at: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_not_found_and_no_key_at_all_is_a_bad_request() {
        assert_eq!(object_key("").unwrap_err().status(), 400);
        for foreign in ["/fleet.json", "../fleet.json", "cells/../fleet.json", "nope", "agents/N1.json", "\u{1b}"] {
            assert_eq!(object_key(foreign).unwrap_err().status(), 404, "{foreign}");
        }
    }
}
