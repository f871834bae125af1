//! A password that somebody types, or that a program writes to standard input. It never stands among the arguments,
//! where every user of the machine could read it.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::cli::failure::Failure;

/// The most bytes that are read.
const MOST_BYTES: u64 = 4_096;

/// What some terminals send for it, whatever they are set to.
const BACKSPACE: u8 = 8;

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
    let line = typed(&mut io::stdin().lock(), &silence.keys);
    drop(silence);
    // The line end was not shown either.
    writeln!(talk).map_err(failed)?;
    line.map_err(failed)?.ok_or_else(|| Failure::usage("no password was given, and nothing was changed"))
}

/// The keys that mean something while a line is typed.
struct Keys {
    interrupt: u8,
    quit: u8,
    end: u8,
    erase: u8,
    kill: u8,
}

/// A line, key by key; None if whoever typed broke it off.
fn typed(input: &mut impl BufRead, keys: &Keys) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    for byte in input.take(MOST_BYTES).bytes() {
        match byte? {
            byte if byte == keys.interrupt || byte == keys.quit => return Ok(None),
            b'\n' | b'\r' => break,
            byte if byte == keys.end => break,
            byte if byte == keys.kill => line.clear(),
            byte if byte == keys.erase || byte == BACKSPACE => {
                // A letter may have several bytes, of which only the first begins otherwise than `10`.
                while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
            }
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map(Some).map_err(io::Error::other)
}

/// While it lives the terminal shows nothing of what is typed, and hands on each key. No key ends the program
/// meanwhile, which would leave the terminal as it is now.
struct Silence {
    before: Termios,
    keys: Keys,
}

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        let codes = &before.special_codes;
        let keys = Keys {
            interrupt: codes[SpecialCodeIndex::VINTR],
            quit: codes[SpecialCodeIndex::VQUIT],
            end: codes[SpecialCodeIndex::VEOF],
            erase: codes[SpecialCodeIndex::VERASE],
            kill: codes[SpecialCodeIndex::VKILL],
        };
        Ok(Self { before, keys })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(typed_keys: &[u8]) -> Option<String> {
        let keys = Keys { interrupt: 3, quit: 28, end: 4, erase: 127, kill: 21 };
        typed(&mut &typed_keys[..], &keys).unwrap()
    }

    #[test]
    fn a_line_is_taken_as_it_was_meant_and_can_be_broken_off() {
        assert_eq!(line(b"secret\nrest").as_deref(), Some("secret"));
        assert_eq!(line("pä\x7fa\u{8}ss\n".as_bytes()).as_deref(), Some("pss"));
        assert_eq!(line(b"\x7fwrong\x15right\x04").as_deref(), Some("right"));
        assert_eq!((line(b"half\x03"), line(b"\x1c")), (None, None));
    }
}
