//! webserver, asked by hyper, by curl, and by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
#[cfg(target_os = "linux")]
use std::time::Instant;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::program::{LIMIT, Program};

type Client = SendRequest<Empty<Bytes>>;

fn serve() -> (Program, SocketAddr) {
    Program::serve("webserver", &["0"])
}

/// A connection of hyper's client.
async fn connect(at: SocketAddr) -> Client {
    let stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(client: &mut Client, method: Method, path: &str) -> Response<String> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .body(Empty::new())
        .unwrap();
    let answer = async {
        client.ready().await.unwrap();
        let (head, body) = client.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
    };
    timeout(LIMIT, answer).await.expect("no answer in time")
}

/// A connection by hand.
fn dial(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Everything until the server closes the connection.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn one_connection_takes_many_requests() {
    let (_server, at) = serve();
    let mut client = connect(at).await;
    for _ in 0..100 {
        let response = ask(&mut client, Method::GET, "/").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "5");
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/plain; charset=utf-8"
        );
        assert!(response.headers().contains_key(header::DATE));
        assert_eq!(response.body(), "Pong!");
    }
    let response = ask(&mut client, Method::HEAD, "/").await;
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "5");
    assert_eq!(response.body(), "");
    let response = ask(&mut client, Method::GET, "/elsewhere").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let response = ask(&mut client, Method::POST, "/").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ask(&mut client, Method::GET, "/").await.body(), "Pong!");
}

#[tokio::test]
async fn many_connections_at_once() {
    let (_server, at) = serve();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        tasks.spawn(async move {
            let mut client = connect(at).await;
            for _ in 0..20 {
                assert_eq!(ask(&mut client, Method::GET, "/").await.body(), "Pong!");
            }
        });
    }
    let all = tasks.join_all();
    assert_eq!(
        timeout(LIMIT, all).await.expect("not done in time").len(),
        200
    );
}

#[test]
fn a_connection_is_closed_when_the_client_wants_it() {
    let (_server, at) = serve();
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let mut stream = dial(at);
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_to_end(&mut stream);
        assert!(answer.starts_with("HTTP/1."), "{answer}");
        assert!(
            answer.contains(" 200 OK\r\n") && answer.ends_with("\r\n\r\nPong!"),
            "{answer}"
        );
    }

    // Several requests at once are answered in turn.
    let mut stream = dial(at);
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream
        .write_all(format!("{request}{request}{last}").as_bytes())
        .unwrap();
    let answer = read_to_end(&mut stream);
    assert_eq!(answer.matches("Pong!").count(), 2, "{answer}");
    assert!(answer.ends_with("there is only /\n"), "{answer}");
}

#[test]
fn garbage_ends_only_its_own_connection() {
    let (_server, at) = serve();
    let mut good = dial(at);
    let mut bad = dial(at);
    bad.write_all(b"\x16\x03\x01 what is this\r\n\r\n").unwrap();
    assert!(read_to_end(&mut bad).starts_with("HTTP/1.1 400 Bad Request\r\n"));
    good.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert!(read_to_end(&mut good).ends_with("Pong!"));
}

#[test]
fn curl_is_content() {
    let (_server, at) = serve();
    let url = format!("http://{at}/");
    let curl = |args: &[&str]| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "60",
                "--noproxy",
                "*",
            ])
            .args(["--write-out", " %{http_code} %{num_connects}\n"])
            .args(args)
            .output()
            .expect("this test needs curl: install it");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // The second request goes over the connection of the first, unless that was closed.
    assert_eq!(curl(&[&url, &url]), "Pong! 200 1\nPong! 200 0\n");
    let close = ["--header", "Connection: close", &url, &url];
    assert_eq!(curl(&close), "Pong! 200 1\nPong! 200 1\n");
    assert_eq!(curl(&["--http1.0", &url]), "Pong! 200 1\n");
    assert_eq!(curl(&[&format!("{url}x")]), "there is only /\n 404 1\n");
}

/// Waits until the server has read all that has come from this client.
#[cfg(target_os = "linux")]
fn wait_until_read(server: SocketAddr, client: &TcpStream) {
    let ports = [server.port(), client.local_addr().unwrap().port()];
    let ports = ports.map(|port| format!(":{port:04X}"));
    let deadline = Instant::now() + LIMIT;
    loop {
        // See proc_net_tcp(5): local address, remote address, state, bytes to send and to read.
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let read = sockets.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&ports[0])
                && fields[2].ends_with(&ports[1])
                && fields[4].ends_with(":00000000")
        });
        if read {
            return;
        }
        assert!(Instant::now() < deadline, "the server does not read");
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_lets_requests_finish() {
    let (server, at) = serve();
    let mut idle = dial(at);
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut first = [0; 4];
    idle.read_exact(&mut first).unwrap();
    // This request is half way when the server is told to end.
    let mut busy = dial(at);
    busy.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    wait_until_read(at, &busy);

    server.interrupt();
    // An idle connection is closed at once, by which one sees that the server is ending.
    assert!(read_to_end(&mut idle).ends_with("Pong!"));
    assert_eq!(
        server.line(),
        format!(
            "waiting for {}, which is in the middle of a request, for at most 5s",
            busy.local_addr().unwrap()
        )
    );
    busy.write_all(b"st: a\r\n\r\n").unwrap();
    let answer = read_to_end(&mut busy);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("Pong!"),
        "{answer}"
    );
    assert_eq!(server.wait().stderr, "");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (_server, at) = serve();
    let error = crate::program::run("webserver", [at.port().to_string()]).failure(1);
    assert!(error.contains(&format!("cannot listen on {at}")), "{error}");
}
