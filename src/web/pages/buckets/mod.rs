//! The buckets of the config, and a look into the one that is chosen.

mod browse;
mod check;
mod list;
mod object;
mod sweep;
mod usage;

pub(in crate::web) use self::usage::count_usage;
use crate::controller::{About, rule_in_words};
use crate::model::ObjectKey;
use crate::web::address::with_query;
use crate::web::routes::Routes;
use crate::web::shell::Shell;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/buckets", list::list)
        .get("/buckets/browse", browse::browse)
        .get("/buckets/check", check::check)
        .post("/buckets/check", check::repair)
        .get("/buckets/gc", sweep::look)
        .post("/buckets/gc", sweep::sweep)
        .get("/buckets/object", object::object)
        .get("/buckets/object/raw", object::raw)
        .get("/buckets/usage", usage::usage)
        .post("/buckets/usage", usage::count)
}

/// A link with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    text: String,
    href: String,
}

/// The way down to a folder: the bucket itself, then each folder.
fn crumbs(shell: &Shell, path: &str) -> Vec<Link> {
    let mut crumbs = vec![Link { text: shell.bucket.clone(), href: folder(shell, "") }];
    let mut from = 0;
    for (slash, _) in path.match_indices('/') {
        let name = &path[from..slash];
        let text = if name.is_empty() { "(no name)".to_owned() } else { name.to_owned() };
        crumbs.push(Link { text, href: folder(shell, &path[..=slash]) });
        from = slash + 1;
    }
    crumbs
}

/// The address of a folder.
fn folder(shell: &Shell, path: &str) -> String {
    with_query(&shell.link("/buckets/browse"), [("prefix", path)])
}

/// The address of an object.
fn object(shell: &Shell, key: &ObjectKey) -> String {
    with_query(&shell.link("/buckets/object"), [("key", key.relative().as_str())])
}

/// The rule of a folder's or an object's writers, in words.
fn rule(about: &About) -> Option<&'static str> {
    about.rule.map(rule_in_words)
}
