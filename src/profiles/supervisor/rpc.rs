//! Speaking to supervisord: XML-RPC in HTTP over its Unix socket, as `supervisorctl` does.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::xml::{self, Param, Value};
use crate::clock::SharedClock;

/// How long supervisord may take to answer. It does one thing after the other, and reading its configuration anew is the
/// longest of what is asked of it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// The longest answer: some thousands of processes.
const MOST_ANSWER: usize = 8 << 20;

/// The faults of supervisord that are told apart, by their numbers in its `xmlrpc.py`.
const BAD_NAME: i64 = 10;
const ALREADY_STARTED: i64 = 60;
const NOT_RUNNING: i64 = 70;
const ALREADY_ADDED: i64 = 90;
const STILL_RUNNING: i64 = 91;
const CANT_REREAD: i64 = 92;

/// Why supervisord did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpcError {
    /// Nobody listens, or not for this user.
    #[error("supervisord cannot be reached at {socket}")]
    Unreachable {
        socket: String,
        #[source]
        source: std::io::Error,
    },
    /// It is there and does not answer.
    #[error("supervisord has not answered {method} within {} s", ANSWERS_WITHIN.as_secs())]
    Hangs { method: &'static str },
    /// What it answered cannot be understood.
    #[error("supervisord answered {method} with {what}")]
    Nonsense { method: &'static str, what: String },
    /// It cannot read its configuration.
    #[error("supervisord cannot read its configuration: {text}")]
    Unreadable { text: String },
    /// It refuses.
    #[error("supervisord refuses {method}: {text}")]
    Refused { method: &'static str, text: String },
}

impl RpcError {
    /// Whether no supervisord is there that could be running anything.
    pub(super) fn says_nobody_listens(&self) -> bool {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        matches!(self, Self::Unreachable { source, .. } if [ConnectionRefused, NotFound].contains(&source.kind()))
    }
}

/// What supervisord says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessInfo {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) state: State,
    /// Its process id; 0 while it has none.
    pub(super) pid: i32,
    /// When it was started last, in seconds since 1970; 0 if it never was.
    pub(super) start: i64,
    /// When it ended last, likewise.
    pub(super) stop: i64,
    /// How it ended last: an exit code, -1 for a signal, and 0 also where supervisord has not kept it.
    pub(super) exit: i32,
    /// Why it is not running, in supervisord's words.
    pub(super) error: String,
    /// Where its output goes.
    pub(super) log: String,
}

/// The states of supervisord's processes, by their numbers in its `states.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Stopped,
    Starting,
    Running,
    Backoff,
    Stopping,
    Exited,
    Fatal,
    Unknown,
}

/// Which groups of processes supervisord would change if it were told to follow its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reread {
    pub(super) added: Vec<String>,
    pub(super) changed: Vec<String>,
}

/// A supervisord, by its socket.
#[derive(Debug)]
pub(super) struct Supervisord {
    socket: PathBuf,
    clock: SharedClock,
}

impl Supervisord {
    pub(super) fn new(socket: PathBuf, clock: SharedClock) -> Self {
        Self { socket, clock }
    }

    /// All processes that it takes care of, whoever's they are.
    pub(super) async fn processes(&self) -> Result<Vec<ProcessInfo>, RpcError> {
        let method = "supervisor.getAllProcessInfo";
        let answer = self.call(method, &[]).await?;
        let processes = answer.list().and_then(|list| list.iter().map(process).collect());
        processes.ok_or_else(|| RpcError::Nonsense { method, what: "something else than processes".to_owned() })
    }

    /// Makes it read its configuration, and change nothing yet.
    pub(super) async fn reread(&self) -> Result<Reread, RpcError> {
        let method = "supervisor.reloadConfig";
        let answer = self.call(method, &[]).await?;
        let names = |list: &Value| -> Option<Vec<String>> {
            list.list()?.iter().map(|name| name.text().map(str::to_owned)).collect()
        };
        let reread = || {
            let [lists] = answer.list()? else { return None };
            let [added, changed, _removed] = lists.list()? else { return None };
            Some(Reread { added: names(added)?, changed: names(changed)? })
        };
        reread().ok_or_else(|| RpcError::Nonsense { method, what: "something else than three lists".to_owned() })
    }

    /// Takes up a group from the configuration as it was read last, and starts it. One that is there stays as it is.
    pub(super) async fn add(&self, group: &str) -> Result<(), RpcError> {
        self.ask("supervisor.addProcessGroup", &[Param::Text(group)], &[ALREADY_ADDED]).await.map(|_| ())
    }

    /// Asks all processes of a group to end, and does not wait for it. A group that is not there has none.
    pub(super) async fn stop(&self, group: &str) -> Result<(), RpcError> {
        let params = [Param::Text(group), Param::Bool(false)];
        self.ask("supervisor.stopProcessGroup", &params, &[BAD_NAME]).await.map(|_| ())
    }

    /// Starts a process of a group, and does not wait until it is up. One that runs goes on.
    pub(super) async fn start(&self, group: &str, process: &str) -> Result<(), RpcError> {
        let name = format!("{group}:{process}");
        let params = [Param::Text(&name), Param::Bool(false)];
        self.ask("supervisor.startProcess", &params, &[ALREADY_STARTED]).await.map(|_| ())
    }

    /// Sends a signal to a process of a group. One that does not run gets none.
    pub(super) async fn signal(&self, group: &str, process: &str, signal: &str) -> Result<(), RpcError> {
        let name = format!("{group}:{process}");
        let params = [Param::Text(&name), Param::Text(signal)];
        self.ask("supervisor.signalProcess", &params, &[NOT_RUNNING]).await.map(|_| ())
    }

    /// Forgets a group; false while something of it runs.
    pub(super) async fn forget(&self, group: &str) -> Result<bool, RpcError> {
        let known = [BAD_NAME, STILL_RUNNING];
        let fault = self.ask("supervisor.removeProcessGroup", &[Param::Text(group)], &known).await?;
        Ok(fault != Some(STILL_RUNNING))
    }

    /// Calls a method for what it does; the fault that it refuses with if that is one of `known`.
    async fn ask(&self, method: &'static str, params: &[Param<'_>], known: &[i64]) -> Result<Option<i64>, RpcError> {
        match self.exchange(method, params).await? {
            Ok(_) => Ok(None),
            Err(fault) if known.contains(&fault.code) => Ok(Some(fault.code)),
            Err(fault) => Err(refused(method, fault)),
        }
    }

    async fn call(&self, method: &'static str, params: &[Param<'_>]) -> Result<Value, RpcError> {
        self.exchange(method, params).await?.map_err(|fault| refused(method, fault))
    }

    async fn exchange(
        &self,
        method: &'static str,
        params: &[Param<'_>],
    ) -> Result<Result<Value, xml::Fault>, RpcError> {
        let answer = tokio::select! {
            answer = self.post(method, xml::call(method, params)) => answer?,
            () = self.clock.sleep(ANSWERS_WITHIN) => return Err(RpcError::Hangs { method }),
        };
        xml::answer(&answer).map_err(|error| RpcError::Nonsense { method, what: format!("no XML-RPC, {error}") })
    }

    async fn post(&self, method: &'static str, body: String) -> Result<String, RpcError> {
        let nonsense = |what: String| RpcError::Nonsense { method, what };
        let broken = |error: hyper::Error| nonsense(format!("a broken connection: {error}"));
        let unreachable = |source| RpcError::Unreachable { socket: self.socket.display().to_string(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::post("/RPC2")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "text/xml")
            .header(header::CONNECTION, "close")
            .body(Full::<Bytes>::from(body))
            .map_err(|error| nonsense(error.to_string()))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::UNAUTHORIZED => {
                    let what = "401: it wants a user and a password, which Fleetman does not give; remove `username` \
                                and `password` from [unix_http_server] and rely on the socket's mode";
                    return Err(nonsense(what.to_owned()));
                }
                status => return Err(nonsense(format!("HTTP status {status}"))),
            }
            let body = Limited::new(answer.into_body(), MOST_ANSWER).collect().await;
            let body = body.map_err(|error| nonsense(format!("a body that cannot be read: {error}")))?;
            String::from_utf8(body.to_bytes().into()).map_err(|_| nonsense("something that is no UTF-8".to_owned()))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection may end as soon as the last of the answer is there, before the answer is looked at.
            _ = connection => answer.await,
        }
    }
}

fn refused(method: &'static str, fault: xml::Fault) -> RpcError {
    match fault.code {
        CANT_REREAD => {
            let text = fault.text.strip_prefix("CANT_REREAD: ").unwrap_or(&fault.text);
            RpcError::Unreadable { text: text.to_owned() }
        }
        _ => RpcError::Refused { method, text: fault.text },
    }
}

fn process(value: &Value) -> Option<ProcessInfo> {
    let text = |field| Some(value.get(field)?.text()?.to_owned());
    let int = |field| value.get(field)?.int();
    Some(ProcessInfo {
        group: text("group")?,
        name: text("name")?,
        state: match int("state")? {
            0 => State::Stopped,
            10 => State::Starting,
            20 => State::Running,
            30 => State::Backoff,
            40 => State::Stopping,
            100 => State::Exited,
            200 => State::Fatal,
            _ => State::Unknown,
        },
        pid: i32::try_from(int("pid")?).ok()?,
        start: int("start")?,
        stop: int("stop")?,
        exit: i32::try_from(int("exitstatus")?).ok()?,
        error: text("spawnerr")?,
        log: text("stdout_logfile")?,
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;
    use crate::clock::SystemClock;

    /// What comes of asking for all processes where somebody answers with `bytes`, and hangs up or keeps silent.
    async fn asked(bytes: Vec<u8>, hangs_up: bool) -> Result<Vec<ProcessInfo>, RpcError> {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            // Whoever does not want all of it hangs up.
            let _ = stream.write_all(&bytes).await;
            if !hangs_up {
                std::future::pending::<()>().await;
            }
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let answer = Supervisord::new(socket, SystemClock::shared()).processes().await;
        if hangs_up {
            let request = server.await.unwrap();
            assert!(
                request.starts_with("POST /RPC2 HTTP/1.1\r\n") && request.contains("getAllProcessInfo"),
                "{request}"
            );
        }
        answer
    }

    fn http(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
    }

    fn answer(value: &str) -> String {
        format!("<methodResponse><params><param><value>{value}</value></param></params></methodResponse>")
    }

    fn process_with(state: i64) -> String {
        let text = |name: &str, value: &str| {
            format!("<member><name>{name}</name><value><string>{value}</string></value></member>")
        };
        let int =
            |name: &str, value: i64| format!("<member><name>{name}</name><value><int>{value}</int></value></member>");
        format!(
            "<array><data><value><struct>{}{}{}{}{}{}{}{}{}</struct></value></data></array>",
            text("group", "g"),
            text("name", "n"),
            text("spawnerr", ""),
            text("stdout_logfile", "/l"),
            int("state", state),
            int("pid", 7),
            int("start", 1),
            int("stop", 2),
            int("exitstatus", -1)
        )
    }

    #[tokio::test]
    async fn processes_are_read_from_what_is_said_and_nothing_is_made_up() {
        let processes = asked(http(&answer(&process_with(20))), true).await.unwrap();
        let [process] = &processes[..] else { panic!("{processes:?}") };
        assert_eq!((process.state, process.pid, process.exit), (State::Running, 7, -1));
        assert_eq!(asked(http(&answer(&process_with(77))), true).await.unwrap()[0].state, State::Unknown);
        for half in ["<member><name>pid</name><value><int>7</int></value></member>", "<int>20</int>"] {
            let lacking = process_with(20).replace(half, "");
            assert!(matches!(asked(http(&answer(&lacking)), true).await, Err(RpcError::Nonsense { .. })), "{half}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_answered_the_caller_comes_back() {
        let whole = http(&answer(&process_with(20)));
        for length in [0, 9, 40, whole.len() - 1] {
            let broken = asked(whole[..length].to_vec(), true).await.unwrap_err();
            assert!(matches!(broken, RpcError::Nonsense { .. }), "{length}: {broken:?}");
            let silent = asked(whole[..length].to_vec(), false).await.unwrap_err();
            assert!(matches!(silent, RpcError::Hangs { .. }), "{length}: {silent:?}");
        }
        for (said, told) in [
            (http("<html>"), "no XML-RPC"),
            (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(), "wants a user and a password"),
            (b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n".to_vec(), "HTTP status 500"),
            (b"SSH-2.0\r\n".to_vec(), "a broken connection"),
            (http("\u{e9}").into_iter().map(|byte| if byte == 0xc3 { 0xff } else { byte }).collect(), "no UTF-8"),
            (http(&"x".repeat(MOST_ANSWER + 1)), "cannot be read"),
            (http(&answer("<int>1</int>")), "something else than processes"),
        ] {
            let error = asked(said, true).await.unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let nobody = Supervisord::new("/nowhere/socket".into(), SystemClock::shared()).processes().await.unwrap_err();
        assert!(nobody.says_nobody_listens() && nobody.to_string().contains("/nowhere/socket"));
    }
}
