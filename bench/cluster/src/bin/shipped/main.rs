//! The program that travels: what a user of coros would write, client, worker and node in one.
//!
//! ```text
//! shipped local|node WORKLOAD N     measures one workload and prints its figures
//! shipped serve FOLDER              is the node that such a client starts, until standard input ends
//! shipped first-result [ENDPOINT]   runs one call, on that node or on this machine; how long it took
//! ```

mod functions;
mod place;
mod workloads;

use anyhow::{Result, bail};

use place::Place;

#[coros::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", folder] => place::serve(folder.as_ref()).await,
        ["first-result"] => workloads::first_result(None).await,
        ["first-result", endpoint] => workloads::first_result(Some(endpoint.parse()?)).await,
        ["local", workload, n] => measure(Place::Local, workload, n).await,
        ["node", workload, n] => measure(Place::node().await?, workload, n).await,
        _ => bail!("see the head of its source"),
    }
}

async fn measure(place: Place, workload: &str, n: &str) -> Result<()> {
    // On a worker, as any other task, and not on the thread that waits for the runtime.
    let (workload, n) = (workload.to_owned(), n.parse()?);
    let figures = tokio::spawn(async move { workloads::run(&place, &workload, n).await });
    println!("{}", figures.await??);
    Ok(())
}
