//! What a controller signs with, and whom it believes, as people may see it.

use super::Controller;
use crate::model::Epoch;
use crate::model::sign::{PinnedKey, PublicKey, Signer, Trust};

/// What a controller signs with, and whom it believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeys {
    /// The public half of its own key, and its epoch; None if it signs nothing.
    pub own: Option<(PublicKey, Epoch)>,
    /// Whom it believes; None if signatures are off.
    pub trusted: Option<Vec<PinnedKey>>,
}

impl Controller {
    /// What this controller signs with, and whom it believes.
    #[must_use]
    pub fn signing_keys(&self) -> SigningKeys {
        let own = match &self.settings.signer {
            Signer::Key(key, epoch) => Some((key.public(), *epoch)),
            Signer::Unsigned => None,
        };
        let trusted = match &self.settings.trust {
            Trust::Keys(pinned) => Some(pinned.clone()),
            Trust::Unsigned => None,
        };
        SigningKeys { own, trusted }
    }
}
