//! Message framing: the bytes on the wire, limits, ends and cancellation.

use std::time::Duration;

use coros_core::io::framing::{
    DEFAULT_MESSAGE_LIMIT, MessageCodec, ReceiveMessageError, SendMessageError,
};
use coros_core::io::{MessageReader, MessageStream, MessageWriter};
use futures_util::poll;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::codec::Decoder;

const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_wire_is_a_big_endian_length_and_the_payload() {
    let (near, mut wire) = tokio::io::duplex(1024);
    let mut near = MessageStream::new(near);
    near.send_message(b"hello").await.unwrap();
    near.send_message(b"").await.unwrap();
    near.send_message(&[7; 300]).await.unwrap();
    near.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    wire.read_to_end(&mut bytes).await.unwrap();
    let expected = [b"\0\0\0\x05hello\0\0\0\0\0\0\x01\x2c".as_slice(), &[7; 300]].concat();
    assert_eq!(bytes, expected);
}

#[tokio::test]
async fn messages_arrive_whole_through_tcp_whatever_their_size() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sizes = [
        0,
        1,
        3,
        4,
        5,
        8191,
        8192,
        65_537,
        1_000_003,
        DEFAULT_MESSAGE_LIMIT,
    ];
    let server = tokio::spawn(async move {
        let mut stream = MessageStream::new(listener.accept().await.unwrap().0);
        while let Some(message) = stream.receive_message().await.unwrap() {
            stream.send_message(&message).await.unwrap();
        }
        stream.shutdown().await.unwrap();
    });
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = MessageStream::new(stream).into_split();
    let message = |size: usize| (0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>();
    let sending = tokio::spawn(async move {
        for size in sizes {
            writer.send_message(&message(size)).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    });
    for size in sizes {
        let received = timeout(BOUND, reader.receive_message())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(
            received == message(size),
            "{size} bytes came as {} others",
            received.len()
        );
    }
    assert_eq!(
        timeout(BOUND, reader.receive_message())
            .await
            .unwrap()
            .unwrap(),
        None
    );
    sending.await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn typed_messages() {
    let (near, far) = tokio::io::duplex(1024);
    let (mut near, mut far) = (MessageStream::new(near), MessageStream::new(far));
    near.send(&Some("text")).await.unwrap();
    assert_eq!(far.receive().await.unwrap(), Some(Some("text".to_owned())));

    near.send(&7_u8).await.unwrap();
    let cut = far.receive::<(u8, u8)>().await.unwrap_err();
    assert!(
        matches!(cut, ReceiveMessageError::Decode { size: 1, .. }),
        "{cut}"
    );
    near.send(&(1_u8, 2_u8)).await.unwrap();
    let longer = far.receive::<u8>().await.unwrap_err();
    assert_eq!(
        longer.to_string(),
        "a message of 2 bytes is no u8: 1 bytes are left over"
    );
    near.send(&7_u8).await.unwrap();
    assert_eq!(
        far.receive::<u8>().await.unwrap(),
        Some(7),
        "the stream goes on"
    );
}

#[tokio::test]
async fn the_sender_refuses_what_exceeds_its_limit_and_goes_on() {
    let (near, far) = tokio::io::duplex(1024);
    let mut near = MessageStream::with_limit(near, 10);
    let mut far = MessageStream::new(far);
    near.send_message(&[1; 10]).await.unwrap();
    let error = near.send_message(&[2; 11]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a message of 11 bytes was not sent: the limit is 10 bytes"
    );
    assert!(matches!(
        error,
        SendMessageError::TooLarge {
            size: 11,
            limit: 10
        }
    ));
    near.send_message(&[3; 2]).await.unwrap();
    assert_eq!(far.receive_message().await.unwrap().unwrap(), &[1; 10][..]);
    assert_eq!(far.receive_message().await.unwrap().unwrap(), &[3; 2][..]);
}

#[tokio::test]
async fn the_receiver_refuses_what_exceeds_its_limit_for_good() {
    let (mut wire, far) = tokio::io::duplex(1024);
    let mut far = MessageStream::with_limit(far, 10);
    wire.write_all(b"\0\0\0\x0b").await.unwrap();
    let error = timeout(BOUND, far.receive_message())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(
        error,
        ReceiveMessageError::TooLarge {
            size: 11,
            limit: 10
        }
    ));
    assert!(
        error
            .to_string()
            .contains("11 bytes, the limit is 10 bytes"),
        "{error}"
    );
    wire.write_all(b"\0\0\0\x01a").await.unwrap();
    for _ in 0..3 {
        let later = timeout(BOUND, far.receive_message()).await.unwrap();
        assert!(
            matches!(later, Err(ReceiveMessageError::Broken)),
            "{later:?}"
        );
    }
}

#[test]
fn an_announced_size_reserves_little() {
    let mut codec = MessageCodec::new(usize::MAX);
    let mut buffer = bytes::BytesMut::from(&u32::MAX.to_be_bytes()[..]);
    assert_eq!(codec.decode(&mut buffer).unwrap(), None);
    assert!(buffer.capacity() < 1024 * 1024, "{}", buffer.capacity());
}

#[tokio::test]
async fn a_stream_cut_in_a_message_is_an_error_and_not_an_end() {
    for (wire, received, expected) in [
        (&b"\0\0"[..], 2, 4),
        (b"\0\0\0\x05", 4, 9),
        (b"\0\0\0\x01a\0\0\0\x05hell", 8, 9),
    ] {
        let mut reader = MessageReader::new(wire);
        if wire.len() > 9 {
            assert_eq!(reader.receive_message().await.unwrap().unwrap(), &b"a"[..]);
        }
        let error = reader.receive_message().await.unwrap_err();
        let ReceiveMessageError::CutShort {
            received: r,
            expected: e,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((r, e), (received, expected));
        assert!(matches!(
            reader.receive_message().await,
            Err(ReceiveMessageError::Broken)
        ));
    }
    assert_eq!(
        MessageReader::new(&b""[..])
            .receive_message()
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_cancelled_receive_loses_nothing() {
    let (mut wire, far) = tokio::io::duplex(1024);
    let mut far = MessageStream::new(far);
    for byte in b"\0\0\0\x05hello\0\0\0\x01!".chunks(1) {
        {
            let mut receive = Box::pin(far.receive_message());
            assert!(poll!(&mut receive).is_pending());
        }
        wire.write_all(byte).await.unwrap();
        if byte == b"o" {
            assert_eq!(far.receive_message().await.unwrap().unwrap(), &b"hello"[..]);
        }
    }
    assert_eq!(far.receive_message().await.unwrap().unwrap(), &b"!"[..]);
}

#[tokio::test]
async fn a_cancelled_send_leaves_whole_frames() {
    let (near, far) = tokio::io::duplex(16);
    let mut near = MessageStream::new(near);
    let mut far = MessageReader::new(far);
    {
        let mut send = Box::pin(near.send_message(&[1; 100]));
        assert!(poll!(&mut send).is_pending(), "the pipe holds 16 bytes");
    }
    let sending = tokio::spawn(async move {
        near.send_message(&[2; 100]).await.unwrap();
        near.shutdown().await.unwrap();
    });
    let first = timeout(BOUND, far.receive_message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(first, &[1; 100][..]);
    assert_eq!(far.receive_message().await.unwrap().unwrap(), &[2; 100][..]);
    assert_eq!(far.receive_message().await.unwrap(), None);
    sending.await.unwrap();
}

#[tokio::test]
async fn splitting_and_taking_apart_keep_what_is_buffered() {
    let mut stream = MessageStream::new(tokio::io::join(
        &b"\0\0\0\x01a\0\0\0\x01b\0\0\0\x01crest"[..],
        tokio::io::sink(),
    ));
    assert_eq!(stream.receive_message().await.unwrap().unwrap(), &b"a"[..]);
    let (mut reader, _writer) = stream.into_split();
    assert_eq!(reader.receive_message().await.unwrap().unwrap(), &b"b"[..]);

    let mut stream =
        MessageStream::new(tokio::io::join(&b"\0\0\0\x01arest"[..], tokio::io::sink()));
    assert_eq!(stream.receive_message().await.unwrap().unwrap(), &b"a"[..]);
    assert_eq!(stream.into_parts().1, &b"rest"[..]);
}

proptest! {
    /// However the bytes are cut into pieces, the same messages come out.
    #[test]
    fn any_fragmentation_gives_the_same_messages(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
        piece in 1_usize..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (write, read) = tokio::io::duplex(piece);
            let mut reader = MessageReader::new(read);
            let mut writer = MessageWriter::new(write);
            let send = async {
                for message in &messages {
                    writer.send_message(message).await.unwrap();
                }
                drop(writer);
            };
            let receive = async {
                let mut received = Vec::new();
                while let Some(message) = reader.receive_message().await.unwrap() {
                    received.push(message.to_vec());
                }
                received
            };
            let ((), received) = tokio::join!(send, receive);
            prop_assert_eq!(received, messages.clone());
            Ok(())
        })?;
    }
}
