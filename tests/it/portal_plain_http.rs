//! A portal on an address that other machines reach, without TLS, because somebody said so: browsers trust such an
//! address less than loopback, and keep other cookies for it.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::acme::Acme;
use crate::support::browser::Browser;
use crate::support::cli::Workplace;
use crate::support::portal::Portal;
use crate::support::{people, require_tool, skip};

/// For documentation only (RFC 5737): no machine has it.
const ADDRESS: &str = "192.0.2.7";

/// Set where the address is there.
const MARK: &str = "FLEETMAN_TEST_NETWORK";

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_can_be_used_over_plain_http() {
    let (Some(unshare), Some(_)) = (require_tool("unshare"), require_tool("ip")) else { return };
    let network = async |script: &str| {
        let mut command = Command::new(&unshare);
        command.args(["--net", "sh", "-ec", script]).arg(std::env::current_exe().unwrap()).env(MARK, "1");
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
    };
    if !network("true").await.status.success() {
        return skip("a network of its own cannot be made").unwrap_or_default();
    }
    let inside = format!(
        "ip link set lo up; ip address add {ADDRESS}/32 dev lo; \
         exec \"$0\" --exact portal_plain_http::in_a_network_of_its_own --ignored --nocapture"
    );
    let ran = network(&inside).await;
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the test above runs it where its address is"]
async fn in_a_network_of_its_own() {
    assert!(std::env::var_os(MARK).is_some(), "the test above runs it");
    let rules = format!("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {ADDRESS}");
    let Some(browser) = Browser::own(&[&rules]).await else { return };
    let acme = Acme::full().await;
    let place = Workplace::empty();
    acme.configure(place.path());
    people::admit_admin(place.path());
    let portal = Portal::start_with(place, &["--listen", &format!("{ADDRESS}:0"), "--insecure-http"]).await;
    let page = browser.page().await;
    portal.sign_in(&page, people::ADMIN).await;
    page.open(&portal.url("/agents")).await;
    page.see("ams-1").await;
    // What changes shows up by itself here, too.
    acme.beat_anew("new-1").await;
    page.see("new-1").await;
    page.end().await;
}
