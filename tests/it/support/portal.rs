//! `fleetman serve` as it runs for people, and the way in.

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::cli::{Workplace, page};
use super::wait_for;

/// A portal that runs.
pub(crate) struct Portal {
    pub(crate) place: Workplace,
    child: Child,
    /// Scheme, host and port.
    pub(crate) origin: String,
}

impl Portal {
    /// Serves what the config in `place` names, and has read it.
    pub(crate) async fn start(place: Workplace) -> Self {
        let mut child = place.start_fleetman(&["serve", "--listen", "127.0.0.1:0"]);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended: {said:?}"));
            if let Some((_, address)) = line.split_once(" on http://") {
                break address.to_owned();
            }
            said.push(line);
        };
        // What it logs later must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let portal = Self { place, child, origin: format!("http://{address}") };
        let ready = async || page(&portal.url("/readyz")).await.is_some_and(|(head, _)| head.contains(" 200 "));
        wait_for(ready, "the portal to have read the bucket").await;
        portal
    }

    /// The text of a page, without a browser.
    pub(crate) async fn get(&self, path: &str) -> String {
        page(&self.url(path)).await.unwrap_or_default().1
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}
