//! What runs in the workers: counting one file.

use std::hash::BuildHasher;

use coros::Address;

use super::content::{Content, Source};
use super::reduce::{Chunk, Partial};
use super::tally::{LONGEST_WORD, Splitter, Tally};
use crate::terminal::Name;

/// Counts go out when there are so many words, or so much of their text, or after so many bytes
/// of the file: that bounds the memory of a worker, and shows how far it is.
const CHUNK_WORDS: usize = 50_000;
const CHUNK_TEXT: usize = 512 * 1024;
const CHUNK_BYTES: u64 = 16 * 1024 * 1024;
/// Of the last chunk of a file, so many words are worth waiting for.
const LARGE_WORDS: usize = 5_000;

/// Counts the words of a file and sends the counts to `reducer`. Gives the bytes that were read.
///
/// It computes without awaiting, and reads so what is on this machine: a worker has a thread for that.
#[coros::remote]
pub(super) async fn count_words(source: Source, reducer: Address<Partial>) -> Result<u64, String> {
    tracing::debug!("counting {}", Name(&source.path.0));
    let index = source.index;
    let mut content = Content::open(source)?;
    let run = std::hash::RandomState::new().hash_one(index);
    let (mut splitter, mut tally) = (Splitter::default(), Tally::default());
    let (mut bytes, mut sent) = (0, 0);
    loop {
        let piece = content.next().await?;
        bytes += piece.len() as u64;
        if piece.is_empty() {
            splitter.finish(&mut tally);
            break;
        }
        splitter.feed(piece, &mut tally).map_err(|_| {
            format!(
                "a word is longer than {} MiB: that is no text",
                LONGEST_WORD >> 20
            )
        })?;
        let full = tally.len() >= CHUNK_WORDS || tally.text_len() >= CHUNK_TEXT;
        if full || bytes - sent >= CHUNK_BYTES {
            let chunk = Chunk::new(index, run, false, bytes - sent, &std::mem::take(&mut tally));
            pace(&reducer, chunk).await?;
            sent = bytes;
        }
    }
    let last = Chunk::new(index, run, true, bytes - sent, &tally);
    if tally.len() >= LARGE_WORDS {
        pace(&reducer, last).await?;
    } else {
        // What is only sent is there before the result, without waiting for an answer.
        reducer
            .send(Partial::Counts(last))
            .map_err(|error| error.to_string())?;
    }
    Ok(bytes)
}

/// Sends a chunk and waits until it has been added up. So the reducer sets the pace, and what
/// waits there is bounded: one large chunk for each job that runs, and small ones.
async fn pace(reducer: &Address<Partial>, chunk: Chunk) -> Result<(), String> {
    reducer
        .ask(|added| Partial::Paced(chunk, added))
        .await
        .map_err(|error| error.to_string())
}
