//! A file as a series of requests, for peers that have messages and no files.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

/// Bytes of a file in one request.
const CHUNK: usize = 256 << 10;
/// Requests under way.
const WINDOW: usize = 16;

/// A part of a file.
pub(super) struct Chunk {
    pub(super) name: String,
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

/// Sends a file by `ask`, which is answered with the number of bytes that were written.
pub(super) async fn send<F>(path: &Path, ask: impl Fn(Chunk) -> F) -> Result<()>
where
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let name = path.file_name().context("a file has a name")?;
    let name = name.to_str().context("its name is UTF-8")?;
    let mut file = File::open(path).await?;
    file.set_max_buf_size(CHUNK);
    let (mut at, size) = (0, file.metadata().await?.len());
    let mut under_way = JoinSet::new();
    while at < size {
        let mut bytes = vec![0; (size - at).min(CHUNK as u64) as usize];
        file.read_exact(&mut bytes).await?;
        let length = bytes.len() as u64;
        let name = name.to_owned();
        let asked = ask(Chunk { name, at, bytes });
        under_way.spawn(async move { anyhow::Ok((asked.await?, length)) });
        at += length;
        if under_way.len() == WINDOW {
            written(under_way.join_next().await.expect("some are under way")?)?;
        }
    }
    while let Some(asked) = under_way.join_next().await {
        written(asked?)?;
    }
    Ok(())
}

fn written(asked: Result<(u64, u64)>) -> Result<()> {
    let (written, length) = asked?;
    ensure!(
        written == length,
        "{written} of {length} bytes were written"
    );
    Ok(())
}

/// The receiver's side: how many bytes were written.
pub(super) fn write(inbox: &Path, name: &str, at: u64, bytes: &[u8]) -> std::io::Result<u64> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(inbox.join(name))?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)?;
    Ok(bytes.len() as u64)
}
