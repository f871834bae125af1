//! Whom and what the agent believes (I3).

use std::sync::Arc;

use uuid::Uuid;

use super::state::Wish;
use super::trouble::{Cure, Trouble};
use crate::model::document::DocumentError;
use crate::model::order::Order;
use crate::model::sign::{self, SignError, Trust, Verified};
use crate::model::trigger::Trigger;
use crate::model::{CellId, CellName, Code, NodeName};
use crate::store::in_full;

/// Who the agent is, and whom it trusts: from its own config, never from the bucket.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) fleet: Uuid,
    pub(super) node: NodeName,
    pub(super) trust: Trust,
}

impl Identity {
    pub(super) fn cell_id(&self, cell: &CellName) -> CellId {
        CellId::new(self.node.clone(), cell.clone())
    }

    /// Verifies a trigger and that it is meant for this cell.
    pub(super) fn believe(&self, document: &[u8], cell: &CellName) -> Result<Wish, Trouble> {
        let trigger = sign::verify::<Trigger>(document, &self.trust)
            .map_err(|error| disbelieved(&error, format!("the trigger is refused: {}", in_full(&error))))?;
        let meant_for = (trigger.fleet, trigger.cell_id());
        let expected = (self.fleet, self.cell_id(cell));
        if meant_for != expected {
            let message = format!(
                "the trigger is for {} of fleet {}, expected {} of fleet {}",
                meant_for.1, meant_for.0, expected.1, expected.0
            );
            return Err(Trouble::new(Code::WrongTarget, message, Cure::Time));
        }
        Ok(Arc::new(trigger))
    }

    /// Verifies an order and that it is meant for this node.
    pub(super) fn believe_order(&self, document: &[u8]) -> Result<Arc<Verified<Order>>, Trouble> {
        let order = sign::verify::<Order>(document, &self.trust)
            .map_err(|error| disbelieved(&error, format!("an order is refused: {}", in_full(&error))))?;
        if (order.fleet, &order.node) != (self.fleet, &self.node) {
            let message = format!(
                "order {} is for {} of fleet {}, expected {} of fleet {}",
                order.id, order.node, order.fleet, self.node, self.fleet
            );
            return Err(Trouble::new(Code::WrongTarget, message, Cure::Time));
        }
        Ok(Arc::new(order))
    }
}

/// What it means that a document is not believed.
fn disbelieved(error: &SignError, message: String) -> Trouble {
    let code = match error {
        SignError::UnknownKey { .. } | SignError::Mismatch { .. } => Code::SigInvalid,
        SignError::Document(DocumentError::UnknownSchema { .. }) => Code::Unsupported,
        _ => Code::DocumentInvalid,
    };
    Trouble::new(code, message, Cure::Time)
}
