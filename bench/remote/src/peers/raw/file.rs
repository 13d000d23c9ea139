//! A file over a connection of its own: its name, then its bytes, then one byte back.

use std::path::Path;

use anyhow::{Context, Result};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes in one read and one write.
const CHUNK: usize = 256 << 10;

pub(super) async fn send(mut io: impl AsyncRead + AsyncWrite + Unpin, path: &Path) -> Result<()> {
    let mut file = File::open(path).await?;
    file.set_max_buf_size(CHUNK);
    let name = path.file_name().context("a file has a name")?;
    let name = name.to_str().context("its name is UTF-8")?;
    io.write_u8(name.len() as u8).await?;
    io.write_all(name.as_bytes()).await?;
    io.write_u64(file.metadata().await?.len()).await?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        io.write_all(&chunk[..read]).await?;
    }
    io.flush().await?;
    let done = io.read_u8().await;
    done.context("the file was not acknowledged").map(drop)
}

pub(super) async fn receive(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    inbox: &Path,
) -> Result<()> {
    let length = io.read_u8().await?;
    let mut name = vec![0; usize::from(length)];
    io.read_exact(&mut name).await?;
    let mut left = io.read_u64().await?;
    let mut file = File::create(inbox.join(String::from_utf8(name)?)).await?;
    file.set_max_buf_size(CHUNK);
    let mut chunk = Vec::with_capacity(CHUNK);
    while left > 0 {
        // Whole chunks: each write to a file is a trip to another thread.
        let wanted = left.min(CHUNK as u64);
        let mut part = (&mut io).take(wanted);
        while (chunk.len() as u64) < wanted {
            if part.read_buf(&mut chunk).await? == 0 {
                anyhow::bail!("the file was cut");
            }
        }
        file.write_all(&chunk).await?;
        left -= chunk.len() as u64;
        chunk.clear();
    }
    file.flush().await?;
    io.write_u8(1).await?;
    io.flush().await?;
    Ok(())
}
