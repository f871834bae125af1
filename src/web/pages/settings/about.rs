//! `/settings`: the program, and what it was told.

use askama::Template;
use axum::response::Response;

use crate::config::{Setting, Source};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// Whose work is served beside ours.
const LICENSES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/static/vendor/LICENSES.md"));

#[derive(Template)]
#[template(path = "settings/about.html")]
struct Page<'a> {
    shell: Shell,
    version: &'static str,
    settings: &'a [Setting],
    licenses: &'static str,
}

impl Page<'_> {
    /// Whether somebody said so.
    fn is_told(setting: &Setting) -> bool {
        setting.source != Source::Default
    }
}

pub(super) async fn about(page: PageContext) -> Result<Response, Failure> {
    page.may().check_settings()?;
    let shell = page.shell("Settings", Nav::Settings, "fleetman config show".to_owned());
    let settings = &page.caller.portal.settings;
    page.render(&Page { shell, version: env!("CARGO_PKG_VERSION"), settings, licenses: LICENSES })
}
