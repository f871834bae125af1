//! Names out of paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::failure::Failure;
use crate::model::{CellId, VersionName};

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
