//! Whether the audit is whole.

use super::{Controller, ControllerError, Finding, Findings};
use crate::controller::audit::key;
use crate::controller::{AuditFault, FaultKind};
use crate::model::keys::Folder;

/// Nothing here can bring an entry back.
const BY_HAND: &str = "find out who could write to the bucket; what was exported of the audit may have the entry";

impl Controller {
    /// Entries that are gone, or were replaced or changed, as far as others name them.
    pub(super) async fn check_audit(&self) -> Result<Findings, ControllerError> {
        let proof = self.verify_audit(None, None).await?;
        let mut found: Findings = proof.faults.iter().map(finding).collect();
        let days = proof.cut_days.iter().map(|day| format!("of {day} only the later entries were checked"));
        let rest = proof.checked_from.map(|from| format!("entries before {} were not checked", from.to_rfc3339()));
        found.extend(days.chain(rest).map(|problem| {
            let by_hand = "there are too many; `fleetman audit verify --until` goes on from there";
            Finding::new("audit_not_checked", Folder::Audit(None).relative(), problem, by_hand).notice()
        }));
        Ok(found)
    }
}

fn finding(fault: &AuditFault) -> Finding {
    let code = match fault.kind {
        FaultKind::Gone { .. } => "audit_gone",
        FaultKind::Replaced { .. } => "audit_replaced",
        FaultKind::Broken { .. } => "audit_broken",
        FaultKind::Unreadable { .. } => "audit_unreadable",
    };
    Finding::new(code, key(fault.id), fault.kind.told(), BY_HAND)
}
