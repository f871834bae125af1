//! `fleetman serve` as it runs for people, and the way in.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::browser::{Page, button, field};
use super::cli::{Workplace, page};
use super::people;
use super::wait_for;

/// A portal that runs.
pub(crate) struct Portal {
    pub(crate) place: Workplace,
    child: Child,
    /// Scheme, host and port.
    pub(crate) origin: String,
    /// The session of [`people::ADMIN`].
    session: String,
    /// What it says from then on.
    said: Mutex<UnboundedReceiver<String>>,
}

impl Portal {
    /// Serves what the config in `place` names, and has read it. [`people::ADMIN`] can sign in.
    pub(crate) async fn start(place: Workplace) -> Self {
        people::admit_admin(place.path());
        let mut portal = Self::start_with(place, &["--listen", "127.0.0.1:0"]).await;
        portal.session = portal.session_of(people::ADMIN).await;
        portal
    }

    /// The same as these arguments say, with the users that the config has.
    pub(crate) async fn start_with(place: Workplace, args: &[&str]) -> Self {
        let mut child = place.start_fleetman(&[&["serve"], args].concat());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended: {said:?}"));
            if let Some((_, address)) = line.split_once(" on http://") {
                break address.to_owned();
            }
            said.push(line);
        };
        // What it says later must not fill the pipe.
        let (say, said) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = say.send(line);
            }
        });
        let said = Mutex::new(said);
        let portal = Self { place, child, origin: format!("http://{address}"), session: String::new(), said };
        let ready = async || page(&portal.url("/readyz")).await.is_some_and(|(head, _)| head.contains(" 200 "));
        wait_for(ready, "the portal to have read the bucket").await;
        portal
    }

    /// The session of a user of the config, as a browser holds it.
    pub(crate) async fn session_of(&self, name: &str) -> String {
        let (head, _) = self.ask("", "POST", "/sign-in", &people::form(name)).await;
        let cookies = head.lines().filter_map(|line| line.split_once(": "));
        let set = cookies.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        set.filter_map(|(_, cookie)| cookie.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    /// The link by which the first admin comes in, as it is printed.
    pub(crate) async fn first_link(&self) -> String {
        let mut said = self.said.lock().await;
        loop {
            let line = said.recv().await.expect("it goes on");
            if let Some(link) = line.split_whitespace().find(|word| word.contains("/sign-in/once?token=")) {
                return link.to_owned();
            }
        }
    }

    /// The text of a page, without a browser.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.answer(path).await.1
    }

    /// The answer to a GET: its status, and its body.
    pub(crate) async fn answer(&self, path: &str) -> (u16, String) {
        let (head, body) = self.whole_answer(path).await;
        (status(&head), body)
    }

    /// The same with the headers instead of the status.
    pub(crate) async fn whole_answer(&self, path: &str) -> (String, String) {
        self.ask(&self.session, "GET", path, "").await
    }

    /// The answer to a GET of somebody else, whose session this is.
    pub(crate) async fn answer_in(&self, session: &str, path: &str) -> (u16, String) {
        let (head, body) = self.ask(session, "GET", path, "").await;
        (status(&head), body)
    }

    /// The answer to a form that was sent from a page of the portal itself.
    pub(crate) async fn send_form(&self, path: &str, form: &str) -> (u16, String) {
        self.send_form_in(&self.session, path, form).await
    }

    /// The same of somebody else, whose session this is.
    pub(crate) async fn send_form_in(&self, session: &str, path: &str, form: &str) -> (u16, String) {
        let (head, body) = self.ask(session, "POST", path, form).await;
        (status(&head), body)
    }

    /// Where a form led: the path of the page after it.
    pub(crate) async fn send_and_follow(&self, path: &str, form: &str) -> String {
        let (head, body) = self.ask(&self.session, "POST", path, form).await;
        let location = head.lines().find_map(|line| line.strip_prefix("location: "));
        location.unwrap_or_else(|| panic!("{head}\n{body}")).to_owned()
    }

    async fn ask(&self, session: &str, method: &str, path: &str, form: &str) -> (String, String) {
        let host = self.origin.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n\
             Cookie: {session}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        (head.to_owned(), if is_chunked { joined(body) } else { body.to_owned() })
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Signs in as a user of the config.
    pub(crate) async fn sign_in(&self, page: &Page, name: &str) {
        page.open(&self.url("/sign-in")).await;
        page.fill(field("Name"), name).await;
        page.fill(field("Password"), people::PASSWORD).await;
        page.click(button("Sign in")).await;
        page.loaded().await;
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"))
}

/// The body that came in chunks. Cut where a character is cut, it would not be text.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&rest[..size]);
        chunks = rest[size..].strip_prefix("\r\n").unwrap();
    }
    body
}
