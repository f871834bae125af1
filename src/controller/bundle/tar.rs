//! As much of tar (POSIX ustar) as bundles need: plain files under names that their place fixes. Whatever else tar can
//! say, links, folders, long names, devices, is refused, so that nothing in a bundle leads anywhere.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The unit of everything.
const BLOCK: usize = 512;

/// The most that eleven octal digits can say.
const MOST_BYTES: u64 = 0o77_777_777_777;

/// A file's header: its name, its size, and that it is a plain file.
fn header(name: &str, size: u64) -> io::Result<[u8; BLOCK]> {
    if name.len() > 100 || size > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than a header can say"));
    }
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{size:011o}\0{:011o}\0", 0).as_bytes());
    put(148, b"        0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// Zeros behind `size` bytes, up to the next block.
fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// Begins a file of `size` bytes, which the caller writes.
pub(super) async fn begin(into: &mut (impl AsyncWrite + Unpin), name: &str, size: u64) -> io::Result<()> {
    into.write_all(&header(name, size)?).await
}

/// Ends a file of `size` bytes.
pub(super) async fn end(into: &mut (impl AsyncWrite + Unpin), size: u64) -> io::Result<()> {
    into.write_all(&[0; BLOCK][..padding(size)]).await
}

/// Ends the archive.
pub(super) async fn finish(into: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    into.write_all(&[0; 2 * BLOCK]).await?;
    into.flush().await
}

/// Reads the header of the file that is called `name`: its size.
///
/// # Errors
/// `InvalidData` when it is any other.
pub(super) async fn expect(from: &mut (impl AsyncRead + Unpin), name: &str) -> io::Result<u64> {
    let mut block = [0; BLOCK];
    from.read_exact(&mut block).await.map_err(cut)?;
    let size = std::str::from_utf8(&block[124..135]).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok());
    match size {
        // Nothing but what we would have written ourselves.
        Some(size) if header(name, size)? == block => Ok(size),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("expected the file {name:?} of a bundle"))),
    }
}

/// Reads what stands behind a file of `size` bytes.
pub(super) async fn skip(from: &mut (impl AsyncRead + Unpin), size: u64) -> io::Result<()> {
    zeros(from, padding(size)).await
}

/// Reads the end of the archive, behind which there must be nothing.
pub(super) async fn expect_end(from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    zeros(from, 2 * BLOCK).await?;
    match from.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "there is more behind its end")),
    }
}

/// What people read where there is less than there should be.
fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it ends too early: it was cut, or is no bundle"),
        _ => error,
    }
}

async fn zeros(from: &mut (impl AsyncRead + Unpin), count: usize) -> io::Result<()> {
    let mut block = [1; 2 * BLOCK];
    from.read_exact(&mut block[..count]).await.map_err(cut)?;
    match block[..count].iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "expected zeros behind a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_was_written_reads_back() {
        let mut archive = Vec::new();
        begin(&mut archive, "a", 3).await.unwrap();
        archive.extend(b"abc");
        end(&mut archive, 3).await.unwrap();
        finish(&mut archive).await.unwrap();
        assert_eq!(archive.len(), 4 * BLOCK);
        let read = async |archive: &[u8]| {
            let mut from = archive;
            let size = expect(&mut from, "a").await?;
            from = from.get(3..).unwrap_or_default();
            skip(&mut from, size).await?;
            expect_end(&mut from).await.map(|()| size)
        };
        assert_eq!(read(&archive).await.unwrap(), 3);
        for at in (0..archive.len()).filter(|at| !(BLOCK..BLOCK + 3).contains(at)) {
            let mut other = archive.clone();
            other[at] ^= 1;
            assert!(read(&other).await.is_err(), "byte {at}");
        }
        for cut in [0, 1, BLOCK, 2 * BLOCK, archive.len() - 1] {
            assert!(read(&archive[..cut]).await.is_err(), "{cut}");
        }
        archive.push(0);
        assert!(read(&archive).await.is_err(), "nothing may follow");
    }
}
