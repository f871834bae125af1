//! What is said between a supervisor in a process of its own and those who ask it, in every version of the protocol.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use fleetman::supervise::detached::{Client, DetachedError, Orders};
use fleetman::supervise::{Kind, Listen, LogLimits, Piece, ProcessDef, ServiceDef, Socket, Stop};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::support::shim::{self, Shims, clock, kill, lives, log, marked, sh, status, up};
use crate::support::wait_for;

/// What is sent and answered in version 1, byte for byte but for what differs from run to run.
const TRANSCRIPT: &str = "tests/golden/supervise-v1.txt";

/// A connection on which a test says what it likes.
struct Line(BufReader<UnixStream>);

impl Line {
    async fn open(shims: &Shims) -> Self {
        let mut line = Self(BufReader::new(UnixStream::connect(socket(shims)).await.unwrap()));
        assert!(line.hear().await.starts_with(r#"{"oldest":1,"#));
        line
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next line without its end; an empty one at the end of all.
    async fn hear(&mut self) -> String {
        let mut line = String::new();
        shim::within(self.0.read_line(&mut line), "a line").await.unwrap();
        line.trim_end().to_owned()
    }

    async fn hear_bytes(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        shim::within(self.0.read_exact(&mut bytes), "bytes").await.unwrap();
        String::from_utf8(bytes).unwrap()
    }
}

fn socket(shims: &Shims) -> PathBuf {
    shims.run("s").join("supervisor.socket")
}

fn talks() -> ProcessDef {
    sh("echo hello; exec sleep 1000")
}

/// A line with fixed values for all that differs from run to run.
fn fixed(line: &str) -> String {
    let varies =
        [("\"pid\":", ',', "7"), ("\"since\":\"", '"', "2023-11-14T22:13:20Z"), ("\"program\":\"", '"', "acme 9")];
    varies.iter().fold(line.to_owned(), |line, (name, end, value)| {
        let mut parts = line.split(name);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let (_, rest) = part.split_once(*end).unwrap();
            format!("{text}{name}{value}{end}{rest}")
        })
    })
}

#[tokio::test]
async fn a_supervisor_that_knows_no_sockets_is_not_given_any() {
    let shims = Shims::new();
    let _supervisor = shims.start("s", &["--protocol", "2"]);
    let mut client = shims.client("s").await;
    let socket = Socket { name: "http".to_owned(), listen: Listen::Tcp(([127, 0, 0, 1], 1).into()) };
    let with_socket = ServiceDef::of("p", ProcessDef { sockets: vec![socket], ..talks() });
    let joining = Orders { joins: true, ..up("1", ServiceDef::of("p", talks())) };
    for orders in [up("1", with_socket), joining] {
        assert!(!client.takes(&orders));
        let refused = client.apply(orders).await;
        assert!(matches!(refused, Err(DetachedError::TooOld { .. })), "{refused:?}");
    }
    client.apply(up("1", ServiceDef::of("p", talks()))).await.unwrap();
    client.stop().await.unwrap();
}

#[tokio::test]
async fn the_bytes_of_version_1_stay_what_they_are() {
    let golden = fs::read_to_string(TRANSCRIPT).unwrap();
    let shims = Shims::new();
    let _supervisor = shims.start("s", &["--protocol", "1"]);
    shims.client("s").await;
    let mut stream = BufReader::new(UnixStream::connect(socket(&shims)).await.unwrap());
    let mut heard = String::new();
    for line in golden.lines() {
        match line.split_at(2) {
            ("> ", request) => {
                stream.get_mut().write_all(request.as_bytes()).await.unwrap();
                stream.get_mut().write_all(b"\n").await.unwrap();
                heard += &format!("{line}\n");
            }
            ("< ", _) => {
                let mut answer = String::new();
                stream.read_line(&mut answer).await.unwrap();
                heard += &format!("< {}\n", fixed(answer.trim_end()));
            }
            // Bytes that follow the answer before.
            ("= ", bytes) => {
                let mut said = vec![0; bytes.len() + 1];
                stream.read_exact(&mut said).await.unwrap();
                heard += &format!("= {}", String::from_utf8(said).unwrap());
            }
            // What the process has said is waited for.
            ("~ ", said) => {
                wait_for(async || log(&shims.logs("s"), "web").contains(said), said).await;
                heard += &format!("{line}\n");
            }
            _ => heard += &format!("{line}\n"),
        }
    }
    if std::env::var_os("FLEETMAN_UPDATE").is_some() {
        fs::write(TRANSCRIPT, &heard).unwrap();
    }
    assert_eq!(heard, golden);
}

#[tokio::test]
async fn a_supervisor_of_the_previous_version_is_watched_and_followed_all_the_same() {
    let shims = Shims::new();
    let mut supervisor = shims.start("s", &["--protocol", "1"]);
    let mut client = shims.client("s").await;
    let mut watch = shims.client("s").await.watch(clock()).await.unwrap();
    assert_eq!(shim::within(watch.next(), "a report").await.unwrap().orders, None);
    let more = shims.folder.path().join("more");
    rustix::fs::mkfifoat(rustix::fs::CWD, &more, rustix::fs::Mode::RWXU).unwrap();
    let line = format!("echo one; read x < {}; echo two; exec sleep 1000", more.display());
    client.apply(up("1", ServiceDef::of("web", sh(&line)))).await.unwrap();
    let report = shim::within(watch.next(), "a report").await.unwrap();
    assert_eq!(report.orders.as_deref(), Some("1"));
    let before = status(&report, "web").unwrap().state.pid().unwrap();

    let mut follow = shims.client("s").await.follow("web", clock()).await.unwrap();
    assert_eq!(shim::within(follow.next(), "output").await.unwrap(), Piece::Bytes(b"one\n".to_vec()));
    fs::write(&more, "go\n").unwrap();
    assert_eq!(shim::within(follow.next(), "output").await.unwrap(), Piece::Bytes(b"two\n".to_vec()));

    let refused = client.reload_process("web").await.unwrap_err();
    assert!(matches!(&refused, DetachedError::Refused { code, .. } if code == "unknown_request"), "{refused}");
    client.stop_process("web").await.unwrap();
    assert!(!lives(before));
    client.start_process("web").await.unwrap();
    // What is ended before it could speak says nothing.
    wait_for(async || client.output("web").await.unwrap() == b"one\ntwo\none\n", "output").await;
    client.restart_process("web").await.unwrap();
    wait_for(async || client.output("web").await.unwrap() == b"one\ntwo\none\none\n", "output").await;
    client.kill_process("web").await.unwrap();
    client.stop().await.unwrap();
    assert!(shim::ended(&mut supervisor).await.success());
    let mut last = shim::within(watch.next(), "a report").await;
    while last.is_ok() {
        last = shim::within(watch.next(), "a report").await;
    }
    assert!(matches!(last, Err(DetachedError::Broken { .. })), "{last:?}");
}

/// A server that says this and nothing else.
async fn scripted(shims: &Shims, hello: &str) -> Result<Client, DetachedError> {
    fleetman::supervise::run_folder(shims.folder.path(), "s").unwrap();
    let _ = fs::remove_file(socket(shims));
    let listener = UnixListener::bind(socket(shims)).unwrap();
    let answer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(hello.as_bytes()).await.unwrap();
    };
    tokio::join!(Client::connect(shims.folder.path(), "s"), answer).0
}

#[tokio::test]
async fn a_supervisor_that_speaks_otherwise_is_told_apart_from_one_that_is_not_there() {
    let shims = Shims::new();
    let absent = Client::connect(shims.folder.path(), "s").await.unwrap_err();
    assert_eq!(absent.to_string(), "no supervisor of s is there");
    let hello = |oldest: u32, newest: u32| {
        format!("{{\"oldest\":{oldest},\"newest\":{newest},\"pid\":7,\"program\":\"acme 9\",\"more\":[]}}\n")
    };
    let foreign = scripted(&shims, &hello(5, 6)).await.unwrap_err();
    assert!(matches!(foreign, DetachedError::Foreign { .. }));
    assert_eq!(
        foreign.to_string(),
        "the supervisor of s (acme 9) speaks versions 5 to 6 of the protocol, expected one of 1 to 4; restart it with \
         this program"
    );
    assert!(scripted(&shims, &hello(2, 9)).await.is_ok(), "both speak version 2");
    assert!(scripted(&shims, &hello(1, 1)).await.is_ok());
    for garbage in ["hello\n", "{\"oldest\":1}\n", "{\"oldest\":1,\"new"] {
        let broken = scripted(&shims, garbage).await.unwrap_err();
        assert!(matches!(broken, DetachedError::Broken { .. }), "{garbage:?} {broken:?}");
    }
    // It ended before it said anything, and its socket is left over.
    assert!(matches!(scripted(&shims, "").await.unwrap_err(), DetachedError::NotThere { .. }));
    let left = Client::connect(shims.folder.path(), "s").await.unwrap_err();
    assert!(matches!(left, DetachedError::NotThere { .. }), "{left}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_harms_nobody() {
    let shims = Shims::new();
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.apply(up("1", ServiceDef::of("web", talks()))).await.unwrap();
    wait_for(async || log(&shims.logs("s"), "web") == "hello\n", "its output").await;
    let before = client.status().await.unwrap();
    let is_refused = |answer: &str| answer.starts_with(r#"{"error":{"code":"unknown_request","message":""#);
    for wrong in ["\n", "hello\n", "{}\n", "[]\n", "{\"v\":1}\n", "{\"v\":1,\"do\":\"dance\"}\n", "\0\u{1f600}\n"] {
        let mut line = Line::open(&shims).await;
        line.say(wrong).await;
        let answer = line.hear().await;
        assert!(is_refused(&answer), "{wrong:?} {answer}");
        assert_eq!(line.hear().await, "", "nothing more is understood on it");
    }
    // What a later version may bring is refused, and what follows is answered.
    let mut line = Line::open(&shims).await;
    for later in ["{\"v\":5,\"do\":\"status\"}\n", "{\"v\":0,\"do\":\"status\"}\n"] {
        line.say(later).await;
        assert!(is_refused(&line.hear().await), "{later}");
    }
    line.say("{\"v\":1,\"do\":\"output\",\"process\":\"none\",\"more\":1}\n").await;
    let answer = line.hear().await;
    assert!(
        answer.contains(r#""code":"no_process","message":"service \"s\" has no process \"none\"; it has web""#),
        "{answer}"
    );
    // In pieces, several at once, and the last of them cut off.
    for piece in
        ["{\"v\":1,", "\"do\":\"output\",\"process\"", ":\"web\"}\n{\"v\":1,\"do\":\"status\"}\n{\"v\":1,\"do\":\"st"]
    {
        line.say(piece).await;
    }
    assert_eq!(line.hear().await, r#"{"bytes":6}"#);
    assert_eq!(line.hear_bytes(6).await, "hello\n");
    assert!(line.hear().await.starts_with(r#"{"ok":{"pid":"#));
    line.0.get_mut().shutdown().await.unwrap();
    assert!(is_refused(&line.hear().await));

    let mut line = Line::open(&shims).await;
    let long = vec![b'x'; 17 << 20];
    // It may be refused before it is heard to its end.
    let _ = line.0.get_mut().write_all(&long).await;
    let mut answer = String::new();
    let _ = line.0.read_line(&mut answer).await;
    assert!(answer.is_empty() || answer.contains("a line is too long"), "{answer}");
    assert_eq!(client.status().await.unwrap(), before);
    client.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_client_asked_for_is_done_though_it_did_not_wait() {
    let shims = Shims::new();
    let mut supervisor = shims.start("s", &[]);
    let slow = ProcessDef {
        stop: Stop { timeout_ms: 300, ..Stop::default() },
        ..sh("trap '' TERM; echo ready; while :; do sleep 0.01; done")
    };
    let mut client = shims.client("s").await;
    client.apply(up("1", ServiceDef::of("old", slow.clone()))).await.unwrap();
    wait_for(async || log(&shims.logs("s"), "old").contains("ready"), "the first").await;
    let orders = up("2", ServiceDef::of("new", ProcessDef { kind: Kind::Service, ..slow }));
    let request = serde_json::json!({"v": 1, "do": "apply", "orders": orders});
    let mut line = Line::open(&shims).await;
    line.say(format!("{request}\n")).await;
    shims.until_state("s", "old", "stopping").await;
    drop(line);
    shims.until_state("s", "new", "running").await;
    wait_for(async || log(&shims.logs("s"), "new").contains("ready"), "the second").await;

    let mut line = Line::open(&shims).await;
    line.say("{\"v\":1,\"do\":\"stop\"}\n").await;
    drop(line);
    assert!(shim::ended(&mut supervisor).await.success(), "it has nothing more to do");
    assert_eq!(marked(shims.folder.path()), [0; 0]);
}

#[tokio::test]
async fn two_hundred_clients_at_once_are_all_answered() {
    let shims = Shims::new();
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.apply(up("1", ServiceDef::of("web", talks()))).await.unwrap();
    let one = |number: usize| {
        let shims = &shims;
        async move {
            // Many more than the socket's queue holds may ask to be let in at the same moment.
            let mut client = shims.client("s").await;
            match number % 3 {
                0 => assert!(client.status().await.unwrap().service.is_some()),
                1 => assert!(client.watch(clock()).await.unwrap().next().await.is_ok()),
                _ => {
                    let mut follow = client.follow("web", clock()).await.unwrap();
                    assert_eq!(shim::within(follow.next(), "output").await.unwrap(), Piece::Bytes(b"hello\n".to_vec()));
                }
            }
        }
    };
    wait_for(async || log(&shims.logs("s"), "web") == "hello\n", "its output").await;
    futures_util::future::join_all((0..200).map(one)).await;

    // All of them stay, and the process is seen to end nevertheless.
    let mut watches = Vec::new();
    for _ in 0..200 {
        watches.push(shims.client("s").await.watch(clock()).await.unwrap());
    }
    let before = status(&client.status().await.unwrap(), "web").unwrap().state.pid().unwrap();
    kill(before);
    for watch in &mut watches {
        while status(&shim::within(watch.next(), "a report").await.unwrap(), "web")
            .unwrap()
            .state
            .pid()
            .is_none_or(|pid| pid == before)
        {}
    }
    client.stop().await.unwrap();
}

#[tokio::test]
async fn a_follower_that_never_reads_stalls_neither_the_process_nor_other_clients() {
    let shims = Shims::new();
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    let more = shims.folder.path().join("more");
    rustix::fs::mkfifoat(rustix::fs::CWD, &more, rustix::fs::Mode::RWXU).unwrap();
    let flood = ProcessDef {
        kind: Kind::Task,
        ..sh(&format!(
            "echo begin; read x < {}; yes 'more and more' | head -c 20000000; echo; echo end",
            more.display()
        ))
    };
    let logs = LogLimits::default();
    let service = ServiceDef { processes: BTreeMap::from([("flood".to_owned(), flood)]), logs };
    client.apply(up("1", service)).await.unwrap();
    let mut silent = Line::open(&shims).await;
    silent.say("{\"v\":2,\"do\":\"follow\",\"process\":\"flood\"}\n").await;
    let mut follow = shims.client("s").await.follow("flood", clock()).await.unwrap();
    assert_eq!(shim::within(follow.next(), "output").await.unwrap(), Piece::Bytes(b"begin\n".to_vec()));
    fs::write(&more, "go\n").unwrap();
    shims.until_state("s", "flood", "completed").await;
    assert!(log(&shims.logs("s"), "flood").ends_with("\nend\n"));
    // Who reads again is told what is missing, and goes on with the rest.
    let (mut heard, mut lost) = (0, 0);
    loop {
        match shim::within(follow.next(), "output").await.unwrap() {
            Piece::Bytes(bytes) => {
                heard += bytes.len() as u64;
                if bytes.ends_with(b"\nend\n") {
                    break;
                }
            }
            Piece::Lost(bytes) => lost += bytes,
        }
    }
    assert_eq!(heard + lost, 20_000_000 + "\nend\n".len() as u64);
    assert!(lost > 0);
    client.stop().await.unwrap();
    drop(silent);
}
