//! What is said of dependencies between cells before anything reaches a node: by the command line and in the portal.

use fleetman::recipe;

use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::portal::Portal;
use crate::support::serving::Serving;

/// A manifest and a cell of it on `n1`, by the name of both.
fn documents(name: &str, on: &str) -> String {
    format!("name: {name}\nprofile: {{deploy: {{}}}}\n{on}\n---\ncell: n1/{name}\nmanifest: {name}\n")
}

async fn apply(place: &Workplace, texts: &[String]) {
    place.write("all.yaml", &texts.join("---\n"));
    place.fleetman(&["apply", "-f", "all.yaml"]).await.exits(0);
}

/// Cells `a`, which requires `b`, and `b`, which starts after `c`; each with a release.
async fn place() -> Workplace {
    let place = Workplace::with_bucket().await;
    let all = [documents("a", "requires: [b]"), documents("b", "after: [c]"), documents("c", "")];
    apply(&place, &all).await;
    place.write("r1/index.html", "one");
    for name in ["a", "b", "c"] {
        place.fleetman(&["upload", name, "r1", "--as", "r1"]).await.exits(0);
    }
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_closes_a_circle_is_refused_wherever_it_is_asked_for() {
    let place = place().await;
    // Whoever writes it down is told at once, and nothing is written.
    place.write("circle.yaml", &documents("c", "requires: [a]"));
    let refused = place.fleetman(&["apply", "-f", "circle.yaml"]).await;
    assert!(refused.code != 0 && refused.err.contains("c → a → b → c"), "{}", refused.err);
    place.write("self.yaml", "cell: n1/c\nmanifest: c\nafter: [c]\n");
    let refused = place.fleetman(&["apply", "-f", "self.yaml"]).await;
    assert!(refused.code != 0 && refused.err.contains("c → c"), "{}", refused.err);

    // A manifest alone says nothing of cells, so it is the publish that closes the circle.
    place.fleetman(&["publish", "n1/a", "n1/b", "n1/c", "-y"]).await.exits(0);
    place.write("manifest.yaml", "name: c\nprofile: {deploy: {}}\nrequires: [a]\n");
    place.fleetman(&["apply", "-f", "manifest.yaml"]).await.exits(0);
    for verb in [&["plan", "n1/c"][..], &["publish", "n1/c", "-y"]] {
        let refused = place.fleetman(verb).await;
        assert!(
            refused.err.contains("the cells of n1 would depend on each other in a circle: c → a → b → c"),
            "{}",
            refused.err
        );
        assert_eq!(refused.code, 2, "{verb:?}");
    }
    // It goes by what the others are to run, and not by what may become of them.
    apply(&place, &[documents("b", "")]).await;
    place.fleetman(&["plan", "n1/c"]).await.exits(2);
    place.fleetman(&["publish", "n1/b", "-y"]).await.exits(0);
    place.fleetman(&["publish", "n1/c", "-y"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_cells_are_published_in_their_order_and_what_is_missing_is_told() {
    let place = place().await;
    let plan = place.fleetman(&["plan", "n1/a"]).await.exits(1).out;
    assert!(plan.contains("warning: it requires n1/b, which is not there: its node waits with it"), "{plan}");
    assert!(plan.contains("dependencies.requires"), "{plan}");
    let published = place.fleetman(&["-o", "json", "publish", "n1/a", "n1/b", "n1/c", "-y"]).await.exits(0).json();
    let order: Vec<&str> = published.as_array().unwrap().iter().map(|cell| cell["cell"].as_str().unwrap()).collect();
    assert_eq!(order, ["n1/c", "n1/b", "n1/a"]);

    let stopped = place.fleetman(&["stop", "n1/b", "-y"]).await.exits(0);
    assert!(stopped.err.contains("n1/a requires n1/b: what runs of it goes on"), "{}", stopped.err);
    let stopped = place.fleetman(&["stop", "n1/c", "n1/a", "-y"]).await.exits(0);
    assert!(!stopped.err.contains("starts after n1/c"), "what is stopped itself is not to start: {}", stopped.err);
    place.fleetman(&["redeploy", "n1/c", "-y"]).await.exits(0);
    let published = place.fleetman(&["publish", "n1/a", "-y"]).await.exits(0);
    let said = format!("{}{}", published.out, published.err);
    assert!(said.contains("it requires n1/b, which is stopped"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_portal_names_who_depends_on_what_is_to_end_and_refuses_a_circle_in_its_preview() {
    let place = place().await;
    place.fleetman(&["publish", "n1/a", "n1/b", "n1/c", "-y"]).await.exits(0);
    place.write("manifest.yaml", "name: c\nprofile: {deploy: {}}\nrequires: [a]\n");
    place.fleetman(&["apply", "-f", "manifest.yaml"]).await.exits(0);
    let portal = Portal::start(place).await;
    for path in ["stop", "remove"] {
        let page = portal.get(&format!("/cells/n1/b/{path}")).await;
        assert!(page.contains("n1/a requires n1/b: what runs of it goes on"), "{page}");
        let page = portal.get(&format!("/cells/n1/c/{path}")).await;
        assert!(page.contains("n1/b starts after n1/c, and will start without it"), "{page}");
        assert!(!portal.get(&format!("/cells/n1/a/{path}")).await.contains("requires n1/a"));
    }
    let page = portal.get("/cells/n1/a").await;
    assert!(page.contains("<dt>Requires</dt><dd><a href=\"") && page.contains("/cells/n1/b\">b</a>"), "{page}");
    let (status, page) = portal.answer("/cells/n1/c/publish").await;
    assert!(page.contains("in a circle: c → a → b → c"), "{status}: {page}");
    assert!(!page.contains("name=\"expect\""), "there is nothing to publish: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_names_no_cell_to_who_may_not_see_it() {
    let place = place().await;
    place.fleetman(&["publish", "n1/a", "n1/b", "n1/c", "-y"]).await.exits(0);
    place.write("manifest.yaml", "name: c\nprofile: {deploy: {}}\nrequires: [a]\n");
    place.fleetman(&["apply", "-f", "manifest.yaml"]).await.exits(0);
    people::admit(place.path(), &[("some", &["editor:n1/c"]), ("more", &["editor:n1/c", "viewer:n1/a"])]);
    let serving = Serving::start_for(&place, "some").await;
    serving.has_read().await;
    let hidden = "a cell that you may not see";
    for path in ["/cells/n1/c/publish", "/cells/bulk?action=publish&cell=n1%2Fc"] {
        let page = serving.get(path).await.text();
        assert!(page.contains(&format!("c → {hidden} → {hidden} → c")), "{path}: {page}");
        assert!(!page.contains("→ a →") && !page.contains("→ b"), "{path}: {page}");
    }
    let form = "reason=x&if_generation=1";
    let page = serving.send_form("/cells/n1/c/publish", form).await.is(422).text();
    assert!(page.contains(&format!("c → {hidden}")) && !page.contains("→ b"), "{page}");
    let headers = [("content-type", "application/yaml"), ("sec-fetch-site", "same-origin")];
    let own = "cell: n1/c\nmanifest: c\nrequires: [a]\n";
    let told = serving.send("POST", "/api/v1/apply?dry_run=true", &headers, own).await.is(422).text();
    assert!(told.contains(hidden) && !told.contains("→ b"), "{told}");
    let more = serving.sign_in("more").await;
    let page = serving.get_in(&more, "/cells/n1/c/publish").await.text();
    assert!(page.contains(&format!("c → a → {hidden} → c")), "{page}");
}

/// Publishes the cells of [`place`] and `d`, which requires `a`, and gives their place.
async fn published_place() -> Workplace {
    let place = place().await;
    let labelled = |name: &str, on: &str| documents(name, &format!("labels: {{team: shop}}\n{on}"));
    let texts = [
        labelled("a", "requires: [b]"),
        labelled("b", "after: [c]"),
        labelled("c", ""),
        labelled("d", "requires: [a]"),
    ];
    apply(&place, &texts).await;
    place.fleetman(&["upload", "d", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/a", "n1/b", "n1/c", "n1/d", "-y"]).await.exits(0);
    place
}

/// Whatever is stopped or removed waits for nobody: those that depend on others go first.
const TO_STOP: [&str; 4] = ["n1/d", "n1/a", "n1/b", "n1/c"];

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_brought_back_in_the_order_of_what_they_depend_on() {
    let place = published_place().await;
    let back = ["-o", "json", "revert", "n1", "--to", "2020-01-01T00:00:00Z", "--remove-newer", "-y"];
    let done = place.fleetman(&back).await.exits(0).json();
    let order: Vec<_> = done.as_array().unwrap().iter().map(|cell| cell["cell"].as_str().unwrap()).collect();
    assert_eq!(order, TO_STOP);
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_pruned_before_what_they_depend_on() {
    let place = published_place().await;
    place.write("none.yaml", "name: none\nlabels: {team: shop}\nprofile: {deploy: {}}\n");
    let prune = ["--prune", "-l", "team=shop", "--remove-running", "--prune-max-share", "100", "-y"];
    let prune = [&["-o", "json", "apply", "-f", "none.yaml"][..], &prune].concat();
    // The manifests have releases and stay.
    let done = place.fleetman(&prune).await.exits(8).json();
    let removed = done["objects"].as_array().unwrap().iter().filter(|step| step["how"] == "removing");
    let removed: Vec<_> = removed.map(|step| step["object"].as_str().unwrap()).collect();
    assert_eq!(removed, TO_STOP.map(|cell| format!("cells/{cell}/cell.yaml")), "{done}");
}

#[test]
fn a_cell_that_would_depend_on_itself_is_told_where_that_stands() {
    let recipe = recipe::manifest("name: m\nprofile: {deploy: {}}\nafter: [db]\nrequires: [web]\n", "m.yaml").unwrap();
    let resolve = |cell: &str| {
        let cell = recipe::cell(cell, "c.yaml").unwrap();
        recipe::resolve::resolve(&recipe, &cell, &[], &[])
    };
    let error = resolve("cell: n1/web\nmanifest: m\n").unwrap_err();
    let [error] = error.errors() else { panic!("{error}") };
    assert_eq!((error.file.as_str(), error.line), ("m.yaml", 4));
    assert_eq!(error.message, "the cell n1/web cannot depend on itself");
    let own = resolve("cell: n1/web\nmanifest: m\nrequires: []\n").unwrap();
    assert!(own.dependencies.requires.is_empty() && own.dependencies.after.len() == 1, "{:?}", own.dependencies);
    let error = resolve("cell: n1/db\nmanifest: m\nafter: [x, db]\n").unwrap_err();
    assert_eq!((error.errors()[0].file.as_str(), error.errors()[0].line), ("c.yaml", 3));
    let twice = recipe::manifest("name: m\nprofile: {deploy: {}}\nafter: [db, db]\n", "m.yaml").unwrap_err();
    assert_eq!(twice.errors()[0].message, "the cell `db` is there twice");
    let many: Vec<String> = (0..33).map(|at| format!("c{at}")).collect();
    let many =
        recipe::cell(&format!("cell: n1/web\nmanifest: m\nafter: [{}]\n", many.join(", ")), "c.yaml").unwrap_err();
    assert!(many.errors()[0].message.contains("33 cells are more than the 32"), "{many}");
}
