//! `fleetagent logs`: what the processes of a cell write, from their log files or as it comes.

use std::io::{self, Read as _, Write as _};

use clap::Args;

use super::cells::{Cell, Cells, Target};
use super::context::Context;
use super::follow::follow;
use super::strand::Strand;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::supervise::{Last, LogFiles};

/// How much is read from a file in one go.
pub(super) const BLOCK_BYTES: usize = 32 * 1024;

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The cell, and one process of it if not all of them are meant
    #[arg(value_name = "CELL[/PROCESS]")]
    target: Target,
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines of each process to begin with
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    lines: u64,
}

pub(super) async fn run(args: &LogsArgs, context: &Context) -> Result<Exit, Failure> {
    let cell = Cells::of(context)?.find(&args.target.cell)?;
    let processes = processes(&cell, &args.target)?;
    let width = processes.iter().map(String::len).max().unwrap_or_default();
    let strands = processes.iter().enumerate().map(|(number, process)| {
        let prefix = match processes.len() {
            1 => String::new(),
            _ => context.output.paint_apart(number, &format!("{process:<width$} |")) + " ",
        };
        Strand::new(prefix, context.output.is_terminal())
    });
    let strands = strands.collect();
    if args.follow {
        return follow(&cell, processes, strands, args.lines, context).await;
    }
    for (process, strand) in processes.iter().zip(strands) {
        let Some(files) = cell.logs(process)? else { continue };
        match copy(&files, args.lines, strand) {
            Ok(Reader::Reads) => {}
            Ok(Reader::Gone) => break,
            Err(error) => return Err(Failure::local(format!("showing the log of {}/{process}", cell.name), &error)),
        }
    }
    Ok(Exit::Ok)
}

/// The processes whose output is meant. One that is asked for by name may be of an earlier version.
fn processes(cell: &Cell, target: &Target) -> Result<Vec<String>, Failure> {
    let orders = cell.orders()?;
    let found = cell.processes(target, orders.as_ref());
    match &target.process {
        Some(process) if cell.logs(process.as_str())?.is_some() => Ok(vec![process.to_string()]),
        None if orders.is_none() => {
            Err(Failure::new(Exit::NotFound, "never_started", format!("cell {} was never started", cell.name)))
        }
        _ => found,
    }
}

/// Whether anybody still reads. A reader that has had enough, such as `head`, is no failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Reads,
    Gone,
}

pub(super) fn write(bytes: &[u8]) -> io::Result<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Copies the last `lines` to the reader.
fn copy(files: &LogFiles, lines: u64, mut strand: Strand) -> io::Result<Reader> {
    let mut tail = files.tail(Last::Lines(lines))?;
    let (mut block, mut out) = (vec![0; BLOCK_BYTES], Vec::new());
    loop {
        let read = tail.read(&mut block)?;
        match read {
            0 => strand.end(&mut out),
            read => strand.push(&block[..read], &mut out),
        }
        match write(&out)? {
            Reader::Gone => return Ok(Reader::Gone),
            Reader::Reads if read == 0 => return Ok(Reader::Reads),
            Reader::Reads => out.clear(),
        }
    }
}
