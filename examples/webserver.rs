//! A web server with a coroutine per connection.
//!
//! Everything of tokio's ecosystem works inside a coroutine, so the HTTP is hyper's. Coros adds
//! the end: at Ctrl-C each connection is told, finishes the request that has begun to come, and
//! closes. A client that does not finish its request is waited for for five seconds.
//!
//!     cargo run --release --example webserver
//!     cargo run --release --example webserver -- 8080 --host 0.0.0.0
//!     curl -i http://127.0.0.1:8010/

mod say;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use say::say;
use tokio::net::{TcpListener, TcpStream};

/// Answers "Pong!" over HTTP/1.1 until Ctrl-C.
#[derive(Parser)]
struct Args {
    /// 0 takes a free port.
    #[arg(default_value_t = 8010)]
    port: u16,

    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
}

/// How long requests have to finish after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);

/// What a connection without a request closes in.
const MOMENT: Duration = Duration::from_millis(100);

async fn pong(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, "Pong!"),
        (_, "/") => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
        _ => (StatusCode::NOT_FOUND, "there is only /\n"),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

/// The coroutine of one connection.
async fn connection(me: Context<()>, stream: TcpStream, peer: SocketAddr) -> hyper::Result<()> {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service_fn(pong))
    );
    tokio::select! {
        biased;
        result = &mut connection => return result,
        () = me.terminating() => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(result) = tokio::time::timeout(MOMENT, &mut connection).await {
        return result;
    }
    say!("waiting for {peer}, which is in the middle of a request, for at most {GRACE:?}");
    connection.await
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { port, host } = Args::parse();
    let listener = TcpListener::bind((&*host, port))
        .await
        .with_context(|| format!("cannot listen on {host}:{port}"))?;
    say!("listening on http://{}", listener.local_addr()?);

    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let connections = coros::build().grace(GRACE);
                drop(connections.spawn_fallible(move |me| connection(me, stream, peer)));
            }
            Err(error) => {
                // Most likely too many open files: some will be closed.
                eprintln!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
