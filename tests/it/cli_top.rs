//! The fleet on a screen, in a real terminal.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin};

use crate::cli_events::place;
use crate::support::PATIENCE;
use crate::support::cli::Workplace;

/// A program in a terminal of 24 lines and 100 columns.
struct Screen {
    program: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    /// `script` makes the terminal, and its shell says what is left of it once the program has ended.
    fn open(place: &Workplace, command: &str) -> Self {
        let command = format!(
            "trap : INT; stty rows 24 cols 100; {command}; echo \"ended with $?\"; stty -a | tr ';' '\\n' | grep icanon"
        );
        let mut script =
            place.command("script", &["--quiet", "--flush", "--return", "--command", &command, "/dev/null"]);
        let mut program = script.env("TERM", "xterm").env("SHELL", "/bin/sh").kill_on_drop(true).spawn().unwrap();
        let (keys, mut out) = (program.stdin.take().unwrap(), program.stdout.take().unwrap());
        let size = |size| NonZeroU16::new(size).unwrap();
        let seen = Arc::new(Mutex::new(vt100::Parser::new(size(24), size(100), 0)));
        let shown = seen.clone();
        tokio::spawn(async move {
            let mut bytes = vec![0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes).await {
                shown.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self { program, keys, seen }
    }

    fn text(&self) -> String {
        self.seen.lock().unwrap().screen().contents()
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    async fn see(&self, what: &str, is_seen: impl Fn(&str) -> bool) {
        let seen = async || is_seen(&self.text());
        assert!(crate::support::holds_in_time(seen).await, "{what} is not seen:\n{}", self.text());
    }

    /// Waits until the program has ended, and gives what is on the screen that was there before it.
    async fn end(mut self) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.program.wait());
        ended.await.expect("it does not end").unwrap();
        self.see("the end", |text| text.contains("ended with")).await;
        assert!(!self.seen.lock().unwrap().screen().alternate_screen());
        assert!(!self.seen.lock().unwrap().screen().hide_cursor());
        self.text()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_looks_on_sees_a_deployment_happen_and_gets_the_terminal_back() {
    let (place, _agent) = place().await;
    let mut screen = Screen::open(&place, &format!("{} top --every 200ms", env!("CARGO_BIN_EXE_fleetman")));
    screen.see("the list", |text| text.contains("> n1/db") && text.contains("q quit")).await;
    place.fleetman(&["publish", "n1/web", "--as", "v1", "-y", "--wait"]).await.exits(0);
    let is_up = |text: &str| text.lines().any(|line| line.contains("n1/web  synced") && line.contains("up_to_date"));
    screen.see("the version", is_up).await;

    // Nothing moves while it is paused.
    screen.press("p").await;
    screen.see("the pause", |text| text.lines().next().is_some_and(|line| line.ends_with("paused"))).await;
    place.fleetman(&["publish", "n1/db", "--as", "v9", "-y", "--wait"]).await.exits(0);
    screen.press("/web\r").await;
    screen.see("the search", |text| text.contains("/web Esc all") && !text.contains("n1/db")).await;
    screen.press("\u{1b}").await;
    screen.see("the other", |text| text.contains("n1/db")).await;
    assert!(!screen.text().contains("v9"), "{}", screen.text());
    screen.press("p").await;
    screen.see("the other's version", |text| text.contains("v9")).await;

    screen.press("\t").await;
    screen.see("the node", |text| text.contains("> n1") && text.contains("2/2") && text.contains("MEMORY")).await;
    screen.press("\r/web\r\r").await;
    screen.see("all of the cell", |text| text.contains("fleetman describe cell n1/web")).await;
    screen.press("qq").await;
    let left = screen.end().await;
    assert!(left.contains("ended with 0"), "{left}");
    assert!(left.contains(" icanon"), "what is typed is read by lines again: {left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_what_was_seen_stays_and_ctrl_c_ends_it() {
    let (mut place, _agent) = place().await;
    let mut screen = Screen::open(&place, &format!("{} top --every 200ms", env!("CARGO_BIN_EXE_fleetman")));
    screen.see("the list", |text| text.contains("n1/web")).await;
    place.store().stop().await;
    screen.see("the outage", |text| text.contains("The store does not answer") && text.contains("n1/web")).await;
    screen.press("\u{3}").await;
    let left = screen.end().await;
    assert!(left.contains("ended with 130") && left.contains(" icanon"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_says_what_to_use_instead() {
    let place = Workplace::with_bucket().await;
    let ran = place.fleetman(&["top"]).await.exits(2);
    assert!(ran.err.contains("not both a terminal") && ran.err.contains("fleetman status"), "{}", ran.err);
    assert_eq!(ran.out, "");
}
