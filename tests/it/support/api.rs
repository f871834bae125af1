//! A server over a bucket of its own, and a program that may do everything there.

use super::cli::Workplace;
use super::serving::{Answer, Program, Serving};
use super::tokens::{PASSWORD, Tokens};
use super::wait_for;

pub(crate) const SITE: &str = "name: site\nprofile: {deploy: {}}\n";
pub(crate) const WEB: &str = "cell: n1/web\nmanifest: site\n";

/// A server over a bucket of its own, and a token that may do everything.
pub(crate) async fn serve() -> (Workplace, Serving, Tokens, String) {
    serve_in(Workplace::with_bucket().await).await
}

/// The same of what the config in `place` names.
pub(crate) async fn serve_in(place: Workplace) -> (Workplace, Serving, Tokens, String) {
    let tokens = Tokens::of(&place).await;
    let token = tokens.make(&["admin"]).await;
    let serving = Serving::start_for_nobody(&place).await;
    wait_for(async || serving.get("/readyz").await.status == 200, "the first look at the bucket").await;
    wait_for(async || serving.by(&token).get("/nodes").await.status == 200, "the token to be known").await;
    (place, serving, tokens, token)
}

/// A cell that can be published, and its release `r1`.
pub(crate) async fn with_cell(place: &Workplace, api: Program<'_>) {
    api.put_yaml("/manifests/site", None, SITE).await.is(201);
    api.put_yaml("/cells/n1/web/yaml", None, WEB).await.is(201);
    upload(place, "r1", "one").await;
}

pub(crate) async fn upload(place: &Workplace, name: &str, text: &str) {
    place.write(&format!("{name}/index.html"), text);
    place.fleetman(&["upload", "site", name, "--as", name]).await.exits(0);
}

/// The code of a failure.
pub(crate) fn code(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    assert_eq!(answer.json()["status"].as_u64(), Some(answer.status.into()));
    answer.json()["code"].as_str().unwrap().to_owned()
}

/// The cookie of ada, signed in with a browser.
pub(crate) async fn session_of_ada(serving: &Serving) -> String {
    let form = format!("name=ada&password={}", PASSWORD.replace(' ', "+"));
    serving.send_form("/sign-in", &form).await.is(303).cookie()
}
