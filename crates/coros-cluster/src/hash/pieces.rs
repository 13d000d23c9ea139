//! Hashing on all cores: BLAKE3 is a tree of hashes, and its parts need not wait for each other.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{Hash, Hasher};

/// What is hashed at a time: a power of two, as parts of the tree are. Starting a thread takes a fraction of the
/// time for one.
const PIECE: u64 = 1 << 20;
/// What is read at a time.
const READ: u64 = 128 << 10;

/// A content that can be read from anywhere in it.
pub(crate) trait Pieces: Sync {
    /// How many bytes it has.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` with what is at `offset`.
    ///
    /// # Errors
    /// Also when there is not so much.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Has `f` take what is there, in parts, in order.
    ///
    /// # Errors
    /// As above, and those of `f`.
    fn read(
        &self,
        Range { mut start, end }: Range<u64>,
        mut f: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let next = |start: u64| READ.min(end.saturating_sub(start)) as usize;
        let mut buffer = vec![0; next(start)];
        while start < end {
            let part = &mut buffer[..next(start)];
            self.read_at(part, start)?;
            f(part)?;
            start += part.len() as u64;
        }
        Ok(())
    }
}

impl Pieces for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(self, buffer, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[read..];
            offset += read as u64;
        }
        Ok(())
    }
}

impl Pieces for [u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|at| self.get(at..));
        let found = from.and_then(|from| from.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The hash of all of it, and its length.
pub(super) fn hash(content: &(impl Pieces + ?Sized)) -> io::Result<(Hash, u64)> {
    let length = content.length()?;
    if length <= PIECE {
        let hasher = hashed(Hasher::new(), content, 0..length)?;
        return Ok((hasher.finalize(), length));
    }
    let pieces = pieces(content, length)?;
    let (left, right) = pieces.split_at(left(pieces.len()));
    let root = merge_subtrees_root(&merged(left), &merged(right), Mode::Hash);
    Ok((root, length))
}

/// The hash of each piece, in order.
fn pieces(content: &(impl Pieces + ?Sized), length: u64) -> io::Result<Vec<ChainingValue>> {
    let count = length.div_ceil(PIECE);
    let next = AtomicU64::new(0);
    let work = || -> io::Result<Vec<(u64, ChainingValue)>> {
        let mut done = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return Ok(done);
            }
            let start = n * PIECE;
            let mut hasher = Hasher::new();
            hasher.set_input_offset(start);
            let range = start..length.min(start + PIECE);
            done.push((n, hashed(hasher, content, range)?.finalize_non_root()));
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    // An error is told when all of them have ended.
    let mut all = thread::scope(|scope| {
        // Where there can be no more threads, those that there are do it.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..cores.min(count)).map_while(spawn).collect();
        let mut all = work()?;
        for helper in helpers {
            all.extend(helper.join().expect("reading and hashing do not panic")?);
        }
        io::Result::Ok(all)
    })?;
    all.sort_unstable_by_key(|(n, _)| *n);
    Ok(all.into_iter().map(|(_, hash)| hash).collect())
}

fn hashed(
    mut hasher: Hasher,
    content: &(impl Pieces + ?Sized),
    range: Range<u64>,
) -> io::Result<Hasher> {
    content.read(range, |part| {
        hasher.update(part);
        Ok(())
    })?;
    Ok(hasher)
}

fn merged(pieces: &[ChainingValue]) -> ChainingValue {
    if let [piece] = pieces {
        return *piece;
    }
    let (left, right) = pieces.split_at(left(pieces.len()));
    merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
}

/// How many of several pieces are on the left: the most that are a whole tree, with some on the right.
fn left(pieces: usize) -> usize {
    pieces.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_hash_is_that_of_the_whole(pieces in 0..9_u64, more in -2..3_i64, seed: u8) {
            let length = (pieces * PIECE).saturating_add_signed(more) as usize;
            let mut content = vec![seed; length];
            for (n, part) in content.chunks_mut(1000).enumerate() {
                part[0] = n as u8;
            }
            let expected = (blake3::hash(&content), length as u64);
            prop_assert_eq!(hash(content.as_slice()).unwrap(), expected);
        }
    }

    /// A file that gets shorter while it is read.
    #[test]
    fn what_is_not_there_is_an_error() {
        struct Shorter(Vec<u8>);
        impl Pieces for Shorter {
            fn length(&self) -> io::Result<u64> {
                Ok(2 * self.0.len() as u64)
            }

            fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
                self.0.read_at(buffer, offset)
            }
        }
        let error = hash(&Shorter(vec![1; 4 * PIECE as usize])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
