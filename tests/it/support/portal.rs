//! `fleetman serve` as people see it: in a browser, and by the words of its pages.

use super::browser::{Page, button, field};
use super::cli::Workplace;
use super::people;
use super::serving::{Answer, Serving};

/// A portal that runs, and has read the bucket.
pub(crate) struct Portal {
    pub(crate) serving: Serving,
    // After what serves from it.
    pub(crate) place: Workplace,
    /// Scheme, host and port.
    pub(crate) origin: String,
}

impl Portal {
    /// Serves what the config in `place` names. [`people::ADMIN`] can sign in, and has for whatever goes without a
    /// browser.
    pub(crate) async fn start(place: Workplace) -> Self {
        let serving = Serving::start(&place).await;
        Self::of(place, serving).await
    }

    /// The same as these arguments say, with the users that the config has, and nobody signed in.
    pub(crate) async fn start_with(place: Workplace, args: &[&str]) -> Self {
        let serving = Serving::start_with(&place, args).await;
        Self::of(place, serving).await
    }

    async fn of(place: Workplace, serving: Serving) -> Self {
        serving.has_read().await;
        let origin = format!("http://{}", serving.address);
        Self { serving, place, origin }
    }

    /// The link by which the first admin comes in, as it is printed.
    pub(crate) async fn first_link(&self) -> String {
        self.url(&self.serving.first_admin_link().await)
    }

    /// The text of a page.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.serving.get(path).await.text()
    }

    /// The answer to a GET: its status, and its body.
    pub(crate) async fn answer(&self, path: &str) -> (u16, String) {
        parts(&self.serving.get(path).await)
    }

    /// The answer to a form that was sent from a page of the portal itself.
    pub(crate) async fn send_form(&self, path: &str, form: &str) -> (u16, String) {
        parts(&self.serving.send_form(path, form).await)
    }

    /// Where a form led: the path of the page after it.
    pub(crate) async fn send_and_follow(&self, path: &str, form: &str) -> String {
        self.serving.send_form(path, form).await.is(303).header("location").to_owned()
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Signs in as a user of the config.
    pub(crate) async fn sign_in(&self, page: &Page, name: &str) {
        page.open(&self.url("/sign-in")).await;
        page.fill(field("Name"), name).await;
        page.fill(field("Password"), people::PASSWORD).await;
        page.click(button("Sign in")).await;
        page.loaded().await;
    }
}

fn parts(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text())
}
