//! `fleetagent logs -f`: what processes write as it comes, behind what they wrote before.

use std::io::{self, Read as _};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::cells::Cell;
use super::context::Context;
use super::logs::{BLOCK_BYTES, Reader, write};
use super::strand::Strand;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::cli::output::Output;
use crate::clock::SharedClock;
use crate::supervise::detached::{DetachedError, Following, Wanted};
use crate::supervise::{Last, LogFiles, Piece};

/// Pieces of output that wait for the reader. Past these the supervisor holds on to what comes, as far as it does.
const PIECES: usize = 16;

/// How long to wait before a supervisor is looked for again that was lost.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What the one who writes it all out is told, of the process with this number.
#[derive(Debug)]
enum News {
    Bytes(Vec<u8>),
    Lost(u64),
    /// Why nothing comes for a while, or ever again.
    Said(String),
}

type Sender = mpsc::Sender<(usize, News)>;

/// Passes on what `processes` of a cell write, from the last `lines` of each on, each by its strand, until Ctrl-C.
pub(super) async fn follow(
    cell: &Cell,
    processes: Vec<String>,
    strands: Vec<Strand>,
    lines: u64,
    context: &Context,
) -> Result<Exit, Failure> {
    let interrupted = interrupt::watch()?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let mut followed = JoinSet::new();
    for (number, process) in processes.iter().enumerate() {
        let source = Source {
            cell: cell.clone(),
            process: process.clone(),
            number,
            sender: sender.clone(),
            clock: context.clock.clone(),
        };
        let (past, following) = source.begin().await?;
        followed.spawn(source.run(past, following, lines));
    }
    drop(sender);
    let (done, written) = oneshot::channel();
    let output = context.output;
    // A thread of its own, because whoever reads may stop reading, and Ctrl-C is heard nevertheless.
    let writer = std::thread::Builder::new().name("output".to_owned());
    let write = move || {
        // Nobody is left to be told if it was interrupted.
        let _ = done.send(write_out(receiver, strands, &processes, output));
    };
    writer.spawn(write).map_err(|error| Failure::local("starting a thread", &error))?;
    let ended = tokio::select! {
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
        ended = written => ended,
    };
    match ended {
        Ok(Ok(Reader::Gone)) => return Ok(Exit::Ok),
        Ok(Ok(Reader::Reads)) => {}
        Ok(Err(error)) => return Err(Failure::local("writing the output", &error)),
        Err(_) => return Err(Failure::new(Exit::Internal, "output", "the thread that writes has ended")),
    }
    // Nothing comes any more because all of them have ended, each for a reason.
    while let Some(result) = followed.join_next().await {
        result.map_err(|error| Failure::new(Exit::Internal, "output", error.to_string()))??;
    }
    Ok(Exit::Ok)
}

/// Writes everything out until nothing comes any more or nobody reads.
fn write_out(
    mut news: mpsc::Receiver<(usize, News)>,
    mut strands: Vec<Strand>,
    processes: &[String],
    output: Output,
) -> io::Result<Reader> {
    let mut out = Vec::new();
    while let Some((number, piece)) = news.blocking_recv() {
        let strand = &mut strands[number];
        let process = &processes[number];
        let said = match piece {
            News::Bytes(bytes) => {
                strand.push(&bytes, &mut out);
                None
            }
            News::Lost(bytes) => {
                Some(format!("{process}: {bytes} bytes are left out, because they were not read in time"))
            }
            News::Said(text) => Some(format!("{process}: {text}")),
        };
        if said.is_some() {
            strand.end(&mut out);
        }
        if write(&out)? == Reader::Gone {
            return Ok(Reader::Gone);
        }
        out.clear();
        if let Some(text) = said {
            output.say(&text);
        }
    }
    for strand in &mut strands {
        strand.end(&mut out);
    }
    write(&out)
}

/// The output of one process that is followed, across the supervisors that take care of it one after the other.
struct Source {
    cell: Cell,
    process: String,
    number: usize,
    sender: Sender,
    clock: SharedClock,
}

/// What there is of the output before it is followed.
struct Past {
    /// The log files, listed before the supervisor was asked.
    files: Option<LogFiles>,
    /// Whether the supervisor has the last of it in memory, and begins with that.
    in_memory: bool,
}

impl Source {
    async fn begin(&self) -> Result<(Past, Following), Failure> {
        let files = self.cell.logs(&self.process)?;
        let mut client = self.cell.connect().await?;
        let last = self.cell.in_time(client.output(&self.process)).await?;
        let following = self.cell.in_time(client.follow(&self.process, self.clock.clone())).await?;
        Ok((Past { files, in_memory: !last.is_empty() }, following))
    }

    /// Passes on the last `lines`, and then all that comes.
    async fn run(self, past: Past, mut following: Following, lines: u64) -> Result<(), Failure> {
        let first = match past.in_memory {
            true => Some(following.next().await.map_err(|error| self.cell.failure(&error))?),
            false => None,
        };
        let (in_memory, missed) = match first {
            Some(Piece::Bytes(bytes)) => (bytes, None),
            Some(Piece::Lost(bytes)) => (Vec::new(), Some(bytes)),
            None => (Vec::new(), None),
        };
        let mut open = true;
        if let Some(files) = past.files {
            let failed =
                |error| Failure::local(format!("reading the log of {}/{}", self.cell.name, self.process), &error);
            let before = files.before(&in_memory).map_err(failed)?;
            let mut tail = before.tail(Last::Lines(lines.saturating_sub(count_lines(&in_memory)))).map_err(failed)?;
            let mut block = vec![0; BLOCK_BYTES];
            while open {
                let read = tail.read(&mut block).map_err(failed)?;
                if read == 0 {
                    break;
                }
                open = self.tell(News::Bytes(block[..read].to_vec())).await;
            }
        }
        open = open && self.tell(News::Bytes(last_lines(&in_memory, lines).to_vec())).await;
        if let Some(bytes) = missed {
            open = open && self.tell(News::Lost(bytes)).await;
        }
        while open {
            open = match following.next().await {
                Ok(Piece::Bytes(bytes)) => self.tell(News::Bytes(bytes)).await,
                Ok(Piece::Lost(bytes)) => self.tell(News::Lost(bytes)).await,
                Err(DetachedError::Refused { code, .. }) if code == "no_process" => {
                    self.tell(News::Said("the version that runs now has no such process".to_owned())).await;
                    false
                }
                Err(_) => match self.again().await? {
                    Some(next) => {
                        following = next;
                        true
                    }
                    None => false,
                },
            };
        }
        Ok(())
    }

    /// Waits for the next supervisor, or for another version under the same one; None if the cell is to be stopped.
    async fn again(&self) -> Result<Option<Following>, Failure> {
        let mut told = false;
        loop {
            let orders = self.cell.orders()?;
            if orders.is_none_or(|orders| orders.wanted == Wanted::Down) {
                self.tell(News::Said("the cell was stopped".to_owned())).await;
                return Ok(None);
            }
            self.clock.sleep(LOOK_AGAIN).await;
            let failure = match self.cell.connect().await {
                Ok(client) => match client.follow(&self.process, self.clock.clone()).await {
                    Ok(following) => return Ok(Some(following)),
                    Err(error) => self.cell.failure(&error),
                },
                Err(failure) => failure,
            };
            if matches!(failure.exit, Exit::Denied | Exit::Conflict) {
                return Err(failure);
            }
            let said = "its supervisor is gone; the next one is waited for";
            if !told && !self.tell(News::Said(said.to_owned())).await {
                return Ok(None);
            }
            told = true;
        }
    }

    /// Whether anybody is still there to be told.
    async fn tell(&self, news: News) -> bool {
        self.sender.send((self.number, news)).await.is_ok()
    }
}

/// How many lines there are, an unfinished one at the end included.
fn count_lines(bytes: &[u8]) -> u64 {
    let ends = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    ends + u64::from(bytes.last().is_some_and(|byte| *byte != b'\n'))
}

fn last_lines(bytes: &[u8], count: u64) -> &[u8] {
    let Some(others) = count.checked_sub(1) else { return &[] };
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut ends = whole.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let begin = ends.nth(usize::try_from(others).unwrap_or(usize::MAX)).map_or(0, |(end, _)| end + 1);
    &bytes[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_the_end_and_an_unfinished_one_is_one() {
        let last = |text: &'static str, count| std::str::from_utf8(last_lines(text.as_bytes(), count)).unwrap();
        assert_eq!([last("a\nb\nc", 2), last("a\nb\nc\n", 2), last("a\n\n", 1)], ["b\nc", "b\nc\n", "\n"]);
        assert_eq!([last("a\nb", 0), last("a\nb", 9), last("", 3), last("a\n\n", 2)], ["", "a\nb", "", "a\n\n"]);
        let count = |text: &str| count_lines(text.as_bytes());
        assert_eq!([count(""), count("a"), count("a\n"), count("a\nb")], [0, 1, 1, 2]);
    }
}
