//! The link by which the first admin comes in: printed where whoever started the portal reads.

use std::time::Duration;

use crate::access::{Gate, ONCE_GOOD_FOR};
use crate::clock::Clock;

/// Between two looks while the bucket does not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What to tell whoever started a portal at `url`, as soon as it is known whether there is an admin; nothing where
/// there is one.
pub(super) async fn link(gate: &Gate, url: &str, clock: &dyn Clock) -> Option<String> {
    gate.directory().look_soon().await;
    while gate.directory().has_admin().is_none() {
        clock.sleep(LOOK_AGAIN).await;
    }
    if gate.directory().has_admin() == Some(true) {
        return None;
    }
    if let Some(why) = gate.directory().is_fixed() {
        return Some(format!("Nobody can sign in: {why}. `fleetman user hash` makes what the config needs."));
    }
    match gate.first_admin() {
        Ok(Some(token)) => {
            let minutes = ONCE_GOOD_FOR.as_secs() / 60;
            let link = format!("{url}/sign-in/once?token={}", token.reveal());
            Some(format!(
                "There is no admin yet. Who opens this link within {minutes} min becomes the first:\n  {link}"
            ))
        }
        Ok(None) => None,
        Err(error) => Some(format!("no link for the first admin can be made: {error}")),
    }
}
