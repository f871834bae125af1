//! A terminal that a command has for itself: its whole screen, and its keys one by one.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::failure::Failure;

/// The screen of its own, without a cursor.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// What was there before, and its cursor.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// A terminal that does not say how large it is.
const USUAL: Size = Size { rows: 24, columns: 80 };
/// Bytes of one read; more are read next.
const MOST_BYTES: usize = 256;
/// Reads that nobody took the keys of yet; who is slow leaves the others to the system.
const MOST_READS: usize = 16;
/// So often who reads keys looks whether somebody still wants them.
const BETWEEN_LOOKS: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Something that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A letter, a digit or a sign of ASCII: names in a fleet have no others.
    Char(char),
    Enter,
    Escape,
    Backspace,
    Tab,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// Why somebody who waits for keys goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Keys(Vec<Key>),
    /// It has another size now.
    Resized,
    /// The terminal is gone.
    Gone,
}

/// The terminal, as long as this lives. Then it is as it was before, also when the program panics.
#[derive(Debug)]
pub(crate) struct Terminal {
    before: Termios,
    read: mpsc::Receiver<Vec<u8>>,
    resized: Signal,
    /// The beginning of a key whose end has not come yet.
    begun: Vec<u8>,
}

impl Terminal {
    /// Takes the terminal of standard input and output.
    ///
    /// # Errors
    /// One of them is none, or it cannot be set up.
    pub(crate) fn take() -> Result<Self, Failure> {
        let (input, output) = (io::stdin(), io::stdout());
        if !input.is_terminal() || !output.is_terminal() {
            return Err(Failure::usage("standard input and output are not both a terminal"));
        }
        let refused = |error: io::Error| Failure::local("taking the terminal", &error);
        let resized = signal(SignalKind::window_change()).map_err(refused)?;
        let before = termios::tcgetattr(&input).map_err(|error| refused(error.into()))?;
        let mut own = before.clone();
        // Ctrl-C stays what it is. Nobody could use the terminal of somebody who is suspended like this.
        own.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        for (code, value) in [
            (SpecialCodeIndex::VMIN, 0),
            (SpecialCodeIndex::VTIME, 0),
            (SpecialCodeIndex::VSUSP, 0),
            (SpecialCodeIndex::VQUIT, 0),
        ] {
            own.special_codes[code] = value;
        }
        termios::tcsetattr(&input, OptionalActions::Flush, &own).map_err(|error| refused(error.into()))?;
        let (tell, read) = mpsc::channel(MOST_READS);
        let terminal = Self { before, read, resized, begun: Vec::new() };
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || read_keys(&tell)).map_err(refused)?;
        write(ENTER)?;
        Ok(terminal)
    }

    /// How large it is now.
    pub(crate) fn size(&self) -> Size {
        let size = termios::tcgetwinsize(io::stdout()).ok();
        let size = size.map(|size| Size { rows: size.ws_row.into(), columns: size.ws_col.into() });
        size.filter(|size| size.rows > 0 && size.columns > 0).unwrap_or(USUAL)
    }

    /// Shows these lines, which are safe and fit, and nothing else.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(crate) fn draw(&self, lines: &[String]) -> Result<(), Failure> {
        let lines: Vec<String> = lines.iter().take(self.size().rows).map(|line| format!("{line}\u{1b}[K")).collect();
        write(&format!("\u{1b}[H{}\u{1b}[J", lines.join("\r\n")))
    }

    /// Waits for keys, or for another size.
    pub(crate) async fn input(&mut self) -> Input {
        loop {
            tokio::select! {
                _ = self.resized.recv() => return Input::Resized,
                read = self.read.recv() => match read {
                    Some(bytes) => self.begun.extend(bytes),
                    None => return Input::Gone,
                },
            }
            let keys = keys(&mut self.begun);
            if !keys.is_empty() {
                return Input::Keys(keys);
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = write(LEAVE);
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Reads standard input as long as somebody listens. Nothing is read that nobody waits for, so that what is typed
/// afterwards is the shell's.
fn read_keys(tell: &mpsc::Sender<Vec<u8>>) {
    let input = io::stdin();
    while !tell.is_closed() {
        let mut waits = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut waits, Some(&BETWEEN_LOOKS)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) if !waits[0].revents().contains(PollFlags::IN) => return,
            Ok(_) => {}
            Err(_) => return,
        }
        let mut bytes = vec![0; MOST_BYTES];
        match rustix::io::read(&input, &mut bytes) {
            Ok(0) => return,
            Ok(count) => bytes.truncate(count),
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        if tell.blocking_send(bytes).is_err() {
            return;
        }
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::local("writing to the terminal", &error))
}

/// Takes the keys out of what was read, and leaves one that is not whole yet. See ECMA-48 and xterm's control
/// sequences; what is not known is passed over.
fn keys(bytes: &mut Vec<u8>) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at + 1..];
        let (length, key) = match (byte, rest) {
            (0x1b, [b'[' | b'O', rest @ ..]) => {
                let Some(end) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
                    // A sequence that goes on and on is none.
                    if rest.len() > 16 {
                        at = bytes.len();
                    }
                    break;
                };
                (end + 3, sequence(&rest[..=end]))
            }
            (0x1b, _) => (1, Some(Key::Escape)),
            (b'\r' | b'\n', _) => (1, Some(Key::Enter)),
            (0x08 | 0x7f, _) => (1, Some(Key::Backspace)),
            (b'\t', _) => (1, Some(Key::Tab)),
            (0x20..=0x7e, _) => (1, Some(Key::Char(byte.into()))),
            _ => (1, None),
        };
        keys.extend(key);
        at += length;
    }
    bytes.drain(..at);
    keys
}

fn sequence(sequence: &[u8]) -> Option<Key> {
    match sequence {
        b"A" => Some(Key::Up),
        b"B" => Some(Key::Down),
        b"H" | b"1~" | b"7~" => Some(Key::Home),
        b"F" | b"4~" | b"8~" => Some(Key::End),
        b"5~" => Some(Key::PageUp),
        b"6~" => Some(Key::PageDown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_also_when_they_come_in_pieces() {
        let mut bytes = b"a\x1b[A\x1bOB\x1b[5~\x1b[1;5C\r\x7f\t\x01\xc3\xa9\x1b".to_vec();
        let all = [Key::Char('a'), Key::Up, Key::Down, Key::PageUp, Key::Enter, Key::Backspace, Key::Tab, Key::Escape];
        assert_eq!(keys(&mut bytes), all);
        assert!(bytes.is_empty());
        let mut bytes = b"q\x1b[6".to_vec();
        assert_eq!(keys(&mut bytes), [Key::Char('q')]);
        bytes.push(b'~');
        assert_eq!(keys(&mut bytes), [Key::PageDown]);
        let mut endless = [b"\x1b[".as_slice(), &[b'1'; 64]].concat();
        assert_eq!(keys(&mut endless), []);
        assert!(endless.is_empty());
    }
}
