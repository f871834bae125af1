//! A web server that is given its socket, and clients that never leave it alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::wait_for;

/// A web server in Python that takes its socket as `sd_listen_fds(3)` says, answers with its version, and drains: once
/// it is asked to end it takes no more connections, and those that it has end with their next answer.
pub(crate) const SERVER: &str = r#"
import os, select, signal, socket, threading, time

assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
assert os.environ["LISTEN_FDNAMES"] == "http"
body = os.environ["FLEETMAN_VERSION"].encode()
ending = threading.Event()

def serve(connection):
    with connection, connection.makefile("rb") as requests:
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = requests.readline()
                if not line:
                    return
                head += line
            time.sleep(0.003)
            last = ending.is_set() or b"connection: close" in head.lower()
            more = b"Connection: close\r\n" if last else b""
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), more, body))
            if last:
                return

wakes, wakeup = os.pipe()
os.set_blocking(wakeup, False)
signal.set_wakeup_fd(wakeup)
signal.signal(signal.SIGTERM, lambda *_: ending.set())
listener = socket.socket(fileno=3)
# The other version may have taken what this one was told of.
listener.setblocking(False)
with open(os.environ["FLEETMAN_DATA_DIR"] + "/ready." + os.environ["FLEETMAN_VERSION"], "w"):
    pass
while not ending.is_set():
    select.select([listener, wakes], [], [])
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        continue
    connection.setblocking(True)
    threading.Thread(target=serve, args=[connection]).start()
listener.close()
"#;

/// What came of the requests so far.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicUsize,
    failed: std::sync::Mutex<Vec<String>>,
    done: AtomicBool,
}

/// Clients that ask again and again, some over one connection and some over a new one each time.
pub(crate) struct Load {
    tally: Arc<Tally>,
    clients: JoinSet<()>,
}

impl Load {
    /// Begins to ask the server at this port.
    pub(crate) fn begin(port: u16) -> Self {
        let (tally, mut clients) = (Arc::new(Tally::default()), JoinSet::new());
        for keeps in [true, true, false, false] {
            clients.spawn(client(port, keeps, Arc::clone(&tally)));
        }
        Self { tally, clients }
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn answered(&self, more: usize) {
        let goal = self.tally.answered.load(Ordering::SeqCst) + more;
        let answered = async || self.tally.answered.load(Ordering::SeqCst) >= goal || !self.failed().is_empty();
        wait_for(answered, "requests to be answered").await;
        self.check();
    }

    fn failed(&self) -> Vec<String> {
        self.tally.failed.lock().unwrap().clone()
    }

    /// That no request has failed.
    #[track_caller]
    pub(crate) fn check(&self) {
        assert_eq!(self.failed(), [""; 0], "after {} answers", self.tally.answered.load(Ordering::SeqCst));
    }

    /// Ends the clients, and says how many requests were answered. None may have failed.
    pub(crate) async fn end(mut self) -> usize {
        self.tally.done.store(true, Ordering::SeqCst);
        while self.clients.join_next().await.is_some() {}
        self.check();
        self.tally.answered.load(Ordering::SeqCst)
    }
}

async fn client(port: u16, keeps: bool, tally: Arc<Tally>) {
    let mut kept = None;
    while !tally.done.load(Ordering::SeqCst) {
        match ask(port, kept.take(), keeps).await {
            Ok((_, connection)) => {
                kept = connection;
                tally.answered.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                let mut failed = tally.failed.lock().unwrap();
                failed.push(format!("over {} connection: {error}", if keeps { "a kept" } else { "a new" }));
                if failed.len() > 10 {
                    return;
                }
            }
        }
    }
}

/// The answer to one request, and the connection if it can be used again.
pub(crate) async fn ask(
    port: u16,
    connection: Option<TcpStream>,
    keeps: bool,
) -> std::io::Result<(String, Option<TcpStream>)> {
    let mut stream = match connection {
        Some(stream) => stream,
        None => TcpStream::connect(("127.0.0.1", port)).await?,
    };
    let close = if keeps { "" } else { "Connection: close\r\n" };
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{close}\r\n").as_bytes()).await?;
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.lines().next());
            if length.is_some_and(|length| length.parse() == Ok(body.len())) {
                let is_last = !keeps || head.contains("Connection: close");
                return Ok((body.to_owned(), (!is_last).then_some(stream)));
            }
        }
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer).await? {
            0 => return Err(std::io::Error::other(format!("the connection ended after {text:?}"))),
            length => read.extend_from_slice(&buffer[..length]),
        }
    }
}
