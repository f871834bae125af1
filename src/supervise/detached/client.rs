//! Speaking to a detached supervisor, of this version or of an earlier one.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;

use super::orders::Orders;
use super::protocol::{Answer, Ask, Hello, NEWEST, OLDEST, Report, Request, read_line, socket, write_line};
use crate::clock::SharedClock;
use crate::supervise::Piece;
use crate::supervise::output::overlap;

/// A supervisor that cannot tell changes is asked so often.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long a supervisor may take to say which versions it speaks, which it does whatever else it is doing.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// How long a supervisor that has nothing to do any more may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// The largest piece of output that a server sends.
const MOST_PIECE: u64 = 1 << 20;

/// Why a detached supervisor could not be asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DetachedError {
    /// No supervisor of this service is there.
    #[error("no supervisor of {service} is there")]
    NotThere {
        /// The service.
        service: String,
    },
    /// It speaks no version of the protocol that is spoken here.
    #[error(
        "the supervisor of {service} ({program}) speaks versions {oldest} to {newest} of the protocol, expected one of \
         {OLDEST} to {NEWEST}; restart it with this program"
    )]
    Foreign {
        /// The service.
        service: String,
        /// What it calls itself.
        program: String,
        /// The oldest version that it speaks.
        oldest: u32,
        /// The newest one.
        newest: u32,
    },
    /// It does not know what the orders ask for. One that is started now would.
    #[error("the supervisor of {service} is of an earlier release, and knows no sockets")]
    TooOld {
        /// The service.
        service: String,
    },
    /// It refused.
    #[error("{message}")]
    Refused {
        /// What programs compare, such as `no_process`.
        code: String,
        /// What people read.
        message: String,
    },
    /// It ended, or said what cannot be understood.
    #[error("speaking to the supervisor of {service}")]
    Broken {
        /// The service.
        service: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// A connection to a detached supervisor.
#[derive(Debug)]
pub struct Client {
    service: String,
    stream: BufReader<UnixStream>,
    /// The newest version of the protocol that both speak.
    version: u32,
}

impl Client {
    /// Connects to the supervisor of `service` below `folder`.
    ///
    /// # Errors
    /// [`DetachedError::NotThere`], [`DetachedError::Foreign`] or [`DetachedError::Broken`].
    pub async fn connect(folder: &Path, service: &str) -> Result<Self, DetachedError> {
        let service = service.to_owned();
        let broken = |source| DetachedError::Broken { service: service.clone(), source };
        let absent = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                DetachedError::NotThere { service: service.clone() }
            }
            _ => broken(error),
        };
        let (handle, path) = socket(&folder.join(&service).join("run")).map_err(absent)?;
        let stream = UnixStream::connect(path).await.map_err(absent)?;
        drop(handle);
        let mut stream = BufReader::new(stream);
        let hello = tokio::time::timeout(HELLO_WITHIN, read_line::<Hello>(&mut stream)).await;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        let hello = hello.map_err(late).and_then(|hello| hello).map_err(broken)?;
        let Some(Hello { oldest, newest, program, .. }) = hello else {
            return Err(DetachedError::NotThere { service });
        };
        let version = newest.min(NEWEST);
        if version < oldest.max(OLDEST) {
            return Err(DetachedError::Foreign { service, program, oldest, newest });
        }
        Ok(Self { service, stream, version })
    }

    /// What it does now.
    ///
    /// # Errors
    /// [`DetachedError::Broken`].
    pub async fn status(&mut self) -> Result<Report, DetachedError> {
        match self.ask(Ask::Status).await? {
            Answer::Ok(Some(report)) => Ok(*report),
            _ => Err(self.unexpected()),
        }
    }

    /// Whether it knows all that the orders ask for.
    #[must_use]
    pub fn takes(&self, orders: &Orders) -> bool {
        orders.since() <= self.version
    }

    /// Gives it orders, and completes when they are carried out. The same orders again change nothing. What could not
    /// be started its status tells.
    ///
    /// # Errors
    /// [`DetachedError::TooOld`], [`DetachedError::Refused`] or [`DetachedError::Broken`].
    pub async fn apply(&mut self, orders: Orders) -> Result<(), DetachedError> {
        if !self.takes(&orders) {
            return Err(DetachedError::TooOld { service: self.service.clone() });
        }
        self.tell(Ask::Apply { orders: Box::new(orders) }).await
    }

    /// Stops the service until it is ordered to run again, also across restarts of the machine, and ends the supervisor,
    /// which is gone then unless it was given other orders meanwhile.
    ///
    /// # Errors
    /// [`DetachedError::Refused`] or [`DetachedError::Broken`]; something may still run.
    pub async fn stop(&mut self) -> Result<(), DetachedError> {
        self.tell(Ask::Stop).await?;
        // It hangs up when it ends. Nothing more is to be heard, and what is stopped is so in any case.
        let mut nothing = [0];
        let _ = tokio::time::timeout(ENDS_WITHIN, self.stream.read(&mut nothing)).await;
        Ok(())
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`DetachedError::Refused`] or [`DetachedError::Broken`].
    pub async fn start_process(&mut self, process: &str) -> Result<(), DetachedError> {
        self.tell(Ask::Start { process: process.to_owned() }).await
    }

    /// Stops a process until it is started again, or the machine is.
    ///
    /// # Errors
    /// As for [`Client::start_process`].
    pub async fn stop_process(&mut self, process: &str) -> Result<(), DetachedError> {
        self.tell(Ask::Halt { process: process.to_owned() }).await
    }

    /// Stops a process and starts it again.
    ///
    /// # Errors
    /// As for [`Client::start_process`].
    pub async fn restart_process(&mut self, process: &str) -> Result<(), DetachedError> {
        self.tell(Ask::Restart { process: process.to_owned() }).await
    }

    /// Tells a process to read its configuration anew, by its reload signal.
    ///
    /// # Errors
    /// As for [`Client::start_process`]. A process without a reload signal is refused as `no_reload_signal`, and
    /// everything is as `unknown_request` by supervisors before version 2 of the protocol.
    pub async fn reload_process(&mut self, process: &str) -> Result<(), DetachedError> {
        self.tell(Ask::Reload { process: process.to_owned() }).await
    }

    /// Stops every process and starts again what starts with its service. Once asked for, it is done whatever becomes
    /// of the client.
    ///
    /// # Errors
    /// As for [`Client::start_process`]; `unknown_request` by supervisors before version 2 of the protocol.
    pub async fn restart_service(&mut self) -> Result<(), DetachedError> {
        self.tell(Ask::RestartAll).await
    }

    /// Ends a process and all that it started with SIGKILL.
    ///
    /// # Errors
    /// As for [`Client::start_process`].
    pub async fn kill_process(&mut self, process: &str) -> Result<(), DetachedError> {
        self.tell(Ask::Kill { process: process.to_owned() }).await
    }

    /// The last output of a process.
    ///
    /// # Errors
    /// As for [`Client::start_process`].
    pub async fn output(&mut self, process: &str) -> Result<Vec<u8>, DetachedError> {
        match self.ask(Ask::Output { process: process.to_owned() }).await? {
            Answer::Bytes(length) => self.bytes(length).await,
            _ => Err(self.unexpected()),
        }
    }

    /// What it does now, and then each change.
    ///
    /// # Errors
    /// [`DetachedError::Broken`].
    pub async fn watch(mut self, clock: SharedClock) -> Result<Watch, DetachedError> {
        let tells = self.version >= Ask::Watch.since();
        if tells {
            self.send(Ask::Watch).await?;
        }
        Ok(Watch { client: self, clock, tells, last: None })
    }

    /// The last output of a process, and then all that comes.
    ///
    /// # Errors
    /// As for [`Client::start_process`].
    pub async fn follow(mut self, process: &str, clock: SharedClock) -> Result<Following, DetachedError> {
        let ask = Ask::Follow { process: process.to_owned() };
        let tells = self.version >= ask.since();
        if tells {
            self.send(ask).await?;
        }
        Ok(Following { client: self, clock, tells, process: process.to_owned(), last: Vec::new() })
    }

    async fn tell(&mut self, ask: Ask) -> Result<(), DetachedError> {
        match self.ask(ask).await? {
            Answer::Ok(_) => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<Answer, DetachedError> {
        self.send(ask).await?;
        self.answer().await
    }

    async fn send(&mut self, ask: Ask) -> Result<(), DetachedError> {
        let request = Request { v: ask.since().max(OLDEST), ask };
        let sent = write_line(self.stream.get_mut(), &request).await;
        sent.map_err(|source| self.broken(source))
    }

    async fn answer(&mut self) -> Result<Answer, DetachedError> {
        let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended");
        let answer = read_line(&mut self.stream).await.and_then(|answer| answer.ok_or_else(ended));
        match answer.map_err(|source| self.broken(source))? {
            Answer::Error(refusal) => Err(DetachedError::Refused { code: refusal.code, message: refusal.message }),
            answer => Ok(answer),
        }
    }

    async fn bytes(&mut self, length: u64) -> Result<Vec<u8>, DetachedError> {
        if length > MOST_PIECE {
            return Err(self.unexpected());
        }
        let mut bytes = Vec::new();
        let read = (&mut self.stream).take(length).read_to_end(&mut bytes).await;
        match read {
            Ok(read) if read as u64 == length => Ok(bytes),
            Ok(_) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn broken(&self, source: io::Error) -> DetachedError {
        DetachedError::Broken { service: self.service.clone(), source }
    }

    fn unexpected(&self) -> DetachedError {
        self.broken(io::Error::new(io::ErrorKind::InvalidData, "it answered something else than was asked"))
    }
}

/// What a detached supervisor does, change by change.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    clock: SharedClock,
    /// Whether the supervisor tells changes by itself.
    tells: bool,
    last: Option<Report>,
}

impl Watch {
    /// The next report, the first one at once. It can be given up and asked for again only where the supervisor tells
    /// changes by itself; so let one task do nothing else.
    ///
    /// # Errors
    /// [`DetachedError::Broken`], which is how the end of the supervisor shows.
    pub async fn next(&mut self) -> Result<Report, DetachedError> {
        if self.tells {
            return match self.client.answer().await? {
                Answer::Ok(Some(report)) => Ok(*report),
                _ => Err(self.client.unexpected()),
            };
        }
        loop {
            if self.last.is_some() {
                self.clock.sleep(ASK_AGAIN).await;
            }
            let report = self.client.status().await?;
            if self.last.as_ref() != Some(&report) {
                self.last = Some(report.clone());
                return Ok(report);
            }
        }
    }
}

/// The output of a process as it comes.
#[derive(Debug)]
pub struct Following {
    client: Client,
    clock: SharedClock,
    tells: bool,
    process: String,
    /// What an earlier supervisor gave last.
    last: Vec<u8>,
}

impl Following {
    /// The next piece of output. As for [`Watch::next`], let one task do nothing else.
    ///
    /// # Errors
    /// [`DetachedError::Refused`] if there is no such process, or [`DetachedError::Broken`] at the supervisor's end.
    pub async fn next(&mut self) -> Result<Piece, DetachedError> {
        if self.tells {
            return match self.client.answer().await? {
                Answer::Bytes(length) => Ok(Piece::Bytes(self.client.bytes(length).await?)),
                Answer::Lost(bytes) => Ok(Piece::Lost(bytes)),
                _ => Err(self.client.unexpected()),
            };
        }
        loop {
            let now = self.client.output(&self.process).await?;
            let new = new_part(&self.last, &now).to_vec();
            self.last = now;
            if !new.is_empty() {
                return Ok(Piece::Bytes(new));
            }
            self.clock.sleep(ASK_AGAIN).await;
        }
    }
}

/// What of `now` was not in `before` yet, if both are the end of the same stream.
fn new_part<'a>(before: &[u8], now: &'a [u8]) -> &'a [u8] {
    &now[overlap(before, now)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_found_in_what_is_there() {
        assert_eq!(new_part(b"", b"abc"), b"abc");
        assert_eq!(new_part(b"abc", b"abc"), b"");
        assert_eq!(new_part(b"abc", b"bcde"), b"de");
        assert_eq!(new_part(b"abc", b"xyz"), b"xyz");
    }
}
