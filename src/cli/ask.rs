//! Asking before something is changed.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::exit::Exit;
use super::failure::Failure;

/// Asks once. Where nobody can answer that is an error that names the flag, never a yes.
///
/// # Errors
/// When there is no terminal to ask at, or the answer is no.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let mut talk = io::stderr();
    if !io::stdin().is_terminal() || !talk.is_terminal() {
        return Err(Failure::usage(format!("{question} There is no terminal to ask at")).help("-y answers yes"));
    }
    let mut answer = String::new();
    write!(talk, "{question} [y/N] ")
        .and_then(|()| talk.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Failure::local("asking", &error))?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Negative, "declined", "nothing was done"))
    }
}
