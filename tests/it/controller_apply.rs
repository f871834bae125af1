//! An apply that is killed at any write, or overtaken by somebody else.

use std::collections::BTreeMap;

use fleetman::controller::{
    AppliedHow, ApplyPlan, ApplyRequest, Controller, ControllerError, Prune, StepHow, Stepped, UploadOptions,
};
use fleetman::model::fleet::Conditions;
use fleetman::model::{DeploymentName, ManifestName};
use fleetman::recipe::{self, Set};

use crate::support::fleet::{Bench, KEY, site};

const BEFORE: &str = "\
name: old
labels: {team: a}
profile: {deploy: {}}
---
name: shop
labels: {team: a}
profile: {deploy: {}}
---
cell: n1/gone
manifest: old
---
cell: n1/kept
manifest: old
";

const AFTER: &str = "\
name: new
labels: {team: a}
profile: {deploy: {}}
---
name: shop
description: changed
labels: {team: a}
profile: {deploy: {}}
---
cell: n1/kept
manifest: new
---
cell: n2/fresh
manifest: new
";

async fn request(bench: &Bench) -> ApplyRequest {
    let set = Set::of(recipe::read(AFTER, "after.yaml").unwrap()).unwrap();
    let files = bench.folder("own", &[("etc/app.conf", "a = 1\n")]);
    let own = Controller::local_overrides(&files).await.unwrap();
    let overrides = ["n1/kept", "n2/fresh"].map(|cell| (cell.parse().unwrap(), own.clone())).into();
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let prune = Prune { labels, most: 10, most_percent: 100, remove_running: false };
    ApplyRequest { set, overrides, prune: Some(prune) }
}

async fn all_of_it(bench: &Bench, controller: &Controller) -> Result<usize, ControllerError> {
    let plan = controller.plan_apply(request(bench).await).await?;
    for step in plan.steps() {
        let stepped = controller.apply_step(&plan, step).await?;
        assert!(!matches!(stepped, Stepped::Refused), "{step:?}");
    }
    Ok(plan.steps().iter().filter(|step| step.how.is_change()).count())
}

/// Whatever a cell names is there.
async fn refers_to_nothing_that_is_not_there(bench: &Bench, controller: &Controller) {
    for cell in ["n1/gone", "n1/kept", "n2/fresh"] {
        if let Ok(text) = controller.get_cell(&cell.parse().unwrap()).await {
            let binding = recipe::cell(&text.text, cell).unwrap();
            controller.get_manifest(&binding.manifest).await.unwrap_or_else(|error| panic!("{cell}: {error}"));
            let own = bench.keys(&format!("cells/{cell}/overrides/")).await;
            assert!(binding.manifest.as_str() != "new" || own.len() == 1, "{cell} came before its files: {own:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_write_it_leaves_nothing_dangling_and_the_same_again_finishes() {
    for writes in 0.. {
        assert!(writes < 60, "it still writes after {writes} writes");
        let bench = Bench::empty().await;
        bench.apply(BEFORE).await;
        bench.proxy.stop_after_writes(writes);
        let first = all_of_it(&bench, &bench.controller().await).await;
        bench.proxy.heal();
        let controller = bench.controller().await;
        refers_to_nothing_that_is_not_there(&bench, &controller).await;
        all_of_it(&bench, &controller).await.unwrap_or_else(|error| panic!("after {writes} writes: {error}"));
        assert_eq!(all_of_it(&bench, &controller).await.unwrap(), 0, "after {writes} writes");
        let texts: Vec<String> = [bench.keys("manifests/").await, bench.keys("cells/").await].concat();
        let expected = [
            "manifests/new/manifest.yaml",
            "manifests/shop/manifest.yaml",
            "cells/n1/kept/cell.yaml",
            "cells/n1/kept/overrides/etc/app.conf",
            "cells/n2/fresh/cell.yaml",
            "cells/n2/fresh/overrides/etc/app.conf",
        ];
        assert_eq!(texts, expected, "after {writes} writes");
        if first.is_ok() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_since_the_plan_is_left_as_it_is_and_told() {
    let bench = Bench::empty().await;
    bench.apply(BEFORE).await;
    let controller = bench.controller().await;
    let plan = controller.plan_apply(request(&bench).await).await.unwrap();
    let theirs = AFTER.replace("changed", "theirs");
    let rival = bench.controller_of("rival", KEY, &[KEY], Conditions::Honoured).await;
    rival.apply(recipe::read(&theirs, "theirs.yaml").unwrap()).await.unwrap();
    let shop = ManifestName::new("shop").unwrap();
    let step = plan.steps().iter().find(|step| step.target.to_string() == "manifests/shop/manifest.yaml").unwrap();
    let error = controller.apply_step(&plan, step).await.unwrap_err();
    assert_eq!((error.code(), error.kind().exit_code()), ("changed", 3));
    assert!(controller.get_manifest(&shop).await.unwrap().text.contains("theirs"));
    let collision = controller.collision(step).await.unwrap();
    assert!(collision.now.unwrap().sha256 != step.before);
    assert_eq!(collision.by.unwrap().act.unwrap().actor.as_str(), "rival");
    // What they made is what was wanted: that is no collision.
    let same = plan.steps().iter().find(|step| step.target.to_string() == "manifests/new/manifest.yaml").unwrap();
    assert_eq!(same.how, StepHow::Create);
    assert!(matches!(controller.apply_step(&plan, same).await.unwrap(), Stepped::Written(AppliedHow::Unchanged)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_needed_is_never_pruned() {
    let bench = Bench::empty().await;
    // A cell without the label is made from a manifest that has it, and another manifest has a release.
    let strange = "cell: n9/theirs\nmanifest: old\nlabels: {team: b}\n";
    let site_text = "name: site\nlabels: {team: a}\nprofile: {deploy: {}}\n";
    bench.apply(&format!("{BEFORE}---\n{strange}---\n{site_text}")).await;
    let folder = bench.folder("r1", &[("a", "b")]);
    let controller = bench.controller().await;
    let name = DeploymentName::new("r1").unwrap();
    controller.upload(&site(), Some(&name), &folder, &UploadOptions::default(), &|_| {}).await.unwrap();
    bench.overwrite("cells/n9/broken/cell.yaml", "cell: [").await;
    let plan = controller.plan_apply(request(&bench).await).await.unwrap();
    let refused: Vec<(String, String)> = plan
        .steps()
        .iter()
        .filter_map(|step| match &step.how {
            StepHow::Refused { by } => Some((step.target.to_string(), by.clone())),
            _ => None,
        })
        .collect();
    let of = |name: &str| refused.iter().find(|(target, _)| target.contains(name)).map(|(_, by)| by.as_str());
    assert_eq!(of("manifests/old/"), Some("cell n9/theirs is made from it"));
    assert_eq!(of("manifests/site/"), Some("cell n9/broken cannot be read and may be made from it"));
    assert_eq!(refused.len(), 2, "{refused:?}");
    bench.delete("cells/n9/broken/cell.yaml").await;
    let plan = controller.plan_apply(request(&bench).await).await.unwrap();
    let site = plan.steps().iter().find(|step| step.target.to_string().contains("manifests/site/")).unwrap();
    assert!(matches!(&site.how, StepHow::Refused { by } if by.contains("it has releases, such as r1")), "{site:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_runs_is_removed_only_if_that_is_asked_for_and_nobody_published_since() {
    const OTHER: &str = "name: other\nlabels: {tier: front}\nprofile: {deploy: {}}\n";
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let controller = bench.controller().await;
    let plan = async |remove_running| {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let prune = Some(Prune { labels, most: 10, most_percent: 100, remove_running });
        let set = Set::of(recipe::read(OTHER, "other.yaml").unwrap()).unwrap();
        controller.plan_apply(ApplyRequest { set, prune, ..ApplyRequest::default() }).await.unwrap()
    };
    let of_cell = |plan: &ApplyPlan| {
        plan.steps().iter().find(|step| step.target.to_string() == "cells/n1/web/cell.yaml").unwrap().clone()
    };
    assert!(matches!(of_cell(&plan(false).await).how, StepHow::Refused { .. }));
    let old = plan(true).await;
    assert_eq!(of_cell(&old).how, StepHow::Remove);
    bench.publish("v2", "bye").await;
    assert_eq!(controller.apply_step(&old, &of_cell(&old)).await.unwrap_err().code(), "guard");
    let new = plan(true).await;
    assert_eq!(controller.apply_step(&new, &of_cell(&new)).await.unwrap(), Stepped::Removing);
}
