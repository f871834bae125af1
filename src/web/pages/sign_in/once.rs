//! The way in of the first admin: a link that whoever started the controller reads, good once. Looking at it does not
//! use it up, because programs that show previews of links look at them, too.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use serde::Deserialize;

use super::{Back, came_in, in_the_clear, refused, sentence, status};
use crate::access::{GOOD_CHARS, LEAST_CHARS, SignInError};
use crate::web::app::Portal;
use crate::web::assets;
use crate::web::cookie::Cookie;
use crate::web::failure::Failure;
use crate::web::listener::Arrival;

/// The link.
#[derive(Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    token: String,
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    token: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
}

#[derive(Template)]
#[template(path = "sign_in/once.html")]
struct Page<'a> {
    css: String,
    icon: String,
    token: &'a str,
    name: &'a str,
    error: Option<String>,
    is_spent: bool,
    least: usize,
    good: usize,
}

impl<'a> Page<'a> {
    fn new(token: &'a str) -> Self {
        let (css, icon) = (assets::path("app.css"), assets::path("icon.svg"));
        Self { css, icon, token, name: "", error: None, is_spent: false, least: LEAST_CHARS, good: GOOD_CHARS }
    }

    fn spent() -> Self {
        Self { error: Some(sentence(&SignInError::LinkSpent)), is_spent: true, ..Self::new("") }
    }

    fn answer(&self, status: StatusCode) -> Result<Response, Failure> {
        Ok((status, Html(self.render()?)).into_response())
    }
}

pub(super) async fn ask(
    State(portal): State<Arc<Portal>>,
    Query(Link { token }): Query<Link>,
) -> Result<Response, Failure> {
    if !portal.gate.is_first_admin(&token) {
        return Page::spent().answer(StatusCode::UNAUTHORIZED);
    }
    Page::new(&token).answer(StatusCode::OK)
}

pub(super) async fn claim(
    State(portal): State<Arc<Portal>>,
    Extension(arrival): Extension<Arrival>,
    Form(Sent { token, name, password, again }): Form<Sent>,
) -> Result<Response, Failure> {
    Cookie::of(&arrival).ok_or_else(in_the_clear)?;
    if password != again {
        let error = Some("The two passwords differ.".to_owned());
        return Page { name: &name, error, ..Page::new(&token) }.answer(StatusCode::UNPROCESSABLE_ENTITY);
    }
    match portal.gate.claim_first_admin(&token, &name, &password, arrival.client()).await {
        Ok(signed_in) => came_in(&arrival, &signed_in, &Back::default()),
        Err(error @ SignInError::LinkSpent) => Page::spent().answer(status(&error)),
        Err(error) => {
            let page = Page { name: &name, error: Some(sentence(&error)), ..Page::new(&token) };
            refused(&error, page.answer(status(&error))?)
        }
    }
}
