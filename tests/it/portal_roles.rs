//! Every route of the portal and the API × everybody who may ask: who is let in, and who is not. A route without a row
//! fails the test.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::serving::Serving;

/// What it takes to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing.
    Nothing,
    /// To be somebody.
    Somebody,
    /// A role on the cell in the path.
    OnCell(Role),
    /// A role on every cell that the node in the path could have.
    OnNode(Role),
    /// A grant by which the node in the path is known.
    SeesNode,
    /// A role on every cell that uses the manifest in the path.
    OnManifest(Role),
    /// A role, whatever it is for.
    Anywhere(Role),
    /// A role for everything.
    Everywhere(Role),
}

use Needs::{Anywhere, Everywhere, Nothing, OnCell, OnManifest, OnNode, SeesNode, Somebody};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Viewer,
    Operator,
    Editor,
    Admin,
}

use Role::{Admin, Editor, Operator, Viewer};

#[rustfmt::skip]
const ROWS: &[(&str, &str, Needs)] = &[
    ("GET", "/", Somebody),
    ("GET", "/agents", Somebody),
    ("GET", "/agents.csv", Somebody),
    ("GET", "/agents.json", Somebody),
    ("GET", "/agents/{node}", SeesNode),
    ("GET", "/agents/{node}/delete", OnNode(Admin)),
    ("POST", "/agents/{node}/delete", OnNode(Admin)),
    ("GET", "/agents/{node}/hold", OnNode(Operator)),
    ("POST", "/agents/{node}/hold", OnNode(Operator)),
    ("GET", "/agents/{node}/hold/{order}", SeesNode),
    ("GET", "/agents/{node}/unhold", OnNode(Operator)),
    ("POST", "/agents/{node}/unhold", OnNode(Operator)),
    ("GET", "/api", Somebody),
    ("GET", "/api/v1/alerts", Somebody),
    ("POST", "/api/v1/alerts/ack", Anywhere(Operator)),
    ("GET", "/api/v1/alerts/messages", Everywhere(Viewer)),
    ("POST", "/api/v1/alerts/test", Everywhere(Admin)),
    ("POST", "/api/v1/alerts/unack", Anywhere(Operator)),
    ("POST", "/api/v1/apply", Anywhere(Editor)),
    ("GET", "/api/v1/at", Somebody),
    ("GET", "/api/v1/at/changes", Somebody),
    ("GET", "/api/v1/attention", Somebody),
    ("GET", "/api/v1/audit", Everywhere(Viewer)),
    ("GET", "/api/v1/audit/verification", Everywhere(Viewer)),
    ("GET", "/api/v1/buckets", Everywhere(Viewer)),
    ("POST", "/api/v1/bulk", Somebody),
    ("POST", "/api/v1/bulk/plan", Somebody),
    // Without a version to save there is nothing that anybody might not see.
    ("GET", "/api/v1/bundle", Somebody),
    ("POST", "/api/v1/bundle", Everywhere(Admin)),
    ("GET", "/api/v1/cells", Somebody),
    ("DELETE", "/api/v1/cells/{node}/{cell}", OnCell(Admin)),
    ("GET", "/api/v1/cells/{node}/{cell}", OnCell(Viewer)),
    ("GET", "/api/v1/cells/{node}/{cell}/diff", OnCell(Viewer)),
    ("GET", "/api/v1/cells/{node}/{cell}/history", OnCell(Viewer)),
    ("POST", "/api/v1/cells/{node}/{cell}/hold", OnCell(Operator)),
    ("GET", "/api/v1/cells/{node}/{cell}/logs/{at}/{attempt}", OnCell(Viewer)),
    ("GET", "/api/v1/cells/{node}/{cell}/outcomes/{at}", OnCell(Viewer)),
    ("POST", "/api/v1/cells/{node}/{cell}/output", OnCell(Operator)),
    ("DELETE", "/api/v1/cells/{node}/{cell}/output/{order}", OnCell(Operator)),
    ("GET", "/api/v1/cells/{node}/{cell}/output/{order}", OnCell(Operator)),
    ("GET", "/api/v1/cells/{node}/{cell}/overrides", OnCell(Viewer)),
    ("DELETE", "/api/v1/cells/{node}/{cell}/overrides/{*path}", OnCell(Editor)),
    ("GET", "/api/v1/cells/{node}/{cell}/overrides/{*path}", OnCell(Viewer)),
    ("PUT", "/api/v1/cells/{node}/{cell}/overrides/{*path}", OnCell(Editor)),
    ("POST", "/api/v1/cells/{node}/{cell}/pause", OnCell(Operator)),
    ("POST", "/api/v1/cells/{node}/{cell}/plan", OnCell(Viewer)),
    ("POST", "/api/v1/cells/{node}/{cell}/publish", OnCell(Editor)),
    ("POST", "/api/v1/cells/{node}/{cell}/redeploy", OnCell(Operator)),
    ("POST", "/api/v1/cells/{node}/{cell}/remove", OnCell(Editor)),
    ("POST", "/api/v1/cells/{node}/{cell}/resume", OnCell(Operator)),
    ("POST", "/api/v1/cells/{node}/{cell}/rollback", OnCell(Operator)),
    ("POST", "/api/v1/cells/{node}/{cell}/stop", OnCell(Operator)),
    ("POST", "/api/v1/cells/{node}/{cell}/unhold", OnCell(Operator)),
    ("GET", "/api/v1/cells/{node}/{cell}/versions", OnCell(Viewer)),
    ("DELETE", "/api/v1/cells/{node}/{cell}/versions/{version}", OnCell(Admin)),
    ("GET", "/api/v1/cells/{node}/{cell}/versions/{version}", OnCell(Viewer)),
    ("GET", "/api/v1/cells/{node}/{cell}/versions/{version}/files", OnCell(Viewer)),
    ("GET", "/api/v1/cells/{node}/{cell}/versions/{version}/files/{*path}", OnCell(Viewer)),
    ("GET", "/api/v1/cells/{node}/{cell}/yaml", OnCell(Viewer)),
    ("PUT", "/api/v1/cells/{node}/{cell}/yaml", OnCell(Editor)),
    ("POST", "/api/v1/cells/{node}/{cell}/yaml/check", OnCell(Viewer)),
    ("GET", "/api/v1/config", Everywhere(Admin)),
    ("GET", "/api/v1/deployments", Anywhere(Viewer)),
    ("POST", "/api/v1/deployments/{manifest}", OnManifest(Editor)),
    ("DELETE", "/api/v1/deployments/{manifest}/{deployment}", OnManifest(Admin)),
    ("GET", "/api/v1/deployments/{manifest}/{deployment}", Anywhere(Viewer)),
    ("GET", "/api/v1/doctor", Everywhere(Admin)),
    ("POST", "/api/v1/doctor", Everywhere(Admin)),
    ("GET", "/api/v1/export", Anywhere(Viewer)),
    ("GET", "/api/v1/fsck", Everywhere(Admin)),
    ("POST", "/api/v1/fsck", Everywhere(Admin)),
    ("GET", "/api/v1/gc", Everywhere(Admin)),
    ("POST", "/api/v1/gc", Everywhere(Admin)),
    ("GET", "/api/v1/keys", Everywhere(Admin)),
    ("GET", "/api/v1/manifests", Anywhere(Viewer)),
    ("DELETE", "/api/v1/manifests/{manifest}", OnManifest(Admin)),
    ("GET", "/api/v1/manifests/{manifest}", Anywhere(Viewer)),
    ("PUT", "/api/v1/manifests/{manifest}", OnManifest(Editor)),
    ("POST", "/api/v1/manifests/{manifest}/check", Anywhere(Viewer)),
    ("GET", "/api/v1/me", Somebody),
    ("POST", "/api/v1/me/end-sessions", Somebody),
    ("PUT", "/api/v1/me/password", Somebody),
    ("GET", "/api/v1/nodes", Somebody),
    ("DELETE", "/api/v1/nodes/{node}", OnNode(Admin)),
    ("GET", "/api/v1/nodes/{node}", SeesNode),
    ("POST", "/api/v1/nodes/{node}/hold", OnNode(Operator)),
    ("POST", "/api/v1/nodes/{node}/unhold", OnNode(Operator)),
    ("GET", "/api/v1/object", Everywhere(Viewer)),
    ("GET", "/api/v1/object/content", Everywhere(Viewer)),
    ("GET", "/api/v1/object/verification", Everywhere(Viewer)),
    ("GET", "/api/v1/objects", Everywhere(Viewer)),
    ("GET", "/api/v1/openapi.json", Somebody),
    ("POST", "/api/v1/revert", Somebody),
    ("POST", "/api/v1/revert/plan", Somebody),
    ("GET", "/api/v1/events", Somebody),
    ("GET", "/api/v1/search", Somebody),
    ("GET", "/api/v1/silences", Somebody),
    // What is sent names no node, so that it is about all of them.
    ("POST", "/api/v1/silences", Everywhere(Operator)),
    ("DELETE", "/api/v1/silences/{id}", Anywhere(Operator)),
    ("GET", "/api/v1/tokens", Somebody),
    ("POST", "/api/v1/tokens", Somebody),
    ("DELETE", "/api/v1/tokens/{token}", Somebody),
    ("GET", "/api/v1/tokens/{token}", Somebody),
    ("GET", "/api/v1/usage", Everywhere(Viewer)),
    ("POST", "/api/v1/usage", Everywhere(Viewer)),
    ("GET", "/api/v1/users", Everywhere(Admin)),
    ("POST", "/api/v1/users", Everywhere(Admin)),
    ("DELETE", "/api/v1/users/{user}", Everywhere(Admin)),
    ("GET", "/api/v1/users/{user}", Everywhere(Admin)),
    ("POST", "/api/v1/users/{user}/disable", Everywhere(Admin)),
    ("POST", "/api/v1/users/{user}/enable", Everywhere(Admin)),
    ("POST", "/api/v1/users/{user}/end-sessions", Everywhere(Admin)),
    ("PUT", "/api/v1/users/{user}/grants", Everywhere(Admin)),
    ("PUT", "/api/v1/users/{user}/password", Everywhere(Admin)),
    ("POST", "/api/v1/vouched/end-sessions", Everywhere(Admin)),
    ("GET", "/alerts", Somebody),
    ("GET", "/alerts/ack", Anywhere(Operator)),
    ("POST", "/alerts/ack", Anywhere(Operator)),
    ("GET", "/events", Somebody),
    ("GET", "/alerts/silence", Anywhere(Operator)),
    ("POST", "/alerts/silence", Anywhere(Operator)),
    ("POST", "/alerts/test", Everywhere(Admin)),
    ("GET", "/alerts/unack", Anywhere(Operator)),
    ("POST", "/alerts/unack", Anywhere(Operator)),
    ("GET", "/alerts/unsilence", Anywhere(Operator)),
    ("POST", "/alerts/unsilence", Anywhere(Operator)),
    ("GET", "/apply", Anywhere(Editor)),
    ("POST", "/apply", Anywhere(Editor)),
    ("GET", "/apply/export.yaml", Anywhere(Viewer)),
    ("GET", "/at", Somebody),
    ("GET", "/at/revert", Somebody),
    ("POST", "/at/revert", Somebody),
    ("GET", "/audit", Everywhere(Viewer)),
    ("GET", "/audit.csv", Everywhere(Viewer)),
    ("GET", "/audit.ndjson", Everywhere(Viewer)),
    ("GET", "/buckets", Everywhere(Viewer)),
    ("GET", "/buckets/browse", Everywhere(Viewer)),
    ("GET", "/buckets/check", Everywhere(Admin)),
    ("POST", "/buckets/check", Everywhere(Admin)),
    ("GET", "/buckets/gc", Everywhere(Admin)),
    ("POST", "/buckets/gc", Everywhere(Admin)),
    ("GET", "/buckets/object", Everywhere(Viewer)),
    ("GET", "/buckets/object/raw", Everywhere(Viewer)),
    ("GET", "/buckets/usage", Everywhere(Viewer)),
    ("POST", "/buckets/usage", Everywhere(Viewer)),
    ("GET", "/bulk/{id}", Somebody),
    ("GET", "/bundles", Somebody),
    ("POST", "/bundles", Everywhere(Admin)),
    ("GET", "/bundles/bundle.tar", Somebody),
    ("GET", "/cells", Somebody),
    ("GET", "/cells.csv", Somebody),
    ("GET", "/cells.json", Somebody),
    ("GET", "/cells/bulk", Anywhere(Operator)),
    ("POST", "/cells/bulk", Anywhere(Operator)),
    ("GET", "/cells/new", Anywhere(Editor)),
    ("POST", "/cells/new", Anywhere(Editor)),
    ("GET", "/cells/{node}/{cell}", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/delete", OnCell(Admin)),
    ("POST", "/cells/{node}/{cell}/delete", OnCell(Admin)),
    ("GET", "/cells/{node}/{cell}/diff", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/follow", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/history", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/hold", OnCell(Operator)),
    ("POST", "/cells/{node}/{cell}/hold", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/hold/{order}", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/log", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/output", OnCell(Viewer)),
    ("POST", "/cells/{node}/{cell}/output", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/output/{order}", OnCell(Operator)),
    ("POST", "/cells/{node}/{cell}/output/{order}/end", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/overrides", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/overrides.csv", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/overrides.json", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/overrides/delete", OnCell(Editor)),
    ("POST", "/cells/{node}/{cell}/overrides/delete", OnCell(Editor)),
    ("GET", "/cells/{node}/{cell}/overrides/edit", OnCell(Viewer)),
    ("POST", "/cells/{node}/{cell}/overrides/edit", OnCell(Editor)),
    ("GET", "/cells/{node}/{cell}/overrides/file", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/overrides/raw", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/overrides/upload", OnCell(Editor)),
    ("POST", "/cells/{node}/{cell}/overrides/upload", OnCell(Editor)),
    ("GET", "/cells/{node}/{cell}/pause", OnCell(Operator)),
    ("POST", "/cells/{node}/{cell}/pause", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/publish", OnCell(Viewer)),
    ("POST", "/cells/{node}/{cell}/publish", OnCell(Editor)),
    ("GET", "/cells/{node}/{cell}/redeploy", OnCell(Operator)),
    ("POST", "/cells/{node}/{cell}/redeploy", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/remove", OnCell(Editor)),
    ("POST", "/cells/{node}/{cell}/remove", OnCell(Editor)),
    ("GET", "/cells/{node}/{cell}/resume", OnCell(Operator)),
    ("POST", "/cells/{node}/{cell}/resume", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/rollback", OnCell(Operator)),
    ("POST", "/cells/{node}/{cell}/rollback", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/stop", OnCell(Operator)),
    ("POST", "/cells/{node}/{cell}/stop", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/unhold", OnCell(Operator)),
    ("POST", "/cells/{node}/{cell}/unhold", OnCell(Operator)),
    ("GET", "/cells/{node}/{cell}/versions", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/versions/{version}", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/versions/{version}/delete", OnCell(Admin)),
    ("POST", "/cells/{node}/{cell}/versions/{version}/delete", OnCell(Admin)),
    ("GET", "/cells/{node}/{cell}/versions/{version}/file", OnCell(Viewer)),
    ("GET", "/cells/{node}/{cell}/yaml", OnCell(Viewer)),
    ("POST", "/cells/{node}/{cell}/yaml", OnCell(Editor)),
    ("POST", "/cells/{node}/{cell}/yaml/check", OnCell(Viewer)),
    ("GET", "/deployments", Anywhere(Viewer)),
    ("GET", "/deployments.csv", Anywhere(Viewer)),
    ("GET", "/deployments.json", Anywhere(Viewer)),
    ("GET", "/deployments/new", Anywhere(Editor)),
    ("POST", "/deployments/new", Anywhere(Editor)),
    ("GET", "/deployments/{manifest}/{deployment}", Anywhere(Viewer)),
    ("GET", "/deployments/{manifest}/{deployment}/delete", OnManifest(Admin)),
    ("POST", "/deployments/{manifest}/{deployment}/delete", OnManifest(Admin)),
    ("GET", "/healthz", Nothing),
    ("GET", "/live", Somebody),
    ("GET", "/manifests", Anywhere(Viewer)),
    ("GET", "/manifests.csv", Anywhere(Viewer)),
    ("GET", "/manifests.json", Anywhere(Viewer)),
    ("GET", "/manifests/new", Anywhere(Editor)),
    ("POST", "/manifests/new", Anywhere(Editor)),
    ("POST", "/manifests/new/check", Anywhere(Viewer)),
    ("GET", "/manifests/{manifest}", Anywhere(Viewer)),
    ("POST", "/manifests/{manifest}/check", Anywhere(Viewer)),
    ("GET", "/manifests/{manifest}/delete", OnManifest(Admin)),
    ("POST", "/manifests/{manifest}/delete", OnManifest(Admin)),
    ("GET", "/manifests/{manifest}/edit", OnManifest(Editor)),
    ("POST", "/manifests/{manifest}/edit", OnManifest(Editor)),
    ("GET", "/metrics", Everywhere(Viewer)),
    ("GET", "/readyz", Nothing),
    ("GET", "/search", Somebody),
    ("GET", "/settings", Everywhere(Admin)),
    ("GET", "/settings/account", Somebody),
    ("POST", "/settings/account", Somebody),
    ("POST", "/settings/account/end-sessions", Somebody),
    ("GET", "/settings/doctor", Everywhere(Admin)),
    ("POST", "/settings/doctor", Everywhere(Admin)),
    ("GET", "/settings/keys", Everywhere(Admin)),
    ("POST", "/settings/review", Somebody),
    ("GET", "/settings/tokens", Somebody),
    ("POST", "/settings/tokens", Somebody),
    ("POST", "/settings/tokens/{id}/revoke", Somebody),
    ("GET", "/settings/users", Everywhere(Admin)),
    ("POST", "/settings/users", Everywhere(Admin)),
    ("GET", "/settings/users/{user}", Everywhere(Admin)),
    ("POST", "/settings/users/{user}", Everywhere(Admin)),
    ("POST", "/settings/vouched/end", Everywhere(Admin)),
    ("GET", "/sign-in", Nothing),
    ("POST", "/sign-in", Nothing),
    ("GET", "/sign-in/oidc", Nothing),
    ("GET", "/sign-in/oidc/callback", Nothing),
    ("GET", "/sign-in/once", Nothing),
    ("POST", "/sign-in/once", Nothing),
    ("POST", "/sign-out", Nothing),
    ("GET", "/static/{digest}/{*name}", Nothing),
    ("GET", "/uploads/{id}", Anywhere(Editor)),
    ("POST", "/uploads/{id}", Anywhere(Editor)),
    ("POST", "/uploads/{id}/discard", Anywhere(Editor)),
];

/// Somebody who asks.
#[derive(Debug, Clone, Copy)]
struct Person {
    name: &'static str,
    role: Role,
    /// Whether the role is for `edge-*/*` alone.
    is_limited: bool,
}

const PEOPLE: [Person; 8] = [
    Person { name: "viewer", role: Viewer, is_limited: false },
    Person { name: "operator", role: Operator, is_limited: false },
    Person { name: "editor", role: Editor, is_limited: false },
    Person { name: "admin", role: Admin, is_limited: false },
    Person { name: "edge-viewer", role: Viewer, is_limited: true },
    Person { name: "edge-operator", role: Operator, is_limited: true },
    Person { name: "edge-editor", role: Editor, is_limited: true },
    Person { name: "edge-admin", role: Admin, is_limited: true },
];

/// What the names in a path are filled with: once what the limited roles are for, once something else.
const EDGE: [&str; 2] = ["edge-1", "edge"];
const OTHER: [&str; 2] = ["core-1", "core"];

impl Person {
    fn grants(&self) -> String {
        let role = format!("{:?}", self.role).to_lowercase();
        if self.is_limited { format!("{role}:edge-*/*") } else { role }
    }

    /// Whether they may use a route about what is at `place`.
    fn may(&self, needs: Needs, place: [&str; 2]) -> bool {
        let is_there = !self.is_limited || place == EDGE;
        match needs {
            Nothing | Somebody => true,
            OnCell(role) | OnNode(role) | OnManifest(role) => self.role >= role && is_there,
            SeesNode => is_there,
            Anywhere(role) => self.role >= role,
            Everywhere(role) => self.role >= role && !self.is_limited,
        }
    }
}

fn filled(path: &str, [node, manifest]: [&str; 2]) -> String {
    path.replace("{node}", node)
        .replace("{cell}", "web")
        .replace("{manifest}", manifest)
        .replace("{deployment}", "r1")
        .replace("{version}", "v1")
        .replace("{user}", "absent")
        .replace("{id}", "aaaaaaaaaa")
        .replace("{token}", "aaaaaaaaaa")
        .replace("{at}", "1")
        .replace("{attempt}", "1")
        .replace("{order}", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
        .replace("{*path}", "app.conf")
        .replace("{digest}", "0")
        .replace("{*name}", "app.css")
}

/// A fleet with a cell that the limited roles are for, and one that they are not.
async fn fleet() -> Workplace {
    let place = Workplace::with_bucket().await;
    place.write("r1/index.html", "one");
    for [node, manifest] in [EDGE, OTHER] {
        let text =
            format!("name: {manifest}\nprofile: {{deploy: {{}}}}\n---\ncell: {node}/web\nmanifest: {manifest}\n");
        place.write(&format!("{manifest}.yaml"), &text);
        place.fleetman(&["apply", "-f", &format!("{manifest}.yaml")]).await.exits(0);
        place.fleetman(&["upload", manifest, "r1", "--as", "r1"]).await.exits(0);
        place.fleetman(&["publish", &format!("{node}/web"), "--as", "v1", "-y"]).await.exits(0);
    }
    let users: Vec<(&str, String)> = PEOPLE.iter().map(|person| (person.name, person.grants())).collect();
    let users: Vec<(&str, [&str; 1])> = users.iter().map(|(name, grant)| (*name, [grant.as_str()])).collect();
    let users: Vec<(&str, &[&str])> = users.iter().map(|(name, grant)| (*name, &grant[..])).collect();
    people::admit(place.path(), &users);
    place
}

/// What no object is.
const CONDITION: (&str, &str) = ("if-match", "\"0\"");

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// It was dealt with, whatever came of it.
    LetIn,
    /// Not with these rights.
    Denied,
    /// Not without a name.
    AskedWho,
}

async fn met(serving: &Serving, method: &str, path: &str, cookie: Option<&str>) -> (Met, u16) {
    let mut headers = vec![("cookie", cookie.unwrap_or("none=1"))];
    if method != "GET" {
        headers.push(("sec-fetch-site", "same-origin"));
        headers.extend(match path.starts_with("/api/") {
            true if path.contains("/overrides/") => [("content-type", "application/octet-stream"), CONDITION],
            true if path.ends_with("/apply")
                || path.ends_with("/yaml")
                || path.ends_with("/check")
                || path.contains("/manifests/") =>
            {
                [("content-type", "application/yaml"), CONDITION]
            }
            true => [("content-type", "application/json"), CONDITION],
            false => [("content-type", "application/x-www-form-urlencoded"), CONDITION],
        });
    }
    // What every order takes: a request is read before it is known what it is about.
    let body = if path.starts_with("/api/") { r#"{"reason":"asked"}"# } else { "" };
    let (status, location) = serving.head(method, path, &headers, Bytes::from(body)).await;
    let met = match (status, location) {
        (401, _) if path.starts_with("/sign-in") => Met::LetIn,
        (401, _) => Met::AskedWho,
        (303, location) if location.starts_with("/sign-in?next=") => Met::AskedWho,
        (403, _) => Met::Denied,
        _ => Met::LetIn,
    };
    (met, status)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_exactly_those_who_may() {
    let rows: BTreeMap<(&str, &str), Needs> =
        ROWS.iter().map(|(method, path, needs)| ((*path, *method), *needs)).collect();
    let routes: Vec<(&str, &str)> =
        fleetman::web::routes().into_iter().map(|route| (route.path, route.method)).collect();
    let missing: Vec<_> = routes.iter().filter(|route| !rows.contains_key(*route)).collect();
    let gone: Vec<_> = rows.keys().filter(|route| !routes.contains(route)).collect();
    assert!(missing.is_empty() && gone.is_empty(), "routes without a row: {missing:?}; rows without a route: {gone:?}");
    assert_eq!(rows.len(), ROWS.len(), "a row is there twice");

    let place = fleet().await;
    let serving = Serving::start_for_nobody(&place).await;
    serving.has_read().await;
    let mut wrong = Vec::new();
    let mut cookies = Vec::new();
    for person in &PEOPLE {
        cookies.push(serving.sign_in(person.name).await);
    }
    // What changes things comes last, so that the rest is asked of a fleet that is whole; and what ends sessions or
    // fails to begin one after that.
    let mut routes = routes;
    routes.sort_by_key(|(path, method)| {
        (
            path.starts_with("/sign-") || path.contains("end-sessions"),
            *method,
            path.contains("delete"),
            path.contains("remove"),
        )
    });
    for (path, method) in routes {
        let needs = rows[&(path, method)];
        for place in [EDGE, OTHER] {
            let path = filled(path, place);
            let expected = if needs == Nothing { Met::LetIn } else { Met::AskedWho };
            let (found, status) = met(&serving, method, &path, None).await;
            if found != expected {
                wrong.push(format!("{method} {path} by nobody: expected {expected:?}, got {found:?} ({status})"));
            }
            for (person, cookie) in PEOPLE.iter().zip(&cookies) {
                let expected = if person.may(needs, place) { Met::LetIn } else { Met::Denied };
                let (found, status) = met(&serving, method, &path, Some(cookie)).await;
                // What somebody may not even see is as if it were not there.
                let is_hidden = status == 404 && !person.may(SeesNode, place);
                if (found != expected && !is_hidden) || status == 500 {
                    let name = person.name;
                    wrong.push(format!("{method} {path} by {name}: expected {expected:?}, got {found:?} ({status})"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), ROWS.len() * 18, wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_hold_nothing_of_cells_that_somebody_may_not_see() {
    let place = fleet().await;
    let serving = Serving::start_for_nobody(&place).await;
    serving.has_read().await;
    let (limited, unlimited) = (serving.sign_in("edge-admin").await, serving.sign_in("viewer").await);
    let paths = ["/", "/agents", "/agents.json", "/cells", "/cells.csv", "/cells.json", "/search?q=web"];
    for path in paths.into_iter().chain(["/api/v1/cells", "/api/v1/nodes"]) {
        let shown = async |cookie: &str| {
            let answer = serving.send("GET", path, &[("cookie", cookie)], "").await;
            assert!(answer.status == 200 || answer.status == 303, "{path}: {}", answer.status);
            format!("{}{}", answer.header("location"), answer.text())
        };
        let seen = shown(&limited).await;
        assert!(!seen.contains("core-1"), "{path} tells of a cell that is not for this user's eyes:\n{seen}");
        assert!(shown(&unlimited).await.contains("core-1") || path == "/", "{path} tells of nothing");
    }
}
