//! Reading the logs back.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::files::{LogFile, LogFiles};

/// How much is looked at in one go when line ends are searched.
const BLOCK_BYTES: usize = 32 * 1024;

/// How much of the end of the logs is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// So many lines. An unfinished line at the end counts as one.
    Lines(u64),
    /// So many bytes.
    Bytes(u64),
}

/// The end of the logs of a process: what stood there when [`LogFiles`] were listed. Files that expired since then
/// are passed over.
#[derive(Debug)]
pub struct Tail {
    /// What is to be read, the next one last, and where in it to begin.
    files: Vec<(LogFile, u64)>,
    /// The file being read, where, and where to end.
    open: Option<(File, u64, u64)>,
}

impl LogFiles {
    /// The end of the logs, across as many files as it takes, to be read as a stream. Whatever its length, only a
    /// small block is in memory.
    ///
    /// # Errors
    /// A file cannot be read, in which the line ends are searched.
    pub fn tail(&self, last: Last) -> io::Result<Tail> {
        let mut wanted = match last {
            Last::Lines(count) | Last::Bytes(count) => count,
        };
        let mut files = Vec::new();
        // The end of the last line is not the beginning of another one.
        let mut newest = true;
        for file in self.files().iter().rev().filter(|file| file.bytes > 0) {
            if wanted == 0 {
                break;
            }
            let begin = match last {
                Last::Bytes(_) => {
                    let begin = file.bytes.saturating_sub(wanted);
                    wanted -= file.bytes - begin;
                    begin
                }
                Last::Lines(_) => match begin_of_lines(file, &mut wanted, newest)? {
                    Some(begin) => begin,
                    None => continue,
                },
            };
            newest = false;
            if begin < file.bytes {
                files.push((file.clone(), begin));
            }
        }
        Ok(Tail { files, open: None })
    }

    /// The same files without the end that `output` begins with: what was logged before `output`, which is what a
    /// follower was told first after the files were listed. So what is followed can be given a longer past.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn before(&self, output: &[u8]) -> io::Result<Self> {
        let mut end = Vec::new();
        self.tail(Last::Bytes(output.len() as u64))?.read_to_end(&mut end)?;
        let mut surplus = overlap(&end, output) as u64;
        let mut files = self.files().to_vec();
        for file in files.iter_mut().rev() {
            let cut = surplus.min(file.bytes);
            file.bytes -= cut;
            surplus -= cut;
        }
        Ok(Self(files))
    }
}

/// How many bytes at the end of `earlier` are the beginning of `later`, at most.
pub(in crate::supervise) fn overlap(earlier: &[u8], later: &[u8]) -> usize {
    let fits = |length: &usize| earlier.ends_with(&later[..*length]);
    (0..=earlier.len().min(later.len())).rev().find(fits).unwrap_or_default()
}

/// Where in `file` the last `wanted` lines begin. It takes from `wanted` the lines found, so that what is left is to
/// be found in older files. `None` if the file is gone.
fn begin_of_lines(file: &LogFile, wanted: &mut u64, newest: bool) -> io::Result<Option<u64>> {
    let Some(open) = open(&file.path)? else { return Ok(None) };
    let mut block = [0_u8; BLOCK_BYTES];
    let mut end = file.bytes;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK_BYTES as u64);
        let length = usize::try_from(end - begin).unwrap_or(BLOCK_BYTES);
        open.read_exact_at(&mut block[..length], begin)?;
        for (index, _) in block[..length].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + index as u64 + 1;
            if newest && after == file.bytes {
                continue;
            }
            *wanted -= 1;
            if *wanted == 0 {
                return Ok(Some(after));
            }
        }
        end = begin;
    }
    Ok(Some(0))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some((file, position, end)) = &mut self.open {
                let most = buffer.len().min(usize::try_from(*end - *position).unwrap_or(usize::MAX));
                let read = file.read_at(&mut buffer[..most], *position)?;
                *position += read as u64;
                if read > 0 {
                    return Ok(read);
                }
            }
            let Some((file, begin)) = self.files.pop() else { return Ok(0) };
            self.open = open(&file.path)?.map(|open| (open, begin, file.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(contents: &[Vec<u8>]) -> (tempfile::TempDir, LogFiles) {
        let folder = tempfile::tempdir().unwrap();
        for (index, bytes) in contents.iter().enumerate() {
            std::fs::write(folder.path().join(format!("web.2026-03-01.{}.log", index + 1)), bytes).unwrap();
        }
        let files = LogFiles::of(folder.path(), "web").unwrap();
        (folder, files)
    }

    fn tail(files: &LogFiles, last: Last) -> Vec<u8> {
        let mut read = Vec::new();
        files.tail(last).unwrap().read_to_end(&mut read).unwrap();
        read
    }

    proptest! {
        #[test]
        fn the_last_lines_and_bytes_are_found_across_files(
            contents in prop::collection::vec("[ab\n]{0,12}", 0..5), count in 0_u64..20,
        ) {
            let contents: Vec<_> = contents.into_iter().map(String::into_bytes).collect();
            let all = contents.concat();
            let (_folder, files) = put(&contents);
            let lines: Vec<_> = all.split_inclusive(|byte| *byte == b'\n').collect();
            let wanted = usize::try_from(count).unwrap();
            prop_assert_eq!(tail(&files, Last::Lines(count)), lines[lines.len().saturating_sub(wanted)..].concat());
            prop_assert_eq!(tail(&files, Last::Bytes(count)), &all[all.len().saturating_sub(wanted)..]);
        }
    }

    #[test]
    fn lines_longer_than_a_block_are_found() {
        let long = [vec![b'x'; BLOCK_BYTES * 2 + 5], b"\n".to_vec()].concat();
        let (_folder, files) = put(&[[b"one\n".to_vec(), long.clone()].concat(), b"three\n".to_vec()]);
        assert!(tail(&files, Last::Lines(2)) == [long.clone(), b"three\n".to_vec()].concat());
        assert!(tail(&files, Last::Lines(3)) == [b"one\n".to_vec(), long, b"three\n".to_vec()].concat());
    }

    #[test]
    fn what_a_follower_was_told_is_taken_off_the_end() {
        let (_folder, files) = put(&[b"one\ntwo\n".to_vec(), b"three\nfo".to_vec()]);
        let before = |output: &[u8]| tail(&files.before(output).unwrap(), Last::Lines(9));
        assert_eq!(before(b"ree\nfour\n"), b"one\ntwo\nth");
        assert_eq!(before(b"wo\nthree\nfo"), b"one\nt");
        assert_eq!(before(b"one\ntwo\nthree\nfour\nfive\n"), b"");
        assert_eq!(before(b"ur\n"), b"one\ntwo\nthree\nfo", "all of it came after the listing");
        assert_eq!(before(b""), b"one\ntwo\nthree\nfo");
    }

    #[test]
    fn what_is_written_after_the_listing_is_not_read() {
        let (folder, files) = put(&[b"one\n".to_vec()]);
        std::fs::write(folder.path().join("web.2026-03-01.1.log"), b"one\ntwo\n").unwrap();
        assert_eq!(tail(&files, Last::Lines(9)), b"one\n");
        assert_eq!(tail(&files, Last::Bytes(9)), b"one\n");
    }

    #[test]
    fn a_file_that_expired_since_the_listing_is_passed_over() {
        let (folder, files) = put(&[b"one\n".to_vec(), b"two\n".to_vec()]);
        let tail_of_both = files.tail(Last::Bytes(8)).unwrap();
        std::fs::remove_file(folder.path().join("web.2026-03-01.1.log")).unwrap();
        assert_eq!(io::read_to_string(tail_of_both).unwrap(), "two\n");
        assert_eq!(tail(&files, Last::Lines(8)), b"two\n");
    }

    #[test]
    fn a_process_that_wrote_nothing_has_an_empty_tail() {
        let (_folder, files) = put(&[]);
        assert_eq!(files.files(), []);
        assert_eq!(tail(&files, Last::Lines(3)), b"");
    }
}
