//! What an operator does with the portal, from the first sign-in to the last page of the audit, by clicks alone: with
//! scripts, and by plain forms.

use std::path::PathBuf;

use aws_sdk_s3::primitives::ByteStream;
use serde_json::json;
use tokio::process::Child;

use crate::support::browser::{Browser, By, Page, button, css, field, heading, link};
use crate::support::cli::{FLEET, Workplace};
use crate::support::people::PASSWORD;
use crate::support::portal::Portal;
use crate::support::{BUCKET, wait_for};

const MANIFEST: &str = "\
name: shop
description: The shop's pages
vars:
  title: Welcome
files:
  - glob: \"**\"
  - path: index.html
    template: true
profile:
  deploy: {}
";

/// An operator at work: a portal, two agents that run, and one that was heard of once.
struct Operator {
    portal: Portal,
    page: Page,
    scripts: bool,
    _agents: [Child; 2],
}

impl Operator {
    async fn start(scripts: bool) -> Option<Self> {
        let browser = Browser::shared().await?;
        let mut place = Workplace::with_bucket().await;
        let beat = json!({
            "schema": "fleetman/heartbeat/1", "node": "old-1", "fleet": FLEET, "agent_version": "0", "instance_id": FLEET,
            "sequence": 1, "started_at": "2026-01-02T03:04:05Z", "reported_at": "2026-01-02T03:04:05Z",
            "interval_secs": 1, "signing": "signed", "cells": {},
        });
        let put = place.store().client().put_object().bucket(BUCKET).key("agents/old-1.json");
        put.body(ByteStream::from(beat.to_string().into_bytes())).send().await.unwrap();
        let mut agents = Vec::new();
        for node in ["n1", "n2"] {
            agents.push(place.run_agent(&place.agent_config(node).await));
        }
        let agents = agents.try_into().unwrap();
        let portal = Portal::start_with(place, &["--listen", "127.0.0.1:0"]).await;
        let page = browser.page().await;
        if !scripts {
            page.without_scripts().await;
        }
        Some(Self { portal, page, scripts, _agents: agents })
    }

    async fn sign_in_by_the_printed_link(&self) {
        let page = &self.page;
        page.open(&self.portal.first_link().await).await;
        page.fill(field("Name"), "olga").await;
        page.fill(field("Password"), PASSWORD).await;
        page.fill(field("The same password again"), PASSWORD).await;
        page.click(button("Make the first admin and sign in")).await;
        page.has(heading("Overview")).await;
    }

    async fn delete_the_status_of_a_dead_agent(&self) {
        let page = &self.page;
        self.section("Agents").await;
        page.click(link("old-1")).await;
        self.until_it_says("Dead").await;
        page.click(link("Delete its status")).await;
        page.fill(field("Type old-1 to go on"), "old-1").await;
        page.fill(field("Reason"), "journey: it is gone").await;
        page.click(button("Delete its status")).await;
        self.section("Agents").await;
        let gone = async || {
            let gone = page.count(link("old-1")).await == 0;
            if !gone && !self.scripts {
                page.reload().await;
            }
            gone
        };
        wait_for(gone, "the agent to be gone from the list").await;
    }

    async fn read_the_audit_of_all_of_it(&self) {
        let page = &self.page;
        self.section("Audit").await;
        let told = page.read().await;
        for reason in ["a shop", "first", "second", "robots", "Roll back", "Stop", "Remove", "it is gone"] {
            assert!(told.contains(&format!("journey: {reason}")), "{reason} is not in the audit: {told}");
        }
        page.fill(field("Action"), "rollback").await;
        page.click(button("Filter")).await;
        page.see("journey: Roll back").await;
        page.see_no("journey: Stop").await;
    }

    async fn sign_out(self) {
        let page = self.page;
        page.click(css(".user summary")).await;
        page.click(button("Sign out")).await;
        page.has(button("Sign in")).await;
        page.open(&self.portal.url("/cells")).await;
        page.has(button("Sign in")).await;
        page.end().await;
    }

    /// Goes to a section by the navigation.
    async fn section(&self, name: &str) {
        self.page.click(link(name).within(css("nav.sections"))).await;
        self.page.has(heading(name)).await;
    }

    /// Goes to a cell by the list of cells.
    async fn cell(&self, cell: &str) {
        self.section("Cells").await;
        self.page.click(link(cell).within(css("main"))).await;
        self.page.has(heading(cell)).await;
    }

    /// Presses what an order of a cell needs, and watches it until the page says `end`.
    async fn order(&self, cell: &str, order: &str, press: &str, end: &str) {
        self.cell(cell).await;
        self.page.click(link(order)).await;
        self.page.fill(field("Reason"), &format!("journey: {order}")).await;
        self.page.click(button(press)).await;
        self.until_it_says(end).await;
    }

    /// Waits as an operator does: with scripts the page tells by itself, without them it is loaded again.
    /// Waits until what is followed came to this end. What is still to come is named before, too.
    async fn until_it_says(&self, end: &str) {
        let says = async || {
            let text = self.page.read().await;
            let says = text.contains(end) && !text.contains("still to come");
            if !says && !self.scripts {
                self.page.reload().await;
            }
            says
        };
        wait_for(says, &format!("the page to say {end:?}")).await;
    }

    /// What a node has on disk of a cell's file.
    fn deployed(&self, node: &str, file: &str) -> Option<String> {
        std::fs::read_to_string(self.portal.place.path().join(format!("{node}-cells/shop/{file}"))).ok()
    }

    async fn make_a_manifest_with_a_mistake_and_mend_it(&self) {
        let page = &self.page;
        self.section("Manifests").await;
        page.click(link("New manifest")).await;
        let editor = || field("The manifest");
        page.fill(editor(), &MANIFEST.replace("template: true", "tempalte: true")).await;
        page.click(button("Review the change")).await;
        page.see("Line 8").await;
        page.see("tempalte").await;
        assert_eq!(page.status(), 422);
        page.expect_failed(&["/manifests/new: 422"]).await;
        if self.scripts {
            // The mistake is marked where it is, and gone as soon as it is mended.
            page.click(link("Line 8, column 5")).await;
        }
        page.fill(editor(), MANIFEST).await;
        if self.scripts {
            page.see("Nothing is wrong with it.").await;
        }
        page.fill(field("Reason"), "journey: a shop").await;
        page.click(button("Review the change")).await;
        page.click(button("Save")).await;
        page.has(heading("Manifest shop")).await;
    }

    /// A release of three files, in a folder.
    fn release(&self, title: &str) -> PathBuf {
        let place = &self.portal.place;
        place.write("release/index.html", &format!("<h1>{{{{ vars.title }}}} to {title}</h1>\n"));
        place.write("release/css/site.css", "h1 { color: teal }\n");
        place.write("release/robots.txt", "User-agent: *\n");
        place.path().join("release")
    }

    async fn upload(&self, name: &str) {
        let page = &self.page;
        self.section("Deployments").await;
        page.click(link("Upload a release")).await;
        page.fill(field("Manifest"), "shop").await;
        page.fill(field("Name"), name).await;
        page.give_files(css("input[name=folder]"), &[&self.release(name)]).await;
        page.click(button("Send and review")).await;
        page.see("css/site.css").await;
        page.fill(field("Reason"), &format!("journey: upload {name}")).await;
        page.click(button("Put it into the bucket")).await;
        page.see("It is in the bucket, signed").await;
        page.see("css/site.css").await;
    }

    async fn make_cells_on_both_agents(&self) {
        let page = &self.page;
        self.section("Agents").await;
        for node in ["n1", "n2"] {
            self.until_it_says(node).await;
        }
        self.section("Cells").await;
        page.click(link("New cell")).await;
        page.fill(field("Manifest"), "shop").await;
        page.fill(field("Name of the cell"), "shop").await;
        for node in ["n1", "n2"] {
            page.click(css(&format!("input[name=node][value={node}]"))).await;
        }
        page.click(button("Review")).await;
        page.see("n1/shop").await;
        page.see("n2/shop").await;
        page.click(button("Make them")).await;
        for cell in ["n1/shop", "n2/shop"] {
            self.section("Cells").await;
            self.until_it_says(cell).await;
        }
    }

    async fn publish(&self, cell: &str, version: &str) {
        let page = &self.page;
        self.cell(cell).await;
        page.click(link("Publish")).await;
        page.fill(field("Name of the version"), version).await;
        page.click(button("Plan again")).await;
        page.fill(field("Reason"), &format!("journey: {version}")).await;
        page.click(button(&format!("Publish {version}"))).await;
        self.until_it_says("Live").await;
    }

    async fn edit_an_override_and_see_the_difference(&self) {
        let page = &self.page;
        self.cell("n1/shop").await;
        page.click(tab("Overrides")).await;
        page.click(link("New override")).await;
        page.fill(field("Path"), "robots.txt").await;
        page.click(button("Write it here")).await;
        page.fill(field("robots.txt"), "User-agent: *\nDisallow: /cart\n").await;
        page.fill(field("Reason"), "journey: robots").await;
        page.click(button("Review the change")).await;
        page.click(button("Save")).await;
        page.see("robots.txt").await;
        self.cell("n1/shop").await;
        page.click(tab("Diff")).await;
        page.see("Disallow: /cart").await;
    }
}

fn tab(name: &str) -> By {
    link(name).within(css(".tabs"))
}

async fn travel(scripts: bool) {
    let Some(operator) = Operator::start(scripts).await else { return };
    operator.sign_in_by_the_printed_link().await;
    operator.make_a_manifest_with_a_mistake_and_mend_it().await;
    operator.upload("r1").await;
    operator.make_cells_on_both_agents().await;
    for (node, cell) in [("n1", "n1/shop"), ("n2", "n2/shop")] {
        operator.publish(cell, "first").await;
        assert_eq!(operator.deployed(node, "index.html").as_deref(), Some("<h1>Welcome to r1</h1>\n"));
    }

    operator.edit_an_override_and_see_the_difference().await;
    operator.publish("n1/shop", "second").await;
    assert_eq!(operator.deployed("n1", "robots.txt").as_deref(), Some("User-agent: *\nDisallow: /cart\n"));
    assert_eq!(operator.deployed("n2", "robots.txt").as_deref(), Some("User-agent: *\n"));

    operator.order("n1/shop", "Roll back", "Roll back", "Live").await;
    assert_eq!(operator.deployed("n1", "robots.txt").as_deref(), Some("User-agent: *\n"));
    operator.order("n2/shop", "Stop", "Stop", "Stopped").await;
    operator.order("n2/shop", "Remove", "Remove", "Removed").await;
    assert_eq!(operator.deployed("n2", "index.html"), None);

    operator.delete_the_status_of_a_dead_agent().await;
    operator.read_the_audit_of_all_of_it().await;
    operator.sign_out().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_everything_by_clicks() {
    travel(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_everything_by_plain_forms() {
    travel(false).await;
}
