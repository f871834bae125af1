//! A password that somebody types, or that a program writes to standard input. It never stands among the arguments,
//! where every user of the machine could read it.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::failure::Failure;

/// The most bytes that are read.
const MOST_BYTES: u64 = 4_096;

/// A new password: asked for twice at a terminal, else the first line of standard input.
pub(super) fn read_new(whose: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let password = ask(&format!("New password of {whose}: "))?;
    if ask("The same again: ")? == password { Ok(password) } else { Err(Failure::usage("the two passwords differ")) }
}

fn read_line() -> Result<String, Failure> {
    let mut line = String::new();
    let read = io::stdin().lock().take(MOST_BYTES).read_line(&mut line);
    read.map_err(|error| Failure::local("reading the password", &error))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks once, without showing what is typed.
fn ask(question: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::local("asking for the password", &error);
    let mut talk = io::stderr();
    write!(talk, "{question}").and_then(|()| talk.flush()).map_err(failed)?;
    let silence = Silence::begin().map_err(failed)?;
    let line = read_line();
    drop(silence);
    // The line end was not shown either.
    writeln!(talk).map_err(failed)?;
    line
}

/// While it lives the terminal does not show what is typed.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
